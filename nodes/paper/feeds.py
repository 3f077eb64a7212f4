"""What a node hears: a tape as a live feed, or the feed of an exchange, and a second way to it."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from alphatrade.nodes.tape import Kind
from alphatrade.strategies.policy import Spec

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Url = Annotated[str, Field(pattern=r"^(http|ws)s?://[^\s/?#@]+(/[^\s?#@]*)?$")]
Symbol = Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9._-]{0,23}$")]
BARS = (1, 60, 180, 300, 900, 1800, 3600, 7200, 14_400, 21_600, 28_800, 43_200, 86_400)


class FeedSpec(Spec):
    """
    A tape as a live feed.

    Attributes
    ----------
    source : {"replay"}
    speed : float or "max"
        Seconds of the tape in one of the wall.
    """

    source: Literal["replay"] = "replay"
    speed: Annotated[float, Field(gt=0, le=1e6)] | Literal["max"] = 1.0

    @property
    def pace(self) -> float:
        """Seconds of the tape in one of the wall; 0: as fast as it goes."""
        return 0.0 if self.speed == "max" else self.speed


class Address(Spec):
    """
    Where an exchange is reached.

    Attributes
    ----------
    source : str
        A key of :data:`alphatrade.nodes.paper.adapters.ADAPTERS`.
    testnet : bool
    http, ws : str, optional
        Roots of its interfaces; None: those that its adapter knows.
    """

    source: Literal["binance"]
    testnet: bool = False
    http: Url | None = None
    ws: Url | None = None

    @property
    def name(self) -> str:
        """What it is called in records: its address where one is given, never with anything secret in it."""
        return self.ws or (f"{self.source}-testnet" if self.testnet else self.source)


class FallbackSpec(Address):
    """
    A second way to the same exchange, for when the first is lost.

    Attributes
    ----------
    after_s : float
        Silence of the first after which the second is opened.
    back_s : float
        How long the first has to have been well before it is heard again.
    """

    after_s: Seconds = 20.0
    back_s: Seconds = 60.0


class LiveFeedSpec(Address):
    """
    The feed of an exchange.

    Attributes
    ----------
    symbols : tuple of str
        As the exchange spells them.
    kind : {"quotes", "trades", "bars"}
    bar_s : int
        Length of a bar, seconds.
    stall_s : float
        Silence after which a feed counts as lost and is connected anew; of bars, beyond the length of one.
    stale_after_s : float, optional
        Age at which a price is too old to trade on; None: quotes 10, trades 60, bars three bars, at least 60.
    half_spread_bps : float, optional
        Assumed around trades and bars; None: as for a tape.
    pause_s, pause_most_s : float
        Bounds of the drawn pause before the second try to connect, doubled with each further one, up to the most.
    fallback : FallbackSpec, optional
    """

    symbols: Annotated[tuple[Symbol, ...], Field(min_length=1, max_length=32)]
    kind: Kind = "quotes"
    bar_s: int = 60
    stall_s: Seconds = 10.0
    stale_after_s: Seconds | None = None
    half_spread_bps: Annotated[float, Field(ge=0, le=1000)] | None = None
    pause_s: Seconds = 0.5
    pause_most_s: Seconds = 30.0
    fallback: FallbackSpec | None = None

    @field_validator("bar_s")
    @classmethod
    def _named(cls, value: int) -> int:
        if value not in BARS:
            raise ValueError(f"one of {', '.join(map(str, BARS))}")
        return value

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The first, and the second if there is one."""
        return (self,) if self.fallback is None else (self, self.fallback)

    @property
    def silence_s(self) -> float:
        """Silence after which a feed counts as lost, seconds."""
        return self.stall_s + (self.bar_s if self.kind == "bars" else 0)

    @property
    def limit_s(self) -> float:
        """Silence after which somebody is told of it, seconds: until then it is connected anew."""
        return max(60.0, self.silence_s)

    def identity(self) -> dict[str, Any]:
        """Return what of it shapes the results."""
        return self.model_dump(
            mode="json", include={"source", "testnet", "symbols", "kind", "bar_s", "stale_after_s", "half_spread_bps"}
        )
