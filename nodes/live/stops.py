"""A stop that comes while no loop hears it: before a node with real orders runs, and after it has ended.

What another node has left may be held by nobody at that moment; an error is what tells of it.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from alphatrade.risk.errors import StoppedError

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stop(KeyboardInterrupt):
    """Goes through whatever takes errors for answers, event loops among it."""


@contextmanager
def heard() -> Iterator[None]:
    """
    Have a stop be an error meanwhile, also one that was held back before this process was what it is.

    Raises
    ------
    StoppedError
        If there was one.
    """
    before = {one: signal.getsignal(one) for one in STOPS}
    mine = [one for one in STOPS if before[one] not in (signal.SIG_IGN, None)]  # under nohup it goes on
    try:
        for one in mine:
            signal.signal(one, _stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        yield
    except _Stop as stop:
        raise StoppedError(f"stopped by {stop} while no node ran") from None
    finally:
        for one in mine:
            signal.signal(one, before[one])


def held_back() -> None:
    """Let a stop wait until the process has become another one, which hears it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    for one in STOPS:
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, _wait)


def _stop(number: int, _frame: object) -> None:
    raise _Stop(signal.Signals(number).name)


def _wait(number: int, _frame: object) -> None:
    """Give it, if another thread was shown it, to this one, which blocks it: there it waits."""
    signal.pthread_kill(threading.main_thread().ident or 0, number)
