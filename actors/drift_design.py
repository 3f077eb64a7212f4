"""How high a drift alarm has to hang: thresholds by block bootstrap of the outcomes that were actually seen.

The textbook average run length of a CUSUM (Page 1954; Siegmund 1985) assumes independent normal outcomes of known mean
and scale. Ours are heavy-tailed, overlap, come in several dependent streams, and their mean and scale are estimates.
So the run length of the whole family is simulated: each replicate resamples the baseline in blocks (Künsch 1989),
estimates every mean and scale from it anew, as the sentry does (Gandy & Kvaløy 2013), and watches further resampled
outcomes until any chart of any stream alarms.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphatrade.actors.compiled import compiled

Numbers = NDArray[Any]
NORMAL = 1.2533141373155003  # standard deviation over mean absolute deviation of a normal: sqrt(pi / 2)
KNEE, ROOM = 5.0, 10.0  # scores are linear up to the knee; beyond it they approach knee + room
PH_SHARE = 0.4  # of its statistic is charted beside the CUSUM: its threshold is h / 0.4, at half the reference
PH_LEAST = 30  # scores before Page-Hinkley may speak: its mean is its own (river's default)
MOST_RHO = 0.8  # shared part of two windows that is taken out, at most
BLOCK = 40  # outcomes; several horizons of overlap and the spells in which volatility comes
REPLICATES = 300
HORIZON = 4  # a replicate is followed for so many design run lengths; beyond them the hazard is constant
LEVELS = np.arange(16, 93) / 8.0  # candidate thresholds, 2 to 11.5
SEED = 1954


class Outcomes(NamedTuple):
    """
    A sequence of n outcomes; each is an observation of up to two streams (overall and its tactic).

    Attributes
    ----------
    x : ndarray, shape (n,)
        Values.
    stream : ndarray, shape (n, 2)
        Index of the streams, -1 where there is none that watches.
    rho : ndarray, shape (n, 2)
        Correlation with the outcome before it in the same stream, as far as their windows overlap.
    """

    x: Numbers
    stream: Numbers
    rho: Numbers


class Design(NamedTuple):
    """
    A calibrated family.

    Attributes
    ----------
    threshold : float
        h.
    run_length : float
        Simulated mean run length between false alarms at `threshold`, outcomes of the whole family.
    outcomes : int
        Length of the sequence that was resampled.
    """

    threshold: float
    run_length: float
    outcomes: int


@compiled
def soft(score: float) -> float:
    """Return a standardised score with bounded influence: one freak outcome counts, ten do not count tenfold."""
    beyond = abs(score) - KNEE
    if beyond <= 0.0:
        return score
    bounded = KNEE + beyond / (1.0 + beyond / ROOM)
    return bounded if score > 0.0 else -bounded


@compiled
def observe(state: Numbers, i: int, x: float, rho: float, k: float, learn: bool) -> tuple[float, float]:
    """
    Take one observation of stream `i`; return the larger of its two charts that look downwards, and its score.

    `state` is (streams, 10): count, mean, mean absolute deviation, last standardised value, CUSUM down and up,
    Page-Hinkley's count, mean, sum and largest sum. Page-Hinkley has half the reference, so that it finds what is too
    slow for the CUSUM, and at twice the threshold would alarm as often; it has two and a half times.
    """
    row = state[i]
    z = (x - row[1]) / (NORMAL * row[2])
    s = soft(z if rho == 0.0 else (z - rho * row[3]) / np.sqrt(1.0 - rho * rho))
    row[3] = z
    row[4] = max(0.0, row[4] - s - k)
    row[5] = max(0.0, row[5] + s - k)
    row[6] += 1.0
    row[7] += (s - row[7]) / row[6]
    row[8] += s - row[7] + 0.5 * k
    row[9] = max(row[9], row[8])
    if learn:
        row[0] += 1.0
        away = x - row[1]
        row[2] += (abs(away) - row[2]) / row[0]
        row[1] += away / row[0]
    down = row[4]
    if row[6] >= PH_LEAST:
        down = max(down, PH_SHARE * (row[9] - row[8]))
    return down, s


@compiled
def estimate(x: Numbers, stream: Numbers, places: Numbers, state: Numbers) -> None:
    """Set count, mean and mean absolute deviation of every stream from the outcomes at `places`."""
    streams = len(state)
    total, count = np.zeros(streams), np.zeros(streams)
    for p in places:
        for side in range(2):
            i = stream[p, side]
            if i >= 0:
                total[i] += x[p]
                count[i] += 1.0
    away = np.zeros(streams)
    for p in places:
        for side in range(2):
            i = stream[p, side]
            if i >= 0:
                away[i] += abs(x[p] - total[i] / count[i])
    for i in range(streams):
        if count[i] >= 5.0 and away[i] > 0.0:
            state[i, 0], state[i, 1], state[i, 2] = count[i], total[i] / count[i], away[i] / count[i]


@compiled
def passages(
    x: Numbers,
    stream: Numbers,
    rho: Numbers,
    since: Numbers,
    starts: Numbers,
    steps: int,
    k: float,
    levels: Numbers,
    known: Numbers,
) -> Numbers:
    """
    Return when each replicate first exceeds each level: int64 (replicates, levels), `steps` + 1 for never.

    `since` (n, 2) is the distance to the outcome before in the same stream: across the seam of two blocks nothing
    overlaps. `starts` (replicates, blocks) says where blocks begin, `known` is the state after the real baseline.
    """
    n, depth = len(x), len(levels)
    out = np.full((len(starts), depth), steps + 1, np.int64)
    places = np.empty(n, np.int64)
    for r in range(len(starts)):
        used = 0
        for j in range(n):
            if j % BLOCK == 0:
                first = starts[r, used]
                used += 1
            places[j] = (first + j % BLOCK) % n
        state = known.copy()
        estimate(x, stream, places, state)
        reached = 0
        for t in range(steps):
            at = t % BLOCK
            if at == 0:
                first = starts[r, used]
                used += 1
            p = (first + at) % n
            highest = 0.0
            for side in range(2):
                i = stream[p, side]
                if i >= 0:
                    shared = rho[p, side] if since[p, side] <= at else 0.0
                    highest = max(highest, observe(state, i, x[p], shared, k, True)[0])
            while reached < depth and highest > levels[reached]:
                out[r, reached] = t + 1
                reached += 1
            if reached == depth:
                break
    return out


def fresh(streams: int) -> Numbers:
    """Return the state of charts that have seen nothing, shape (streams, 10)."""
    state = np.zeros((streams, 10))
    state[:, 9] = -1e300  # Page-Hinkley's largest sum so far
    return state


def baseline(seen: Outcomes, streams: int) -> Numbers:
    """Return the state after estimating mean and scale of every stream from `seen`, where it has spread."""
    state = fresh(streams)
    estimate(seen.x, seen.stream, np.arange(len(seen.x)), state)
    return state


def calibrate(seen: Outcomes, streams: int, run_length: float, k: float) -> Design:
    """
    Return the threshold at which the whole family alarms falsely every `run_length` outcomes in the mean.

    Parameters
    ----------
    seen : Outcomes
        In control; every stream in it must have spread.
    streams : int
    run_length : float
        Design value (family-wise ARL0), outcomes.
    k : float
        Reference value of the CUSUM, baseline scales.

    Notes
    -----
    The mean run length is the restricted mean up to :data:`HORIZON` designs, and beyond it what the hazard of its
    second half says. Where no level is high enough the highest is returned, with what it reaches.
    """
    n, steps = len(seen.x), int(HORIZON * run_length)
    rng = np.random.Generator(np.random.PCG64(SEED))
    starts = rng.integers(0, n, (REPLICATES, n // BLOCK + steps // BLOCK + 2), dtype=np.int64)
    known = baseline(seen, streams)
    times = passages(seen.x, seen.stream, seen.rho, _since(seen, streams), starts, steps, k, LEVELS, known)
    lengths = np.maximum.accumulate(mean_run_length(times, steps))
    above = int(np.searchsorted(lengths, run_length))
    if above in (0, len(LEVELS)):
        edge = min(above, len(LEVELS) - 1)
        return Design(float(LEVELS[edge]), float(lengths[edge]), n)
    low, high = lengths[above - 1], lengths[above]
    part = (run_length - low) / (high - low)
    return Design(float(LEVELS[above - 1] + part * (LEVELS[above] - LEVELS[above - 1])), run_length, n)


def mean_run_length(times: Numbers, steps: int) -> Numbers:
    """Return the mean run length at each level from first passages (replicates, levels), censored at `steps`."""
    half = steps // 2
    watched = np.minimum(times, steps)
    late = ((times > half) & (times <= steps)).sum(axis=0)
    rest = np.maximum(watched - half, 0).sum(axis=0) / np.maximum(late, 1)
    mean: Numbers = (watched.sum(axis=0) + (times > steps).sum(axis=0) * rest) / len(times)
    return mean


def _since(seen: Outcomes, streams: int) -> Numbers:
    last = [-len(seen.x)] * streams
    since = np.zeros((len(seen.x), 2), np.int64)
    for p, pair in enumerate(seen.stream.tolist()):
        for side, i in enumerate(pair):
            if i >= 0:
                since[p, side] = p - last[i]
                last[i] = p
    return since
