"""The closed grammar of edits: all that a proposal can ask for, and what it makes of a policy.

An edit says what to do with the policy's own parts and in absolute terms, so that nothing is reached by doing it twice.
Limits of risk can only become tighter, and a tactic can only trade what the policy already may: loosening cannot be
said. Whether an edit lies within its bounds is asked once, by :func:`apply_edit`; that it is *good* is asked elsewhere.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from alphatrade.actors.regime import REGIMES
from alphatrade.reflection.ledger_fields import Body, Words
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.tightness import TIGHTER, as_tight
from alphatrade.strategies.policy import Name, Policy, TacticSpec
from alphatrade.strategies.topologies import load_topology

FLAT = "flat"


class RouteWeight(Body):
    """Let a tactic lead in a regime, with clips of `weight` times their full size."""

    kind: Literal["route_weight"] = "route_weight"
    regime: Words
    tactic: Name
    weight: Annotated[float, Field(gt=0, le=1)]


class TacticParameter(Body):
    """Give one number of a tactic another value."""

    kind: Literal["tactic_parameter"] = "tactic_parameter"
    tactic: Name
    parameter: Words
    value: float


class TightenRisk(Body):
    """Give one limit of the risk template a tighter value: a number, or a word where the limit is an action."""

    kind: Literal["tighten_risk"] = "tighten_risk"
    limit: Words
    value: float | Words


class DisableTactic(Body):
    """Take a tactic away; where it led, nothing trades."""

    kind: Literal["disable_tactic"] = "disable_tactic"
    tactic: Name


class Experiment(Body):
    """Ask evolution to try a topology in a regime; changes nothing by itself."""

    kind: Literal["experiment"] = "experiment"
    regime: Words
    topology: Words


Edit = Annotated[RouteWeight | TacticParameter | TightenRisk | DisableTactic | Experiment, Field(discriminator="kind")]


class Reach(NamedTuple):
    """How far a parameter may go: ends included; `log` where factors count, `whole` for a count."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


class Bounds(NamedTuple):
    """
    What edits may reach.

    Attributes
    ----------
    parameters : mapping of str to mapping of str to Reach
        By kind of topology and name of the parameter; a topology or a parameter that is absent is left alone.
    never : mapping of str to tuple of str
        Regimes that a kind of topology may not trade.
    smaller : frozenset of str
        Parameters, ``kind.parameter``, that say how much is held or risked: they may only become smaller.
    """

    parameters: Mapping[str, Mapping[str, Reach]]
    never: Mapping[str, tuple[str, ...]]
    smaller: frozenset[str] = frozenset()

    def suits(self, kind: str, regime: str) -> bool:
        """Return whether a topology may trade in a regime; one that is not named may not."""
        return kind in self.parameters and regime not in self.never.get(kind, ())


def apply_edit(policy: Policy, edit: Edit, bounds: Bounds | None) -> Policy:
    """
    Return the policy that an edit makes of another.

    Parameters
    ----------
    policy : Policy
    edit : Edit
    bounds : Bounds or None
        None where it was asked before, of an edit that a ledger says is applied: the bounds of today are not asked.

    Returns
    -------
    Policy
        `policy` itself for an experiment.

    Raises
    ------
    ConfigError
        If the edit lies outside the bounds, means nothing to this policy, or would change nothing.
    """
    if isinstance(edit, Experiment):
        if bounds is not None:
            _check_experiment(policy, edit, bounds)
        return policy
    if bounds is not None:
        _check(policy, edit, bounds)
    parts = _PARTS[type(edit)](policy, edit)
    try:
        child = Policy.model_validate({name: getattr(policy, name) for name in Policy.model_fields} | parts)
    except ValidationError as error:
        raise _refused(edit, error) from None
    if child.policy_hash == policy.policy_hash:
        raise ConfigError("edit", describe(edit), "one that changes the policy")
    assert as_tight(child.risk, policy.risk), "an edit has loosened risk"
    return child


def describe(edit: Edit) -> str:
    """Return an edit in a few words."""
    if isinstance(edit, RouteWeight):
        return f"{edit.tactic} leads in {edit.regime} with weight {edit.weight:g}"
    if isinstance(edit, TacticParameter):
        return f"{edit.tactic}.{edit.parameter} = {edit.value:g}"
    if isinstance(edit, TightenRisk):
        return f"risk.{edit.limit} = {edit.value if isinstance(edit.value, str) else format(edit.value, 'g')}"
    if isinstance(edit, DisableTactic):
        return f"without {edit.tactic}"
    return f"try {edit.topology} in {edit.regime}"


def touched(policy: Policy, edit: Edit) -> tuple[tuple[str, str], ...]:
    """
    Return the places, (tactic in charge, regime), of a policy whose trading an edit may change.

    A limit of risk bears on all of them; a tactic, where a learning router may choose it, on more than it leads in.
    """
    places = tuple([(policy.router.table[regime], regime) for regime in REGIMES])
    if isinstance(edit, RouteWeight):
        return tuple([place for place in places if place[1] == edit.regime])
    if isinstance(edit, TacticParameter | DisableTactic):
        return tuple([place for place in places if place[0] == edit.tactic or _may_lead(policy, edit.tactic, place[1])])
    return () if isinstance(edit, Experiment) else places


def _may_lead(policy: Policy, tactic: str, regime: str) -> bool:
    """Return whether a learning router may put a tactic in charge of a regime."""
    learns = policy.flags.linear_attention or policy.router.kind != "table"
    return learns and tactic in policy.router.allowed.get(regime, policy.topologies)


def _check(policy: Policy, edit: Edit, bounds: Bounds) -> None:
    """Refuse what lies outside the bounds."""
    if isinstance(edit, RouteWeight):
        _regime(edit.regime)
        kind = _tactic(policy, edit.tactic).kind
        if not bounds.suits(kind, edit.regime):
            raise ConfigError("edit.tactic", f"{edit.tactic} ({kind})", f"a tactic that may trade in {edit.regime}")
    elif isinstance(edit, TacticParameter):
        kind = _tactic(policy, edit.tactic).kind
        own = bounds.parameters.get(kind, {})
        if edit.parameter not in own:
            known = f"one of the parameters {', '.join(own) or '(none)'} of {kind}"
            raise ConfigError("edit.parameter", edit.parameter, known)
        reach, before = own[edit.parameter], parameter(policy, edit.tactic, edit.parameter)
        if not reach.low <= edit.value <= reach.high or (reach.whole and edit.value != int(edit.value)):
            number = "a whole number" if reach.whole else "a number"
            raise ConfigError("edit.value", edit.value, f"{number} from {reach.low:g} to {reach.high:g}")
        if f"{kind}.{edit.parameter}" in bounds.smaller and edit.value > before:
            raise ConfigError("edit.value", edit.value, f"at most {before:g}: {edit.parameter} may only become smaller")


def _routed(policy: Policy, edit: RouteWeight) -> dict[str, Any]:
    _regime(edit.regime)
    _tactic(policy, edit.tactic)
    allowed = policy.router.allowed.get(edit.regime)
    if allowed is not None and edit.tactic not in allowed:
        raise ConfigError("edit.tactic", edit.tactic, f"one that the policy allows there: {', '.join(allowed)}")
    weights = {regime: dict(own) for regime, own in policy.router.weights.items()}
    weights.setdefault(edit.regime, {})[edit.tactic] = edit.weight
    if edit.weight == 1.0:
        del weights[edit.regime][edit.tactic]  # as if nothing had been said
    kept = {regime: own for regime, own in weights.items() if own}
    table = dict(policy.router.table) | {edit.regime: edit.tactic}
    return {"router": policy.router.model_copy(update={"table": table, "weights": kept})}


def _tuned(policy: Policy, edit: TacticParameter) -> dict[str, Any]:
    tactic, before = _tactic(policy, edit.tactic), _in_force(policy, edit.tactic, edit.parameter)
    if edit.value == before:  # also where the policy leaves it at its default
        raise ConfigError("edit.value", edit.value, f"another than {before:g}, which it is")
    value: float | int = int(edit.value) if isinstance(before, int) and edit.value == int(edit.value) else edit.value
    changed = TacticSpec(kind=tactic.kind, params=dict(tactic.params) | {edit.parameter: value})
    return {"topologies": dict(policy.topologies) | {edit.tactic: changed}}


def _tightened(policy: Policy, edit: TightenRisk) -> dict[str, Any]:
    if edit.limit not in TIGHTER:
        raise ConfigError("edit.limit", edit.limit, f"one of {', '.join(TIGHTER)}")
    before = getattr(policy.risk, edit.limit)
    value: Any = edit.value
    if isinstance(value, str) != isinstance(TIGHTER[edit.limit], tuple):
        raise ConfigError("edit.value", value, "a number" if isinstance(value, str) else "a word")
    if isinstance(value, float) and (isinstance(before, int) or edit.limit in _COUNTS):
        value = int(value) if value == int(value) else value
    try:
        risk = RiskTemplate.model_validate(policy.risk.model_dump() | {edit.limit: value})
    except ValidationError as error:
        raise _refused(edit, error) from None
    if not as_tight(risk, policy.risk) or risk == policy.risk:
        raise ConfigError("edit.value", edit.value, f"tighter than {before}: risk can only be tightened")
    return {"risk": risk}


def _disabled(policy: Policy, edit: DisableTactic) -> dict[str, Any]:
    if _tactic(policy, edit.tactic).kind == FLAT:
        raise ConfigError("edit.tactic", edit.tactic, "a tactic that trades")
    left = {name: spec for name, spec in policy.topologies.items() if name != edit.tactic}
    router = policy.router
    led = [regime for regime, tactic in router.table.items() if tactic == edit.tactic]
    still = next((name for name, spec in sorted(left.items()) if spec.kind == FLAT), None)
    if led and still is None:
        still = next(name for name in (FLAT, *[f"{FLAT}_{n}" for n in range(len(left))]) if name not in left)
        left[still] = TacticSpec(kind=FLAT)
    table = {regime: still if regime in led else tactic for regime, tactic in router.table.items()}
    allowed = {}
    for regime, names in router.allowed.items():
        others = tuple([name for name in names if name != edit.tactic])
        lead = table[regime]
        allowed[regime] = others if lead in others else (*others, str(lead))
    weights = {
        regime: kept
        for regime, own in router.weights.items()
        if (kept := {name: share for name, share in own.items() if name != edit.tactic})
    }
    changed = router.model_copy(update={"table": table, "allowed": allowed, "weights": weights})
    return {"topologies": left, "router": changed}


def _check_experiment(policy: Policy, edit: Experiment, bounds: Bounds) -> None:
    _regime(edit.regime)
    if not bounds.suits(edit.topology, edit.regime):
        fit = [kind for kind in bounds.parameters if bounds.suits(kind, edit.regime)]
        raise ConfigError("edit.topology", edit.topology, f"one of {', '.join(fit)} in {edit.regime}")
    if policy.topologies[policy.router.table[edit.regime]].kind == edit.topology:
        raise ConfigError("edit.topology", edit.topology, f"one that does not lead in {edit.regime} already")


def parameter(policy: Policy, tactic: str, name: str) -> float:
    """Return a number of a tactic as it is in force, also where the policy leaves it at its default."""
    return float(_in_force(policy, tactic, name))


def _in_force(policy: Policy, tactic: str, name: str) -> float | int:
    spec = policy.topologies[tactic]
    loaded = load_topology(f"policy.topologies.{tactic}", spec.kind, spec.params, tuple(sorted(policy.features)))
    value = getattr(loaded.p, name, None)
    if isinstance(value, bool) or not isinstance(value, float | int):
        raise ConfigError("edit.parameter", name, f"a number among the parameters of {spec.kind}")
    return value


def _tactic(policy: Policy, name: str) -> TacticSpec:
    if name not in policy.topologies:
        raise ConfigError("edit.tactic", name, f"one of the tactics {', '.join(sorted(policy.topologies))}")
    return policy.topologies[name]


def _regime(name: str) -> None:
    if name not in REGIMES:
        raise ConfigError("edit.regime", name, f"one of {', '.join(REGIMES)}")


def _refused(edit: Edit, error: ValidationError) -> ConfigError:
    first = error.errors(include_url=False)[0]
    expected = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return ConfigError("edit", describe(edit), expected)


_COUNTS = frozenset({"orders_per_second", "orders_per_minute", "repeat_max", "open_orders_max"})
_PARTS: Mapping[type[Body], Any] = {
    RouteWeight: _routed, TacticParameter: _tuned, TightenRisk: _tightened, DisableTactic: _disabled,
}  # fmt: skip
