"""The regime grid: a tape cut into cells, each labelled by what the market did in it, some of them held out.

Cells are blocks of equal length, and between two of them lies an embargo that belongs to neither, longer than any
outcome: what a policy does in one cell cannot reach into another (purging and embargo, Lopez de Prado 2018, chapter 7).
The last blocks are held out; the rest is what a search may see. A label is made of the block's own prices and is used
for nothing but to group results; no policy is told of it.
"""

from math import fsum, sqrt
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.policy import Spec

NS = 1_000_000_000


class GridSpec(Spec):
    """
    How a tape is cut.

    Attributes
    ----------
    block_s, embargo_s : float
        Length of a block, and of the part at its end that is left out, seconds.
    holdout : float
        Share of the blocks, the last ones, that no search may see.
    trend : float
        A block has a direction from this many standard deviations of a random walk on.
    least : int
        Decisions below which a cell says nothing.
    period_s : float
        Returns are taken over periods of this length, seconds.
    """

    block_s: Annotated[float, Field(gt=0, le=1e9)] = 86_400.0
    embargo_s: Annotated[float, Field(ge=0, le=1e8)] = 3_600.0
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.35
    trend: Annotated[float, Field(gt=0, le=10)] = 1.0
    least: Annotated[int, Field(ge=1)] = 100
    period_s: Annotated[float, Field(gt=0, le=1e8)] = 3_600.0


class Cell(NamedTuple):
    """A part of a tape, ``start <= ts < end`` (UTC ns), the regime that it was in, and whether it is held out."""

    instrument: str
    regime: str
    start: int
    end: int
    holdout: bool


def cut(instrument: str, ts: NDArray[np.int64], price: NDArray[np.float64], spec: GridSpec) -> list[Cell]:
    """
    Return the cells of a tape in time order.

    Parameters
    ----------
    instrument : str
    ts : ndarray of int64, shape (n,)
        Event time, UTC ns, ascending.
    price : ndarray of float64, shape (n,)
        Reference price.
    spec : GridSpec

    Returns
    -------
    list of Cell
        A block in which the market was open for less than half of the usual time, as a Sunday of currencies, is none:
        no policy could be judged in it. Labelled ``<direction>-<volatility>``: the direction by the block's move over
        its own volatility, the volatility against the median of the blocks that a search may see, so that the held-out
        ones do not shape any label.

    Raises
    ------
    ConfigError
        If the embargo leaves not one period of a block, or the tape has not both kinds of cells.
    """
    if spec.embargo_s + spec.period_s > spec.block_s:
        most = f"at most grid.block_s={spec.block_s:g} less grid.period_s={spec.period_s:g}"
        raise ConfigError("grid.embargo_s", spec.embargo_s, most)
    length, rest = int(spec.block_s * NS), int(spec.embargo_s * NS)
    starts = np.arange(int(ts[0]), int(ts[-1]) + 1, length)
    spans = [(start, start + length - rest) for start in starts.tolist()]
    parts = [slice(*np.searchsorted(ts, span).tolist()) for span in spans]
    open_s = [_open(ts[part] - start, spec.period_s) for (start, _), part in zip(spans, parts, strict=True)]
    usual_s = float(np.median([each for each in open_s if each] or [0.0]))
    blocks = [
        (*span, *_moved(ts[part], price[part]))
        for span, part, here_s in zip(spans, parts, open_s, strict=True)
        if part.stop - part.start > 2 and here_s >= usual_s / 2
    ]
    held = round(spec.holdout * len(blocks))
    if held == 0 or held == len(blocks):
        raise ConfigError("grid.block_s", spec.block_s, f"blocks to search and to hold out: the tape has {len(blocks)}")
    usual = float(np.median([rate for *_, rate in blocks[:-held]]))
    cells = []
    for at, (start, end, move, rate) in enumerate(blocks):
        regime = _label(move, rate / usual if usual > 0 else 1.0, spec.trend)
        cells.append(Cell(instrument, regime, start, end, at >= len(blocks) - held))
    return cells


def _open(since: NDArray[np.int64], period_s: float) -> float:
    """Return for how long the market was open, seconds: the periods in which there are rows, told by their time, ns."""
    return len(np.unique(since // int(period_s * NS))) * period_s


def _moved(ts: NDArray[np.int64], price: NDArray[np.float64]) -> tuple[float, float]:
    """Return a block's move in its own standard deviations, and its volatility per root second."""
    returns = price[1:] / price[:-1] - 1.0
    total = sqrt(fsum(np.square(returns).tolist()))  # quotients and exact sums: the same label on every CPU
    move = float(price[-1] / price[0]) - 1.0
    return (move / total if total > 0 else 0.0), total / sqrt(float(ts[-1] - ts[0]) / NS)


def _label(move: float, heat: float, trend: float) -> str:
    direction = "up" if move > trend else "down" if move < -trend else "flat"
    return f"{direction}-{'high' if heat > 1.0 else 'low'}"
