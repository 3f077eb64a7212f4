"""Rows of a run that goes on for days, in memory of one size: thinned as they come, by slices of time that widen."""

from typing import Any

import numpy as np
import pandas as pd

from alphatrade.reflection.report_data import STRIPES
from alphatrade.reflection.report_frames import Span, slice_width

SLICES = 800  # of a curve, each of up to four points; there are half as many after they were widened
CELLS = 2_048  # of regimes: more than twice the stripes that are drawn, so that none is left out
DECISIONS = 200_000  # whose topology and regime are known to fills; two days at one a second
_FIRST_NS = 2**20  # width of a slice at the start

type Ints = np.ndarray[Any, np.dtype[np.int64]]
type Floats = np.ndarray[Any, np.dtype[np.float64]]


class Curve:
    """A curve (time in UTC ns, value): of every slice of time the first, lowest, highest and last point."""

    def __init__(self) -> None:
        self._width = _FIRST_NS
        self._t, self._y = np.empty(0, np.int64), np.empty(0)

    def add(self, t: Ints, y: Floats) -> None:
        """Take points."""
        known = ~np.isnan(y)
        t, y = np.concatenate((self._t, t[known])), np.concatenate((self._y, y[known]))
        order = np.argsort(t, kind="stable")
        self._t, self._y = t[order], y[order]
        while self._thin() > SLICES:
            self._width *= 2

    def _thin(self) -> int:
        """Leave out what is within; return how many slices there are."""
        slices = self._t // self._width
        first = np.flatnonzero(np.diff(slices, prepend=slices[:1] - 1))
        last = np.append(first[1:], len(slices)) - 1
        by_value = np.lexsort((self._y, slices))  # the rows of a slice stay where they are, from the lowest on
        kept = np.unique(np.concatenate((first, last, by_value[first], by_value[last])))
        self._t, self._y = self._t[kept], self._y[kept]
        return len(first)

    def frame(self) -> pd.DataFrame:
        """Return the points (t, y) as the report has them, t in epoch milliseconds."""
        return pd.DataFrame({"t": self._t / 1e6, "y": self._y})


class Regimes:
    """How often each regime was there in every slice of time."""

    def __init__(self) -> None:
        self._width = _FIRST_NS
        self._rows = pd.DataFrame({"slice": np.empty(0, np.int64), "regime": [], "n": np.empty(0, np.int64)})

    def add(self, t: Ints, regimes: "pd.Series[str]") -> None:
        """Take the regimes of decisions."""
        fresh = pd.DataFrame({"slice": t // self._width, "regime": regimes.to_numpy(), "n": 1})
        rows = _summed(pd.concat([self._rows, fresh]) if len(self._rows) else fresh)
        while rows["slice"].nunique() > CELLS:
            self._width *= 2
            rows = _summed(rows.assign(slice=rows["slice"] // 2))
        self._rows = rows

    def stripes(self, span: Span) -> pd.DataFrame:
        """Return the most frequent regime (slice, regime) of each of the report's stripes of a span of time."""
        at = (self._rows["slice"] * self._width - span[0]) // slice_width(span, STRIPES)
        rows = _summed(self._rows.assign(slice=at.clip(0, STRIPES - 1)))
        most = rows.sort_values(["slice", "n", "regime"]).drop_duplicates("slice", keep="last")
        return most[["slice", "regime"]].reset_index(drop=True)


def _summed(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.groupby(["slice", "regime"], as_index=False)["n"].sum()


class Minds:
    """Which topology decided, in which regime: of the latest decisions."""

    def __init__(self) -> None:
        self._ids, self._codes = np.empty(0, np.int64), np.empty(0, np.int16)
        self._names: list[tuple[str, str]] = []

    def add(self, ids: Ints, topologies: "pd.Series[str]", regimes: "pd.Series[str]") -> None:
        """Take decisions."""
        pairs = list(zip(topologies, regimes, strict=True))
        self._names += sorted(set(pairs) - set(self._names), key=str)
        numbers = {pair: code for code, pair in enumerate(self._names)}
        fresh = np.array([numbers[pair] for pair in pairs], np.int16)
        ids, codes = np.concatenate((self._ids, ids)), np.concatenate((self._codes, fresh))
        order = np.argsort(ids, kind="stable")[-DECISIONS:]
        self._ids, self._codes = ids[order], codes[order]

    def of(self, decisions: Ints) -> pd.DataFrame:
        """Return topology and regime of each (exec_topo, regime); of one that is not known, that."""
        names = [*self._names, ("(no decision)", "(no decision)")]
        at = np.searchsorted(self._ids, decisions).clip(0, max(0, len(self._ids) - 1))
        known = self._ids[at] == decisions if len(self._ids) else np.zeros(len(decisions), bool)
        codes = np.where(known, self._codes[at] if len(self._ids) else 0, len(names) - 1)
        return pd.DataFrame([names[code] for code in codes], columns=["exec_topo", "regime"])
