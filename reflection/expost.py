"""Ex-post outcomes: what each decision's fills were worth some steps later, net of every cost.

Mark-out at horizon h of a decision taken at step s, in bps of the notional it filled by then::

    (position of its fills * mid[s + h] - cash paid for them - fees) / filled notional * 1e4

Spread, slippage and fees are inside, because the fills are the real ones. A decision without a fill has outcome 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

BPS = 1e4


@dataclass(slots=True)
class Outcome:
    """
    Outcome of one decision.

    Attributes
    ----------
    decision, ts, step : int
        Id, event time (UTC ns) and step of the decision.
    mid : float
        Reference price at the decision.
    side : int
        Sign of its net fills.
    cost_bps : float
        Fees and distance of the fill prices from `mid`, bps of filled notional.
    markouts : list of float or None
        One per horizon, bps net of costs; None where the tape ended before.
    known : list of int or None
        Event time at which each was known.
    """

    decision: int
    ts: int
    step: int
    mid: float
    side: int = 0
    cost_bps: float = 0.0
    markouts: list[float | None] = field(default_factory=list)
    known: list[int | None] = field(default_factory=list)


@dataclass(slots=True)
class _Tally:
    """Fills of one decision so far: signed units, cash paid, fees, notional."""

    units: float = 0.0
    paid: float = 0.0
    fees: float = 0.0
    notional: float = 0.0


class MarkOuts:
    """
    Follows the decisions of one instrument until their longest horizon.

    Parameters
    ----------
    horizons : sequence of int
        Ascending, in decision steps.
    """

    def __init__(self, horizons: Sequence[int]) -> None:
        self._horizons = tuple(horizons)
        self._open: dict[int, list[Outcome]] = {}
        self._tallies: dict[int, _Tally] = {}

    def decided(self, decision: int, ts: int, step: int, mid: float) -> None:
        """Start following a decision."""
        n = len(self._horizons)
        self._open.setdefault(step, []).append(
            Outcome(decision, ts, step, mid, markouts=[None] * n, known=[None] * n)
        )

    def filled(self, decision: int, units: float, price: float, fee: float) -> None:
        """Take a fill: signed units (+ bought), price and fee in quote currency."""
        tally = self._tallies.setdefault(decision, _Tally())
        tally.units += units
        tally.paid += units * price
        tally.fees += fee
        tally.notional += abs(units) * price

    def step(self, step: int, ts: int, mid: float) -> list[Outcome]:
        """Take the price of a step; return the decisions whose longest horizon it completes."""
        for at, horizon in enumerate(self._horizons):
            for outcome in self._open.get(step - horizon, ()):
                tally = self._tallies.get(outcome.decision)
                outcome.markouts[at] = self._worth(tally, mid) if tally else 0.0
                outcome.known[at] = ts
        return self._finish(self._open.pop(step - self._horizons[-1], []))

    def close(self) -> list[Outcome]:
        """Return what is still open, with None for the horizons that the tape does not reach."""
        left = [outcome for step in sorted(self._open) for outcome in self._open[step]]
        self._open.clear()
        return self._finish(left)

    def _finish(self, outcomes: list[Outcome]) -> list[Outcome]:
        for outcome in outcomes:
            tally = self._tallies.pop(outcome.decision, None)
            if tally is not None:
                outcome.side = (tally.units > 0) - (tally.units < 0)
                outcome.cost_bps = (tally.fees + tally.paid - tally.units * outcome.mid) / tally.notional * BPS
        return outcomes

    @staticmethod
    def _worth(tally: _Tally, mid: float) -> float:
        return (tally.units * mid - tally.paid - tally.fees) / tally.notional * BPS
