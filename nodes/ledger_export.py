"""``alphatrade ledger export``: a checked copy of a ledger in an artifacts folder, for others to keep and to verify."""

from pathlib import Path

from alphatrade.nodes.artifacts import RunFolder
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.ledger_files import BATCHES, FILE, VERDICTS
from alphatrade.risk.errors import LedgerError

NAME = "ledger"


def export_ledger(folder: Path, artifacts: Path) -> Path:
    """
    Copy a ledger into ``artifacts/<date>/ledger/``, in place of an earlier copy, and return that folder.

    Beside the ledger's own files it has ``head.txt``, as ``alphatrade ledger verify --head`` takes it, ``roster.txt``
    and ``README.txt``.

    Raises
    ------
    InputError
        If the ledger is damaged, or the folder cannot be written; an earlier copy stays then.
    """
    ledger = Ledger(folder)
    with RunFolder(artifacts, NAME) as out:
        ledger.copy_to(out.path)
        found = verify(out.path)
        if found.problems:
            raise LedgerError(str(folder), found.problems[0], "a ledger in which nothing is wrong")
        out.write_text("head.txt", f"{found.head.seq}:{found.head.hash}\n")
        chain, _ = ledger.read()
        names = [f"{m.name:20} {m.role:8} {m.public}{f' of {m.of}' if m.of else ''}" for m in chain.roster.members]
        names += [f"{name:20} revoked" for name in sorted(chain.roster.revoked)]
        out.write_text("roster.txt", "\n".join(names) + "\n")
        out.write_text("README.txt", _read_me(found.entries, found.trials, found.fingerprint))
        return out.publish(latest=False)


def _read_me(entries: int, trials: int, fingerprint: str) -> str:
    return f"""A policy ledger of AlphaTrade: {entries:,} entries, {trials:,} trials.

{FILE}      one canonical JSON entry (RFC 8785) a line: hash of the line before, Ed25519 signature
{BATCHES}/         trials, one a line; a file is named by the root of their Merkle tree (RFC 6962)
{VERDICTS}/        verdicts on promotions, named by their sha256
head.txt, roster.txt   the last entry; who may sign

fingerprint   {fingerprint}

Check it:     alphatrade ledger verify --folder . --trust FINGERPRINT --head NUMBER:HASH
The fingerprint, and an older head, mean something only if they were kept elsewhere.
"""
