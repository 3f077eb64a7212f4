"""What the auditor reads of a run: Parquet columns as exact integers, limits as exact bounds, or one clear refusal.

Nothing here is shared with the gate. Prices and quantities count 1e-9 (nano); money counts 5e-19 (*half-atto*),
because a mid is half of bid plus ask.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from pydantic import ValidationError

from alphatrade.risk.errors import RunDirError
from alphatrade.risk.template import RiskTemplate

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
HALF_ATTO = 2 * 10**18  # of one whole unit of money
_DEC = pa.decimal128(38, 9)
_TYPES = {"int": pa.int64(), "dec": _DEC, "str": pa.string(), "code": pa.string(), "bool": pa.bool_()}
_SPECS = {
    "orders": "seq:int ts:int instrument:str strategy:str order_id:str event:str side:str type:str qty:dec leaves:dec "
    "price:dec? trigger:dec? reduce_only:bool",
    "fills": "seq:int ts:int instrument:str order_id:str trade_id:str side:str qty:dec price:dec fee:dec currency:str "
    "position_after:dec realized:dec",
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
class Limits:
    """Bounds as exact integers: money in half-attos, quantities in nanos, times in nanoseconds."""

    capital: int
    currency: str
    long_only: bool
    order_qty: int | None
    inventory: int | None
    order_notional: int
    instrument: int
    gross: int
    net: int
    daily_loss: int
    drawdown: Fraction
    collar: Fraction
    per_second: int
    per_minute: int
    repeat: int
    repeat_ns: int
    duplicate_ns: int
    open_orders: int
    stale_ns: dict[str, int]


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
    crossed: int
    gaps: list[tuple[int, int]]
    equity: list[tuple[int, int]]


def read_run(run_dir: Path) -> RunFiles:
    """
    Read everything that the audit needs from a run folder.

    Raises
    ------
    RunDirError
        If a file is missing, truncated or foreign, a column is absent, of another type or null, a number does not
        fit, or a `seq` does not strictly increase.
    """
    if not run_dir.is_dir():
        raise RunDirError("run_dir", str(run_dir), "the artifacts folder of a run")
    limits = _read_limits(run_dir)
    tables = {name: _read_table(run_dir / f"{name}.parquet", spec) for name, spec in _SPECS.items()}
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
        crossed=int(np.count_nonzero(marks["bid"] > marks["ask"])),
        gaps=_gaps([tables[name]["seq"] for name in ("orders", "fills", "marks", "risk_events")]),
        equity=list(zip(equity["ts"].tolist(), equity["equity"].tolist(), strict=True)),
    )


def _rows(columns: dict[str, Any]) -> "zip[tuple[Any, ...]]":
    lists = (column.tolist() if isinstance(column, np.ndarray) else column for column in columns.values())
    return zip(*lists, strict=True)


def _read_table(path: Path, spec: str) -> dict[str, Any]:
    """
    Return the columns of one Parquet file in the order of `spec`; see :func:`read_run` for what it refuses.

    Integers and decimals come as int64 arrays (decimals as nanos), `code` as (sorted names, indices), the rest as lists.
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
            raise RunDirError(f"{path.name}:seq", int(columns["seq"][row]), f"more than the row before row {row}")
    return columns


def _column(column: pa.ChunkedArray, kind: str, where: str) -> Any:
    nullable, kind = kind.endswith("?"), kind.rstrip("?")
    if kind in ("str", "code") and (pa.types.is_dictionary(column.type) or pa.types.is_large_string(column.type)):
        column = column.cast(pa.string())
    if nullable and pa.types.is_null(column.type):
        column = column.cast(_TYPES[kind])
    if column.type != _TYPES[kind]:
        raise RunDirError(where, str(column.type), f"the type {_TYPES[kind]}")
    if column.null_count and not nullable:
        raise RunDirError(where, f"{column.null_count} nulls", "a value in every row")
    array = column.combine_chunks()
    if kind == "int":
        return array.to_numpy(zero_copy_only=False)
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
    if (high != low >> 63).any() or (low >> 62 != low >> 63).any():  # rare: too big to add in 64 bits
        wide = [(top << 64) + (rest & (2**64 - 1)) for top, rest in zip(high.tolist(), low.tolist(), strict=True)]
        return np.array(wide, object)
    return low


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


def _read_limits(run_dir: Path) -> Limits:
    policy, run = _read_text(run_dir / "policy.json"), _read_text(run_dir / "run.yaml")
    try:
        template = RiskTemplate.model_validate(policy.get("risk"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["risk", *map(str, first["loc"])])
        raise RunDirError(f"policy.json:{where}", first.get("input"), first["msg"]) from None
    capital = _number(run, "capital", "run.yaml:capital")
    instruments, currency = run.get("instruments"), run.get("currency")
    if not isinstance(instruments, dict) or not instruments:
        raise RunDirError("run.yaml:instruments", instruments, "a mapping of instrument ids")
    if not isinstance(run.get("long_only"), bool) or not isinstance(currency, str):
        raise RunDirError("run.yaml", [run.get("long_only"), currency], "long_only (true or false) and currency")
    stale: dict[str, int] = {}
    for name, facts in instruments.items():
        facts = facts if isinstance(facts, dict) else {}
        if facts.get("quote") != currency:
            raise RunDirError(f"run.yaml:instruments.{name}.quote", facts.get("quote"), f"{currency}, the account's")
        own = _number(facts, "stale_after_s", f"run.yaml:instruments.{name}.stale_after_s")
        stale[str(name)] = int(min(own, _exact(template.stale_after_s)) * 10**9)
    return _limits(template, capital, currency, run["long_only"], stale)


def _limits(template: RiskTemplate, capital: Fraction, currency: str, long_only: bool, stale: dict[str, int]) -> Limits:
    def money(share: float) -> int:
        return int(_exact(share) * capital * HALF_ATTO)  # values are integers: above the bound = above its floor

    def units(value: Decimal | None) -> int | None:
        return None if value is None else int(Fraction(value) * 10**9)

    return Limits(
        capital=int(capital * HALF_ATTO),
        currency=currency,
        long_only=long_only,
        order_qty=units(template.order_qty_max),
        inventory=units(template.inventory_max),
        order_notional=money(template.order_notional_max),
        instrument=money(template.instrument_max),
        gross=money(template.gross_max),
        net=money(template.net_max),
        daily_loss=money(template.daily_loss_max),
        drawdown=_exact(template.drawdown_max),
        collar=_exact(template.price_collar),
        per_second=template.orders_per_second,
        per_minute=template.orders_per_minute,
        repeat=template.repeat_max,
        repeat_ns=int(_exact(template.repeat_window_s) * 10**9),
        duplicate_ns=int(_exact(template.duplicate_window_s) * 10**9),
        open_orders=template.open_orders_max,
        stale_ns=stale,
    )


def _exact(value: float) -> Fraction:
    return Fraction(repr(value))  # 0.1 means one tenth


def _number(mapping: dict[str, Any], key: str, where: str) -> Fraction:
    try:
        number = Decimal(str(mapping.get(key)))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number <= 0:
        raise RunDirError(where, mapping.get(key), "a finite number above zero")
    return Fraction(number)


def _read_text(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError:
        raise RunDirError(path.name, "nothing", f"a file in {path.parent}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunDirError(path.name, str(error)[:120], "a readable file of the run") from None
    if not isinstance(value, dict):
        raise RunDirError(path.name, type(value).__name__, "a mapping")
    return value
