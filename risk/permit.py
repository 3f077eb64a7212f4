"""The permit: what a node may do with real money, as plain words and whole numbers.

Who may grant one, and how it is signed, is the ledger's business (reflection); the law is given the outcome alone. A
permit without anything in it permits nothing.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from alphatrade.risk.limits import Code, Verdict, deny

_SECOND = 10**9


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
    refused: str = ""


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
    if now >= permit.ends:
        return deny(Code.PERMIT_ENDED, f"permit {permit.entry} ended at {_moment(permit.ends)}")
    if instrument not in permit.instruments:
        return deny(Code.PERMIT_SCOPE, f"permit {permit.entry} is not for {instrument}")
    return None


def _moment(ns: int) -> str:
    return datetime.fromtimestamp(ns // _SECOND, UTC).isoformat()
