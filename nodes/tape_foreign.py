"""Reading one instrument of an existing Nautilus ParquetDataCatalog, without Nautilus."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from alphatrade.nodes.frames import read_frame
from alphatrade.nodes.instruments import identity, make_instrument
from alphatrade.nodes.tape import COLUMNS, NO_AGGRESSOR, InstrumentSpec, Status
from alphatrade.nodes.tape_catalog import FOLDER, THEIRS, decode
from alphatrade.nodes.tape_read import Rows
from alphatrade.nodes.tape_spec import CatalogTape
from alphatrade.risk.errors import TapeError

# Folders of instruments that trade like a pair or a share; the others (options, futures with an expiry) do
# not.
_TRADED = ("currency_pair", "equity", "crypto_perpetual")
_SECONDS = {
    "MILLISECOND": 0.001,
    "SECOND": 1.0,
    "MINUTE": 60.0,
    "HOUR": 3600.0,
    "DAY": 86_400.0,
    "WEEK": 604_800.0,
}
_ACTIONS = {"TRADING": 1, "HALT": 0, "PAUSE": 0, "SUSPEND": 0, "CLOSE": 0, "NOT_AVAILABLE_FOR_TRADING": 0}


class Foreign(NamedTuple):
    """What a catalog holds of one instrument; `bar_s` is None but for bars."""

    rows: Rows
    instrument: InstrumentSpec
    status: Status
    bar_s: float | None


def read_foreign(spec: CatalogTape) -> Foreign:
    """
    Read one instrument of a catalog; the time at which a row is known is its ``ts_init``.

    Raises
    ------
    TapeError
        If the catalog, the instrument or its rows are not there or not readable.
    """
    data = Path(spec.path).expanduser() / "data"
    if not data.is_dir():
        raise TapeError("tape.path", spec.path, "a Nautilus ParquetDataCatalog, a folder with data/ in it")
    kind, folder = _series(spec, data)
    where = str(folder)
    try:
        table = pa.concat_tables([pq.read_table(file) for file in sorted(folder.glob("*.parquet"))])
    except (pa.ArrowException, OSError, ValueError):
        raise TapeError("tape.path", where, "whole Parquet files with one schema") from None
    meta = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if "instrument_id" not in meta or table.num_rows == 0:
        raise TapeError("tape.path", where, "Nautilus data files, with rows and the instrument in their metadata")
    values = _values(table, kind, where)
    ids = np.asarray(table["trade_id"].to_pandas()) if kind == "trades" else None
    ts = table["ts_init"].to_numpy().astype(np.int64)
    row = np.arange(1, len(ts) + 1, dtype=np.int64)
    rows = Rows(where, kind, ts, values, {}, row, "close", ids, 0)
    instrument = _instrument(spec, data, meta, values)
    bar_s = bar_seconds(meta.get("bar_type", folder.name)) if kind == "bars" else None
    return Foreign(rows, instrument, _halts(data, instrument.id), bar_s)


def _values(table: pa.Table, kind: str, where: str) -> dict[str, NDArray[np.float64]]:
    values: dict[str, NDArray[np.float64]] = {}
    for name in COLUMNS[kind][1:]:
        theirs = THEIRS.get(name, name)
        if theirs not in table.column_names:
            raise TapeError("tape.path", where, f"Nautilus {kind} with a column {theirs}")
        raw = table[theirs].to_numpy() if name == "aggressor" else decode(table[theirs], where, theirs) / 1e9
        values[name] = np.array(raw, dtype=np.float64)
    if kind == "trades" and (values["aggressor"] == NO_AGGRESSOR).all():
        del values["aggressor"]
    return values


def bar_seconds(identifier: str) -> float | None:
    """Return the bar length in seconds that a Nautilus bar type names; None where it is not one of time."""
    match = re.search(r"-(\d+)-([A-Z]+)-[A-Z]+-[A-Z]+$", identifier)
    return float(match[1]) * _SECONDS[match[2]] if match and match[2] in _SECONDS else None


def _series(spec: CatalogTape, data: Path) -> tuple[str, Path]:
    """Return the kind and the folder of the rows that are meant."""
    found = []
    for kind, prefix in FOLDER.items():
        if spec.kind in (None, kind) and (data / prefix).is_dir():
            folders = sorted((data / prefix).iterdir())
            found += [(kind, folder) for folder in folders if any(folder.glob("*.parquet"))]
    if spec.instrument_id is not None:
        wanted = spec.instrument_id.replace("/", "")
        found = [(k, f) for k, f in found if f.name == wanted or f.name.startswith(f"{wanted}-")]
    if spec.bar_type is not None:
        found = [(k, f) for k, f in found if f.name == spec.bar_type.replace("/", "")]
    if not found:
        asked = [value for value in (spec.kind, spec.instrument_id, spec.bar_type) if value is not None]
        raise TapeError("tape.path", " ".join([spec.path, *asked]), "a catalog with such quotes, trades or bars")
    instruments = sorted({re.sub(r"-\d+-[A-Z]+-[A-Z]+-[A-Z]+$", "", folder.name) for _, folder in found})
    if len(instruments) > 1:
        raise TapeError("tape.instrument_id", spec.instrument_id, f"one of {', '.join(instruments)}")
    first = [folder for kind, folder in found if kind == found[0][0]]
    if len(first) > 1:
        raise TapeError("tape.bar_type", spec.bar_type, f"one of {', '.join(folder.name for folder in first)}")
    return found[0]


def _declared(spec: CatalogTape, data: Path, identifier: str) -> dict[str, Any]:
    """Return what the catalog says of the instrument; an empty dict if it says nothing."""
    name = identifier.replace("/", "")
    for folder in sorted(data.iterdir()):
        files = (
            [] if folder.name in {*FOLDER.values(), "instrument_status"} else sorted((folder / name).glob("*.parquet"))
        )
        for file in files:
            try:
                last: dict[str, Any] = pq.read_table(file).to_pylist()[-1]
            except (pa.ArrowException, OSError, IndexError):
                raise TapeError("tape.path", str(file), "a whole Parquet file") from None
            if "price_increment" not in last:
                continue
            if folder.name not in _TRADED or last.get("is_inverse") or float(last.get("multiplier") or 1) != 1.0:
                raise TapeError("tape.instrument_id", identifier, f"a pair or a share, not a {folder.name}")
            return last
    return {}


def _instrument(
    spec: CatalogTape, data: Path, meta: dict[str, str], values: dict[str, NDArray[np.float64]]
) -> InstrumentSpec:
    """Return the instrument as the catalog declares it; what it leaves open, as for any file."""
    identifier = meta["instrument_id"]
    declared = _declared(spec, data, identifier)
    digits = int(meta.get("price_precision", 9)), int(meta.get("size_precision", 9))
    if max(digits) > 9:
        raise TapeError("tape.path", spec.path, f"at most nine decimals; {identifier} has {max(digits)}")
    symbol, _, venue = identifier.rpartition(".")
    text = symbol
    if declared.get("base_currency") and declared.get("quote_currency"):
        text = f"{declared['base_currency']}/{declared['quote_currency']}"
    given = {"tick": spec.tick, "lot": spec.lot, "maker_fee": spec.maker_fee, "taker_fee": spec.taker_fee}
    base = make_instrument(text, next(iter(values.values())), None, **given)
    if base.asset == "equity" and digits[1]:
        raise TapeError("tape.instrument_id", identifier, "a pair or a whole-share equity")
    names = {
        "tick": "price_increment",
        "lot": "size_increment",
        "maker_fee": "maker_fee",
        "taker_fee": "taker_fee",
    }
    steps = {"tick": f"{10.0 ** -digits[0]:.{digits[0]}f}", "lot": f"{10.0 ** -digits[1]:.{digits[1]}f}"}
    fields = asdict(base) | {"id": identifier, "symbol": symbol, "venue": venue}
    for ours, theirs in names.items():
        if given[ours] is None:
            fields[ours] = declared.get(theirs) or steps.get(ours, fields[ours])
    fields["price_precision"] = digits[0] if spec.tick is None else base.price_precision
    fields["size_precision"] = digits[1] if spec.lot is None else base.size_precision
    assert identity(text)[4] == base.asset, "the class of an asset follows from its name"
    return InstrumentSpec(**fields)


def _halts(data: Path, identifier: str) -> Status:
    """Return the halts that a catalog declares; other status changes do not stop trading."""
    files = sorted((data / "instrument_status" / identifier.replace("/", "")).glob("*.parquet"))
    if not files:
        return Status.none()
    frame = pd.concat([read_frame(file) for file in files]).sort_values("ts_init", kind="stable")
    action = frame["action"].map(_ACTIONS)
    known = action.notna().to_numpy()
    stamps = frame["ts_init"].to_numpy().astype(np.int64)[known]
    return Status(stamps, action.to_numpy()[known].astype(np.int8))
