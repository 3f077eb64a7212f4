"""From an engine's raw score to a probability that can be believed, and the figures that say whether it can.

A calibrator is fitted on scores of examples that the engine had not seen (grouped out-of-fold predictions). Two are
tried, and the one with the lower log loss on groups it had not seen either is kept: Platt's sigmoid (Platt 1999, with
his smoothed targets), which never turns a score around, and isotonic regression (pool adjacent violators; Zadrozny &
Elkan 2002), each step drawn towards the base rate by two examples, linear between steps.
"""

import math
from typing import Literal, NamedTuple

import numpy as np

from alphatrade.actors.compiled import compiled
from alphatrade.actors.hmm_kernel import natural_log
from alphatrade.reflection.rim.linear import Bools, Floats, Ints, Vector, log_loss, sigmoid, sigmoids
from alphatrade.risk.errors import ConfigError

Method = Literal["platt", "isotonic"]
CLOSE = 1e-4  # no confidence is closer than this to 0 or 1
BINS = 10
_ROUNDS = 100  # of Newton's method at most; some ten suffice


class Calibration(NamedTuple):
    """
    A map from scores to probabilities that never decreases.

    Attributes
    ----------
    method : {"platt", "isotonic"}
    numbers : ndarray of float64, shape (2,) or (2, k)
        Platt: slope and offset of the logit. Isotonic: scores, ascending, and their probabilities.
    """

    method: Method
    numbers: Floats


class Bin(NamedTuple):
    """Examples of about the same confidence: how many, their mean confidence, and the share that beat no-op."""

    examples: int
    confidence: float
    share: float


@compiled
def _newton(score: Vector, beat: Bools, high: float, low: float, rounds: int) -> tuple[float, float]:
    """Return slope and offset that make Platt's smoothed targets likeliest."""
    slope, offset = 0.0, 0.0
    for _ in range(rounds):
        a = b = 0.0
        aa, ab, bb = 1e-9, 0.0, 1e-9
        for at in range(score.size):
            p = sigmoid(slope * score[at] + offset)
            miss, weight = p - (high if beat[at] else low), p * (1.0 - p)
            a += miss * score[at]
            b += miss
            aa += weight * score[at] * score[at]
            ab += weight * score[at]
            bb += weight
        det = aa * bb - ab * ab
        if not det > 0.0:
            break
        down, aside = (bb * a - ab * b) / det, (aa * b - ab * a) / det
        far = max(abs(down), abs(aside))
        keep = 1.0 if far <= 2.0 else 2.0 / far  # a short step cannot overshoot
        slope -= keep * down
        offset -= keep * aside
        if far < 1e-10:
            break
    return slope, offset


def fit_platt(score: Vector, beat: Bools) -> Calibration:
    """Fit Platt's sigmoid; a slope below 0 becomes 0, where every confidence is the base rate."""
    wins = int(beat.sum())
    losses = len(beat) - wins
    high, low = (wins + 1.0) / (wins + 2.0), 1.0 / (losses + 2.0)
    mean = math.fsum(score) / len(score)
    spread = math.sqrt(math.fsum((score - mean) ** 2) / len(score)) or 1.0
    slope, offset = _newton((score - mean) / spread, beat, high, low, _ROUNDS)
    if slope <= 0.0:
        base = (wins + 1.0) / (len(beat) + 2.0)
        return Calibration("platt", np.array([0.0, natural_log(base / (1.0 - base))]))
    return Calibration("platt", np.array([slope / spread, offset - slope * mean / spread]))


def fit_isotonic(score: Vector, beat: Bools) -> Calibration:
    """Fit steps by pooling adjacent violators; a step reaches from its lowest score to its highest."""
    base = (int(beat.sum()) + 1.0) / (len(beat) + 2.0)
    blocks: list[list[float]] = []  # lowest score, highest, wins, examples
    order = np.argsort(score, kind="stable")
    before = None
    for value, won in zip(score[order].tolist(), beat[order].tolist(), strict=True):
        if value == before:  # equal scores are one observation
            blocks[-1][2:] = [blocks[-1][2] + won, blocks[-1][3] + 1.0]
        else:
            _pool(blocks)
            blocks.append([value, value, float(won), 1.0])
        before = value
    _pool(blocks)
    edges = [edge for low, high, _, _ in blocks for edge in (low, high)]
    shares = np.maximum.accumulate([(wins + 2.0 * base) / (count + 2.0) for _, _, wins, count in blocks])
    return Calibration("isotonic", np.array([edges, np.repeat(shares, 2)]))


def _pool(blocks: list[list[float]]) -> None:
    """Join the last block with those before it, until shares ascend."""
    while len(blocks) > 1 and blocks[-2][2] * blocks[-1][3] >= blocks[-1][2] * blocks[-2][3]:
        _, high, wins, count = blocks.pop()
        blocks[-1][1:] = [high, blocks[-1][2] + wins, blocks[-1][3] + count]


def calibrate(score: Vector, beat: Bools, fold: Ints) -> Calibration:
    """
    Choose and fit a calibrator.

    Parameters
    ----------
    score : ndarray of float64, shape (n,)
        Out of fold: by an engine that has not learnt from the example's group.
    beat : ndarray of bool, shape (n,)
    fold : ndarray of int64, shape (n,)
        By which the choice is made: each is judged on folds it was not fitted on.
    """
    fits = (fit_platt, fit_isotonic)
    judged = []
    for fit in fits:
        p = np.empty(len(score))
        for out in np.unique(fold).tolist():
            p[fold == out] = confidence(score[fold == out], fit(score[fold != out], beat[fold != out]))
        judged.append(log_loss(p, beat))
    return fits[judged.index(min(judged))](score, beat)


def confidence(score: Vector, calibration: Calibration) -> Vector:
    """Return the calibrated probability of each score, within (0, 1)."""
    numbers, p = calibration.numbers, np.empty(len(score))
    if calibration.method == "platt":
        sigmoids(numbers[0] * score + numbers[1], p)
    else:
        at, share = numbers
        right = np.clip(np.searchsorted(at, score), 1, max(1, len(at) - 1))
        left, right = right - 1, np.minimum(right, len(at) - 1)
        gap = np.where(at[right] > at[left], at[right] - at[left], 1.0)
        p = share[left] + np.clip((score - at[left]) / gap, 0.0, 1.0) * (share[right] - share[left])
        p = np.minimum(p, share[right])  # rounding must not lift it above the step that comes next
    return np.clip(p, CLOSE, 1.0 - CLOSE)


def check_calibration(calibration: Calibration) -> None:
    """
    Refuse a calibration that could turn a score around or leave (0, 1).

    Raises
    ------
    ConfigError
        Naming what is wrong with it.
    """
    numbers = calibration.numbers
    if calibration.method == "platt":
        right = numbers.shape == (2,) and bool(numbers[0] >= 0.0)
    else:
        right = numbers.ndim == 2 and numbers.shape[0] == 2 and numbers.shape[1] > 0
        right = right and bool((np.diff(numbers) >= 0).all())
        right = right and bool(numbers[1, 0] > 0 and numbers[1, -1] < 1)
    if not right:
        raise ConfigError("model.calibration", calibration.method, "a map to (0, 1) that never decreases")


def reliability(confidence: Vector, beat: Bools, bins: int = BINS) -> list[Bin]:
    """
    Return the reliability table: examples by ascending confidence, in about equally many per bin.

    Equal confidences are never divided: their order says nothing, and bins of it would measure noise.
    """
    count = len(confidence)
    if count == 0 or len(beat) != count or bins < 1:
        raise ConfigError("confidence", f"{count} for {len(beat)} outcomes", "as many as outcomes, and at least one")
    order = np.argsort(confidence, kind="stable")
    ordered, won = confidence[order], beat[order]
    table, start = [], 0
    for number in range(1, bins + 1):
        end = number * count // bins
        if end > start:
            end = int(np.searchsorted(ordered, ordered[end - 1], "right"))
            mean = math.fsum(ordered[start:end]) / (end - start)
            table.append(Bin(end - start, mean, int(won[start:end].sum()) / (end - start)))
            start = end
    return table


def expected_calibration_error(confidence: Vector, beat: Bools, bins: int = BINS) -> float:
    """Return the mean distance of confidence and outcome over equal-mass bins (Guo et al. 2017, equation 3)."""
    table = reliability(confidence, beat, bins)
    return math.fsum(one.examples * abs(one.confidence - one.share) for one in table) / len(confidence)


def brier(confidence: Vector, beat: Bools) -> float:
    """Return the mean squared distance of confidence and outcome (Brier 1950)."""
    return math.fsum((np.asarray(confidence) - beat) ** 2) / len(beat)


def base_brier(beat: Bools) -> float:
    """Return the Brier score of always saying the base rate."""
    rate = int(np.sum(beat)) / len(beat)
    return rate * (1.0 - rate)

