"""Append-only Parquet segments, written off the trading path and compacted into one file at the end.

A process may die at any moment, and a Parquet file that is still growing is unreadable then. So rows go out
in small finished files, acknowledged once they are durable: what was acknowledged survives ``kill -9``, the
rest is at most one ``.tmp`` that nobody reads. The bytes of the compacted file do not depend on the cuts.
"""

import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphatrade.reflection.parquet import plain_table, write_parquet, write_tables
from alphatrade.risk.errors import RunDirError

QUEUED_BATCHES = 64

_READ_ERRORS = (pa.ArrowException, OSError)

_NAME = re.compile(r"segment-(\d+)-(\d+)\.parquet")


class Segment(NamedTuple):
    """One finished segment: id of its first row, number of rows, file."""

    first: int
    rows: int
    path: Path


class SegmentWriter[Batch]:
    """
    Hand batches of rows to one writer thread that makes them durable, in order.

    Parameters
    ----------
    folder : Path
        Where the segments go; created if absent.
    build : callable
        Turns one batch (any object holding columns) into a table, on the writer thread.
    ack : callable, optional
        Called on the writer thread as ``ack(first_id, last_id, path)`` once those rows are durable.
    flush_rows, flush_ms : int
        Batches are gathered into a segment until it has `flush_rows` rows or the first one waited `flush_ms`.
    id_column : str or None
        Strictly increasing integer column that names the rows; None numbers them from 0 as they come.

    Raises
    ------
    RunDirError
        From the constructor, :meth:`put` and :meth:`close`, when anything could not be written, and again at
        every later call: what cannot be recorded must not be traded on.
    """

    def __init__(
        self,
        folder: Path,
        build: Callable[[Batch], pa.Table],
        ack: Callable[[int, int, Path], None] | None = None,
        flush_rows: int = 4096,
        flush_ms: int = 250,
        id_column: str | None = "decision",
    ) -> None:
        self.folder = Path(folder)
        self.flush_rows = flush_rows
        self.flush_ms = flush_ms
        self._build = build
        self._ack = ack
        self._id = id_column
        self._error: Exception | None = None
        self._closed = False
        self._queue: queue.Queue[Batch | None] = queue.Queue(QUEUED_BATCHES)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        if list_segments(self.folder):
            raise RunDirError(str(self.folder), "segments of another run", "a folder without segments")
        self._last = -1  # id of the last durable row
        self._thread = threading.Thread(target=self._run, name=f"segments:{self.folder.name}", daemon=True)
        self._thread.start()

    @property
    def last(self) -> int:
        """Id of the last row that is durable; -1: none is."""
        return self._last

    @property
    def failed(self) -> bool:
        """Whether a batch could not be written: nothing more will be."""
        return self._error is not None

    def check(self) -> None:
        """Raise `RunDirError` if any batch could not be written."""
        if self._error is not None:
            raise _unwritable(self.folder, self._error) from self._error

    def put(self, batch: Batch) -> None:
        """Give a batch away for good; waits only when the disk is far behind. Raises `RunDirError`."""
        self.check()
        if self._closed:
            raise RunDirError(str(self.folder), "a batch after close()", "batches before close() only")
        self._queue.put(batch)

    def close(self) -> None:
        """Write what is left and stop the thread. Raises `RunDirError` if any batch could not be written."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()
        self.check()

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the writer."""
        self.close()

    def _run(self) -> None:
        for batches in self._gather():
            # After a failure the queue is still emptied, so that nobody waits for a thread that has given up.
            if self._error is None:
                try:
                    self._write(pa.concat_tables(batches))
                except Exception as error:
                    self._error = error
            batches.clear()  # not until the next segment is due

    def _gather(self) -> Iterator[list[pa.Table]]:
        """Yield the tables of one segment at a time until the writer is closed."""
        tables: list[pa.Table] = []
        rows, due = 0, 0.0
        while True:
            try:
                batch = self._queue.get(timeout=max(0.0, due - time.monotonic()) if tables else None)
            except queue.Empty:
                yield tables
                tables, rows = [], 0
                continue
            if batch is not None and self._error is None:
                try:
                    table = self._build(batch)
                except Exception as error:
                    self._error = error
                    continue
                if table.num_rows:
                    due = due if tables else time.monotonic() + self.flush_ms / 1000
                    tables.append(table)
                    rows += table.num_rows
            if tables and (batch is None or rows >= self.flush_rows):
                yield tables
                tables, rows = [], 0
            if batch is None:
                return

    def _write(self, table: pa.Table) -> None:
        table = plain_table(table)
        first, last = _span(table, self._id, self.folder, self._last + 1)
        if first <= self._last:
            raise RunDirError(str(self.folder), f"{self._id} {first} after {self._last}", "increasing ids")
        path = self.folder / f"segment-{first:012d}-{table.num_rows}.parquet"
        write_parquet(table, path)
        self._last = last
        if self._ack is not None:
            self._ack(first, last, path)


def list_segments(folder: Path) -> list[Segment]:
    """Return the finished segments of a folder in the order of their ids; anything else in it is ignored."""
    found = []
    for path in Path(folder).glob("segment-*.parquet"):
        if match := _NAME.fullmatch(path.name):
            found.append(Segment(int(match[1]), int(match[2]), path))
    return sorted(found)


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
    tables = list(_checked(list_segments(folder), id_column, contiguous, None))
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
            raise _unwritable(out, error) from error
    rows: int = pq.read_metadata(out).num_rows
    if sum(segment.rows for segment in segments) > rows:
        raise RunDirError(str(out), f"{rows} rows", f"no more segments in {folder} than it holds")
    for segment in segments:
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
        begin, last = _span(table, name, segment.path, segment.first)
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


def _span(table: pa.Table, id_column: str | None, where: Path, start: int) -> tuple[int, int]:
    """Return the first and last id of a table: strictly increasing, or rows counted from `start`."""
    if id_column is None:
        return start, start + table.num_rows - 1
    if id_column not in table.schema.names:
        raise RunDirError(str(where), f"columns {table.schema.names}", f"a column {id_column!r}")
    ids = table[id_column].to_numpy()
    if ids.dtype.kind not in "iu" or not bool(np.all(ids[1:] > ids[:-1])):
        raise RunDirError(str(where), f"{id_column} not increasing", "strictly increasing integer ids")
    return int(ids[0]), int(ids[-1])


def _unwritable(path: Path, error: Exception) -> RunDirError:
    if isinstance(error, RunDirError):
        return RunDirError(error.field, error.value, error.expected)
    return RunDirError(str(path), f"{type(error).__name__}: {error}", "a writable folder with free space")


def _damaged(segment: Segment, error: Exception) -> RunDirError:
    return RunDirError(str(segment.path), f"{type(error).__name__}: {error}", "a whole Parquet segment")
