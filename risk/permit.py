"""The permit: what a node may do with real money, as plain words and whole numbers.

Who may grant one, and how it is signed, is the ledger's business (reflection); the law is given the outcome alone. A
permit without anything in it permits nothing.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from alphatrade.risk.limits import Code, Verdict, deny

_SECOND = 10**9
FRESH_NS = 180 * _SECOND  # a permit that nobody has looked at for longer may have been taken back


class Permit(NamedTuple):
    """
    What may be traded, where, with how much, from when until when.

    Attributes
    ----------
    entry : str
        Id of the ledger's entry.
    policy, code : str
        Hashes of the policy and of the code that it is for.
    venue, account : str
    instruments : tuple of str
        Ids, as in ``BTCUSDT.BINANCE``.
    currency : str
        Of `capital`, `loss` and `spent`.
    capital, loss : int
        What may be spent and what may be lost, atto.
    begins, ends : int
        First moment and the first one after it, UTC ns.
    spent : int
        Paid out under this entry before this run, less what came back, atto.
    fee : int
        Largest fee of a trade, nano of its notional.
    at : int
        When the ledger was looked at, UTC ns; three minutes later it has to have been looked at again. 0: never.
    refused : str
        Why nothing may be traded, whatever else it says; empty: see above.
    """

    entry: str = ""
    policy: str = ""
    code: str = ""
    venue: str = ""
    account: str = ""
    instruments: tuple[str, ...] = ()
    currency: str = ""
    capital: int = 0
    loss: int = 0
    begins: int = 0
    ends: int = 0
    spent: int = 0
    fee: int = 0
    at: int = 0
    refused: str = ""

    def plain(self) -> dict[str, Any]:
        """Return it as plain values; amounts and moments as text, as they may be above 2^64."""
        return {name: str(value) if isinstance(value, int) else value for name, value in self._asdict().items()}


def permit_of(plain: Mapping[str, Any]) -> Permit:
    """Return the permit of plain values, see :meth:`Permit.plain`."""
    kinds = {name: type(value) for name, value in Permit._field_defaults.items()}
    return Permit(**{name: kinds[name](value) for name, value in plain.items()})


NONE = Permit(refused="no permit")


def unfit(permit: Permit, instrument: str, now: int) -> Verdict | None:
    """
    Return the denial of an order that a permit does not cover; None: it may be judged by its amounts.

    Parameters
    ----------
    permit : Permit
    instrument : str
        Id of what the order is in.
    now : int
        UTC ns.
    """
    if permit.refused:
        return deny(Code.NO_PERMIT, permit.refused)
    if now < permit.begins:
        return deny(Code.NO_PERMIT, f"permit {permit.entry} begins at {_moment(permit.begins)}")
    if (ended := lapsed(permit, now)) is not None:
        return ended
    if instrument not in permit.instruments:
        return deny(Code.PERMIT_SCOPE, f"permit {permit.entry} is not for {instrument}")
    return None


def lapsed(permit: Permit, now: int) -> Verdict | None:
    """Return the denial of all by a permit that has ended, or was not looked at for too long; None: neither."""
    if now >= permit.ends:
        return deny(Code.PERMIT_ENDED, f"permit {permit.entry} ended at {_moment(permit.ends)}")
    if permit.at and now - permit.at > FRESH_NS:
        return deny(Code.PERMIT_ENDED, f"permit {permit.entry} was last looked at, at {_moment(permit.at)}")
    return None


def _moment(ns: int) -> str:
    return datetime.fromtimestamp(ns // _SECOND, UTC).isoformat()
