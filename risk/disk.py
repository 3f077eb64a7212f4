"""Small files that must be whole or absent, and a folder that one process at a time may use."""

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from alphatrade.risk.errors import InputError, InUseError

LOCK = "node.lock"
_HELD: set[int] = set()  # descriptors of this process's locks


def _let_go(handle: int) -> None:
    if handle not in _HELD:
        return  # in a forked child, where the number may be another file's by now
    _HELD.remove(handle)
    fcntl.flock(handle, fcntl.LOCK_UN)  # closing is not enough while a forked child has the descriptor, too
    os.close(handle)


def _forked() -> None:
    """Close the locks in a child: it must not keep them when its parent is gone."""
    for handle in _HELD:
        os.close(handle)
    _HELD.clear()


os.register_at_fork(after_in_child=_forked)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """
    Write into a folder of the state.

    Raises
    ------
    InputError
        In place of an `OSError`: the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise InputError("state_dir", str(folder), f"a folder that can be written ({error})") from error


def write_whole(path: Path, text: str | bytes) -> None:
    """Write `text` to a temporary name, sync it and rename it: after a crash the file is the old or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(text.encode() if isinstance(text, str) else text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Make what was written to a file durable; of a folder, the renames and removals in it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def probe(folder: Path) -> None:
    """Refuse a folder that cannot be written, see `writing`."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / ".probe", "")
        (folder / ".probe").unlink()


class FolderLock(AbstractContextManager["FolderLock"]):
    """
    The use of a folder by one process, from now to `release` or to the end of the process, however it ends.

    Parameters
    ----------
    folder : Path
        Made if it is missing; the lock is a file in it, which stays.
    use : str
        What the process that holds it is said to do, for the error.

    Raises
    ------
    InUseError
        If somebody else holds it.
    InputError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path, use: str = "a node of process {} trades on this account") -> None:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            self.release = weakref.finalize(self, _let_go, handle)
            _HELD.add(handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(handle, 0)
                os.write(handle, str(os.getpid()).encode())  # for the message below, nothing else reads it
            except BlockingIOError as error:
                owner = os.read(handle, 20).decode(errors="replace")
                self.release()
                raise InUseError(f"{folder} is in use: {use.format(owner)}") from error
            except OSError:
                self.release()
                raise

    def __exit__(self, *exception: object) -> None:
        """Leave the folder to others."""
        self.release()
