"""The garbage collector around replays: a pass over all that was imported takes as long as a short replay."""

import atexit
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (50_000, 20, 20)
_settled = threading.Event()  # counting what is frozen takes as long as a pass


def settle() -> None:
    """Keep what exists out of every later pass, until the process ends: for processes that replay many times."""
    if not _settled.is_set():
        gc.collect()
        gc.freeze()
        atexit.register(gc.unfreeze)  # or compiled libraries take it for a leak
        _settled.set()


@contextmanager
def quiet_gc() -> Iterator[None]:
    """
    Keep the collector off the tape: what exists now is not looked at, passes are rare.

    In a process that has settled nothing more is frozen, or it would never go away.
    """
    before, settled = gc.get_threshold(), _settled.is_set()
    gc.collect()
    if not settled:
        gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if not settled:
            gc.unfreeze()
