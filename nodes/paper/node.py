"""Shim: a policy in a Nautilus TradingNode on paper: a feed, the paper venue, the law, and the chain between them."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from pathlib import Path
from signal import SIGABRT, SIGINT, SIGTERM
from time import perf_counter_ns

import msgspec
from nautilus_trader.adapters.sandbox.config import SandboxExecutionClientConfig
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.config import (
    LiveDataEngineConfig,
    LiveExecEngineConfig,
    LiveRiskEngineConfig,
    TradingNodeConfig,
)
from nautilus_trader.live.config import LiveDataClientConfig
from nautilus_trader.live.node import TradingNode

from alphatrade.actors.cadence import SECOND_NS
from alphatrade.nodes import feed, wiring
from alphatrade.nodes.engine import TRADER_ID
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.paper.chain import straighten
from alphatrade.nodes.paper.clock import TIME, node_clocks
from alphatrade.nodes.paper.intake import Intake
from alphatrade.nodes.paper.mirror import Mirror
from alphatrade.nodes.paper.pulse import Pulse
from alphatrade.nodes.paper.record import Recorder
from alphatrade.nodes.paper.replay_feed import BATCH, ReplayFeed, feed_factory
from alphatrade.nodes.paper.venue import PaperVenue, venue_factory
from alphatrade.nodes.replay import Replay, ReplayOutput, collect
from alphatrade.nodes.sessions import Sessions, SessionSpec
from alphatrade.nodes.status_line import StatusView
from alphatrade.risk.gate import RiskGate
from alphatrade.risk.kill import latch_dir

ARRIVE_S = 0.01  # between two looks at what should have arrived
ROUNDS = 60  # seconds of the node's time in which a node that is stopped may become flat


@dataclass(frozen=True, slots=True)
class Flight:
    """
    How a node runs on paper.

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
    mirror : Mirror, optional
        Copy of the cache in a Redis server.
    ready : callable, optional
        Shown the parts of the node before it runs.
    """

    speed: float = 0.0
    state: Path | None = None
    account: str = "SIM"
    journal: Journal | None = None
    sessions: Sessions = field(default_factory=lambda: Sessions(SessionSpec()))
    view: StatusView | None = None
    tell: Callable[[str], object] = print
    mirror: Mirror | None = None
    ready: Callable[["Parts"], None] | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """A node and what moves it."""

    node: TradingNode
    gate: RiskGate
    intake: Intake
    venue: PaperVenue
    feed: ReplayFeed
    stop: asyncio.Event


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


def fly(what: Replay, run_dir: Path | None, flight: Flight) -> ReplayOutput:
    """
    Run a policy on paper until its tape or the user ends it.

    Parameters
    ----------
    what : Replay
    run_dir : Path, optional
        Where records and diary go; None writes nothing.
    flight : Flight

    Returns
    -------
    ReplayOutput
        As of a replay.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    parts = build(what, run_dir, flight, loop)
    if flight.ready is not None:
        flight.ready(parts)
    try:
        started = time.perf_counter()
        loop.run_until_complete(_run(parts, what, flight))
        return collect(parts.node, started, parts.venue.watch)
    finally:
        dispose(parts.node, loop)
        TIME.now = 0


def dispose(node: TradingNode, loop: asyncio.AbstractEventLoop) -> None:
    """Let go of a node that has stopped, and of what it has left on its loop."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    node.dispose()


def build(what: Replay, run_dir: Path | None, flight: Flight, loop: asyncio.AbstractEventLoop) -> Parts:
    """Return a node that is ready to run."""
    tapes, name = what.tapes, what.tapes[0].instrument.venue
    instruments = [feed.instrument(tape.instrument) for tape in what.priced]
    feeds, venues = list[ReplayFeed](), list[PaperVenue]()
    with node_clocks(min(tape.span[0] for tape in tapes)):
        node = TradingNode(config(what, run_dir, flight), loop=loop)
    if flight.mirror is not None:
        flight.mirror.begin(node.kernel.cache)
    for instrument in instruments:
        node.kernel.cache.add_instrument(instrument)
    node.add_data_client_factory(name, feed_factory(name, instruments, feeds))
    node.add_exec_client_factory(name, venue_factory(wiring.venue_arguments(tapes, what.run), venues))
    node.build()
    loop.remove_signal_handler(SIGABRT)  # a watchdog's: Nautilus would stop, as if asked to, and not be started again
    gate = node.kernel._controller
    straighten(node, gate)
    return Parts(node, gate, Intake(node, gate, venues[0], flight.sessions), venues[0], feeds[0], asyncio.Event())


async def _run(parts: Parts, what: Replay, flight: Flight) -> None:
    node, kernel = parts.node, parts.node.kernel
    running = kernel.loop.create_task(node.run_async())
    while not kernel.trader.is_running:
        if running.done():
            running.result()
            return
        await asyncio.sleep(0.001)
    known = 0 if flight.journal is None else await _recover(parts, what, flight.journal)
    events = merge(*(what.events(tape) for tape in what.priced), key=lambda event: event.ts_init)
    for signal in (SIGINT, SIGTERM):
        kernel.loop.add_signal_handler(signal, parts.stop.set)
    folder = None if flight.state is None else latch_dir(flight.state, what.run.env.name, flight.account)
    pulse = Pulse(parts, folder, flight.journal, flight.speed, flight.view, flight.tell)
    aside = [kernel.loop.create_task(pulse.run())]
    if flight.speed:
        aside.append(kernel.loop.create_task(_move(parts, flight.speed)))
    await parts.feed.send(islice(events, known, None), flight.speed, parts.stop)
    pulse.end()
    for task in aside:
        task.cancel()
    if parts.stop.is_set():
        close(parts)
    await node.stop_async()
    with suppress(asyncio.CancelledError):
        await running


async def _move(parts: Parts, speed: float) -> None:
    """Let orders arrive on the wall's time where no event comes: a kill must not wait for the next bar."""
    while True:
        await asyncio.sleep(ARRIVE_S)
        due = parts.venue.arrivals()
        if due and due <= TIME.now + (perf_counter_ns() - parts.intake.seen_ns - int(ARRIVE_S * 1e9)) * speed:
            parts.intake.tick(due)


async def _recover(parts: Parts, what: Replay, journal: Journal) -> int:
    """Process what the journal has as it was processed before, and keep what comes; return how many events it had."""
    recorder = Recorder(journal, sorted(tape.instrument.id for tape in what.tapes))
    known = 0
    for number, kind, payload in journal.records():
        found = recorder.read(kind, payload)
        if isinstance(found, int):
            parts.intake.tick(found)
        else:
            parts.intake.take(found)
            known += 1
        if number % BATCH == 0:
            await asyncio.sleep(0)
    parts.intake.keep(recorder)
    return known


def close(parts: Parts) -> bool:
    """Cancel everything and close what is held, at the prices of the moment; return whether the node is flat."""
    cache, venue = parts.node.kernel.cache, parts.venue
    strategies = parts.node.trader.strategies()
    for _ in range(ROUNDS):
        if not cache.orders_open() and not cache.orders_inflight() and not cache.positions_open():
            return True
        for strategy in strategies:
            for order in cache.orders_open(strategy_id=strategy.id):
                if not order.is_pending_cancel:
                    strategy.cancel_order(order)
            for position in cache.positions_open(strategy_id=strategy.id):
                strategy.close_position(position, reduce_only=True)
        ts = TIME.now + SECOND_NS
        venue.advance(ts)
        TIME.advance(ts)
        venue.settle(ts)
    return False

