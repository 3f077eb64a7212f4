"""A crash-safe, append-only journal of what a paper node was given: market events and commands, in their order.

A node is a deterministic function of its inputs. After a crash it is started again, reads its journal at full speed and
stands where it stood, before it takes anything new. What a record means is the node's business; here it is a kind
(0 to 65534) and bytes. What each step guarantees:

append
    The record has its place. It is in the memory of this process: kill -9 may lose it.
flush
    Everything appended was handed to the operating system: it survives kill -9, not a power cut.
sync
    Everything appended is on the disk, as far as the disk is honest: it survives a power cut.

Files in the folder: ``head.json`` (whose journal it is), segments (:mod:`alphatrade.nodes.journal_file`), ``torn-…``
(the beginning of a record that a crash cut off, put aside when the journal was opened next), ``node.lock``.

A file that was cut exactly between two records reads as a shorter journal: who keeps state elsewhere compares `count`.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any

from alphatrade.nodes.journal_file import END, HEAD_SIZE, MAX_PAYLOAD, Chain, Record, Segment, Walk, name
from alphatrade.nodes.journal_folder import (
    Torn,
    begin,
    begun,
    disk,
    put_aside,
    read_segments,
    require_next,
    require_owner,
    walked,
)
from alphatrade.risk.disk import FolderLock, sync, write_whole
from alphatrade.risk.errors import JournalError

SEGMENT_BYTES = 64 * 1024 * 1024
_BLOCK = 64 * 1024  # bytes handed over at once
_HALFWAY = "an append or a write that was interrupted"


class Journal(AbstractContextManager["Journal"]):
    """
    A journal that one process reads and appends to; see `open`.

    A write that fails, as on a full disk, raises `JournalError`, and so does every append, flush and sync from then on:
    what comes after a hole is worth nothing. What was flushed before stays.

    Attributes
    ----------
    count : int
        Records so far: the sequence number of the next one.
    flushed, synced : int
        How many of them survive kill -9, and how many a power cut.
    torn : Torn or None
        What was cut off when the journal was opened.
    """

    def __init__(self, folder: Path, lock: FolderLock, segments: list[Segment], segment_bytes: int) -> None:
        self.folder = folder
        self.torn: Torn | None = None
        self._lock, self._segments, self._limit = lock, segments, segment_bytes
        self._buffer = bytearray()
        self._failed = ""
        self._handle = -1
        walk = self._walk_last()
        self._chain = walk.chain
        self.count = self.flushed = self.synced = walk.sequence
        self._size = walk.offset
        self._handle = os.open(segments[-1].path, os.O_WRONLY | os.O_APPEND)

    @classmethod
    def open(cls, folder: Path, head: Mapping[str, Any], segment_bytes: int = SEGMENT_BYTES) -> "Journal":
        """
        Begin a journal, or open the one that is there, ready to append.

        Verified are the heads of all segments, the ends of those that are closed, and every record of the last;
        `records` verifies the rest.

        Parameters
        ----------
        folder : Path
        head : mapping
            Whose journal it is, plain JSON values: policy_hash, code_hash, account, instruments, …
        segment_bytes : int
            A segment of at least so many bytes is closed at the next write.

        Raises
        ------
        JournalError
            If it is another's, damaged, not complete, or cannot be written.
        InUseError
            If another process has it open.
        """
        lock = FolderLock(folder, use="process {} keeps this journal")
        try:
            with disk(folder):
                for leftover in folder.glob("*.tmp"):  # of a crash within `write_whole`
                    leftover.unlink()
                wanted = json.loads(json.dumps(head, allow_nan=False))
                segments = read_segments(folder)
                if not begun(segments):
                    segments = begin(folder, wanted)
                require_owner(folder, wanted, segments)
                return cls(folder, lock, segments, segment_bytes)
        except BaseException:
            lock.release()
            raise

    def append(self, kind: int, payload: bytes) -> int:
        """
        Put a record behind the last one and return its sequence number.

        Raises
        ------
        JournalError
            If a write failed, now or before, or the journal is closed.
        ValueError
            If there is no such kind, or the payload is larger than 16 MiB.
        """
        if self._failed:
            raise self._refusal()
        if not 0 <= kind < END or len(payload) > MAX_PAYLOAD:
            raise ValueError(f"kind {kind} and {len(payload)} bytes: a kind is below {END}, a payload within 16 MiB")
        sequence = self.count
        self._failed = _HALFWAY  # an exception from a signal may come between any two of these steps
        self._buffer += self._chain.frame(sequence, kind, payload)
        self.count = sequence + 1
        self._failed = ""
        if len(self._buffer) >= _BLOCK:
            self.flush()
        return sequence

    def flush(self) -> None:
        """
        Hand everything appended to the operating system: from now on it survives kill -9 of this process.

        Raises
        ------
        JournalError
            If a write failed, now or before, or the journal is closed.
        """
        if self._buffer or self._failed:
            self._guarded(self._write)
        if self._size >= self._limit and self.flushed > self._segments[-1].first:
            self._guarded(self._rotate)

    def sync(self) -> None:
        """
        Have the disk confirm everything appended: from now on it survives a power cut. Takes milliseconds.

        Raises
        ------
        JournalError
            If a write failed, now or before, or the journal is closed.
        """
        self._guarded(self._to_disk)

    def records(self) -> Iterator[Record]:
        """
        Give (sequence, kind, payload) of every record appended before this call, verified.

        Raises
        ------
        JournalError
            At what is damaged, and at the end if something is missing.
        """
        if not self._failed:
            self.flush()
        count, segments = self.flushed, list(self._segments)
        with disk(self.folder):
            for segment, following in pairwise(segments):
                walk = Walk(segment, segment.path.read_bytes())
                yield from walk
                require_next(segment, walk, following)
            last = segments[-1]
            walk = Walk(last, last.path.read_bytes())
            for record in walk:
                if record[0] >= count:  # appended since
                    return
                yield record
            if walk.sequence < count:
                raise last.damage(walk.offset, walk.sequence, "the end", f"records up to {count - 1}")

    def close(self) -> None:
        """Sync what is left and let others have the folder; a journal that failed is let go as it is."""
        if self._handle < 0:
            return
        try:
            if not self._failed:
                self.sync()
        finally:
            os.close(self._handle)
            self._handle, self._failed = -1, self._failed or "it is closed"
            self._lock.release()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _guarded(self, step: Callable[[], None]) -> None:
        if self._failed:
            raise self._refusal()
        self._failed = _HALFWAY
        try:
            step()
        except OSError as error:
            self._failed = str(error)
            raise self._refusal() from error
        self._failed = ""

    def _refusal(self) -> JournalError:
        return JournalError(str(self.folder), self._failed, "a journal that can be written")

    def _write(self) -> None:
        data = bytes(self._buffer)
        self._size += len(data)
        while data:
            data = data[os.write(self._handle, data) :]
        self._buffer.clear()
        self.flushed = self.count

    def _to_disk(self) -> None:
        self._write()
        os.fsync(self._handle)
        self.synced = self.count

    def _rotate(self) -> None:
        """Go on in a new segment. It is there before the old one says so: a crash between leaves nothing missing."""
        self._to_disk()
        path, owner = self.folder / name(self.count), self._segments[-1].owner
        following = Segment(path, self.count, owner, self._chain.value)
        write_whole(path, following.packed())
        self._buffer += self._chain.frame(self.count, END, b"")
        self._to_disk()
        handle = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.close(self._handle)
        self._handle, self._chain, self._size = handle, Chain(following), HEAD_SIZE
        self._segments.append(following)

    def _walk_last(self) -> Walk:
        """Find where the last segment ends, and cut off what a crash has left there."""
        last = self._segments[-1]
        walk = walked(last)
        if walk.torn:
            self.torn = put_aside(self.folder, last, walk)
            walk = walked(last)
        if walk.ended:
            raise JournalError(str(self.folder / name(walk.sequence)), "no such file", f"what follows {last.path.name}")
        sync(last.path)  # what a killed process has flushed may not be on the disk yet
        return walk
