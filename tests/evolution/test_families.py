"""Families of trials: what does the same thing is one, and a converged search is not taken for an overfitted one."""

import numpy as np

from alphatrade.evolution.families import families
from alphatrade.evolution.statistics import overfitting


def siblings(seed: int, n: int, others: int, periods: int = 160) -> list[list[float]]:
    """Return trials that trade one thing with small differences, and others."""
    rng = np.random.default_rng(seed)
    one = rng.normal(0.004, 0.01, periods)
    return [*(one + rng.normal(0.0, 0.002, (n, periods))).tolist(), *rng.normal(0.0, 0.01, (others, periods)).tolist()]


def test_siblings_are_one_family_and_strangers_are_not() -> None:
    rows = siblings(1, 20, 8)
    found = families(rows)
    assert len(found) == 9
    assert np.allclose(found[0], np.mean(rows[:20], axis=0))
    assert found[1:] == [tuple(row) for row in rows[20:]]


def test_what_never_moves_is_one_family_and_an_opposite_is_another() -> None:
    row = siblings(2, 0, 1)[0]
    assert len(families([[0.0] * 160, [0.0] * 160, row, [-x for x in row], [2 * x for x in row]])) == 3


def test_a_converged_search_is_not_overfitted() -> None:
    """Mutation: one by one, siblings are ranked low among each other."""
    rows = siblings(3, 20, 8)
    assert overfitting(rows).pbo > 0.2
    assert overfitting(families(rows)).pbo < 0.05


def test_noise_stays_overfitted() -> None:
    found = [overfitting(families(siblings(seed, 0, 20))).pbo for seed in range(12)]
    assert abs(np.mean(found) - 0.5) < 0.12
