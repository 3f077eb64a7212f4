"""What systemd is told of a node: that it has started, that it is well, and in a line how it is.

A unit with ``Type=notify`` and ``WatchdogSec=`` restarts a node that has not said ``WATCHDOG=1`` for so long. Without
systemd nothing is sent.
"""

import os
import socket
from collections.abc import Mapping

from alphatrade.nodes.beats import Beat, BeatLimits, Reason, health, restart_helps

LIMIT = "WATCHDOG_USEC"  # of the unit, in the environment: a process that becomes another one keeps it
EXTEND_S = 60  # in which the node has to be heard again, while it starts
AGAIN_S = 600  # in which one that ends to start again has to be heard: it sells, compares, writes its run, and checks


def sd_notify(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    """
    Send a state to the service manager.

    Parameters
    ----------
    state : str
        Assignments, one a line, for instance ``READY=1``.
    environ : mapping
        Has ``NOTIFY_SOCKET`` if there is a manager; a leading @ is an abstract name.

    Returns
    -------
    bool
        Whether it was sent; a manager that does not take it never holds the node up.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            channel.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
    except OSError:
        return False
    return True


def starts_again(environ: Mapping[str, str] = os.environ) -> None:
    """
    Ask for time to end and to start again in the same process, which nobody may kill meanwhile.

    It lasts until :meth:`Watchdog.ready`; a manager that counts no seconds is not to begin with it.
    """
    if environ.get(LIMIT):
        sd_notify(f"{LIMIT}={AGAIN_S * 1_000_000}\nSTATUS=it ends, to start again", environ)


class Watchdog:
    """
    Speaks for one node.

    Parameters
    ----------
    limits : BeatLimits
    environ : mapping
        See :func:`sd_notify`.
    """

    def __init__(self, limits: BeatLimits, environ: Mapping[str, str] = os.environ) -> None:
        self._limits, self._environ = limits, environ

    def reading(self, done: int, total: int) -> None:
        """Say how far the journal is read, and ask for more time to start: a longer start is no failed one."""
        told = f"reading the journal, {done} of {total} records"
        sd_notify(f"EXTEND_TIMEOUT_USEC={EXTEND_S * 1_000_000}\nSTATUS={told}", self._environ)

    def ready(self) -> None:
        """Say that the node has started; from here on it has the unit's seconds, however it came to be."""
        usual = self._environ.get(LIMIT)
        counted = f"\n{LIMIT}={usual}\nWATCHDOG=1" if usual else ""
        sd_notify(f"READY=1\nSTATUS=started{counted}", self._environ)

    def beat(self, beat: Beat, now: int) -> list[Reason]:
        """
        Say how the node is, and that it lives unless a restart would cure what it has.

        Parameters
        ----------
        beat : Beat
        now : int
            Wall clock, UTC ns.

        Returns
        -------
        list of Reason
            Why it is not well.
        """
        reasons = health(beat, now, self._limits)
        told = "; ".join(reason.text for reason in reasons) or "well"
        status = f"STATUS={told}; {beat.events} events, {beat.orders} orders, {beat.fills} fills"
        sd_notify(status if restart_helps(reasons) else f"{status}\nWATCHDOG=1", self._environ)
        return reasons

    def stopping(self, why: str) -> None:
        """Say that the node ends, and why; it still has the unit's time to flatten."""
        sd_notify(f"STOPPING=1\nSTATUS={' '.join(why.split())}", self._environ)
