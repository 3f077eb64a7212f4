"""The reflection job, ``alphatrade rim``: proposals from a run's diary, rulings on them, and staged application.

::

    artifacts/<date>/rim/index.html    the governance report
                        /rim.json      the same as data

The ledger holds all that was decided; the folder shows it. Each step asks the ledger what has been done before it does
anything, so that a job that was killed goes on where it was, and one that is run twice does nothing twice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import fsum
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from alphatrade.nodes.artifacts import RunFolder
from alphatrade.nodes.feedback import in_force
from alphatrade.nodes.identity import code_hash
from alphatrade.nodes.ledger_home import Home, home
from alphatrade.nodes.rerun import run_spec_of, tapes_of
from alphatrade.nodes.rim_page import as_json, said, told, write_page
from alphatrade.nodes.rim_replay import Replayed, resimulated
from alphatrade.nodes.rim_settings import RimSettings, model_file, shipped_governance
from alphatrade.nodes.rim_stages import advance, may_go_on, seen_of, stage_of
from alphatrade.nodes.rim_train import INPUT
from alphatrade.nodes.settings import RunSpec
from alphatrade.nodes.steps import Row
from alphatrade.nodes.tape import Tape
from alphatrade.reflection.feedback import Case, Feedback
from alphatrade.reflection.governance import Facts, refused_before, rule
from alphatrade.reflection.rim.edits import Experiment, apply_edit, describe, touched
from alphatrade.reflection.rim.engines import Engine, load
from alphatrade.reflection.rim.entries import Application, Ruling, Window
from alphatrade.reflection.rim.inputs import flow_share
from alphatrade.reflection.rim.proposals import Proposal
from alphatrade.reflection.rim.propose import Made, propose
from alphatrade.reflection.rim.slices import Slice, read_slice
from alphatrade.reflection.thresholds import looser
from alphatrade.risk.disk import FolderLock
from alphatrade.risk.errors import ConfigError, LedgerError, TapeError
from alphatrade.strategies.policy import Policy, canonical

NAME = "rim"
ENGINES = ("ridge", "trm")
DAY_S = 86_400.0


class Read(NamedTuple):
    """
    What the job has read: the run, the part of its diary that proposals rest on, and the tape after it.

    Attributes
    ----------
    part : Slice
    run : RunSpec
        For replays.
    tape : Tape
        Of the slice's instrument, whole.
    rest : Tape or None
        After the slice and the embargo; None where nothing is left.
    """

    part: Slice
    run: RunSpec
    tape: Tape
    rest: Tape | None


class Job(NamedTuple):
    """Settings, what was read, and the ledger."""

    own: RimSettings
    read: Read
    keeper: Home
    proposals: tuple[Proposal, ...]


def rim(own: RimSettings) -> tuple[Path, list[Row]]:
    """
    Read a run's diary, propose, rule, and apply what may be applied.

    Parameters
    ----------
    own : RimSettings

    Returns
    -------
    Path
        ``artifacts/<date>/rim``.
    list of Row
        One a step, and one a proposal.

    Raises
    ------
    InputError
        If the run, its diary, the model or the ledger cannot be used; nothing is entered then.
    """
    read = _read(own)
    engine = engine_of(own.rim.engine)
    with RunFolder(own.paths.artifacts, NAME) as folder, _alone(home()) as keeper:
        keeper.entries()
        rows = [advance(own, keeper, read.run, seen_of(own.run_dir, read.part.policy, read.tape))]
        from_here = Made(code_hash(), own.config_hash)
        job = Job(own, read, keeper, propose(read.part, own.bounds, engine, own.rim, from_here))
        rows += [*_loose(own), _proposed(job), *_ruled(job), _applied(job)]
        cases = [keeper.ledger.chain.feedback.cases[one.id] for one in job.proposals]
        folder.write_json("rim.json", as_json(read.part, own.governed, own.rim.engine, rows, cases))
        write_page(folder, read.part, own.governed, rows, cases)
        return folder.publish(latest=False), rows


@contextmanager
def _alone(keeper: Home) -> Iterator[Home]:
    """Keep other jobs away from a ledger: two at once could each begin the day's only change."""
    with FolderLock(keeper.ledger.folder, "a reflection job of process {} works with this ledger"):
        yield keeper


def _read(own: RimSettings) -> Read:
    state = Path(own.paths.state).expanduser()
    run = run_spec_of(own.run_dir, state)
    pairs = zip(tapes_of(own.run_dir, run), run.all_tapes, strict=True)
    tapes = {tape.instrument.id: (tape, spec) for tape, spec in pairs}
    whole = read_slice(own.run_dir, instrument=own.instrument)
    tape, spec = tapes[whole.instrument]
    run = run.model_copy(update={"tape": spec, "tapes": ()})  # replays are of the one instrument
    start, end = tape.span
    middle = start + int(own.share * (end - start))
    part = read_slice(own.run_dir, middle, whole.instrument)
    try:
        rest = tape.slice(part.span[1] + int(own.governance.embargo_s * 1e9) + 1, end + 1)
    except ValueError:
        rest = None
    return Read(part, run, tape, rest)


def _loose(own: RimSettings) -> list[Row]:
    """Say where the rule is looser than it comes: whoever reads the report did not see the command line."""
    words = looser(own.governance, shipped_governance())
    return [Row("thresholds", "looser than they come", ", ".join(words), None)] if words else []


def _proposed(job: Job) -> Row:
    """Enter what is proposed, unless it was."""
    known, new = job.keeper.ledger.chain.feedback.cases, 0
    for one in job.proposals:
        if one.id not in known:
            job.keeper.append("proposal", one.plain())
            new += 1
    told = f"{len(job.proposals)} proposals, {new} of them new"
    rows = f"{len(job.read.part.rows):,} decisions of policy {job.read.part.policy.policy_hash[:12]}"
    return Row("proposals", told, f"{job.own.rim.engine} on {rows}", None if not job.proposals else True)


def _ruled(job: Job) -> list[Row]:
    """Rule on what was not ruled on before; the replays without the edit are made once."""
    waiting = [one for one in job.proposals if _waits(job, job.keeper.ledger.chain.feedback.cases[one.id])]
    base: list[Replayed] = []
    for one in tqdm(waiting, "rulings", disable=None):
        ruling = _ruling(job, one, max(1, len(job.proposals)), base)
        job.keeper.append("ruling", ruling.model_dump(mode="json"))
    cases = job.keeper.ledger.chain.feedback.cases
    return [_told(cases[one.id]) for one in job.proposals]


def _waits(job: Job, case: Case) -> bool:
    """Return whether a proposal is to be ruled on: it was not, or nothing but the flag was missing, which is on now."""
    if case.ruling is None or not case.open:
        return case.ruling is None
    return job.own.governed and all(words.startswith("flag: ") for words in case.ruling.why)


def _told(case: Case) -> Row:
    ruling = case.ruling
    assert ruling is not None
    name = f"{case.proposal.id[:12]} {describe(case.proposal.edit)}"
    uplift = [f"uplift {words} bps an hour"] if (words := told(case)) else []
    word = [said(case)] if case.signoff is not None else []
    holds = None if ruling.outcome == "reject" else True
    return Row(name, ruling.outcome, "; ".join([*uplift, *ruling.why, *word]), holds)


def _ruling(job: Job, proposal: Proposal, family: int, base: list[Replayed]) -> Ruling:
    """Gather the facts on a proposal, as if it had come from a stranger, and rule on it."""
    read, own, feedback = job.read, job.own, job.keeper.ledger.chain.feedback
    policy = in_force(read.part.policy, feedback).policy
    child, refused = _child(policy, proposal, own)
    case = feedback.cases[proposal.id]
    facts = Facts(
        proposal, own.governed, not case.open, policy.policy_hash, "" if child is None else child.policy_hash,
        refused, hashes(proposal, own), evidence(proposal, read.part), None, (), (), 0, family,
        job.keeper.begun_within(DAY_S), flow_share(read.part, proposal.edit),
        stage_of(job.keeper, policy.policy_hash), 0,
    )  # fmt: skip
    if child is not None and child != policy and read.rest is not None and not refused_before(facts, own.governance):
        facts = replayed(facts, feedback, read, policy, child, base)
    found = rule(facts, own.governance)
    return Ruling(
        proposal=proposal.id, outcome=found.outcome, why=[words[:1000] for words in found.why], window=facts.window,
        base=list(facts.base), changed=list(facts.changed), hits=facts.hits, family=family, changes=facts.changes,
        flow=facts.flow, stage=facts.stage, spec=canonical(own.governance), code_hash=code_hash(),
    )  # fmt: skip


def engine_of(name: str) -> Engine:
    """
    Return an engine that comes with this version.

    Raises
    ------
    ConfigError
        If its file is missing, damaged, or that of another engine.
    """
    engine = load(model_file(name), INPUT)
    if engine.name != name:
        raise ConfigError("model", f"{model_file(name)} of a {engine.name}", f"a model of a {name}")
    return engine


def _child(policy: Policy, proposal: Proposal, own: RimSettings) -> tuple[Policy | None, str]:
    try:
        child = apply_edit(policy, proposal.edit, own.bounds)
    except ConfigError as error:
        return None, str(error)
    there = {regime for _, regime in touched(policy, proposal.edit)}
    if isinstance(proposal.edit, Experiment):
        there = {proposal.edit.regime}
    if strange := sorted(set(proposal.regimes) - there):
        return None, str(ConfigError("proposal.regimes", strange[0][:80], "regimes that the edit bears on"))
    return child, ""


def hashes(proposal: Proposal, own: RimSettings) -> tuple[str, ...]:
    """Return what of a proposal was not made by this checkout, configuration and model."""
    model = engine_of(proposal.engine).model_hash if proposal.engine in ENGINES else "no such engine"
    known = {"code_hash": code_hash(), "config_hash": own.config_hash, "model_hash": model}
    return tuple([
        f"{name} {getattr(proposal, name)[:12]}, here {here[:12]}"
        for name, here in known.items() if getattr(proposal, name) != here
    ])  # fmt: skip


def evidence(proposal: Proposal, part: Slice) -> tuple[str, ...]:
    """Return what of the rows that a proposal rests on is not as it says."""
    here = part.pointer()
    told = f"read here {here.sha256[:12]}"
    return tuple([f"{one.run_id} {one.sha256[:12]}, {told}" for one in proposal.evidence if one != here])


def replayed(
    facts: Facts, feedback: Feedback, read: Read, policy: Policy, child: Policy, base: list[Replayed]
) -> Facts:
    """Return the facts with what a replay of both policies on the tape after the slice came to, unless it is spent."""
    rest = read.rest
    assert rest is not None
    start, end = rest.span
    window = Window(instrument=read.part.instrument, tape_hash=rest.tape_hash, start=str(start), end=str(end + 1))
    if spent := feedback.spent(facts.proposal, window):
        return facts._replace(window=window, spent=spent)
    try:
        if not base:
            base.append(resimulated(policy, read.run, rest, NAME))
        changed = resimulated(child, read.run, rest, NAME)
    except TapeError:  # too short for a decision: a window without periods, and the rule says so
        return facts._replace(window=window)
    return facts._replace(window=window, base=base[0].returns, changed=changed.returns, hits=changed.hits)


def _applied(job: Job) -> Row:
    """Begin with the best of what may be applied, in shadow; one change of a policy at a time."""
    feedback = job.keeper.ledger.chain.feedback
    target, spec = job.read.part.policy.policy_hash, job.own.governance
    ready = [case for case in feedback.cases.values() if case.granted and not case.applied]
    ready = [case for case in ready if case.proposal.target == target]
    stage, other = stage_of(job.keeper, target), feedback.under_way(target)
    here = [case for case in ready if may_go_on(case, stage, spec) and (other is not None or _lawful(job, case))]
    if not job.own.governed:
        return Row("application", "none: governed_feedback is off", f"{len(here)} could be applied", None)
    if not here:
        told = f"{len(ready)} granted before, for which it is too late" if ready else ""
        return Row("application", "nothing to apply", told, None)
    if other is not None:
        return Row("application", f"waits for {other.proposal.id[:12]}", f"{other.phase} of {target[:12]}", None)
    if job.keeper.begun_within(DAY_S) >= spec.changes_per_day:
        return Row("application", "waits: the day's changes are used up", "", None)
    case = max(here, key=_measured)
    job.keeper.append("application", _beginning(job, case).model_dump(mode="json"))
    return Row("application", f"{case.proposal.id[:12]} in shadow", describe(case.proposal.edit), True)


def _beginning(job: Job, case: Case) -> Application:
    """Return the entry with which a change begins."""
    ruling, proposal = case.ruling, case.proposal
    assert ruling is not None
    until = ruling.window.end if ruling.window else proposal.created
    return Application(
        proposal=proposal.id, phase="shadow", target=proposal.target, child=proposal.child, share=0.0,
        run_id=job.read.part.run_id, until=until, why="by rule" if ruling.outcome == "apply" else "signed off",
    )  # fmt: skip


def _lawful(job: Job, case: Case) -> bool:
    """Return whether the ledger would take the beginning of a change now: not of one that leads back, for instance."""
    try:
        job.keeper.ledger.chain.feedback.after(_beginning(job, case), 0, 0)
    except LedgerError:
        return False
    return True


def _measured(case: Case) -> tuple[float, int]:
    """Return what a change was measured to be worth; of equals, the higher rank is more."""
    ruling = case.ruling
    gain = fsum(ruling.changed) - fsum(ruling.base) if ruling is not None else 0.0
    return gain, -case.proposal.rank

