"""Probes: each sees what it is for on worlds with known truth, and the check of that turns red without the probe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from llvmlite import binding as llvm
from numba import njit

from alphatrade.actors.compiled import OPTIONS
from alphatrade.actors.messages import BeliefSnapshot
from alphatrade.nodes.perceive import walk
from alphatrade.nodes.replay import Replay, replay
from alphatrade.nodes.settings import compose_settings
from alphatrade.nodes.tape import Tape
from alphatrade.nodes.tape_spec import WorldTape
from alphatrade.nodes.worlds import make_world
from alphatrade.reflection import probes
from alphatrade.reflection.probes import BUILT_IN, EVENTS, UNKNOWN, WARMUP, Probes, described
from benchmarks.probes import NAMES, Watched, auc, caught, planted, spearman, watch

BOOK = frozenset({"quote", "spread", "size"})
SEEDS = (4000, 4001, 4002, 4003)  # of none that a threshold was set on
World = tuple[Tape, list[BeliefSnapshot]]
POLICY = compose_settings(["policy/features=quotes"]).policy


def seen(spec: WorldTape) -> World:
    tape = make_world(spec)
    return tape, list(walk(tape, POLICY))


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    return [seen(planted(seed)) for seed in SEEDS]


@pytest.fixture(scope="module")
def watched(worlds: list[World]) -> list[Watched]:
    return [watch(*world) for world in worlds]


def ranked(world: Watched, name: str) -> float:
    return auc(world.column(name)[world.event(name)], world.column(name)[world.quiet(name)])


def test_there_is_a_probe_for_each_event() -> None:
    assert tuple(BUILT_IN) == tuple(sorted(EVENTS)) == NAMES
    assert described()["sweep_risk"] == {"unit": "deviations", "threshold": 13.0, "needs": ["size", "spread"]}
    assert all(probe.definition and probe.unit and probe.threshold > 0 for probe in BUILT_IN.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_probe_ranks_its_events_above_quiet_steps(watched: list[Watched], name: str) -> None:
    assert np.mean([ranked(world, name) for world in watched]) >= 0.8
    quiet = np.concatenate([world.column(name)[world.quiet(name)] for world in watched])
    assert len(quiet) > 10_000
    # The target of one is measured on forty worlds by benchmarks/probes.py; false events come in clusters.
    assert 1000 * (quiet >= BUILT_IN[name].threshold).mean() <= 2.0
    found = [late for world in watched for late in caught(world, name)]
    assert np.mean([late is not None for late in found]) > 0.4, "the threshold can be reached"


def test_no_two_probes_say_the_same(watched: list[Watched]) -> None:
    rho = np.mean([spearman(world) for world in watched], axis=0)
    assert np.abs(rho[~np.eye(len(NAMES), dtype=bool)]).max() < 0.9


DISABLED: dict[str, tuple[str, Callable[..., Any]]] = {
    "imbalance_surge": ("_leant", lambda state, imbalance: 0.0),
    "liquidity_vacuum": ("_vacuum", lambda wide, thin, vol: 1.0),
    "opening_auction": ("_opening", lambda state, closed, wide, thin: 0.0),
    "sweep_risk": ("_sweep", lambda *what: 0.0),
    "volatility_shock": ("_moved", lambda *what: (0.0, 0.0, 1.0)),
}


@pytest.mark.parametrize("name", NAMES)
def test_without_its_mechanism_a_probe_fails(worlds: list[World], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_step", probes._step.py_func)  # compiled code would not see what is replaced
    monkeypatch.setattr(probes, *DISABLED[name])
    assert ranked(watch(*worlds[0]), name) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "constant", "value"),
    [
        ("opening_auction", "SILENCE_S", 1e9),  # no silence is long enough
        ("sweep_risk", "RECENT", 0.0),  # nothing to compare with
        ("imbalance_surge", "STEADY", 0.0),  # no memory of a lean
    ],
)
def test_a_broken_constant_is_noticed(
    worlds: list[World], name: str, constant: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, constant, value)
    for kernel in ("_step", "_silence", "_moved", "_gone", "_leant", "_opening"):
        monkeypatch.setattr(probes, kernel, getattr(probes, kernel).py_func)
    assert ranked(watch(*worlds[0]), name) < 0.8


def test_a_print_that_went_and_came_is_no_shock(monkeypatch: pytest.MonkeyPatch) -> None:
    tape, beliefs = seen(WorldTape(seed=2010, hours=12, bad_prints=100, schedule=("up", "calm", "down")))

    def fired() -> float:
        world = watch(tape, beliefs)
        return float(
            (
                world.column("volatility_shock")[world.word == "bad_print"] >= BUILT_IN["volatility_shock"].threshold
            ).mean()
        )

    assert fired() < 0.2, "only where the print ends the step"
    monkeypatch.setattr(probes, "BOUNCE", 1e9)
    for kernel in ("_step", "_moved"):
        monkeypatch.setattr(probes, kernel, getattr(probes, kernel).py_func)
    assert fired() > 0.8, "without the rule"


@pytest.mark.parametrize("name", ["liquidity_vacuum", "opening_auction"])
def test_a_feed_that_falls_silent_is_no_opening(name: str) -> None:
    tape, beliefs = seen(
        WorldTape(seed=2011, hours=24, gaps=12, halts=6, bad_prints=0, schedule=("up", "calm", "revert"))
    )
    world = watch(tape, beliefs)
    assert (world.word == "gap").sum() == 12
    assert (world.column(name) >= BUILT_IN[name].threshold).sum() == 0


@pytest.mark.parametrize(
    ("provides", "silent"),
    [
        ({"quote", "spread", "size"}, set()),
        ({"quote", "spread"}, {"imbalance_surge", "liquidity_vacuum", "opening_auction", "sweep_risk"}),
        ({"bar", "volume"}, {"imbalance_surge", "liquidity_vacuum", "opening_auction", "sweep_risk"}),
        (set(), {"imbalance_surge", "liquidity_vacuum", "opening_auction", "sweep_risk"}),
    ],
)
def test_what_a_tape_lacks_is_not_guessed(worlds: list[World], provides: set[str], silent: set[str]) -> None:
    some = Probes(frozenset(provides))
    values = np.array([some.step(belief) for belief in worlds[0][1][:200]])
    assert np.isnan(values[:WARMUP]).all()
    for at, name in enumerate(NAMES):
        assert np.isnan(values[WARMUP:, at]).all() == (name in silent)
        assert np.isnan(values[WARMUP:, at]).any() == (name in silent)


def test_a_step_without_facts_changes_nothing(worlds: list[World]) -> None:
    beliefs = worlds[0][1][:300]
    plain, broken = Probes(BOOK), Probes(BOOK)
    for belief in beliefs:
        assert broken.step(msgspec.structs.replace(belief, facts=None)) is UNKNOWN
        assert broken.step(msgspec.structs.replace(belief, mid=float("nan"))) is UNKNOWN
        np.testing.assert_array_equal(plain.step(belief), broken.step(belief))


def test_a_threshold_means_the_same_at_other_prices_and_sizes(worlds: list[World]) -> None:
    plain, scaled = Probes(BOOK), Probes(BOOK)
    for belief in worlds[0][1][:2000]:
        facts = belief.facts
        assert facts is not None
        other = msgspec.structs.replace(facts, high=4 * facts.high, low=4 * facts.low, depth=1024 * facts.depth)
        moved = msgspec.structs.replace(belief, mid=4 * belief.mid, facts=other)
        np.testing.assert_array_equal(plain.step(belief), scaled.step(moved))


def test_compiled_and_plain_agree_to_the_last_bit(worlds: list[World], monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = watch(*worlds[0]).values
    for kernel in (
        "_step",
        "_usual",
        "_silence",
        "_moved",
        "_gone",
        "_leant",
        "_vacuum",
        "_opening",
        "_sweep",
        "_shock",
    ):
        monkeypatch.setattr(probes, kernel, getattr(probes, kernel).py_func)
    assert watch(*worlds[0]).values.tobytes() == compiled.tobytes()


def test_no_kernel_fuses_operations() -> None:
    state = np.ones(probes.SIZE)
    calls: dict[str, tuple[Any, ...]] = {"_usual": (state, 3, 2.0), "_gone": (state, 3, 2.0), "_leant": (state, 0.5)}

    def fused(name: str, **options: bool | str) -> bool:
        kernel = njit(**options)(getattr(probes, name).py_func)
        kernel(*calls[name])
        (text,) = kernel.inspect_asm().values()
        return "fmadd" in text or "fmsub" in text

    assert not any(fused(name, **OPTIONS) for name in calls)
    if "+fma," in llvm.get_host_cpu_features().flatten():
        assert any(fused(name, **OPTIONS | {"fastmath": True}) for name in calls), "the check must be able to fail"


def test_the_diary_has_the_value_of_the_step_that_decided(tmp_path: Path) -> None:
    settings = compose_settings(["tape=world", "policy/features=quotes", "output.report=false"])
    tape = make_world(WorldTape(seed=2020, hours=3, sweeps=4, vacuums=3))
    (tmp_path / "diary").mkdir()
    replay(Replay(settings.policy, [tape], settings.run), tmp_path)
    diary = pd.read_parquet(tmp_path / "diary" / "decisions.parquet")
    own = Probes(tape.provides)
    values = np.array([own.step(belief) for belief in walk(tape, settings.policy)])
    assert len(diary) > 100
    assert [name for name in diary if name.startswith("p_")] == [f"p_{name}" for name in NAMES]
    for at, name in enumerate(NAMES):
        np.testing.assert_array_equal(diary[f"p_{name}"].to_numpy(), values[diary["step"].to_numpy(), at])
