"""Why not the other topology: what it would have earned at a decision, on paper, and how close to that a replay comes.

On paper every tactic of the policy runs beside the one in charge, with a book of its own
(:class:`~alphatrade.strategies.shadow.Shadow`), from the first decision on. A replay in which one of them is always in
charge gives the same outcome from real fills: the change of its book's worth over the horizon, basis points of a clip.
"""

from collections.abc import Iterable, Mapping
from math import fsum, isnan, nan, sqrt
from pathlib import Path
from typing import NamedTuple

from alphatrade.actors.messages import BeliefSnapshot
from alphatrade.reflection.query import open_views
from alphatrade.strategies.shadow import BPS, Costs, Shadow, seen
from alphatrade.strategies.sizing import Sizer
from alphatrade.strategies.topologies import Topology

NANO = 1e9


class Paper(NamedTuple):
    """
    Every tactic on paper.

    Attributes
    ----------
    steps : dict of int to int
        Decision step to its place in the lists.
    worth : dict of str to list of float
        By tactic: earnings so far at each step, bps of a clip.
    clip : list of float
        Value of a clip at each step, quote currency; 0 where the capital does not reach for one.
    """

    steps: dict[int, int]
    worth: dict[str, list[float]]
    clip: list[float]

    def outcome(self, tactic: str, step: int, horizon: int) -> float:
        """Return what a tactic earned in `horizon` steps from `step` on, bps; NaN where the tape ends before."""
        first, last = self.steps.get(step), self.steps.get(step + horizon)
        return nan if first is None or last is None else self.worth[tactic][last] - self.worth[tactic][first]


class Closeness(NamedTuple):
    """
    How close predictions came to a replay, over all decisions at which both are known and not both are nothing.

    Attributes
    ----------
    n : int
    correlation : float
    apart, predicted, replayed : float
        Mean absolute difference, and both means, bps.
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
    shadows = {name: Shadow(tactic, costs, long_only) for name, tactic in tactics.items()}
    paper = Paper({}, {name: [] for name in tactics}, [])
    for belief in beliefs:
        if not belief.warm:
            continue
        paper.steps[belief.step] = len(paper.clip)
        paper.clip.append(sizer.clip(belief.mid, belief.vol, 1.0) / NANO * belief.mid)
        idle = seen(belief)
        for name, shadow in shadows.items():
            paper.worth[name].append(shadow.mark(belief))
            shadow.act(belief, idle)
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
    spread = sqrt(fsum((p - predicted) ** 2 for p, _ in pairs) * fsum((r - real) ** 2 for _, r in pairs))
    joint = fsum((p - predicted) * (r - real) for p, r in pairs)
    signed = [p * r > 0.0 for p, r in pairs if abs(p) > 1e-9 and abs(r) > 1e-9]
    return Closeness(
        n,
        joint / spread if spread else nan,
        fsum(abs(p - r) for p, r in pairs) / n,
        predicted,
        real,
        sum(signed) / len(signed) if signed else nan,
    )
