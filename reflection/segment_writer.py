"""The writer of segments: one thread, off the trading path, that makes rows durable and keeps their files few."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pyarrow as pa

from alphatrade.reflection.parquet import ROW_GROUP, plain_table, write_parquet
from alphatrade.reflection.segments import Segment, join, list_segments, path_of, span, unwritable
from alphatrade.risk.errors import RunDirError

QUEUED_BATCHES = 64
JOINED = 256  # small segments become one: at one each five seconds a file in 21 minutes


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
            raise unwritable(self.folder, error) from error
        if list_segments(self.folder):
            raise RunDirError(str(self.folder), "segments of another run", "a folder without segments")
        self._last = -1  # id of the last durable row
        self._small: list[Segment] = []  # the latest ones, each of fewer rows than `flush_rows`
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
            raise unwritable(self.folder, self._error) from self._error

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
        first, last = span(table, self._id, self.folder, self._last + 1)
        if first <= self._last:
            raise RunDirError(str(self.folder), f"{self._id} {first} after {self._last}", "increasing ids")
        path = path_of(self.folder, first, table.num_rows)
        write_parquet(table, path)
        self._last = last
        if self._ack is not None:
            self._ack(first, last, path)
        self._joined(Segment(first, table.num_rows, path))

    def _joined(self, segment: Segment) -> None:
        """Join the small segments that follow each other when there are many, or many rows."""
        small = self._small
        if segment.rows >= self.flush_rows:
            small.clear()
            return
        small.append(segment)
        if len(small) >= JOINED or (len(small) > 1 and sum(part.rows for part in small) >= ROW_GROUP):
            # It only saves files: ids with holes stay apart, and what is wrong with a file is told when it is read.
            with suppress(OSError, RunDirError):
                join(small, self._id)
            small.clear()
