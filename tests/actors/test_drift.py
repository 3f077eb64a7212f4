"""Drift statistics against arithmetic done by hand, river, and the run lengths they promise."""

import numpy as np
import pytest
from river.drift import PageHinkley

from alphatrade.actors import drift_design
from alphatrade.actors.drift import DriftFamily
from alphatrade.actors.drift_design import (
    KNEE,
    NORMAL,
    PH_LEAST,
    PH_SHARE,
    ROOM,
    Outcomes,
    calibrate,
    fresh,
    observe,
    soft,
)
from alphatrade.actors.drift_parts import Alarm, DriftParams
from alphatrade.actors.drift_saved import load, save

PARAMS = DriftParams(run_length=200.0, k=0.5, baseline=200, least=50, quiet=20, horizon=5)


def taught(rng: np.random.Generator, params: DriftParams = PARAMS) -> DriftFamily:
    """Return a family that has just begun to watch: overall and one tactic, scale about 1, windows apart."""
    family = DriftFamily(params)
    for n in range(10_000):
        assert not feed(family, float(rng.standard_normal()), n)
        if family.design is not None:
            return family
    raise AssertionError("never watched")


def feed(family: DriftFamily, value: float, n: int, side: int = 1) -> list[Alarm]:
    return family.traded("X", "maker", value, (100 * n, side), n, n)[1]


def test_the_soft_limit_is_monotone_bounded_and_exact_inside() -> None:
    grid = np.linspace(-60, 60, 4801)
    limited = np.array([soft(float(v)) for v in grid])
    assert (np.diff(limited) > 0).all()
    assert limited.max() < KNEE + ROOM
    inside = np.abs(grid) <= KNEE
    assert (limited[inside] == grid[inside]).all()
    assert limited == pytest.approx(-limited[::-1])


def test_the_charts_are_a_cusum_and_rivers_page_hinkley() -> None:
    rng = np.random.Generator(np.random.PCG64(3))
    x = rng.standard_t(4, 500) + np.where(np.arange(500) > 250, -0.7, 0.0)
    state, k = fresh(1), 0.5
    state[0, :3] = 80.0, 0.1, 0.8
    theirs = PageHinkley(PH_LEAST, k / 2, 6.0 / PH_SHARE, 1.0, "down")
    mean, away, count, down, up, alarmed = 0.1, 0.8, 80, 0.0, 0.0, []
    for n, value in enumerate(x.tolist()):
        score = soft((value - mean) / (NORMAL * away))
        down, up = max(0.0, down - score - k), max(0.0, up + score - k)
        count += 1
        away += (abs(value - mean) - away) / count
        mean += (value - mean) / count
        larger, said = observe(state, 0, value, 0.0, k, True)
        assert said == pytest.approx(score)
        assert state[0, 4:6] == pytest.approx([down, up])
        ours = PH_SHARE * (state[0, 9] - state[0, 8])
        theirs.update(said)
        assert (ours > 6.0 and n + 1 >= PH_LEAST) == theirs.drift_detected
        assert larger == pytest.approx(max(down, ours if n + 1 >= PH_LEAST else 0.0))
        if theirs.drift_detected:
            alarmed.append(n)
            state[0, 6:] = fresh(1)[0, 6:]
            theirs = PageHinkley(PH_LEAST, k / 2, 6.0 / PH_SHARE, 1.0, "down")
            state[0, 4] = down = 0.0
    assert alarmed, "else nothing was compared"


def test_what_two_windows_share_is_taken_out() -> None:
    state = fresh(1)
    state[0, :3] = 50.0, 0.0, 1.0 / NORMAL
    observe(state, 0, 2.0, 0.0, 0.5, False)
    _, score = observe(state, 0, 2.0, 0.8, 0.5, False)
    assert score == pytest.approx((2.0 - 0.8 * 2.0) / 0.6)
    family = DriftFamily(PARAMS)
    family.find("X", "overall")
    assert family._overlap(0, (10, 1)) == 0.0
    assert family._overlap(0, (12, 1)) == pytest.approx(0.6)
    assert family._overlap(0, (13, -1)) == pytest.approx(-0.8)
    assert family._overlap(0, (13, -1)) == pytest.approx(0.8), "the same window, as far as we go"
    assert family._overlap(0, (18, 1)) == 0.0


def test_one_outcome_beyond_h_and_k_alarms_at_once_and_one_short_of_it_does_not() -> None:
    for far, expected in ((1.02, ["alert"]), (0.97, ["warn"])):
        family = taught(np.random.Generator(np.random.PCG64(11)))
        assert family.design is not None
        n = family.outcomes
        while family.state[:, 4].max() > 0.0:
            feed(family, 2.0, n)
            n += 1
        row = family.state[np.argmin(family.state[:, 2])]
        score = far * (family.design.threshold + PARAMS.k)
        z = KNEE + (score - KNEE) / (1.0 - (score - KNEE) / ROOM)
        alarms = feed(family, float(row[1] - z * NORMAL * row[2]), n)
        assert [alarm.level for alarm in alarms] == expected, far


def test_a_shift_of_five_sigma_is_seen_within_two_outcomes() -> None:
    seen = 0
    for seed in range(100):
        rng = np.random.Generator(np.random.PCG64(seed))
        family = taught(rng)
        n = family.outcomes
        seen += any(a.level == "alert" for i in range(2) for a in feed(family, float(rng.standard_normal()) - 5.0, n + i))
    assert seen >= 95


def test_the_family_alarms_as_often_as_designed_and_the_textbook_threshold_far_more_often() -> None:
    def run_length(design: float, h: float | None, seed: int) -> float:
        lengths = []
        for run in range(60):
            rng = np.random.Generator(np.random.PCG64(1000 * seed + run))
            n = 300 + int(12 * design)
            steps = rng.standard_t(4, n + 4)
            x = np.convolve(steps, np.ones(5), "valid")
            rho = np.full((n, 2), 0.8)
            stream = np.stack([np.zeros(n, np.int64), np.full(n, -1)], axis=1)
            part = Outcomes(x[:300], stream[:300], rho[:300] if h is None else 0.0 * rho[:300])
            state = drift_design.baseline(part, 1)
            level = calibrate(part, 1, design, 0.5).threshold if h is None else h
            shared = 0.8 if h is None else 0.0
            highs = (observe(state, 0, float(v), shared, 0.5, True)[0] for v in x[300:])
            lengths.append(next((i + 1 for i, high in enumerate(highs) if high > level), n - 300))
        return float(np.mean(lengths))

    assert 60 <= run_length(100.0, None, 1) <= 160
    assert run_length(100.0, 4.0, 1) < 45, "the mutant: h = 4 of the textbook on overlapping outcomes"


def test_severity_climbs_and_comes_back_one_level_a_quiet_period() -> None:
    family = taught(np.random.Generator(np.random.PCG64(5)))
    n, levels = family.outcomes, []
    for _ in range(2):
        alarms: list[Alarm] = []
        while not any(alarm.level in ("alert", "flat") for alarm in alarms):
            alarms = feed(family, -6.0, n)
            levels += [alarm.level for alarm in alarms]
            n += 1
    assert levels[-1] == "flat"
    assert levels.count("alert") == 1
    assert family.level("X") == 3
    learnt = family.state[:, :3].copy()
    for _ in range(10):
        assert not feed(family, -9.0, n), "flat is the last level"
        n += 1
    assert (family.state[:, :3] == learnt).all(), "what is under alarm is no reference"
    back = []
    for _ in range(3 * PARAMS.quiet + 30):
        back += [alarm.level for alarm in feed(family, 1.0, n)]
        n += 1
    assert back == ["recovered"] * 3
    assert family.level("X") == 0


def test_two_instruments_have_severities_of_their_own() -> None:
    family = taught(np.random.Generator(np.random.PCG64(5)))
    feed(family, -50.0, family.outcomes)
    feed(family, -50.0, family.outcomes)
    assert family.level("X") >= 2
    family.traded("Y", "maker", -50.0, (0, 1), 0, 1)
    assert family.level("Y") == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_refused_and_changes_nothing(value: float) -> None:
    family = taught(np.random.Generator(np.random.PCG64(5)))
    before, outcomes = family.state.copy(), family.outcomes
    with pytest.raises(ValueError, match="expected a finite number"):
        feed(family, value, 7)
    assert (family.state == before).all()
    assert family.outcomes == outcomes


def test_what_was_learnt_comes_back_and_what_is_damaged_does_not() -> None:
    family = taught(np.random.Generator(np.random.PCG64(5)))
    saved = save(family)
    again = DriftFamily(PARAMS)
    load(again, saved)
    assert save(again) == saved
    assert again.design == family.design
    for n in range(family.outcomes, family.outcomes + 20):
        for one in (family, again):
            if n == family.outcomes:
                one.state[:, 3:] = fresh(len(one.state))[:, 3:]
        feed(family, -1.5, n)
        feed(again, -1.5, n)
    assert (family.state == again.state).all()
    other = DriftFamily(PARAMS._replace(k=0.7))
    family.state[0, 1] = np.nan
    for bytes_, why in ((saved[:-3], "damaged"), (b"", "damaged"), (saved, "expected version"), (save(family), "cannot be")):
        fresh_one = other if why == "expected version" else DriftFamily(PARAMS)
        with pytest.raises(ValueError, match=why):
            load(fresh_one, bytes_)
        assert fresh_one.outcomes == 0
        assert not fresh_one.streams


def test_a_threshold_is_the_same_however_often_it_is_asked_for() -> None:
    rng = np.random.Generator(np.random.PCG64(9))
    stream = np.stack([np.zeros(300, np.int64), np.full(300, -1)], axis=1)
    seen = Outcomes(rng.standard_normal(300), stream, np.zeros((300, 2)))
    first = calibrate(seen, 1, 150.0, 0.5)
    assert first == calibrate(seen, 1, 150.0, 0.5)
    assert first.threshold < calibrate(seen, 1, 600.0, 0.5).threshold
