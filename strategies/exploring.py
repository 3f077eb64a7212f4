"""Exploration as the router does it: now and then, for a while, another tactic is in charge than the one it chose.

Decisions are counted off in blocks of `every`. At the start of a block a coin and a tactic are drawn, both from a
stream of their own, whatever became of the draws before. In an exploring block the drawn tactic is in charge at every
step at which the policy allows it in the regime (``router.allowed``, all where that says nothing) and the router did
not choose it anyway. So the propensity of each tactic is known at each step: ``p / n`` for each other of the n tactics
that may be explored, what is left for the router's own choice.

No block explores that has no room in the budget at its start, or begins sooner than `every` decisions after the first
order that explored before; within a block, what would open a position beyond the budget is not sent. The law
(:mod:`alphatrade.risk.exploration`) counts the same by itself.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import NamedTuple

import msgspec
import numpy as np

from alphatrade.actors.messages import BeliefSnapshot
from alphatrade.risk.units import NANO
from alphatrade.strategies.book import Book
from alphatrade.strategies.counterfactual import Compared, Counterfactual
from alphatrade.strategies.planner import Command, Grid, Market, Modify, Rest
from alphatrade.strategies.router import Route
from alphatrade.strategies.topologies import Desire, Limit

_STREAM = 0xE7  # of this mechanism, beside the run's seed and the organism's index


class Budget(NamedTuple):
    """
    What may be explored; run configuration (``conf/explore/``).

    Attributes
    ----------
    share : float
        Explored notional over notional, at most, on every prefix of the run.
    every : int
        Decisions of a block.
    probability : float
        Of exploring in a block.
    low, high : float
        Bounds of a decision's outcome less that of its alternative, bps of a clip.
    margin : float
        How much further than its price an order is counted at, fraction; the law's own.
    """

    share: float
    every: int
    probability: float
    low: float
    high: float
    margin: float


class Exploring(msgspec.Struct, frozen=True, gc=False):
    """
    What a decision says about exploration.

    Attributes
    ----------
    tactic : str
        What is explored; empty where the router's own choice is in charge.
    base : str
        The router's own choice: the alternative.
    propensity : float
        Probability with which the exploring router puts in charge who is in charge; 1 where nothing was drawn.
    compared : Compared or None
        An earlier exploring decision whose outcome and alternative are known now.
    """

    tactic: str
    base: str
    propensity: float
    compared: Compared | None


class Explorer:
    """
    Exploration in one organism.

    Parameters
    ----------
    budget : Budget
    tactics : sequence of str
        Of the policy.
    allowed : mapping of str to sequence of str
        Who may be in charge in a regime; a regime that is absent allows all.
    seed, index : int
        Of the run, and of the organism in it.
    book : Book
        The organism's.
    counterfactual : Counterfactual
        Simulates the alternative.

    Attributes
    ----------
    frozen : str
        Why nothing is explored any more; empty before.
    stopped : dict of str to str
        Tactics that are not explored any more, and why.
    now : Exploring
        Of the last decision.
    """

    def __init__(
        self,
        budget: Budget,
        tactics: Sequence[str],
        allowed: Mapping[str, Sequence[str]],
        seed: int,
        index: int,
        book: Book,
        counterfactual: Counterfactual,
    ) -> None:
        self.budget, self._tactics, self._allowed = budget, tuple(sorted(tactics)), allowed
        self._rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_STREAM, index))))
        self._book, self.counterfactual = book, counterfactual
        self.frozen = "" if budget.share > 0.0 else "no budget"
        self.stopped: dict[str, str] = {}
        self.now = Exploring("", "", 1.0, None)
        self._count = self._mid_n = 0
        self._since, self._last = 0, ""  # when what was explored last was first sent, in decisions, and what that was
        self._drawn = ""  # in this block; empty: none
        self._open = False  # whether this block could have explored
        self._charge = ("", False)  # who is in charge, and whether to explore
        self._others: dict[tuple[str, str], int] = {}  # how many others may be explored, by regime and base
        self._flow = self._explored = self._held = 0.0
        self._claims: dict[str, float] = {}  # by order: notional that may still be filled

    # -- who is in charge

    def route(self, belief: BeliefSnapshot, route: Route, own: float, notional: float) -> Route:
        """
        Return who is in charge, given the router's own choice.

        Parameters
        ----------
        belief : BeliefSnapshot
        route : Route
            Of the router below.
        own, notional : float
            Worth of the real book, and value of one clip, quote currency.
        """
        compared = self.counterfactual.mark(belief, own)
        if compared is not None:
            self._judge(compared)
        if self._count % self.budget.every == 0:
            self._draw(notional)
        self._count += 1
        base, tactic = route.tactic, self._drawn
        if tactic and (tactic == base or not self._may(tactic, belief.regime)):
            tactic = ""
        before, self._charge = self._charge, (tactic or base, bool(tactic))
        propensity = self._propensity(belief.regime, base, tactic) if self._open else 1.0
        self.now = Exploring(tactic, base, propensity, compared)
        if tactic:
            self.counterfactual.follow(belief, tactic, base, self._book, own, notional)
        elif self.counterfactual.open:
            self.counterfactual.go_on(belief, base)
        if not tactic and before in (("", False), self._charge):
            return route
        # Also where the same tactic goes on: what it has resting is explored from now on, or no longer.
        switched = bool(before[0]) and before != self._charge
        return Route(tactic or base, route.scores, switched, f"explores {tactic} for {base}" if tactic else route.why)

    def freeze(self, why: str) -> None:
        """Explore nothing from the next decision on."""
        self.frozen = self.frozen or why
        self._drawn, self._open = "", False

    def _draw(self, notional: float) -> None:
        coin, at = self._rng.random(), int(self._rng.integers(len(self._tactics)))
        rested = not self._last or self._count - self._since >= self.budget.every
        self._open = rested and not self.frozen and 0.0 < notional * (1.0 + self.budget.margin) <= self.room
        explores = self._open and coin < self.budget.probability and self._tactics[at] not in self.stopped
        self._drawn = self._tactics[at] if explores else ""

    def _may(self, tactic: str, regime: str) -> bool:
        return tactic in self._allowed.get(regime, self._tactics)

    def _propensity(self, regime: str, base: str, tactic: str) -> float:
        each = self.budget.probability / len(self._tactics)
        if tactic:
            return each
        others = self._others.get((regime, base))
        if others is None:
            may = [name for name in self._tactics if name not in self.stopped and self._may(name, regime)]
            others = self._others[regime, base] = len(may) - (base in may)
        return 1.0 - each * others

    def _judge(self, compared: Compared) -> None:
        """Stop a tactic whose outcome is too far from that of the alternative, either way."""
        delta, budget = compared.own - compared.base, self.budget
        if compared.tactic in self.stopped or (isfinite(delta) and budget.low <= delta <= budget.high):
            return
        self.stopped[compared.tactic] = f"{delta:+.1f} bps from its alternative at step {compared.step}"
        self._others.clear()
        if self._drawn == compared.tactic:  # nothing of the rest of the block was drawn
            self._drawn, self._open = "", False

    # -- what is sent

    @property
    def room(self) -> float:
        """What may still be explored, quote currency."""
        return self.budget.share * self._flow - self._explored - self._held

    def restrained(self, desire: Desire) -> Desire:
        """Return a desire in which whatever can reduce the position only reduces: it is no exploration, and free."""
        side = self._book.side
        if not side:
            return desire
        target = 0 if desire.target is not None and desire.target * side < 0 else desire.target
        limits = tuple([Limit(x.side, x.price, x.clips, x.exit or x.side != side) for x in desire.limits])
        return Desire(target, limits, desire.stop, desire.why)

    def within(self, commands: list[Command], grid: Grid) -> list[Command]:
        """Return the commands that the budget has room for; what cannot open a position is always kept."""
        self._mid_n = grid.mid_n
        room, kept = self.room, list[Command]()
        for command in commands:
            need = max(self._need(command), 0.0)
            if need <= max(room, 0.0):
                room -= need
                kept.append(command)
        return kept

    def _need(self, command: Command) -> float:
        if isinstance(command, Modify):
            claim = self._claims.get(command.order_id)
            return 0.0 if claim is None else self._worth(command.qty_n, command.price_n) - claim
        if not isinstance(command, Market | Rest) or command.reduce:
            return 0.0
        return self._worth(command.qty_n, self._mid_n if isinstance(command, Market) else command.price_n)

    def _worth(self, qty_n: int, price_n: int) -> float:
        return qty_n / NANO * price_n / NANO * (1.0 + self.budget.margin)

    def sent(self, order_id: str, command: Market | Rest) -> None:
        """Count what an explored order may come to."""
        if self._last != self.now.tactic:
            self._last, self._since = self.now.tactic, self._count - 1
        claim = self._claims[order_id] = self._need(command)
        self._held += claim

    def changed(self, command: Modify) -> None:
        """Count the change of an order, if it is explored: never less than before."""
        claim = self._claims.get(command.order_id)
        if claim is not None:
            more = max(self._worth(command.qty_n, command.price_n) - claim, 0.0)
            self._claims[command.order_id] = claim + more
            self._held += more

    def filled(self, order_id: str, notional: float) -> None:
        """Count a fill of any order, quote currency."""
        self._flow += notional
        claim = self._claims.get(order_id)
        if claim is not None:
            self._explored += notional
            left = max(claim - notional * (1.0 + self.budget.margin), 0.0)
            self._claims[order_id] = left
            self._held += left - claim

    def gone(self, order_id: str) -> None:
        """Give back what an order will not fill any more."""
        self._held -= self._claims.pop(order_id, 0.0)
