"""Shim: the parts of a paper node, and how they are put together: a feed, a venue, the law, and the chain between."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGABRT, SIGINT, SIGTERM, getsignal, signal
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
from nautilus_trader.adapters.sandbox.config import SandboxExecutionClientConfig
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.config import (
    LiveDataEngineConfig,
    LiveExecEngineConfig,
    LiveRiskEngineConfig,
    TradingNodeConfig,
)
from nautilus_trader.live.config import LiveDataClientConfig
from nautilus_trader.live.factories import LiveExecClientFactory
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument

from alphatrade.nodes import feed, wiring
from alphatrade.nodes.engine import TRADER_ID
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.paper.chain import straighten
from alphatrade.nodes.paper.clock import node_clocks
from alphatrade.nodes.paper.factories import factory_of
from alphatrade.nodes.paper.feeds import LiveFeedSpec
from alphatrade.nodes.paper.intake import Intake
from alphatrade.nodes.paper.live_feed import LiveFeed, live_factory
from alphatrade.nodes.paper.mirror import Mirror
from alphatrade.nodes.paper.replay_feed import ReplayFeed, feed_factory
from alphatrade.nodes.paper.settings import BrokerSpec
from alphatrade.nodes.paper.venue import PaperVenue, venue_factory
from alphatrade.nodes.replay import Replay, members
from alphatrade.nodes.secrets import Secrets
from alphatrade.nodes.sessions import Sessions, SessionSpec
from alphatrade.nodes.stages import Stages
from alphatrade.nodes.status_line import StatusView
from alphatrade.nodes.tape import LiveMarket, Market
from alphatrade.risk.approval import Approvals
from alphatrade.risk.gate import RiskGate

if TYPE_CHECKING:
    from alphatrade.nodes.metrics_server import Watched
    from alphatrade.nodes.paper.broker import Broker
    from alphatrade.nodes.paper.link import Exchange


class Guard(Protocol):
    """
    Who watches over a node with real orders, from its start to its end.

    Attributes
    ----------
    switched : str
        Why the node is to start again once it has ended; empty: it is not.
    hands_over : bool
        Whether it is to leave what it holds to the one that starts then.
    """

    switched: str
    hands_over: bool

    async def begun(self) -> None:
        """Act before anything is sent: the journal has been read."""

    async def joined(self) -> None:
        """Act once the exchange is connected, before a market is heard."""

    async def run(self) -> None:
        """Watch until cancelled."""

    def stopped(self) -> None:
        """Let it end for good: a signal has come."""

    async def left(self) -> bool:
        """Leave what is held to the next node, nothing works any more; return whether that could be done."""

    async def ended(self, flat: bool) -> None:
        """Act while the exchange is still connected, after the last order."""

    def figures(self) -> Mapping[str, Any]:
        """Return what its metrics are, as fields of a reading."""


class LiveParts(NamedTuple):
    """
    What a node with real orders has in place of what a node on paper has.

    Attributes
    ----------
    exchange : Exchange
        In place of the testnet.
    broker_type : type of Broker
        Asks each order for its token.
    approvals : Approvals
        By which the gate makes the tokens.
    guard : callable, optional
        Returns who watches over the node, given its parts.
    """

    exchange: "Exchange"
    broker_type: "type[Broker]"
    approvals: Approvals
    guard: "Callable[[Parts], Guard] | None" = None


@dataclass(frozen=True, slots=True)
class Flight:
    """
    How a node runs: on paper, but for `live`.

    Attributes
    ----------
    speed : float
        Seconds of the tape in one of the wall; 0: as fast as it goes.
    state : Path, optional
        Folder of the kill switch and of losses that outlive the node; None keeps them in memory.
    account : str
        Names its part of that folder.
    journal : Journal, optional
        Of inputs: those that are in it are processed first, those that come are kept.
    sessions : Sessions
        When may be traded.
    view : StatusView, optional
        Where the node is shown.
    tell : callable
        Takes a line about the node itself.
    source : LiveFeedSpec, optional
        Where markets are heard live; None: their tapes are sent.
    mirror : Mirror, optional
        Copy of the cache in a Redis server.
    ready : callable, optional
        Shown the parts of the node before it runs.
    broker : BrokerSpec
        Who executes orders.
    watched : Watched, optional
        Serves its metrics.
    live : LiveParts, optional
        What makes its orders real; none: it runs on paper.
    """

    speed: float = 0.0
    state: Path | None = None
    account: str = "SIM"
    journal: Journal | None = None
    sessions: Sessions = field(default_factory=lambda: Sessions(SessionSpec()))
    view: StatusView | None = None
    tell: Callable[[str], object] = print
    source: LiveFeedSpec | None = None
    mirror: Mirror | None = None
    ready: Callable[["Parts"], None] | None = None
    broker: BrokerSpec = field(default_factory=BrokerSpec)
    watched: "Watched | None" = None
    live: LiveParts | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """A node and what moves it."""

    node: TradingNode
    gate: RiskGate
    intake: Intake
    venue: Any
    feed: ReplayFeed | LiveFeed
    stop: asyncio.Event
    stages: Stages
    guard: "Guard | None" = None

    @property
    def broker(self) -> "Broker | None":
        """The exchange that executes orders, if one does."""
        return None if isinstance(self.venue, PaperVenue) else self.venue


def config(what: Replay, run_dir: Path | None, flight: Flight) -> TradingNodeConfig:
    """Return a run as the configuration of a TradingNode: law, actors and strategies as in a replay."""
    sim = wiring.sim_config(what.policy, what.tapes, what.run, run_dir)
    first, own = what.tapes[0].instrument, sim.risk_engine
    kept = {} if flight.state is None else {"state_dir": str(flight.state), "account": flight.account}
    balance = f"{what.run.venue.starting_balance:f} {first.quote}"
    return TradingNodeConfig(
        trader_id=TRADER_ID,
        logging=LoggingConfig(log_level="OFF"),
        controller=msgspec.structs.replace(sim.controller, config=sim.controller.config | kept),
        actors=sim.actors,
        strategies=sim.strategies,
        portfolio=sim.portfolio,
        data_engine=LiveDataEngineConfig(graceful_shutdown_on_exception=True),
        risk_engine=LiveRiskEngineConfig(
            max_order_submit_rate=own.max_order_submit_rate, max_order_modify_rate=own.max_order_modify_rate,
            graceful_shutdown_on_exception=True,
        ),
        exec_engine=LiveExecEngineConfig(
            load_cache=False, reconciliation=False, inflight_check_interval_ms=0, graceful_shutdown_on_exception=True
        ),
        data_clients={first.venue: LiveDataClientConfig()},
        exec_clients={first.venue: SandboxExecutionClientConfig(venue=first.venue, starting_balances=[balance])},
        timeout_connection=10, timeout_reconciliation=5, timeout_portfolio=5, timeout_disconnection=5,
        timeout_post_stop=0.1,
        **({} if flight.mirror is None else flight.mirror.settings()),
    )  # fmt: skip


@contextmanager
def signals_left(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """
    Keep a kernel of Nautilus that is made meanwhile from taking signals on a loop.

    It would stop its strategies at once, and take a watchdog's SIGABRT for a wish to stop; and what comes before the
    loop runs would be lost, as uvloop never looks for it.
    """
    before = {one: getsignal(one) for one in (SIGABRT, SIGINT, SIGTERM)}

    def leave(number: int, *_: object) -> None:
        if before[number] is not None:  # else it is none of Python's: faulthandler has it
            signal(number, before[number])

    vars(loop)["add_signal_handler"] = leave
    try:
        yield
    finally:
        del vars(loop)["add_signal_handler"]


def build(what: Replay, run_dir: Path | None, flight: Flight, loop: asyncio.AbstractEventLoop) -> Parts:
    """Return a node that is ready to run."""
    tapes, name = what.tapes, what.tapes[0].instrument.venue
    instruments = [_instrument(tape, flight) for tape in what.priced]
    feeds, venues = list[ReplayFeed | LiveFeed](), list[Any]()
    with node_clocks(min(tape.begin for tape in tapes)), signals_left(loop):
        node = TradingNode(config(what, run_dir, flight), loop=loop)
    if flight.mirror is not None:
        flight.mirror.begin(node.kernel.cache)
    for instrument in instruments:
        node.kernel.cache.add_instrument(instrument)
    made = name, instruments, feeds
    factory = feed_factory(*made) if flight.source is None else live_factory(*made, flight.source, flight.tell)
    node.add_data_client_factory(name, factory)
    node.add_exec_client_factory(name, _execution(what, flight, venues))
    node.build()
    gate = node.kernel._controller
    if flight.live is not None:
        gate.live_gate.approvals = flight.live.approvals
    straighten(node, gate)
    stages = Stages(*(members(node.trader, kind) for kind in ("Perception", "Organism")))
    intake = Intake(node, gate, venues[0], flight.sessions, flight.source is not None)
    parts = Parts(node, gate, intake, venues[0], feeds[0], asyncio.Event(), stages)
    if parts.broker is not None:
        assert isinstance(parts.feed, LiveFeed)  # an exchange executes at its own prices
        parts.broker.attach(intake.broker, lambda why: gate.trip("RECONCILE", why, "broker"), parts.feed.fail)
    return parts


def _instrument(tape: Market, flight: Flight) -> Instrument:
    """Return an instrument, as exact as an exchange that executes has it."""
    if flight.broker.kind == "simulated" or not isinstance(tape, LiveMarket):
        return feed.instrument(tape.instrument)
    return feed.instrument(tape.instrument, True, tape.min_notional)


def _execution(what: Replay, flight: Flight, made: list[Any]) -> type[LiveExecClientFactory]:
    """Return the factory of who executes orders."""
    spec = flight.broker
    if spec.kind == "simulated":
        return venue_factory(wiring.venue_arguments(what.tapes, what.run), made)
    from alphatrade.nodes.paper.broker import Broker
    from alphatrade.nodes.paper.link import Exchange

    instruments = tuple(InstrumentId.from_str(tape.instrument.id) for tape in what.tapes)
    testnet = Broker, Exchange(spec.http, spec.ws_api, instruments)
    who = testnet if flight.live is None else (flight.live.broker_type, flight.live.exchange)
    given = Secrets(spec.secrets_dir), spec.check_s, flight.tell

    def make(loop: asyncio.AbstractEventLoop, bus: MessageBus, cache: Any, clock: LiveClock) -> Broker:
        kind, exchange = who
        return kind(loop, cache, clock, bus, exchange, *given)

    return factory_of(LiveExecClientFactory, make, made)
