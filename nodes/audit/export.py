"""``alphatrade audit-export``: all that an auditor asks for, of some days, in one archive that verifies itself.

::

    artifacts/<date>/audit/<first>-<last>-<head>.zip

It is packed as a dossier is: nothing compressed, every byte follows from its members. The same state gives the same
archive. What is written was verified before, by the ``verify.py`` in it, as a stranger would.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from alphatrade.evolution.dossier import MANIFEST, SIGNATURES, dumped, pack, sha
from alphatrade.nodes.artifacts import today, unwritable
from alphatrade.nodes.audit.assessment import HTML, assessed, page
from alphatrade.nodes.audit.controls import drilled, mapped
from alphatrade.nodes.audit.known import leaks
from alphatrade.nodes.audit.records import (
    alerts_of,
    beside,
    copies,
    dossiers_of,
    kill_drills,
    latches,
    ledger_of,
    reconciled,
)
from alphatrade.nodes.audit.tables import Span, lines, portable, runs_of
from alphatrade.nodes.identity import code_hash, commit, lock_hash
from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger import Ledger
from alphatrade.risk.disk import write_whole
from alphatrade.risk.errors import InputError, LedgerError, RunDirError

FOLDER, VERIFY = "audit", "verify.py"
PURPOSE = b"alphatrade audit\n"  # no signature of anything else is one of this manifest
LARGEST = 2**31  # bytes: beyond it a zip file is of another kind
LEFT_OUT = "marks, beliefs, journals, pages: only their sha256, in runs/*/files.json"
READ_ME = """An audit archive of AlphaTrade: what was decided, sent, filled and signed in some days, and who says so.

Verify it with Python 3.10 or later and nothing else:

    python -I -S verify.py <this archive> --trust <file of public keys> --fingerprint <of the ledger>

Use a verify.py that you did not take from this archive: its sha256 is {verify}.

manifest.json    sha256 of every other member, of which code, which days, what was left out
signatures.json  who has signed the manifest: Ed25519 over "alphatrade audit", a line feed and its bytes
ledger/          the whole ledger from its genesis on, with trials and verdicts
signoffs.jsonl   of the ledger: who let what go up, or down; operators.jsonl: what operators did
runs/            of each run on paper or live, and of each of before that was under the same permit or left something
                 to one of them: settings, policy, whose journal, orders, fills, risk events, diary, what the auditor
                 finds; files.json has the sha256 of every file of its folder
alerts.jsonl, latches.json, reconcile.jsonl, drills.json, kill_drills.json, dossiers/
controls.json    regulation, control, code, test, last drill
assessment.html  a self-assessment in the manner of RTS 6 article 9, drawn from the above; assessment.json
Whole numbers beyond 2^53, and all amounts, are text. Times are UTC ns.
"""


class Exported(NamedTuple):
    """What was written: where, its sha256, that of the verifier, what verifying it said, whether rules were kept."""

    path: Path
    sha256: str
    verifier: str
    said: str
    kept: bool


class Places(NamedTuple):
    """Where things are: root of the artifacts, state of the nodes, the ledger."""

    artifacts: Path
    state: Path
    ledger: Path


def export(span: Span, places: Places, signers: Sequence[SigningKey], secrets: Iterable[Path] = ()) -> Exported:
    """
    Write the archive of some days.

    Parameters
    ----------
    span : Span
    places : Places
    signers : sequence of SigningKey
        The service's, and those of persons.
    secrets : iterable of Path
        Folders of secrets that must not be in it.

    Raises
    ------
    InputError
        If the ledger is damaged, a key is of nobody in its roster, a secret is in what would be written, it would be
        too large, or cannot be written; nothing is then.
    """
    roster = Ledger(places.ledger).chain.roster
    named = sorted((roster.whose(key).name, key) for key in {key.public: key for key in signers}.values())
    members, facts = gathered(span, places)
    for name, where in leaks(members, places.state, secrets):
        raise InputError(f"audit archive, {name}", where, "no secret in what is handed to others: nothing was written")
    data = sealed(members, facts, named)
    if len(data) >= LARGEST:
        raise InputError("audit archive", f"{len(data):,} bytes", f"fewer than {LARGEST:,}: take fewer days")
    path = today(places.artifacts, FOLDER) / f"{span.first}-{span.last}-{facts['head'].partition(':')[2][:8]}.zip"
    said, code = asked(data, facts["fingerprint"], facts["head"])
    if "NOT GENUINE" in said.splitlines() or code not in (0, 1):
        raise LedgerError(
            "audit archive", said.splitlines()[0], "one that its own verify.py takes; nothing was written"
        )
    try:
        if path.exists() and (before := path.read_bytes()) != data:  # somebody may have been given that one: it stays
            path.rename(path.with_name(f"{path.stem}-{sha(before)[:12]}.zip"))
        write_whole(path, data)
    except OSError as error:
        raise unwritable(path, error) from error
    return Exported(path, sha(data), sha(members[VERIFY]), said, code == 0)


def gathered(span: Span, places: Places) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the members but for manifest and signatures, and what the manifest says beside their hashes."""
    taken, ledger = runs_of(places.artifacts, span), ledger_of(places.ledger)
    dossiers, missing = dossiers_of(places.artifacts, ledger.entries)
    results = [portable(one) for one in drilled(places.artifacts)]
    verifier = (Path(str(files("alphatrade.nodes"))) / "data" / VERIFY).read_bytes()
    left_out = [LEFT_OUT, *taken.left_out, *missing]
    members = {
        **ledger.members, **taken.members, **dossiers, **copies(ledger.entries, ledger.lines), VERIFY: verifier,
        "README.txt": READ_ME.format(verify=sha(verifier)).encode(),
        "alerts.jsonl": lines(alerts_of(places.state, span)),
        "latches.json": dumped(portable(latches(places.state))),
        "reconcile.jsonl": lines(reconciled(places.artifacts, span)),
        "drills.json": dumped(results), "kill_drills.json": dumped(kill_drills(dossiers)),
        "controls.json": dumped(portable(mapped(results))),
    }  # fmt: skip
    told_then = any(span.has(entry.ts) for entry in ledger.entries)
    if not (taken.runs or taken.left_out or told_then or members["alerts.jsonl"] or members["reconcile.jsonl"]):
        expected = "days in which there was a run, an alert, or an entry of the ledger"
        raise InputError("days", f"{span.first} to {span.last}: nothing", expected)
    told = assessed(members, ledger.chain, ledger.entries, span, left_out)
    members["assessment.json"], members[HTML] = dumped(told), page(told, members, ledger.entries).encode()
    head, version = ledger.entries[-1], sys.version_info
    facts = {
        "schema_version": 1, "kind": "alphatrade audit", "first": span.first.isoformat(),
        "last": span.last.isoformat(), "code_hash": code_hash(), "lock_hash": lock_hash(), "commit": commit(),
        "python": f"{version.major}.{version.minor}", "fingerprint": ledger.entries[0].hash,
        "head": f"{head.seq}:{head.hash}", "left_out": left_out,
    }  # fmt: skip
    return members, facts


def sealed(members: Mapping[str, bytes], facts: Mapping[str, Any], signers: Iterable[tuple[str, SigningKey]]) -> bytes:
    """Return the archive: members, their manifest, and its signatures."""
    manifest = dumped({**facts, "members": {name: sha(data) for name, data in members.items()}})
    signed = [{"name": name, "public": key.public, "sig": key.sign(PURPOSE + manifest)} for name, key in signers]
    return pack({**members, MANIFEST: manifest, SIGNATURES: dumped(signed)})


def asked(data: bytes, fingerprint: str, head: str) -> tuple[str, int]:
    """Return what the verifier of an archive says of it, run as a stranger runs it, and its exit code."""
    with beside() as place:
        archive, verifier = place / "audit.zip", place / VERIFY
        archive.write_bytes(data)
        verifier.write_bytes((Path(str(files("alphatrade.nodes"))) / "data" / VERIFY).read_bytes())
        words = [sys.executable, "-I", "-S", str(verifier), str(archive), "--fingerprint", fingerprint, "--head", head]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    said = re.sub(r"^entry [0-9,]+$\n?", "", done.stdout, flags=re.M).strip()
    if not said:
        raise RunDirError("verify.py", done.stderr.strip()[-300:], "a verdict")
    return said, done.returncode
