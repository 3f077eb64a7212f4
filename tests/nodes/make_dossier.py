"""A small search with made-up outcomes in a real ledger, the evidence of its best trial, and a gate that replays nothing."""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import rfc8785
from hydra import compose, initialize_config_module

from alphatrade.evolution.evidence import Again, Evidence, GridCell, PromotionSpec, Result
from alphatrade.evolution.fitness import Measured, Row
from alphatrade.evolution.grid import Cell
from alphatrade.evolution.search import Search
from alphatrade.evolution.trial import Candidate, Outcome, cell_plain, leaf, outcome_plain
from alphatrade.nodes import dossier
from alphatrade.nodes.evolve import SearchSettings, evaluator, grid_of, search_settings
from alphatrade.nodes.identity import code_hash
from alphatrade.nodes.overrides import CONFIG_MODULE, completed
from alphatrade.nodes.promote import promotion_spec, records
from alphatrade.nodes.sim import load_tapes
from alphatrade.reflection.ledger import Ledger
from alphatrade.strategies.policy import canonical
from tests.reflection.make_ledger import NOW, Cast, make_cast

WORDS = (
    *("cadence.n=3", "grid.block_s=3600", "grid.embargo_s=600", "grid.period_s=600"),
    *("grid.least=20", "grid.holdout=0.25", "search.parents=3", "search.children=3", "search.generations=1"),
    "search.race=null",
)


WORLD = ("tape=world", "tape.hours=4")


class Made(NamedTuple):
    """A dossier, what it was made of, and who signed it."""

    path: Path
    data: bytes
    evidence: Evidence
    spec: PromotionSpec
    settings: dict[str, Any]
    own: SearchSettings
    cast: Cast

    @property
    def policy_hash(self) -> str:
        return self.evidence.policy_hash

    def gate(self, *_: Any, **__: Any) -> Evidence:
        """Gather the same again, but for the wall clock."""
        return self.evidence.model_copy(update={"latency": self.evidence.latency})


def composed(folder: Path, *words: str) -> SearchSettings:
    """Return the settings of the search."""
    full = completed(
        [*WORDS, *words, f"paths.artifacts={folder / 'artifacts'}", f"paths.state={folder / 'state'}"], "evolve"
    )
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        config = compose("evolve", overrides=[one for one in full if not one.startswith("hydra")])
    return search_settings(config)


def played(one: Candidate, cells: list[Cell], period: int) -> Outcome:
    """Make up what came of a candidate."""
    small = int(one.genotype.genotype_hash[:6], 16) / 16**6
    rows = []
    for at, cell in enumerate(cells):
        returns = tuple([1e-4 * (small - 0.5 + 0.1 * k) for k in range((cell.end - cell.start) // period)])
        found = Measured(200 + at, 5, 0, 1e-3 * small, None, 0.01, 2.0, "", returns, 0.1, 0.5)
        rows.append(Row(cell, found, ""))
    return Outcome("scored", "", tuple(rows))


def result(plain: dict[str, Any]) -> Result:
    return Result.model_validate({name: plain[name] for name in Result.model_fields})


def sha(plain: Any) -> str:
    return hashlib.sha256(rfc8785.dumps(plain)).hexdigest()


def make(folder: Path, words: tuple[str, ...] = WORLD, cast: Cast | None = None) -> Made:
    """Return a dossier of a search without replays; by default in a ledger of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    own, cast = composed(folder, *words), cast or make_cast(folder)
    tapes = load_tapes(own.settings.run)
    cells = grid_of(tapes, own.grid)
    body = {
        "spec": canonical(own.search), "domain": canonical(own.domain), "founders": [canonical(own.genotype)],
        "cells": [cell_plain(cell) for cell in cells], "evaluator": evaluator(own, tapes),
        "evaluator_hash": sha(evaluator(own, tapes)), "tapes": {tape.instrument.id: tape.tape_hash for tape in tapes},
        "seed": own.search.seed, "code_hash": code_hash(),
    }  # fmt: skip
    name = sha(body)
    ledger = cast.ledger
    ledger.append("search", {"search": name, **body}, cast.service, NOW)
    search = Search(own.search, own.domain, [own.genotype], [cell for cell in cells if not cell.holdout])
    play = partial(played, cells=search.order, period=int(own.grid.period_s * 1e9))
    while bred := search.ask():
        outcomes = [play(one) for one in bred]
        ledger.append_batch([leaf(name, *both) for both in zip(bred, outcomes, strict=True)], cast.service, NOW)
        search.tell(outcomes)
    best = max((trial for trial in search.trials), key=lambda trial: trial.fitness)
    trial = leaf(name, best.candidate, best.outcome)
    held = [
        result(one)
        for one in outcome_plain(played(best.candidate, [c for c in cells if c.holdout], 600 * 10**9))["cells"]
    ]
    head = ledger.chain.head
    evidence = Evidence(
        policy_hash=trial["policy_hash"], genotype=trial["genotype"], search=name, generation=trial["generation"],
        index=trial["index"], code_hash=code_hash(), evaluator=body["evaluator"], tapes=body["tapes"],
        grid=tuple([GridCell.model_validate(cell._asdict()) for cell in cells]), ledger=records(cast.folder),
        ledger_problems=(), fingerprint=ledger.chain.fingerprint, head=f"{head.seq}:{head.hash}",
        again=(Again(generation=trial["generation"], index=trial["index"], cells=tuple(map(result, trial["cells"]))),),
        holdout=tuple(held), costly=tuple(held), cost_multiple=2.0,
        latency={"n": 100, "p99": 200_000, "base_p99": 190_000},
    )  # fmt: skip
    settings = {
        "run": own.settings.run.model_dump(mode="json"), "grid": canonical(own.grid),
        "search": canonical(own.search), "domain": canonical(own.domain),
    }  # fmt: skip
    spec = promotion_spec()
    path = dossier.write_dossier(evidence, spec, settings, own, cast.folder, [cast.service])
    return Made(path, path.read_bytes(), evidence, spec, settings, own, cast)


def judged_at(made: Made, ledger: Ledger, **parts: Any) -> bytes:
    """Return the dossier of a judgement at today's head of a ledger."""
    folder, head = ledger.folder, ledger.chain.head
    told = {"ledger": records(folder), "head": f"{head.seq}:{head.hash}"} | parts
    evidence = made.evidence.model_copy(update=told)
    return dossier.write_dossier(evidence, made.spec, made.settings, made.own, folder, [made.cast.service]).read_bytes()
