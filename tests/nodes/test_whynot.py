"""Why not the other topology: predictions on paper, held against a replay in which the other one trades."""

import json
from pathlib import Path

import pytest

from alphatrade.nodes import run
from alphatrade.nodes.rerun import policy_of, run_spec_of, tapes_of
from alphatrade.nodes.result import RunResult
from alphatrade.nodes.whynot import told, why_not
from alphatrade.reflection.explain import explain_order
from alphatrade.reflection.offpolicy import read_log, values
from alphatrade.reflection.whynot import Paper, closeness, real_outcome
from alphatrade.risk.errors import ConfigError, RunDirError
from tests.nodes.test_exploring import ON
from tests.nodes.test_learning import ON as LEARN
from tests.nodes.test_learning import QUIET, WORLD


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whynot")


@pytest.fixture(scope="module")
def off(folder: Path) -> RunResult:
    return run([*WORLD, *QUIET, f"paths.artifacts={folder}", f"paths.state={folder}"])


@pytest.fixture(scope="module")
def on(folder: Path) -> RunResult:
    return run([*WORLD, *QUIET, *ON, f"paths.artifacts={folder}", f"paths.state={folder}"])


def order_of(result: RunResult, topology: str = "momentum") -> str:
    rows = result.decisions
    late = rows[
        (rows["exec_topo"] == topology)
        & rows["action"].str.contains("market")
        & (rows["step"] < rows["step"].max() - 30)
    ]
    return str(late["order_ids"].iloc[0][0])


def test_a_prediction_is_checked_against_a_replay_of_it(off: RunResult, folder: Path) -> None:
    answer = why_not(off.path, order_of(off), folder, check=True, instead="breakout")
    assert set(answer.paper) == {"breakout", "flat", "maker", "momentum", "reversion"}
    assert answer.paper["flat"] == 0.0
    assert answer.check is not None
    assert answer.check.n > 300
    assert answer.check.correlation > 0.9, "aggressive orders: the paper knows spread, fee and slippage"
    assert answer.check.same_sign > 0.7
    wrong = why_not(off.path, order_of(off), folder, check=True, instead="flat")
    assert wrong.check is not None
    assert wrong.check.n == 0, "nobody trades in that replay, and on paper neither"
    text = "\n".join(told(answer))
    assert "Checked by a replay with breakout always in charge" in text
    assert f"{answer.check.n} decisions" in text


def test_the_prediction_for_the_wrong_topology_is_not_close(off: RunResult, folder: Path) -> None:
    """The mutant: a replay of one topology held against what was predicted of another."""
    from alphatrade.nodes import whynot

    policy, spec = policy_of(off.path), run_spec_of(off.path, folder)
    tapes = tapes_of(off.path, spec)
    paper = whynot._paper(policy, spec, tapes[0])
    worth = whynot._replay(policy, spec, tapes, tapes[0], "momentum")
    right, wrong = (closeness(paper, name, worth, 20) for name in ("momentum", "reversion"))
    assert right.correlation > 0.9 > 0.5 > wrong.correlation
    assert right.apart < 0.5 * wrong.apart


def test_the_explainer_says_why_not(off: RunResult, on: RunResult, folder: Path) -> None:
    assert "not simulated in this run; alphatrade explore whynot RUN" in explain_order(off.path, order_of(off))
    events = on.risk_events
    explored = str(events.loc[events["kind"] == "explored", "order_id"].iloc[0])
    text = explain_order(on.path, explored)
    assert "with propensity 0.16" in text
    assert "bps of a clip on paper; this came to" in text
    learnt = run([*WORLD, *QUIET, LEARN[0], f"paths.artifacts={folder}", f"paths.state={folder}"])
    assert "others on paper)" in explain_order(learnt.path, order_of(learnt))


def test_the_explained_numbers_are_those_of_the_diary(on: RunResult) -> None:
    rows, checked = on.decisions, 0
    sent = on.orders.drop_duplicates("order_id").set_index("order_id")["decision"]
    for order_id in on.risk_events.query("kind == 'explored'")["order_id"]:
        at = rows[rows["decision"] == sent[order_id]].iloc[0]
        later = rows[rows["compared_step"] == at["step"]]
        if len(later):
            then, checked = later.iloc[0], checked + 1
            assert (at["explored"], at["base_topo"]) == (then["compared_topo"], then["compared_with"])
            told = f"{at['base_topo']} {then['compared_base']:+.2f} bps of a clip on paper; this came to {then['compared_own']:+.2f}"
            assert told in explain_order(on.path, order_id)
    assert checked >= 3


def test_what_cannot_be_answered_is_refused(off: RunResult, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match="order"):
        why_not(off.path, "O-none", folder, check=False)
    with pytest.raises(ConfigError, match="instead"):
        why_not(off.path, order_of(off), folder, check=True, instead="oracle")
    with pytest.raises(RunDirError, match="exploration"):
        read_log(off.path)


def test_another_tape_is_refused(off: RunResult, folder: Path, tmp_path: Path) -> None:
    import shutil

    import yaml

    copy = tmp_path / "copy"
    shutil.copytree(off.path, copy)
    record = yaml.safe_load((copy / "run.yaml").read_text())
    record["tapes"][0]["spec"]["seed"] = 2
    (copy / "run.yaml").write_text(yaml.safe_dump(record))
    with pytest.raises(RunDirError, match="tape"):
        why_not(copy, order_of(off), folder, check=False)


def test_values_are_estimated_from_a_run(on: RunResult) -> None:
    found = {name: estimates for name, *estimates in values(on.path)}
    assert set(found) <= {"own choice", "breakout", "flat", "maker", "momentum", "reversion"}
    log = read_log(on.path)
    assert len(log.reward) > 1000
    drawn = int((log.propensity < 1.0).sum())
    assert all(one.n == drawn for estimates in found.values() for one in estimates)
    assert found["own choice"][0].effective > 20
    json.dumps([one._asdict() for estimates in found.values() for one in estimates])


def test_a_real_outcome_needs_a_clip_and_both_ends() -> None:
    paper = Paper({0: 0, 5: 1}, {"a": [0.0, 3.0]}, [100.0, 0.0])
    assert paper.outcome("a", 0, 5) == 300.0
    assert paper.outcome("a", 5, 5) != paper.outcome("a", 5, 5)
    assert real_outcome({0: 1.0, 5: 2.0}, paper, 0, 5) == 100.0
    assert real_outcome({0: 1.0}, paper, 0, 5) != real_outcome({0: 1.0}, paper, 0, 5)
