"""The heartbeat of a running node by the wall clock: one line each second, for whoever watches it from outside.

Beats are lines of ``beats.jsonl`` in ``<state>/<env>/<account>/``, and of ``beats.jsonl.1`` and so on, which are older;
the oldest file is let go. The latest beat is the last whole line. A file of its own for it, replaced each second, would
hold the loop up: 0.9 ms in the median and 5 ms in one of a hundred were measured on ext4, against 0.06 and 0.7 ms for
a line more. Nothing is synced.

What cannot be written is counted and told, and never stops the node.
"""

import os
import resource
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import msgspec
from pydantic import BaseModel, ConfigDict, Field

HISTORY = "beats.jsonl"
FILE_BYTES, FILES = 16_000_000, 8  # about two days at 600 bytes a line
_TAIL = 65_536  # bytes; more than a line
_SECOND_NS = 10**9
_EARLY_S = 1.0  # a beat of later than now by more than this is of another clock


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a node says of itself in one second.

    Attributes
    ----------
    ts : int
        Wall clock, UTC ns.
    number : int
        Beats of this process so far, this one included.
    pid : int
        The process.
    lag_s : float
        By how much the event loop was late with this beat, seconds.
    feed_age_s : float or None
        Since the latest event of the feed, seconds; None: none is expected now, as outside of a session.
    feed_limit_s : float or None
        Age from which on this feed is silent, seconds; None: it may rest as long as it likes, as a tape.
    events, orders, fills : int
        So far: market events taken, orders sent, fills received.
    rss : int
        Resident memory, bytes.
    kill : str
        State of the kill switch.
    journal : int
        Sequence of the latest entry that is on disk.
    stages : dict
        Latency of each stage: count and quantiles in ns, as :func:`alphatrade.nodes.latency.quantiles` gives them.
    facts : dict
        What else an operator wants to see: equity, regime, topology.
    faults : tuple of str
        Mechanisms that are off or have refused something, each with its last reason; what the heartbeat itself or the
        metrics could not do a second ago.
    lost : int
        Beats before this one that could not be written; filled in by the writer.
    """

    ts: int
    number: int
    pid: int
    lag_s: float
    feed_age_s: float | None
    events: int
    orders: int
    fills: int
    rss: int
    kill: str
    journal: int
    stages: dict[str, dict[str, int]] = {}
    facts: dict[str, str] = {}
    feed_limit_s: float | None = None
    faults: tuple[str, ...] = ()
    lost: int = 0


class BeatLimits(BaseModel):
    """
    From when on a node is not well, seconds.

    Attributes
    ----------
    beat_s : float
        Age of the latest beat.
    lag_s : float
        Lag of its event loop.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    beat_s: float = Field(default=5.0, gt=0)
    lag_s: float = Field(default=2.0, gt=0)


class Ill(StrEnum):
    """In which way a node is not well."""

    NO_BEAT = "NO_BEAT"
    BEAT_OLD = "BEAT_OLD"
    BEAT_EARLY = "BEAT_EARLY"
    LOOP_LATE = "LOOP_LATE"
    FEED_OLD = "FEED_OLD"
    KILLED = "KILLED"


# A restart brings back neither a feed nor a clock, and must not come between a kill switch and its flattening.
RESTART_CURES = frozenset({Ill.NO_BEAT, Ill.BEAT_OLD, Ill.LOOP_LATE})


class Reason(NamedTuple):
    """Why a node is not well."""

    code: Ill
    text: str


def health(beat: Beat | None, now: int, limits: BeatLimits) -> list[Reason]:
    """
    Return why a node is not well; nothing if it is.

    Parameters
    ----------
    beat : Beat or None
        Its latest; None: there is none.
    now : int
        Wall clock, UTC ns.
    limits : BeatLimits
    """
    if beat is None:
        return [Reason(Ill.NO_BEAT, "no beat")]
    age = (now - beat.ts) / _SECOND_NS
    found = [Reason(Ill.BEAT_EARLY, f"beat {-age:.1f} s in the future")] if age < -_EARLY_S else []
    for code, what, value, limit in (
        (Ill.BEAT_OLD, "beat old by", age, limits.beat_s),
        (Ill.LOOP_LATE, "loop late by", beat.lag_s, limits.lag_s),
        (Ill.FEED_OLD, "feed silent for", beat.feed_age_s, beat.feed_limit_s),
    ):
        if value is not None and limit is not None and not value <= limit:
            found.append(Reason(code, f"{what} {value:.1f} s, limit {limit:g}"))
    if beat.kill != "ACTIVE":
        found.append(Reason(Ill.KILLED, f"kill switch {beat.kill}"))
    return found


def restart_helps(reasons: list[Reason]) -> bool:
    """Return whether there is a reason among these that a restart would cure."""
    return any(reason.code in RESTART_CURES for reason in reasons)


class BeatWriter:
    """
    Writes beats; called once each second by the loop that trades, so that a loop that hangs has none.

    Parameters
    ----------
    folder : Path
        Of the environment and account; made if it is missing.
    tell : callable
        Takes a line when writing begins to fail, and one when it works again.
    file_bytes, files : int
        Size at which a file of the history is closed, and how many are kept, at least two.

    Attributes
    ----------
    lost : int
        Beats that could not be written, or not wholly.
    error : str
        Why the latest one could not; empty: it could.
    """

    def __init__(
        self, folder: Path, tell: Callable[[str], object], file_bytes: int = FILE_BYTES, files: int = FILES
    ) -> None:
        self._folder, self._tell = folder, tell
        self._file_bytes, self._files = file_bytes, files
        self._whole = False  # the file ends with a whole line; what an earlier process left may not
        self.lost, self.error = 0, ""

    def write(self, beat: Beat) -> None:
        """Write one; what goes wrong is in `error`."""
        error = ""
        try:
            self._append(msgspec.json.encode(msgspec.structs.replace(beat, lost=self.lost)) + b"\n")
        except Exception as trouble:  # whatever it is: the node goes on
            error = f"{type(trouble).__name__}: {trouble}"
            self.lost += 1
            self._touch()
        if bool(error) != bool(self.error):
            self._tell(f"heartbeat is not written: {error}" if error else f"heartbeat is back, {self.lost} lost")
        self.error = error

    def _append(self, line: bytes) -> None:
        path = self._folder / HISTORY
        self._folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size + len(line) > self._file_bytes:
            self._rotate(path)
        with path.open("ab", buffering=0) as file:
            text = line if self._whole or file.tell() == 0 else b"\n" + line
            self._whole = False
            if file.write(text) != len(text):
                raise OSError("no space for a whole line")
            self._whole = True

    def _rotate(self, path: Path) -> None:
        for age in range(self._files - 1, 0, -1):
            older = path.with_name(f"{HISTORY}.{age - 1}") if age > 1 else path
            if older.exists():
                older.replace(path.with_name(f"{HISTORY}.{age}"))

    def _touch(self) -> None:
        """Leave a sign of life that takes no room: a node is not restarted because its disk is full."""
        try:
            os.utime(self._folder / HISTORY)
        except OSError:
            return  # there is nothing to touch


def last_beat(folder: Path) -> Beat | None:
    """Return the latest beat of a folder; None: there is none that can be read."""
    for name in (HISTORY, f"{HISTORY}.1", HISTORY):  # a new file may be about to begin
        try:
            with (folder / name).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                lines = file.read().split(b"\n")[:-1]  # what follows the last newline is being written
        except OSError:
            continue
        for line in reversed(lines):
            if (beat := _decoded(line)) is not None:
                return beat
    return None


def mark(folder: Path) -> tuple[int, int] | None:
    """Return what changes with each beat, also with one that could not be written; None: there was none."""
    try:
        at = (folder / HISTORY).stat()
    except OSError:
        return None
    return at.st_ino, at.st_mtime_ns


def history(folder: Path) -> Iterator[Beat]:
    """Return the beats that are kept, the oldest first; lines that were cut off are left out."""
    ages = sorted((int(p.suffix[1:]) for p in folder.glob(f"{HISTORY}.*") if p.suffix[1:].isdigit()), reverse=True)
    for name in (*(f"{HISTORY}.{age}" for age in ages), HISTORY):
        try:
            file = (folder / name).open("rb")
        except FileNotFoundError:
            continue
        with file:
            yield from filter(None, map(_decoded, file))


def _decoded(line: bytes) -> Beat | None:
    try:
        return msgspec.json.decode(line, type=Beat)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def rss_bytes() -> int:
    """Return the resident memory of this process, bytes; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0
