"""The bytes of a journal: segments of framed, chained records, how they are written and how they are verified.

A segment is named after its first sequence number, ``<20 digits>.journal``, and holds::

    head     magic, first sequence, hash of the journal's head, chain value before it, check of all that
    records  length u32, kind u16, sequence u64, crc32 of these three, payload, chain value (8 bytes)
    end      a record of kind END, once there is a next segment: deleting that one is noticed

The chain value is a running blake2b over everything in the segment so far, whose head holds the last value of the
segment before: a byte changed, a record lost, doubled or swapped, or a segment of another journal breaks it. The crc32
of the frame tells a record that was not written to its end from one whose length was changed since.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from zlib import crc32

from alphatrade.risk.errors import JournalError

type Record = tuple[int, int, bytes]  # sequence, kind, payload

SUFFIX = ".journal"
END = 0xFFFF  # the kind that closes a segment
MAX_PAYLOAD = 16 * 1024 * 1024
CHAIN = 8  # bytes of a chain value

_MAGIC = b"ATJRNL1\n"
_HEAD = struct.Struct(f"<8sQ32s{CHAIN}s")
HEAD_SIZE = _HEAD.size + CHAIN
_FRAME = struct.Struct("<IHQ")
_CRC = 4
_SMALLEST = _FRAME.size + _CRC + CHAIN
_SECTOR = 512  # what a disk writes whole or not at all


@dataclass(frozen=True, slots=True)
class Segment:
    """
    The head of a segment.

    Attributes
    ----------
    path : Path
    first : int
        Sequence number of its first record.
    owner : bytes
        Hash of the journal's head, 32 bytes.
    before : bytes
        Chain value of the last record before it.
    """

    path: Path
    first: int
    owner: bytes
    before: bytes

    def packed(self) -> bytes:
        """Return the bytes that a segment begins with."""
        fields = _HEAD.pack(_MAGIC, self.first, self.owner, self.before)
        return fields + _digest(fields)

    def damage(self, offset: int, sequence: int, found: str, expected: str) -> JournalError:
        """Return the error that says where this segment is damaged."""
        return JournalError(f"{self.path}, byte {offset}, record {sequence}", found, expected)


def name(first: int) -> str:
    """Return the file name of the segment that begins with a sequence number."""
    return f"{first:020d}{SUFFIX}"


def parse_head(path: Path, data: bytes) -> Segment:
    """
    Return the head of a segment.

    Raises
    ------
    JournalError
        If it is not one, or not that of the name it has.
    """
    fields, check = data[: _HEAD.size], data[_HEAD.size : HEAD_SIZE]
    if len(data) < HEAD_SIZE or check != _digest(fields):
        raise JournalError(f"{path}, byte 0", "a head that is damaged", "the head of a segment of a journal")
    magic, first, owner, before = _HEAD.unpack(fields)
    if magic != _MAGIC:
        raise JournalError(f"{path}, byte 0", magic, f"{_MAGIC!r}, the format this version reads")
    if path.name != name(first):
        raise JournalError(str(path), "another name", f"{name(first)}, the name of a segment that begins there")
    return Segment(path, first, owner, before)


def closed_at(path: Path) -> int | None:
    """Return the sequence number with which a segment says that the next one begins; None: it does not say."""
    with path.open("rb") as file:
        file.seek(max(HEAD_SIZE, path.stat().st_size - _SMALLEST))
        fields, check = file.read(_FRAME.size), file.read(_CRC)
    if check != crc32(fields).to_bytes(_CRC, "little"):
        return None
    length, kind, sequence = _FRAME.unpack(fields)
    return int(sequence) if (length, kind) == (0, END) else None


class Chain:
    """
    Turns records into bytes, one after the other.

    Parameters
    ----------
    segment : Segment
        Where they will stand.

    Attributes
    ----------
    running : blake2b
        Over everything in the segment so far.
    value : bytes
        Chain value of the last record; before the first one, of the segment's head.
    """

    def __init__(self, segment: Segment) -> None:
        self.running = blake2b(segment.packed(), digest_size=CHAIN)
        self.value = self.running.digest()

    def frame(self, sequence: int, kind: int, payload: bytes) -> bytes:
        """Return the bytes of the next record."""
        fields = _FRAME.pack(len(payload), kind, sequence)
        data = fields + crc32(fields).to_bytes(_CRC, "little") + payload
        self.running.update(data)
        self.value = value = self.running.digest()
        return data + value


class Walk:
    """
    The records of one segment, verified one by one.

    Parameters
    ----------
    segment : Segment
    data : bytes
        All of the file.

    Attributes
    ----------
    offset, sequence : int
        Once iterated: where the last whole record ends, and the number of the one after it.
    chain : Chain
        As it stands there, unless `torn`.
    ended : bool
        The segment is closed: there is a next one.
    torn : bool
        What follows `offset` is a record that was not written to its end, as a crash leaves it.
    """

    def __init__(self, segment: Segment, data: bytes) -> None:
        self._segment, self._data = segment, data
        self.offset, self.sequence, self.chain = HEAD_SIZE, segment.first, Chain(segment)
        self.ended = self.torn = False

    def __iter__(self) -> Iterator[Record]:
        """
        Give every whole record.

        Raises
        ------
        JournalError
            At the first one that is damaged.
        """
        data, size, unpack = self._data, len(self._data), _FRAME.unpack_from  # local names: this loop is the hot one
        update, digest = self.chain.running.update, self.chain.running.digest
        offset, sequence, value = self.offset, self.sequence, self.chain.value
        while offset + _SMALLEST <= size:
            length, kind, number = unpack(data, offset)
            body = offset + _FRAME.size + _CRC
            end = body + length
            if number != sequence or end + CHAIN > size:
                break
            update(data[offset:end])
            found = digest()
            if found != data[end : end + CHAIN]:
                break
            offset = end + CHAIN
            if kind == END:
                self.ended = True
                break
            value = found
            sequence += 1
            yield number, kind, data[body:end]
        self.offset, self.sequence, self.chain.value = offset, sequence, value
        if offset < size:
            self._judge(offset)

    def _judge(self, offset: int) -> None:
        """Say whether what cannot be read is damage, or the last thing in the file, not written to its end."""
        if self.ended:
            raise self._segment.damage(offset, self.sequence, "bytes after the end of a segment", "nothing")
        data, body = self._data, offset + _FRAME.size + _CRC
        fields, check = data[offset : offset + _FRAME.size], data[offset + _FRAME.size : body]
        end, cut = body, body > len(data)
        if check == crc32(fields).to_bytes(_CRC, "little"):
            length, _, number = _FRAME.unpack(fields)
            end = body + length + CHAIN
            cut = end > len(data) and number == self.sequence
        if not (cut or _unwritten(data, end)):
            raise self._segment.damage(offset, self.sequence, "a record that is damaged", "what was appended there")
        self.torn = True


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=CHAIN).digest()


def _unwritten(data: bytes, end: int) -> bool:
    """Return whether sectors of zeros begin before `end` and fill the file: a power cut can leave its length alone."""
    zeros_from = len(data.rstrip(b"\0"))
    return zeros_from < end and -(-zeros_from // _SECTOR) * _SECTOR < len(data)
