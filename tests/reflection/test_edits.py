"""Edits: each changes what it names and nothing else, and no chain of them can make anything looser."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from alphatrade.actors.regime import REGIMES
from alphatrade.reflection.rim import edits as module
from alphatrade.reflection.rim.edits import (
    DisableTactic,
    Edit,
    Experiment,
    RouteWeight,
    TacticParameter,
    TightenRisk,
    apply_edit,
    describe,
    parameter,
    touched,
)
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.tightness import TIGHTER, as_tight
from alphatrade.strategies.policy import Policy, canonical
from tests.reflection.make_proposal import BOUNDS, make_policy

EDIT: TypeAdapter[Any] = TypeAdapter(Edit)
POLICY = make_policy()
TACTICS = ("breakout", "flat", "maker", "momentum", "reversion")


def tactics(**kinds: str) -> dict[str, Any]:
    """Return tactics by name; a signal of the policy's own features."""
    signals = {"taker_momentum": "ret_60", "passive_reversion": "ret_20", "breakout_stop": "range_60"}
    return {name: {"kind": kind, "params": {"signal": signals[kind]} if kind in signals else {}} for name, kind in kinds.items()}


def changes(child: Policy, policy: Policy) -> dict[str, tuple[Any, Any]]:
    """Return the leaves of two canonical policies that differ: what it was, what it is."""
    one, other = _leaves(canonical(policy), ""), _leaves(canonical(child), "")
    return {key: (one.get(key), other.get(key)) for key in sorted(one.keys() | other.keys()) if one.get(key) != other.get(key)}


def _leaves(tree: Any, path: str) -> dict[str, Any]:
    if not isinstance(tree, dict) or not tree:
        return {path: tree}
    return {key: leaf for name, item in tree.items() for key, leaf in _leaves(item, f"{path}.{name}").items()}


# -- what an edit does, and nothing else


DOES: dict[str, tuple[Edit, dict[str, tuple[Any, Any]]]] = {
    "lead": (RouteWeight(regime="up-low", tactic="reversion", weight=1.0), {".router.table.up-low": ("momentum", "reversion")}),
    "half clips": (RouteWeight(regime="up-low", tactic="momentum", weight=0.5), {".router.weights.up-low.momentum": (None, 0.5)}),
    "both": (
        RouteWeight(regime="flat-low", tactic="flat", weight=0.25),
        {".router.table.flat-low": ("maker", "flat"), ".router.weights.flat-low.flat": (None, 0.25)},
    ),
    "number": (TacticParameter(tactic="momentum", parameter="enter", value=2.5), {".topologies.momentum.params.enter": (1.5, 2.5)}),
    "count": (TacticParameter(tactic="momentum", parameter="hold_min", value=31), {".topologies.momentum.params.hold_min": (30, 31)}),
    "limit": (TightenRisk(limit="drawdown_max", value=0.05), {".risk.drawdown_max": (0.1, 0.05)}),
    "whole limit": (TightenRisk(limit="repeat_max", value=3), {".risk.repeat_max": (10, 3)}),
    "window": (TightenRisk(limit="repeat_window_s", value=90.0), {".risk.repeat_window_s": (60.0, 90.0)}),
    "no limit": (TightenRisk(limit="order_qty_max", value=0.25), {".risk.order_qty_max": (None, "0.25")}),
    "word": (TightenRisk(limit="repeat_action", value="halt"), {".risk.repeat_action": (None, "halt")}),
    "disabled": (
        DisableTactic(tactic="momentum"),
        {
            ".router.table.down-low": ("momentum", "flat"), ".router.table.up-low": ("momentum", "flat"),
            ".topologies.momentum.kind": ("taker_momentum", None),
            **{f".topologies.momentum.params.{k}": (v, None) for k, v in POLICY.topologies["momentum"].params.items()},
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DOES)
def test_an_edit_changes_what_it_names_and_nothing_else(name: str) -> None:
    edit, expected = DOES[name]
    child = apply_edit(POLICY, edit, BOUNDS)
    assert changes(child, POLICY) == expected
    with pytest.raises(ConfigError):
        apply_edit(child, edit, BOUNDS)  # nothing is reached by saying it twice
    assert Policy.model_validate(canonical(child)).policy_hash == child.policy_hash


def test_an_experiment_changes_nothing_by_itself() -> None:
    assert apply_edit(POLICY, Experiment(regime="up-low", topology="breakout_stop"), BOUNDS) is POLICY


def test_a_whole_weight_is_as_if_nothing_had_been_said() -> None:
    half = apply_edit(POLICY, RouteWeight(regime="up-low", tactic="momentum", weight=0.5), BOUNDS)
    assert apply_edit(half, RouteWeight(regime="up-low", tactic="momentum", weight=1), BOUNDS).policy_hash == POLICY.policy_hash


def test_what_bears_on_which_places() -> None:
    momentum = (("momentum", "down-low"), ("momentum", "up-low"))
    assert sorted(touched(POLICY, DisableTactic(tactic="momentum"))) == sorted(momentum)
    assert touched(POLICY, RouteWeight(regime="up-low", tactic="flat", weight=1)) == (("momentum", "up-low"),)
    assert len(touched(POLICY, TightenRisk(limit="drawdown_max", value=0.05))) == len(REGIMES)
    assert touched(POLICY, Experiment(regime="up-low", topology="flat")) == ()


@pytest.mark.parametrize("learns", [{"router": {"kind": "ewma"}}, {"flags": {"linear_attention": True}}])
def test_under_a_learning_router_a_tactic_bears_on_all_that_it_may_lead_in(learns: dict[str, Any]) -> None:
    """Else a tactic that trades everywhere would count as no flow at all."""
    router = {"allowed": {"up-low": ("momentum",)}, **learns.pop("router", {})}
    policy = make_policy(router=router, **learns)
    enter = TacticParameter(tactic="flat", parameter="x", value=1.0)
    assert {regime for _, regime in touched(policy, enter)} == set(REGIMES) - {"up-low"}
    assert touched(POLICY, enter) == ()


# -- what an edit may not


REFUSED: dict[str, Edit] = {
    "same lead": RouteWeight(regime="up-low", tactic="momentum", weight=1.0),
    "same value": TacticParameter(tactic="momentum", parameter="enter", value=1.5),
    "same whole value": TacticParameter(tactic="momentum", parameter="hold_min", value=30.0),
    "same limit": TightenRisk(limit="drawdown_max", value=0.1),
    "same word": TightenRisk(limit="repeat_action", value="deny"),
    "unknown regime": RouteWeight(regime="sideways", tactic="momentum", weight=1.0),
    "unknown tactic": RouteWeight(regime="up-low", tactic="oracle", weight=1.0),
    "never there": RouteWeight(regime="up-high", tactic="maker", weight=0.5),
    "unknown parameter": TacticParameter(tactic="momentum", parameter="signal", value=1.0),
    "a dunder": TacticParameter(tactic="momentum", parameter="__class__", value=1.0),
    "above its reach": TacticParameter(tactic="momentum", parameter="enter", value=3.0001),
    "below its reach": TacticParameter(tactic="momentum", parameter="enter", value=0.4999),
    "no whole number": TacticParameter(tactic="momentum", parameter="hold_min", value=2.5),
    "larger clips": TacticParameter(tactic="maker", parameter="clips", value=0.6),
    "more clips": TacticParameter(tactic="maker", parameter="max_clips", value=1.6),
    "unknown limit": TightenRisk(limit="name", value=1.0),
    "looser": TightenRisk(limit="drawdown_max", value=0.2),
    "looser window": TightenRisk(limit="repeat_window_s", value=30.0),
    "negative": TightenRisk(limit="drawdown_max", value=-0.05),
    "zero": TightenRisk(limit="order_notional_max", value=0.0),
    "half a count": TightenRisk(limit="repeat_max", value=2.5),
    "huge count": TightenRisk(limit="orders_per_second", value=1e308),
    "number as text": TightenRisk(limit="drawdown_max", value="0.05"),
    "number as text, no limit": TightenRisk(limit="order_qty_max", value="1"),
    "nan as text": TightenRisk(limit="inventory_max", value="NaN"),
    "number as word": TightenRisk(limit="repeat_action", value=1.0),
    "unknown word": TightenRisk(limit="repeat_action", value="allow"),
    "looser word": TightenRisk(limit="near_miss_action", value="notify"),
    "disable flat": DisableTactic(tactic="flat"),
    "disable a stranger": DisableTactic(tactic="oracle"),
    "try what leads": Experiment(regime="up-low", topology="taker_momentum"),
    "try what may not": Experiment(regime="up-high", topology="two_sided_maker"),
    "try the unknown": Experiment(regime="up-low", topology="os:system"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_out_of_bounds_or_changes_nothing_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_edit(POLICY, REFUSED[name], BOUNDS)
    assert "\n" not in str(caught.value)
    assert describe(REFUSED[name])


def test_a_value_that_is_the_default_already_changes_nothing() -> None:
    policy = make_policy(topologies=tactics(momentum="taker_momentum", breakout="breakout_stop", maker="two_sided_maker", reversion="passive_reversion"))
    with pytest.raises(ConfigError, match=r"another than 1\.5, which it is"):
        apply_edit(policy, TacticParameter(tactic="momentum", parameter="enter", value=1.5), BOUNDS)
    with pytest.raises(ConfigError, match=r"at most 0\.5"):
        apply_edit(policy, TacticParameter(tactic="maker", parameter="clips", value=0.7), BOUNDS)


NO_NUMBERS: tuple[Any, ...] = (float("nan"), float("inf"), float("-inf"), True, "0.5", None, [0.5], 10**400, -(10**400), b"1", 1j)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_no_arithmetic_is_a_number(value: Any) -> None:
    for plain in (
        {"kind": "route_weight", "regime": "up-low", "tactic": "momentum", "weight": value},
        {"kind": "tactic_parameter", "tactic": "momentum", "parameter": "enter", "value": value},
        {"kind": "tighten_risk", "limit": "drawdown_max", "value": value},
    ):
        with pytest.raises((ValidationError, ConfigError)):
            apply_edit(POLICY, EDIT.validate_python(plain), BOUNDS)


@pytest.mark.parametrize("weight", [0, -0.0, -1, 1.0000001, 2, 1e308])
def test_a_weight_is_a_share(weight: float) -> None:
    with pytest.raises(ValidationError):
        RouteWeight(regime="up-low", tactic="momentum", weight=weight)


@pytest.mark.parametrize("plain", [{}, {"kind": "loosen_risk"}, {"kind": None}, [], None, "disable_tactic", {"kind": "disable_tactic"},
                                   {"kind": "disable_tactic", "tactic": "maker", "also": 1}, {"kind": "disable_tactic", "tactic": "Maker\n"}])  # fmt: skip
def test_what_is_no_edit_cannot_be_said(plain: Any) -> None:
    with pytest.raises(ValidationError):
        EDIT.validate_python(plain)


def test_the_least_numbers_there_are_do_what_they_say() -> None:
    child = apply_edit(POLICY, TightenRisk(limit="order_notional_max", value=1e-320), BOUNDS)
    child = apply_edit(child, RouteWeight(regime="up-low", tactic="momentum", weight=1e-320), BOUNDS)
    assert Policy.model_validate(canonical(child)).policy_hash == child.policy_hash
    assert as_tight(child.risk, POLICY.risk)
    assert not as_tight(POLICY.risk, child.risk)


def test_without_the_comparison_a_limit_could_be_loosened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: nothing but the comparison stands in the way."""
    monkeypatch.setattr(module, "as_tight", lambda *_: True)
    assert apply_edit(POLICY, REFUSED["looser"], BOUNDS).risk.drawdown_max == 0.2


# -- disabling


def test_where_a_disabled_tactic_led_nothing_trades() -> None:
    policy = POLICY
    for name in ("momentum", "breakout", "maker", "reversion"):
        policy = apply_edit(policy, DisableTactic(tactic=name), BOUNDS)
    assert set(policy.router.table.values()) == {"flat"} == set(policy.topologies)
    with pytest.raises(ConfigError, match="a tactic that trades"):
        apply_edit(policy, DisableTactic(tactic="flat"), BOUNDS)


def test_the_only_tactic_can_be_disabled() -> None:
    alone = make_policy(topologies=tactics(solo="taker_momentum"), router={"table": dict.fromkeys(REGIMES, "solo")})
    child = apply_edit(alone, DisableTactic(tactic="solo"), BOUNDS)
    assert {name: spec.kind for name, spec in child.topologies.items()} == {"flat": "flat"}
    assert set(child.router.table.values()) == {"flat"}


def test_staying_out_takes_no_name_that_another_has() -> None:
    """A tactic that is called flat and trades stays what it is."""
    taken = tactics(flat="two_sided_maker", flat_2="breakout_stop", solo="taker_momentum")
    policy = make_policy(topologies=taken, router={"table": dict.fromkeys(REGIMES, "solo")})
    child = apply_edit(policy, DisableTactic(tactic="solo"), BOUNDS)
    assert {name: child.topologies[name] for name in taken if name != "solo"} == {name: policy.topologies[name] for name in taken if name != "solo"}
    (new,) = set(child.topologies) - set(taken)
    assert child.topologies[new].kind == "flat"
    assert set(child.router.table.values()) == {new}


def test_a_disabled_tactic_leaves_no_weight_and_no_permission() -> None:
    policy = make_policy(router={
        "kind": "ewma", "weights": {"up-low": {"momentum": 0.5, "maker": 0.5}, "down-low": {"momentum": 0.5}},
        "allowed": {"up-low": ["momentum"], "down-low": ["momentum", "maker"], "flat-low": ["maker", "momentum"]},
    })  # fmt: skip
    child = apply_edit(policy, DisableTactic(tactic="momentum"), BOUNDS)
    assert child.router.weights == {"up-low": {"maker": 0.5}}
    assert child.router.allowed == {"up-low": ("flat",), "down-low": ("maker", "flat"), "flat-low": ("maker",)}


def test_who_is_not_allowed_does_not_lead() -> None:
    policy = make_policy(router={"kind": "linucb", "allowed": {"up-low": ["momentum", "breakout"]}})
    with pytest.raises(ConfigError, match="one that the policy allows there: momentum, breakout"):
        apply_edit(policy, RouteWeight(regime="up-low", tactic="reversion", weight=1.0), BOUNDS)
    child = apply_edit(policy, RouteWeight(regime="up-low", tactic="breakout", weight=0.5), BOUNDS)
    assert changes(child, policy) == {
        ".router.table.up-low": ("momentum", "breakout"), ".router.weights.up-low.breakout": (None, 0.5),
    }  # fmt: skip


# -- whatever chain of edits

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.floats(0.0, 1.0), st.floats(0.0, 4.0), st.integers(-2, 300),
    st.sampled_from([1e-320, -1e-320, -0.0, 1e308, 2**53 + 2, 0.1, 0.05]),
)  # fmt: skip
NAMES = st.sampled_from((*TACTICS, "flat_0", "oracle"))
PLACES = st.sampled_from((*REGIMES, "sideways"))
PARAMETERS = sorted({name for own in BOUNDS.parameters.values() for name in own})
EDITS = st.one_of(
    st.fixed_dictionaries({"kind": st.just("route_weight"), "regime": PLACES, "tactic": NAMES, "weight": NUMBERS}),
    st.fixed_dictionaries({"kind": st.just("tactic_parameter"), "tactic": NAMES, "parameter": st.sampled_from(PARAMETERS), "value": NUMBERS}),
    st.fixed_dictionaries({"kind": st.just("tighten_risk"), "limit": st.sampled_from((*TIGHTER, "name")),
                           "value": st.one_of(NUMBERS, st.sampled_from(["halt", "deny", "notify", "size_down", "0.01", "1e-9", "nan"]))}),
    st.fixed_dictionaries({"kind": st.just("disable_tactic"), "tactic": NAMES}),
)  # fmt: skip
STARTS = (
    POLICY,
    make_policy(router={"kind": "ewma", "allowed": {"up-low": ["momentum", "breakout"], "flat-high": ["reversion"]}, "weights": {"up-low": {"momentum": 0.5}}}),
    make_policy(flags={"linear_attention": True}, topologies=tactics(momentum="taker_momentum", breakout="breakout_stop", maker="two_sided_maker", reversion="passive_reversion")),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(start=st.sampled_from(STARTS), chain=st.lists(EDITS, max_size=6))
def test_no_chain_of_edits_makes_anything_looser(start: Policy, chain: list[dict[str, Any]]) -> None:
    policy = start
    for plain in chain:
        try:
            edit = EDIT.validate_python(plain)
            child = apply_edit(policy, edit, BOUNDS)
        except (ConfigError, ValidationError):
            continue
        assert child.policy_hash != policy.policy_hash
        assert Policy.model_validate(canonical(child)).policy_hash == child.policy_hash
        policy = child
    assert as_tight(policy.risk, start.risk)
    assert policy.sizing == start.sizing
    assert (policy.features, policy.belief, policy.cadence, policy.flags) == (start.features, start.belief, start.cadence, start.flags)
    for name, spec in policy.topologies.items():
        assert spec.kind == (start.topologies[name].kind if name in start.topologies else "flat")
        for one in BOUNDS.smaller:
            kind, _, number = one.partition(".")
            assert spec.kind != kind or parameter(policy, name, number) <= parameter(start, name, number)
    for regime, lead in policy.router.table.items():
        kind = policy.topologies[lead].kind
        assert regime not in BOUNDS.never.get(kind, ())
        allowed = start.router.allowed.get(regime)
        assert allowed is None or lead in allowed or kind == "flat"
        assert all(0.0 < share <= 1.0 for share in policy.router.weights.get(regime, {}).values())
