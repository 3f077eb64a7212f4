"""A node as a process of its own that trades at random until it is killed: ``python -m tests.venue.make_trader PORT CONTROL SEED``.

It prints one line of JSON when it has reconciled: how long that took and what it found.
"""

import asyncio
import json
import random
import sys
import time

from tests.venue.make_node import INSTRUMENT, Probe, drive
from tests.venue.make_venue import Handle


async def trade(probe: Probe, venue: Handle, began: float, seed: int) -> None:
    """Send market and limit orders and cancels, a few at a time, for ever."""
    await agree_at_start(probe, venue)
    print(json.dumps({"ready_s": time.time() - began, "open": len(probe.cache.orders_open())}), flush=True)
    rng = random.Random(seed)
    while True:
        await asyncio.sleep(rng.uniform(0.0, 0.02))
        quote = probe.cache.quote_tick(INSTRUMENT)
        opened = probe.cache.orders_open(instrument_id=INSTRUMENT)
        if quote is None:
            continue
        what, side = rng.random(), rng.choice(["BUY", "SELL"])
        if len(opened) > 8 or (opened and what < 0.3):
            probe.cancel_order(rng.choice(opened))
        elif what < 0.6:
            probe.send(side, "0.001")
        else:
            away = rng.uniform(-0.2, 2.0) * (-1 if side == "BUY" else 1)
            probe.send(side, "0.002", f"{float(quote.bid_price) + away:.2f}", post_only=rng.random() < 0.3)


async def agree_at_start(probe: Probe, venue: Handle) -> None:
    """
    Wait until the open orders of here are those of the venue; a position of before is not in a cache that was lost.

    Orders that the venue never heard of do not count: stock Nautilus invents one to explain a position, and leaves it open
    where a fill of 0.037 less its fee of 0.000002 fits no order ("Order overfill rejected").
    """
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        books = venue.look("books")
        heard, there = ({row["clientOrderId"] for row in books[which]} for which in ("orders", "open"))
        if there == heard & {order.client_order_id.value for order in probe.cache.orders_open()}:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("open orders were not reconciled")


if __name__ == "__main__":
    port, control, number = (int(text) for text in sys.argv[1:4])
    handle = Handle(port, control)
    start = time.time()
    drive(handle, lambda probe: trade(probe, handle, start, number))
