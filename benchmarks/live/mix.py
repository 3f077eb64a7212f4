"""The faults of a run: each seed draws others, in another order, and in twenty runs each kind comes many times."""

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.faults.injections import MAKERS, Fault

FAULTS = 10  # of a run
NEAR_MS = (-600, -200, 300, 600)  # a clock that is further off stops a live node, as it should
# A fill that is told late, to the stream or in the lists, comes also after the end of its order.
OWN: dict[str, Any] = {
    "late": lambda rng: {"where": "user", "delay": rng.uniform(0.3, 2.0), "count": rng.randint(1, 4)},
    "late-rest": lambda rng: {"where": "rest", "delay": rng.uniform(0.3, 2.0), "seconds": 2.0},
    "skew": lambda rng: {"ms": rng.choice(NEAR_MS)},
}
NAMES = tuple(dict.fromkeys([*MAKERS, *OWN]))
KINDS = frozenset(name.partition("-")[0] for name in NAMES)


def mixed(rng: random.Random, count: int = FAULTS) -> list[Fault]:
    """Return the faults of a run: as many, each of another kind."""
    return [Fault(name.partition("-")[0], (MAKERS | OWN)[name](rng)) for name in rng.sample(NAMES, count)]


def thin(seed: int, start: float = 30_000.0, count: int = 20_000, step_s: float = 0.1) -> NDArray[np.float64]:
    """
    Return quotes of a market so thin that orders of a pilot are filled in parts, some of which are dust.

    Returns
    -------
    array (n, 5)
        Time (ns), bid, ask, bid size, ask size.
    """
    rng = np.random.default_rng(seed)
    mid, half = start * np.exp(np.cumsum(rng.normal(0, 1e-5, count))), 0.01 * rng.integers(1, 6, count)
    sizes = rng.uniform(0.00005, 0.002, (count, 2))
    return np.column_stack([np.arange(count) * step_s * 1e9, mid - half, mid + half, sizes])
