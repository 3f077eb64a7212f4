"""Realised PnL per decision: the gross result of each closing fill, by average cost, booked to who closed.

Positions are those of each strategy, as Nautilus nets them: what a canary closes is its own.
"""

from alphatrade.risk.units import NANO


class Realised:
    """Average-cost positions per instrument and strategy, and the realised PnL of each decision."""

    def __init__(self) -> None:
        self._positions: dict[tuple[str, str], tuple[float, float]] = {}
        self._pnl: dict[int, float] = {}

    def fill(self, decision: int, instrument: str, units: float, price: float, strategy: str = "") -> None:
        """Take a fill of a strategy: signed units (+ bought) at `price`, quote currency."""
        held, average = self._positions.get((instrument, strategy), (0.0, 0.0))
        after = held + units
        if held * units < 0.0:
            closed = min(abs(units), abs(held)) * (1.0 if held > 0.0 else -1.0)
            self._pnl[decision] = self._pnl.get(decision, 0.0) + closed * (price - average)
            average = price if held * after < 0.0 else average
        else:
            average = (average * held + price * units) / after
        if abs(after) < 0.5 / NANO:
            after = average = 0.0
        self._positions[instrument, strategy] = (after, average)

    def of(self, decision: int) -> int | None:
        """Return the realised PnL of a decision in nano units of the quote currency; None if it closed nothing."""
        pnl = self._pnl.get(decision)
        return None if pnl is None else round(pnl * NANO)
