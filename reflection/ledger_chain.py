"""The chain of a ledger: what an entry is, who may sign it, and what has to hold for it to follow the one before."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import rfc8785

from alphatrade.reflection.keys import Roster, SigningKey, signed
from alphatrade.risk.errors import LedgerError

SCHEMA = 1
_FIELDS = {"schema", "seq", "ts", "kind", "body", "key", "prev", "sig"}
MAY: Mapping[str, frozenset[str]] = {  # who may sign what
    "genesis": frozenset({"root"}),
    "roster": frozenset({"root"}),
    "trial": frozenset({"person", "service"}),
    "search": frozenset({"person", "service"}),
    "batch": frozenset({"person", "service"}),
    "stage": frozenset({"person"}),
}


class Head(NamedTuple):
    """The last entry of a ledger: its number, and its hash."""

    seq: int
    hash: str


START = Head(-1, "0" * 64)  # what comes before the genesis


class Entry(NamedTuple):
    """
    One entry.

    Attributes
    ----------
    seq : int
        Number, from 0.
    ts : int
        When it was made, UTC ns.
    kind : str
    body : dict
        Plain values.
    key : str
        Name of who signed.
    hash : str
        Sha256 of the line.
    """

    seq: int
    ts: int
    kind: str
    body: dict[str, Any]
    key: str
    hash: str


class Chain:
    """
    A ledger as far as it was read: every line that is taken continues it, or is refused.

    Attributes
    ----------
    head : Head
        Number -1 before the genesis.
    roster : Roster
    trials : int
        Trials so far, alone and in batches.
    fingerprint : str
        Hash of the genesis.
    """

    def __init__(self) -> None:
        self.head = START
        self.roster = Roster()
        self.trials = 0
        self.fingerprint = ""

    def take(self, line: bytes) -> Entry:
        """
        Take the next line, without its end.

        Raises
        ------
        LedgerError
            If it is not canonical, does not follow the one before, or is not signed by who may.
        """
        seq = self.head.seq + 1
        plain = _canonical(line, seq)
        where = f"ledger entry {seq}"
        numbers = plain["schema"], plain["seq"]
        if numbers != (SCHEMA, seq) or any(type(number) is not int for number in numbers):
            raise LedgerError(where, numbers, f"schema {SCHEMA} and number {seq}")
        if plain["prev"] != self.head.hash:
            raise LedgerError(where, plain["prev"], f"the hash of the entry before it, {self.head.hash}")
        kind, body = plain["kind"], plain["body"]
        if kind not in MAY or (kind == "genesis") != (seq == 0) or not isinstance(body, dict):
            raise LedgerError(where, kind, f"genesis first, then one of {', '.join(MAY)}, with a body")
        roster = Roster(body.get("roster") or ()) if seq == 0 else self.roster
        member = roster.of(plain["key"])
        if member.role not in MAY[kind]:
            by = " or ".join(sorted(MAY[kind]))
            raise LedgerError(where, f"{member.role} {member.name}", f"{kind} signed by a {by}")
        unsigned = {name: value for name, value in plain.items() if name != "sig"}
        if not signed(member.public, plain["sig"], rfc8785.dumps(unsigned)):
            raise LedgerError(where, "a wrong signature", f"that of {member.name}")
        self._apply(kind, body, roster, where)
        self.head = Head(seq, hashlib.sha256(line).hexdigest())
        if seq == 0:
            self.roster, self.fingerprint = roster, self.head.hash
        return Entry(seq, int(plain["ts"]), kind, body, member.name, self.head.hash)

    def _apply(self, kind: str, body: dict[str, Any], roster: Roster, where: str) -> None:
        if kind == "roster":
            if set(body) == {"add"}:
                roster.add(body["add"])
            elif set(body) == {"revoke"}:
                roster.revoke(body["revoke"])
            else:
                raise LedgerError(where, sorted(body), "either add or revoke")
        elif kind == "batch":
            n = body.get("n")
            if set(body) != {"n", "root"} or type(n) is not int or n < 1:
                raise LedgerError(where, body, "n trials and their root")
            self.trials += n
        elif kind == "trial":
            self.trials += 1

    def copy(self) -> "Chain":
        """Return a chain of its own that is as far."""
        other = Chain()
        other.head, other.trials, other.fingerprint = self.head, self.trials, self.fingerprint
        other.roster = self.roster.copy()
        return other


def _canonical(line: bytes, seq: int) -> dict[str, Any]:
    """Return a line's values, if it is written as it has to be, to the last byte."""
    try:
        plain = json.loads(line)
        same = isinstance(plain, dict) and rfc8785.dumps(plain) == line
    except (ValueError, RecursionError, rfc8785.CanonicalizationError):
        same = False
    if not same or set(plain) != _FIELDS or not isinstance(plain["ts"], str) or not plain["ts"].isdecimal():
        raise LedgerError(f"ledger entry {seq}", line[:60].decode("utf-8", "replace"), "one canonical JSON object")
    assert isinstance(plain, dict)
    return plain


def dumped(value: Any) -> bytes:
    """
    Return plain values as canonical JSON.

    Raises
    ------
    LedgerError
        If they are not plain.
    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise LedgerError("ledger body", value, f"plain values ({error})") from error


def sealed(head: Head, ts: int, kind: str, body: Mapping[str, Any], name: str, key: SigningKey) -> bytes:
    """Return the line of an entry that follows `head`, signed by `name`, without its end."""
    plain = {
        "schema": SCHEMA, "seq": head.seq + 1, "ts": str(ts), "kind": kind, "body": dict(body), "key": name,
        "prev": head.hash,
    }  # fmt: skip
    return dumped(plain | {"sig": key.sign(dumped(plain))})
