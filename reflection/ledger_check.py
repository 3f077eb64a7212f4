"""Checking a whole ledger, as a stranger does who has nothing but the files and what he was told before."""

from pathlib import Path
from typing import NamedTuple

from alphatrade.reflection.ledger import BATCHES, FILE
from alphatrade.reflection.ledger_chain import Chain, Entry, Head
from alphatrade.reflection.merkle import merkle_root
from alphatrade.risk.errors import LedgerError


class Verdict(NamedTuple):
    """What :func:`verify` found: entries, trials, the head, who may sign, and everything that is wrong."""

    entries: int
    trials: int
    head: Head
    fingerprint: str
    members: tuple[str, ...]
    problems: tuple[str, ...]


def verify(folder: Path, fingerprint: str | None = None, known: Head | None = None) -> Verdict:
    """
    Check a whole ledger: form, chain, signatures, roster, batches; and that it is the one that was known.

    Parameters
    ----------
    folder : Path
    fingerprint : str, optional
        Of the genesis, as it was kept elsewhere.
    known : Head, optional
        An older head, as it was kept elsewhere: rewriting and a cut-off end show against it.

    Raises
    ------
    LedgerError
        If there is no ledger that can be read.
    """
    try:
        text = (folder / FILE).read_bytes()
    except OSError as error:
        raise LedgerError(str(folder), error.strerror or str(error), f"a folder with {FILE}") from error
    chain, problems = Chain(), list[str]()
    then: str | None = None
    *lines, rest = text.split(b"\n")
    for line in lines:
        try:
            entry = chain.take(line)
            if entry.kind == "batch":
                problems += _missing(folder, entry)
        except LedgerError as error:
            problems.append(str(error))
            break
        if known is not None and entry.seq == known.seq:
            then = entry.hash
    if rest and not problems:
        place = f"ledger entry {chain.head.seq + 1}"
        problems.append(f"{place}: got {len(rest)} bytes without an end, expected a whole line")
    if not lines and not problems:
        problems.append(f"{FILE}: got nothing, expected a genesis")
    if fingerprint is not None and chain.fingerprint != fingerprint:
        problems.append(f"genesis: got {chain.fingerprint or 'none'}, expected {fingerprint}")
    if known is not None and then != known.hash:
        found = "no such entry: the end was cut off" if then is None else f"{then}: it was rewritten"
        problems.append(f"head {known.seq}: got {found}, expected {known.hash}")
    members = tuple([f"{m.name} ({m.role})" for m in chain.roster.members])
    return Verdict(chain.head.seq + 1, chain.trials, chain.head, chain.fingerprint, members, tuple(problems))


def _missing(folder: Path, entry: Entry) -> list[str]:
    """Return what is wrong with the trials of a batch."""
    path = folder / BATCHES / f"{entry.body['root']}.jsonl"
    try:
        *lines, rest = path.read_bytes().split(b"\n")
    except OSError:
        return [f"ledger entry {entry.seq}: got no {path.name}, expected the {entry.body['n']} trials of its batch"]
    if rest or len(lines) != entry.body["n"] or merkle_root(lines) != entry.body["root"]:
        return [f"{path.name}: got {len(lines)} other trials, expected the {entry.body['n']} of entry {entry.seq}"]
    return []
