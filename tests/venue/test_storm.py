"""Faults of all kinds, one after the other, while a stock node trades: nothing is lost or doubled at the venue, and what
the node believes is the venue's books again once it has asked.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import AccountId, ClientId

from tests.venue.make_node import Probe, differences, drive, until
from tests.venue.make_venue import Handle, running

pytestmark = pytest.mark.long

ACCOUNT = AccountId("BINANCE-SPOT-master")
ON_SOCKETS = ("drop", "stall", "slow", "reorder", "duplicate", "garbage", "gap")
ON_ORDERS = ("reject", "rate_limit", "lost", "error")  # an error after the work was done leaves an order nobody knows
OFTEN = {"inflight_check_retries": 2, "reconciliation_startup_delay_secs": 0.1}


@pytest.fixture
def venue() -> Iterator[Handle]:
    with running() as handle:
        handle.tell("limits", orders=1_000_000, weight=10_000_000)
        yield handle


def inject(venue: Handle, name: str, rng: random.Random) -> None:
    where, count = rng.choice(["user", "market"]), rng.randint(1, 4)
    options: dict[str, Any] = {"where": where, "count": count}
    if name == "stall":
        options = {"where": where, "seconds": 0.3}
    elif name in ON_ORDERS:
        options = {"count": 1} if name == "reject" else {"count": 1, "path": "/api/v3/order", "method": "POST"}
    elif name == "restart":
        options = {"seconds": 0.3}
    venue.fault(name, **options)


def trade(probe: Probe, price: float, rng: random.Random) -> None:
    """Send one order or cancel, never selling what is not there: a short would blur the position by its fees."""
    opened = probe.cache.orders_open()
    if opened and rng.random() < 0.3:
        probe.cancel_order(rng.choice(opened))
        return
    going = [o for o in [*opened, *probe.cache.orders_inflight()] if o.side == OrderSide.SELL]
    spare = probe.position() - sum((o.leaves_qty.as_decimal() for o in going), Decimal(0))
    side = "SELL" if spare > Decimal("0.05") and rng.random() < 0.5 else "BUY"
    limit = None if rng.random() < 0.4 else f"{price + rng.uniform(-3, 4):.2f}"
    probe.send(side, "0.01", limit)


async def repair(probe: Probe) -> None:
    """Ask for everything: orders and fills (what the adapter does after a reconnect), and the account."""
    assert probe.node is not None
    client = probe.node.kernel.exec_engine._clients[ClientId("BINANCE")]
    await client._reconcile_after_resubscribe()
    probe.query_account(ACCOUNT)


def unexplained(venue: Handle, probe: Probe) -> list[str]:
    """
    Return differences; that of the position is explained if it is the fees of fills the engine had to infer.

    A fill that falls between the two questions of a reconciliation (orders, then trades) is inferred from the order
    alone, without its fee.
    """
    found = differences(venue, probe)
    real = {trade["id"]: trade for trade in venue.look("books")["trades"]}
    here, there = Decimal(0), Decimal(0)
    for order in probe.cache.orders():
        known = {event.trade_id.value for event in order.events if type(event).__name__ == "OrderFilled"}
        mine = [t for t in real.values() if order.venue_order_id and t["orderId"] == int(order.venue_order_id.value)]
        sign = 1 if order.side == OrderSide.BUY else -1
        here += sign * order.filled_qty.as_decimal()
        there += sign * sum((Decimal(t["qty"]) for t in mine), Decimal(0))
        inferred = known - {str(t["id"]) for t in mine}
        if not inferred and known != {str(t["id"]) for t in mine}:
            found.append(f"{order.client_order_id}: fills {known} here, {[t['id'] for t in mine]} there")
    if here != there:
        found.append(f"filled {here} here, {there} there")
    return [line for line in found if not line.startswith("position")]


async def settled(venue: Handle, probe: Probe) -> None:
    await until(lambda: venue.look("state")["up"])
    await until(lambda: venue.look("state")["subscriptions"] and len(venue.look("state")["streams"]) == 2, 60)
    for _ in range(40):
        await repair(probe)
        await asyncio.sleep(0.25)
        if not (found := unexplained(venue, probe)):
            return
    raise AssertionError(found)


def storm(venue: Handle, names: tuple[str, ...], rounds: int, seed: int) -> Counter[str]:
    """Return how often which fault was injected."""
    rng, injected = random.Random(seed), Counter[str]()

    async def scenario(probe: Probe) -> None:
        price = 30_000.0
        for _ in range(rounds):
            injected[name := rng.choice(names)] += 1
            inject(venue, name, rng)
            for _ in range(4):
                price += rng.choice([-3, -1, 1, 3])
                venue.quote(price, price + 1, "0.05", "0.05")
                trade(probe, price, rng)
                await asyncio.sleep(0.02)
            venue.tell("clear")
            await settled(venue, probe)

    drive(venue, scenario, engine_options=OFTEN)
    books = venue.look("books")
    sent = [r["params"]["newClientOrderId"] for r in venue.look("requests?path=/api/v3/order&method=POST")]
    assert max(Counter(sent).values()) == 1  # nothing was sent twice
    assert max(Counter(order["clientOrderId"] for order in books["orders"]).values()) == 1
    assert books["audit"] == []
    return injected


def test_a_short_storm(venue: Handle) -> None:
    assert storm(venue, (*ON_SOCKETS, *ON_ORDERS), 12, seed=1).total() == 12


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 10))
def test_a_long_storm(venue: Handle, seed: int) -> None:
    """A node a storm: the adapter's waits between reconnects only ever grow."""
    assert storm(venue, (*ON_SOCKETS, *ON_ORDERS, "restart"), 25, seed).total() == 25
