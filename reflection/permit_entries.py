"""Bodies of the entries by which two persons let a policy trade real money, and by which anybody takes that back."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from alphatrade.reflection.ledger_fields import Body, Nanos, Sha, Words

CEILING = Decimal(1_000)  # of a permit's capital, quote units; to raise it is to change the code, and its hash
LONGEST_NS = int(timedelta(days=31).total_seconds()) * 10**9

Amount = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,8})(\.[0-9]{0,7}[1-9])?$")]  # one way of writing a number
Symbol = Annotated[str, Field(pattern=r"^[A-Z0-9]{2,20}\.[A-Z0-9_]{2,20}$")]  # id of an instrument
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Terms(Body):
    """
    What is permitted: the part that both persons sign.

    Attributes
    ----------
    policy_hash, code_hash : str
    venue : str
        As the node that asks names it: mainnet, testnet and sandbox are three venues.
    account : str
    symbols : list of str
        Ids of instruments, as in ``BTCUSDT.BINANCE``, in order of the alphabet.
    currency : str
        Of `capital` and `loss`.
    capital, loss : str
        What may be out at any time, what may be lost; whole and decimal digits.
    begins, ends : str
        First moment and the first one after it, UTC ns.
    ledger : str
        Fingerprint of the ledger that it is for: in another one the signatures are worth nothing.
    nonce : str
        Makes it another permit than any other, so that none is entered twice.
    """

    policy_hash: Sha
    code_hash: Sha
    venue: Name
    account: Name
    symbols: Annotated[list[Symbol], Field(min_length=1, max_length=8)]
    currency: Annotated[str, Field(pattern=r"^[A-Z0-9]{2,10}$")]
    capital: Amount
    loss: Amount
    begins: Nanos
    ends: Nanos
    ledger: Sha
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]

    @field_validator("symbols")
    @classmethod
    def _in_order(cls, symbols: list[str]) -> list[str]:
        if symbols != sorted(set(symbols)):
            raise ValueError("symbols in order of the alphabet, each once")
        return symbols

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if not 0 < Decimal(self.loss) <= Decimal(self.capital) <= CEILING:
            raise ValueError(f"0 < loss <= capital <= {CEILING}, not {self.loss} and {self.capital}")
        if not 0 < int(self.ends) - int(self.begins) <= LONGEST_NS:
            raise ValueError("an end after the begin, 31 days at most")
        return self


class Cosign(Body):
    """Name and signature of the second person; of the terms alone, made where that person's key is."""

    key: Words
    sig: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


class LimitedLive(Body):
    """Two persons let a policy trade: one signs the entry, the other its terms."""

    terms: Terms
    cosign: Cosign
    why: Words


class Revocation(Body):
    """A permit, by its id, stands no more."""

    permit: Sha
    why: Words
