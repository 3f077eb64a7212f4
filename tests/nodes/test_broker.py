"""An exchange as the broker of a node: what it said twice counts once, what it did not say is found, what differs is seen."""

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

from nautilus_trader.model.enums import OrderStatus

from alphatrade.nodes.venue_rows import Holding, Placed
from tests.nodes.make_broker import Rig


def at_exchange(scenario: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        await scenario(Rig())

    asyncio.run(run())


def test_what_the_stream_says_twice_counts_once() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.sent()
        for _ in range(2):
            rig.submitted(order)
            rig.accepted(order)
            rig.filled(order, "7", "0.00400000")
        assert rig.names == ["OrderSubmitted", "OrderAccepted", "OrderFilled"]
        for _ in range(2):
            rig.canceled(order)
        assert rig.names[3:] == ["OrderCanceled"]

    at_exchange(scenario)


def test_what_the_stream_has_not_said_is_brought_from_the_books() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.sent()
        rig.submitted(order)
        rig.placed(order, "PARTIALLY_FILLED", "0.005", ago_s=4.0)
        rig.dealt(("7", "0.002"), ("8", "0.003"))
        report = await rig.read()
        assert rig.names == ["OrderSubmitted", "OrderAccepted", "OrderFilled", "OrderFilled"]
        assert (report.brought, report.late, report.unknown) == (3, 3, 0)
        assert order.filled_qty.as_decimal() == Decimal("0.005")
        rig.filled(order, "8", "0.00300000")  # the stream, late
        assert order.filled_qty.as_decimal() == Decimal("0.005")
        assert not (await rig.read()).differences

    at_exchange(scenario)


def test_an_order_whose_answer_was_an_error_is_there_if_the_exchange_has_it() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.sent()
        rig.submitted(order)
        rig.rejected(order, "BinanceServerError({'code': -1000, 'msg': 'An unknown error'})")
        assert order.status == OrderStatus.SUBMITTED  # not believed
        rig.placed(order)
        assert (await rig.read()).unknown == 0
        assert order.status == OrderStatus.ACCEPTED
        assert rig.broker.facts()["exchange_doubts"] == "0"

    at_exchange(scenario)


def test_an_order_whose_answer_was_an_error_is_refused_when_it_cannot_arrive_any_more() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.sent(ago_s=1.0)
        rig.submitted(order)
        rig.rejected(order, "502 Bad Gateway")
        report = await rig.read()
        assert (report.unknown, report.again, order.status) == (1, True, OrderStatus.SUBMITTED)
        rig.broker._sent.order(order, 0)  # sent long ago
        assert (await rig.read()).unknown == 0
        assert (order.status, rig.events[-1].reason) == (OrderStatus.REJECTED, "502 Bad Gateway")

    at_exchange(scenario)


def test_a_refusal_in_clear_words_is_believed_at_once() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.sent()
        rig.submitted(order)
        rig.rejected(order, "BinanceClientError({'code': -2010, 'msg': 'insufficient balance'})")
        assert order.status == OrderStatus.REJECTED

    at_exchange(scenario)


def test_an_order_that_was_never_sent_before_a_kill_is_refused_after_it() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.sent(ago_s=9.0)  # as the journal has it: nothing was heard of it
        await rig.read()
        assert order.status == OrderStatus.REJECTED

    at_exchange(scenario)


def test_a_fill_that_was_lost_before_a_cancel_is_found() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.sent()
        rig.submitted(order)
        rig.accepted(order)
        rig.placed(order, "CANCELED", "0.004")
        rig.dealt(("7", "0.004"))
        rig.canceled(order)
        await rig.read()
        assert order.filled_qty.as_decimal() == Decimal("0.004")
        assert order.status == OrderStatus.CANCELED
        assert not (await rig.read()).differences
        assert not rig.distrusted
        asked = rig.rest.asked
        await rig.read()
        assert rig.rest.asked == asked  # what is over is asked for once

    at_exchange(scenario)


def test_a_fill_that_comes_after_the_cancel_does_not_leave_an_order_open() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.sent()
        rig.submitted(order)
        rig.accepted(order)
        rig.canceled(order)
        rig.placed(order, "CANCELED", "0.004")
        await rig.read()
        rig.dealt(("7", "0.004"))
        rig.filled(order, "7", "0.00400000")
        assert order.is_open
        await asyncio.sleep(0.25)
        await rig.read()
        assert order.status == OrderStatus.CANCELED

    at_exchange(scenario)


def test_a_cancel_that_did_not_arrive_is_sent_again() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.sent()
        rig.submitted(order)
        rig.accepted(order)
        rig.placed(order)
        rig.cancel(order)
        order.apply(pending(order))
        await rig.read()
        assert len(rig.client.cancelled) == 2

    at_exchange(scenario)


def pending(order: Any) -> Any:
    from nautilus_trader.core.uuid import UUID4
    from nautilus_trader.model.events import OrderPendingCancel

    who = order.trader_id, order.strategy_id, order.instrument_id, order.client_order_id
    return OrderPendingCancel(*who, order.venue_order_id, order.account_id, UUID4(), 1, 1)


def test_a_balance_that_nothing_explains_is_told_when_it_is_seen_twice() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.sent()
        rig.submitted(order)
        rig.accepted(order)
        rig.placed(order, "FILLED", "0.01")
        rig.dealt(("7", "0.01"))
        await rig.read()
        assert not (await rig.read()).differences
        held = rig.rest.held["BTC"]
        rig.rest.held["BTC"] = Holding(held.free + Decimal("0.00001"), held.locked)  # one lot
        first = await rig.read()
        assert (first.differences, first.again, rig.distrusted) == ((), True, [])
        assert len((await rig.read()).differences) == 1
        assert rig.distrusted == ["BTC: 10.01000 at the exchange, 10.00999 by what was traded"]

    at_exchange(scenario)


def test_an_order_of_somebody_else_is_told_and_not_touched() -> None:
    async def scenario(rig: Rig) -> None:
        rig.rest.rows["theirs"] = Placed("BTCUSDT", "9", "theirs", "NEW", Decimal(0), 1)
        await rig.read()
        await rig.read()
        assert rig.distrusted == ["order theirs of BTCUSDT is open at the exchange and not here"]
        assert not rig.client.cancelled

    at_exchange(scenario)


def test_an_order_that_the_exchange_has_forgotten_is_told() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.sent(ago_s=60.0)
        rig.submitted(order)
        rig.accepted(order)
        await rig.read()
        await rig.read()
        assert rig.distrusted == [f"order {order.client_order_id} is open here and not known at the exchange"]

    at_exchange(scenario)


def test_nothing_is_sent_while_the_exchange_is_away_or_has_not_been_read() -> None:
    async def scenario(rig: Rig) -> None:
        for why in ("not connected", "not been read"):
            if why == "not connected":
                client, rig.broker._link.client = rig.broker._link.client, None
            else:
                rig.broker._link.client, rig.broker._link.read_at = client, -1e9
            order = rig.sent()
            await asyncio.sleep(0)
            assert order.status == OrderStatus.REJECTED
            assert why in rig.events[-1].reason
        assert not rig.client.submitted

    at_exchange(scenario)


def test_nothing_is_sent_while_the_clocks_differ() -> None:
    async def scenario(rig: Rig) -> None:
        first = rig.sent()
        rig.submitted(first)
        rig.rejected(first, "BinanceClientError({'code': -1021, 'msg': 'outside of the recvWindow.'})")
        assert first.status == OrderStatus.REJECTED
        rig.rest.ahead = 8000.0
        await rig.read()
        rig.sent()
        await asyncio.sleep(0)
        assert "clock" in rig.events[-1].reason
        rig.rest.ahead = 20.0
        await rig.read()
        rig.sent()
        assert len(rig.client.submitted) == 2

    at_exchange(scenario)


def test_a_stop_order_is_refused_before_it_is_sent() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.sent(stop=True)
        await asyncio.sleep(0)
        assert (order.status, rig.client.submitted) == (OrderStatus.REJECTED, [])
        assert "no stop orders" in rig.events[-1].reason

    at_exchange(scenario)


def test_nothing_is_sent_while_the_journal_is_read() -> None:
    async def scenario(rig: Rig) -> None:
        rig.broker._journal_read = False
        order = rig.sent()
        rig.cancel(order)
        assert not rig.client.submitted
        assert not rig.client.cancelled
        assert rig.broker.facts()["exchange_orders"] == order.client_order_id.value

    at_exchange(scenario)
