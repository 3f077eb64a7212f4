"""Breakout with stop: follow a break of the recent range, protected by a trailing reduce-only stop order."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from alphatrade.strategies.topologies.base import Desire, Params, Topology, View


class BreakoutParams(Params):
    """
    `signal` is a range feature (0 = low, 1 = high); a close beyond the range by `margin` widths is a break.

    `stop` counts step volatilities from the best price since entry.
    """

    signal: str = "range_60"
    margin: Annotated[float, Field(ge=0, le=1)] = 0.0
    stop: Annotated[float, Field(gt=0, le=100)] = 4.0
    hold_max: Annotated[int, Field(ge=1, le=100_000)] = 120


class BreakoutStop(Topology):
    """Market entry, trailing stop."""

    Params = BreakoutParams

    def __init__(self, params: Any, features: Sequence[str]) -> None:
        super().__init__(params, features)
        self._stop = 0.0
        self._side = 0

    def desire(self, view: View) -> Desire:  # noqa: D102
        p, where = self.p, float(view.features[self.at])
        if view.position == 0:
            self._side = 0
            if where >= 1.0 + p.margin:
                return Desire(1, (), None, ("broke above the range (%.2f)", where))
            if where <= -p.margin:
                return Desire(-1, (), None, ("broke below the range (%.2f)", where))
            return Desire(None, (), None, ("inside the range (%.2f)", where))
        if view.held >= p.hold_max:
            return Desire(0, (), None, ("held %s steps", view.held))
        level = view.mid * (1.0 - view.position * p.stop * view.vol)
        if self._side != view.position:
            self._side, self._stop = view.position, level
        self._stop = max(self._stop, level) if view.position > 0 else min(self._stop, level)
        if (view.mid - self._stop) * view.position <= 0.0:
            return Desire(0, (), None, "price is through the stop")
        return Desire(None, (), self._stop, "trail the stop")
