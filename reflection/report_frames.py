"""How the report reads and thins: of every slice of time the first, lowest, highest and last point stay."""

from collections.abc import Mapping
from typing import Any

import duckdb
import pandas as pd

from alphatrade.reflection.report_sql import THIN

PIXELS = 1500
COLUMNS = 240

type Base = duckdb.DuckDBPyConnection
type Span = tuple[int, int]


def one(base: Base, text: str) -> tuple[Any, ...]:
    """Return the first row of an answer."""
    row: tuple[Any, ...] = base.execute(text).fetchone() or ()
    return row


def frame(base: Base, text: str, *values: object) -> pd.DataFrame:
    """Return an answer."""
    found: pd.DataFrame = base.execute(text, values).df()
    return found


def quoted(name: str) -> str:
    """Return a name from a file as SQL takes it for a column."""
    return '"' + name.replace('"', '""') + '"'


def slice_width(span: Span, columns: int) -> int:
    """Return the width in nanoseconds of one of so many slices of the run."""
    return (span[1] - span[0]) // columns + 1


def sliced(base: Base, text: str, span: Span, columns: int, *values: object) -> pd.DataFrame:
    """Return the answer to a query about so many slices of the run."""
    return frame(base, text.format(start=span[0], width=slice_width(span, columns)), *values)


def thin(
    base: Base, view: str, value: str, span: Span, where: Mapping[str, object] | None = None, pixels: int = PIXELS
) -> pd.DataFrame:
    """
    Return a thinned curve (t, y), t in epoch milliseconds UTC.

    Parameters
    ----------
    base : duckdb.DuckDBPyConnection
    view, value : str
        Where it is, and the SQL of what is drawn.
    span : tuple of int
        First and last event time of the run, UTC ns.
    where : mapping of str to object, optional
        Columns and what they must be.
    pixels : int
        Slices of time.
    """
    where = where or {}
    condition = "WHERE " + " AND ".join(f"{quoted(name)} = ?" for name in where) if where else ""
    width = slice_width(span, pixels)
    text = THIN.format(view=view, value=value, where=condition, start=span[0], width=width)
    return frame(base, text, *where.values())
