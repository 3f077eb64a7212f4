"""Run folders: written beside their final name, compared with what was there, swapped in whole.

``artifacts/<date>/<run_id>/`` appears only when a run is complete; until then, and after a ``kill -9``, its files are
in ``artifacts/<date>/.partial-<run_id>/``, where the diary's acknowledged segments can be read.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from alphatrade.risk.errors import RunDirError

LATEST, LATEST_SEARCH = "latest", "latest-search"
LOCK = ".lock"


class Folder:
    """A folder that is being written."""

    path: Path

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def write_json(self, name: str, value: Any) -> None:
        """Write plain values as a JSON file."""
        self.write_text(name, json.dumps(value, indent=2) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file, whole or not at all."""
        beside = self.path / f".{name}.tmp"
        beside.write_text(text, encoding="utf-8")
        beside.replace(self.path / name)

    def former(self) -> dict[str, Any] | None:
        """Return the summary of what this replaces: a plain folder replaces nothing."""
        return None


def point(link: Path, folder: Path) -> None:
    """Let a link in the root of the artifacts lead to a folder below it, whatever it led to before."""
    beside = link.with_name(f".{link.name}-{folder.name}")
    with suppress(FileNotFoundError):
        beside.unlink()
    beside.symlink_to(folder.relative_to(link.parent))
    beside.replace(link)


class RunFolder(Folder):
    """
    The folder of one run while it is written.

    Parameters
    ----------
    artifacts : Path
        Root of all runs.
    run_id : str
        Id of this one.

    Raises
    ------
    RunDirError
        If the folder cannot be written, or the same run is being written by another process.
    """

    def __init__(self, artifacts: Path, run_id: str) -> None:
        day = artifacts.expanduser() / datetime.now(UTC).date().isoformat()
        self.final = day / run_id
        self.path = day / f".partial-{run_id}"
        self._aside = day / f".replaced-{run_id}"
        self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / LOCK).open("w")
        except OSError as error:
            self._unmake()
            raise unwritable(day, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise RunDirError(str(self.path), "in use", "no other process writing the same run") from error
        try:
            self._empty()
            self._recover()
        except OSError as error:
            self._remove()
            self._lock.close()
            raise unwritable(self.path, error) from error

    def _remove(self) -> None:
        """Leave no trace of this run, whose lock is held."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._unmake()

    def _unmake(self) -> None:
        """Remove the folders that were made for this run, as far as nobody else uses them."""
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()

    def _empty(self) -> None:
        """Remove what a killed run of the same id has left."""
        for item in self.path.iterdir():
            if item.name != LOCK:
                shutil.rmtree(item) if item.is_dir() else item.unlink()

    def _recover(self) -> None:
        """Finish a swap that was interrupted."""
        if self._aside.exists():
            if self.final.exists():
                shutil.rmtree(self._aside)
            else:
                self._aside.rename(self.final)

    def __enter__(self) -> Self:
        """Return the folder itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Leave nothing half written behind when the run has failed."""
        if kind is not None:
            self._remove()
        self._lock.close()
        if isinstance(error, OSError):
            raise unwritable(self.path, error) from error

    def former(self) -> dict[str, Any] | None:
        """Return the summary of the run that this one replaces, if there is one."""
        try:
            summary: dict[str, Any] = json.loads((self.final / "summary.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return summary

    def publish(self, latest: bool = True) -> Path:
        """
        Put the run in its place, in one piece, and point ``latest`` at it, unless it is no run of its own.

        Returns
        -------
        Path
            Where it is now.
        """
        if self.final.exists():
            self.final.rename(self._aside)
        self.path.rename(self.final)
        (self.final / LOCK).unlink()  # only now: without it another process would empty the folder under our feet
        with suppress(FileNotFoundError):
            shutil.rmtree(self._aside)
        if not latest:
            return self.final
        point(self.final.parent.parent / LATEST, self.final)
        return self.final


def today(artifacts: Path, name: str) -> Path:
    """
    Return the folder ``artifacts/<date>/<name>`` of today, made if it is missing.

    Raises
    ------
    RunDirError
        If it cannot be written.
    """
    folder = artifacts.expanduser() / datetime.now(UTC).date().isoformat() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder


def recent_runs(artifacts: Path, days: int) -> list[Path]:
    """Return the folders of finished runs of the last `days` days, today's included, the nightly ones too."""
    root = artifacts.expanduser()
    oldest = datetime.now(UTC).date() - timedelta(days - 1)
    found = []
    for day in sorted(root.iterdir()) if root.is_dir() else ():
        with suppress(ValueError):
            if not day.is_symlink() and date.fromisoformat(day.name) >= oldest:
                folders = [path.parent for pattern in ("*", "nightly/run") for path in day.glob(f"{pattern}/run.yaml")]
                found += sorted(folder for folder in folders if not folder.name.startswith("."))
    return found


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """
    Write into a folder of the artifacts, or somewhere below it.

    Raises
    ------
    RunDirError
        In place of an `OSError`, but for those of pipes and connections: something there cannot be written.
    """
    try:
        yield
    except ConnectionError:
        raise
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> RunDirError:
    """Return the one-line error for a folder that cannot be written."""
    where = str(error.filename or path)
    what = os.strerror(error.errno) if error.errno else str(error)
    return RunDirError(where, what, "a writable folder with free space")
