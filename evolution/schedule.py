"""The scheduler: in which order a candidate's cells are replayed, and when the rest of them is not worth it.

Every prefix of the order is a fair share: no instrument and no regime gets a second cell before each that has one left
got its first. So a candidate that is stopped early, and a budget that allows few cells, still say something of all.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import fsum, sqrt
from statistics import NormalDist
from typing import Annotated

from pydantic import Field

from alphatrade.evolution.fitness import Row
from alphatrade.evolution.grid import Cell
from alphatrade.strategies.policy import Spec


class RaceSpec(Spec):
    """
    When a candidate is given up before all of its cells were replayed.

    Attributes
    ----------
    least : int
        Cells that every candidate gets.
    confidence : float
        How sure it has to be that it ends below the worst survivor.
    """

    least: Annotated[int, Field(ge=3, le=1000)] = 4
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95


def fair(cells: Iterable[Cell], most: int | None = None) -> list[Cell]:
    """
    Return cells in the order in which they are to be replayed.

    Parameters
    ----------
    cells : iterable of Cell
    most : int, optional
        Only so many, from the start of the order.
    """
    queues: dict[str, dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in sorted(cells, key=lambda cell: (cell.start, cell.instrument)):
        queues[cell.regime][cell.instrument].append(cell)
    order: list[Cell] = []
    given: dict[str, int] = defaultdict(int)
    while queues:
        for regime in sorted(queues):
            by_instrument = queues[regime]
            name = min(by_instrument, key=lambda name: (given[name], name))
            order.append(by_instrument[name].pop(0))
            given[name] += 1
            if not by_instrument[name]:
                del by_instrument[name]
            if not by_instrument:
                del queues[regime]
    return order[:most]


def hopeless(rows: Sequence[Row], rival: Sequence[Row], spec: RaceSpec) -> bool:
    """
    Return whether a candidate is worse than its rival in the cells that both have, as surely as asked.

    A one-sided normal bound on the mean difference of net returns, paired by cell; a violation of the law is hopeless
    at once. What is decided here depends on results only, never on time or on other candidates of the same batch.

    Parameters
    ----------
    rows, rival : sequence of Row
        Of the candidate so far, and of whom it has to beat.
    spec : RaceSpec
    """
    if any(row.measured is not None and row.measured.violations for row in rows):
        return True
    theirs = {row.cell: row.measured.net_return for row in rival if row.measured is not None}
    gaps = [
        row.measured.net_return - theirs[row.cell] for row in rows if row.measured is not None and row.cell in theirs
    ]
    if len(gaps) < spec.least:
        return False
    mean = fsum(gaps) / len(gaps)
    error = sqrt(fsum([(gap - mean) ** 2 for gap in gaps]) / (len(gaps) - 1) / len(gaps))
    return mean + NormalDist().inv_cdf(spec.confidence) * error < 0.0
