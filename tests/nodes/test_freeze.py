"""Exploration frozen by an operator: an input of the run like any other, in its record, and the same again after kill -9."""

import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from alphatrade.nodes.beats import last_beat
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.paper.desk import Desk
from alphatrade.nodes.paper.inputs import Recorder
from alphatrade.reflection.trail import TRAIL, Trail
from alphatrade.risk.errors import InputError
from alphatrade.risk.freeze import REQUEST, Freeze, read_freeze, request_freeze
from tests.nodes.make_paper import digests, flown, settings
from tests.nodes.test_exploring import ON
from tests.nodes.test_learning import WORLD

EXPLORES = (*WORLD, *ON, "explore.every=2")


def frozen(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "risk_events.parquet").query("kind == 'frozen'")


def explored(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "risk_events.parquet").query("kind == 'explored'")


def asked(state: Path, run_dir: Path) -> threading.Thread:
    """Ask for a freeze as soon as the trail of a run shows that something was explored."""

    def wait() -> None:
        trail, ends = Trail(run_dir / TRAIL), time.monotonic() + 60
        while time.monotonic() < ends:
            if trail.more() and "explored" in trail.table("risk_events")["kind"].to_pylist():
                return request_freeze(state, "sim", "SIM", "me", "enough", time.time_ns())
            time.sleep(0.05)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_request_comes_back_as_it_was_left(tmp_path: Path) -> None:
    request_freeze(tmp_path, "paper", "SIM", "me", "enough", 7)
    folder = tmp_path / "paper" / "SIM"
    assert read_freeze(folder) == Freeze(7, "me", "enough")
    (folder / REQUEST).write_text("{")
    found = read_freeze(folder)
    assert found is not None
    assert "cannot be read" in found.words, "to explore less is the safe side"
    (folder / REQUEST).unlink()
    assert read_freeze(folder) is None
    with pytest.raises(InputError):
        request_freeze(tmp_path, "paper", "../SIM", "me", "enough", 7)


def test_a_freeze_is_an_input_that_the_journal_gives_back(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal", {"format": 1}) as journal:
        recorder = Recorder(journal, ["EUR/USD.SIM"])
        recorder.tick(5)
        recorder.freeze(Freeze(6, "me", "odd <fills>"))
        recorder.flush()
        found = [one for _, kind, payload in journal.records() for one in recorder.read(kind, payload)]
    assert found == [5, Freeze(6, "me", "odd <fills>")]


def test_a_running_node_stops_exploring_and_the_run_is_made_again_from_its_journal(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Journal.open(tmp_path / "journal", {"format": 1}) as journal:
        thread = asked(state, tmp_path / "was")
        flown(settings(*EXPLORES), tmp_path / "was", journal=journal, state=state, speed=5400.0)
        thread.join()
        (row,) = frozen(tmp_path / "was").to_dict("records")
        assert row["detail"] == "operator: enough (by me)"
        assert not (state / "sim" / "SIM" / REQUEST).exists()
        made = explored(tmp_path / "was")
        assert len(made) > 0
        assert made["seq"].max() < row["seq"], "nothing is explored after it"
        last = last_beat(state / "sim" / "SIM")
        assert last is not None
        assert last.facts["frozen"].startswith("operator")
        flown(settings(*EXPLORES), tmp_path / "again", journal=journal)
        assert not (tmp_path / "was" / TRAIL).exists(), "the tables have it"
    assert digests(tmp_path / "again") == digests(tmp_path / "was")


@pytest.mark.long
def test_without_the_request_it_would_have_explored_on(tmp_path: Path) -> None:
    flown(settings(*EXPLORES), tmp_path / "free", state=tmp_path / "state")
    assert frozen(tmp_path / "free").empty
    assert len(explored(tmp_path / "free")) > 0


@pytest.mark.long
def test_a_freeze_that_is_not_journalled_makes_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: the node freezes, and its journal does not know."""
    monkeypatch.setattr(Recorder, "freeze", lambda *_: None)
    with Journal.open(tmp_path / "journal", {"format": 1}) as journal:
        thread = asked(tmp_path / "state", tmp_path / "was")
        flown(settings(*EXPLORES), tmp_path / "was", journal=journal, state=tmp_path / "state", speed=5400.0)
        thread.join()
        flown(settings(*EXPLORES), tmp_path / "again", journal=journal)
    assert digests(tmp_path / "again") != digests(tmp_path / "was")


@pytest.mark.long
def test_a_request_that_waits_is_taken_at_the_next_start(tmp_path: Path) -> None:
    request_freeze(tmp_path / "state", "sim", "SIM", "me", "enough", 7)
    flown(settings("tape.end=2026-08-17T12:00:00Z"), tmp_path / "run", state=tmp_path / "state", speed=6000.0)
    assert len(frozen(tmp_path / "run")) == 1, "on a node that explores nothing as well"


@pytest.mark.long
def test_a_desk_that_cannot_be_written_tells_once_and_the_run_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, told = settings("tape.end=2026-08-17T12:00:00Z"), list[str]()
    flown(own, tmp_path / "was", state=tmp_path / "state", speed=6000.0)
    begin = Desk.__init__

    def nowhere(self: Desk, *values: object) -> None:
        begin(self, *values)  # type: ignore[arg-type]
        self._path = tmp_path / "none" / "trail.jsonl"

    monkeypatch.setattr(Desk, "__init__", nowhere)
    flown(own, tmp_path / "now", state=tmp_path / "other", speed=6000.0, tell=told.append)
    assert [line[:29] for line in told] == ["the trail of the run is not w"]
    assert digests(tmp_path / "now") == digests(tmp_path / "was")
