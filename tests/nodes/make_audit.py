"""Audit archives for tests: a ledger whose lines may be as wrong as anybody likes, and a live run made up by hand."""

import importlib.util
import json
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from alphatrade.evolution.dossier import dumped
from alphatrade.nodes.audit.export import sealed
from alphatrade.nodes.audit.tables import lines
from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger_chain import START, Head
from alphatrade.reflection.ledger_chain import sealed as entry
from alphatrade.reflection.merkle import merkle_root
from tests.conftest import ROOT
from tests.reflection.make_ledger import HOUR, NOW, leaf

VERIFY = ROOT / "nodes" / "data" / "verify.py"
POLICY, CODE, RUN = {"cadence": {"n": 5}}, "c" * 64, "ab" * 8
POLICY_HASH = sha256(dumped(POLICY)).hexdigest()
BTC = "BTCUSDT.BINANCE"
SECOND = 10**9
COSIGN = b"alphatrade limited_live\n"


def loaded() -> ModuleType:
    """Return the verifier as a module of its own."""
    spec = importlib.util.spec_from_file_location("verify_alone", VERIFY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def keyed(number: int) -> SigningKey:
    """Return a key that is the same each time."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


KEYS = {name: keyed(at) for at, name in enumerate(("root", "ada", "ben", "service", "eve"), 1)}


class Book:
    """Lines of a ledger, each signed by whom it says unless told otherwise; nothing is checked."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.head: Head = START
        self.add("genesis", {"roster": [self.member("root", "root")]}, "root")
        self.fingerprint = self.head.hash
        for name, role in (("ada", "person"), ("ben", "person"), ("service", "service")):
            self.add("roster", {"add": self.member(name, role), "revoke": None}, "root")

    @staticmethod
    def member(name: str, role: str, key: str = "") -> dict[str, Any]:
        return {"name": name, "role": role, "public": KEYS[key or name].public}

    def add(
        self, kind: str, body: dict[str, Any], by: str, ts: int = NOW, head: Head | None = None, key: str = ""
    ) -> str:
        line = entry(head or self.head, ts, kind, body, by, KEYS[key or by])
        self.lines.append(line)
        self.head = Head(self.head.seq + 1, sha256(line).hexdigest())
        return self.head.hash

    def stage(self, origin: str, to: str, by: str = "ada", **parts: Any) -> str:
        body = {
            "policy_hash": POLICY_HASH,
            "from": origin,
            "to": to,
            "why": "because",
            "dossier": "",
            "verdict": "",
            "noticed": "",
        }
        return self.add("stage", body | parts, by)

    def permit(self, first: str = "ada", second: str = "ben", signer: str = "", ts: int = NOW, **parts: Any) -> str:
        terms = {
            "policy_hash": POLICY_HASH, "code_hash": CODE, "venue": "sandbox", "account": "PILOT", "symbols": [BTC],
            "currency": "USDT", "capital": "50", "loss": "5", "begins": str(NOW), "ends": str(NOW + HOUR),
            "ledger": self.fingerprint, "nonce": "0" * 32,
        } | parts  # fmt: skip
        self.add("limited_live", permit_body(terms, second, signer), first, ts)
        return sha256(canonical(terms)).hexdigest()


def canonical(terms: dict[str, Any]) -> bytes:
    return json.dumps(terms, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def permit_body(terms: dict[str, Any], second: str, signer: str = "") -> dict[str, Any]:
    sig = KEYS[signer or second].sign(COSIGN + canonical(terms))
    return {"terms": terms, "why": "pilot", "cosign": {"key": second, "sig": sig}}


class Pilot:
    """A live run: two buys and a sell of a bitcoin each for some USDT, and what the ledger has of it."""

    def __init__(self) -> None:
        self.book = Book()
        self.verdict = dumped({"holds": True, "policy_hash": POLICY_HASH})
        self.dossier = b"a dossier"
        self.leaves = [dumped(leaf(0)), dumped(leaf(1))]
        self.book.add("batch", {"n": 2, "root": merkle_root(self.leaves)}, "service")
        self.proof = {"dossier": sha256(self.dossier).hexdigest(), "verdict": sha256(self.verdict).hexdigest()}
        self.book.stage("experiment", "paper", **self.proof)
        self.book.stage("paper", "pilot", **self.proof)
        self.permit = ""
        self.orders: list[dict[str, Any]] = []
        self.fills: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.equity = ["50", "49.9"]
        self.other: dict[str, bytes] = {}
        self.left_out = ["3 replays"]
        self.journal = {"account": "PILOT", "broker": "binance sandbox"}
        self.env, self.run, self.summary, self.seq = "live", dict[str, Any](), dict[str, Any](), 0

    def permitted(self, **parts: Any) -> "Pilot":
        """Enter a permit and trade under it."""
        self.permit = self.book.permit(**parts)
        self.events.append(self.given(parts))
        self.order("O-1", "BUY", "1", "20", at=1)
        self.fill("O-1", "BUY", "1", "20")
        self.order("O-2", "BUY", "1", "20", at=2)
        self.fill("O-2", "BUY", "0.5", "20")
        self.end("O-2", "canceled")
        self.order("O-3", "SELL", "1", "19", at=3)
        self.fill("O-3", "SELL", "1", "19")
        return self

    def given(self, parts: dict[str, Any], spent: str = "0") -> dict[str, Any]:
        """Return what a run says of a permit that it was given."""
        self.seq += 1
        told = {"capital": "50", "loss": "5", "begins": str(NOW), "ends": str(NOW + HOUR)} | parts
        amounts = {name: str(int(float(told[name]) * 10**18)) for name in ("capital", "loss")}
        detail = {"entry": self.permit, **amounts, "begins": told["begins"], "ends": told["ends"], "spent": spent}
        return {
            "seq": self.seq,
            "ts": str(NOW),
            "kind": "permit",
            "value": "",
            "detail": json.dumps(detail | {"refused": ""}),
        }

    def order(self, name: str, side: str, qty: str, price: str | None, at: int, instrument: str = BTC) -> None:
        for event in ("initialized", "submitted"):
            self.seq += 1
            kind = "LIMIT" if price else "MARKET"
            self.orders.append(
                {"seq": self.seq, "ts": str(NOW + at * SECOND), "order_id": name, "event": event, "instrument": instrument, "side": side, "type": kind, "qty": qty, "price": price}
            )  # fmt: skip

    def end(self, name: str, event: str) -> None:
        self.seq += 1
        last = next(row for row in reversed(self.orders) if row["order_id"] == name)
        self.orders.append(last | {"seq": self.seq, "event": event})

    def fill(self, name: str, side: str, qty: str, price: str, fee: str = "0.01") -> None:
        self.seq += 1
        self.fills.append(
            {"seq": self.seq, "ts": str(NOW), "order_id": name, "trade_id": f"T-{self.seq}", "instrument": BTC, "side": side, "qty": qty, "price": price, "fee": fee, "currency": "USDT"}
        )  # fmt: skip

    def members(self) -> dict[str, bytes]:
        book, places = self.book, {"signoffs.jsonl": (b"signoff", b"stage", b"limited_live", b"revocation", b"roster")}
        places["operators.jsonl"] = (b"operator", b"rollback")
        run = {
            "run_id": RUN, "policy_hash": POLICY_HASH, "code_hash": CODE, "env": {"name": self.env}, "capital": "50",
            "instruments": {BTC: {"quote": "USDT"}},
        }  # fmt: skip
        fees = sum(float(row["fee"]) for row in self.fills)
        summary = {
            "run_id": RUN, "policy_hash": POLICY_HASH, "code_hash": CODE, "fees": f"{fees:.2f}", "fills": len(self.fills),
            "orders": len({row["order_id"] for row in self.orders}),
        }  # fmt: skip
        equity = [{"ts": str(NOW + at), "equity": value} for at, value in enumerate(self.equity)]
        return {
            "ledger/ledger.jsonl": b"".join(line + b"\n" for line in book.lines),
            f"ledger/batches/{merkle_root(self.leaves)}.jsonl": b"".join(one + b"\n" for one in self.leaves),
            f"ledger/verdicts/{self.proof['verdict']}.json": self.verdict,
            f"dossiers/{self.proof['dossier']}.zip": self.dossier,
            **{
                name: b"".join(line + b"\n" for line in book.lines if any(b'"kind":"%s"' % kind in line for kind in kinds))
                for name, kinds in places.items()
            },
            f"runs/{RUN}/run.json": dumped(run | self.run), f"runs/{RUN}/summary.json": dumped(summary | self.summary),
            f"runs/{RUN}/journal.json": dumped(self.journal), f"runs/{RUN}/policy.json": dumped(POLICY), f"runs/{RUN}/orders.jsonl": lines(self.orders),
            f"runs/{RUN}/fills.jsonl": lines(self.fills), f"runs/{RUN}/risk_events.jsonl": lines(self.events),
            **self.other, f"runs/{RUN}/equity.jsonl": lines(equity), "README.txt": b"read me\n", "verify.py": VERIFY.read_bytes(),
        }  # fmt: skip

    def archive(self, changed: dict[str, bytes] | None = None, by: str = "service", name: str = "service") -> bytes:
        """Return it as an archive that `by` has signed as `name`."""
        first, last = self.book.lines[0], self.book.lines[-1]
        head = f"{len(self.book.lines) - 1}:{sha256(last).hexdigest()}"
        facts = {"fingerprint": sha256(first).hexdigest(), "head": head, "left_out": self.left_out}
        return sealed(self.members() | (changed or {}), facts, [(name, KEYS[by])])


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
