"""A trial: one candidate and what came of it, as plain values that go into files and into the ledger."""

from collections.abc import Mapping
from math import isfinite
from typing import Any, Literal, NamedTuple

from alphatrade.evolution.fitness import Measured, Row, fitness
from alphatrade.evolution.genotype import Genotype, develop
from alphatrade.evolution.grid import Cell
from alphatrade.evolution.operators import Lineage
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.policy import canonical

Status = Literal["scored", "stopped", "failed", "killed", "timeout"]
STATUSES: tuple[Status, ...] = ("scored", "stopped", "failed", "killed", "timeout")
WORST = float("-inf")
_NOTHING: dict[str, Any] = dict.fromkeys(Measured._fields) | {
    "decisions": 0, "fills": 0, "violations": 0, "killed": "", "returns": [],
}  # fmt: skip


class Candidate(NamedTuple):
    """A genotype in a search: generation, place in it, and where it comes from."""

    generation: int
    place: int
    genotype: Genotype
    lineage: Lineage


class Outcome(NamedTuple):
    """
    What came of a candidate.

    Attributes
    ----------
    status : str
        ``scored``: every cell was replayed; ``stopped``: the race was lost; ``failed``, ``killed``, ``timeout``: it
        could not be.
    why : str
        Of a status other than ``scored``.
    rows : tuple of Row
        The cells that were replayed.
    """

    status: Status
    why: str
    rows: tuple[Row, ...]

    @property
    def fitness(self) -> float:
        """What candidates are compared by; minus infinity for one that was not scored."""
        return fitness(self.rows) if self.status == "scored" else WORST

    @property
    def spent(self) -> int:
        """Replays that it took."""
        return len(self.rows)


def cell_plain(cell: Cell) -> dict[str, Any]:
    """Return a cell as plain values; times as text, since JSON numbers end at 2^53."""
    return cell._asdict() | {"start": str(cell.start), "end": str(cell.end)}


def cell_from(plain: Mapping[str, Any]) -> Cell:
    """Return the cell of plain values."""
    fields = {name: plain[name] for name in Cell._fields}
    return Cell(**fields | {"start": int(plain["start"]), "end": int(plain["end"])})


def row_plain(row: Row) -> dict[str, Any]:
    """Return a row as plain values: its cell, what was measured (None where nothing was), why it does not count."""
    found = row.measured
    told = _NOTHING if found is None else found._asdict() | {"returns": list(found.returns)}
    place = {name: value for name, value in cell_plain(row.cell).items() if name != "holdout"}
    return place | told | {"fault": row.fault}


def row_from(plain: Mapping[str, Any]) -> Row:
    """Return the row of plain values, of a cell that may be seen."""
    found = None
    if plain["net_return"] is not None:
        fields = {name: plain[name] for name in Measured._fields}
        found = Measured(**fields | {"returns": tuple(plain["returns"])})
    return Row(cell_from({"holdout": False, **plain}), found, plain["fault"])


def outcome_plain(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as plain values."""
    return {"status": outcome.status, "why": outcome.why, "cells": [row_plain(row) for row in outcome.rows]}


def outcome_from(plain: Mapping[str, Any]) -> Outcome:
    """
    Return the outcome of plain values, a leaf of the ledger for instance.

    Raises
    ------
    ConfigError
        If they are not those of an outcome.
    """
    try:
        status, why, rows = plain["status"], plain["why"], tuple([row_from(row) for row in plain["cells"]])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError("trial", f"{type(error).__name__}: {error}", "status, why and cells") from None
    if status not in STATUSES or not isinstance(why, str):
        raise ConfigError("trial.status", status, f"one of {', '.join(STATUSES)}")
    return Outcome(status, why, rows)


def leaf(search: str, candidate: Candidate, outcome: Outcome) -> dict[str, Any]:
    """Return a trial as the ledger keeps it."""
    worth = outcome.fitness
    return {
        "search": search,
        "generation": candidate.generation,
        "index": candidate.place,
        "genotype": canonical(candidate.genotype),
        "genotype_hash": candidate.genotype.genotype_hash,
        "policy_hash": develop(candidate.genotype).policy_hash,
        "lineage": candidate.lineage._asdict() | {"parents": list(candidate.lineage.parents)},
        "fitness": worth if isfinite(worth) else None,
        **outcome_plain(outcome),
    }
