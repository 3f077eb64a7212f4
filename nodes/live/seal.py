"""The seal: the one that has the real key, and signs nothing but what is on its list, and an order once it is redeemed.

A venue carries out what is signed. Whatever else goes wrong in this process, what has no signature is refused there.
"""

import base64
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from alphatrade.nodes.live.wire import fields_of, terms_of_query
from alphatrade.nodes.venue_rest import Credentials, Signer
from alphatrade.risk.approval import UNLISTED, UNREADABLE, Approvals
from alphatrade.risk.errors import AlphaTradeError, ConfigError

ORDER = ("POST", "/api/v3/order")  # the one request that is signed only with an approval
STREAM = ("WS", "userDataStream.subscribe.signature")
LISTED = frozenset(
    (
        STREAM,
        ("DELETE", "/api/v3/order"),
        ("DELETE", "/api/v3/openOrders"),
        ("GET", "/api/v3/account"),
        ("GET", "/api/v3/allOrders"),
        ("GET", "/api/v3/myTrades"),
        ("GET", "/api/v3/openOrders"),
        ("GET", "/api/v3/order"),
        ("GET", "/api/v3/rateLimit/order"),
        ("GET", "/sapi/v1/account/apiRestrictions"),
        ("GET", "/sapi/v1/asset/tradeFee"),
        ("GET", "/sapi/v1/bnbBurn"),
    )
)
# A signature covers neither method nor path: these say nothing from which an order, or a withdrawal, could be made.
HARMLESS = frozenset(
    (
        "apiKey", "endTime", "fromId", "limit", "omitZeroBalances", "orderId", "origClientOrderId", "recvWindow",
        "startTime", "symbol", "timestamp",
    )
)  # fmt: skip


class SealedError(AlphaTradeError):
    """A request that is not signed; the message says why."""


def throwaway() -> str:
    """Return a private key that no venue knows, as base64 of PKCS 8: for who wants to sign and must not."""
    der = Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return base64.b64encode(der).decode()


class Seal(Credentials):
    """
    Credentials whose secret is a throw-away one, and whose signer has the real one.

    Parameters
    ----------
    credentials : Credentials
        The real ones.
    approvals : Approvals
        Asked for each order.
    venue : str
        Of instruments.

    Attributes
    ----------
    approvals : Approvals

    Raises
    ------
    ConfigError
        If they are not usable, or the secret is not a private key: another one is known to the venue as well.
    """

    approvals: Approvals
    _signer: Signer

    def __init__(self, credentials: Credentials, approvals: Approvals, venue: str) -> None:
        super().__init__(credentials.key.strip(), throwaway())
        real = credentials.signer()
        if not credentials.is_private_key:
            raise ConfigError("credentials", "an HMAC secret", "an Ed25519 key, of which the venue has no secret half")
        object.__setattr__(self, "approvals", approvals)
        object.__setattr__(self, "_signer", _sealed(real, approvals, venue))

    def signer(self) -> Signer:
        """Return what signs the query of a request, given its method and its path, or raises SealedError."""
        return self._signer

    def __reduce__(self) -> NoReturn:
        raise TypeError("a seal stays where it is")


def _sealed(real: Signer, approvals: Approvals, venue: str) -> Signer:
    def sign(method: str, path: str, query: str) -> str:
        why = ordered(query) if (method, path) == ORDER else listed(method, path, query)
        if why:
            raise SealedError(why)
        return real(method, path, query)

    def ordered(query: str) -> str:
        try:
            terms = terms_of_query(query, venue)
        except ValueError as error:
            return approvals.refuse(UNREADABLE, str(error))
        return approvals.redeem(terms)

    def listed(method: str, path: str, query: str) -> str:
        try:
            harmless = (method, path) in LISTED and fields_of(query).keys() <= HARMLESS
        except ValueError:
            harmless = False
        return "" if harmless else approvals.refuse(UNLISTED, f"{method} {path}")

    return sign
