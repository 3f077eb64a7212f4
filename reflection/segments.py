"""Append-only Parquet segments: joined as they come, read at any moment, compacted into one file at the end.

A process may die at any moment, and a Parquet file that is still growing is unreadable then. So rows go out
in small finished files, acknowledged once they are durable: what was acknowledged survives ``kill -9``, the
rest is at most one ``.tmp`` that nobody reads. The bytes of the compacted file do not depend on the cuts.

A slow market leaves thousands of segments of a few rows a day, so their writer joins them. The joined one appears under
the name of its first part and its own number of rows, and only then the parts go: while both are there, as after a
crash, whoever lists the folder leaves out what lies within another segment.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphatrade.reflection.parquet import plain_table, write_tables
from alphatrade.risk.errors import RunDirError

_READ_ERRORS = (pa.ArrowException, OSError)

_NAME = re.compile(r"segment-(\d+)-(\d+)\.parquet")


class Segment(NamedTuple):
    """One finished segment: id of its first row, number of rows, file."""

    first: int
    rows: int
    path: Path


def join(parts: list[Segment], id_column: str | None) -> None:
    """
    Replace segments that follow each other by one; each step leaves every row readable, and once.

    Raises
    ------
    RunDirError
        If one of them is damaged, or there is a gap between them.
    OSError
        If the new one cannot be written; they are all there then.
    """
    first, rows = parts[0].first, sum(part.rows for part in parts)
    schema = _open(parts[0]).schema_arrow
    write_tables(_checked(parts, id_column, True, first), schema, path_of(parts[0].path.parent, first, rows))
    for part in parts:
        part.path.unlink()


def list_segments(folder: Path) -> list[Segment]:
    """
    Return the finished segments of a folder in the order of their ids; anything else in it is ignored.

    What lies within another one was joined into it and could not be removed in time, or is being removed.
    """
    found = _finished(folder)
    while (again := _finished(folder)) != found:  # a look while files come and go may miss both a part and the whole
        found = again
    kept: list[Segment] = []
    for segment in sorted(found, key=lambda one: (one.first, -one.rows)):
        if not kept or segment.first + segment.rows > kept[-1].first + kept[-1].rows:
            kept.append(segment)
    return kept


def _finished(folder: Path) -> list[Segment]:
    found = []
    for path in Path(folder).glob("segment-*.parquet"):
        if match := _NAME.fullmatch(path.name):
            found.append(Segment(int(match[1]), int(match[2]), path))
    return sorted(found)


def path_of(folder: Path, first: int, rows: int) -> Path:
    """Return where a finished segment lies."""
    return folder / f"segment-{first:012d}-{rows}.parquet"


def read_segments(
    folder: Path, id_column: str | None = "decision", contiguous: bool = True
) -> pa.Table | None:
    """
    Return every acknowledged row of a folder, also of a run that was killed; None if there is no segment.

    Raises
    ------
    RunDirError
        Naming the first segment that is damaged or does not follow the one before it.
    """
    while True:
        segments = list_segments(folder)
        try:
            tables = list(_checked(segments, id_column, contiguous, None))
        except RunDirError:
            if all(segment.path.exists() for segment in segments):
                raise
            continue  # a writer has joined some of them, or compacted all, while they were read
        return pa.concat_tables(tables) if tables else None


def compact(
    folder: Path,
    out: Path,
    id_column: str | None = "decision",
    contiguous: bool = True,
    first: int | None = None,
    schema: pa.Schema | None = None,
) -> int:
    """
    Join the segments of a folder into one file, then remove them.

    Parameters
    ----------
    folder, out : Path
        Segments to read, file to write. If `out` is there already, a former compaction was interrupted while
        it removed segments: it is finished.
    id_column : str or None
        As it was given to the writer.
    contiguous : bool
        Whether ids must grow by exactly one; otherwise they must only grow.
    first : int, optional
        The id that the first row must have.
    schema : pyarrow.Schema, optional
        Columns of the empty file that is written when there is no segment at all.

    Returns
    -------
    int
        Number of rows in `out`.

    Raises
    ------
    RunDirError
        If a segment is damaged, ids have a gap or an overlap, or there is nothing to write or no way to.
    """
    segments = list_segments(folder)
    if not out.exists():
        if not segments and schema is None:
            raise RunDirError(str(folder), "no segment", "at least one finished segment")
        columns = _open(segments[0]).schema_arrow if segments else schema
        try:
            write_tables(_checked(segments, id_column, contiguous, first), columns, out)
        except OSError as error:
            raise unwritable(out, error) from error
    rows: int = pq.read_metadata(out).num_rows
    if sum(segment.rows for segment in segments) > rows:
        raise RunDirError(str(out), f"{rows} rows", f"no more segments in {folder} than it holds")
    for segment in _finished(folder):  # also those within another one
        segment.path.unlink()
    with suppress(OSError):  # a stray .tmp or a file of someone else keeps the folder
        folder.rmdir()
    return rows


def _checked(
    segments: list[Segment], name: str | None, contiguous: bool, first: int | None
) -> Iterator[pa.Table]:
    """Yield the table of each segment, refusing damage, gaps and overlaps by the name of the file."""
    expected, schema = first, None
    for segment in segments:
        try:
            table = plain_table(_open(segment).read())
        except _READ_ERRORS as error:
            raise _damaged(segment, error) from error
        schema = schema or table.schema
        if not table.schema.equals(schema):
            raise RunDirError(str(segment.path), "other columns", "the columns of the segments before it")
        begin, last = span(table, name, segment.path, segment.first)
        wanted = segment.first if expected is None else expected
        gap = begin != wanted or last - begin + 1 != segment.rows if contiguous else begin < wanted
        if gap or begin != segment.first:
            what = f"{segment.rows} rows from {wanted} on, no gap and no overlap"
            raise RunDirError(str(segment.path), f"{name or 'row'} {begin} to {last}", what)
        expected = last + 1
        yield table


def _open(segment: Segment) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(segment.path, page_checksum_verification=True)
    except _READ_ERRORS as error:
        raise _damaged(segment, error) from error
    if file.metadata.num_rows != segment.rows:
        raise RunDirError(str(segment.path), f"{file.metadata.num_rows} rows", f"{segment.rows} rows")
    return file


def span(table: pa.Table, id_column: str | None, where: Path, start: int) -> tuple[int, int]:
    """
    Return the first and last id of a table: strictly increasing, or rows counted from `start`.

    Raises
    ------
    RunDirError
        Naming `where`, if there is no such column or its ids do not increase.
    """
    if id_column is None:
        return start, start + table.num_rows - 1
    if id_column not in table.schema.names:
        raise RunDirError(str(where), f"columns {table.schema.names}", f"a column {id_column!r}")
    ids = table[id_column].to_numpy()
    if ids.dtype.kind not in "iu" or not bool(np.all(ids[1:] > ids[:-1])):
        raise RunDirError(str(where), f"{id_column} not increasing", "strictly increasing integer ids")
    return int(ids[0]), int(ids[-1])


def unwritable(path: Path, error: Exception) -> RunDirError:
    """Return the one-line error for what could not be written."""
    if isinstance(error, RunDirError):
        return RunDirError(error.field, error.value, error.expected)
    return RunDirError(str(path), f"{type(error).__name__}: {error}", "a writable folder with free space")


def _damaged(segment: Segment, error: Exception) -> RunDirError:
    return RunDirError(str(segment.path), f"{type(error).__name__}: {error}", "a whole Parquet segment")
