"""Topologies as pure functions of a view, and the router's friction."""

import numpy as np
import pytest

from alphatrade.actors.messages import BeliefSnapshot
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.router import TableRouter
from alphatrade.strategies.topologies import BUILT_IN, Desire, Topology, View, load_topology

FEATURES = ("range_60", "ret_20", "ret_5")


def at(regime: str, confidence: float) -> BeliefSnapshot:
    none = np.empty(0)
    return BeliefSnapshot("X", 0, 0, 1.0, 1.0, 1.0, 0.0, none, none, none, none, regime, confidence, "", True, 0)


def view(signal: float = 0.0, position: int = 0, held: int = 0, inventory: float = 0.0, mid: float = 100.0) -> View:
    row = np.full(3, signal)
    return View(0, mid, mid - 0.01, mid + 0.01, 1e-3, row, row, position, inventory, 100.0 if position else 0.0, held)


def make(kind: str, **params: object) -> Topology:
    return load_topology("policy.topologies.mine", kind, params, FEATURES)


def test_momentum_follows_and_leaves_when_it_fades() -> None:
    momentum = make("taker_momentum", enter=1.0, leave=0.0, hold_min=5)
    assert momentum.desire(view(1.2)).target == 1
    assert momentum.desire(view(-1.2)).target == -1
    assert momentum.desire(view(0.5, position=1, held=9)).target is None
    assert momentum.desire(view(-0.1, position=1, held=9)).target == 0
    assert momentum.desire(view(-0.1, position=1, held=2)).target is None, "held too short"


def test_reversion_rests_against_the_move_and_leaves_by_limit_or_time() -> None:
    reversion = make("passive_reversion", enter=1.0, offset=1.0, profit=2.0, hold_max=10)
    entry = reversion.desire(view(2.0)).limits[0]
    assert (entry.side, entry.exit) == (-1, False)
    assert entry.price == pytest.approx(100.1)
    leave = reversion.desire(view(0.0, position=-1, held=3, inventory=-1.0)).limits[0]
    assert (leave.side, leave.exit) == (1, True)
    assert leave.price == pytest.approx(99.8)
    assert reversion.desire(view(0.0, position=-1, held=10, inventory=-1.0)).target == 0


def test_breakout_trails_its_stop_and_never_loosens_it() -> None:
    breakout = make("breakout_stop", stop=2.0)
    assert breakout.desire(view(1.1)).target == 1
    assert breakout.desire(view(-0.1)).target == -1
    first = breakout.desire(view(0.5, position=1, held=1)).stop
    higher = breakout.desire(view(0.5, position=1, held=2, mid=101.0)).stop
    after_fall = breakout.desire(view(0.5, position=1, held=3, mid=100.9)).stop
    assert first is not None
    assert higher is not None
    assert first < higher == after_fall
    assert breakout.desire(view(0.5, position=1, held=4, mid=99.0)).target == 0, "through the stop"


def test_maker_quotes_both_sides_and_leans_against_inventory() -> None:
    maker = make("two_sided_maker", half_spread=1.0, skew=0.5, max_clips=1.0)
    bid, ask = maker.desire(view()).limits
    assert bid.price < 100.0 < ask.price
    long_bid, long_ask = maker.desire(view(inventory=0.9)).limits
    assert long_bid.price < bid.price
    assert long_ask.price < ask.price
    assert [limit.side for limit in maker.desire(view(inventory=1.0)).limits] == [-1]


def test_flat_closes_and_stays_out() -> None:
    desire = make("flat").desire(view(3.0, position=1))
    assert (desire.target, desire.limits, desire.stop) == (0, (), None)


def test_two_topologies_ask_for_different_things() -> None:
    answers = {kind: make(kind).desire(view(2.5)) for kind in BUILT_IN}
    states = {(d.target, d.limits, d.stop) for d in answers.values()}
    assert len(states) >= 4


class Contrarian(Topology):
    def desire(self, view: View) -> Desire:
        return Desire(-1, (), None, "always short")


def test_a_topology_from_elsewhere_is_loaded_by_import_path() -> None:
    assert make("tests.strategies.test_topologies:Contrarian").desire(view()).target == -1
    with pytest.raises(ConfigError, match=r"policy\.topologies\.mine\.kind"):
        make("tests.strategies.test_topologies:view")


def test_the_router_switches_with_friction_and_says_why() -> None:
    table = {"a": "x", "b": "y", "c": "z"}
    router = TableRouter(table, min_hold=3, min_confidence=0.2)
    assert router.candidates == ("x", "y", "z")
    first = router.route(at("a", 0.0))
    assert (first.tactic, first.switched) == ("x", False)
    assert router.route(at("b", 0.9)).tactic == "x", "held too short"
    assert router.route(at("b", 0.9)).tactic == "x"
    low = router.route(at("b", 0.1))
    assert (low.tactic, low.switched) == ("x", False)
    assert "confidence" in low.why
    switch = router.route(at("b", 0.9))
    assert (switch.tactic, switch.switched, switch.scores) == ("y", True, (0.0, 0.9, 0.0))
    eager = TableRouter(table, min_hold=0, min_confidence=0.0)
    eager.route(at("a", 1.0))
    assert eager.route(at("b", 0.0)).switched, "the mutant without friction switches at once"
