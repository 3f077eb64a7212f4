"""The domain: what evolution may make of a genotype, as a config (``conf/domain``)."""

from math import exp, log
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from alphatrade.actors.features import BUILT_IN as FEATURES
from alphatrade.actors.regime import REGIMES
from alphatrade.evolution.genotype import Gene, Genotype
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.policy import FeatureSpec, Name, Spec
from alphatrade.strategies.topologies import load_topology

STEP = 0.2  # standard deviation of a mutation, share of the range
DIGITS = 4  # significant, of a number that was bred: a config stays readable


class Range(Spec):
    """A number between two others; `log` where factors count rather than differences, `whole` for a count."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("low < high, and above 0 where log is true")
        return self

    def draw(self, rng: np.random.Generator) -> float | int:
        """Return a number from anywhere in the range."""
        return self._at(float(rng.random()))

    def nudge(self, value: float, rng: np.random.Generator) -> float | int:
        """Return a number near `value`, within the range."""
        low, high = self._ends
        now = (log(max(value, self.low)) if self.log else value) - low
        return self._at(now / (high - low) + STEP * float(rng.standard_normal()))

    @property
    def _ends(self) -> tuple[float, float]:
        return (log(self.low), log(self.high)) if self.log else (self.low, self.high)

    def _at(self, share: float) -> float | int:
        low, high = self._ends
        place = low + min(1.0, max(0.0, share)) * (high - low)
        value = min(self.high, max(self.low, float(f"{exp(place) if self.log else place:.{DIGITS}g}")))
        return round(value) if self.whole else value


class TopologyDomain(Spec):
    """A topology: ranges of its parameters, kinds of feature that its signal may be, regimes that it may not trade."""

    signal: tuple[str, ...] = ()
    params: dict[str, Range] = {}
    never: tuple[str, ...] = ()

    @field_validator("signal")
    @classmethod
    def _kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        if not all(kind in FEATURES or ":" in kind for kind in kinds):
            raise ValueError(f"kinds of features, some of {', '.join(FEATURES)}, or a class as package.module:Class")
        return kinds

    @field_validator("never")
    @classmethod
    def _regimes(cls, regimes: tuple[str, ...]) -> tuple[str, ...]:
        if not set(regimes) <= set(REGIMES):
            raise ValueError(f"some of {', '.join(REGIMES)}")
        return regimes


class Domain(Spec):
    """
    What evolution may make of a genotype.

    Attributes
    ----------
    features : dict of str to FeatureSpec
        That may be added.
    topologies : dict of str to TopologyDomain
        By kind.
    tunables : dict of str to Range
        Numbers of a genotype by their path, such as ``belief.k``; a configuration nests them.
    """

    features: dict[Name, FeatureSpec]
    topologies: Annotated[dict[str, TopologyDomain], Field(min_length=1)]
    tunables: dict[str, Range]

    @field_validator("tunables", mode="before")
    @classmethod
    def _by_path(cls, tunables: Any) -> Any:
        """Take ``{belief: {k: ...}}``, as a configuration has it, for ``{belief.k: ...}``, as the ledger has it."""
        if not isinstance(tunables, dict):
            return tunables
        parts = {part for part, own in tunables.items() if part in Genotype.model_fields and isinstance(own, dict)}
        inner = {f"{part}.{name}": span for part in sorted(parts) for name, span in tunables[part].items()}
        return {path: span for path, span in tunables.items() if path not in parts} | inner

    @model_validator(mode="after")
    def _known(self) -> Self:
        for path in self.tunables:
            part, _, name = path.partition(".")
            spec = Genotype.model_fields.get(part)
            if part == "risk" or spec is None or name not in getattr(spec.annotation, "model_fields", {}):
                raise ValueError(f"paths of tunables such as belief.k, of which {path} is none")
        for kind, topology in self.topologies.items():
            signal = {"signal": "any"} if topology.signal else {}
            for end in ("low", "high"):
                params = {name: getattr(span, end) for name, span in topology.params.items()}
                load_topology(f"domain.topologies.{kind}", kind, signal | params, ("any",))
        return self

    def suits(self, kind: str, regime: str) -> bool:
        """Return whether a topology may trade in a regime; one that the domain does not name may not."""
        return kind in self.topologies and regime not in self.topologies[kind].never

    def check(self, genotype: Genotype) -> None:
        """
        Refuse a genotype that could not have been bred.

        Raises
        ------
        ConfigError
            Naming what lies outside, and what would not.
        """
        names = sorted(genotype.features)
        for regime, genes in genotype.topologies.items():
            for gene in genes:
                where = f"genotype.topologies.{regime}"
                if not self.suits(gene.kind, regime):
                    fit = [kind for kind in self.topologies if self.suits(kind, regime)]
                    raise ConfigError(where, gene.kind, f"one of {', '.join(fit)} (domain)")
                topology, at = self.topologies[gene.kind], load_topology(where, gene.kind, gene.params, names).at
                signal = None if at < 0 else genotype.features[names[at]].kind
                if topology.signal and signal not in topology.signal:
                    raise ConfigError(f"{where}.signal", signal, f"one of {', '.join(topology.signal)} (domain)")
                for name, span in topology.params.items():
                    _within(f"{where}.{name}", gene.params.get(name), span)
        for path, span in self.tunables.items():
            part, _, name = path.partition(".")
            _within(f"genotype.{path}", getattr(getattr(genotype, part), name), span)

    def gene(self, kind: str, genotype: Genotype, rng: np.random.Generator) -> Gene | None:
        """Return a topology with parameters drawn anew; None where no feature of the genotype can be its signal."""
        spec = self.topologies[kind]
        params: dict[str, object] = {name: span.draw(rng) for name, span in sorted(spec.params.items())}
        if spec.signal:
            fit = sorted(name for name, feature in genotype.features.items() if feature.kind in spec.signal)
            if not fit:
                return None
            params["signal"] = fit[int(rng.integers(len(fit)))]
        return Gene(kind=kind, params=params)


def _within(field: str, value: object, span: Range) -> None:
    if value is not None and not span.low <= float(str(value)) <= span.high:
        raise ConfigError(field, value, f"a number from {span.low:g} to {span.high:g} (domain)")
