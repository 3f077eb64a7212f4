"""Governance: what may change a policy without a person, what needs one, and what is refused; a rule on facts.

The facts are gathered elsewhere, by replays that know nothing of who proposed the edit, and the rule is computed from
them. Each condition stands alone and says in words why it does not hold. Evidence that does not hold refuses; authority
that is missing asks for a person.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from alphatrade.reflection.rim.edits import Experiment
from alphatrade.reflection.rim.entries import Outcome, Ruling, Window
from alphatrade.reflection.rim.proposals import Proposal
from alphatrade.reflection.stages import STAGES
from alphatrade.reflection.thresholds import GovernanceSpec, as_spec
from alphatrade.reflection.uplift import Uplift, uplift
from alphatrade.risk.errors import ConfigError


class Facts(NamedTuple):
    """
    All that the rule looks at.

    Attributes
    ----------
    proposal : Proposal
    governed : bool
        Whether the run flag governed_feedback is on.
    known : bool
        Whether the proposal was entered and ruled on before.
    in_force : str
        The policy that a node would start with now.
    child : str
        What the edit makes of it, computed here; empty where it was refused, see `refused`.
    refused : str
        Why the edit cannot be made; empty where it can.
    hashes : tuple of str
        What of the proposal does not agree with this checkout, its configuration and its models, in words.
    evidence : tuple of str
        What of the rows that it points at is not as it says, in words.
    window : Window or None
        Where it was replayed; None: nowhere.
    base, changed : tuple of float
        Net returns in each period there, without and with the edit.
    hits : int
        Violations, denials for a limit, and kills in the replay with the edit.
    family, changes : int
        Proposals that are ruled on together; changes begun in the last 24 hours.
    flow : float
        Share of the flow that the edit bears on.
    stage : str
        Of the policy in force.
    spent : int
        Rulings on other lots of proposals, of this policy or what it was made of, that some of the window went into.
    """

    proposal: Proposal
    governed: bool
    known: bool
    in_force: str
    child: str
    refused: str
    hashes: tuple[str, ...]
    evidence: tuple[str, ...]
    window: Window | None
    base: tuple[float, ...]
    changed: tuple[float, ...]
    hits: int
    family: int
    changes: int
    flow: float
    stage: str
    spent: int


class Decision(NamedTuple):
    """What is done with a proposal, and every reason against doing it by rule; none for ``apply``."""

    outcome: Outcome
    why: tuple[str, ...]


Condition = Callable[[Facts, GovernanceSpec], str]


def _new(facts: Facts, spec: GovernanceSpec) -> str:
    return "it was ruled on before" if facts.known else ""


def _target(facts: Facts, spec: GovernanceSpec) -> str:
    stale = facts.proposal.target != facts.in_force
    return f"it is for {facts.proposal.target[:12]}, and {facts.in_force[:12]} is in force" if stale else ""


def _edit(facts: Facts, spec: GovernanceSpec) -> str:
    if facts.refused:
        return facts.refused
    other = facts.child != facts.proposal.child
    return f"the edit makes {facts.child[:12]}, not {facts.proposal.child[:12]}" if other else ""


def _hashes(facts: Facts, spec: GovernanceSpec) -> str:
    return "; ".join(facts.hashes)


def _evidence(facts: Facts, spec: GovernanceSpec) -> str:
    return "; ".join(facts.evidence)


def _window(facts: Facts, spec: GovernanceSpec) -> str:
    if facts.window is None:
        return "it was not replayed"
    rest = (int(facts.window.start) - max(int(one.end) for one in facts.proposal.evidence)) / 1e9
    return f"{rest:g} s after what it rests on, fewer than {spec.embargo_s:g}" if rest < spec.embargo_s else ""


def _fresh(facts: Facts, spec: GovernanceSpec) -> str:
    """Whoever may ask the same data again and again will be told what he wants to hear."""
    told = f"{facts.spent} rulings on other proposals have looked at some of this window: later data are needed"
    return "" if facts.spent == 0 else told


def _measured(facts: Facts, level: float, seed: int) -> Uplift | str:
    """Return the uplift in the replay, or why there is none."""
    try:
        return uplift(facts.base, facts.changed, level, seed)
    except ConfigError as error:
        return str(error)


def _periods(facts: Facts, spec: GovernanceSpec) -> str:
    found = _measured(facts, spec.level, spec.seed)
    if isinstance(found, str):
        return found
    if found.n < spec.periods:
        return f"{found.n} periods, fewer than {spec.periods}"
    few = found.moved < spec.moved
    return f"{found.moved} periods in which it made a difference, fewer than {spec.moved}" if few else ""


def _uplift(facts: Facts, spec: GovernanceSpec) -> str:
    found = _measured(facts, spec.level, spec.seed)
    if isinstance(found, str):
        return found
    return f"{found.mean:+.3f} bps a period, less than {spec.uplift_bps:g}" if found.mean < spec.uplift_bps else ""


def _interval(facts: Facts, spec: GovernanceSpec) -> str:
    if facts.family < 1:
        return f"{facts.family} proposals were ruled on together"
    level = _together(spec, facts.family)
    found = _measured(facts, level, spec.seed)
    if isinstance(found, str):
        return found
    told = f"its lower bound is {found.low:+.3f} bps at {level:.2%}, one of {facts.family} together"
    return "" if found.low > 0.0 else told


def _risk(facts: Facts, spec: GovernanceSpec) -> str:
    return f"{facts.hits} risk hits in the replay" if facts.hits else ""


def _flag(facts: Facts, spec: GovernanceSpec) -> str:
    return "" if facts.governed else "governed_feedback is off"


def _stage(facts: Facts, spec: GovernanceSpec) -> str:
    if facts.stage not in STAGES:
        return f"the policy is at no known stage: {facts.stage}"
    above = STAGES.index(facts.stage) > STAGES.index(spec.stage)
    return f"the policy is at {facts.stage}, above {spec.stage}" if above else ""


def _budget(facts: Facts, spec: GovernanceSpec) -> str:
    left = 0 <= facts.changes < spec.changes_per_day
    return "" if left else f"{facts.changes} changes today, and {spec.changes_per_day} may be"


def _flow(facts: Facts, spec: GovernanceSpec) -> str:
    share = facts.flow * spec.canary_share
    return "" if 0.0 <= share <= spec.flow else f"{share:.1%} of the flow, which may be {spec.flow:.1%}"


EVIDENCE: Mapping[str, Condition] = {
    "new": _new, "target": _target, "edit": _edit, "hashes": _hashes, "evidence": _evidence, "window": _window,
    "fresh": _fresh, "periods": _periods, "uplift": _uplift, "interval": _interval, "risk": _risk,
}  # fmt: skip
AUTHORITY: Mapping[str, Condition] = {"flag": _flag, "stage": _stage, "budget": _budget, "flow": _flow}
BEFORE = ("new", "target", "edit", "hashes", "evidence")  # what can be known without a replay


def rule(facts: Facts, spec: GovernanceSpec) -> Decision:
    """
    Return what is done with a proposal.

    Parameters
    ----------
    facts : Facts
    spec : GovernanceSpec

    Returns
    -------
    Decision
        ``apply`` where every condition holds; ``signoff`` where the evidence holds and authority is missing;
        ``reject`` otherwise, with every reason. An experiment is referred to evolution, or rejected.
    """
    experiment = isinstance(facts.proposal.edit, Experiment)
    names = BEFORE if experiment else tuple(EVIDENCE)
    against = _against(EVIDENCE, names, facts, spec)
    if against:
        return Decision("reject", against)
    if experiment:
        return Decision("refer", ())
    missing = _against(AUTHORITY, tuple(AUTHORITY), facts, spec)
    return Decision("signoff", missing) if missing else Decision("apply", ())


def again(ruling: Ruling, proposal: Proposal) -> Outcome:
    """
    Return what the rule says to the figures that a ruling has, taking its word for all else: whoever reads it can ask.

    Raises
    ------
    ConfigError
        If its rule is none.
    """
    spec = as_spec(ruling.spec)
    target, child = proposal.target, proposal.child
    facts = Facts(
        proposal, True, False, target, child, "", (), (), ruling.window, tuple(ruling.base), tuple(ruling.changed),
        ruling.hits, ruling.family, ruling.changes, ruling.flow, ruling.stage, 0,
    )  # fmt: skip
    return rule(facts, spec).outcome


def measured(ruling: Ruling) -> Uplift | None:
    """Return the uplift in a ruling's replay with the interval that it was made on; None where it has none."""
    spec = as_spec(ruling.spec)
    try:
        return uplift(ruling.base, ruling.changed, _together(spec, ruling.family), spec.seed)
    except ConfigError:
        return None


def _together(spec: GovernanceSpec, family: int) -> float:
    """Return the level of one bound, where all of so many hold together at that of the rule."""
    return 1.0 - (1.0 - spec.level) / family


def refused_before(facts: Facts, spec: GovernanceSpec) -> tuple[str, ...]:
    """Return why a proposal is refused without a replay; empty where one is worth its time."""
    return _against(EVIDENCE, BEFORE, facts, spec)


def _against(
    conditions: Mapping[str, Condition], names: tuple[str, ...], facts: Facts, spec: GovernanceSpec
) -> tuple[str, ...]:
    told = [(name, conditions[name](facts, spec)) for name in names]
    return tuple([f"{name}: {words}" for name, words in told if words])
