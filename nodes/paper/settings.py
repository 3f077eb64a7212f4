"""Settings of a paper node: those of a run, and the feed, the account and the journal of a node."""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from omegaconf import DictConfig
from pydantic import AfterValidator, Field

from alphatrade.nodes.refusals import checked
from alphatrade.nodes.sessions import SessionSpec
from alphatrade.nodes.settings import Settings, plain_from, settings_of
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.kill import latch_dir
from alphatrade.strategies.policy import Spec


def _on_loopback(address: str) -> str:
    if urlsplit(address).hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError("an address on this machine: on paper orders go to the testnet, or to an exchange on loopback")
    return address


Address = Annotated[str, AfterValidator(_on_loopback)]


class FeedSpec(Spec):
    """
    Where market data come from.

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
    http: Address | None = None
    ws_api: Address | None = None
    secrets_dir: Path | None = None
    check_s: Annotated[float, Field(ge=0.1, le=3600)] = 10.0


class PaperSettings(NamedTuple):
    """What a paper node is told."""

    settings: Settings
    feed: FeedSpec
    broker: BrokerSpec
    sessions: SessionSpec
    account: str
    journal: bool


def paper_settings(config: DictConfig) -> PaperSettings:
    """
    Validate a composed configuration.

    Raises
    ------
    ConfigError
        Naming path, value and expectation of the first problem.
    """
    plain = plain_from(config)
    feed = checked(FeedSpec, _part(plain, "feed"), "feed")
    broker = checked(BrokerSpec, _part(plain, "broker"), "broker")
    sessions = checked(SessionSpec, _part(plain, "sessions"), "sessions")
    account, journal = _part(plain, "account"), _part(plain, "journal")
    if not isinstance(account, str):
        raise ConfigError("account", account, "a name")
    latch_dir(".", "paper", account)  # refuses what could not name its folder
    if not isinstance(journal, bool):
        raise ConfigError("journal", journal, "true or false")
    return PaperSettings(settings_of(plain, "paper"), feed, broker, sessions, account, journal)


def _part(plain: dict[str, Any], name: str) -> Any:
    if name not in plain:
        raise ConfigError(name, "nothing", "what conf/paper.yaml has there")
    return plain.pop(name)
