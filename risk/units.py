"""Exact numbers: prices and quantities as nano integers, and their way into Parquet.

A *nano* is an integer count of 1e-9 (price units or quantity units). A product of two nanos, money, counts 1e-18.
Python integers do not overflow, so the law adds and compares without rounding.
"""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pyarrow as pa

NANO = 10**9
ATTO = 10**18
RAW_PER_NANO = 10**7  # Nautilus's Price.raw and Quantity.raw count 1e-16
ATTO_PER_RAW = 100  # and so does Money.raw

_DECIMAL = pa.decimal128(38, 9)


def to_nano(value: str | int | float | Decimal) -> int:
    """
    Return `value` as a nano integer, rounded half to even at the ninth decimal.

    Parameters
    ----------
    value : str, int, float or Decimal
        A price or a quantity. Floats go through their shortest repr, so ``0.1`` means one tenth.

    Raises
    ------
    ValueError
        If the value is not a finite number.
    """
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite():
        raise ValueError(f"a finite number is needed, got {value!r}")
    return int((number * NANO).to_integral_value())


def from_nano(nano: int) -> Decimal:
    """Return a nano integer as a Decimal in whole units."""
    return Decimal(nano) / NANO


def from_atto(atto: int) -> Decimal:
    """Return an amount of money counted in 1e-18 as a Decimal in whole units."""
    return Decimal(atto) / ATTO


def decimal_array(nanos: "Sequence[int | None] | np.ndarray[tuple[int], np.dtype[np.int64]]") -> pa.Array:
    """
    Return nano integers as an Arrow ``decimal128(38, 9)`` array of the same length.

    Parameters
    ----------
    nanos : sequence of int or None, or ndarray of int64, shape (n,)
        Counts of 1e-9; None becomes null.
    """
    units = pa.array(nanos, pa.int64()).cast(pa.decimal128(38, 0))
    # The unscaled integers are already what a scale of nine needs: reinterpret, do not compute.
    return pa.Array.from_buffers(_DECIMAL, len(units), units.buffers(), units.null_count, units.offset)
