"""Decision cadence: when a step closes, counted in bars, events or event-time seconds."""

from alphatrade.risk.errors import ConfigError

SECOND_NS = 1_000_000_000


class Cadence:
    """
    Tells at each event whether a decision is due.

    Parameters
    ----------
    kind : {"bars", "events", "seconds"}
        ``seconds`` closes a step at the first event at or after each multiple of n seconds.
    n : int
        How many of them make a step.
    provides : frozenset of str
        What the tape provides.

    Attributes
    ----------
    by_time : bool
        Whether steps close by event time.
    next : int
        Event time (UTC ns) before which no step closes, by time.
    remaining : int
        Events until a step closes, otherwise.

    Raises
    ------
    ConfigError
        If bars are asked of a tape without bars.
    """

    def __init__(self, kind: str, n: int, provides: frozenset[str]) -> None:
        if kind == "bars" and "bar" not in provides:
            raise ConfigError("policy.cadence.kind", kind, "events or seconds: this tape has no bars")
        self.by_time = kind == "seconds"
        self._n = n
        self._period = n * SECOND_NS
        self.remaining = n
        self.next = 0

    def due(self, ts: int, events: int = 1) -> bool:
        """Return whether the last of `events` events, at `ts` (UTC ns), closes a step; none before it may."""
        if self.by_time:
            if ts < self.next:
                return False
            first = self.next == 0
            self.next = (ts // self._period + 1) * self._period
            return not first or ts % self._period == 0
        self.remaining -= events
        if self.remaining:
            return False
        self.remaining = self._n
        return True
