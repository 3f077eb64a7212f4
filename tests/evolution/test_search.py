"""The search as a pure function of outcomes: reproducible, elitist, fair, resumable, and a transcript that tells."""

import copy
from collections import Counter
from math import isfinite
from typing import Any

import pytest

from alphatrade.evolution.domain import Domain
from alphatrade.evolution.fitness import Measured, Row
from alphatrade.evolution.genotype import Genotype
from alphatrade.evolution.grid import Cell
from alphatrade.evolution.schedule import RaceSpec, fair, hopeless
from alphatrade.evolution.search import Search, SearchSpec, transcript
from alphatrade.evolution.trial import Candidate, Outcome, leaf, outcome_from, outcome_plain
from alphatrade.risk.errors import ConfigError
from tests.evolution.test_genotype import composed

REGIMES = ("down-low", "flat-high", "up-low")
CELLS = [Cell("X/USD.SIM", REGIMES[at % 3], 10 * at, 10 * at + 9, False) for at in range(9)]
OPERATORS = {"op_swap_execution_topology": 2.0, "op_mutate_tunable": 2.0, "op_crossover": 1.0, "op_mix_strategies": 1.0}


@pytest.fixture(scope="module")
def founder() -> Genotype:
    return composed()


def spec(**changed: Any) -> SearchSpec:
    plain = {"parents": 4, "children": 5, "generations": 3, "operators": OPERATORS, "race": None} | changed
    return SearchSpec.model_validate(plain)


def played(one: Candidate, cells: list[Cell]) -> Outcome:
    """A world without replays: a breakout earns in flat-high, all else is the genotype's own small number."""
    small = int(one.genotype.genotype_hash[:6], 16) / 16**6
    rows = []
    for cell in cells:
        kinds = {gene.kind for gene in one.genotype.topologies[cell.regime]}
        net = 1e-4 * (small - 0.5) + (1e-3 if cell.regime == "flat-high" and "breakout_stop" in kinds else 0.0)
        found = Measured(200, 5, 0, net, 1.0, 0.01, 2.0, "", (net,), exposure=small, passive=len(kinds) / 4)
        rows.append(Row(cell, found, ""))
    return Outcome("scored", "", tuple(rows))


def searched(founder: Genotype, domain: Domain, own: SearchSpec, cells: list[Cell] = CELLS) -> Search:
    search = Search(own, domain, [founder], cells)
    while bred := search.ask():
        search.tell([played(one, search.order) for one in bred])
    return search


def leaves(search: Search) -> list[dict[str, Any]]:
    return [leaf("s", trial.candidate, trial.outcome) for trial in search.trials]


@pytest.mark.parametrize("mode", ["tournament", "plus"])
def test_the_same_search_again(founder: Genotype, domain: Domain, mode: str) -> None:
    one, other = (searched(founder, domain, spec(mode=mode)) for _ in range(2))
    assert leaves(one) == leaves(other)
    assert one.archived() == other.archived()
    assert leaves(one) != leaves(searched(founder, domain, spec(mode=mode, seed=2)))
    assert len({trial.candidate.genotype.genotype_hash for trial in one.trials}) == len(one.trials) == 4 + 3 * 5


@pytest.mark.parametrize("mode", ["tournament", "plus"])
def test_the_best_are_kept(founder: Genotype, domain: Domain, mode: str) -> None:
    search, best = Search(spec(mode=mode, generations=6), domain, [founder], CELLS), float("-inf")
    while bred := search.ask():
        search.tell([played(one, search.order) for one in bred])
        assert search.population[0].fitness >= best
        best = search.population[0].fitness
        assert len(search.population) == 4
    assert search.best()[0].fitness == best


def test_selection_finds_what_earns_in_one_regime(founder: Genotype, domain: Domain) -> None:
    flat = {"topologies": {regime: ({"kind": "flat"},) for regime in founder.topologies}}
    start = Genotype.model_validate(founder.model_dump() | flat)
    found = sum(_has_breakout(searched(start, domain, spec(seed=seed, generations=20, children=8))) for seed in range(8))
    numbers = spec(generations=20, children=8, operators={"op_mutate_tunable": 1})
    blind = _has_breakout(searched(start, domain, numbers))
    assert found >= 7, found
    assert not blind, "parameters alone never make another topology"


def _has_breakout(search: Search) -> bool:
    genes = search.best()[0].candidate.genotype.topologies["flat-high"]
    return any(gene.kind == "breakout_stop" for gene in genes)


def test_a_failed_candidate_is_no_parent_and_stops_nothing(founder: Genotype, domain: Domain) -> None:
    search = Search(spec(novelty=0.0), domain, [founder], CELLS)
    failed: set[str] = set()
    while bred := search.ask():
        parents = {parent for one in bred for parent in one.lineage.parents}
        assert not (parents & failed)
        outcomes = [Outcome("failed", "x", ()) if at % 2 else played(one, search.order) for at, one in enumerate(bred)]
        failed |= {one.genotype.genotype_hash for at, one in enumerate(bred) if at % 2}
        search.tell(outcomes)
    assert len(search.trials) == 19
    assert all(isfinite(trial.fitness) for trial in search.best())


def test_a_budget_is_not_exceeded(founder: Genotype, domain: Domain) -> None:
    search = searched(founder, domain, spec(budget=60))
    assert 50 <= search.spent <= 60


def test_a_budget_bounds_the_first_generation_too(founder: Genotype, domain: Domain) -> None:
    for budget, n in ((9, 1), (20, 2), (36, 4), (200, 19)):
        search = searched(founder, domain, spec(budget=budget))
        assert (len(search.trials), search.spent) == (n, 9 * n)
        assert transcript(Search(search.spec, domain, [founder], CELLS), "s", leaves(search)) == ""
    assert len(searched(founder, domain, spec(budget=10, cells=3)).trials) == 3
    whole = searched(founder, domain, spec(parents=2, generations=0))
    assert leaves(whole) == leaves(searched(founder, domain, spec(budget=20, generations=0))), "the first of the same"


def test_a_budget_that_does_not_pay_for_the_founders_is_refused(founder: Genotype, domain: Domain) -> None:
    other = Genotype.model_validate(founder.model_dump() | {"cadence": {"kind": "seconds", "n": 30}})
    with pytest.raises(ConfigError, match=r"search\.budget: got 17, expected at least 18, for 2 founders"):
        Search(spec(budget=17), domain, [founder, other], CELLS)
    assert len(Search(spec(budget=18), domain, [founder, other], CELLS).ask()) == 2


def test_every_prefix_of_the_order_is_a_fair_share() -> None:
    lumpy = [Cell(f"{name}.SIM", regime, at, at + 1, False)
             for at, (name, regime) in enumerate([("A", "up-low")] * 7 + [("B", "up-low")] * 3 + [("A", "flat-low")] * 4 + [("B", "down-low")] * 2)]  # fmt: skip
    order = fair(lumpy)
    assert sorted(order) == sorted(lumpy)
    for n in range(1, len(order) + 1):
        given, left = Counter(cell.regime for cell in order[:n]), Counter(cell.regime for cell in order[n:])
        starved = [regime for regime in left if given[regime] + 1 < max(given.values())]
        assert not starved
    assert fair(lumpy, 3) == order[:3]
    assert {cell.regime for cell in order[:3]} == {"up-low", "flat-low", "down-low"}


def rows(*nets: float, violations: int = 0) -> list[Row]:
    return [
        Row(cell, Measured(200, 1, violations, net, None, 0.0, 0.0, "", (net,)), "")
        for cell, net in zip(CELLS, nets, strict=False)
    ]


def test_who_is_hopeless() -> None:
    race, rival = RaceSpec(least=3), rows(*[0.01] * 9)
    assert hopeless(rows(0.0, 0.001, -0.001), rival, race)
    assert not hopeless(rows(0.0, 0.001), rival, race), "too few cells"
    assert not hopeless(rows(0.0, 0.05, -0.02), rival, race), "too uncertain"
    assert not hopeless(rows(0.02, 0.02, 0.02), rival, race)
    assert hopeless(rows(0.02, violations=1), rival, race)


def test_a_race_spares_replays_and_is_part_of_the_transcript(founder: Genotype, domain: Domain) -> None:
    own = spec(race={"least": 3, "confidence": 0.9}, novelty=0.0)
    search = Search(own, domain, [founder], CELLS)
    while bred := search.ask():
        rival, outcomes = search.rival, []
        for one in bred:
            whole = played(one, search.order)
            lost = next((n for n in range(3, 9) if rival and hopeless(whole.rows[:n], rival.outcome.rows, own.race)), 9)  # type: ignore[arg-type]
            outcomes.append(whole if lost == 9 else Outcome("stopped", "hopeless", whole.rows[:lost]))
        search.tell(outcomes)
    stopped = [trial for trial in search.trials if trial.outcome.status == "stopped"]
    assert stopped
    assert search.spent < 9 * len(search.trials)
    assert all(not isfinite(trial.fitness) for trial in stopped)
    told = leaves(search)
    assert transcript(Search(own, domain, [founder], CELLS), "s", told) == ""
    forged = copy.deepcopy(told)  # a rival that was stopped on purpose
    victim = next(one for one in forged if one["status"] == "scored" and one["generation"] == 1)
    victim |= {"status": "stopped", "fitness": None, "cells": victim["cells"][:3]}
    assert transcript(Search(own, domain, [founder], CELLS), "s", forged) != ""


def test_a_transcript_tells_what_was_left_out_added_or_changed(founder: Genotype, domain: Domain) -> None:
    own = spec()
    told = leaves(searched(founder, domain, own))

    def check(changed: list[dict[str, Any]]) -> str:
        return transcript(Search(own, domain, [founder], CELLS), "s", changed)

    assert check(told) == ""
    assert check(told[:9]) == "", "a search that goes on is whole so far"
    assert "not recorded" in check([one for one in told if (one["generation"], one["index"]) != (1, 2)])
    assert "not recorded" in check([one for one in told if one["generation"] != 2])
    assert "twice" in check([*told, told[3]])
    assert "was not bred" in check([*told, told[3] | {"generation": 9}])
    for change in ({"genotype_hash": "0" * 64}, {"policy_hash": "0" * 64}, {"fitness": 99.0}, {"search": "t"}):
        forged = copy.deepcopy(told)
        forged[6] |= change
        assert "not what was bred" in check(forged), change
    better = copy.deepcopy(told)  # results made up: other parents would have been chosen
    for row in better[1]["cells"]:
        row["net_return"] = 1.0
    better[1]["fitness"] = 1e4
    assert check(better) != ""


def test_an_outcome_comes_back_from_its_plain_values(founder: Genotype) -> None:
    one = played(Candidate(0, 0, founder, None), CELLS)  # type: ignore[arg-type]
    assert outcome_from(outcome_plain(one)) == one
    with pytest.raises(ConfigError, match="trial"):
        outcome_from({"status": "scored", "why": ""})
    with pytest.raises(ConfigError, match=r"trial\.status"):
        outcome_from(outcome_plain(one) | {"status": "fine"})


def test_what_cannot_be_searched(founder: Genotype, domain: Domain) -> None:
    with pytest.raises(ConfigError, match=r"founders: got 0"):
        Search(spec(), domain, [], CELLS)
    with pytest.raises(ConfigError, match=r"grid: got 0"):
        Search(spec(), domain, [founder], [])
    with pytest.raises(ConfigError, match="held out"):
        Search(spec(), domain, [founder], [*CELLS, CELLS[0]._replace(holdout=True)])
    outside = Genotype.model_validate(founder.model_dump() | {"sizing": founder.sizing.model_copy(update={"fraction": 0.9})})
    with pytest.raises(ConfigError, match=r"genotype\.sizing\.fraction: got 0\.9"):
        Search(spec(), domain, [outside], CELLS)
    maker = {"topologies": dict(founder.topologies) | {"flat-high": ({"kind": "two_sided_maker"},)}}
    with pytest.raises(ConfigError, match=r"topologies\.flat-high: got 'two_sided_maker'"):
        Search(spec(), domain, [Genotype.model_validate(founder.model_dump() | maker)], CELLS)
    with pytest.raises(ConfigError, match=r"search\.operators: got 'op_magic'"):
        spec(operators={"op_magic": 1})
    with pytest.raises(ConfigError, match=r"search\.elite"):
        spec(elite=5)
