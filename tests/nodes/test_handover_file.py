"""What a run leaves on its account: whole or refused in a line, for the start just after it alone, and never twice."""

import json
import os
import stat
import time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.model.enums import AccountType
from nautilus_trader.model.events import AccountState

from alphatrade.nodes.journal import Journal
from alphatrade.nodes.live import handover, unwatched
from alphatrade.nodes.live.alerts import Alerts
from alphatrade.nodes.live.estate import Estate
from alphatrade.nodes.live.first import first_taken
from alphatrade.nodes.live.full import Outcome
from alphatrade.nodes.live.handover import Left, forget, offered, put_by, read_left, to_take, write_left
from alphatrade.nodes.live.preflight import Held
from alphatrade.nodes.live.reconcile import Difference
from alphatrade.nodes.paper.inputs import Recorder
from alphatrade.risk.disk import LOCK, FolderLock
from alphatrade.risk.errors import ConfigError, InUseError, JournalError
from alphatrade.risk.handover import FILE, HandOver, Part
from tests.nodes.make_broker import ACCOUNT
from tests.nodes.make_checks import BTC

D = Decimal
LEFT = Left("PILOT", "a" * 64, "ab12", 10**18, 5, {"BTCUSDT.BINANCE": "0.0025"})
PARTS = (Part("HANDOVER-1", "BTCUSDT.BINANCE", "0.002", "30000"), Part("HANDOVER-2", "BTCUSDT.BINANCE", "0.0005", "30000"))
GIVEN = HandOver("ab12", 5, PARTS)


def journal(folder: Path, run: str, policy: str = "a" * 64, *noted: HandOver) -> Path:
    """Write the journal of a run of the account."""
    head = {"format": 1, "run": run, "policy": policy, "account": "PILOT", "instruments": ["BTCUSDT.BINANCE"]}
    with Journal.open(folder / "journal", head) as made:
        recorder = Recorder(made, head["instruments"])  # type: ignore[arg-type]
        for one in noted:
            recorder.handover(one)
    return folder / "journal"


def ran(folder: Path, ns: int) -> None:
    """Say when the latest run of the account has begun."""
    (folder / "run.json").write_text("{}")
    os.utime(folder / "run.json", ns=(ns, ns))


# -- the file


def test_it_is_read_as_it_was_written_and_is_its_owners_alone(tmp_path):
    assert read_left(tmp_path) is None
    old = os.umask(0)
    try:
        write_left(tmp_path, LEFT)
    finally:
        os.umask(old)
    assert read_left(tmp_path) == LEFT
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", json.dumps({"account": "PILOT"})]
    + [
        json.dumps(LEFT._asdict() | {"positions": dict(LEFT.positions)} | odd)
        for odd in (
            {"more": 1}, {"ts": "1"}, {"since": True}, {"account": ""}, {"run": 7}, {"positions": {}}, {"positions": [1]},
            {"positions": {"BTCUSDT.BINANCE": "0"}}, {"positions": {"BTCUSDT.BINANCE": "-1"}},
            {"positions": {"BTCUSDT.BINANCE": 1.5}}, {"positions": {"BTCUSDT.BINANCE": "1e-3"}},
        )
    ],
)  # fmt: skip
def test_one_that_is_torn_or_not_ours_is_refused_in_a_line(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    for look in (read_left, lambda folder: to_take(folder, "PILOT", False), lambda folder: put_by(folder, "b", print)):
        with pytest.raises(ConfigError, match="remove the file") as error:
            look(tmp_path)
        assert "\n" not in str(error.value)


# -- for which start it is


@pytest.mark.parametrize(
    ("taken", "words"),
    [
        ("", "nobody: 0.0025 of BTCUSDT.BINANCE, left by run ab12"),
        ("0.002", "nobody: 0.0005 of BTCUSDT.BINANCE, and 0.002 of BTCUSDT.BINANCE in the journal of the next run, left by run ab12"),
        ("0.0025", "nobody: nothing, and 0.0025 of BTCUSDT.BINANCE in the journal of the next run, left by run ab12"),
    ],
)
def test_what_a_dead_run_had_taken_over_is_told_apart_though_the_file_is_behind(tmp_path, monkeypatch, taken, words):
    write_left(tmp_path, LEFT)
    journal(tmp_path, "cd34", "b" * 64, GIVEN)
    book = SimpleNamespace(taken={"BTCUSDT": D(taken)} if taken else {})
    monkeypatch.setattr(unwatched, "kept", lambda *_: book)
    assert words in unwatched.watched_by_nobody(tmp_path, "why", "sell it by hand")


@pytest.mark.parametrize(("orders", "told"), [({}, False), ({("BTCUSDT", "1"): object()}, True), (None, True)])
def test_a_run_that_has_traded_and_is_not_over_is_told_where_no_node_goes_on_with_it(tmp_path, monkeypatch, orders, told):
    def read(*_: Any) -> Any:
        if orders is None:
            raise JournalError("journal", "torn", "one that is whole")
        return SimpleNamespace(orders=orders)

    monkeypatch.setattr(unwatched, "kept", read)
    assert unwatched.watched_by_nobody(tmp_path, "why", "sell it") == "", "there is no journal"
    journal(tmp_path, "cd34", "b" * 64)
    words = unwatched.watched_by_nobody(tmp_path, "why", "sell it")
    assert ("is not over, and what it may have open and hold is watched by nobody" in words) == told
    assert (tmp_path / "alerts.jsonl").exists() == told
    if told:
        assert words.startswith("why; ")
        assert words.endswith(": sell it")
        assert '"kind":"held"' in (tmp_path / "alerts.jsonl").read_text()


@pytest.mark.parametrize("mine", [False, True])
def test_a_wrong_word_beside_a_node_that_runs_is_no_alert(tmp_path, monkeypatch, mine):
    write_left(tmp_path, LEFT)
    with FolderLock(tmp_path):
        if not mine:
            (tmp_path / LOCK).write_text("1")
        assert bool(unwatched.watched_by_nobody(tmp_path, "why", "sell it")) == mine
    assert (tmp_path / "alerts.jsonl").exists() == mine
    assert unwatched.watched_by_nobody(tmp_path, "why", "sell it")
    assert unwatched.watched_by_nobody(tmp_path / "nowhere", "why", "sell it") == ""
    assert not (tmp_path / "nowhere").exists()


def test_a_journal_that_cannot_be_read_is_no_reason_to_say_nothing(tmp_path, monkeypatch):
    def damaged(_: Path) -> None:
        raise JournalError("journal", "torn", "one that is whole")

    write_left(tmp_path, LEFT)
    monkeypatch.setattr(unwatched, "first_taken", damaged)
    assert "nobody: 0.0025 of BTCUSDT.BINANCE, left by run ab12" in unwatched.watched_by_nobody(tmp_path, "why", "sell it by hand")


def test_the_start_just_after_the_run_takes_it_over(tmp_path):
    assert to_take(tmp_path, "PILOT", False) is None
    write_left(tmp_path, LEFT)
    ran(tmp_path, LEFT.ts - 1)
    taking = to_take(tmp_path, "PILOT", False)
    assert taking == ("ab12", 5, (Held("BTCUSDT", D("0.0025")),), False)


@pytest.mark.parametrize(
    ("account", "goes_on", "latest", "words"),
    [
        ("OTHER", False, -1, "of account PILOT"), ("PILOT", True, -1, "a run that does not know of it"),
        ("PILOT", False, 1, "from before the latest run"),
    ],
)  # fmt: skip
def test_another_start_refuses_it_in_a_line(tmp_path, account, goes_on, latest, words):
    write_left(tmp_path, LEFT)
    ran(tmp_path, LEFT.ts + latest)
    with pytest.raises(ConfigError, match=words):
        to_take(tmp_path, account, goes_on)


def test_a_start_that_died_before_it_noted_anything_is_still_the_one_after_the_run(tmp_path):
    write_left(tmp_path, LEFT)
    journal(tmp_path, "cd34", "b" * 64)
    ran(tmp_path, LEFT.ts + 1)
    assert to_take(tmp_path, "PILOT", False) is not None


def test_what_a_journal_has_is_not_taken_once_more_and_keeps_its_prices(tmp_path):
    write_left(tmp_path, LEFT)
    noted = journal(tmp_path, "cd34", "b" * 64, GIVEN)
    assert first_taken(noted) == GIVEN
    for goes_on in (True, False):
        taking = to_take(tmp_path, "PILOT", goes_on)
        held = (Held("BTCUSDT", D("0.002"), D(30_000)), Held("BTCUSDT", D("0.0005"), D(30_000)))
        assert taking == ("ab12", 5, held, True)


# -- of a node that was killed at its end


def test_a_run_that_goes_on_has_its_position_in_its_journal_and_the_file_is_void(tmp_path):
    write_left(tmp_path, LEFT)
    journal(tmp_path, "ab12")
    said = list[str]()
    put_by(tmp_path, "a" * 64, said.append)
    assert (read_left(tmp_path), len(said)) == (None, 1)
    assert (tmp_path / "journal").is_dir()


def test_before_another_policy_the_journal_is_put_beside_and_the_file_counts(tmp_path):
    write_left(tmp_path, LEFT)
    before = HandOver("9f", 1, PARTS)
    journal(tmp_path, "ab12", "a" * 64, before)  # which had taken something over itself
    put_by(tmp_path, "b" * 64, lambda _: None)
    assert first_taken(tmp_path / f"journal-handed-over-{LEFT.ts}") == before
    assert not (tmp_path / "journal").exists()
    taking = to_take(tmp_path, "PILOT", False)
    assert taking is not None
    assert not taking.noted


def test_the_journal_of_another_run_and_one_in_use_stay(tmp_path):
    write_left(tmp_path, LEFT)
    journal(tmp_path, "cd34", "b" * 64)
    put_by(tmp_path, "b" * 64, print)
    assert read_left(tmp_path) == LEFT
    assert (tmp_path / "journal").is_dir()
    other = tmp_path / "other"
    other.mkdir()
    write_left(other, LEFT)
    journal(other, "ab12")
    with handover.FolderLock(other / "journal"), pytest.raises(InUseError):
        put_by(other, "b" * 64, print)


def test_what_was_sold_by_hand_is_waited_for_by_no_start_once_the_file_is_removed(tmp_path):
    write_left(tmp_path, LEFT)
    journal(tmp_path, "cd34", "b" * 64, GIVEN)
    said = list[str]()
    put_by(tmp_path, "b" * 64, said.append)
    assert to_take(tmp_path, "PILOT", False) is not None, "the file is there: it is taken over"
    forget(tmp_path)
    with handover.FolderLock(tmp_path / "journal"), pytest.raises(InUseError):
        put_by(tmp_path, "b" * 64, said.append)
    assert said == []
    put_by(tmp_path, "b" * 64, said.append)
    assert to_take(tmp_path, "PILOT", False) is None
    (beside,) = tmp_path.glob("journal-*")
    assert first_taken(beside) == GIVEN
    (line,) = said
    assert line.startswith("handover.json was removed, so 0.0025 of BTCUSDT.BINANCE is not taken over")
    assert line.endswith(str(beside))


@pytest.mark.parametrize("noted", [(), (GIVEN,)])
def test_a_run_that_may_hold_something_stays_whatever_became_of_the_file(tmp_path, noted):
    """A node removes the file itself when its journal has everything."""
    kept = journal(tmp_path, "cd34", "b" * 64, *noted)
    if noted:
        with Journal.open(kept, json.loads((kept / "head.json").read_text())) as made:
            seen = AccountState(ACCOUNT, AccountType.CASH, None, True, [], [], {}, UUID4(), 1, 1)
            Recorder(made, ["BTCUSDT.BINANCE"]).broker(seen)
    put_by(tmp_path, "b" * 64, print)
    assert kept.is_dir()


# -- as orders


def test_it_is_offered_in_orders_that_the_law_lets_through_by_their_size():
    taking = handover.ToTake("ab12", 5, (), False)
    held = (Held("BTCUSDT", D("0.0025"), D("30000.50")),)
    one = offered(taking, held, (BTC,), D(100), None)
    assert one == HandOver("ab12", 5, (Part("HANDOVER-1", "BTCUSDT.BINANCE", "0.0025", "30000.5"),))
    many = offered(taking, held, (BTC,), D(30), None)
    assert [part.order_id for part in many.parts] == ["HANDOVER-1", "HANDOVER-2", "HANDOVER-3"]
    assert sum(D(part.qty) for part in many.parts) == D("0.0025")
    assert all(D(part.qty) * D(part.price) <= 30 for part in many.parts)
    small = offered(taking, held, (BTC,), D(100), D("0.001"))
    assert max(D(part.qty) for part in small.parts) == D("0.001")


# -- what a node does about it


class Rig:
    """A node that takes over, of which a test says how far it is."""

    def __init__(self, folder: Path, offer: HandOver | None = GIVEN) -> None:
        self.folder, self.trips, self.said, self.disk = folder, list[Any](), list[str](), True
        self.noted = list[HandOver]()
        self.taking = SimpleNamespace(given=None, waits=False, taken={}, refused="")
        intake = SimpleNamespace(
            handovers=self.taking, handover=self._given, flush=lambda: self.said.append("flushed"), sync=self._sync
        )  # fmt: skip
        memory = SimpleNamespace(keep=lambda: self.said.append("kept"))
        gate = SimpleNamespace(trip=lambda *words: self.trips.append(words), recovering=True, memory=memory)
        self.broker = SimpleNamespace(sure=True, look=lambda: self.said.append("asked"))
        self.parts = SimpleNamespace(intake=intake, gate=gate, broker=self.broker)
        self.alerts = Alerts(folder, lambda: 7, self.said.append)
        self.estate = Estate(folder, LEFT, self.alerts, offer, "sell it by hand")

    def _given(self, left: HandOver) -> None:
        self.noted.append(left)
        self.taking.given, self.taking.waits = left, True

    def _sync(self) -> bool:
        self.said.append("synced")
        return self.disk

    def look(self) -> None:
        self.estate.look(self.parts)

    def over(self, taken: str = "0.0025", refused: str = "") -> None:
        self.taking.waits, self.taking.refused = False, refused
        self.taking.taken = {"BTCUSDT.BINANCE": D(taken)}
        self.look()


@pytest.fixture
def rig(tmp_path):
    write_left(tmp_path, LEFT)
    made = Rig(tmp_path)
    made.estate.begun(made.parts)
    return made


def test_what_is_noted_is_newer_than_the_run_and_gone_when_all_is_taken_over(rig):
    left = read_left(rig.folder)
    assert left is not None
    assert left._replace(ts=0) == LEFT._replace(ts=0)
    assert abs(time.time_ns() - left.ts) < 10**10
    rig.look()
    rig.look()
    assert rig.said == ["flushed"], "as long as nothing comes of it, the disk is left alone"
    rig.over()
    assert read_left(rig.folder) is None
    assert rig.said == ["flushed", "kept", "synced", "what run ab12 has left is taken over: 0.0025 of BTCUSDT.BINANCE"]
    assert (rig.trips, rig.alerts.counts["handover"]) == ([], 0)
    write_left(rig.folder, LEFT)
    rig.look()
    assert read_left(rig.folder) == LEFT, "what comes later is not its own"


def test_what_is_denied_is_told_with_a_remedy_and_stays_to_be_taken_over(rig):
    rig.over("0.002", "HANDOVER-2, 0.0005 of BTCUSDT.BINANCE at 30000: CAPITAL_CAP")
    left = read_left(rig.folder)
    assert left is not None
    assert left.positions == {"BTCUSDT.BINANCE": "0.0005"}
    assert rig.alerts.counts["handover"] == 1
    (line,) = [one for one in rig.said if one.startswith("ALERT")]
    assert "watched by nobody: 0.0005 of BTCUSDT.BINANCE; sell it by hand" in line
    assert "CAPITAL_CAP" in line


def test_what_waits_for_too_long_is_told_once(rig, monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr("alphatrade.nodes.live.estate.time.monotonic", lambda: now + 61)
    rig.look()
    rig.look()
    assert rig.alerts.counts["handover"] == 1
    rig.over()
    assert read_left(rig.folder) is None


def test_each_part_that_is_taken_over_leaves_the_file_after_it_is_in_the_journal(rig, monkeypatch):
    monkeypatch.setattr("alphatrade.nodes.live.estate.write_left", lambda *what: rig.said.append("file") or write_left(*what))
    rig.taking.taken = {"BTCUSDT.BINANCE": D("0.002")}
    rig.look()
    rig.look()
    assert rig.said == ["flushed", "kept", "synced", "file"]
    left = read_left(rig.folder)
    assert left is not None
    assert (left.positions, left.run) == ({"BTCUSDT.BINANCE": "0.0005"}, "ab12")
    rig.over()
    assert read_left(rig.folder) is None


def outcome(*differences: Difference, unread: str = "", when: str = "start") -> Outcome:
    return Outcome(1, when, differences, unread, 1, 1, 1, 0.1)


RESTS = Difference("stranger", "web-1", "order web-1 is open at the exchange and not ours")
SOLD = Difference("stranger", "web-2", "order web-2 was made at the exchange and is not ours", D("0.0025"))
GONE = Difference("balances", "BTC", "BTC: journal has 1, exchange has 0", D(-1))
DEAL = Difference("fills", "BTCUSDT 7", "fill 7 of BTCUSDT: journal has none, exchange has (web-2)")


@pytest.mark.parametrize(
    ("found", "sure", "noted"),
    [
        (outcome(), True, 0), (outcome(RESTS), True, 0), (outcome(unread="away"), False, 0), (outcome(when="stop"), False, 0),
        (outcome(SOLD), False, 1), (outcome(GONE), False, 1), (outcome(RESTS, DEAL), False, 1),
    ],
)  # fmt: skip
def test_a_run_that_goes_on_takes_nothing_over_before_the_books_agree_and_nothing_where_they_do_not(tmp_path, found, sure, noted):
    rig = Rig(tmp_path, None)
    rig.taking.given, rig.taking.waits = GIVEN, True  # its journal was read
    rig.estate.begun(rig.parts)
    assert not rig.broker.sure
    rig.estate.compared(rig.parts, found)
    assert rig.broker.sure == sure
    assert rig.noted == [GIVEN._replace(parts=())] * noted
    assert rig.said == ["asked"] * sure + ["flushed"] * noted


def test_a_run_that_has_asked_or_has_nothing_to_wait_for_asks_no_more(rig, tmp_path):
    rig.estate.compared(rig.parts, outcome(GONE))
    assert (rig.broker.sure, rig.noted) == (True, [GIVEN])
    done = Rig(tmp_path / "done", None)
    done.taking.given = GIVEN
    done.estate.begun(done.parts)
    assert done.broker.sure


def test_what_the_disk_has_not_confirmed_leaves_the_file(rig):
    rig.disk = False
    rig.over()
    assert read_left(rig.folder) is not None


def test_a_file_that_cannot_be_removed_stops_trading(rig, monkeypatch):
    def forget(_: Path) -> None:
        raise OSError("read-only")

    monkeypatch.setattr("alphatrade.nodes.live.estate.forget", forget)
    rig.over()
    ((code, why, _),) = rig.trips
    assert (code, why) == ("STATE_UNWRITABLE", "handover.json: read-only")


def test_a_node_that_takes_nothing_over_does_nothing(tmp_path):
    made = Rig(tmp_path, None)
    made.estate.begun(made.parts)
    made.look()
    assert (made.said, made.trips) == ([], [])
