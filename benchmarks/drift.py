"""Drift sentry: false alarms against the design, delays beside theory, and from an alarm to the action.

``python -m benchmarks.drift``

Stationary outcomes are those of runs (the embedded tape; a world; two weeks of another year, if the shared tapes are
there), resampled in blocks of random length (Politis & Romano 1994; the calibration uses blocks of fixed length), and
those of a generator with tails of Student's t with 4 degrees of freedom in which every outcome overlaps the one before
by four steps of five. Each run has a baseline of its own, from which the sentry calibrates itself before it watches.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from alphatrade.actors.compiled import compiled
from alphatrade.actors.drift_design import KNEE, NORMAL, ROOM, Numbers, Outcomes, baseline, calibrate, observe
from benchmarks.figures import ROOT, Figure, figure, publish

COMMAND = "python -m benchmarks.drift"
RUNS = 2_000
DESIGN, K, BASELINE, LEAST = 300.0, 0.5, 750, 50  # as in conf/policy/drift/default.yaml
CAP = 12  # designs that a run is followed for
BLOCK = 40  # mean length, outcomes
SHIFTS = (1.0, 2.0, 4.0, 5.0)
OTHER = Path(os.environ.get("ALPHATRADE_TAPES", ROOT / ".." / "shared" / "tapes")) / "btcusd_1m_2018"
WORLDS = range(300, 308)
ALPHA_ENDS_H = 14.0
DAY_H = 22.0
MOMENTUM = ("down-low", "down-high", "flat-low", "flat-high", "up-low", "up-high")
Rng = np.random.Generator


def source(kind: str, folder: Path) -> Outcomes:
    """Return the outcomes of a run in which nobody acts on them, as the sentry would take them."""
    tapes = {
        "tape": [],
        "world": ["tape=world", "tape.seed=300", "tape.hours=72"],
        "other": ["tape=file", f"tape.path={OTHER}", "tape.instrument=BTC/USD", "tape.end=2018-01-15"],
    }
    sentry = simulate([*tapes[kind], "policy.drift.baseline=2000", "policy.drift.least=2000"], folder)
    seen = sentry._recent()
    return Outcomes(*(np.array(column) for column in seen))


def simulate(overrides: list[str], folder: Path) -> Any:
    """Run a sim into `folder` and return the sentry's family as it ended."""
    from alphatrade.nodes import feed, wiring
    from alphatrade.nodes.engine import build_engine, run_engine
    from alphatrade.nodes.settings import compose_settings
    from alphatrade.nodes.sim import load_tapes

    settings = compose_settings([f"paths.state={folder}", "output.report=false", "output.stress=false", *overrides])
    tapes = load_tapes(settings.run)
    engine = build_engine(
        wiring.sim_config(settings.policy, tapes, settings.run, folder),
        [feed.instrument(tape.instrument) for tape in tapes],
        [feed.events(tape) for tape in tapes],
        tapes[0].instrument.venue,
        wiring.venue_arguments(tapes, settings.run),
    )
    actors = {type(actor).__name__: actor for actor in engine.trader.actors()}
    run_engine(engine)
    actors["DiaryScribe"].finish()
    actors["DriftClerk"].finish()
    engine.dispose()
    return actors["DriftSentry"].family


def blocks(seen: Outcomes, length: int, rng: Rng) -> Outcomes:
    """Return a stationary bootstrap of `seen`; nothing overlaps across a seam."""
    n = len(seen.x)
    seam = rng.random(length) < 1.0 / BLOCK
    seam[0] = True
    starts = rng.integers(0, n, int(seam.sum()))
    at = np.flatnonzero(seam)
    which = np.cumsum(seam) - 1
    place = (starts[which] + np.arange(length) - at[which]) % n
    rho = seen.rho[place].copy()
    rho[seam] = 0.0
    return Outcomes(seen.x[place], seen.stream[place], rho)


def overlapping(length: int, rng: Rng) -> Outcomes:
    """Return heavy-tailed outcomes that share four of five steps with the one before, two tactics in turns."""
    x = np.convolve(rng.standard_t(4, length + 4), np.ones(5), "valid") - 3.0
    tactic = 1 + np.arange(length) // 25 % 2
    rho = np.full((length, 2), 0.8)
    rho[::25, 1] = 0.0
    rho[0] = 0.0
    return Outcomes(x, np.stack([np.zeros(length, np.int64), tactic], axis=1), rho)


def normal(length: int, rng: Rng) -> Outcomes:
    """Return one stream of independent normal outcomes: where theory is exact."""
    stream = np.stack([np.zeros(length, np.int64), np.full(length, -1)], axis=1)
    return Outcomes(rng.standard_normal(length), stream, np.zeros((length, 2)))


def drawn(kind: str, seen: Outcomes | None, length: int, rng: Rng) -> Outcomes:
    """Return fresh stationary outcomes of a kind, without streams that had too few in the baseline to be watched."""
    if seen is None:
        return normal(length, rng) if kind == "normal" else overlapping(length, rng)
    made = blocks(seen, length, rng)
    count = np.bincount(made.stream[:BASELINE][made.stream[:BASELINE] >= 0], minlength=int(seen.stream.max()) + 1)
    return made._replace(stream=np.where((made.stream >= 0) & (count[made.stream] >= LEAST), made.stream, -1))


@compiled
def watch(x: Numbers, stream: Numbers, rho: Numbers, state: Numbers, k: float, h: float) -> int:
    """Return the number of the first outcome at which a chart exceeds `h`, from 1; 0 for never."""
    for t in range(len(x)):
        for side in range(2):
            i = stream[t, side]
            if i >= 0 and observe(state, i, x[t], rho[t, side], k, True)[0] > h:
                return t + 1
    return 0


def taught(made: Outcomes) -> tuple[Numbers, float]:
    """Return the state and the threshold after the baseline of `made`."""
    part = Outcomes(*(column[:BASELINE] for column in made))
    streams = int(made.stream.max()) + 1
    return baseline(part, streams), calibrate(part, streams, DESIGN, K).threshold


def one_run(kind: str, seen: Outcomes | None, seed: int) -> tuple[int, float]:
    """Return run length and threshold of one stationary run."""
    rng = np.random.Generator(np.random.PCG64(seed))
    made = drawn(kind, seen, BASELINE + int(CAP * DESIGN), rng)
    state, h = taught(made)
    found = watch(made.x[BASELINE:], made.stream[BASELINE:], made.rho[BASELINE:], state, K, h)
    return found or int(CAP * DESIGN), h


def one_shift(kind: str, seen: Outcomes | None, seed: int) -> list[tuple[float, int, float]]:
    """Return for each shift its delay in outcomes of the stream that drifts, from charts that have run for a while."""
    rng = np.random.Generator(np.random.PCG64(seed))
    begin = BASELINE + 50
    made = drawn(kind, seen, begin + 4_000, rng)
    state, h = taught(made)
    calm, after = (Outcomes(*(c[part] for c in made)) for part in (slice(BASELINE, begin), slice(begin, None)))
    if watch(calm.x, calm.stream, calm.rho, state, K, h):
        return []
    first = 0 if seen is None else _overall(seen)
    traded = after.stream[:, 0] == first
    if traded.sum() < 100:
        return []  # too few traded in this baseline: the stream still learns
    after = Outcomes(*(column[traded][:400] for column in after))
    sigma = float(np.std(made.x if seen is None else seen.x[seen.stream[:, 0] == first]))
    found = []
    for shift in SHIFTS:
        delay = watch(after.x - shift * sigma, after.stream, after.rho, state.copy(), K, h)
        found.append((shift, delay or len(after.x), h))
    return found


def _overall(seen: Outcomes) -> int:
    """Return the index of the stream of all traded decisions: the one that comes with a second one."""
    return int(seen.stream[seen.stream[:, 1] >= 0, 0][0])


def theory(h: float, shift: float, states: int = 200) -> float:
    """Return the average run length of a one-sided CUSUM on independent normal scores (Brook & Evans 1972)."""
    width = 2.0 * h / (2 * states - 1)
    cdf = statistics.NormalDist(shift - K, 1.0).cdf
    edge = [[cdf((j - i + 0.5) * width) for j in range(-1, states)] for i in range(states)]
    matrix = np.diff(np.array(edge), axis=1)
    matrix[:, 0] = [row[1] for row in edge]  # cell 0 holds zero and everything below half a width
    return float(np.linalg.solve(np.eye(states) - matrix, np.ones(states))[0])


def at_once(seed: int) -> bool:
    """Return whether the larger side of h + k alarms with one outcome and the smaller does not, from charts at zero."""
    rng = np.random.Generator(np.random.PCG64(seed))
    made = overlapping(BASELINE, rng)
    state, h = taught(made)
    found = []
    for far in (1.001, 0.999):
        score = far * (h + K)
        z = score if score <= KNEE else KNEE + (score - KNEE) / (1.0 - (score - KNEE) / ROOM)
        x = np.array([state[0, 1] - z * NORMAL * state[0, 2]])
        fresh_state = state.copy()
        found.append(watch(x, np.array([[0, -1]]), np.zeros((1, 2)), fresh_state, K, h))
    return found == [1, 0]


def spread(work: Callable[[int], Any], seeds: range, label: str) -> Iterator[Any]:
    """Yield what `work` returns for each seed, from two processes that share no threads with this one."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        yield from tqdm(pool.map(work, seeds, chunksize=20), total=len(seeds), desc=label, unit="run", disable=None)


def false_alarms(kind: str, seen: Outcomes | None, runs: int) -> list[Figure]:
    """Return the rows of one kind of stationary outcomes."""
    found = list(spread(partial(one_run, kind, seen), range(100_000, 100_000 + runs), f"ARL0 {kind}"))
    lengths = [float(length) for length, _ in found]
    low, high = mean_interval(lengths)
    mean, h = statistics.fmean(lengths), statistics.median(h for _, h in found)
    words = f"mean run length to a false alarm of the family, {kind} outcomes, design {DESIGN:g}, median h {h:.2f}"
    what = f"|mean run length / design - 1|: {kind} outcomes"
    off = figure(f"drift.arl0_{kind}", what, abs(mean / DESIGN - 1.0), "x", "<= 0.2", command=COMMAND)
    plain = figure(f"drift.run_length_{kind}", words, mean, "outcomes", command=COMMAND)
    return [replace(off, n=runs), replace(plain, n=runs, interval=(round(low, 1), round(high, 1)))]


def mean_interval(values: list[float], seed: int = 1) -> tuple[float, float]:
    """Return the bootstrap 95 % interval of the mean."""
    rng = np.random.Generator(np.random.PCG64(seed))
    means = np.array([np.mean(rng.choice(values, len(values))) for _ in range(1_000)])
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def delays(kind: str, seen: Outcomes | None, runs: int) -> list[Figure]:
    """Return the delay at each shift, beside theory."""
    found = [row for rows in spread(partial(one_shift, kind, seen), range(200_000, 200_000 + runs), f"delay {kind}")
             for row in rows]  # fmt: skip
    h = statistics.median(row[2] for row in found)
    out = []
    for shift in SHIFTS:
        times = [float(length) for s, length, _ in found if s == shift]
        words = f"outcomes from a shift of {shift:g} sigma to the alarm, mean, {kind}; theory {theory(h, shift):.1f}"
        row = figure(f"drift.delay_{kind}_{shift:g}s", words, statistics.fmean(times), "outcomes", command=COMMAND)
        low, high = mean_interval(times)
        out.append(replace(row, n=len(times), interval=(round(low, 2), round(high, 2))))
    fast = [length <= 2 for s, length, _ in found if s == 5.0]
    what = f"share of 5 sigma shifts seen within 2 outcomes, {kind}"
    row = figure(f"drift.fast_{kind}", what, statistics.fmean(fast), "", ">= 0.95", command=COMMAND)
    return [*out, replace(row, n=len(fast))]


def dying_alpha(folder: Path, seed: int) -> dict[str, Any]:
    """Trade a planted alpha until it ends; return when the sentry acted, and how many steps each action took."""
    import pandas as pd

    from alphatrade.nodes.tape_spec import WorldTape

    if "alpha_ends_s" in WorldTape.model_fields:
        end = f"tape.alpha_ends_s={ALPHA_ENDS_H * 3600:g}"
    else:  # it fades from the first second on: weaker, and without a moment
        end = f"tape.alpha_half_life_s={6 * 3600}"
    where = folder / str(seed)
    simulate(
        [
            "tape=world", f"tape.seed={seed}", f"tape.hours={DAY_H:g}", "tape.alpha=0.5", end, "tape.schedule=[calm]",
            "tape.halts=0", "tape.gaps=0", "tape.bad_prints=0", "policy/features=depth", "policy.cadence.n=5",
            "policy.topologies.momentum.params={signal: imbalance, enter: 1.5, leave: 0.0, hold_min: 1}",
            *[f"policy.router.table.{regime}=momentum" for regime in MOMENTUM],
        ],
        where,
    )  # fmt: skip
    diary = pd.read_parquet(where / "diary" / "decisions.parquet")[["ts", "explanation"]]
    begin = int(diary["ts"].iloc[0])
    packets = [json.loads(path.read_text()) for path in sorted((where / "packets").glob("*.json"))]
    steps = []
    for packet in packets:
        after = diary[diary["ts"] >= int(packet["at"]["ts"])]["explanation"].tolist()
        wanted = f"; drift x{packet['action']['factor']:g} ({packet['what']['detail']})"
        steps.append(next((at for at, words in enumerate(after[:50]) if wanted in words), 50))
    hours = [(int(packet["at"]["ts"]) - begin) / 3.6e12 for packet in packets if packet["what"]["stream"] != "belief"]
    seen = [hour - ALPHA_ENDS_H for hour in hours if hour > ALPHA_ENDS_H]
    return {"steps": steps, "after_h": seen[0] if seen else None, "packets": len(packets)}


def worlds(folder: Path) -> list[Figure]:
    """Return the rows of the worlds in which an alpha ends."""
    ran = [dying_alpha(folder, seed) for seed in tqdm(WORLDS, desc="dying alpha", unit="world", disable=None)]
    steps = [step for one in ran for step in one["steps"]]
    acted = [one["after_h"] for one in ran if one["after_h"] is not None]
    worst = "decision steps from an alarm to a decision sized by it, the worst (0: the same step)"
    seen = "share of worlds whose alpha ended in which the sentry acted on mark-outs and wrote a packet"
    rows = [
        figure("drift.action", worst, float(max(steps, default=50)), "steps", "<= 1", command=COMMAND),
        figure("drift.worlds", seen, len(acted) / len(ran), "", ">= 1", command=COMMAND),
    ]
    if acted:
        words = f"hours from the end of the alpha (hour {ALPHA_ENDS_H:g}) to the action, median over worlds"
        rows.append(figure("drift.world_delay", words, acted, "h", command=COMMAND))
    return [replace(rows[0], n=len(steps)), replace(rows[1], n=len(ran)), *rows[2:]]


def calibration_ms(seen: Outcomes) -> Figure:
    """Return what one calibration takes."""
    part = drawn("tape", seen, BASELINE, np.random.Generator(np.random.PCG64(5)))
    times = []
    for _ in range(9):
        started = time.perf_counter()
        taught(part)
        times.append(1e3 * (time.perf_counter() - started))
    return figure("drift.calibration", "one calibration of the family", times, "ms", "<= 500", command=COMMAND)


def rows(runs: int = RUNS) -> list[Figure]:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources: dict[str, Outcomes | None] = {
            "tape": source("tape", folder / "tape"),
            "world": source("world", folder / "world"),
            **({"other": source("other", folder / "other")} if OTHER.is_dir() else {}),
            "overlap": None,
        }
        assert sources["tape"] is not None
        out: list[Figure] = []
        for kind, seen in sources.items():
            out += false_alarms(kind, seen, runs if kind == "tape" else runs // 4)
        for kind, seen in (*sources.items(), ("normal", None)):
            out += delays(kind, seen, max(50, runs // 8))
        once = [at_once(seed) for seed in range(300, 400)]
        what = "share of baselines after which one outcome beyond h + k alarms at once, and none short of it"
        row = figure("drift.at_once", what, statistics.fmean(once), "", ">= 1", command=COMMAND)
        return [*out, replace(row, n=len(once)), calibration_ms(sources["tape"]), *worlds(folder / "worlds")]


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS)
    publish("drift", rows(parser.parse_args().runs))


if __name__ == "__main__":
    main()
