"""Shim: the one door by which market events reach a paper node; each is processed to its end before the next."""

import asyncio
import time
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import msgspec
from nautilus_trader.core.data import Data
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import Bar, InstrumentStatus, QuoteTick, TradeTick

from alphatrade.nodes.paper.chain import processor, report
from alphatrade.nodes.paper.clock import TIME
from alphatrade.nodes.paper.feed_switch import HELD_UP_NS, FeedChange
from alphatrade.nodes.paper.inputs import Recorder
from alphatrade.nodes.paper.take_over import TakeOver
from alphatrade.nodes.replay import members
from alphatrade.nodes.sessions import Sessions
from alphatrade.risk.errors import JournalError, RunDirError
from alphatrade.risk.freeze import Freeze
from alphatrade.risk.gate import RiskGate
from alphatrade.risk.handover import HandOver
from alphatrade.risk.permit import Permit

MARKET = (QuoteTick, TradeTick, Bar, InstrumentStatus)
SLACK_NS = 10_000_000  # of the wall, by which the present is kept behind: an event that is just due is not overtaken


class Intake:
    """
    Stands at ``DataEngine.process``.

    Parameters
    ----------
    node : TradingNode
        Built, not yet running.
    gate : RiskGate
        Its law, by whose way orders leave.
    venue : PaperVenue or Broker
    sessions : Sessions
        When may be traded.
    live : bool
        Whether events are of the wall's time: one that was held up then finds the node at the present, and is old.

    Attributes
    ----------
    events : int
        Market events so far.
    unwritten : RunDirError, optional
        Why the run's own files cannot be written.
    seen_ns : int
        When the last one came, ``perf_counter_ns``.
    latest : int
        Its stamp, UTC ns; 0: there was none.
    handovers : TakeOver
        What another node has left to this one.
    """

    def __init__(self, node: TradingNode, gate: RiskGate, venue: Any, sessions: Sessions, live: bool) -> None:
        self._node, self._gate, self._venue, self._sessions, self._live = node, gate, venue, sessions, live
        self._process = processor(node)
        self._recorder: Recorder | None = None
        self._loop: asyncio.AbstractEventLoop = node.kernel.loop
        self.events = self.latest = 0
        self.unwritten: RunDirError | None = None
        self.handovers = TakeOver(node, gate, venue)
        self._scribes, self._clerks = (members(node.trader, kind) for kind in ("DiaryScribe", "DriftClerk"))
        self.seen_ns = self._moved_ns = perf_counter_ns()
        engine = node.kernel.data_engine
        node.kernel.msgbus.deregister(endpoint="DataEngine.process", handler=engine.process)
        node.kernel.msgbus.register(endpoint="DataEngine.process", handler=self.receive)

    def keep(self, recorder: Recorder) -> None:
        """Have all that comes from now on kept before anything is done about it, durably before an order leaves."""
        self._recorder, leave = recorder, self._gate.forward

        def forward(command: Any) -> None:
            self._kept(recorder.flush)
            leave(command)

        self._gate.forward = forward

    def _kept(self, step: Callable[..., None], *values: Any) -> None:
        """Do a step; where nothing can be recorded trading stops, and only the law's own closing orders leave."""
        try:
            step(*values)
        except (JournalError, RunDirError) as error:
            self._gate.trip("STATE_UNWRITABLE", str(error), "law")
            if isinstance(error, RunDirError):
                self._forgo(error)

    def _forgo(self, error: RunDirError) -> None:
        """Have nobody try again to write what cannot be written: Nautilus would show each failure."""
        self.unwritten, self._gate.save = error, lambda *_: None
        for one in (*self._scribes, *self._clerks):
            one.give_up()

    @property
    def time(self) -> int:
        """The node's time, UTC ns."""
        return TIME.now

    def present(self, speed: float) -> int:
        """Return to when, UTC ns, time has gone on since it was last moved, `speed` seconds in one of the wall."""
        return TIME.now + int(max(0, perf_counter_ns() - self._moved_ns - SLACK_NS) * speed)

    def flush(self) -> None:
        """See that what was kept outlives the process, and that the diary does not wait for the next event."""
        if self._recorder is not None:
            self._kept(self._recorder.flush)
        for scribe in self._scribes:
            self._kept(scribe.keep_up)

    def sync(self) -> bool:
        """Have the disk confirm what was kept; return whether it has, else trading stops."""
        try:
            if self._recorder is not None:
                self._recorder.sync()
        except JournalError as error:
            self._gate.trip("STATE_UNWRITABLE", str(error), "law")
            return False
        return True

    def receive(self, data: Any) -> None:
        """Take whatever a data client has, on whatever thread."""
        if asyncio._get_running_loop() is not self._loop and self._loop.is_running():
            self._loop.call_soon_threadsafe(self.receive, data)
        elif isinstance(data, MARKET):
            if self._live and (now := time.time_ns()) - data.ts_init > HELD_UP_NS:
                self.tick(now)
            self.take(data)
        elif isinstance(data, FeedChange):
            self.note(data)
        else:
            self._process(data)

    def tick(self, ts: int) -> None:
        """Let the node's time go on to `ts` (UTC ns) without an event, so that what is on its way arrives."""
        if ts <= TIME.now:
            return
        if self._recorder is not None:
            self._kept(self._recorder.tick, ts)
        self._venue.advance(ts + 1)
        self._begin(ts)
        self._venue.settle(ts)  # its clock has to be where the node's is, or what is sent now is expected too early

    def note(self, change: FeedChange) -> None:
        """Have it in the run's record that something happened to the feed."""
        ts = max(change.ts, TIME.now)
        if self._recorder is not None:
            self._kept(self._recorder.change, change)
        self._venue.advance(ts)
        self._begin(ts)
        passed = f"{(change.ts - change.since) / 1e9:.3f}" if change.since else ""
        words = f"{change.source}, no event after {change.since}"
        self._gate.record.event(ts, f"feed_{change.kind}", None, None, "FEED", passed, "", words)

    def freeze(self, freeze: Freeze) -> None:
        """Let nothing be explored from now on: an input like any other, or a run would not be made twice."""
        ts = max(freeze.ts, TIME.now)
        if self._recorder is not None:
            self._kept(self._recorder.freeze, freeze)
        self._venue.advance(ts)
        self._begin(ts)
        self._gate.explorations.freeze(ts, freeze.words)
        self._venue.settle(ts)

    def permit(self, permit: Permit) -> None:
        """
        Judge by another permit from now on, an input like any other; one that is refused stops trading.

        The record has each that says something new, as a whole: what an auditor holds the run against.
        """
        gate, ts = self._gate, max(permit.at, TIME.now)
        if permit.currency not in ("", gate.settings.currency) and not permit.refused:
            words = f"a permit in {permit.currency}, and the account counts in {gate.settings.currency}"
            permit = permit._replace(refused=words)
        if self._recorder is not None:
            self._kept(self._recorder.permit, permit)
        self._venue.advance(ts)
        self._begin(ts)
        if permit._replace(at=0) != gate.live_gate.permit._replace(at=0):
            words = msgspec.json.encode(permit.plain()).decode()
            gate.record.event(ts, "permit", None, None, "PERMIT", "", "", words)
        gate.live_gate.permitted(permit)
        if permit.refused:
            gate.trip("PERMIT", permit.refused, "ledger")
        self._venue.settle(ts)

    def handover(self, left: HandOver) -> None:
        """Take over what another node has left, an input like any other."""
        ts = TIME.now
        if self._recorder is not None:
            self._kept(self._recorder.handover, left)
        self._venue.advance(ts)
        self._begin(ts)
        self.handovers.begin(left, ts)
        self._venue.settle(ts)

    def _begin(self, ts: int) -> None:
        TIME.advance(ts)
        self._moved_ns = perf_counter_ns()
        phase = self._sessions.phase(ts)
        if phase != self._gate.phase:
            self._gate.enter(phase)

    def broker(self, event: Any) -> None:
        """Process what an exchange has said of an order or of the account."""
        ts = max(event.ts_init, TIME.now)
        if self._recorder is not None:
            self._kept(self._recorder.broker, event)
        self._begin(ts)
        self._venue.seen(event)
        report(self._node, event)
        self.handovers.settled()

    def take(self, data: Data) -> None:
        """Process one market event to its end."""
        self.seen_ns = perf_counter_ns()
        ts, venue = max(data.ts_init, TIME.now), self._venue  # one that is late does not turn time back
        if self._recorder is not None:
            self._kept(self._recorder.market, data)
        for scribe in self._scribes:
            self._kept(scribe.check)
        venue.advance(ts)
        self._begin(ts)
        venue.take(data, ts)
        self._kept(self._process, data)
        if self.handovers.waits:
            self._kept(self.handovers.heard, data, ts)
        venue.settle(ts)
        self.events += 1
        self.latest = data.ts_init
