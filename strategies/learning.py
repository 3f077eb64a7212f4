"""The learning router: the table's choice, unless what was learnt speaks for another tactic.

An outcome that cannot be learnt from switches the learner off for good: the table goes on alone.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Protocol

import numpy as np

from alphatrade.actors.messages import Array, BeliefSnapshot
from alphatrade.strategies.attention import Advice
from alphatrade.strategies.hindsight import Experience
from alphatrade.strategies.router import Route, TableRouter


class Learner(Protocol):
    """What a learning router needs of what it learns with."""

    name: str

    def absorb(self, idx: Array, val: Array, values: Array) -> None:
        """Learn one experience."""

    def advise(self, idx: Array, val: Array, base: int, allowed: Array, current: int = -1) -> Advice:
        """Return who should be in charge, what each is expected to earn, the advantage over `base` and its error."""

    def arrays(self) -> dict[str, Any]:
        """Return what was learnt."""


class LearningRouter(TableRouter):
    """
    A table router with a learner above it.

    Parameters
    ----------
    table, min_hold, min_confidence
        As for :class:`TableRouter`.
    tactics : sequence of str
        Every tactic of the policy: the candidates.
    allowed : mapping of str to sequence of str
        Who may be in charge in a regime; a regime that is absent allows all.
    learner : Learner

    Attributes
    ----------
    off : str
        Why nothing is learnt or used any more; empty while all is well.
    """

    def __init__(
        self,
        table: Mapping[str, str],
        min_hold: int,
        min_confidence: float,
        tactics: Sequence[str],
        allowed: Mapping[str, Sequence[str]],
        learner: Learner,
    ) -> None:
        super().__init__(table, min_hold, min_confidence)
        self.candidates = tuple(sorted(tactics))
        self.learner = learner
        self.off = ""
        self._current = -1
        self._base = {regime: self.candidates.index(tactic) for regime, tactic in table.items()}
        every = np.ones(len(self.candidates), np.bool_)
        self._allowed = {
            regime: np.array([name in allowed[regime] for name in self.candidates]) if regime in allowed else every
            for regime in table
        }

    def route(self, belief: BeliefSnapshot) -> Route:
        """Return who is in charge at `belief`."""
        if self.off:
            return super().route(belief)
        base = self._base[belief.regime]
        best, expected, gain, error = self.learner.advise(
            belief.idx, belief.val, base, self._allowed[belief.regime], self._current
        )
        scores = tuple(expected)
        if best == base:
            route = self._settle(self.candidates[base], belief.confidence, scores, "table")
        else:
            why = f"{self.learner.name} {gain:+.2f} bps (error {error:.2f}) over {self.candidates[base]}"
            route = self._settle(self.candidates[best], 1.0, scores, why)
        self._current = self.candidates.index(route.tactic)
        return route

    def absorb(self, experience: Experience) -> None:
        """Learn an experience that is known by now."""
        if self.off:
            return
        if not isfinite(sum(experience.values)):  # as it is where each of them is finite, being outcomes
            for name, value in zip(self.candidates, experience.values, strict=True):
                if not isfinite(value):
                    self.off = f"outcome of {name} at step {experience.step}: got {value}, expected a finite number"
                    return
        self.learner.absorb(experience.idx, experience.val, np.array(experience.values))
