"""Worlds in which the regime says which execution topology pays, by a map that is drawn from the seed.

A stretch of such a world has a *look* that anyone can see (quiet or busy, its book leaning to the bid or to the ask)
and a *nature* that nobody is told: prices persist, revert, or just wander. The map from look to nature is drawn, with
each nature behind at least one look, so that no fixed table from what is seen to what is done can be right everywhere.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphatrade.nodes.tape_spec import WorldTape
from alphatrade.nodes.world_state import Floats, Regime

LOOKS: tuple[str, ...] = ("quiet-ask", "quiet-bid", "busy-ask", "busy-bid")
LOOK_VOL = (1.0, 1.0, 1.8, 1.8)  # bp per root second
LOOK_LEAN = (-2.5, 2.5, -2.5, 2.5)  # of the standardised imbalance
NATURES = ("persist", "revert", "wander")
PAYS = {"persist": "taker_momentum", "revert": "passive_reversion", "wander": "flat"}
DRIFT = 0.07  # of a persisting price, bp per second and unit of volatility
PULL = 1 / 20  # of a reverting one to its anchor, per second


class Hidden(NamedTuple):
    """The truth behind every step: look and nature (their places in the tuples above) and the direction of drift."""

    look: NDArray[np.int8]
    nature: NDArray[np.int8]
    side: NDArray[np.int8]


def draw(spec: WorldTape, steps: int, rng: np.random.Generator) -> Hidden:
    """Draw the map and the stretches: every round visits each look once, in a drawn order."""
    natures = rng.permutation(np.array([0, 1, 2, int(rng.integers(0, len(NATURES)))], np.int8))
    look, side = np.empty(steps, np.int8), np.empty(steps, np.int8)
    first = 0
    while first < steps:
        for place in rng.permutation(len(LOOKS)).tolist():
            seconds = spec.regime_s * (0.5 + int(rng.integers(0, 1024)) / 1024.0)
            last = first + max(1, round(seconds / spec.step_s))
            look[first:last], side[first:last] = place, 2 * int(rng.integers(0, 2)) - 1
            first = last
    return Hidden(look, natures[look], side)


def dynamics(hidden: Hidden) -> tuple[list[Regime], NDArray[np.int16], Floats]:
    """
    Return the dynamics that occur, the place of each step's among them, and how far its book leans.

    A change of place is a change of stretch: the anchor of a reverting price is where its stretch began.
    """
    kinds: list[Regime] = []
    for vol in LOOK_VOL:
        kinds += [
            Regime(DRIFT * vol, vol, 0.0),
            Regime(-DRIFT * vol, vol, 0.0),
            Regime(0.0, vol, PULL),
            Regime(0.0, vol, 0.0),
        ]
    within = np.where(hidden.nature == 0, np.where(hidden.side > 0, 0, 1), hidden.nature + 1)
    return kinds, (hidden.look * 4 + within).astype(np.int16), np.array(LOOK_LEAN)[hidden.look]


def names(hidden: Hidden) -> dict[str, NDArray[np.object_]]:
    """Return the truth in words: the look as ``regime``, the nature, and the kind of topology that pays in it."""
    natures = np.array(NATURES, dtype=object)
    pays = np.array([PAYS[nature] for nature in NATURES], dtype=object)
    return {
        "regime": np.array(LOOKS, dtype=object)[hidden.look],
        "nature": natures[hidden.nature],
        "pays": pays[hidden.nature],
    }
