"""API keys: who may act for the account, and how requests are signed (HMAC-SHA256 and Ed25519)."""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.venue.errors import BAD_KEY, BAD_SIGNATURE, VenueError


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What a client holds: the name of its key and its secret, a string for HMAC or a PEM for Ed25519."""

    name: str
    secret: str

    @property
    def is_ed25519(self) -> bool:
        return "PRIVATE KEY" in self.secret

    @property
    def body(self) -> str:
        """The secret in one line: of a PEM what is between its first and its last line."""
        return "".join(line for line in self.secret.splitlines() if not line.startswith("-----"))

    def put(self, folder: Path, mode: int = 0o600) -> None:
        """Write it where a node reads its keys, as an operator does: both files anew."""
        for name, value in (("api_key", self.name), ("api_secret", self.body)):
            path = folder / f"binance_testnet_{name}"
            new = path.with_suffix(".new")
            new.touch(mode=mode)
            new.write_text(value)
            new.replace(path)

    def sign(self, payload: str) -> str:
        """Return the signature of a query string."""
        if not self.is_ed25519:
            return hmac.new(self.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
        return base64.b64encode(self._private().sign(payload.encode())).decode()

    def public(self) -> dict[str, str]:
        """Return what the venue has to know of it."""
        if not self.is_ed25519:
            return {"name": self.name, "hmac": self.secret}
        raw = self._private().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"name": self.name, "ed25519": base64.b64encode(raw).decode()}

    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(self.body)[-32:])


def make_ed25519(name: str, seed: int = 1) -> ApiKey:
    """Return an Ed25519 key derived from a number: tests need no secret, only a key."""
    raw = hashlib.sha256(f"venue key {seed}".encode()).digest()
    private = Ed25519PrivateKey.from_private_bytes(raw)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return ApiKey(name, pem)


ED25519_KEY = make_ed25519("venue-ed25519-key-0000000000000000000000000001")
HMAC_KEY = ApiKey("venue-hmac-key-00000000000000000000000000000001", "venue-hmac-secret-0000000000000001")


class Keys:
    """The keys the venue accepts."""

    def __init__(self) -> None:
        self._hmac: dict[str, str] = {}
        self._ed25519: dict[str, Ed25519PublicKey] = {}

    def accept(self, public: dict[str, str]) -> None:
        """Accept a key from now on: ``{"name", "hmac"}`` or ``{"name", "ed25519"}`` (raw, base64)."""
        if "hmac" in public:
            self._hmac[public["name"]] = public["hmac"]
        else:
            raw = base64.b64decode(public["ed25519"])
            self._ed25519[public["name"]] = Ed25519PublicKey.from_public_bytes(raw)

    def revoke(self, name: str) -> None:
        """Accept a key no more."""
        self._hmac.pop(name, None)
        self._ed25519.pop(name, None)

    def known(self, name: str | None) -> bool:
        return name in self._hmac or name in self._ed25519

    def check(self, name: str | None, payload: str, signature: str, ed25519_only: bool = False) -> None:
        """
        Check a signature.

        Raises
        ------
        VenueError
            -2015 unknown key, -1022 wrong signature, -4056 a key of the wrong type.
        """
        if not self.known(name) or name is None:
            raise BAD_KEY
        secret = self._hmac.get(name)
        if secret is not None:
            if ed25519_only:
                raise VenueError(-4056, "HMAC_SHA256 API key is not supported.")
            right = hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
            if not hmac.compare_digest(right, signature):
                raise BAD_SIGNATURE
            return
        try:
            self._ed25519[name].verify(base64.b64decode(signature, validate=True), payload.encode())
        except (InvalidSignature, binascii.Error):
            raise BAD_SIGNATURE from None
