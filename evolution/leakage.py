"""Leakage: whether what a policy decided up to a moment depends on what came after it.

Three tests, on real replays that are handed in:

- **truncation**: the tape ends at t; what was decided up to t is the same, row by row.
- **shuffle**: the rows after t are others, drawn from their own returns; what was decided up to t is the same.
- **echo**: after t, on that shuffled tape, nothing that the policy computes or holds moves with what the *real* tape
  did next. This finds a future that does not come from the tape which is replayed: prices in a module or in a file.

The first two are exact, the third is statistical: its score is a self-normalised sum over steps, about normal for
whoever knows nothing of the real tape. ``docs/promotion.md`` says what none of them can find.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import fsum, isnan, sqrt
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from alphatrade.risk.errors import TapeError
from alphatrade.strategies.policy import Spec

Ints = NDArray[np.int64]
Columns = Mapping[str, Sequence[Any]]  # of one table, in time order, with `ts` (UTC ns) among them
Stream = Mapping[str, Columns]  # tables by name: what was decided, and what was sent
Replayed = Callable[[str, int], Stream]  # "whole", "truncation" or "shuffle", and t (UTC ns; rows up to it are kept)

DECISIONS = "decisions"
PRICE = "mid"
FIRST, LAST = 0.3, 0.9  # where in the decisions a tape is cut
LOCAL = 25  # steps to each side whose mean is taken away: what drifts with the clock echoes nothing
LAGS = 20  # steps ahead
DIGITS = 9  # of what is ranked: far coarser than a last bit


class LeakageSpec(Spec):
    """
    How leakage is looked for.

    Attributes
    ----------
    cuts : int
        Moments at which the tape is cut, each in its own part of it.
    least : int
        Decisions before the first cut, and after it, below which a test has shown nothing.
    echo_max : float
        Score of an echo from which on it is one, standard deviations; a few hundred are looked at.
    seed : int
    """

    cuts: Annotated[int, Field(ge=2, le=20)] = 3
    least: Annotated[int, Field(ge=100)] = 100
    echo_max: Annotated[float, Field(ge=4, le=6)] = 5.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1


class Found(Spec):
    """
    What one test found at one moment.

    Attributes
    ----------
    test : str
    instrument : str
    at : int
        t, UTC ns.
    rows : int
        That were compared.
    score : float
        Of the loudest echo, 0 for the other tests.
    leak : str
        What differs, or echoes; empty where nothing does.
    """

    test: str
    instrument: str
    at: int
    rows: int
    score: float
    leak: str


def look(instrument: str, replayed: Replayed, spec: LeakageSpec) -> tuple[Found, ...]:
    """
    Run the three tests on one tape.

    Parameters
    ----------
    instrument : str
    replayed : callable
        Replays the whole tape, or a changed one, and returns what was decided.
    spec : LeakageSpec

    Raises
    ------
    TapeError
        If there are too few decisions to show anything.
    """
    whole = replayed("whole", 0)
    stamps = whole[DECISIONS]["ts"]
    found = []
    for at in cuts(stamps, spec):
        rows = sum(stamp <= at for stamp in stamps)
        for test in ("truncation", "shuffle"):
            other = replayed(test, at)
            leak = difference(whole, other, at)
            found.append(Found(test=test, instrument=instrument, at=at, rows=rows, score=0.0, leak=leak))
            if test == "shuffle" and len(found) == 2:  # the first one has the longest future
                score, what, rest = echo(whole, other, at)
                leak = what if score > spec.echo_max else ""
                heard = Found(test="echo", instrument=instrument, at=at, rows=rest, score=score, leak=leak)
    return (*found, heard)


def cuts(stamps: Sequence[int], spec: LeakageSpec) -> list[int]:
    """
    Return the moments at which a tape is cut: stamps of decisions, one drawn from each of equal parts.

    Raises
    ------
    TapeError
        If fewer than `spec.least` decisions lie before the first of them or after the last possible first one.
    """
    n = len(stamps)
    if n * FIRST < spec.least:
        raise TapeError("leakage", f"{n} decisions", f"at least {int(spec.least / FIRST)}")
    rng = np.random.default_rng(spec.seed)
    edges = [int(n * (FIRST + (LAST - FIRST) * part / spec.cuts)) for part in range(spec.cuts + 1)]
    return [int(stamps[int(rng.integers(low, high))]) for low, high in pairwise(edges)]


def difference(one: Stream, other: Stream, until: int) -> str:
    """Return where two streams first differ in what bears a stamp up to `until`; empty where they do not."""
    for name, table in one.items():
        there = other[name]
        rows, others = (sum(stamp <= until for stamp in each["ts"]) for each in (table, there))
        for at in range(min(rows, others)):
            for column, values in table.items():
                if not _same(values[at], there[column][at]):
                    return f"{name} row {at}, {column}: {values[at]!r} and {there[column][at]!r}"
        if rows != others:
            return f"{name}: {rows} rows and {others}"
    return ""


def echo(real: Stream, shuffled: Stream, since: int) -> tuple[float, str, int]:
    """
    Return the loudest echo of the real tape in what was computed on the shuffled one: its score, what it is, its rows.

    Of every column of numbers and its step-to-step change: ``|sum x r| / sqrt(sum x^2 r^2)``, where x are its centred
    ranks and r those of the real return that many steps later, up to `LAGS`; a local mean is taken from both first.
    """
    after = [at for at, stamp in enumerate(real[DECISIONS]["ts"]) if stamp > since]
    price = np.array([real[DECISIONS][PRICE][at] for at in after], dtype=np.float64)
    where = {stamp: at for at, stamp in enumerate(shuffled[DECISIONS]["ts"])}
    own = [where.get(real[DECISIONS]["ts"][at]) for at in after]
    returns = _ranks(price[1:] / price[:-1] - 1.0)
    loudest = (0.0, "", len(after))
    for column, values in shuffled[DECISIONS].items():
        x = np.array([_number(values[at]) if at is not None else np.nan for at in own], dtype=np.float64)
        if column in _BOOKKEEPING or np.isnan(x).all():
            continue
        x = np.where(np.isnan(x), 0.0, x)
        for words, series in ((column, x), (f"change of {column}", np.append(0.0, x[1:] - x[:-1]))):
            ranks = _ranks(series)
            for lag in range(LAGS):
                product = ranks[: len(returns) - lag] * returns[lag:]
                size = sqrt(fsum(np.square(product).tolist()))
                score = round(abs(fsum(product.tolist())) / size, 6) if size > 0.0 else 0.0
                if score > loudest[0]:
                    loudest = (score, f"{words} moves with the real price {lag + 1} steps later", len(after))
    return loudest


_BOOKKEEPING = frozenset({"ts", "row", "decision", "step"})


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and isnan(one):
        return isnan(other)
    return type(one) is type(other) and bool(one == other)


def _ranks(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ranks, around 0, of a series less the mean of its neighbourhood; a series at rest has none."""
    sums = np.concatenate(([0.0], np.cumsum(x)))
    n, place = len(x), np.arange(len(x))
    low, high = np.maximum(place - LOCAL, 0), np.minimum(place + LOCAL + 1, n)
    apart = np.round(x - (sums[high] - sums[low]) / (high - low), DIGITS)
    _, where, counts = np.unique(apart, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2.0  # the mean rank of those that are level
    return middle[where] - (n + 1) / 2.0


# -- another future


def shuffle(columns: Mapping[str, Ints], first: int, tick: int, seed: int) -> dict[str, Ints]:
    """
    Return the rows of a tape with others from `first` on, as the market could have gone on.

    Stamps stay. What is drawn, with replacement so that the tape also ends elsewhere, is what a row did to the price
    before it, together with its sizes; prices are built up again from the last row that stays, on the tick. A bar keeps
    its shape, a quote its spread.

    Parameters
    ----------
    columns : mapping of str to ndarray of int64, shape (n,)
        Of quotes, trades or bars; nano integers.
    first : int
        At least 1.
    tick : int
        Nano price increment.
    seed : int

    Raises
    ------
    TapeError
        If fewer than two rows are left to permute.
    """
    n = len(columns["ts"])
    if first < 1 or n - first < 2:
        raise TapeError("leakage", f"row {first} of {n}", "rows before the cut, and two at least after it")
    order = first + np.random.default_rng(seed).integers(0, n - first, n - first)
    out = {name: np.concatenate((values[:first], values[order])) for name, values in columns.items()}
    out["ts"] = columns["ts"].copy()
    anchor = _price(columns)
    path = anchor[first - 1] * np.cumprod(anchor[order] / anchor[order - 1])
    for name in ("open", "high", "low", "close", "price"):
        if name in columns:
            out[name][first:] = _on_tick(path * (columns[name][order] / anchor[order]), tick)
    if "bid" in columns:
        spread = columns["ask"][order] - columns["bid"][order]
        out["bid"][first:] = _on_tick(path - spread / 2.0, tick)
        out["ask"][first:] = out["bid"][first:] + spread
    return out


def _price(columns: Mapping[str, Ints]) -> NDArray[np.float64]:
    if "bid" in columns:
        return (columns["bid"] + columns["ask"]) / 2.0
    return columns["close" if "close" in columns else "price"].astype(np.float64)


def _on_tick(price: NDArray[np.float64], tick: int) -> Ints:
    return np.maximum(np.rint(price / tick), 1.0).astype(np.int64) * tick
