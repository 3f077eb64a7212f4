"""Back to the policy before by one command: the node first, then the ledger, then the node again."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from alphatrade.nodes.beats import Beat, BeatWriter
from alphatrade.nodes.live import app as live_app
from alphatrade.nodes.live import rollback
from alphatrade.nodes.live.switch import Switch, pending, request_switch, take_switch
from alphatrade.risk.errors import ConfigError, LedgerError
from tests.conftest import ROOT

BEAT = Beat(
    ts=0, number=1, pid=1, lag_s=0.0, feed_age_s=None, events=0, orders=0, fills=0, rss=1, kill="ACTIVE", journal=0
)


class Place:
    """An account's folder, a ledger that notes what it is told, and a node that a test plays."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, previous: str = "b" * 64) -> None:
        self.folder, self.told = root / "live" / "PILOT", list[str]()
        self.folder.mkdir(parents=True)
        ledger = SimpleNamespace(chain=SimpleNamespace(stages=SimpleNamespace(previous=lambda _: previous)))
        home = SimpleNamespace(ledger=ledger, append_stage=self._entry)
        monkeypatch.setattr(rollback, "read", lambda: SimpleNamespace(state=root, ledger=root / "ledger"))
        monkeypatch.setattr(rollback, "existing", lambda key, folder: home)
        monkeypatch.setattr(rollback, "TAKEN_S", 0.5)
        monkeypatch.setattr(rollback, "AGAIN_S", 2.0)

    def _entry(self, body: Any) -> None:
        assert not pending(self.folder), "a node has not been told yet"
        self.told.append(f"entry {body['policy_hash'][:4]} {body['from']} {body['to']}")

    def beats(self, run: str) -> None:
        (self.folder / "run.json").write_text(run)
        BeatWriter(self.folder, print).write(
            Beat(**{f: getattr(BEAT, f) for f in BEAT.__struct_fields__} | {"ts": time.time_ns()})
        )

    def node(self, again: bool = True) -> threading.Thread:
        """Take a request, and start again."""

        def run() -> None:
            while not take_switch(self.folder):
                time.sleep(0.01)
            if again:
                time.sleep(0.2)
                self.told.append("again")
                self.beats("second")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread


def roll_back() -> list[str]:
    return list(rollback.roll_back("a bad week", None, "PILOT"))


def test_the_node_is_asked_first_then_the_ledger_is_told_then_the_node_runs_again(tmp_path, monkeypatch):
    place = Place(tmp_path, monkeypatch)
    place.beats("first")
    thread = place.node()
    lines = roll_back()
    thread.join(5)
    assert place.told == ["entry bbbb limited_live limited_live", "again"]
    assert len(lines) == 3
    assert lines[2].endswith("the node runs under it")


def test_without_a_node_the_ledger_alone_is_told(tmp_path, monkeypatch):
    place = Place(tmp_path, monkeypatch)
    assert len(roll_back()) == 1
    assert place.told == ["entry bbbb limited_live limited_live"]
    assert not pending(place.folder)


def test_a_node_that_does_not_take_it_leaves_the_ledger_as_it_is_and_no_request(tmp_path, monkeypatch):
    place = Place(tmp_path, monkeypatch)
    place.beats("first")
    with pytest.raises(ConfigError, match="hung"):
        roll_back()
    assert (place.told, pending(place.folder)) == ([], False)


def test_a_node_that_does_not_come_back_is_told(tmp_path, monkeypatch):
    place = Place(tmp_path, monkeypatch)
    place.beats("first")
    place.node(again=False)
    with pytest.raises(ConfigError, match="permit of its own"):
        roll_back()


def test_with_nothing_before_there_is_nothing_to_go_back_to(tmp_path, monkeypatch):
    place = Place(tmp_path, monkeypatch, previous="")
    place.beats("first")
    with pytest.raises(LedgerError):
        roll_back()
    assert not pending(place.folder)


def test_a_request_that_cannot_be_read_switches_nothing(tmp_path):
    (tmp_path / "switch.request").write_text("{half")
    assert take_switch(tmp_path) is None
    for hand_over in (False, True):
        request_switch(tmp_path, Switch(1, "ada", "why", hand_over))
        taken = take_switch(tmp_path)
        assert taken is not None
        assert (taken.words, taken.hand_over) == ("operator: why (by ada)", hand_over)
    assert take_switch(tmp_path) is None
    (tmp_path / "switch.request").write_text('{"ts": 1, "who": "ada", "why": "why", "hand_over": "no"}')
    taken = take_switch(tmp_path)
    assert taken is not None
    assert not taken.hand_over, "what is not clear ends flat"


def became(monkeypatch: pytest.MonkeyPatch, switched: str, *words: str) -> list[Any]:
    """Return what a node of these words becomes at its end: command lines."""
    from alphatrade.nodes import hydra_app, show
    from alphatrade.nodes.live import anchor, run

    found: list[Any] = []
    monkeypatch.setattr(anchor, "read", lambda: None)
    monkeypatch.setattr(hydra_app, "run_config", lambda *_: None)
    monkeypatch.setattr(show, "show_result", lambda _: None)
    monkeypatch.setattr(run, "live", lambda _: SimpleNamespace(result=None, switched=switched))
    monkeypatch.setattr(os, "execv", lambda path, command: found.append((path, command)))
    assert CliRunner().invoke(live_app.app, ["live", *words]).exit_code == 0
    return found


@pytest.mark.parametrize("switched", ["", "operator: why (by ada)"])
def test_a_node_that_was_asked_to_becomes_itself_again_with_the_same_words(switched, monkeypatch):
    words = ["account=PILOT", "feed.testnet=true"]
    wanted = (sys.executable, [sys.executable, "-P", "-m", "alphatrade", "live", *words])
    assert became(monkeypatch, switched, *words) == ([wanted] if switched else [])


def test_it_becomes_our_code_and_not_what_lies_in_the_folder_where_it_stands(monkeypatch, tmp_path):
    ((_, command),) = became(monkeypatch, "why")
    (tmp_path / "alphatrade").mkdir()
    (tmp_path / "alphatrade" / "__init__.py").touch()
    (tmp_path / "alphatrade" / "__main__.py").write_text("print('planted')")
    own = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "--help"], cwd=tmp_path, env=own, capture_output=True, text=True, check=True)
    assert "planted" not in done.stdout
    assert "alphatrade live [--check]" in done.stdout
