"""The law of the environment ``live``: the whole law, for what a permit covers."""

from collections.abc import Sequence
from dataclasses import replace

from alphatrade.risk.exploring_law import ExploringLaw
from alphatrade.risk.exposure import Order
from alphatrade.risk.limits import Code, Verdict, deny
from alphatrade.risk.permit import NONE, Permit, unfit

KINDS = ("LIMIT", "MARKET")  # what an approval can be made for


class LiveLaw(ExploringLaw):
    """
    The law, which denies every order until there is a permit for it.

    Parameters
    ----------
    template, capital, long_only, exploration
        As for :class:`~alphatrade.risk.exploring_law.ExploringLaw`.

    Attributes
    ----------
    permit : Permit
        Judged by from the next order on.
    """

    permit: Permit = NONE

    def check(self, orders: Sequence[Order], now: int) -> Verdict:
        """Judge orders by time and scope of the permit, then as the law does."""
        for order in orders:
            denial = unfit(self.permit, order.instrument, now)
            if denial is None and order.kind not in KINDS:
                denial = deny(Code.PERMIT_SCOPE, f"{order.kind} orders are not sent in live")
            if denial is not None:
                return replace(denial, order_id=order.order_id)
        return super().check(orders, now)

    def check_modify(
        self, order: Order | None, qty: int | None, price: int | None, trigger: int | None, now: int
    ) -> Verdict:
        """Deny every change: an order is cancelled, and another one sent."""
        return deny(Code.PERMIT_SCOPE, "no order is modified in live: cancel it and send another one")
