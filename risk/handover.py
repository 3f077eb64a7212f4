"""What one node hands over to the next on the same account: a position that is bought without asking an exchange.

The next node takes it over by orders of its own, which its law judges as any other; their ids begin with `PREFIX`.
What the law denies it takes over itself, and sells it: else it were held and watched by nobody. An exchange has none of
these orders, so that whoever compares books with an exchange leaves them out.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

PREFIX = "HANDOVER-"
FILE = "handover.json"  # in the folder of an account: what is left, and not taken over yet
KIND = "handover"  # of the rows that tell of it among risk events; its code in capitals
LEFT_BY = "left by run "  # how such a row says whose it was
PARTS = 50  # orders by which one position is taken over, at most
BY_LAW = "-LAW"  # ends the id of an order by which the law itself takes over what it has denied, to sell it


class Part(NamedTuple):
    """One order by which something is taken over: its id, and instrument, quantity and price as plain decimals."""

    order_id: str
    instrument: str
    qty: str
    price: str


class HandOver(NamedTuple):
    """
    What is taken over.

    Attributes
    ----------
    run : str
        Which has left it.
    since : int
        Before this moment nothing was paid for it, UTC ns.
    parts : tuple of Part
    """

    run: str
    since: int
    parts: tuple[Part, ...]

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"run": self.run, "since": self.since, "parts": [list(part) for part in self.parts]}


def hand_over_of(plain: Mapping[str, Any]) -> HandOver:
    """Return what was told as plain values, see :meth:`HandOver.plain`."""
    return HandOver(plain["run"], plain["since"], tuple(Part(*part) for part in plain["parts"]))


def handed(order_id: str) -> bool:
    """Return whether an order, by its id, takes something over, so that no exchange has it."""
    return order_id.startswith(PREFIX)


def split(qty: Decimal, most: Decimal, lot: Decimal) -> tuple[Decimal, ...]:
    """
    Return a quantity in parts of at most `most`, no two of the same size: equal orders in a row look like a runaway.

    What is left after `PARTS` of them is the last part, whatever its size: the law judges it.
    """
    parts, left, size = list[Decimal](), qty, most // lot * lot
    while left > 0:
        part = left if len(parts) == PARTS - 1 else min(left, max(size, lot))
        parts.append(part)
        left, size = left - part, size - lot
    return tuple(parts)
