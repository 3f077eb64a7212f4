"""Ex-post outcomes: what each decision's fills were worth some steps later, net of every cost.

Mark-out at horizon h of a decision taken at step s, in bps of the notional it filled by then::

    (position of its fills * mid[s + h] - cash paid for them - fees) / filled notional * 1e4

Spread, slippage and fees are inside, because the fills are the real ones. A decision without a fill has outcome 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

BPS = 1e4


class Outcome(NamedTuple):
    """
    Outcome of one decision.

    Attributes
    ----------
    decision, ts : int
        Id and event time (UTC ns) of the decision.
    side : int
        Sign of its net fills.
    cost_bps : float
        Fees and distance of the fill prices from the mid at the decision, bps of filled notional.
    markouts : list of float or None
        One per horizon, bps net of costs; None where the tape ended before.
    known : list of int or None
        Event time at which each was known.
    """

    decision: int
    ts: int
    side: int
    cost_bps: float
    markouts: list[float | None]
    known: list[int | None]


@dataclass(slots=True)
class _Tally:
    """Fills of one decision so far: signed units, cash paid, fees, notional, and the mark-outs taken."""

    units: float = 0.0
    paid: float = 0.0
    fees: float = 0.0
    notional: float = 0.0
    markouts: dict[int, float] = field(default_factory=dict)

    def worth(self, mid: float) -> float:
        """Return the mark-out at `mid`, bps of the filled notional."""
        return (self.units * mid - self.paid - self.fees) / self.notional * BPS


class MarkOuts:
    """
    Follows the decisions of one instrument until their longest horizon.

    Few decisions are filled, so the work of a step is to look at those that were.

    Parameters
    ----------
    horizons : sequence of int
        Ascending, in decision steps.
    """

    def __init__(self, horizons: Sequence[int]) -> None:
        self._horizons = tuple(horizons)
        self._longest = self._horizons[-1]
        self._open: dict[int, list[tuple[int, int, float]]] = {}  # by step: decision, ts, mid
        self._stamps: dict[int, int] = {}  # by step, as long as a decision needs it
        self._step_of: dict[int, int] = {}  # step of each decision that was filled
        self._tallies: dict[int, _Tally] = {}

    def decided(self, decision: int, ts: int, step: int, mid: float) -> None:
        """Start following a decision."""
        self._open.setdefault(step, []).append((decision, ts, mid))

    def filled(self, decision: int, step: int, units: float, price: float, fee: float) -> None:
        """Take a fill of a decision made at `step`: signed units (+ bought), price and fee in quote currency."""
        tally = self._tallies.get(decision)
        if tally is None:
            tally = self._tallies[decision] = _Tally()
            self._step_of[decision] = step
        tally.units += units
        tally.paid += units * price
        tally.fees += fee
        tally.notional += abs(units) * price

    def step(self, step: int, ts: int, mid: float) -> list[Outcome]:
        """Take the price of a step; return the decisions whose longest horizon it completes."""
        stamps, then = self._stamps, step - self._longest
        stamps[step] = ts
        for decision, tally in self._tallies.items():
            age = step - self._step_of[decision]
            if age in self._horizons:
                tally.markouts[age] = tally.worth(mid)
        done = self._open.pop(then, None)
        outcomes = [self._outcome(row, then, step) for row in done] if done else []
        stamps.pop(then, None)
        return outcomes

    def close(self) -> list[Outcome]:
        """Return what is still open, with None for the horizons that the tape does not reach."""
        last = max(self._stamps, default=-1)
        left = [self._outcome(row, step, last) for step in sorted(self._open) for row in self._open[step]]
        self._open.clear()
        return left

    def _outcome(self, row: tuple[int, int, float], step: int, last: int) -> Outcome:
        decision, ts, mid = row
        stamps = self._stamps
        known = [stamps.get(step + h) if step + h <= last else None for h in self._horizons]
        tally = self._tallies.pop(decision, None)
        if tally is None:
            return Outcome(decision, ts, 0, 0.0, [0.0 if step + h <= last else None for h in self._horizons], known)
        del self._step_of[decision]
        side = (tally.units > 0) - (tally.units < 0)
        cost = (tally.fees + tally.paid - tally.units * mid) / tally.notional * BPS
        markouts = [tally.markouts.get(h, 0.0) if step + h <= last else None for h in self._horizons]
        return Outcome(decision, ts, side, cost, markouts, known)
