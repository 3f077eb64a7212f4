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
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.model.enums import AccountType
from nautilus_trader.model.events import AccountState
from typer.testing import CliRunner

from alphatrade.nodes.beats import Beat, BeatWriter
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.live import app as live_app
from alphatrade.nodes.live import rollback
from alphatrade.nodes.live.first import paid_since
from alphatrade.nodes.live.handover import Left, write_left
from alphatrade.nodes.live.switch import Switch, pending, request_switch, take_switch
from alphatrade.nodes.paper.inputs import Recorder
from alphatrade.risk.errors import ConfigError, LedgerError, NotFlatError
from alphatrade.risk.handover import FILE, HandOver
from alphatrade.risk.permit import Permit
from tests.conftest import ROOT
from tests.nodes.make_broker import ACCOUNT

BEAT = Beat(
    ts=0, number=1, pid=1, lag_s=0.0, feed_age_s=None, events=0, orders=0, fills=0, rss=1, kill="ACTIVE", journal=0
)


class Place:
    """An account's folder, a ledger that notes what it is told, and a node that a test plays."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, previous: str = "b" * 64) -> None:
        self.folder, self.told = root / "live" / "PILOT", list[str]()
        self.folder.mkdir(parents=True)
        ledger = SimpleNamespace(chain=SimpleNamespace(stages=SimpleNamespace(previous=lambda _: previous)))
        self.broken: Exception | None = None
        home = SimpleNamespace(ledger=ledger, entries=self._entries, append_stage=self._entry)
        monkeypatch.setattr(rollback, "read", lambda: SimpleNamespace(state=root, ledger=root / "ledger"))
        monkeypatch.setattr(rollback, "existing", lambda key, folder: home)
        monkeypatch.setattr(rollback, "TAKEN_S", 0.5)
        monkeypatch.setattr(rollback, "AGAIN_S", 2.0)

    def _entries(self) -> None:
        assert not pending(self.folder), "the ledger is waited for before a node is asked"
        self.told.append("entries")

    def _entry(self, body: Any) -> None:
        if self.broken is not None:
            raise self.broken
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
    assert place.told == ["entries", "entry bbbb limited_live limited_live", "again"]
    assert len(lines) == 3
    assert lines[2].endswith("the node runs under it")


def test_without_a_node_the_ledger_alone_is_told(tmp_path, monkeypatch):
    place = Place(tmp_path, monkeypatch)
    assert len(roll_back()) == 1
    assert place.told == ["entries", "entry bbbb limited_live limited_live"]
    assert not pending(place.folder)


def test_a_node_that_does_not_take_it_leaves_the_ledger_as_it_is_and_no_request(tmp_path, monkeypatch):
    place = Place(tmp_path, monkeypatch)
    place.beats("first")
    with pytest.raises(ConfigError, match="hung"):
        roll_back()
    assert (place.told, pending(place.folder)) == (["entries"], False)


def test_a_node_that_does_not_come_back_is_told(tmp_path, monkeypatch):
    place = Place(tmp_path, monkeypatch)
    place.beats("first")
    place.node(again=False)
    with pytest.raises(ConfigError, match="permit of its own"):
        roll_back()


@pytest.mark.parametrize(
    ("runs", "word", "words"),
    [
        (True, True, "starts again under the policy that it has, and takes over itself what it holds"),
        (True, False, "starts again under the policy that it has, and sells what it holds before"),
        (False, False, "a file that can be written"),
    ],
)
def test_an_entry_that_cannot_be_made_says_what_becomes_of_the_node(tmp_path, monkeypatch, runs, word, words):
    place = Place(tmp_path, monkeypatch)
    place.broken = LedgerError("ledger.jsonl", "No space left on device", "a file that can be written")
    heir(place, monkeypatch)
    if runs:
        place.beats("first")
        thread = place.node(again=False)
    with pytest.raises(LedgerError, match=words) as error:
        list(rollback.roll_back("a bad week", None, "PILOT", word))
    assert "No space left" in str(error.value)
    assert ("starts again" in str(error.value)) == runs
    assert not pending(place.folder)
    if runs:
        thread.join(5)


def test_a_ledger_that_cannot_be_had_leaves_the_node_as_it_is(tmp_path, monkeypatch):
    place = Place(tmp_path, monkeypatch)
    asked = list[Any]()
    monkeypatch.setattr(rollback, "request_switch", lambda *what: asked.append(what))

    def damaged() -> None:
        raise LedgerError("ledger.jsonl", "torn", "one that is whole")

    rollback.existing(None, None).entries = damaged
    place.beats("first")
    with pytest.raises(LedgerError, match="torn"):
        roll_back()
    assert (asked, place.told) == ([], [])


def test_a_node_that_takes_it_at_the_last_moment_has_taken_it(tmp_path, monkeypatch):
    place = Place(tmp_path, monkeypatch)
    place.beats("first")

    def late(_: Any, seconds: float, expected: str) -> None:
        monkeypatch.setattr(rollback, "_wait", lambda *_: None)
        assert take_switch(place.folder) is not None
        raise ConfigError("live-rollback", f"nothing within {seconds:g} s", expected)

    monkeypatch.setattr(rollback, "_wait", late)
    assert len(roll_back()) == 3
    assert place.told == ["entries", "entry bbbb limited_live limited_live"]


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


# -- handed over


BEGUN = 1_790_000_000 * 10**9
HEAD = {
    "format": 1, "account": "PILOT", "policy": "a" * 64, "code": "c" * 64, "run": "ab12", "broker": "binance sandbox",
    "instruments": ["BTCUSDT.BINANCE"],
}  # fmt: skip


def heir(place: Place, monkeypatch: pytest.MonkeyPatch, begins: int = BEGUN, refused: str = "", margin: str = "") -> list[Any]:
    """Write the journal of a node that has begun, and let the ledger permit the policy before; return what it is asked."""
    asked: list[Any] = []
    permit = Permit(entry="e" * 64, begins=begins, ends=2**62, refused=refused)
    monkeypatch.setattr(rollback, "permitted", lambda chain, what, now: asked.append(what) or permit)
    monkeypatch.setattr(rollback, "Ledger", lambda folder: None)
    monkeypatch.setattr(rollback, "margin_of", lambda ledger, policy: margin)
    monkeypatch.setattr(rollback, "OVER_S", 1.0)
    with Journal.open(place.folder / "journal", HEAD) as journal:
        recorder = Recorder(journal, HEAD["instruments"])
        recorder.broker(AccountState(ACCOUNT, AccountType.CASH, None, True, [], [], {}, UUID4(), BEGUN, BEGUN))
        recorder.broker(AccountState(ACCOUNT, AccountType.CASH, None, True, [], [], {}, UUID4(), BEGUN + 9, BEGUN + 9))
    return asked


def hand_over() -> list[str]:
    return list(rollback.roll_back("a bad week", None, "PILOT", True))


@pytest.mark.parametrize("takes", [True, False])
def test_handed_over_the_node_keeps_what_it_holds_and_it_is_waited_for_that_it_is_taken_over(tmp_path, monkeypatch, takes):
    place, found = Place(tmp_path, monkeypatch), list[Any]()
    asked = heir(place, monkeypatch)
    place.beats("first")
    file = place.folder / FILE

    def run() -> None:
        while not (taken := take_switch(place.folder)):
            time.sleep(0.01)
        found.append(taken)
        file.write_text("{}")
        time.sleep(0.2)
        place.beats("second")
        time.sleep(0.2)
        if takes:
            file.unlink()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    if takes:
        lines = hand_over()
        assert "keeps what it holds" in lines[0]
        assert lines[-1].endswith("all is taken over")
    else:
        with pytest.raises(ConfigError, match="that what was left is taken over"):
            hand_over()
    thread.join(5)
    assert found[0].hand_over
    assert asked == [("b" * 64, "c" * 64, "sandbox", "PILOT", ("BTCUSDT.BINANCE",))]


@pytest.mark.parametrize(
    ("odd", "words"),
    [({"refused": "no entry limited_live permits it"}, "no entry limited_live"), ({"begins": BEGUN + 1}, "begins at"),
     ({"margin": "bred on a margin account"}, "bred on a margin account")],
)  # fmt: skip
def test_without_somebody_to_take_it_over_nothing_is_asked_and_nothing_entered(tmp_path, monkeypatch, odd, words):
    place = Place(tmp_path, monkeypatch)
    heir(place, monkeypatch, **odd)
    place.beats("first")
    with pytest.raises(ConfigError, match=words) as error:
        hand_over()
    assert "without the word the node ends flat" in str(error.value)
    assert (place.told, pending(place.folder)) == (["entries"], False)


@pytest.mark.parametrize("what", ["beat", "journal"])
def test_where_no_node_runs_there_is_nothing_to_hand_over(tmp_path, monkeypatch, what):
    place = Place(tmp_path, monkeypatch)
    if what == "beat":
        place.beats("first")
    else:
        heir(place, monkeypatch)
    with pytest.raises(ConfigError, match="no node that runs"):
        hand_over()
    assert place.told == ["entries"]


def test_what_a_node_has_taken_over_itself_was_paid_for_before_it_began(tmp_path):
    with Journal.open(tmp_path / "journal", HEAD) as journal:
        Recorder(journal, []).handover(HandOver("9f", BEGUN - 7, ()))
    assert paid_since(tmp_path / "journal") == BEGUN - 7
    assert paid_since(tmp_path / "none") == 0


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


@pytest.mark.parametrize(("words", "left"), [((), "PILOT"), (("account=OTHER",), "OTHER"), (("account=../x",), "")])
def test_a_node_whose_settings_are_refused_says_what_was_left_to_it(monkeypatch, tmp_path, words, left):
    from alphatrade.nodes import hydra_app
    from alphatrade.nodes.live import anchor

    def refused(*_: Any) -> Any:
        raise LedgerError("policy_entry", "no policy in stage limited_live", "one")

    monkeypatch.setattr(anchor, "read", lambda: SimpleNamespace(state=tmp_path))
    monkeypatch.setattr(hydra_app, "run_config", refused)
    plain = CliRunner().invoke(live_app.app, ["live", *words]).exception
    assert isinstance(plain, LedgerError)
    for account in ("PILOT", "OTHER"):
        (tmp_path / "live" / account).mkdir(parents=True)
        write_left(tmp_path / "live" / account, Left(account, "a" * 64, "ab12", 1, 1, {"BTCUSDT.BINANCE": "0.002"}))
    told = CliRunner().invoke(live_app.app, ["live", *words]).exception
    assert isinstance(told, NotFlatError if left else LedgerError)
    if left:
        assert "no policy in stage limited_live" in str(told)
        assert "watched by nobody: 0.002 of BTCUSDT.BINANCE" in str(told)
        assert (tmp_path / "live" / left / "alerts.jsonl").exists()
