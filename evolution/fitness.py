"""Fitness: what a policy came to in every cell of a grid, in real replays, and one number to compare candidates by."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import NamedTuple

from alphatrade.evolution.grid import Cell
from alphatrade.risk.errors import ConfigError, TapeError
from alphatrade.strategies.policy import Policy

OWN = (ConfigError, TapeError)  # what a candidate and a tape may be to blame for; never a full disk, never the law


class Measured(NamedTuple):
    """
    What came of one replay.

    Attributes
    ----------
    decisions, fills, violations : int
        Violations as the auditor counts them.
    net_return : float
        After all costs, fraction of the capital.
    sharpe : float or None
        Annualised; None where there were too few returns.
    drawdown : float
        Largest, fraction.
    turnover : float
        Traded notional over the capital.
    killed : str
        Why the law stopped it; empty where it did not.
    returns : tuple of float
        Net change of equity in each whole period of the cell, in time order, fractions of the capital.
    exposure : float
        Mean position at the marked prices, signed, fraction of the capital.
    passive : float
        Share of the traded notional that was filled as a maker.
    """

    decisions: int
    fills: int
    violations: int
    net_return: float
    sharpe: float | None
    drawdown: float
    turnover: float
    killed: str
    returns: tuple[float, ...]
    exposure: float = 0.0
    passive: float = 0.0


class Row(NamedTuple):
    """A cell, what came of it, and why that does not count; `fault` is empty where it does."""

    cell: Cell
    measured: Measured | None
    fault: str


Replay = Callable[[Policy, Cell], Measured]


Hopeless = Callable[[Sequence[Row]], bool]


def table(
    policy: Policy, cells: Iterable[Cell], replay: Replay, least: int, hopeless: Hopeless | None = None
) -> list[Row]:
    """
    Return a row per cell.

    Parameters
    ----------
    policy : Policy
    cells : iterable of Cell
    replay : callable
        A replay that this candidate or this tape does not allow (``OWN``) is a row that does not count, and stops
        nothing; all else that is raised goes on.
    least : int
        Decisions below which a cell does not count.
    hopeless : callable, optional
        Asked after each row whether the rest is worth replaying.
    """
    rows: list[Row] = []
    for cell in cells:
        if rows and hopeless is not None and hopeless(rows):
            break
        try:
            found = replay(policy, cell)
        except OWN as error:
            rows.append(Row(cell, None, str(error)))
            continue
        few = f"{found.decisions} decisions, fewer than {least}" if found.decisions < least else ""
        wrong = f"{found.violations} violations" if found.violations else ""
        rows.append(Row(cell, found, wrong or few))
    return rows


def fitness(rows: Sequence[Row]) -> float:
    """
    Return one number: the mean over regimes of the mean net return of their cells, basis points of the capital.

    Each regime counts the same however many cells it has, so that no regime is bought with another. One violation of
    the law is minus infinity, and so is a table without a cell that counts.
    """
    if any(row.measured is not None and row.measured.violations for row in rows):
        return -inf
    by_regime: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.measured is not None and not row.fault:
            by_regime[row.cell.regime].append(row.measured.net_return)
    if not by_regime:
        return -inf
    means = [sum(found) / len(found) for _, found in sorted(by_regime.items())]
    return 1e4 * sum(means) / len(means)
