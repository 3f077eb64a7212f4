"""Taker momentum: cross the spread in the direction of a strong standardised signal, leave when it fades."""

from typing import Annotated

from pydantic import Field

from alphatrade.strategies.topologies.base import Desire, Params, Topology, View


class MomentumParams(Params):
    """Enter beyond `enter` standard deviations, leave when the signal is back inside `leave`."""

    signal: str = "ret_20"
    enter: Annotated[float, Field(gt=0, le=4)] = 1.5
    leave: Annotated[float, Field(ge=-4, le=4)] = 0.0
    hold_min: Annotated[int, Field(ge=0, le=10_000)] = 5


class TakerMomentum(Topology):
    """Market orders with the signal's sign."""

    Params = MomentumParams

    def desire(self, view: View) -> Desire:  # noqa: D102
        p, z = self.p, float(view.z[self.at])
        if z >= p.enter:
            return Desire(1, (), None, ("%s %+.2fsd", p.signal, z))
        if z <= -p.enter:
            return Desire(-1, (), None, ("%s %+.2fsd", p.signal, z))
        if view.position and view.held >= p.hold_min and z * view.position <= p.leave:
            return Desire(0, (), None, ("%s faded to %+.2fsd", p.signal, z))
        return Desire(None, (), None, ("%s %+.2fsd", p.signal, z))
