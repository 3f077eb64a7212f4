"""Two-sided maker: rest a bid and an ask around a mid that leans against inventory (Avellaneda & Stoikov 2008)."""

from typing import Annotated

from pydantic import Field

from alphatrade.strategies.topologies.base import Desire, Limit, Params, Topology, View


class MakerParams(Params):
    """
    `half_spread` counts step volatilities; `skew` the share of it moved per clip of inventory.

    A side stops quoting at `max_clips` of inventory.
    """

    half_spread: Annotated[float, Field(gt=0, le=50)] = 0.8
    skew: Annotated[float, Field(ge=0, le=5)] = 0.4
    clips: Annotated[float, Field(gt=0, le=1)] = 0.5
    max_clips: Annotated[float, Field(gt=0, le=10)] = 1.5


class TwoSidedMaker(Topology):
    """Both sides at once, skewed by inventory."""

    Params = MakerParams

    def desire(self, view: View) -> Desire:  # noqa: D102
        p = self.p
        half = max(p.half_spread * view.vol * view.mid, 0.5 * (view.ask - view.bid))
        centre = view.mid - p.skew * half * view.inventory
        limits = []
        if view.inventory < p.max_clips:
            limits.append(Limit(1, min(centre - half, view.bid), p.clips))
        if view.inventory > -p.max_clips:
            limits.append(Limit(-1, max(centre + half, view.ask), p.clips))
        return Desire(None, tuple(limits), None, ("quote both sides at %+.1f clips", view.inventory))
