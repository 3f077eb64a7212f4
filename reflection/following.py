"""Who decided an order, and what came of it: decisions, orders and prices in, outcomes out, without Nautilus.

It also serves an unmodified third-party strategy: an order that no Organism decided gets a decision of its own, with a
negative id and, in place of the tactic, the name that the order's tag gives, or that of the strategy.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np

from alphatrade.actors.messages import BeliefSnapshot
from alphatrade.reflection.expost import MarkOuts, Outcome
from alphatrade.reflection.realised import Realised
from alphatrade.strategies.messages import Decision

TAG, BY = "decision=", "by="
ENDED = 4_096  # orders remembered after their end: an exchange may tell of a fill after that


class Follower:
    """
    Follows the decisions of all instruments of a node until their outcomes are known.

    Parameters
    ----------
    horizons : sequence of int
        Of the mark-outs, ascending, in decision steps.
    width : int
        Length of a belief's feature vector, for orders that nobody perceived.

    Attributes
    ----------
    realised : Realised
        PnL of every decision that closed something, known so far.
    """

    def __init__(self, horizons: Sequence[int], width: int) -> None:
        self._horizons, self._width = tuple(horizons), width
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._marks: dict[str, MarkOuts] = {}
        self._last: dict[str, BeliefSnapshot] = {}
        self._orders: dict[str, tuple[int, str]] = {}  # decision and strategy, by order id
        self._ended: deque[str] = deque()
        self._foreign = 0
        self.realised = Realised()

    def believed(self, belief: BeliefSnapshot) -> list[Outcome]:
        """Take the price of a step; return the decisions whose outcome it completes."""
        self._last[belief.instrument] = belief
        marks = self._marks.get(belief.instrument)
        return [] if marks is None else marks.step(belief.step, belief.ts, belief.mid)

    def decided(self, decision: Decision) -> None:
        """Start following a decision."""
        b = decision.belief
        self._followed(b.instrument).decided(decision.decision, b.ts, b.step, b.mid, decision)

    def ordered(self, order_id: str, instrument: str, strategy: str, tags: Sequence[str], ts: int) -> Decision | None:
        """Tie a new order to its decision; return the decision that has to be made up where it has none."""
        seen = self._last.get(instrument)
        step = seen.step if seen else 0
        tagged = [int(tag.removeprefix(TAG)) for tag in tags if tag.startswith(TAG)]
        if not tagged:
            self._foreign += 1
        decision = tagged[0] if tagged else -self._foreign
        self._orders[order_id] = decision, strategy
        self._followed(instrument).sent(decision, step)
        if tagged:
            return None
        belief = seen or self._blind(instrument, ts)
        who = next((tag.removeprefix(BY) for tag in tags if tag.startswith(BY)), strategy)
        why = f"{who} sent an order of its own"
        return Decision(decision, belief, who, (who,), (1.0,), "order", [order_id], "see orders", why)

    def filled(self, order_id: str, instrument: str, units: float, price: float, fee: float) -> None:
        """Take a fill: signed units (+ bought), price and fee in quote currency."""
        known = self._orders.get(order_id)
        if known is not None:
            decision, strategy = known
            self.realised.fill(decision, instrument, units, price, strategy)
            self._followed(instrument).filled(decision, units, price, fee)

    def ended(self, order_id: str, instrument: str, ts: int) -> None:
        """Note that an order is closed and can fill no more."""
        known = self._orders.get(order_id)
        if known is None:
            return
        self._followed(instrument).ended(known[0], ts)
        self._ended.append(order_id)
        if len(self._ended) > ENDED:
            self._orders.pop(self._ended.popleft(), None)

    def close(self) -> list[Outcome]:
        """Return what is still open, by instrument, with None for what the tape does not reach."""
        return [outcome for instrument in sorted(self._marks) for outcome in self._marks[instrument].close()]

    def _followed(self, instrument: str) -> MarkOuts:
        marks = self._marks.get(instrument)
        if marks is None:
            marks = self._marks[instrument] = MarkOuts(self._horizons)
        return marks

    def _blind(self, instrument: str, ts: int) -> BeliefSnapshot:
        nothing = np.empty(0)
        unknown = np.full(self._width, np.nan)
        nan = float("nan")
        return BeliefSnapshot(
            instrument, 0, ts, nan, nan, nan, nan, unknown, unknown, nothing, nothing, "unseen", 0.0, "", False, 0
        )
