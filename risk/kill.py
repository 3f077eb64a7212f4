"""Kill switch: ACTIVE, then REDUCING, then HALTED; latched on disk until an operator releases it.

Files of one latch, in ``<state_dir>/<env>/<account>/``:

``latch.json``
    The state and why; written to a temporary name, synced and renamed, so it is whole or absent. Absent means
    ACTIVE, unreadable means HALTED.
``kill.request``
    Left by ``alphatrade kill`` for a running node to take; a start with one pending is refused too.
``releases.jsonl``
    Every release, who and why; only ever appended to.
``losses.json``
    From where losses are counted, see :mod:`alphatrade.risk.losses`; unreadable means HALTED.
``node.lock``
    Held by the node that runs; the files above can be read, and requests left, beside it.

Without a folder the switch lives in memory, which is what a replay uses.
"""

import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from alphatrade.risk.disk import LOCK, FolderLock, probe, sync, write_whole, writing
from alphatrade.risk.errors import InputError, LatchedError
from alphatrade.risk.losses import LOSSES, Losses, read_losses

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LATCH = "latch.json"
REQUEST = "kill.request"
RELEASES = "releases.jsonl"
ENVIRONMENTS = ("sim", "paper", "live-shadow", "live")
_REBASING = ("DAILY_LOSS", "DRAWDOWN")  # who releases one of these has decided to go on from the equity there is


class State(StrEnum):
    """What the kill switch lets through."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALTED = "HALTED"


@dataclass(frozen=True, slots=True)
class Trip:
    """Why the switch is not ACTIVE; `ts` is UTC ns."""

    state: State
    code: str
    reason: str
    who: str
    ts: int


@dataclass(frozen=True, slots=True)
class StateChange:
    """Message on ``alphatrade.risk.state``: the switch went from one state to another."""

    before: State
    after: State
    code: str
    reason: str
    who: str
    ts: int


@dataclass(frozen=True, slots=True)
class KillStatus:
    """What an operator sees of one latch."""

    env: str
    account: str
    state: State
    trip: Trip | None
    request_pending: bool
    releases: int
    losses: Losses | None


def latch_dir(state_dir: str | Path, env: str, account: str) -> Path:
    """
    Return the folder of one latch.

    Raises
    ------
    InputError
        If there is no such environment, or `account` could not be the name of a folder.
    """
    if env not in ENVIRONMENTS:
        raise InputError("env", env, f"one of {', '.join(ENVIRONMENTS)}")
    if not _NAME.fullmatch(account):
        raise InputError("account", account, "letters, digits, dot, dash and underscore, at most 64")
    return Path(state_dir).expanduser() / env / account


class KillSwitch:
    """
    The state of one latch.

    Parameters
    ----------
    folder : Path, optional
        Where it is kept; None keeps it in memory only.

    Attributes
    ----------
    write_error : str
        Set when the latch could not be written after a trip; the state in memory holds all the same.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.trip_cause: Trip | None = None
        self.write_error = ""
        if folder is not None:
            self.trip_cause = _read_latch(folder) or _unreadable_losses(folder)

    @property
    def state(self) -> State:
        """Present state."""
        return State.ACTIVE if self.trip_cause is None else self.trip_cause.state

    def require_active(self) -> None:
        """
        Refuse to start while latched.

        Raises
        ------
        LatchedError
            If the latch is not ACTIVE, it or the losses cannot be read, or a kill request is waiting.
        InputError
            If the folder cannot be written: a switch that could not latch is not worth starting with.
        """
        folder = self.folder
        if folder is not None:
            probe(folder)
            standing = _read_latch(folder) or _unreadable_losses(folder)
            self.trip_cause = self.trip_cause or standing or read_request(folder)
        cause = self.trip_cause
        if cause is not None:
            where = f" in {folder}" if folder is not None else ""
            why = f"{cause.code}, {cause.reason}, by {cause.who}"
            raise LatchedError(f"kill switch is {cause.state}{where} ({why}); release it first")

    def trip(self, code: str, reason: str, who: str, ts: int) -> bool:
        """Go from ACTIVE to REDUCING and latch; False if it had tripped before."""
        if self.trip_cause is not None:
            return False
        self.trip_cause = Trip(State.REDUCING, code, reason, who, ts)
        self._save()
        return True

    def halt(self) -> bool:
        """Go from REDUCING to HALTED: everything is cancelled and flat; False from any other state."""
        cause = self.trip_cause
        if cause is None or cause.state is not State.REDUCING:
            return False
        self.trip_cause = replace(cause, state=State.HALTED)
        self._save()
        return True

    def take_request(self) -> Trip | None:
        """Return a pending kill request of another process; write the latch where it could not be written before."""
        if self.write_error:
            self._save()
        return None if self.folder is None else read_request(self.folder)

    def clear_request(self) -> None:
        """Remove a request that was acted upon."""
        if self.folder is not None:
            (self.folder / REQUEST).unlink(missing_ok=True)

    def forget(self) -> None:
        """Return to ACTIVE if the switch lives in memory only; a latch on disk stays."""
        if self.folder is None:
            self.trip_cause = None

    def _save(self) -> None:
        if self.folder is None or self.trip_cause is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / LATCH, json.dumps(asdict(self.trip_cause), sort_keys=True))
            self.write_error = ""
        except OSError as error:
            self.write_error = str(error)
            with suppress(OSError):  # one that cannot be read takes no room, and stops the next start as well
                (self.folder / f"{LATCH}.tmp").replace(self.folder / LATCH)


def request_kill(state_dir: str | Path, env: str, account: str, who: str, why: str, ts: int) -> bool:
    """
    Ask a running node to stop trading; with none running, the next start is refused.

    Parameters
    ----------
    ts : int
        UTC ns.

    Returns
    -------
    bool
        Whether a node has ever used this account here; if not, its name may be a slip.
    """
    _named(who, why)
    folder = latch_dir(state_dir, env, account)
    request = Trip(State.REDUCING, "OPERATOR", why, who, ts)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / REQUEST, json.dumps(asdict(request), sort_keys=True))
    return (folder / LOCK).exists()


def release(state_dir: str | Path, env: str, account: str, who: str, why: str, ts: int) -> Trip:
    """
    Unlatch, after recording who did it and why.

    The release of a loss limit is also the decision to go on from the equity there is: the record says ``rebase``, and
    the next start counts losses from there; else it would trip again at once. A file of losses that cannot be read is
    removed.

    Returns
    -------
    Trip
        What was released.

    Raises
    ------
    InputError
        If nothing is latched, or who or why is empty.
    InUseError
        If a node still runs on the account: it has to be stopped first.
    """
    _named(who, why)
    folder = latch_dir(state_dir, env, account)
    unreadable = _unreadable_losses(folder)
    cause = _read_latch(folder) or unreadable or read_request(folder)
    if cause is None:
        raise InputError("release", f"{env}/{account}", "a latched kill switch; this one is ACTIVE")
    entry = {"ts": ts, "who": who, "why": why, "released": asdict(cause), "rebase": rebases(cause)}
    with FolderLock(folder), writing(folder):  # a node that has halted stays so, one that reduces would latch again
        with (folder / RELEASES).open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry, sort_keys=True) + "\n")
            log.flush()
            os.fsync(log.fileno())
        for name in (REQUEST, LATCH, *((LOSSES,) if cause is unreadable else ())):
            (folder / name).unlink(missing_ok=True)
        sync(folder)
    return cause


def rebases(cause: Trip) -> bool:
    """Return whether losses are counted from the next start on after `cause` was released."""
    return cause.code in _REBASING


def last_rebase(folder: Path) -> int:
    """Return when the latest release that rebases was recorded, UTC ns; 0: never. A damaged line rebases nothing."""
    log, latest = folder / RELEASES, 0
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else ():
        try:
            entry = json.loads(line)
            if entry.get("rebase") is True:
                latest = int(entry["ts"])
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return latest


def status(state_dir: str | Path, env: str, account: str) -> KillStatus:
    """Return what the folder of one latch says."""
    folder = latch_dir(state_dir, env, account)
    unreadable = _unreadable_losses(folder)
    cause = _read_latch(folder) or unreadable
    log = folder / RELEASES
    releases = len(log.read_text(encoding="utf-8").splitlines()) if log.exists() else 0
    state = State.ACTIVE if cause is None else cause.state
    losses = read_losses(folder) if unreadable is None else None
    return KillStatus(env, account, state, cause, (folder / REQUEST).exists(), releases, losses)


def read_request(folder: Path) -> Trip | None:
    """Return the pending kill request in `folder`; one that cannot be read counts as a request."""
    return _read(folder / REQUEST, State.REDUCING)


def _read_latch(folder: Path) -> Trip | None:
    return _read(folder / LATCH, State.HALTED)


def _read(path: Path, otherwise: State) -> Trip | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        texts: list[str] = [data[key] for key in ("code", "reason", "who")]
        state, ts = State(data["state"]), data["ts"]
        if state is State.ACTIVE or not isinstance(ts, int) or not all(isinstance(t, str) for t in texts):
            raise ValueError("not the content of a latch")
        return Trip(state, texts[0], texts[1], texts[2], ts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Trip(otherwise, "STATE_UNREADABLE", f"{path}: {error}", "law", 0)


def _unreadable_losses(folder: Path) -> Trip | None:
    try:
        read_losses(folder)
    except (OSError, ValueError) as error:
        return Trip(State.HALTED, "STATE_UNREADABLE", f"{folder / LOSSES}: {error}", "law", 0)
    return None


def _named(who: str, why: str) -> None:
    for field, value in (("who", who), ("why", why)):
        if not value.strip():
            raise InputError(field, value, "who decides and why, not empty")
