"""The policy ledger: an append-only chain of signed entries, one canonical JSON a line.

Each entry has the hash of the one before it and an Ed25519 signature of whoever is in the roster, which is itself kept
in entries: the first one, the genesis, names the first members, and its hash is the fingerprint that others keep
elsewhere. An entry that :meth:`Ledger.append` has returned is on the disk and stays there; one that a crash cut short
was never acknowledged. Writers wait for each other, and each checks what the others have added before it adds its own,
so that there is one chain however many there are, and nothing is added to a damaged one.

What this cannot show: that a whole ledger was not made up at once, or its end cut off, by somebody with the keys. For
that a head (number and hash of the last entry) has to be known to somebody else, who checks the ledger against it
(:mod:`alphatrade.reflection.ledger_check`).
"""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger_bodies import leaf
from alphatrade.reflection.ledger_chain import START, Chain, Entry, dumped, sealed
from alphatrade.reflection.ledger_disk import locked, unwritable, write_line
from alphatrade.reflection.ledger_files import BATCHES, FILE, VERDICTS, beside, copied, generations, verdict_hash
from alphatrade.reflection.merkle import merkle_root
from alphatrade.risk.disk import write_whole
from alphatrade.risk.errors import LedgerError


class Ledger:
    """
    The ledger in a folder.

    Parameters
    ----------
    folder : Path
        Of an existing ledger; :meth:`create` makes one.

    Raises
    ------
    LedgerError
        If there is none, or what it holds is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / FILE
        if not self._file.is_file():
            raise LedgerError(str(folder), "no ledger", f"a folder with {FILE}; `alphatrade ledger init` makes one")
        self._begin()
        with locked(self.folder, fcntl.LOCK_SH):
            self._catch_up()

    def _begin(self) -> None:
        self.chain, self._offset = Chain(), 0

    @classmethod
    def create(cls, folder: Path, key: SigningKey, name: str, ts: int) -> "Ledger":
        """
        Make a ledger with one root.

        Parameters
        ----------
        folder : Path
            Made if it is missing.
        key : SigningKey
        name : str
            Whose key it is.
        ts : int
            Now, UTC ns.

        Raises
        ------
        LedgerError
            If there is a ledger already, or the folder cannot be written.
        """
        body = {"roster": [{"name": name, "role": "root", "public": key.public}]}
        line = sealed(START, ts, "genesis", body, name, key)
        Chain().take(line)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder, fcntl.LOCK_EX):  # whoever makes one takes it: none is written over
                if (folder / FILE).exists():
                    raise LedgerError(str(folder), "one that is there", "a writable folder without a ledger")
                write_whole(folder / FILE, line + b"\n")  # an empty file could be neither made nor added to
        except OSError as error:
            raise unwritable(str(folder), error, "a writable folder without a ledger") from error
        return cls(folder)

    def append(self, kind: str, body: Mapping[str, Any], key: SigningKey, ts: int) -> Entry:
        """
        Add an entry; when this returns, it is durable.

        Parameters
        ----------
        kind : str
            One of `MAY`.
        body : mapping
            Plain values: text, whole numbers below 2^53, finite floats, lists, mappings.
        key : SigningKey
            Of a member who may sign this kind.
        ts : int
            Now, UTC ns.

        Raises
        ------
        LedgerError
            If the key may not sign it, the ledger is damaged, or it cannot be written; nothing is added then.
        """
        with self._alone():
            return self._add(kind, body, key, ts)

    def append_once(self, kind: str, body: Mapping[str, Any], key: SigningKey, ts: int) -> Entry:
        """Add an entry as :meth:`append`, or return the one that has the same body: of two writers, one adds it."""
        with self._alone():
            same = [one for one in self._taken() if one.kind == kind and dumped(one.body) == dumped(dict(body))]
            return same[0] if same else self._add(kind, body, key, ts)

    def append_batch(self, leaves: Sequence[Mapping[str, Any]], key: SigningKey, ts: int) -> Entry:
        """
        Add many trials as one entry that holds the root of their Merkle tree; they lie beside the ledger.

        Raises
        ------
        LedgerError
            As :meth:`append`; and if there are none.
        """
        lines = _lines(leaves)
        with self._alone():
            return self._add_batch(lines, key, ts)

    def append_generation(self, leaves: Sequence[Mapping[str, Any]], key: SigningKey, ts: int) -> Entry:
        """
        Add the trials of a generation of a search as :meth:`append_batch`, or return the entry that has them.

        Raises
        ------
        LedgerError
            As :meth:`append_batch`; and if other trials of that generation are entered: it would count twice.
        """
        root = merkle_root(lines := _lines(leaves))
        search, generation = leaves[0]["search"], leaves[0]["generation"]
        assert all((one["search"], one["generation"]) == (search, generation) for one in leaves)
        with self._alone():
            there = [one for one in self._taken() if generation in generations(self.folder, one, search)]
            if same := [one for one in there if one.kind == "batch" and one.body["root"] == root]:
                return same[0]
            if there:
                found, held = (f"root {one[:12]}" for one in (root, there[0].body.get("root", "none")))
                expected = f"{held} of entry {there[0].seq}: take the outcomes that were entered, or another seed"
                raise LedgerError(f"search {search[:12]}, generation {generation}", found, expected)
            return self._add_batch(lines, key, ts)

    def append_stage(
        self, body: Mapping[str, Any], key: SigningKey, ts: int, verdict: Mapping[str, Any] | None = None
    ) -> Entry:
        """
        Add a move between stages; the verdict on a promotion is kept beside the ledger, and the entry holds its hash.

        It is not judged here: who promotes has computed it (:mod:`alphatrade.nodes.promote_stage`).

        Raises
        ------
        LedgerError
            As :meth:`append`; and if the verdict does not hold, or is on another policy.
        """
        if verdict is None:
            return self.append("stage", dict(body) | {"verdict": ""}, key, ts)
        for field, expected in (("holds", True), ("policy_hash", body.get("policy_hash"))):
            found = verdict.get(field)
            if type(found) is not type(expected) or found != expected:
                raise LedgerError(f"verdict.{field}", found, f"{expected}: nobody goes up without")
        named = dict(body) | {"verdict": verdict_hash(verdict)}
        with self._alone():
            self._keep(VERDICTS, f"{named['verdict']}.json", dumped(dict(verdict)).decode())
            return self._add("stage", named, key, ts)

    def read(self, whole: bool = True) -> tuple[Chain, list[Entry]]:
        """
        Return the chain as it is now and all its entries; each is checked again.

        Parameters
        ----------
        whole : bool, default True
            Refuse an end that was cut short; the next writer puts it aside.

        Raises
        ------
        LedgerError
            If it is damaged.
        """
        with locked(self.folder, fcntl.LOCK_SH):
            text = self._file.read_bytes()
        chain, (*lines, rest) = Chain(), text.split(b"\n")
        if rest and whole:
            expected = "a whole last entry; the next one that is added puts aside what a crash has cut short"
            raise LedgerError(str(self._file), f"{len(rest)} bytes without an end", expected)
        entries = [chain.take(line) for line in lines]
        return chain, entries

    def mended(self) -> list[Entry]:
        """
        Return all entries, for a writer that asks before it adds: an end that a crash cut short is dealt with first.

        Raises
        ------
        LedgerError
            If it is damaged, or cannot be written.
        """
        with self._alone():
            return self._taken()

    def entries(self) -> list[Entry]:
        """Return all entries; each is checked again."""
        return self.read()[1]

    def copy_to(self, folder: Path) -> None:
        """
        Copy the ledger, with all that its entries name, into an empty folder, as it is at one moment.

        Raises
        ------
        LedgerError
            If it is damaged, or something that it names is missing.
        """
        with locked(self.folder, fcntl.LOCK_SH):
            text = self._file.read_bytes()
        chain = Chain()
        for line in text.split(b"\n")[:-1]:
            for path in beside(chain.take(line)):
                copied(self.folder, path, folder)
        (folder / FILE).write_bytes(text)

    # -- the files

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other writers out; what they have added is taken, and an end cut short dealt with."""
        with locked(self.folder, fcntl.LOCK_EX):
            try:
                self._mend()
                yield
            except OSError as error:
                raise unwritable(str(self._file), error, "a file that can be written") from error

    def _taken(self) -> list[Entry]:
        """Return all entries, for who is alone."""
        chain = Chain()
        return [chain.take(line) for line in self._file.read_bytes().split(b"\n")[:-1]]

    def _add(self, kind: str, body: Mapping[str, Any], key: SigningKey, ts: int) -> Entry:
        """Add an entry, for who is alone."""
        name = self.chain.roster.whose(key).name
        line = sealed(self.chain.head, ts, kind, body, name, key)
        trial = self.chain.copy()
        entry = trial.take(line)  # whatever a reader would refuse is not written
        handle = os.open(self._file, os.O_WRONLY | os.O_APPEND)
        try:
            write_line(handle, line + b"\n", self._offset)
        finally:
            os.close(handle)
        self.chain = trial
        self._offset += len(line) + 1
        return entry

    def _add_batch(self, lines: list[bytes], key: SigningKey, ts: int) -> Entry:
        root = merkle_root(lines)
        self._keep(BATCHES, f"{root}.jsonl", b"\n".join(lines).decode() + "\n")
        return self._add("batch", {"n": len(lines), "root": root}, key, ts)

    def _keep(self, part: str, name: str, text: str) -> None:
        """Put a file beside the ledger, durably, before the entry that names it."""
        try:
            (self.folder / part).mkdir(exist_ok=True)
            write_whole(self.folder / part / name, text)
        except OSError as error:
            raise unwritable(str(self.folder), error, "a folder that can be written") from error

    def _catch_up(self) -> bytes:
        """Take what others have added since, and return what has no end; a file that became shorter is another one."""
        with self._file.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size < self._offset:
                raise LedgerError(str(self._file), f"{size} bytes", f"the {self._offset} that were there before")
            file.seek(self._offset)
            text = file.read()
        *lines, rest = text.split(b"\n")
        for line in lines:
            self.chain.take(line)
            self._offset += len(line) + 1
        return rest

    def _mend(self) -> None:
        """Take what others have added, and deal with an end cut short: a whole entry gets it, all else is put aside."""
        if not (torn := self._catch_up()):
            return
        with self._file.open("rb+") as file:
            file.seek(0, os.SEEK_END)
            trial = self.chain.copy()
            with suppress(LedgerError):
                trial.take(torn)
                file.write(b"\n")
                file.flush()
                os.fsync(file.fileno())
                self.chain, self._offset = trial, self._offset + len(torn) + 1
                return
            write_whole(self.folder / f"torn-{self._offset}", torn.decode("utf-8", "backslashreplace"))
            file.truncate(self._offset)
            os.fsync(file.fileno())


def _lines(leaves: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """Return trials as they are kept, each checked."""
    lines = [dumped(dict(one)) for one in leaves]
    if not lines:
        raise LedgerError("trials", 0, "at least one")
    for at, line in enumerate(lines):
        leaf(line, f"trial {at} of {len(lines)}")
    return lines
