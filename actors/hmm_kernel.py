"""Compiled arithmetic of the hidden Markov regime: what is observed at a step, and one step of the forward filter.

Two observations, both known when the step has closed, and without a scale, so that a fit on one market means something
on another: ``v = ln(var / slow)``, the step's variance over the slow geometric mean of those before it, and ``t``, the
return over a window in units of its expected size under no drift (its standard deviation is 1 where there is none).

``exp`` and ``ln`` are made of operations that IEEE 754 fixes: the same bits on every CPU, with nothing to round.
"""

import math
from typing import Any

import numpy as np

from alphatrade.actors.compiled import compiled
from alphatrade.actors.regime import OBSERVATIONS

Array = np.ndarray[tuple[int], np.dtype[Any]]
Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]

MOST = 6.0  # observations are cut there: one bad print is no evidence of anything else
_SQRT_HALF, _LN2_HIGH, _LN2_LOW = 0.7071067811865476, 0.693147180369123816490, 1.90821492927058770002e-10
_SMALLEST = 1e-40  # of a variance that is more than nothing
_SLOW, _STEPS = 0, 1  # places in an observer's memory


def observe(mid: Array, var: Array, window: int, slow: int) -> Matrix:
    """
    Return the observations of many steps, as the filter makes them one by one.

    Parameters
    ----------
    mid, var : ndarray of float64, shape (n,)
        Reference price and variance of each step.
    window, slow : int
        Of the trend and of the slow variance, steps.

    Returns
    -------
    ndarray of float64, shape (n, 2)
        v and t.
    """
    out: Matrix = np.zeros((len(mid), OBSERVATIONS))
    _observe_all(mid, var, 1.0 / (1.0 + slow), np.zeros((2, window)), np.zeros(2), out)
    return out


@compiled
def natural_log(x: float) -> float:
    """Return ln(x) of a positive finite number, within 2e-16 of it or of its value, from basic operations only."""
    part, power = math.frexp(x)
    if part < _SQRT_HALF:
        part, power = 2.0 * part, power - 1
    s = (part - 1.0) / (part + 1.0)  # ln(part) = 2 artanh(s), |s| < 0.172
    z, total = s * s, 0.0
    for odd in range(21, 1, -2):
        total = (total + 1.0 / odd) * z
    return power * _LN2_HIGH + (2.0 * s + 2.0 * s * total + power * _LN2_LOW)


@compiled
def exponential(x: float) -> float:
    """Return e^x for x <= 700, within some 1e-15 of its value, from basic operations only; 0 below -700."""
    if x < -700.0:
        return 0.0
    power = math.floor(x * 1.4426950408889634 + 0.5)
    r = (x - power * _LN2_HIGH) - power * _LN2_LOW
    total = 1.0
    for k in range(14, 0, -1):
        total = 1.0 + total * r / k
    return math.ldexp(total, int(power))


@compiled
def _cut(x: float) -> float:
    return MOST if x > MOST else -MOST if x < -MOST else x


@compiled
def _observe(mid: float, var: float, alpha: float, ring: Matrix, memory: Array, seen: Array) -> None:
    """Fill in `seen`, from what was known before the step and the step itself."""
    steps, window = int(memory[_STEPS]), ring.shape[1]
    seen[0] = seen[1] = 0.0
    if var > _SMALLEST:
        level = natural_log(var)
        if memory[_SLOW] == 0.0:  # nothing moved until now
            memory[_SLOW] = level
        seen[0] = _cut(level - memory[_SLOW])
        weight = 1.0 / (steps + 2.0)
        memory[_SLOW] += (alpha if alpha > weight else weight) * seen[0]
    elif memory[_SLOW] != 0.0:  # a step without a move says so, and leaves the mean of those that moved alone
        seen[0] = -MOST
    at = steps % window
    then = ring[0, at]
    ring[0, at], ring[1, at] = mid, var
    memory[_STEPS] = steps + 1.0
    if steps >= window:
        total = 0.0
        for place in range(window):
            total += ring[1, place]
        if total > _SMALLEST:
            seen[1] = _cut((mid / then - 1.0) / math.sqrt(total))


@compiled
def _observe_all(mid: Array, var: Array, alpha: float, ring: Matrix, memory: Array, out: Matrix) -> None:
    for at in range(mid.size):
        _observe(mid[at], var[at], alpha, ring, memory, out[at])


@compiled
def advance(
    mid: float, var: float, regime: int, alpha: float, ring: Matrix, memory: Array, seen: Array, model: Matrix,
    transition: Matrix, belief: Array, work: Array,
) -> tuple[float, int, float, float]:  # fmt: skip
    """Take one step into the filter: see :meth:`alphatrade.actors.hmm.HmmFilter.take`, which holds the arrays."""
    _observe(mid, var, alpha, ring, memory, seen)
    best = -1e300
    for to in range(belief.size):
        a, b = seen[0] - model[to, 0], seen[1] - model[to, 1]
        work[to] = model[to, 4] - a * a * model[to, 2] - b * b * model[to, 3]
        best = max(best, work[to])
    first, total = memory[_STEPS] == 1.0, 0.0
    for to in range(belief.size):
        expected = belief[to] if first else 0.0
        if not first:
            for fro in range(belief.size):
                expected += belief[fro] * transition[fro, to]
        work[to] = expected * exponential(work[to] - best)
        total += work[to]
    shares = np.zeros(6)
    for to in range(belief.size):
        belief[to] = work[to] / total
        shares[int(model[to, 5])] += belief[to]
    likeliest = 0
    for name in range(1, 6):
        if shares[name] > shares[likeliest]:
            likeliest = name
    return best + natural_log(total), likeliest, shares[likeliest], shares[regime]
