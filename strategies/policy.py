"""The policy: everything that decides, nothing of where it runs; validated here and only here, and hashed.

``policy_hash`` is the sha256 of the policy's RFC 8785 canonical JSON. A field that is added later carries
``json_schema_extra={"since": <schema version>}`` and stays out of the canonical form while it has its default, so
that the hashes of older policies stand.
"""

import hashlib
from typing import Annotated, Any, Literal, Self

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from alphatrade.actors.regime import REGIMES
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.template import RiskTemplate
from alphatrade.strategies.hmm_spec import HmmSpec
from alphatrade.strategies.topologies import load_topology

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Steps = Annotated[int, Field(ge=1, le=1023)]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Weight = Annotated[float, Field(gt=0, le=1)]


SINCE_1: dict[str, Any] = {"since": 1}  # added while the schema was at version 1


class Spec(BaseModel):
    """Base of every part of the policy: frozen, and nothing unknown gets in."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FeatureSpec(Spec):
    """One feature: a built-in kind or an import path, and its window in steps (hours for time_of_day)."""

    kind: str
    n: Annotated[int, Field(ge=0, le=1023)] = 1


class BeliefSpec(Spec):
    """Expansion of d features to n units of which k stay active."""

    n: Annotated[int, Field(ge=128, le=4096)] = 128
    k: Annotated[int, Field(ge=1, le=512)] = 16
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 7
    halflife: Annotated[int, Field(ge=2, le=1_000_000)] = 500

    @model_validator(mode="after")
    def _sparse(self) -> Self:
        if self.k * 4 > self.n:
            raise ConfigError("policy.belief.k", self.k, f"at most a quarter of n={self.n}: the code is sparse")
        return self


class RegimeSpec(Spec):
    """
    Windows and dwell in steps; thresholds of RegimeFSM v1 (:mod:`alphatrade.actors.regime`).

    With ``kind: hmm`` a fitted model decides, over the same window and dwell, and the machine stands by.
    """

    window: Steps = 60
    trend_enter: Positive = 1.2
    trend_exit: Positive = 0.6
    vol_short: Steps = 20
    vol_long: Steps = 240
    vol_enter: Positive = 1.15
    vol_exit: Positive = 0.95
    dwell: Steps = 5
    kind: Literal["fsm", "hmm"] = Field("fsm", json_schema_extra={"since": 1})
    hmm: HmmSpec | None = Field(None, json_schema_extra={"since": 1})

    @model_validator(mode="after")
    def _hysteresis(self) -> Self:
        for name, leave, enter in (
            ("trend", self.trend_exit, self.trend_enter),
            ("vol", self.vol_exit, self.vol_enter),
        ):
            if leave >= enter:
                raise ConfigError(f"policy.regime.{name}_exit", leave, f"less than {name}_enter={enter:g}")
        if (self.hmm is not None) != (self.kind == "hmm"):
            what = "parameters, as `alphatrade regime fit` writes them" if self.hmm is None else "none with kind=fsm"
            raise ConfigError("policy.regime.hmm", None if self.hmm is None else "…", what)
        return self


class CadenceSpec(Spec):
    """What closes a decision step."""

    kind: Literal["bars", "events", "seconds"] = "seconds"
    n: Annotated[int, Field(ge=1, le=1_000_000)] = 15


class RouterTunables(Spec):
    """Who chooses, and friction against switching: steps a tactic stays in charge, confidence that a switch needs."""

    kind: Literal["table", "ewma", "linucb"] = "table"
    min_hold: Annotated[int, Field(ge=0, le=100_000)] = 5
    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.05


class RouterSpec(RouterTunables):
    """
    A table from regime to tactic.

    Kinds ``ewma`` and ``linucb`` learn to depart from it, as the flag linear_attention makes a ``table`` do; `allowed`
    says to whom in a regime, and allows all where it says nothing. Whoever is in charge trades `weights` of a full
    clip in that regime, and a whole one where they say nothing.
    """

    table: dict[str, str]
    allowed: Annotated[dict[str, tuple[str, ...]], Field(json_schema_extra=SINCE_1)] = {}
    weights: Annotated[dict[str, dict[str, Weight]], Field(json_schema_extra=SINCE_1)] = {}

    @field_validator("table")
    @classmethod
    def _complete(cls, table: dict[str, str]) -> dict[str, str]:
        if set(table) != set(REGIMES):
            raise ValueError(f"a tactic for each of {', '.join(REGIMES)}")
        return table

    @field_validator("allowed", "weights")
    @classmethod
    def _regimes(cls, by_regime: dict[str, Any]) -> dict[str, Any]:
        if not set(by_regime) <= set(REGIMES):
            raise ValueError(f"tactics for some of {', '.join(REGIMES)}")
        return by_regime


class TacticSpec(Spec):
    """A tactic: an execution topology (built-in kind or import path) and its parameters."""

    kind: str
    params: dict[str, Any] = {}


class SizingSpec(Spec):
    """Notional of one clip: ``capital * fraction * min(1, vol_target_bps / vol)``."""

    fraction: Annotated[float, Field(gt=0, le=1)] = 0.05
    vol_target_bps: Positive = 5.0


class ExpostSpec(Spec):
    """Horizons of the mark-outs in decision steps; learning uses the primary one."""

    horizons: Annotated[tuple[Steps, ...], Field(min_length=1, max_length=8)] = (1, 5, 20)
    primary: Steps = 5

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.primary not in self.horizons or list(self.horizons) != sorted(set(self.horizons)):
            raise ValueError("horizons ascending without repeats, and primary one of them")
        return self


class AttentionSpec(Spec):
    """Linear attention (:mod:`alphatrade.strategies.attention`); half-lives count decision steps."""

    halflife: Annotated[int, Field(ge=10, le=10_000_000)] = 20_000
    prior: Annotated[float, Field(ge=0, le=1e6)] = 10.0
    caution: Annotated[float, Field(ge=0, le=10)] = 1.0


class FastWeightsSpec(Spec):
    """Fast weights (:mod:`alphatrade.strategies.fast_weights`); a belief has norm 1 there."""

    rank: Annotated[int, Field(ge=1, le=512)] = 64
    halflife: Annotated[int, Field(ge=1, le=10_000)] = 16
    eta: Annotated[float, Field(gt=0, le=10)] = 0.05
    clip: Annotated[float, Field(gt=0, le=10)] = 3.0
    bound: Annotated[float, Field(gt=0, le=100)] = 1.0


class EwmaSpec(Spec):
    """Rival of attention: one moving average per tactic; the half-life counts decision steps."""

    halflife: Annotated[int, Field(ge=1, le=10_000_000)] = 200


class LinUCBSpec(Spec):
    """Rival of attention: linear models with an upper confidence bound."""

    ridge: Annotated[float, Field(gt=0, le=1e6)] = 10.0
    width: Annotated[float, Field(ge=0, le=100)] = 1.0


class LearningSpec(Spec):
    """
    What the learning mechanisms are set to; none of it matters while they are off.

    An outcome beyond `outcome_cap_bps` of a clip counts as that much: a bad print, or nothing to learn a rule from.
    """

    outcome_cap_bps: Positive = 500.0
    attention: AttentionSpec = AttentionSpec()
    fast_weights: FastWeightsSpec = FastWeightsSpec()
    ewma: EwmaSpec = EwmaSpec()
    linucb: LinUCBSpec = LinUCBSpec()


class DriftSpec(Spec):
    """Drift sentry (:mod:`alphatrade.actors.drift`); all lengths in outcomes."""

    enabled: bool = True
    run_length: Annotated[float, Field(ge=50, le=5_000)] = 300.0
    k: Annotated[float, Field(gt=0, le=3)] = 0.5
    baseline: Annotated[int, Field(ge=100, le=2_000)] = 750
    least: Annotated[int, Field(ge=20, le=2_000)] = 50
    quiet: Annotated[int, Field(ge=1, le=100_000)] = 50

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.least > self.baseline:
            raise ConfigError("policy.drift.least", self.least, f"at most policy.drift.baseline={self.baseline}")
        return self


class Flags(Spec):
    """Mechanisms of the policy that can be switched; off by default."""

    fast_weights: bool = False
    linear_attention: bool = False


class Policy(Spec):
    """The complete decision-making configuration; the same in sim, paper and live."""

    schema_version: Literal[1] = 1
    features: Annotated[dict[Name, FeatureSpec], Field(min_length=1, max_length=64)]
    belief: BeliefSpec
    regime: RegimeSpec
    cadence: CadenceSpec
    router: RouterSpec
    topologies: Annotated[dict[Name, TacticSpec], Field(min_length=1, max_length=64)]
    sizing: SizingSpec
    risk: RiskTemplate
    expost: ExpostSpec
    flags: Flags
    learning: Annotated[LearningSpec, Field(json_schema_extra=SINCE_1)] = LearningSpec()
    drift: Annotated[DriftSpec, Field(json_schema_extra=SINCE_1)] = DriftSpec()

    @model_validator(mode="after")
    def _switched(self) -> Self:
        kind, flags = self.router.kind, self.flags
        if flags.linear_attention and kind != "table":
            raise ConfigError("policy.flags.linear_attention", True, f"false beside policy.router.kind={kind}")
        if flags.fast_weights and not (flags.linear_attention or kind == "linucb"):
            learns = "policy.flags.linear_attention=true or policy.router.kind=linucb"
            expected = f"false without a router that learns from beliefs: {learns}"
            raise ConfigError("policy.flags.fast_weights", True, expected)
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for regime, tactic in self.router.table.items():
            if tactic not in self.topologies:
                known = f"one of the tactics {', '.join(sorted(self.topologies))}"
                raise ConfigError(f"policy.router.table.{regime}", tactic, known)
            allowed = self.router.allowed.get(regime, (tactic,))
            unknown = [name for name in allowed if name not in self.topologies]
            if unknown or tactic not in allowed:
                known = f"tactics of the policy, the table's {tactic} among them"
                raise ConfigError(f"policy.router.allowed.{regime}", list(allowed), known)
        for regime, weights in self.router.weights.items():
            if strange := sorted(set(weights) - set(self.topologies)):
                known = f"weights of the tactics {', '.join(sorted(self.topologies))}"
                raise ConfigError(f"policy.router.weights.{regime}", strange[0], known)
        for name, spec in self.topologies.items():
            load_topology(f"policy.topologies.{name}", spec.kind, spec.params, tuple(sorted(self.features)))
        return self

    @property
    def policy_hash(self) -> str:
        """Sha256 of the canonical JSON, 64 hexadecimal digits."""
        return hashlib.sha256(rfc8785.dumps(canonical(self))).hexdigest()


def canonical(model: BaseModel) -> dict[str, Any]:
    """
    Return a model as plain JSON values, without later-added fields that hold their default.

    Parameters
    ----------
    model : BaseModel

    Returns
    -------
    dict
        Decimals as strings; integers beyond 2^53 as strings, because RFC 8785 stops there.
    """
    out: dict[str, Any] = {}
    dumped = model.model_dump(mode="json")
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        extra = field.json_schema_extra
        if isinstance(extra, dict) and "since" in extra and value == field.get_default(call_default_factory=True):
            continue
        out[name] = _plain(value, dumped[name])
    return out


def _plain(value: Any, dumped: Any) -> Any:
    if isinstance(value, BaseModel):
        return canonical(value)
    if isinstance(value, dict):
        return {str(key): _plain(item, dumped[str(key)]) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, plain) for item, plain in zip(value, dumped, strict=True)]
    if isinstance(dumped, int) and not isinstance(dumped, bool) and abs(dumped) > 2**53:
        return str(dumped)
    return dumped
