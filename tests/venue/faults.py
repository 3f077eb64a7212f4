"""Faults on command, each counted: how often it was asked for, and how many messages or requests it hit.

========= ======================================= =====================================================
name      where                                   parameters (defaults)
========= ======================================= =====================================================
drop      market, user, all                       sockets are aborted at once
terminate user                                    the user data streams end with a word, the sockets stay
stall     market, user, rest, all                 seconds (1): open but silent; held back, then delivered
slow      market, user, rest, all                 delay (0.2) for seconds (1) or count messages
reorder   market, user, all                       count (1): a message changes places with the next one
duplicate market, user, all                       count (1): a message is sent twice
gap       market, user, all                       count (1): a message is lost
garbage   market, user, rest, all                 count (1): a frame (or an answer) that makes no sense
reject    new orders                              count (1), code (-2010), message
rate_limit rest                                   count (1), status (429 or 418), retry_after (1), path
error     rest                                    count (1), status (503), code (-1000), path, method, after
lost      rest                                    count (1), path, method: done, but the answer never arrives
skew      the venue's clock                       ms: from now on, until it is set back to 0
late      user, rest                              count (1), delay (2): fills are told so many seconds later, also after
                                                  the order's end; at `rest`, until cleared, no list has them before
restart   everything                              seconds (1): the server goes away and comes back
========= ======================================= =====================================================

`after` of an error: the request was carried out all the same. `path` and `method` name which requests are hit.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

NAMES = (
    "drop", "stall", "slow", "reorder", "duplicate", "gap", "garbage", "reject", "rate_limit", "error", "lost",
    "skew", "restart", "terminate", "late",
)  # fmt: skip
TIMED = ("stall", "slow")
GARBAGE: tuple[str | bytes, ...] = (
    "{not json", b"\x00\xff\xfe", "[]", "null", '{"stream":"btcusdt@bookTicker","data":{"s":1}}',
    '{"subscriptionId":0,"event":{"e":"executionReport","s":"BTCUSDT"}}', '{"event":{"e":"whatIsThis"}}', "<html>",
)  # fmt: skip


@dataclass(slots=True)
class Fault:
    """A fault that is on: for `left` more hits, until a moment, or until it is cleared."""

    name: str
    where: str
    left: int | None
    until: float | None
    options: dict[str, Any] = field(default_factory=dict)

    def applies(self, where: str, path: str, method: str) -> bool:
        return (
            self.where in (where, "all")
            and (self.until is None or time.monotonic() < self.until)
            and self.options.get("path", path) == path
            and self.options.get("method", method) == method
        )


class Faults:
    """What is wrong with the venue at the moment."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.hits: Counter[str] = Counter()
        self.skew_ms = 0
        self._on: list[Fault] = []
        self._garbage = 0
        self.actions: dict[str, Callable[[Fault], None]] = {}

    def inject(
        self, name: str, where: str = "all", count: int | None = None, seconds: float | None = None, **options: Any
    ) -> None:
        """Switch a fault on; see the table above."""
        if name not in NAMES:
            raise ValueError(f"no fault {name!r}; there are {', '.join(NAMES)}")
        self.asked[name] += 1
        if name in TIMED and count is None:
            seconds = 1.0 if seconds is None else seconds
        elif count is None:
            count = 1
        until = None if seconds is None else time.monotonic() + seconds
        fault = Fault(name, where, count, until, options | ({} if seconds is None else {"seconds": seconds}))
        if name == "skew":
            self.skew_ms = int(options["ms"])
            self.hits[name] += 1
        elif name in self.actions:
            self.actions[name](fault)
        else:
            self._on.append(fault)

    def take(self, name: str, where: str, path: str = "", method: str = "") -> Fault | None:
        """Return the fault that hits this message or request, and count it."""
        for fault in self._on:
            if fault.name == name and fault.applies(where, path, method):
                self.hits[name] += 1
                if fault.left is not None:
                    fault.left -= 1
                self._on = [f for f in self._on if f.left != 0]
                return fault
        self._on = [f for f in self._on if f.until is None or time.monotonic() < f.until]
        return None

    def stalled(self, where: str) -> bool:
        """Whether messages are held back right now; does not count."""
        return any(fault.name == "stall" and fault.applies(where, "", "") for fault in self._on)

    def behind(self, where: str) -> float:
        """Return how many seconds what is told is behind the books right now; does not count."""
        late = [fault for fault in self._on if fault.name == "late" and fault.applies(where, "", "")]
        return max((float(fault.options.get("delay", 2)) for fault in late), default=0.0)

    def garbage(self) -> str | bytes:
        self._garbage += 1
        return GARBAGE[self._garbage % len(GARBAGE)]

    def clear(self) -> None:
        """Switch everything off; counts stay."""
        self._on.clear()
        self.skew_ms = 0

    def state(self) -> dict[str, Any]:
        return {
            "asked": dict(self.asked), "hits": dict(self.hits), "skew_ms": self.skew_ms,
            "on": [{"name": f.name, "where": f.where, "left": f.left, **f.options} for f in self._on],
        }  # fmt: skip
