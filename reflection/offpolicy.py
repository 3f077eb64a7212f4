"""Off-policy estimates: what another policy would have earned on the decisions of an exploring run.

Each decision has the tactic that was in charge, the probability with which the exploring router put it there, and an
outcome. Decisions of one block share a draw, so that intervals are taken over blocks.
"""

from collections.abc import Mapping
from math import fsum, inf, sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alphatrade.reflection.query import open_views, read_mapping
from alphatrade.risk.errors import RunDirError

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Table = np.ndarray[tuple[int, int], np.dtype[np.float64]]
Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
_Z95 = 1.959963984540054
_LEAST = 10  # blocks with any weight, below which an interval would be a pretence


class Logged(NamedTuple):
    """
    Decisions of an exploring run, n of them.

    Attributes
    ----------
    actions : tuple of str
        Tactics, k of them.
    chosen : ndarray of int, shape (n,)
        Which was in charge.
    propensity : ndarray, shape (n,)
        With which probability, in (0, 1].
    reward : ndarray, shape (n,)
        What came of it, bps.
    block : ndarray of int, shape (n,)
        Decisions with the same number share a draw.
    base : ndarray of int, shape (n,)
        The router's own choice.
    """

    actions: tuple[str, ...]
    chosen: Ints
    propensity: Floats
    reward: Floats
    block: Ints
    base: Ints


class Estimate(NamedTuple):
    """
    Value of a policy, estimated from another's decisions.

    Attributes
    ----------
    value : float
        Mean reward of a decision.
    low, high : float
        95 % interval, normal over blocks; infinite where fewer than ten blocks say anything.
    n : int
        Decisions.
    effective : float
        Effective sample size ``(sum w)^2 / sum w^2`` of their weights (Kish 1965).
    """

    value: float
    low: float
    high: float
    n: int
    effective: float


def ips(log: Logged, target: Table) -> Estimate:
    """
    Return the inverse propensity estimate (Horvitz & Thompson 1952): mean of ``w * r``, ``w = target / propensity``.

    Parameters
    ----------
    log : Logged
    target : ndarray, shape (n, k)
        Probability of each tactic at each decision under the policy that is valued.
    """
    weights = _weights(log, target)
    return _mean(weights * log.reward, log.block, weights)


def snips(log: Logged, target: Table) -> Estimate:
    """Return the self-normalised estimate ``sum of w * r / sum of w`` (Swaminathan & Joachims 2015); as :func:`ips`."""
    weights = _weights(log, target)
    total, n = fsum(weights.tolist()), len(weights)
    if total <= 0.0:
        return Estimate(float("nan"), -inf, inf, n, 0.0)
    value = fsum((weights * log.reward).tolist()) / total
    about = _mean(weights * (log.reward - value) * (n / total), log.block, weights)  # of the ratio, linearised
    return Estimate(value, value + about.low - about.value, value + about.high - about.value, n, about.effective)


def doubly_robust(log: Logged, target: Table, model: Table) -> Estimate:
    """
    Return the doubly robust estimate (Dudik, Langford & Li 2011): right if the propensities or the model are.

    Parameters
    ----------
    log, target
        As :func:`ips`.
    model : ndarray, shape (n, k)
        Expected reward of each tactic at each decision, made without looking at that decision's own reward.
    """
    weights = _weights(log, target)
    rows = np.arange(len(weights))
    direct = np.array([fsum(row) for row in (target * model).tolist()])
    return _mean(direct + weights * (log.reward - model[rows, log.chosen]), log.block, weights)


def crossed_means(log: Logged) -> Table:
    """
    Return a simple model: each tactic's mean reward in the other half of the blocks; 0 where it was never in charge.

    Returns
    -------
    ndarray, shape (n, k)
    """
    half, found = log.block % 2, np.zeros((len(log.reward), len(log.actions)))
    for side in (0, 1):
        for at in range(len(log.actions)):
            known = log.reward[(half != side) & (log.chosen == at)].tolist()
            found[half == side, at] = fsum(known) / len(known) if known else 0.0
    return found


def always(log: Logged, wanted: Mapping[str, float] | str) -> Table:
    """Return the target policy that is this tactic at every decision, or these with fixed probabilities."""
    shares = {wanted: 1.0} if isinstance(wanted, str) else wanted
    return np.tile([shares.get(name, 0.0) for name in log.actions], (len(log.reward), 1))


def own_choice(log: Logged) -> Table:
    """Return the target policy that is the router's own choice: what would have been earned without exploring."""
    table = np.zeros((len(log.reward), len(log.actions)))
    table[np.arange(len(table)), log.base] = 1.0
    return table


def drawn(log: Logged) -> Logged:
    """Return the decisions at which something was drawn: nothing is known of what could not have been in charge."""
    some = log.propensity < 1.0
    columns = (log.chosen[some], log.propensity[some], log.reward[some], log.block[some], log.base[some])
    return Logged(log.actions, *columns)


def read_log(run_dir: Path, horizon: int | None = None) -> Logged:
    """
    Return the decisions of an exploring run whose outcome is known: mark-outs, bps net of costs.

    Parameters
    ----------
    run_dir : Path
    horizon : int, optional
        Decision steps; the policy's primary one if not given.

    Raises
    ------
    RunDirError
        If the run did not explore, or has no such mark-out.
    """
    policy, run = read_mapping(run_dir, "policy.json"), read_mapping(run_dir, "run.yaml")
    if run.get("exploration") is not True:
        raise RunDirError(str(run_dir), "a run without exploration", "one with exploration=true: it has propensities")
    horizon = horizon or int(policy["expost"]["primary"])
    if horizon not in policy["expost"]["horizons"]:
        raise RunDirError("horizon", horizon, f"one of {policy['expost']['horizons']}")
    with open_views(run_dir) as base:
        rows = base.execute(
            f"SELECT d.exec_topo, d.base_topo, d.propensity, x.markout_{horizon}, "
            "row_number() OVER (PARTITION BY d.instrument ORDER BY d.ts) - 1, "
            "dense_rank() OVER (ORDER BY d.instrument) "
            "FROM decisions d JOIN expost x USING (decision) WHERE d.decision >= 0 ORDER BY d.decision"
        ).fetchall()
    rows = [row for row in rows if row[3] is not None]
    names = tuple(sorted({row[0] for row in rows} | {row[1] for row in rows}))
    every, count = int(run["explore"]["every"]), len(run["instruments"])
    return Logged(
        names,
        np.array([names.index(row[0]) for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
        np.array([row[3] for row in rows], np.float64),
        np.array([row[4] // every * count + row[5] - 1 for row in rows], np.int64),
        np.array([names.index(row[1]) for row in rows], np.int64),
    )


def _weights(log: Logged, target: Table) -> Floats:
    if not len(log.propensity) or not ((log.propensity > 0.0) & (log.propensity <= 1.0)).all():
        raise ValueError("propensity: expected at least one, all in (0, 1]")
    return np.asarray(target[np.arange(len(log.chosen)), log.chosen] / log.propensity, np.float64)


def _mean(values: Floats, block: Ints, weights: Floats) -> Estimate:
    """Return the mean of `values` with an interval over blocks."""
    n, value = len(values), fsum(values.tolist()) / len(values)
    squares, total = fsum((weights * weights).tolist()), fsum(weights.tolist())
    effective = total * total / squares if squares else 0.0
    groups: dict[int, list[float]] = {}
    for number, each in zip(block.tolist(), values.tolist(), strict=True):
        groups.setdefault(number, []).append(each - value)
    if len(set(block[weights > 0.0].tolist())) < _LEAST:
        return Estimate(value, -inf, inf, n, effective)
    spread = fsum(fsum(group) ** 2 for group in groups.values()) * len(groups) / (len(groups) - 1)
    half = _Z95 * sqrt(spread) / n
    return Estimate(value, value - half, value + half, n, effective)


def values(run_dir: Path) -> list[tuple[str, Estimate, Estimate, Estimate]]:
    """
    Return the three estimates of the router's own choice and of each tactic alone, where something was drawn.

    Raises
    ------
    RunDirError
        As :func:`read_log`, or if nothing was ever drawn.
    """
    log = drawn(read_log(run_dir))
    if not len(log.reward):
        raise RunDirError(str(run_dir), "no decision at which anything was drawn", "a run that had room to explore")
    model = crossed_means(log)
    targets = [("own choice", own_choice(log)), *((name, always(log, name)) for name in log.actions)]
    return [(name, ips(log, to), snips(log, to), doubly_robust(log, to, model)) for name, to in targets]
