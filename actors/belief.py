"""Belief: standardise the features, expand them by a fixed random matrix, keep the k strongest positive units.

``b = topk(ReLU(E z))`` (DESIGN: Words). `E` is a sparse sign matrix (Achlioptas 2003, "Database-friendly random
projections"): entries sqrt(3/d) * {+1, 0, -1} with probabilities 1/6, 2/3, 1/6, drawn from integers, so that its
bytes do not depend on a math library.

Both steps are compiled: array operations on a dozen numbers cost ten times what the numbers do. Compiled without
``fastmath``, each operation rounds as IEEE 754 says and none is fused, so the bytes are the same on every CPU; the sums
of `E z` would not depend on their order in any case, as standardised features are multiples of 2**-32 no larger than 4
and up to 2**19 of them add up without rounding.
"""

from math import sqrt
from typing import Any

import numpy as np

from alphatrade.actors.compiled import compiled

Array = np.ndarray[tuple[int], np.dtype[Any]]
Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]

CLIP = 4.0
LATTICE = 1.5 * 2.0**20  # adding it to a number in [-4, 4] and taking it off again rounds to multiples of 2**-32


class Standardiser:
    """
    Exponentially weighted standardisation of d features.

    Parameters
    ----------
    d : int
        Number of features.
    halflife : int
        In steps; earlier, the plain mean and variance of what has been seen.
    """

    def __init__(self, d: int, halflife: int) -> None:
        self._mean = np.zeros(d)
        self._var = np.ones(d)
        self._alpha = 1.0 / (1.0 + halflife)
        self._n = 0
        _standardise(np.zeros(d), np.zeros(d), np.ones(d), 0.0, np.empty(d))  # compiled now, not at the first decision

    def update(self, x: Array) -> Array:
        """
        Return `x` standardised by what was known before it, then learn from it.

        Parameters
        ----------
        x : ndarray of float64, shape (d,)

        Returns
        -------
        ndarray of float64, shape (d,)
            Clipped to [-4, 4], multiples of 2**-32.
        """
        self._n += 1
        z = np.empty(len(x))
        _standardise(x, self._mean, self._var, max(self._alpha, 1.0 / (self._n + 1)), z)
        return z


@compiled
def _standardise(x: Array, mean: Array, var: Array, alpha: float, z: Array) -> None:
    for at in range(x.size):
        delta, spread = x[at] - mean[at], var[at]
        score = delta / sqrt(spread + 1e-12)
        if score > CLIP:
            z[at] = CLIP
        elif score < -CLIP:
            z[at] = -CLIP
        else:
            z[at] = score + LATTICE - LATTICE
        mean[at] += alpha * delta
        var[at] = spread + alpha * (delta * delta - spread)


def sign_matrix(d: int, n: int, seed: int) -> Matrix:
    """
    Return the signs of the expansion matrix, transposed.

    Parameters
    ----------
    d, n : int
        Features and belief units.
    seed : int
        Of the PCG64 generator.

    Returns
    -------
    ndarray of float64, shape (d, n)
        -1, 0 or 1.
    """
    draw = np.random.Generator(np.random.PCG64(seed)).integers(0, 6, size=(d, n))
    signs: Matrix = np.where(draw == 0, 1.0, np.where(draw == 1, -1.0, 0.0))
    return signs


class Encoder:
    """
    Sparse code of standardised features.

    Parameters
    ----------
    d, n, k : int
        Features, belief units, units kept.
    seed : int
        Of the expansion matrix.
    """

    def __init__(self, d: int, n: int, k: int, seed: int) -> None:
        self._signs = sign_matrix(d, n, seed)
        self._scale = sqrt(3.0 / d)
        self._drive, self._still = np.empty(n), np.zeros(n)
        self._idx = np.empty(k, np.int16)
        self._val = np.empty(k)
        self.encode(np.zeros(d))  # compiled now, not at the first decision

    def encode(self, z: Array, push: Array | None = None) -> tuple[Array, Array]:
        """
        Return the active units and their values.

        Parameters
        ----------
        z : ndarray of float64, shape (d,)
            As the :class:`Standardiser` returns it.
        push : ndarray of float64, shape (n,), optional
            Added to ``E z``: what fast weights make of the belief before.

        Returns
        -------
        idx : ndarray of int16, shape (a,), a <= k
            Ascending.
        val : ndarray of float64, shape (a,)
            All positive. Ties at the cut go to the lowest index.
        """
        idx, val = self._idx, self._val
        active = _encode(z, self._signs, self._scale, self._still if push is None else push, self._drive, idx, val)
        return idx[:active].copy(), val[:active].copy()


@compiled
def _encode(z: Array, signs: Matrix, scale: float, push: Array, drive: Array, idx: Array, val: Array) -> int:
    for unit in range(drive.size):
        drive[unit] = push[unit] / scale
    for at in range(z.size):
        score = z[at]
        for unit in range(drive.size):
            drive[unit] += score * signs[at, unit]
    active = _strongest(drive, idx, val)
    _by_unit(idx[:active], val[:active])
    for at in range(active):
        val[at] *= scale
    return active


@compiled
def length(val: Array) -> Any:
    """Return the Euclidean length of a code's values."""
    square = 0.0
    for value in val:
        square += value * value
    return sqrt(square)


@compiled
def _strongest(drive: Array, idx: Array, val: Array) -> int:
    """Fill in the positive units in falling order of their drive, equals by index; return how many there are."""
    active = 0
    for unit in range(drive.size):
        strength = drive[unit]
        if strength <= 0.0 or (active == idx.size and strength <= val[active - 1]):
            continue
        if active < idx.size:
            active += 1
        at = active - 1
        while at > 0 and val[at - 1] < strength:
            idx[at], val[at] = idx[at - 1], val[at - 1]
            at -= 1
        idx[at], val[at] = unit, strength
    return active


@compiled
def _by_unit(idx: Array, val: Array) -> None:
    """Sort the pairs by unit, by insertion: there are few."""
    for end in range(1, idx.size):
        unit, strength, at = idx[end], val[end], end
        while at > 0 and idx[at - 1] > unit:
            idx[at], val[at] = idx[at - 1], val[at - 1]
            at -= 1
        idx[at], val[at] = unit, strength
