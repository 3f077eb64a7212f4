"""Operators: small, seeded changes of genotypes within the domain, each with its lineage.

An operator takes the genotypes of one or two parents and returns a child, or None where it does not apply. Whatever it
does, the child's risk template is at least as tight as that of each parent: only :func:`op_tighten_risk` touches it,
and a child of two has the tightest of both.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from alphatrade.actors.regime import REGIMES
from alphatrade.evolution.domain import DIGITS, Domain
from alphatrade.evolution.genotype import MOST_MIXED, Gene, Genotype
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.tightness import TIGHTER, as_tight, meet
from alphatrade.strategies.policy import RouterTunables

TIGHTEN = (0.5, 0.95)  # what is left of a limit that is tightened

Rng = np.random.Generator
Operator = Callable[[Genotype, Domain, Rng], "Change | None"]


class Change(NamedTuple):
    """A child, and what was done to make it, in words."""

    genotype: Genotype
    words: str


class Lineage(NamedTuple):
    """Where a genotype comes from: operator, hashes of its parents, what was done."""

    operator: str
    parents: tuple[str, ...]
    words: str


def op_add_feature(genotype: Genotype, domain: Domain, rng: Rng) -> Change | None:
    """Add a feature of the domain that is not there yet."""
    name = _one(sorted(set(domain.features) - set(genotype.features)), rng)
    if name is None:
        return None
    return _changed(genotype, f"add feature {name}", features=dict(genotype.features) | {name: domain.features[name]})


def op_drop_feature(genotype: Genotype, domain: Domain, rng: Rng) -> Change | None:
    """Drop a feature that is nobody's signal; the last one stays."""
    name = _one(sorted(set(genotype.features) - _signals(genotype.genes)), rng)
    if name is None or len(genotype.features) == 1:
        return None
    left = {key: spec for key, spec in genotype.features.items() if key != name}
    return _changed(genotype, f"drop feature {name}", features=left)


def op_swap_execution_topology(genotype: Genotype, domain: Domain, rng: Rng) -> Change | None:
    """Let another topology lead in one of the regimes in which another may, its parameters drawn anew."""
    others: dict[str, list[str]] = {}
    for each, own in genotype.topologies.items():
        there = {gene.kind for gene in own}
        others[each] = sorted(kind for kind in domain.topologies if kind not in there and domain.suits(kind, each))
    regime = _one([each for each in REGIMES if others[each]], rng)
    kind = None if regime is None else _one(others[regime], rng)
    gene = None if kind is None else domain.gene(kind, genotype, rng)
    if regime is None or gene is None:
        return None
    genes = genotype.topologies[regime]
    return _traded(genotype, regime, (gene, *genes[1:]), f"{regime}: {genes[0].kind} to {kind}")


def op_tighten_risk(genotype: Genotype, domain: Domain, rng: Rng) -> Change | None:
    """Tighten one numeric limit of the risk template; never loosen any."""
    numbers = [name for name, how in TIGHTER.items() if how in ("smaller", "larger")]
    name = _one([name for name in numbers if getattr(genotype.risk, name) is not None], rng)
    assert name is not None, "every template has numeric limits"
    before, left = getattr(genotype.risk, name), float(rng.uniform(*TIGHTEN))
    smaller = TIGHTER[name] == "smaller"
    after = type(before)(float(f"{float(before) * left if smaller else float(before) / left:.{DIGITS}g}"))
    if isinstance(before, int):
        after = max(1, after)
    plain = genotype.risk.model_dump() | {name: after}
    risk = type(genotype.risk).model_validate(plain)
    if risk == genotype.risk or not as_tight(risk, genotype.risk):  # a count of one has nowhere to go
        return None
    return _changed(genotype, f"risk.{name}: {before} to {after}", risk=risk)


def op_mutate_tunable(genotype: Genotype, domain: Domain, rng: Rng) -> Change | None:
    """Move one tunable, or one parameter of a topology wherever that trades, a little."""
    genes = sorted({gene.tactic: gene for gene in genotype.genes}.items())
    places: list[tuple[Gene | None, str]] = [(None, path) for path in sorted(domain.tunables)]
    places += [
        (gene, name)
        for _, gene in genes
        for name in sorted(domain.topologies[gene.kind].params if gene.kind in domain.topologies else ())
    ]
    if not places:
        return None
    gene, path = places[int(rng.integers(len(places)))]
    if gene is None:
        return _tuned(genotype, path, domain, rng)
    before = gene.params.get(path)
    span = domain.topologies[gene.kind].params[path]
    after = span.draw(rng) if before is None else span.nudge(float(before), rng)
    other = Gene(kind=gene.kind, params=gene.params | {path: after})
    topologies = {
        regime: tuple([other if each == gene else each for each in own]) for regime, own in genotype.topologies.items()
    }
    told = "none" if before is None else f"{float(before):.12g}"  # JSON has no 8.0: a parent read back says 8
    return _changed(genotype, f"{gene.kind}.{path}: {told} to {float(after):.12g}", topologies=topologies)


def op_crossover(one: Genotype, other: Genotype, domain: Domain, rng: Rng) -> Change | None:
    """Take each regime's topologies and each part of the tunables from one parent or the other."""
    features = _joined(one, other)
    if features is None:
        return None
    regimes = [regime for regime in REGIMES if rng.random() < 0.5]
    parts = [part for part in _PARTS if rng.random() < 0.5]
    topologies = {regime: (other if regime in regimes else one).topologies[regime] for regime in REGIMES}
    needed = _signals([gene for genes in topologies.values() for gene in genes])
    kept = {
        name: spec
        for name, spec in sorted(features.items())
        if name in needed or (name in one.features and name in other.features) or rng.random() < 0.5
    }
    if not kept:
        return None
    words = f"from the other: {', '.join([*regimes, *parts]) or 'nothing'}"
    changed = {part: getattr(other, part) for part in parts}
    if any(len(genes) > 1 for genes in topologies.values()):
        changed["router"] = _learning(one)
    return _changed(one, words, features=kept, topologies=topologies, risk=meet(one.risk, other.risk), **changed)


def op_mix_strategies(one: Genotype, other: Genotype, domain: Domain, rng: Rng) -> Change | None:
    """Let the topologies of both parents trade in one regime: an ensemble, whose switches are paid for in fills."""
    features = _joined(one, other)
    regime = REGIMES[int(rng.integers(len(REGIMES)))]
    own = one.topologies[regime]
    new = tuple([gene for gene in other.topologies[regime] if gene not in own])[: MOST_MIXED - len(own)]
    if features is None or not new:
        return None
    used = _signals(new)
    both = dict(one.features) | {name: spec for name, spec in features.items() if name in used}
    words = f"{regime}: {', '.join(gene.kind for gene in new)} beside {', '.join(gene.kind for gene in own)}"
    changed = {"features": both, "risk": meet(one.risk, other.risk), "router": _learning(one)}
    return _traded(one, regime, (*own, *new), words, **changed)


OPERATORS: Mapping[str, Operator] = {
    "op_add_feature": op_add_feature,
    "op_drop_feature": op_drop_feature,
    "op_swap_execution_topology": op_swap_execution_topology,
    "op_tighten_risk": op_tighten_risk,
    "op_mutate_tunable": op_mutate_tunable,
}
PAIRINGS: Mapping[str, Callable[[Genotype, Genotype, Domain, Rng], Change | None]] = {
    "op_crossover": op_crossover,
    "op_mix_strategies": op_mix_strategies,
}
_PARTS = ("belief", "regime", "cadence", "sizing", "expost")


def breed(name: str, parents: tuple[Genotype, ...], domain: Domain, rng: Rng) -> tuple[Genotype, Lineage] | None:
    """
    Apply an operator by its name.

    Parameters
    ----------
    name : str
        One of `OPERATORS` (one parent is used) or `PAIRINGS` (two are).
    parents : tuple of Genotype
    domain : Domain
    rng : numpy.random.Generator

    Returns
    -------
    tuple of Genotype and Lineage, or None
        None where it does not apply, the child would be the parent again, or something would trade where it may not.

    Raises
    ------
    ConfigError
        If there is no such operator, or too few parents.
    """
    if name not in OPERATORS and name not in PAIRINGS:
        raise ConfigError("operator", name, f"one of {', '.join([*OPERATORS, *PAIRINGS])}")
    pair = name in PAIRINGS
    if len(parents) < 1 + pair:
        raise ConfigError("parents", len(parents), f"{1 + pair} for {name}")
    used = parents[: 1 + pair]
    try:
        change = PAIRINGS[name](used[0], used[1], domain, rng) if pair else OPERATORS[name](used[0], domain, rng)
    except (ConfigError, ValidationError):  # parts that do not go together
        return None
    if change is None or change.genotype in used or not _suited(change.genotype, domain):
        return None
    assert all(as_tight(change.genotype.risk, parent.risk) for parent in used), f"{name} has loosened risk"
    return change.genotype, Lineage(name, tuple([parent.genotype_hash for parent in used]), change.words)


def _suited(genotype: Genotype, domain: Domain) -> bool:
    return all(domain.suits(gene.kind, regime) for regime, genes in genotype.topologies.items() for gene in genes)


def _signals(genes: Iterable[Gene]) -> set[Any]:
    """Return the features that topologies trade on."""
    return {gene.params.get("signal") for gene in genes}


def _one(choices: list[str], rng: Rng) -> str | None:
    return choices[int(rng.integers(len(choices)))] if choices else None


def _changed(genotype: Genotype, words: str, **parts: Any) -> Change:
    """Return a genotype with other parts, validated anew."""
    return Change(Genotype.model_validate(dict(genotype) | parts), words)


def _traded(genotype: Genotype, regime: str, genes: tuple[Gene, ...], words: str, **parts: Any) -> Change:
    return _changed(genotype, words, topologies=dict(genotype.topologies) | {regime: genes}, **parts)


def _tuned(genotype: Genotype, path: str, domain: Domain, rng: Rng) -> Change:
    part, _, name = path.partition(".")
    spec = getattr(genotype, part)
    before = getattr(spec, name)
    after = domain.tunables[path].nudge(float(before), rng)
    tuned = type(spec).model_validate(dict(spec) | {name: after})
    return _changed(genotype, f"{path}: {before} to {after}", **{part: tuned})


def _learning(genotype: Genotype) -> RouterTunables:
    """Return the router's genes with somebody who can choose from an ensemble."""
    if genotype.router.kind != "table" or genotype.flags.linear_attention:
        return genotype.router
    return genotype.router.model_copy(update={"kind": "ewma"})


def _joined(one: Genotype, other: Genotype) -> dict[str, Any] | None:
    """Return the features of both; None where one name means two things."""
    if any(other.features[name] != spec for name, spec in one.features.items() if name in other.features):
        return None
    return dict(one.features) | dict(other.features)
