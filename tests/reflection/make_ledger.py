"""Ledgers for tests: keys, a roster, and well-formed bodies of every kind."""

from pathlib import Path
from typing import Any, NamedTuple

from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.lineage import genotype_hash

NOW = 1_790_000_000_000_000_000
HOUR = 3_600 * 10**9
SEARCH, TAPE, BTC = "5" * 64, "7" * 64, "BTC/USD.SIM"


class Cast(NamedTuple):
    """A ledger with a root, a person and a service of that person, and their keys."""

    folder: Path
    root: SigningKey
    person: SigningKey
    service: SigningKey

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder)


def make_cast(folder: Path) -> Cast:
    """Return a ledger of three entries."""
    names = ("root", "person", "service")
    keys = [SigningKey.generate(folder / f"{name}.pem") for name in names]
    ledger = Ledger.create(folder / "ledger", keys[0], "root", NOW)
    for name, key in zip(names[1:], keys[1:], strict=True):
        member = {"name": name, "role": name, "public": key.public}
        ledger.append("roster", {"add": member | ({"of": "person"} if name == "service" else {})}, keys[0], NOW)
    return Cast(folder / "ledger", *keys)


def digest(n: int) -> str:
    """Return a hash that stands for number `n`."""
    return f"{n:064x}"


def gene(n: int) -> str:
    """Return the hash of genotype `n`."""
    return genotype_hash({"n": n})


def search(**parts: Any) -> dict[str, Any]:
    """Return the body of a search: four hours of a tape to see and two held out, a budget of ten trials."""
    cells = [
        {"instrument": BTC, "regime": "flat-low", "start": str(NOW + a * HOUR), "end": str(NOW + b * HOUR), "holdout": held}
        for a, b, held in ((0, 2, False), (2, 4, False), (4, 6, True))
    ]
    body = {
        "search": SEARCH, "spec": {"parents": 4, "children": 3, "generations": 2}, "evaluator": {}, "evaluator_hash": digest(1), "seed": 1,
        "founders": [gene(0)], "cells": cells, "tapes": {BTC: TAPE}, "code_hash": digest(2), "domain": {},
    }  # fmt: skip
    return body | parts


def leaf(n: int = 0, **parts: Any) -> dict[str, Any]:
    """Return a trial: candidate `n`, whose parent is candidate `n` - 1; the first is a founder."""
    cell = {
        "instrument": BTC, "regime": "flat-low", "start": str(NOW), "end": str(NOW + 2 * HOUR), "decisions": 200,
        "fills": 7, "violations": 0, "net_return": 0.001 * n, "sharpe": None, "drawdown": 0.01, "turnover": 1.5,
        "killed": "", "fault": "", "returns": [0.001, 0.001 * (n + 2)],
        "exposure": 0.1, "passive": 0.5,
    }  # fmt: skip
    lineage = {"operator": "op_x" if n else "", "parents": [gene(n - 1)] if n else [], "words": "x"}
    body = {
        "search": SEARCH, "generation": n, "index": 0, "genotype": {"n": n}, "genotype_hash": gene(n),
        "policy_hash": digest(1000 + n), "lineage": lineage, "status": "scored", "why": "", "fitness": 0.5 * n,
        "cells": [cell],
    }  # fmt: skip
    return body | parts


def replay(n: int = 0, **parts: Any) -> dict[str, Any]:
    """Return the body of a manual replay."""
    body = {
        "search": "", "policy_hash": digest(1000 + n), "tapes": {BTC: digest(8)}, "why": "sim", "run_id": f"{n:016x}",
        "spans": [[str(NOW), str(NOW + HOUR)]], "concerns": [SEARCH], "genotype": None,
    }  # fmt: skip
    return body | parts


def outcome(trial: str, **parts: Any) -> dict[str, Any]:
    """Return the body of what came of a manual replay."""
    body = {
        "trial": trial, "decisions": 100, "fills": 3, "net_return": 0.01, "sharpe": 1.5, "drawdown": 0.02, "killed": "",
        "returns": [0.001, 0.002, 0.0],
    }  # fmt: skip
    return body | parts


def look(**parts: Any) -> dict[str, Any]:
    """Return the body of a look at held-out cells."""
    spans = [[str(NOW + 4 * HOUR), str(NOW + 5 * HOUR)]]
    return {"policy_hash": digest(1001), "tapes": {BTC: TAPE}, "spans": spans, "why": "sim"} | parts


def stage(n: int, origin: str, to: str, **parts: Any) -> dict[str, Any]:
    """Return the body of a move of policy `n`; upwards with a dossier and a verdict."""
    proof = "d" * 64 if (origin, to) in (("experiment", "paper"), ("paper", "pilot"), ("pilot", "limited_live")) else ""
    body = {"policy_hash": digest(1000 + n), "from": origin, "to": to, "why": "because", "dossier": proof, "verdict": proof}
    return body | parts


def verdict(n: int, **parts: Any) -> dict[str, Any]:
    """Return a verdict that holds for policy `n`."""
    return {"holds": True, "policy_hash": digest(1000 + n)} | parts
