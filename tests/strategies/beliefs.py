"""Made-up beliefs for the tests of what learns from them."""

import numpy as np

from alphatrade.actors.messages import BeliefSnapshot, StepFacts

N, K, D = 128, 16, 8


def code(rng: np.random.Generator, units: range = range(N), k: int = K) -> tuple[np.ndarray, np.ndarray]:
    """A sparse code over some of the units."""
    idx = np.sort(rng.choice(np.array(units), k, replace=False)).astype(np.int16)
    return idx, rng.random(k) + 0.1


def belief(step: int, mid: float = 100.0, regime: str = "flat-low", idx: object = None, val: object = None, **more: float) -> BeliefSnapshot:
    none = np.empty(0)
    half = more.get("half", 0.01)
    facts = StepFacts(more.get("high", mid), more.get("low", mid), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    z = np.full(D, more.get("signal", 0.0))
    return BeliefSnapshot(
        "X", step, step * 10, mid - half, mid + half, mid, 1e-3, z, z,
        none if idx is None else idx, none if val is None else val, regime, 0.5, "", True, 0, facts,
    )  # fmt: skip
