"""Alarms that an Alertmanager has, and how somebody acknowledges one: by a silence on its labels, with who and why."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from alphatrade.nodes.addresses import require_url
from alphatrade.risk.errors import ConfigError, InputError

URL = "http://127.0.0.1:9093"
WATCHDOG = "watchdog"  # severity of what fires always; silenced, it would hide that nothing arrives any more
LONGEST_H = 24.0 * 7
_PATIENCE_S = 5.0
_MOST = 2**24  # bytes of an answer
NEAR = build_opener(ProxyHandler({}))  # what is asked is near; nobody's proxy has to know of it


class Alarm(NamedTuple):
    """
    One alert that is firing.

    Attributes
    ----------
    labels : mapping of str to str
        All that tell it from others, ``alertname`` among them.
    notes : mapping of str to str
        Summary, description, runbook.
    since : str
        From when on, UTC, as the Alertmanager writes it.
    inhibited : bool
        Not told of, because of another one that is.
    acknowledged : tuple of str
        Who has acknowledged it, why, and until when; a line each.
    """

    labels: Mapping[str, str]
    notes: Mapping[str, str]
    since: str
    inhibited: bool = False
    acknowledged: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of its rule."""
        return self.labels.get("alertname", "")

    @property
    def severity(self) -> str:
        """Page, ticket or watchdog."""
        return self.labels.get("severity", "")


def alarms(url: str) -> list[Alarm]:
    """
    Return what is firing, pages first, and of one severity by name.

    Parameters
    ----------
    url : str
        Of the Alertmanager.

    Raises
    ------
    InputError
        If it does not answer, or not as an Alertmanager.
    """
    silences, alerts = _asked(url, "silences"), _asked(url, "alerts")
    try:
        known = {one["id"]: one for one in silences}
        found = [_alarm(one, known) for one in alerts]
    except (AttributeError, KeyError, TypeError):
        raise InputError(url, "something else", "an Alertmanager that answers: is it another server?") from None
    return sorted(found, key=lambda alarm: (alarm.severity, alarm.name, sorted(alarm.labels.items())))


def _alarm(one: Any, silences: Mapping[str, Any]) -> Alarm:
    labels, notes = ({str(name): str(text) for name, text in one[part].items()} for part in ("labels", "annotations"))
    status = one["status"]
    quiet = tuple([_quiet(silences[name]) for name in status["silencedBy"] if name in silences])
    return Alarm(labels, notes, str(one["startsAt"]), bool(status["inhibitedBy"]), quiet)


def _quiet(silence: Mapping[str, Any]) -> str:
    return f"{silence['createdBy']}: {silence['comment']}, until {silence['endsAt']}"


def chosen(url: str, labels: Mapping[str, str], hours: float) -> list[Alarm]:
    """
    Return what is firing, has these labels, and may be silenced for that time.

    Parameters
    ----------
    url : str
        Of the Alertmanager.
    labels : mapping of str to str
        Some of those of the alarm, or all.
    hours : float
        A week at most.

    Raises
    ------
    InputError
        If there is no such alarm, it must not be silenced, or the Alertmanager does not answer.
    """
    if not 0.0 < hours <= LONGEST_H:
        raise InputError("hours", hours, f"more than 0, at most {LONGEST_H:g}")
    firing = alarms(url)
    found = [alarm for alarm in firing if labels and labels.items() <= alarm.labels.items()]
    told = " ".join([f"{name}={value}" for name, value in sorted(labels.items())])
    if not found:
        names = ", ".join(dict.fromkeys([alarm.name for alarm in firing if alarm.severity != WATCHDOG]))
        raise InputError("alarm", told, f"one that is firing: {names or 'none is'}")
    if any(alarm.severity == WATCHDOG for alarm in found):
        raise InputError("alarm", told, "an alarm; this one fires always, and tells by its absence")
    return found


def silence(url: str, found: list[Alarm], who: str, why: str, hours: float) -> None:
    """
    Have nobody be told of these alarms for some hours; who and why are kept there.

    Raises
    ------
    InputError
        If the Alertmanager does not take it.
    """
    start = datetime.now(UTC)
    span = {"startsAt": start.isoformat(), "endsAt": (start + timedelta(hours=hours)).isoformat()}
    for alarm in found:
        matchers = [
            {"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in alarm.labels.items()
        ]
        _asked(url, "silences", {"matchers": matchers, "createdBy": who, "comment": why, **span})


def _asked(url: str, what: str, body: object = None) -> Any:
    """Return what the second version of its interface answers."""
    if not url:
        raise ConfigError("--url", url, f"the address of an Alertmanager, as {URL}")
    require_url("--url", url)
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{url.rstrip('/')}/api/v2/{quote(what)}", data, {"Content-Type": "application/json"})
    try:
        with NEAR.open(request, timeout=_PATIENCE_S) as answer:
            return json.loads(answer.read(_MOST))
    except HTTPError as error:
        said = error.read(300).decode(errors="replace")
        raise InputError(url, f"{error.code} {said}", f"an Alertmanager that takes {what}") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(url, str(reason), "an Alertmanager that answers: is it running, and there?") from None
