"""Labelled edits of slices, made up: whether one helps depends on what it is, what it bears on, and its slice's rows."""

import numpy as np

from alphatrade.reflection.rim.engines import Inputs, Labels

KINDS = 4


def examples(groups: int, each: int, seed: int, signal: float = 1.0) -> tuple[Inputs, Labels, np.ndarray]:
    """
    Return inputs, labels and the true probability that an edit beats no-op.

    The noise is logistic, so that the probability is the sigmoid of what is expected.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    n, group = groups * each, np.repeat(np.arange(groups), each)
    kind, gap, size = rng.integers(0, KINDS, n), rng.standard_normal(n), rng.uniform(-1, 1, n)
    trend = rng.standard_normal(groups)
    rows = 0.5 * rng.standard_normal((groups, 4, 3))
    rows[:, :, 1] += trend[:, None]
    expected = signal * (1.5 * gap * np.where(kind < 2, 1.0, -0.5) + size * trend[group] + 0.8 * (kind == 3) - 0.4)
    chance = 1.0 / (1.0 + np.exp(-expected))
    uplift = 3.0 * (expected + rng.logistic(size=n))
    edit = np.column_stack([np.eye(KINDS)[kind], gap, size, gap * (kind < 2), rng.standard_normal((n, 3))])
    return Inputs(edit, rows[group]), Labels(uplift, uplift > 0, group), chance
