"""Hindsight: what each tactic would have earned from a step on, told when it is known and not before.

The outcome of a tactic at step t is the change of the worth of its book from t to t + h, fills, fees and spread
included, in basis points of a clip; h is the policy's primary horizon. For the tactic in charge it is that of the real
book, provided it stayed in charge for all of those steps. For every other it is the mark-out of its
:class:`~alphatrade.strategies.shadow.Shadow`, labelled so.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from alphatrade.actors.messages import Array, BeliefSnapshot
from alphatrade.strategies.shadow import BPS, Shadow, seen


class Experience(msgspec.Struct, frozen=True, gc=False):
    """
    What came of one step.

    Attributes
    ----------
    step, ts : int
        Decision step and its event time, UTC ns.
    known : int
        Event time at which the outcomes were known, UTC ns.
    idx, val : ndarray, shape (a,)
        The belief at the step (int16, float64).
    before_idx, before_val : ndarray
        The belief of the step before it.
    chosen : int
        Place of the tactic in charge among the candidates.
    real : bool
        Whether the outcome of the tactic in charge is that of the real book; all others are shadow mark-outs.
    values : tuple of float
        Outcome of each candidate, basis points of a clip.
    """

    step: int
    ts: int
    known: int
    idx: Array
    val: Array
    before_idx: Array
    before_val: Array
    chosen: int
    real: bool
    values: tuple[float, ...]


class _Open(NamedTuple):
    """A step whose outcome is not known yet."""

    belief: BeliefSnapshot
    chosen: int
    worth: list[float]
    own: float
    notional: float


class Hindsight:
    """
    The shadows of one organism and the steps whose outcome is still to come.

    Parameters
    ----------
    shadows : sequence of Shadow
        One per candidate, in the candidates' order.
    horizon : int
        Decision steps.
    """

    def __init__(self, shadows: Sequence[Shadow], horizon: int) -> None:
        self._shadows = tuple(shadows)
        self._horizon = horizon
        self._open: deque[_Open] = deque()
        self._worth: list[float] = []
        self._before: BeliefSnapshot | None = None
        self._chosen, self._since = -1, 0

    def look(self, belief: BeliefSnapshot, own: float) -> Experience | None:
        """
        Live through the step that has just closed.

        Parameters
        ----------
        belief : BeliefSnapshot
            Of now.
        own : float
            Worth of the real book at the price of now: cash plus position, quote currency.

        Returns
        -------
        Experience or None
            Of the step that is one horizon old.
        """
        worth = self._worth = [shadow.mark(belief) for shadow in self._shadows]
        if len(self._open) < self._horizon:
            return None
        then = self._open.popleft()
        values = [now - before for now, before in zip(worth, then.worth, strict=True)]
        real = then.notional > 0.0 and self._since <= then.belief.step
        if real:
            values[then.chosen] = (own - then.own) / then.notional * BPS
        before, self._before = self._before or then.belief, then.belief
        return Experience(
            then.belief.step, then.belief.ts, belief.ts, then.belief.idx, then.belief.val, before.idx, before.val,
            then.chosen, real, tuple(values),
        )  # fmt: skip

    def note(self, belief: BeliefSnapshot, chosen: int, own: float, notional: float) -> None:
        """
        Note the decision of now, and let the shadows act as well.

        Parameters
        ----------
        belief : BeliefSnapshot
            As it was decided on.
        chosen : int
            Place of the tactic in charge among the candidates.
        own, notional : float
            Worth of the real book before the decision, and value of one clip (0: too small to trade), quote currency.
        """
        if chosen != self._chosen:
            self._chosen, self._since = chosen, belief.step
        self._open.append(_Open(belief, chosen, self._worth, own, notional))
        idle = seen(belief)
        for shadow in self._shadows:
            shadow.act(belief, idle)
