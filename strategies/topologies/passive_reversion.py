"""Passive reversion: rest a limit against a stretched move, leave by a limit at the mean or by time."""

from typing import Annotated

from pydantic import Field

from alphatrade.strategies.topologies.base import Desire, Limit, Params, Topology, View


class ReversionParams(Params):
    """`offset` and `profit` count step volatilities from the mid; `hold_max` counts steps."""

    signal: str = "ret_5"
    enter: Annotated[float, Field(gt=0, le=4)] = 1.0
    offset: Annotated[float, Field(ge=0, le=50)] = 0.5
    profit: Annotated[float, Field(ge=0, le=50)] = 1.5
    hold_max: Annotated[int, Field(ge=1, le=10_000)] = 20


class PassiveReversion(Topology):
    """One resting limit order: the entry while flat, the exit while holding."""

    Params = ReversionParams

    def desire(self, view: View) -> Desire:  # noqa: D102
        p, z = self.p, float(view.z[self.at])
        if view.position:
            if view.held >= p.hold_max:
                return Desire(0, (), None, ("held %s steps", view.held))
            price = view.entry * (1.0 + view.position * p.profit * view.vol)
            leave = Limit(-view.position, price, abs(view.inventory), True)
            return Desire(None, (leave,), None, "rest the exit")
        if abs(z) < p.enter:
            return Desire(None, (), None, ("%s %+.2fsd is not stretched", p.signal, z))
        side = -1 if z > 0 else 1
        price = view.mid * (1.0 - side * p.offset * view.vol)
        return Desire(None, (Limit(side, price, 1.0),), None, ("%s stretched %+.2fsd", p.signal, z))
