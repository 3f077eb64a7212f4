"""Weights of a route in real replays: a tactic trades its share of a clip in that regime, and all of it elsewhere."""

from pathlib import Path

import pytest

from alphatrade.nodes import run
from alphatrade.nodes.result import RunResult

WORLD = (
    "tape=world", "tape.hours=3", "policy.cadence.n=10", "output.stress=false", "output.report=false",
    "policy.sizing.vol_target_bps=1000", "policy.topologies.momentum.params={signal: ret_5, enter: 1.0, leave: 0.0, hold_min: 1}",
)  # fmt: skip
REGIMES = ("down-low", "down-high", "flat-low", "flat-high", "up-low", "up-high")
ALONE = tuple([f"policy.router.table.{regime}=momentum" for regime in REGIMES])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunResult]:
    folder = tmp_path_factory.mktemp("weights")

    def go(*more: str) -> RunResult:
        return run([*WORLD, *ALONE, f"paths.artifacts={folder}", f"paths.state={folder}", *more])

    half = [f"+policy.router.weights.{regime}.momentum=0.5" for regime in REGIMES]
    return {
        "plain": go(),
        "none": go("policy.router.weights={}"),
        "of others": go("+policy.router.weights.up-low.maker=0.5"),
        "whole": go("+policy.router.weights.up-low.momentum=1.0"),
        "half": go(*half),
        "half in one": go("+policy.router.weights.flat-high.momentum=0.5"),
    }


def entries(result: RunResult) -> dict[int, float]:
    """Return by decision the largest order that did not close anything, as a share of the capital."""
    orders, decisions = result.orders, result.decisions.set_index("decision")
    sent = orders[(orders["event"] == "initialized") & ~orders["reduce_only"].astype(bool) & orders["decision"].isin(decisions.index)]
    return {int(row.decision): float(row.qty) * decisions.loc[row.decision, "mid"] for row in sent.itertuples()}


def test_without_weights_nothing_changes(runs: dict[str, RunResult]) -> None:
    plain = runs["plain"].summary
    assert plain["fills"] > 10
    assert runs["none"].summary["policy_hash"] == plain["policy_hash"]
    assert runs["none"].summary["digests"] == plain["digests"]


@pytest.mark.parametrize("name", ["of others", "whole"])
def test_weights_that_say_nothing_about_who_trades_are_another_policy_with_the_same_fills(runs: dict[str, RunResult], name: str) -> None:
    found, plain = runs[name].summary, runs["plain"].summary
    assert found["policy_hash"] != plain["policy_hash"]
    assert found["digests"]["fills"] == plain["digests"]["fills"]


def test_half_a_weight_is_half_a_clip(runs: dict[str, RunResult]) -> None:
    whole, half = entries(runs["plain"]), entries(runs["half"])
    assert half.keys() == whole.keys(), "the same decisions trade"
    assert len(half) > 5
    for decision, notional in half.items():
        assert notional == pytest.approx(0.5 * whole[decision], rel=0.01)
    assert runs["half"].summary["digests"]["fills"] != runs["plain"].summary["digests"]["fills"]


def test_a_weight_counts_in_its_regime_only(runs: dict[str, RunResult]) -> None:
    result = runs["half in one"]
    regimes = result.decisions.set_index("decision")["regime"]
    whole, found = entries(runs["plain"]), entries(result)
    shares = {decision: round(found[decision] / whole[decision], 2) for decision in found.keys() & whole.keys()}
    assert {share for decision, share in shares.items() if regimes[decision] == "flat-high"} == {0.5}
    assert {share for decision, share in shares.items() if regimes[decision] != "flat-high"} == {1.0}


def test_the_law_sees_no_difference(runs: dict[str, RunResult]) -> None:
    assert all(result.summary["denied"] == 0 and result.summary["killed"] is None for result in runs.values())


def test_a_run_says_whose_policy_it_was(runs: dict[str, RunResult]) -> None:
    for name in ("half", "half in one"):
        path: Path = runs[name].path
        assert '"weights"' in (path / "policy.json").read_text()
    assert '"weights"' not in (runs["plain"].path / "policy.json").read_text()
