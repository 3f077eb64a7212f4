"""Signing keys and the roster of who may sign what: Ed25519, private keys in files that only their owner can read."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from alphatrade.risk.errors import LedgerError

Role = Literal["root", "person", "service"]
ROLES: tuple[Role, ...] = ("root", "person", "service")
_RAW = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
_PEM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class SigningKey:
    """
    A private key.

    Parameters
    ----------
    private : Ed25519PrivateKey

    Attributes
    ----------
    public : str
        The public key, 64 hexadecimal digits: by this a roster knows whose it is.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes(*_RAW).hex()

    def sign(self, message: bytes) -> str:
        """Return the signature of a message, 128 hexadecimal digits."""
        return self._private.sign(message).hex()

    @classmethod
    def generate(cls, path: Path) -> "SigningKey":
        """
        Make a new key and write it to a file that only its owner can read.

        Raises
        ------
        LedgerError
            If the file exists or cannot be written.
        """
        key = cls(Ed25519PrivateKey.generate())
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(key._private.private_bytes(*_PEM))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise LedgerError(str(path), error.strerror or str(error), "a new file in a writable folder") from error
        return key

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """
        Read a key.

        Raises
        ------
        LedgerError
            If it cannot be read, is no Ed25519 key, or others than its owner may read it.
        """
        try:
            mode = path.stat().st_mode & 0o777
            text = path.read_bytes()
        except OSError as error:
            raise LedgerError(str(path), error.strerror or str(error), "a private key file") from error
        if mode & 0o077:
            raise LedgerError(str(path), f"mode {mode:o}", "600: a private key that only its owner can read")
        try:
            private = serialization.load_pem_private_key(text, None)
        except (ValueError, TypeError):
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            raise LedgerError(str(path), "another file", "an Ed25519 private key, PEM")
        return cls(private)


class Member(NamedTuple):
    """Who may sign: a name, a role, a public key, and of a service the person that it works for, if that is told."""

    name: str
    role: Role
    public: str
    of: str = ""


class Roster:
    """
    Who may sign, as far as a ledger has told.

    Parameters
    ----------
    members : iterable of mapping
        ``name``, ``role``, ``public``, and perhaps ``of``.

    Raises
    ------
    LedgerError
        If one of them is not well formed.
    """

    def __init__(self, members: Iterable[Any] = ()) -> None:
        self._members: dict[str, Member] = {}
        self.revoked: set[str] = set()
        for member in members:
            self.add(member)

    def copy(self) -> "Roster":
        """Return a roster of its own that says the same."""
        other = Roster()
        other._members, other.revoked = dict(self._members), set(self.revoked)
        return other

    def add(self, plain: Any) -> None:
        """Add a member; a name and a key are used once and never again."""
        if not isinstance(plain, dict) or set(plain) | {"of"} != set(Member._fields):
            raise LedgerError("roster", plain, "members with name, role and public")
        member = Member(**plain)
        if not isinstance(member.name, str) or not member.name or member.name in self._members:
            raise LedgerError("roster.name", member.name, "a name that was not used before")
        if member.role not in ROLES:
            raise LedgerError("roster.role", member.role, f"one of {', '.join(ROLES)}")
        if any(member.public == other.public for other in self._members.values()):
            raise LedgerError("roster.public", member.public, "a key that was not used before")
        if member.of != "":
            person = self._members.get(member.of) if isinstance(member.of, str) else None
            if member.role != "service" or person is None or person.role != "person":
                raise LedgerError("roster.of", member.of, "of a service only: a person of the roster")
        _public(member.public)
        self._members[member.name] = member

    def revoke(self, name: object) -> None:
        """Let a member sign no more; what was signed before stands."""
        if not isinstance(name, str) or name not in self._members or name in self.revoked:
            raise LedgerError("roster.revoke", name, "the name of a member who was not revoked")
        if self._members[name].role == "root" and sum(m.role == "root" for m in self.members) == 1:
            raise LedgerError("roster.revoke", name, "another one: without a root nobody could change the roster again")
        self.revoked.add(name)

    @property
    def members(self) -> tuple[Member, ...]:
        """Those who may sign now."""
        return tuple([member for name, member in self._members.items() if name not in self.revoked])

    def named(self, name: str) -> Member | None:
        """Return the member of a name, also one who may sign no more; None if nobody ever had it."""
        return self._members.get(name)

    def of(self, name: object) -> Member:
        """
        Return the member of a name.

        Raises
        ------
        LedgerError
            If nobody has it, or he may sign no more.
        """
        if not isinstance(name, str) or name not in self._members:
            raise LedgerError("key", name, f"one of the roster: {', '.join(self._members)}")
        if name in self.revoked:
            raise LedgerError("key", name, "a key that was not revoked")
        return self._members[name]

    def whose(self, key: SigningKey) -> Member:
        """
        Return the member that a key belongs to.

        Raises
        ------
        LedgerError
            If it belongs to nobody, or he may sign no more.
        """
        name = self.holder(key.public)
        if not name:
            raise LedgerError("key", key.public, "the key of somebody in the roster")
        return self.of(name)

    def holder(self, public: str) -> str:
        """Return whose a public key is or was; empty if nobody's."""
        return next((member.name for member in self._members.values() if member.public == public), "")


def signed(public: str, signature: object, message: bytes) -> bool:
    """Return whether a signature of `message` is that of a public key."""
    try:
        _public(public).verify(bytes.fromhex(signature if isinstance(signature, str) else ""), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _public(text: object) -> Ed25519PublicKey:
    try:
        if not isinstance(text, str) or text != text.lower():
            raise ValueError
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    except ValueError:
        raise LedgerError("roster.public", text, "an Ed25519 public key, 64 hexadecimal digits") from None
