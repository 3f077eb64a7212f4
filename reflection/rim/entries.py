"""What the ledger holds of a proposal once it is made: the ruling, a person's word, and how far it is applied."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from alphatrade.reflection.ledger_fields import Body, Count, Nanos, RunId, Sha, Words

Outcome = Literal["apply", "signoff", "reject", "refer"]
Phase = Literal["shadow", "canary", "full"]
PHASES: tuple[Phase, ...] = ("shadow", "canary", "full")
Returns = Annotated[list[float], Field(max_length=100_000)]


class Window(Body):
    """Where the change was replayed, ``start <= ts < end`` (UTC ns), and the hash of that part of the tape."""

    instrument: Words
    tape_hash: Sha
    start: Nanos
    end: Nanos

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if int(self.start) >= int(self.end):
            raise ValueError("a start before its end")
        return self


class Ruling(Body):
    """
    What governance says to a proposal, and all that it says it on.

    Attributes
    ----------
    proposal : str
        Its id.
    outcome : str
        ``apply``; ``signoff``: a person has to; ``reject``; ``refer``: to evolution.
    why : list of str
        Every condition that does not hold, in words; empty where all do.
    window : Window or None
        None where nothing was replayed, because it was refused before.
    base, changed : list of float
        Net returns in each whole period of the window, fractions of the capital, without and with the edit.
    hits : int
        What the law or the auditor had against the replay with the edit.
    family : int
        Proposals that were ruled on together.
    changes : int
        Changes of the day before this one.
    flow : float
        Share of the flow that the edit bears on.
    stage : str
        Of the policy that is in force.
    spec : dict
        The rule: ``conf/governance``.
    code_hash : str
    """

    proposal: Sha
    outcome: Outcome
    why: list[Words]
    window: Window | None
    base: Returns
    changed: Returns
    hits: Count
    family: Annotated[int, Field(ge=1)]
    changes: Count
    flow: Annotated[float, Field(ge=0, le=1)]
    stage: Words
    spec: dict[str, Any]
    code_hash: Sha

    @model_validator(mode="after")
    def _told(self) -> Self:
        if (self.outcome == "apply") == bool(self.why) and self.outcome != "refer":
            raise ValueError("reasons (why) for every outcome but apply, and for apply none")
        if len(self.base) != len(self.changed):
            raise ValueError("as many returns with the edit as without")
        return self


class Signoff(Body):
    """A person's word on a proposal that governance may not apply alone."""

    proposal: Sha
    approve: bool
    why: Words


class Application(Body):
    """
    How far a change is applied; a node takes it up at its next start.

    Attributes
    ----------
    phase : str
        ``shadow``: replayed beside the policy; ``canary``: a second organism with `share` of the capital; ``full``.
    target, child : str
        The policy that is in force, and what the edit makes of it.
    run_id : str
        The run that gave reason for this phase.
    until : str
        Event time up to which it has been looked at, UTC ns: the next phase needs later data.
    """

    proposal: Sha
    phase: Phase
    target: Sha
    child: Sha
    share: Annotated[float, Field(ge=0, le=0.5)]
    run_id: RunId
    until: Nanos
    why: Words

    @model_validator(mode="after")
    def _capped(self) -> Self:
        if (self.share > 0.0) != (self.phase == "canary"):
            raise ValueError("a share of the capital for a canary, and for nothing else")
        return self


class Rollback(Body):
    """
    A change is taken back.

    Attributes
    ----------
    cause : str
        What asked for it.
    noticed : str
        Event time at which the reason was known, UTC ns.
    """

    proposal: Sha
    target: Sha
    child: Sha
    cause: Literal["canary", "drawdown", "drift", "operator", "shadow", "risk"]
    why: Words
    noticed: Nanos
