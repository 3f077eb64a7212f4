"""Learning on planted worlds, on a world with nothing to learn, and on every real tape; each arm the same tapes."""

import atexit
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.figures import ROOT, Figure, figure
from benchmarks.learn_arms import ARMS, ORACLE, Run, run_arm

COMMAND = "make learn-bench"
TAPES = Path(os.environ.get("ALPHATRADE_TAPES", ROOT / ".." / "shared" / "tapes"))
SEEDS = range(1001, 1031)  # held out: nothing was chosen on seeds from 1000 on
# The comparisons, fixed before any held-out tape was run: arm, and what it is compared with.
COMPARED = (
    ("ewma", "table"),
    ("linucb", "table"),
    ("attention", "table"),
    ("attention_sigma", "table"),
    ("attention", "ewma"),
    ("attention", "linucb"),
    ("attention_sigma", "attention"),
    ("attention", "attention_shuffled"),
    ("attention_sigma", "attention_sigma_shuffled"),
)
TARGETS = {
    ("attention", "attention_shuffled"): "> 0",
    ("attention_sigma", "attention_sigma_shuffled"): "> 0",
}
_COMMON = (
    "policy/features=depth",
    "policy.cadence.kind=events",
    "policy.cadence.n=2",
    "policy.sizing.vol_target_bps=1000",  # every clip is a full one
    "policy.expost.primary=20",
    "~policy.topologies.maker",
    "policy.risk.drawdown_max=0.9",  # the comparison is of routers; no arm is to be stopped halfway
    "policy.risk.daily_loss_max=0.9",
)
_QUIET = ("tape=world", "tape.step_s=2.5", "tape.halts=0", "tape.gaps=0", "tape.bad_prints=0")
PLANTED = (
    *_QUIET, *_COMMON, "tape.payoff=drawn", "tape.price=1000", "tape.regime_s=900",
    "policy.router.table.flat-low=reversion",
    "policy.topologies.reversion.params={signal: ret_20, enter: 1.0, offset: 0.3, profit: 2.0, hold_max: 30}",
)  # fmt: skip
# A driftless price without fees and next to no spread. Resting orders lose there, as the market is through them when
# they fill, and that could be learnt: no tactic here has any.
NOTHING = (
    *_QUIET, *_COMMON, "tape.schedule=[calm]", "tape.alpha=0", "tape.price=10000", "tape.spread_ticks=1",
    "tape.maker_fee=0", "tape.taker_fee=0", "~policy.topologies.reversion", "policy.router.table.flat-low=flat",
    "policy.router.table.flat-high=breakout",
)  # fmt: skip
_EVENTS = ("policy.cadence.kind=events",)
_BARS, _QUOTES = ("policy.cadence.kind=bars", "policy.cadence.n=1"), ("policy.cadence.kind=seconds",)
# Folder, and how it is read. The large tapes decide once a minute; the tactics are those of the default policy.
REAL: dict[str, tuple[str, ...]] = {
    "btcusd_1m": ("tape=btcusd_1m", *_BARS),
    "btcusd_1m_2018": ("tape.kind=bars", "tape.instrument=BTC/USD", *_BARS, "policy.cadence.n=5"),
    "ethusd_1m_2018": ("tape.kind=bars", "tape.instrument=ETH/USD", *_BARS, "policy.cadence.n=5"),
    "eurusd_1h_2007_2014": ("tape.kind=bidask_bars", "tape.instrument=EUR/USD", *_EVENTS, "policy.cadence.n=1"),
    "usdjpy_1m_2013": ("tape.kind=bidask_bars", "tape.instrument=USD/JPY", *_EVENTS, "policy.cadence.n=5"),
    "eurusd_ticks_201405": ("tape.kind=quotes", "tape.instrument=EUR/USD", *_QUOTES, "policy.cadence.n=60"),
    "xauusd_ticks_201405": ("tape.kind=quotes", "tape.instrument=XAU/USD", *_QUOTES, "policy.cadence.n=60"),
    "spy_1s_201310": ("tape.kind=bidask_bars", "tape.instrument=SPY", *_QUOTES, "policy.cadence.n=15"),
    "spy_trades_201310": ("tape.kind=trades", "tape.instrument=SPY", *_QUOTES, "policy.cadence.n=15"),
}  # fmt: skip
_UNSTOPPED = ("policy.risk.drawdown_max=0.9", "policy.risk.daily_loss_max=0.9", "policy.expost.primary=20")

Job = tuple[str, str, tuple[str, ...]]  # group, arm, overrides


def _leave_quietly() -> None:
    """Let a worker end without its interpreter's shutdown, in which a compiled dependency reports its own leaks."""
    atexit.register(os._exit, 0)


def _do(job: Job) -> tuple[str, Run]:
    group, arm, overrides = job
    return group, run_arm(arm, overrides)


def replay_all(jobs: Sequence[Job], label: str, workers: int) -> dict[str, dict[str, list[Run]]]:
    """Run the jobs in processes of their own, two at a time; return the runs by group and arm, in the order of jobs."""
    found: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    with get_context("spawn").Pool(workers, _leave_quietly, maxtasksperchild=40) as pool:
        for group, run in tqdm(pool.imap(_do, jobs), total=len(jobs), desc=label, unit="run", disable=None):
            found[group][run.arm].append(run)
    return found


def world_jobs(seeds: Iterable[int], hours: float) -> list[Job]:
    """Return every arm on every planted world and on every world with nothing to learn."""
    jobs: list[Job] = []
    for seed in seeds:
        tape = (f"tape.seed={seed}", f"tape.hours={hours:g}")
        jobs += [("planted", arm, (*PLANTED, *tape)) for arm in (ORACLE, *ARMS)]
        jobs += [("nothing", arm, (*NOTHING, *tape)) for arm in ("table", "attention", "attention_sigma")]
    return jobs


def tape_jobs() -> list[Job]:
    """Return every arm on every real tape that is there."""
    jobs: list[Job] = []
    for name, overrides in REAL.items():
        path = TAPES / name / "data.parquet"
        if name != "btcusd_1m" and not path.exists():
            continue
        tape = () if name == "btcusd_1m" else ("tape=file", f"tape.path={path}")
        jobs += [(name, arm, (*tape, *overrides, *_UNSTOPPED)) for arm in ARMS]
    return jobs


def mean(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Return the mean and its 95 % percentile bootstrap interval."""
    row = np.array(values, dtype=float)
    rng = np.random.Generator(np.random.PCG64(1))
    means = np.sort(row[rng.integers(0, len(row), (4000, len(row)))].mean(axis=1))
    return float(row.mean()), (float(means[100]), float(means[3899]))


def world_rows(found: dict[str, dict[str, list[Run]]]) -> list[Figure]:
    """Return the figures of planted worlds and of those with nothing to learn."""
    planted = {arm: [1000 * run.outcome for run in runs] for arm, runs in found["planted"].items()}
    rows = [
        _row(f"learn.planted.{arm}", f"planted worlds, net outcome per 1,000 decisions: {arm}", values, "bps")
        for arm, values in planted.items()
    ]
    for arm, other in COMPARED:
        values = _minus(planted[arm], planted[other])
        what = f"planted worlds, {arm} minus {other}, per 1,000 decisions"
        rows.append(_row(f"learn.planted.{arm}_minus_{other}", what, values, "bps", TARGETS.get((arm, other), "")))
    for arm in ("ewma", "linucb", "attention", "attention_sigma"):
        rows.append(_gap(arm, planted, ">= 0.25" if arm == "attention" else ""))
    nothing = found["nothing"]
    for arm in ("attention", "attention_sigma"):
        values = _minus(*([1000 * run.outcome for run in nothing[name]] for name in (arm, "table")))
        middle, (low, high) = mean(values)
        what = f"nothing to learn, {arm} minus table, per 1,000 decisions; holds if 0 is inside"
        holds, n = low <= 0 <= high, len(values)
        name, target = f"learn.nothing.{arm}", "interval includes 0"
        rows.append(Figure(name, what, middle, "bps", target, holds, n, (low, high), COMMAND))
        turn = [a.turnover / b.turnover - 1.0 for a, b in zip(nothing[arm], nothing["table"], strict=True)]
        what = f"nothing to learn, turnover of {arm} over the table's, less 1"
        rows.append(_row(f"learn.nothing.turnover_{arm}", what, turn, "", "<= 0.1"))
    return rows


def tape_rows(found: dict[str, dict[str, list[Run]]]) -> list[Figure]:
    """Return what each arm came to on each real tape; one run each, so without an interval and without a claim."""
    rows = []
    for name, arms in found.items():
        for arm, runs in arms.items():
            run = runs[0]
            note = f", stopped by the law: {run.killed}" if run.killed else ""
            what = f"{name}: {arm}, net outcome per 1,000 decisions of {run.decisions:,}; {run.fills:,} fills{note}"
            rows.append(figure(f"learn.tape.{name}.{arm}", what, 1000 * run.outcome, "bps", command=COMMAND))
    return rows


def _minus(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [x - y for x, y in zip(a, b, strict=True)]


def _row(name: str, what: str, values: Sequence[float], unit: str, target: str = "") -> Figure:
    middle, interval = mean(values)
    holds = None if not target else interval[0] > 0 if target == "> 0" else middle <= float(target.split()[1])
    return Figure(name, what, middle, unit, target, holds, len(values), interval, COMMAND)


def _gap(arm: str, planted: dict[str, list[float]], target: str) -> Figure:
    """Return which share of the gap between the table and the oracle an arm closes: a ratio of means, over seeds."""
    table, top, own = (np.array(planted[name]) for name in ("table", ORACLE, arm))
    rng = np.random.Generator(np.random.PCG64(1))
    drawn = rng.integers(0, len(own), (4000, len(own)))
    ratios = np.sort((own - table)[drawn].mean(axis=1) / (top - table)[drawn].mean(axis=1))
    share = float((own - table).mean() / (top - table).mean())
    interval = (float(ratios[100]), float(ratios[3899]))
    what = f"planted worlds, share of the gap between table and oracle closed by {arm}"
    holds = share >= 0.25 if target else None
    return Figure(f"learn.planted.gap_{arm}", what, share, "", target, holds, len(own), interval, COMMAND)
