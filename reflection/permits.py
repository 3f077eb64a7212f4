"""Permits to trade real money: a pure projection of the ledger's ``limited_live`` and ``revocation`` entries.

A permit is two different persons' doing: one signs its terms, on a machine of their own, and the other signs the entry
that holds terms and signature. Its id is the hash of the terms, and an id is entered once: neither a permit that was
taken back nor an old signature comes back. It stands until its policy leaves limited_live, for good, and while neither
signer's key has been revoked. That nobody has two names in the roster is for its root to see to.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import rfc8785

from alphatrade.reflection.keys import Member, Roster, SigningKey, signed
from alphatrade.reflection.permit_entries import LimitedLive, Revocation, Terms
from alphatrade.reflection.stages import Move, Stages
from alphatrade.risk.errors import LedgerError

PURPOSE = b"alphatrade limited_live\n"  # what a cosignature is for: as a signature of anything else it is worth nothing
LIVE = "limited_live"
BEFORE = ("pilot", LIVE)  # where a policy may be that is permitted


class Granted(NamedTuple):
    """
    A permit that was entered.

    Attributes
    ----------
    id : str
    terms : Terms
    first, second : str
        Who signed the entry, and who its terms.
    seq, ts : int
        Of the entry; UTC ns.
    why : str
    revoked : str
        Who took it back, and why; empty: nobody.
    """

    id: str
    terms: Terms
    first: str
    second: str
    seq: int
    ts: int
    why: str
    revoked: str = ""


def permit_id(terms: Terms) -> str:
    """Return the id of a permit: the hash of its terms."""
    return hashlib.sha256(rfc8785.dumps(terms.model_dump())).hexdigest()


def cosigned(terms: Terms, key: SigningKey) -> str:
    """Return the signature of terms by the second person."""
    return key.sign(_message(terms))


class Permits:
    """
    All permits, in the order in which they were entered; immutable.

    Parameters
    ----------
    granted : mapping of str to Granted
        By id.
    """

    def __init__(self, granted: Mapping[str, Granted] | None = None) -> None:
        self._granted = dict(granted or {})

    @property
    def all(self) -> tuple[Granted, ...]:
        """Every permit, those that stand no more included."""
        return tuple(self._granted.values())

    def find(self, name: str) -> Granted | None:
        """Return the permit of an id; None if there is none."""
        return self._granted.get(name)

    def of(self, policy_hash: str) -> tuple[Granted, ...]:
        """Return the permits of a policy, the latest last."""
        return tuple([one for one in self._granted.values() if one.terms.policy_hash == policy_hash])

    def standing(self, name: str, roster: Roster, stages: Stages) -> str:
        """Return why a permit does not stand, whatever the time; empty: it does."""
        found = self._granted.get(name)
        if found is None:
            return f"there is no permit {name[:12]}"
        if found.revoked:
            return f"permit {name[:12]} was revoked by {found.revoked}"
        gone = [signer for signer in (found.first, found.second) if signer in roster.revoked]
        if gone:
            return f"the key of {gone[0]}, who signed permit {name[:12]}, was revoked"
        down = [move for move in stages.history if move.seq > found.seq and _leaves(move, found.terms.policy_hash)]
        words = f"policy {found.terms.policy_hash[:12]} left {LIVE} in entry"
        return f"{words} {down[0].seq}: {down[0].body.why}" if down else ""

    def granted(
        self, body: LimitedLive, member: Member, roster: Roster, stages: Stages, fingerprint: str, seq: int, ts: int
    ) -> "Permits":
        """
        Return the permits with one more.

        Parameters
        ----------
        body : LimitedLive
        member : Member
            Who signed the entry.
        roster : Roster
        stages : Stages
            Before the entry.
        fingerprint : str
            Of the ledger.
        seq, ts : int
            Of the entry; UTC ns.

        Raises
        ------
        LedgerError
            If it is not signed by two persons who may, or not for this ledger, was there before, has ended, or its
            policy has not come so far.
        """
        where, terms = f"ledger entry {seq}, limited_live", body.terms
        second = roster.of(body.cosign.key)
        if second.role != "person" or member.role != "person":
            raise LedgerError(f"{where}.cosign", f"{second.role} {second.name}", "a second person")
        if second.name == member.name or second.public == member.public:
            raise LedgerError(f"{where}.cosign", second.name, "another person than who signs the entry")
        if not signed(second.public, body.cosign.sig, _message(terms)):
            raise LedgerError(f"{where}.cosign", "a wrong signature", f"that of {second.name} of these terms")
        if terms.ledger != fingerprint:
            raise LedgerError(f"{where}.terms.ledger", terms.ledger, f"{fingerprint}, the fingerprint of this one")
        name = permit_id(terms)
        if name in self._granted:
            expected = "terms that were not entered before: draft another permit"
            raise LedgerError(f"{where}.terms", f"those of entry {self._granted[name].seq}", expected)
        if int(terms.ends) <= ts:
            raise LedgerError(f"{where}.terms.ends", moment(terms.ends), "a moment after the entry")
        stage = stages.stage_of(terms.policy_hash)
        if stage not in BEFORE:
            raise LedgerError(f"{where}.terms.policy_hash", f"a policy in {stage}", f"one in {' or '.join(BEFORE)}")
        made = Granted(name, terms, member.name, second.name, seq, ts, body.why)
        return Permits(self._granted | {name: made})

    def revoked(self, body: Revocation, member: Member, seq: int) -> "Permits":
        """
        Return the permits without one that stood.

        Raises
        ------
        LedgerError
            If there is none of that id, or it was revoked before.
        """
        found = self._granted.get(body.permit)
        if found is None or found.revoked:
            expected = "the id of a permit that was not revoked"
            raise LedgerError(f"ledger entry {seq}, revocation.permit", body.permit, expected)
        words = f"{member.name} in entry {seq}: {body.why}"
        return Permits(self._granted | {body.permit: found._replace(revoked=words)})


def _leaves(move: Move, policy_hash: str) -> bool:
    """Return whether a move took a policy out of limited_live."""
    if move.kind == "rollback":
        return move.body.to == LIVE and move.replaced == policy_hash
    return move.body.policy_hash == policy_hash and move.body.origin == LIVE and move.body.to != LIVE


def moment(ns: str) -> str:
    """Return a moment, UTC ns as text, as ISO text in whole seconds."""
    return datetime.fromtimestamp(int(ns) // 10**9, UTC).isoformat()


def _message(terms: Terms) -> bytes:
    return PURPOSE + rfc8785.dumps(terms.model_dump())
