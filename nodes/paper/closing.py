"""Shim: a node that is stopped becomes flat: what rests is cancelled, what is held is closed."""

import asyncio
import time
from typing import Any

from nautilus_trader.model.orders import Order

from alphatrade.actors.cadence import SECOND_NS
from alphatrade.nodes.paper.clock import TIME
from alphatrade.reflection.following import BY
from alphatrade.risk.gate_orders import closing

ROUND_S = 1.0  # of the wall, between two tries to become flat at an exchange
ROUNDS = 60  # seconds of the node's time in which a node that is stopped may become flat


async def close(parts: Any) -> bool:
    """
    Cancel everything and close what is held, at the prices of the moment.

    Parameters
    ----------
    parts : Parts
        Of the node.

    Returns
    -------
    bool
        Whether the node is flat, but for what is less than a step of the venue.
    """
    venue = parts.venue
    for _ in range(ROUNDS):
        if parts.broker is not None:
            parts.intake.tick(time.time_ns())  # rates of orders are counted in the node's time
        if _round(parts):
            return True
        if parts.broker is not None:
            await asyncio.sleep(ROUND_S)
            continue
        ts = TIME.now + SECOND_NS
        venue.advance(ts)
        TIME.advance(ts)
        venue.settle(ts)
    return False


def _round(parts: Any) -> bool:
    """Send what is missing; return whether nothing is."""
    cache = parts.node.kernel.cache
    parts_of = {p: closing(p, cache.instrument(p.instrument_id)) for p in cache.positions_open()}
    held = {position: quantity for position, quantity in parts_of.items() if quantity is not None}  # else dust
    working = cache.orders_open() + cache.orders_inflight()
    if not working and not held:
        return True
    unsure = parts.broker is not None and bool(working)  # an exchange may have filled what it has not told of yet
    for strategy in parts.node.trader.strategies():
        for order in cache.orders_open(strategy_id=strategy.id):
            if not order.is_pending_cancel:
                strategy.cancel_order(order)
        for position, quantity in held.items():
            if position.strategy_id == strategy.id and not unsure:
                side = Order.closing_side(position.side)
                order = strategy.order_factory.market(
                    position.instrument_id, side, quantity, reduce_only=True, tags=[f"{BY}stop"]
                )
                strategy.submit_order(order, position_id=position.id)
    return False
