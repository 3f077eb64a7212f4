"""How often the uplift's lower bound is above 0 where a change is worth nothing: it should be what the level leaves.

``python -m benchmarks.uplift`` prints a table: periods, how much one follows the one before (AR(1)), tails, and the
share of tries in which nothing is taken for something, at two levels, with its standard error. Minutes.
"""

from collections.abc import Iterator
from math import sqrt

import numpy as np
from rich.table import Table
from tqdm import tqdm

from alphatrade.nodes.terminal import console
from alphatrade.reflection.uplift import uplift

TRIES = 2000
PERIODS = (40, 120)
FOLLOWS = (0.0, 0.3, 0.6)
LEVELS = (0.95, 0.99)  # alone, and one of five that are ruled on together
SEED = 8_200_001


def differences(rng: np.random.Generator, n: int, follows: float, heavy: bool) -> list[float]:
    """Return differences of mean 0 that follow the ones before; heavy: of Student's t with 3 degrees of freedom."""
    shocks = rng.standard_t(3, n + 50) if heavy else rng.standard_normal(n + 50)
    found = [0.0]
    for shock in shocks[1:]:
        found.append(follows * found[-1] + float(shock))
    return [1e-4 * one for one in found[50:]]


def shares(n: int, follows: float, heavy: bool) -> Iterator[float]:
    """Yield, for each level, in how many tries the lower bound lies above 0."""
    rng = np.random.default_rng([SEED, n, int(10 * follows), heavy])
    tries = [differences(rng, n, follows, heavy) for _ in range(TRIES)]
    zero = [0.0] * n
    shown = tqdm(tries, leave=False, disable=None)
    found = [[uplift(zero, one, level, 1).low > 0.0 for level in LEVELS] for one in shown]
    for at in range(len(LEVELS)):
        yield sum(row[at] for row in found) / TRIES


def main() -> None:
    """Print the table."""
    table = Table("periods", "follows", "tails", *[f"should be {1.0 - level:.0%}" for level in LEVELS])
    for n in PERIODS:
        for follows in FOLLOWS:
            for heavy in (False, True):
                found = list(shares(n, follows, heavy))
                told = [f"{share:.1%} ± {sqrt(share * (1.0 - share) / TRIES):.1%}" for share in found]
                table.add_row(str(n), f"{follows:g}", "t(3)" if heavy else "normal", *told)
    console(wide=True).print(table)


if __name__ == "__main__":
    main()
