"""Rows of an exchange's archive and REST interface into one form, verified: times, order, gaps. No I/O.

Klines carry the moment at which they are known, ``close_time``: the exchange stamps them with their open, which is
look-ahead. Trades keep their time and their id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from alphatrade.nodes.download_plan import Kind, Span, Wish
from alphatrade.risk.errors import TapeError

Ints = NDArray[np.int64]
_BARS = ("open", "high", "low", "close", "volume")
# Columns of a file, in order; those named so are kept.
_ARCHIVE: dict[Kind, tuple[str, ...]] = {
    "klines": ("time", *_BARS, "last_moment", "quote_volume", "count", "taker_base", "taker_quote", "ignore"),
    "aggTrades": ("id", "price", "size", "first_id", "last_id", "time", "is_buyer_maker", "best"),
    "trades": ("id", "price", "size", "quote", "time", "is_buyer_maker", "best"),
}
_KEYS: dict[Kind, tuple[str, ...]] = {  # of a trade in the answers of REST: id, price, size, time, is_buyer_maker
    "aggTrades": ("a", "p", "q", "T", "m"),
    "trades": ("id", "price", "qty", "time", "isBuyerMaker"),
}
_TYPES = {
    "time": pa.int64(), "id": pa.int64(), "is_buyer_maker": pa.bool_(), "price": pa.float64(), "size": pa.float64(),
    **{name: pa.float64() for name in _BARS},
}  # fmt: skip
_STAMP = pa.timestamp("ns", tz="UTC")
_TRADES = {
    "ts": _STAMP,
    "price": pa.float64(),
    "size": pa.float64(),
    "is_buyer_maker": pa.bool_(),
    "trade_id": pa.int64(),
}
_KLINES = {"close_time": _STAMP, **dict.fromkeys(_BARS, pa.float64())}


class Gap(NamedTuple):
    """What is missing: between which moments, UTC ns, and how many bars or trade ids; 0 where nobody can say."""

    after: int
    before: int
    missing: int


@dataclass(frozen=True, slots=True)
class Rows:
    """
    The verified rows of a part.

    Attributes
    ----------
    table : Arrow table
        What the result holds of it.
    gaps : tuple of Gap
    ids : (int, int) or None
        First and last id of trades.
    """

    table: pa.Table
    gaps: tuple[Gap, ...]
    ids: tuple[int, int] | None


def schema(kind: Kind) -> pa.Schema:
    """Return the columns of the result."""
    return pa.schema((_KLINES if kind == "klines" else _TRADES).items())


def from_archive(wish: Wish, span: Span, text: bytes, where: str) -> Rows:
    """
    Return the rows of a file of the archive, a CSV with or without header.

    Raises
    ------
    TapeError
        If it does not hold what its name says.
    """
    names = list(_ARCHIVE[wish.kind])
    wanted = [name for name in names if name in _TYPES]
    try:
        table = pacsv.read_csv(
            pa.py_buffer(text),
            read_options=pacsv.ReadOptions(column_names=names, skip_rows=0 if text[:1].isdigit() else 1),
            convert_options=pacsv.ConvertOptions(include_columns=wanted, column_types=_TYPES),
        )
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())[:160]
        raise TapeError(where, reason, f"a CSV of {wish.kind} with {len(names)} columns") from None
    columns = {name: table[name].combine_chunks() for name in wanted}
    return _verified(wish, span, columns, span.bounds()[1], where)


def from_rest(wish: Wish, span: Span, rows: Sequence[Any], until: int, where: str) -> Rows:
    """
    Return the rows of answers of the REST interface.

    Parameters
    ----------
    wish : Wish
    span : Span
    rows : sequence
        Lists for klines, objects for trades, as the venue sends them.
    until : int
        UTC ns up to which the venue was asked; a kline that closes later is not over and left out.
    where : str
        For messages.

    Raises
    ------
    TapeError
        If they are not what was asked for.
    """
    try:
        if wish.kind == "klines":
            over = [row for row in rows if row[0] * _unit(row[0]) + wish.step <= until]
            lists = {"time": [row[0] for row in over]}
            lists |= {name: [float(row[1 + n]) for row in over] for n, name in enumerate(_BARS)}
        else:
            id_, price, size, time, maker = _KEYS[wish.kind]
            lists = {
                "id": [row[id_] for row in rows],
                "price": [float(row[price]) for row in rows],
                "size": [float(row[size]) for row in rows],
                "time": [row[time] for row in rows],
                "is_buyer_maker": [row[maker] for row in rows],
            }
        columns = {name: pa.array(values, _TYPES[name]) for name, values in lists.items()}
    except (LookupError, TypeError, ValueError, pa.ArrowException) as error:
        raise TapeError(where, " ".join(str(error).split())[:120], f"{wish.kind} as documented by the venue") from None
    return _verified(wish, span, columns, until, where)


def _verified(wish: Wish, span: Span, columns: dict[str, pa.Array], until: int, where: str) -> Rows:
    """Check stamps and order, and find the gaps."""
    for name, array in columns.items():
        if array.null_count:
            row = int(np.argmax(array.is_null().to_numpy(zero_copy_only=False))) + 1
            raise TapeError(f"{where}, row {row}, column {name}", "nothing", "a value in every row")
    ts = _stamps(columns["time"].to_numpy().astype(np.int64), span, wish.step, where)
    if wish.kind == "klines":
        stamp = pa.array(ts + wish.step, _STAMP)
        table = pa.table([stamp, *(columns[name] for name in _BARS)], schema=schema(wish.kind))
        return Rows(table, _missing_bars(ts, span, wish.step, until), None)
    ids = columns["id"].to_numpy()
    back = np.flatnonzero(np.diff(ids) <= 0)
    if len(back):
        raise TapeError(f"{where}, row {back[0] + 2}", int(ids[back[0] + 1]), "an id above that of the row before")
    table = pa.table(
        [pa.array(ts, _STAMP), columns["price"], columns["size"], columns["is_buyer_maker"], columns["id"]],
        schema=schema(wish.kind),
    )
    holes = np.flatnonzero(np.diff(ids) > 1)
    gaps = tuple(Gap(int(ts[n]), int(ts[n + 1]), int(ids[n + 1] - ids[n] - 1)) for n in holes)
    if not len(ids):
        return Rows(table, (Gap(span.bounds()[0], min(until, span.bounds()[1]), 0),), None)
    return Rows(table, gaps, (int(ids[0]), int(ids[-1])))


def _unit(stamp: int) -> int:
    """Return ns per unit of a stamp: the archives count milliseconds up to 2024 and microseconds since."""
    return 10**6 if stamp < 10**14 else 10**3


def _stamps(raw: Ints, span: Span, step: int, where: str) -> Ints:
    """Return stamps as UTC ns: inside the span, in order, those of klines on their grid and none twice."""
    if not len(raw):
        return raw
    ts = raw * _unit(int(raw[0]))
    start, end = span.bounds()
    outside = (ts < start) | (ts >= end)
    if outside.any():
        row = int(np.argmax(outside))
        raise TapeError(f"{where}, row {row + 1}", int(raw[row]), f"a time in {span.name} (UTC)")
    back = np.flatnonzero(np.diff(ts) < (1 if step else 0))
    if len(back):
        raise TapeError(f"{where}, row {back[0] + 2}", int(raw[back[0] + 1]), "a time after that of the row before")
    if step and ((ts - start) % step).any():
        row = int(np.argmax((ts - start) % step != 0))
        raise TapeError(f"{where}, row {row + 1}", int(raw[row]), f"a time on the grid of {step // 10**9} s")
    return ts


def _missing_bars(ts: Ints, span: Span, step: int, until: int) -> tuple[Gap, ...]:
    """Return where bars are missing, from the beginning of the span to `until`."""
    start, end = span.bounds()
    end = start + (min(end, until) - start) // step * step
    edges = np.concatenate(([start - step], ts, [end]))
    holes = np.flatnonzero(np.diff(edges) > step)
    return tuple(Gap(int(edges[n]) + step, int(edges[n + 1]), int(edges[n + 1] - edges[n]) // step - 1) for n in holes)
