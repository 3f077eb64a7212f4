"""What the bundled adapter does when things go wrong: facts our product is built around, so that an upgrade that
changes one of them is noticed.
"""

import asyncio
import time
from collections.abc import Iterator
from decimal import Decimal

import pytest
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import ClientId
from nautilus_trader.model.objects import Price

from tests.venue.keys import ED25519_KEY
from tests.venue.make_node import INSTRUMENT, Probe, agree, differences, drive, until
from tests.venue.make_venue import Handle, running

pytestmark = pytest.mark.long

D = Decimal
ORDER = {"path": "/api/v3/order", "method": "POST"}
EAGER = {"reconciliation_startup_delay_secs": 0.1, "open_check_interval_secs": 0.5, "open_check_threshold_ms": 100}


@pytest.fixture
def venue() -> Iterator[Handle]:
    with running() as handle:
        handle.quote(30000, 30001)
        yield handle


def test_precisions_are_eight_whatever_the_tick_is(venue: Handle) -> None:
    """A price that is printed has eight decimals; `make_price` rounds to the tick all the same, `Price` does not."""

    async def scenario(probe: Probe) -> None:
        instrument = probe.cache.instrument(INSTRUMENT)
        assert (instrument.price_precision, instrument.size_precision) == (8, 8)
        assert instrument.price_increment == D("0.01")
        assert (instrument.maker_fee, instrument.taker_fee) == (D("0.001"), D("0.001"))
        assert str(instrument.make_price(D("29000.001"))) == "29000.00000000"
        order = probe.order_factory.limit(
            INSTRUMENT, OrderSide.BUY, instrument.make_qty(1), Price.from_str("29000.00100000")
        )
        probe.submit_order(order)
        await until(lambda: order.is_closed)
        assert "PRICE_FILTER" in order.events[-1].reason

    drive(venue, scenario)


@pytest.mark.parametrize(
    "fault",
    [
        {"name": "error", "status": 504, "code": -1007, "after": True},
        {"name": "error", "status": 503, "code": -1000, "after": True},
        {"name": "garbage", "where": "rest"},
    ],
)
def test_an_order_whose_answer_is_an_error_is_rejected_here_though_it_lives_there(
    venue: Handle, fault: dict[str, object]
) -> None:
    async def scenario(probe: Probe) -> None:
        venue.fault(**fault, **ORDER)
        order = probe.send("BUY", "0.5", "29990")
        await until(lambda: order.is_closed)
        assert probe.names(order)[-1] == "OrderRejected"
        assert [row["status"] for row in venue.look("books")["open"]] == ["NEW"]

    drive(venue, scenario)


def test_an_order_whose_answer_is_lost_is_known_from_the_user_stream(venue: Handle) -> None:
    async def scenario(probe: Probe) -> None:
        venue.fault("lost", **ORDER)
        order = probe.send("BUY", "0.5", "29990")
        await until(lambda: order.is_open)
        await agree(venue, probe)

    drive(venue, scenario)


def test_an_order_whose_answer_and_events_are_lost_is_found_by_the_inflight_check(venue: Handle) -> None:
    async def scenario(probe: Probe) -> None:
        venue.fault("lost", **ORDER)
        venue.fault("gap", where="user", count=2)
        order = probe.send("BUY", "0.5", "29990")
        await until(lambda: order.is_open)
        assert any("USDT" in line for line in differences(venue, probe))  # balances stay wrong until they are asked for

    drive(venue, scenario, engine_options=EAGER)


def test_a_retry_of_a_filled_order_fills_it_twice(venue: Handle) -> None:
    """Binance lets a closed order's id be used again: `max_retries` must stay unset."""

    async def scenario(probe: Probe) -> None:
        venue.fault("error", status=504, code=-1007, after=True, **ORDER)
        order = probe.send("BUY", "0.5")
        await until(lambda: len(venue.look("books")["trades"]) == 2)
        await until(lambda: order.is_closed)
        assert probe.position() == D("0.4995")  # and there it is 0.999
        await until(lambda: probe.balances()["BTC"][0] == D("10.999"))

    drive(venue, scenario, exec_options={"max_retries": 2, "retry_delay_initial_ms": 50, "retry_delay_max_ms": 100})


@pytest.mark.parametrize("open_only", [True, False])
def test_a_lost_fill_is_found_only_if_closed_orders_are_asked_for_too_and_then_without_its_fee(
    venue: Handle, open_only: bool
) -> None:
    async def scenario(probe: Probe) -> None:
        order = probe.send("BUY", "0.5", "29990")
        await until(lambda: order.is_open)
        await asyncio.sleep(0.3)  # older than the threshold
        venue.fault("gap", where="user", count=2)
        venue.quote(29980, 29985)
        await asyncio.sleep(1.2)
        assert probe.position() == (D(0) if open_only else D("0.5"))  # there it is 0.4995

    drive(venue, scenario, engine_options=EAGER | {"open_check_open_only": open_only})


@pytest.mark.parametrize("status", [429, 418])
def test_a_rate_limit_rejects_the_order_at_once_and_retry_after_is_not_read(venue: Handle, status: int) -> None:
    async def scenario(probe: Probe) -> None:
        venue.fault("rate_limit", status=status, retry_after=30, path="/api/v3/order")
        refused = probe.send("BUY", "0.1")
        await until(lambda: refused.is_closed)
        second = probe.send("BUY", "0.1")  # goes out although the venue said to wait
        await until(lambda: second.is_closed)
        assert [probe.names(o)[-1] for o in (refused, second)] == ["OrderRejected", "OrderFilled"]

    drive(venue, scenario)


def test_a_clock_that_is_wrong_by_more_than_the_window_rejects_orders_but_does_not_stop_the_node(venue: Handle) -> None:
    async def scenario(probe: Probe) -> None:
        venue.fault("skew", ms=7_000)
        order = probe.send("BUY", "0.1")
        await until(lambda: order.is_closed)
        assert "-1021" in order.events[-1].reason

    drive(venue, scenario)


def test_a_user_stream_that_could_not_log_on_again_is_given_up_for_good(venue: Handle) -> None:
    """Whoever relies on it has to watch `is_authenticated` and to connect anew: nothing else will."""

    async def scenario(probe: Probe) -> None:
        venue.tell("keys", revoke=ED25519_KEY.name)  # ends its session too
        client = probe.node.kernel.exec_engine._clients[ClientId("BINANCE")]
        await until(lambda: client._ws_client._is_recovery_failed)
        venue.tell("keys", accept=ED25519_KEY.public())
        order = probe.send("BUY", "0.1")
        await asyncio.sleep(1)
        assert venue.look("state")["user_sockets"] == 0
        assert probe.names(order)[-1] == "OrderSubmitted"  # filled there
        assert client.is_connected  # and yet it says so

    drive(venue, scenario)


def test_a_reconnect_restores_orders_and_positions_but_not_balances(venue: Handle) -> None:
    async def scenario(probe: Probe) -> None:
        order = probe.send("BUY", "0.5", "29990")
        await until(lambda: order.is_open)
        venue.fault("drop", where="user")
        venue.quote(29980, 29985)
        await until(lambda: order.is_closed)
        await asyncio.sleep(0.5)
        assert [line[:4] for line in differences(venue, probe)] == ["BTC:", "USDT"]

    drive(venue, scenario)


def test_a_buy_that_closes_a_short_loses_the_fee_of_that_part(venue: Handle) -> None:
    async def scenario(probe: Probe) -> None:
        for side, qty in (("SELL", "0.2"), ("BUY", "0.5")):
            order = probe.send(side, qty)
            await until(lambda order=order: order.is_closed)
        assert probe.position() == D("0.2997")  # there it is 0.2995: 0.2 × 0.001 is missing

    drive(venue, scenario)


def test_a_node_without_its_cache_finds_open_orders_but_no_position(venue: Handle) -> None:
    async def first(probe: Probe) -> None:
        bought, resting = probe.send("BUY", "0.5"), probe.send("BUY", "0.1", "29000")
        await until(lambda: bought.is_closed and resting.is_open)

    async def second(probe: Probe) -> None:
        await until(lambda: probe.cache.orders_open())
        assert [order.client_order_id.value for order in probe.cache.orders_open()] == [
            row["clientOrderId"] for row in venue.look("books")["open"]
        ]
        assert probe.position() == 0  # there it is 0.4995
        assert probe.balances()["BTC"][0] == D("10.4995")

    drive(venue, first)
    drive(venue, second)


@pytest.mark.long
def test_the_wait_before_a_reconnect_grows_with_every_drop_and_is_never_reset(venue: Handle) -> None:
    """Up to 30 s: after ten drops in a node's life each one costs half a minute, however long it was well between."""

    async def scenario(probe: Probe) -> None:
        took = []
        for _ in range(6):
            venue.fault("drop", where="user")
            began = time.monotonic()
            await until(lambda: venue.look("state")["subscriptions"] == 0)
            await until(lambda: venue.look("state")["subscriptions"] == 1, 60)
            took.append(time.monotonic() - began)
            await asyncio.sleep(1)
        assert took[0] < 1 < 2 < took[2] < took[3] < took[4] < took[5]

    drive(venue, scenario)


@pytest.mark.long
def test_a_silent_socket_is_noticed_after_most_of_a_minute_and_a_silent_logon_is_the_end(venue: Handle) -> None:
    async def scenario(probe: Probe) -> None:
        client = probe.node.kernel.exec_engine._clients[ClientId("BINANCE")]
        venue.fault("stall", where="all", seconds=150)
        began = time.monotonic()
        await until(lambda: client._ws_client._is_recovery_failed, 120)
        assert 20 < time.monotonic() - began < 120
        assert venue.look("state")["user_sockets"] == 0
        assert venue.look("state")["market_sockets"] == 2

    drive(venue, scenario)
