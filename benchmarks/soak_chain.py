"""The checkpoints of a soak: signed lines, each naming the hash of the one before, and what they say of other files.

A checkpoint is a line as those of a ledger (:mod:`alphatrade.reflection.ledger_chain`): canonical JSON, Ed25519. It
names how long the files beside it were, and the sha256 of so much of them, so that no sample can be changed later.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alphatrade.reflection.keys import SigningKey, signed
from alphatrade.reflection.ledger_chain import START, Head, dumped, sealed
from alphatrade.risk.errors import LedgerError

FILE = "checkpoints.jsonl"
JOURNAL = "journal"


def parts(folder: Path, name: str) -> list[Path]:
    """Return the files behind a name: a file, or the segments of the journal."""
    return sorted((folder / JOURNAL).glob("*.journal")) if name == JOURNAL else [folder / name]


def digest(folder: Path, name: str, size: int | None = None) -> dict[str, Any]:
    """Return how many bytes there are behind a name, or the first `size`, and their sha256."""
    found, count = hashlib.sha256(), 0
    for path in parts(folder, name):
        data = path.read_bytes() if path.is_file() else b""
        data = data if size is None else data[: size - count]
        found.update(data)
        count += len(data)
    return {"bytes": count, "sha256": found.hexdigest()}


class Checkpoints:
    """
    Writes checkpoints.

    Parameters
    ----------
    folder : Path
        Of the soak.
    key : SigningKey
    name : str
        Whose key it is.
    """

    def __init__(self, folder: Path, key: SigningKey, name: str) -> None:
        self._folder, self._key, self._name = folder, key, name
        self._head = START

    def add(self, kind: str, body: Mapping[str, Any]) -> None:
        """Add a checkpoint, signed now, durably."""
        line = sealed(self._head, time.time_ns(), kind, body, self._name, self._key)
        with (self._folder / FILE).open("ab") as file:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._head = Head(self._head.seq + 1, hashlib.sha256(line).hexdigest())


def read(folder: Path) -> list[dict[str, Any]]:
    """Return all checkpoints, unverified."""
    return [json.loads(line) for line in (folder / FILE).read_bytes().splitlines()]


def verify(folder: Path, public: str) -> list[str]:
    """
    Return everything that is wrong with the checkpoints of a soak and the files that they name; nothing if all is well.

    Parameters
    ----------
    folder : Path
    public : str
        Public key of who has signed, as it was told elsewhere.
    """
    try:
        *lines, rest = (folder / FILE).read_bytes().split(b"\n")
    except OSError as error:
        return [f"{FILE}: {error.strerror}"]
    problems = [f"{FILE}: got {len(rest)} bytes without an end, expected a whole line"] if rest else []
    head, kinds = START, list[str]()
    for line in lines:
        where = f"checkpoint {head.seq + 1}"
        plain = _plain(line)
        if plain is None:
            return [*problems, f"{where}: got another line, expected a signed one in canonical JSON"]
        unsigned = {name: value for name, value in plain.items() if name != "sig"}
        if not signed(public, plain.get("sig"), dumped(unsigned)):
            return [*problems, f"{where}: got a wrong signature, expected one by {public}"]
        if plain["prev"] != head.hash or plain["seq"] != head.seq + 1:
            problems.append(f"{where}: it does not follow the one before")
        kinds.append(plain["kind"])
        problems += _files(folder, where, plain["body"].get("files", {}))
        head = Head(head.seq + 1, hashlib.sha256(line).hexdigest())
    if kinds[:1] != ["begin"] or kinds[-1] != "end":
        problems.append(f"{FILE}: got {kinds[:1]} to {kinds[-1:]}, expected all from the beginning to the end")
    return problems


def _plain(line: bytes) -> dict[str, Any] | None:
    try:
        plain = json.loads(line)
        same = isinstance(plain, dict) and dumped(plain) == line and isinstance(plain.get("body"), dict)
    except (ValueError, LedgerError):
        return None
    return plain if same else None


def _files(folder: Path, where: str, files: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    return [
        f"{where}: {name} is not what it was, up to byte {told['bytes']}"
        for name, told in files.items()
        if digest(folder, name, int(told["bytes"])) != told
    ]
