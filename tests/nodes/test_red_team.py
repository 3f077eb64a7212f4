"""The red team: the default policy passes, and each scenario goes red when the mechanism that it is about is off."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from alphatrade.nodes import red_team_tapes as tapes
from alphatrade.nodes.app import app
from alphatrade.nodes.red_team import Outcome, ground_of, red_team
from alphatrade.nodes.red_team_scenarios import GAP_SIGMAS, scenarios
from alphatrade.nodes.settings import Settings, compose_settings
from alphatrade.risk import account, gate_market, gate_price
from alphatrade.risk.account import Account
from alphatrade.risk.audit import audit
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.gate import RiskGate
from alphatrade.risk.gate_kill import Reduction
from alphatrade.risk.pace import Pace


def settings(tmp: Path, *overrides: str) -> Settings:
    return compose_settings([f"paths.artifacts={tmp / 'artifacts'}", f"paths.state={tmp / 'state'}", *overrides])


def failed(outcome: Outcome) -> set[str]:
    return {check.what for check in outcome.checks if not check.holds}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Outcome]]:
    return red_team(settings(tmp_path_factory.mktemp("red")))


@pytest.mark.long
def test_the_default_policy_passes_every_scenario(whole: tuple[Path, list[Outcome]]) -> None:
    _, outcomes = whole
    assert len(outcomes) == 18
    assert {one.name: failed(one) for one in outcomes if not one.passed} == {}


@pytest.mark.long
def test_the_report_is_complete_and_each_run_can_be_audited_again(whole: tuple[Path, list[Outcome]]) -> None:
    path, outcomes = whole
    assert path.name == "red-team"
    assert not (path.parent.parent / "latest").exists(), "a red team is not the latest run"
    report = json.loads((path / "red-team.json").read_text())
    assert report["passed"] is True
    assert [row["id"] for row in report["scenarios"]] == [one.name for one in outcomes]
    page = (path / "red-team.html").read_text()
    for one in outcomes:
        assert f'id="{one.name}"' in page
        if one.scenario is not None:
            assert f"figure-{one.name}" in page
            assert audit(path / one.name).ok
    assert "http" not in page.split("<body>")[1].split("figure-")[0]


@pytest.mark.long
def test_a_scenario_is_about_something(whole: tuple[Path, list[Outcome]]) -> None:
    """Where something is planted, it was tried on; a position that matters is there."""
    _, outcomes = whole
    for one in outcomes:
        told = {check.what: check.measured for check in one.checks}
        if one.scenario is not None and one.scenario.denies:
            assert int(told["orders tried on the fault"]) >= 9, one.name
        if one.name.startswith("gap_against"):
            sigmas = abs(
                one.scenario.market.mid[one.scenario.market.at] / one.scenario.market.mid[one.scenario.market.at - 1]
                - 1
            )  # type: ignore[union-attr]
            assert sigmas > GAP_SIGMAS * tapes.step_sigma(one.scenario.market, 15)  # type: ignore[union-attr]
            assert told["kill switch"].startswith("DAILY_LOSS")


def none(*_: Any, **__: Any) -> None:
    return None


MUTATIONS: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None], str]] = {
    "a lone price is believed, short": (
        "bad_prints_high_short", lambda m: m.setattr(gate_price, "alone", none), "kill switch",
    ),
    "a lone price is believed, long": (
        "bad_prints_low_long", lambda m: m.setattr(gate_price, "alone", none), "kill switch",
    ),
    "a lone price is believed, flat": (
        "bad_prints_flat", lambda m: m.setattr(gate_price, "alone", none), "orders let through on bad data",
    ),
    "a crossed price is believed": (
        "crossed_book", lambda m: m.setattr(account, "doubt_of", none), "orders let through on bad data",
    ),
    "a backdated price is believed": (
        "clock_backwards", lambda m: m.setattr(account, "doubt_of", none), "orders let through on bad data",
    ),
    "a price never gets stale": (
        "stale_feed", lambda m: m.setattr(gate_market, "floor_nano", lambda _: 10**18), "orders let through on bad data",
    ),
    "a halt is not heard of": (
        "halt", lambda m: m.setattr(Account, "on_status", none), "orders let through on bad data",
    ),
    "a breach stops nothing": (
        "gap_against_long", lambda m: m.setattr(RiskGate, "breach", none), "kill switch",
    ),
    "a breach at the reopening stops nothing": (
        "halt_then_gap", lambda m: m.setattr(RiskGate, "breach", none), "kill switch",
    ),
    "a stop does not flatten": (
        "gap_against_short", lambda m: m.setattr(Reduction, "_flatten", lambda self, now: 0), "position at the end",
    ),
    "the rate is not limited": (
        "runaway_spray", lambda m: m.setattr(Pace, "check_rate", none), "most orders let through in 1 s",
    ),
    "repetition is not limited": (
        "runaway_same", lambda m: m.setattr(Pace, "check_repetition", none), "violations found by the auditor",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MUTATIONS)
def test_without_its_mechanism_a_scenario_is_red(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, disable, expected = MUTATIONS[what]
    disable(monkeypatch)
    _, (outcome,) = red_team(settings(tmp_path), only=[name])
    assert expected in failed(outcome), outcome.checks


def test_the_law_stops_on_repetition_where_the_template_says_so(tmp_path: Path) -> None:
    pilot = settings(tmp_path, "policy/risk=pilot")
    _, (outcome,) = red_team(pilot, only=["runaway_same"])
    assert outcome.passed, outcome.checks
    told = {check.what: check.measured for check in outcome.checks}
    assert told["kill switch"].startswith("REPEATED")
    assert told["position at the end"] == "flat"


def test_a_cash_account_has_no_scenario_that_needs_a_short(tmp_path: Path) -> None:
    cash = settings(tmp_path, "venue.account=cash")
    assert not [name for name in scenarios(ground_of(cash), True) if name.endswith("short")]
    _, (outcome,) = red_team(cash, only=["crossed_book"])
    assert outcome.passed, outcome.checks


def test_tapes_are_the_same_every_time_and_hold_what_they_plant() -> None:
    calm = tapes.market(6000, 5)
    assert calm.tape("a").tape_hash == tapes.market(6000, 5).tape("a").tape_hash
    assert calm.tape("a").tape_hash != tapes.market(6000, 6).tape("a").tape_hash
    assert not calm.bad.any()
    crossed = tapes.crossed(calm, 60).tape("b").columns
    assert int((crossed["bid"] > crossed["ask"]).sum()) == 60
    quiet = tapes.silence(calm, 300)
    assert np.diff(quiet.ts).max() == 301 * tapes.SECOND
    back = tapes.backwards(calm, 90, 30)
    assert int(back.bad.sum()) == 29, "stamped before what was seen: until the clock has caught up"
    assert (np.diff(back.ts) > 0).all(), "what arrives is in order"


def test_a_policy_that_cannot_see_quotes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cadence"):
        red_team(settings(tmp_path, "cadence.kind=bars", "cadence.n=1"))
    with pytest.raises(ConfigError):
        red_team(settings(tmp_path, "policy/features=volume"))
    assert not list((tmp_path / "artifacts").glob("*/*")), "nothing is left behind"


@pytest.mark.long
def test_the_front_door_says_it_with_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alphatrade.nodes import red_team as module

    real = module.scenarios
    monkeypatch.setattr(module, "scenarios", lambda *a: {"halt": real(*a)["halt"]})
    words = ["red-team", f"paths.artifacts={tmp_path}", f"paths.state={tmp_path}"]
    good = CliRunner().invoke(app, words)
    assert good.exit_code == 0, good.output
    assert "2 of 2 scenarios passed" in good.output
    monkeypatch.setattr(Account, "on_status", none)
    bad = CliRunner().invoke(app, words)
    assert bad.exit_code == 1
    assert "FAILED halt in mid-position: orders let through on bad data" in " ".join(bad.output.split())
