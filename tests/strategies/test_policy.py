"""The policy: one validator, clear refusals, and hashes that stand."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import Field

from alphatrade.nodes.refusals import checked
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.policy import BeliefSpec, Policy, SizingSpec, canonical

# A shipped template may change what it says, and its hash with it; what it said before keeps the hash it had.
TEMPLATES: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("default", {}),
    "tight": ("tight", {}),
    "pilot": ("pilot", {}),
    "pilot before it halted on repetition": ("pilot", {"repeat_action": "deny"}),
}
GOLDEN = Path(__file__).parent / "golden_policy_hashes.json"
CONF = Path(__file__).parents[2] / "conf" / "policy"


def load(group: str, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CONF / group / f"{name}.yaml").read_text())
    merged: dict[str, Any] = {}
    for base in loaded.pop("defaults", []):
        if base != "_self_":
            merged |= load(group, base)
    return merged | loaded


def composed(risk: str = "default", features: str = "core", regime: str = "fsm") -> dict[str, Any]:
    groups = {"features": features, "belief": "default", "regime": regime, "router": "table",
              "topologies": "default", "risk": risk, "flags": "default"}  # fmt: skip
    top = yaml.safe_load((CONF / "default.yaml").read_text())
    top.pop("defaults")
    return top | {group: load(group, name) for group, name in groups.items()}


def hashed(risk: str, features: str, changed: dict[str, Any]) -> str:
    plain = composed(risk, features)
    plain["risk"] |= changed
    return checked(Policy, plain, "policy").policy_hash


def test_golden_hashes_stand() -> None:
    golden = json.loads(GOLDEN.read_text())
    found = {
        f"{name}/{features}": hashed(risk, features, changed)
        for name, (risk, changed) in TEMPLATES.items()
        for features in ("core", "volume", "depth")
    }
    assert found == golden, "a policy that has been hashed before must keep its hash"


def test_a_field_added_later_keeps_old_hashes_until_it_is_used() -> None:
    class Later(SizingSpec):
        leverage: float = Field(1.0, json_schema_extra={"since": 2})

    class Unmarked(SizingSpec):
        leverage: float = 1.0

    old = canonical(SizingSpec())
    assert canonical(Later()) == old
    assert canonical(Later(leverage=2.0)) != old
    assert canonical(Unmarked()) != old, "the mutant: without the mark the old hash is lost"


def test_the_hash_follows_content_not_key_order() -> None:
    plain = composed()
    shuffled = dict(reversed(plain.items())) | {"features": dict(reversed(plain["features"].items()))}
    a, b = (checked(Policy, p, "policy").policy_hash for p in (plain, shuffled))
    assert a == b
    plain["belief"]["k"] = 8
    assert checked(Policy, plain, "policy").policy_hash != a


def test_big_integers_become_strings() -> None:
    class Big(BeliefSpec):
        stamp: int = 2**60

    assert canonical(Big())["stamp"] == str(2**60)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("belief.k", 100, r"policy\.belief.*at most a quarter"),
        ("belief.n", 16, r"policy\.belief\.n: got 16, expected greater than or equal to 128"),
        ("belief.typo", 1, r"policy\.belief\.typo: got 1, expected a known key, one of n, k, seed, halflife"),
        ("cadence.kind", "hours", r"policy\.cadence\.kind: got 'hours', expected 'bars', 'events' or 'seconds'"),
        ("risk.drawdown_max", 2.0, r"policy\.risk\.drawdown_max: got 2\.0, expected less than or equal to 1"),
        ("risk.orders_per_second", "many", r"policy\.risk\.orders_per_second: got 'many', expected a valid integer"),
        ("router.table", {"up-low": "flat"}, r"policy\.router\.table.*a tactic for each of"),
        ("flags.fast_weights", True, r"policy\.flags\.fast_weights: got True, expected false without a router that learns from beliefs"),
        ("router.allowed", {"up-low": ["flat"]}, r"policy\.router\.allowed\.up-low: got .'flat'., expected tactics of the policy"),
        ("expost.primary", 7, r"policy\.expost.*primary one of them"),
        ("topologies.momentum", {"kind": "teleport"}, r"policy\.topologies\.momentum\.kind: got 'teleport'"),
        ("topologies.momentum", {"kind": "taker_momentum", "params": {"enter": -1}}, r"topologies\.momentum\.params\.enter"),
        ("topologies.momentum", {"kind": "taker_momentum", "params": {"signal": "zz"}}, r"params\.signal: got 'zz', expected one of"),
    ],
)  # fmt: skip
def test_bad_values_are_one_clear_line(path: str, value: Any, message: str) -> None:
    plain = composed()
    *parents, last = path.split(".")
    node = plain
    for parent in parents:
        node = node[parent]
    node[last] = value
    with pytest.raises(ConfigError, match=message) as caught:
        checked(Policy, plain, "policy")
    assert "\n" not in str(caught.value)


def test_a_fitted_regime_is_another_policy() -> None:
    fsm, hmm = (checked(Policy, composed(regime=name), "policy") for name in ("fsm", "hmm"))
    assert hmm.policy_hash != fsm.policy_hash
    assert not {"kind", "hmm"} & set(canonical(fsm)["regime"])
    assert canonical(hmm)["regime"]["hmm"]["states"] == list(hmm.regime.hmm.states if hmm.regime.hmm else ())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("states", ["up-low", "sideways"], r"hmm\.states\.1: got 'sideways', expected one of down-low"),
        ("start", [0.5, 0.5], r"hmm\.start: got .*, expected 6 probabilities, one for each state"),
        ("start", [0.5, 0.5, 0.5, -0.5, 0.0, 0.0], r"hmm\.start: got .* expected probabilities that sum to 1, not 1"),
        ("transition", [[1.0]], r"hmm\.transition: got 'rows of \[1\]', expected 6 rows of 6"),
        ("transition", [[0.5] * 6] * 6, r"hmm\.transition\.0: .* positive probabilities that sum to 1, not 3"),
        ("transition", [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]] * 6, r"hmm\.transition\.0: .* positive probabilities"),
        ("means", [[0.0]] * 6, r"hmm\.means: .* expected 6 rows of 2"),
        ("means", [[0.0, float("nan")]] * 6, r"policy\.regime\.hmm\.means\.0\.1: got nan, expected a finite number"),
        ("variances", [[1.0, 0.0]] * 6, r"hmm\.variances\.0: .* expected at least 1e-6"),
        ("loglik", float("inf"), r"hmm\.loglik: got inf, expected a finite number"),
        ("band", 0.0, r"hmm\.band: got 0\.0, expected greater than 0"),
        ("speed", 1, r"hmm\.speed: got 1, expected a known key"),
    ],
)
def test_a_model_that_is_none_is_one_clear_line(key: str, value: Any, message: str) -> None:
    plain = composed(regime="hmm")
    plain["regime"]["hmm"][key] = value
    with pytest.raises(ConfigError, match=message) as caught:
        checked(Policy, plain, "policy")
    assert "\n" not in str(caught.value)


def test_parameters_and_kind_go_together() -> None:
    for name, kind in (("fsm", "hmm"), ("hmm", "fsm")):
        plain = composed(regime=name)
        plain["regime"]["kind"] = kind
        with pytest.raises(ConfigError, match=r"policy\.regime\.hmm: got "):
            checked(Policy, plain, "policy")
