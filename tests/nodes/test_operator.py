"""What an operator does is an entry of the ledger first; only a kill is done first."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from alphatrade.nodes import operator
from alphatrade.nodes.ledger_home import home, ledger_dir
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_check import verify
from alphatrade.risk.errors import InputError, LedgerError
from alphatrade.risk.freeze import read_freeze
from alphatrade.risk.kill import read_request
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
    asked: list[str] = []
    with pytest.raises(LedgerError):
        operator.acknowledge(silence(asked), "http://127.0.0.1:1", {"alertname": "Drift"}, "ann", "known", 2.0)
    assert asked == []


def silence(asked: list[str]) -> operator.Acknowledge:
    def by(url: str, labels: Mapping[str, str], who: str, why: str, hours: float, record: Callable[[], object]) -> None:
        record()
        asked.append(f"{url} {who} {hours}")

    return by


def test_an_alarm_is_acknowledged_after_it_was_recorded() -> None:
    asked: list[str] = []
    labels = {"alertname": "Drift", "severity": "page"}
    done = operator.acknowledge(silence(asked), "http://127.0.0.1:9093", labels, "ann", "known", 2.0)
    assert asked == ["http://127.0.0.1:9093 ann 2.0"]
    assert told() == [
        {"action": "acknowledge", "target": "alertname=Drift severity=page", "who": "ann", "why": "known"}
    ]
    assert done.words == "acknowledged for 2 h"


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
    assert [one["action"] for one in told()] == ["sign_off"]


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
