"""The genotype: what evolution breeds, as a Hydra config (``conf/genotype``), validated here and hashed.

A genotype says the same as a policy in other words: which topology trades in each regime, by its own parameters,
rather than tactics and a table that names them. Whatever can be changed has one place, so that operators are small.
:func:`develop` makes the policy of it; nothing else decides what a genotype does.

``genotype_hash`` is the sha256 of its RFC 8785 canonical JSON, in which keys are sorted: equal genotypes hash equal in
whatever order they were written.
"""

import hashlib
import re
from typing import Annotated, Literal, Self

import rfc8785
from pydantic import Field, field_validator, model_validator

from alphatrade.actors.regime import REGIMES
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.template import RiskTemplate
from alphatrade.strategies.policy import (
    BeliefSpec,
    CadenceSpec,
    DriftSpec,
    ExpostSpec,
    FeatureSpec,
    Flags,
    LearningSpec,
    Name,
    Policy,
    RegimeSpec,
    RouterSpec,
    RouterTunables,
    SizingSpec,
    Spec,
    TacticSpec,
    canonical,
)
from alphatrade.strategies.topologies import load_topology

MOST_MIXED = 4  # topologies of one regime


class Gene(TacticSpec):
    """An execution topology (built-in kind or import path) with its parameters."""

    @property
    def tactic(self) -> str:
        """Its name in a policy: the same gene has the same name in every candidate, and no two genes share one."""
        words = re.findall(r"[a-z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", self.kind.rpartition(":")[2]).lower())
        return f"{'_'.join(words) or 'tactic'}_{hashlib.sha256(rfc8785.dumps(canonical(self))).hexdigest()[:8]}"


Genes = Annotated[tuple[Gene, ...], Field(min_length=1, max_length=MOST_MIXED)]


class Genotype(Spec):
    """
    Features, topologies per regime, risk template and tunables of one candidate.

    Attributes
    ----------
    features : dict of str to FeatureSpec
    topologies : dict of str to tuple of Gene
        For every regime the one that trades in it; several are an ensemble, of which the first leads until the router
        has learnt better.
    risk : RiskTemplate
    router, belief, regime, cadence, sizing, expost, flags, learning, drift
        The tunables: these parts of the policy.
    """

    schema_version: Literal[1] = 1
    features: Annotated[dict[Name, FeatureSpec], Field(min_length=1, max_length=64)]
    topologies: dict[str, Genes]
    risk: RiskTemplate
    router: RouterTunables = RouterTunables()
    belief: BeliefSpec
    regime: RegimeSpec
    cadence: CadenceSpec
    sizing: SizingSpec
    expost: ExpostSpec
    flags: Flags
    learning: LearningSpec = LearningSpec()
    drift: DriftSpec = DriftSpec()

    @field_validator("topologies")
    @classmethod
    def _complete(cls, topologies: dict[str, tuple[Gene, ...]]) -> dict[str, tuple[Gene, ...]]:
        if set(topologies) != set(REGIMES):
            raise ValueError(f"a topology for each of {', '.join(REGIMES)}")
        for regime, genes in topologies.items():
            if len({gene.tactic for gene in genes}) < len(genes):
                raise ValueError(f"topologies that differ from each other for {regime}")
        return topologies

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = tuple(sorted(self.features))
        for regime in REGIMES:
            for gene in self.topologies[regime]:
                load_topology(f"genotype.topologies.{regime}", gene.kind, gene.params, names)
        if self.mixed and self.router.kind == "table" and not self.flags.linear_attention:
            learns = "ewma, linucb, or genotype.flags.linear_attention=true: somebody has to choose from an ensemble"
            raise ConfigError("genotype.router.kind", "table", learns)
        return self

    @property
    def genes(self) -> list[Gene]:
        """All topologies, regime by regime; the same one as often as it trades."""
        return [gene for regime in REGIMES for gene in self.topologies[regime]]

    @property
    def mixed(self) -> bool:
        """Whether a regime has more than one topology."""
        return any(len(genes) > 1 for genes in self.topologies.values())

    @property
    def genotype_hash(self) -> str:
        """Sha256 of the canonical JSON, 64 hexadecimal digits."""
        return hashlib.sha256(rfc8785.dumps(canonical(self))).hexdigest()


def develop(genotype: Genotype) -> Policy:
    """
    Return the policy that a genotype is the plan of: a pure function of it.

    Parameters
    ----------
    genotype : Genotype

    Raises
    ------
    ConfigError
        If its parts do not go together.
    """
    g = genotype
    tactics = {gene.tactic: TacticSpec(kind=gene.kind, params=gene.params) for gene in g.genes}
    table = {regime: g.topologies[regime][0].tactic for regime in REGIMES}
    allowed = {regime: tuple(sorted(gene.tactic for gene in g.topologies[regime])) for regime in REGIMES if g.mixed}
    return Policy(
        features=g.features, belief=g.belief, regime=g.regime, cadence=g.cadence,
        router=RouterSpec(**dict(g.router), table=table, allowed=allowed),
        topologies=tactics, sizing=g.sizing, risk=g.risk, expost=g.expost, flags=g.flags, learning=g.learning,
        drift=g.drift,
    )  # fmt: skip
