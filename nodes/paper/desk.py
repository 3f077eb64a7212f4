"""What a running node leaves for an operator who looks on from another process, and what it takes from there.

It leaves ``run.json`` in the folder of its account, which says where the files of its run and its metrics are, and in
the folder of the run the trail of what the law records (:mod:`alphatrade.reflection.trail`). It takes a request to
freeze exploration, as an input of the run. What cannot be written is told once, and never stops the node.
"""

import json
import os
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

from alphatrade.reflection.trail import TRAIL
from alphatrade.risk.disk import write_whole
from alphatrade.risk.freeze import clear_freeze, read_freeze
from alphatrade.risk.record import TABLES

RUN = "run.json"


class Desk:
    """
    Between a node and who looks on; used between two inputs, on the loop that trades.

    Parameters
    ----------
    parts : Parts
        Of the node.
    folder : Path
        Of the account in the state folder.
    run_dir : Path
        Of the run.
    metrics : str
        Address of the node's metrics; empty: it serves none.
    tell : callable
        Takes a line where the trail cannot be written, and one when it can again.
    """

    def __init__(self, parts: Any, folder: Path, run_dir: Path, metrics: str, tell: Callable[[str], object]) -> None:
        self._intake, self._gate, self._folder, self._tell = parts.intake, parts.gate, folder, tell
        self._path = run_dir / TRAIL
        self._last = dict.fromkeys(TABLES, -1)  # first values of the rows that were written last
        self._failed = ""
        self._gate.record.leaving = self.show
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
            own = {"folder": str(run_dir.resolve()), "pid": os.getpid(), "metrics": metrics}
            write_whole(folder / RUN, json.dumps(own))

    def show(self) -> None:
        """Add what the law has recorded since the last time."""
        fresh = {name: rows for name, last in self._last.items() if (rows := self._since(name, last))}
        if not fresh:
            return
        error = ""
        try:
            text = (b"\n" if self._failed else b"") + json.dumps(fresh, separators=(",", ":")).encode() + b"\n"
            with self._path.open("ab", buffering=0) as file:
                if file.write(text) != len(text):
                    raise OSError("no space for a whole line")
            self._last |= {name: rows[-1][0] for name, rows in fresh.items()}
        except Exception as trouble:  # whatever it is: the node goes on
            error = f"{type(trouble).__name__}: {trouble}"
        if bool(error) != bool(self._failed):
            self._tell(
                f"the trail of the run is not written: {error}" if error else "the trail of the run is whole again"
            )
        self._failed = error

    def _since(self, name: str, last: int) -> list[Any]:
        """Return the rows of a table whose first value, `seq` or `ts`, is above `last`, of those in memory."""
        rows: list[Any] = getattr(self._gate.record, name)
        return rows[bisect_right(rows, last, key=itemgetter(0)) :]

    def take(self, now: int) -> None:
        """Take a request to freeze exploration, if there is one; `now` is the node's time (UTC ns), 0: it stands."""
        request = read_freeze(self._folder)
        if request is None:
            return
        if not self._gate.explorations.budget.frozen:
            self._intake.tick(now)
            self._intake.freeze(request._replace(ts=self._intake.time))
            self._intake.flush()
        with suppress(OSError):
            clear_freeze(self._folder)
