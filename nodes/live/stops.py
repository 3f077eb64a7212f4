"""A stop that comes while no loop hears it: before a node with real orders runs, and after it has ended.

What another node has left may be held by nobody at that moment; an error is what tells of it.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from alphatrade.risk.errors import StoppedError

STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def heard() -> Iterator[None]:
    """
    Have a stop be an error meanwhile, also one that was held back before this process was what it is.

    Raises
    ------
    StoppedError
        If there was one.
    """
    before = {one: signal.signal(one, _stop) for one in STOPS}
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def held_back() -> None:
    """Let a stop wait until the process has become another one, which hears it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def _stop(number: int, _frame: object) -> None:
    raise StoppedError(f"stopped by {signal.Signals(number).name} while no node ran")
