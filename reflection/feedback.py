"""Feedback: which proposals were made, ruled on, signed and applied; a pure projection of the ledger.

What is not lawful cannot be an entry: the chain asks :meth:`Feedback.after` before it takes one. A proposal is entered
once, and ruled on once for good: again only while a ruling waits for a person who has not spoken. It is applied only
after a ruling that says so, or a person's word where it asks for one; one phase at a time, one change of a policy at a
time, and only to the policy that is in force. What was taken back stays back.
"""

from collections.abc import Mapping
from typing import NamedTuple

from alphatrade.reflection.governance import again
from alphatrade.reflection.ledger_fields import Body
from alphatrade.reflection.rim.edits import Experiment
from alphatrade.reflection.rim.entries import PHASES, Application, Rollback, Ruling, Signoff, Window
from alphatrade.reflection.rim.proposals import Proposal
from alphatrade.reflection.thresholds import as_spec
from alphatrade.risk.errors import ConfigError, LedgerError


class Case(NamedTuple):
    """
    One proposal, and all that came of it; of each entry its number.

    Attributes
    ----------
    applied : tuple of (int, int, Application)
        Number, time (UTC ns) and body, one a phase.
    """

    proposal: Proposal
    seq: int
    ruling: Ruling | None = None
    ruled: int = -1
    signoff: Signoff | None = None
    signed: int = -1
    applied: tuple[tuple[int, int, Application], ...] = ()
    rollback: Rollback | None = None
    rolled: int = -1

    @property
    def open(self) -> bool:
        """Whether it can be ruled on: it never was, or the ruling waits for a person who has not spoken."""
        return self.ruling is None or (self.ruling.outcome == "signoff" and self.signoff is None)

    @property
    def granted(self) -> bool:
        """Whether it may be applied: by rule, or by a person where the rule asks for one."""
        if self.ruling is None or self.rollback is not None:
            return False
        by_person = self.ruling.outcome == "signoff" and self.signoff is not None and self.signoff.approve
        return self.ruling.outcome == "apply" or by_person

    @property
    def phase(self) -> str:
        """How far it is applied; empty: not at all, or taken back."""
        return self.applied[-1][2].phase if self.applied and self.rollback is None else ""


class Feedback:
    """
    All cases; immutable.

    Parameters
    ----------
    cases : mapping of str to Case
        By id of the proposal, in the order in which they were entered.
    """

    def __init__(self, cases: Mapping[str, Case] | None = None) -> None:
        self.cases: dict[str, Case] = dict(cases or {})

    def in_force(self, base: str) -> str:
        """Return the policy that a node with the policy `base` runs: `base` itself, or what was made of it."""
        following = {case.proposal.target: case.proposal.child for case in self.cases.values() if case.phase == "full"}
        while base in following:
            base = following[base]
        return base

    def path(self, base: str) -> tuple[Case, ...]:
        """Return the changes that lead from `base` to what is in force, in their order."""
        by_target = {case.proposal.target: case for case in self.cases.values() if case.phase == "full"}
        found: list[Case] = []
        while base in by_target:
            found.append(by_target[base])
            base = by_target[base].proposal.child
        return tuple(found)

    def root(self, policy_hash: str) -> str:
        """Return the policy that another, which is in force or was, goes back to through the changes of it."""
        parents = {case.proposal.child: case.proposal.target for case in self.cases.values() if case.applied}
        while policy_hash in parents:
            policy_hash = parents[policy_hash]
        return policy_hash

    def ancestors(self, policy_hash: str) -> set[str]:
        """Return every policy that one was made of, through all changes that were ever applied."""
        found: set[str] = set()
        waiting = [policy_hash]
        while waiting:
            child = waiting.pop()
            more = {one.proposal.target for one in self.cases.values() if one.applied and one.proposal.child == child}
            waiting += sorted(more - found)
            found |= more
        return found

    def under_way(self, target: str) -> Case | None:
        """Return the change of a policy that is in shadow or a canary; None: there is none."""
        open_ = [case for case in self.cases.values() if case.phase in PHASES[:-1] and case.proposal.target == target]
        return open_[0] if open_ else None

    def changes_since(self, ts: int) -> int:
        """Return how many changes were begun at or after a time, UTC ns."""
        return sum(case.applied[0][1] >= ts for case in self.cases.values() if case.applied)

    def spent(self, proposal: Proposal, window: Window) -> int:
        """
        Return how many rulings on other lots of proposals have looked at some of a window.

        Of this policy and of what it was made of. A lot is what one job proposes of one slice; rulings that had too few
        periods to grant anything do not count.
        """
        line, own = {proposal.target, *self.ancestors(proposal.target)}, _lot(proposal)
        seen = [case for case in self.cases.values() if case.proposal.target in line and _lot(case.proposal) != own]
        return sum(one.ruling is not None and _overlaps(one.ruling, window) for one in seen)

    def find(self, start: str) -> Case:
        """
        Return the case whose id begins so.

        Raises
        ------
        LedgerError
            If there is none, or more than one.
        """
        found = [case for name, case in self.cases.items() if name.startswith(start)] if start else []
        if len(found) != 1:
            raise LedgerError("proposal", start, f"the id of one proposal of the ledger, which has {len(self.cases)}")
        return found[0]

    # -- what the chain asks ------------------------------------------------------------------------------------

    def after(self, body: Body, seq: int, ts: int) -> "Feedback":
        """
        Return the feedback after an entry.

        Raises
        ------
        LedgerError
            If it is not lawful.
        """
        where = f"ledger entry {seq}"
        if isinstance(body, Proposal):
            if body.id in self.cases:
                raise LedgerError(f"{where}, proposal.id", body.id, "one that was not entered before: this is a replay")
            return self._with(Case(body, seq))
        assert isinstance(body, Ruling | Signoff | Application | Rollback)
        if body.proposal not in self.cases:
            raise LedgerError(f"{where}, proposal", body.proposal, "the id of a proposal that was entered before")
        case = self.cases[body.proposal]
        if isinstance(body, Ruling):
            return self._with(self._ruled(case, body, seq, where))
        if isinstance(body, Signoff):
            return self._with(self._signed(case, body, seq, where))
        if isinstance(body, Application):
            return self._with(self._applied(case, body, seq, ts, where))
        return self._with(self._rolled(case, body, seq, where))

    def _with(self, case: Case) -> "Feedback":
        return Feedback(self.cases | {case.proposal.id: case})

    def _ruled(self, case: Case, body: Ruling, seq: int, where: str) -> Case:
        if case.ruling is not None and not case.open:
            raise LedgerError(f"{where}, ruling", body.outcome, f"none: entry {case.ruled} has ruled on it")
        if (body.outcome == "refer") and not isinstance(case.proposal.edit, Experiment):
            raise LedgerError(f"{where}, ruling.outcome", body.outcome, "refer for experiments only")
        if isinstance(case.proposal.edit, Experiment) and body.outcome in ("apply", "signoff"):
            raise LedgerError(f"{where}, ruling.outcome", body.outcome, "refer or reject of an experiment")
        if body.outcome in ("apply", "signoff"):
            _check_figures(case.proposal, body, where)
            assert body.window is not None, "figures without a window bear nothing out"
            if seen := self.spent(case.proposal, body.window):
                raise LedgerError(f"{where}, ruling.window", f"data of {seen} other rulings", "data that none had seen")
        return case._replace(ruling=body, ruled=seq)

    def _signed(self, case: Case, body: Signoff, seq: int, where: str) -> Case:
        if case.ruling is None or case.ruling.outcome != "signoff":
            told = "no ruling" if case.ruling is None else case.ruling.outcome
            raise LedgerError(f"{where}, signoff", told, "a proposal whose ruling asks for a sign-off")
        if case.signoff is not None:
            raise LedgerError(f"{where}, signoff", f"a second one, after entry {case.signed}", "one sign-off")
        return case._replace(signoff=body, signed=seq)

    def _applied(self, case: Case, body: Application, seq: int, ts: int, where: str) -> Case:
        proposal = case.proposal
        if not case.granted:
            told = "taken back" if case.rollback else case.ruling.outcome if case.ruling else "no ruling"
            raise LedgerError(f"{where}, application", told, "a ruling to apply, or a sign-off where it asks for one")
        if (body.target, body.child) != (proposal.target, proposal.child):
            raise LedgerError(f"{where}, application.child", body.child, f"{proposal.child} of {proposal.target}")
        if len(case.applied) == len(PHASES) or body.phase != PHASES[len(case.applied)]:
            following = PHASES[len(case.applied)] if len(case.applied) < len(PHASES) else "nothing more"
            raise LedgerError(f"{where}, application.phase", body.phase, following)
        if case.applied and int(body.until) <= int(case.applied[-1][2].until):
            later = f"data later than {case.applied[-1][2].until}, which the phase before was judged on"
            raise LedgerError(f"{where}, application.until", body.until, later)
        if (now := self.in_force(proposal.target)) != proposal.target:
            raise LedgerError(f"{where}, application.target", proposal.target, f"{now}, which is in force by now")
        if proposal.child in self.ancestors(proposal.target):  # a circle would have no policy in force
            raise LedgerError(f"{where}, application.child", proposal.child, "a new policy: take back what led from it")
        later = self.in_force(proposal.child)
        if later != proposal.child or self.under_way(proposal.child) is not None:
            expected = "a policy that nobody has changed: the change would lead further than to what was tried"
            raise LedgerError(f"{where}, application.child", proposal.child, expected)
        other = self.under_way(proposal.target)
        if other is not None and other.proposal.id != proposal.id:
            expected = f"no other change while {other.proposal.id[:12]} is under way"
            raise LedgerError(f"{where}, application", proposal.id[:12], expected)
        return case._replace(applied=(*case.applied, (seq, ts, body)))

    def _rolled(self, case: Case, body: Rollback, seq: int, where: str) -> Case:
        if not case.phase:
            told = "taken back" if case.rollback else "not applied"
            raise LedgerError(f"{where}, rollback", told, "a change that is in shadow, a canary or in force")
        if (body.target, body.child) != (case.proposal.target, case.proposal.child):
            expected = f"{case.proposal.child} of {case.proposal.target}"
            raise LedgerError(f"{where}, rollback.child", body.child, expected)
        later = self.in_force(body.child)
        if later != body.child or self.under_way(body.child) is not None:
            raise LedgerError(f"{where}, rollback.child", body.child, "the latest change: what came after goes first")
        return case._replace(rollback=body, rolled=seq)


def _lot(proposal: Proposal) -> tuple[str, ...]:
    """Return what the proposals of one job have in common."""
    made = proposal.code_hash, proposal.config_hash, proposal.model_hash
    return *made, *[f"{one.run_id} {one.instrument} {one.sha256}" for one in proposal.evidence]


def _overlaps(ruling: Ruling, window: Window) -> bool:
    """Return whether a ruling that could have granted something was made on some of a window."""
    had = ruling.window
    if had is None or had.instrument != window.instrument or len(ruling.base) < as_spec(ruling.spec).periods:
        return False
    return int(had.start) < int(window.end) and int(window.start) < int(had.end)


def _check_figures(proposal: Proposal, body: Ruling, where: str) -> None:
    """Refuse a ruling that its own figures do not bear out: nobody's word that evidence holds is taken."""
    try:
        found = again(body, proposal)
    except ConfigError as error:
        raise LedgerError(f"{where}, {error.field}", error.value, error.expected) from None
    if found == "reject" or (body.outcome == "apply" and found != "apply"):
        raise LedgerError(f"{where}, ruling.outcome", body.outcome, f"{found}, which follows from its figures")
