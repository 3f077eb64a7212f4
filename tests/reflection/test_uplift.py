"""Uplift: nothing is found in nothing more often than the level says, something is found, and the same bits everywhere."""

import os
import subprocess
import sys
from math import inf, nan, sqrt
from typing import Any

import numpy as np
import pytest

from alphatrade.reflection import uplift as module
from alphatrade.reflection.uplift import DRAWS, FEWEST, uplift
from alphatrade.risk.errors import ConfigError
from tests.conftest import ROOT

TRIES, N, LEVEL = 200, 120, 0.95
TOLERANCE = 3.0 * sqrt(LEVEL * (1.0 - LEVEL) / TRIES)  # three standard errors of a share among so many tries


def pair(seed: int, follows: float, better: float = 0.0, n: int = N) -> tuple[list[float], list[float]]:
    """Return returns without and with a change: differences of 1 bp that follow the ones before, `better` bps on average."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_normal(n + 50) * sqrt(1.0 - follows**2)
    differences = [float(rng.standard_normal())]
    for shock in shocks[1:]:
        differences.append(follows * differences[-1] + float(shock))
    base = 10e-4 * rng.standard_normal(n)
    return base.tolist(), (base + 1e-4 * (np.array(differences[50:]) + better)).tolist()


def share(follows: float, better: float) -> float:
    """Return in how many of the tries the lower bound lies above 0."""
    return sum(uplift(*pair(seed, follows, better), LEVEL, seed).low > 0.0 for seed in range(TRIES)) / TRIES


@pytest.mark.parametrize("follows", [0.0, 0.3])
def test_nothing_is_found_in_nothing_more_often_than_the_level_says(follows: float) -> None:
    """Within three standard errors of 5 %, from 0.4 % to 9.6 %; also where periods hang together a little."""
    assert abs(share(follows, 0.0) - (1.0 - LEVEL)) <= TOLERANCE


def test_without_the_resamples_much_is_found_in_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: where the bound is the mean, half of nothing is something."""
    def still(differences: bytes, seed: int) -> Any:
        units = np.frombuffer(differences, np.int64)
        return np.full(DRAWS, units.sum())

    monkeypatch.setattr(module, "_resampled", still)
    assert share(0.0, 0.0) > 0.05 + TOLERANCE


def test_blocks_matter_where_periods_hang_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: periods drawn one by one make nothing look sure; the blocks take most of that back."""
    found = share(0.6, 0.0)

    def one_by_one(differences: bytes, seed: int) -> Any:
        units = np.frombuffer(differences, np.int64)
        drawn = np.random.default_rng(seed).integers(0, len(units), (DRAWS, len(units)))
        return np.sort(units[drawn].sum(axis=1))

    monkeypatch.setattr(module, "_resampled", one_by_one)
    assert share(0.6, 0.0) > found + 0.03


def test_what_is_better_is_found() -> None:
    """Half a standard deviation in 120 periods: the mean lies 5.5 standard errors above 0."""
    assert share(0.0, 0.5) > 0.95
    assert share(0.0, -0.5) == 0.0


def test_the_interval_is_about_the_difference_not_the_returns() -> None:
    base, changed = pair(1, 0.0, 0.5)
    found = uplift(base, changed, LEVEL, 1)
    other = uplift([0.0] * N, [b - a for a, b in zip(base, changed, strict=True)], LEVEL, 1)
    assert (found.n, found.moved) == (N, N)
    assert found.low < found.mean < found.high
    assert found.mean == pytest.approx(1e4 * float(np.mean(np.array(changed) - np.array(base))), abs=1e-6)
    assert other == pytest.approx(found, abs=1e-6)
    back = uplift(changed, base, LEVEL, 1)
    assert (back.mean, back.low, back.high) == pytest.approx((-found.mean, -found.high, -found.low), rel=0.1)


def test_a_higher_level_is_a_wider_interval() -> None:
    base, changed = pair(2, 0.0, 0.3)
    found = [uplift(base, changed, level, 5) for level in (0.8, 0.95, 0.99, 0.999, 1.0 - 1.0 / DRAWS)]
    assert [one.low for one in found] == sorted([one.low for one in found], reverse=True)
    assert [one.high for one in found] == sorted([one.high for one in found])
    assert len({one.mean for one in found}) == 1


def test_one_lucky_period_is_no_uplift() -> None:
    base = [0.0] * 100
    found = uplift(base, [0.5, *base[1:]], LEVEL, 1)
    assert (found.moved, found.mean) == (1, pytest.approx(50.0))
    assert found.low <= 0.0


def test_no_difference_is_exactly_none() -> None:
    base, _ = pair(3, 0.0)
    assert uplift(base, base, LEVEL, 1)[:5] == (0.0, 0.0, 0.0, N, 0)


def test_the_largest_returns_add_up_exactly() -> None:
    n = 1000
    found = uplift([-10.0] * n, [10.0] * n, LEVEL, 1)
    assert (found.mean, found.low, found.high) == pytest.approx((200_000.0,) * 3, rel=1e-15)


BAD: dict[str, tuple[list[float], list[float], float]] = {
    "too few": ([0.0] * (FEWEST - 1), [0.1] * (FEWEST - 1), LEVEL),
    "none": ([], [], LEVEL),
    "no pairs": ([0.0] * 10, [0.1] * 9, LEVEL),
    "more changed": ([0.0] * 9, [0.1] * 10, LEVEL),
    "nan": ([0.0] * 10, [0.1] * 9 + [nan], LEVEL),
    "nan on both sides": ([nan] * 10, [nan] * 10, LEVEL),
    "inf": ([inf] * 10, [0.1] * 10, LEVEL),
    "more than a thousand percent": ([0.0] * 10, [10.5] * 10, LEVEL),
    "no level": ([0.0] * 10, [0.1] * 10, nan),
    "a coin": ([0.0] * 10, [0.1] * 10, 0.5),
    "for sure": ([0.0] * 10, [0.1] * 10, 1.0),
    "beyond sure": ([0.0] * 10, [0.1] * 10, 1.5),
    "more than the resamples can show": ([0.0] * 10, [0.1] * 10, 1.0 - 0.5 / DRAWS),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_pair_of_returns_is_refused(name: str) -> None:
    base, changed, level = BAD[name]
    with pytest.raises(ConfigError) as caught:
        uplift(base, changed, level, 1)
    assert "\n" not in str(caught.value)


def test_another_seed_is_another_draw_of_the_same() -> None:
    base, changed = pair(4, 0.3, 0.3)
    lows = [uplift(base, changed, LEVEL, seed).low for seed in range(10)]
    assert len(set(lows)) > 1
    assert max(lows) - min(lows) < 0.05
    assert [uplift(base, changed, LEVEL, seed).low for seed in range(10)] == lows


def test_same_bits_in_other_processes() -> None:
    code = (
        "from tests.reflection.test_uplift import pair; from alphatrade.reflection.uplift import uplift;"
        "print([tuple(x.hex() if isinstance(x, float) else x for x in uplift(*pair(s, 0.3, 0.2, n), level, s))"
        " for s, n, level in ((1, 8, 0.9), (2, 120, 0.95), (3, 1000, 0.999))])"
    )
    poor = {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4", "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    said = set()
    for extra in ({"OPENBLAS_CORETYPE": "", "NPY_DISABLE_CPU_FEATURES": ""}, poor):
        env = {**os.environ, "PYTHONPATH": str(ROOT), **extra}
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, env=env, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        said.add(done.stdout)
    assert len(said) == 1
    assert "0x" in said.pop()
