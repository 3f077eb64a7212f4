"""A stock TradingNode with the bundled Binance clients on the venue: what it believes is what the venue's books say."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal

import pytest
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import AccountId

from tests.venue.keys import HMAC_KEY
from tests.venue.make_node import INSTRUMENT, Probe, agree, differences, drive, until
from tests.venue.make_venue import Handle, running

# In a process of their own: a stock sandbox on this venue, in any other test, makes Nautilus calculate its accounts itself.
pytestmark = pytest.mark.long

D = Decimal
ACCOUNT = AccountId("BINANCE-SPOT-master")


@pytest.fixture
def venue() -> Iterator[Handle]:
    with running() as handle:
        handle.quote(30000, 30001)
        yield handle


def test_quotes_and_trades_arrive_with_stamps_of_now(venue: Handle) -> None:
    async def scenario(probe: Probe) -> None:
        venue.quote(30010, 30011, "0.5", "0.25")
        await until(lambda: probe.quotes and probe.trades)
        quote, trade = probe.quotes[-1], probe.trades[-1]
        assert (quote.bid_price, quote.ask_size) == (D("30010"), D("0.25"))
        assert trade.price == D("30001")
        assert abs(quote.ts_init - trade.ts_event) < 2_000_000_000

    drive(venue, scenario)


def test_orders_are_filled_rest_are_cancelled_and_rejected_and_books_agree_all_along(venue: Handle) -> None:
    async def scenario(probe: Probe) -> None:
        bought = probe.send("BUY", "0.3")
        await until(lambda: bought.is_closed)
        assert probe.names(bought)[-3:] == ["OrderSubmitted", "OrderAccepted", "OrderFilled"]
        assert probe.position() == D("0.2997")  # less the fee, which is taken in BTC
        await agree(venue, probe)

        resting = probe.send("BUY", "0.5", "29990")
        await until(lambda: resting.is_open)
        await agree(venue, probe)
        venue.quote(29980, 29990, ask_size="0.2")
        await until(lambda: resting.filled_qty == D("0.2"))
        await agree(venue, probe)
        probe.cancel_order(resting)
        await until(lambda: resting.is_closed)
        await agree(venue, probe)

        refused = probe.send("SELL", "0.1", "29970", post_only=True)
        await until(lambda: refused.is_closed)
        assert refused.events[-1].due_post_only
        poor = probe.send("BUY", "20", "30000", tif="IOC")
        await until(lambda: poor.is_closed)
        assert probe.names(poor)[-1] == "OrderExpired"  # what was shown was bought, the rest is gone
        sold = probe.send("SELL", "0.1")
        await until(lambda: sold.is_closed)
        await agree(venue, probe)

    drive(venue, scenario)


def test_a_stop_limit_order_rests_triggers_and_is_filled(venue: Handle) -> None:
    async def scenario(probe: Probe) -> None:
        instrument = probe.cache.instrument(INSTRUMENT)
        order = probe.order_factory.stop_limit(
            INSTRUMENT,
            OrderSide.SELL,
            instrument.make_qty(1),
            instrument.make_price(29900),
            instrument.make_price(29950),
        )
        probe.submit_order(order)
        await until(lambda: order.is_open)
        venue.quote(29949, 29951)
        venue.tell("trade", symbol="BTCUSDT", price="29949", qty="0.1")
        await until(lambda: order.is_closed)
        assert order.avg_px == pytest.approx(29949)
        await agree(venue, probe)

    drive(venue, scenario)


def test_all_orders_of_the_strategy_are_cancelled_at_once(venue: Handle) -> None:
    async def scenario(probe: Probe) -> None:
        orders = [probe.send("BUY", "0.1", price) for price in ("29000", "29001", "29002")]
        await until(lambda: all(order.is_open for order in orders))
        probe.cancel_all_orders(INSTRUMENT)
        await until(lambda: all(order.is_closed for order in orders))
        await agree(venue, probe)
        assert len(venue.look("requests?path=/api/v3/openOrders&method=DELETE")) == 1

    drive(venue, scenario)


def test_what_was_filled_while_the_user_stream_was_down_is_known_after_the_reconnect(venue: Handle) -> None:
    async def scenario(probe: Probe) -> None:
        resting = probe.send("BUY", "0.5", "29990")
        await until(lambda: resting.is_open)
        venue.fault("drop", where="user")
        venue.quote(29980, 29985, ask_size="0.2")  # filled while nobody listens
        await until(lambda: resting.filled_qty == D("0.2"))
        assert probe.position() == D("0.1998")
        assert any("BTC" in line for line in differences(venue, probe))  # balances are not asked for again by itself
        probe.query_account(ACCOUNT)
        await agree(venue, probe)

    drive(venue, scenario)


def test_a_user_stream_that_the_venue_ends_is_subscribed_again(venue: Handle) -> None:
    async def scenario(probe: Probe) -> None:
        resting = probe.send("BUY", "0.5", "29990")
        await until(lambda: resting.is_open)
        venue.fault("terminate")
        venue.quote(29980, 29985, ask_size="0.2")
        await until(lambda: resting.filled_qty == D("0.2"))
        await until(lambda: venue.look("state")["subscriptions"] == 1)
        probe.query_account(ACCOUNT)
        await agree(venue, probe)
        assert venue.look("faults")["hits"]["terminate"] == 1

    drive(venue, scenario)


def test_a_venue_that_was_restarted_is_found_again_with_everything(venue: Handle) -> None:
    async def scenario(probe: Probe) -> None:
        resting = probe.send("BUY", "0.5", "29990")
        await until(lambda: resting.is_open)
        venue.fault("restart", seconds=0.5)
        await until(lambda: not venue.look("state")["up"])
        venue.quote(29980, 29985, ask_size="0.2")
        await until(lambda: resting.filled_qty > 0, 20)
        await until(lambda: len(venue.look("state")["streams"]) == 2)
        before = len(probe.quotes)
        venue.quote(30010, 30011)
        await until(lambda: len(probe.quotes) > before)
        probe.query_account(ACCOUNT)
        await agree(venue, probe)

    drive(venue, scenario)


@pytest.mark.parametrize("name", ["duplicate", "garbage", "slow"])
def test_events_that_come_twice_late_or_among_garbage_are_counted_once(venue: Handle, name: str) -> None:
    async def scenario(probe: Probe) -> None:
        venue.fault(name, where="user", count=12)
        venue.fault(name, where="market", count=12)
        for n in range(3):
            order = probe.send("BUY", "0.1")
            await until(lambda order=order: order.is_closed)
            venue.quote(30000 - n, 30001 - n)
        await agree(venue, probe)
        assert venue.look("faults")["hits"][name] >= 12

    drive(venue, scenario)


def test_messages_that_change_places_end_in_the_same_state(venue: Handle) -> None:
    async def scenario(probe: Probe) -> None:
        venue.fault("reorder", where="user", count=6)
        for _ in range(3):
            order = probe.send("BUY", "0.1")
            await until(lambda order=order: order.is_closed)
        await asyncio.sleep(0.6)
        assert not order.is_open
        probe.query_account(ACCOUNT)
        await agree(venue, probe)

    drive(venue, scenario)


def test_a_spot_user_stream_needs_an_ed25519_key(venue: Handle) -> None:
    """The adapter logs on with whatever key it has; the venue, like the real one, refuses an HMAC key."""

    async def scenario(probe: Probe) -> None:
        raise AssertionError("it must not connect")

    with pytest.raises(AssertionError, match="in time"):
        drive(venue, scenario, key=HMAC_KEY, start_timeout=2)
    (row,) = venue.look("requests?path=session.logon")
    assert row["code"] == -4056
    assert venue.look("state")["subscriptions"] == 0
