"""Power of the promotion gate's statistics: how often the best of a search passes, by planted edge and by its share.

``python -m benchmarks.power`` draws searches of 24 trials with hourly normal returns on 14 days that they see and 6
that they do not. Some are siblings that have the same Sharpe ratio (per hour), the others have none. ``around`` is the
deflated Sharpe ratio with the variance of the trials' ratios around each other in place of that of trials without an
edge, ``single`` is the probability of overfitting over single trials in place of families.
"""

from statistics import variance
from typing import NamedTuple

import numpy as np

from alphatrade.evolution.families import families
from alphatrade.evolution.promotion import null_variance
from alphatrade.evolution.statistics import (
    deflated_sharpe,
    lead,
    moments,
    overfitting,
    probabilistic_sharpe,
)

TRIALS, SEEN, HELD, DRAWS = 24, 14 * 23, 6 * 23, 60
SHARES = (1, 12, 18)
EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6)


class Passed(NamedTuple):
    """What one search passes: without deflation, with it, in its other form; PBO in both; lead over nothing; all."""

    naive: bool
    dsr: bool
    around: bool
    pbo: bool
    single: bool
    lead: bool
    all: bool


def search(seed: int, edge: float, planted: int) -> Passed:
    """Draw one search, and judge its best trial by the default thresholds."""
    rng = np.random.default_rng(seed)
    seen, held = (rng.normal(0.0, 1e-3, (TRIALS, n)) for n in (SEEN, HELD))
    for rows in (seen, held):
        rows[:planted] = rows[0] + 0.2 * rows[:planted] + edge * 1e-3
    best = held[int(seen.mean(axis=1).argmax())].tolist()
    found = [moments(row) for row in seen.tolist()]
    own, spread = moments(best), null_variance(found, HELD)
    dsr = deflated_sharpe(own, spread, TRIALS) >= 0.95
    around = deflated_sharpe(own, variance([each.sharpe for each in found]), TRIALS) >= 0.95
    pbo = overfitting(families(seen.tolist())).pbo <= 0.2
    single = overfitting(seen.tolist()).pbo <= 0.2
    ahead = lead(best, [0.0] * HELD, 1, 999).p <= 0.05
    return Passed(probabilistic_sharpe(own, 0.0) >= 0.95, dsr, around, pbo, single, ahead, dsr and pbo and ahead)


def main() -> None:
    """Print the share that passes, a row per share of trials with the edge and per edge."""
    print(f"{'with edge':>10} {'edge':>5} " + " ".join(f"{name:>7}" for name in Passed._fields))
    for planted in SHARES:
        for edge in EDGES:
            rows = np.mean([search(seed, edge, planted) for seed in range(DRAWS)], axis=0)
            print(f"{planted:>4} of {TRIALS} {edge:>6.1f} " + " ".join(f"{value:7.2f}" for value in rows), flush=True)


if __name__ == "__main__":
    main()
