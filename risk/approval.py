"""The approval of an order: a token made by the gate, and asked for where the order leaves the process.

The gate approves an order's terms, the execution client presents the token that came with the order, and the last door
redeems it against the terms that it is about to send. The key is made when the process starts and dies with it. One
order id is approved once and redeemed once in a run, whatever comes of it. What tries to leave otherwise is refused,
and the gate is told, which stops trading: nothing honest goes that way.
"""

import hmac
import re
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from alphatrade.risk.errors import LawError

APPROVAL_NS = 5 * 10**9  # an approval that is older than this does not leave
KEY_BYTES = 32
_SCHEMA = "alphatrade approval 1"
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")

# Why not; what `Approvals.counts` counts by, beside "approved", "presented" and "redeemed".
UNKNOWN = "no approval was made"
FORGED = "not the token of this order"
AGAIN = "presented before"
UNPRESENTED = "sent without its token"
CHANGED = "not what was approved"
OLD = "not sent in time"
USED = "used before"
WITHDRAWN = "withdrawn"
LATE = "too late"
UNREADABLE = "not an order of the kind that is approved"
UNLISTED = "not what this node asks an exchange for"
HONEST = frozenset((OLD, WITHDRAWN, LATE))  # what can happen to an order that went the right way


class Terms(NamedTuple):
    """
    All that is approved of an order.

    Attributes
    ----------
    order_id, instrument : str
    side : {"BUY", "SELL"}
    kind : {"LIMIT", "MARKET"}
    qty : str
        Base units, as :func:`plain` writes them.
    price, tif : str
        Likewise, and ``GTC``, ``IOC`` or ``FOK``; both empty for a market order.
    post_only : bool
    """

    order_id: str
    instrument: str
    side: str
    kind: str
    qty: str
    price: str
    tif: str
    post_only: bool


def plain(number: str) -> str:
    """
    Return a decimal number in the one way of writing it that terms know: ``0.10`` and ``00.1`` are ``0.1``.

    Raises
    ------
    ValueError
        If it has a sign, an exponent, or anything else but digits and one point between them.
    """
    if not _NUMBER.fullmatch(number):
        raise ValueError(f"a number in plain digits is needed, got {number!r}")
    whole, _, part = number.partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    return f"{whole}.{part}" if part else whole


def fresh_key() -> bytes:
    """Return a key that nobody else has."""
    return secrets.token_bytes(KEY_BYTES)


@dataclass(slots=True)
class _Approval:
    terms: Terms
    by_law: bool
    made: int  # by the clock of `Approvals`, ns
    presented: str = ""  # the token that the client had, once it has been looked at


class Approvals:
    """
    The approvals of one process.

    Parameters
    ----------
    key : bytes
        Of :func:`fresh_key`.
    clock : callable
        Returns ns of a clock that is never set, as ``time.monotonic_ns``.

    Attributes
    ----------
    counts : Counter of str
        What was approved, presented, redeemed, and refused by which reason.
    late : callable
        Asked last of all, with an order id: why it must not leave any more; empty: it may. The gate's.
    alarm : callable
        Told, order id and reason, of what did not go the way of an order. The gate's.

    Raises
    ------
    ValueError
        If the key is too short.
    """

    def __init__(self, key: bytes, clock: Callable[[], int]) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError(f"a key of {KEY_BYTES} bytes is needed, got {len(key)}")
        self._key, self._clock = key, clock
        self._open: dict[str, _Approval] = {}
        self._ended: dict[str, str] = {}  # why an order id can be redeemed no more, for the rest of the run
        self.counts: Counter[str] = Counter()
        self.late: Callable[[str], str] = lambda _: ""
        self.alarm: Callable[[str, str], object] = lambda *_: None

    def approve(self, terms: Terms, by_law: bool = False) -> str:
        """
        Approve an order, and return its token.

        Parameters
        ----------
        terms : Terms
        by_law : bool
            It is an order of the law itself, which :meth:`void` does not concern.

        Raises
        ------
        LawError
            If its id was approved before.
        """
        if terms.order_id in self._open or terms.order_id in self._ended:
            raise LawError(f"order {terms.order_id} was approved before")
        made = self._open[terms.order_id] = _Approval(terms, by_law, self._clock())
        self.counts["approved"] += 1
        return self._token(terms, made)

    def present(self, order_id: str, token: object) -> str:
        """
        Take the token that came with an order, and let the order be redeemed.

        A token that is wrong or late ends the approval; one that is presented twice is refused the second time.

        Returns
        -------
        str
            Why the order must not leave; empty: it may be redeemed.
        """
        found = self._open.get(order_id)
        if found is None:
            return self._gone(order_id)
        if found.presented:
            return self.refuse(AGAIN, order_id=order_id)
        if not self._same(self._token(found.terms, found), token):
            return self._end(order_id, FORGED)
        if self._old(found):
            return self._end(order_id, OLD)
        found.presented = str(token)
        self.counts["presented"] += 1
        return ""

    def redeem(self, terms: Terms) -> str:
        """
        Use up the approval of an order that is about to leave; there is one try, whatever comes of it.

        Parameters
        ----------
        terms : Terms
            As read from what is to be sent.

        Returns
        -------
        str
            Why it must not leave; empty: it has to leave now.
        """
        order_id = terms.order_id
        found = self._open.get(order_id)
        if found is None:
            return self._gone(order_id)
        if not found.presented:
            return self._end(order_id, UNPRESENTED)
        if not self._same(self._token(terms, found), found.presented):
            other = (name for name, was, now in zip(Terms._fields, found.terms, terms, strict=True) if was != now)
            return self._end(order_id, CHANGED, ", ".join(other))
        if self._old(found):
            return self._end(order_id, OLD)
        if late := self.late(order_id):
            return self._end(order_id, LATE, late)
        self._close(order_id, USED)
        self.counts["redeemed"] += 1
        return ""

    def void(self, why: str) -> None:
        """Withdraw every approval that has not been redeemed, but for those of the law itself."""
        for order_id in [name for name, one in self._open.items() if not one.by_law]:
            self._close(order_id, f"{WITHDRAWN}: {why}")

    def refuse(self, reason: str, detail: str = "", order_id: str = "") -> str:
        """Count something that must not leave, tell the gate if it did not come from there, and return why in words."""
        self.counts[reason] += 1
        why = f"{reason}: {detail}" if detail else reason
        if reason not in HONEST:
            self.alarm(order_id, why)
        return why

    def _token(self, terms: Terms, made: _Approval) -> str:
        """Return the token of `terms` with the moment and the author of an approval: each part with its length."""
        words = (_SCHEMA, *terms[:-1], *map(str, (bool(terms.post_only), made.by_law, made.made)))
        parts = [word.encode("utf-8", "surrogatepass") for word in words]
        message = b"".join(len(part).to_bytes(8) + part for part in parts)
        return hmac.digest(self._key, message, "sha256").hex()

    @staticmethod
    def _same(token: str, shown: object) -> bool:
        return isinstance(shown, str) and shown.isascii() and hmac.compare_digest(token, shown)

    def _old(self, made: _Approval) -> bool:
        return not 0 <= self._clock() - made.made <= APPROVAL_NS

    def _gone(self, order_id: str) -> str:
        why = self._ended.get(order_id, UNKNOWN)
        kind, _, detail = why.partition(": ")
        return self.refuse(kind, detail, order_id)

    def _end(self, order_id: str, reason: str, detail: str = "") -> str:
        self._close(order_id, reason)
        return self.refuse(reason, detail, order_id)

    def _close(self, order_id: str, why: str) -> None:
        del self._open[order_id]
        self._ended[order_id] = why
