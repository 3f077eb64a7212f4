"""Operators: each does what it says within the domain, and no chain of them loosens the law."""

from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from pydantic import ValidationError

from alphatrade.actors.regime import REGIMES
from alphatrade.evolution import operators
from alphatrade.evolution.domain import Domain, Range
from alphatrade.evolution.genotype import MOST_MIXED, Gene, Genotype, develop
from alphatrade.evolution.operators import OPERATORS, PAIRINGS, breed
from alphatrade.nodes.evolve import search_settings
from alphatrade.nodes.overrides import CONFIG_MODULE, completed
from alphatrade.nodes.settings import compose_settings
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.tightness import as_tight

CHAINS, LENGTH = 100, 12
NAMES = [*OPERATORS, *PAIRINGS]


def founder(*overrides: str) -> Genotype:
    genotype = compose_settings(["genotype=default", *overrides]).genotype
    assert genotype is not None
    return genotype


PLUGIN = "tests.nodes.plants:Peek"
OWN = (f"+genotype.features.own={{kind: '{PLUGIN}', n: 1}}",)


def rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.fixture(scope="module")
def parents() -> tuple[Genotype, Genotype]:
    groups = ["policy/risk@genotype.risk=tight", "policy/features@genotype.features=volume"]
    fade = "[{kind: passive_reversion, params: {signal: ret_5}}]"
    return founder(), founder(*groups, f"genotype.topologies.flat-low={fade}", f"genotype.topologies.up-low={fade}")


def children(name: str, parents: tuple[Genotype, Genotype], domain: Domain, n: int = 60) -> list[Any]:
    found = [breed(name, parents, domain, rng(seed)) for seed in range(n)]
    return [child for child in found if child is not None]


@pytest.mark.parametrize("name", NAMES)
def test_every_operator_makes_valid_children_with_their_lineage(
    name: str, parents: tuple[Genotype, Genotype], domain: Domain
) -> None:
    found = children(name, parents, domain)
    assert len({child.genotype_hash for child, _ in found}) > 1
    for child, lineage in found:
        develop(child)
        assert lineage.operator == name
        assert lineage.parents == tuple(p.genotype_hash for p in parents[: 1 + (name in PAIRINGS)])
        assert child not in parents
    first, again = (breed(name, parents, domain, rng(3)) for _ in range(2))
    assert first == again, "the same seed, the same child"


def test_features_come_and_go_but_never_a_signal(parents: tuple[Genotype, Genotype], domain: Domain) -> None:
    for child, _ in children("op_add_feature", parents, domain):
        (new,) = set(child.features) - set(parents[0].features)
        assert child.features[new] == domain.features[new]
    for child, _ in children("op_drop_feature", parents, domain):
        (gone,) = set(parents[0].features) - set(child.features)
        assert gone not in {"ret_60", "ret_20", "range_60"}, "each is the signal of a topology"


def test_a_swap_changes_one_regime_and_respects_its_rules(parents: tuple[Genotype, Genotype], domain: Domain) -> None:
    for child, _ in children("op_swap_execution_topology", parents, domain, 300):
        (regime,) = [r for r in REGIMES if child.topologies[r] != parents[0].topologies[r]]
        (gene,) = child.topologies[regime]
        assert gene.kind != parents[0].topologies[regime][0].kind
        assert not (gene.kind == "two_sided_maker" and regime.endswith("-high"))
        assert set(gene.params) == set(domain.topologies[gene.kind].params) | ({"signal"} if "signal" in gene.params else set())


def test_a_swap_is_made_wherever_one_may_be(parents: tuple[Genotype, Genotype], domain: Domain) -> None:
    elsewhere = tuple([regime for regime in REGIMES if regime != "flat-low"])
    kinds = {kind: own.model_copy(update={"never": elsewhere}) for kind, own in domain.topologies.items()}
    bound = domain.model_copy(update={"topologies": kinds | {"flat": domain.topologies["flat"]}})
    flat = (Gene(kind="flat"),)
    still = parents[0].model_copy(update={"topologies": dict.fromkeys(REGIMES, flat)})
    made = children("op_swap_execution_topology", (still, still), bound)
    assert len(made) == 60, "no draw is lost on a regime in which nothing else may trade"
    assert {regime for child, _ in made for regime in REGIMES if child.topologies[regime] != flat} == {"flat-low"}
    nothing = domain.model_copy(update={"topologies": {"flat": domain.topologies["flat"]}})
    assert not children("op_swap_execution_topology", (still, still), nothing)


def test_without_the_rules_a_maker_trades_in_a_shock(parents: tuple[Genotype, Genotype], domain: Domain) -> None:
    free = domain.topologies["two_sided_maker"].model_copy(update={"never": ()})
    lawless = domain.model_copy(update={"topologies": dict(domain.topologies) | {"two_sided_maker": free}})
    made = children("op_swap_execution_topology", parents, lawless, 300)
    assert any(child.topologies[r][0].kind == "two_sided_maker" for child, _ in made for r in REGIMES if r.endswith("-high"))


def test_a_tunable_moves_within_its_range_and_nothing_else_does(parents: tuple[Genotype, Genotype], domain: Domain) -> None:
    moved = set()
    for child, lineage in children("op_mutate_tunable", parents, domain, 300):
        path = lineage.words.partition(":")[0]
        moved.add(path)
        part, _, name = path.partition(".")
        if path in domain.tunables:
            span, value = domain.tunables[path], getattr(getattr(child, part), name)
            assert child.topologies == parents[0].topologies
        else:
            span = domain.topologies[part].params[name]
            value = next(g.params[name] for genes in child.topologies.values() for g in genes if g.kind == part)
            assert child.belief == parents[0].belief
        assert span.low <= value <= span.high
    assert len(moved) > 12
    both = [child for child, lineage in children("op_mutate_tunable", parents, domain, 300) if "taker_momentum" in lineage.words]
    assert all(child.topologies["up-low"] == child.topologies["down-low"] for child in both), "one gene, wherever it trades"


def test_tightening_tightens_one_limit(parents: tuple[Genotype, Genotype], domain: Domain) -> None:
    for child, lineage in children("op_tighten_risk", parents, domain):
        before, after = parents[0].risk.model_dump(), child.risk.model_dump()
        (name,) = [key for key in after if after[key] != before[key]]
        assert lineage.words.startswith(f"risk.{name}:")
        assert as_tight(child.risk, parents[0].risk)


def test_a_crossing_is_made_of_its_parents(parents: tuple[Genotype, Genotype], domain: Domain) -> None:
    one, other = parents
    for child, _ in children("op_crossover", parents, domain):
        assert all(child.topologies[r] in (one.topologies[r], other.topologies[r]) for r in REGIMES)
        assert as_tight(child.risk, one.risk)
        assert as_tight(child.risk, other.risk)


def test_a_mixture_is_an_ensemble_with_somebody_to_choose(parents: tuple[Genotype, Genotype], domain: Domain) -> None:
    for child, _ in children("op_mix_strategies", parents, domain):
        (regime,) = [r for r in REGIMES if len(child.topologies[r]) > 1]
        assert child.topologies[regime] == parents[0].topologies[regime] + parents[1].topologies[regime]
        assert develop(child).router.kind == "ewma"


def chains(n: int, parents: tuple[Genotype, Genotype], domain: Domain, length: int = LENGTH) -> int:
    """Walk `n` chains of random operators; return how many changes were made."""
    made = 0
    for seed in range(n):
        draw, first = rng(seed), parents[seed % 2]
        own = first
        for _ in range(length):
            name = NAMES[int(draw.integers(len(NAMES)))]
            found = breed(name, (own, parents[int(draw.integers(2))]), domain, draw)
            if found is None:
                continue
            child, _ = found
            assert as_tight(child.risk, own.risk), f"{name} loosened {own.risk} to {child.risk}"
            assert all(domain.suits(g.kind, r) for r, genes in child.topologies.items() for g in genes)
            assert all(len(genes) <= MOST_MIXED for genes in child.topologies.values())
            own, made = child, made + 1
        assert as_tight(own.risk, first.risk)
    return made


def test_no_chain_of_operators_loosens_the_law(parents: tuple[Genotype, Genotype], domain: Domain) -> None:
    assert chains(CHAINS, parents, domain) > 5 * CHAINS


@pytest.mark.long
def test_no_chain_of_a_hundred_thousand_loosens_the_law(parents: tuple[Genotype, Genotype], domain: Domain) -> None:
    assert chains(100_000, parents, domain, length=4) > 200_000


def test_an_operator_that_loosens_is_found(
    parents: tuple[Genotype, Genotype], domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loosen(genotype: Genotype, _: Domain, __: np.random.Generator) -> operators.Change:
        risk = genotype.risk.model_copy(update={"drawdown_max": 0.5})
        return operators.Change(genotype.model_copy(update={"risk": risk}), "loosen")

    monkeypatch.setitem(operators.OPERATORS, "op_tighten_risk", loosen)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="loosened"):
        chains(20, parents, domain)


def test_bad_names_and_missing_parents_are_refused(parents: tuple[Genotype, Genotype], domain: Domain) -> None:
    with pytest.raises(ConfigError, match="operator: got 'op_guess', expected one of op_add_feature"):
        breed("op_guess", parents, domain, rng(1))
    with pytest.raises(ConfigError, match="parents: got 1, expected 2 for op_crossover"):
        breed("op_crossover", parents[:1], domain, rng(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tunables": {"risk.gross_max": {"low": 1, "high": 2}}}, "paths of tunables"),
        ({"tunables": {"belief.z": {"low": 1, "high": 2}}}, "paths of tunables"),
        ({"tunables": {"belief": {"z": {"low": 1, "high": 2}}}}, "paths of tunables"),
        ({"tunables": {"belief": {"low": 1, "high": 2}}}, "tunables"),
        ({"tunables": [1]}, "valid dictionary"),
        ({"tunables": {"belief.k": {"low": 2, "high": 1}}}, "low < high"),
        ({"topologies": {}}, "at least 1"),
        ({"topologies": {"flat": {"never": ["up"]}}}, "some of"),
        ({"topologies": {"taker_momentum": {"signal": ["x"]}}}, "kinds of features"),
    ],
)
def test_a_domain_that_says_nothing_sensible_is_refused(domain: Domain, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Domain.model_validate(domain.model_dump() | change)
    with pytest.raises(ConfigError, match=r"domain\.topologies\.none\.kind"):
        Domain.model_validate(domain.model_dump() | {"topologies": {"none": {}}})


def test_tunables_are_changed_and_left_out_like_anything_else_of_a_configuration() -> None:
    words = ["domain.tunables.belief.k.low=8", "~domain.tunables.regime", "~domain.tunables.sizing.fraction"]
    full = [one for one in completed(words, "evolve") if not one.startswith("hydra")]
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        own = search_settings(compose("evolve", overrides=full))
    assert own.domain.tunables["belief.k"].low == 8
    left = {"belief.halflife", "belief.k", "router.min_confidence", "router.min_hold", "sizing.vol_target_bps"}
    assert set(own.domain.tunables) == left
    assert Domain.model_validate(own.domain.model_dump()) == own.domain


def test_a_signal_is_of_a_kind_that_the_domain_names(domain: Domain) -> None:
    def momentum(words: str) -> Genotype:
        return founder(f"genotype.topologies.up-low=[{{kind: taker_momentum{words}}}]", *OWN)

    def named(*kinds: str) -> Domain:
        one = domain.topologies["taker_momentum"].model_dump() | {"signal": kinds}
        return Domain.model_validate(domain.model_dump() | {"topologies": domain.topologies | {"taker_momentum": one}})

    for words, kind in ((", params: {signal: rvol}", "rvol"), (", params: {signal: own}", PLUGIN)):
        with pytest.raises(ConfigError, match=f"genotype.topologies.up-low.signal: got '{kind}', expected one of ret, trend"):
            domain.check(momentum(words))
        named("ret", kind).check(momentum(words))
    domain.check(momentum(", params: {signal: ret_60}"))
    domain.check(momentum(""))  # its default is a return, too
    with pytest.raises(ConfigError, match="signal: got 'ret', expected one of range"):
        named("range").check(momentum(""))


def test_what_is_bred_within_the_domain_stays_there(parents: tuple[Genotype, Genotype], domain: Domain) -> None:
    for parent in parents:
        domain.check(parent)
    for name in (*operators.OPERATORS, *operators.PAIRINGS):
        for child, _ in children(name, parents, domain, 30):
            domain.check(child)


def test_a_number_stays_in_its_range_and_is_short() -> None:
    span = Range(low=0.5, high=20.0, log=True)
    draw, value = rng(1), 3.0
    for _ in range(500):
        value = span.nudge(value, draw)
        assert 0.5 <= value <= 20.0
        assert len(str(value)) <= 6
    assert isinstance(Range(low=1, high=9, whole=True).draw(draw), int)
