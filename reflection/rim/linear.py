"""Sums, products and two functions whose bits are the same on every CPU: every sum has one order, fixed here.

The inner loops run over results that do not depend on each other, so that the compiler can compute several at once
without changing the order of any sum.
"""

import math
from typing import Any

import numpy as np

from alphatrade.actors.compiled import compiled
from alphatrade.actors.hmm_kernel import exponential, natural_log

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]
Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]
Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]
Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


@compiled
def add_product(a: Matrix, b: Matrix, out: Matrix) -> None:
    """Add the product of `a` (n, k) and `b` (k, m) to `out` (n, m); terms are added in the order of k."""
    inner, wide = b.shape
    for i in range(a.shape[0]):
        row = out[i]
        k = 0
        while k + 4 <= inner:  # four terms for one pass over the row, still one after the other
            p, q, r, s = a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]
            first, second, third, fourth = b[k], b[k + 1], b[k + 2], b[k + 3]
            for j in range(wide):
                row[j] = (((row[j] + p * first[j]) + q * second[j]) + r * third[j]) + s * fourth[j]
            k += 4
        while k < inner:
            p, first = a[i, k], b[k]
            for j in range(wide):
                row[j] += p * first[j]
            k += 1


@compiled
def add_columns(a: Matrix, out: Vector) -> None:
    """Add the sum of each column of `a` to `out`."""
    for i in range(a.shape[0]):
        row = a[i]
        for j in range(row.size):
            out[j] += row[j]


@compiled
def solve(gram: Matrix, right: Vector, penalty: float, factor: Matrix, out: Vector) -> None:
    """
    Solve (gram + penalty · 1) out = right by Cholesky factors; `gram` is positive semi-definite, `penalty` > 0.

    `factor` is room for the work, of the shape of `gram`.
    """
    size = right.size
    for j in range(size):
        total = gram[j, j] + penalty
        for k in range(j):
            total -= factor[j, k] * factor[j, k]
        factor[j, j] = math.sqrt(total)
        for i in range(j + 1, size):
            total = gram[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            factor[i, j] = total / factor[j, j]
    for i in range(size):
        total = right[i]
        for k in range(i):
            total -= factor[i, k] * out[k]
        out[i] = total / factor[i, i]
    for i in range(size - 1, -1, -1):
        total = out[i]
        for k in range(i + 1, size):
            total -= factor[k, i] * out[k]
        out[i] = total / factor[i, i]


@compiled
def sigmoid(x: float) -> float:
    """Return 1 / (1 + e^-x)."""
    if x >= 0.0:
        return 1.0 / (1.0 + exponential(-x))
    tail = exponential(x)
    return tail / (1.0 + tail)


@compiled
def surprise(x: float, happened: bool) -> float:
    """Return -ln of the probability that the logit `x` gave to what happened, nats."""
    miss = -x if happened else x
    return max(miss, 0.0) + natural_log(1.0 + exponential(-abs(miss)))


@compiled
def sigmoids(x: Vector, out: Vector) -> None:
    """Fill `out` with the sigmoid of every `x`."""
    for at in range(x.size):
        out[at] = sigmoid(x[at])


@compiled
def log_loss(p: Vector, happened: Bools) -> float:
    """Return the mean of -ln of the probabilities `p`, all within (0, 1), of what happened, nats."""
    total = 0.0
    for at in range(p.size):
        total -= natural_log(p[at] if happened[at] else 1.0 - p[at])
    return total / p.size
