"""Heartbeat of a simulated node: one per second of event time that has a market event, on the message bus.

A plug-in listens with ``self.msgbus.subscribe(HEARTBEAT_TOPIC, handler)``. Silent stretches of a tape have no beats:
a timer for each of their seconds would cost more than the events around them.
"""

from collections.abc import Callable

import msgspec

from alphatrade.actors.cadence import SECOND_NS

HEARTBEAT_TOPIC = "alphatrade.heartbeat"
CLOCK = "event time (simulated)"
_LOOK = 60  # beats after which listeners are looked for again


class Heartbeat(msgspec.Struct, frozen=True):
    """
    A sign of life.

    Attributes
    ----------
    ts : int
        Event time, UTC nanoseconds: of the first event in its second.
    clock : str
        What `ts` was read from; a simulation says so.
    number : int
        Beats so far, this one included.
    messages : int
        What the bus has published so far.
    faults : tuple of str
        Mechanisms that are off or have refused something, each with its last reason.
    """

    ts: int
    clock: str
    number: int
    messages: int
    faults: tuple[str, ...] = ()


class Pulse:
    """
    Beats when told to, and makes a message of it only while somebody listens: that costs the most.

    Parameters
    ----------
    listening : callable
        Says whether somebody does.
    publish : callable
        Takes event time (UTC ns) and number of a beat.

    Attributes
    ----------
    beats : int
        So far.
    next : int
        When the next second begins, UTC ns.
    """

    def __init__(self, listening: Callable[[], bool], publish: Callable[[int, int], object]) -> None:
        self._listening, self._publish = listening, publish
        self._heard = False
        self.beats = self.next = 0

    def beat(self, ts: int) -> None:
        """Open the second of `ts`."""
        self.next = ts - ts % SECOND_NS + SECOND_NS
        if self.beats % _LOOK == 0:
            self._heard = self._listening()
        self.beats += 1
        if self._heard:
            self._publish(ts, self.beats)
