"""A stop that comes while no loop hears it: before a node with real orders runs, and after it has ended.

What another node has left may be held by nobody at that moment; an error is what tells of it.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alphatrade.risk.errors import StoppedError
from alphatrade.risk.kill import read_request

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOK_S = 1.0  # from one look for a request to kill to the next


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


def waited(seconds: float, folder: Path) -> None:
    """
    Wait so long, unless somebody wants the account killed; a stop is heard as ever.

    Raises
    ------
    StoppedError
        If the folder of the account has a request to kill. It stays there, and refuses the next start.
    """
    while seconds > 0:
        if (kill := read_request(folder)) is not None:
            words = f"a kill was asked for while it waited: {kill.reason} (by {kill.who})"
            raise StoppedError(f"{words}; no node runs, and what was open at the exchange still is")
        time.sleep(min(seconds, LOOK_S))
        seconds -= LOOK_S


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
