"""A slice on paper: what a policy, and what edits make of it, would have earned on the decisions of a diary.

Every tactic runs beside the one that was in charge, with a book of its own
(:class:`~alphatrade.strategies.shadow.Shadow`), over the rows of the slice: nothing but the diary is read. A policy's
earnings at a row are those of the tactic that leads in the row's regime. This is an aggregate to learn from and never
the reason to change anything: governance replays the edit on data that the slice has not.
"""

from math import fsum, sqrt
from typing import Any

import numpy as np

from alphatrade.actors.belief import Standardiser
from alphatrade.actors.messages import BeliefSnapshot, StepFacts
from alphatrade.reflection.rim.slices import Slice
from alphatrade.strategies.policy import Policy, TacticSpec
from alphatrade.strategies.shadow import Shadow, seen
from alphatrade.strategies.topologies import load_topology

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
_NONE = np.empty(0)


class Paper:
    """
    The tactics of a slice on paper.

    Parameters
    ----------
    part : Slice

    Attributes
    ----------
    returns : ndarray, shape (n,)
        Of the mid since the row before, fraction.
    vol : ndarray, shape (n,)
        Root mean square of them over the policy's short window, fraction.
    clip : ndarray, shape (n,)
        Notional of a full clip over the capital.
    """

    def __init__(self, part: Slice) -> None:
        self.part = part
        self._names = tuple(sorted(part.policy.features))
        self._worth: dict[str, Floats] = {}
        mid = part.rows["mid"].to_numpy()
        self.returns: Floats = np.concatenate(([0.0], mid[1:] / mid[:-1] - 1.0))
        self.vol = _rms(self.returns, part.policy.regime.vol_short)
        size = part.policy.sizing
        target = size.vol_target_bps / 1e4
        share = np.minimum(1.0, target / np.maximum(self.vol, 1e-12))
        self.clip: Floats = np.minimum(size.fraction * share, part.policy.risk.order_notional_max)
        self._beliefs = self._seen()

    def tactic(self, spec: TacticSpec) -> Floats:
        """Return what a tactic earns at each row with a book of its own, bps of a clip; shape (n,)."""
        key = f"{spec.kind} {sorted(spec.params.items())}"
        if key not in self._worth:
            topology = load_topology("tactic", spec.kind, spec.params, self._names)
            shadow = Shadow(topology, self.part.costs)
            worth = []
            for belief, idle in self._beliefs:
                worth.append(shadow.mark(belief))
                shadow.act(belief, idle)
            self._worth[key] = np.diff(np.array(worth), append=shadow.worth)
        return self._worth[key]

    def policy(self, policy: Policy) -> Floats:
        """Return what a policy earns at each row, bps of the capital; shape (n,)."""
        regimes = self.part.rows["regime"].to_numpy()
        earned = np.zeros(len(regimes))
        for regime, tactic in policy.router.table.items():
            here = regimes == regime
            if here.any():
                weight = policy.router.weights.get(regime, {}).get(tactic, 1.0)
                earned[here] = weight * self.tactic(policy.topologies[tactic])[here]
        return earned * self.clip

    def _seen(self) -> list[tuple[BeliefSnapshot, Any]]:
        """Return the rows as beliefs; features are standardised anew, as perception does it."""
        rows, name = self.part.rows, self.part.instrument
        raw = rows[[f"f_{feature}" for feature in self._names]].to_numpy()
        standardiser = Standardiser(len(self._names), self.part.policy.belief.halflife)
        columns = [rows[column].tolist() for column in ("step", "ts", "mid", "spread", "high", "low", "regime")]
        found = []
        for at, (step, ts, mid, spread, high, low, regime) in enumerate(zip(*columns, strict=True)):
            facts = StepFacts(high, low, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
            x = np.nan_to_num(raw[at])
            belief = BeliefSnapshot(
                name, step, ts, mid - 0.5 * spread, mid + 0.5 * spread, mid, float(self.vol[at]), raw[at],
                standardiser.update(x), _NONE, _NONE, regime, 1.0, "", True, 0, facts,
            )  # fmt: skip
            found.append((belief, seen(belief)))
        return found


def _rms(returns: Floats, window: int) -> Floats:
    """Return the root mean square of the last `window` returns at each row; fewer at the beginning."""
    squares, found = (returns * returns).tolist(), np.zeros(len(returns))
    for at in range(len(squares)):
        last = squares[max(0, at + 1 - window) : at + 1]
        found[at] = sqrt(fsum(last) / len(last))
    return found
