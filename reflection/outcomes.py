"""Outcomes as messages: a Nautilus Actor that publishes what came of each decision, at the belief that completes it.

The diary writes them and the watch-keepers act on them. A node without this actor has a diary that follows by itself.
"""

from collections.abc import Callable
from typing import Any

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.events import (
    OrderCanceled,
    OrderDenied,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderInitialized,
    OrderRejected,
)

from alphatrade.actors.messages import BELIEF_TOPIC, COMPLETE, OUTCOME_TOPIC, BeliefSnapshot
from alphatrade.reflection.expost import Outcome
from alphatrade.reflection.following import Follower
from alphatrade.risk.gate_orders import LAW_TAG
from alphatrade.strategies.messages import DECISION_TOPIC, Decision

FINISH = "OutcomeFollower.finish"  # endpoint: closes what is open; takes who wants the realised PnL of each decision
_ENDED = (OrderCanceled, OrderDenied, OrderExpired, OrderRejected)


class Following:
    """
    A :class:`Follower` on a message bus.

    Parameters
    ----------
    follower : Follower
    actor : Actor
        Lends its message bus and cache.
    complete : callable
        Takes each outcome.
    foreign : callable
        Takes each decision that was made up for an order which nobody decided; it must come back by `on_decision`.
    """

    def __init__(
        self, follower: Follower, actor: Actor, complete: Callable[[Outcome], Any], foreign: Callable[[Decision], Any]
    ) -> None:
        self.follower, self._cache = follower, actor.cache
        self._complete, self._foreign = complete, foreign
        actor.msgbus.subscribe(f"{BELIEF_TOPIC}.*", self.on_belief, COMPLETE)
        actor.msgbus.subscribe(DECISION_TOPIC, follower.decided)
        actor.msgbus.subscribe("events.order.*", self.on_order)

    def on_belief(self, belief: BeliefSnapshot) -> None:
        """Take a belief; its price completes older mark-outs."""
        for outcome in self.follower.believed(belief):
            self._complete(outcome)

    def on_order(self, event: OrderEvent) -> None:
        """Tie orders to decisions, and fills to outcomes."""
        order_id, instrument = event.client_order_id.value, event.instrument_id.value
        if isinstance(event, OrderFilled):
            sign = 1 if event.order_side == OrderSide.BUY else -1
            units, price = sign * event.last_qty.as_double(), event.last_px.as_double()
            self.follower.filled(order_id, instrument, units, price, event.commission.as_double())
            order = self._cache.order(event.client_order_id)
            if order is None or order.is_closed:
                self.follower.ended(order_id, instrument, event.ts_event)
        elif isinstance(event, _ENDED):
            self.follower.ended(order_id, instrument, event.ts_event)
        elif isinstance(event, OrderInitialized) and LAW_TAG not in (event.tags or ()):
            strategy = event.strategy_id.value
            made_up = self.follower.ordered(order_id, instrument, strategy, event.tags or (), event.ts_init)
            if made_up is not None:
                self._foreign(made_up)


class FollowerConfig(ActorConfig, frozen=True):
    """
    Configuration of :class:`OutcomeFollower`.

    Parameters
    ----------
    horizons : list of int
        Mark-out horizons in decision steps.
    width : int
        Number of features of a belief.
    """

    horizons: tuple[int, ...] = (1, 5, 20)
    width: int = 0


class OutcomeFollower(Actor):
    """Publishes each completed outcome, and at the end, when :data:`FINISH` is asked for, those still open."""

    def __init__(self, config: FollowerConfig) -> None:
        super().__init__(config)
        self._follower = Follower(config.horizons, config.width)
        self._finished = False
        self._following: Following | None = None

    def on_start(self) -> None:
        """Listen."""
        if self._following is None:
            self._following = Following(
                self._follower,
                self,
                lambda outcome: self.msgbus.publish(OUTCOME_TOPIC, outcome),
                lambda decision: self.msgbus.publish(DECISION_TOPIC, decision),
            )
            self.msgbus.register(FINISH, self.finish)

    def on_reset(self) -> None:
        """Follow anew."""
        self._follower.clear()
        self._finished = False

    def on_dispose(self) -> None:
        """Finish, if nobody has."""
        self.finish()

    def finish(self, realised: Callable[[Any], Any] | None = None) -> None:
        """Publish what is still open, once, and hand over the realised PnL."""
        if not self._finished:
            self._finished = True
            for outcome in self._follower.close():
                self.msgbus.publish(OUTCOME_TOPIC, outcome)
        if realised is not None:
            realised(self._follower.realised)
