"""Shim: the clock of a node that runs on the time of its inputs.

Whatever asks a component's clock while an input is processed is told the time of that input, so that a node's decisions
are a function of its inputs alone: the same inputs, read from a journal at full speed, make the same decisions.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import Any

from nautilus_trader.common.component import LiveClock
from nautilus_trader.system import kernel

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NodeTime:
    """
    The time of a node.

    Attributes
    ----------
    now : int
        Of the last input, UTC ns; 0: there was none, and clocks show the wall's.
    """

    def __init__(self) -> None:
        self.now = 0
        self._alerts: list[tuple[int, int, Callable[[Any], None]]] = []
        self._number = count()

    def advance(self, ts: int) -> None:
        """Go on to `ts`; an input that is older than the one before does not turn time back."""
        while self._alerts and self._alerts[0][0] <= ts:
            heappop(self._alerts)[2](None)
        if ts > self.now:
            self.now = ts

    def alert(self, ts: int, call: Callable[[Any], None]) -> None:
        """Have something called when time comes to `ts`, before the input that brings it there."""
        heappush(self._alerts, (ts, next(self._number), call))

    def end(self) -> None:
        """Have clocks show the wall's time again, and forget what was to be called."""
        self.now = 0
        self._alerts.clear()


TIME = NodeTime()  # a process runs one node: Nautilus makes a clock for each component by its class alone


class NodeClock(LiveClock):
    """A live clock that shows :data:`TIME`; its alerts come on it, too, its timers still run on the wall's."""

    def set_time_alert_ns(
        self, name: str, alert_time_ns: int, callback: Callable[[Any], None], *_: Any, **__: Any
    ) -> None:
        """Have `callback` called in the node's time: what limits the rate of orders has to do so as it did then."""
        TIME.alert(alert_time_ns, callback)

    def timestamp_ns(self) -> int:
        """Return the node's time, UTC ns."""
        return TIME.now or super().timestamp_ns()

    def timestamp_us(self) -> int:
        """Return the node's time, UTC µs."""
        return self.timestamp_ns() // 1_000

    def timestamp_ms(self) -> int:
        """Return the node's time, UTC ms."""
        return self.timestamp_ns() // 1_000_000

    def timestamp(self) -> float:
        """Return the node's time, UTC seconds."""
        return self.timestamp_ns() / 1e9

    def utc_now(self) -> datetime:
        """Return the node's time, to the µs: every order id asks for it, and the stock one, of pandas, takes longer."""
        return _EPOCH + timedelta(microseconds=self.timestamp_us())


@contextmanager
def node_clocks(start: int) -> Iterator[None]:
    """Let a node that is built inside have clocks that show the node's time, which begins at `start` (UTC ns)."""
    TIME.now = start
    stock, kernel.LiveClock = kernel.LiveClock, NodeClock
    try:
        yield
    finally:
        kernel.LiveClock = stock
