"""The honest twin of all cheating strategies: made-up evidence that passes the promotion gate, and the parts of it.

:mod:`benchmarks.cheats` changes it in one way each.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np
import rfc8785
import yaml

import alphatrade.conf
from alphatrade.evolution.domain import Domain
from alphatrade.evolution.evidence import Evidence, PromotionSpec, Result, spots
from alphatrade.evolution.grid import Cell
from alphatrade.evolution.operators import OPERATORS
from alphatrade.evolution.provenance import fitness_of
from alphatrade.evolution.search import Search, SearchSpec
from alphatrade.evolution.trial import Outcome, row_from
from alphatrade.evolution.trial import leaf as leaf_of
from alphatrade.nodes.promote import promotion_spec
from alphatrade.nodes.settings import compose_settings
from alphatrade.strategies.policy import canonical

Plain = dict[str, Any]
HOUR, DAY = 3600 * 10**9, 86_400 * 10**9
NAME, SEARCH, OTHER = "BTC/USD.SIM", "5" * 64, "6" * 64
PLAN = {"parents": 4, "children": 6, "generations": 2, "operators": dict.fromkeys(OPERATORS, 1.0)}
SEEN, HELD = 8, 6
REGIMES = ("up-low", "flat-low", "down-high")
CONF = Path(alphatrade.conf.__file__).parent
OWN = (2, 3)  # generation and index of the candidate


@cache
def spec() -> PromotionSpec:
    """Return the gate's thresholds."""
    return promotion_spec()


def sha(value: Any) -> str:
    return hashlib.sha256(rfc8785.dumps(value)).hexdigest()


# -- the honest twin


def grid() -> list[Plain]:
    start = 1_700_000_000_000_000_000 // DAY * DAY
    return [
        {"instrument": NAME, "regime": REGIMES[at % 3], "start": start + at * DAY, "end": start + at * DAY + 23 * HOUR,
         "holdout": at >= SEEN}
        for at in range(SEEN + HELD)
    ]  # fmt: skip


def result(cell: Plain, returns: Sequence[float], **other: Any) -> Plain:
    found = {
        "instrument": cell["instrument"], "regime": cell["regime"], "start": str(cell["start"]),
        "end": str(cell["end"]), "decisions": 1300, "fills": 40, "violations": 0, "net_return": fsum(returns),
        "sharpe": 1.0, "drawdown": 0.01, "turnover": 3.0, "killed": "", "fault": "", "returns": list(returns),
        "exposure": 0.1, "passive": 0.5,
    }  # fmt: skip
    return found | other


def place_of(each: Plain) -> tuple[str, str]:
    return each["instrument"], each["start"]


def earned(rng: np.random.Generator, cells: Sequence[Plain], mean: float) -> list[Plain]:
    return [result(cell, rng.normal(mean, 1e-3, 23).tolist()) for cell in cells]


def worth(cells: list[Plain]) -> float | None:
    return fitness_of(tuple(Result.model_validate(cell) for cell in cells))


def look(policy_hash: str, cells: Sequence[Plain]) -> Plain:
    spans = [[str(cell["start"]), str(cell["end"])] for cell in cells if cell["holdout"]]
    return {"policy_hash": policy_hash, "tapes": {NAME: "7" * 64}, "spans": spans, "why": "promotion"}


def promoted(policy_hash: str, **parts: str) -> tuple[str, Plain, list[Plain]]:
    """Return a move, by default to paper."""
    proof = {"dossier": "d" * 64, "verdict": "d" * 64}
    return "stage", {"policy_hash": policy_hash, "from": "experiment", "to": "paper", "why": "dsr"} | proof | parts, []


def entered(*kinds: tuple[str, Plain, list[Plain]]) -> list[Plain]:
    return [
        {"seq": at, "hash": f"{at:064x}", "kind": kind, "body": body, "trials": trials, "role": "person"}
        for at, (kind, body, trials) in enumerate(kinds)
    ]


@cache
def honest() -> Evidence:
    """Return evidence that passes: a search of 16 trials, one of which has an edge, in and out of sample."""
    rng, cells, evaluator = np.random.default_rng(11), grid(), house()
    seen, held = cells[:SEEN], cells[SEEN:]
    (founder,) = [compose_settings(["genotype=default"]).genotype]
    assert founder is not None
    plan = SearchSpec.model_validate(PLAN)
    domain = Domain.model_validate(yaml.safe_load((CONF / "domain" / "default.yaml").read_text()))
    searching = Search(plan, domain, [founder], [Cell(**cell) for cell in seen])
    generations = []
    while bred := searching.ask():
        means = [6e-4 if (one.generation, one.place) == OWN else 0.0 for one in bred]
        found = [{place_of(each): each for each in earned(rng, seen, mean)} for mean in means]
        rows = [[row_from(each[cell.instrument, str(cell.start)]) for cell in searching.order] for each in found]
        outcomes = [Outcome("scored", "", tuple(each)) for each in rows]
        generations.append([leaf_of(SEARCH, one, outcome) for one, outcome in zip(bred, outcomes, strict=True)])
        searching.tell(outcomes)
    own = generations[OWN[0]][OWN[1]]
    search = {
        "search": SEARCH, "spec": canonical(plan), "evaluator": evaluator, "evaluator_hash": sha(evaluator),
        "seed": 1, "founders": [canonical(founder)],
        "cells": [cell | {"start": str(cell["start"]), "end": str(cell["end"])} for cell in cells],
        "tapes": {NAME: "7" * 64}, "code_hash": "8" * 64, "domain": canonical(domain),
    }  # fmt: skip
    holdout = earned(rng, held, 6e-4)
    costly = [result(cell, [x - 1e-4 for x in each["returns"]]) for cell, each in zip(held, holdout, strict=True)]
    batches = [("batch", {"n": len(each), "root": "0" * 64}, each) for each in generations]
    tests = [("truncation", 3), ("shuffle", 3), ("echo", 1)]
    leakage = [
        {"test": test, "instrument": NAME, "at": cell["start"] + at, "rows": 500, "score": 2.0, "leak": ""}
        for cell in (cells[0], held[0])
        for test, n in tests
        for at in range(n)
    ]
    return complete(
        {
            "policy_hash": own["policy_hash"], "genotype": own["genotype"], "search": SEARCH, "generation": OWN[0],
            "index": OWN[1], "code_hash": "8" * 64, "evaluator": evaluator, "tapes": {NAME: "7" * 64}, "grid": cells,
            "ledger": entered(
                ("genesis", {"roster": []}, []), ("search", search, []), *batches,
                ("look", look(own["policy_hash"], cells), []), promoted("a" * 64),
            ),
            "ledger_problems": [], "fingerprint": "9" * 64, "head": "5:" + "9" * 64, "again": [], "holdout": holdout,
            "costly": costly, "cost_multiple": 2.0,
            "incumbent": {"policy_hash": "a" * 64, "holdout": earned(rng, held, 0.0)}, "leakage": leakage,
            "red_team": [{"name": f"scenario_{at}", "passed": True} for at in range(17)],
            "latency": {"n": 5000, "p99": 400_000, "base_p99": 390_000},
        },
    )  # fmt: skip


def house() -> Plain:
    """Return the gate's evaluator: the identity of the default run, and of its grid."""
    run = compose_settings(["genotype=default"]).run
    facts = {"id": NAME, "maker_fee": "0.00001", "taker_fee": "0.00005", "reference": "quote", "half_spread_bps": 0.0}
    return {"run": run.identity(), "grid": {"period_s": 3600.0, "least": 100}, "instruments": [facts]}


def complete(plain: Plain, truth: Plain | None = None) -> Evidence:
    """Replay what the gate would replay: the candidate and the trials that are drawn, as they really are."""
    found = Evidence.model_validate(plain)
    real = truth if truth is not None else really(plain)
    places = [(found.generation, found.index), *spots(found, spec().spot)]
    again = [{"generation": g, "index": i, "cells": real.get((g, i), [])} for g, i in places]
    return Evidence.model_validate(plain | {"again": again})


def really(plain: Plain) -> Plain:
    return {(t["generation"], t["index"]): t["cells"] for record in plain["ledger"] for t in record["trials"]}
