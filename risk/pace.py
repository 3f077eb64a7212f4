"""How often: order rate, repeated execution and duplicates, in sliding windows of event time."""

from collections import deque

from alphatrade.risk.batch import ALONE, Batch, Key
from alphatrade.risk.exposure import Order
from alphatrade.risk.limits import Code, Limits, Use, Verdict, deny
from alphatrade.risk.template import RiskTemplate

SECOND_NS = 1_000_000_000
_SWEEP = 1024  # keys a counter may hold before the stale ones are dropped


class Pace:
    """
    Counts approved submissions and modifications.

    Denied ones do not count: they reached no market, and counting them would lock a strategy out for its
    mistakes.
    """

    __slots__ = ("_identical", "_minute", "_repeats", "_second", "limits", "soft", "template")

    def __init__(self, template: RiskTemplate, limits: Limits) -> None:
        self.template = template
        self.limits = limits
        self.soft = limits.soft
        self._second: deque[int] = deque()
        self._minute: deque[int] = deque()
        self._repeats: dict[Key, deque[int]] = {}
        self._identical: dict[object, Order] = {}  # the youngest working order by what makes orders identical

    def check_rate(self, now: int, more: int, near: list[Use]) -> Verdict | None:
        """
        Return a denial if one submission after `more` others at `now` (UTC ns) would be too many.

        `near` takes the near-misses.
        """
        more += 1
        soft, denial = self.soft, None
        # Stale stamps are dropped only when a window looks nearly full.
        if len(self._second) + more >= soft.per_second:
            _prune(self._second, now - SECOND_NS)
            known = (len(self._second) + more, soft.per_second, self.template.orders_per_second)
            denial = _check_count(Code.ORDER_RATE, *known, "submissions in one second", near)
        if denial is None and len(self._minute) + more >= soft.per_minute:
            _prune(self._minute, now - 60 * SECOND_NS)
            known = (len(self._minute) + more, soft.per_minute, self.template.orders_per_minute)
            denial = _check_count(Code.ORDER_RATE, *known, "submissions in sixty seconds", near)
        return denial

    def check_repetition(self, order: Order, now: int, batch: Batch, near: list[Use]) -> Verdict | None:
        """Return a denial if `order` was sent too often, or an identical one is working; `near` takes near-misses."""
        key = (order.instrument, order.side, order.qty)
        stamps = self._repeats.get(key)
        times = batch.repeats.get(key, 0) + 1
        if batch is not ALONE:
            batch.repeats[key] = times
        if stamps is not None:
            _prune(stamps, now - self.limits.repeat_ns)
            times += len(stamps)
        if times >= self.soft.repeat:
            known = (times, self.soft.repeat, self.template.repeat_max)
            denial = _check_count(Code.REPEATED, *known, "equal side and quantity within the repeat window", near)
            if denial is not None:
                return denial
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

    def in_minute(self, now: int) -> int:
        """Return how many were approved in the sixty seconds before `now` (UTC ns)."""
        return sum(stamp > now - 60 * SECOND_NS for stamp in self._minute)

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


def _check_count(code: Code, count: int, soft: int, limit: int, words: str, near: list[Use]) -> Verdict | None:
    if count > limit:
        return deny(code, words, str(count), str(limit))
    if count >= soft:
        near.append(Use(code, str(count), str(limit)))
    return None


def _prune(stamps: deque[int], horizon: int) -> None:
    while stamps and stamps[0] <= horizon:
        stamps.popleft()
