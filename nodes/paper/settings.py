"""Settings of a paper node: those of a run, and the feed, the account and the journal of a node."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from omegaconf import DictConfig
from pydantic import AfterValidator, Field, field_validator

from alphatrade.nodes.paper.entry import FIELD, Entered, entered
from alphatrade.nodes.paper.redis_server import CacheSpec
from alphatrade.nodes.refusals import checked
from alphatrade.nodes.sessions import SessionSpec
from alphatrade.nodes.settings import Settings, plain_from, settings_of
from alphatrade.nodes.tape import Kind
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.kill import latch_dir
from alphatrade.strategies.policy import Spec, canonical

ENVS = ("paper", "live-shadow")
KEYS = "binance_testnet"  # what the names of the broker's keys begin with
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Url = Annotated[str, Field(pattern=r"^(http|ws)s?://[^\s/?#@]+(/[^\s?#@]*)?$")]
Symbol = Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9._-]{0,23}$")]
BARS = (1, 60, 180, 300, 900, 1800, 3600, 7200, 14_400, 21_600, 28_800, 43_200, 86_400)


# No parser is asked what an address means: the one that connects might read it otherwise.
LOCAL = re.compile(r"(http|ws)://(127\.0\.0\.1|localhost):[0-9]{1,5}(/[A-Za-z0-9_/-]*)?")


def _on_loopback(address: str) -> str:
    if not LOCAL.fullmatch(address):
        raise ValueError("an exchange on this machine, as http://127.0.0.1:8080; without it orders go to the testnet")
    return address


Local = Annotated[str, AfterValidator(_on_loopback)]


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


class BrokerSpec(Spec):
    """
    Who executes orders.

    Attributes
    ----------
    kind : {"simulated", "binance"}
        The venue of a replay, inside the node; or the exchange's testnet, by the bundled client. Money is at stake in
        neither.
    http, ws_api : str, optional
        Addresses on this machine, in place of the testnet's.
    secrets_dir : Path, optional
        Folder with the keys ``binance_testnet_api_key`` and ``binance_testnet_api_secret``; none: the keyring.
    check_s : float
        Seconds between two readings of the exchange's books.
    """

    kind: Literal["simulated", "binance"] = "simulated"
    http: Local | None = None
    ws_api: Local | None = None
    secrets_dir: Path | None = None
    check_s: Annotated[float, Field(ge=0.1, le=3600)] = 10.0

    @property
    def testnet(self) -> bool:
        """Whether no money is at stake where there is no address."""
        return True

    @property
    def keys(self) -> str:
        """What the names of its keys begin with."""
        return KEYS

    @property
    def place(self) -> str:
        """Where orders go, in a word."""
        if self.kind == "simulated":
            return self.kind
        return f"{self.kind} on loopback" if self.http else f"{self.kind} testnet"


class MetricsSpec(Spec):
    """
    The endpoint of a node's metrics.

    Attributes
    ----------
    enabled : bool
    host : str
        Address to listen on: anybody who reaches it may read.
    port : int
        0: any that is free.
    """

    enabled: bool = True
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 9464


class PaperSettings(NamedTuple):
    """What a paper node is told; `entry` of the ledger entry that its policy was taken from."""

    settings: Settings
    feed: FeedSpec | LiveFeedSpec
    broker: BrokerSpec
    sessions: SessionSpec
    account: str
    journal: bool
    cache: CacheSpec = CacheSpec()
    entry: Mapping[str, Any] | None = None
    metrics: MetricsSpec = MetricsSpec()


def paper_settings(config: DictConfig) -> PaperSettings:
    """
    Validate a composed configuration.

    Raises
    ------
    ConfigError
        Naming path, value and expectation of the first problem.
    """
    return node_settings(
        config, ENVS, BrokerSpec, lambda plain: None if plain.get(FIELD) is None else entered(plain[FIELD])
    )


def node_settings(
    config: DictConfig,
    envs: Sequence[str],
    broker_type: type[BrokerSpec],
    policy: Callable[[dict[str, Any]], Entered | None],
) -> PaperSettings:
    """
    Validate a composed configuration of a node.

    Parameters
    ----------
    config : DictConfig
    envs : sequence of str
        The environments that it may run in.
    broker_type : type of BrokerSpec
    policy : callable
        Takes what it knows out of the plain values, and returns a policy of the ledger, or None: that of the values.

    Raises
    ------
    ConfigError
        Naming path, value and expectation of the first problem.
    """
    plain = plain_from(config)
    told = _part(plain, "feed")
    live = isinstance(told, dict) and told.get("source") != "replay"
    feed = checked(LiveFeedSpec, told, "feed") if live else checked(FeedSpec, told, "feed")
    broker = checked(broker_type, _part(plain, "broker"), "broker")
    sessions = checked(SessionSpec, _part(plain, "sessions"), "sessions")
    cache = checked(CacheSpec, _part(plain, "cache"), "cache")
    metrics = checked(MetricsSpec, _part(plain, "metrics"), "metrics")
    account, journal = _part(plain, "account"), _part(plain, "journal")
    if not isinstance(account, str):
        raise ConfigError("account", account, "a name")
    latch_dir(".", "paper", account)  # refuses what could not name its folder
    if not isinstance(journal, bool):
        raise ConfigError("journal", journal, "true or false")
    found, entry = policy(plain), None
    _part(plain, FIELD)
    if found is not None:
        entry = found.entry
        plain |= {"policy": canonical(found.policy), "genotype": None}
    settings = settings_of(plain, envs)
    return _fits(PaperSettings(settings, feed, broker, sessions, account, journal, cache, entry, metrics))


def _part(plain: dict[str, Any], name: str) -> Any:
    if name not in plain:
        raise ConfigError(name, "nothing", "what conf/paper.yaml has there")
    return plain.pop(name)


def _fits(own: PaperSettings) -> PaperSettings:
    """Refuse an exchange that executes where something else does not fit it: all has to be of one place."""
    broker, feed, run = own.broker, own.feed, own.settings.run
    if broker.kind == "simulated":
        return own
    if run.env.name == "live-shadow":
        raise ConfigError("broker", broker.kind, "simulated in the shadow, where nothing is executed")
    if isinstance(feed, FeedSpec) or feed.source != broker.kind:
        raise ConfigError("broker", broker.kind, f"feed={broker.kind}, too: an exchange executes at its own prices")
    if (broker.http is None) != (broker.ws_api is None):
        raise ConfigError("broker.ws_api", broker.ws_api, "both, broker.http and broker.ws_api, or neither")
    for at, name in zip(feed.addresses, ("feed", "feed.fallback"), strict=False):
        local = all(LOCAL.fullmatch(one or "") for one in (at.http, at.ws))
        if broker.http is not None and not local:
            raise ConfigError(f"{name}.http", at.http, "the feed of the exchange on this machine: its http and ws")
        if broker.http is None and not (at.testnet == broker.testnet and at.http is None and at.ws is None):
            words = f"{str(broker.testnet).lower()}, and no other address: orders go to {broker.place}"
            raise ConfigError(f"{name}.testnet", at.testnet, words)
    if run.venue.account != "cash":
        raise ConfigError("venue.account", run.venue.account, "cash: what is not held cannot be sold there")
    if not own.journal:
        raise ConfigError("journal", False, "true: without it a position at an exchange is forgotten in a crash")
    return own
