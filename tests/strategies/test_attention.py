"""Linear attention and its rivals: the equations, what they learn, and that they need what they learn from."""

import numpy as np
import pytest

from alphatrade.strategies.attention import Attention
from alphatrade.strategies.rivals import Ewma, LinUCB
from tests.strategies.beliefs import N, code

HERE, THERE = range(0, 40), range(60, 100)  # two kinds of moments
ALL = np.ones(3, np.bool_)


def attention(**changed: float) -> Attention:
    given = {"n": N, "tactics": 3, "horizon": 5, "halflife": 300, "prior": 10.0, "caution": 1.0, **changed}
    return Attention(**given)  # type: ignore[arg-type]


def teach(learner: object, rounds: int, seed: int = 1) -> None:
    """Tactic 1 earns in moments of one kind, tactic 2 in those of the other; 0 is the table's and earns nothing."""
    rng = np.random.default_rng(seed)
    for step in range(rounds):
        noise = rng.normal(0, 2, 3)
        gain = [0.0, 3.0, -3.0] if step % 2 else [0.0, -3.0, 3.0]
        learner.absorb(*code(rng, HERE if step % 2 else THERE), np.array(gain) + noise)  # type: ignore[attr-defined]


def answer(learner: object, units: range, seed: int = 7) -> int:
    return learner.advise(*code(np.random.default_rng(seed), units), 0, ALL)[0]  # type: ignore[attr-defined,no-any-return]


def test_the_read_out_is_that_of_the_equation() -> None:
    rng, learner, keep = np.random.default_rng(3), attention(), round(0.5 ** (1 / 300), 12)
    memory, mass = np.zeros((3, N)), np.zeros(N)
    for _ in range(200):
        (idx, val), values = code(rng), rng.normal(size=3)
        key = np.zeros(N)
        key[idx] = val / np.linalg.norm(val)
        memory, mass = keep * memory + np.outer(values, key), keep * mass + key
        learner.absorb(idx, val, values)
    idx, val = code(rng)
    query = np.zeros(N)
    query[idx] = val / np.linalg.norm(val)
    _, expected, _, _ = learner.advise(idx, val, 0, ALL)
    assert expected == pytest.approx(memory @ query / (mass @ query))


def test_the_decay_survives_when_its_scale_is_multiplied_out() -> None:
    fast = attention(halflife=10)
    rng = np.random.default_rng(1)
    for step in range(5000):
        fast.absorb(*code(rng), np.full(3, float(step)))
    assert np.isfinite(fast.memory).all()
    assert fast.scale[0] <= 1e100
    assert fast.advise(*code(rng), 0, ALL)[1][0] == pytest.approx(4999 - 14, abs=3), "the mean age is 1 / ln 2 half-lives"


@pytest.mark.parametrize("learner", [attention(), LinUCB(N, 3, 10.0, 1.0)], ids=["attention", "linucb"])
def test_it_learns_which_tactic_pays_when(learner: object) -> None:
    assert answer(learner, HERE) == 0, "nothing is known: the table decides"
    teach(learner, 600)
    assert [answer(learner, HERE), answer(learner, THERE)] == [1, 2]


def test_a_moving_average_cannot_tell_moments_apart() -> None:
    learner = Ewma(3, 50)
    teach(learner, 600)
    assert answer(learner, HERE) == answer(learner, THERE)


def test_without_its_memory_it_is_the_table() -> None:
    mutant = attention()
    mutant.absorb = lambda *_: None  # type: ignore[method-assign,assignment]
    teach(mutant, 600)
    assert [answer(mutant, HERE), answer(mutant, THERE)] == [0, 0]


def test_thin_memory_and_noise_leave_it_to_the_table() -> None:
    learner, rng = attention(), np.random.default_rng(2)
    departures = 0
    for _ in range(2000):
        departures += learner.advise(*code(rng), 0, ALL)[0] != 0
        learner.absorb(*code(rng), rng.normal(size=3))
    careless, departed = attention(caution=0.0, prior=0.0), 0
    for _ in range(2000):
        departed += careless.advise(*code(rng), 0, ALL)[0] != 0
        careless.absorb(*code(rng), rng.normal(size=3))
    assert departures < 0.25 * departed, "the mutant without uncertainty departs from the table most of the time"


def test_who_is_not_allowed_is_not_chosen() -> None:
    learner = attention()
    teach(learner, 600)
    idx, val = code(np.random.default_rng(7), HERE)
    assert learner.advise(idx, val, 0, np.array([True, False, True]))[0] == 0


def test_linucb_is_a_ridge_regression() -> None:
    rng, learner = np.random.default_rng(5), LinUCB(N, 2, 10.0, 1.0)
    keys, outcomes = [], []
    for _ in range(150):
        (idx, val), values = code(rng), rng.normal(size=2)
        key = np.zeros(N)
        key[idx] = val / np.linalg.norm(val)
        keys.append(key)
        outcomes.append(values)
        learner.absorb(idx, val, values)
    x, y = np.array(keys), np.array(outcomes)
    assert pytest.approx(np.linalg.solve(x.T @ x + 10 * np.eye(N), x.T @ y), abs=1e-9) == learner.weights.T
