"""Rows of a table that no longer change, kept out of memory until the table is written."""

import weakref
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from tempfile import TemporaryFile

import pyarrow as pa

GROUP = 65_536  # rows of a row group


class Shelf:
    """
    Takes the rows of one table piece by piece, and gives them back group by group as often as wanted.

    Full groups are in a file without a name: it is gone with the process, however that ends.

    Parameters
    ----------
    folder : Path or None
        Where that file is; None keeps all in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file: FileIO | None = None
        self._sizes: list[int] = []  # bytes of each group in the file
        self._pieces: list[pa.Table] = []

    def take(self, piece: pa.Table) -> None:
        """
        Take the next rows.

        Raises
        ------
        OSError
            If a group cannot be put into the file; the rows are still here then.
        """
        self._pieces.append(piece)
        while self._folder is not None and sum(piece.num_rows for piece in self._pieces) >= GROUP:
            rows = pa.concat_tables(self._pieces)
            self._put(rows.slice(0, GROUP))
            self._pieces = [pa.concat_tables([rows.slice(GROUP)]).combine_chunks()]

    def groups(self, rest: pa.Table) -> Iterator[pa.Table]:
        """Give all rows and then `rest`, in groups of `GROUP`; one without rows where there are none at all."""
        if self._file is not None:
            self._file.seek(0)
            for size in self._sizes:
                yield pa.ipc.open_stream(self._file.read(size)).read_all()
        rows = pa.concat_tables([*self._pieces, rest]).combine_chunks()
        for start in range(0, rows.num_rows, GROUP):
            yield rows.slice(start, GROUP)
        if not rows.num_rows and not self._sizes:
            yield rows

    def _put(self, group: pa.Table) -> None:
        if self._file is None:
            assert self._folder is not None
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            weakref.finalize(self, self._file.close)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, group.schema) as stream:
            stream.write_table(group.combine_chunks())
        data = sink.getvalue()
        self._file.seek(sum(self._sizes))
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._sizes.append(data.size)
