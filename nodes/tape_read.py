"""Reading a file tape: named columns, float64 values and int64 stamps. Only the form is judged here.

What the values are worth is the business of :mod:`alphatrade.nodes.tape_audit`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alphatrade.nodes.tape_files import data_files, read_table
from alphatrade.nodes.tape_names import Resolved, resolve
from alphatrade.nodes.tape_spec import FileTape
from alphatrade.nodes.tape_time import TimeForm, to_ns
from alphatrade.risk.errors import TapeError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rows:
    """
    What a source says, by our names, before any judgement.

    Attributes
    ----------
    where : str
        The file, for messages.
    kind : str
        quotes, trades, bars or bidask_bars.
    ts : int64 array (n,)
        Stamps as in the source, UTC ns; `MISSING_TS` where there is none.
    values : dict of str to float64 arrays (n,)
        Columns by our names; NaN where a cell is empty. ``aggressor`` holds 0, 1, 2.
    names : dict of str to str
        Our name to the source's, for messages.
    row : int64 array (n,)
        Data row in the source, the first is 1, for messages.
    stamp : {"open", "close"}
        What the stamp of a bar means.
    trade_id : array (n,) or None
        Identities of trades, to tell repeated rows from equal trades.
    filtered : int
        Rows that `tape.filter` left out.
    """

    where: str
    kind: str
    ts: NDArray[np.int64]
    values: dict[str, Floats]
    names: dict[str, str]
    row: NDArray[np.int64]
    stamp: str
    trade_id: NDArray[Any] | None
    filtered: int


def read_rows(spec: FileTape, shown: bool = True) -> Rows:
    """
    Read the file or folder of `spec`.

    Raises
    ------
    TapeError
        If a file is missing, empty, truncated or of another format, a column is missing, or a cell is not a
        number.
    """
    files = data_files(spec.path)
    found: list[Resolved] = []

    def choose(present: list[str], where: str) -> list[str]:
        found.append(resolve(spec, present, where))
        return list(dict.fromkeys([*found[-1].ts, *found[-1].columns.values(), *found[-1].filter]))

    tables = [read_table(file, choose, shown) for file in files]
    where = str(files[0]) if len(files) == 1 else spec.path
    if any(names != found[0] for names in found):
        raise TapeError("tape.path", spec.path, "files with the same columns")
    try:
        table = tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException:
        raise TapeError("tape.path", spec.path, "files whose columns are of the same types") from None
    if table.num_rows == 0:
        raise TapeError("tape.path", where, "a file with rows, not only a header")
    return _rows(table, spec, found[0], where)


def _rows(table: pa.Table, spec: FileTape, names: Resolved, where: str) -> Rows:
    """Filter the rows and turn the columns into numbers."""
    kept = _filter(table, names.filter)
    row = np.arange(1, table.num_rows + 1, dtype=np.int64)
    filtered = 0
    if kept is not None:
        table, row, filtered = table.filter(pa.array(kept)), row[kept], int(len(kept) - kept.sum())
        if table.num_rows == 0:
            raise TapeError("tape.filter", names.filter, f"values that leave rows of {where}")
    form = TimeForm(spec.ts_unit, spec.ts_format, spec.tz)
    ts = to_ns([table[name] for name in names.ts], form, f"{where}, column {'+'.join(names.ts)}", row)
    values: dict[str, Floats] = {}
    for ours, theirs in names.columns.items():
        if ours == "aggressor":
            values[ours] = _aggressor(table[theirs], theirs, where, row)
        elif ours != "trade_id":
            values[ours] = _numbers(table[theirs], theirs, where, row)
    ids = names.columns.get("trade_id")
    return Rows(
        where=where,
        kind=names.kind,
        ts=ts,
        values=values,
        names={**names.columns, "ts": "+".join(names.ts)},
        row=row,
        stamp=names.stamp,
        trade_id=None if ids is None else np.asarray(table[ids].to_pandas()),
        filtered=filtered,
    )


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(column, column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _numbers(column: pa.ChunkedArray, name: str, where: str, row: NDArray[np.int64]) -> Floats:
    """Return a column as float64; an empty cell is NaN, a cell that is no number is an error with its row."""
    column = _text(column)
    if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
        try:
            return np.array(pc.cast(column, pa.float64(), safe=False).to_numpy(), dtype=np.float64)
        except pa.ArrowException:
            raise TapeError(f"{where}, column {name}", str(column.type), "numbers") from None
    text = column.to_pandas()
    out = pd.to_numeric(text, errors="coerce")
    wrong = np.flatnonzero((out.isna() & text.notna() & (text.str.strip() != "")).to_numpy())
    if len(wrong):
        raise TapeError(f"{where}, row {row[wrong[0]]}, column {name}", text.iloc[wrong[0]], "a number")
    return np.array(out, dtype=np.float64)


_SIDES = {
    **dict.fromkeys(("buy", "b", "bid", "buyer", "1", "1.0", "+1"), 1),
    **dict.fromkeys(("sell", "s", "ask", "seller", "-1", "-1.0", "2", "2.0"), 2),
    **dict.fromkeys(("", "none", "nan", "0", "0.0", "no_aggressor", "unknown", "u", "n"), 0),
}


def _aggressor(column: pa.ChunkedArray, name: str, where: str, row: NDArray[np.int64]) -> Floats:
    """Return 1 where the buyer was the aggressor, 2 the seller, 0 unknown."""
    # Binance's is_buyer_maker: where it is true the buyer waited and the seller took.
    flags = {"true": 2, "false": 1} if "maker" in name.lower() or name == "m" else {"true": 1, "false": 2}
    text = _text(column).to_pandas().astype(str).str.strip().str.lower()
    code = text.map(_SIDES | flags)
    wrong = np.flatnonzero(code.isna().to_numpy())
    if len(wrong):
        raise TapeError(f"{where}, row {row[wrong[0]]}, column {name}", text.iloc[wrong[0]], "buy or sell")
    return np.array(code, dtype=np.float64)


def _filter(table: pa.Table, rules: dict[str, list[Any]]) -> NDArray[np.bool_] | None:
    """Return the mask of rows that every rule keeps, None for all; values compare as text."""
    if not rules:
        return None
    kept = np.ones(table.num_rows, dtype=np.bool_)
    for name, allowed in rules.items():
        text = pc.cast(_text(table[name]), pa.string())
        words = [str(value).lower() if isinstance(value, bool) else str(value) for value in allowed]
        kept &= np.array(pc.is_in(text, pa.array(words)).to_numpy(zero_copy_only=False), dtype=np.bool_)
    return kept
