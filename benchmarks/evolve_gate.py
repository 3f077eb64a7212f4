"""The gate without replays: its power against a planted Sharpe ratio, and who cheats it."""

from math import sqrt

import numpy as np
from scipy.stats import beta

from alphatrade.evolution.families import families
from alphatrade.evolution.promotion import judge, null_variance
from alphatrade.evolution.statistics import deflated_sharpe, lead, moments, overfitting
from benchmarks.cheats import CHEATS, cheated
from benchmarks.figures import Figure
from benchmarks.honest_twin import honest, spec

COMMAND = "python -m benchmarks.evolve"
SHARPES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)  # of an hourly period
DRAWS, TRIALS, GIFTED, SEEN, HELD = 200, 40, 10, 138, 115


def clopper_pearson(k: int, n: int) -> tuple[float, float] | None:
    """
    Return the bounds of a rate, each one-sided at 95 % (Clopper & Pearson 1934); None without a run.

    Parameters
    ----------
    k, n : int
        Successes, and runs.
    """
    if not n:
        return None
    low = float(beta.ppf(0.05, k, n - k + 1)) if k else 0.0
    return low, float(beta.ppf(0.95, k + 1, n - k)) if k < n else 1.0


def rate(id: str, what: str, hits: list[bool], target: str, command: str) -> Figure:
    """Return a row with the upper bound of a rate; without a run there is nothing that could hold."""
    bounds = clopper_pearson(sum(hits), len(hits))
    upper = 1.0 if bounds is None else bounds[1]
    holds = None if not target else upper <= float(target.split()[1])
    words = f"{what} ({sum(hits)} of {len(hits)})"
    return Figure(id, words, round(upper, 4), "", target, holds, len(hits), bounds, command)


def promoted(sharpe: float, rng: np.random.Generator) -> tuple[bool, bool]:
    """
    Return whether the best of a search passes the gate's statistics, and whether it passes without deflation.

    A quarter of the trials are one family with the planted Sharpe ratio, the others worthless; all returns are normal.
    """
    gates, common = spec(), rng.standard_normal(SEEN + HELD)
    rows = rng.standard_normal((TRIALS, SEEN + HELD))
    rows[:GIFTED] = sqrt(0.95) * common + sqrt(0.05) * rows[:GIFTED] + sharpe
    rows *= 1e-4
    seen = [tuple(row) for row in rows[:, :SEEN].tolist()]
    best = max(range(TRIALS), key=lambda at: sum(seen[at]))
    held = tuple(rows[best, SEEN:].tolist())
    found, spread = moments(held), null_variance([moments(row) for row in seen], HELD)
    plain = deflated_sharpe(found, spread, 1) > gates.dsr
    passes = deflated_sharpe(found, spread, TRIALS) >= gates.dsr
    passes = passes and overfitting(families(seen)).pbo <= gates.pbo
    return passes and lead(held, (0.0,) * HELD, gates.seed).p <= gates.lead, plain


def power() -> list[Figure]:
    """Return the share of searches whose best is promoted, by the planted Sharpe ratio: the statistics alone."""
    rows, command = [], f"{COMMAND} --only power"
    for at, sharpe in enumerate(SHARPES):
        rng = np.random.default_rng([7, at])
        found = [promoted(sharpe, rng) for _ in range(DRAWS)]
        for name, words, hits in (
            ("", "", [one for one, _ in found]), ("_plain", ", PSR > 0.95 alone", [other for _, other in found])
        ):  # fmt: skip
            share = sum(hits) / DRAWS
            what = f"promoted by DSR, PBO and lead (statistics only){words}, hourly Sharpe {sharpe:g}"
            bounds = clopper_pearson(sum(hits), DRAWS)
            rows.append(Figure(f"evolve.power{name}.{sharpe:g}", what, share, "", "", None, DRAWS, bounds, command))
    return rows


def cheats() -> list[Figure]:
    """Return how many cheats are refused by the check meant for them; the honest twin has to pass."""
    twin = judge(honest(), spec()).promoted
    caught = sum(cheat.check in judge(cheated(cheat), spec()).refused for cheat in CHEATS)
    what = f"cheats refused by the check meant for them, of {len(CHEATS)}; the honest twin is promoted: {twin}"
    holds = twin and caught == len(CHEATS)
    return [
        Figure("evolve.cheats", what, caught, "cheats", f"== {len(CHEATS)}", holds, len(CHEATS), None,
               f"{COMMAND} --only cheats")
    ]  # fmt: skip
