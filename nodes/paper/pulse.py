"""The wall's second of a paper node: a heartbeat for who watches from outside, a status for who looks; time goes on.

All of it is read off the parts of the node between two inputs, on the loop that trades: one that hangs does not beat.
"""

import asyncio
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphatrade.actors.cadence import SECOND_NS
from alphatrade.nodes.beats import Beat, BeatLimits, BeatWriter, rss_bytes
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.paper.desk import Desk
from alphatrade.nodes.replay import members
from alphatrade.nodes.status_line import Status, StatusView
from alphatrade.nodes.watchdog import Watchdog
from alphatrade.risk.gate import STATE_TOPIC
from alphatrade.risk.kill import State, StateChange
from alphatrade.risk.units import NANO, from_atto, from_nano

if TYPE_CHECKING:
    from alphatrade.nodes.metrics_server import Watched
    from alphatrade.nodes.paper.reading import Reader

READ_S = 1.0  # between two beats while the journal is read


class Pulse:
    """
    Beats once a second of the wall.

    Parameters
    ----------
    parts : Parts
        Of the node.
    folder : Path, optional
        Where beats are written; None: nowhere.
    journal : Journal, optional
    speed : float
        Seconds of the node's time in one of the wall, where no event comes; 0: time stands still then.
    view : StatusView, optional
    tell : callable
        Takes a line about the heartbeat itself.
    watched : Watched, optional
        Is told what its metrics are.
    desk : Desk, optional
        Of an operator who looks on.
    """

    def __init__(
        self,
        parts: Any,
        folder: Path | None,
        journal: Journal | None,
        speed: float,
        view: StatusView | None,
        tell: Callable[[str], object],
        watched: "Watched | None" = None,
        desk: Desk | None = None,
    ) -> None:
        self._parts, self._journal, self._speed, self._desk = parts, journal, speed, desk
        self._organisms = members(parts.node.trader, "Organism")
        self._writer = None if folder is None else BeatWriter(folder, tell)
        self._watchdog = Watchdog(BeatLimits())
        self._view, self._watched = view, watched
        self._reader: Reader | None = None
        if watched is not None:
            from alphatrade.nodes.paper import reading

            self._reader = reading.Reader(parts, journal, lambda: 0 if self._writer is None else self._writer.lost)
        self._known: int | None = None  # events of the journal; None: it is being read
        self.beats, self.gap_s = 0, 0.0
        self._events = 0
        self._told: dict[str, dict[str, int]] = {}
        self._switched: dict[str, str] = {}
        self._read_at = time.perf_counter()
        parts.node.kernel.msgbus.subscribe(STATE_TOPIC, self._on_switch)

    def _on_switch(self, change: StateChange) -> None:
        """Note when, by the wall. An operator stops it between two inputs: what is sent then leaves now, not before."""
        self._switched[f"{change.after.lower()}_ns"] = str(time.time_ns())
        if self._speed and change.after is State.REDUCING and change.code == "OPERATOR":
            self._parts.intake.tick(self._present())

    def reading(self, done: int, total: int) -> None:
        """Beat once a second also while the journal is read, however long that takes."""
        now = time.perf_counter()
        if now - self._read_at >= READ_S:
            self._read_at = now
            self._watchdog.reading(done, total)
            self._written(0.0, None, total - done)

    async def run(self) -> None:
        """Beat until cancelled."""
        loop = asyncio.get_running_loop()
        self._watchdog.ready()
        self._known = self._parts.intake.events
        if self._reader is not None:
            self._reader.begin()
        due = before = loop.time()
        while True:
            due += 1.0
            await asyncio.sleep(max(0.0, due - loop.time()))
            now = loop.time()
            self.gap_s = max(self.gap_s, now - before) if self.beats else 0.0
            self.beat(now - due, now - before)
            before, due = now, max(due, now - 1.0)  # beats that were missed are not made up for

    def end(self) -> None:
        """Tell the service manager that the node stops."""
        self._watchdog.stopping("it was asked to stop, or its tape is over")

    def beat(self, lag_s: float, passed_s: float) -> None:
        """Let time go on where nothing came, see that inputs outlive the process, and say how the node is."""
        intake = self._parts.intake
        age_s = (time.perf_counter_ns() - intake.seen_ns) / SECOND_NS
        if self._speed and age_s >= 1.0:
            intake.tick(self._present())
        intake.flush()
        if self._desk is not None:
            self._desk.take(self._present() if self._speed else 0)
        fresh, self._events = intake.events - self._events, intake.events
        beat = self._written(lag_s, None if self._parts.gate.phase == "closed" else age_s)
        self._watchdog.beat(beat, beat.ts)
        if self._view is not None:
            self._view.show(self._status(age_s, fresh / passed_s if passed_s else 0.0))

    def _written(self, lag_s: float, age_s: float | None, journal_left: int = 0) -> Beat:
        self.beats += 1
        self._parts.stages.count()
        self._told = self._parts.stages.told()
        beat = self._beat(lag_s, age_s)
        if self._writer is not None:
            self._writer.write(beat)
        if self._desk is not None:
            self._desk.show()
        if self._watched is not None and self._reader is not None:
            heard = self._known is not None and (age_s is None or beat.events > self._known)
            self._watched.take(self._reader.read(beat, journal_left, heard))
        return beat

    def _orders(self) -> int:
        return self._told["signal_order"]["count"]

    def _beat(self, lag_s: float, age_s: float | None) -> Beat:
        gate, intake, journal = self._parts.gate, self._parts.intake, self._journal
        return Beat(
            ts=time.time_ns(), number=self.beats, pid=os.getpid(), lag_s=round(lag_s, 6), feed_age_s=age_s,
            events=intake.events, orders=self._orders(),
            fills=gate.record.filled, rss=rss_bytes(), kill=str(gate.switch.state),
            journal=0 if journal is None else journal.flushed,
            stages=self._told,
            facts=self._facts(), feed_limit_s=self._parts.feed.limit_s, faults=self._faults(),
        )  # fmt: skip

    def _faults(self) -> tuple[str, ...]:
        """Return what is off or has refused something, each with its last reason."""
        own = {"heartbeat": self._writer, "metrics": self._reader}
        failing = [f"{name}: {one.error}" for name, one in own.items() if one is not None and one.error]
        return (*self._parts.venue.bus.faults, *failing)

    def _facts(self) -> dict[str, str]:
        gate, cache, facts = self._parts.gate, self._parts.node.kernel.cache, dict(self._parts.feed.facts())
        facts["phase"] = gate.phase
        if gate.explorations.budget.frozen:
            facts["frozen"] = gate.explorations.budget.frozen[:200]
        if facts:
            facts["feed_gaps"] = str(gate.record.counts.get("feed_gap", 0))
        if self._parts.broker is not None:
            facts |= self._parts.broker.facts()
        if gate.law.capital is not None:
            facts |= {
                "time_ns": str(self._parts.intake.time),
                "equity": f"{from_atto(gate.law.equity):.2f}",
                "cash": f"{from_atto(gate.law.funds()[0]):f}",
                "positions": " ".join(f"{name}:{from_nano(units):f}" for name, units in self._held()),
                "orders_open": str(cache.orders_open_count() + cache.orders_inflight_count()),
            }
            facts |= dict(zip(("regime", "tactic"), self._minds(), strict=True))
        return facts | self._switched

    def _present(self) -> int:
        """Return to when time has gone on without an event, UTC ns."""
        return time.time_ns() if self._parts.feed.live else self._parts.intake.present(self._speed)

    def _held(self) -> list[tuple[str, int]]:
        holdings = self._parts.gate.law.exposure.holdings
        return [(name, held.position) for name, held in sorted(holdings.items()) if held.position]

    def _minds(self) -> tuple[str, str]:
        """Return the regimes that are perceived, and the tactics in charge."""
        minds = [one.mind for one in self._organisms]
        regimes, tactics = (", ".join([mind[at] for mind in minds]) or "-" for at in range(2))
        return regimes, tactics

    def _status(self, age_s: float, rate: float) -> Status:
        gate, intake, journal, law = self._parts.gate, self._parts.intake, self._journal, self._parts.gate.law
        known = law.capital is not None
        equity, _, _, _, drawdown = law.figures(law.exposure.value2) if known else (0, 0, 0, 0, 0.0)
        step = self._told["step"]
        regime, tactic = self._minds()
        return Status(
            ts=intake.time,
            equity=float(from_atto(equity)),
            currency=gate.currency or "",
            day_change=-float(from_atto(law.day_loss())) if known and law.day >= 0 else 0.0,
            drawdown=drawdown,
            positions=tuple([(name, units / NANO) for name, units in self._held()]),
            regime=regime,
            tactic=tactic,
            feed_age_s=age_s,
            events_per_s=rate,
            orders=self._orders(),
            fills=gate.record.filled,
            denials=gate.record.counts.get("denied", 0),
            kill=gate.switch.state,
            phase=gate.phase,
            journal_records=0 if journal is None else journal.count,
            journal_lag=0 if journal is None else journal.count - journal.flushed,
            p99_us=step["p99_ns"] / 1e3 if step["count"] else math.nan,
        )
