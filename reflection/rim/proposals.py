"""A proposal: an edit of a policy, why, on which rows of the diary it rests, and made by what; known by its hash."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Self

import rfc8785
from pydantic import Field, ValidationError, model_validator

from alphatrade.reflection.ledger_fields import Body, Count, Nanos, RunId, Sha, Words, refusal
from alphatrade.reflection.rim.edits import Edit
from alphatrade.risk.errors import LedgerError

MANY = 64  # regimes or pointers of one proposal


class Pointer(Body):
    """
    Rows of a diary that a proposal rests on.

    Attributes
    ----------
    run_id : str
    instrument : str
    first, last : int
        Ids of the first and the last decision.
    start, end : str
        Their event times, UTC ns.
    sha256 : str
        Of the rows, as :meth:`alphatrade.reflection.rim.slices.Slice.sha256` has it.
    """

    run_id: RunId
    instrument: Words
    first: Count
    last: Count
    start: Nanos
    end: Nanos
    sha256: Sha

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first > self.last or int(self.start) > int(self.end):
            raise ValueError("rows from a first one to a last one")
        return self


class Proposal(Body):
    """
    What the RIM proposes.

    Attributes
    ----------
    id : str
        Sha256 of all the rest, see :func:`proposal_id`.
    edit : Edit
    target, child : str
        Hash of the policy to edit, and of what the edit makes of it.
    rank : int
        Among the proposals of one slice, from 1.
    uplift : float
        Expected, bps of the capital an hour; a loss, or more than all of it, is no proposal.
    confidence : float
        Probability that the edit beats doing nothing on data that nobody has seen.
    rationale : str
        In words.
    regimes : list of str
        That it bears on; empty: none by itself.
    evidence : list of Pointer
    engine, model_hash : str
        What made it.
    code_hash, config_hash : str
        Of the code, and of the configuration of the job.
    created : str
        Event time of the last row that it rests on, UTC ns: the same slice makes the same proposals at any time.
    """

    schema_version: Annotated[int, Field(ge=1, le=1)]  # a literal would take true for 1
    id: Sha
    edit: Edit
    target: Sha
    child: Sha
    rank: Annotated[int, Field(ge=1, le=1000)]
    uplift: Annotated[float, Field(ge=0, le=1e4)]
    confidence: Annotated[float, Field(ge=0, le=1)]
    rationale: Words
    regimes: Annotated[list[Words], Field(max_length=MANY)]
    evidence: Annotated[list[Pointer], Field(min_length=1, max_length=MANY)]
    engine: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    model_hash: Sha
    code_hash: Sha
    config_hash: Sha
    created: Nanos

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.id != proposal_id(self.plain()):
            raise ValueError(f"the hash of the proposal as its id, {proposal_id(self.plain())}")
        if (self.child == self.target) != (self.edit.kind == "experiment"):
            raise ValueError("another policy as child; of an experiment the same")
        if any(int(one.end) > int(self.created) for one in self.evidence):
            raise ValueError("evidence from before the proposal was made")
        return self

    def plain(self) -> dict[str, Any]:
        """Return the proposal as plain values, as they are hashed and entered into the ledger."""
        return self.model_dump(mode="json")


def proposal_id(plain: Mapping[str, Any]) -> str:
    """Return the sha256 of a proposal's canonical JSON (RFC 8785) without its id."""
    return hashlib.sha256(rfc8785.dumps({name: value for name, value in plain.items() if name != "id"})).hexdigest()


def sealed_proposal(plain: Mapping[str, Any]) -> Proposal:
    """Return the proposal of plain values that have no id yet."""
    return Proposal.model_validate(dict(plain) | {"id": proposal_id(plain)})


def read_proposal(plain: object) -> Proposal:
    """
    Return a proposal that came from somewhere else.

    Raises
    ------
    LedgerError
        Naming the first thing that is wrong with it.
    """
    try:
        rfc8785.dumps(plain)  # type: ignore[arg-type]  # what has no canonical form is nested too deeply, or no value
        return Proposal.model_validate(plain)
    except ValidationError as error:
        raise refusal(error, "proposal", "proposal") from None
    except (ValueError, RecursionError) as error:
        raise LedgerError("proposal", type(plain).__name__, f"plain values ({error})"[:300]) from None
