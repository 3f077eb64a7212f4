"""What a start with real orders takes from the run before, and how it waits for an exchange that is away."""

import asyncio
import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.model.enums import AccountType
from nautilus_trader.model.events import AccountState

from alphatrade.nodes import stops
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.live import preflight, run
from alphatrade.nodes.live.first import first_permit
from alphatrade.nodes.live.handover import Left, read_left, write_left
from alphatrade.nodes.paper.inputs import Recorder
from alphatrade.nodes.settings import compose_settings
from alphatrade.nodes.venue_answers import BannedError, LimitedError, TroubleError, judge
from alphatrade.risk.errors import ConfigError, InUseError, NotFlatError, StoppedError
from alphatrade.risk.handover import FILE
from alphatrade.risk.kill import request_kill
from alphatrade.risk.permit import Permit
from tests.nodes.make_broker import ACCOUNT
from tests.nodes.make_journal import HEAD

UNREAD = Permit(refused="the ledger cannot be read", at=5, spent=9, fee=1)
GOOD = Permit(entry="e" * 64, capital=100 * 10**18, loss=10**18, begins=1_790_000_000 * 10**9, ends=2**62, at=7)
LATE = GOOD._replace(entry="f" * 64, capital=1, begins=GOOD.begins + 1)


def journal(folder: Path, *permits: Permit, seen: bool = True) -> Path:
    """Write what a node keeps of its looks at the ledger, and that it has `seen` the account then."""
    with Journal.open(folder, HEAD) as made:
        recorder = Recorder(made, [])
        recorder.tick(1)
        for permit in permits:
            recorder.permit(permit)
        if seen:
            recorder.broker(AccountState(ACCOUNT, AccountType.CASH, None, True, [], [], {}, UUID4(), 1, 1))
    return folder


# -- with which permit a run began


def test_a_run_began_with_the_first_permit_that_names_something(tmp_path: Path) -> None:
    assert first_permit(journal(tmp_path / "a", UNREAD, GOOD, LATE)) == GOOD
    wrong = GOOD._replace(refused="the clock of this machine is wrong")
    assert first_permit(journal(tmp_path / "b", wrong, LATE)) == wrong, "it is known what it is for"
    assert first_permit(journal(tmp_path / "c", GOOD, seen=False)) is None, "it has sent nothing, and is checked as a new one"


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


def test_what_a_journal_holds_that_a_release_has_ended_is_told_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[tuple[Any, ...]]()
    monkeypatch.setattr(run, "agree", lambda *_: None)
    monkeypatch.setattr(run, "latch_dir", lambda *_: tmp_path)
    monkeypatch.setattr(run.unwatched, "tell_held", lambda *words: said.append(words))
    monkeypatch.setattr(run, "Watch", lambda *_: SimpleNamespace(look=lambda: UNREAD))
    for beside in (None, tmp_path / "journal-until-release-1"):
        monkeypatch.setattr(run, "put_by", lambda _, beside=beside: beside)
        with pytest.raises(ConfigError, match="the ledger cannot be read"):
            run._permitted(told(tmp_path))
    ((beside, command, tell),) = said
    assert (beside, tell) == (tmp_path / "journal-until-release-1", run.say)
    assert command == "alphatrade kill --env live --account PILOT --direct BTCUSDT --venue binance_live"


def told(state: Path) -> Any:
    made = compose_settings([])
    feed = run.LiveFeedSpec(source="binance", symbols=("BTCUSDT",))
    own = SimpleNamespace(settings=made, account="PILOT", feed=feed)
    broker = SimpleNamespace(venue="sandbox", keys="binance_live", http=None, secrets_dir=None)
    return SimpleNamespace(own=own, anchor=None, broker=broker)


# -- an exchange that says how long it must not be asked


class Asking:
    """Checks of a node that goes on, against an exchange that a test plays: what is raised, or 0, one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: Exception | None) -> None:
        self.now, self.asked_at, self._answers = 0.0, list[float](), list(answers)
        monkeypatch.setattr(run, "_preflight", self._preflight)
        monkeypatch.setattr(run.time, "sleep", self._sleep)
        monkeypatch.setattr(run, "_folder", lambda _: Path("none"))

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _preflight(self, *_: Any) -> Any:
        async def ask() -> Any:
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            if answer is not None:
                raise answer
            return preflight.Found((), Decimal(7))

        self.asked_at.append(self.now)
        return asyncio.run(preflight._read(cast(Any, None), ask))

    def judged(self) -> tuple[Decimal, str]:
        nothing: Any = None
        found, odd = run._judged(began_with(GOOD), nothing, nothing)
        return found.spent, odd


def began_with(first: Permit, now: Permit = GOOD) -> Any:
    return SimpleNamespace(first=first, permit=now, watch=SimpleNamespace(look=lambda: now), live=None)


def test_a_node_that_goes_on_asks_again_when_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    asking = Asking(monkeypatch, TroubleError("status 429", 30.0), BannedError(600.0), TroubleError("status 503"), None)
    assert asking.judged() == (7, "")
    assert asking.asked_at == [0, 30, 630, 630 + run.AGAIN_S]


def test_one_that_is_asked_too_often_and_does_not_say_for_how_long_is_asked_ever_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    often, told = LimitedError("status 429"), LimitedError("status 429", 3.0)
    asking = Asking(monkeypatch, *[often] * 6, told, TroubleError("status 503"), often, None)
    assert asking.judged() == (7, "")
    waits = [after - before for before, after in pairwise(asking.asked_at)]
    assert waits == [2, 4, 8, 16, 32, run.MOST_S, 3, run.AGAIN_S, run.MOST_S]


def test_status_429_is_that_and_503_is_not() -> None:
    def raised(status: int, **headers: str) -> Exception:
        with pytest.raises((TroubleError, BannedError)) as found:
            asyncio.run(judge(cast(Any, SimpleNamespace(status=status, headers=headers))))
        return found.value

    assert [type(raised(status)) for status in (429, 503, 418)] == [LimitedError, TroubleError, BannedError]
    assert raised(429, **{"Retry-After": "7"}).wait_s == 7.0  # type: ignore[attr-defined]


def test_who_waits_hears_a_kill_and_asks_nothing_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = Asking(monkeypatch, BannedError(36_000.0), None)
    folder = tmp_path / "live" / "PILOT"
    monkeypatch.setattr(run, "_folder", lambda _: folder)

    def sleep(seconds: float) -> None:
        asking.now += seconds
        if asking.now == 5:
            request_kill(tmp_path, "live", "PILOT", "ada", "seen enough", 1)

    monkeypatch.setattr(run.time, "sleep", sleep)
    with pytest.raises(StoppedError, match=r"asked for while it waited: seen enough \(by ada\)"):
        asking.judged()
    assert (asking.now, asking.asked_at) == (5, [0])
    again = Asking(monkeypatch, BannedError(36_000.0), None)
    monkeypatch.setattr(stops, "read_request", lambda _: None)  # mutation
    assert again.judged() == (7, "")
    assert again.asked_at == [0, 36_000]


def test_a_ban_that_does_not_say_how_long_it_lasts_is_the_shortest(monkeypatch: pytest.MonkeyPatch) -> None:
    asking = Asking(monkeypatch, BannedError(), None)
    asking.judged()
    assert asking.asked_at == [0, preflight.BAN_S]


def test_to_close_what_is_open_a_ban_is_waited_for_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asking = Asking(monkeypatch, BannedError(600.0))
    spent, odd = asking.judged()
    assert (spent, len(asking.asked_at)) == (0, run.TRIES)
    assert "banned" in odd
    assert asking.now == 600 * run.TRIES, "what closes would ask too, and not before its end either"


def test_systemd_does_not_take_the_wait_for_a_start_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    told = list[str]()
    monkeypatch.setattr(run, "sd_notify", told.append)
    Asking(monkeypatch, BannedError(600.0), None).judged()
    assert told[0].startswith("EXTEND_TIMEOUT_USEC=660000000\n")


# -- what was spent is counted from the first permit's beginning


def test_a_later_permit_that_begins_before_the_first_of_the_run_permits_nothing() -> None:
    earlier = GOOD._replace(entry="d" * 64, begins=GOOD.begins - 1)
    for first in (GOOD, None):
        start = began_with(GOOD, earlier)
        start.first, start.permit = first, GOOD
        assert "begins before the one that this run began with" in run._looker(start, 5, 3, "")().refused
    assert run._looker(began_with(GOOD, LATE), 5, 3, "")() == LATE._replace(spent=5, fee=3)
    assert run._looker(began_with(GOOD, UNREAD), 5, 3, "")().refused == UNREAD.refused


# -- what another node has left


LEFT = Left("PILOT", "a" * 64, "ab12", 1, 1, {"BTCUSDT.BINANCE": "0.0025"})


def fails(monkeypatch: pytest.MonkeyPatch, folder: Path, error: Exception) -> Any:
    def permitted(_: Any) -> Any:
        raise error

    monkeypatch.setattr(run, "_permitted", permitted)
    monkeypatch.setattr(run, "latch_dir", lambda *_: folder)
    own = told(folder)
    with pytest.raises(type(error) if not (folder / FILE).exists() else Exception) as raised:
        run.live(own)
    return raised.value


def test_a_start_that_fails_says_what_is_held_and_gives_an_alert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = ConfigError("permit", "none", "one")
    assert fails(monkeypatch, tmp_path, error) is error
    write_left(tmp_path, LEFT)
    found = fails(monkeypatch, tmp_path, error)
    assert isinstance(found, NotFlatError)
    words = str(found)
    assert words.startswith("permit: got 'none', expected one; held at the exchange and watched by nobody: 0.0025 of BTCUSDT")
    assert "alphatrade kill --env live --account PILOT --direct BTCUSDT --venue binance_live" in words
    assert "\n" not in words
    (line,) = (tmp_path / "alerts.jsonl").read_text().splitlines()
    assert json.loads(line)["words"] == words
    assert read_left(tmp_path) == LEFT, "the next start takes it over"


def test_a_node_that_ends_with_something_held_gives_an_alert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = NotFlatError("something is left at the exchange; to cancel and sell it: alphatrade kill")
    assert fails(monkeypatch, tmp_path, error) is error
    (line,) = map(json.loads, (tmp_path / "alerts.jsonl").read_text().splitlines())
    assert (line["kind"], line["words"]) == ("held", str(error))


def test_a_file_that_cannot_be_read_is_no_reason_to_say_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE).write_text("{half")
    found = fails(monkeypatch, tmp_path, ConfigError(FILE, "{half", "a file that is whole"))
    assert "watched by nobody: something" in str(found)


def test_a_node_that_runs_already_watches_over_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_left(tmp_path, LEFT)
    assert isinstance(fails(monkeypatch, tmp_path, InUseError("in use")), InUseError)
    assert not (tmp_path / "alerts.jsonl").exists()


def test_a_start_that_has_something_to_take_over_waits_for_an_exchange_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = None
    asking = Asking(monkeypatch, TroubleError("status 503"), None)
    start = began_with(GOOD)
    start.first, start.taking = None, object()
    assert run._judged(start, nothing, nothing)[1] == ""
    assert len(asking.asked_at) == 2
    asking = Asking(monkeypatch, TroubleError("status 503"))
    with pytest.raises(ConfigError, match="503"):
        run._judged(start, nothing, nothing)
    assert len(asking.asked_at) == run.TRIES
    start.taking = None
    asking = Asking(monkeypatch, TroubleError("status 503"))
    with pytest.raises(ConfigError, match="503"):
        run._judged(start, nothing, nothing)
    assert len(asking.asked_at) == 1, "with nothing to take over it is said at once"


@pytest.mark.parametrize(("switched", "there"), [("", True), ("", False), ("operator: why (by ada)", True), ("late", True)])
def test_a_run_that_ends_with_something_not_taken_over_is_not_flat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switched: str, there: bool
) -> None:
    def node(_: Any, launch: Any) -> str:
        launch.parts.args[1].append(SimpleNamespace(switched=switched, hands_over=False))
        return "result"

    monkeypatch.setattr(run, "_permitted", lambda _: SimpleNamespace(live=SimpleNamespace(own=None)))
    monkeypatch.setattr(run, "node", node)
    monkeypatch.setattr(run, "latch_dir", lambda *_: tmp_path)
    monkeypatch.setattr(run.stops, "held_back", lambda: None)
    own = told(tmp_path)
    if there:
        write_left(tmp_path, LEFT)
    monkeypatch.setattr(run.stops, "missed", lambda: switched == "late")
    if switched == "late":
        with pytest.raises(NotFlatError, match=r"a stop came before the next node could start; .* watched by nobody: 0\.0025"):
            run.live(own)
    elif there and not switched:
        with pytest.raises(NotFlatError, match=r"the run is over, .* watched by nobody: 0\.0025 of BTCUSDT"):
            run.live(own)
    else:
        assert run.live(own) == ("result", switched), "the next node takes it over"
