"""What an operator does is an entry of the ledger first; only a kill is done first."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from alphatrade.nodes import operator
from alphatrade.nodes.app import app
from alphatrade.nodes.ledger_home import home, key_file, ledger_dir
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_check import verify
from alphatrade.risk.errors import InputError, LedgerError
from alphatrade.risk.freeze import read_freeze
from alphatrade.risk.kill import read_request
from tests.nodes.make_alarms import served
from tests.reflection.make_proposal import proposal, ruling


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("ALPHATRADE_LEDGER", raising=False)
    return tmp_path / "state"


def told() -> list[dict[str, str]]:
    return [entry.body for entry in Ledger(ledger_dir()).entries() if entry.kind == "operator"]


def test_each_action_is_an_entry_with_who_and_why(state: Path) -> None:
    done = operator.kill(state, "paper", "SIM", "ann", "odd fills")
    assert done.entry == 3, "after the three that make a ledger"
    assert "no node" in done.words
    operator.freeze(state, "paper", "SIM", "ben", "enough")
    assert told() == [
        {"action": "kill", "target": "paper/SIM", "who": "ann", "why": "odd fills"},
        {"action": "freeze", "target": "paper/SIM", "who": "ben", "why": "enough"},
    ]
    folder = state / "paper" / "SIM"
    assert (read_request(folder), read_freeze(folder)) != (None, None)
    assert verify(ledger_dir()).problems == ()


def test_what_cannot_be_recorded_is_not_done_but_a_kill_is(state: Path) -> None:
    home()
    (state / "keys" / "service.pem").write_text("no key")
    done = operator.kill(state, "paper", "SIM", "ann", "odd fills")
    assert done.entry is None
    assert "could not be recorded" in done.words
    assert read_request(state / "paper" / "SIM") is not None
    with pytest.raises(LedgerError):
        operator.freeze(state, "paper", "SIM", "ann", "enough")
    assert read_freeze(state / "paper" / "SIM") is None
    with served() as alarms:
        with pytest.raises(LedgerError):
            operator.acknowledge(alarms.url, {"alertname": "Late"}, "ann", "known", 2.0)
        assert alarms.made == []


def test_an_alarm_is_acknowledged_after_it_was_recorded() -> None:
    with served() as alarms:
        done = operator.acknowledge(alarms.url, {"alertname": "Dead", "severity": "page"}, "ann", "known", 2.0)
        assert [(one["createdBy"], one["comment"]) for one in alarms.made] == [("ann", "known")] * 2
        alarms.refusal = "no"
        with pytest.raises(InputError):
            operator.acknowledge(alarms.url, {"alertname": "Late"}, "ann", "known", 2.0)
    assert [one["target"] for one in told()] == ["alertname=Dead severity=page", "alertname=Late"]
    assert done.words == "acknowledged for 2 h: Dead a, Dead b"


def test_a_proposal_that_waits_is_signed_off_once() -> None:
    own, waits = home(), proposal()
    own.append("proposal", waits)
    with pytest.raises(InputError, match="waits for a person"):
        operator.sign_off(waits["id"], True, "ann", "it is small")
    own.append("ruling", ruling(waits, "signoff"))
    operator.sign_off(waits["id"], True, "ann", "it is small")
    with pytest.raises(InputError, match="waits for a person"):
        operator.sign_off(waits["id"], True, "ann", "again")
    last = Ledger(ledger_dir()).entries()[-1]
    assert (last.kind, last.key, last.body["why"]) == ("signoff", "owner", "it is small (ann)")
    assert told() == [{"action": "sign_off", "target": f"{waits['id']} signed off", "who": "ann", "why": "it is small"}]


def test_the_command_signs_off_as_the_console_does() -> None:
    own, waits = home(), [proposal(n) for n in (1, 2)]

    def said(*words: str) -> int:
        return CliRunner().invoke(app, ["signoff", *words]).exit_code

    for one in waits:
        own.append("proposal", one)
    before = len(Ledger(ledger_dir()).entries())
    assert said(waits[0]["id"], "--why", "small") != 0, "nobody asks for it"
    for one in waits:
        own.append("ruling", ruling(one, "signoff"))
    assert said(waits[0]["id"], "--why", "small", "--key", str(key_file("service"))) != 0
    assert said(waits[0]["id"], "--why", " ") != 0
    assert len(Ledger(ledger_dir()).entries()) == before + 2, "nothing but the rulings"
    assert said(waits[0]["id"][:12], "--why", "small") == 0
    assert said(waits[1]["id"][:12], "--why", "odd", "--who", "ann", "--reject") == 0
    assert [(one["who"], one["target"].split(" ", 1)[1]) for one in told()] == [("owner", "signed off"), ("ann", "rejected")]
    last = Ledger(ledger_dir()).entries()[-1]
    assert last.body == {"proposal": waits[1]["id"], "approve": False, "why": "odd (ann)"}


@pytest.mark.parametrize(("who", "why"), [("", "why"), ("who", "  "), ("w" * 101, "why"), ("who", "w" * 1001)])
def test_without_who_and_why_nothing_is_done(state: Path, who: str, why: str) -> None:
    for act in (operator.kill, operator.freeze):
        with pytest.raises(InputError):
            act(state, "paper", "SIM", who, why)
    assert not state.exists()


@pytest.mark.parametrize("body", [{"action": "trade"}, {"who": ""}, {"why": ""}, {"target": ""}, {"more": "x"}])
def test_an_entry_that_is_not_well_formed_is_refused(body: dict[str, str]) -> None:
    good = {"action": "kill", "target": "paper/SIM", "who": "ann", "why": "odd fills"}
    with pytest.raises(LedgerError):
        home().append("operator", good | body)
