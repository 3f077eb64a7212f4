"""Settings of a paper node: those of a run, and the feed, the broker, the account and the journal of a node."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from omegaconf import DictConfig
from pydantic import AfterValidator, Field

from alphatrade.nodes.paper.entry import FIELD, Entered, entered
from alphatrade.nodes.paper.feeds import FeedSpec, LiveFeedSpec
from alphatrade.nodes.paper.redis_server import CacheSpec
from alphatrade.nodes.refusals import checked
from alphatrade.nodes.sessions import SessionSpec
from alphatrade.nodes.settings import Settings, plain_from, settings_of
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.kill import latch_dir
from alphatrade.strategies.policy import Spec, canonical

ENVS = ("paper", "live-shadow")
KEYS = "binance_testnet"  # what the names of the broker's keys begin with
# No parser is asked what an address means: the one that connects might read it otherwise.
LOCAL = re.compile(r"(http|ws)://(127\.0\.0\.1|localhost):[0-9]{1,5}(/[A-Za-z0-9_/-]*)?")


def _on_loopback(address: str) -> str:
    if not LOCAL.fullmatch(address):
        raise ValueError("an exchange on this machine, as http://127.0.0.1:8080; without it orders go to the testnet")
    return address


Local = Annotated[str, AfterValidator(_on_loopback)]


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
