"""One replay: a policy, tapes and a run spec through a fresh engine, and what came out of it."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from tqdm import tqdm

from alphatrade.nodes import feed, wiring
from alphatrade.nodes.engine import build_engine, run_engine
from alphatrade.nodes.settings import RunSpec
from alphatrade.nodes.stages import Stages
from alphatrade.nodes.tape import Market, Tape
from alphatrade.nodes.tearsheet import write_tearsheet
from alphatrade.risk.units import from_atto
from alphatrade.strategies.policy import Policy

PROGRESS_S = 0.25


@dataclass(frozen=True, slots=True)
class Replay[M: Market = Tape]:
    """What to replay, or to run on markets that are heard live."""

    policy: Policy
    tapes: list[M]
    run: RunSpec
    extras: tuple[Any, ...] = ()  # ready-made actors and strategies beside those of the policy
    events: Callable[[Tape], list[Any]] = feed.events  # what a tape is for the engine
    ready: Callable[[Any], None] | None = None  # shown the engine before it runs

    @property
    def priced(self) -> list[M]:
        """The tapes, with the instruments as the venue prices them."""
        return [replace(tape, instrument=self.run.venue.priced(tape.instrument)) for tape in self.tapes]


class Learned(NamedTuple):
    """What an organism has learnt: its state, and its synapses as a table."""

    state: bytes
    synapses: pa.Table | None


@dataclass(frozen=True, slots=True)
class ReplayOutput:
    """
    What a replay gave, beside the files that it wrote.

    Attributes
    ----------
    events, steps, decisions, diary_rows, transitions, fills : int
        Counts over all instruments.
    warmup : int
        Steps that perception needs before its first decision.
    equity : Decimal
        At the end, account currency.
    turnover : Decimal
        Sum of quantity times price over all fills, quote currency.
    run_s : float
        Seconds of the engine's run and of closing the diary.
    killed : str or None
        Why the law stopped trading, if it did.
    decision_ns : list of int
        How long each decision took, without sending its orders, ns; of one instrument after the other. Of a node,
        those since it last beat.
    latency, heartbeat : dict
        Content of ``latency.json`` and ``heartbeat.json``.
    learned : dict of str to Learned
        By instrument, where something learns.
    drift : dict or None
        Content of ``drift.json``; None where nobody watched.
    canary_decisions : int
        How many of the decisions are a canary's.
    """

    events: int
    steps: int
    warmup: int
    decisions: int
    diary_rows: int
    transitions: int
    fills: int
    equity: Decimal
    turnover: Decimal
    run_s: float
    killed: str | None
    decision_ns: list[int]
    latency: dict[str, dict[str, int]]
    heartbeat: dict[str, Any]
    learned: dict[str, Learned]
    drift: dict[str, Any] | None
    canary_decisions: int = 0


def replay(what: Replay, run_dir: Path | None, label: str = "replay") -> ReplayOutput:
    """
    Run one replay.

    Parameters
    ----------
    what : Replay
    run_dir : Path, optional
        Where records and diary go; None writes nothing.
    label : str
        Of the progress bar.

    Returns
    -------
    ReplayOutput
    """
    tapes, run = what.tapes, what.run
    priced = what.priced
    venue = wiring.venue_arguments(tapes, run)
    (watch,) = venue["modules"]
    engine = build_engine(
        wiring.sim_config(what.policy, tapes, run, run_dir),
        [feed.instrument(tape.instrument) for tape in priced],
        [what.events(tape) for tape in priced],
        tapes[0].instrument.venue,
        venue,
        what.extras,
    )
    try:
        if what.ready is not None:
            what.ready(engine)
        started = time.perf_counter()
        with _progress(engine, sum(len(tape) for tape in tapes), label):
            run_engine(engine)
        output = collect(engine, started, watch.bus)
        if run_dir and run.output.report:
            write_tearsheet(engine, run_dir / "tearsheet.html")
        return output
    finally:
        engine.dispose()


@contextmanager
def _progress(engine: Any, total: int, label: str) -> Iterator[None]:
    """Show how far the engine is, from a thread of its own; quiet when stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    with tqdm(total=total, desc=label, unit="ev", unit_scale=True) as bar:

        def follow() -> None:
            while not done.wait(PROGRESS_S):
                bar.update(engine.iteration - bar.n)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            bar.update(engine.iteration - bar.n)


def members(trader: Any, kind: str) -> list[Any]:
    """Return the actors and strategies of a trader whose class has a name."""
    return [one for one in (*trader.actors(), *trader.strategies()) if type(one).__name__ == kind]


def collect(engine: Any, started: float, watch: Any, stages: Stages | None = None) -> ReplayOutput:
    """
    Return what came of an engine or a node that has stopped.

    Parameters
    ----------
    engine : BacktestEngine or TradingNode
    started : float
        When it began to run, as ``perf_counter`` told it.
    watch : BusWatch
        Of its venue.
    stages : Stages, optional
        What has been counted of its latency while it ran.
    """
    trader = engine.trader
    eyes, organisms = members(trader, "Perception"), members(trader, "Organism")
    scribes, sentries = members(trader, "DiaryScribe"), members(trader, "DriftSentry")
    writers = [*scribes, *members(trader, "DriftClerk")]
    gate = engine.kernel._controller
    for writer in writers:
        writer.finish()
    gate.save()
    run_s = time.perf_counter() - started
    cause = gate.switch.trip_cause
    stages = stages or Stages(eyes, organisms)
    thinking = stages.count()
    return ReplayOutput(
        events=sum(eye.events for eye in eyes),
        steps=sum(eye.perceiver.steps.n for eye in eyes),
        warmup=max(eye.perceiver.warmup for eye in eyes),
        decisions=sum(organism.decisions for organism in organisms),
        diary_rows=sum(scribe.written for scribe in scribes),
        transitions=sum(eye.transitions for eye in eyes),
        fills=gate.record.filled,
        equity=from_atto(gate.law.equity),
        turnover=from_atto(gate.record.turnover),
        run_s=run_s,
        killed=None if cause is None else cause.reason,
        decision_ns=thinking,
        latency=stages.told(),
        heartbeat={"clock": watch.clock, "beats": watch.pulse.beats, "faults": list(watch.faults)},
        learned={
            organism.config.instrument_id: Learned(state, organism.adaptation.synapse_table())
            for organism in organisms
            if not organism.config.canary and (state := organism.learned())  # a canary's ends with the run
        },
        drift=sentries[0].summary() if sentries else None,
        canary_decisions=sum(organism.decisions for organism in organisms if organism.config.canary),
    )
