"""When may be traded: the sessions of an exchange, the week of a market such as FX, or always.

``open``: orders may be sent. ``closing``: the market closes soon, nothing new is opened, what there is may be closed.
``closed``: nothing is sent at all. A time that the calendar knows nothing of is closed.
"""

import re
from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from itertools import pairwise
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from alphatrade.risk.errors import ConfigError

type Phase = Literal["open", "closing", "closed"]
type Session = tuple[int, int]  # open and close, UTC ns; from the open on, before the close

ALWAYS, WEEK = "24/7", "24/5"
_FIRST_YEAR = 1990
_NS = 1_000_000_000
_FOREVER = 2**63  # later than every time in ns
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HOUR = re.compile(rf"({'|'.join(_DAYS)}) ([01]\d|2[0-3]):([0-5]\d)")

Seconds = Annotated[float, Field(ge=0, le=86_400)]
WeekHour = Annotated[str, Field(pattern=f"^{_HOUR.pattern}$")]


class SessionSpec(BaseModel):
    """When a market is open."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    calendar: str = Field(ALWAYS, description="24/7, 24/5 (by the hours of a week), or of an exchange, such as XNYS")
    lag_s: Seconds = Field(0.0, description="so long after the open it still counts as closed")
    lead_s: Seconds = Field(300.0, description="nothing new is opened so long before the close")
    week_open: WeekHour = Field("Sun 17:00", description="of 24/5: local time of its zone")
    week_close: WeekHour = Field("Fri 17:00", description="of 24/5: local time of its zone")
    week_zone: str = Field("America/New_York", description="of 24/5: time zone of its hours")


class Sessions:
    """
    The phases of a market.

    Parameters
    ----------
    spec : SessionSpec

    Raises
    ------
    ConfigError
        If there is no such calendar or time zone, or no package of calendars.
    """

    def __init__(self, spec: SessionSpec) -> None:
        self._session = _source(spec)
        self._lead = round(spec.lead_s * _NS)
        self._phase: Phase = "closed"
        self._from = self._until = 0  # what is known of `_phase`: from this on, before that

    def phase(self, ts_ns: int) -> Phase:
        """Return the phase at a time, UTC ns."""
        if not self._from <= ts_ns < self._until:
            self._look(ts_ns)
        return self._phase

    def next_change(self, ts_ns: int) -> int | None:
        """Return when the phase of a time is over, UTC ns; None: never, as far as is known."""
        self.phase(ts_ns)
        return self._until if self._until < _FOREVER else None

    def _look(self, ts: int) -> None:
        """Find the phase of a time, and how long it lasts."""
        session = self._session(ts)
        if session is None:
            self._phase, self._from, self._until = "closed", ts, _FOREVER
            return
        opens, close = session
        closes = max(opens, close - self._lead) if close < _FOREVER else close
        if ts < opens:
            self._phase, self._from, self._until = "closed", ts, opens
        elif ts < closes:
            self._phase, self._from, self._until = "open", opens, closes
        else:
            self._phase, self._from, self._until = "closing", closes, close


def _source(spec: SessionSpec) -> Callable[[int], Session | None]:
    """Return what gives the first session that closes after a time, its lag taken off; None: none is known."""
    lag = round(spec.lag_s * _NS)
    if spec.calendar == ALWAYS:
        return lambda _: (0, _FOREVER)
    if spec.calendar == WEEK:
        return _week(spec, lag)
    sessions = [(begin + lag, close) for begin, close in _sessions(_calendar(spec.calendar)) if begin + lag < close]
    return partial(_following, sessions, [close for _, close in sessions])


def _following(sessions: list[Session], closes: list[int], ts: int) -> Session | None:
    at = bisect_right(closes, ts)
    return sessions[at] if at < len(sessions) else None


def _calendar(name: str) -> Any:
    """Return the calendar of an exchange, from 1990 or its beginning to a year from today."""
    try:
        calendars = import_module("exchange_calendars")  # only who asks for an exchange needs it
    except ImportError as error:
        expected = f'{ALWAYS}, {WEEK}, or the package of calendars: pip install "alphatrade[paper]"'
        raise ConfigError("sessions.calendar", name, expected) from error
    names = calendars.get_calendar_names(include_aliases=True)
    if name not in names:
        near = get_close_matches(name.upper(), [one for one in names if "/" not in one], 3, 0.6)
        hint = f" (did you mean {', '.join(near)}?)" if near else ""
        raise ConfigError("sessions.calendar", name, f"{ALWAYS}, {WEEK} or an exchange such as XNYS{hint}")
    known = calendars.get_calendar(name).bound_min()  # its own default begins 20 years before today
    start = f"{_FIRST_YEAR}-01-01" if known is None or known.year < _FIRST_YEAR else known
    return calendars.get_calendar(name, start=start)


def _sessions(calendar: Any) -> list[Session]:
    """Return all sessions of a calendar: breaks are taken out, and what follows without one is one session."""
    columns: dict[str, Any] = {key: calendar.schedule[key] for key in ("open", "break_start", "break_end", "close")}
    parts: list[Session] = []
    stamps = {key: column.dt.as_unit("ns").astype("int64").tolist() for key, column in columns.items()}
    paused = columns["break_start"].notna().tolist()
    for n, pauses in enumerate(paused):
        begin, pause, resume, close = (stamps[key][n] for key in columns)
        for session in ((begin, pause), (resume, close)) if pauses else ((begin, close),):
            if parts and session[0] <= parts[-1][1]:
                parts[-1] = (parts[-1][0], session[1])
            else:
                parts.append(session)
    assert all(begin < close <= after for (begin, close), (after, _) in pairwise(parts))
    return parts


def _week(spec: SessionSpec, lag: int) -> Callable[[int], Session | None]:
    """Return what gives the sessions of a market that opens and closes once a week, by local time."""
    try:
        zone = ZoneInfo(spec.week_zone)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigError("sessions.week_zone", spec.week_zone, "a time zone such as America/New_York") from error
    begin, close = (_in_week(hour) for hour in (spec.week_open, spec.week_close))
    if close <= begin:
        close += timedelta(weeks=1)
    if close - begin < timedelta(seconds=spec.lag_s, hours=2):  # an hour more or less where summer time begins or ends
        raise ConfigError("sessions.week_close", spec.week_close, "at least two hours of trading after the open")

    def session(ts: int) -> Session | None:
        monday = datetime.fromtimestamp(ts // _NS, zone).replace(tzinfo=None, hour=0, minute=0, second=0)
        monday -= timedelta(days=monday.weekday())
        for weeks in (-1, 0, 1):
            start = monday + timedelta(weeks=weeks)
            closes = _ns(start + close, zone)
            if ts < closes:
                return _ns(start + begin, zone) + lag, closes
        raise AssertionError("a week has a close")

    return session


def _in_week(hour: str) -> timedelta:
    """Return how long after the beginning of Monday an hour such as ``Sun 17:00`` is."""
    day, at = hour.split()
    hours, minutes = at.split(":")
    return timedelta(days=_DAYS.index(day), hours=int(hours), minutes=int(minutes))


def _ns(local: datetime, zone: ZoneInfo) -> int:
    return round(local.replace(tzinfo=zone).astimezone(UTC).timestamp()) * _NS
