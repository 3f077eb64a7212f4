"""Provenance: whether a candidate is what it is said to be, as far as the ledger and a replay can show.

A check takes evidence and spec and returns a figure, its target, and why it does not hold: empty where it does. What
it cannot read it lets raise; :func:`alphatrade.evolution.promotion.judge` takes that for a no.
"""

import hashlib
from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple

import rfc8785

from alphatrade.actors.features import load_class
from alphatrade.evolution.domain import Domain
from alphatrade.evolution.evidence import Evidence, PromotionSpec, Result, search_of, spots, trials_of
from alphatrade.evolution.fitness import Measured, Row, fitness
from alphatrade.evolution.genotype import Genotype, develop
from alphatrade.evolution.grid import Cell
from alphatrade.evolution.search import Search, SearchSpec
from alphatrade.evolution.search import transcript as bred_again
from alphatrade.evolution.trial import cell_from
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.tightness import as_tight
from alphatrade.strategies.topologies import BUILT_IN, Topology

CONSERVATIVE = ("exact_latency", "assumed_spread", "adaptive_bars", "queue_position", "liquidity_consumption")

IN_ITSELF = "nothing wrong in itself; judge was given no fingerprint and head to compare it with"


class Finding(NamedTuple):
    """What a check measured, what it asks for, and why it does not hold; `why` is empty where it does."""

    figure: float | int | str
    target: str
    why: str = ""


Check = Callable[[Evidence, PromotionSpec], Finding]


def ledger(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask for a ledger that was checked: in itself, and against what somebody else has kept of it, if anything."""
    kept = [name for name in ("fingerprint", "head") if getattr(evidence, name)]
    target = f"nothing wrong, by the {' and the '.join(kept)} that judge was given" if kept else IN_ITSELF
    if evidence.ledger_problems is None:
        return Finding("not checked", target, "the ledger was not checked")
    return Finding(len(evidence.ledger_problems), target, "; ".join(evidence.ledger_problems[:1]))


def trial(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask for the candidate itself among the scored trials of a search that was entered before its trials."""
    target, found = "a scored trial of a search in the ledger", candidate(evidence)
    search_of(evidence)
    (began,) = [r.seq for r in evidence.ledger if r.kind == "search" and r.body["search"] == evidence.search]
    of_search = [r.seq for r in evidence.ledger if any(t["search"] == evidence.search for t in r.tried)]
    if min(of_search) < began:
        return Finding(found["status"], target, "trials were entered before their search")
    why = "" if found["status"] == "scored" else f"it is {found['status']}: {found['why']}"
    return Finding(found["status"], target, why)


def policy(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask that genotype, label and policy are one thing, for the candidate and for all that it descends from."""
    target, own = "the policy that its genotype develops into", candidate(evidence)
    if evidence.genotype is None:
        return Finding("no genotype", target, "there is no genotype to develop")
    claimed = Genotype.model_validate(evidence.genotype).genotype_hash
    if claimed != own["genotype_hash"]:
        return Finding(claimed[:12], target, f"the trial's genotype is {own['genotype_hash'][:12]}")
    for each in (own, *ancestors(evidence)[0]):
        place, genotype = _place(each), Genotype.model_validate(each["genotype"])
        if genotype.genotype_hash != each["genotype_hash"]:
            return Finding(each["genotype_hash"][:12], target, f"trial {place}: its genotype has another hash")
        if develop(genotype).policy_hash != each["policy_hash"]:
            return Finding(each["policy_hash"][:12], target, f"trial {place}: its genotype develops otherwise")
    why = "" if own["policy_hash"] == evidence.policy_hash else f"the trial's policy is {own['policy_hash'][:12]}"
    return Finding(evidence.policy_hash[:12], target, why)


def lineage(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask that it descends from the founders through trials of its own search."""
    found, wrong = ancestors(evidence)
    return Finding(len(found), "ancestors among earlier trials, up to founders of the search", "; ".join(wrong[:1]))


def template(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask that no limit of the risk template is looser than those of any ancestor."""
    target = "no limit looser than that of an ancestor"
    own = Genotype.model_validate(candidate(evidence)["genotype"]).risk
    risks = [(_place(each), Genotype.model_validate(each["genotype"]).risk) for each in ancestors(evidence)[0]]
    looser = [place for place, risk in risks if not as_tight(own, risk)]
    return Finding(len(looser), target, f"it is looser than trial {looser[0]}" if looser else "")


def rules(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask that no topology trades in a regime that the house forbids it, under whatever name."""
    own = Genotype.model_validate(candidate(evidence)["genotype"]).topologies
    kinds = {kind: load_class(kind, BUILT_IN, Topology, "promotion.never") for kind in spec.never}
    wrong = [
        f"{gene.kind} in {regime}"
        for regime, genes in sorted(own.items())
        for gene in genes
        for kind, never in sorted(spec.never.items())
        if regime in never and issubclass(load_class(gene.kind, BUILT_IN, Topology, "genotype.topologies"), kinds[kind])
    ]
    told = "; ".join(f"no {kind} in {', '.join(never)}" for kind, never in sorted(spec.never.items()))
    return Finding(len(wrong), told or "nothing is forbidden", "; ".join(wrong[:1]))


def transcript(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask that the search, bred again from what is entered of its trials, comes to the same trials, all of them."""
    search, own = search_of(evidence), trials_of(evidence, evidence.search)
    seen = [cell_from(cell) for cell in search["cells"] if not cell["holdout"]]
    founders = [Genotype.model_validate(each) for each in search["founders"]]
    again = Search(SearchSpec.model_validate(search["spec"]), Domain.model_validate(search["domain"]), founders, seen)
    return Finding(len(own), "every trial as it was bred, none left out", bred_again(again, evidence.search, own))


def evaluator(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask that the search measured with what the gate measures with, on the same tapes and by the same code."""
    search, target = search_of(evidence), "the evaluator, tapes and code of the gate"
    whole: Any = search["evaluator"]
    known = hashlib.sha256(rfc8785.dumps(whole)).hexdigest()
    wrong = [
        name
        for name, same in (
            ("its hash is of another one", known == search["evaluator_hash"]),
            ("it measured with another one", search["evaluator"] == evidence.evaluator),
            ("it used other tapes", search["tapes"] == evidence.tapes),
            ("it was run by other code", search["code_hash"] == evidence.code_hash),
        )
        if not same
    ]
    return Finding(known[:12], target, "; ".join(wrong))


def costs(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask that replays are charged what the house charges, whatever search and gate agree on."""
    run, facts, floor = evidence.evaluator["run"], evidence.evaluator["instruments"], spec.venue
    venue = run["venue"]
    light = [name for name in CONSERVATIVE if venue[name] is not True]
    light += [name for name in ("maker_fee", "taker_fee") if venue[name] is not None]
    light += [n for n in ("cost_multiple", "prob_slippage", "latency_ms") if not float(venue[n]) >= getattr(floor, n)]
    light += ["prob_fill_on_limit"] if not float(venue["prob_fill_on_limit"]) <= floor.prob_fill_on_limit else []
    told = [f"{name} {venue[name]}" for name in light]
    told += [] if run["flat_at_end"] is True else ["flat_at_end false: the last positions are never closed"]
    told += [] if {each["id"] for each in facts} == set(evidence.tapes) else ["instruments of other tapes"]
    for each in facts:
        asked = ["maker_fee", "taker_fee", *["half_spread_bps"] * (each["reference"] != "quote")]
        told += [f"{each['id']} {n} {each[n]}" for n in asked if not float(each[n]) >= getattr(floor, n)]
    charged = ", ".join(f"{each['id']} {each['maker_fee']}/{each['taker_fee']}" for each in facts)
    target = "no lighter than promotion.venue (maker/taker)"
    return Finding(charged or "nothing", target, f"too light: {', '.join(told)}" if told else "")


def cells(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask that the search's cells are all that the gate cuts from the tapes, and the same held out."""
    names = ("instrument", "regime", "start", "end", "holdout")
    claimed = [tuple(str(cell[name]) for name in names) for cell in search_of(evidence)["cells"]]
    cut = [tuple(str(getattr(cell, name)) for name in names) for cell in evidence.grid]
    target = f"{len(cut)} cells, {len(evidence.held_out)} of them held out"
    if not cut or {cell.instrument for cell in evidence.grid} != set(evidence.tapes):
        return Finding(len(cut), target, "the gate has not cut every tape")
    missing, more = len(set(cut) - set(claimed)), len(set(claimed) - set(cut))
    why = f"{missing} cells are missing, {more} are others" if sorted(cut) != sorted(claimed) else ""
    return Finding(len(claimed), target, why)


def recomputed(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask that replays of the candidate, and of trials drawn by a hash over all, give what the ledger says."""
    wanted = [(evidence.generation, evidence.index), *spots(evidence, spec.spot)]
    target = f"{len(wanted)} trials as entered"
    again = {(each.generation, each.index): each.cells for each in evidence.again}
    places = [(cell.instrument, cell.start, cell.end) for cell in evidence.seen]
    if len(wanted) <= spec.spot:
        return Finding(len(wanted), target, f"fewer than {spec.spot} other trials were scored")
    for done, place in enumerate(wanted):
        if place not in again:
            return Finding(done, target, f"trial {place} was not replayed")
        entered = _at(evidence, *place)
        found = [Result.model_validate(cell) for cell in entered["cells"]]
        if sorted(each.place for each in found) != sorted(places):
            return Finding(done, target, f"trial {place} is not of the cells that its search has seen")
        own = tuple(each for each in again[place] if each.place in places)  # the gate replays in all that may be seen
        if sorted(found, key=_by_place) != sorted(own, key=_by_place):
            return Finding(done, target, f"trial {place}: a replay gives other results")
        if fitness_of(own) != entered["fitness"]:
            return Finding(done, target, f"trial {place}: its results give another fitness")
    return Finding(len(wanted), target)


def candidate(evidence: Evidence) -> dict[str, Any]:
    """Return the candidate's own trial."""
    return _at(evidence, evidence.generation, evidence.index)


def ancestors(evidence: Evidence) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the trials that the candidate descends from, founders included, and what is wrong with its lineage."""
    founders = {Genotype.model_validate(each).genotype_hash for each in search_of(evidence)["founders"]}
    earlier: dict[str, dict[str, Any]] = {}
    for each in sorted(trials_of(evidence, evidence.search), key=_place):
        earlier.setdefault(each["genotype_hash"], each)  # where it came up first
    todo, found, wrong = [candidate(evidence)], dict[str, dict[str, Any]](), list[str]()
    while todo:
        child = todo.pop()
        parents = child["lineage"]["parents"]
        if not parents and child["genotype_hash"] not in founders:
            wrong.append(f"{child['genotype_hash'][:12]} has no parents and is no founder")
        for name in parents:
            if name not in earlier or _place(earlier[name]) >= _place(child):
                wrong.append(f"{name[:12]} is no earlier trial")
            elif name not in found:
                found[name] = earlier[name]
                todo.append(earlier[name])
    return list(found.values()), wrong


def _at(evidence: Evidence, generation: int, index: int) -> dict[str, Any]:
    found = [each for each in trials_of(evidence, evidence.search) if _place(each) == (generation, index)]
    if len(found) != 1:
        raise ConfigError("trial", f"{len(found)} at {(generation, index)} of the search", "one")
    return found[0]


def _place(each: dict[str, Any]) -> tuple[int, int]:
    return int(each["generation"]), int(each["index"])


def _by_place(result: Result) -> tuple[str, int, int]:
    return result.place


def fitness_of(results: tuple[Result, ...]) -> float | None:
    """Return the fitness as the ledger has it: None for what has none."""
    rows = []
    for each in results:
        measured = Measured(**{name: getattr(each, name) for name in Measured._fields})
        rows.append(Row(Cell(each.instrument, each.regime, each.start, each.end, False), measured, each.fault))
    value = fitness(rows)
    return None if value == -inf else value


CHECKS: dict[str, Check] = {
    "ledger": ledger, "trial": trial, "policy": policy, "lineage": lineage, "template": template, "rules": rules,
    "transcript": transcript, "evaluator": evaluator, "costs": costs, "cells": cells, "recomputed": recomputed,
}  # fmt: skip
