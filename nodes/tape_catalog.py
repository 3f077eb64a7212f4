"""Tapes on disk, in the Parquet layout of Nautilus's ParquetDataCatalog, written and read without Nautilus.

A cache entry is a folder with ``data/<type>/<id>/<from>_<to>.parquet`` (what any Nautilus node can read) and
``tape.json`` (what the layout has no place for). It is written beside its final name and renamed, so that an
entry is either whole or absent; its content is checked against its hash whenever it is read.

Prices and quantities are signed 128-bit integers at 1e-16, little endian (NautilusTrader 1.231, high
precision).
"""

import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphatrade.nodes.tape import COLUMNS, SIZES, InstrumentSpec, Ints, Market, Status, Tape
from alphatrade.risk.errors import TapeError

FOLDER = {"quotes": "quote_tick", "trades": "trade_tick", "bars": "bar"}
# Our column to Nautilus's, where the two differ.
THEIRS = {"bid": "bid_price", "ask": "ask_price", "aggressor": "aggressor_side"}
_RAW = 10**7  # raw (1e-16) per nano
_MASK = 0xFFFFFFFF
# Bar units that Nautilus has names for: seconds, name, and the number that a step must divide, without being
# it.
_UNITS = ((86_400.0, "DAY", 0), (3600.0, "HOUR", 24), (60.0, "MINUTE", 60), (1.0, "SECOND", 60))


def bar_type(tape: Market) -> str:
    """
    Return the Nautilus bar type of a market of bars, ``BTC/USD.SIM-1-MINUTE-LAST-EXTERNAL``.

    Lengths without a name (90 minutes) are called ``1-TICK``; the market knows how long they are.
    """
    name = "1-TICK"
    for size, unit, parent in _UNITS:
        steps = tape.bar_s / size
        if steps >= 1.0 and steps == int(steps):
            if not parent or (steps < parent and parent % int(steps) == 0):
                name = f"{int(steps)}-{unit}"
            break
    return f"{tape.instrument.id}-{name}-LAST-EXTERNAL"


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
    field = f"{where}, column {name}"
    width = array.type.byte_width if pa.types.is_fixed_size_binary(array.type) else 0
    if width not in (8, 16) or array.null_count:
        raise TapeError(field, str(array.type), "Nautilus prices of 8 or 16 bytes, none absent")
    words = np.frombuffer(array.buffers()[1], dtype="<u8")
    words = words[array.offset * width // 8 :][: len(array) * width // 8]
    if width == 8:
        return words.astype(np.int64)
    low, high = words[0::2], words[1::2]
    if len(high) and int(high.max()) >= _RAW >> 1:  # undefined and negative values have the highest bits set
        raise TapeError(f"{field}, row {int(np.argmax(high)) + 1}", "no price", "a price below nine billion")
    # Schoolbook division of a 128-bit number by 10**7, in halves of 32 bits.
    first = (high << np.uint64(32)) | (low >> np.uint64(32))
    quotient, rest = first // np.uint64(_RAW), first % np.uint64(_RAW)
    second = (rest << np.uint64(32)) | (low & np.uint64(_MASK))
    if (second % np.uint64(_RAW)).any():
        raise TapeError(field, "more than nine decimals", "at most nine")
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
        expected = f"a writable folder with space on it ({error.strerror or error})"
        raise TapeError("tape cache", str(folder), expected) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    stored = load(folder) or tape
    assert stored.tape_hash == tape.tape_hash, "what was written is what is read"
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
    """
    Return the tape of a cache entry, or None if it is absent; a damaged one is removed and counts as absent.

    Raises
    ------
    TapeError
        If the entry is there and may not be read.
    """
    try:
        head = (folder / "tape.json").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    except OSError as error:
        raise TapeError("tape cache", str(folder), f"a readable folder ({error.strerror})") from None
    try:
        tape = _whole(json.loads(head), folder)
    except (OSError, ValueError, LookupError, TypeError, AssertionError, pa.ArrowException, TapeError):
        tape = None
    if tape is None:
        shutil.rmtree(folder, ignore_errors=True)
    return tape


def _whole(head: dict[str, Any], folder: Path) -> Tape | None:
    """Return the tape of an entry, None if its content is not what its hash says."""
    table = pq.read_table(folder / head["file"])
    columns = {"ts": table["ts_init"].to_numpy().astype(np.int64)}
    for name in head["columns"][1:]:
        theirs = table[THEIRS.get(name, name)]
        whole = name == "aggressor"
        columns[name] = theirs.to_numpy().astype(np.int64) if whole else decode(theirs, str(folder), name)
    facts = ("name", "kind", "audit", "half_spread_bps", "stale_after_s", "bar_s", "depth")
    tape = Tape(
        instrument=InstrumentSpec(**head["instrument"]),
        columns=columns,
        status=Status(np.array(head["status"][0], np.int64), np.array(head["status"][1], np.int8)),
        catalog=str(folder),
        **{name: head[name] for name in facts},
    )
    return tape if tape.tape_hash == head["tape_hash"] else None


def write_rows(tape: Tape, root: Path) -> Path:
    """Write the rows of a tape as a Nautilus catalog under `root`, fsynced, and return the Parquet file."""
    spec, columns = tape.instrument, tape.columns
    file = root / _rows_file(tape)
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, pa.Array] = {}
    for name in COLUMNS[tape.kind][1:]:
        if name == "aggressor":
            aggressor = columns.get(name, np.zeros(len(tape), np.int64))
            arrays[THEIRS[name]] = pa.array(aggressor.astype(np.uint8))
            arrays["trade_id"] = pa.array(np.arange(1, len(tape) + 1)).cast(pa.string())
        else:
            arrays[THEIRS.get(name, name)] = encode(filled(tape, name))
    stamps = pa.array(columns["ts"].astype(np.uint64))
    arrays |= {"ts_event": stamps, "ts_init": stamps}
    meta = {"instrument_id": spec.id}
    meta |= {"price_precision": str(spec.price_precision), "size_precision": str(spec.size_precision)}
    if tape.kind == "bars":
        meta |= {"bar_type": bar_type(tape)}
    fields = [pa.field(name, array.type, nullable=False) for name, array in arrays.items()]
    table = pa.table(arrays, schema=pa.schema(fields, metadata=meta))
    pq.write_table(table, file, row_group_size=65_536)
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
    return file


def filled(tape: Tape, name: str) -> Ints:
    """Return a column, or what the engine is to assume where there is none: depth, at each price of a bar."""
    if name in tape.columns:
        return tape.columns[name]
    assert name in SIZES[tape.kind], "only sizes may be absent"
    return np.full(len(tape), tape.depth * (4 if tape.kind == "bars" else 1), np.int64)


def _rows_file(tape: Tape) -> str:
    identifier = bar_type(tape) if tape.kind == "bars" else tape.instrument.id
    return f"data/{FOLDER[tape.kind]}/{identifier.replace('/', '')}/{_file_name(*tape.span)}"


def _head(tape: Tape) -> dict[str, Any]:
    """Return what the Parquet layout has no place for."""
    return {
        "tape_hash": tape.tape_hash,
        "name": tape.name,
        "kind": tape.kind,
        "file": _rows_file(tape),
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
