"""Exploration in whole runs: off it is not there, on it keeps to its budget, and either of its two keepers is enough."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from alphatrade.actors.messages import DRIFT_TOPIC, DriftSignal
from alphatrade.actors.sentry import DriftSentry
from alphatrade.nodes import run, wiring
from alphatrade.nodes.result import RunResult
from alphatrade.nodes.settings import compose_settings
from alphatrade.risk.audit import AuditReport, audit
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.exploration import Exploration
from alphatrade.risk.gate_exploration import Explorations
from alphatrade.strategies.exploring import Explorer
from tests.nodes.test_determinism import DIGESTED, TABLES, check_identical, hashes
from tests.nodes.test_learning import QUIET, WORLD

ON = (
    "exploration=true", "explore.every=20", "explore.share=0.2", "explore.probability=0.8",
    "explore.delta_bps=[-500,500]", "policy.risk.near_miss=1",  # else its worlds soon bring a near-miss, and a freeze
)  # fmt: skip
PLANTED = 900  # step of the planted alarm


def go(folder: Path, *more: str) -> RunResult:
    return run([*WORLD, *QUIET, f"paths.artifacts={folder}", f"paths.state={folder}", *more])


def codes(report: AuditReport) -> set[str]:
    assert not report.integrity
    return {finding.code for finding in report.violations}


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return go(tmp_path_factory.mktemp("on"), *ON)


def test_off_nothing_of_it_is_there(tmp_path: Path) -> None:
    off, also = go(tmp_path), go(tmp_path / "b", "explore.share=0.5", "explore.every=7")
    assert off.summary["run_id"] == also.summary["run_id"], "what is not switched on shapes no result"
    assert hashes(off.path, (*DIGESTED, *TABLES)) == hashes(also.path, (*DIGESTED, *TABLES))
    assert "propensity" not in pq.read_schema(off.path / "diary" / "decisions.parquet").names
    assert audit(off.path).explored.orders == 0
    assert "explore:" not in (off.path / "run.yaml").read_text()


def test_on_it_repeats(on: RunResult, tmp_path: Path) -> None:
    files = (*DIGESTED, *TABLES)
    assert hashes(on.path, files) == hashes(go(tmp_path, *ON).path, files)


@pytest.mark.long
def test_on_it_repeats_to_the_byte_elsewhere(door_env: dict[str, str], tmp_path: Path) -> None:
    check_identical((*WORLD, *ON), door_env, tmp_path)


def test_on_it_keeps_to_its_budget(on: RunResult) -> None:
    report = audit(on.path)
    assert codes(report) == set()
    assert report.explored.orders >= 5
    assert 0.05 < report.explored.most <= 0.2


def test_the_seed_changes_what_is_explored(on: RunResult, tmp_path: Path) -> None:
    other = go(tmp_path, *ON, "seed=2")
    assert list(other.decisions["explored"]) != list(on.decisions["explored"])


def test_the_diary_says_what_was_explored_with_which_propensity(on: RunResult) -> None:
    rows = on.decisions
    exploring = rows[rows["explored"] != ""]
    assert (exploring["exec_topo"] == exploring["explored"]).all()
    assert set(exploring["propensity"].round(9)) == {0.8 / 5}
    rest = rows[rows["explored"] == ""]
    assert (rest["exec_topo"] == rest["base_topo"]).all()
    assert set(rest["propensity"].round(9)) <= {1.0, 0.36, 0.2 + 0.16}
    told = rows[rows["compared_step"].notna()]
    assert set(told["compared_step"]) <= set(exploring["step"])
    assert len(told) > 0.8 * len(exploring)
    assert ((told["step"] - told["compared_step"]) == 20).all(), "known one horizon later, not before"


def test_with_the_routers_check_off_the_law_still_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Explorer, "room", property(lambda _: 1e12))
    result = go(tmp_path, *ON)
    assert codes(audit(result.path)) == set()
    events = result.risk_events
    assert ((events["kind"] == "denied") & (events["limit"] == "EXPLORATION")).sum() > 0, "the law had to"


def test_with_the_laws_check_off_the_router_still_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exploration, "check", lambda self, *_: None)
    assert codes(audit(go(tmp_path, *ON).path)) == set()


def test_with_both_off_the_auditor_is_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Explorer, "room", property(lambda _: 1e12))
    monkeypatch.setattr(Exploration, "check", lambda self, *_: None)
    assert "EXPLORED_SHARE" in codes(audit(go(tmp_path, *ON).path))


def test_changes_that_the_router_makes_too_soon_are_denied_by_the_law(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = wiring._explored
    monkeypatch.setattr(wiring, "_explored", lambda run: told(run) | {"every": 2, "share": 0.5})
    on = (*ON, "explore.share=0.5")
    hasty = go(tmp_path / "hasty", *on)
    reasons = hasty.risk_events.query("kind == 'denied' and limit == 'EXPLORATION'")["detail"]
    assert reasons.str.contains("was explored first").sum() > 0
    assert codes(audit(hasty.path)) == set()
    monkeypatch.setattr(Exploration, "check", lambda self, *_: None)
    assert "EXPLORED_CHANGE" in codes(audit(go(tmp_path / "mutant", *on).path))


# -- freezing


def plant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sentry be alarmed at one step."""
    watch = DriftSentry.on_belief

    def planted(self: Any, belief: Any) -> None:
        watch(self, belief)
        if belief.step == PLANTED:
            nan = float("nan")
            words = (belief.ts, belief.instrument, "warn", "overall", nan, nan, "cusum", 1.0, True, 0, 0, 0, "planted")
            self.msgbus.publish(DRIFT_TOPIC, DriftSignal(*words))

    monkeypatch.setattr(DriftSentry, "on_belief", planted)


def explored_after(result: RunResult, step: int) -> tuple[int, int]:
    """Return how many decisions explored from `step` on, and how many explored orders were let through then."""
    rows, events = result.decisions, result.risk_events
    then = rows.loc[rows["step"] == step, "ts"].iloc[0]
    return int((rows.loc[rows["step"] >= step, "explored"] != "").sum()), int(
        ((events["kind"] == "explored") & (events["ts"] >= then)).sum()
    )


def test_an_alarm_freezes_within_one_decision_for_the_rest_of_the_run(
    on: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert explored_after(on, PLANTED) > (50, 1), "else this would say nothing"
    plant(monkeypatch)
    frozen = go(tmp_path / "both", *ON)
    assert explored_after(frozen, PLANTED) == (0, 0)
    (row,) = frozen.risk_events.query("kind == 'frozen'").itertuples()
    assert row.detail == "drift: planted"
    assert audit(frozen.path).explored.after_freeze == 0
    assert codes(audit(frozen.path)) == set()
    with monkeypatch.context() as patch:  # the router does not listen: the law alone
        patch.setattr(Explorer, "freeze", lambda self, why: None)
        law = go(tmp_path / "law", *ON)
        assert explored_after(law, PLANTED)[0] > 50
        assert explored_after(law, PLANTED)[1] == 0
        assert codes(audit(law.path)) == set()
        patch.setattr(Explorations, "freeze", lambda self, ts, why: None)
        assert explored_after(go(tmp_path / "none", *ON), PLANTED)[1] > 0, "the mutant is found"


def test_what_was_explored_before_a_freeze_equals_what_would_have_been(
    on: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    frozen = go(tmp_path, *ON)
    until = frozen.decisions["step"] < PLANTED
    assert until.sum() > 500
    columns = ["step", "explored", "propensity", "action"]
    pd.testing.assert_frame_equal(frozen.decisions.loc[until, columns], on.decisions.loc[: until.sum() - 1, columns])


@pytest.mark.long
def test_the_budget_is_of_all_instruments_together(tmp_path: Path) -> None:
    worlds = "tapes=[{source: world, seed: 5, hours: 4}, {source: world, seed: 2, hours: 4, instrument: TWO/USD}]"
    result = run([worlds, *QUIET, *ON, f"paths.artifacts={tmp_path}", f"paths.state={tmp_path}"])
    report = audit(result.path)
    assert codes(report) == set()
    assert report.explored.orders > 0


# -- settings


@pytest.mark.parametrize(
    "override",
    [
        "explore.share=0", "explore.share=0.6", "explore.every=1", "explore.probability=0", "explore.probability=2",
        "explore.delta_bps=[1,2]", "explore.delta_bps=[-1,-0.5]", "policy.drift.enabled=false",
    ],
)  # fmt: skip
def test_what_cannot_be_governed_is_refused(override: str) -> None:
    with pytest.raises(ConfigError):
        compose_settings(["exploration=true", override])
