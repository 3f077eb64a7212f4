"""When may be traded: known days of exchanges, the week of FX, and nothing where nothing is known."""

import copy
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from alphatrade.nodes import sessions as module
from alphatrade.nodes.sessions import Sessions, SessionSpec
from alphatrade.risk.errors import ConfigError

NS = 10**9


def ns(text: str) -> int:
    """UTC ns of a time such as 2025-07-03 17:00."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS


def of(calendar: str, lag_s: float = 0.0, lead_s: float = 0.0, **more: Any) -> Sessions:
    return Sessions(SessionSpec(calendar=calendar, lag_s=lag_s, lead_s=lead_s, **more))


def changes(sessions: Sessions, day: str, days: int = 1) -> list[str]:
    """Every change within some days, as hour and phase."""
    at, end, found = ns(day), ns(day) + days * 86_400 * NS, []
    while (following := sessions.next_change(at)) is not None and following < end:
        assert following > at
        stamp = datetime.fromtimestamp(following // NS, UTC)
        found.append(f"{stamp:%d %H:%M:%S} {sessions.phase(following)}"[0 if days > 1 else 3 :])
        assert sessions.phase(following - 1) != sessions.phase(following)
        at = following
    return found


@pytest.fixture(scope="module")
def xnys() -> Sessions:
    return of("XNYS")


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2025-07-02", ["13:30:00 open", "20:00:00 closed"]),
        ("2025-07-03", ["13:30:00 open", "17:00:00 closed"]),  # closes at 13:00 New York
        ("2025-07-04", []),
        ("2025-07-05", []),
        ("2025-11-28", ["14:30:00 open", "18:00:00 closed"]),
        ("2025-12-24", ["14:30:00 open", "18:00:00 closed"]),
        ("2025-12-25", []),
        ("2025-03-07", ["14:30:00 open", "21:00:00 closed"]),  # summer time begins on the 9th
        ("2025-03-10", ["13:30:00 open", "20:00:00 closed"]),
        ("2025-10-31", ["13:30:00 open", "20:00:00 closed"]),  # and ends on November 2
        ("2025-11-03", ["14:30:00 open", "21:00:00 closed"]),
        ("2001-09-11", []),
        ("2012-10-29", []),
    ],
)
def test_new_york_on_days_that_are_known(day: str, expected: list[str], xnys: Sessions) -> None:
    assert changes(xnys, day) == expected


def test_lead_and_lag_move_what_is_open_not_when_it_is_closed() -> None:
    sessions = of("XNYS", lag_s=60, lead_s=300)
    assert changes(sessions, "2025-07-03") == ["13:31:00 open", "16:55:00 closing", "17:00:00 closed"]


def test_a_session_shorter_than_lead_and_lag_is_never_open() -> None:
    assert changes(of("XNYS", lead_s=86_400), "2025-07-03") == ["13:30:00 closing", "17:00:00 closed"]
    assert changes(of("XNYS", lag_s=86_400), "2025-07-03") == []
    assert changes(of("XNYS", lag_s=5 * 3600), "2025-07-02", 4) == [
        "02 18:30:00 open",
        "02 20:00:00 closed",
    ]  # not the 3rd
    assert changes(of("XNYS", lag_s=3600, lead_s=3 * 3600), "2025-07-03") == ["14:30:00 closing", "17:00:00 closed"]


def test_a_lunch_break_is_closed() -> None:
    expected = [
        "01:30:00 open",
        "03:55:00 closing",
        "04:00:00 closed",
        "05:00:00 open",
        "07:55:00 closing",
        "08:00:00 closed",
    ]
    assert changes(of("XHKG", lead_s=300), "2025-06-03") == expected


def test_sessions_that_follow_without_a_break_are_one() -> None:
    sessions = of("us_futures", lead_s=300)  # 18:00 to 18:00 New York
    assert changes(sessions, "2025-06-02", 6) == ["06 21:55:00 closing", "06 22:00:00 closed"]


def test_the_week_of_fx_goes_by_new_york() -> None:
    winter = ["05 22:00:00 open", "10 21:55:00 closing", "10 22:00:00 closed", "12 22:00:00 open"]
    assert changes(of("24/5", lead_s=300), "2025-01-05", 8) == winter
    summer = ["06 21:00:00 open", "11 20:55:00 closing", "11 21:00:00 closed", "13 21:00:00 open"]
    assert changes(of("24/5", lead_s=300), "2025-07-06", 8) == summer
    spring = ["07 22:00:00 closed", "09 21:00:00 open", "14 21:00:00 closed"]  # summer time begins on Sunday morning
    assert changes(of("24/5"), "2025-03-07", 8) == spring


def test_a_week_may_have_other_hours() -> None:
    own = of("24/5", week_open="Mon 00:00", week_close="Fri 23:59", week_zone="UTC")
    assert changes(own, "2025-07-05", 9) == ["07 00:00:00 open", "11 23:59:00 closed"]


def test_crypto_is_always_open() -> None:
    sessions = of("24/7", lead_s=300)
    for text in ("1999-12-31 23:59", "2025-12-25 12:00", "2200-01-01 00:00"):
        assert (sessions.phase(ns(text)), sessions.next_change(ns(text))) == ("open", None)


def test_what_the_calendar_does_not_know_is_closed(xnys: Sessions) -> None:
    assert xnys.phase(ns("1989-06-01 15:00")) == "closed"  # a Thursday
    assert changes(xnys, "1990-01-02") == ["14:30:00 open", "21:00:00 closed"]
    far = datetime.now(UTC) + timedelta(days=400)
    for day in range(10):
        at = ns(f"{far + timedelta(days=day):%Y-%m-%d} 15:00")
        assert (xnys.phase(at), xnys.next_change(at)) == ("closed", None)
    assert xnys.phase(ns("2025-07-02 15:00")) == "open", "and from there back"


@settings(deadline=None)
@given(st.lists(st.integers(ns("2024-12-20 00:00"), ns("2025-12-31 00:00")), max_size=30))
def test_a_phase_does_not_depend_on_what_was_asked_before(times: list[int]) -> None:
    used = kept()
    for at in times:
        fresh = copy.copy(used)
        fresh._from = fresh._until = 0
        assert (used.phase(at), used.next_change(at)) == (fresh.phase(at), fresh.next_change(at))


@cache
def kept() -> Sessions:
    return of("XNYS", lag_s=60, lead_s=300)


def test_within_the_known_bounds_nothing_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, looks = of("XNYS"), []
    real = sessions._look
    monkeypatch.setattr(sessions, "_look", lambda ts: (looks.append(ts), real(ts)))
    for second in range(0, 12 * 3600, 60):  # two phases and a half
        sessions.phase(ns("2025-07-02 12:00") + second * NS)
    assert len(looks) == 3


def test_without_half_days_the_known_days_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: a calendar that knows holidays only."""
    real = module._calendar

    class Regular:
        def __init__(self, name: str) -> None:
            self.schedule = real(name).schedule.copy()
            hours = self.schedule["close"].dt.hour
            self.schedule["close"] += (hours.clip(lower=20) - hours).map(lambda n: timedelta(hours=n))

    monkeypatch.setattr(module, "_calendar", Regular)
    assert changes(of("XNYS"), "2025-07-03") == ["13:30:00 open", "20:00:00 closed"]


@pytest.mark.parametrize("name", ["XLON", "XTKS", "XSHG", "XETR", "CMES", "XASX", "XSAU"])
def test_sessions_of_any_exchange_are_in_order_and_apart(name: str) -> None:
    found = module._sessions(module._calendar(name))
    assert len(found) > 1500
    flat = [at for session in found for at in session]
    assert flat == sorted(set(flat))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("XNYT", "sessions.calendar: got 'XNYT', expected 24/7, 24/5 or an exchange such as XNYS (did you mean XNYS"),
        ("xnys", "(did you mean XNYS"),
        ("NASDQ", "(did you mean NASDAQ"),
        ("9?", "expected 24/7, 24/5 or an exchange such as XNYS"),
    ],
)
def test_an_unknown_calendar_is_refused_with_what_is_near(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        of(name)
    assert said in str(caught.value)


@pytest.mark.parametrize("zone", ["America/New_Yrok", "America", "", "../etc"])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(ConfigError, match=r"sessions\.week_zone: got .*, expected a time zone"):
        of("24/5", week_zone=zone)


@pytest.mark.parametrize(
    "field",
    [{"week_open": "Sun 25:00"}, {"week_close": "Friday 17:00"}, {"lead_s": -1}, {"lag_s": float("nan")}, {"lag": 1}],
)
def test_what_is_no_hour_or_length_is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SessionSpec(**field)


def test_without_the_package_an_exchange_is_refused_and_crypto_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"pip install \"alphatrade\[paper\]\""):
        of("XNYS")
    assert of("24/7").phase(0) == of("24/5").phase(ns("2025-07-02 00:00")) == "open"


def test_calendars_are_imported_only_when_an_exchange_is_asked_for(tmp_path: Path) -> None:
    code = """
import sys
from alphatrade.nodes.sessions import Sessions, SessionSpec
Sessions(SessionSpec()), Sessions(SessionSpec(calendar="24/5"))
assert not {"pandas", "exchange_calendars"} & set(sys.modules), "imported"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
