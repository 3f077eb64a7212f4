"""The small interface of an execution topology: a view of the world in, a desired state out.

A topology never sends an order. It says what it would like to hold and to have resting, in *clips* (the sized unit
that the Organism computes from volatility and the risk template); the Organism brings the account there.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict

Array = np.ndarray[tuple[int], np.dtype[Any]]


class View(msgspec.Struct, gc=False):
    """
    What a topology may look at.

    Attributes
    ----------
    step : int
        Decision step.
    mid, bid, ask : float
        Reference price.
    vol : float
        Realised volatility of one step, fraction.
    features, z : ndarray, shape (d,)
        Raw and standardised features, in the order of the policy's feature names.
    position : int
        Sign of the position held: -1, 0 or 1.
    inventory : float
        Position in clips.
    entry : float
        Average entry price; 0 while flat.
    held : int
        Steps since the position last became non-zero.
    """

    step: int
    mid: float
    bid: float
    ask: float
    vol: float
    features: Array
    z: Array
    position: int
    inventory: float
    entry: float
    held: int


class Limit(msgspec.Struct, frozen=True, gc=False):
    """A resting limit order: side (+1 buy, -1 sell), price, size in clips; `exit` only ever reduces."""

    side: int
    price: float
    clips: float
    exit: bool = False


class Desire(msgspec.Struct, frozen=True, gc=False):
    """
    The state a topology asks for.

    Attributes
    ----------
    target : int or None
        Side to hold, one clip: -1, 0 or 1; None keeps what is held.
    limits : tuple of Limit
        At most one a side; every other resting limit order is to go.
    stop : float or None
        Trigger price of a protective, reduce-only stop for the position.
    why : str or tuple
        A few words for the diary; or a %-format and its values, for words that are only put together to be read.
    """

    target: int | None
    limits: tuple[Limit, ...]
    stop: float | None
    why: str | tuple[Any, ...]

    @property
    def words(self) -> str:
        """`why`, put together."""
        return self.why if isinstance(self.why, str) else self.why[0] % self.why[1:]


class Params(BaseModel):
    """Base of topology parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Topology:
    """
    Base of execution topologies.

    Parameters
    ----------
    params : Params
        Validated parameters.
    features : sequence of str
        Feature names in vector order.
    """

    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: Any, features: Sequence[str]) -> None:
        self.p = params
        signal = getattr(params, "signal", None)
        self.at = features.index(signal) if signal in features else -1

    def desire(self, view: View) -> Desire:
        """Return the state asked for at this step."""
        raise TypeError(f"{type(self).__name__} does not define desire(view)")
