"""What the body of each kind of ledger entry holds, validated when it is taken: by the writer and by every reader."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from alphatrade.reflection.ledger_fields import Body, Count, Nanos, NoSha, RunId, Sha, Words, refusal
from alphatrade.reflection.permit_entries import LimitedLive, Revocation
from alphatrade.reflection.rim.entries import Application, Rollback, Ruling, Signoff
from alphatrade.reflection.rim.proposals import Proposal

Tapes = Annotated[dict[Words, Sha], Field(min_length=1)]  # instrument to tape_hash
Status = Literal["scored", "stopped", "failed", "killed", "timeout"]
StageName = Literal["experiment", "paper", "pilot", "limited_live"]


def _whole_span(span: list[str]) -> list[str]:
    if int(span[0]) >= int(span[1]):
        raise ValueError("a start before its end")
    return span


class Genesis(Body):
    """The first members; each is checked by the roster."""

    roster: Annotated[list[Any], Field(min_length=1)]


class RosterChange(Body):
    """Either a new member or the name of one who signs no more."""

    add: dict[str, Any] | None = None
    revoke: str | None = None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.add is None) == (self.revoke is None):
            raise ValueError("either add or revoke")
        return self


class Batch(Body):
    """Number of trials and the root of their Merkle tree."""

    n: Annotated[int, Field(ge=1)]
    root: Sha


class _Timed(Body):
    start: Nanos
    end: Nanos

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _whole_span([self.start, self.end])
        return self


class GridCell(_Timed):
    """A cell of a search's grid: ``start <= ts < end``."""

    instrument: Words
    regime: Words
    holdout: bool


class Search(Body):
    """
    A search, before its first trial.

    Attributes
    ----------
    spec : dict
        What was asked for, as :class:`alphatrade.evolution.search.SearchSpec` has it.
    founders : list of str or dict
        Genotypes, or their hashes.
    """

    search: Sha
    spec: dict[str, Any]
    evaluator: dict[str, Any]
    evaluator_hash: Sha
    seed: Count
    founders: list[dict[str, Any] | Sha]
    cells: Annotated[list[GridCell], Field(min_length=1)]
    tapes: Tapes
    code_hash: Sha
    domain: dict[str, Any]

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if strange := sorted({cell.instrument for cell in self.cells} - set(self.tapes)):
            raise ValueError(f"a tape for {strange[0]}, which has cells")
        return self


class CellResult(_Timed):
    """What came of a trial in one cell; figures are None where it was not replayed."""

    instrument: Words
    regime: Words
    decisions: Count
    fills: Count
    violations: Count
    net_return: float | None
    sharpe: float | None
    drawdown: float | None
    turnover: float | None
    killed: str
    fault: str
    returns: list[float]
    exposure: float | None
    passive: float | None


class Ancestry(Body):
    """Operator, hashes of the parents' genotypes, what was done; a founder has no parents."""

    operator: str
    parents: list[Sha]
    words: str


class Trial(Body):
    """A candidate of a search on its grid: a leaf of a batch, or an entry of its own."""

    search: Sha
    generation: Count
    index: Count
    genotype: dict[str, Any]
    genotype_hash: Sha
    policy_hash: Sha
    lineage: Ancestry
    status: Status
    why: str
    fitness: float | None
    cells: list[CellResult]

    @model_validator(mode="after")
    def _scored(self) -> Self:
        if self.status != "scored" and not self.why:
            raise ValueError("a reason (why) for every status but scored")
        return self


class Look(Body):
    """Somebody replayed held-out cells."""

    policy_hash: Sha
    tapes: Tapes
    spans: Annotated[list[Annotated[list[Nanos], Field(min_length=2, max_length=2)]], Field(min_length=1)]
    why: Words

    @field_validator("spans")
    @classmethod
    def _whole(cls, spans: list[list[str]]) -> list[list[str]]:
        return [_whole_span(span) for span in spans]


class Replay(Look):
    """
    A manual replay on tapes of a search's grid: a trial, entered before it starts; its `search` is empty.

    Attributes
    ----------
    run_id : str
        The same run has the same results: it is entered once.
    concerns : list of str
        Searches whose grid it replays.
    genotype : dict or None
        Where the policy was developed from one.
    """

    search: Literal[""]
    run_id: RunId
    concerns: Annotated[list[Sha], Field(min_length=1)]
    genotype: dict[str, Any] | None


class Outcome(Body):
    """What came of a manual replay; `returns` are per hour, fractions of the capital."""

    trial: Sha
    decisions: Count
    fills: Count
    net_return: float
    sharpe: float | None
    drawdown: float
    killed: str
    returns: list[float]


class Stage(Body):
    """
    A policy moves: up (promotion), down (demotion), or, with equal stages, back in charge (rollback).

    Attributes
    ----------
    noticed : str
        When the reason was known, UTC ns as text; empty where nobody says.
    """

    policy_hash: Sha
    origin: Annotated[StageName, Field(alias="from")]
    to: StageName
    why: Words
    dossier: NoSha
    verdict: NoSha
    noticed: Annotated[str, Field(pattern=r"^((0|[1-9][0-9]{0,18}))?$")] = ""


class Operator(Body):
    """
    Something that an operator did with a running node, or with what it asked for.

    Attributes
    ----------
    action : str
        ``kill``, ``freeze`` (of exploration), ``acknowledge`` (of an alarm), ``sign_off`` (of a proposal).
    target : str
        On what: ``paper/SIM``, an alarm with its labels, the id of a proposal.
    who : str
        By their own word: the key that signs is the machine's.
    """

    action: Literal["kill", "freeze", "acknowledge", "sign_off"]
    target: Words
    who: Annotated[str, Field(min_length=1, max_length=100)]
    why: Words


BODIES: Mapping[str, type[Body]] = {
    "genesis": Genesis, "roster": RosterChange, "search": Search, "batch": Batch, "trial": Trial, "look": Look,
    "outcome": Outcome, "stage": Stage, "proposal": Proposal, "ruling": Ruling, "signoff": Signoff,
    "application": Application, "rollback": Rollback, "operator": Operator,
    "limited_live": LimitedLive, "revocation": Revocation,
}  # fmt: skip


def checked(kind: str, body: Mapping[str, Any], where: str) -> Body:
    """
    Return the body of an entry, if it is well formed; a trial without a search is a manual replay.

    Raises
    ------
    LedgerError
        Naming `where`, the first field that is wrong, and what was expected.
    """
    model = Replay if kind == "trial" and body.get("search") == "" else BODIES[kind]
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise refusal(error, kind, where) from None


def leaf(line: bytes, where: str) -> Trial:
    """
    Return a trial of a batch, if it is well formed.

    Raises
    ------
    LedgerError
        As :func:`checked`.
    """
    try:
        return Trial.model_validate_json(line)
    except ValidationError as error:
        raise refusal(error, "trial", where) from None
