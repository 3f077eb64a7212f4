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
from alphatrade.evolution.fitness import table
from alphatrade.evolution.genotype import Genotype, develop
from alphatrade.evolution.trial import row_plain
from alphatrade.nodes.evaluate import replays
from alphatrade.nodes.evolve import SearchSettings, grid_of
from alphatrade.nodes.settings import Settings
from alphatrade.nodes.tape import Tape


def drawn(evidence: Evidence, number: int, seed: str) -> list[dict[str, Any]]:
    """
    Return leaves of the candidate's search that the gate has not replayed again, drawn by a hash of `seed`.

    Parameters
    ----------
    evidence : Evidence
    number : int
        At most so many: any trial counts that has cells, also one that a race gave up.
    seed : str
    """
    done = {(one.generation, one.index) for one in evidence.again}
    told = trials_of(evidence, evidence.search)
    leaves = {(leaf["generation"], leaf["index"]): leaf for leaf in told if leaf["cells"]}
    others = sorted(leaves.keys() - done)
    others.sort(key=lambda place: hashlib.sha256(f"{seed} {place}".encode()).digest())
    return [leaves[place] for place in sorted(others[:number])]


def differs(own: SearchSettings, tapes: Sequence[Tape], leaf: dict[str, Any]) -> tuple[str, str] | None:
    """Return the first value of a trial that comes out otherwise here, and as what; None: none does."""
    told, found, name = leaf["cells"], replayed(own, tapes, leaf), f"trial {leaf['generation']}.{leaf['index']}"
    if len(told) != len(found):
        return f"{name}: {len(told)} cells", f"{len(found)} of them in the grid"
    for one, other in zip(told, found, strict=True):
        if (where := difference(one, other)) is not None:
            return f"{name}, {other['instrument']} from {other['start']}: {where[0]}", where[1]
    return None


def replayed(own: SearchSettings, tapes: Sequence[Tape], leaf: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what comes of a trial here, in the cells that its leaf has: those of the grid that may be seen."""
    policy = develop(Genotype.model_validate(leaf["genotype"]))
    seen = [cell for cell in grid_of(tapes, own.grid) if not cell.holdout]
    grid = {(cell.instrument, str(cell.start), str(cell.end)): cell for cell in seen}
    places = [(cell["instrument"], cell["start"], cell["end"]) for cell in leaf["cells"]]
    cells = [grid[place] for place in places if place in grid]
    measure = replays(Settings(policy=policy, run=own.settings.run), list(tapes), own.grid.period_s)
    shown = tqdm(cells, f"trial {leaf['generation']}.{leaf['index']}", unit="cell", disable=not sys.stderr.isatty())
    return [row_plain(row) for row in table(policy, shown, measure, own.grid.least)]
