"""What an audit archive has beside runs: the ledger and views of it, dossiers, drills, latches, alerts, comparisons."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from alphatrade.evolution.dossier import sha, unpack
from alphatrade.nodes.audit.tables import Span
from alphatrade.nodes.dossier import DRILL
from alphatrade.nodes.dossier import FOLDER as DOSSIERS
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_chain import Chain, Entry
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.ledger_files import FILE
from alphatrade.risk.errors import InputError, LedgerError
from alphatrade.risk.kill import ENVIRONMENTS, LATCH, RELEASES

VIEWS = {
    "signoffs.jsonl": ("signoff", "stage", "limited_live", "revocation", "roster"),
    "operators.jsonl": ("operator", "rollback"),
}
UNREADABLE = "unreadable"  # sha256 of what should be JSON, and is not
ALERTS, RECONCILED = "alerts.jsonl", "reconcile.json"


class Kept(NamedTuple):
    """A ledger as it was at one moment: its members, its chain, its entries, their lines."""

    members: dict[str, bytes]
    chain: Chain
    entries: list[Entry]
    lines: list[bytes]


@contextmanager
def beside() -> Iterator[Path]:
    """
    Give a folder for a while, where temporary files are.

    Raises
    ------
    InputError
        If there is none that can be written, not enough room in it, or something cannot be read meanwhile.
    """
    try:
        with TemporaryDirectory(prefix="alphatrade-audit-") as place:
            yield Path(place)
    except OSError as error:
        where = str(error.filename or "temporary files")
        raise InputError(
            where, error.strerror or str(error), "files that can be read, and room for a copy of them: set $TMPDIR"
        ) from None


def ledger_of(folder: Path) -> Kept:
    """
    Return the whole ledger with all that its entries name.

    Raises
    ------
    LedgerError
        If something is wrong with it.
    """
    with beside() as copy:
        Ledger(folder).copy_to(copy)
        found = verify(copy)
        if found.problems:
            raise LedgerError(str(folder), found.problems[0], "a ledger in which nothing is wrong")
        files = sorted(path for path in copy.rglob("*") if path.suffix in (".json", ".jsonl"))
        members = {f"ledger/{path.relative_to(copy).as_posix()}": path.read_bytes() for path in files}
        chain, entries = Ledger(copy).read()
    return Kept(members, chain, entries, members[f"ledger/{FILE}"].split(b"\n")[:-1])


def copies(entries: Sequence[Entry], lines: Sequence[bytes]) -> dict[str, bytes]:
    """Return the lines of the ledger that people ask for first, by what they are about."""
    pairs = list(zip(entries, lines, strict=True))
    return {
        name: b"".join(line + b"\n" for entry, line in pairs if entry.kind in kinds) for name, kinds in VIEWS.items()
    }


def dossiers_of(artifacts: Path, entries: Sequence[Entry]) -> tuple[dict[str, bytes], list[str]]:
    """Return the dossiers that moves between stages name, and a line for each that is not here any more."""
    named = {one.body["dossier"]: one.seq for one in entries if one.kind == "stage" and one.body["dossier"]}
    found = {}
    for path in sorted(artifacts.glob(f"*/{DOSSIERS}/*.zip")) if named else ():
        try:
            data = path.read_bytes()
        except OSError:
            continue  # as if it were not there, which is said
        if sha(data) in named:
            found[sha(data)] = data
    missing = [f"the dossier of entry {seq}, {one}: not below {artifacts.name}" for one, seq in named.items()
               if one not in found]  # fmt: skip
    return {f"dossiers/{name}.zip": data for name, data in found.items()}, missing


def kill_drills(dossiers: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Return the kill drill of each dossier."""
    found = []
    for name, data in sorted(dossiers.items()):
        members = unpack(data, name)
        policy = json.loads(members["manifest.json"])["policy_hash"]
        found.append({"dossier": name, "policy_hash": policy, "drill": json.loads(members[DRILL])})
    return found


def latches(state: Path) -> list[dict[str, Any]]:
    """Return the latch of each account and every release of it."""
    found = []
    for env in ENVIRONMENTS:
        for folder in sorted(path for path in (state / env).glob("*") if path.is_dir()):
            latch, releases = _json(folder / LATCH), list(_lines(folder / RELEASES))
            if latch is not None or releases:
                found.append({"env": env, "account": folder.name, "latch": latch, "releases": releases})
    return found


def alerts_of(state: Path, span: Span) -> Iterator[dict[str, Any]]:
    """Yield the alerts that live nodes have written down in a span; a line that is none, by its hash."""
    for path in sorted((state / "live").glob(f"*/{ALERTS}")):
        for one in _lines(path):
            if UNREADABLE in one or span.has(int(one["ts"])):
                yield {"account": path.parent.name, **one}


def reconciled(artifacts: Path, span: Span) -> Iterator[dict[str, Any]]:
    """Yield what live nodes have found in a span when they compared themselves with their venues."""
    for day in span.folders(artifacts):
        for path in sorted((day / "live").glob(f"*/{RECONCILED}")):
            yield {"day": day.name, "account": path.parent.name, "report": _json(path)}


def _json(path: Path) -> Any:
    data = _read(path)
    try:
        return json.loads(data) if data else None
    except (ValueError, RecursionError):
        return {UNREADABLE: sha(data)}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield lines; one that was cut off, as on a full disk, must not keep all others from whoever audits."""
    for line in _read(path).splitlines():
        try:
            yield {"ts": str(int((one := json.loads(line))["ts"])), **one}
        except (LookupError, RecursionError, TypeError, ValueError):
            yield {UNREADABLE: sha(line)}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise InputError(str(path), error.strerror or str(error), "a file that can be read") from None
