"""The two nodes of a soak, each a process of its own: the paper node and a bare one, on one feed at one pace.

``python -m benchmarks.soak_node ours|bare <plan>``, started by :mod:`benchmarks.soak`. What a node says of itself goes
line by line into ``<side>.jsonl``: a sample each second of the wall, a line for each period of the feed's time.
"""

import asyncio
import json
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from alphatrade.nodes import feed
from alphatrade.nodes.beats import rss_bytes
from alphatrade.nodes.hydra_app import run_config
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.latency import Latency
from alphatrade.nodes.paper.assembly import Flight, Parts
from alphatrade.nodes.paper.inputs import Recorder
from alphatrade.nodes.paper.node import dispose, fly
from alphatrade.nodes.paper.run import head, say
from alphatrade.nodes.paper.settings import PaperSettings, paper_settings
from alphatrade.nodes.replay import Replay, ReplayOutput, members
from alphatrade.nodes.sessions import Sessions
from alphatrade.nodes.sim import identity_of, load_tapes, published
from alphatrade.nodes.tape import Tape
from alphatrade.risk.units import from_atto
from benchmarks.bare import bare_node

HOUR_NS = 3_600 * 10**9
EVERY_S = 1.0  # of the wall, between two samples of memory


class Plan(msgspec.Struct, frozen=True):
    """
    What both nodes do.

    Attributes
    ----------
    words : list of str
        Overrides of ``alphatrade paper``.
    hours : list of int
        Beginnings of the hours of the feed that count, UTC ns: those in which it has anything.
    lasts, period : float
        How many such hours in all (the last may be a part), and how many between two checkpoints.
    speed : float
        Seconds of the feed in one of the wall.
    out : str
        Folder of all files.
    """

    words: list[str]
    hours: list[int]
    lasts: float
    period: float
    speed: float
    out: str

    def at(self, ts: int) -> float:
        """Return how many of the hours are over at `ts` (UTC ns); negative before the first."""
        place = bisect_right(self.hours, ts) - 1
        return -1.0 if place < 0 else place + min((ts - self.hours[place]) / HOUR_NS, 1.0)


class Teller:
    """
    Writes what a node says of itself.

    Parameters
    ----------
    side : str
    plan : Plan
    """

    def __init__(self, side: str, plan: Plan) -> None:
        self.plan, self.at = plan, -1.0
        self._file = (Path(plan.out) / f"{side}.jsonl").open("a", buffering=1)
        self._began = time.time()

    def facts(self) -> dict[str, Any]:
        """Return what is counted, for a sample."""
        return {}

    def period(self) -> dict[str, Any]:
        """Return what a period had."""
        return {}

    def seen(self) -> None:
        """Take note that an event was processed."""

    def begin(self) -> None:
        """Count from here."""

    def tell(self, kind: str, **told: Any) -> None:
        """Write a line."""
        wall_s = round(time.time() - self._began, 3)
        line = {"kind": kind, "wall_s": wall_s, "at": round(self.at, 6), "rss": rss_bytes()}
        self._file.write(json.dumps(line | told) + "\n")

    async def sample(self) -> None:
        """Write a sample each second until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            if self.at >= 0.0:
                self.tell("sample", **self.facts())

    def watched(self, tape: Tape) -> Iterator[Any]:
        """Give the events of a tape, and tell where a period is over: one is processed when the next is asked for."""
        number = -1
        for event in feed.events(tape):
            if number >= 0:
                self.seen()
            at = self.plan.at(event.ts_init)
            if at >= 0.0 and int(at / self.plan.period) > number:
                if number < 0:
                    self.begin()
                else:
                    self.tell("period", number=number, until=str(event.ts_init), **self.period())
                number = int(at / self.plan.period)
            self.at = at
            yield event
        self.seen()
        self.tell("period", number=number, until=str(tape.span[1]), **self.period())


class NodeTeller(Teller):
    """Of the paper node."""

    def __init__(self, plan: Plan, journal: Journal) -> None:
        super().__init__("ours", plan)
        self._journal = journal
        self._parts: Parts
        self._event, self._took = Latency(), list[int]()  # a histogram is never let go: none is made on the way
        self._counts: dict[str, Any] = {}
        self._before: dict[str, int] = {}

    def ready(self, parts: Parts) -> None:
        """Take the parts of the node."""
        self._parts = parts
        self._organisms = members(parts.node.trader, "Organism")
        parts.node.kernel.loop.create_task(self.sample())

    def facts(self) -> dict[str, Any]:
        """Return what was counted so far."""
        gate, stages = self._parts.gate, self._parts.stages
        stages.count()
        self._event.record(self._took)
        self._took.clear()
        return {
            "events": self._parts.intake.events,
            "decisions": sum(one.decisions for one in self._organisms),
            "orders": stages.latency["signal_order"].count,
            "fills": gate.record.filled,
        }

    def seen(self) -> None:
        """Take the time in which an event was processed."""
        self._took.append(time.perf_counter_ns() - self._parts.intake.seen_ns)

    def begin(self) -> None:
        """Count from here: what came before was read from the journal."""
        self._before = self.facts()
        self._latency()

    def period(self) -> dict[str, Any]:
        """Return what came in this period, and where the node stands."""
        self._parts.intake.flush()
        gate, now = self._parts.gate, self.facts()
        came = {name: now[name] - self._before[name] for name in now}
        self._before = now
        return {
            **came,
            "equity": f"{from_atto(gate.law.equity):.2f}",
            "law": dict(sorted(gate.record.counts.items())),
            "kill": str(gate.switch.state),
            "latency": self._latency(),
            "journal": {
                "records": self._journal.flushed,
                "bytes": sum(path.stat().st_size for path in self._journal.folder.glob("*.journal")),
            },
        }

    def _latency(self) -> dict[str, dict[str, int]]:
        """Return the quantiles of the durations that are new."""
        latencies = {"event": self._event, **self._parts.stages.latency}
        told = {name: latency.quantiles(self._counts.get(name)) for name, latency in latencies.items()}
        self._counts = {name: latency.counts for name, latency in latencies.items()}
        return told


def settings(words: Sequence[str]) -> PaperSettings:
    """Return the settings of a paper node."""
    return run_config("paper", list(words), "paper", paper_settings)


def ours(plan: Plan) -> None:
    """Run the paper node: read the lead-in from its journal, as after a restart, then take the feed at its pace."""
    own = settings(plan.words)
    tapes = load_tapes(own.settings.run)
    identity = identity_of(own.settings, tapes)
    with Journal.open(Path(plan.out) / "journal", head(own, tapes, identity)) as journal:
        recorder = Recorder(journal, sorted(tape.instrument.id for tape in tapes))
        for event in feed.events(tapes[0]):
            if event.ts_init >= plan.hours[0]:
                break
            recorder.market(event)
        recorder.flush()
        journal.sync()
        teller = NodeTeller(plan, journal)

        def run_it(what: Replay, run_dir: Path) -> ReplayOutput:
            flight = Flight(
                plan.speed, own.settings.run.paths.state, own.account, journal, Sessions(own.sessions),
                tell=say, ready=teller.ready,
            )  # fmt: skip
            return fly(replace(what, events=teller.watched), run_dir, flight)

        result = published(own.settings, tapes, identity, "paper", run_it)
    teller.tell("end", run=str(result.path))


def bare(plan: Plan) -> None:
    """Run a node with a strategy that does nothing, on the same feed without the lead-in."""
    own = settings(plan.words)
    (tape,) = load_tapes(own.settings.run)
    tape = tape.slice(start=plan.hours[0])
    teller = Teller("bare", plan)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    node, _, source = bare_node(tape, loop)

    async def run() -> None:
        running = loop.create_task(node.run_async())
        while not node.trader.is_running:
            await asyncio.sleep(0.001)
        aside = loop.create_task(teller.sample())
        await source.send(teller.watched(tape), plan.speed, asyncio.Event())
        aside.cancel()
        await node.stop_async()
        await asyncio.gather(running, return_exceptions=True)

    loop.run_until_complete(run())
    dispose(node, loop)
    teller.tell("end")


SIDES: Mapping[str, Any] = {"ours": ours, "bare": bare}

if __name__ == "__main__":
    SIDES[sys.argv[1]](msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=Plan))
