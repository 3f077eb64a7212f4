"""The regime machine: finds planted regimes, does not flicker, says why it changed."""

from itertools import pairwise

import numpy as np
import pytest

from alphatrade.actors.cadence import Cadence
from alphatrade.actors.history import StepHistory
from alphatrade.actors.regime import REGIMES, RegimeFSM, RegimeParams
from alphatrade.risk.errors import ConfigError

PARAMS = RegimeParams(60, 1.2, 0.6, 20, 240, 1.15, 0.95, 5)


def run(returns: np.ndarray, params: RegimeParams = PARAMS) -> tuple[list[str], list[float], list[str]]:
    fsm, steps = RegimeFSM(params), StepHistory()
    names, confidences, causes = [], [], []
    for at, mid in enumerate(100.0 * np.cumprod(1.0 + returns)):
        steps.price(float(mid))
        steps.close(at)
        if fsm.update(steps):
            causes.append(fsm.cause)
        names.append(fsm.regime)
        confidences.append(fsm.confidence)
    return names, confidences, causes


def planted(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 1e-4, 4000)
    noise[1000:2000] += 5e-5
    noise[2000:3000] -= 5e-5
    noise[3000:3300] *= 4
    return noise


def test_planted_regimes_are_found() -> None:
    names, _, _ = run(planted())
    up = np.mean([n.startswith("up") for n in names[1100:2000]])
    down = np.mean([n.startswith("down") for n in names[2100:3000]])
    high = np.mean([n.endswith("high") for n in names[3030:3200]])
    quiet = np.mean([n.startswith(("up", "down")) for n in names[300:1000]])
    assert up > 0.8
    assert down > 0.8
    assert high > 0.8
    assert quiet < 0.5


def test_dwell_is_held_and_the_mutant_without_it_flickers() -> None:
    def shortest(dwell: int) -> int:
        names, _, _ = run(planted(), PARAMS._replace(dwell=dwell))
        changes = [i for i in range(1, len(names)) if names[i] != names[i - 1]]
        return min(np.diff(changes))

    assert shortest(5) >= 5
    assert shortest(1) < 5


def test_hysteresis_halves_the_flicker() -> None:
    changes = []
    for leave in (0.6, 1.19):
        names, _, _ = run(planted(), PARAMS._replace(trend_exit=leave, dwell=1))
        changes.append(sum(a != b for a, b in pairwise(names)))
    assert changes[0] < 0.7 * changes[1]


def test_causes_and_confidence_are_told() -> None:
    names, confidences, causes = run(planted())
    assert set(names) <= set(REGIMES)
    assert all(0.0 <= c <= 1.0 for c in confidences)
    assert causes
    assert all("trend" in cause or "volatility" in cause for cause in causes)


def test_cadence_by_events_seconds_and_bars() -> None:
    events = Cadence("events", 3, frozenset({"quote"}))
    assert [events.due(i) for i in range(6)] == [False, False, True, False, False, True]
    seconds = Cadence("seconds", 60, frozenset({"quote"}))
    stamps = [10, 59, 60, 61, 119, 130, 300, 301]
    assert [seconds.due(s * 10**9) for s in stamps] == [False, False, True, False, False, True, True, False]
    with pytest.raises(ConfigError, match=r"policy\.cadence\.kind"):
        Cadence("bars", 1, frozenset({"quote"}))
