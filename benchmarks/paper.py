"""``make paper-bench``: is a paper node the replay, how fast is it beside a bare node, how long does an order take.

``python -m benchmarks.paper [--only parity throughput stages latency] [--pairs 5]``

The parts with real quotes need the tapes (``ALPHATRADE_TAPES``).
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np

from alphatrade.actors.perception import Perception
from alphatrade.nodes import feed
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.latency import Latency
from alphatrade.nodes.paper.assembly import Flight, Parts
from alphatrade.nodes.paper.inputs import Recorder
from alphatrade.nodes.paper.intake import Intake
from alphatrade.nodes.paper.node import dispose, fly
from alphatrade.nodes.paper.venue import PaperVenue
from alphatrade.nodes.replay import Replay, replay
from alphatrade.nodes.settings import Settings, compose_settings
from alphatrade.nodes.sim import load_tapes
from alphatrade.nodes.tape import Tape
from alphatrade.strategies.dispatcher import Dispatcher
from benchmarks.bare import bare_node
from benchmarks.figures import OUT, ROOT, Figure, figure, measured

TARGET, COMMAND = "paper", "python -m benchmarks.paper"
QUOTES = ("policy/features=quotes", "output.stress=false", "output.report=false", "flat_at_end=false")
SPEED, HOUR_NS = 10.0, 3_600 * 10**9
PARITY = {
    "two days of bars": ("tape.end=2026-08-19",),
    "a world of quotes, learning": (
        "tape=world", "tape.hours=4", "policy.flags.linear_attention=true", "policy.flags.fast_weights=true",
    ),
    "a cadence of events": ("tape=world", "tape.hours=2", "policy.cadence.kind=events", "policy.cadence.n=5"),
}  # fmt: skip


def real(*words: str) -> Settings:
    """Return settings of a replay of the real quotes."""
    tapes = Path(os.environ.get("ALPHATRADE_TAPES", ROOT.parent / "shared" / "tapes"))
    file = tapes / "eurusd_ticks_201405" / "data.parquet"
    return compose_settings(
        ["tape=file", f"tape.path={file}", "tape.kind=quotes", "tape.instrument=EUR/USD", *QUOTES, *words]
    )


def parity() -> list[Figure]:
    """Return which share of the decisions of a replay a paper node makes alike, in every column of the diary."""
    rows = []
    for name, words in PARITY.items():
        own = compose_settings([*words, "output.stress=false", "output.report=false"])
        with TemporaryDirectory(prefix="alphatrade-bench-") as folder:
            was, now = Path(folder) / "sim", Path(folder) / "paper"
            for place in (was, now):
                place.mkdir()
            count = replay(Replay(own.policy, load_tapes(own.run), own.run), was).decisions
            fly(Replay(own.policy, load_tapes(own.run), own.run), now, Flight())
            files = sorted(path.relative_to(was) for path in was.rglob("*.parquet"))
            alike = sum((was / file).read_bytes() == (now / file).read_bytes() for file in files) / len(files)
        what = f"{name}: tables of a paper run that are the replay's, byte for byte"
        command = f"{COMMAND} --only parity"
        key = f"paper.parity.{name.split()[-1]}"
        rows.append(Figure(key, what, alike, "share", "== 1", alike == 1.0, count, None, command))
    return rows


def bare(tape: Tape) -> float:
    """Return the events a second of a stock node with a strategy that does nothing, on the same feed."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    node, idle, source = bare_node(tape, loop)
    events, spent = feed.events(tape), [0.0]

    async def run() -> None:
        running = loop.create_task(node.run_async())
        while not node.trader.is_running:
            await asyncio.sleep(0.001)
        started = time.perf_counter()
        await source.send(events, 0.0, asyncio.Event())
        while idle.seen < len(events):
            await asyncio.sleep(0)
        spent[0] = time.perf_counter() - started
        await node.stop_async()
        await asyncio.gather(running, return_exceptions=True)

    loop.run_until_complete(run())
    dispose(node, loop)
    return len(events) / spent[0]


def ours(own: Settings, tape: Tape, folder: Path) -> tuple[float, float]:
    """Return the events a second of a paper node with law, diary and journal: while it is fed, and of its whole run."""
    folder.mkdir()
    spent = [0.0]

    def ready(parts: Parts) -> None:
        send = parts.feed.send

        async def timed(events: Iterable[Any], speed: float, stop: asyncio.Event) -> None:
            made = list(events)
            started = time.perf_counter()
            await send(made, speed, stop)
            parts.intake.flush()
            spent[0] = time.perf_counter() - started

        parts.feed.send = timed

    with Journal.open(folder / "journal", {"format": 1}) as journal:
        came = fly(Replay(own.policy, [tape], own.run), folder, Flight(journal=journal, ready=ready))
    return len(tape) / spent[0], len(tape) / came.run_s


def throughput(pairs: int) -> list[Figure]:
    """Return how fast a paper node is at full speed, beside a bare one on the same feed."""
    own = real("tape.end=2014-05-03")
    (tape,) = load_tapes(own.run)
    found = []
    for at in range(pairs + 1):
        with TemporaryDirectory(prefix="alphatrade-bench-") as folder:
            found.append((ours(own, tape, Path(folder) / "run"), bare(tape)))
        if at == 0:
            found.clear()  # the first pays for what is compiled and loaded
    command = f"{COMMAND} --only throughput"
    ratio, mine, whole, other = zip(*((a / b, a, run, b) for (a, run), b in found), strict=True)
    what = f"{len(tape):,} real quotes at full speed: a paper node over a bare node with an idle strategy, same feed"
    return [
        figure("paper.throughput", what, ratio, "x", ">= 0.7", command=command),
        figure("paper.events", "the paper node, from the first quote to the last", mine, "events/s", command=command),
        figure("paper.run", "the same, from its start to the closed diary", whole, "events/s", command=command),
        figure("paper.bare", "the bare node, from the first quote to the last", other, "events/s", command=command),
    ]


STAGES: dict[str, tuple[type, str, str]] = {
    "event": (Intake, "take", "one quote, all of the following included"),
    "journal": (Recorder, "market", "– kept in the journal"),
    "due": (PaperVenue, "advance", "– what was due at the venue before it, and what came of that"),
    "venue": (PaperVenue, "take", "– the venue's market moved, what it fills included"),
    "settle": (PaperVenue, "settle", "– what was sent is taken by the venue"),
    "decision": (Perception, "_step", "one decision: perceived, decided, written down, its commands included"),
    "send": (Dispatcher, "_send", "– one of its commands: made, judged, journal flushed, sent"),
}  # fmt: skip


def stages() -> list[Figure]:
    """Return where the CPU time of a paper node goes at full speed, µs a call; timing takes half of one each."""
    own = real("tape.end=2014-05-03")
    (tape,) = load_tapes(own.run)
    spent: dict[str, list[int]] = {}

    def timed(owner: type, name: str, took: list[int]) -> Callable[..., Any]:
        inner = getattr(owner, name)

        def call(*values: Any) -> Any:
            started = time.thread_time_ns()
            result = inner(*values)
            took.append(time.thread_time_ns() - started)
            return result

        return call

    for _ in range(2):  # the first pays for what is compiled and loaded
        with TemporaryDirectory(prefix="alphatrade-bench-") as folder, ExitStack() as patches:
            for key, (owner, name, _) in STAGES.items():
                spent[key] = []
                patches.enter_context(patch.object(owner, name, timed(owner, name, spent[key])))
            ours(own, tape, Path(folder) / "run")
    command = f"{COMMAND} --only stages"
    rows = []
    for key, (_, _, words) in STAGES.items():
        mean, count = round(sum(spent[key]) / len(spent[key]) / 1e3, 2), len(spent[key])
        rows.append(Figure(f"paper.stage.{key}", words, mean, "us", "", None, count, None, command))
    return rows


def busiest(tape: Tape) -> Tape:
    """Return the hour with the most quotes."""
    ts = tape.columns["ts"]
    hours, counts = np.unique(ts // HOUR_NS, return_counts=True)
    start = int(hours[int(np.argmax(counts))]) * HOUR_NS
    return tape.slice(start, start + HOUR_NS)


def latency() -> list[Figure]:
    """Return how long it takes from a quote to the order that it leads to, at ten times the busiest hour's pace."""
    own = real("policy.cadence.kind=events", "policy.cadence.n=10")
    tape = busiest(load_tapes(own.run)[0])
    found = Latency()

    def ready(parts: Parts) -> None:
        def sent(event: Any) -> None:
            if type(event).__name__ == "OrderSubmitted":
                found.record([time.perf_counter_ns() - parts.intake.seen_ns])

        parts.node.kernel.msgbus.subscribe("events.order.*", sent, priority=100)

    with TemporaryDirectory(prefix="alphatrade-bench-") as folder:
        place = Path(folder) / "run"
        place.mkdir()
        with Journal.open(place / "journal", {"format": 1}) as journal:
            fly(Replay(own.policy, [tape], own.run), place, Flight(SPEED, Path(folder), "SIM", journal, ready=ready))
    told, command = found.quantiles(), f"{COMMAND} --only latency"
    what = f"busiest hour of EUR/USD at {SPEED:g}x, {len(tape):,} quotes: from a quote to the order submitted"
    rows = []
    for name, most in (("p50_ns", 1.0), ("p99_ns", 5.0)):
        value = round(told[name] / 1e6, 3)
        holds = value <= most and told["count"] > 0
        short, count = name[:3], told["count"]
        key = f"paper.latency.{short}"
        rows.append(Figure(key, f"{what}, {short}", value, "ms", f"<= {most:g}", holds, count, None, command))
    return rows


def main() -> int:
    """Measure the chosen parts and publish after each; exit code 1 where a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="of interleaved comparisons")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the figures")
    parts: dict[str, Callable[[], list[Figure]]] = {
        "parity": parity,
        "throughput": lambda: throughput(args.pairs),
        "stages": stages,
        "latency": latency,
    }
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    args = parser.parse_args()
    return measured(TARGET, {name: parts[name] for name in args.only}, args.out)


if __name__ == "__main__":
    sys.exit(main())
