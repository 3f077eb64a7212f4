"""Searches in planted and in null worlds, each before the real gate: what is promoted, and what is not.

The planted world reverts, but for six hours of every second day, in which it wanders without any edge. Of the
topologies in its domain only ``passive_reversion`` earns after costs, with most parameters. What is bred may trade
in one regime of the policy, the flat and quiet one, which is nearly always in force; the founders stand aside there,
too, or follow momentum. A null world only wanders, and nobody in it may stand aside: the best is the luckiest.
"""

import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from functools import cache, partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from hydra import compose, initialize_config_module
from tqdm import tqdm

from alphatrade.actors.regime import REGIMES
from alphatrade.evolution.domain import TopologyDomain
from alphatrade.evolution.evidence import Evidence
from alphatrade.evolution.fitness import table
from alphatrade.evolution.genotype import Gene, Genotype, develop
from alphatrade.evolution.operators import OPERATORS, PAIRINGS
from alphatrade.evolution.plan import Plan
from alphatrade.evolution.promotion import CHECKS, REFUSED, judge, out_of_sample
from alphatrade.evolution.search import Search, Trial
from alphatrade.evolution.statistics import deflated_sharpe, moments, sampling_variance
from alphatrade.evolution.trial import Outcome, leaf
from alphatrade.nodes import promote
from alphatrade.nodes.evaluate import replays
from alphatrade.nodes.evolve import SearchSettings, evaluator, grid_of, search_settings, tapes_of
from alphatrade.nodes.identity import code_hash
from alphatrade.nodes.ledger_home import Home, home
from alphatrade.nodes.overrides import CONFIG_MODULE, completed
from alphatrade.nodes.refusals import checked
from alphatrade.strategies.policy import FeatureSpec
from benchmarks.evolve_gate import COMMAND, clopper_pearson, rate
from benchmarks.figures import ROOT, Figure

HELD_OUT = tuple(range(413_001, 413_021))  # of the figures; 9001 …, 410001 … to 412001 … shaped the world
NULL = tuple(range(420_001, 420_201))
TOPOLOGY, REGIME = "passive_reversion", "flat-low"
SHIFTS = ",".join(["revert:24", "revert:18", "calm:6"] * 8)  # days of two volatilities
WORLD = (
    "tape=world", "tape.step_s=60", "tape.alpha=0", "tape.halts=0", "tape.gaps=0",
    "tape.bad_prints=0", "tape.stale_after_s=400", "genotype.cadence.kind=events", "genotype.cadence.n=3",
    "genotype.regime.window=20", "genotype.regime.vol_short=10", "genotype.regime.vol_long=60",
    "genotype.regime.vol_enter=2.0", "~genotype.features.vol_ratio", "~domain.features.vol_ratio", "search.race=null",
    "search.mode=plus", "search.parents=8", "search.children=8",
)  # fmt: skip
FLAT = Gene(kind="flat")
MOMENTUM = Gene(kind="taker_momentum", params={"signal": "ret_5", "enter": 1.5, "leave": 0.0, "hold_min": 5})
REVERSION = Gene(kind=TOPOLOGY, params={"signal": "ret_1", "enter": 0.7, "offset": 0.3, "profit": 1.0, "hold_max": 5})
BREEDING = dict.fromkeys([*OPERATORS, *PAIRINGS], 0.25) | {
    "op_swap_execution_topology": 8.0, "op_mutate_tunable": 3.0, "op_crossover": 1.0, "op_mix_strategies": 0.0,
}  # fmt: skip
SPANS = {  # of the planted topology, where most of what may be drawn earns
    "enter": {"low": 0.5, "high": 0.7},
    "offset": {"low": 0.15, "high": 0.32},
    "profit": {"low": 0.25, "high": 0.6},
    "hold_max": {"low": 5, "high": 12, "whole": True},
}
FEW = 5  # steps of a return that may be a signal
TUNED = ("router.min_hold", "sizing.fraction", "sizing.vol_target_bps")
TUNING = {"op_mutate_tunable": 1.0}
STATISTICAL = ("net", "dsr", "looks", "pbo", "incumbent", "holdout", "sample")


class Arm(NamedTuple):
    """A kind of search: world, founders, what may trade in which regimes, operators, generations, cells."""

    name: str
    tape: tuple[str, ...]
    schedule: str
    founders: tuple[Gene, ...]
    kinds: tuple[str, ...]
    regimes: tuple[str, ...]
    operators: Mapping[str, float]
    generations: int
    cells: str


LONG = ("tape.hours=384", "grid.holdout=0.62")  # six days to search, ten to tell an edge from luck
CHEAP = ("tape.hours=264", "grid.holdout=0.455", "tape.price=1000", "tape.taker_fee=0.00001")  # luck can win
TRADING = ("breakout_stop", TOPOLOGY, "taker_momentum")
ARMS = {
    "topology": Arm("topology", LONG, SHIFTS, (FLAT, MOMENTUM), ("flat", *TRADING), (REGIME,), BREEDING, 4, "null"),
    "parameters": Arm("parameters", LONG, SHIFTS, (FLAT, MOMENTUM), ("flat", *TRADING), (REGIME,), TUNING, 4, "null"),
    "null": Arm("null", CHEAP, "calm", (MOMENTUM, REVERSION), TRADING, REGIMES, BREEDING, 2, "4"),
}


@cache
def setup(arm: str) -> str:
    """Return a digest of what is searched, how, and what the gate is: a finished search of another is not counted."""
    told = hashlib.sha256(repr((WORLD, ARMS[arm], SPANS, TUNED, FEW, MOMENTUM, REVERSION)).encode())
    for pattern in ("evolution/*.py", "nodes/promote.py", "nodes/evaluate.py", "conf/promotion/*", "conf/domain/*"):
        for path in sorted(ROOT.glob(pattern)):
            told.update(path.read_bytes())
    return told.hexdigest()[:12]


def founder(genotype: Genotype, gene: Gene, regimes: Sequence[str] = REGIMES) -> Genotype:
    """Return a genotype in which one topology trades in some regimes, and nothing in the others."""
    topologies = {regime: (gene if regime in regimes else FLAT,) for regime in REGIMES}
    return genotype.model_copy(update={"topologies": topologies, "features": fast(genotype.features)})


def fast(features: Mapping[str, FeatureSpec]) -> dict[str, FeatureSpec]:
    """Return features without the returns of many steps: what reverts has done so within a few."""
    return {name: spec for name, spec in features.items() if spec.kind != "ret" or spec.n <= FEW}


def given(arm: Arm, seed: int, state: Path) -> SearchSettings:
    """Return the settings of a search; the world and the search have the same seed."""
    words = [*WORLD, *arm.tape, f"tape.seed={seed}", f"tape.schedule=[{arm.schedule}]", f"search.seed={seed}"]
    words += [f"paths.state={state}", f"paths.artifacts={state}", f"search.generations={arm.generations}"]
    words.append(f"search.cells={arm.cells}")
    full = [one for one in completed(words, "evolve") if not one.startswith("hydra")]
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        own = search_settings(compose("evolve", overrides=full))
    topologies = {kind: own.domain.topologies[kind] for kind in arm.kinds}
    if arm.schedule == SHIFTS:
        plain = topologies[TOPOLOGY].model_dump() | {"params": SPANS, "signal": ["ret"]}
        topologies[TOPOLOGY] = checked(TopologyDomain, plain, "domain")
    never = tuple([regime for regime in REGIMES if regime not in arm.regimes])
    topologies |= {kind: topologies[kind].model_copy(update={"never": never}) for kind in TRADING}
    tunables = {path: own.domain.tunables[path] for path in TUNED}
    return own._replace(
        domain=own.domain.model_copy(
            update={"topologies": topologies, "tunables": tunables, "features": fast(own.domain.features)}
        ),
        search=own.search.model_copy(update={"operators": dict(arm.operators)}),
    )


def searched(own: SearchSettings, founders: list[Genotype], keeper: Home, folder: Path) -> tuple[str, Search]:
    """Search in this process, everything entered into the ledger as the sweeper enters it."""
    tapes = tapes_of(own.settings)
    hashes = {tape.instrument.id: tape.tape_hash for tape in tapes}
    plan = Plan(own.search, own.domain, founders, grid_of(tapes, own.grid), evaluator(own, tapes), hashes,
                code_hash(), lambda _: folder, keeper)  # fmt: skip
    body = plan.body()
    keeper.append_once("search", body)
    search = Search(own.search, own.domain, founders, [cell for cell in plan.cells if not cell.holdout])
    measure = replays(own.settings, tapes, own.grid.period_s)
    while bred := search.ask():
        policies = [develop(one.genotype) for one in bred]
        found = [Outcome("scored", "", tuple(table(one, search.order, measure, own.grid.least))) for one in policies]
        keeper.append_generation([leaf(body["search"], one, came) for one, came in zip(bred, found, strict=True)])
        search.tell(found)
    return body["search"], search


def gate(own: SearchSettings, name: str, best: Trial, keeper: Home) -> tuple[bool, list[str], bool]:
    """
    Return whether the real gate promotes the best trial, what refuses it, and whether it would pass undeflated.

    A policy is promoted if all checks hold; so the checks that need only its held-out replays come first, and the rest
    of the evidence is gathered only where they hold: the result is the same.
    """
    spec, tapes = promote.promotion_spec(), tapes_of(own.settings)
    policy, cells = develop(best.candidate.genotype), grid_of(tapes, own.grid)
    held = [cell for cell in cells if cell.holdout]
    for tape in tapes:
        spans = [[str(cell.start), str(cell.end)] for cell in held]
        look = {"policy_hash": policy.policy_hash, "tapes": {tape.instrument.id: tape.tape_hash}, "spans": spans}
        keeper.append("look", look | {"why": "the gate"})
    ledger = keeper.ledger
    play = promote._player(own, tapes, lambda: None)
    dear = own.settings.run.venue.model_copy(update={"cost_multiple": spec.cost_multiple})
    first = Evidence(
        policy_hash=policy.policy_hash, search=name, generation=best.candidate.generation,
        index=best.candidate.place, code_hash=code_hash(), evaluator=evaluator(own, tapes),
        tapes={tape.instrument.id: tape.tape_hash for tape in tapes}, cost_multiple=spec.cost_multiple,
        grid=tuple([promote.GridCell.model_validate(cell._asdict()) for cell in cells]),
        ledger=promote.records(ledger.folder), holdout=play(policy, held),
        costly=play(policy, held, own.settings.run.model_copy(update={"venue": dear})),
    )  # fmt: skip
    refused = [check for check in STATISTICAL if not holds(check, first, spec)]
    try:
        found = moments(out_of_sample(first))
        undeflated = deflated_sharpe(found, sampling_variance(found), 1) > 0.95 and holds("net", first, spec)
    except REFUSED:
        undeflated = False
    if refused:
        return False, refused, undeflated
    claim = promote.Claim(name, best.candidate.generation, best.candidate.place)
    evidence = promote.gather(own, ledger.folder, claim, spec)
    verdict = judge(evidence, spec)
    return verdict.promoted, list(verdict.refused), undeflated


def holds(check: str, evidence: Evidence, spec: promote.PromotionSpec) -> bool:
    """Return whether one check of the gate holds; what cannot be read does not."""
    try:
        return not CHECKS[check](evidence, spec).why
    except REFUSED:
        return False


def planted_in(genotype: Mapping[str, Any]) -> bool:
    """Return whether a genotype has the planted topology in the regime where it earns."""
    return bool(genotype["topologies"][REGIME][0]["kind"] == TOPOLOGY)


def one(job: tuple[str, int]) -> dict[str, Any]:
    """Make one search with a ledger of its own, bring its best trial before the gate, and return what came of it."""
    arm, seed = ARMS[job[0]], job[1]
    began = time.monotonic()
    with TemporaryDirectory(prefix="alphatrade-bench-") as folder, redirect_stderr(StringIO()):
        state = Path(folder)
        os.environ["ALPHATRADE_STATE"] = folder
        own, keeper = given(arm, seed, state), home(state / "ledger")
        founders = [founder(own.genotype, gene, arm.regimes) for gene in arm.founders]
        name, search = searched(own, founders, keeper, state)
        searching, best = time.monotonic() - began, search.best()[0]
        promoted, refused, undeflated = gate(own, name, best, keeper)
    genotype = best.candidate.genotype.model_dump(mode="json")
    return {
        "arm": arm.name, "seed": seed, "trials": len(search.trials), "cells": len(search.order),
        "fitness": best.fitness, "planted": planted_in(genotype), "promoted": promoted, "refused": refused,
        "undeflated": undeflated, "search_s": round(searching, 1), "all_s": round(time.monotonic() - began, 1),
        "code_hash": code_hash(), "setup": setup(arm.name),
    }  # fmt: skip


def finished(path: Path) -> list[dict[str, Any]]:
    """Return the searches of a file; one of another setup, or a line that a kill has cut short, does not count."""
    lines = path.read_text("utf-8").split("\n")[:-1] if path.is_file() else []
    found = [json.loads(line) for line in lines]
    return [each for each in found if each.get("setup") == setup(each["arm"])]


def run(jobs: list[tuple[str, int]], path: Path, workers: int, work: Callable[..., dict[str, Any]] = one) -> list[Any]:
    """Return the results of all jobs, making only those that the file has not, each kept as soon as it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = finished(path)
    path.write_text("".join(json.dumps(each) + "\n" for each in known), "utf-8")
    done = {(each["arm"], each["seed"]) for each in known}
    left = [job for job in jobs if job not in done]
    with multiprocessing.get_context("spawn").Pool(workers, maxtasksperchild=20) as pool, path.open("a") as file:
        for each in tqdm(pool.imap(work, left), total=len(left), desc=path.stem, unit="search"):
            file.write(json.dumps(each) + "\n")
            file.flush()
            os.fsync(file.fileno())
    return [each for each in finished(path) if (each["arm"], each["seed"]) in set(jobs)]


def planted(out: Path, seeds: int, workers: int) -> list[Figure]:
    """Return how often the planted topology is promoted, and what a search of parameters comes to."""
    jobs = [(arm, seed) for seed in HELD_OUT[:seeds] for arm in ("topology", "parameters")]
    return planted_rows(run(jobs, out / "evolve" / "planted.jsonl", workers))


def planted_rows(results: list[Any]) -> list[Figure]:
    """Return the rows of planted worlds; a target for 20 seeds is not met by fewer."""
    free, bound = ([each for each in results if each["arm"] == arm] for arm in ("topology", "parameters"))
    command = partial("{} --only {}".format, COMMAND)("planted")
    won = sum(each["promoted"] and each["planted"] for each in free)
    passed = sum(each["promoted"] for each in bound)
    return [
        Figure("evolve.planted", f"planted topology promoted, of {len(free)} seeds", won, "seeds", ">= 18", won >= 18,
               len(free), clopper_pearson(won, len(free)), command),
        Figure("evolve.parameters", f"promoted by parameters alone, of {len(bound)} seeds", passed, "seeds", "== 0",
               passed == 0 and len(bound) > 0, len(bound), clopper_pearson(passed, len(bound)), command),
    ]  # fmt: skip


def null(out: Path, searches: int, workers: int) -> list[Figure]:
    """Return how often anything is promoted where nothing earns, by the gate and without deflation."""
    results = run([("null", seed) for seed in NULL[:searches]], out / "evolve" / "null.jsonl", workers)
    command = f"{COMMAND} --only null"
    rows = [rate("evolve.null", "promoted in null worlds, upper 95 % bound", [r["promoted"] for r in results],
                 "<= 0.05", command)]  # fmt: skip
    plain = [r["undeflated"] for r in results]
    return [*rows, rate("evolve.null_plain", "the same, PSR > 0.95 and net > 0 alone", plain, "", command)]


def label(out: Path) -> list[Figure]:
    """Return how far fitness and behaviour differ between a topology and the same class by its import path."""
    arm = ARMS["topology"]
    with TemporaryDirectory(prefix="alphatrade-bench-") as folder:
        own = given(arm, 9_001, Path(folder))
        tapes = tapes_of(own.settings)
        measure = replays(own.settings, tapes, own.grid.period_s)
        path = "alphatrade.strategies.topologies.passive_reversion:PassiveReversion"
        found = []
        for gene in (REVERSION, Gene(kind=path, params=REVERSION.params)):
            policy = develop(founder(own.genotype, gene))
            found.append([measure(policy, cell) for cell in grid_of(tapes, own.grid)[:2]])
    differing = sum(one != other for one, other in zip(*found, strict=True))
    what = "cells in which the same behaviour under another label measures otherwise"
    return [Figure("evolve.label", what, differing, "cells", "== 0", differing == 0 and found[0][0].fills > 0,
                   len(found[0]), None, f"{COMMAND} --only label")]  # fmt: skip
