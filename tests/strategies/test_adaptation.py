"""Adaptation: nothing is learnt before it is known, a broken mechanism is switched off, state survives to the bit."""

from typing import Any

import msgspec
import numpy as np
import pytest

from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.adaptation import Adaptation, adaptation
from alphatrade.strategies.hindsight import Experience
from alphatrade.strategies.learned import pack, unpack
from alphatrade.strategies.policy import FastWeightsSpec, LearningSpec
from alphatrade.strategies.shadow import Costs
from tests.strategies.beliefs import D, K, N, belief, code

TABLE = dict.fromkeys(("flat-low", "up-low"), "maker")
TACTICS = {name: {"kind": kind, "params": {}} for name, kind in (("flat", "flat"), ("maker", "two_sided_maker"), ("stay", "flat"))}
FLAT, MAKER = 0, 1


def build(linear_attention: bool = True, fast_weights: bool = True, rank: int = 64) -> Adaptation:
    router = {"kind": "table", "table": TABLE, "min_hold": 0, "min_confidence": 0.0, "allowed": {}}
    flags = {"linear_attention": linear_attention, "fast_weights": fast_weights}
    plain = LearningSpec(fast_weights=FastWeightsSpec(rank=rank)).model_dump(mode="json")
    features = [f"f{at}" for at in range(D)]
    return adaptation(router, flags, plain, {"n": N, "k": K, "seed": 7}, TACTICS, features, 5, Costs(0.0, 0.0, 0.0), False)


def experience(step: int, known: int, values: tuple[float, ...], seed: int = 0) -> Experience:
    key = code(np.random.default_rng(seed))
    return Experience(step, step * 10, known, *key, *key, MAKER, True, values)


def walk(found: Adaptation, steps: range, seed: int = 1) -> list[Any]:
    """Decide over random beliefs; return tactic and scores of every step."""
    rng, out = np.random.default_rng(seed), []
    mids = 100 + np.cumsum(rng.normal(0, 0.05, steps.stop))
    for step in range(steps.stop):
        key, signal = code(rng), rng.normal()
        if step in steps:
            seen = belief(step, mids[step], "flat-low", *key, signal=signal, high=mids[step] + 0.2, low=mids[step] - 0.2)
            _, route = found.decide(seen, 10.0 * np.sin(step), 5_000.0)
            out.append((route.tactic, route.scores))
    return out


def test_an_outcome_that_arrives_early_is_used_when_it_is_known() -> None:
    found, key = build(fast_weights=False), code(np.random.default_rng(0))
    for step in range(60):  # all planted now, and known at 1000
        found.take(experience(step, 1000, (50.0, 0.0, 0.0)))
    early = found.decide(belief(99, 100.0, "flat-low", *key), 0.0, 1.0)[1]
    assert (early.tactic, early.scores) == ("maker", (0.0, 0.0, 0.0)), "not a trace of it before"
    late = found.decide(belief(100, 100.0, "flat-low", *key), 0.0, 1.0)[1]
    assert late.tactic == "flat"
    assert late.scores[0] == pytest.approx(50.0)
    hasty = build(fast_weights=False)
    for step in range(60):
        hasty.take(msgspec.structs.replace(experience(step, 1000, (50.0, 0.0, 0.0)), known=0))
    assert hasty.decide(belief(99, 100.0, "flat-low", *key), 0.0, 1.0)[1].tactic == "flat", "the mutant uses it at once"


def test_a_nan_outcome_switches_off_what_learns_and_the_table_goes_on() -> None:
    found = build()
    walk(found, range(40))
    found.take(experience(3, 0, (0.0, float("nan"), 0.0)))
    routes = walk(found, range(40, 80))
    assert {tactic for tactic, _ in routes} == {"maker"}
    assert "outcome of maker at step 3: got nan" in found.faults["linear_attention"]
    assert "fast_weights" in found.faults, "it was told the same outcome"
    assert found.weights is None
    assert found.without.startswith("; linear_attention off: ")


def test_without_flags_nothing_runs_beside_the_table() -> None:
    plain = build(linear_attention=False, fast_weights=False)
    assert plain.hindsight is None
    assert plain.weights is None
    assert plain.arrays() == {}
    assert pack(plain, "p", "X") == b""


def test_what_was_learnt_is_taken_up_to_the_last_bit() -> None:
    found = build()
    walk(found, range(300))
    again = build()
    unpack(pack(found, "p", "X"), again, "p", "X")
    for name, array in found.arrays().items():
        assert array.tobytes() == again.arrays()[name].tobytes(), name
    assert found.weights is not None
    assert again.weights is not None
    assert (found.weights.norm, found.weights.rank, found.weights.top) == (again.weights.norm, again.weights.rank, again.weights.top)
    key = code(np.random.default_rng(9))
    for _ in range(3):
        for each in (found, again):
            each.weights.learn(1.5, *key, *key)
    assert found.weights.gains.tobytes() == again.weights.gains.tobytes(), "and learns on alike"


def damaged(data: bytes) -> dict[str, tuple[bytes, str]]:
    """Ways in which a saved state can be wrong, and what is said of each."""
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    return {
        "a bit": (bytes(flipped), "digest does not match"),
        "cut": (data[: len(data) // 2], "digest does not match"),
        "empty": (b"", "learned/ folder"),
        "foreign": (b"PAR1" * 100, "learned/ folder"),
    }


@pytest.mark.parametrize("what", ["a bit", "cut", "empty", "foreign"])
def test_a_damaged_state_is_refused_whole(what: str) -> None:
    found, again = build(), build()
    walk(found, range(100))
    data, message = damaged(pack(found, "p", "X"))[what]
    before = {name: array.tobytes() for name, array in again.arrays().items()}
    with pytest.raises(ConfigError, match=message):
        unpack(data, again, "p", "X")
    assert {name: array.tobytes() for name, array in again.arrays().items()} == before


def test_a_state_of_another_policy_instrument_or_shape_is_refused() -> None:
    found = build()
    walk(found, range(100))
    data = pack(found, "p", "X")
    with pytest.raises(ConfigError, match=r"learned\.policy: got 'p', expected what was learnt for q"):
        unpack(data, build(), "q", "X")
    with pytest.raises(ConfigError, match=r"learned\.instrument"):
        unpack(data, build(), "p", "Y")
    with pytest.raises(ConfigError, match=r"learned\.fast_weights\.gains: got '<f8 \(64,\)', expected <f8 \(32,\)"):
        unpack(data, build(rank=32), "p", "X")
    with pytest.raises(ConfigError, match=r"learned\.arrays"):
        unpack(data, build(fast_weights=False), "p", "X")


def test_refused_means_the_table_alone() -> None:
    found = build()
    found.refuse("a reason")
    assert {tactic for tactic, _ in walk(found, range(60))} == {"maker"}
    assert found.faults == {"linear_attention": "a reason", "fast_weights": "a reason"}
