"""Spot checks of a verifier's own: trials that he draws, replayed again, and held against the leaves of the ledger.

Which trials the gate replays again follows from what is entered, and so whoever enters it can go on making things up
until honest ones are drawn. These are drawn by a seed that nobody knew by then.
"""

import hashlib
import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from alphatrade.evolution.dossier import difference
from alphatrade.evolution.evidence import Evidence, trials_of
from alphatrade.evolution.fitness import fitness, table
from alphatrade.evolution.genotype import Genotype, develop
from alphatrade.evolution.schedule import fair
from alphatrade.evolution.trial import row_from, row_plain
from alphatrade.nodes.evaluate import replays
from alphatrade.nodes.evolve import SearchSettings, grid_of, to_blame
from alphatrade.nodes.settings import Settings
from alphatrade.nodes.tape import Tape

FAILED = "failed"  # the candidate is said to be to blame, so that anybody has to see it fail


def drawn(evidence: Evidence, number: int, seed: str) -> list[dict[str, Any]]:
    """
    Return leaves of the candidate's search that the gate has not replayed again, drawn by a hash of `seed`.

    Parameters
    ----------
    evidence : Evidence
    number : int
        At most so many: any trial counts that has cells, also one that a race gave up, and any that is said to have
        failed; whoever calls a trial a failure takes it out of the statistics.
    seed : str
    """
    done = {(one.generation, one.index) for one in evidence.again}
    told = trials_of(evidence, evidence.search)
    leaves = {(leaf["generation"], leaf["index"]): leaf for leaf in told if leaf["cells"] or leaf["status"] == FAILED}
    others = sorted(leaves.keys() - done)
    others.sort(key=lambda place: hashlib.sha256(f"{seed} {place}".encode()).digest())
    return [leaves[place] for place in sorted(others[:number])]


def unrepeatable(evidence: Evidence) -> str:
    """Return how many trials of the search nobody can replay, since they depend on a machine; empty: none."""
    told = trials_of(evidence, evidence.search)
    n = sum(leaf["status"] in ("timeout", "killed") for leaf in told)
    return f"{n} of {len(told)} trials were timed out or killed: not repeatable" if n else ""


def differs(own: SearchSettings, tapes: Sequence[Tape], leaf: dict[str, Any]) -> tuple[str, str] | None:
    """Return the first value of a trial that comes out otherwise here, and as what; None: none does."""
    name = f"trial {leaf['generation']}.{leaf['index']}"
    if leaf["status"] == FAILED:
        worth = _worth(own, tapes, leaf)
        return None if worth is None else (f"{name}: recorded as failed", f"it scores {worth:g} here")
    told, found = leaf["cells"], replayed(own, tapes, leaf)
    if len(told) != len(found):
        return f"{name}: {len(told)} cells", f"{len(found)} of them in the grid"
    for one, other in zip(told, found, strict=True):
        if (where := difference(one, other)) is not None:
            return f"{name}, {other['instrument']} from {other['start']}: {where[0]}", where[1]
    return None


def _worth(own: SearchSettings, tapes: Sequence[Tape], leaf: dict[str, Any]) -> float | None:
    """Return the fitness of a trial on the cells of its search; None if one of them cannot be replayed."""
    try:
        rows = [row_from(cell) for cell in replayed(own, tapes, leaf)]
    except Exception as error:  # as in the search: of whatever the candidate is made of
        if not to_blame(error):
            raise
        return None
    return fitness(rows) if rows and all(row.measured is not None for row in rows) else None


def replayed(own: SearchSettings, tapes: Sequence[Tape], leaf: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what comes of a trial here, in the cells that its leaf has, or if it failed those that it should have."""
    policy = develop(Genotype.model_validate(leaf["genotype"]))
    seen = [cell for cell in grid_of(tapes, own.grid) if not cell.holdout]
    grid = {(cell.instrument, str(cell.start), str(cell.end)): cell for cell in seen}
    places = [(cell["instrument"], cell["start"], cell["end"]) for cell in leaf["cells"]]
    cells = [grid[place] for place in places if place in grid]
    cells = fair(seen, own.search.cells) if leaf["status"] == FAILED else cells
    measure = replays(Settings(policy=policy, run=own.settings.run), list(tapes), own.grid.period_s)
    shown = tqdm(cells, f"trial {leaf['generation']}.{leaf['index']}", unit="cell", disable=not sys.stderr.isatty())
    return [row_plain(row) for row in table(policy, shown, measure, own.grid.least)]
