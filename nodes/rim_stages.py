"""How a change goes on, or back: shadow, canary, full, each on data later than the phase before was judged on.

*Shadow*: the change is replayed on a later run's tape, beside the policy that ran. *Canary*: a later run had it as a
second organism, with a share of the capital under the same law. *Full*: later runs have it as their policy, and are
looked at all the same. What loses, or meets the law, is taken back at once, whatever the flag says. A run that has a
change in it is believed after the auditor has been there (:mod:`alphatrade.nodes.rim_record`).
"""

from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alphatrade.nodes.feedback import made
from alphatrade.nodes.ledger_home import Home
from alphatrade.nodes.rim_record import Record, earned, law_of, read_record
from alphatrade.nodes.rim_replay import PERIOD_S, resimulated
from alphatrade.nodes.rim_settings import RimSettings
from alphatrade.nodes.settings import RunSpec
from alphatrade.nodes.steps import Row
from alphatrade.nodes.tape import Tape
from alphatrade.reflection.feedback import Case
from alphatrade.reflection.stages import STAGES
from alphatrade.reflection.thresholds import GovernanceSpec
from alphatrade.reflection.uplift import BPS, UNIT
from alphatrade.risk.errors import TapeError
from alphatrade.strategies.policy import Policy

ALARMS = ("alert", "flat")  # signals of the drift sentry that say more than a warning


class Seen(NamedTuple):
    """A finished run: its files, its policy, and its tape."""

    record: Record
    policy: Policy
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
    flown = [case] if case is not None and _flew(case, seen) else []
    wrong = _unsafe(own, seen) if led or flown else None
    if wrong is not None:  # of both the one in force goes, and takes the other along
        rows = [_back(keeper, one, wrong, seen) for one in led or flown]
        return rows[0]
    if case is None:
        if not led:
            return Row("change under way", "none", "", None)
        return Row("change in force", led[0].proposal.id[:12], "nothing against it in this run", True)
    finding = _judged(own, run, case, seen)
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
        "share": own.governance.canary_share if following == "canary" else 0.0, "run_id": seen.record.run.run_id,
        "until": str(seen.tape.span[1]), "why": finding.told,
    })  # fmt: skip
    return Row("change under way", f"{case.proposal.id[:12]} is {following} now", finding.told, True)


def seen_of(run_dir: Path, policy: Policy, tape: Tape) -> Seen:
    """
    Return a finished run.

    Raises
    ------
    ConfigError, RunDirError
        If it is not finished, or its files do not say what they should.
    """
    return Seen(read_record(run_dir, policy), policy, tape)


def _judged(own: RimSettings, run: RunSpec, case: Case, seen: Seen) -> Finding:
    """Look at what a run says of a change under way: nothing, if it is of another instrument, or not later."""
    assert case.ruling is not None
    assert case.ruling.window is not None, "the ledger takes no application of what was not replayed"
    here, there = seen.tape.instrument.id, case.ruling.window.instrument
    if here != there:
        return Finding(waits=f"the run is of {here}, and the change was ruled on in {there}")
    if case.phase == "canary" and not _flew(case, seen):
        return Finding(waits="no later run had it as a canary")
    later = _later(case, seen)
    if later is None:
        return Finding(waits="the run has nothing later than what it was judged on before")
    return _shadow(own, run, case, seen, later) if case.phase == "shadow" else _canary(own, case, seen, later)


def _shadow(own: RimSettings, run: RunSpec, case: Case, seen: Seen, later: Tape) -> Finding:
    """Replay the change on what the run has that is later than its ruling."""
    spec, hours = own.governance, _hours(later)
    if hours < spec.shadow_periods:
        return Finding(waits=f"{hours:.1f} hours of later data, and {spec.shadow_periods} are needed")
    child = made(seen.policy, case)
    try:
        without, with_it = (resimulated(policy, run, later, "rim shadow") for policy in (seen.policy, child))
    except TapeError as error:  # too short for a decision, and longer one day
        return Finding(waits=str(error))
    if with_it.hits:
        return Finding("risk", told=f"{with_it.hits} risk hits in {hours:.0f} hours of shadow")
    apart = np.rint((np.array(with_it.returns) - np.array(without.returns)) / UNIT)
    whole, moved = len(apart), int(np.count_nonzero(apart))
    gain = BPS * UNIT * float(np.sum(apart)) / max(1, whole)
    told = f"{gain:+.3f} bps an hour in {whole} whole hours of shadow, of which {moved} differ"
    if gain < 0.0:
        return Finding("shadow", told=told)
    least = ceil(spec.moved * spec.shadow_periods / spec.periods)  # as many as the ruling needed, in proportion
    return Finding(waits=f"{told}, and {least} are needed" if moved < least else "", told=told)


def _canary(own: RimSettings, case: Case, seen: Seen, later: Tape) -> Finding:
    """Look at what the change earned in the run as a canary, after what it was judged on before."""
    spec, hours, since = own.governance, _hours(later), int(case.applied[-1][2].until)
    it, beside = (earned(seen.record, canary, since) for canary in (True, False))
    lead = BPS * (it.gain - beside.gain)
    words = f"{BPS * it.gain:+.2f} bps of its capital in {hours:.0f} hours as a canary, "
    words += f"the policy {BPS * beside.gain:+.2f}"
    if lead < -spec.canary_loss_bps:
        return Finding("canary", told=words)
    if not it.fills:
        return Finding(waits=f"it has not traded in {hours:.1f} hours as a canary")
    if lead < 0.0:
        return Finding(waits=f"behind the policy: {words}")
    if hours < spec.canary_periods:
        return Finding(waits=f"{hours:.1f} hours as a canary, and {spec.canary_periods} are needed")
    return Finding(told=words)


def _flew(case: Case, seen: Seen) -> bool:
    """Return whether a run had a change as its canary, with the share that the ledger says."""
    flown, last = seen.record.run.canary, case.applied[-1][2]
    it = (seen.record.canary, flown.share if flown else 0.0)
    return last.phase == "canary" and it == (last.child, last.share)


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
    """Return why what a run has changed is taken back: the law, the auditor, its drawdown, or the sentry's alarm."""
    law, most, signals = law_of(seen.record), own.governance.drawdown, seen.record.signals
    if law.killed:
        return Finding("risk", told=f"the law stopped it: {law.killed}"[:900])
    if law.violations:
        return Finding("risk", told=f"the auditor found {law.violations} orders that the law must not let through")
    if law.drawdown > most:
        return Finding("drawdown", told=f"drawdown {law.drawdown:.2%}, more than {most:.2%}")
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


def _hours(tape: Tape) -> float:
    return (tape.span[1] - tape.span[0]) / (PERIOD_S * 1e9)
