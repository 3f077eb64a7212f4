"""The chain of a ledger: what an entry is, who may sign it, and what has to hold for it to follow the one before."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import rfc8785

from alphatrade.reflection.feedback import Feedback
from alphatrade.reflection.keys import Member, Roster, SigningKey, signed
from alphatrade.reflection.ledger_bodies import (
    Batch,
    Outcome,
    Replay,
    RosterChange,
    Stage,
    Trial,
    checked,
)
from alphatrade.reflection.ledger_fields import Body
from alphatrade.reflection.permit_entries import LimitedLive, Revocation
from alphatrade.reflection.permits import Permits
from alphatrade.reflection.rim.entries import Application, Rollback, Ruling, Signoff
from alphatrade.reflection.rim.proposals import Proposal
from alphatrade.reflection.stages import Stages
from alphatrade.risk.errors import LedgerError

SCHEMA = 1
_TS = r"[0-9]{1,19}"  # UTC ns
_FIELDS = {"schema", "seq", "ts", "kind", "body", "key", "prev", "sig"}
MAY: Mapping[str, frozenset[str]] = {  # who may sign what
    "genesis": frozenset({"root"}),
    "roster": frozenset({"root"}),
    "search": frozenset({"person", "service"}),
    "trial": frozenset({"person", "service"}),
    "batch": frozenset({"person", "service"}),
    "look": frozenset({"person", "service"}),
    "outcome": frozenset({"person", "service"}),
    "stage": frozenset({"person", "service"}),  # a service only down, see Stages
    "proposal": frozenset({"person", "service"}),
    "ruling": frozenset({"person", "service"}),
    "signoff": frozenset({"person"}),
    "application": frozenset({"person", "service"}),  # only what was granted, see Feedback
    "rollback": frozenset({"person", "service"}),
    "operator": frozenset({"person", "service"}),
    "limited_live": frozenset({"person"}),  # and a second one, see Permits
    "revocation": frozenset({"person", "service"}),  # a machine may make things safer
}
_FEEDBACK = (Proposal, Ruling, Signoff, Application, Rollback)


class Head(NamedTuple):
    """The last entry of a ledger: its number, and its hash."""

    seq: int
    hash: str


def head_of(text: str) -> Head:
    """
    Return a head as it is kept elsewhere, ``NUMBER:HASH``.

    Raises
    ------
    LedgerError
        If it is none.
    """
    number, _, digest = text.partition(":")
    if not re.fullmatch(r"[0-9]{1,15}", number) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise LedgerError("head", text, "NUMBER:HASH, as `alphatrade ledger head` prints it")
    return Head(int(number), digest)


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
    stages : Stages
        Where every policy is.
    feedback : Feedback
        Proposals, and what came of them.
    permits : Permits
        To trade real money.
    open : dict of str to int
        Manual replays without an outcome: hash of the entry to its number.
    """

    def __init__(self) -> None:
        self.head = START
        self.roster = Roster()
        self.trials = 0
        self.fingerprint = ""
        self.stages = Stages()
        self.feedback = Feedback()
        self.permits = Permits()
        self.open: dict[str, int] = {}

    def take(self, line: bytes) -> Entry:
        """
        Take the next line, without its end.

        Raises
        ------
        LedgerError
            If it is not canonical or well formed, does not follow the one before, is not signed by who may, or tells
            of something that cannot be: a move between stages, a change or a permit that is not lawful, an outcome of
            nothing.
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
        roster = self.roster if seq else Roster(checked(kind, body, where).model_dump()["roster"])
        member = roster.of(plain["key"])
        if member.role not in MAY[kind]:
            by = " or ".join(sorted(MAY[kind]))
            raise LedgerError(where, f"{member.role} {member.name}", f"{kind} signed by a {by}")
        unsigned = {name: value for name, value in plain.items() if name != "sig"}
        if not signed(member.public, plain["sig"], rfc8785.dumps(unsigned)):
            raise LedgerError(where, "a wrong signature", f"that of {member.name}")
        head = Head(seq, hashlib.sha256(line).hexdigest())
        self._apply(checked(kind, body, where), roster, member, head, int(plain["ts"]))
        return Entry(seq, int(plain["ts"]), kind, body, member.name, self.head.hash)

    def _apply(self, body: Body, roster: Roster, member: Member, head: Head, ts: int) -> None:
        if isinstance(body, RosterChange):
            roster.add(body.add) if body.add is not None else roster.revoke(body.revoke)
        elif isinstance(body, Stage):
            self.stages = self.stages.after(body, member.role, member.name, head.seq, ts)
        elif isinstance(body, _FEEDBACK):
            self.feedback = self.feedback.after(body, head.seq, ts)
        elif isinstance(body, LimitedLive):
            given = self.roster, self.stages, self.fingerprint
            self.permits = self.permits.granted(body, member, *given, head.seq, ts)
            self.stages = self.stages.admitted(body.terms.policy_hash, body.why, member.name, head.seq, ts)
        elif isinstance(body, Revocation):
            self.permits = self.permits.revoked(body, member, head.seq)
        elif isinstance(body, Outcome):
            if self.open.pop(body.trial, None) is None:
                expected = "the hash of a manual replay whose outcome is not known yet"
                raise LedgerError(f"ledger entry {head.seq}, outcome.trial", body.trial, expected)
        else:
            self._count(body, head)
        self.head = head
        if head.seq == 0:
            self.roster, self.fingerprint = roster, head.hash

    def _count(self, body: Body, head: Head) -> None:
        if isinstance(body, Batch):
            self.trials += body.n
        elif isinstance(body, Trial):
            self.trials += 1
        elif isinstance(body, Replay):
            self.trials += 1
            self.open[head.hash] = head.seq

    def copy(self) -> "Chain":
        """Return a chain of its own that is as far."""
        other = Chain()
        other.head, other.trials, other.fingerprint = self.head, self.trials, self.fingerprint
        other.roster, other.stages, other.feedback = self.roster.copy(), self.stages, self.feedback
        other.permits, other.open = self.permits, dict(self.open)
        return other


def _canonical(line: bytes, seq: int) -> dict[str, Any]:
    """Return a line's values, if it is written as it has to be, to the last byte."""
    try:
        plain = json.loads(line)
        same = isinstance(plain, dict) and rfc8785.dumps(plain) == line
    except (ValueError, RecursionError, rfc8785.CanonicalizationError):
        same = False
    if not same or set(plain) != _FIELDS or not isinstance(plain["ts"], str) or not re.fullmatch(_TS, plain["ts"]):
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
    except (ValueError, RecursionError) as error:  # no value of JSON, no Unicode, or nested too deeply
        raise LedgerError("ledger body", type(value).__name__, f"plain values ({error})") from error


def sealed(head: Head, ts: int, kind: str, body: Mapping[str, Any], name: str, key: SigningKey) -> bytes:
    """Return the line of an entry that follows `head`, signed by `name`, without its end."""
    plain = {
        "schema": SCHEMA, "seq": head.seq + 1, "ts": str(ts), "kind": kind, "body": dict(body), "key": name,
        "prev": head.hash,
    }  # fmt: skip
    return dumped(plain | {"sig": key.sign(dumped(plain))})
