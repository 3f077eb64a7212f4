"""Fast weights: synapses between belief units that reward strengthens and time weakens.

The synapse matrix (post x pre) follows a reward-modulated Hebbian rule (BDH, arXiv:2509.26507, section 2; three-factor
rule, Fremaux and Gerstner 2016)::

    sigma <- lambda sigma + eta clip(r) b_s b_{s-1}^T,      b_t = topk(ReLU(E z_t + sigma b_{t-1}))

`b` is scaled to length one where it meets sigma; r is the standardised outcome of the decision at step s, and the
update is made when that is known. Only the last R rank-one terms are kept, as sparse factors: what is dropped has faded
to ``lambda**R``. Since each term has norm eta |r|, ``|sigma|_F <= eta r_max / (1 - lambda)``; a clamp holds the norm
below a tighter bound of its own.
"""

from math import isfinite, sqrt
from typing import Any

import numpy as np

from alphatrade.actors.belief import Matrix, length
from alphatrade.actors.compiled import compiled
from alphatrade.actors.messages import Array

Cube = np.ndarray[tuple[int, int, int], np.dtype[Any]]

OUTCOME_LARGEST = 1e6  # bps; beyond it squares would overflow before anything else is wrong
REWARD_RATE = 1 / 500  # of the moving mean and variance that standardise rewards
REWARD_WARM = 50  # rewards before the first one counts
REWARD_LARGEST = 20.0  # standard deviations by which one reward may move their mean and variance


class FastWeights:
    """
    Synapses as rank-one factors.

    Parameters
    ----------
    n, k : int
        Belief units, and how many are active at most.
    rank : int
        Factors kept.
    halflife : int
        Updates after which a synapse has half its weight.
    eta : float
        Norm that a reward of one standard deviation adds.
    clip : float
        Largest reward, standard deviations.
    bound : float
        Largest Frobenius norm.

    Attributes
    ----------
    gains : ndarray of float64, shape (rank,)
        Weight of each factor; 0 where there is none.
    idx : ndarray of int16, shape (2, rank, k)
        Units of the factors, post and pre.
    val : ndarray of float64, shape (2, rank, k)
        Their values, of length one, filled up with zeros.
    reward : ndarray of float64, shape (3,)
        Mean, variance and number of the rewards so far.
    norm, bound : float
        Frobenius norm of sigma, and what it is held below.
    rank : float
        Participation ratio of the factors, ``(sum g**2)**2 / sum g**4``.
    top : tuple of int
        Post and pre unit of the strongest synapse in the factor that weighed most on the last push; (-1, -1): none did.
    """

    def __init__(self, n: int, k: int, rank: int, halflife: int, eta: float, clip: float, bound: float) -> None:
        self._n = n
        self._eta, self._clip, self.bound = eta, clip, bound
        self._keep = round(0.5 ** (1.0 / halflife), 12)
        self.gains = np.zeros(rank)
        self.idx, self.val = np.zeros((2, rank, k), np.int16), np.zeros((2, rank, k))
        self._gram = np.zeros((rank, rank))  # inner products of the factors
        self._seen = np.zeros(5)  # squared norm, participation, post and pre unit of `top`, the factor to replace next
        self.reward = np.zeros(3)
        self.norm = self.rank = 0.0
        self.top = (-1, -1)
        self._push, self._dense = np.zeros(n), np.zeros(n)
        nothing, value = np.empty(0, np.int16), np.empty(0)
        self._update(0.0, nothing, value, nothing, value)  # compiled now, not at the first decision
        self.push(nothing, value)
        self._seen[:] = 0.0

    def learn(self, outcome: float, post_idx: Array, post_val: Array, pre_idx: Array, pre_val: Array) -> None:
        """
        Learn the outcome of a decision.

        Parameters
        ----------
        outcome : float
            Of the tactic in charge, bps.
        post_idx, post_val : ndarray, shape (a,)
            Belief at the decision.
        pre_idx, pre_val : ndarray, shape (b,)
            Belief one step before it.

        Raises
        ------
        ValueError
            If the outcome is not finite.
        """
        if not isfinite(outcome):
            raise ValueError(f"outcome: got {outcome}, expected a finite number")
        outcome = max(-OUTCOME_LARGEST, min(OUTCOME_LARGEST, outcome))
        mean, variance, seen = self.reward.tolist()
        rate = max(REWARD_RATE, 1.0 / (seen + 1.0))
        score = (outcome - mean) / sqrt(variance) if variance > 0.0 and seen >= REWARD_WARM else 0.0
        delta = outcome - mean
        if seen >= REWARD_WARM:  # one outcome of any size moves the scale by no more than a factor
            most = REWARD_LARGEST * sqrt(variance)
            delta = max(-most, min(most, delta))
        self.reward[:] = mean + rate * delta, variance + rate * (delta * delta - variance), seen + 1.0
        self._update(max(-self._clip, min(self._clip, score)), post_idx, post_val, pre_idx, pre_val)

    def _update(self, score: float, post_idx: Array, post_val: Array, pre_idx: Array, pre_val: Array) -> None:
        rule = (self._keep, self._eta * score, self.bound)
        _store(self.idx, self.val, int(self._seen[4]), post_idx, post_val, pre_idx, pre_val)
        square, self.rank = _replace(rule, self.gains, self.idx, self.val, self._gram, self._dense, self._seen)
        self.norm = sqrt(square)

    def push(self, idx: Array, val: Array) -> Array:
        """
        Return ``sigma b`` for the belief of the step before: what it adds to the drive of every unit.

        Parameters
        ----------
        idx, val : ndarray, shape (a,)
            That belief.

        Returns
        -------
        ndarray of float64, shape (n,)
            Valid until the next call.
        """
        self.top = _push(idx, val, self.gains, self.idx, self.val, self._dense, self._push, self._seen)
        return self._push

    def dense(self) -> Matrix:
        """Return sigma itself, shape (n, n), post x pre."""
        out = np.zeros((self._n, self._n))
        for at, gain in enumerate(self.gains):
            product = gain * np.outer(self.val[0, at], self.val[1, at])
            np.add.at(out, np.ix_(self.idx[0, at], self.idx[1, at]), product)  # padding adds zeros to unit 0
        return out

    def arrays(self) -> dict[str, Any]:
        """Return what was learnt, by name; the arrays themselves."""
        return {
            "gains": self.gains, "idx": self.idx, "val": self.val, "gram": self._gram, "seen": self._seen,
            "reward": self.reward,
        }  # fmt: skip

    def restored(self) -> None:
        """Take up what follows from the arrays, after they have been filled in."""
        self.norm, self.rank = sqrt(float(self._seen[0])), float(self._seen[1])
        self.top = (int(self._seen[2]), int(self._seen[3]))


@compiled
def _store(
    idx: Cube, val: Cube, at: int, post_idx: Array, post_val: Array, pre_idx: Array, pre_val: Array
) -> None:
    """Put two beliefs, each scaled to length one, in place of a factor; nothing in it where one of them is empty."""
    idx[:, at], val[:, at] = 0, 0.0
    if post_idx.size == 0 or pre_idx.size == 0:
        return
    for side in range(2):
        units, values = (post_idx, post_val) if side == 0 else (pre_idx, pre_val)
        norm = length(values)
        for j in range(units.size):
            idx[side, at, j], val[side, at, j] = units[j], values[j] / norm


@compiled
def _replace(
    rule: tuple[float, float, float], gains: Array, idx: Cube, val: Cube, gram: Matrix, dense: Array, seen: Array
) -> tuple[float, float]:
    """Let all factors fade, give the new one its weight, clamp; note and return squared norm and participation."""
    keep, gain, bound = rule
    ranks, at = gains.size, int(seen[4])
    square = seen[0] * keep * keep
    for factor in range(ranks):
        gains[factor] *= keep
    square -= _share(gains, gram, at)
    gains[at] = gain
    _products(idx, val, gram, dense, at)
    square += _share(gains, gram, at)
    if at == 0:  # once a round exactly, so that rounding does not pile up
        square = 0.0
        for a in range(ranks):
            for b in range(ranks):
                square += gains[a] * gains[b] * gram[a, b]
    if square > bound * bound:
        shrink = bound / sqrt(square)
        for factor in range(ranks):
            gains[factor] *= shrink
        square = bound * bound
    second = fourth = 0.0
    for factor in range(ranks):
        power = gains[factor] * gains[factor] * gram[factor, factor]
        second += power
        fourth += power * power
    seen[0] = max(square, 0.0)
    seen[1] = second * second / fourth if fourth > 0.0 else 0.0
    seen[4] = (at + 1) % ranks
    return seen[0], seen[1]


@compiled
def _products(idx: Cube, val: Cube, gram: Matrix, dense: Array, at: int) -> None:
    """Fill in the inner products of one factor with all."""
    for side in range(2):
        dense[:] = 0.0
        for j in range(idx.shape[2]):
            dense[idx[side, at, j]] += val[side, at, j]
        for factor in range(gram.shape[0]):
            product = 0.0
            for j in range(idx.shape[2]):
                product += val[side, factor, j] * dense[idx[side, factor, j]]
            gram[at, factor] = product if side == 0 else gram[at, factor] * product
    for factor in range(gram.shape[0]):
        gram[factor, at] = gram[at, factor]


@compiled
def _share(gains: Array, gram: Matrix, at: int) -> Any:
    """Return what one factor contributes to the squared norm, alone and with the others."""
    others = 0.0
    for factor in range(gains.size):
        others += gains[factor] * gram[at, factor]
    return gains[at] * (2.0 * others - gains[at] * gram[at, at])


@compiled
def _push(
    idx: Array, val: Array, gains: Array, ends: Cube, ends_val: Cube, dense: Array, push: Array, seen: Array
) -> tuple[int, int]:
    """Fill in ``sigma b``; note and return the strongest synapse of the factor that weighs most in it."""
    norm = length(val)
    dense[:] = 0.0
    push[:] = 0.0
    for at in range(idx.size):
        dense[idx[at]] = val[at] / norm
    most, strongest = 0.0, -1
    for factor in range(gains.size):
        if gains[factor] == 0.0:
            continue
        match = 0.0
        for j in range(ends.shape[2]):
            match += ends_val[1, factor, j] * dense[ends[1, factor, j]]
        weight = gains[factor] * match
        for j in range(ends.shape[2]):
            push[ends[0, factor, j]] += weight * ends_val[0, factor, j]
        if abs(weight) > most:
            most, strongest = abs(weight), factor
    seen[2] = seen[3] = -1.0
    if strongest >= 0:
        for side in range(2):
            seen[2 + side] = ends[side, strongest, np.argmax(ends_val[side, strongest])]
    return int(seen[2]), int(seen[3])
