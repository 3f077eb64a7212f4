"""Calibration: a map from scores to probabilities, and the figures that would notice a wrong one."""

import numpy as np
import pytest

from alphatrade.reflection.rim.calibration import (
    Calibration,
    base_brier,
    brier,
    calibrate,
    check_calibration,
    confidence,
    expected_calibration_error,
    fit_isotonic,
    fit_platt,
    reliability,
)
from alphatrade.risk.errors import ConfigError


def draw(n, seed, chance_of):
    rng = np.random.Generator(np.random.PCG64(seed))
    score = rng.standard_normal(n) * 2.0
    chance = chance_of(score)
    return score, rng.random(n) < chance, rng.integers(0, 5, n), chance


def logistic(score):
    return 1.0 / (1.0 + np.exp(-(0.5 * score - 1.0)))


def steps(score):
    return np.select([score < -1.0, score < 1.5], [0.1, 0.15], 0.9)


@pytest.mark.parametrize("chance_of", [logistic, steps])
def test_known_probabilities_are_found(chance_of):
    score, beat, fold, _ = draw(6_000, 1, chance_of)
    found = calibrate(score, beat, fold)
    unseen, outcome, _, chance = draw(8_000, 2, chance_of)
    p = confidence(unseen, found)
    assert np.abs(p - chance).mean() < 0.02
    assert expected_calibration_error(p, outcome) <= 0.03
    assert brier(p, outcome) < base_brier(outcome) - 0.02
    raw = 1.0 / (1.0 + np.exp(-unseen))
    assert expected_calibration_error(raw, outcome) > 0.08, "the scores themselves are no probabilities"


def test_the_better_map_is_chosen():
    score, beat, fold, _ = draw(6_000, 1, logistic)
    assert calibrate(score, beat, fold).method == "platt"
    score, beat, fold, _ = draw(6_000, 1, steps)
    assert calibrate(score, beat, fold).method == "isotonic"


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_confidence_never_decreases_with_the_score_and_stays_inside(fit):
    score, beat, _, _ = draw(500, 3, logistic)
    found = fit(score, beat)
    check_calibration(found)
    p = confidence(np.linspace(-1e6, 1e6, 20_001), found)
    assert (np.diff(p) >= 0).all()
    assert 0 < p.min() < p.max() < 1
    p = confidence(np.linspace(-8, 8, 2_001), found)
    assert (np.diff(p) >= 0).all()
    assert p[-1] - p[0] > 0.3


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_a_score_that_misleads_is_not_turned_around(fit):
    score, beat, _, _ = draw(4_000, 4, lambda s: 1.0 - logistic(s))
    p = confidence(score, fit(score, beat))
    assert np.ptp(np.sort(p)[40:-40]) < 0.1
    assert p.mean() == pytest.approx(beat.mean(), abs=0.01)


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
@pytest.mark.parametrize("won", [False, True])
def test_one_outcome_only_is_no_certainty(fit, won):
    score, beat = np.linspace(-1, 1, 50), np.full(50, won)
    p = confidence(score, fit(score, beat))
    assert ((0.9 if won else 0.0) < p).all()
    assert (p < (1.0 if won else 0.1)).all()


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_equal_scores_have_the_base_rate(fit):
    beat = np.arange(100) % 4 == 0
    p = confidence(np.full(100, 0.3), fit(np.full(100, 0.3), beat))
    assert np.ptp(p) == 0
    assert p[0] == pytest.approx(0.25, abs=0.02)


def test_figures_by_hand():
    p = np.array([0.1, 0.1, 0.3, 0.3, 0.8, 0.8])
    beat = np.array([False, False, True, False, True, True])
    table = reliability(p, beat, 3)
    assert [one.examples for one in table] == [2, 2, 2]
    assert [one.share for one in table] == [0.0, 0.5, 1.0]
    assert expected_calibration_error(p, beat, 3) == pytest.approx((0.1 + 0.2 + 0.2) / 3)
    assert brier(p, beat) == pytest.approx((0.01 + 0.01 + 0.49 + 0.09 + 0.04 + 0.04) / 6)
    assert base_brier(beat) == 0.25


def test_bins_do_not_divide_equal_confidences():
    beat = np.arange(100) < 50
    assert [one.examples for one in reliability(np.full(100, 0.5), beat)] == [100]
    assert expected_calibration_error(np.full(100, 0.5), beat) == 0.0, "in this order, ten bins would say 0.5"


def test_overconfidence_is_seen():
    _, beat, _, chance = draw(4_000, 5, logistic)
    assert expected_calibration_error(chance, beat) < 0.03
    bold = 1.0 / (1.0 + ((1.0 - chance) / chance) ** 3)
    assert expected_calibration_error(bold, beat) > 0.08


def test_no_examples_are_no_figure():
    with pytest.raises(ConfigError, match="confidence"):
        reliability(np.empty(0), np.empty(0, bool))


@pytest.mark.parametrize(
    "numbers",
    [
        ("platt", np.array([-1.0, 0.0])),
        ("platt", np.array([1.0])),
        ("isotonic", np.array([[0.0, 1.0], [0.6, 0.4]])),
        ("isotonic", np.array([[1.0, 0.0], [0.4, 0.6]])),
        ("isotonic", np.array([[0.0, 1.0], [0.0, 0.6]])),
        ("isotonic", np.empty((2, 0))),
    ],
)
def test_a_map_that_is_none_is_refused(numbers):
    with pytest.raises(ConfigError, match="never decreases"):
        check_calibration(Calibration(*numbers))
