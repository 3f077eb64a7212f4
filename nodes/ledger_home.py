"""The ledger of a machine, with its keys; both are made on first use by whoever has something to record.

::

    $ALPHATRADE_LEDGER, else <state>/ledger   the ledger
    <state>/keys/root.pem                     changes the roster
                /person.pem                   "owner", who promotes
                /service.pem                  "service", with which programs record on the owner's behalf
"""

import fcntl
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphatrade.risk.errors import LedgerError

if TYPE_CHECKING:
    from alphatrade.reflection.keys import SigningKey
    from alphatrade.reflection.ledger import Ledger
    from alphatrade.reflection.ledger_chain import Entry

ROOT, PERSON, SERVICE = "root", "person", "service"
NAMES = {ROOT: "root", PERSON: "owner", SERVICE: "service"}


def ledger_dir(folder: Path | None = None) -> Path:
    """Return the folder of the ledger: the one given, ``$ALPHATRADE_LEDGER``, or ``ledger`` in the state folder."""
    from alphatrade.nodes.app import state_root

    named = os.environ.get("ALPHATRADE_LEDGER", "")
    return folder or (Path(named).expanduser() if named else state_root() / "ledger")


def key_file(whose: str) -> Path:
    """Return the file of one of this machine's keys: root, person or service."""
    from alphatrade.nodes.app import state_root

    return state_root() / "keys" / f"{whose}.pem"


def public_keys(ledger: "Ledger") -> Path:
    """Write the public keys of a ledger's members beside this machine's own keys, to be given to others."""
    file = key_file(ROOT).with_name("public.txt")
    lines = [f"{member.public}  {member.role} {member.name}" for member in ledger.chain.roster.members]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


class Home:
    """
    A ledger, and a key with which this machine writes into it.

    Parameters
    ----------
    ledger : Ledger
    key : SigningKey

    Raises
    ------
    LedgerError
        If the key is of nobody who may sign.
    """

    def __init__(self, ledger: "Ledger", key: "SigningKey") -> None:
        name = ledger.chain.roster.holder(key.public)
        if not name:
            by = "`alphatrade ledger add` by one of its roots"
            raise LedgerError("key", key.public, f"one in the roster of {ledger.folder}: {by}")
        ledger.chain.roster.of(name)
        self.ledger, self._key = ledger, key

    def entries(self) -> "list[Entry]":
        """Return all entries, the end mended first; see :meth:`~alphatrade.reflection.ledger.Ledger.mended`."""
        return self.ledger.mended()

    def person(self) -> str:
        """Return the name of the person whose key this is. Raises `LedgerError` if it is a service's or a root's."""
        roster = self.ledger.chain.roster
        member = roster.of(roster.holder(self._key.public))
        if member.role != PERSON:
            raise LedgerError("key", member.name, "one of a person, who alone can sign off")
        return member.name

    def begun_within(self, seconds: float) -> int:
        """Return how many changes of policies were begun within the last seconds, by the times of their entries."""
        return self.ledger.chain.feedback.changes_since(time.time_ns() - int(seconds * 1e9))

    def append(self, kind: str, body: Mapping[str, Any]) -> "Entry":
        """Add an entry, signed now; see :meth:`~alphatrade.reflection.ledger.Ledger.append`."""
        return self.ledger.append(kind, body, self._key, time.time_ns())

    def append_once(self, kind: str, body: Mapping[str, Any]) -> "Entry":
        """Add an entry, signed now, unless there is one with this body."""
        return self.ledger.append_once(kind, body, self._key, time.time_ns())

    def append_batch(self, leaves: Sequence[Mapping[str, Any]]) -> "Entry":
        """Add trials as one entry, signed now."""
        return self.ledger.append_batch(leaves, self._key, time.time_ns())

    def append_generation(self, leaves: Sequence[Mapping[str, Any]]) -> "Entry":
        """Add a generation of a search, signed now, unless it is there."""
        return self.ledger.append_generation(leaves, self._key, time.time_ns())

    def append_stage(self, body: Mapping[str, Any], verdict: Mapping[str, Any] | None = None) -> "Entry":
        """Add a move between stages, signed now."""
        return self.ledger.append_stage(body, self._key, time.time_ns(), verdict)


def existing(key: Path | None = None, folder: Path | None = None) -> Home:
    """
    Return the ledger of this machine, which has to be there.

    Parameters
    ----------
    key : Path, optional
        Private key to sign with; none: that of the service.
    folder : Path, optional

    Raises
    ------
    LedgerError
        If there is none, it is damaged, or the key is missing or of nobody who may sign.
    """
    from alphatrade.reflection.keys import SigningKey
    from alphatrade.reflection.ledger import Ledger

    return Home(Ledger(ledger_dir(folder)), SigningKey.load(key or key_file(SERVICE)))


def home(folder: Path | None = None) -> Home:
    """
    Return the ledger of this machine and its service; on first use make keys and ledger, and tell the fingerprint.

    Parameters
    ----------
    folder : Path, optional
        Of a ledger of its own; none: see :func:`ledger_dir`.

    Raises
    ------
    LedgerError
        If what is there is damaged or foreign, or nothing can be written.
    """
    from alphatrade.reflection.keys import SigningKey
    from alphatrade.reflection.ledger import Ledger
    from alphatrade.reflection.ledger_files import FILE

    folder = ledger_dir(folder)
    with _alone(key_file(ROOT).parent):
        if not (folder / FILE).is_file():
            root = _key(ROOT)
            made = Ledger.create(folder, root, NAMES[ROOT], time.time_ns())
            print(f"alphatrade: made a ledger, {folder}, with keys in {key_file(ROOT).parent}", file=sys.stderr)
            print(f"alphatrade: its fingerprint, to keep elsewhere: {made.chain.fingerprint}", file=sys.stderr)
        ledger = Ledger(folder)
        if key_file(ROOT).is_file():
            _complete(ledger, SigningKey.load(key_file(ROOT)))
    return existing(folder=folder)


def _complete(ledger: "Ledger", root: "SigningKey") -> None:
    """Add the members that a ledger of this machine has from the beginning: its making may have been interrupted."""
    roster = ledger.chain.roster
    first = roster.named(NAMES[ROOT])
    if first is None or first.public != root.public:
        return  # somebody else's, who decides who may sign
    for whose in (PERSON, SERVICE):
        if ledger.chain.roster.named(NAMES[whose]) is None:
            member = {"name": NAMES[whose], "role": whose, "public": _key(whose).public}
            owner = {"of": NAMES[PERSON]} if whose == SERVICE else {}
            ledger.append("roster", {"add": member | owner}, root, time.time_ns())


def _key(whose: str) -> "SigningKey":
    """Return one of this machine's keys, made if it is missing; a crash leaves a whole one or none."""
    from alphatrade.reflection.keys import SigningKey

    file = key_file(whose)
    if not file.is_file():
        beside = file.with_suffix(".new")
        beside.unlink(missing_ok=True)
        SigningKey.generate(beside)
        beside.rename(file)
    return SigningKey.load(file)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine out while keys and ledger are looked for."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise LedgerError(str(folder), error.strerror or str(error), "a folder that can be written") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
