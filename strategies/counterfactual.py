"""What would have come of it without exploring: the router's own choice goes on on paper, from the same position.

The paper book is a :class:`~alphatrade.strategies.shadow.Shadow`: passive orders fill when the market has gone through
them, aggressive ones pay the spread. It starts with what the organism holds when a tactic is explored, and goes on
until the last exploring decision is one horizon old. Then both outcomes of a decision are known: the change of the
worth of the real book and of the paper one over the horizon, basis points of a clip.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from alphatrade.actors.messages import BeliefSnapshot
from alphatrade.risk.units import NANO
from alphatrade.strategies.book import Book
from alphatrade.strategies.shadow import BPS, Costs, Shadow, seen
from alphatrade.strategies.topologies import Topology


class Compared(msgspec.Struct, frozen=True, gc=False):
    """
    An exploring decision beside its alternative.

    Attributes
    ----------
    step : int
        Of the decision.
    tactic, alternative : str
        What was explored, and what would have been in charge.
    own, base : float
        Outcomes, bps of a clip: of the real book, and of the alternative on paper.
    """

    step: int
    tactic: str
    alternative: str
    own: float
    base: float


class _Open(NamedTuple):
    """An exploring decision whose outcome is still to come."""

    step: int
    tactic: str
    base: str
    own: float
    notional: float
    worth: float


class _Trial:
    """One paper book, and the decisions that wait for it."""

    __slots__ = ("open", "shadow")

    def __init__(self, shadow: Shadow) -> None:
        self.shadow = shadow
        self.open: deque[_Open] = deque()


class Counterfactual:
    """
    The alternatives of one organism's exploring decisions.

    Parameters
    ----------
    tactics : mapping of str to Topology
        Instances of its own.
    costs : Costs
        Of the instrument.
    long_only : bool
        Hold no short position.
    horizon : int
        Decision steps.
    """

    def __init__(self, tactics: Mapping[str, Topology], costs: Costs, long_only: bool, horizon: int) -> None:
        self._tactics, self._costs, self._long_only, self._horizon = tactics, costs, long_only, horizon
        self._trials: list[_Trial] = []
        self._current: _Trial | None = None  # of the exploration that goes on

    @property
    def open(self) -> bool:
        """Whether anything is waited for."""
        return bool(self._trials)

    def mark(self, belief: BeliefSnapshot, own: float) -> Compared | None:
        """
        Live through the step that has just closed; return the decision whose horizon it completes.

        Parameters
        ----------
        belief : BeliefSnapshot
        own : float
            Worth of the real book, quote currency.
        """
        found = None
        for trial in self._trials:
            worth, waiting = trial.shadow.mark(belief), trial.open
            if waiting and waiting[0].step + self._horizon <= belief.step:
                then = waiting.popleft()
                real = (own - then.own) / then.notional * BPS
                found = Compared(then.step, then.tactic, then.base, real, worth - then.worth)
        if found is not None:
            self._trials = [trial for trial in self._trials if trial.open or trial is self._current]
        return found

    def follow(
        self, belief: BeliefSnapshot, tactic: str, base: str, book: Book, own: float, notional: float
    ) -> None:
        """Note an exploring decision: its alternative is that `base` is in charge."""
        if self._current is None:
            shadow = Shadow(self._tactics[base], self._costs, self._long_only)
            clips = book.position_n / NANO * belief.mid / notional if notional else 0.0
            shadow.start(belief.mid, clips, book.entry, book.since)
            self._current = _Trial(shadow)
            self._trials.append(self._current)
        if notional:
            shadow = self._current.shadow
            self._current.open.append(_Open(belief.step, tactic, base, own, notional, shadow.worth))
        self._act(belief, base)

    def go_on(self, belief: BeliefSnapshot, base: str) -> None:
        """Let the alternatives of earlier decisions act at a step at which nothing is explored."""
        self._current = None
        self._trials = [trial for trial in self._trials if trial.open]
        self._act(belief, base)

    def _act(self, belief: BeliefSnapshot, base: str) -> None:
        idle, tactic = seen(belief), self._tactics[base]
        for trial in self._trials:
            trial.shadow.play(tactic)
            trial.shadow.act(belief, idle)
