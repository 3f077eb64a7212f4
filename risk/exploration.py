"""The exploration budget as law: how much of the flow may be explored, how often what is explored may change.

Flow is the notional of fills; explored flow is that of orders marked as explored which can open or enlarge a position.
On every prefix of a run ``explored <= share * flow``. The law counts it from its own fills and reserves, for every
explored order that works, what it would come to with a margin. What can only reduce a position is never judged here,
and counts as flow only. One freeze lasts for the run.
"""

from collections import Counter
from dataclasses import dataclass

from alphatrade.risk.exposure import Order
from alphatrade.risk.limits import Code, Verdict, deny, floor_nano, text
from alphatrade.risk.units import NANO

LOCKED = frozenset({"live"})  # environments in which nothing is explored, whatever a configuration says
FROZEN = "frozen"


@dataclass(slots=True)
class _Claim:
    """What one explored order may still fill: nano, and its doubled price with the margin (nano)."""

    left: int
    price2: int

    @property
    def notional2(self) -> int:
        """In 0.5e-18 of money."""
        return self.left * self.price2


class Exploration:
    """
    The budget of one account.

    Parameters
    ----------
    share : float
        Explored notional over notional, at most, on every prefix; 0 lets nothing be explored.
    every : int
        Decision steps of an instrument between two changes of what is explored in it, at least.
    margin : float
        How much further than its price an order is reserved at, fraction: slippage must not break the budget.

    Attributes
    ----------
    frozen : str
        Why nothing is explored any more; empty before.
    flow2, explored2 : int
        Notional filled so far, 0.5e-18 of money.
    """

    def __init__(self, share: float = 0.0, every: int = 1, margin: float = 0.0) -> None:
        self.share_n, self.every, self.margin_n = floor_nano(share), every, floor_nano(margin)
        self.frozen = ""
        self.flow2 = self.explored2 = 0
        self.opening: set[str] = set()  # every explored order that was approved; membership only
        self._claims: dict[str, _Claim] = {}
        self._held2 = 0  # sum of the claims
        self._steps: Counter[str] = Counter()  # decision steps seen, by instrument
        self._arms: dict[str, tuple[str, int]] = {}  # by instrument: what is explored, and since which step

    @property
    def working(self) -> list[str]:
        """Ids of the explored orders that may still fill, oldest first."""
        return list(self._claims)

    def claim2(self, order_id: str) -> int:
        """Return what an explored order may still come to, 0.5e-18 of money."""
        claim = self._claims.get(order_id)
        return 0 if claim is None else claim.notional2

    @property
    def room2(self) -> int:
        """What may still be explored now, 0.5e-18 of money."""
        return self.share_n * self.flow2 // NANO - self.explored2 - self._held2

    def step(self, instrument: str) -> None:
        """Count a decision step of an instrument; told by perception, not by a strategy."""
        self._steps[instrument] += 1

    def freeze(self, why: str) -> bool:
        """Let nothing be explored from now on; False if that was so before."""
        if self.frozen:
            return False
        self.frozen = why
        return True

    # -- judgement

    def check(self, order: Order, qty: int, price2: int) -> Verdict | None:
        """
        Return a denial of an order that is marked as explored and can open, or of its change; None: it may.

        Parameters
        ----------
        order : Order
        qty : int
            What it may fill at most, nano.
        price2 : int
            Its price, or the mid, doubled (nano).
        """
        if self.frozen:
            return deny(Code.EXPLORATION, f"{FROZEN}: {self.frozen}")
        arm, since = self._arms.get(order.instrument, ("", 0))
        steps = self._steps[order.instrument] - since
        if arm not in ("", order.explores) and steps < self.every:
            words = f"decisions since {arm} was explored first, before {order.explores} may be"
            return deny(Code.EXPLORATION, words, str(steps), f"at least {self.every}")
        known = self._claims.get(order.order_id)
        need2, room2 = qty * self._with_margin(price2), self.room2 + (known.notional2 if known else 0)
        if need2 > room2:
            words = "explored notional that may still be filled, with margin"
            return deny(Code.EXPLORATION, words, text(need2, "m"), text(max(room2, 0), "m"))
        return None

    def commit(self, order: Order, qty: int, price2: int) -> None:
        """Reserve for an approved explored order, or for its change: never less than before."""
        price2, claim = self._with_margin(price2), self._claims.get(order.order_id)
        if self._arms.get(order.instrument, ("", 0))[0] != order.explores:
            self._arms[order.instrument] = order.explores, self._steps[order.instrument]
        self.opening.add(order.order_id)
        if claim is None:
            claim = self._claims[order.order_id] = _Claim(qty, price2)
            self._held2 += claim.notional2
            return
        self._held2 -= claim.notional2
        claim.left, claim.price2 = max(claim.left, qty), max(claim.price2, price2)
        self._held2 += claim.notional2

    def filled(self, order_id: str, qty: int, price: int) -> None:
        """Count a fill (nano, nano) of any order."""
        self.flow2 += 2 * qty * price
        if order_id not in self.opening:
            return
        self.explored2 += 2 * qty * price
        claim = self._claims.get(order_id)
        if claim is not None:
            self._held2 -= claim.notional2
            claim.left = max(claim.left - qty, 0)
            self._held2 += claim.notional2

    def closed(self, order_id: str) -> None:
        """Give back what an order will not fill any more; an unknown id is ignored."""
        claim = self._claims.pop(order_id, None)
        if claim is not None:
            self._held2 -= claim.notional2

    def _with_margin(self, price2: int) -> int:
        return -(-price2 * (NANO + self.margin_n) // NANO)  # rounded up
