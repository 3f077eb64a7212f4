"""Statistics of a selection: what is left of a Sharpe ratio, or of a lead, once one knows how many were tried.

Returns are those of whole periods, as fractions of the capital, and Sharpe ratios are per period, not annualised. A
series that is empty, too short, constant or not finite is refused: no figure is made up for it. Strangers compute the
same again on other machines: sums are exact (``math.fsum``, or integers of `UNIT`), and every result is rounded to
`DIGITS` decimals, far coarser than the last bits in which the mathematical libraries of two machines may differ.
"""

from collections.abc import Sequence
from itertools import batched, combinations
from math import e, fsum, isfinite, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphatrade.risk.errors import ConfigError

DIGITS = 9
UNIT = 1e-12  # of a return, where sums have to be exact in any order
LARGEST = 1e2  # of a return: sums of `UNIT` stay far below 2^63
EULER = 0.5772156649015329
LEAST = 8  # returns below which no moment is computed
BLOCKS = 16  # of CSCV; with fewer periods the largest even number from `FEWEST` on
FEWEST = 6
PER_BLOCK = 4  # periods in a block of CSCV at least
DRAWS = 9_999
CHUNK = 100  # splits or resamples at a time
_NORMAL = NormalDist()


class Moments(NamedTuple):
    """
    Moments of a series of returns.

    Attributes
    ----------
    n : int
    sharpe : float
        Mean over standard deviation, per period.
    skew, kurtosis : float
        Third and fourth standardised moments; 0 and 3 for a normal distribution.
    """

    n: int
    sharpe: float
    skew: float
    kurtosis: float


def moments(returns: Sequence[float]) -> Moments:
    """
    Return the moments of a series.

    Parameters
    ----------
    returns : sequence of float, length n
        Per period.

    Raises
    ------
    ConfigError
        If there are fewer than `LEAST`, one is not finite, or none differs from another.
    """
    values = _usable("returns", returns, LEAST)
    n = len(values)
    mean = fsum(values) / n
    apart = [value - mean for value in values]
    second = fsum(x * x for x in apart) / n
    if max(values) == min(values) or second <= 0.0:
        raise ConfigError("returns", f"{n} times {values[0]:g}", "returns that differ from each other")
    deviation = sqrt(second)
    third = fsum((x / deviation) ** 3 for x in apart) / n
    fourth = fsum((x / deviation) ** 4 for x in apart) / n
    sharpe = mean / sqrt(second * n / (n - 1))
    return Moments(n, round(sharpe, DIGITS), round(third, DIGITS), round(fourth, DIGITS))


def probabilistic_sharpe(found: Moments, benchmark: float) -> float:
    """
    Return the probability that the true Sharpe ratio is above a benchmark, given non-normal returns.

    ``PSR = Z[(SR - SR*) sqrt(n - 1) / sqrt(1 - g3 SR + (g4 - 1)/4 SR^2)]``

    Parameters
    ----------
    found : Moments
    benchmark : float
        SR*, per period.

    Notes
    -----
    Bailey and Lopez de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk 15 (2012), equation 11; used as
    equation 2 of their paper of 2014.
    """
    if not isfinite(benchmark):
        raise ConfigError("benchmark", benchmark, "a finite number")
    return round(_NORMAL.cdf((found.sharpe - benchmark) / sqrt(sampling_variance(found))), DIGITS)


def sampling_variance(found: Moments) -> float:
    """
    Return the variance of the estimate of a Sharpe ratio: ``(1 - g3 SR + (g4 - 1)/4 SR^2) / (n - 1)``.

    Parameters
    ----------
    found : Moments

    Raises
    ------
    ConfigError
        If no distribution has these moments.

    Notes
    -----
    Mertens, "Comments on the correct variance of estimated Sharpe ratios" (2002), as in the paper of 2012.
    """
    n, ratio, skew, kurtosis = found
    width = 1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio * ratio
    if n < 2 or not isfinite(width) or width <= 0.0:
        raise ConfigError("returns", tuple(found), "two returns at least, and moments of a distribution")
    return width / (n - 1)


def expected_maximum(variance: float, trials: int) -> float:
    """
    Return the Sharpe ratio that the best of many worthless trials is expected to show.

    ``SR0 = sqrt(V) ((1 - g) Z^-1[1 - 1/N] + g Z^-1[1 - 1/(N e)])``, g the Euler-Mascheroni constant; 0 for one trial,
    which nobody chose.

    Parameters
    ----------
    variance : float
        Of the trials' Sharpe ratios, per period.
    trials : int
        N, at least 1.

    Notes
    -----
    Bailey and Lopez de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40 (2014), equation 1 and
    appendix 1.
    """
    if not isfinite(variance) or variance < 0.0 or trials < 1:
        raise ConfigError("trials", f"{trials} of variance {variance}", "one trial at least, and a variance from 0 on")
    if trials == 1:
        return 0.0
    high, higher = _NORMAL.inv_cdf(1.0 - 1.0 / trials), _NORMAL.inv_cdf(1.0 - 1.0 / (trials * e))
    return round(sqrt(variance) * ((1.0 - EULER) * high + EULER * higher), DIGITS)


def deflated_sharpe(found: Moments, variance: float, trials: int) -> float:
    """
    Return the deflated Sharpe ratio: the probability that the true ratio is above what luck among N trials shows.

    The parameters are those of :func:`probabilistic_sharpe` and :func:`expected_maximum`; equation 2 of the paper.
    """
    return probabilistic_sharpe(found, expected_maximum(variance, trials))


class Overfit(NamedTuple):
    """
    What CSCV found.

    Attributes
    ----------
    pbo : float
        Share of the splits in which the best trial of one half is in the lower half of the other.
    splits, blocks, periods, trials : int
        That were used.
    """

    pbo: float
    splits: int
    blocks: int
    periods: int
    trials: int


def overfitting(matrix: Sequence[Sequence[float]]) -> Overfit:
    """
    Return the probability of backtest overfitting by combinatorially symmetric cross-validation.

    The periods are cut into S blocks of equal length, in time order. For each of the C(S, S/2) ways to take half of
    them, the trial with the highest mean return there is ranked among all trials in the other half:
    ``w = rank / (N + 1)``, and ``PBO`` is the share of splits with ``logit(w) <= 0``. The mean is what the search
    selects by; the paper leaves the measure open. Of trials that lead together, the one that does worst afterwards
    counts.

    Parameters
    ----------
    matrix : sequence of sequence of float, shape (trials, periods)
        Returns, a row per trial, all of the same periods. S is 16, or the largest even number that leaves 4 periods in
        a block; periods beyond S whole blocks are left out at the beginning.

    Raises
    ------
    ConfigError
        If there are fewer than 2 trials or 24 periods, rows differ in length, a value is not finite, or all trials are
        the same.

    Notes
    -----
    Bailey, Borwein, Lopez de Prado and Zhu, "The Probability of Backtest Overfitting", Journal of Computational Finance
    20 (2017), section 3.1.
    """
    if len(matrix) < 2 or len({len(row) for row in matrix}) != 1:
        raise ConfigError("matrix", f"{len(matrix)} trials", "two trials at least, all of the same periods")
    periods = len(matrix[0])
    blocks = min(BLOCKS, periods // PER_BLOCK // 2 * 2)
    if blocks < FEWEST:
        raise ConfigError("matrix", f"{periods} periods", f"{FEWEST * PER_BLOCK} at least")
    units = np.array([_units("matrix", row) for row in matrix])
    if bool((units == units[0]).all()):
        raise ConfigError("matrix", f"{len(matrix)} equal trials", "trials that differ from each other")
    length = periods // blocks
    sums = units[:, periods - blocks * length :].reshape(len(matrix), blocks, length).sum(axis=2)
    whole, lost, splits = sums.sum(axis=1)[:, None], 0, 0
    for halves in batched(combinations(range(blocks), blocks // 2), CHUNK, strict=False):
        inside = sums[:, np.array(halves)].sum(axis=2)  # trials x splits
        outside = whole - inside
        worst = np.where(inside == inside.max(axis=0), outside, outside.max() + 1).min(axis=0)
        below, level = (outside < worst).sum(axis=0), (outside == worst).sum(axis=0)
        lost += int((2 * below + level + 1 <= len(matrix) + 1).sum())  # the mean rank of those that are level, twice
        splits += len(halves)
    return Overfit(round(lost / splits, DIGITS), splits, blocks, blocks * length, len(matrix))


class Lead(NamedTuple):
    """
    How far one series is ahead of another.

    Attributes
    ----------
    p : float
        Probability of a mean difference as large as this one if the true one is 0.
    mean, low : float
        Mean difference per period, and the lower end of its one-sided 95 % interval.
    n, block : int
        Periods, and the mean length of a block.
    """

    p: float
    mean: float
    low: float
    n: int
    block: int


def lead(own: Sequence[float], other: Sequence[float], seed: int, draws: int = DRAWS) -> Lead:
    """
    Test whether one series of returns has a higher mean than another, period by period.

    This is the test for superior predictive ability with one model, by the stationary bootstrap:
    ``p = (1 + #{mean* - mean >= mean}) / (1 + draws)``, where mean* are the means of resamples of the differences in
    wrapped-around blocks of random length, ``n^(1/3)`` on average.

    Parameters
    ----------
    own, other : sequence of float, length n
        Of the same periods.
    seed : int
    draws : int
        Resamples.

    Raises
    ------
    ConfigError
        If the series are not of one length, too short, not finite, or differ by a constant.

    Notes
    -----
    Hansen, "A Test for Superior Predictive Ability", Journal of Business & Economic Statistics 23 (2005), with one
    model, where neither the scale nor the recentring of poor models matters; Politis and Romano, "The Stationary
    Bootstrap", Journal of the American Statistical Association 89 (1994).
    """
    if len(own) != len(other):
        raise ConfigError("returns", f"{len(own)} and {len(other)}", "two series of the same periods")
    _usable("returns", own, LEAST)
    units = _units("returns", own) - _units("returns", other)
    if bool((units == units[0]).all()):
        raise ConfigError("returns", "a constant difference", "series that differ by more than a constant")
    n, total = len(units), int(units.sum())
    block = max(k for k in range(1, n + 1) if k**3 <= n)
    rng = np.random.default_rng(seed)
    place, sums = np.arange(n), list[int]()
    while len(sums) < draws:
        new = rng.integers(0, block, (CHUNK, n)) == 0
        new[:, 0] = True
        since = np.maximum.accumulate(np.where(new, place, 0), axis=1)
        start = np.take_along_axis(rng.integers(0, n, (CHUNK, n)), since, axis=1)
        sums += units[(start + place - since) % n].sum(axis=1).tolist()
    del sums[draws:]
    p = (1 + sum(each - total >= total for each in sums)) / (1 + draws)
    sums.sort()
    low = 2 * total - sums[min(draws - 1, draws * 95 // 100)]  # the basic interval
    mean, end = (round(x * UNIT / n, DIGITS + 3) for x in (total, low))
    return Lead(round(p, DIGITS), mean, end, n, block)


def _usable(field: str, values: Sequence[float], least: int) -> list[float]:
    plain = [float(value) for value in values]
    if len(plain) < least:
        raise ConfigError(field, f"{len(plain)} values", f"at least {least}")
    if not all(isfinite(value) and abs(value) <= LARGEST for value in plain):
        raise ConfigError(field, next(v for v in plain if not isfinite(v) or abs(v) > LARGEST), "finite numbers")
    return plain


def _units(field: str, values: Sequence[float]) -> NDArray[np.int64]:
    return np.array([round(value / UNIT) for value in _usable(field, values, 1)], dtype=np.int64)
