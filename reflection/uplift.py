"""Uplift: whether one series of returns beats another, by how much, and how sure that is; paired, period by period.

The interval is that of the stationary bootstrap (Politis & Romano, JASA 89, 1994): blocks of random length, wrapped
around, so that periods that hang together are drawn together. A bootstrap of few blocks is too sure of itself: the
bounds are moved out as Student's t is wider than the normal distribution, with as many degrees of freedom as there are
blocks less one. Returns are counted in whole units of 1e-12 before they are added, so that the bounds are the same on
every CPU.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import fsum
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from alphatrade.risk.errors import ConfigError

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
DRAWS = 4000
CELLS = 1 << 15  # drawn at once
UNIT = 1e-12
BPS = 1e4
FEWEST = 8
MOST = 10.0  # of a return: a hundred thousand of them still add up exactly


class Uplift(NamedTuple):
    """
    By how much one series beats another.

    Attributes
    ----------
    mean : float
        Mean difference of a period, bps of the capital.
    low, high : float
        Bounds of it, each at the level that was asked for: basic bootstrap, ``mean - widened (quantile - mean)``.
    n, moved : int
        Periods, and those in which the two differ.
    """

    mean: float
    low: float
    high: float
    n: int
    moved: int


def uplift(base: Sequence[float], changed: Sequence[float], level: float, seed: int) -> Uplift:
    """
    Return by how much `changed` beats `base`.

    Parameters
    ----------
    base, changed : sequence of float
        Net returns of the same periods, fractions of the capital.
    level : float
        Confidence of each bound alone, in (0.5, 1).
    seed : int
        Of resampling.

    Raises
    ------
    ConfigError
        If there are fewer than eight periods, they do not pair, one is not a finite number, or the level is none that
        so many resamples can show.
    """
    n = len(base)
    if not (level > 0.5 and (1.0 - level) * DRAWS >= 1.0 - 1e-9):
        raise ConfigError("level", level, f"above 0.5, and at most {1.0 - 1.0 / DRAWS:g}")
    if n < FEWEST or len(changed) != n:
        raise ConfigError("returns", f"{n} and {len(changed)} periods", f"pairs of at least {FEWEST}")
    pairs = np.array([base, changed], np.float64)
    if not np.isfinite(pairs).all() or np.abs(pairs).max() > MOST:
        raise ConfigError("returns", "one that is none", f"finite fractions of the capital, at most {MOST:g}")
    units = np.rint((pairs[1] - pairs[0]) / UNIT).astype(np.int64)
    mean = fsum(units.tolist()) / n
    drawn = _resampled(units.tobytes(), seed) / n
    tail = round((1.0 - level) * DRAWS)
    wide = _widened(level, n // _length(n) - 1)
    low, high = (mean - wide * (float(drawn[at]) - mean) for at in (DRAWS - 1 - tail, tail))
    scale = UNIT * BPS
    return Uplift(mean * scale, low * scale, high * scale, n, int(np.count_nonzero(units)))


def _length(n: int) -> int:
    """Return the mean length of a block, n^(1/3)."""
    length: int = round(n ** (1 / 3))
    return max(1, length)


def _widened(level: float, freedom: int) -> float:
    """Return how much wider Student's t is than the normal distribution (Abramowitz & Stegun 26.7.5, first term)."""
    z = NormalDist().inv_cdf(level)
    return round(1.0 + (z * z + 1.0) / (4.0 * freedom), 6)


@lru_cache(maxsize=4)  # the same returns are asked about at several levels
def _resampled(differences: bytes, seed: int) -> Ints:
    """Return the sums of `DRAWS` resamples in ascending order."""
    units = np.frombuffer(differences, np.int64)
    n = len(units)
    rng = np.random.Generator(np.random.PCG64(seed))
    length = _length(n)
    sums, place = np.zeros(DRAWS, np.int64), np.arange(n)
    together = max(1, CELLS // n)
    for first in range(0, DRAWS, together):
        shape = (min(together, DRAWS - first), n)
        new = rng.integers(0, length, shape) == 0
        new[:, 0] = True
        since = np.maximum.accumulate(np.where(new, place, 0), axis=1)
        start = np.take_along_axis(rng.integers(0, n, shape), since, axis=1)
        sums[first : first + len(new)] = units[(start + place - since) % n].sum(axis=1)
    return np.sort(sums)
