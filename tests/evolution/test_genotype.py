"""Genotypes: a pure development into policies, hashes that know content and not order, refusals that name the field."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alphatrade.actors.regime import REGIMES
from alphatrade.evolution.genotype import Gene, Genotype, develop
from alphatrade.nodes import run
from alphatrade.nodes.refusals import checked
from alphatrade.nodes.settings import compose_settings
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.policy import canonical
from tests.conftest import ROOT

FLAT = {"kind": "flat"}
FADE = {"kind": "passive_reversion", "params": {"signal": "ret_5"}}


def composed(*overrides: str) -> Genotype:
    genotype = compose_settings(["genotype=default", *overrides]).genotype
    assert genotype is not None
    return genotype


def plain() -> dict[str, Any]:
    return json.loads(json.dumps(canonical(composed())))


def shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {key: shuffled(value[key], rng) for key in keys}
    return [shuffled(item, rng) for item in value] if isinstance(value, list) else value


def test_equal_genotypes_hash_equal_whatever_the_order_of_their_keys() -> None:
    own, written = composed(), plain()
    for seed in range(20):
        again = checked(Genotype, shuffled(written, random.Random(seed)), "genotype")
        assert again.genotype_hash == own.genotype_hash
        assert develop(again).policy_hash == develop(own).policy_hash


@pytest.mark.parametrize(
    "change",
    [
        "genotype.cadence.n=16", "genotype.topologies.up-low=[{kind: flat}]", "genotype.belief.k=8",
        "policy/risk@genotype.risk=tight", "policy/features@genotype.features=volume", "genotype.router.min_hold=6",
    ],
)  # fmt: skip
def test_every_gene_is_in_the_hash_and_in_the_policy(change: str) -> None:
    own, other = composed(), composed(change)
    assert other.genotype_hash != own.genotype_hash
    assert develop(other).policy_hash != develop(own).policy_hash


def test_development_is_the_same_in_another_process(door_env: dict[str, str]) -> None:
    say = (
        "from alphatrade.nodes.settings import compose_settings as c; s = c(['genotype=default']);"
        "print(s.genotype.genotype_hash, s.policy.policy_hash)"
    )
    told = subprocess.run(
        [sys.executable, "-c", say], env=door_env | {"PYTHONHASHSEED": "1"}, cwd=ROOT, capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    own = composed()
    assert told == f"{own.genotype_hash} {develop(own).policy_hash}\n"


def test_the_same_gene_is_one_tactic_wherever_it_trades() -> None:
    policy = develop(composed())
    table = policy.router.table
    assert table["up-low"] == table["down-low"] != table["up-high"]
    assert len(policy.topologies) == 4
    assert set(table) == set(REGIMES)
    assert Gene(kind="mine.tactics:FadeThe2ndMove").tactic.startswith("fade_the2nd_move_")


def test_an_ensemble_becomes_a_learning_router_over_its_members() -> None:
    own = plain()
    own["topologies"]["flat-low"] = [FADE, FLAT]
    own["router"]["kind"] = "ewma"
    policy = develop(checked(Genotype, own, "genotype"))
    assert policy.router.kind == "ewma"
    members = policy.router.allowed["flat-low"]
    assert {policy.topologies[name].kind for name in members} == {"passive_reversion", "flat"}
    assert policy.topologies[policy.router.table["flat-low"]].kind == "passive_reversion"
    assert policy.router.allowed["up-low"] == (policy.router.table["up-low"],), "nobody else trades there"


def test_it_trades_as_the_policy_that_says_the_same(tmp_path: Path, state_dir: Path) -> None:
    words = ["tape=world", "tape.hours=6", "output.stress=false", "output.report=false", f"paths.state={state_dir}"]
    bred = run([*words, "genotype=default", f"paths.artifacts={tmp_path / 'bred'}"])
    written = run([*words, f"paths.artifacts={tmp_path / 'written'}"])
    assert bred.summary["orders"] > 20
    for name in ("fills", "equity"):
        assert bred.summary["digests"][name] == written.summary["digests"][name]
    kept = json.loads((bred.path / "genotype.json").read_text())
    assert checked(Genotype, kept, "genotype") == composed()
    assert not (written.path / "genotype.json").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["genotype.topologies.up-low=[{kind: none}]"], "genotype.topologies.up-low.kind"),
        (["genotype.topologies.up-low=[{kind: taker_momentum, params: {signal: none}}]"], "genotype.topologies.up-low.params.signal"),
        (["~genotype.topologies.up-low"], "a topology for each of"),
        (["genotype.topologies.up-low=[]"], "genotype.topologies.up-low"),
        (["genotype.topologies.up-low=[{kind: flat}, {kind: flat}]"], "differ from each other for up-low"),
        (["genotype.topologies.up-low=[{kind: flat}, {kind: taker_momentum}]"], "genotype.router.kind"),
        (["genotype.risk.gross_max=-1"], "genotype.risk.gross_max"),
        (["genotype.belief.k=100"], "genotype.belief.k"),
        (["genotype.flags.fast_weights=true"], "genotype.flags.fast_weights"),
        (["genotype.expost.primary=7"], "genotype.expost"),
        (["+genotype.luck=1"], "genotype.luck"),
        (["policy.belief.k=8"], "none beside a genotype"),
        (["policy/risk=tight"], "none beside a genotype"),
    ],
)
def test_what_is_outside_the_domain_is_one_clear_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_settings(["genotype=default", *overrides])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_of_a_genotype_that_was_not_chosen_is_refused() -> None:
    with pytest.raises(ConfigError, match="genotype"):
        compose_settings(["genotype.cadence.n=5"])
