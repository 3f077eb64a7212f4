"""``alphatrade paper`` with something done to it: ``python -m tests.venue.make_hooked HOOK WORDS…``.

========= =========================================================================
probe     beside what the policy does, a market order is sent each half second
reread    only what the journal has is processed; nothing is heard, nothing closed
========= =========================================================================
"""

import asyncio
import dataclasses
import sys
from itertools import count
from typing import Any

from nautilus_trader.model.enums import OrderSide

from alphatrade.nodes.hydra_app import run_config
from alphatrade.nodes.paper import run as module
from alphatrade.nodes.paper.assembly import Parts
from alphatrade.nodes.paper.live_feed import LiveFeed
from alphatrade.nodes.paper.settings import paper_settings


async def probe(parts: Parts) -> None:
    for number in count(1):
        await asyncio.sleep(0.5)
        strategy = parts.node.trader.strategies()[0]
        (instrument,) = strategy.cache.instruments()
        side = OrderSide.BUY if number % 2 else OrderSide.SELL
        qty = instrument.make_qty(0.01 + number / 10_000)  # no two orders are the same
        strategy.submit_order(strategy.order_factory.market(instrument.id, side, qty))


async def nothing(*_: Any) -> None:
    """Hear nothing."""


def main(hook: str, *words: str) -> None:
    stock = module.fly

    def fly(what: Any, run_dir: Any, flight: Any) -> Any:
        def ready(parts: Parts) -> None:
            parts.node.kernel.loop.create_task(probe(parts))

        return stock(what, run_dir, dataclasses.replace(flight, ready=ready if hook == "probe" else None))

    module.fly = fly
    if hook == "reread":
        LiveFeed.listen = nothing  # type: ignore[assignment]
    module.paper(run_config("paper", list(words), "paper", paper_settings))


if __name__ == "__main__":
    main(*sys.argv[1:])
