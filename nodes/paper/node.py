"""Shim: a paper node from its start to its end: the journal is read, a broker joined, the feed heard, all closed."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from heapq import merge
from itertools import islice
from pathlib import Path
from signal import SIG_IGN, SIGHUP, SIGINT, SIGTERM, getsignal, signal

from nautilus_trader.core.message import Event
from nautilus_trader.live.node import TradingNode

from alphatrade.nodes.collector import quiet_gc
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.paper.assembly import Flight, Parts, build
from alphatrade.nodes.paper.clock import TIME
from alphatrade.nodes.paper.desk import Desk
from alphatrade.nodes.paper.feed_switch import FeedChange
from alphatrade.nodes.paper.flat import make_flat, remedy
from alphatrade.nodes.paper.inputs import Recorder
from alphatrade.nodes.paper.pulse import Pulse
from alphatrade.nodes.paper.replay_feed import BATCH
from alphatrade.nodes.replay import Replay, ReplayOutput, collect
from alphatrade.nodes.stops import missed
from alphatrade.nodes.watchdog import starts_again
from alphatrade.reflection.trail import TRAIL
from alphatrade.risk.errors import ConfigError, NotFlatError
from alphatrade.risk.freeze import Freeze
from alphatrade.risk.handover import HandOver
from alphatrade.risk.kill import latch_dir
from alphatrade.risk.permit import Permit

ARRIVE_S = 0.01  # between two looks at what should have arrived


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

    Raises
    ------
    NotFlatError
        If it was stopped, and an exchange still has something of it.
    """
    before = {one: getsignal(one) for one in (SIGINT, SIGTERM, SIGHUP)}
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    parts = build(what, run_dir, flight, loop)
    if flight.live is not None and flight.live.guard is not None:
        parts = replace(parts, guard=flight.live.guard(parts))
    if flight.ready is not None:
        flight.ready(parts)
    try:
        started = time.perf_counter()
        with quiet_gc():
            loop.run_until_complete(_run(parts, what, run_dir, flight))
        output = collect(parts.node, started, parts.venue.bus, parts.stages)
        if run_dir is not None:
            (run_dir / TRAIL).unlink(missing_ok=True)  # the tables have it now
        return output
    finally:
        dispose(parts.node, loop)
        TIME.end()
        for one, handler in before.items():
            if handler is not None:  # else it is none of Python's
                signal(one, handler)


def dispose(node: TradingNode, loop: asyncio.AbstractEventLoop) -> None:
    """Let go of a node that has stopped, and of what it has left on its loop."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    node.kernel._is_running = False  # of one that has failed; Nautilus would wait for its stop, by a clock that stands
    node.dispose()


async def _run(parts: Parts, what: Replay, run_dir: Path | None, flight: Flight) -> None:
    node, kernel, gate, guard = parts.node, parts.node.kernel, parts.gate, parts.guard
    _listen(parts)
    gate.recovering = flight.journal is not None or parts.broker is not None
    running = kernel.loop.create_task(node.run_async())
    while not kernel.trader.is_running:
        if running.done():
            running.result()
            return
        await asyncio.sleep(0.001)
    folder = None if flight.state is None else latch_dir(flight.state, what.run.env.name, flight.account)
    metrics = "" if flight.watched is None else flight.watched.address
    desk = None if folder is None or run_dir is None else Desk(parts, folder, run_dir, metrics, flight.tell)
    pulse = Pulse(parts, folder, flight.journal, flight.speed, flight.view, flight.tell, flight.watched, desk)
    known = 0 if flight.journal is None else await _recover(parts, what, flight.journal, pulse)
    if known:
        flight.tell(f"the journal was read: {known} market events")
    if guard is not None:
        await guard.begun()
    gate.recovering = False
    gate.memory.keep()  # after each fill, but not while the journal was read
    aside = [kernel.loop.create_task(pulse.run())]
    watching = await _join(parts, known > 0)
    if guard is not None:
        await guard.joined()
        aside.append(kernel.loop.create_task(guard.run()))
    if flight.speed:
        aside.append(kernel.loop.create_task(_move(parts, flight.speed)))
    await _hear(parts, what, flight, known)
    if guard is not None and guard.switched:  # the service goes on, in the same process
        starts_again()
    else:
        pulse.end()
    parts.intake.flush()
    for task in aside:
        task.cancel()
    flat = not parts.stop.is_set() or await _closed(parts, watching, flight.tell)
    await _end(parts, running, watching, flat)
    if parts.broker is not None and not flat:
        raise NotFlatError(_last_words(parts, what, flight))


def _last_words(parts: Parts, what: Replay, flight: Flight) -> str:
    """Return what becomes of what is left at the exchange."""
    told = "the run is not over, and the next start goes on with it"
    if parts.gate.switch.trip_cause is not None:  # its release ends the run
        told = "trading has stopped, and after a release no start goes on with it"
    symbols = ",".join(sorted(tape.instrument.symbol for tape in what.tapes))
    command = remedy(what.run.env.name, flight.account, symbols, flight.broker)
    return f"something is left at the exchange: {told}; to cancel and sell it: {command}"


async def _closed(parts: Parts, watching: asyncio.Task[None] | None, tell: Callable[[str], object]) -> bool:
    """Hand over what is held, or close it; return whether nothing is left that the next start has to go on with."""
    guard = parts.guard
    if guard is not None and guard.hands_over:

        def working(_: str) -> None:
            tell("what works cannot be cancelled: what is held is sold, and not handed over")

        if await make_flat(parts, working, keeps=True) and await guard.left():
            if watching is not None:
                watching.cancel()  # what it might find now would be sold, and is left
            return True
    return await make_flat(parts, tell) and not parts.intake.handovers.waits


def _listen(parts: Parts) -> None:
    """End at a signal, flat; one that comes before the node is where it was ends it there."""
    loop, terminals = parts.node.kernel.loop, [number for number in (1, 2) if os.isatty(number)]

    def stop(number: int, _frame: object) -> None:
        if parts.guard is not None:
            parts.guard.stopped()  # at once: the loop may have run for the last time
        if number == SIGHUP:
            _let_go(terminals)
        with suppress(RuntimeError):  # that loop is closed
            loop.call_soon_threadsafe(parts.stop.set)

    for one in (SIGINT, SIGTERM):
        signal(one, stop)
    if getsignal(SIGHUP) is not SIG_IGN:  # under nohup it goes on
        signal(SIGHUP, stop)
    if missed():  # asked last: what comes from here on is heard
        parts.stop.set()


def _let_go(terminals: Sequence[int]) -> None:
    """Write nowhere any more: to write to a terminal that is gone would fail."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for number in terminals:
        os.dup2(nothing, number)
    os.close(nothing)


async def _end(
    parts: Parts, running: asyncio.Task[None], watching: asyncio.Task[None] | None, flat: bool
) -> None:
    """Stop the node; raise `RunDirError` where the run cannot be written."""
    if parts.guard is not None:
        await parts.guard.ended(flat)
    if watching is not None:
        watching.cancel()
    if parts.broker is not None:
        await parts.broker.end()
    await parts.node.stop_async()
    with suppress(asyncio.CancelledError):
        await running
    if parts.intake.unwritten is not None:
        raise parts.intake.unwritten


async def _join(parts: Parts, again: bool) -> asyncio.Task[None] | None:
    """Connect the broker, if it is an exchange; return what watches over the connection."""
    broker, node = parts.broker, parts.node
    if broker is None:
        return None
    try:
        await broker.begin(again)
    except ConfigError:
        await node.stop_async()  # one that runs would be waited for
        raise
    return node.kernel.loop.create_task(broker.run())


async def _hear(parts: Parts, what: Replay, flight: Flight, known: int) -> None:
    """Hear the feed, but for the events that are known, until it is over or the node is stopped."""
    if flight.source is None:
        events = merge(*(what.events(tape) for tape in what.priced), key=lambda event: event.ts_init)
        await parts.feed.send(islice(events, known, None), flight.speed, parts.stop)
    else:
        await parts.feed.listen(parts.intake.latest, lambda: parts.gate.phase == "closed", parts.stop)


async def _move(parts: Parts, speed: float) -> None:
    """Let orders arrive on the wall's time where no event comes: a kill must not wait for the next bar."""
    while True:
        await asyncio.sleep(ARRIVE_S)
        due = parts.venue.arrivals()
        if due and due <= parts.intake.present(speed):
            parts.intake.tick(due)


async def _recover(parts: Parts, what: Replay, journal: Journal, pulse: Pulse) -> int:
    """Process what the journal has as it was processed before, and keep what comes; return how many events it had."""
    recorder = Recorder(journal, sorted(tape.instrument.id for tape in what.tapes))
    known = 0
    for number, kind, payload in journal.records():
        for found in recorder.read(kind, payload):
            if isinstance(found, int):
                parts.intake.tick(found)
            elif isinstance(found, Event):
                parts.intake.broker(found)
            elif isinstance(found, FeedChange):
                parts.intake.note(found)
            elif isinstance(found, Freeze):
                parts.intake.freeze(found)
            elif isinstance(found, Permit):
                parts.intake.permit(found)
            elif isinstance(found, HandOver):
                parts.intake.handover(found)
            else:
                parts.intake.take(found)
                known += 1
        if number % BATCH == 0:
            pulse.reading(number, journal.count)
            await asyncio.sleep(0)
    parts.intake.keep(recorder)
    return known
