"""The search: generations are bred, told what came of them, and the next one is bred of the best and of the novel.

A search is a pure function of its spec, its domain, its founders, its grid and the outcomes that it is told: it knows
nothing of processes and files. So any launcher gives the same search, one that was killed goes on from the outcomes
that were kept, and a stranger who has the trials of the ledger breeds every generation again and finds what is missing
(:func:`transcript`).

Two modes. ``tournament``: parents win tournaments, the children replace the population, and an elite stays. ``plus``:
(mu + lambda), parents are drawn evenly, the best of parents and children stay (Beyer & Schwefel 2002). Tournaments are
held over the grid: half of them on the whole of it, half on one regime, so that who is best there is a parent too and
crossover can join what is good in different regimes.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from alphatrade.evolution.archive import Archive
from alphatrade.evolution.domain import Domain
from alphatrade.evolution.fitness import fitness
from alphatrade.evolution.genotype import Genotype
from alphatrade.evolution.grid import Cell
from alphatrade.evolution.operators import OPERATORS, PAIRINGS, Lineage, breed
from alphatrade.evolution.schedule import RaceSpec, fair, hopeless
from alphatrade.evolution.trial import WORST, Candidate, Outcome, leaf, outcome_from
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.policy import Spec

TRIES = 200  # to breed a child that was not there before
FOUNDER = "founder"


class SearchSpec(Spec):
    """
    How a search goes.

    Attributes
    ----------
    mode : {"tournament", "plus"}
    parents, children : int
        Size of the population (mu) and of a generation (lambda).
    generations : int
        After the founders.
    elite : int
        Who stays in mode ``tournament``.
    tournament : int
        Who takes part in one.
    novelty : float
        Share of the parents that are taken for their novelty.
    neighbours : int
        By which novelty is measured.
    operators : dict of str to float
        How often each is applied, as weights; one that is not named is not applied.
    seed : int
    cells : int, optional
        Cells of the grid that a candidate is replayed in; all without it.
    budget : int, optional
        Replays of cells that the search may take.
    race : RaceSpec, optional
        Without it every candidate is replayed in all cells.
    timeout_s : float
        After which a candidate is given up, seconds.
    """

    mode: Literal["tournament", "plus"] = "tournament"
    parents: Annotated[int, Field(ge=1, le=1000)] = 8
    children: Annotated[int, Field(ge=1, le=10_000)] = 8
    generations: Annotated[int, Field(ge=0, le=10_000)] = 4
    elite: Annotated[int, Field(ge=0, le=1000)] = 2
    tournament: Annotated[int, Field(ge=1, le=100)] = 3
    novelty: Annotated[float, Field(ge=0, le=1)] = 0.25
    neighbours: Annotated[int, Field(ge=1, le=100)] = 5
    operators: Annotated[dict[str, Annotated[float, Field(ge=0)]], Field(min_length=1)]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    cells: Annotated[int, Field(ge=1)] | None = None
    budget: Annotated[int, Field(ge=1)] | None = None
    race: RaceSpec | None = None
    timeout_s: Annotated[float, Field(gt=0, le=1e6)] = 600.0

    @model_validator(mode="after")
    def _known(self) -> Self:
        known = {**OPERATORS, **PAIRINGS}
        unknown = sorted(set(self.operators) - set(known))
        if unknown:
            raise ConfigError("search.operators", unknown[0], f"some of {', '.join(known)}")
        if not any(self.operators.values()):
            raise ConfigError("search.operators", dict(self.operators), "a weight above 0")
        if self.elite > self.parents:
            raise ConfigError("search.elite", self.elite, f"at most search.parents={self.parents}")
        return self


class Trial(NamedTuple):
    """A candidate and what came of it, how novel it was when it came, and its number in the search."""

    number: int
    candidate: Candidate
    outcome: Outcome
    novelty: float | None

    @property
    def fitness(self) -> float:
        """As its outcome has it."""
        return self.outcome.fitness


class Search:
    """
    One search: :meth:`ask` for a generation, :meth:`tell` what came of it, until there is none.

    Parameters
    ----------
    spec : SearchSpec
    domain : Domain
    founders : sequence of Genotype
        The first generation; if there are fewer than `spec.parents`, children of theirs complete it.
    cells : sequence of Cell
        Of the grid, those that may be seen.

    Attributes
    ----------
    order : list of Cell
        What each candidate is replayed in, in this order.
    trials : list of Trial
        So far, in the order in which they were bred.
    population : list of Trial
        Of whom the next generation is bred, best first.

    Raises
    ------
    ConfigError
        If a founder lies outside the domain, there is none or no cell, one is held out, or the budget is too small.
    """

    def __init__(self, spec: SearchSpec, domain: Domain, founders: Sequence[Genotype], cells: Sequence[Cell]) -> None:
        self.spec, self.domain = spec, domain
        self.founders = list({founder.genotype_hash: founder for founder in founders}.values())
        if not self.founders:
            raise ConfigError("founders", 0, "at least one")
        for founder in self.founders:
            domain.check(founder)
        if any(cell.holdout for cell in cells) or not cells:
            raise ConfigError("grid", len(cells), "cells to search in, none of them held out")
        self.trials: list[Trial] = []
        self.population: list[Trial] = []
        self.order = fair(cells, spec.cells)
        if self._affordable(n := len(self.founders)) < n:
            raise ConfigError("search.budget", spec.budget, f"at least {n * len(self.order)}, for {n} founders")
        self._archive = Archive(sorted({cell.regime for cell in self.order}), spec.neighbours)
        self._names = {name: weight for name, weight in sorted(spec.operators.items()) if weight > 0}
        self._seen: set[str] = set()
        self._next = 0
        self._asked: list[Candidate] = []

    @property
    def spent(self) -> int:
        """Replays of cells so far."""
        return sum(trial.outcome.spent for trial in self.trials)

    @property
    def rival(self) -> Trial | None:
        """Whom the candidates of the next generation have to beat: the worst survivor; None before there are enough."""
        if self.spec.race is None or len(self.population) < self.spec.parents:
            return None
        last = self.population[-1]
        return last if isfinite(last.fitness) else None

    def ask(self) -> list[Candidate]:
        """Return the next generation; empty when the search is over."""
        assert not self._asked, "tell what came of the last generation first"
        generation = self._next
        if generation > self.spec.generations:
            return []
        most = self._affordable(self.spec.children if generation else max(len(self.founders), self.spec.parents))
        self._next += 1
        first = [] if generation else self.founders
        bred = [Candidate(0, at, one, Lineage(FOUNDER, (), "")) for at, one in enumerate(first)]
        self._seen |= {one.genotype_hash for one in first}
        while len(bred) < most:
            child = self._child(generation, len(bred))
            if child is None:
                break
            bred.append(child)
        self._asked = bred
        return bred

    def tell(self, outcomes: Sequence[Outcome]) -> list[Trial]:
        """Take what came of the generation that was asked for, in its order, and return its trials."""
        assert len(outcomes) == len(self._asked), "one outcome a candidate"
        new = []
        for candidate, outcome in zip(self._asked, outcomes, strict=True):
            number = len(self.trials)
            scored = isfinite(outcome.fitness)
            novelty = self._archive.add(number, outcome.rows, outcome.fitness) if scored else None
            new.append(Trial(number, candidate, outcome, novelty))
            self.trials.append(new[-1])
        self._asked = []
        self._survive(new)
        return new

    def best(self) -> list[Trial]:
        """Return the scored trials, best first."""
        return _ranked([trial for trial in self.trials if isfinite(trial.fitness)])

    def archived(self) -> list[tuple[int, float]]:
        """Return the numbers of the trials in the novelty archive, and how novel each is by now."""
        return self._archive.standing()

    def _affordable(self, most: int) -> int:
        """Return how many candidates, `most` at most, the rest of the budget pays for if none loses a race."""
        return most if self.spec.budget is None else min(most, (self.spec.budget - self.spent) // len(self.order))

    def _survive(self, new: list[Trial]) -> None:
        before, most = self.population, self.spec.parents
        children = [trial for trial in _ranked(new) if isfinite(trial.fitness)]
        if self.spec.mode == "plus" or not before:
            self.population = _ranked([*before, *children])[:most]
            return
        elite = before[: self.spec.elite]
        rest = before[self.spec.elite :]  # where too few children lived
        self.population = _ranked([*elite, *[*children, *rest][: most - len(elite)]])

    def _child(self, generation: int, index: int) -> Candidate | None:
        """Return a child that was not there before, or None where none could be bred."""
        rng = np.random.default_rng([self.spec.seed, generation, index])
        names = list(self._names)
        weights = np.array([self._names[name] for name in names])
        shares = weights / weights.sum()
        for _ in range(TRIES):
            name = names[int(rng.choice(len(names), p=shares))]
            parents = tuple([self._parent(rng) for _ in range(1 + (name in PAIRINGS))])
            found = breed(name, parents, self.domain, rng)
            if found is not None and found[0].genotype_hash not in self._seen:
                self._seen.add(found[0].genotype_hash)
                return Candidate(generation, index, *found)
        return None

    def _parent(self, rng: np.random.Generator) -> Genotype:
        if not self.population:
            return self.founders[int(rng.integers(len(self.founders)))]
        novel = self._archive.standing() if rng.random() < self.spec.novelty else []
        if novel:
            drawn = [novel[int(at)] for at in rng.integers(len(novel), size=self.spec.tournament)]
            number, _ = max(drawn, key=lambda one: (one[1], -one[0]))
            return self.trials[number].candidate.genotype
        if self.spec.mode == "plus":
            return self.population[int(rng.integers(len(self.population)))].candidate.genotype
        regimes = sorted({cell.regime for cell in self.order})
        ground = regimes[int(rng.integers(len(regimes)))] if rng.random() < 0.5 else None
        entered = [self.population[int(at)] for at in rng.integers(len(self.population), size=self.spec.tournament)]
        return max(entered, key=lambda trial: (_worth(trial, ground), -trial.number)).candidate.genotype


def transcript(search: Search, name: str, leaves: Iterable[Mapping[str, Any]]) -> str:
    """
    Breed a search again from its recorded trials, and return what does not fit; empty if all does.

    Each generation is bred from the outcomes recorded for the ones before it. A trial that was left out, added, changed
    or given other parents does not come out again.

    Parameters
    ----------
    search : Search
        A new one; afterwards it is as far as the trials are.
    name : str
        What the trials call the search.
    leaves : iterable of mapping
        As :func:`alphatrade.evolution.trial.leaf` makes them.
    """
    by_place: dict[tuple[int, int], Mapping[str, Any]] = {}
    for plain in leaves:
        place = (plain["generation"], plain["index"])
        if place in by_place:
            return f"trial {place[0]}.{place[1]} is recorded twice"
        by_place[place] = plain
    while by_place:
        bred = search.ask()
        if not bred:
            generation, index = min(by_place)
            return f"trial {generation}.{index} is recorded and was not bred"
        outcomes = []
        for one in bred:
            plain = by_place.pop((one.generation, one.place), {})
            if not plain:
                return f"trial {one.generation}.{one.place} was bred and is not recorded"
            outcome = outcome_from(plain)
            if leaf(name, one, outcome) != plain:
                return f"trial {one.generation}.{one.place} is not what was bred there"
            if not _whole(search, outcome):
                return f"trial {one.generation}.{one.place} is {outcome.status} with the wrong cells"
            outcomes.append(outcome)
        search.tell(outcomes)
    return ""


def _whole(search: Search, outcome: Outcome) -> bool:
    """Return whether an outcome has the cells that its status says."""
    cells, rival = [row.cell for row in outcome.rows], search.rival
    if outcome.status == "scored":
        return cells == search.order
    if outcome.status != "stopped":
        return not cells
    race = search.spec.race
    lost = race is not None and rival is not None and hopeless(outcome.rows, rival.outcome.rows, race)
    return lost and cells == search.order[: len(cells)]


def _ranked(trials: Sequence[Trial]) -> list[Trial]:
    return sorted(trials, key=lambda trial: (-trial.fitness, trial.number))


def _worth(trial: Trial, regime: str | None) -> float:
    """Return the fitness of a trial, or that in one regime only."""
    if regime is None or not isfinite(trial.fitness):
        return trial.fitness
    rows = [row for row in trial.outcome.rows if row.cell.regime == regime]
    return fitness(rows) if rows else WORST
