"""What lies beside a ledger: the trials of its batches and the verdicts on promotions, named by their hashes."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alphatrade.reflection.ledger_bodies import Trial, leaf
from alphatrade.reflection.ledger_chain import Entry, dumped
from alphatrade.reflection.merkle import merkle_root
from alphatrade.risk.errors import LedgerError

FILE, LOCK, BATCHES, VERDICTS = "ledger.jsonl", "ledger.lock", "batches", "verdicts"


def beside(entry: Entry) -> list[str]:
    """Return what an entry names beside the ledger, as paths in its folder."""
    if entry.kind == "batch":
        return [f"{BATCHES}/{entry.body['root']}.jsonl"]
    return [f"{VERDICTS}/{entry.body['verdict']}.json"] if entry.kind == "stage" and entry.body["verdict"] else []


def copied(folder: Path, path: str, to: Path) -> None:
    """Copy a file that lies beside a ledger."""
    (to / path).parent.mkdir(exist_ok=True)
    try:
        shutil.copyfile(folder / path, to / path)
    except FileNotFoundError:
        raise LedgerError(str(folder / path), "nothing", "the file that an entry of the ledger names") from None


def verdict_hash(verdict: Mapping[str, Any]) -> str:
    """Return the sha256 of a verdict's canonical JSON."""
    return hashlib.sha256(dumped(dict(verdict))).hexdigest()


def read_batch(folder: Path, entry: Entry) -> list[Trial]:
    """
    Return the trials of a batch, in their order.

    Raises
    ------
    LedgerError
        If they are missing, are not those of the entry, or are not well formed.
    """
    n, root, path = entry.body["n"], entry.body["root"], folder / beside(entry)[0]
    try:
        *lines, rest = path.read_bytes().split(b"\n")
    except OSError:
        expected = f"the {n} trials of the batch of entry {entry.seq}"
        raise LedgerError(path.name, "nothing", expected) from None
    if rest or len(lines) != n or merkle_root(lines) != root:
        raise LedgerError(path.name, f"{len(lines)} other trials", f"the {n} of entry {entry.seq}")
    return [leaf(line, f"{path.name} line {at}") for at, line in enumerate(lines, 1)]


def generations(folder: Path, entry: Entry, search: str) -> set[int]:
    """
    Return the generations of a search of which an entry holds trials.

    Raises
    ------
    LedgerError
        If it is a batch, as :func:`read_batch`.
    """
    if entry.kind == "trial":
        return {entry.body["generation"]} if entry.body["search"] == search else set()
    if entry.kind != "batch":
        return set()
    path = folder / beside(entry)[0]
    if path.is_file() and search.encode() not in path.read_bytes():
        return set()  # most batches of a ledger are of other searches, and those are many lines to check
    return {trial.generation for trial in read_batch(folder, entry) if trial.search == search}


def read_verdict(folder: Path, entry: Entry) -> dict[str, Any]:
    """
    Return the verdict that a ``stage`` entry names.

    Raises
    ------
    LedgerError
        If it is missing, or is not that of the entry, or does not hold for its policy.
    """
    path = folder / VERDICTS / f"{entry.body['verdict']}.json"
    try:
        text = path.read_bytes()
    except OSError:
        raise LedgerError(path.name, "nothing", f"the verdict of entry {entry.seq}") from None
    if hashlib.sha256(text).hexdigest() != entry.body["verdict"]:
        raise LedgerError(path.name, "another verdict", f"that of entry {entry.seq}")
    try:
        verdict = json.loads(text)
    except ValueError:
        verdict = None
    holds = isinstance(verdict, dict) and verdict.get("holds") is True
    if not holds or verdict.get("policy_hash") != entry.body["policy_hash"]:
        raise LedgerError(path.name, "one that does not hold", f"one that holds for the policy of entry {entry.seq}")
    assert isinstance(verdict, dict)
    return verdict
