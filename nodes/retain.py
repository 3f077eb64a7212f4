"""Retention: which run folders may go from the artifacts folder, and how they go.

Only finished runs, the folders of the nightly, weekly, reflection and red team jobs, and what killed runs have left go.
Dossiers, copies of the ledger, searches, and whatever else lies there, stay. So does a run that the ledger or a dossier
names, what ``latest`` leads to, what a process is writing, and a live run that is needed to judge one that stays.

A folder is renamed to ``.removed-<name>`` and then removed: after a crash the next call removes what is left of it.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field

from alphatrade.nodes.artifacts import LATEST, LATEST_SEARCH, LOCK, writing
from alphatrade.nodes.audit.tables import links
from alphatrade.nodes.overrides import CONFIG_MODULE
from alphatrade.nodes.refusals import checked, read_yaml
from alphatrade.reflection.query import read_mapping
from alphatrade.risk.disk import sync
from alphatrade.risk.errors import ConfigError, RunDirError

JOBS = ("nightly", "weekly", "rim", "red-team")
REMOVED = ".removed-"
_RUN = re.compile(r"(\.partial-|\.replaced-)?[0-9a-f]{16}")
_LEFT = re.compile(rf"(\.partial-|\.replaced-)({'|'.join(JOBS)})")
_ID = re.compile(rb"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])")


class Retention(BaseModel):
    """
    What stays.

    Attributes
    ----------
    days : int
        Runs and jobs of so many days, today's included.
    runs : int
        At least so many of the latest finished runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    days: int = Field(ge=1)
    runs: int = Field(ge=1)


class Ruling(NamedTuple):
    """What is to become of one folder: it goes, unless there is a reason why it stays."""

    folder: Path
    age_days: int
    size: int
    stays: str


def retention(file: Path | None = None) -> Retention:
    """
    Return the shipped settings (``conf/retain.yaml``), with the keys that a file of the user's replaces.

    Raises
    ------
    ConfigError
        If the file cannot be read or a value is wrong.
    """
    plain = yaml.safe_load(files(CONFIG_MODULE).joinpath("retain.yaml").read_text())
    if file is not None:
        own = read_yaml(file)
        if not isinstance(own, dict):
            raise ConfigError("--settings", str(file), "a mapping of keys of conf/retain.yaml")
        plain |= own
    return checked(Retention, plain, "retain")


def ruled(root: Path, spec: Retention, today: date, ledger: Path) -> list[Ruling]:
    """
    Rule on every folder that retention knows, the oldest first; nothing is changed.

    Parameters
    ----------
    root : Path
        Of the artifacts.
    spec : Retention
    today : date
        UTC.
    ledger : Path
        Its folder; need not exist.

    Raises
    ------
    RunDirError
        If there is no such folder, or the ledger or a dossier cannot be read: what they name would be unknown.
    """
    if not root.is_dir():
        raise RunDirError("artifacts", str(root), "an existing folder of runs")
    named = named_in(root, ledger)
    found = sorted(_candidates(root), key=lambda one: (one.parent.name, _changed(one), one.name))
    runs = [one for one in found if _RUN.fullmatch(one.name) and not one.name.startswith(".")]
    recent = set(runs[-spec.runs :])
    links = {link.resolve() for name in (LATEST, LATEST_SEARCH) if (link := root / name).is_symlink()}
    rulings = []
    for folder in found:
        age = (today - date.fromisoformat(folder.parent.name)).days
        reasons = (
            ("a link, which is not followed", folder.resolve() != root.resolve() / folder.parent.name / folder.name),
            (f"not older than {spec.days} days", age < spec.days),
            (f"one of the latest {spec.runs} runs", folder in recent),
            ("`latest` leads there", any(link.is_relative_to(folder.resolve()) for link in links)),
            ("named by the ledger or a dossier", bool(named & _ids(folder))),
            ("holds the ledger", ledger.resolve().is_relative_to(folder.resolve())),
        )
        stays = next((why for why, holds in reasons if holds), "") or ("being written" if in_use(folder) else "")
        rulings.append(Ruling(folder, age, _size(folder), stays))
    return _with_theirs(rulings)


def _with_theirs(rulings: list[Ruling]) -> list[Ruling]:
    """Have a live run stay as long as one that stays has taken something over from it, or was under its permit."""
    live = {one.folder.name: links(one.folder) for one in rulings if one.folder.name[0] != "." and _live(one.folder)}
    stay = [one.folder.name for one in rulings if one.stays and one.folder.name in live]
    kept = {name for name, told in live.items() if told is None}  # it may be wanted
    while stay:
        origins, under = live[stay.pop()] or (set(), set())
        found = {name for name, told in live.items() if name in origins or (told is not None and told[1] & under)}
        stay += sorted(found - kept)
        kept |= found
    why = "an audit of a live run that stays needs it"
    return [one._replace(stays=one.stays or (why if one.folder.name in kept else "")) for one in rulings]


def _live(folder: Path) -> bool:
    with suppress(RunDirError, LookupError, TypeError):
        return bool(read_mapping(folder, "run.yaml")["env"]["name"] == "live")
    return False


def remove(folder: Path) -> bool:
    """
    Remove a folder; one that somebody has begun to write meanwhile stays.

    Returns
    -------
    bool
        Whether it is gone.

    Raises
    ------
    RunDirError
        If it cannot be removed; what is left of it goes with the next call of :func:`swept`.
    """
    aside = folder.with_name(f"{REMOVED}{folder.name}")
    with writing(folder):
        try:
            if in_use(folder):
                return False
            folder.rename(aside)
        except FileNotFoundError:  # somebody else was quicker
            return True
        sync(folder.parent)
        _remove(aside)
    return True


def swept(root: Path) -> list[Path]:
    """Remove what earlier calls have put aside and not removed, and return it."""
    left = [folder for folder in _below(root) if folder.name.startswith(REMOVED)]
    for folder in left:
        with writing(folder):
            _remove(folder)
    return left


def named_in(root: Path, ledger: Path) -> frozenset[bytes]:
    """Return every id that may be one of a run in the ledger and in the dossiers: their members are not compressed."""
    found: set[bytes] = set()
    for path in chain(root.glob("*/dossiers/*.zip"), ledger.rglob("*") if ledger.exists() else ()):
        if path.is_file():
            try:
                with path.open("rb") as file:
                    found.update(match for line in file for match in _ID.findall(line))
            except OSError as error:
                raise RunDirError(str(path), os.strerror(error.errno or 0), "a file that can be read") from error
    return frozenset(found)


def in_use(folder: Path) -> bool:
    """Return whether a process is writing a folder."""
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _candidates(root: Path) -> Iterator[Path]:
    for folder in _below(root):
        if _LEFT.fullmatch(folder.name) or folder.name in JOBS or _RUN.fullmatch(folder.name):
            yield folder


def _below(root: Path) -> Iterator[Path]:
    """Yield the folders of each day, those of a day that is a link left out."""
    for day in sorted(root.iterdir()):
        with suppress(ValueError):
            date.fromisoformat(day.name)
            if day.is_dir() and not day.is_symlink():
                yield from (path for path in day.iterdir() if path.is_dir() or path.is_symlink())


def _ids(folder: Path) -> set[bytes]:
    """Return the ids by which a folder may be named: its own, and those of the runs in it."""
    found = set(_ID.findall(folder.name.encode()))
    for path in (folder, folder / "run"):
        if not path.is_symlink():
            with suppress(RunDirError):
                found.update(_ID.findall(str(read_mapping(path, "summary.json").get("run_id")).encode()))
    return found


def _changed(folder: Path) -> float:
    with suppress(OSError):
        return folder.lstat().st_mtime
    return 0.0


def _size(folder: Path) -> int:
    if folder.is_symlink():
        return 0
    total = 0
    for place, _, names in folder.walk():
        for name in names:
            with suppress(OSError):
                total += (place / name).lstat().st_size
    return total


def _remove(aside: Path) -> None:
    """Remove a folder that was put aside, and its day if nothing else is there."""
    with suppress(FileNotFoundError):
        if aside.is_symlink():
            aside.unlink()
        else:
            shutil.rmtree(aside)
    with suppress(OSError):
        aside.parent.rmdir()
