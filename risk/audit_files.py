"""What the auditor reads of a run's Parquet files: exact integers, or one clear refusal.

Prices and quantities count 1e-9 (nano); the units of money are those of :mod:`alphatrade.risk.audit_limits`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from alphatrade.risk.audit_limits import HALF_ATTO, Limits, read_file, read_limits
from alphatrade.risk.errors import RunDirError

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]
_DEC = pa.decimal128(38, 9)
_TYPES = {"int": pa.int64(), "dec": _DEC, "str": pa.string(), "code": pa.string(), "bool": pa.bool_()}
_SPECS = {
    "orders": "seq:int ts:int instrument:str strategy:str order_id:str event:str side:str type:str qty:dec "
    "leaves:dec price:dec? trigger:dec? reduce_only:bool reason:str?",
    "fills": "seq:int ts:int instrument:str order_id:str trade_id:str side:str qty:dec price:dec fee:dec "
    "currency:str position_after:dec realized:dec",
    "marks": "seq:int ts:int instrument:code bid:dec ask:dec",
    "risk_events": "seq:int",
    "equity": "ts:int equity:dec",
}


class OrderRow(NamedTuple):
    """One order event; quantities and prices in nanos."""

    seq: int
    ts: int
    instrument: str
    strategy: str
    order_id: str
    event: str
    side: str
    type: str
    qty: int
    leaves: int
    price: int | None
    trigger: int | None
    reduce_only: bool
    reason: str | None


class FillRow(NamedTuple):
    """One fill; quantities, prices and money in nanos."""

    seq: int
    ts: int
    instrument: str
    order_id: str
    trade_id: str
    side: str
    qty: int
    price: int
    fee: int
    currency: str
    position_after: int
    realized: int


@dataclass(frozen=True, slots=True)
class RunFiles:
    """What the auditor reads of a run; `who` holds indices into `names`, `mid2` is bid + ask in nanos."""

    limits: Limits
    orders: list[OrderRow]
    fills: list[FillRow]
    names: list[str]
    seq: Ints
    ts: Ints
    who: Ints
    mid2: Ints
    crossed: Bools
    gaps: list[tuple[int, int]]
    equity: list[tuple[int, int]]


def read_run(run_dir: Path) -> RunFiles:
    """
    Read everything that the audit needs from a run folder.

    Raises
    ------
    RunDirError
        If a file is missing, truncated or foreign, a column is absent, of another type or null, or a `seq`
        does not strictly increase or is there twice.
    """
    if not run_dir.is_dir():
        raise RunDirError("run_dir", str(run_dir), "the artifacts folder of a run")
    limits = _opened(read_limits(run_dir), run_dir)
    tables = {name: read_columns(run_dir / f"{name}.parquet", spec) for name, spec in _SPECS.items()}
    marks, fills, equity = tables["marks"], tables["fills"], tables["equity"]
    for path, values in (("marks.parquet:bid", marks["bid"]), ("fills.parquet:qty", fills["qty"])):
        if len(values) and np.min(values) <= 0:
            raise RunDirError(path, str(Decimal(int(np.min(values))) / 10**9), "a number above zero")
    names, who = marks["instrument"]
    return RunFiles(
        limits=limits,
        orders=[OrderRow._make(row) for row in _rows(tables["orders"])],
        fills=[FillRow._make(row) for row in _rows(fills)],
        names=names,
        seq=marks["seq"],
        ts=marks["ts"],
        who=who,
        mid2=marks["bid"] + marks["ask"],
        crossed=np.asarray(marks["bid"] > marks["ask"], np.bool_),
        gaps=_gaps([tables[name]["seq"] for name in ("orders", "fills", "marks", "risk_events")]),
        equity=list(zip(equity["ts"].tolist(), equity["equity"].tolist(), strict=True)),
    )


def _opened(limits: Limits, run_dir: Path) -> Limits:
    """Return limits with the equity at which a session went on, where ``run.yaml`` tells none and its record does."""
    if "opening" in read_file(run_dir / "run.yaml"):
        return limits
    columns = read_columns(run_dir / "risk_events.parquet", "seq:int kind:str? value:str?")
    for _, kind, value in _rows(columns):
        if kind == "resumed" and value:
            try:
                return replace(limits, opening=int(Decimal(value) * HALF_ATTO))
            except (ArithmeticError, ValueError):
                raise RunDirError("risk_events.parquet:value", value, "the equity at which it went on") from None
    return limits


def _rows(columns: dict[str, Any]) -> "zip[tuple[Any, ...]]":
    lists = (column.tolist() if isinstance(column, np.ndarray) else column for column in columns.values())
    return zip(*lists, strict=True)


def read_columns(path: Path, spec: str) -> dict[str, Any]:
    """
    Return the columns of one Parquet file in the order of `spec`; see :func:`read_run` for what it refuses.

    Integers and decimals (as nanos) come as arrays, `code` as (names, indices), the rest as lists.
    """
    try:
        table = pq.read_table(path, partitioning=None)
    except FileNotFoundError:
        raise RunDirError(path.name, "nothing", f"a file in {path.parent}") from None
    except (OSError, pa.ArrowException) as error:
        raise RunDirError(path.name, str(error)[:120], "a complete Parquet file") from None
    columns: dict[str, Any] = {}
    for item in spec.split():
        name, _, kind = item.partition(":")
        if table.column_names.count(name) != 1:
            raise RunDirError(f"{path.name}:{name}", table.column_names, "this column, once")
        columns[name] = _column(table.column(name), kind, f"{path.name}:{name}")
    if "seq" in columns:
        steps = np.diff(columns["seq"])
        if (steps <= 0).any():
            row = int(np.argmax(steps <= 0)) + 1
            found = int(columns["seq"][row])
            raise RunDirError(f"{path.name}:seq", found, f"more than the row before row {row}")
    return columns


def _column(column: pa.ChunkedArray, kind: str, where: str) -> Any:
    nullable, kind = kind.endswith("?"), kind.rstrip("?")
    textual = pa.types.is_dictionary(column.type) or pa.types.is_large_string(column.type)
    if (textual and kind in ("str", "code")) or (nullable and pa.types.is_null(column.type)):
        column = column.cast(_TYPES[kind])
    if column.type != _TYPES[kind]:
        raise RunDirError(where, str(column.type), f"the type {_TYPES[kind]}")
    if column.null_count and not nullable:
        raise RunDirError(where, f"{column.null_count} nulls", "a value in every row")
    array = column.combine_chunks()
    if kind == "int":
        return array.to_pylist() if nullable else array.to_numpy(zero_copy_only=False)
    if kind == "code":
        coded = array.dictionary_encode()
        return coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    if kind != "dec":
        return array.to_pylist()
    nanos = _nanos(array)
    if not nullable:
        return nanos
    missing = array.is_null().to_pylist()
    return [None if gone else nano for nano, gone in zip(nanos.tolist(), missing, strict=True)]


def _nanos(array: pa.Array) -> Any:
    """Return the unscaled integers of a decimal column exactly, null as 0."""
    if len(array) == 0:
        return np.empty(0, np.int64)
    array = pc.fill_null(array, pa.scalar(Decimal(0), _DEC))
    halves = np.frombuffer(array.buffers()[1], np.int64)[2 * array.offset : 2 * (array.offset + len(array))]
    low, high = halves[0::2], halves[1::2]
    if (high == low >> 63).all() and (low >> 62 == low >> 63).all():
        return low
    pairs = zip(high.tolist(), low.tolist(), strict=True)  # rare: too big to add in 64 bits
    return np.array([(top << 64) + (rest & (2**64 - 1)) for top, rest in pairs], object)


def _gaps(counters: Sequence[Ints]) -> list[tuple[int, int]]:
    """Return the holes (first, last) in the one counter that all files share."""
    merged = np.sort(np.concatenate(list(counters)))
    if len(merged) == 0:
        return []
    steps = np.diff(merged)
    if (steps == 0).any():
        raise RunDirError("seq", int(merged[:-1][steps == 0][0]), "one row only over all files of the run")
    holes = [(int(merged[i]) + 1, int(merged[i + 1]) - 1) for i in np.flatnonzero(steps > 1)]
    return ([(1, int(merged[0]) - 1)] if merged[0] > 1 else []) + holes
