"""Shim: the end of a node that is stopped: everything is cancelled and closed, at the prices of the moment."""

import asyncio
import shlex
import time
from collections.abc import Callable
from typing import Any

from nautilus_trader.model.orders import Order
from nautilus_trader.trading.strategy import Strategy

from alphatrade.actors.cadence import SECOND_NS
from alphatrade.nodes.paper.clock import TIME
from alphatrade.nodes.paper.settings import BrokerSpec
from alphatrade.reflection.following import BY
from alphatrade.risk.gate_orders import closing

ROUND_S = 1.0  # of the wall, between two tries at an exchange
ROUNDS = 60  # tries; on paper, each is a second of the node's time


async def make_flat(parts: Any, tell: Callable[[str], object], keeps: bool = False) -> bool:
    """
    Cancel everything and close what is held; return whether that could be done.

    Parameters
    ----------
    parts : Parts
        Of the node.
    tell : callable
        Told if it cannot be done: prices are too old to trade on, or the venue refuses it.
    keeps : bool
        Close nothing: only that nothing works any more is wanted.
    """
    cache, venue = parts.node.kernel.cache, parts.venue
    for _ in range(ROUNDS):
        held = {} if keeps else held_up(parts)
        working = cache.orders_open() + cache.orders_inflight()
        if not working and not held:
            return True
        if parts.broker is not None and working:
            held.clear()  # what works may be filled without its having been told: closed twice, it were more than held
        for strategy in parts.node.trader.strategies():
            _close(strategy, held)
        if parts.broker is not None:
            await asyncio.sleep(ROUND_S)
            parts.intake.tick(time.time_ns())  # no event moves it any more, and limits of a rate count by it
            continue
        ts = TIME.now + SECOND_NS
        venue.advance(ts)
        TIME.advance(ts)
        venue.settle(ts)
    tell("it stops with something open or held")
    return False


def held_up(parts: Any) -> dict[Any, Any]:
    """Return how much of each position can be closed; dust cannot."""
    cache, found = parts.node.kernel.cache, dict[Any, Any]()
    for position in cache.positions_open():
        name = position.instrument_id
        law = parts.gate.law.exposure.holding(name.value)
        price = law.bid if position.is_long else law.ask
        quantity = closing(position, cache.instrument(name), law.own, price)
        if quantity is not None:
            found[position] = quantity
    return found


def remedy(env: str, account: str, symbols: str, broker: BrokerSpec) -> str:
    """Return the command by which an operator cancels and sells at the exchange what a node has left there."""
    words = ["alphatrade kill --env", env, "--account", account, "--direct", symbols, "--venue", broker.keys]
    words += [] if broker.http is None else ["--url", broker.http]
    words += [] if broker.secrets_dir is None else ["--secrets-dir", shlex.quote(str(broker.secrets_dir))]
    return " ".join(words)


def _close(strategy: Strategy, held: dict[Any, Any]) -> None:
    for order in strategy.cache.orders_open(strategy_id=strategy.id):
        if not order.is_pending_cancel:
            strategy.cancel_order(order)
    for position, quantity in held.items():
        if position.strategy_id == strategy.id:
            side, name = Order.closing_side(position.side), position.instrument_id
            order = strategy.order_factory.market(name, side, quantity, reduce_only=True, tags=[f"{BY}stop"])
            strategy.submit_order(order, position_id=position.id)
