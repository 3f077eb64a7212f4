"""Parameters of a request: numbers, time ranges and pages."""

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

from tests.venue.errors import VenueError, bad_parameter

_DAY_MS = 86_400_000
Params = dict[str, str]


def number(params: Params, name: str) -> Decimal:
    """Return a mandatory decimal parameter, above zero."""
    try:
        value = Decimal(params[name])
    except (KeyError, InvalidOperation):
        raise bad_parameter(name) from None
    if not value.is_finite() or value <= 0:
        raise VenueError(-1013, f"Invalid {name}.")
    return value


def integer(params: Params, name: str) -> int | None:
    """Return an optional integer parameter."""
    if name not in params:
        return None
    try:
        return int(params[name])
    except ValueError:
        raise VenueError(
            -1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."
        ) from None


def limit(params: Params) -> int:
    return max(1, min(integer(params, "limit") or 500, 1_000))


def page(found: Iterable[Any], params: Params, forward: bool) -> list[Any]:
    """Return one page: the first rows from where it was asked to begin, else the newest."""
    rows, most = list(found), limit(params)
    return rows[:most] if forward else rows[-most:]


def in_time(moment: int, start: int | None, end: int | None) -> bool:
    return (start is None or moment >= start) and (end is None or moment <= end)


def a_day(params: Params) -> tuple[int | None, int | None]:
    """Return startTime and endTime, which lie at most 24 hours apart."""
    start, end = integer(params, "startTime"), integer(params, "endTime")
    if start is not None and end is not None and end - start > _DAY_MS:
        raise VenueError(-1127, "More than 24 hours between startTime and endTime.")
    return start, end
