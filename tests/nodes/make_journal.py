"""Journals for tests: records that can be foretold, and a process that writes them until it is killed."""

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alphatrade.nodes.journal import Journal
from alphatrade.nodes.journal_file import SUFFIX
from alphatrade.risk.errors import JournalError
from tests.conftest import ROOT

HEAD: dict[str, Any] = {"policy_hash": "ab" * 4, "account": "A-1", "instruments": ["EUR/USD.SIM"], "format": 1}


def record(sequence: int) -> tuple[int, int, bytes]:
    """Return the record that has a sequence number in every journal of these tests."""
    drawn = hashlib.sha256(str(sequence).encode()).digest()
    return sequence, drawn[0] % 5, drawn * (drawn[1] % 3) + drawn[: drawn[2] % 32]


def fill(journal: Journal, count: int) -> None:
    for sequence in range(journal.count, journal.count + count):
        assert journal.append(*record(sequence)[1:]) == sequence


def written(folder: Path, count: int, segment_bytes: int = 2**20) -> list[Path]:
    """Write a journal, flushed after each record, and return its segments."""
    with Journal.open(folder, HEAD, segment_bytes) as journal:
        for _ in range(count):
            fill(journal, 1)
            journal.flush()
    return segments(folder)


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def read(folder: Path) -> list[tuple[int, int, bytes]]:
    with Journal.open(folder, HEAD) as journal:
        return list(journal.records())


def flips_missed(folder: Path, count: int, masks: tuple[int, ...] = (0x01, 0x80, 0xFF)) -> list[str]:
    """Change every byte of every file of a journal, one at a time; return where nothing was noticed."""
    missed = []
    for path in [folder / "head.json", *segments(folder)]:
        for at, byte in enumerate(path.read_bytes()):
            for mask in masks:
                put(path, at, byte ^ mask)
                try:
                    read(folder)
                    missed.append(f"{path.name}, byte {at}, mask {mask}")
                except JournalError as error:
                    if str(folder) not in str(error):
                        missed.append(f"does not say where: {error}")
            put(path, at, byte)
    assert len(read(folder)) == count, "undamaged again"
    return missed


def put(path: Path, at: int, byte: int) -> None:
    """Change a byte in place: to write a file anew is what takes long."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([byte]))


def child(folder: Path, seed: int) -> None:
    """Append for ever, and say how many are acknowledged after each flush; now and then by sync."""
    drawn = random.Random(seed)
    with Journal.open(folder, HEAD, 100_000) as journal:
        while True:
            fill(journal, drawn.randrange(1, 2000))
            (journal.sync if drawn.random() < 0.05 else journal.flush)()
            print(journal.flushed, flush=True)


def start(folder: Path, seed: int) -> subprocess.Popen[str]:
    call = f"from pathlib import Path; from tests.nodes.make_journal import child; child(Path({str(folder)!r}), {seed})"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", call], env=env, stdout=subprocess.PIPE, text=True)


def killed(folder: Path, seed: int) -> tuple[int, int]:
    """Kill -9 a writing process at some moment; return what it had acknowledged at last, and what is there."""
    process = start(folder, seed)
    acks = iter_acks(process)
    for _ in range(random.Random(seed).randrange(1, 60)):
        acknowledged = next(acks)
    process.kill()
    acknowledged = max([acknowledged, *acks])
    process.wait()
    return acknowledged, len(read(folder))


def iter_acks(process: subprocess.Popen[str]) -> Iterator[int]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.endswith("\n"):
            yield int(line)
