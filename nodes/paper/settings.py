"""Settings of a paper node: those of a run, and the feed, the account and the journal of a node."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from omegaconf import DictConfig
from pydantic import Field

from alphatrade.nodes.paper.entry import entered
from alphatrade.nodes.paper.redis_server import CacheSpec
from alphatrade.nodes.refusals import checked
from alphatrade.nodes.sessions import SessionSpec
from alphatrade.nodes.settings import Settings, plain_from, settings_of
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.kill import latch_dir
from alphatrade.strategies.policy import Spec, canonical


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


class PaperSettings(NamedTuple):
    """What a paper node is told; `entry` of the ledger entry that its policy was taken from."""

    settings: Settings
    feed: FeedSpec
    sessions: SessionSpec
    account: str
    journal: bool
    cache: CacheSpec = CacheSpec()
    entry: Mapping[str, Any] | None = None


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
    sessions = checked(SessionSpec, _part(plain, "sessions"), "sessions")
    cache = checked(CacheSpec, _part(plain, "cache"), "cache")
    account, journal = _part(plain, "account"), _part(plain, "journal")
    if not isinstance(account, str):
        raise ConfigError("account", account, "a name")
    latch_dir(".", "paper", account)  # refuses what could not name its folder
    if not isinstance(journal, bool):
        raise ConfigError("journal", journal, "true or false")
    name, entry = _part(plain, "policy_entry"), None
    if name is not None:
        policy, entry = entered(name)
        plain |= {"policy": canonical(policy), "genotype": None}
    return PaperSettings(settings_of(plain, "paper"), feed, sessions, account, journal, cache, entry)


def _part(plain: dict[str, Any], name: str) -> Any:
    if name not in plain:
        raise ConfigError(name, "nothing", "what conf/paper.yaml has there")
    return plain.pop(name)
