"""The plan of a search: all that it is made of, and what the ledger is told of it before its first trial."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import rfc8785

from alphatrade.evolution.domain import Domain
from alphatrade.evolution.genotype import Genotype
from alphatrade.evolution.grid import Cell
from alphatrade.evolution.search import SearchSpec
from alphatrade.evolution.trial import cell_plain
from alphatrade.reflection.ledger_chain import Entry
from alphatrade.strategies.policy import canonical


class Recorder(Protocol):
    """A ledger that can be written to."""

    def append_once(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Add an entry, signed now, unless there is one with this body."""

    def append_generation(self, leaves: Sequence[Mapping[str, Any]]) -> Entry:
        """Add the trials of a generation as one entry, signed now, unless it is there; refuse other trials of it."""


class Plan(NamedTuple):
    """
    What a search is made of.

    Attributes
    ----------
    spec : SearchSpec
    domain : Domain
    founders : list of Genotype
    cells : list of Cell
        Of the whole grid, held-out ones among them; those are recorded and never replayed.
    evaluator : dict
        Plain values of all that shapes a replay beside genotype and cell: the same for every candidate.
    tapes : dict of str to str
        Hash of the tape by instrument.
    code_hash : str
    folder : Callable[[str], Path]
        Where the files of a search go, by its hash.
    home : Recorder
        The ledger, with the key of the service that records trials.
    """

    spec: SearchSpec
    domain: Domain
    founders: list[Genotype]
    cells: list[Cell]
    evaluator: dict[str, Any]
    tapes: dict[str, str]
    code_hash: str
    folder: Callable[[str], Path]
    home: Recorder

    def body(self) -> dict[str, Any]:
        """Return what the ledger is told of the search; its hash names it."""
        plain = {
            "spec": canonical(self.spec),
            "domain": canonical(self.domain),
            "founders": [canonical(founder) for founder in self.founders],
            "cells": [cell_plain(cell) for cell in self.cells],
            "evaluator": self.evaluator,
            "evaluator_hash": _sha(self.evaluator),
            "tapes": self.tapes,
            "seed": self.spec.seed,
            "code_hash": self.code_hash,
        }
        return {"search": _sha(plain), **plain}


def _sha(plain: Any) -> str:
    return hashlib.sha256(rfc8785.dumps(plain)).hexdigest()
