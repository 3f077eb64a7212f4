"""Families: trials that do the same thing, taken together.

A search that breeds tries what works again and again with small changes. Among such siblings the best one is a matter
of chance, and that it ranks low among the others is no sign of overfitting.
"""

from collections.abc import Iterable, Sequence
from math import fsum, sqrt

ALIKE = 0.9  # correlation of returns from which on two trials are of one family
DIGITS = 9


def families(rows: Iterable[Sequence[float]], alike: float = ALIKE) -> list[tuple[float, ...]]:
    """
    Return the mean returns of each family, in the order in which they came up.

    A trial joins the first family whose first member it goes along with, or founds one; those that never move are one.

    Parameters
    ----------
    rows : iterable of sequence of float, each of length n
        Returns of the trials, of the same periods, in the order in which they were tried.
    alike : float
        Correlation.

    Returns
    -------
    list of tuple of float, each of length n
    """
    leaders: list[list[float]] = []
    members: list[list[Sequence[float]]] = []
    for row in rows:
        unit = _unit(row)
        for leader, family in zip(leaders, members, strict=True):
            if _alike(unit, leader, alike):
                family.append(row)
                break
        else:
            leaders.append(unit)
            members.append([row])
    return [tuple([fsum(values) / len(family) for values in zip(*family, strict=True)]) for family in members]


def _alike(one: list[float], other: list[float], alike: float) -> bool:
    if not one or not other:
        return one == other
    return round(fsum(map(float.__mul__, one, other)), DIGITS) >= alike


def _unit(row: Sequence[float]) -> list[float]:
    """Return a series without its mean and of length 1; nothing where it never moves."""
    mean = fsum(row) / len(row)
    apart = [float(value) - mean for value in row]
    size = sqrt(fsum(x * x for x in apart))
    return [x / size for x in apart] if max(row) > min(row) and size > 0.0 else []
