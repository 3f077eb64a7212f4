"""Routers: who trades this step. Router v0 is the policy's table from regime to tactic; learning routers start from it.

All of them share the friction: a tactic stays in charge for a number of steps before it can be replaced.
"""

from collections.abc import Mapping

import msgspec

from alphatrade.actors.messages import BeliefSnapshot


class Route(msgspec.Struct, frozen=True, gc=False):
    """
    The router's answer for one step.

    Attributes
    ----------
    tactic : str
        In charge from now on.
    scores : tuple of float
        One per candidate, in the candidates' order. Of the table: the regime's confidence for its choice, else 0. Of a
        learning router: the outcome that it expects, basis points of a clip.
    switched : bool
        Whether the tactic changed at this step.
    why : str
        A few words for the diary.
    """

    tactic: str
    scores: tuple[float, ...]
    switched: bool
    why: str


class TableRouter:
    """
    Regime -> tactic.

    Parameters
    ----------
    table : mapping of str to str
        A tactic for every regime.
    min_hold : int
        Steps a tactic stays in charge before it can be replaced.
    min_confidence : float
        Of the regime, below which nothing is switched.
    """

    def __init__(self, table: Mapping[str, str], min_hold: int, min_confidence: float) -> None:
        self._table = dict(table)
        self._min_hold = min_hold
        self._min_confidence = min_confidence
        self.candidates = tuple(sorted(set(table.values())))
        self._tactic = ""
        self._held = 0

    def route(self, belief: BeliefSnapshot) -> Route:
        """Return who is in charge in the regime of `belief`, given its confidence."""
        wanted, confidence = self._table[belief.regime], belief.confidence
        scores = tuple([confidence if name == wanted else 0.0 for name in self.candidates])
        return self._settle(wanted, confidence, scores, "table")

    def _settle(self, wanted: str, confidence: float, scores: tuple[float, ...], why: str) -> Route:
        """Apply the friction to what is wanted."""
        self._held += 1
        if wanted == self._tactic:
            return Route(wanted, scores, False, why)
        if self._tactic and self._held < self._min_hold:
            return Route(self._tactic, scores, False, f"held {self._held} of {self._min_hold} steps")
        if self._tactic and confidence < self._min_confidence:
            return Route(self._tactic, scores, False, f"confidence {confidence:.2f} too low to switch")
        before, self._tactic, self._held = self._tactic, wanted, 0
        also = "" if why == "table" else f", {why}"
        return Route(wanted, scores, bool(before), f"switch from {before}{also}" if before else "first route")
