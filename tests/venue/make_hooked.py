"""``alphatrade paper`` with something done to it: ``python -m tests.venue.make_hooked HOOK WORDS…``.

========= =========================================================================
probe     beside what the policy does, a market order is sent each half second
hang      once it trades its loop is held up for five seconds, and an order is sent on each of the next 20 quotes
reread    only what the journal has is processed; nothing is heard, nothing closed
========= =========================================================================
"""

import asyncio
import dataclasses
import sys
import time
from itertools import count
from typing import Any

from nautilus_trader.model.enums import OrderSide

from alphatrade.nodes.hydra_app import run_config
from alphatrade.nodes.paper import run as module
from alphatrade.nodes.paper.assembly import Parts
from alphatrade.nodes.paper.live_feed import LiveFeed
from alphatrade.nodes.paper.settings import paper_settings


def order(parts: Parts, number: int) -> None:
    strategy = parts.node.trader.strategies()[0]
    (instrument,) = strategy.cache.instruments()
    side = OrderSide.BUY if number % 2 else OrderSide.SELL
    qty = instrument.make_qty(0.01 + number / 10_000)  # no two orders are the same
    strategy.submit_order(strategy.order_factory.market(instrument.id, side, qty))


async def probe(parts: Parts) -> None:
    for number in count(1):
        await asyncio.sleep(0.5)
        order(parts, number)


async def hang(parts: Parts) -> None:
    while parts.gate.record.filled < 3:
        await asyncio.sleep(0.05)
    left = iter(range(20))
    parts.node.kernel.msgbus.subscribe(
        "data.quotes.*", lambda _: None if (number := next(left, None)) is None else order(parts, number)
    )
    print(f"held up from {time.time_ns()}", flush=True)
    time.sleep(5)


HOOKS = {"probe": probe, "hang": hang}


async def nothing(*_: Any) -> None:
    """Hear nothing."""


def main(hook: str, *words: str) -> None:
    stock = module.fly

    def fly(what: Any, run_dir: Any, flight: Any) -> Any:
        def ready(parts: Parts) -> None:
            flight.ready(parts)
            parts.node.kernel.loop.create_task(HOOKS[hook](parts))

        return stock(what, run_dir, dataclasses.replace(flight, ready=ready) if hook in HOOKS else flight)

    module.fly = fly
    if hook == "reread":
        LiveFeed.listen = nothing  # type: ignore[assignment]
    module.paper(run_config("paper", list(words), "paper", paper_settings))


if __name__ == "__main__":
    main(*sys.argv[1:])
