"""How a change goes on, or back: shadow, canary, full, each on data later than the phase before was judged on.

*Shadow*: the change is replayed on a later run's tape, beside the policy that ran. *Canary*: a later run had it as a
second organism, with a share of the capital under the same law. *Full*: later runs have it as their policy, and are
looked at all the same. What loses, or meets the law, is taken back at once, whatever the flag says.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphatrade.nodes.feedback import made
from alphatrade.nodes.ledger_home import Home
from alphatrade.nodes.rim_replay import PERIOD_S, resimulated
from alphatrade.nodes.rim_settings import RimSettings
from alphatrade.nodes.settings import RunSpec
from alphatrade.nodes.steps import Row
from alphatrade.nodes.tape import Tape
from alphatrade.reflection.feedback import Case
from alphatrade.reflection.query import read_mapping
from alphatrade.reflection.stages import STAGES
from alphatrade.reflection.thresholds import GovernanceSpec
from alphatrade.risk.errors import RunDirError, TapeError
from alphatrade.strategies.policy import Policy

BPS = 1e4
ALARMS = ("alert", "flat")  # signals of the drift sentry that say more than a warning


class Seen(NamedTuple):
    """A finished run: its folder's id and policy, its summary, its drift report, and its tape."""

    run_id: str
    policy: Policy
    summary: Mapping[str, Any]
    drift: Mapping[str, Any]
    tape: Tape


class Finding(NamedTuple):
    """What a run says of a change: why it is taken back, or that it waits; nothing of both: it goes on."""

    cause: str = ""
    waits: str = ""
    told: str = ""


def advance(own: RimSettings, keeper: Home, run: RunSpec, seen: Seen) -> Row:
    """
    Bring the change that is under way one phase further, or take it back; likewise the last one that is in force.

    Parameters
    ----------
    own : RimSettings
    keeper : Home
    run : RunSpec
        For replays.
    seen : Seen
        The latest run.
    """
    feedback = keeper.ledger.chain.feedback
    case = feedback.under_way(seen.policy.policy_hash)
    led = [one for one in feedback.cases.values() if one.phase == "full"]
    led = [one for one in led if one.proposal.child == seen.policy.policy_hash]
    wrong = _unsafe(own, seen) if led else None
    if wrong is not None:  # also while the next change of it is under way, which goes first
        rows = [_back(keeper, one, wrong, seen) for one in led]
        return rows[0]
    if case is None:
        if not led:
            return Row("change under way", "none", "", None)
        return Row("change in force", led[0].proposal.id[:12], "nothing against it in this run", True)
    finding = _shadow(own, run, case, seen) if case.phase == "shadow" else _canary(own, case, seen)
    name = f"{case.proposal.id[:12]}, {case.phase}"
    if finding.cause:
        return _back(keeper, case, finding, seen)
    if finding.waits:
        return Row("change under way", name, f"waits: {finding.waits}", None)
    if not own.governed:
        return Row("change under way", name, f"waits: governed_feedback is off; {finding.told}", None)
    stage = stage_of(keeper, seen.policy.policy_hash)
    if not may_go_on(case, stage, own.governance):
        return Row("change under way", name, f"waits: the policy is at {stage} by now; {finding.told}", None)
    following = "canary" if case.phase == "shadow" else "full"
    keeper.append("application", {
        "proposal": case.proposal.id, "phase": following, "target": case.proposal.target, "child": case.proposal.child,
        "share": own.governance.canary_share if following == "canary" else 0.0, "run_id": seen.run_id,
        "until": str(seen.tape.span[1]), "why": finding.told,
    })  # fmt: skip
    return Row("change under way", f"{case.proposal.id[:12]} is {following} now", finding.told, True)


def seen_of(run_dir: Path, policy: Policy, tape: Tape) -> Seen:
    """
    Return a finished run.

    Raises
    ------
    RunDirError
        If it is not finished, or its files do not say what they should.
    """
    summary, drift = (read_mapping(run_dir, name) for name in ("summary.json", "drift.json"))
    if not summary:
        raise RunDirError(str(run_dir), "no summary.json", "a finished run")
    canary, signals = summary.get("canary") or {}, drift.get("signals") or {}
    flown = [canary.get("return"), (canary.get("beside") or {}).get("return")] if canary else []
    numbers = [summary.get("capital"), summary.get("max_drawdown"), *flown]
    if not all(isinstance(one, int | float | str) for one in numbers) or not {"run_id", "killed"} <= set(summary):
        raise RunDirError(f"summary.json of {run_dir}", "other fields", "those that a run writes")
    if not isinstance(signals, dict):
        raise RunDirError(f"drift.json of {run_dir}", "other fields", "the sentry's signals")
    return Seen(str(summary["run_id"]), policy, summary, drift, tape)


def _shadow(own: RimSettings, run: RunSpec, case: Case, seen: Seen) -> Finding:
    """Replay the change on what the run has that is later than its ruling."""
    later = _later(case, seen)
    hours = _hours(later)
    if later is None or hours < own.governance.shadow_periods:
        return Finding(waits=f"{hours:.1f} hours of later data, and {own.governance.shadow_periods} are needed")
    child = made(seen.policy, case)
    try:
        without, with_it = (resimulated(policy, run, later, "rim shadow") for policy in (seen.policy, child))
    except TapeError as error:  # too short for a decision, and longer one day
        return Finding(waits=str(error))
    if with_it.hits:
        return Finding("risk", told=f"{with_it.hits} risk hits in {hours:.0f} hours of shadow")
    gain = BPS * float(np.sum(with_it.returns) - np.sum(without.returns)) / max(1, len(without.returns))
    told = f"{gain:+.3f} bps an hour in {hours:.0f} hours of shadow"
    return Finding("shadow" if gain < 0.0 else "", told=told)


def _canary(own: RimSettings, case: Case, seen: Seen) -> Finding:
    """Look at what the change earned in the run as a canary."""
    later, told = _later(case, seen), seen.summary.get("canary") or {}
    hours = _hours(later)
    if later is None or told.get("policy_hash") != case.proposal.child:
        return Finding(waits="no later run had it as a canary")
    if wrong := _unsafe(own, seen):
        return wrong
    earned, beside = (BPS * float(one["return"]) for one in (told, told["beside"]))
    lead = earned - beside
    words = f"{earned:+.2f} bps of its capital in {hours:.0f} hours as a canary, the policy {beside:+.2f}"
    if lead < -own.governance.canary_loss_bps:
        return Finding("canary", told=words)
    if lead < 0.0:
        return Finding(waits=f"behind the policy: {words}")
    if hours < own.governance.canary_periods:
        return Finding(waits=f"{hours:.1f} hours as a canary, and {own.governance.canary_periods} are needed")
    return Finding(told=words)


def stage_of(keeper: Home, policy_hash: str) -> str:
    """Return the highest stage of a policy and of all that it was made of by changes."""
    chain = keeper.ledger.chain
    names = {policy_hash, *chain.feedback.ancestors(policy_hash)}
    return max([chain.stages.stage_of(name) for name in sorted(names)], key=STAGES.index)


def may_go_on(case: Case, stage: str, spec: GovernanceSpec) -> bool:
    """Return whether a change may begin or go on while its policy is at a stage: by rule up to that of the rule."""
    signed = case.signoff is not None and case.signoff.approve
    return signed or STAGES.index(stage) <= STAGES.index(spec.stage)


def _unsafe(own: RimSettings, seen: Seen) -> Finding | None:
    """Return why what a run has changed is taken back: the law stopped it, it drew down, or the sentry alarmed."""
    summary, signals = seen.summary, seen.drift.get("signals") or {}
    if summary["killed"]:
        return Finding("risk", told=f"the law stopped it: {summary['killed']}"[:900])
    if summary["max_drawdown"] > own.governance.drawdown:
        most = own.governance.drawdown
        return Finding("drawdown", told=f"drawdown {summary['max_drawdown']:.2%}, more than {most:.2%}")
    alarms = {name: signals[name] for name in ALARMS if signals.get(name)}
    if alarms:
        return Finding("drift", told=f"the sentry: {', '.join([f'{n} {name}' for name, n in alarms.items()])}")
    return None


def _back(keeper: Home, case: Case, finding: Finding, seen: Seen) -> Row:
    """Take a change back, and before it what was made of its policy since: the latest first."""
    feedback = keeper.ledger.chain.feedback
    path = (case, *feedback.path(case.proposal.child))
    under_way = feedback.under_way(path[-1].proposal.child)
    for one in (*([] if under_way is None else [under_way]), *reversed(path)):
        keeper.append("rollback", {
            "proposal": one.proposal.id, "target": one.proposal.target, "child": one.proposal.child,
            "cause": finding.cause, "why": finding.told, "noticed": str(seen.tape.span[1]),
        })  # fmt: skip
    return Row("change under way", f"{case.proposal.id[:12]} is taken back", f"{finding.cause}: {finding.told}", True)


def _later(case: Case, seen: Seen) -> Tape | None:
    """Return the part of a run's tape that is later than what the last phase was judged on."""
    until = int(case.applied[-1][2].until)
    start, end = seen.tape.span
    if start > until:
        return seen.tape
    try:
        return seen.tape.slice(until + 1, end + 1)
    except ValueError:
        return None


def _hours(tape: Tape | None) -> float:
    return 0.0 if tape is None else (tape.span[1] - tape.span[0]) / (PERIOD_S * 1e9)
