"""Tapes on disk, in the Parquet layout of Nautilus's ParquetDataCatalog, written and read without Nautilus.

A cache entry is a folder with ``data/<type>/<id>/<from>_<to>.parquet`` (what any Nautilus node can read) and
``tape.json`` (what the layout has no place for). It is written beside its final name and renamed, so that an entry is
either whole or absent; its content is checked against its hash whenever it is read.

Prices and quantities are signed 128-bit integers at 1e-16, little endian (NautilusTrader 1.231, high precision).
"""

import json
import os
import re
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from alphatrade.nodes.instruments import make_instrument
from alphatrade.nodes.tape import COLUMNS, InstrumentSpec, Ints, Status, Tape
from alphatrade.nodes.tape_read import Rows
from alphatrade.nodes.tape_spec import CatalogTape
from alphatrade.risk.errors import TapeError

FOLDER = {"quotes": "quote_tick", "trades": "trade_tick", "bars": "bar"}
# Our column to Nautilus's; the rest of the name is the same.
THEIRS = {"bid": "bid_price", "ask": "ask_price"}
_RAW = 10**7  # raw (1e-16) per nano
_MASK = 0xFFFFFFFF
_UNITS = ((86_400, "DAY"), (3_600, "HOUR"), (60, "MINUTE"), (1, "SECOND"))
_SECONDS = {
    "MILLISECOND": 0.001,
    "SECOND": 1.0,
    "MINUTE": 60.0,
    "HOUR": 3600.0,
    "DAY": 86_400.0,
    "WEEK": 604_800.0,
}


def bar_type(tape: Tape) -> str:
    """Return the Nautilus bar type of a tape of bars, ``BTC/USD.SIM-1-MINUTE-LAST-EXTERNAL``."""
    seconds = tape.bar_s
    for size, unit in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{tape.instrument.id}-{int(seconds // size)}-{unit}-LAST-EXTERNAL"
    return f"{tape.instrument.id}-{max(1, round(seconds * 1000))}-MILLISECOND-LAST-EXTERNAL"


def encode(nano: Ints) -> pa.Array:
    """Return nano integers (not negative) as an Arrow array of 16-byte raw values."""
    high, low = nano >> 32, nano & _MASK  # below 2**31 and 2**32: both products fit
    carry = low * _RAW
    high = high * _RAW + (carry >> 32)
    words = np.empty((len(nano), 2), dtype="<i8")
    words[:, 1] = high >> 32
    words[:, 0] = ((high & _MASK) << 32) | (carry & _MASK)
    return pa.Array.from_buffers(pa.binary(16), len(nano), [None, pa.py_buffer(words.tobytes())])


def decode(column: pa.ChunkedArray, where: str, name: str) -> Ints:
    """
    Return 16-byte raw values (8-byte ones at 1e-9, of a standard-precision build) as nano integers.

    Raises
    ------
    TapeError
        If a value is negative, absent, beyond nine decimals or beyond nine billion.
    """
    array = column.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    if (
        not pa.types.is_fixed_size_binary(array.type)
        or array.type.byte_width not in (8, 16)
        or array.null_count
    ):
        raise TapeError(
            f"{where}, column {name}", str(array.type), "Nautilus prices of 8 or 16 bytes, none absent"
        )
    width = array.type.byte_width
    words = np.frombuffer(array.buffers()[1], dtype="<u8")[array.offset * width // 8 :][
        : len(array) * width // 8
    ]
    if width == 8:
        return words.astype(np.int64)
    words = words.reshape(-1, 2)
    low, high = words[:, 0], words[:, 1]
    if len(high) and int(high.max()) >= _RAW >> 1:  # an undefined or negative value has the highest bits set
        raise TapeError(
            f"{where}, row {int(np.argmax(high)) + 1}, column {name}",
            "no price",
            "a price below nine billion",
        )
    # Schoolbook division of a 128-bit number by 10**7, in halves of 32 bits.
    first = (high << np.uint64(32)) | (low >> np.uint64(32))
    quotient, rest = first // np.uint64(_RAW), first % np.uint64(_RAW)
    second = (rest << np.uint64(32)) | (low & np.uint64(_MASK))
    if (second % np.uint64(_RAW)).any():
        raise TapeError(f"{where}, column {name}", "more than nine decimals", "at most nine")
    return ((quotient << np.uint64(32)) + second // np.uint64(_RAW)).astype(np.int64)


def store(tape: Tape, folder: Path) -> Tape:
    """
    Write a cache entry, whole or not at all, and return the tape as it will be read from there.

    Raises
    ------
    TapeError
        If the folder cannot be written; nothing is left behind.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise TapeError("tape cache", str(folder.parent), f"a writable folder ({error.strerror})") from None
    try:
        write_rows(tape, work)
        _write(work / "tape.json", json.dumps(_head(tape), indent=1).encode())
        _publish(work, folder)
    except OSError as error:
        raise TapeError(
            "tape cache", str(folder), f"a writable folder with space on it ({error.strerror})"
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    stored = load(folder)
    assert stored is not None and stored.tape_hash == tape.tape_hash, "what was written is what is read"
    return stored


def _publish(work: Path, folder: Path) -> None:
    """Give the finished entry its name; another process may have been faster, which is as good."""
    for path in (work, folder.parent):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    try:
        work.rename(folder)
    except OSError:
        if not (folder / "tape.json").is_file():
            raise


def load(folder: Path) -> Tape | None:
    """Return the tape of a cache entry, or None if it is absent; a damaged one is removed and counts as absent."""
    try:
        head = json.loads((folder / "tape.json").read_bytes())
        table = pq.read_table(folder / head["file"], memory_map=False)
        columns = {"ts": table["ts_init"].to_numpy().astype(np.int64)}
        for name in head["columns"][1:]:
            theirs = table[THEIRS.get(name, "aggressor_side" if name == "aggressor" else name)]
            columns[name] = (
                theirs.to_numpy().astype(np.int64)
                if name == "aggressor"
                else decode(theirs, str(folder), name)
            )
        tape = Tape(
            name=head["name"],
            kind=head["kind"],
            instrument=InstrumentSpec(**head["instrument"]),
            columns=columns,
            status=Status(np.array(head["status"][0], np.int64), np.array(head["status"][1], np.int8)),
            audit=head["audit"],
            half_spread_bps=head["half_spread_bps"],
            stale_after_s=head["stale_after_s"],
            bar_s=head["bar_s"],
            depth=head["depth"],
            catalog=str(folder),
        )
        if tape.tape_hash == head["tape_hash"]:
            return tape
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AssertionError, pa.ArrowException, TapeError):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    return None


def write_rows(tape: Tape, root: Path) -> Path:
    """Write the rows of a tape as a Nautilus catalog under `root`, fsynced, and return the Parquet file."""
    spec, columns = tape.instrument, tape.columns
    identifier = bar_type(tape) if tape.kind == "bars" else spec.id
    file = root / "data" / FOLDER[tape.kind] / identifier.replace("/", "") / _file_name(*tape.span)
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, pa.Array] = {}
    for name in COLUMNS[tape.kind][1:]:
        if name == "aggressor":
            aggressor = columns.get(name, np.zeros(len(tape), np.int64))
            arrays["aggressor_side"] = pa.array(aggressor.astype(np.uint8))
            arrays["trade_id"] = pa.array(np.arange(1, len(tape) + 1)).cast(pa.string())
        else:
            # A size that the source does not have must hold something here: the assumed depth, or nothing traded.
            absent = tape.depth if tape.kind == "quotes" else 0
            arrays[THEIRS.get(name, name)] = encode(columns.get(name, np.full(len(tape), absent, np.int64)))
    stamps = pa.array(columns["ts"].astype(np.uint64))
    arrays |= {"ts_event": stamps, "ts_init": stamps}
    meta = {
        "instrument_id": spec.id,
        "price_precision": str(spec.price_precision),
        "size_precision": str(spec.size_precision),
    }
    if tape.kind == "bars":
        meta |= {"bar_type": identifier}
    schema = pa.schema(
        [pa.field(name, array.type, nullable=False) for name, array in arrays.items()], metadata=meta
    )
    pq.write_table(pa.table(arrays, schema=schema), file, row_group_size=65_536)
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
    return file


def _head(tape: Tape) -> dict[str, Any]:
    """Return what the Parquet layout has no place for."""
    identifier = bar_type(tape) if tape.kind == "bars" else tape.instrument.id
    return {
        "tape_hash": tape.tape_hash,
        "name": tape.name,
        "kind": tape.kind,
        "file": f"data/{FOLDER[tape.kind]}/{identifier.replace('/', '')}/{_file_name(*tape.span)}",
        "columns": [name for name in COLUMNS[tape.kind] if name in tape.columns],
        "instrument": asdict(tape.instrument),
        "status": [tape.status.ts.tolist(), tape.status.action.tolist()],
        "audit": tape.audit,
        "half_spread_bps": tape.half_spread_bps,
        "stale_after_s": tape.stale_after_s,
        "bar_s": tape.bar_s,
        "depth": tape.depth,
    }


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _file_name(first: int, last: int) -> str:
    """Return Nautilus's name for a file of rows between two stamps."""
    parts = []
    for ts in (first, last):
        second = str(np.datetime64(ts // 10**9, "s")).replace(":", "-")
        parts.append(f"{second}-{ts % 10**9:09d}Z")
    return "_".join(parts) + ".parquet"


def read_foreign(spec: CatalogTape) -> tuple[Rows, InstrumentSpec, Status]:
    """
    Read one instrument of an existing Nautilus catalog.

    Raises
    ------
    TapeError
        If the catalog, the instrument or its rows are not there or not readable.
    """
    data = Path(spec.path).expanduser() / "data"
    if not data.is_dir():
        raise TapeError("tape.path", spec.path, "a Nautilus ParquetDataCatalog, a folder with data/ in it")
    kind, folder = _series(spec, data)
    files = sorted(folder.glob("*.parquet"))
    where = str(folder)
    try:
        tables = [pq.read_table(file) for file in files]
        table = pa.concat_tables(tables)
    except (pa.ArrowException, OSError, ValueError):
        raise TapeError("tape.path", where, "whole Parquet files with one schema") from None
    meta = {key.decode(): value.decode() for key, value in (tables[0].schema.metadata or {}).items()}
    if "instrument_id" not in meta and "bar_type" not in meta:
        raise TapeError("tape.path", where, "Nautilus data files; their metadata names no instrument")
    identifier = meta.get("instrument_id") or meta["bar_type"].split("-")[0]
    values: dict[str, NDArray[np.float64]] = {}
    for name in COLUMNS[kind][1:]:
        theirs = THEIRS.get(name, "aggressor_side" if name == "aggressor" else name)
        if theirs not in table.column_names:
            raise TapeError("tape.path", where, f"Nautilus {kind} with a column {theirs}")
        raw = table[theirs].to_numpy() if name == "aggressor" else decode(table[theirs], where, name) / 1e9
        values[name] = np.array(raw, dtype=np.float64)
    ids = np.asarray(table["trade_id"].to_pandas()) if kind == "trades" else None
    if kind == "trades" and not values["aggressor"].any():
        del values["aggressor"]
    ts = table["ts_init"].to_numpy().astype(np.int64)
    row = np.arange(1, len(ts) + 1, dtype=np.int64)
    rows = Rows(where, kind, ts, values, {}, row, "close", ids, 0)
    instrument = _instrument(spec, data, identifier, meta, values)
    return rows, instrument, _halts(data, identifier)


def _series(spec: CatalogTape, data: Path) -> tuple[str, Path]:
    """Return the kind and the folder of the rows that are meant."""
    found = []
    for kind, prefix in FOLDER.items():
        if spec.kind in (None, kind) and (data / prefix).is_dir():
            found += [
                (kind, folder)
                for folder in sorted((data / prefix).iterdir())
                if any(folder.glob("*.parquet"))
            ]
    if spec.instrument_id is not None:
        wanted = spec.instrument_id.replace("/", "")
        found = [(k, f) for k, f in found if f.name == wanted or f.name.startswith(f"{wanted}-")]
    if spec.bar_type is not None:
        found = [(k, f) for k, f in found if f.name == spec.bar_type.replace("/", "")]
    instruments = sorted({folder.name.split("-")[0] for _, folder in found})
    if not found:
        asked = [value for value in (spec.kind, spec.instrument_id, spec.bar_type) if value is not None]
        raise TapeError(
            "tape.path", " ".join([spec.path, *asked]), "a catalog that holds such quotes, trades or bars"
        )
    if len(instruments) > 1:
        raise TapeError("tape.instrument_id", spec.instrument_id, f"one of {', '.join(instruments)}")
    first = [item for item in found if item[0] == found[0][0]]
    if len(first) > 1:
        raise TapeError(
            "tape.bar_type", spec.bar_type, f"one of {', '.join(folder.name for _, folder in first)}"
        )
    return first[0]


def _instrument(
    spec: CatalogTape,
    data: Path,
    identifier: str,
    meta: dict[str, str],
    values: dict[str, NDArray[np.float64]],
) -> InstrumentSpec:
    """Return the instrument as the catalog declares it; what it does not, as for any file."""
    prices = next(iter(values.values()))
    given = {"tick": spec.tick, "lot": spec.lot, "maker_fee": spec.maker_fee, "taker_fee": spec.taker_fee}
    base = make_instrument(identifier, prices, values.get("size"), **given)
    declared: dict[str, Any] = {}
    for prefix in ("currency_pair", "equity"):
        for file in sorted((data / prefix / identifier.replace("/", "")).glob("*.parquet")):
            declared = pq.read_table(file).to_pylist()[-1]
    precision = (
        int(meta.get("price_precision", base.price_precision)),
        int(meta.get("size_precision", base.size_precision)),
    )
    if max(precision) > 9:
        raise TapeError("tape.path", spec.path, f"at most nine decimals, {identifier} has {max(precision)}")
    fill = {
        "tick": declared.get("price_increment") or f"{10.0 ** -precision[0]:.{precision[0]}f}",
        "lot": declared.get("size_increment")
        or ("1" if base.asset == "equity" else f"{10.0 ** -precision[1]:.{precision[1]}f}"),
        "maker_fee": declared.get("maker_fee") or base.maker_fee,
        "taker_fee": declared.get("taker_fee") or base.taker_fee,
    }
    fields = asdict(base) | {name: value for name, value in fill.items() if given[name] is None}
    fields["id"] = identifier
    if spec.tick is None:
        fields["price_precision"] = precision[0]
    if spec.lot is None:
        fields["size_precision"] = 0 if base.asset == "equity" else precision[1]
    return InstrumentSpec(**fields)


def _halts(data: Path, identifier: str) -> Status:
    """Return the halts that a catalog declares: any action that is not trading halts, as far as it says so."""
    frames = [
        pd.read_parquet(f)
        for f in sorted((data / "instrument_status" / identifier.replace("/", "")).glob("*.parquet"))
    ]
    if not frames:
        return Status.none()
    frame = pd.concat(frames).sort_values("ts_init", kind="stable")
    action = frame["action"].map(
        {"TRADING": 1, "HALT": 0, "PAUSE": 0, "SUSPEND": 0, "CLOSE": 0, "NOT_AVAILABLE_FOR_TRADING": 0}
    )
    known = action.notna().to_numpy()
    stamps = frame["ts_init"].to_numpy().astype(np.int64)[known]
    return Status(stamps, action.to_numpy()[known].astype(np.int8))


def parse_bar_seconds(identifier: str) -> float:
    """Return the bar length in seconds that a Nautilus bar type names; 0 where it is not one of time."""
    match = re.search(r"-(\d+)-([A-Z]+)-[A-Z]+-[A-Z]+$", identifier)
    return float(match[1]) * _SECONDS.get(match[2], 0.0) if match else 0.0
