"""Exploration: does it keep to its budget and stop when it must, as the auditor sees it; and what does it cost.

``python -m benchmarks.evolve --only exploration cost [--worlds 12] [--before COMMIT] [--pairs 3]``

Budget and freeze are measured over seeded worlds and real tapes, with a mutant of which both keepers are switched off.
The cost is that of one decision step, each run a process of its own: exploration off against the code of another commit
(``--before``), and on, at budget, against off. Needs the shared tapes (``ALPHATRADE_TAPES``).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from tqdm import tqdm

from benchmarks.figures import ROOT, Figure, figure, interleave, ratios
from benchmarks.learn_worlds import REAL, TAPES

COMMAND = "make evolve-bench"
BEFORE = "98ad8e8d5ac127e859d8415a0c8c61a6723647d4"  # the last commit before there was anything to evolve or explore
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


def side(clone: Path, name: str) -> dict[str, float]:
    """Run one side of the throughput benchmark with the code of a clone."""
    env = os.environ | {"PYTHONPATH": str(clone), "ALPHATRADE_TAPES": str(TAPES.resolve())}
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.throughput", "--side", name, "--every", "10"]
    done = subprocess.run(words, cwd=clone, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} in {clone}: exit {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


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
        sides = {
            "off": lambda: side(ROOT, "full"),
            "on": lambda: side(ROOT, "explore"),
            "before": lambda: side(Path(folder), "full"),
        }
        found = interleave(sides, pairs, "cost of exploration")

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
