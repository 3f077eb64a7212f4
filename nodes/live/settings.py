"""Settings of a node with real orders: those of a node on paper, less what no such node may be told."""

from typing import Annotated, Any, Literal, NamedTuple

from omegaconf import DictConfig
from pydantic import Field

from alphatrade.nodes.live.anchor import Anchor
from alphatrade.nodes.paper.entry import FIELD, Entered, entered
from alphatrade.nodes.paper.settings import BrokerSpec, PaperSettings, node_settings
from alphatrade.nodes.refusals import checked
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_check import verify
from alphatrade.risk.errors import ConfigError, LedgerError
from alphatrade.strategies.policy import Spec

ENVS = ("live",)
STAGE = "limited_live"
INCUMBENT = "incumbent"  # the policy in charge of that stage, whichever it is
SANDBOX = "sandbox"  # an exchange on this machine


class LiveBrokerSpec(BrokerSpec):
    """
    Who executes real orders.

    Attributes
    ----------
    kind : {"binance"}
        An exchange whose adapter has a last door here.
    net : {"testnet", "mainnet"}
        Whether money is at stake.
    http, ws_api : str, optional
        Addresses on this machine: a sandbox, whatever `net` says.
    """

    kind: Literal["binance"] = "binance"
    net: Literal["testnet", "mainnet"] = "testnet"

    @property
    def testnet(self) -> bool:
        """Whether no money is at stake where there is no address."""
        return self.net == "testnet"

    @property
    def venue(self) -> str:
        """The venue as a permit names it."""
        return SANDBOX if self.http else self.net

    @property
    def keys(self) -> str:
        """What the names of its keys begin with."""
        return f"{self.kind}_{'testnet' if self.net == 'testnet' else 'live'}"

    @property
    def place(self) -> str:
        """Where orders go, in a word."""
        return f"{self.kind} {self.venue}"


class GuardSpec(Spec):
    """
    How a node with real orders is watched.

    Attributes
    ----------
    reconcile_min : float
        Minutes between two full reconciliations.
    look_s : float
        Seconds between two looks at the ledger.
    again_min : float
        Minutes between two checks of the key's rights.
    """

    reconcile_min: Annotated[float, Field(ge=0.02, le=60)] = 15.0
    look_s: Annotated[float, Field(ge=0.2, le=60)] = 60.0
    again_min: Annotated[float, Field(ge=0.02, le=60)] = 60.0


class LiveSettings(NamedTuple):
    """What a live node is told: as on paper, how it is watched, and where its law is from."""

    own: PaperSettings
    broker: LiveBrokerSpec
    guard: GuardSpec
    anchor: Anchor


def live_settings(config: DictConfig, anchor: Anchor) -> LiveSettings:
    """
    Validate a composed configuration.

    Raises
    ------
    ConfigError
        Naming path, value and expectation of the first problem.
    LedgerError
        If the ledger does not have the policy in stage limited_live.
    """
    guard: GuardSpec | None = None

    def take(plain: dict[str, Any]) -> Entered:
        nonlocal guard
        guard = checked(GuardSpec, plain.pop("guard", None), "guard")
        for name in ("policy_file", "genotype", "learned"):
            if plain.get(name) is not None:
                raise ConfigError(name, plain[name], f"nothing: what runs is what the ledger has ({FIELD})")
        return in_force(plain.get(FIELD), anchor)

    own = node_settings(config, ENVS, LiveBrokerSpec, take)
    assert guard is not None
    assert isinstance(own.broker, LiveBrokerSpec)
    return _fits(LiveSettings(own, own.broker, guard, anchor))


def in_force(name: object, anchor: Anchor) -> Entered:
    """
    Return the policy that the ledger has in stage limited_live, by its hash or as the incumbent.

    Raises
    ------
    ConfigError
        If none is named.
    LedgerError
        If the ledger is damaged, or has it not there.
    """
    if name is None:
        raise ConfigError(FIELD, None, f"{INCUMBENT}, or the policy_hash of a policy in stage {STAGE}")
    if name == INCUMBENT:
        name = Ledger(anchor.ledger).chain.stages.incumbent(STAGE)
        if not name:
            if odd := verify(anchor.ledger, anchor.fingerprint).problems:  # cut off, it has none in any stage
                raise LedgerError(f"{FIELD}, {anchor.ledger}", odd[0], "a ledger in which nothing is wrong")
            raise LedgerError(FIELD, f"no policy in stage {STAGE}", "one that two persons let in: alphatrade permit")
    found = entered(name, anchor.ledger)
    if found.entry["stage"] != STAGE:
        wanted = f"stage {STAGE}, which two persons let it into: alphatrade permit"
        raise LedgerError(FIELD, f"{found.entry['policy_hash'][:12]} in stage {found.entry['stage']}", wanted)
    if found.entry["ledger"] != anchor.fingerprint:
        raise LedgerError(FIELD, found.entry["ledger"][:12], f"{anchor.fingerprint[:12]}, of the anchor's ledger")
    return found


def _fits(live: LiveSettings) -> LiveSettings:
    """Refuse what no word may switch on where money is at stake."""
    run, policy = live.own.settings.run, live.own.settings.policy
    for name in ("exploration", "governed_feedback"):
        if getattr(run, name):
            raise ConfigError(name, True, "false in live, where nothing is tried out")
    if run.canary is not None:
        raise ConfigError("canary", "a policy", "none in live: one policy, which a permit names")
    if live.broker.net == "mainnet" and live.broker.http is not None:  # who knows what passes it on
        words = "testnet: keys of real money are not for an address on this machine, which calls itself a sandbox"
        raise ConfigError("broker.net", "mainnet", words)
    for part in (policy.features, policy.topologies):
        for name, one in part.items():
            if ":" in one.kind:  # its file is not in the hash of the code that a permit names
                raise ConfigError(f"policy, {name}", one.kind, "a kind of this package: no plug-in trades real money")
    if not run.venue.bounded_market:
        wanted = "true in live: what opens has a price, and no order is modified, but cancelled and sent anew"
        raise ConfigError("venue.bounded_market", False, wanted)
    if policy.risk.gross_max > 1:
        raise ConfigError("policy.risk.gross_max", policy.risk.gross_max, "at most 1: money that is there")
    return live
