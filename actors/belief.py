"""Belief: standardise the features, expand them by a fixed random matrix, keep the k strongest positive units.

``b = topk(ReLU(E z))`` (DESIGN: Words). `E` is a sparse sign matrix (Achlioptas 2003, "Database-friendly random
projections"): entries sqrt(3/d) * {+1, 0, -1} with probabilities 1/6, 2/3, 1/6, drawn from integers, so that its
bytes do not depend on a math library.

Standardised features are multiples of 2**-32 no larger than 4. So every partial sum of signed features is a float64
without rounding (up to 2**19 of them), and the product is the same whatever order BLAS adds in, fused or not.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np

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
        self._mean = [0.0] * d
        self._var = [1.0] * d
        self._alpha = 1.0 / (1.0 + halflife)
        self._n = 0

    def update(self, x: Sequence[float]) -> list[float]:
        """
        Return `x` standardised by what was known before it, then learn from it.

        A plain loop: for a dozen features it takes a third of the time of array operations.

        Parameters
        ----------
        x : sequence of float, length d

        Returns
        -------
        list of float, length d
            Clipped to [-4, 4], multiples of 2**-32.
        """
        mean, var = self._mean, self._var
        self._n += 1
        alpha = max(self._alpha, 1.0 / (self._n + 1))
        out = []
        for at, value in enumerate(x):
            delta, spread = value - mean[at], var[at]
            z = delta / sqrt(spread + 1e-12)
            out.append(CLIP if z > CLIP else -CLIP if z < -CLIP else z + LATTICE - LATTICE)
            mean[at] += alpha * delta
            var[at] = spread + alpha * (delta * delta - spread)
        return out


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
        self._drive = np.empty(n)
        self._order = np.empty(n)
        self._cut = n - k
        self._k = k

    def encode(self, z: Array) -> tuple[Array, Array]:
        """
        Return the active units and their values.

        Parameters
        ----------
        z : ndarray of float64, shape (d,)
            As the :class:`Standardiser` returns it.

        Returns
        -------
        idx : ndarray of int16, shape (a,), a <= k
            Ascending.
        val : ndarray of float64, shape (a,)
            All positive. Ties at the cut go to the lowest index.
        """
        drive, order = self._drive, self._order
        z.dot(self._signs, out=drive)  # exact: see the head of this module
        order[:] = drive
        order.partition(self._cut)
        threshold = order[self._cut]
        if threshold > 0.0:
            active = (drive >= threshold).nonzero()[0]
            if len(active) > self._k:
                active = self._break_ties(drive, active, threshold)
        else:
            active = (drive > 0.0).nonzero()[0]
        return active.astype(np.int16), drive.take(active) * self._scale

    def _break_ties(self, drive: Array, active: Array, threshold: float) -> Array:
        above = active[drive[active] > threshold]
        ties = active[drive[active] == threshold]
        return np.sort(np.concatenate([above, ties[: self._k - len(above)]]))
