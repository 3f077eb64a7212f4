"""The novelty archive: what candidates did rather than what they are, and how far that is from what others did.

A candidate's behaviour is a vector of probes of its replays, four numbers in each regime of the grid: which way it
stood, how much of its trading was passive, how much it traded, and what came of it. Two genotypes that trade alike
have the same behaviour, whatever their topologies are called. Novelty is the mean distance to the k nearest
behaviours in the archive (Lehman & Stanley 2011), which :class:`ribs.archives.ProximityArchive` keeps.
"""

from collections import defaultdict
from collections.abc import Sequence
from math import fsum, log1p

import numpy as np
from numpy.typing import NDArray

from alphatrade.evolution.fitness import Measured, Row

PROBES = ("exposure", "passive", "turnover", "outcome")
OUTCOME = 0.01  # a net return of this size is as large as counts
DECIMALS = 9  # logarithms differ in the last place between machines
NEAR = 0.05  # behaviours closer than this to what is there are the same


def behaviour(rows: Sequence[Row], regimes: Sequence[str]) -> NDArray[np.float64] | None:
    """
    Return the behaviour of a candidate.

    Parameters
    ----------
    rows : sequence of Row
    regimes : sequence of str
        Of the grid.

    Returns
    -------
    ndarray of float64, shape (4 * n_regimes,), or None
        None where a regime has no cell that counts: a behaviour is compared whole or not at all.
    """
    found: dict[str, list[Measured]] = defaultdict(list)
    for row in rows:
        if row.measured is not None and not row.fault:
            found[row.cell.regime].append(row.measured)
    if any(regime not in found for regime in regimes):
        return None
    vector: list[float] = []
    for regime in regimes:
        cells = found[regime]
        vector += [
            _mean([cell.exposure for cell in cells]),
            _mean([cell.passive for cell in cells]),
            _mean([log1p(cell.turnover) for cell in cells]),
            _mean([max(-1.0, min(1.0, cell.net_return / OUTCOME)) for cell in cells]),
        ]
    return np.round(np.array(vector), DECIMALS)


class Archive:
    """
    Behaviours by the number of their trial.

    Parameters
    ----------
    regimes : sequence of str
        Of the grid.
    neighbours : int
        The k of k nearest neighbours.
    """

    def __init__(self, regimes: Sequence[str], neighbours: int) -> None:
        # More than a second to import, and Hydra imports the sweeper at every start of every command.
        from ribs.archives import ProximityArchive

        self.regimes = tuple(sorted(regimes))
        self._archive = ProximityArchive(
            solution_dim=1, measure_dim=len(PROBES) * len(self.regimes), k_neighbors=neighbours, novelty_threshold=NEAR
        )

    def add(self, number: int, rows: Sequence[Row], worth: float) -> float | None:
        """
        Show a trial to the archive, which keeps it if nothing like it is there, and return its novelty.

        Parameters
        ----------
        number : int
            By which the trial is known.
        rows : sequence of Row
        worth : float
            Its fitness.
        """
        vector = behaviour(rows, self.regimes)
        if vector is None:
            return None
        found = self._archive.add([[float(number)]], [worth], vector[None, :])
        return float(np.round(found["novelty"][0], DECIMALS))

    def standing(self) -> list[tuple[int, float]]:
        """Return the trials that are kept, and how novel each is by now."""
        if self._archive.empty:
            return []
        kept = self._archive.data(["solution", "measures"], return_type="dict")
        numbers = [round(float(number)) for number in kept["solution"].ravel()]
        novelty = np.round(self._archive.compute_novelty(kept["measures"]), DECIMALS)
        return sorted(zip(numbers, novelty.tolist(), strict=True))


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)
