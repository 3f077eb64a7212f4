"""What the law records in a run that still goes on, as rows that can be read: ``trail.jsonl`` in the run folder.

Orders, fills, risk events and equity are in the node's memory until its run ends; once a second it adds the new ones
here (:mod:`alphatrade.nodes.paper.desk`). It is for who looks on, and gone once the tables are written. After
kill -9 it stays, so that the orders of such a run can be explained as well.
"""

import json
import os
from pathlib import Path

import pyarrow as pa

from alphatrade.risk.columns import table
from alphatrade.risk.record import TABLES

TRAIL = "trail.jsonl"
_PIECE = 2**22  # bytes, about, that are read at a time
_WIDTHS = {name: len(spec.split()) for name, spec in TABLES.items()}

type Rows = dict[str, list[list[object]]]


class Trail:
    """
    The rows of a trail, read as far as it is written.

    Parameters
    ----------
    path : Path
        A file that is missing has no rows.

    Attributes
    ----------
    size : int
        Bytes taken so far.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin(0)

    def _begin(self, inode: int) -> None:
        self._inode, self.size = inode, 0
        self._rows: Rows = {name: [] for name in TABLES}
        self._made: dict[str, pa.Table] = {}

    def more(self) -> bool:
        """Take a piece of what was added; return whether there was any. A file that is another one is read anew."""
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self._inode or found.st_size < self.size:
                    self._begin(found.st_ino)
                if found.st_size == self.size:
                    return False
                file.seek(self.size)
                lines = [line for line in file.readlines(_PIECE) if line.endswith(b"\n")]
        except FileNotFoundError:
            return False
        for line in lines:
            self.size += len(line)
            self._take(line)
        return bool(lines)

    def _take(self, line: bytes) -> None:
        try:
            found: Rows = json.loads(line)
        except ValueError:
            return  # cut short by a full disk; what it had comes again in the next one
        for name, rows in found.items():
            if rows and name in _WIDTHS and all(len(row) == _WIDTHS[name] for row in rows):
                self._rows[name] += rows
                self._made.pop(name, None)

    def count(self, name: str) -> int:
        """Return how many rows one of the tables has."""
        return len(self._rows[name])

    def table(self, name: str) -> pa.Table:
        """Return the rows of one of `TABLES`, as its Parquet file will have them."""
        if name not in self._made:
            self._made[name] = table(TABLES[name], [tuple(row) for row in self._rows[name]])
        return self._made[name]

    def let_go(self, name: str) -> pa.Table:
        """Return the rows of one of `TABLES` that came since it was let go of before, and keep none of them."""
        found = self.table(name)
        self._rows[name] = []
        del self._made[name]
        return found


def trail_tables(run_dir: Path) -> dict[str, pa.Table]:
    """Return the tables of a run's trail that have rows; none where there is no trail."""
    trail = Trail(run_dir / TRAIL)
    while trail.more():
        pass
    return {name: trail.table(name) for name in TABLES if trail.count(name)}
