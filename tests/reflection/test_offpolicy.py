"""Off-policy estimates on planted bandits whose truth is known."""

from collections.abc import Callable
from math import isinf

import numpy as np
import pytest

from alphatrade.reflection.offpolicy import (
    Estimate,
    Logged,
    always,
    crossed_means,
    doubly_robust,
    ips,
    own_choice,
    snips,
)
from alphatrade.strategies.book import Book
from alphatrade.strategies.counterfactual import Counterfactual
from alphatrade.strategies.exploring import Budget, Explorer
from alphatrade.strategies.router import Route
from alphatrade.strategies.shadow import Costs
from tests.strategies.beliefs import belief
from tests.strategies.test_exploring import NAMES, Holds

ACTIONS = ("a", "b", "c")
MEANS = np.array([[1.0, 3.0, -2.0], [4.0, 0.0, 2.0]])  # by context: the best is b, then a
BEST = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
TRUTH = 3.5
RUNS = 150


def bandit(seed: int, n: int = 2000) -> tuple[Logged, np.ndarray, np.ndarray]:
    """A router that prefers c in the first context and b in the second, and explores; the log, target and truth."""
    rng = np.random.default_rng(seed)
    context = rng.integers(2, size=n)
    shares = np.array([[0.1, 0.4, 0.5], [0.1, 0.85, 0.05]])[context]
    chosen = (rng.random(n)[:, None] > shares.cumsum(axis=1)).sum(axis=1)
    rows = np.arange(n)
    reward = MEANS[context, chosen] + rng.normal(0.0, 2.0, n)
    base = np.array([2, 1])[context]
    return Logged(ACTIONS, chosen, shares[rows, chosen], reward, rows, base), BEST[context], MEANS[context]


def constant(log: Logged) -> Logged:
    """The mutant: propensities that say nothing."""
    return log._replace(propensity=np.full(len(log.reward), 1.0 / len(log.actions)))


def coverage(estimate: Callable[[Logged, np.ndarray, np.ndarray], Estimate], change: Callable[[Logged], Logged] = lambda log: log) -> float:
    hits = 0
    for seed in range(RUNS):
        log, target, means = bandit(seed)
        found = estimate(change(log), target, means)
        hits += found.low <= TRUTH <= found.high
    return hits / RUNS


WAYS: dict[str, Callable[[Logged, np.ndarray, np.ndarray], Estimate]] = {
    "ips": lambda log, target, _: ips(log, target),
    "snips": lambda log, target, _: snips(log, target),
    "doubly robust, no model": lambda log, target, means: doubly_robust(log, target, 0.0 * means),
    "doubly robust, wrong model": lambda log, target, means: doubly_robust(log, target, -means),
    "doubly robust, fitted model": lambda log, target, _: doubly_robust(log, target, crossed_means(log)),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_interval_covers_the_truth(way: str) -> None:
    assert 0.88 <= coverage(WAYS[way]) <= 0.99


@pytest.mark.parametrize("way", WAYS)
def test_with_constant_propensities_the_same_check_is_red(way: str) -> None:
    assert coverage(WAYS[way], constant) < 0.5


def test_a_right_model_makes_up_for_wrong_propensities() -> None:
    def right(log: Logged, target: np.ndarray, means: np.ndarray) -> Estimate:
        return doubly_robust(log, target, means)

    assert coverage(right, constant) > 0.88


def test_a_model_narrows_the_interval() -> None:
    log, target, means = bandit(1)
    with_model, without = doubly_robust(log, target, means), ips(log, target)
    assert with_model.high - with_model.low < 0.8 * (without.high - without.low)


def test_the_effective_sample_is_what_the_weights_leave() -> None:
    log, target, _ = bandit(1)
    found = ips(log, target)
    weights = np.where(target[np.arange(2000), log.chosen] > 0, 1 / log.propensity, 0)
    assert found.effective == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert found.effective < 400 < found.n
    own = own_choice(log)
    assert ips(log, own).effective > 1000, "what the router does mostly"


def test_decisions_of_one_draw_do_not_count_as_many() -> None:
    log, target, _ = bandit(1, 500)
    many = Logged(log.actions, *(np.repeat(column, 20) for column in log[1:]))
    one, wrong = ips(many, np.repeat(target, 20, axis=0)), ips(many._replace(block=np.arange(10_000)), np.repeat(target, 20, axis=0))
    alone = ips(log, target)
    assert one.high - one.low == pytest.approx(alone.high - alone.low)
    assert wrong.high - wrong.low < 0.3 * (one.high - one.low)


def test_who_was_never_in_charge_has_no_value() -> None:
    log, _, _ = bandit(1)
    never = log._replace(actions=("a", "b", "c", "d"))
    found = snips(never, always(never, "d"))
    assert np.isnan(found.value)
    assert isinf(found.high)
    assert isinf(ips(never, always(never, "d")).high)


@pytest.mark.parametrize("wrong", [0.0, -0.1, 1.1, float("nan")])
def test_an_impossible_propensity_is_refused(wrong: float) -> None:
    log, target, _ = bandit(1)
    log.propensity[7] = wrong
    with pytest.raises(ValueError, match="propensity"):
        ips(log, target)


# -- the exploring router's own propensities

WORTH = {"a": 1.0, "b": -1.0, "c": 3.0, "d": 0.0}


def explored(seed: int, n: int = 3000, every: int = 5) -> Logged:
    """Decisions of an exploring router whose own choice is a or d by turns; outcomes planted, shared within a block."""
    tactics = {name: Holds(None) for name in NAMES}
    paper = Counterfactual(tactics, Costs(0.0, 0.0, 0.0), False, 2)
    made = Explorer(Budget(0.1, every, 0.5, -9e9, 9e9, 0.0), NAMES, {"up-low": ("a", "b", "d")}, seed, 0, Book(), paper)
    made.filled("", 1e12)
    rng, rows = np.random.default_rng(10_000 + seed), []
    noise = 0.0
    for step in range(n):
        noise = rng.normal(0.0, 1.0) if step % every == 0 else noise
        base, regime = ("a", "d")[step // 3 % 2], ("flat-low", "up-low")[step // 7 % 2]
        tactic = made.route(belief(step, regime=regime), Route(base, (), False, ""), 0.0, 1.0).tactic
        reward = WORTH[tactic] + noise + rng.normal(0.0, 1.0)
        rows.append((NAMES.index(tactic), made.now.propensity, reward, step // every, NAMES.index(base)))
    chosen, propensity, reward, block, base_at = (np.array(column) for column in zip(*rows, strict=True))
    return Logged(NAMES, chosen, propensity, reward, block, base_at)


@pytest.fixture(scope="module")
def logs() -> list[Logged]:
    return [explored(seed) for seed in range(40)]


@pytest.mark.parametrize(("name", "truth"), [("b", -1.0), ("own", 0.5)])
def test_the_routers_propensities_make_the_estimates_right(name: str, truth: float, logs: list[Logged]) -> None:
    def hits(change: Callable[[Logged], Logged]) -> int:
        count = 0
        for log in map(change, logs):
            found = ips(log, own_choice(log) if name == "own" else always(log, name))
            count += found.low <= truth <= found.high
        return count

    assert hits(lambda log: log) >= 35
    assert hits(constant) < 20
