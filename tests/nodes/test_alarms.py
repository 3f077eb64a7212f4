"""Alarms of an Alertmanager: listed, acknowledged by a silence with who and why, and what is refused."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alphatrade.nodes import alarms as module
from alphatrade.nodes.alarms import acknowledge, alarms
from alphatrade.nodes.app import app
from alphatrade.nodes.ledger_home import ledger_dir
from alphatrade.reflection.ledger import Ledger
from alphatrade.risk.errors import InputError
from tests.conftest import ROOT
from tests.nodes.make_alarms import Fake, Handler, served


@pytest.fixture
def fake() -> Iterator[Fake]:
    with served() as server:
        yield server


def test_pages_come_first(fake: Fake) -> None:
    assert [(one.name, one.labels["instance"]) for one in alarms(fake.url)] == [
        ("Dead", "a"),
        ("Dead", "b"),
        ("Late", "a"),
        ("Watchdog", ""),
    ]


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
def test_what_cannot_be_acknowledged_is_refused_and_not_recorded(
    fake: Fake, labels: dict[str, str], who: str, why: str, hours: float
) -> None:
    done: list[int] = []
    with pytest.raises(InputError):
        acknowledge(fake.url, labels, who, why, hours, lambda: done.append(1))
    assert (done, fake.made) == ([], [])


def test_the_command_lists_acknowledges_and_lists_who_did(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert (last.kind, last.body) == (
        "operator",
        {"action": "acknowledge", "target": "alertname=Dead", "who": "ann", "why": "on it"},
    )
    listed = said("--url", fake.url)
    assert listed.count("acknowledged by ann: on it, until") == 2
    assert "Watchdog" not in listed


def one_line(url: str) -> str:
    with pytest.raises(InputError) as told:
        alarms(url)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "file:///etc/passwd",
        "ftp://127.0.0.1",
        "http://",
        "http://[::1",
        "http://127.0.0.1:x",
        "http://me:word@127.0.0.1",
    ],
)
def test_what_is_no_address_is_one_line_and_not_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._OPENER, "open", lambda *_, **__: pytest.fail("it was asked"))
    assert one_line(url).startswith("--url: got ")


def test_an_alertmanager_that_is_not_there_is_one_line() -> None:
    assert "expected an Alertmanager that answers" in one_line("http://127.0.0.1:9")


class Other(Handler):
    """Another server: it says one thing, whatever it is asked."""

    code, body = 200, b""

    def do_GET(self) -> None:
        self.send_response(self.code)
        self.end_headers()
        self.wfile.write(self.body)


@pytest.mark.parametrize(
    ("code", "body"),
    [(404, b"<html>\nnot found\n</html>"), (500, b""), (200, b""), (200, b"<html>\nwelcome</html>"), (200, b"\xff\xfe"), (200, b"null"), (200, b"7"),
     (200, b'{"status": "ok"}'), (200, b'["a"]'), (200, b'[{"labels": {}}]'), (200, b'[{"id": "a", "labels": 7}]'),
     (200, b'[{"id": "a", "labels": {}, "annotations": {}, "startsAt": 7, "status": {"silencedBy": ["a"], "inhibitedBy": []}}]')],
)  # fmt: skip
def test_another_server_is_one_line_and_nothing_is_recorded_or_silenced_there(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, code: int, body: bytes
) -> None:
    monkeypatch.setattr(Other, "code", code)
    monkeypatch.setattr(Other, "body", body)
    fake.RequestHandlerClass = Other
    assert "Alertmanager" in one_line(fake.url)
    with pytest.raises(InputError):
        acknowledge(fake.url, {"alertname": "Dead"}, "ann", "on it", 1.0, lambda: pytest.fail("recorded"))
    assert not fake.made


def test_the_command_is_one_line_and_exit_code_2(fake: Fake, tmp_path: Path) -> None:
    fake.RequestHandlerClass = Other
    env = {**os.environ, "PYTHONPATH": str(ROOT), "ALPHATRADE_STATE": str(tmp_path / "state")}
    for words in (
        ("--url", fake.url),
        ("ack", "Dead", "--who", "ann", "--why", "x", "--url", fake.url),
        ("ack", "Dead", "--who", "ann", "--why", "x", "--hours", "nan", "--url", fake.url),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "alphatrade", "alarms", *words],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert not (tmp_path / "state").exists()
