"""Checking a whole ledger, as a stranger does who has nothing but the files and what he was told before."""

from pathlib import Path
from typing import NamedTuple

from alphatrade.reflection.ledger_chain import Chain, Entry, Head
from alphatrade.reflection.ledger_files import FILE, read_batch, read_verdict
from alphatrade.risk.errors import LedgerError


class Verdict(NamedTuple):
    """What :func:`verify` found: entries, trials, the head, who may sign, everything that is wrong, what was read."""

    entries: int
    trials: int
    head: Head
    fingerprint: str
    members: tuple[str, ...]
    problems: tuple[str, ...]
    chain: Chain


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
        except LedgerError as error:
            problems.append(str(error))
            break
        problems += _missing(folder, entry)
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
    return Verdict(chain.head.seq + 1, chain.trials, chain.head, chain.fingerprint, members, tuple(problems), chain)


def _missing(folder: Path, entry: Entry) -> list[str]:
    """Return what is wrong with what an entry names beside the ledger."""
    try:
        if entry.kind == "batch":
            read_batch(folder, entry)
        elif entry.kind == "stage" and entry.body["verdict"]:
            read_verdict(folder, entry)
    except LedgerError as error:
        return [str(error)]
    return []
