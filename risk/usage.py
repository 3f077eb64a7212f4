"""How much of each standing limit is used: what an operator sees of the law. Nothing is judged here."""

from typing import NamedTuple

from alphatrade.risk.caps import CappedLaw
from alphatrade.risk.exposure import Holding
from alphatrade.risk.law import Law
from alphatrade.risk.limits import Code
from alphatrade.risk.live_law import LiveLaw
from alphatrade.risk.units import ATTO, NANO

_MONEY2 = 2 * 10**18  # in one unit of the account currency


class Used(NamedTuple):
    """What is used of a limit, and the limit, in its own unit."""

    value: float
    bound: float


def used(law: Law, now: int, value2: int | None = None) -> dict[Code, Used]:
    """
    Return the use of each limit that lasts longer than an order; nothing before the capital is known.

    Exposures are worst cases: what working orders could bring about is in them.

    Parameters
    ----------
    law : Law
    now : int
        UTC ns, for the rate of orders.
    value2 : int, optional
        What the positions are worth, 0.5e-18 of money; None: at the marks of the law.

    Returns
    -------
    dict of Code to Used
        Exposures and the loss of the day in the account currency, of instruments the largest; the inventory in units;
        working orders, and orders in the last sixty seconds; the drawdown as a fraction; in live what is out, and what
        would be lost after a jump of the price, of what the permit lets be.
    """
    if law.capital is None:
        return {}
    limits, template, book = law.limits, law.template, law.exposure
    worst = [(_worst(held), held.mid2) for held in book.holdings.values()]
    equity2 = 2 * law.funds()[0] + (book.value2 if value2 is None else value2)
    peak2 = law.funds()[1]
    found = {
        Code.GROSS_EXPOSURE: Used(book.gross2 / _MONEY2, limits.gross2 / _MONEY2),
        Code.NET_EXPOSURE: Used(max(book.hi2, -book.lo2) / _MONEY2, limits.net2 / _MONEY2),
        Code.INSTRUMENT_EXPOSURE: Used(
            max((qty * mid2 for qty, mid2 in worst), default=0) / _MONEY2, limits.instrument2 / _MONEY2
        ),
        Code.OPEN_ORDERS: Used(len(book.working), template.open_orders_max),
        Code.ORDER_RATE: Used(law.pace.in_minute(now), template.orders_per_minute),
        Code.DRAWDOWN: Used(max(peak2 - equity2, 0) / peak2 if peak2 > 0 else 0.0, limits.drawdown_n / NANO),
    }
    if law.day >= 0:
        found[Code.DAILY_LOSS] = Used(max(law.day_start2 - equity2, 0) / _MONEY2, limits.daily_loss2 / _MONEY2)
    if limits.inventory_n is not None:
        found[Code.INVENTORY] = Used(max((qty for qty, _ in worst), default=0) / NANO, limits.inventory_n / NANO)
    if isinstance(law, LiveLaw) and law.permit.capital:
        found[Code.CAPITAL_CAP] = Used(law.committed() / ATTO, law.permit.capital / ATTO)
        found[Code.LOSS_CAP] = Used(law.worst_loss() / ATTO, law.permit.loss / ATTO)
    if isinstance(law, CappedLaw) and (capped := law.capped()) is not None:
        found[Code.CAP] = Used(capped[0] / _MONEY2, capped[1] / _MONEY2)
    return found


def _worst(held: Holding) -> int:
    """Return the largest position that may follow, in size, nano."""
    return max(held.top() + held.buys, held.sells - held.bottom())
