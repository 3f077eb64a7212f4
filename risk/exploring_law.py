"""The whole law: the limits of the account, and on top of them the budget of what is explored."""

from collections.abc import Sequence

from alphatrade.risk.batch import ALONE
from alphatrade.risk.exploration import Exploration
from alphatrade.risk.exposure import Order
from alphatrade.risk.law import Law
from alphatrade.risk.limits import Code, Verdict, deny
from alphatrade.risk.template import RiskTemplate


class ExploringLaw(Law):
    """
    The law, with the budget consulted for every order that is marked as explored.

    Parameters
    ----------
    template, capital, long_only
        As for :class:`~alphatrade.risk.law.Law`.
    exploration : Exploration, optional
        The budget; none: nothing may be explored.
    """

    def __init__(
        self,
        template: RiskTemplate,
        capital: int | None = None,
        long_only: bool = False,
        exploration: Exploration | None = None,
    ) -> None:
        super().__init__(template, capital, long_only)
        self.exploration = exploration or Exploration()
        self._asked = (0, 0)  # quantity (nano) and doubled price of the change of an explored order just judged

    def check(self, orders: Sequence[Order], now: int) -> Verdict:
        """Judge orders as the law does, then what is explored among them."""
        verdict = super().check(orders, now)
        if verdict.code is None:
            for order in orders:
                if order.explores and self.opens(order, order.qty):
                    return self._check_explored(order, len(orders), verdict) or verdict
        return verdict

    def commit(self, orders: Sequence[Order], now: int) -> None:
        """Count approved orders as working, and reserve for the explored ones."""
        for order in orders:
            if order.explores and self.opens(order, order.qty):
                price2 = self._price2(order, self.exposure.holding(order.instrument), order.price, order.trigger)
                self.exploration.commit(order, order.qty, price2)
        super().commit(orders, now)

    def check_modify(
        self, order: Order | None, qty: int | None, price: int | None, trigger: int | None, now: int
    ) -> Verdict:
        """Judge a change as the law does, then as one of an explored order."""
        verdict = super().check_modify(order, qty, price, trigger, now)
        if order is None or verdict.code is not None or order.order_id not in self.exploration.opening:
            return verdict
        leaves = max((order.qty if qty is None else qty) - order.filled, order.reserved)
        self._asked = leaves, self._price2(order, self.exposure.holding(order.instrument), price, trigger)
        return self._near_denial(verdict) or self.exploration.check(order, *self._asked) or verdict

    def commit_modify(self, order: Order, qty: int | None, now: int) -> None:
        """Reserve for an approved change."""
        if order.order_id in self.exploration.opening:
            self.exploration.commit(order, *self._asked)
        super().commit_modify(order, qty, now)

    def on_fill(
        self, order_id: str, instrument: str, side: int, qty: int, price: int, fee: int, owner: str = "",
        strategy: str = "", kept: int = 0,
    ) -> int:  # fmt: skip
        """Book a fill as the law does, and as flow."""
        self.exploration.filled(order_id, qty, price)
        return super().on_fill(order_id, instrument, side, qty, price, fee, owner, strategy, kept)

    def on_closed(self, order_id: str) -> None:
        """Forget a working order, and what was reserved for it."""
        self.exploration.closed(order_id)
        super().on_closed(order_id)

    def opens(self, order: Order, qty: int) -> bool:
        """Return whether `qty` (nano) of an order may open or enlarge a position: is no exit, whatever fills first."""
        held = self.exposure.holding(order.instrument)
        return not order.reduce_only and not self._reduces(held, order, qty, ALONE)

    def _check_explored(self, order: Order, together: int, verdict: Verdict) -> Verdict | None:
        if together > 1:
            return deny(Code.EXPLORATION, "explored orders are sent one by one", str(together), "1", order.order_id)
        held = self.exposure.holding(order.instrument)
        price2 = self._price2(order, held, order.price, order.trigger)
        return self._near_denial(verdict) or self.exploration.check(order, order.qty, price2)

    @staticmethod
    def _near_denial(verdict: Verdict) -> Verdict | None:
        """Return a denial of what would use a limit beyond the near-miss share: nothing is explored near a limit."""
        for use in verdict.near:
            words = f"near {use.code}: explored orders stay far from limits"
            return deny(Code.EXPLORATION, words, use.value, use.bound)
        return None
