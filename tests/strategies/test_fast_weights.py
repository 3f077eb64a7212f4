"""Fast weights: the rule, the bound, and what they do to a belief."""

import numpy as np
import pytest

from alphatrade.actors.belief import Encoder
from alphatrade.strategies.fast_weights import REWARD_WARM, FastWeights
from tests.strategies.beliefs import D, K, N, code

BOUND = 1.0


def weights(rank: int = 64, **changed: float) -> FastWeights:
    given = {"n": N, "k": K, "rank": rank, "halflife": 16, "eta": 0.05, "clip": 3.0, "bound": BOUND, **changed}
    return FastWeights(**given)  # type: ignore[arg-type]


def unit(idx: np.ndarray, val: np.ndarray) -> np.ndarray:
    out = np.zeros(N)
    out[idx] = val / np.linalg.norm(val)
    return out


def test_the_factors_are_the_rule_up_to_what_has_faded() -> None:
    sigma, dense, keep = weights(), np.zeros((N, N)), round(0.5 ** (1 / 16), 12)
    rng, before = np.random.default_rng(1), code(np.random.default_rng(0))
    mean = variance = seen = 0.0
    for _ in range(400):
        now, outcome = code(rng), float(rng.normal(1, 2))
        score = (outcome - mean) / np.sqrt(variance) if variance > 0 and seen >= REWARD_WARM else 0.0
        rate = max(1 / 500, 1 / (seen + 1))
        mean, variance = mean + rate * (outcome - mean), variance + rate * ((outcome - mean) ** 2 - variance)
        seen += 1
        dense = keep * dense + 0.05 * np.clip(score, -3, 3) * np.outer(unit(*now), unit(*before))
        sigma.learn(outcome, *now, *before)
        before = now
    lost = np.linalg.norm(dense - sigma.dense())
    assert lost < 3 * 0.05 * keep**64 / (1 - keep), "what is dropped has faded"
    assert sigma.norm == pytest.approx(np.linalg.norm(sigma.dense()))
    assert sigma.push(*before) == pytest.approx(sigma.dense() @ unit(*before))
    assert 1 <= sigma.rank <= 64
    assert min(sigma.top) >= 0


def adversary(sigma: FastWeights, steps: int) -> float:
    """Reward the same pair over and over, then punish, with outcomes of any size; return the largest norm."""
    rng, most = np.random.default_rng(4), 0.0
    pairs = [(*code(rng), *code(rng)) for _ in range(3)]
    for step in range(steps):
        size = float(10.0 ** rng.integers(-300, 300)) if step % 7 == 0 else float(step % 100 == 99) * 1e9
        sigma.learn(size * (1 if step // 500 % 2 else -1), *pairs[step // 50 % 3])
        most = max(most, sigma.norm)
        assert np.isfinite(sigma.push(*pairs[0][:2])).all()
    return most


def test_no_reward_lifts_the_norm_above_the_bound() -> None:
    assert adversary(weights(eta=1.0), 20_000) <= BOUND
    assert adversary(weights(eta=1.0, bound=1e9), 20_000) > BOUND, "the mutant without a clamp exceeds it"


def test_sigma_changes_the_belief_only_when_it_has_learnt() -> None:
    encoder, sigma, rng = Encoder(D, N, K, 7), weights(eta=2.0, bound=5.0), np.random.default_rng(2)
    z = rng.normal(size=D)
    before, now = code(rng), encoder.encode(z)
    assert np.array_equal(encoder.encode(z, sigma.push(*before))[0], now[0]), "nothing learnt, nothing added"
    after = code(rng, range(100, 128))
    for step in range(120):
        sigma.learn(float(rng.normal()) if step < 100 else 10.0, *after, *before)
    idx, _ = encoder.encode(z, sigma.push(*before))
    assert not np.array_equal(idx, now[0])
    assert len(set(idx.tolist()) & set(after[0].tolist())) > len(set(now[0].tolist()) & set(after[0].tolist()))


def test_a_nan_outcome_is_refused() -> None:
    sigma = weights()
    with pytest.raises(ValueError, match="got nan, expected a finite number"):
        sigma.learn(float("nan"), *code(np.random.default_rng(1)), *code(np.random.default_rng(2)))
    assert np.isfinite(sigma.reward).all()
