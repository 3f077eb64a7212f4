"""Files into Arrow tables: Parquet, and CSV in all the wrappings it comes in; only the columns asked for."""

import csv
import io
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from tqdm import tqdm

from alphatrade.risk.errors import TapeError

DATA_FILE = re.compile(r"\.(parquet|pq|csv|txt|tsv)(\.(gz|bz2|zst|zip))?$|\.zip$", re.IGNORECASE)
_HEAD = 65_536  # bytes that are looked at to find out what a text file is like
_BLOCK = 1 << 20
_NUMBER = re.compile(r"[-+]?\d[\d.:eE+\- TZ/]*")  # or a time

# From the columns of a file to those that are needed, in the order in which they are there.
Choose = Callable[[list[str], str], list[str]]


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
    if path == "???":  # what Hydra leaves where nothing was given
        raise TapeError("tape.path", None, "the file or folder to read")
    root = Path(path).expanduser()
    try:
        if not root.exists():
            raise TapeError("tape.path", path, "an existing file or folder")
        files = [root]
        if root.is_dir():
            files = sorted(p for p in root.iterdir() if p.is_file() and DATA_FILE.search(p.name))
        if not files:
            raise TapeError("tape.path", path, "a folder with Parquet or CSV files")
        for file in files:
            with file.open("rb") as stream:
                if not stream.read(1):
                    raise TapeError("tape.path", str(file), "a file that is not empty")
    except OSError as error:
        raise TapeError("tape.path", path, f"a readable file or folder ({error.strerror})") from None
    return files


def read_table(file: Path, choose: Choose, shown: bool) -> pa.Table:
    """
    Read the chosen columns of one file, with a progress bar over its bytes or row groups.

    Raises
    ------
    TapeError
        If the file is truncated, damaged or of another format.
    """
    try:
        with file.open("rb") as stream:
            parquet = stream.read(4) == b"PAR1"
        if parquet:
            return _read_parquet(file, choose, shown)
        if re.search(r"\.(parquet|pq)$", file.name, re.IGNORECASE):
            raise TapeError("tape.path", str(file), "a Parquet file; it is damaged or of another format")
        return _read_csv(file, choose, shown)
    except (pa.ArrowException, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = re.sub(r"\s+", " ", str(error))[:160]
        expected = f"a whole Parquet or CSV file; it is truncated or damaged ({reason})"
        raise TapeError("tape.path", str(file), expected) from None


def _read_parquet(file: Path, choose: Choose, shown: bool) -> pa.Table:
    source = pq.ParquetFile(file, page_checksum_verification=True)
    wanted = choose(source.schema_arrow.names, str(file))
    groups = []
    with progress(source.num_row_groups, f"reading {file.name}", "groups", shown) as bar:
        for index in range(source.num_row_groups):
            groups.append(source.read_row_group(index, columns=wanted))
            bar.update()
    return pa.concat_tables(groups) if groups else source.read(columns=wanted)


def _read_csv(file: Path, choose: Choose, shown: bool) -> pa.Table:
    # The text is read here and not by Arrow: its reading thread would outlive an error, call Python code while the
    # interpreter shuts down, and abort the process.
    text = pa.BufferOutputStream()
    with progress(file.stat().st_size, f"reading {file.name}", "B", shown) as bar, file.open("rb") as raw:
        stream = _unpacked(_Counted(raw, bar), file)
        head = b""
        while len(head) < _HEAD and (block := stream.read(_HEAD - len(head))):
            head += block
        form = _sniff(head, file)
        wanted = choose(form.names, str(file))
        text.write(head)
        while block := stream.read(_BLOCK):
            text.write(block)
    return pacsv.read_csv(
        pa.BufferReader(text.getvalue()),
        read_options=pacsv.ReadOptions(skip_rows=form.skip, column_names=form.names),
        parse_options=pacsv.ParseOptions(delimiter=form.delimiter),
        convert_options=pacsv.ConvertOptions(include_columns=wanted, strings_can_be_null=True),
    )


class _Counted(io.RawIOBase):
    """A binary file that tells a progress bar what has been read."""

    def __init__(self, raw: Any, bar: "tqdm[Any]") -> None:
        self._raw, self._bar = raw, bar

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be sought, as zip archives need."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position."""
        return int(self._raw.seek(offset, whence))

    def tell(self) -> int:
        """Return the position."""
        return int(self._raw.tell())

    def readinto(self, buffer: Any) -> int:
        """Read and count."""
        count = int(self._raw.readinto(buffer))
        self._bar.update(count)
        return count


def _unpacked(raw: io.RawIOBase, file: Path) -> Any:
    """Return the decompressed stream, by the first bytes rather than by the name."""
    buffered = io.BufferedReader(raw)
    magic = buffered.peek(4)[:4]
    for start, codec in ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\x28\xb5\x2f\xfd", "zstd")):
        if magic.startswith(start):
            return pa.CompressedInputStream(pa.PythonFile(buffered, mode="r"), codec)
    if magic.startswith(b"PK"):
        archive = zipfile.ZipFile(buffered)
        inside = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX")]
        if len(inside) != 1:
            raise TapeError("tape.path", str(file), f"a zip with one file in it, not {len(inside)}")
        return archive.open(inside[0])
    return buffered


class _Form(NamedTuple):
    """What a text file is like: lines before the data, delimiter, column names (0, 1, 2 without a header)."""

    skip: int
    delimiter: str
    names: list[str]


def _sniff(head: bytes, file: Path) -> _Form:
    """Look at the head: banner lines (fewer fields) are skipped; a first line of numbers is no header."""
    if b"\x00" in head:
        raise TapeError("tape.path", str(file), "Parquet or CSV; this is neither")
    lines = head.decode("utf-8-sig", errors="replace").splitlines()[:50]
    if not any(line.strip() for line in lines):
        raise TapeError("tape.path", str(file), "a file that is not empty")
    probe = lines[min(len(lines) - 1, 5)] or lines[0]
    delimiter = max(",;\t|", key=lambda d: (probe.count(d), -",;\t|".index(d)))
    parsed = list(csv.reader(lines, delimiter=delimiter))
    width = max(len(fields) for fields in parsed[:20])
    if width < 2:
        raise TapeError("tape.path", str(file), "CSV with columns separated by comma, semicolon, tab or |")
    skip = next(i for i, fields in enumerate(parsed) if len(fields) == width)
    fields = [field.strip() for field in parsed[skip]]
    if 2 * sum(_NUMBER.fullmatch(field) is not None for field in fields) >= len(fields):
        return _Form(skip, delimiter, [str(i) for i in range(width)])
    if len(set(fields)) < width:
        raise TapeError("tape.path", str(file), f"a header without repeated names: {', '.join(fields)}")
    return _Form(skip + 1, delimiter, fields)
