"""Why not the other topology: what it would have earned at a decision, on paper, and how close to that a replay comes.

On paper every tactic of the policy runs beside the one in charge, with a book of its own
(:class:`~alphatrade.strategies.shadow.Shadow`), from the first decision on. A replay in which one of them is always in
charge gives the same outcome from real fills: the change of its book's worth over the horizon, basis points of a clip.
"""

from collections.abc import Callable, Iterable, Mapping
from math import fsum, isnan, nan
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pandas as pd

from alphatrade.actors.messages import BeliefSnapshot
from alphatrade.reflection.query import open_views
from alphatrade.strategies.shadow import BPS, Costs, Shadow, seen
from alphatrade.strategies.sizing import Sizer
from alphatrade.strategies.topologies import Topology, View

NANO = 1e9


class Paper(NamedTuple):
    """
    Every tactic on paper.

    Attributes
    ----------
    steps : dict of int to int
        Decision step to its place in the lists.
    worth : dict of str to list of float
        By tactic: earnings so far at each step, quote currency.
    clip : list of float
        Value of a clip at each step, quote currency; 0 where the capital does not reach for one.
    """

    steps: dict[int, int]
    worth: dict[str, list[float]]
    clip: list[float]

    def outcome(self, tactic: str, step: int, horizon: int) -> float:
        """Return what a tactic earned in `horizon` steps from `step` on, bps of the clip of then; NaN if not known."""
        first, last, worth = self.steps.get(step), self.steps.get(step + horizon), self.worth[tactic]
        if first is None or last is None or not self.clip[first]:
            return nan
        return (worth[last] - worth[first]) / self.clip[first] * BPS


class _Book:
    """A shadow in money: a position keeps the size of the clip with which it was opened."""

    def __init__(self, shadow: Shadow) -> None:
        self.shadow, self.clip, self.worth = shadow, 0.0, 0.0

    def step(self, belief: BeliefSnapshot, idle: View, before: float, now: float) -> float:
        """Live through a step and act, with clips worth `before` and `now`; return the worth between the two."""
        shadow = self.shadow
        self._count(before, lambda: shadow.mark(belief))
        worth = self.worth
        self._count(now, lambda: shadow.act(belief, idle))
        return worth

    def _count(self, clip: float, what: Callable[[], object]) -> None:
        held, was = self.shadow.clips, self.shadow.worth
        what()
        if not held or held * self.shadow.clips < 0.0:
            self.clip = clip
        self.worth += (self.shadow.worth - was) / BPS * self.clip


class Closeness(NamedTuple):
    """
    How close predictions came to a replay, over all decisions at which both are known and not both are nothing.

    Attributes
    ----------
    n : int
    correlation : float
        Of ranks (Spearman 1904): a single crash in both would make any two alike.
    apart, predicted, replayed : float
        Median absolute difference, and both means, bps.
    same_sign : float
        Share of decisions with the same sign, where neither is nothing.
    """

    n: int
    correlation: float
    apart: float
    predicted: float
    replayed: float
    same_sign: float


def on_paper(
    beliefs: Iterable[BeliefSnapshot], tactics: Mapping[str, Topology], costs: Costs, long_only: bool, sizer: Sizer
) -> Paper:
    """
    Run every tactic on paper over the beliefs of a tape.

    Parameters
    ----------
    beliefs : iterable of BeliefSnapshot
        In order; those before warm-up are skipped, as no decision is made then.
    tactics : mapping of str to Topology
        Instances of their own.
    costs : Costs
        Of the instrument.
    long_only : bool
        Hold no short position.
    sizer : Sizer
        Of the policy and the instrument.
    """
    books = {name: _Book(Shadow(tactic, costs, long_only)) for name, tactic in tactics.items()}
    last = 0.0
    paper = Paper({}, {name: [] for name in tactics}, [])
    for belief in beliefs:
        if not belief.warm:
            continue
        paper.steps[belief.step] = len(paper.clip)
        clip, idle = sizer.clip(belief.mid, belief.vol, 1.0) / NANO * belief.mid, seen(belief)
        paper.clip.append(clip)
        for name, book in books.items():
            paper.worth[name].append(book.step(belief, idle, last, clip))
        last = clip
    return paper


def replayed(run_dir: Path, instrument: str) -> dict[int, float]:
    """Return the worth of a run's real book at each decision step of an instrument, quote currency."""
    with open_views(run_dir) as base:
        steps = base.execute(
            "SELECT step, ts, mid FROM decisions WHERE instrument = ? AND decision >= 0 ORDER BY ts", [instrument]
        ).fetchall()
        fills = base.execute(
            "SELECT ts, CASE side WHEN 'BUY' THEN qty ELSE -qty END, price, "
            "CASE WHEN instrument LIKE currency || '/%' THEN fee * price ELSE fee END "
            "FROM fills WHERE instrument = ? ORDER BY seq",
            [instrument],
        ).fetchall()
    found, at, cash, position = {}, 0, 0.0, 0.0
    for step, ts, mid in steps:
        while at < len(fills) and fills[at][0] <= ts:
            _, qty, price, fee = (float(value) for value in fills[at])
            cash -= qty * price + fee
            position += qty
            at += 1
        found[step] = cash + position * mid
    return found


def real_outcome(worth: Mapping[int, float], paper: Paper, step: int, horizon: int) -> float:
    """Return what a real book earned in `horizon` steps from `step` on, bps of the clip of then; NaN if not known."""
    if step not in worth or step + horizon not in worth or not paper.clip[paper.steps[step]]:
        return nan
    return (worth[step + horizon] - worth[step]) / paper.clip[paper.steps[step]] * BPS


def closeness(paper: Paper, tactic: str, worth: Mapping[int, float], horizon: int) -> Closeness:
    """Hold the predictions of a tactic against a replay in which it was always in charge."""
    pairs = []
    for step in paper.steps:
        pair = paper.outcome(tactic, step, horizon), real_outcome(worth, paper, step, horizon)
        if not (isnan(pair[0]) or isnan(pair[1])) and (abs(pair[0]) > 1e-9 or abs(pair[1]) > 1e-9):
            pairs.append(pair)
    if not pairs:
        return Closeness(0, nan, nan, nan, nan, nan)
    n = len(pairs)
    predicted, real = fsum(p for p, _ in pairs) / n, fsum(r for _, r in pairs) / n
    ranks = pd.DataFrame(pairs).rank()
    signed = [p * r > 0.0 for p, r in pairs if abs(p) > 1e-9 and abs(r) > 1e-9]
    return Closeness(
        n,
        float(ranks[0].corr(ranks[1])) if ranks[0].nunique() > 1 < ranks[1].nunique() else nan,
        median(abs(p - r) for p, r in pairs),
        predicted,
        real,
        sum(signed) / len(signed) if signed else nan,
    )
