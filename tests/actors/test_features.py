"""Features against plain formulas, and that none of them can look ahead."""

import math

import numpy as np
import pytest

from alphatrade.actors.features import BUILT_IN, Feature, build_feature
from alphatrade.actors.history import SIZE, StepHistory
from alphatrade.risk.errors import ConfigError

ALL = frozenset({"quote", "spread", "size", "trade", "volume", "aggressor", "bar"})
STEP_NS = 60_000_000_000


def walk(n: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 100.0 * np.cumprod(1.0 + 1e-4 * rng.standard_normal(n))


def feed(steps: StepHistory, mid: float, at: int, volume: float = 1.0, sign: int = 1) -> None:
    steps.quotes([mid * 0.9999], [mid * 1.0001])
    steps.sizes(3.0, 1.0)
    steps.trade(volume, sign)
    steps.close(at * STEP_NS)


def values(kind: str, n: int, mids: np.ndarray) -> list[float]:
    feature = build_feature("x", kind, n, ALL)
    steps, out = StepHistory(), []
    for at, mid in enumerate(mids):
        feed(steps, float(mid), at)
        out.append(feature.value(steps))
    return out


def test_return_is_the_change_over_n_steps() -> None:
    mids = walk(50)
    assert values("ret", 5, mids)[30] == pytest.approx((mids[30] / mids[25] - 1) * 1e4)


def test_trend_is_the_efficiency_ratio() -> None:
    mids = walk(80)
    window = mids[79 - 20 : 80]
    want = (window[-1] - window[0]) / np.abs(np.diff(window)).sum()
    assert values("trend", 20, mids)[79] == pytest.approx(want)


def test_range_compares_with_the_steps_before_only() -> None:
    mids = np.concatenate([np.linspace(100, 101, 30), [103.0]])
    assert values("range", 20, mids)[-1] > 1.0, "a new high stands above the range that it breaks"


def test_range_survives_the_wrap_of_the_ring() -> None:
    mids = walk(SIZE + 40)
    window = mids[-31:-1]
    want = (mids[-1] - window.min()) / (window.max() - window.min())
    assert values("range", 30, mids)[-1] == pytest.approx(want, abs=0.02)


def test_realised_volatility_finds_the_size_of_moves() -> None:
    assert values("rvol", 50, walk(1000))[-1] == pytest.approx(1.0, rel=0.25)


@pytest.mark.parametrize("n", [1, 7, 60])
def test_the_range_is_that_of_the_n_steps_before(n: int) -> None:
    rng = np.random.default_rng(n)
    mids = 100.0 + np.cumsum(rng.integers(-2, 3, 3000)) * 0.5  # many ties, and longer than the ring
    got = values("range", n, mids)
    for at in range(n, len(mids)):
        high, low = mids[max(at - n - 1, 0) : at].max(), mids[max(at - n - 1, 0) : at].min()
        assert got[at] == (0.5 if high == low else (mids[at] - low) / (high - low))


def test_time_of_day_is_periodic_and_bounded() -> None:
    day = values("time_of_day", 0, np.full(2880, 100.0))
    assert min(day) == -1.0
    assert max(day) == pytest.approx(1.0)
    assert day[100] == day[1540]


def test_volume_surge_compares_with_what_was_usual_before() -> None:
    feature, steps = build_feature("x", "volume_surge", 20, ALL), StepHistory()
    for at in range(200):
        feed(steps, 100.0, at)
        feature.value(steps)
    feed(steps, 100.0, 200, volume=5.0)
    assert feature.value(steps) == pytest.approx(5.0, rel=0.01)


def test_flow_and_imbalance_carry_the_sign() -> None:
    flow, imbalance = build_feature("f", "flow", 5, ALL), build_feature("i", "imbalance", 2, ALL)
    steps = StepHistory()
    for at in range(20):
        feed(steps, 100.0, at, sign=-1)
        f, i = flow.value(steps), imbalance.value(steps)
    assert f == -1.0
    assert i == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("kind", sorted(BUILT_IN))
def test_no_feature_looks_ahead(kind: str) -> None:
    mids = walk(300)
    other = mids.copy()
    other[200:] *= 1.05
    assert values(kind, 12, mids)[:200] == values(kind, 12, other)[:200]


@pytest.mark.parametrize("kind", sorted(set(BUILT_IN) - {"time_of_day", "flow", "imbalance", "volume_surge", "spread"}))
def test_a_changed_tick_changes_the_feature(kind: str) -> None:
    mids = walk(300)
    other = mids.copy()
    other[290] *= 1.001
    assert values(kind, 12, mids)[290:] != values(kind, 12, other)[290:]


@pytest.mark.parametrize(("kind", "lacks"), [("imbalance", "size"), ("flow", "aggressor"), ("volume_surge", "volume"), ("spread", "spread")])
def test_a_feature_is_refused_by_name_where_the_tape_lacks_its_data(kind: str, lacks: str) -> None:
    with pytest.raises(ConfigError, match=rf"policy\.features\.mine.*{kind}.*{lacks}"):
        build_feature("mine", kind, 5, ALL - {lacks})


def test_a_feature_from_elsewhere_is_loaded_by_import_path() -> None:
    assert isinstance(build_feature("x", "tests.actors.test_features:Constant", 1, ALL), Constant)


@pytest.mark.parametrize("kind", ["nonsense", "math:pi", "no.such.module:Thing", "tests.actors.test_features:walk"])
def test_an_unusable_kind_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"policy\.features\.x\.kind"):
        build_feature("x", kind, 1, ALL)


class Constant(Feature):
    unit = "1"

    def value(self, steps: StepHistory) -> float:
        return math.pi
