"""An exchange as the broker of a node: what it said twice counts once, what it did not say is found, what differs is seen."""

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import ModifyOrder, SubmitOrderList
from nautilus_trader.model.enums import OrderStatus
from nautilus_trader.model.identifiers import OrderListId
from nautilus_trader.model.orders import OrderList

from alphatrade.nodes.paper.broker import Broker
from alphatrade.nodes.venue_rows import Holding, Placed
from tests.nodes.make_broker import STRATEGY, TRADER, Rig


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


@pytest.mark.parametrize("count", [1, 2])
def test_a_list_of_orders_leaves_as_a_list_also_if_there_is_one_in_it(count: int) -> None:
    async def scenario(rig: Rig) -> None:
        made = OrderList(OrderListId("L-1"), [rig.made() for _ in range(count)])
        rig.broker.submit_order_list(SubmitOrderList(TRADER, STRATEGY, made, UUID4(), 1))
        assert (len(rig.client.lists), rig.client.submitted, rig.failures) == (1, [], [])

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
        rig.broker._outstanding.order(order, 0)  # sent long ago
        assert (await rig.read()).unknown == 0
        assert (order.status, rig.events[-1].reason) == (OrderStatus.REJECTED, "502 Bad Gateway")

    at_exchange(scenario)


def test_an_order_that_was_cancelled_before_it_was_heard_of_is_refused_and_is_no_difference() -> None:
    """Its answer was lost, and the exchange does not know what is to be cancelled: it is asked for the order itself."""

    async def scenario(rig: Rig) -> None:
        order = rig.sent(ago_s=1.0)
        rig.submitted(order)
        rig.rejected(order, "the connection was closed")
        rig.cancels(order)
        rig.not_cancelled(order)
        assert (await rig.read()).unknown == 1  # it may still arrive
        rig.broker._outstanding.order(order, 0)  # sent long ago
        for _ in range(3):
            await rig.read()
        assert (order.status, rig.distrusted) == (OrderStatus.REJECTED, [])
        rig.placed(order, ago_s=4.0)  # there it is all the same: a contradiction once it is seen twice
        await rig.read()
        assert rig.distrusted == []
        await rig.read()
        assert len(rig.distrusted) == 1

    at_exchange(scenario)


def test_an_order_that_was_cancelled_before_it_arrived_is_cancelled_again() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.sent(ago_s=1.0)
        rig.submitted(order)
        rig.rejected(order, "the connection was closed")
        rig.cancels(order)
        rig.not_cancelled(order)
        rig.placed(order)
        rig.broker._outstanding._cancels[order.client_order_id.value] = (rig.client.cancelled[0], 1)  # long ago
        await rig.read()
        assert order.venue_order_id is not None
        assert len(rig.client.cancelled) == 2
        rig.placed(order, "CANCELED")
        await rig.read()
        assert (order.status, rig.distrusted) == (OrderStatus.CANCELED, [])

    at_exchange(scenario)


def test_an_order_that_the_exchange_has_told_and_forgets_is_told_also_while_it_is_cancelled() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.rests()
        rig.cancels(order)
        rig.broker._outstanding.order(order, 0)
        rig.rest.rows.clear()
        await rig.read()
        await rig.read()
        assert rig.distrusted == [f"order {order.client_order_id} is open here and not known at the exchange"]

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


def test_a_cancel_that_did_not_arrive_is_sent_again_once_a_reading() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.rests()
        rig.cancel(order)
        await rig.read()
        assert len(rig.client.cancelled) == 1  # it was sent just now
        rig.cancel(order, ago_s=1.5)
        for _ in range(2):
            await rig.read()
        assert len(rig.client.cancelled) == 3
        rig.placed(order, "CANCELED")
        await rig.read()
        await rig.read()
        assert (order.status, len(rig.client.cancelled)) == (OrderStatus.CANCELED, 3)

    at_exchange(scenario)


def test_cancels_of_a_batch_are_sent_one_by_one() -> None:
    """Nautilus's own client would only log that it has no such command."""
    made = Broker.__new__(Broker)
    sent: list[str] = []
    made.cancel_order = sent.append  # type: ignore[method-assign,assignment]
    made.batch_cancel_orders(SimpleNamespace(cancels=["a", "b"]))
    assert sent == ["a", "b"]


def test_a_cancel_is_sent_when_the_exchange_is_back_also_with_a_fill_that_was_not_told() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.rests()
        client, rig.broker._link.client = rig.broker._link.client, None
        rig.cancel(order)
        rig.broker._link.client = client
        rig.placed(order, "PARTIALLY_FILLED", "0.004")
        rig.dealt(("7", "0.004"))
        await rig.read()
        assert len(rig.client.cancelled) == 1

    at_exchange(scenario)


def test_the_cancel_of_a_modification_is_known_after_a_kill() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.rests()
        rig.broker._journal_read = False
        rig.broker.modify_order(ModifyOrder(*rig.ids(order), None, order.quantity, None, None, UUID4(), 1))
        rig.broker._journal_read = True
        await rig.read()
        assert [one.client_order_id for one in rig.client.cancelled] == [order.client_order_id]
        assert rig.names[-1] == "OrderAccepted"  # that it is refused is in the journal

    at_exchange(scenario)


def test_an_order_does_not_end_before_all_its_fills_are_known() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.rests()
        rig.placed(order, "CANCELED", "0.006")
        rig.dealt(("7", "0.002"))  # the exchange's list of fills is behind
        report = await rig.read()
        assert (order.is_open, report.unknown, report.again, report.differences) == (True, 1, True, ())
        rig.dealt(("7", "0.002"), ("8", "0.004"))
        assert (await rig.read()).unknown == 0
        assert (order.status, order.filled_qty.as_decimal()) == (OrderStatus.CANCELED, Decimal("0.006"))

    at_exchange(scenario)


def test_a_cancelled_order_is_asked_for_until_its_fills_are_there() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.rests()
        rig.canceled(order)
        rig.placed(order, "CANCELED", "0.004")
        assert (await rig.read()).unknown == 1
        rig.dealt(("7", "0.004"))
        assert (await rig.read()).unknown == 0
        assert (order.status, order.filled_qty.as_decimal()) == (OrderStatus.CANCELED, Decimal("0.004"))

    at_exchange(scenario)


def test_a_fill_that_the_exchange_never_shows_is_told() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.rests()
        rig.placed(order, "CANCELED", "0.006", ago_s=61.0)
        rig.dealt(("7", "0.002"))
        await rig.read()
        await rig.read()
        await rig.read()
        line = f"order {order.client_order_id}: 0.006 filled at the exchange, 0.00200000 by its fills"
        assert line in rig.distrusted
        assert order.is_open

    at_exchange(scenario)


def test_a_balance_that_nothing_explains_is_told_while_the_node_trades() -> None:
    async def scenario(rig: Rig) -> None:
        stolen = Decimal("0.5")
        for number, trade in enumerate(("7", "8", "9"), 1):
            order = rig.sent()
            rig.submitted(order)
            rig.accepted(order, number)
            rig.filled(order, trade, "0.01000000", number)
            rig.placed(order, "FILLED", "0.01", number)
            got = number * (Decimal("0.01") - Decimal("0.00001"))
            rig.rest.held = {
                "BTC": Holding(10 + got - stolen, Decimal(0)), "USDT": Holding(100_000 - number * Decimal(300), Decimal(0))
            }  # fmt: skip
            await rig.read()
        assert [line.split(":")[0] for line in rig.distrusted] == ["BTC", "BTC"]

    at_exchange(scenario)


def test_a_fill_that_is_on_its_way_is_no_difference() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.rests()
        rig.filled(order, "0", "0.00300000")
        for number in (1, 2):  # of the same size each time, after the open orders and before the balances were read
            rig.placed(order, "PARTIALLY_FILLED", str(order.filled_qty))
            rig.dealt(*((str(one), "0.003") for one in range(number + 1)))
            asyncio.get_running_loop().call_later(0.1, rig.filled, order, str(number), "0.00300000")
            report = await rig.read()
            assert order.filled_qty.as_decimal() == Decimal("0.003") * (number + 1)
            assert (report.differences, report.again) == ((), False)

    at_exchange(scenario)


def test_what_does_not_settle_is_asked_for_more_and_more_seldom() -> None:
    async def scenario(rig: Rig) -> None:
        rig.broker._check_s, times = 60.0, list[float]()

        async def check() -> Any:
            times.append(asyncio.get_running_loop().time())
            rig.broker._wake.set()
            return await rig.broker._outstanding.check(rig.rest, rig.client, {}, rig.broker._balances)  # type: ignore[arg-type]

        rig.broker.check = check  # type: ignore[method-assign]
        rig.broker._link.renewed = nothing_new  # type: ignore[method-assign]
        rig.broker._wake.set()
        running = asyncio.create_task(rig.broker.run())
        await asyncio.sleep(2.3)
        running.cancel()
        assert len(times) == 3  # after 0.3, 0.9 and 2.1 s
        assert times[2] - times[1] > 1.0 > times[1] - times[0]

    at_exchange(scenario)


async def nothing_new() -> bool:
    return False


@pytest.mark.parametrize("way", ["stream", "refusal", "books"])
def test_what_an_event_raises_ends_the_node_whichever_way_it_came(way: str) -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.rests()

        def broken(_event: Any) -> None:
            raise ValueError("a strategy's mistake")

        rig._take = broken  # type: ignore[method-assign]
        if way == "stream":
            rig.filled(order, "7", "0.00400000")  # the bundled client would log what this raises
        elif way == "refusal":
            rig.broker._link.client = None
            rig.sent()
            await asyncio.sleep(0)
        else:
            rig.placed(order, "PARTIALLY_FILLED", "0.004")
            rig.dealt(("7", "0.004"))
            await rig.read()
        assert [str(one) for one in rig.failures] == ["a strategy's mistake"]
        rig.filled(order, "8", "0.00100000")
        assert len(rig.failures) == 1  # nothing more is taken

    at_exchange(scenario)


def test_an_order_is_not_given_up_while_it_can_still_arrive() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.made()
        rig.submit(order, ago_s=60.0)  # the node's time is behind the wall's
        assert (await rig.read()).unknown == 0  # too fresh to be asked for
        await asyncio.sleep(0.25)
        assert (await rig.read()).unknown == 1
        assert order.status == OrderStatus.INITIALIZED

    at_exchange(scenario)


def test_until_when_an_order_can_arrive_is_counted_from_when_the_client_sent_it() -> None:
    async def scenario(rig: Rig) -> None:
        order = rig.made()
        rig.broker._journal_read = False
        rig.submit(order, ago_s=60.0)
        rig.client.generate_order_submitted(*rig._who(order), 1)  # as the journal has it
        rig.broker._journal_read = True
        await asyncio.sleep(0.25)
        assert (await rig.read()).unknown == 1
        assert order.status == OrderStatus.SUBMITTED

    at_exchange(scenario)


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
