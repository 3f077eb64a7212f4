"""Which of the ways to an exchange is heard, when its feed counts as lost, how long to wait before a next try.

And how old what comes may be, where the loop that hears it was held up.

Durations are of a clock that never jumps; stamps, UTC ns, are only passed on into what is recorded.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple

HELD_UP_NS = 1_000_000_000  # less than that between what comes and its turn is no delay
_TURNS = 3  # what came is posted, and handed on one turn later by an adapter that stamps it only then


class FeedChange(NamedTuple):
    """
    Something that happened to a feed.

    Attributes
    ----------
    ts : int
        When, UTC ns.
    kind : {"lost", "gap", "source"}
        Nothing comes any more; something comes again; another way is heard from now on.
    source : str
        The way that is heard.
    since : int
        The last event before, UTC ns; 0: there was none.
    """

    ts: int
    kind: Literal["lost", "gap", "source"]
    source: str
    since: int


@dataclass(frozen=True, slots=True)
class Patience:
    """
    How much silence is borne, seconds.

    Attributes
    ----------
    silence_s : float
        Until a feed counts as lost.
    after_s : float
        Until the second way is opened.
    back_s : float
        For how long the first way has to have been well before it is heard again.
    """

    silence_s: float
    after_s: float = 0.0
    back_s: float = 0.0


class Arrivals:
    """
    Says when at the latest what a loop is given has come: it may have lain there while the loop was held up.

    An adapter stamps an event when the loop takes it: a price that has waited for seconds would pass for a fresh one.
    """

    def __init__(self) -> None:
        self._turns = deque[int](maxlen=_TURNS)
        self._latest = 0

    def turn(self, now: int) -> None:
        """Note that the loop has had a turn, UTC ns; to be called often."""
        self._turns.append(now)

    def came(self, stamp: int, now: int) -> int:
        """
        Return when an event came that is stamped `stamp`: that, or when the loop had its last turns if it was held up.

        Parameters
        ----------
        stamp, now : int
            UTC ns.
        """
        since = self._turns[0] if self._turns else now
        if now - since > HELD_UP_NS:
            stamp = max(min(stamp, since), self._latest)  # but not before the one before it
        self._latest = stamp
        return stamp


class _Way:
    """When a way was heard last, and since when without a silence, seconds."""

    def __init__(self) -> None:
        self.last = self.since = float("-inf")


class Switch:
    """
    Lets in what comes by one way at a time.

    Parameters
    ----------
    names : sequence of str
        The first way, and the second if there is one.
    patience : Patience
    now : float
        Seconds.
    latest : int
        Stamp of the last event that a node that goes on has had, UTC ns; 0: none.

    Attributes
    ----------
    current : int
        The way that is heard.
    lost : bool
        Whether it is silent for longer than is borne.
    """

    def __init__(self, names: Sequence[str], patience: Patience, now: float, latest: int) -> None:
        self._names, self._patience = names, patience
        self._ways = [_Way() for _ in names]
        self._taken = now
        self._latest = latest
        self.current = 0
        self.lost = latest > 0  # it was down itself

    def heard(self, way: int, now: float, ts: int) -> tuple[bool, list[FeedChange]]:
        """Return whether an event of `ts` (UTC ns) that comes by a way is let in, and what has changed with it."""
        one = self._ways[way]
        if now - one.last > self._patience.silence_s:
            one.since = now
        one.last = now
        changes = []
        if way != self.current:
            if not self._turns(way, now):
                return False, []
            self.current = way
            changes.append(FeedChange(ts, "source", self._names[way], self._latest))
        if self.lost:
            self.lost = False
            changes.append(FeedChange(ts, "gap", self._names[way], self._latest))
        self._taken, self._latest = now, ts
        return True, changes

    def _turns(self, way: int, now: float) -> bool:
        silence = now - self._taken
        if way:
            return silence >= self._patience.after_s
        return silence > self._patience.silence_s or now - self._ways[0].since >= self._patience.back_s

    def look(self, now: float, ts: int) -> FeedChange | None:
        """Return that the feed is lost, once, when it is; `ts` (UTC ns) is now."""
        if self.lost or now - self._taken <= self._patience.silence_s:
            return None
        self.lost = True
        return FeedChange(ts, "lost", self._names[self.current], self._latest)

    def wanted(self, way: int, now: float) -> bool:
        """Return whether a way should be open: the first always, the second while the first is not good enough."""
        return way == 0 or self.current == way or now - self._taken >= self._patience.after_s

    def rest(self, now: float) -> None:
        """Count the silence of a closed market as none."""
        self._taken = now
        for one in self._ways:
            one.last = now

    def silence(self, way: int, opened: float, now: float) -> float:
        """Return for how long nothing has come by a way that was opened then, seconds."""
        return now - max(opened, self._ways[way].last)


def pause(tries: int, first_s: float, most_s: float, rng: Random) -> float:
    """Return how long to wait after so many tries in a row, seconds: drawn from nothing to twice as long each time."""
    return rng.uniform(0.0, min(most_s, first_s * 2.0 ** min(tries - 1, 32)))
