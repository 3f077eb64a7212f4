"""The auditor's own look at the prices orders were judged by: none may be crossed, stamped backwards or a lone spike.

With hindsight, which the law did not have: a mark is a lone spike when it lies further than ``jump_max`` from the
mark before it and from the one after it, which agree and of which the latter came before the former was stale.
"""

import numpy as np

from alphatrade.risk.audit_files import Ints, RunFiles


class Prices:
    """
    What is wrong with the marks of a run, instrument by instrument.

    Parameters
    ----------
    files : RunFiles
        Marks, jump limit and staleness of the run.
    """

    def __init__(self, files: RunFiles) -> None:
        self._rows: dict[str, Ints] = {}
        self._wrong: dict[int, str] = {}  # row of marks.parquet -> what
        for index, name in enumerate(files.names):
            rows = self._rows[name] = np.flatnonzero(files.who == index)
            self._look(files, name, rows)

    def wrong(self, name: str, stop: int) -> str | None:
        """Return what is wrong with the last mark of `name` before row `stop`, if anything is."""
        rows = self._rows.get(name)
        at = 0 if rows is None else int(np.searchsorted(rows, stop))
        return None if rows is None or at == 0 else self._wrong.get(int(rows[at - 1]))

    def _look(self, files: RunFiles, name: str, rows: Ints) -> None:
        ts, mid2 = files.ts[rows], files.mid2[rows]
        latest = np.maximum.accumulate(ts) if len(ts) else ts
        for at in np.flatnonzero(files.crossed[rows]).tolist():
            self._wrong[int(rows[at])] = "bid above ask"
        for at in np.flatnonzero(ts < latest).tolist():
            self._wrong[int(rows[at])] = f"stamped {int(latest[at] - ts[at])} ns before an earlier mark"
        jump, soon = files.limits.jump, files.limits.stale_ns.get(name, 0)
        level = mid2.astype(np.float64)
        # Roughly first; the exact integers decide.
        rough = np.abs(np.diff(level)) > 0.9 * float(jump) * np.minimum(level[1:], level[:-1])
        for at in (np.flatnonzero(rough[:-1] & rough[1:]) + 1).tolist():
            before, here, after = (int(mid2[at + k]) for k in (-1, 0, 1))
            far = all(abs(here - other) > jump * min(here, other) for other in (before, after))
            if far and abs(before - after) <= jump * min(before, after) and ts[at + 1] - ts[at] <= soon:
                self._wrong[int(rows[at])] = "a price that stands alone between two that agree"
