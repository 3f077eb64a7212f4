"""Rows as Arrow columns; money and prices are decimals of nine places, made from integers in nano."""

from collections.abc import Sequence
from decimal import Decimal

import pyarrow as pa

from alphatrade.risk.units import decimal_array, from_nano

_DECIMAL = pa.decimal128(38, 9)
_TYPES = {"i": pa.int64(), "s": pa.string(), "b": pa.bool_(), "f": pa.float64()}


def table(spec: str, rows: Sequence[tuple[object, ...]]) -> pa.Table:
    """Return rows as a table; `spec` has ``name:kind`` of each column: the kinds of `_TYPES`, or d for nano."""
    columns: dict[str, pa.Array] = {}
    data = list(zip(*rows, strict=True)) if rows else None
    for index, item in enumerate(spec.split()):
        name, kind = item.split(":")
        values = data[index] if data is not None else ()
        columns[name] = decimals(values) if kind == "d" else pa.array(values, _TYPES[kind])
    return pa.table(columns)


def decimals(values: Sequence[int | None]) -> pa.Array:
    """Return integers in nano as decimals."""
    try:
        return decimal_array(values)
    except (OverflowError, pa.ArrowInvalid):  # beyond int64 in nano: more than 9.2e9 units
        exact: list[Decimal | None] = [None if value is None else from_nano(value) for value in values]
        return pa.array(exact, _DECIMAL)
