"""Alarms of an Alertmanager: listed, acknowledged by a silence with who and why, and what is refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alphatrade.nodes.alarms import acknowledge, alarms
from alphatrade.nodes.app import app
from alphatrade.nodes.ledger_home import ledger_dir
from alphatrade.reflection.ledger import Ledger
from alphatrade.risk.errors import InputError
from tests.nodes.make_alarms import Fake, served


@pytest.fixture
def fake() -> Iterator[Fake]:
    with served() as server:
        yield server


def test_pages_come_first(fake: Fake) -> None:
    assert [(one.name, one.labels["instance"]) for one in alarms(fake.url)] == [("Dead", "a"), ("Dead", "b"), ("Late", "a"), ("Watchdog", "")]


def test_an_alarm_is_acknowledged_on_all_its_labels_and_others_are_not(fake: Fake) -> None:
    done: list[str] = []
    acknowledge(fake.url, {"alertname": "Dead", "instance": "b"}, "ann", "on it", 2.0, lambda: done.append("recorded"))
    assert done == ["recorded"]
    assert [(one.name, one.labels["instance"]) for one in alarms(fake.url) if one.acknowledged] == [("Dead", "b")]
    (silence,) = fake.made
    assert (silence["createdBy"], silence["comment"]) == ("ann", "on it")
    assert {m["name"] for m in silence["matchers"]} == {"alertname", "severity", "instance"}


def test_it_is_recorded_before_it_is_done_and_not_done_if_it_cannot_be(fake: Fake) -> None:
    def record() -> None:
        assert not fake.made
        raise OSError("the ledger is full")

    with pytest.raises(OSError, match="full"):
        acknowledge(fake.url, {"alertname": "Dead"}, "ann", "on it", 1.0, record)
    assert not fake.made


@pytest.mark.parametrize(
    ("labels", "who", "why", "hours"),
    [({"alertname": "Other"}, "ann", "x", 1.0), ({}, "ann", "x", 1.0), ({"alertname": "Watchdog"}, "ann", "x", 1.0),
     ({"alertname": "Dead"}, " ", "x", 1.0), ({"alertname": "Dead"}, "ann", "", 1.0), ({"alertname": "Dead"}, "ann", "x", 0.0),
     ({"alertname": "Dead"}, "ann", "x", 1000.0), ({"alertname": "Dead"}, "ann", "x", float("nan"))],
)  # fmt: skip
def test_what_cannot_be_acknowledged_is_refused_and_not_recorded(fake: Fake, labels: dict[str, str], who: str, why: str, hours: float) -> None:
    done: list[int] = []
    with pytest.raises(InputError):
        acknowledge(fake.url, labels, who, why, hours, lambda: done.append(1))
    assert (done, fake.made) == ([], [])


def test_the_command_lists_acknowledges_and_lists_who_did(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path))
    monkeypatch.delenv("ALPHATRADE_LEDGER", raising=False)

    def said(*words: str) -> str:
        done = CliRunner().invoke(app, ["alarms", *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "page   Dead since 2026-01-02T03:04:05Z: Dead!" in said("--url", fake.url)
    told = said("ack", "Dead", "--who", "ann", "--why", "on it", "--url", fake.url).splitlines()
    assert told[:2] == ["acknowledged for 4 h: Dead a", "acknowledged for 4 h: Dead b"]
    last = Ledger(ledger_dir()).entries()[-1]
    assert told[2:] == [f"recorded: entry {last.seq} of the ledger"]
    assert (last.kind, last.body) == ("operator", {"action": "acknowledge", "target": "alertname=Dead", "who": "ann", "why": "on it"})
    listed = said("--url", fake.url)
    assert listed.count("acknowledged by ann: on it, until") == 2
    assert "Watchdog" not in listed


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense", "file:///etc/passwd"])
def test_an_alertmanager_that_is_not_there_is_one_line(url: str) -> None:
    with pytest.raises(InputError) as told:
        alarms(url)
    assert "\n" not in str(told.value)
    assert "Alertmanager" in str(told.value)
