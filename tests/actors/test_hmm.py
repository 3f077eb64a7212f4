"""The hidden Markov regime: the filter is right, sees no future, and steps back where the model does not fit."""

import math
from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

import numba
import numpy as np
import pytest
from llvmlite import binding as llvm

from alphatrade.actors import hmm_kernel
from alphatrade.actors.compiled import OPTIONS
from alphatrade.actors.history import StepHistory
from alphatrade.actors.hmm import HmmFilter, HmmParams, HmmRegime, build_regime, hmm_params
from alphatrade.actors.hmm_kernel import exponential, natural_log, observe
from alphatrade.actors.regime import REGIMES, RegimeFSM, RegimeParams

FSM = RegimeParams(60, 1.2, 0.6, 20, 240, 1.15, 0.95, 5)
PLAIN: dict[str, Any] = {
    "states": ["down-low", "flat-low", "up-low", "flat-high"],
    "start": [0.1, 0.4, 0.3, 0.2],
    "transition": [
        [0.97, 0.01, 0.01, 0.01], [0.01, 0.97, 0.01, 0.01], [0.01, 0.02, 0.96, 0.01], [0.02, 0.02, 0.02, 0.94],
    ],
    "means": [[0.0, -1.6], [0.0, 0.0], [0.0, 1.6], [3.0, 0.0]],
    "variances": [[0.3, 0.5], [0.3, 0.5], [0.3, 0.5], [0.5, 1.5]],
    "slow": 960, "loglik": -2.2, "band": 3.0, "span": 40, "patience": 20,
}  # fmt: skip


def market(seed: int, steps: int = 1500) -> tuple[list[float], list[float]]:
    """Return mids and step variances: flat, a trend up, flat, a shock, flat."""
    rng = np.random.Generator(np.random.PCG64(seed))
    moves = rng.normal(0.0, 1e-4, (steps, 15))
    moves[400:700] += 6e-6
    moves[1000:1100] *= 5.0
    mids = 100.0 * np.cumprod(1.0 + moves.sum(axis=1))
    return mids.tolist(), (moves**2).sum(axis=1).tolist()


def steps_of(mids: list[float], variances: list[float]) -> Iterator[StepHistory]:
    steps = StepHistory()
    for at, (mid, var) in enumerate(zip(mids, variances, strict=True)):
        steps.price(mid)
        steps.close(at)
        steps.var[steps.at] = var
        yield steps


def walked(machine: HmmRegime, mids: list[float], variances: list[float]) -> list[tuple[str, float, str, str]]:
    rows = []
    for steps in steps_of(mids, variances):
        changed = machine.update(steps)
        rows.append((machine.regime, machine.confidence, machine.engine, machine.cause if changed else ""))
    return rows


def density(seen: np.ndarray, state: int, params: HmmParams) -> float:
    mean, var = params.means[state], params.variances[state]
    return math.prod(
        math.exp(-((x - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
        for x, m, v in zip(seen, mean, var, strict=True)
    )


def test_the_filter_is_the_sum_over_every_path() -> None:
    """On six steps, all 4^6 paths of states are added up by hand."""
    params, window = hmm_params(PLAIN), 3
    mids, variances = market(1, 6)
    seen = observe(np.array(mids), np.array(variances), window, params.slow)
    joint = np.zeros(4)
    for path in product(range(4), repeat=6):
        share = params.start[path[0]]
        for at, state in enumerate(path):
            share *= density(seen[at], state, params) * (params.transition[path[at - 1], state] if at else 1.0)
        joint[path[-1]] += share
    one, total = HmmFilter(params, window), 0.0
    for mid, var in zip(mids, variances, strict=True):
        loglik, likeliest, probable, asked = one.take(mid, var, REGIMES.index("up-low"))
        total += loglik
    assert one.belief == pytest.approx(joint / joint.sum(), rel=1e-12)
    assert total == pytest.approx(math.log(joint.sum()), rel=1e-12)
    assert REGIMES[likeliest] == params.states[int(joint.argmax())]
    assert (probable, asked) == pytest.approx((joint.max() / joint.sum(), joint[2] / joint.sum()), rel=1e-12)


def test_states_of_one_regime_are_added_up() -> None:
    params = hmm_params(PLAIN | {"states": ["flat-low", "flat-low", "up-low", "flat-low"]})
    one = HmmFilter(params, 60)
    for mid, var in zip(*market(2, 300), strict=True):
        _, likeliest, probable, asked = one.take(mid, var, REGIMES.index("up-low"))
    assert REGIMES[likeliest] == "flat-low"
    assert probable == pytest.approx(one.belief[[0, 1, 3]].sum())
    assert probable + asked == pytest.approx(1.0)


def test_observations_are_causal_and_have_no_scale() -> None:
    mids, variances = (np.array(column) for column in market(3))
    whole = observe(mids, variances, 60, 960)
    assert observe(mids[:900], variances[:900], 60, 960).tobytes() == whole[:900].tobytes()
    assert observe(mids * 1024.0, variances, 60, 960).tobytes() == whole.tobytes(), "another price"
    wilder = observe(mids, variances * 16.0, 60, 960)
    assert wilder[:, 0] == pytest.approx(whole[:, 0]), "another volatility"
    assert np.abs(whole).max() <= hmm_kernel.MOST
    still = observe(np.ones(50), np.zeros(50), 10, 960)
    assert not still.any(), "nothing moved yet: nothing is said"


def test_the_regimes_are_found_and_a_cause_is_told() -> None:
    rows = walked(HmmRegime(FSM, hmm_params(PLAIN)), *market(4))
    names = [row[0] for row in rows]
    assert np.mean([name == "up-low" for name in names[460:700]]) > 0.8
    assert np.mean([name == "flat-high" for name in names[1010:1100]]) > 0.8
    assert np.mean([name == "flat-low" for name in names[800:1000]]) > 0.6
    assert all(0.0 <= row[1] <= 1.0 for row in rows)
    changes = [(a, b) for a, b in pairwise(rows) if a[0] != b[0]]
    assert changes
    assert all(b[3].startswith("hmm: probability ") and f"of {a[0]}" in b[3] for a, b in changes)


def test_the_future_changes_no_past_regime() -> None:
    mids, variances = market(5)
    rows = walked(HmmRegime(FSM, hmm_params(PLAIN)), mids, variances)
    other, wild = market(6)
    changed = walked(HmmRegime(FSM, hmm_params(PLAIN)), mids[:900] + other[900:], variances[:900] + wild[900:])
    assert changed[:900] == rows[:900]
    assert changed[900:] != rows[900:], "the check must be able to fail"


def test_dwell_is_held() -> None:
    def shortest(dwell: int) -> int:
        names = [row[0] for row in walked(HmmRegime(FSM._replace(dwell=dwell), hmm_params(PLAIN)), *market(7))]
        return int(np.diff([i for i in range(1, len(names)) if names[i] != names[i - 1]]).min())

    assert shortest(9) >= 9
    assert shortest(1) < 9


def strange(seed: int) -> tuple[list[float], list[float]]:
    """A market that the model was not made for between steps 600 and 1000: every other step moves fifty times as much."""
    rng = np.random.Generator(np.random.PCG64(seed))
    size = np.full(1800, 1e-4)
    size[600:1000:2], size[601:1000:2] = 1e-3, 2e-5
    moves = rng.normal(0.0, 1.0, (1800, 15)) * size[:, None]
    return (100.0 * np.cumprod(1.0 + moves.sum(axis=1))).tolist(), (moves**2).sum(axis=1).tolist()


def collapses(params: HmmParams) -> bool:
    """Return whether the FSM took over in the strange market and gave back after it, each said in a cause."""
    machine, fsm = HmmRegime(FSM, params), RegimeFSM(FSM)
    rows, states = [], []
    for steps in steps_of(*strange(8)):
        fsm.update(steps)
        changed = machine.update(steps)
        rows.append((machine.engine, machine.cause if changed else "", machine.confidence == fsm.confidence))
        states.append((machine.regime, fsm.regime))
    engines = [row[0] for row in rows]
    switches = [at for at in range(1, len(rows)) if engines[at] != engines[at - 1]]
    if len(switches) != 2:
        return False
    there, back = switches
    assert 600 < there < 1000 < back
    assert rows[there][1].startswith("engine fsm: log-likelihood -")
    assert "below -5.20 for 20 steps" in rows[there][1]
    assert rows[back][1].startswith("engine hmm: log-likelihood -")
    assert all(same for _, _, same in rows[there:back]), "the confidence is the machine's own"
    assert np.mean([ours == theirs for ours, theirs in states[there + 5 : back]]) > 0.9
    return True


def test_a_collapse_hands_over_to_the_fsm_and_says_so() -> None:
    assert collapses(hmm_params(PLAIN))


@pytest.mark.parametrize("off", [{"band": 1e6}, {"patience": 100_000}])
def test_the_mutant_without_a_fallback_is_seen(off: dict[str, float]) -> None:
    assert not collapses(hmm_params(PLAIN | off))


def test_the_policy_says_which_machine() -> None:
    plain = FSM._asdict()
    assert isinstance(build_regime(plain), RegimeFSM)
    assert isinstance(build_regime(plain | {"kind": "fsm", "hmm": None}), RegimeFSM)
    assert isinstance(build_regime(plain | {"kind": "hmm", "hmm": PLAIN}), HmmRegime)


def test_exp_and_ln_are_right_without_a_math_library() -> None:
    rng = np.random.Generator(np.random.PCG64(9))
    for x in (1.0, 0.5, 2.0, 1e-300, 1e300, 5e-324, *np.exp(rng.uniform(-700, 700, 2000)), *rng.uniform(0.5, 2, 2000)):
        assert natural_log(float(x)) == pytest.approx(math.log(x), rel=1e-15, abs=1e-15)
    for x in (0.0, 1.0, -1.0, -699.9, *rng.uniform(-700, 50, 4000)):
        assert exponential(float(x)) == pytest.approx(math.exp(x), rel=4e-15)
    assert exponential(-800.0) == 0.0


def test_no_operation_is_fused() -> None:
    def fused(**options: bool | str) -> bool:
        kernel = numba.njit(**options)(hmm_kernel.advance.py_func)  # type: ignore[attr-defined]  # afresh: cached code cannot be read
        square, row = np.ones((4, 6)), np.ones(4)
        kernel(1.0, 1.0, 0, 0.1, np.ones((2, 60)), np.ones(2), np.ones(2), square, np.ones((4, 4)), row, row.copy())
        (text,) = kernel.inspect_asm().values()
        return "fmadd" in text or "fmsub" in text

    assert not fused(**OPTIONS)
    if "+fma," in llvm.get_host_cpu_features().flatten():
        assert fused(**OPTIONS | {"fastmath": True}), "the check must be able to fail"
