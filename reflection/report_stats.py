"""Sharpe ratio with an honest interval: stated period, stated annualisation, block bootstrap."""

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

DAY_NS = 86_400_000_000_000
PERIODS = (("daily", DAY_NS, 60), ("hourly", 3_600_000_000_000, 3), ("one-minute", 60_000_000_000, 0))
ENOUGH = 30
DRAWS = 2000
SEED = 20_180_101
PAUSE_NS = 4 * 3_600_000_000_000  # longer without a mark: the market closes


class Sharpe(NamedTuple):
    """
    An annualised Sharpe ratio.

    Attributes
    ----------
    value, low, high : float or None
        The ratio and its 95 % interval; None where there are too few returns, none of them moved, or no interval was
        asked for.
    n : int
        Number of returns.
    basis : str
        Period, number of returns and annualisation, or the reason why there is no value; in words.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    basis: str


def sharpe(ts: Array, equity: Array, capital: float, shares: bool = False, interval: bool = True) -> Sharpe:
    """
    Return the Sharpe ratio (no risk-free rate) of an equity curve, with a stationary-bootstrap interval.

    Returns are daily from 60 days on, hourly from three days on, else per minute, over the periods that
    have a mark. Where the market closes (a pause of more than four hours, or shares), a year has 252 days, 365 if one
    of the marks is on a Saturday, and as many periods a day as the median day of the curve. Where it never does, it
    has 365 days, and as many periods a day as the covered time had, so that part of a day is not taken for a day.

    Parameters
    ----------
    ts : ndarray of int64, shape (n,)
        Event time, UTC nanoseconds, ascending.
    equity : ndarray of float64, shape (n,)
    capital : float
        Equity before the first mark.
    shares : bool
        Whether only shares are traded; one session of them cannot be told from part of an endless day.
    interval : bool
        Whether to resample for the interval, which takes a quarter of a second.
    """
    if len(ts) == 0:
        return Sharpe(None, None, None, 0, "no equity curve")
    span = (ts[-1] - ts[0]) / DAY_NS
    name, period, _ = next(row for row in PERIODS if span >= row[2])
    bins = ts // period
    ends = np.flatnonzero(np.append(bins[1:] != bins[:-1], True))
    levels = np.concatenate(([capital], equity[ends]))
    returns = levels[1:] / levels[:-1] - 1.0
    n = len(returns)
    if n < ENOUGH:
        return Sharpe(None, None, None, n, f"too few: {n} {name} returns, at least {ENOUGH} are needed")
    if float(returns.std()) == 0.0:
        return Sharpe(None, None, None, n, f"undefined: the equity never moved in {n} {name} returns")
    days = ts[ends] // DAY_NS
    saturday = bool(np.any(days % 7 == 2))  # day 0, 1970-01-01, was a Thursday
    if shares or bool(np.any(np.diff(ts) > PAUSE_NS)):
        per_day, year = float(np.median(np.unique(days, return_counts=True)[1])), 365 if saturday else 252
        how = "the market closes: a day is the median day with marks"
    else:
        per_day, year = n / float(bins[-1] - bins[0] + 1) * (DAY_NS / period), 365
        how = "the market never closed: returns a day at the rate of the time covered"
    factor = float(np.sqrt(per_day * year))
    low = high = None
    if interval:
        low, high = (float(edge) for edge in np.quantile(_bootstrap(returns), (0.025, 0.975)) * factor)
    yearly = f"√({per_day:,.4g} a day \N{MULTIPLICATION SIGN} {year} days) ({how})"
    basis = f"{n:,} {name} returns in {span:,.1f} days, annualised by {yearly}"
    value = float(returns.mean() / returns.std(ddof=1)) * factor
    return Sharpe(value, low, high, n, basis)


def _bootstrap(returns: Array) -> Array:
    """
    Return the unscaled Sharpe ratio of each resample: blocks of random length, mean n^(1/3), wrapped around.

    Source: Politis and Romano, "The Stationary Bootstrap", JASA 89 (1994).
    """
    n = len(returns)
    rng = np.random.default_rng(SEED)
    restart = max(1.0 / n, n ** (-1 / 3))
    place = np.arange(n)
    ratios = np.zeros(DRAWS)
    for draw in range(DRAWS):
        new = rng.random(n) < restart
        new[0] = True
        since = np.maximum.accumulate(np.where(new, place, 0))
        start = rng.integers(0, n, n)
        sample = returns[(start[since] + place - since) % n]
        spread = sample.std(ddof=1)
        ratios[draw] = sample.mean() / spread if spread > 0.0 else 0.0
    return ratios
