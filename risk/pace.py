"""How often: order rate, repeated execution and duplicates, in sliding windows of event time."""

from collections import deque

from alphatrade.risk.batch import ALONE, Batch, Key
from alphatrade.risk.exposure import Order
from alphatrade.risk.limits import Code, Limits, Verdict, deny
from alphatrade.risk.template import RiskTemplate

SECOND_NS = 1_000_000_000
_SWEEP = 1024  # keys a counter may hold before the stale ones are dropped


class Pace:
    """
    Counts approved submissions and modifications.

    Denied ones do not count: they reached no market, and counting them would lock a strategy out for its
    mistakes.
    """

    __slots__ = ("_identical", "_minute", "_repeats", "_second", "limits", "template")

    def __init__(self, template: RiskTemplate, limits: Limits) -> None:
        self.template = template
        self.limits = limits
        self._second: deque[int] = deque()
        self._minute: deque[int] = deque()
        self._repeats: dict[Key, deque[int]] = {}
        self._identical: dict[object, Order] = {}  # the youngest working order by what makes orders identical

    def check_rate(self, now: int, more: int) -> Verdict | None:
        """Return a denial if one submission after `more` others at `now` (UTC ns) would be too many."""
        more += 1
        template = self.template
        # Stale stamps are dropped only when a window looks full.
        second, limit = self._second, template.orders_per_second
        if len(second) + more > limit:
            _prune(second, now - SECOND_NS)
            if len(second) + more > limit:
                return deny(Code.ORDER_RATE, "submissions in one second", str(len(second) + more), str(limit))
        minute, limit = self._minute, template.orders_per_minute
        if len(minute) + more > limit:
            _prune(minute, now - 60 * SECOND_NS)
            if len(minute) + more > limit:
                return deny(Code.ORDER_RATE, "submissions in sixty seconds", str(len(minute) + more), str(limit))
        return None

    def check_repetition(self, order: Order, now: int, batch: Batch) -> Verdict | None:
        """Return a denial if `order` was sent too often, or an identical one is working."""
        key = (order.instrument, order.side, order.qty)
        stamps = self._repeats.get(key)
        times = batch.repeats.get(key, 0) + 1
        if batch is not ALONE:
            batch.repeats[key] = times
        if stamps is not None:
            _prune(stamps, now - self.limits.repeat_ns)
            times += len(stamps)
        if times > self.template.repeat_max:
            bound = str(self.template.repeat_max)
            return deny(Code.REPEATED, "equal side and quantity within the repeat window", str(times), bound)
        window = self.limits.duplicate_ns
        if not window:
            return None
        identity = order.identity = identity_of(order)
        twin = self._identical.get(identity)
        young = twin is not None and twin.working and twin.identity == identity and now - twin.ts < window
        if young or identity in batch.seen:
            return deny(Code.DUPLICATE, "an identical order is working")
        if batch is not ALONE:
            batch.seen.add(identity)
        return None

    def count(self, now: int) -> None:
        """Count one submission or modification."""
        self._second.append(now)
        self._minute.append(now)

    def count_order(self, order: Order, now: int) -> None:
        """Count a submission for all windows."""
        self.count(now)
        key = (order.instrument, order.side, order.qty)
        stamps = self._repeats.get(key)
        if stamps is None:
            if len(self._repeats) >= _SWEEP:
                horizon = now - self.limits.repeat_ns
                self._repeats = {k: s for k, s in self._repeats.items() if s and s[-1] > horizon}
            stamps = self._repeats[key] = deque()
        stamps.append(now)
        if self.limits.duplicate_ns:
            if len(self._identical) >= _SWEEP:
                self._identical = {k: o for k, o in self._identical.items() if o.working}
            order.identity = order.identity or identity_of(order)
            self._identical[order.identity] = order

    def restate(self, order: Order) -> None:
        """Note that a working order has new terms."""
        if order.working and order.identity is not None:
            order.identity = identity_of(order)
            twin = self._identical.get(order.identity)
            if twin is None or not twin.working or twin.ts < order.ts:
                self._identical[order.identity] = order


def identity_of(order: Order) -> tuple[object, ...]:
    """Return what makes two orders identical."""
    kind = (order.instrument, order.strategy, order.side, order.kind, order.reduce_only)
    return (*kind, order.qty, order.price, order.trigger)


def _prune(stamps: deque[int], horizon: int) -> None:
    while stamps and stamps[0] <= horizon:
        stamps.popleft()
