"""A ledger's lock, and lines that are added to its file whole or not at all."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alphatrade.reflection.ledger_files import LOCK
from alphatrade.risk.errors import LedgerError


@contextmanager
def locked(folder: Path, how: int) -> Iterator[None]:
    """Hold the lock of a ledger's folder, shared or alone, as `fcntl.flock` has it; no thread may take it twice."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise unwritable(str(folder), error, "a folder that can be written") from error
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)  # and with it the lock, also when this process is killed


def write_line(handle: int, data: bytes, size: int) -> None:
    """Write all of `data` durably, or leave the file at its former size."""
    try:
        if os.write(handle, data) != len(data):
            raise OSError("no space left for a whole entry")
        os.fsync(handle)
    except OSError:
        with suppress(OSError):
            os.ftruncate(handle, size)
        raise


def unwritable(where: str, error: OSError, expected: str) -> LedgerError:
    """Return what is said where the disk refuses."""
    return LedgerError(where, error.strerror or str(error), expected)
