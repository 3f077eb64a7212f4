"""The law: whether a command may go to the market.

Pure and exact: nano integers in, a `Verdict` out. The words are those of the auditor, which shares no code
with this file: *worst case* is the largest position that working orders could bring about, *risk-increasing*
is every order that is neither reduce-only nor certain to shrink the position whatever else fills first. A
limit may be reached, not exceeded. Cost per order does not depend on how many orders or positions there are.
"""

from collections.abc import Sequence
from dataclasses import replace

from alphatrade.risk.account import Account
from alphatrade.risk.batch import ALONE, Batch, start, working
from alphatrade.risk.exposure import BUY, Holding, Order
from alphatrade.risk.limits import ALLOWED, Code, Use, Verdict, deny, soft_count, text
from alphatrade.risk.pace import Pace
from alphatrade.risk.reference import check_market
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.units import NANO, from_nano

# code, value, bound, words, unit of value and bound
_Measure = tuple[Code, int, int | None, str, str]


class Law(Account):
    """
    The limits of one account, and everything needed to judge against them.

    Parameters
    ----------
    template : RiskTemplate
        The limits.
    capital : int, optional
        Atto of the account currency; None until `set_capital`, and until then every order is denied.
    long_only : bool
        Deny whatever could lead to a short position.
    """

    def __init__(self, template: RiskTemplate, capital: int | None = None, long_only: bool = False) -> None:
        super().__init__(template, capital)
        self.long_only = long_only
        self.pace = Pace(template, self.limits)
        self.approved: set[str] = set()  # every order id ever approved; membership only, never iterated
        stops = (Code.REPEATED,) if template.repeat_action == "halt" else ()
        self.stops = frozenset({Code.DAILY_LOSS, Code.DRAWDOWN, *stops})  # denials after which trading has to stop
        self._near: list[Use] = []  # momentary near-misses of the command that is being judged

    def pressure(self, instrument: str) -> Code | None:
        """Return the first lasting limit that is used beyond the near-miss share, if any."""
        if self.loss_near is not None:
            return self.loss_near
        held = self.exposure.holding(instrument)
        count = len(self.exposure.working)
        for code, value, bound, _, unit in self._measures(held, 0, 0, ALONE, count):
            if bound is not None and self._is_near(value, bound, unit):
                return code
        return None

    def size_factor(self, instrument: str) -> float:
        """Return what new orders in `instrument` should be scaled by: below 1 while a near-miss lasts."""
        if self.template.near_miss_action == "size_down" and self.pressure(instrument) is not None:
            return self.template.size_down_factor
        return 1.0

    # -- judgement

    def check(self, orders: Sequence[Order], now: int) -> Verdict:
        """
        Judge orders that would be sent together; all pass or none.

        Parameters
        ----------
        orders : sequence of Order
            One order, or a list with the entry before its contingent children.
        now : int
            UTC ns.
        """
        if len(orders) == 1:
            return self._check_order(orders[0], now, ALONE)
        batch = Batch()
        near: list[Use] = []
        for order in orders:
            verdict = self._check_order(order, now, batch)
            if verdict.code is not None:
                return verdict
            near.extend(replace(use, order_id=order.order_id) for use in verdict.near)
            batch.count += 1
        return Verdict(near=tuple(near)) if near else ALLOWED

    def commit(self, orders: Sequence[Order], now: int) -> None:
        """Count approved orders as working; call it before they are sent."""
        for order in orders:
            order.ts = now
            self.approved.add(order.order_id)
            self.exposure.add(order)
            if not order.by_law:
                self.pace.count_order(order, now)

    def check_modify(
        self, order: Order | None, qty: int | None, price: int | None, trigger: int | None, now: int
    ) -> Verdict:
        """Judge a change of quantity, price or trigger (nano; None: stays) of a working order."""
        if order is None or not order.working:
            return deny(Code.UNKNOWN_ORDER, "only a working order that the law approved can be modified")
        near = self._near
        held = self.exposure.holding(order.instrument)
        verdict = check_market(self, held, now, price, trigger, near) or self.pace.check_rate(now, 0, near)
        if verdict is None:
            verdict = self._check_change(order, held, order.qty if qty is None else qty, price, trigger)
        return self._with_near(verdict) if near else verdict

    def _check_change(self, order: Order, held: Holding, qty: int, price: int | None, trigger: int | None) -> Verdict:
        leaves = max(qty - order.filled, 0)
        grow = leaves - order.reserved
        if order.reduce_only:
            unfit = self._check_reduce_only(order, leaves, held, None)
            return unfit or self._check_behind(order, max(grow, 0), held, ALONE)
        same = price in (None, order.price) and trigger in (None, order.trigger)
        if (grow <= 0 and same) or self._reduces(held, order, max(grow, 0), ALONE):
            return ALLOWED
        price2 = self._price2(order, held, price, trigger)
        return self._measure(order, held, max(grow, 0), (qty, price2), ALONE, 0)

    def commit_modify(self, order: Order, qty: int | None, now: int) -> None:
        """Reserve for an approved modification; call it before it is sent."""
        order.asking = max(order.asking - 1, 0)
        self.pace.count(now)
        self.exposure.resize(order, order.qty if qty is None else qty)

    def on_updated(self, order: Order, qty: int) -> bool:
        """Take over what a venue confirms; see `Account.on_updated`. `order` has its new prices already."""
        lawful = super().on_updated(order, qty)
        self.pace.restate(order)
        return lawful

    # -- parts

    def _check_order(self, order: Order, now: int, batch: Batch) -> Verdict:
        if order.quote_qty:
            return deny(Code.QUOTE_QTY, "quantities must be in the base asset", order_id=order.order_id)
        if order.order_id in self.approved or order.order_id in batch.seen:
            return deny(Code.DUPLICATE, f"order id {order.order_id} was used before", order_id=order.order_id)
        held = self.exposure.holdings.get(order.instrument) or self.exposure.holding(order.instrument)
        near = self._near
        verdict = (
            check_market(self, held, now, order.price, order.trigger, near)
            or self.pace.check_rate(now, batch.count, near)
            or self.pace.check_repetition(order, now, batch, near)
        )
        if verdict is None and order.reduce_only:
            unfit = self._check_reduce_only(order, order.qty, held, batch)
            verdict = unfit or self._check_behind(order, order.qty, held, batch)
        if verdict is None:
            verdict = self._check_risk(order, held, batch)
        if verdict.code is not None and not verdict.order_id:
            verdict = Verdict(verdict.code, verdict.reason, verdict.value, verdict.bound, (), order.order_id)
        if batch is not ALONE:
            batch.seen.add(order.order_id)
            batch.entries[order.order_id] = order
        return self._with_near(verdict) if near else verdict

    def _check_reduce_only(self, order: Order, qty: int, held: Holding, batch: Batch | None) -> Verdict | None:
        entry = batch.entries.get(order.parent_id or "") if batch is not None else None
        if entry is not None and entry.side != order.side and qty <= entry.qty:
            return None
        available = max(-order.side * held.position, 0)
        if qty <= available:
            return None
        value, bound = str(from_nano(qty)), str(from_nano(available))
        return deny(Code.REDUCE_ONLY, "position that a reduce-only order could reduce, units", value, bound)

    def _check_behind(self, order: Order, more: int, held: Holding, batch: Batch) -> Verdict:
        """
        Judge where plain orders could lead once a reduce-only order, `more` larger than before (nano), has filled.

        A plain order that only reduced may open the other side when something else closes the position first. An
        exit is denied for what it makes worse only, not for a limit that the market has carried the account beyond.
        """
        buying = order.side == BUY
        if batch is ALONE and (held.top(more) + held.buys <= 0 if buying else held.bottom(more) - held.sells >= 0):
            return ALLOWED
        known = {measure[0]: measure[1] for measure in self._measures(held, order.side, 0, batch, 0)}
        trial = Batch() if batch is ALONE else batch
        if not trial.add_exit(order, more, held):
            return ALLOWED
        if not buying and self.long_only:
            return self._beyond_long(start(held, trial)[1] - working(held, trial)[1])
        after = self._measures(held, order.side, 0, trial, 0)
        return self._exceeded([measure for measure in after if measure[1] > known.get(measure[0], 0)])

    def _check_risk(self, order: Order, held: Holding, batch: Batch) -> Verdict:
        qty = order.qty
        verdict = ALLOWED
        if not (held.position and self._reduces(held, order, qty, batch)):
            price2 = self._price2(order, held, order.price, order.trigger)
            count = len(self.exposure.working) + batch.count + 1
            verdict = self._measure(order, held, qty, (qty, price2), batch, count)
        if batch is not ALONE:
            batch.add(order, held)
        return verdict

    @staticmethod
    def _reduces(held: Holding, order: Order, qty: int, batch: Batch) -> bool:
        (top, bottom), (buys, sells) = start(held, batch), working(held, batch)
        if order.side == BUY:
            return held.position < 0 and top + buys + qty <= 0
        return held.position > 0 and bottom - sells - qty >= 0

    @staticmethod
    def _price2(order: Order, held: Holding, price: int | None, trigger: int | None) -> int:
        for level in (price, order.price, trigger, order.trigger):
            if level is not None:
                return 2 * level
        return held.mid2

    def _measure(
        self, order: Order, held: Holding, grow: int, own: tuple[int, int], batch: Batch, count: int
    ) -> Verdict:
        limits = self.limits
        equity2 = self.equity2
        if equity2 <= self.calm2:
            loss = self.losses(equity2)
            if loss.code is not None:
                return loss
        qty, price2 = own
        if self.long_only:
            sells = held.sells + batch.sells.get(order.instrument, 0) + (0 if order.side == BUY else grow)
            lowest = start(held, batch)[1] - sells
            if lowest < 0:
                return self._beyond_long(lowest)
        soft, notional2 = limits.soft, qty * price2
        own_far = qty < soft.order_qty_n and notional2 < soft.order_notional2
        if own_far and batch is ALONE and count < soft.open_orders and self.far(held, order.side, grow):
            return ALLOWED
        measures = self._measures(held, order.side, grow, batch, count)
        if own_far and not measures:
            return ALLOWED
        return self._exceeded(
            [
                (Code.ORDER_QTY, qty, limits.order_qty_n, "quantity of the order, units", "n"),
                (Code.ORDER_NOTIONAL, notional2, limits.order_notional2, "notional of the order", "m"),
                *measures,
            ]
        )

    @staticmethod
    def _beyond_long(lowest: int) -> Verdict:
        return deny(Code.LONG_ONLY, "lowest position that could follow, units", str(from_nano(lowest)), "0")

    def _is_near(self, value: int, bound: int, unit: str) -> bool:
        near_n = self.limits.near_n
        return value >= soft_count(bound, near_n) if unit == "c" else value * NANO >= near_n * bound

    def _with_near(self, verdict: Verdict) -> Verdict:
        """Add the momentary near-misses of an allowed command, and forget them."""
        near = (*self._near, *verdict.near)
        self._near.clear()
        return Verdict(near=near) if verdict.code is None else verdict

    def _exceeded(self, measures: list[_Measure]) -> Verdict:
        """Return a denial for the first limit that is exceeded, else what is near its limit."""
        near: list[Use] = []
        for code, value, bound, words, unit in measures:
            if bound is None:
                continue
            if value > bound:
                return deny(code, words, text(value, unit), text(bound, unit))
            if self._is_near(value, bound, unit):
                near.append(Use(code, text(value, unit), text(bound, unit)))
        return Verdict(near=tuple(near)) if near else ALLOWED

    def _measures(self, held: Holding, side: int, grow: int, batch: Batch, count: int) -> list[_Measure]:
        """Return what the exposures would be; nothing if all are far from their limits."""
        limits, exposure, mid2 = self.limits, self.exposure, held.mid2
        (top, bottom), (buys, sells) = start(held, batch), working(held, batch)
        before = max(top + buys, sells - bottom)
        hi2, lo2 = exposure.hi2 + batch.hi2, exposure.lo2 + batch.lo2
        if side == BUY:
            buys += grow
            hi2 += grow * mid2
        else:
            sells += grow
            lo2 -= grow * mid2
        worst = max(top + buys, sells - bottom)
        gross2 = exposure.gross2 + batch.gross2 + (worst - before) * mid2
        net2 = max(hi2, -lo2)
        soft = limits.soft
        if (
            worst * mid2 < soft.instrument2
            and worst < soft.inventory_n
            and gross2 < soft.gross2
            and net2 < soft.net2
            and count < soft.open_orders
        ):
            return []
        return [
            (Code.INVENTORY, worst, limits.inventory_n, "worst-case position, units", "n"),
            (Code.INSTRUMENT_EXPOSURE, worst * mid2, limits.instrument2, "worst-case exposure", "m"),
            (Code.GROSS_EXPOSURE, gross2, limits.gross2, "sum of worst-case exposures", "m"),
            (Code.NET_EXPOSURE, net2, limits.net2, "net worst-case exposure", "m"),
            (Code.OPEN_ORDERS, count, self.template.open_orders_max, "working orders", "c"),
        ]
