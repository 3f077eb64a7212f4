"""The folder of a journal: whose it is, which segments there are and that none is missing, what a crash has left."""

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from alphatrade.nodes.journal_file import CHAIN, HEAD_SIZE, SUFFIX, Segment, Walk, closed_at, name, parse_head
from alphatrade.risk.disk import sync, write_whole
from alphatrade.risk.errors import JournalError

HEAD = "head.json"


@dataclass(frozen=True, slots=True)
class Torn:
    """What a crash left of a record: where its bytes are now, and the sequence number it would have had."""

    path: Path
    sequence: int
    size: int


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Turn an `OSError` into a `JournalError` about `folder`."""
    try:
        yield
    except OSError as error:
        raise JournalError(str(folder), str(error), "a folder that can be read and written") from error


def begin(folder: Path, head: Any) -> list[Segment]:
    """Make the files of a new journal; the one that makes it a journal comes last."""
    text = json.dumps(head, sort_keys=True, indent=1).encode()
    first = Segment(folder / name(0), 0, hashlib.sha256(text).digest(), bytes(CHAIN))
    write_whole(first.path, first.packed())
    write_whole(folder / HEAD, text)
    sync(folder.parent)
    return [first]


def begun(segments: list[Segment]) -> bool:
    """Return whether there is a record, or has been one: a journal without any is nobody's yet, whoever made it."""
    return len(segments) > 1 or any(one.path.stat().st_size > HEAD_SIZE for one in segments)


def head_of(folder: Path) -> dict[str, Any] | None:
    """Return whose journal lies in a folder; None where there is none, or nothing of it can be read."""
    try:
        found = json.loads((folder / HEAD).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def require_owner(folder: Path, head: Any, segments: list[Segment]) -> None:
    """
    Refuse the journal of another node.

    Raises
    ------
    JournalError
        That names the first field that differs.
    """
    data = (folder / HEAD).read_bytes()
    owner = hashlib.sha256(data).digest()
    for segment in segments:
        if segment.owner != owner:
            raise JournalError(f"{folder / HEAD}", "another hash", f"the head that {segment.path.name} was begun with")
    found = json.loads(data)
    for field in sorted(found.keys() | head.keys()):
        one, other = found.get(field), head.get(field)
        if json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True):  # 1 is not True here
            whose = f"{other!r}; this is the journal of another {field.removesuffix('_hash')}"
            raise JournalError(f"{folder / HEAD}, {field}", one, whose)


def read_segments(folder: Path) -> list[Segment]:
    """
    Return the heads of all segments, in their order.

    Raises
    ------
    JournalError
        If one of them is damaged, or there is a gap.
    """
    segments = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with path.open("rb") as file:
            segments.append(parse_head(path, file.read(HEAD_SIZE)))
    if ((folder / HEAD).exists() and not segments) or (segments and segments[0].first):
        raise JournalError(str(folder / name(0)), "no such file", "the first segment of the journal")
    for segment, following in pairwise(segments):
        if closed_at(segment.path) != following.first:  # rare: it was not written to its end, or one is missing
            require_next(segment, walked(segment), following)
    return segments


def require_next(segment: Segment, walk: Walk, following: Segment) -> None:
    """
    Refuse a gap between two segments, or a segment that another one followed.

    Raises
    ------
    JournalError
        With what is missing.
    """
    if walk.sequence != following.first:
        found, expected = "the last of this segment", f"record {following.first - 1} before {following.path.name}"
        raise segment.damage(walk.offset, walk.sequence - 1, found, expected)
    if walk.chain.value != following.before:
        raise segment.damage(walk.offset, walk.sequence, "another chain", f"the one that {following.path.name} goes on")


def walked(segment: Segment) -> Walk:
    """Return a segment walked to its end."""
    walk = Walk(segment, segment.path.read_bytes())
    deque(walk, maxlen=0)
    return walk


def put_aside(folder: Path, segment: Segment, walk: Walk) -> Torn:
    """Cut the beginning of a record off a segment that ends in one, and keep it in a file of its own."""
    rest = segment.path.read_bytes()[walk.offset :]
    prefix = f"torn-{walk.sequence:020d}-"
    path = folder / f"{prefix}{len(list(folder.glob(prefix + '*')))}"
    write_whole(path, rest)
    os.truncate(segment.path, walk.offset)
    return Torn(path, walk.sequence, len(rest))
