"""Stamps: whatever a file calls a time becomes int64 UTC nanoseconds."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alphatrade.risk.errors import TapeError

MISSING_TS = -(2**63)  # a cell without a stamp; the same number as pandas' NaT
UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_LAST = 2**63 - 1


def to_ns(
    columns: list[pa.ChunkedArray], unit: str, tz: str, names: list[str], where: str, row: NDArray[np.int64]
) -> NDArray[np.int64]:
    """
    Return stamps as UTC ns, `MISSING_TS` where a cell is empty.

    Parameters
    ----------
    columns : list of one or two Arrow columns
        A stamp column, or a date and a time column.
    unit : {"auto", "s", "ms", "us", "ns"}
        Unit of numeric stamps; auto goes by their size.
    tz : str
        Zone of stamps that carry none. Numeric stamps count from 1970 UTC whatever the zone.
    names, where, row
        For messages.

    Raises
    ------
    TapeError
        If a stamp cannot be read, or the stamps cannot be times.
    """
    column = columns[0] if len(columns) == 1 else _joined(columns)
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    field = f"{where}, column {'+'.join(names)}"
    kind = column.type
    if pa.types.is_decimal(kind):
        column = pc.cast(column, pa.float64())
        kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        ts = _numeric(column, unit, field)
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        ts = _zoned(column.to_pandas(), kind.tz if pa.types.is_timestamp(kind) else None, tz, field)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        ts = _text(column.to_pandas(), tz, field, row)
    else:
        raise TapeError(field, str(kind), "times: text, numbers or Parquet timestamps")
    known = ts[ts != MISSING_TS]
    if len(known) == 0:
        raise TapeError(field, "no value", "times")
    if int(known.max()) < 365 * 86_400 * 10**9:
        raise TapeError("tape.ts_unit", unit, f"a unit that puts {field} after 1970")
    if int(known.min()) < 0:
        raise TapeError(field, int(known.min()), "times from 1970 on")
    return ts


def parse_moment(value: str | int | None, field: str) -> int | None:
    """
    Return an ISO time (UTC unless it says otherwise) or a number of ns as UTC ns.

    Raises
    ------
    TapeError
        If the text is not a time.
    """
    if value is None or isinstance(value, int):
        return value
    if re.fullmatch(r"\d{15,19}", value):
        return int(value)
    try:
        moment = pd.Timestamp(value)  # NaT fails below: it has no zone to convert to
        moment = moment.tz_localize("UTC") if moment.tz is None else moment.tz_convert("UTC")
        return int(moment.as_unit("ns").value)
    except (ValueError, OverflowError):
        raise TapeError(
            field, value, "an ISO time such as 2025-01-31T12:00:00Z, or UTC nanoseconds"
        ) from None


def _joined(columns: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Return date and time columns as one text column."""
    date, time = columns
    if pa.types.is_timestamp(date.type):
        date = pc.strftime(date, format="%Y-%m-%d")
    parts = [pc.cast(part, pa.string()) for part in (date, time)]
    return pc.binary_join_element_wise(*parts, " ")


def _numeric(column: pa.ChunkedArray, unit: str, field: str) -> NDArray[np.int64]:
    values = column.to_numpy()
    if values.dtype.kind not in "iuf":  # integers with empty cells come back as objects
        values = values.astype(np.float64)
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if len(known) == 0:
        raise TapeError(field, "no value", "times")
    middle = abs(float(np.median(known)))
    if unit == "auto" and 1.9e7 < middle < 2.2e7:  # 20140501
        return _text(
            pd.Series(values).astype("Int64").astype("string"), "UTC", field, np.arange(1, len(values) + 1)
        )
    if unit == "auto":
        unit = "s" if middle < 1e11 else "ms" if middle < 1e14 else "us" if middle < 1e17 else "ns"
    scale = UNITS[unit]
    if float(np.abs(known.astype(np.float64)).max()) * scale > _LAST:
        raise TapeError("tape.ts_unit", unit, f"a smaller unit: {field} would lie after the year 2262")
    if values.dtype.kind != "f":
        return values.astype(np.int64) * scale
    whole = np.floor(np.where(np.isfinite(values), values, 0.0))
    part = np.rint((np.where(np.isfinite(values), values, 0.0) - whole) * scale)
    ts = whole.astype(np.int64) * scale + part.astype(np.int64)
    return np.asarray(np.where(np.isfinite(values), ts, MISSING_TS), dtype=np.int64)


def _zoned(values: "pd.Series[Any]", has_tz: str | None, tz: str, field: str) -> NDArray[np.int64]:
    stamps = pd.to_datetime(values)
    try:
        if has_tz is None:
            stamps = (
                stamps.dt.tz_localize(tz, ambiguous="infer") if tz != "UTC" else stamps.dt.tz_localize("UTC")
            )
        return _as_ns(stamps)
    except (
        KeyError,
        ValueError,
        OverflowError,
    ) as error:  # unknown zones, and hours that a zone has twice or never
        if type(error).__name__ == "ZoneInfoNotFoundError":
            raise TapeError("tape.tz", tz, "a time zone such as UTC or America/New_York") from None
        raise TapeError(
            "tape.tz", tz, f"a zone in which every stamp of {field} exists once ({str(error)[:90]})"
        ) from None


def _text(values: "pd.Series[Any]", tz: str, field: str, row: NDArray[np.int64]) -> NDArray[np.int64]:
    """Parse text; the format is that of the first cell, and a cell that differs from it is an error with its row."""
    text = values.str.strip()
    first = next((cell for cell in text if isinstance(cell, str) and cell), "")
    shapes = (
        (r"\d{8} \d{9}", "%Y%m%d %H%M%S%f"),  # histdata.com ticks
        (r"\d{8} \d{6}", "%Y%m%d %H%M%S"),  # histdata.com bars
        (r"\d{8} \d{4}", "%Y%m%d %H%M"),
        (r"\d{14}", "%Y%m%d%H%M%S"),
        (r"\d{8}", "%Y%m%d"),
        (r"\d{8} \d\d:\d\d:\d\d\.\d+", "%Y%m%d %H:%M:%S.%f"),  # truefx.com
        (r"\d\d\.\d\d\.\d{4} \d\d:\d\d:\d\d\.\d+", "%d.%m.%Y %H:%M:%S.%f"),  # dukascopy.com
        (r"\d\d\.\d\d\.\d{4} \d\d:\d\d:\d\d", "%d.%m.%Y %H:%M:%S"),
        (r"\d{4}\.\d\d\.\d\d \d\d:\d\d", "%Y.%m.%d %H:%M"),  # MetaTrader
        (r"\d{4}\.\d\d\.\d\d \d\d:\d\d:\d\d", "%Y.%m.%d %H:%M:%S"),
    )
    form = next((form for shape, form in shapes if re.fullmatch(shape, first)), None)
    iso = re.match(r"\d{4}-\d\d-\d\d", first) is not None
    try:
        stamps = pd.to_datetime(text, format=form or ("ISO8601" if iso else None), errors="coerce")
        if stamps.dtype == object:  # changing UTC offsets
            stamps = pd.to_datetime(text, utc=True, errors="coerce")
    except (ValueError, TypeError):
        stamps = pd.to_datetime(text, utc=True, errors="coerce")
    wrong = np.flatnonzero((stamps.isna() & text.notna() & (text != "")).to_numpy())
    if len(wrong):
        raise TapeError(
            f"{field}, row {row[wrong[0]]}", text.iloc[wrong[0]], f"a time like the first one, {first!r}"
        )
    return _zoned(stamps, str(stamps.dt.tz) if stamps.dt.tz is not None else None, tz, field)


def _as_ns(stamps: "pd.Series[Any]") -> NDArray[np.int64]:
    naive = stamps.dt.tz_convert("UTC").dt.tz_localize(None)
    return np.array(naive.to_numpy("datetime64[ns]").view(np.int64))
