"""Reading files: Parquet or CSV in, named columns out (float64 values, int64 stamps). Nothing is judged here but the form.

What the values are worth is the business of :mod:`alphatrade.nodes.tape_audit`.
"""

import io
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from alphatrade.nodes.tape_names import Resolved, resolve
from alphatrade.nodes.tape_spec import FileTape
from alphatrade.nodes.tape_time import to_ns
from alphatrade.risk.errors import TapeError

Floats = NDArray[np.float64]
DATA_FILE = re.compile(r"\.(parquet|pq|csv|txt|tsv)(\.(gz|bz2|zst|zip))?$|\.zip$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rows:
    """
    What a file says, by our names, before any judgement.

    Attributes
    ----------
    where : str
        The file, for messages.
    kind : str
        quotes, trades, bars or bidask_bars.
    ts : int64 array (n,)
        Stamps as in the file, UTC ns; `MISSING_TS` where there is none.
    values : dict of str to float64 arrays (n,)
        Columns by our names; NaN where a cell is empty. ``aggressor`` holds 0, 1, 2.
    names : dict of str to str
        Our name to the file's, for messages.
    row : int64 array (n,)
        Data row in the file, the first is 1, for messages.
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


@contextmanager
def progress(total: int, label: str, unit: str, shown: bool) -> Iterator["tqdm[Any]"]:
    """Show a progress bar on a terminal; stay silent anywhere else."""
    quiet = not (shown and sys.stderr.isatty())
    with tqdm(total=total, desc=label, unit=unit, unit_scale=unit == "B", disable=quiet, leave=False) as bar:
        yield bar


def data_files(path: str) -> list[Path]:
    """
    Return the files behind `tape.path`: the file itself, or those of a folder in name order.

    Raises
    ------
    TapeError
        If nothing readable is there.
    """
    root = Path(path).expanduser()
    if not root.exists():
        raise TapeError("tape.path", path, "an existing file or folder")
    files = (
        [root]
        if root.is_file()
        else sorted(p for p in root.iterdir() if p.is_file() and DATA_FILE.search(p.name))
    )
    if not files:
        raise TapeError("tape.path", path, "a folder with Parquet or CSV files")
    for file in files:
        try:
            with file.open("rb") as stream:
                if not stream.read(1):
                    raise TapeError("tape.path", str(file), "a file that is not empty")
        except OSError as error:
            raise TapeError("tape.path", str(file), f"a readable file ({error.strerror})") from None
    return files


def read_rows(spec: FileTape, shown: bool = True) -> Rows:
    """
    Read the file or folder of `spec`.

    Raises
    ------
    TapeError
        If a file is missing, empty, truncated or of another format, a column is missing, or a cell is not a number.
    """
    files = data_files(spec.path)
    tables = [_read(file, spec, shown) for file in files]
    table = tables[0]
    if len(tables) > 1:
        try:
            table = pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowInvalid:
            raise TapeError("tape.path", spec.path, "files with the same columns") from None
    where = str(files[0]) if len(files) == 1 else spec.path
    if table.num_rows == 0:
        raise TapeError("tape.path", where, "a file with rows, not only a header")
    names = resolve(spec, table.column_names, where)
    return _rows(table, spec, names, where)


def _rows(table: pa.Table, spec: FileTape, names: Resolved, where: str) -> Rows:
    """Filter the rows and turn the columns that are needed into numbers."""
    kept, filtered = _filter(table, names.filter, where)
    row = np.arange(1, table.num_rows + 1, dtype=np.int64)
    if kept is not None:
        table, row = table.filter(pa.array(kept)), row[kept]
        if table.num_rows == 0:
            raise TapeError("tape.filter", names.filter, f"values that leave rows in {where}")
    ts = to_ns([table[name] for name in names.ts], spec.ts_unit, spec.tz, names.ts, where, row)
    values: dict[str, Floats] = {}
    for ours, theirs in names.columns.items():
        if ours == "aggressor":
            values[ours] = _aggressor(table[theirs], theirs, where)
        elif ours != "trade_id":
            values[ours] = _numbers(table[theirs], theirs, where, row)
    ids = names.columns.get("trade_id")
    trade_id = None if ids is None else np.asarray(table[ids].to_pandas())
    return Rows(
        where,
        names.kind,
        ts,
        values,
        {**names.columns, "ts": "+".join(names.ts)},
        row,
        names.stamp,
        trade_id,
        filtered,
    )


def _read(file: Path, spec: FileTape, shown: bool) -> pa.Table:
    """Read one file whole, with a bar over its bytes or row groups."""
    try:
        with file.open("rb") as stream:
            parquet = stream.read(4) == b"PAR1"
        if parquet:
            return _read_parquet(file, shown)
        if re.search(r"\.(parquet|pq)$", file.name, re.IGNORECASE):
            raise TapeError(
                "tape.path", str(file), "a Parquet file; this one is damaged or of another format"
            )
        return _read_csv(file, shown)
    except (pa.ArrowException, EOFError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        reason = re.sub(r"\s+", " ", str(error))[:160]
        raise TapeError(
            "tape.path", str(file), f"a whole Parquet or CSV file; it is truncated or damaged ({reason})"
        ) from None
    except OSError as error:
        reason = re.sub(r"\s+", " ", str(error))[:160]
        raise TapeError("tape.path", str(file), f"a readable, whole file ({reason})") from None


def _read_parquet(file: Path, shown: bool) -> pa.Table:
    source = pq.ParquetFile(file, page_checksum_verification=True)
    groups = []
    with progress(source.num_row_groups, f"reading {file.name}", "groups", shown) as bar:
        for index in range(source.num_row_groups):
            groups.append(source.read_row_group(index))
            bar.update()
    return pa.concat_tables(groups) if groups else source.read()


def _read_csv(file: Path, shown: bool) -> pa.Table:
    with progress(file.stat().st_size, f"reading {file.name}", "B", shown) as bar, file.open("rb") as raw:
        counted = _Counted(raw, bar)
        stream = _unpacked(counted, file)
        head = stream.read(65_536)
        skip, delimiter, header, width = _sniff(head, file)
        rest = _Joined(head, stream)
        names = None if header else [str(i) for i in range(width)]
        table = pacsv.read_csv(
            pa.PythonFile(rest, mode="r"),
            read_options=pacsv.ReadOptions(skip_rows=skip, column_names=names),
            parse_options=pacsv.ParseOptions(delimiter=delimiter),
            convert_options=pacsv.ConvertOptions(strings_can_be_null=True),
        )
    return table.rename_columns([name.strip().lstrip("\ufeff") for name in table.column_names])


class _Counted(io.RawIOBase):
    """A binary file that tells a progress bar what has been read."""

    def __init__(self, raw: Any, bar: "tqdm[Any]") -> None:
        self._raw, self._bar = raw, bar

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._raw.seek(offset, whence))

    def tell(self) -> int:
        return int(self._raw.tell())

    def readinto(self, buffer: Any) -> int:
        count = int(self._raw.readinto(buffer))
        self._bar.update(count)
        return count


class _Joined(io.RawIOBase):
    """The sniffed head of a stream and the rest of it, as one stream."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._head:
            out, self._head = (
                self._head[:size] if size >= 0 else self._head,
                self._head[size:] if size >= 0 else b"",
            )
            return out
        return bytes(self._rest.read(size) or b"")


def _unpacked(raw: io.RawIOBase, file: Path) -> Any:
    """Return the decompressed stream, by the first bytes rather than by the name."""
    buffered = io.BufferedReader(raw)
    magic = buffered.peek(4)[:4]
    for start, codec in ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\x28\xb5\x2f\xfd", "zstd")):
        if magic.startswith(start):
            return pa.CompressedInputStream(pa.PythonFile(buffered, mode="r"), codec)
    if magic.startswith(b"PK"):
        archive = zipfile.ZipFile(buffered)
        inside = [
            name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")
        ]
        if len(inside) != 1:
            raise TapeError("tape.path", str(file), f"a zip with one file in it, not {len(inside)}")
        return archive.open(inside[0])
    return buffered


def _sniff(head: bytes, file: Path) -> tuple[int, str, bool, int]:
    """
    Return (lines to skip, delimiter, has header, columns) from the first bytes of a text file.

    Banner lines (fewer fields than the data) are skipped; a first line of numbers means that there is no header.
    """
    if b"\x00" in head:
        raise TapeError("tape.path", str(file), "Parquet or CSV; this is neither")
    lines = head.decode("utf-8-sig", errors="replace").splitlines()[:50]
    if not any(line.strip() for line in lines):
        raise TapeError("tape.path", str(file), "a file that is not empty")
    probe = lines[min(len(lines) - 1, 5)]
    delimiter = max(",;\t|", key=lambda d: (probe.count(d), -",;\t|".index(d)))
    width = max(line.count(delimiter) for line in lines[:20]) + 1
    if width < 2:
        raise TapeError("tape.path", str(file), "CSV with columns separated by comma, semicolon, tab or |")
    skip = next((i for i, line in enumerate(lines) if line.count(delimiter) + 1 == width), 0)
    fields = [field.strip().strip('"') for field in lines[skip].split(delimiter)]
    numeric = sum(re.fullmatch(r"[-+]?\d[\d.:eE+\- TZ/]*", field) is not None for field in fields)
    return skip, delimiter, numeric * 2 < len(fields), width


def _numbers(column: pa.ChunkedArray, name: str, where: str, row: NDArray[np.int64]) -> Floats:
    """Return a column as float64; an empty cell is NaN, a cell that is no number is an error with its row."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
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


def _aggressor(column: pa.ChunkedArray, name: str, where: str) -> Floats:
    """Return 1 where the buyer was the aggressor, 2 the seller, 0 unknown."""
    seller_is_true = "maker" in name.lower()  # Binance: the buyer was the maker, so the seller took
    text = column.to_pandas().astype(str).str.strip().str.lower()
    code = text.map(_SIDES)
    flag = text.isin(["true", "false"])
    if flag.any():
        code = code.mask(flag, (text == "true").map({seller_is_true: 2, not seller_is_true: 1}))
    if code.isna().any():
        row = int(np.flatnonzero(code.isna().to_numpy())[0]) + 1
        raise TapeError(f"{where}, row {row}, column {name}", text.iloc[row - 1], "buy or sell")
    return np.array(code, dtype=np.float64)


_SIDES = {
    **dict.fromkeys(("buy", "b", "bid", "buyer", "1", "1.0", "+1"), 1),
    **dict.fromkeys(("sell", "s", "ask", "seller", "-1", "-1.0", "2", "2.0"), 2),
    **dict.fromkeys(("", "none", "nan", "0", "0.0", "no_aggressor", "unknown", "u", "n"), 0),
}


def _filter(table: pa.Table, rules: dict[str, list[Any]], where: str) -> tuple[NDArray[np.bool_] | None, int]:
    """Return the mask of rows that every rule keeps (None: all) and how many are left out; values compare as text."""
    if not rules:
        return None, 0
    kept = np.ones(table.num_rows, dtype=np.bool_)
    for name, allowed in rules.items():
        if name not in table.column_names:
            raise TapeError("tape.filter", name, f"a column of {where}: {', '.join(table.column_names)}")
        text = pc.cast(table[name], pa.string())
        words = [str(value).lower() if isinstance(value, bool) else str(value) for value in allowed]
        kept &= np.array(pc.is_in(text, pa.array(words)).to_numpy(), dtype=np.bool_)
    return kept, int(len(kept) - kept.sum())
