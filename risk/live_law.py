"""The law of the environment ``live``: the whole law, for what a permit covers, with caps on money paid and money lost.

*Out* is the money that a permit has paid and not got back: what was spent under it before this run, and what fills of
this run cost, fees included, less what sales have brought. It is never counted as less than what the open positions
have cost, so that a profit raises no cap. A buy counts at its limit price, with the fee, from its approval to its end;
so *out* with all working buys is the most that a venue can have taken, whatever fills first. A mark lowers it never.

*Worst loss* is *out* less what the positions would bring if the next price were ``jump_max`` lower and all were sold
at its bid, with working buys filled where that makes it worse. An order has to leave it within the cap; a mark that
puts it beyond stops trading. So a loss goes beyond the cap only where prices fall by more than ``jump_max`` between the
last mark before the stop and the sale. All in integers, nano and atto.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from alphatrade.risk.exploration import Exploration
from alphatrade.risk.exploring_law import ExploringLaw
from alphatrade.risk.exposure import BUY, Order
from alphatrade.risk.handover import handed
from alphatrade.risk.limits import Code, Verdict, deny
from alphatrade.risk.permit import NONE, Permit, lapsed, unfit
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.units import NANO, from_atto

KINDS = ("LIMIT", "MARKET")  # what an approval can be made for


class LiveLaw(ExploringLaw):
    """
    The law, which denies every order until there is a permit for it; long or flat, whatever a configuration says.

    Parameters
    ----------
    template, capital, long_only, exploration
        As for :class:`~alphatrade.risk.exploring_law.ExploringLaw`; `long_only` changes nothing here.

    Attributes
    ----------
    permit : Permit
        Judged by from the next order on.
    paid : int
        What the fills of this run have cost, less what they have brought, atto.
    """

    permit: Permit = NONE

    def __init__(
        self,
        template: RiskTemplate,
        capital: int | None = None,
        long_only: bool = True,
        exploration: Exploration | None = None,
    ) -> None:
        super().__init__(template, capital, True, exploration)
        self.stops |= {Code.LOSS_CAP, Code.PERMIT_ENDED}
        self.paid = 0

    # -- judgement

    def check(self, orders: Sequence[Order], now: int) -> Verdict:
        """Judge orders by time and scope of the permit, then as the law does, then by the caps of the permit."""
        for order in orders:
            denial = unfit(self.permit, order.instrument, now) or _unbounded(order)
            if denial is not None:
                return replace(denial, order_id=order.order_id)
        verdict = super().check(orders, now)
        buys = [order for order in orders if order.side == BUY]
        return self._capped(buys) or verdict if buys and verdict.code is None else verdict

    def check_modify(
        self, order: Order | None, qty: int | None, price: int | None, trigger: int | None, now: int
    ) -> Verdict:
        """Deny every change: an order is cancelled, and another one sent."""
        return deny(Code.PERMIT_SCOPE, "no order is modified in live: cancel it and send another one")

    def on_mark(self, instrument: str, bid: int, ask: int, ts: int) -> Verdict:
        """Value the account as the law does; deny where the worst loss is beyond the cap, or the permit has lapsed."""
        verdict = super().on_mark(instrument, bid, ask, ts)
        if verdict.code is not None or self.permit is NONE:
            return verdict
        return self._lost() or lapsed(self.permit, ts) or verdict

    def on_fill(
        self, order_id: str, instrument: str, side: int, qty: int, price: int, fee: int, owner: str = "",
        strategy: str = "", kept: int = 0,
    ) -> int:  # fmt: skip
        """Book a fill as the law does, and what it cost or brought."""
        before = self.exposure.cash
        realized = super().on_fill(order_id, instrument, side, qty, price, fee, owner, strategy, kept)
        self.paid += before - self.exposure.cash
        return realized

    def quiet_band(self, instrument: str) -> None:
        """Return None: every price counts, as each moves the worst loss."""

    # -- figures, atto

    def money_out(self) -> int:
        """Return what was paid and has not come back, without working orders."""
        cost = sum(held.basis for held in self.exposure.holdings.values())
        return max(self.permit.spent + self.paid, cost)

    def committed(self, more: Iterable[Order] = ()) -> int:
        """Return what would be out if all working buys filled at their limits, and `more` likewise."""
        return self.money_out() + sum(qty * price for _, qty, price in self._buys(more))

    def worst_loss(self, more: Iterable[Order] = ()) -> int:
        """Return what would be lost after a jump of the price, working buys and `more` filled where that is worse."""
        loss, exits = self.money_out(), dict[str, int]()
        for name, held in self.exposure.holdings.items():
            exits[name] = self._bringing(held.bid)
            loss -= held.position * exits[name]
        for name, qty, price in self._buys(more):
            loss += qty * max(price - exits[name], 0)
        return loss

    def headroom(self) -> tuple[int, int]:
        """Return what is left of the capital and of the loss that the permit allows; negative: none, and how far."""
        return self.permit.capital - self.committed(), self.permit.loss - self.worst_loss()

    # -- parts

    def _buys(self, more: Iterable[Order]) -> Iterator[tuple[str, int, int]]:
        """Yield instrument, quantity that may still fill, and what one costs, of each working buy and of `more`."""
        for order in self.exposure.working.values():
            if order.side == BUY:
                yield order.instrument, order.reserved, self._costing(order)
        for order in more:
            yield order.instrument, order.qty, self._costing(order)

    def _costing(self, order: Order) -> int:
        """
        Return the highest price of a buy with its fee; what is taken over from another node has none.

        One without a price, which only an earlier node can have sent, takes the rest.
        """
        limit = self.permit.capital * NANO if order.price is None else order.price
        return limit if handed(order.order_id) else self._paying(limit)

    def _paying(self, price: int) -> int:
        return -(-price * (NANO + self.permit.fee) // NANO)  # rounded up

    def _bringing(self, bid: int) -> int:
        return bid * (NANO - self.limits.jump_n) * (NANO - self.permit.fee) // NANO**2

    def _capped(self, buys: Sequence[Order]) -> Verdict | None:
        """Return the denial of buys that a cap of the permit has no room for."""
        last = buys[-1].order_id
        if (out := self.committed(buys)) > self.permit.capital:
            words = "money out with all working buys, of the capital of the permit"
            return _beyond(Code.CAPITAL_CAP, words, out, self.permit.capital, last)
        if (loss := self.worst_loss(buys)) > self.permit.loss:
            words = "loss after a jump of the price, with all working buys, of what the permit lets be lost"
            return _beyond(Code.LOSS_ROOM, words, loss, self.permit.loss, last)
        return None

    def _lost(self) -> Verdict | None:
        if (loss := self.worst_loss()) <= self.permit.loss:
            return None
        words = "loss after another jump of the price, of what the permit lets be lost"
        return _beyond(Code.LOSS_CAP, words, loss, self.permit.loss)


def _unbounded(order: Order) -> Verdict | None:
    """Return the denial of an order that no approval can be made for, or of which nobody can say what it may cost."""
    if order.kind not in KINDS:
        return deny(Code.PERMIT_SCOPE, f"{order.kind} orders are not sent in live")
    if order.side == BUY and order.price is None:
        return deny(Code.UNBOUNDED, "a buy needs a limit price in live: see venue.bounded_market")
    return None


def _beyond(code: Code, words: str, value: int, bound: int, order_id: str = "") -> Verdict:
    return deny(code, words, f"{from_atto(value):f}", f"{from_atto(bound):f}", order_id)
