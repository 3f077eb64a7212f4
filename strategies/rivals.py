"""Rivals of linear attention behind the same interface: LinUCB and one moving average per tactic."""

from math import sqrt
from typing import Any

import numpy as np

from alphatrade.actors.belief import Matrix, length
from alphatrade.actors.compiled import compiled
from alphatrade.actors.messages import Array
from alphatrade.strategies.attention import Advice


class Ewma:
    """
    Follows the tactic that has earned most of late, whatever things look like.

    Parameters
    ----------
    tactics : int
        Candidates.
    halflife : int
        Experiences after which one counts half.

    Attributes
    ----------
    mean : ndarray of float64, shape (tactics,)
        Weighted mean outcome of each tactic, bps.
    """

    name = "ewma"

    def __init__(self, tactics: int, halflife: int) -> None:
        self.mean = np.zeros(tactics)
        self._seen = np.zeros(1)
        self._rate = 1.0 - round(0.5 ** (1.0 / halflife), 12)

    def absorb(self, idx: Array, val: Array, values: Array) -> None:
        """Learn one experience; see :meth:`alphatrade.strategies.attention.Attention.absorb`."""
        self._seen += 1.0
        self.mean += max(self._rate, 1.0 / float(self._seen[0])) * (values - self.mean)

    def advise(self, idx: Array, val: Array, base: int, allowed: Array, current: int = -1) -> Advice:
        """Return who should be in charge; see :meth:`alphatrade.strategies.attention.Attention.advise`."""
        expected = self.mean.tolist()
        return _highest(expected, base, allowed, 0.0)

    def arrays(self) -> dict[str, Any]:
        """Return what was learnt, by name; the arrays themselves."""
        return {"mean": self.mean, "seen": self._seen}


class LinUCB:
    """
    Disjoint linear models of the outcome of each tactic over the belief, with an upper confidence bound.

    Li et al. 2010, "A contextual-bandit approach to personalized news article recommendation", algorithm 1. Every
    tactic's outcome is known at every step here, so all models have the same design matrix, and one inverse serves.

    Parameters
    ----------
    n : int
        Belief units.
    tactics : int
        Candidates.
    ridge : float
        Of the least squares: what stands on the diagonal before anything is seen.
    width : float
        Standard deviations of the bound, bps.

    Attributes
    ----------
    inverse : ndarray of float64, shape (n, n)
        Of the design matrix.
    weights : ndarray of float64, shape (tactics, n)
    """

    name = "linucb"

    def __init__(self, n: int, tactics: int, ridge: float, width: float) -> None:
        self.inverse = np.eye(n) / ridge
        self.weights = np.zeros((tactics, n))
        self._width = width
        self._key, self._gain = np.zeros(n), np.zeros(n)
        self._expected = np.zeros(tactics)
        nothing, value = np.empty(0, np.int16), np.empty(0)
        self.absorb(nothing, value, np.zeros(tactics))  # compiled now, not at the first decision
        self.advise(nothing, value, 0, np.ones(tactics, np.bool_))

    def absorb(self, idx: Array, val: Array, values: Array) -> None:
        """Learn one experience; see :meth:`alphatrade.strategies.attention.Attention.absorb`."""
        _least_squares(self.inverse, self.weights, idx, val, values, self._key, self._gain)

    def advise(self, idx: Array, val: Array, base: int, allowed: Array, current: int = -1) -> Advice:
        """Return who should be in charge; see :meth:`alphatrade.strategies.attention.Attention.advise`."""
        error = float(_predict(self.inverse, self.weights, idx, val, self._key, self._expected)) * self._width
        return _highest(self._expected.tolist(), base, allowed, error)  # the bound is as wide for all

    def arrays(self) -> dict[str, Any]:
        """Return what was learnt, by name; the arrays themselves."""
        return {"inverse": self.inverse, "weights": self.weights}


def _highest(expected: list[float], base: int, allowed: Array, error: float) -> Advice:
    """Speak for the allowed tactic that is expected to earn most; for the table's among equals."""
    best = base
    for at, value in enumerate(expected):
        if allowed[at] and value > expected[best]:
            best = at
    return best, expected, expected[best] - expected[base], error


@compiled
def _least_squares(
    inverse: Matrix, weights: Matrix, idx: Array, val: Array, values: Array, key: Array, gain: Array
) -> None:
    """Add one observation to a recursive least squares (Sherman and Morrison 1950); the key has length one."""
    n = inverse.shape[0]
    _unit(idx, val, key)
    gain[:] = 0.0
    for unit in idx:
        for i in range(n):
            gain[i] += inverse[unit, i] * key[unit]  # symmetric: its rows are its columns
    below = 1.0
    for unit in idx:
        below += key[unit] * gain[unit]
    for k in range(values.size):
        error = values[k]
        for unit in idx:
            error -= weights[k, unit] * key[unit]
        for i in range(n):
            weights[k, i] += gain[i] * error / below
    for i in range(n):
        for j in range(n):
            inverse[i, j] -= gain[i] * gain[j] / below


@compiled
def _unit(idx: Array, val: Array, key: Array) -> None:
    """Spread a belief out, scaled to length one."""
    norm = length(val)
    key[:] = 0.0
    for at in range(idx.size):
        key[idx[at]] = val[at] / norm


@compiled
def _predict(inverse: Matrix, weights: Matrix, idx: Array, val: Array, key: Array, expected: Array) -> Any:
    """Fill in the expected outcomes and return their standard deviation, up to the noise."""
    _unit(idx, val, key)
    expected[:] = 0.0
    spread = 0.0
    for unit in idx:
        for k in range(expected.size):
            expected[k] += weights[k, unit] * key[unit]
        for other in idx:
            spread += key[unit] * inverse[unit, other] * key[other]
    return sqrt(max(spread, 0.0))
