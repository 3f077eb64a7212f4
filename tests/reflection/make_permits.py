"""Permits for tests: a ledger with two persons and a policy in pilot, and bodies of well-formed entries."""

from pathlib import Path
from typing import Any, NamedTuple

from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.permit_entries import Terms
from alphatrade.reflection.permits import cosigned
from tests.reflection.make_ledger import HOUR, NOW, Cast, digest, make_cast, stage, verdict

POLICY, CODE = digest(1001), digest(2)


class Pair(NamedTuple):
    """A cast with a second person, ``ben``, whose policy 1 is in pilot."""

    cast: Cast
    ben: SigningKey

    @property
    def ledger(self) -> Ledger:
        return self.cast.ledger

    def terms(self, **parts: Any) -> Terms:
        plain = {
            "policy_hash": POLICY, "code_hash": CODE, "venue": "sandbox", "account": "PILOT", "symbols": ["BTCUSDT.BINANCE"],
            "currency": "USDT", "capital": "50", "loss": "5.5", "begins": str(NOW), "ends": str(NOW + 24 * HOUR),
            "ledger": self.ledger.chain.fingerprint, "nonce": "0" * 32,
        }  # fmt: skip
        return Terms.model_validate(plain | parts)

    def body(self, terms: Terms | None = None, by: SigningKey | None = None, name: str = "ben") -> dict[str, Any]:
        """Return the body of an entry, cosigned by Ben or somebody else."""
        terms = terms or self.terms()
        sig = cosigned(terms, by or self.ben)
        return {"terms": terms.model_dump(), "cosign": {"key": name, "sig": sig}, "why": "a pilot"}

    def enter(self, terms: Terms | None = None, ts: int = NOW) -> str:
        """Enter a permit, and return its id."""
        ledger = self.ledger
        ledger.append("limited_live", self.body(terms), self.cast.person, ts)
        return ledger.chain.permits.all[-1].id


def make_pair(folder: Path) -> Pair:
    """Return a ledger of six entries."""
    cast = make_cast(folder)
    ben = SigningKey.generate(folder / "ben.pem")
    ledger = cast.ledger
    ledger.append("roster", {"add": {"name": "ben", "role": "person", "public": ben.public}}, cast.root, NOW)
    for step in (("experiment", "paper"), ("paper", "pilot")):
        ledger.append_stage(stage(1, *step), cast.person, NOW, verdict(1))
    return Pair(cast, ben)
