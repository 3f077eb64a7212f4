"""What a start with real orders takes from the run before, and how it waits for an exchange that is away."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alphatrade.nodes.journal import Journal
from alphatrade.nodes.live import run
from alphatrade.nodes.live.sides import first_permit
from alphatrade.nodes.paper.inputs import Recorder
from alphatrade.nodes.settings import compose_settings
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.permit import Permit
from tests.nodes.make_journal import HEAD

UNREAD = Permit(refused="the ledger cannot be read", at=5, spent=9, fee=1)
GOOD = Permit(entry="e" * 64, capital=100 * 10**18, loss=10**18, begins=1_790_000_000 * 10**9, ends=2**62, at=7)
LATE = GOOD._replace(entry="f" * 64, capital=1, begins=GOOD.begins + 1)


def journal(folder: Path, *permits: Permit) -> Path:
    """Write what a node keeps of its looks at the ledger."""
    with Journal.open(folder, HEAD) as made:
        recorder = Recorder(made, [])
        recorder.tick(1)
        for permit in permits:
            recorder.permit(permit)
    return folder


# -- with which permit a run began


def test_a_run_began_with_the_first_permit_that_names_something(tmp_path: Path) -> None:
    assert first_permit(journal(tmp_path / "a", UNREAD, GOOD, LATE)) == GOOD
    wrong = GOOD._replace(refused="the clock of this machine is wrong")
    assert first_permit(journal(tmp_path / "b", wrong, LATE)) == wrong, "it is known what it is for"


def test_a_look_that_found_no_permit_is_none_and_then_a_start_needs_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert first_permit(tmp_path / "none") is None
    folder = tmp_path / "live" / "PILOT"
    assert first_permit(journal(folder / "journal", UNREAD)) is None
    monkeypatch.setattr(run, "agree", lambda *_: None)
    monkeypatch.setattr(run, "put_by", lambda _: None)
    monkeypatch.setattr(run, "latch_dir", lambda *_: folder)
    monkeypatch.setattr(run, "Watch", lambda *_: SimpleNamespace(look=lambda: UNREAD))
    with pytest.raises(ConfigError, match="permit: got 'the ledger cannot be read'"):
        run._permitted(told(tmp_path))


def told(state: Path) -> Any:
    made = compose_settings([])
    feed = run.LiveFeedSpec(source="binance", symbols=("BTCUSDT",))
    own = SimpleNamespace(settings=made, account="PILOT", feed=feed)
    return SimpleNamespace(own=own, anchor=None, broker=SimpleNamespace(venue="sandbox"))
