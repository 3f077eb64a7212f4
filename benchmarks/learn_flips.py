"""Regime flips: planted at known moments, routed in how many decision steps; label-only flips must do nothing.

All delays come from SQL over the diary of the run and the truth beside it; ``FLIPS`` is the query.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from alphatrade.nodes import run
from alphatrade.nodes.result import RunResult
from alphatrade.reflection.query import open_views
from benchmarks.figures import Figure, figure

COMMAND = "make learn-bench"
FLIPPED = 60
POLICY = (
    # One step of high volatility is a regime here, and direction is none: the planted flips are of volatility.
    "policy.regime.trend_enter=1000",
    "policy.regime.trend_exit=999",
    "policy.regime.vol_short=1",
    "policy.regime.vol_enter=1.0",
    "policy.regime.vol_exit=0.7",
    "policy.regime.dwell=1",
    "policy.router.min_hold=0",
    "policy.router.min_confidence=0",
    "policy.router.table.flat-low=reversion",
    "policy.router.table.flat-high=momentum",
    "policy/features=depth",
    "policy.cadence.kind=events",
    "policy.cadence.n=20",
)
CALM = ("tape=world", "tape.hours=12", "tape.step_s=0.5", "tape.halts=0", "tape.gaps=0", "tape.bad_prints=0")
OUTPUT = ("output.stress=false", "output.report=false")

FLIPS = """
    WITH planted AS (
        SELECT ts, regime FROM (SELECT ts, regime, lag(regime) OVER (ORDER BY ts) AS before FROM truth)
        WHERE regime <> before),
    flips AS (
        SELECT p.ts, if(p.regime = 'shock', 'momentum', 'reversion') AS wanted,
               (SELECT min(step) FROM decisions WHERE ts >= p.ts) AS first
        FROM planted p WHERE p.ts >= (SELECT min(ts) FROM decisions))
    SELECT f.first,
           (SELECT min(d.step) FROM decisions d WHERE d.step >= f.first AND d.exec_topo = f.wanted) - f.first AS delay
    FROM flips f WHERE f.first IS NOT NULL ORDER BY f.ts
"""
SWITCHES = """
    WITH routed AS (SELECT step, exec_topo, lag(exec_topo) OVER (ORDER BY step) AS before FROM decisions),
    signals AS (SELECT step FROM beliefs WHERE cause <> '' AND step > (SELECT min(step) FROM decisions))
    SELECT (SELECT min(r.step) FROM routed r WHERE r.step >= s.step AND r.exec_topo <> r.before) - s.step AS delay
    FROM signals s ORDER BY s.step
"""
STREAMS = """
    SELECT d.exec_topo, o.type, count(*) AS n FROM orders o JOIN decisions d ON o.decision = d.decision
    WHERE o.event = 'initialized' GROUP BY ALL ORDER BY ALL
"""


def rows(seeds: tuple[int, ...] = (1001, 1002)) -> list[Figure]:
    """Return the figures; two worlds with so many flips each."""
    delays: list[float] = []
    signals: list[float] = []
    placebo = 0
    distance = 1.0
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            schedule = "[" + ",".join(["calm", "shock"] * (FLIPPED // 2)) + "]"
            real = _run(folder, seed, f"tape.schedule={schedule}")
            delays += _delays(real.path, FLIPS)
            signals += _delays(real.path, SWITCHES)
            distance = min(distance, _distance(real.path))
            still = _run(folder, seed, "tape.schedule=[calm]", "tape.regime_s=600")
            labels = _run(folder, seed, "tape.schedule=[calm]", f"tape.placebo_flips={FLIPPED}", "tape.regime_s=600")
            placebo += int((still.decisions["exec_topo"] != labels.decisions["exec_topo"]).sum())
            placebo += int(still.summary["digests"]["fills"] != labels.summary["digests"]["fills"])

    def row(name: str, what: str, value: float, unit: str, target: str, n: int) -> Figure:
        return replace(figure(f"learn.flips.{name}", what, value, unit, target, command=COMMAND), n=n)

    n = len(delays)
    return [
        row("planted", "planted flips of volatility after warm-up", n, "flips", ">= 50", n),
        row("median", "from flip to routed, median", float(np.median(delays)), "steps", "<= 3", n),
        row("p95", "from flip to routed, 95th percentile", float(np.percentile(delays, 95)), "steps", "<= 10", n),
        row("signal", "from regime signal to switch, longest", float(np.max(signals)), "steps", "<= 1", len(signals)),
        row("placebo", "decisions that label-only flips changed", placebo, "decisions", "== 0", FLIPPED * len(seeds)),
        row("stream", "order types of the two topologies, total variation", distance, "", ">= 0.5", len(seeds)),
    ]  # fmt: skip


def _run(folder: str, seed: int, *more: str) -> RunResult:
    return run([*CALM, *POLICY, *OUTPUT, f"tape.seed={seed}", f"paths.artifacts={folder}", *more])


def _frame(path: Path, sql: str) -> pd.DataFrame:
    with open_views(path) as base:
        base.execute(f"CREATE VIEW truth AS SELECT * FROM read_parquet('{path / 'truth.parquet'}')")
        return base.execute(sql).df()


def _delays(path: Path, sql: str) -> list[float]:
    return _frame(path, sql)["delay"].fillna(float("inf")).tolist()


def _distance(path: Path) -> float:
    """Return the total variation distance of the order types that the two topologies sent."""
    counts = _frame(path, STREAMS).pivot(index="type", columns="exec_topo", values="n").fillna(0.0)
    shares = counts[["momentum", "reversion"]] / counts[["momentum", "reversion"]].sum()
    return float(0.5 * (shares["momentum"] - shares["reversion"]).abs().sum())
