"""Exploration: does it keep to its budget and stop when it must, as the auditor sees it; and what does it cost.

``python -m benchmarks.evolve --only exploration cost [--worlds 12] [--before COMMIT] [--pairs 3]``

Budget and freeze are measured over seeded worlds and real tapes, with a mutant of which both keepers are switched off.
The cost is that of one decision step: exploration off against the code of another commit (``--before``), and on, at
budget, against off; three processes at once, in turns on one core. Needs the shared tapes (``ALPHATRADE_TAPES``).
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple
from unittest.mock import patch

from tqdm import tqdm

from benchmarks.figures import ROOT, Figure, figure, ratios
from benchmarks.learn_worlds import REAL, TAPES

COMMAND = "make evolve-bench"
BEFORE = "98ad8e8d5ac127e859d8415a0c8c61a6723647d4"  # the last commit before there was anything to evolve or explore
TURN_S = 0.5
ON = ("exploration=true", "explore.every=20", "explore.share=0.1", "explore.probability=0.5")
QUIET = ("output.stress=false", "output.report=false")
WORLD = (
    "tape=world", "tape.hours=8", "tape.payoff=drawn", "tape.price=1000", "tape.regime_s=900", "tape.step_s=2.5",
    "policy/features=depth", "policy.cadence.kind=events", "policy.cadence.n=4",
)  # fmt: skip
# Half of the worlds keep clear of near-misses, so that they explore until something else stops them.
CALM = ("policy.risk.near_miss=1",)
LEARN = ("policy.flags.linear_attention=true", "policy.flags.fast_weights=true")
TAPES_USED = ("btcusd_1m", "btcusd_1m_2018", "ethusd_1m_2018", "usdjpy_1m_2013")


class Turn(NamedTuple):
    """One side that runs in turns with others: its name, the clone whose code it is, its process, what it printed."""

    name: str
    clone: Path
    process: subprocess.Popen[str]
    out: IO[str]
    errors: IO[str]

    def done(self) -> bool:
        """Let it run for its turn; return whether it has ended."""
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.wait(TURN_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGSTOP)
            return False
        return True

    def found(self) -> dict[str, float]:
        """
        Return the figures that it printed.

        Raises
        ------
        RuntimeError
            If it failed.
        """
        for file in (self.out, self.errors):
            file.seek(0)
        if self.process.returncode:
            lines = self.errors.read().strip().splitlines()
            raise RuntimeError(f"{self.name} in {self.clone}: exit {self.process.returncode}: {lines[-1:]}")
        found: dict[str, float] = json.loads(self.out.read().strip().splitlines()[-1])
        return found


class Seen(NamedTuple):
    """
    What the auditor and the diary say of one exploring run.

    Attributes
    ----------
    violations, orders : int
        Findings of the auditor, integrity included; explored orders.
    used : float
        Largest explored share of the flow on any prefix, over the budget.
    frozen, late, flying : int
        Whether a warning came; notional filled and orders let through after it; fills that were on their way.
    compared, stopped : int
        Exploring decisions held against their alternative, and tactics stopped for it.
    """

    violations: int
    orders: int
    used: float
    frozen: int
    late: int
    flying: int
    compared: int
    stopped: int


def one(overrides: Sequence[str], mutant: bool = False) -> Seen:
    """Run and audit; the mutant has neither the router's check nor the law's."""
    from alphatrade.nodes import run
    from alphatrade.risk.audit import audit
    from alphatrade.risk.exploration import Exploration
    from alphatrade.strategies.exploring import Explorer

    with tempfile.TemporaryDirectory() as folder:
        words = [*ON, *QUIET, *overrides, f"paths.artifacts={folder}"]
        if mutant:
            with (
                patch.object(Explorer, "room", property(lambda _: 1e15)),
                patch.object(Exploration, "check", lambda *_: None),
            ):
                result = run(words)
        else:
            result = run(words)
        report, rows, events = audit(result.path), result.decisions, result.risk_events
    found = report.explored
    told = rows[rows["compared_step"].notna()]
    delta = told["compared_own"] - told["compared_base"]
    outside = told[~delta.between(*_bounds(words))]
    first = found.frozen
    late = 0 if first is None else int(((events["kind"] == "explored") & (events["ts"] > first)).sum())
    return Seen(
        len(report.violations) + len(report.integrity), found.orders, found.most / _share(words),
        int(first is not None), found.after_freeze + late, found.in_flight, len(told),
        outside["compared_topo"].nunique(),
    )  # fmt: skip


def _share(words: Sequence[str]) -> float:
    return next(float(word.partition("=")[2]) for word in reversed(words) if word.startswith("explore.share="))


def _bounds(words: Sequence[str]) -> tuple[float, float]:
    from alphatrade.nodes.settings import compose_settings

    low, high = compose_settings(list(words)).run.explore.delta_bps
    return low, high


def jobs(seeds: int) -> dict[str, tuple[str, ...]]:
    """Return what to run: worlds, each second one calm, each third one learning; and the real tapes that are there."""
    found: dict[str, tuple[str, ...]] = {}
    for seed in range(1, seeds + 1):
        learns = LEARN if seed % 3 == 0 else ()
        found[f"world {seed}"] = (*WORLD, f"tape.seed={seed}", f"seed={seed}", *(CALM if seed % 2 else ()), *learns)
    for name in TAPES_USED:
        words, path = REAL[name], TAPES / name / "data.parquet"
        if words[0].startswith("tape="):
            found[name] = words
        elif path.exists():
            found[name] = ("tape=file", f"tape.path={path}", *words)
    return found


def runs(seeds: int) -> list[Figure]:
    """Return the figures of budget, freeze and guardrail."""
    seen = [one(words) for words in tqdm(jobs(seeds).values(), desc="exploring runs", unit="run", disable=None)]
    mutants = [one((*WORLD, *CALM, f"tape.seed={seed}", f"seed={seed}"), mutant=True) for seed in (1, 3, 5)]

    def total(name: str) -> int:
        return sum(int(getattr(each, name)) for each in seen)

    def row(name: str, what: str, value: float, unit: str, target: str = "") -> Figure:
        return figure(f"explore.{name}", what, value, unit, target, command=COMMAND)

    found = sum(mutant.violations for mutant in mutants)
    return [
        row("runs", "exploring runs, worlds and real tapes", len(seen), "runs", "> 0"),
        row("violations", "violations that the auditor found in them", total("violations"), "violations", "== 0"),
        row("orders", "explored orders let through", total("orders"), "orders", "> 0"),
        row("share", "largest explored share of a prefix, over the budget", max(s.used for s in seen), "x", "<= 1"),
        row("frozen", "runs that an alarm or a warning of the law froze", total("frozen"), "runs", "> 0"),
        row("late", "explored after a freeze: orders let through, notional", total("late"), "units", "== 0"),
        row("flying", "fills of explored orders on their way at a freeze", total("flying"), "fills"),
        row("compared", "exploring decisions held against their alternative", total("compared"), "decisions", "> 0"),
        row("stopped", "tactics stopped by the guardrail", total("stopped"), "tactics"),
        row("mutant", "violations where nobody checks the budget", found, "violations", "> 0"),
    ]


@contextmanager
def started(clone: Path, name: str) -> Iterator[Turn]:
    """Start one side of the throughput benchmark with the code of a clone, stopped before it does anything."""
    env = os.environ | {"PYTHONPATH": str(clone), "ALPHATRADE_TAPES": str(TAPES.resolve())}
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.throughput", "--side", name, "--every", "10"]
    with TemporaryFile("w+") as out, TemporaryFile("w+") as errors:
        process = subprocess.Popen(words, cwd=clone, env=env, stdout=out, stderr=errors, text=True)
        os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
        process.send_signal(signal.SIGSTOP)
        try:
            yield Turn(name, clone, process, out, errors)
        finally:
            process.kill()
            process.wait()


def in_turns(sides: Mapping[str, tuple[Path, str]], label: str) -> dict[str, dict[str, float]]:
    """
    Run every side at once on one core, each in its turn for half a second while the others are stopped.

    Two processes of the same code, one after the other, differ by ten per cent on a shared machine, whose speed changes
    within seconds; in turns the same seconds hit all sides. A step in which a turn ended is slow: one in a thousand.
    """
    with ExitStack() as stack:
        turns = {key: stack.enter_context(started(*where)) for key, where in sides.items()}
        waiting = list(turns.values())
        with tqdm(total=len(waiting), desc=label, unit="run", disable=None, leave=False) as bar:
            while waiting:
                for turn in list(waiting):
                    if turn.done():
                        waiting.remove(turn)
                        bar.update()
        return {key: turn.found() for key, turn in turns.items()}


def cost(before: str, pairs: int) -> list[Figure]:
    """Return the figures of one decision step: exploration off against the code of a commit, and on against off."""
    with tempfile.TemporaryDirectory(prefix="alphatrade-before-") as folder:
        for words in (
            ["clone", "--quiet", "--no-checkout", str(ROOT), folder],
            ["-C", folder, "checkout", "-q", before],
        ):
            done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"--before: got {before}, expected a commit of this clone ({done.stderr.strip()})")
        sides = {"off": (ROOT, "full"), "on": (ROOT, "explore"), "before": (Path(folder), "full")}
        rounds = []
        for at in tqdm(range(pairs), desc="cost of exploration", unit="round", disable=None):
            order = list(sides)[at % 3 :] + list(sides)[: at % 3]
            rounds.append(in_turns({key: sides[key] for key in order}, f"round {at + 1}"))
    found = {key: [each[key] for each in rounds] for key in sides}

    def over(key: str, above: str, below: str) -> list[float]:
        return ratios([run[key] for run in found[above]], [run[key] for run in found[below]])

    def row(name: str, what: str, values: Sequence[float], unit: str, target: str = "") -> Figure:
        return figure(f"explore.cost.{name}", what, values, unit, target, command=COMMAND)

    on, off = found["on"], found["off"]
    rows = [
        row("on_p50", "decision step, median: at budget over off", over("step_p50_us", "on", "off"), "x", "<= 1.15"),
        row("on_p99", "decision step, 99th percentile: at budget over off", over("step_p99_us", "on", "off"), "x"),
        row("off_us", "decision step, median, off", [run["step_p50_us"] for run in off], "us"),
        row("explored", "share of decisions that explored, on", [run["explored"] for run in on], "share", "> 0"),
        row("used", "explored share at the end over the budget, on", [run["used"] for run in on], "x"),
    ]
    for key, what, target in (("p50", "median", "<= 1.05"), ("p99", "99th percentile", "<= 1.2")):
        times = over(f"step_{key}_us", "off", "before")
        rows.append(row(f"off_{key}", f"decision step, {what}: off over the code before", times, "x", target))
    return rows
