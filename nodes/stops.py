"""A stop that comes while no loop hears it: before a node with real orders runs, and after it has ended.

What another node has left may be held by nobody at that moment; an error is what tells of it.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from alphatrade.nodes.watchdog import sd_notify
from alphatrade.risk.errors import AlphaTradeError, StoppedError
from alphatrade.risk.kill import read_request

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SETTLE_S = 0.05
LOOK_S = 1.0  # from one look for a request to kill to the next
_came: list[str] = []  # names of those that were an error: what is imported may take one for another, or for none


class _Stop(KeyboardInterrupt):
    """Goes through whatever takes errors for answers, event loops among it."""


@contextmanager
def noted() -> Iterator[None]:
    """Have a stop wait meanwhile, also for `heard`: whoever has to tell of the first one is not ended by the next."""
    with _by(_note):
        try:
            yield
        finally:
            _came.clear()


@contextmanager
def heard(*modules: str) -> Iterator[None]:
    """
    Have a stop be an error meanwhile, also one that was held back before this process was what it is.

    Parameters
    ----------
    *modules : str
        Imported first, and whole: an error in between would leave some that nobody can use, not even to tell of it.

    Raises
    ------
    StoppedError
        If there was one.
    """
    with _by(_note):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        for name in modules:
            import_module(name)
        try:
            with _by(_stop):
                if _came:
                    raise _Stop
                yield
        except (_Stop, Exception) as error:
            if not _came or isinstance(error, AlphaTradeError):
                raise
            raise StoppedError(f"stopped by {_came[0]} while no node ran") from None
        finally:
            _came.clear()


@contextmanager
def _by(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Have stops taken by a handler meanwhile; under nohup a hang-up is none."""
    before = {one: signal.getsignal(one) for one in STOPS}
    mine = [one for one in STOPS if before[one] not in (signal.SIG_IGN, None)]
    try:
        for one in mine:
            signal.signal(one, handler)
        yield
    finally:
        for one in mine:
            signal.signal(one, before[one])


def missed() -> bool:
    """Return whether there was one meanwhile that has ended nothing."""
    return bool(_came)


def waited(seconds: float, folder: Path) -> None:
    """
    Wait so long, unless somebody wants the account killed; a stop is heard as ever.

    Raises
    ------
    StoppedError
        If the folder of the account has a request to kill, which stays there and refuses the next start; or if there
        was a stop that has ended nothing.
    """
    while seconds > 0:
        if missed():
            raise StoppedError("stopped while it waited")
        if (kill := read_request(folder)) is not None:
            words = f"a kill was asked for while it waited: {kill.reason} (by {kill.who})"
            raise StoppedError(f"{words}; no node runs, and what was open at the exchange still is")
        sd_notify("WATCHDOG=1")  # it waits as it should
        time.sleep(min(seconds, LOOK_S))
        seconds -= LOOK_S


def held_back() -> None:
    """Let a stop wait until the process has become another one, which hears it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    for one in STOPS:
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, _wait)


def become(words: list[str]) -> NoReturn:
    """
    Become the process of a command, which hears what was held back.

    Raises
    ------
    OSError
        If there is no such program.
    """
    time.sleep(SETTLE_S)  # what another thread was shown is given to this one meanwhile: with that one it would end
    os.execv(words[0], words)


def _note(number: int, _frame: object) -> None:
    _came.append(signal.Signals(number).name)


def _stop(number: int, frame: object) -> None:
    _note(number, frame)
    raise _Stop


def _wait(number: int, _frame: object) -> None:
    """Give it, if another thread was shown it, to this one, which blocks it: there it waits."""
    signal.pthread_kill(threading.main_thread().ident or 0, number)
