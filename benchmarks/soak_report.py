"""What came out of a soak, from its files alone: the slope of memory with an interval, p99 by period, violations.

``python -m benchmarks.soak_report FOLDER``

**Slope.** The first quarter is left out (`WARM`): a process fills caches and what its allocators keep. The rest is cut
into `BINS` equal parts of the feed's time, the median of the samples in each is a point, and the slope is that of Theil
and Sen, the median over all pairs of points. Samples in a row are alike: the interval is a bootstrap of residuals as an
autoregression of first order, its coefficient corrected for the bias of short series (Kendall 1954), 2,000 times, and
95 % of the slopes lie in it. Of series of 120 points with coefficients of 0, 0.5, 0.9 and 0.97 it held the true slope
in 90, 90, 84 and 74 of 100 cases; resampled blocks of a tenth of the points (Künsch 1989), told beside it and not
judged, held it in 81, 83, 69 and 40. Where memory goes in a few steps the first interval is wide. "Beyond the
bare node" is the same of the difference, point by point. Less than `LEAST_HOURS` hours or `LEAST_POINTS` points
are not judged.

**p99.** Of each stage with at least `LEAST_SAMPLES` samples in the first period and in the last. It is that of one hour
each, of a few hundred decisions: of a soak of days, the medians over its first day and its last are told beside it.

What was not judged has a row that says so. Of a soak as long as those that are asked for (`asked`) that is a miss, but
for the stages that only orders pass: an hour may have few.
"""

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from alphatrade.nodes.ledger_home import SERVICE, key_file
from alphatrade.reflection.keys import SigningKey
from benchmarks.figures import Figure, publish
from benchmarks.soak_chain import read, verify

WARM, BINS, RESAMPLES = 0.25, 120, 2_000
LEAST_HOURS, LEAST_POINTS, LEAST_SAMPLES, DAY = 1.0, 30, 100, 24
ALWAYS = ("event", "step", "ingest_signal")  # stages of every hour
SLOPE_MB, P99 = 1.0, 1.25
COMMAND = "make soak HOURS={lasts:g} SPEED={speed:g}"
WHAT = {
    "ours": "memory, the paper node", "bare": "memory, the bare node", "beyond": "memory beyond the bare node",
    "blocks": "the same, interval by resampled blocks",
}  # fmt: skip

Floats = NDArray[np.float64]


class Slope(NamedTuple):
    """MB an hour, and the 95 % interval."""

    value: float
    low: float
    high: float


def alikeness(rest: Floats) -> float:
    """Return by how much of itself a residual is told by the one before, corrected for bias."""
    spread = float(rest[:-1] @ rest[:-1])
    found = float(rest[1:] @ rest[:-1]) / spread if spread else 0.0
    return min(found + (2.0 + 4.0 * found) / len(rest), 0.999)


def slope(x: Floats, y: Floats, seed: int = 1) -> Slope:
    """
    Return the slope of points in order, with its interval.

    Parameters
    ----------
    x, y : ndarray of float64, shape (n,)
        Hours, ascending, and MB.
    seed : int
        Of the resampling.
    """
    n, (a, b) = len(x), np.triu_indices(len(x), 1)
    gaps = x[b] - x[a]
    value = float(np.median((y[b] - y[a]) / gaps))
    rest = y - value * x
    rest -= rest.mean()
    again = alikeness(rest)
    fresh = rest[1:] - again * rest[:-1]
    rng = np.random.default_rng(seed)
    drawn = np.empty((RESAMPLES, n))
    drawn[:, 0] = rng.choice(rest, RESAMPLES)
    for at, step in enumerate(rng.choice(fresh - fresh.mean(), (n - 1, RESAMPLES)), 1):
        drawn[:, at] = again * drawn[:, at - 1] + step
    slopes = [value + float(np.median((one[b] - one[a]) / gaps)) for one in drawn]
    return Slope(value, *(float(end) for end in np.quantile(slopes, (0.025, 0.975))))


def blocks(x: Floats, y: Floats, seed: int = 1) -> Slope:
    """Return the slope with the narrower interval of residuals that are drawn in blocks of a tenth of the points."""
    n, (a, b) = len(x), np.triu_indices(len(x), 1)
    gaps, size = x[b] - x[a], max(1, n // 10)
    value = float(np.median((y[b] - y[a]) / gaps))
    rest, rng = y - value * x, np.random.default_rng(seed)
    found = np.empty(RESAMPLES)
    for at in range(RESAMPLES):
        starts = rng.integers(0, n - size + 1, -(-n // size))
        drawn = rest[(starts[:, None] + np.arange(size)).ravel()[:n]]
        found[at] = value + np.median((drawn[b] - drawn[a]) / gaps)
    return Slope(value, *(float(end) for end in np.quantile(found, (0.025, 0.975))))


def samples(folder: Path, side: str) -> tuple[Floats, Floats]:
    """Return hours of the feed and resident memory (MB) of all samples of a node."""
    lines = (json.loads(line) for line in (folder / f"{side}.jsonl").read_text().splitlines())
    found = [(line["at"], line["rss"] / 2**20) for line in lines if line["kind"] == "sample"]
    return tuple(np.array(found, np.float64).reshape(-1, 2).T)  # type: ignore[return-value]


def points(x: Floats, y: Floats, lasts: float) -> tuple[Floats, Floats]:
    """Return the middles of the parts after the warm-up, and the median in each; not a number where nothing is."""
    edges = np.linspace(WARM * lasts, lasts, BINS + 1)
    place = np.digitize(x, edges) - 1
    medians = [np.median(y[place == part]) if (place == part).any() else np.nan for part in range(BINS)]
    return (edges[1:] + edges[:-1]) / 2, np.array(medians)


def paired(folder: Path, lasts: float) -> tuple[Floats, Floats, Floats]:
    """Return the middles of the parts in which both nodes have samples, and the medians of ours and the bare one."""
    (x, ours), (_, bare) = (points(*samples(folder, side), lasts) for side in ("ours", "bare"))
    known = np.isfinite(ours) & np.isfinite(bare)
    return x[known], ours[known], bare[known]


class Told(NamedTuple):
    """What the checkpoints say: the plan, the periods in order, and the end (nothing where a soak was cut off)."""

    plan: Mapping[str, Any]
    periods: Sequence[Mapping[str, Any]]
    end: Mapping[str, Any]


def told(folder: Path) -> Told:
    """Return what the checkpoints of a soak say."""
    lines = read(folder)
    bodies = {kind: [line["body"] for line in lines if line["kind"] == kind] for kind in ("period", "end")}
    return Told(lines[0]["body"]["plan"], bodies["period"], (bodies["end"] or [{}])[0])


def asked(plan: Mapping[str, Any]) -> bool:
    """Return whether a soak is as long as those that are asked for: two hours at 1x, or seven days of a market."""
    return bool(plan["lasts"] >= 7 * DAY or (plan["lasts"] >= 2.0 and plan["speed"] <= 1.0))


def counted(soak: Told, command: str) -> list[Figure]:
    """Return how much there was, and what the law and the auditor say to it."""
    lasts, speed = soak.plan["lasts"], soak.plan["speed"]
    what = f"{lasts:g} h of the feed at {speed:g}x: signed checkpoints"
    rows = [_row("periods", what, len(soak.periods), "periods", command)]
    for name in ("events", "decisions", "orders", "fills"):
        rows.append(_row(name, "in these", sum(one[name] for one in soak.periods), name, command))
    breaches = soak.periods[-1]["law"].get("breach", 0) if soak.periods else 0
    rows.append(_row("breaches", "breaches that the law noted", breaches, "found", command, "== 0", breaches == 0))
    violations, integrity = soak.end.get("violations"), soak.end.get("integrity")
    done = violations is not None and not soak.end["failed"]
    what = "violations and contradictions that the auditor found in the run" if done else "the run was cut off"
    found = violations + integrity if done else -1
    return [*rows, _row("violations", what, found, "found", command, "== 0", found == 0)]


def grown(folder: Path, soak: Told, command: str) -> list[Figure]:
    """Return how memory grew."""
    rows, lasts = list[Figure](), soak.plan["lasts"]
    x, ours, bare = paired(folder, lasts)
    if len(x) < LEAST_POINTS:
        return [_unjudged("beyond", WHAT["beyond"], len(x), LEAST_POINTS, "points", command, asked(soak.plan))]
    beyond = ours - bare
    made = {"ours": slope(x, ours), "bare": slope(x, bare), "beyond": slope(x, beyond), "blocks": blocks(x, beyond)}
    for name, found in made.items():
        judged = name == "beyond" and lasts >= LEAST_HOURS
        target = f"upper end < {SLOPE_MB:g}" if judged else ""
        holds = found.high < SLOPE_MB if judged else None
        interval = round(found.low, 3), round(found.high, 3)
        unjudged = "" if judged or name != "beyond" else f"; not judged: less than {LEAST_HOURS:g} h"
        what = f"{WHAT[name]}, a quarter left out{unjudged}"
        rows.append(Figure(f"soak.{name}", what, round(found.value, 3), "MB/h", target, holds, BINS, interval, command))
    return rows


def slowed(soak: Told, command: str) -> list[Figure]:
    """Return by how much each stage got slower from the first period to the last."""
    rows = list[Figure]()
    ends = [soak.periods[at]["latency"] if len(soak.periods) > 1 else {} for at in (0, -1)]
    for stage in dict.fromkeys([*ALWAYS, *ends[0], *ends[1]]):
        first, last = (end.get(stage, {"count": 0}) for end in ends)
        least = min(first["count"], last["count"])
        if least < LEAST_SAMPLES:
            wanted = asked(soak.plan) and stage in ALWAYS
            what = f"p99 of {stage}, last period over the first"
            rows.append(_unjudged(f"p99.{stage}", what, least, LEAST_SAMPLES, "samples", command, wanted))
        else:
            ratio = last["p99_ns"] / first["p99_ns"]
            times = f"{last['p99_ns'] / 1e3:,.0f} over {first['p99_ns'] / 1e3:,.0f} us"
            what = f"p99 of {stage}, last period over the first: {times}"
            rows.append(_row(f"p99.{stage}", what, ratio, "x", command, f"<= {P99:g}", ratio <= P99))
        if len(soak.periods) < 2 * DAY or not all(stage in one["latency"] for one in soak.periods):
            continue
        if statistics.median(one["latency"][stage]["count"] for one in soak.periods) >= LEAST_SAMPLES:
            each = [one["latency"][stage]["p99_ns"] for one in soak.periods]
            ratio = statistics.median(each[-DAY:]) / max(statistics.median(each[:DAY]), 1)
            what = f"the median p99 of {stage} in the last {DAY} periods over that in the first"
            rows.append(_row(f"days.{stage}", what, ratio, "x", command))
    return rows


def _row(
    name: str, what: str, value: float, unit: str, command: str, target: str = "", holds: bool | None = None
) -> Figure:
    return Figure(f"soak.{name}", what, round(value, 4), unit, target, holds, 1, None, command)


def _unjudged(name: str, what: str, found: int, least: int, unit: str, command: str, wanted: bool) -> Figure:
    """Return the row of a figure that could not be made, of how little it was; a miss where it is wanted."""
    return _row(name, f"{what}: not judged", found, unit, command, f">= {least}", False if wanted else None)


def plot(folder: Path, soak: Told) -> None:
    """Draw memory by hours and p99 by periods into ``soak.html``."""
    page = make_subplots(rows=2, cols=1, subplot_titles=("resident memory, MB", "p99 of each period, us"))
    lasts, period = soak.plan["lasts"], soak.plan["period"]
    for side in ("ours", "bare"):
        x, y = samples(folder, side)
        thin = slice(None, None, max(1, len(x) // 2_000))
        page.add_scatter(x=x[thin], y=y[thin], name=WHAT[side], mode="lines", row=1, col=1)
    page.add_vrect(x0=0.0, x1=WARM * lasts, fillcolor="grey", opacity=0.15, line_width=0, row=1, col=1)
    for stage in soak.periods[0]["latency"] if soak.periods else ():
        p99 = [one["latency"][stage]["p99_ns"] / 1e3 or None for one in soak.periods]
        hours = [(one["number"] + 1) * period for one in soak.periods]
        page.add_scatter(x=hours, y=p99, name=f"p99 of {stage}", mode="lines+markers", row=2, col=1)
    page.update_yaxes(type="log", row=2, col=1)
    page.update_xaxes(title="hours of the feed")
    page.update_layout(title=f"{lasts:g} h of the feed at {soak.plan['speed']:g}x", height=900)
    page.write_html(folder / "soak.html")


def report(folder: Path, public: str) -> int:
    """Print and write what came out, with a page; return 1 where a figure was missed."""
    soak, problems = told(folder), verify(folder, public)
    command = COMMAND.format(**soak.plan)
    what = "what is wrong with checkpoints and the files that they name"
    chain = _row("chain", what, len(problems), "problems", command, "== 0", not problems)
    rows = [*counted(soak, command), chain, *grown(folder, soak, command), *slowed(soak, command)]
    plot(folder, soak)
    publish("soak", rows, folder)
    for problem in problems:
        print(problem, file=sys.stderr)
    return int(any(row.holds is False for row in rows))


if __name__ == "__main__":
    sys.exit(report(Path(sys.argv[1]), SigningKey.load(key_file(SERVICE)).public))
