"""Flat: hold nothing, rest nothing."""

from alphatrade.strategies.topologies.base import Desire, Topology, View


class Flat(Topology):
    """Close what is held and stay out."""

    def desire(self, view: View) -> Desire:  # noqa: D102
        return Desire(0, (), None, "stay out")
