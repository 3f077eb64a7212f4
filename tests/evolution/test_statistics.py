"""The statistics of a selection: the papers' own examples, known truths, and what is refused."""

from collections.abc import Callable
from math import inf, nan, sqrt
from typing import Any

import numpy as np
import pytest

from alphatrade.evolution import statistics
from alphatrade.evolution.statistics import (
    Moments,
    deflated_sharpe,
    expected_maximum,
    lead,
    moments,
    overfitting,
    probabilistic_sharpe,
    sampling_variance,
)
from alphatrade.risk.errors import ConfigError

PAPER = Moments(n=1250, sharpe=2.5 / sqrt(250), skew=-3.0, kurtosis=10.0)  # Bailey and Lopez de Prado 2014, page 10
PAPER_V = 0.5 / 250


def noise(seed: int, *shape: int, mean: float = 0.0) -> list[Any]:
    return (mean + np.random.default_rng(seed).normal(0.0, 0.01, shape)).tolist()


# -- deflated Sharpe ratio


def test_the_worked_example_of_the_paper() -> None:
    assert expected_maximum(PAPER_V, 100) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe(PAPER, PAPER_V, 100) == pytest.approx(0.9004, abs=5e-5)
    assert deflated_sharpe(PAPER, PAPER_V, 46) == pytest.approx(0.9505, abs=5e-5)
    normal = PAPER._replace(skew=0.0, kurtosis=3.0)
    assert deflated_sharpe(normal, PAPER_V, 88) == pytest.approx(0.9505, abs=5e-5)


def test_deflation_is_what_the_example_turns_on() -> None:
    """Mutation: as if there had been one trial, the same series passes."""
    assert deflated_sharpe(PAPER, PAPER_V, 1) == probabilistic_sharpe(PAPER, 0.0) > 0.999


@pytest.mark.parametrize("trials", [10, 100, 1000])
def test_the_expected_maximum_is_that_of_normal_draws(trials: int) -> None:
    drawn = np.random.default_rng(3).normal(0.0, 0.2, (4000, trials)).max(axis=1).mean()
    assert expected_maximum(0.04, trials) == pytest.approx(drawn, rel=0.03)  # an approximation, best for many


def test_the_best_of_many_worthless_trials_seldom_passes() -> None:
    """In 100 searches of 50 trials of noise: with deflation almost never, without it almost always."""
    passed = naive = 0
    for seed in range(100):
        found = [moments(row) for row in noise(seed, 50, 120)]
        best = max(found, key=lambda each: each.sharpe)
        passed += deflated_sharpe(best, np.mean([sampling_variance(each) for each in found]), 50) >= 0.95
        naive += probabilistic_sharpe(best, 0.0) >= 0.95
    assert passed <= 2
    assert naive > 75


def test_the_sampling_variance_is_that_of_estimates() -> None:
    """Of series that are skewed and have fat tails, drawn again and again."""
    drawn = 0.6 - np.random.default_rng(8).lognormal(-0.7, 0.4, (3000, 250))
    found = [moments(row) for row in drawn.tolist()]
    measured = np.var([each.sharpe for each in found])
    assert np.mean([sampling_variance(each) for each in found]) == pytest.approx(measured, rel=0.1)
    assert measured != pytest.approx(1 / 249, rel=0.15), "normal returns would vary by less"


def test_moments_are_those_of_the_series() -> None:
    series = (np.random.default_rng(1).gamma(2.0, 0.01, 5000) - 0.01).tolist()
    found = moments(series)
    assert found.skew == pytest.approx(2 / sqrt(2), rel=0.1)
    assert found.kurtosis == pytest.approx(6.0, rel=0.15)
    assert found.sharpe == pytest.approx(np.mean(series) / np.std(series, ddof=1), abs=1e-9)
    assert moments(series[::-1]) == found, "whatever the order of the sums"


# -- overfitting


def test_noise_is_overfitted_half_of_the_time() -> None:
    found = [overfitting(noise(seed, 20, 60)).pbo for seed in range(12)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.1)


def test_a_real_edge_is_hardly_ever() -> None:
    rows = noise(5, 20, 320)
    rows[7] = noise(6, 320, mean=0.006)
    found = overfitting(rows)
    assert found.pbo < 0.01
    assert found[1:] == (12_870, 16, 320, 20)


def test_an_edge_that_was_fitted_to_one_half_is_found() -> None:
    """Each trial earns in a part of the time and loses it again: the best one is always the wrong one."""
    rows = np.array(noise(7, 16, 160))
    for at in range(16):
        rows[at, at * 10 : at * 10 + 10] += 0.05
    assert overfitting(rows.tolist()).pbo > 0.8


@pytest.mark.parametrize(("periods", "blocks"), [(24, 6), (35, 8), (63, 14), (64, 16), (1000, 16)])
def test_as_many_blocks_as_the_sample_allows(periods: int, blocks: int) -> None:
    found = overfitting(noise(1, 4, periods))
    assert found.blocks == blocks
    assert found.periods == periods // blocks * blocks


def test_trials_that_lead_together_are_ranked_by_the_worst() -> None:
    """Two trials level in one half, one of them bad in the other: which is named first makes no difference."""
    one = [0.01, 0.0] * 32
    rows = [one, [0.01] * 32 + [0.0] * 32, *noise(2, 4, 64)]
    assert overfitting(rows) == overfitting(rows[::-1])


# -- the incumbent


def test_a_lead_is_found_and_noise_is_not() -> None:
    assert lead(noise(1, 400, mean=0.002), noise(2, 400), seed=1).p < 0.01
    assert lead(noise(2, 400), noise(1, 400, mean=0.002), seed=1).p > 0.99
    low = [lead(noise(seed, 100), noise(1000 + seed, 100), seed, 199).p <= 0.05 for seed in range(300)]
    assert np.mean(low) == pytest.approx(0.05, abs=0.035)


def test_blocks_know_of_autocorrelation() -> None:
    """Returns that come in runs are fewer than they look: out of order they would be taken for many."""
    runs = np.repeat(noise(11, 40, mean=0.0025), 10)
    mixed = np.random.default_rng(1).permutation(runs)
    zero = [0.0] * len(runs)
    together = lead(runs.tolist(), zero, seed=1)
    assert together.block == 7
    assert together.p > 5 * lead(mixed.tolist(), zero, seed=1).p


def test_the_seed_decides() -> None:
    own, other = noise(1, 200, mean=0.001), noise(2, 200)
    assert lead(own, other, seed=1) == lead(own, other, seed=1)
    assert lead(own, other, seed=1) != lead(own, other, seed=2)


# -- refusals


FIGURES: dict[str, Callable[[list[float]], Any]] = {
    "moments": moments,
    "overfitting": lambda x: overfitting([x, x]),
    "lead": lambda x: lead(x, [0.0] * len(x), 1),
}


@pytest.mark.parametrize("bad", [[], [0.01] * 3, [0.01] * 50, [0.0] * 50, [nan, *noise(1, 50)], [inf, *noise(1, 50)]])
@pytest.mark.parametrize("figure", FIGURES)
def test_no_figure_is_made_up(bad: list[float], figure: str) -> None:
    with pytest.raises(ConfigError):
        FIGURES[figure](bad)


def test_other_refusals() -> None:
    for wrong in (
        lambda: expected_maximum(nan, 5),
        lambda: expected_maximum(-1.0, 5),
        lambda: expected_maximum(1.0, 0),
    ):
        with pytest.raises(ConfigError):
            wrong()
    with pytest.raises(ConfigError):
        overfitting([noise(1, 50)])
    with pytest.raises(ConfigError):
        overfitting([noise(1, 50), noise(2, 49)])
    with pytest.raises(ConfigError):
        overfitting(noise(1, 3, 23))
    with pytest.raises(ConfigError):
        lead(noise(1, 50), noise(1, 49), 1)
    with pytest.raises(ConfigError):
        probabilistic_sharpe(Moments(50, 2.0, 5.0, 1.0), 0.0)


def test_results_are_rounded() -> None:
    """Mutation: unrounded, a result has digits in which two machines may differ."""
    found = deflated_sharpe(PAPER, PAPER_V, 100)
    assert found == round(found, statistics.DIGITS)
