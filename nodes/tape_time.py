"""Stamps: whatever a file calls a time becomes int64 UTC nanoseconds."""

import re
import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alphatrade.risk.errors import TapeError

MISSING_TS = -(2**63)  # a cell without a stamp; the same number as pandas' NaT
Ints = NDArray[np.int64]
UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_LAST = 2**63 - 1


class TimeForm(NamedTuple):
    """How stamps are written: unit of numbers (auto: by size), format of text (None: found out), zone."""

    unit: str = "auto"
    text: str | None = None
    tz: str = "UTC"


def to_ns(columns: list[pa.ChunkedArray], form: TimeForm, field: str, row: Ints) -> Ints:
    """
    Return stamps as UTC ns, `MISSING_TS` where a cell is empty.

    Parameters
    ----------
    columns : list of one or two Arrow columns
        A stamp column, or a date and a time column.
    form : TimeForm
        The zone is that of text and of Parquet times without one; numbers count from 1970 UTC whatever it
        says.
    field : str
        File and column, for messages.
    row : int64 array (n,)
        Row numbers, for messages.

    Raises
    ------
    TapeError
        If a stamp cannot be read, or the stamps cannot be times.
    """
    column = columns[0] if len(columns) == 1 else _joined(columns)
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if pa.types.is_decimal(column.type):
        column = pc.cast(column, pa.float64())
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        ts = _numeric(column, form.unit, field, row)
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        aware = pa.types.is_timestamp(kind) and kind.tz is not None
        ts = _zoned(column.to_pandas(), aware, form.tz, field)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        ts = _text(column.to_pandas(), form.text, form.tz, field, row)
    else:
        raise TapeError(field, str(kind), "times: text, numbers or Parquet timestamps")
    known = ts[ts != MISSING_TS]
    if len(known) == 0:
        raise TapeError(field, "no value", "times")
    if int(known.max()) < 365 * 86_400 * 10**9:
        raise TapeError("tape.ts_unit", form.unit, f"a unit that puts {field} after 1970")
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
        expected = "an ISO time such as 2025-01-31T12:00:00Z, or UTC nanoseconds"
        raise TapeError(field, value, expected) from None


def _joined(columns: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Return date and time columns as one text column."""
    date, time = columns
    if pa.types.is_timestamp(date.type):
        date = pc.strftime(date, format="%Y-%m-%d")
    parts = [pc.cast(part, pa.string()) for part in (date, time)]
    return pc.binary_join_element_wise(*parts, " ")


def _numeric(column: pa.ChunkedArray, unit: str, field: str, row: Ints) -> Ints:
    values = column.to_numpy()
    if values.dtype.kind not in "iuf":  # integers with empty cells come back as objects
        values = values.astype(np.float64)
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if len(known) == 0:
        raise TapeError(field, "no value", "times")
    middle = abs(float(np.median(known)))
    if unit == "auto" and 1.9e7 < middle < 2.2e7:  # 20140501
        days = pd.Series(values).astype("Int64").astype("string").astype(object)
        return _text(days, "%Y%m%d", "UTC", field, row)
    if unit == "auto":
        unit = "s" if middle < 1e11 else "ms" if middle < 1e14 else "us" if middle < 1e17 else "ns"
    scale = UNITS[unit]
    if float(np.abs(known.astype(np.float64)).max()) * scale > _LAST:
        raise TapeError("tape.ts_unit", unit, f"a smaller unit: {field} would lie after the year 2262")
    if values.dtype.kind != "f":
        return np.asarray(values.astype(np.int64) * scale)
    finite = np.where(np.isfinite(values), values, 0.0)
    whole = np.floor(finite)
    ts = whole.astype(np.int64) * scale + np.rint((finite - whole) * scale).astype(np.int64)
    return np.asarray(np.where(np.isfinite(values), ts, MISSING_TS), dtype=np.int64)


def _zoned(values: "pd.Series[Any]", aware: bool, tz: str, field: str) -> Ints:
    """Return times as UTC ns; those without a zone are in `tz`."""
    stamps = pd.to_datetime(values)
    if not aware:
        try:
            stamps = stamps.dt.tz_localize(tz, ambiguous="infer" if tz != "UTC" else "raise")
        except Exception as error:  # unknown zones, hours that a zone has twice or never: several libraries' errors
            reason = re.sub(r"\s+", " ", str(error))[:90]
            expected = f"a known time zone in which each stamp of {field} exists once ({reason})"
            raise TapeError("tape.tz", tz, expected) from None
    naive = stamps.dt.tz_convert("UTC").dt.tz_localize(None)
    try:
        return np.array(naive.to_numpy("datetime64[ns]").view(np.int64))
    except (ValueError, OverflowError):
        raise TapeError(field, str(naive.min()), "times from 1970 to 2262") from None


_SHAPES = (
    (r"\d{8} \d{9}", "%Y%m%d %H%M%S%f"),  # histdata.com ticks
    (r"\d{8} \d{6}", "%Y%m%d %H%M%S"),  # histdata.com bars
    (r"\d{8} \d{4}", "%Y%m%d %H%M"),
    (r"\d{14}", "%Y%m%d%H%M%S"),
    (r"\d{8}", "%Y%m%d"),
    (r"\d{8} \d\d:\d\d", "%Y%m%d %H:%M"),
    (r"\d{8} \d\d:\d\d:\d\d", "%Y%m%d %H:%M:%S"),
    (r"\d{8} \d\d:\d\d:\d\d\.\d+", "%Y%m%d %H:%M:%S.%f"),  # truefx.com
    (r"\d\d\.\d\d\.\d{4} \d\d:\d\d:\d\d\.\d+", "%d.%m.%Y %H:%M:%S.%f"),  # dukascopy.com
    (r"\d\d\.\d\d\.\d{4} \d\d:\d\d:\d\d", "%d.%m.%Y %H:%M:%S"),
    (r"\d{4}\.\d\d\.\d\d \d\d:\d\d", "%Y.%m.%d %H:%M"),  # MetaTrader
    (r"\d{4}\.\d\d\.\d\d \d\d:\d\d:\d\d(\.\d+)?", "%Y.%m.%d %H:%M:%S"),
    (r"\d{4}-\d\d-\d\d.*", "ISO8601"),
)


_DAY_MONTH = r"(\d{1,2})[/.-](\d{1,2})[/.-](?:\d{4}|\d\d)(?!\d).*"


def _day_first(text: "pd.Series[Any]", field: str, row: Ints) -> bool:
    """Return whether dates such as 13/01/2024 begin with the day, by the whole column; else refuse it."""
    parts = text.str.extract(f"^{_DAY_MONTH}$").astype("float64").to_numpy()
    beyond = parts > 12
    if beyond[:, 0].any() != beyond[:, 1].any():
        return bool(beyond[:, 0].any())
    later = np.flatnonzero(beyond.any(axis=1) if beyond.any() else np.isfinite(parts[:, 0]))[0]
    expected = "ISO 8601 times, or tape.ts_format (%d/%m/%Y… or %m/%d/%Y…): day and month cannot be told apart"
    raise TapeError(f"{field}, row {row[later]}", text.iloc[later], expected)


def _text(values: "pd.Series[Any]", form: str | None, tz: str, field: str, row: Ints) -> Ints:
    """Parse text in the format of the first cell; a cell that differs from it is an error with its row."""
    text = values.str.strip()
    first = next((cell for cell in text if isinstance(cell, str) and cell), "")
    form = form or next((form for shape, form in _SHAPES if re.fullmatch(shape, first)), None)
    day_first = form is None and re.fullmatch(_DAY_MONTH, first) is not None and _day_first(text, field, row)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas warns where it has to guess; a wrong guess is found below
        try:
            stamps = pd.to_datetime(text, format=form, dayfirst=day_first, errors="coerce")
        except ValueError:  # changing UTC offsets
            stamps = pd.to_datetime(text, format=form, dayfirst=day_first, errors="coerce", utc=True)
    wrong = np.flatnonzero((stamps.isna() & text.notna() & (text != "")).to_numpy())
    if len(wrong):
        where = f"{field}, row {row[wrong[0]]}"
        raise TapeError(where, text.iloc[wrong[0]], f"a time like the first one, {first!r} (or tape.ts_format)")
    return _zoned(stamps, stamps.dt.tz is not None, tz, field)
