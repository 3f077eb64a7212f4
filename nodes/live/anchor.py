"""Where this machine's live node takes its law from: state, ledger and fingerprint, in a file that no word changes.

::

    /etc/alphatrade/live.json              else
    <home of this user>/.alphatrade-live.json      {"fingerprint": …, "ledger": …, "state": …}

Whoever sets ``$ALPHATRADE_LEDGER`` brings a ledger with two persons of his own. So a live node reads this file, which
is of root or of its own user and writable by nobody else, and refuses to start where anything names another place. The
home is that of the user by the system's own list, not ``$HOME``.
"""

import json
import os
import pwd
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from alphatrade.reflection.ledger_fields import is_sha
from alphatrade.risk.disk import write_whole
from alphatrade.risk.errors import ConfigError

HOME = ".alphatrade-live.json"
PLACES: Sequence[Path] = (Path("/etc/alphatrade/live.json"), Path(pwd.getpwuid(os.geteuid()).pw_dir) / HOME)
FIELD = "live anchor"


class Anchor(NamedTuple):
    """Folders of state and ledger, absolute, and the fingerprint of that ledger."""

    state: Path
    ledger: Path
    fingerprint: str


def read() -> Anchor:
    """
    Return the anchor of this machine; the first place that is there counts, whatever is in the others.

    Raises
    ------
    ConfigError
        If there is none, others may write it, or it is not well formed.
    """
    for place in PLACES:
        if _there(place):
            return _parsed(_guarded(place), place)
    expected = f"{PLACES[0]} or {PLACES[-1]}; `alphatrade permit anchor` makes one"
    raise ConfigError(FIELD, "nothing", expected)


def pin(anchor: Anchor) -> Path:
    """
    Write the anchor of this machine: as root for all its users, else for this one; return where.

    Raises
    ------
    ConfigError
        If there is one that says something else, or it cannot be written.
    """
    if any(_there(place) for place in PLACES):
        if read() == anchor:
            return next(place for place in PLACES if _there(place))
        raise ConfigError(FIELD, str(read()), "none yet: remove it first, to trade by another ledger")
    place = PLACES[0] if os.geteuid() == 0 else PLACES[-1]
    text = {name: str(value) for name, value in anchor._asdict().items()}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, json.dumps(text, indent=1) + "\n")
        place.chmod(0o644)
    except OSError as error:
        raise ConfigError(FIELD, str(place), f"a file that can be written ({error.strerror or error})") from None
    return place


def agree(anchor: Anchor, state: Path, ledger: Path) -> None:
    """
    Refuse folders that configuration, words or environment name, if they are not those of the anchor.

    Raises
    ------
    ConfigError
        Naming the folder that is another one.
    """
    for name, found, wanted in (("paths.state", state, anchor.state), ("ledger", ledger, anchor.ledger)):
        if found.expanduser().resolve() != wanted.resolve():
            raise ConfigError(name, str(found), f"{wanted}, which the anchor of this machine names")


def _there(place: Path) -> bool:
    """Return whether something is at a place; also where it must not be looked at: then no other place counts."""
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _guarded(place: Path) -> str:
    """Return the text of a file that nobody else can have written."""
    try:
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            for what, told in (("folder", place.parent.stat()), ("file", os.fstat(handle))):
                if wrong := _open_to_others(told, what):
                    raise ConfigError(str(place), wrong, "a file of this user or of root that nobody else can write")
            return os.read(handle, 10_000).decode("utf-8", "replace")
        finally:
            os.close(handle)
    except OSError as error:
        raise ConfigError(str(place), error.strerror or str(error), "a file of this user or of root, no link") from None


def _open_to_others(told: os.stat_result, what: str) -> str:
    """Return by whom else a file or its folder can be written; empty: by nobody."""
    if what == "file" and not stat.S_ISREG(told.st_mode):
        return "no file"
    if told.st_uid not in (0, os.geteuid()):
        return f"a {what} of user {told.st_uid}"
    loose = told.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return f"a {what} of mode {stat.S_IMODE(told.st_mode):o}" if loose else ""


def _parsed(text: str, place: Path) -> Anchor:
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError):
        plain = None
    fields = Anchor._fields
    if not isinstance(plain, dict) or set(plain) != set(fields) or not all(isinstance(plain[n], str) for n in fields):
        raise ConfigError(str(place), text[:60], f"a JSON object with {', '.join(fields)}")
    made = Anchor(Path(plain["state"]), Path(plain["ledger"]), plain["fingerprint"])
    if not made.state.is_absolute() or not made.ledger.is_absolute() or not is_sha(made.fingerprint):
        raise ConfigError(str(place), text[:60], "two absolute folders, and a fingerprint of 64 hexadecimal digits")
    return made
