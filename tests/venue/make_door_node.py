"""A node that trades through the last door: ``python -m tests.venue.make_door_node HOOK WORDS…``, words as for ``paper``.

It is the paper node with the exchange, the broker and the approvals of a live one, so that it needs no ledger.

========= =========================================================================
trade     what the policy does
few       buys for 30 and sells for 27: what is left is worth less than the exchange takes
rest      an order rests below the market, and stays there
loose     likewise, and ends of orders are believed as on paper
race      five orders are sent, and the switch trips in the same turn of the loop
raced     likewise, and the last door does not ask whether it is too late
bypass    once it trades, an order is given to the adapter past gate and broker
========= =========================================================================
"""

import asyncio
import dataclasses
import sys
import time
from typing import Any

from nautilus_trader.adapters.binance.common.enums import BinanceOrderSide, BinanceOrderType
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.instruments import CurrencyPair

from alphatrade.nodes import feed
from alphatrade.nodes.hydra_app import run_config
from alphatrade.nodes.live.broker import LiveBroker
from alphatrade.nodes.live.exchange import LiveExchange
from alphatrade.nodes.paper import run as module
from alphatrade.nodes.paper.assembly import LiveParts, Parts
from alphatrade.nodes.paper.broker import Broker
from alphatrade.nodes.paper.settings import paper_settings
from alphatrade.risk.approval import Approvals, fresh_key
from alphatrade.risk.gate_live import LiveGate


async def begun(parts: Parts) -> tuple[Any, Any]:
    """Return strategy and instrument once there is a price."""
    strategy = parts.node.trader.strategies()[0]
    (instrument,) = strategy.cache.instruments()
    while strategy.cache.quote_tick(instrument.id) is None:
        await asyncio.sleep(0.05)
    return strategy, instrument


async def rest(parts: Parts) -> None:
    strategy, instrument = await begun(parts)
    price = instrument.make_price(float(strategy.cache.quote_tick(instrument.id).bid_price) - 20)
    strategy.submit_order(strategy.order_factory.limit(instrument.id, OrderSide.BUY, instrument.make_qty(0.01), price))


async def race(parts: Parts) -> None:
    strategy, instrument = await begun(parts)
    price = float(strategy.cache.quote_tick(instrument.id).bid_price)
    for away in range(5):
        level = instrument.make_price(price - 20 - away)
        strategy.submit_order(
            strategy.order_factory.limit(instrument.id, OrderSide.BUY, instrument.make_qty(0.001), level)
        )
    parts.gate.kill("a race", "tester")


async def few(parts: Parts) -> None:
    strategy, instrument = await begun(parts)
    for side, qty in ((OrderSide.BUY, 0.001), (OrderSide.SELL, 0.0009)):
        made = strategy.order_factory.market(instrument.id, side, instrument.make_qty(qty))
        strategy.submit_order(made)
        while not made.is_closed:
            await asyncio.sleep(0.05)


async def bypass(parts: Parts) -> None:
    while parts.gate.record.filled < 2:
        await asyncio.sleep(0.05)
    account: Any = parts.broker._link.client._http_account  # type: ignore[union-attr]
    try:
        await account.new_order(
            symbol="BTCUSDT", side=BinanceOrderSide.BUY, order_type=BinanceOrderType.MARKET, quantity="0.01",
            new_client_order_id="bypass", recv_window="5000",
        )  # fmt: skip
    except Exception as error:
        print(f"refused: {error}", file=sys.stderr, flush=True)


HOOKS = {"few": few, "rest": rest, "loose": rest, "race": race, "raced": race, "bypass": bypass}


def least(stock: Any) -> Any:
    """Return `feed.instrument`, with the smallest value of an order that the exchange states."""

    def instrument(*given: Any) -> CurrencyPair:
        made = stock(*given)
        return CurrencyPair.from_dict(CurrencyPair.to_dict(made) | {"min_notional": f"5 {made.quote_currency}"})

    return instrument


def main(hook: str, *words: str) -> None:
    stock = module.fly
    feed.instrument = least(feed.instrument)
    if hook == "loose":
        LiveBroker._told = Broker._told  # type: ignore[method-assign]

    if hook == "raced":
        LiveGate.void = lambda *_: None  # type: ignore[method-assign]
        LiveGate.late = lambda *_: ""  # type: ignore[method-assign,assignment]

    def fly(what: Any, run_dir: Any, flight: Any) -> Any:
        approvals, spec = Approvals(fresh_key(), time.monotonic_ns), flight.broker
        instruments = tuple(feed.instrument(tape.instrument, True).id for tape in what.priced)
        exchange = LiveExchange(spec.http, spec.ws_api, instruments, approvals=approvals)

        def ready(parts: Parts) -> None:
            flight.ready(parts)
            if hook in HOOKS:
                parts.node.kernel.loop.create_task(HOOKS[hook](parts))

        live = LiveParts(exchange, LiveBroker, approvals)
        out = stock(what, run_dir, dataclasses.replace(flight, live=live, ready=ready))
        print(f"approvals: {dict(approvals.counts)}", file=sys.stderr, flush=True)
        return out

    module.fly = fly
    module.paper(run_config("paper", list(words), "paper", paper_settings))


if __name__ == "__main__":
    main(*sys.argv[1:])
