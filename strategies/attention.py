"""Linear attention over beliefs: an associative memory of what each tactic earned when things looked like this.

Keys and queries are sparse beliefs, values the outcomes of the tactics (Katharopoulos et al. 2020, arXiv:2006.16236,
eq. 9 to 12; positive sparse keys as in BDH, arXiv:2509.26507)::

    S <- lambda S + v phi(k)^T,   Z <- lambda Z + phi(k),   read-out  S phi(q) / Z phi(q)

with ``phi(b) = b / |b|``, which is positive because a belief is, and as sparse. The memory also keeps the products
``v v^T``, so that an advantage over the table's choice comes with its own uncertainty: with mass ``m = Z phi(q)``,
outcomes that overlap over h steps and the variance s**2 of the difference, the advantage a of a tactic counts as
``a m / (m + m0) - caution * s sqrt(h / m)``. While memory is thin, that is negative, and the table decides. Who is in
charge against the table stays so for as long as he has an advantage at all, and nobody's counts over his.
"""

from math import sqrt
from typing import Any

import numpy as np

from alphatrade.actors.belief import Matrix, length
from alphatrade.actors.compiled import compiled
from alphatrade.actors.messages import Array

Advice = tuple[int, list[float], float, float]  # who should be in charge, what each is expected to earn, gain, error
_LARGEST = 1e100  # of the scale that stands for the decay, before it is multiplied out


class Attention:
    """
    Memory of outcomes, and the tactic that it speaks for.

    Parameters
    ----------
    n : int
        Belief units.
    tactics : int
        Candidates.
    horizon : int
        Steps over which outcomes overlap.
    halflife : int
        Experiences after which one counts half.
    prior : float
        Mass at which an advantage counts half.
    caution : float
        Standard errors by which an advantage must be above zero.

    Attributes
    ----------
    memory : ndarray of float64, shape (n, 1 + tactics + tactics**2)
        Per unit the mass, the sums of outcomes and of their products, times `scale`.
    scale : ndarray of float64, shape (1,)
    """

    name = "linear_attention"

    def __init__(self, n: int, tactics: int, horizon: int, halflife: int, prior: float, caution: float) -> None:
        self.memory = np.zeros((n, 1 + tactics + tactics * tactics))
        self.scale = np.ones(1)
        self._growth = 1.0 / round(0.5 ** (1.0 / halflife), 12)
        self._rule = float(horizon), float(prior), float(caution)
        self._read = np.zeros(self.memory.shape[1])
        nothing, value = np.empty(0, np.int16), np.empty(0)  # compiled now, not at the first decision
        _write(self.memory, self.scale, 1.0, nothing, value, np.zeros(tactics))
        self.advise(nothing, value, 0, np.ones(tactics, np.bool_))

    def absorb(self, idx: Array, val: Array, values: Array) -> None:
        """
        Learn one experience.

        Parameters
        ----------
        idx, val : ndarray, shape (a,)
            The key: units (int16) and values (> 0) of the belief.
        values : ndarray of float64, shape (tactics,)
            Outcomes, bps.
        """
        _write(self.memory, self.scale, self._growth, idx, val, values)

    def advise(self, idx: Array, val: Array, base: int, allowed: Array, current: int = -1) -> Advice:
        """
        Return who should be in charge.

        Parameters
        ----------
        idx, val : ndarray, shape (a,)
            The query: the belief of now.
        base : int
            The table's choice.
        allowed : ndarray of bool, shape (tactics,)
            Who may be in charge.
        current : int
            Who is; -1: nobody yet.

        Returns
        -------
        best : int
            `base`, unless another allowed one has an advantage beyond its uncertainty.
        expected : list of float
            Outcome of each tactic, bps; zeros while nothing is remembered.
        advantage, error : float
            Of `best` over `base`, bps; 0 where they are the same.
        """
        read = self._read
        best, gain, error = _advise(self.memory, self.scale, idx, val, (base, current), allowed, self._rule, read)
        return best, read[1 : 1 + allowed.size].tolist(), gain, error

    def arrays(self) -> dict[str, Any]:
        """Return what was learnt, by name; the arrays themselves."""
        return {"memory": self.memory, "scale": self.scale}


@compiled
def _write(memory: Matrix, scale: Array, growth: float, idx: Array, val: Array, values: Array) -> None:
    # Older experiences fade because newer ones are written larger; now and then the scale is multiplied out.
    scale[0] *= growth
    if scale[0] > _LARGEST:
        memory /= scale[0]
        scale[0] = 1.0
    norm, t = length(val), values.size
    for at in range(idx.size):
        weight = val[at] / norm * scale[0]
        row = memory[idx[at]]
        row[0] += weight
        for i in range(t):
            row[1 + i] += weight * values[i]
            for j in range(t):
                row[1 + t + i * t + j] += weight * values[i] * values[j]


@compiled
def _advise(
    memory: Matrix, scale: Array, idx: Array, val: Array, now: tuple[int, int], allowed: Array,
    rule: tuple[float, float, float], read: Array,
) -> tuple[int, float, float]:  # fmt: skip
    """Fill in what is remembered; return who should be in charge, his advantage over the table and its error."""
    norm = length(val)
    read[:] = 0.0
    for at in range(idx.size):
        weight = val[at] / norm / scale[0]
        for k in range(read.size):
            read[k] += weight * memory[idx[at], k]
    base, current = now
    horizon, prior, caution = rule
    if read[0] <= 0.0:
        return base, 0.0, 0.0
    for k in range(1, read.size):
        read[k] /= read[0]
    stays = current >= 0 and current != base and allowed[current] and read[1 + current] > read[1 + base]
    holder = current if stays else base
    best, surest = holder, 0.0
    for i in range(allowed.size):
        if i != holder and allowed[i]:
            gain, error = _advantage(read, allowed.size, i, holder, horizon)
            sure = gain * read[0] / (read[0] + prior) - caution * error
            if sure > surest:
                best, surest = i, sure
    if best == base:
        return base, 0.0, 0.0
    gain, error = _advantage(read, allowed.size, best, base, horizon)
    return best, gain, error


@compiled
def _advantage(read: Array, tactics: int, one: int, other: int, horizon: float) -> tuple[float, float]:
    """Return how much more one tactic is expected to earn than another, and the standard error of that."""
    gain = read[1 + one] - read[1 + other]
    squares = 1 + tactics
    square = read[squares + one * tactics + one] + read[squares + other * tactics + other]
    square -= 2.0 * read[squares + one * tactics + other] + gain * gain
    return gain, sqrt(max(square, 0.0) * horizon / read[0])
