"""An order that takes over what another node has left is filled here, once, if it is the one that was announced; nobody is asked."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import SubmitOrder, SubmitOrderList
from nautilus_trader.model.enums import LiquiditySide, OrderSide, OrderStatus, TimeInForce
from nautilus_trader.model.identifiers import ClientOrderId, OrderListId
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.model.orders import Order, OrderList

from alphatrade.nodes.live.broker import LiveBroker
from alphatrade.nodes.live.reconcile import Side, compare
from alphatrade.nodes.live.sides import Book, Seen
from alphatrade.nodes.paper import reconcile
from alphatrade.risk.approval import FORGED, UNLISTED
from alphatrade.risk.gate_live import APPROVAL
from alphatrade.risk.gate_orders import cancel_of
from alphatrade.risk.handover import Part
from tests.nodes.make_broker import NAME, STRATEGY, TRADER, Rig
from tests.nodes.make_checks import BTC
from tests.nodes.test_door_broker import LiveRig, at_exchange

D = Decimal
PART = Part("HANDOVER-1", NAME.value, "0.0025", "30000")


def made(rig: Rig, name: str = "HANDOVER-1", qty: str = "0.00250000", price: str = "30000.00", side: Any = OrderSide.BUY, **more: Any) -> Order:
    order: Order = rig._factory.limit(
        NAME, side, Quantity.from_str(qty), Price.from_str(price), client_order_id=ClientOrderId(name), **more
    )
    rig.cache.add_order(order)
    return order


def announced(rig: LiveRig) -> None:
    rig.live.announce([PART])


def give(rig: LiveRig, order: Order) -> None:
    rig.give(order, {order.client_order_id.value: rig.token(order)}, 1_700_000_000_000_000_001)


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_the_one_that_was_announced_is_filled_at_its_limit_without_a_fee_and_nobody_is_asked() -> None:
    async def scenario(rig: LiveRig) -> None:
        announced(rig)
        order = made(rig)
        give(rig, order)
        assert rig.names == [], "soon, as inputs of their own"
        await settled()
        assert rig.names == ["OrderSubmitted", "OrderAccepted", "OrderFilled"]
        fill = rig.events[-1]
        assert (fill.last_qty.as_decimal(), fill.last_px.as_decimal()) == (D("0.0025"), D(30_000))
        assert (fill.commission.as_decimal(), fill.liquidity_side, fill.trade_id.value) == (0, LiquiditySide.MAKER, "HANDOVER-1")
        assert (rig.approvals.counts, rig.alarms) == ({"approved": 1, "presented": 1, "redeemed": 1}, [])
        rig.live.cancel_order(cancel_of(order, 1))
        await rig.read()
        assert (rig.client.submitted, rig.client.cancelled, rig.rest.asked, rig.names[3:]) == ([], [], 0, [])

    at_exchange(scenario)


FORGED_ORDERS: dict[str, dict[str, Any]] = {
    "another id": {"name": "HANDOVER-2"}, "more of it": {"qty": "0.00251000"}, "less of it": {"qty": "0.00240000"},
    "cheaper": {"price": "29999.99"}, "a sale": {"side": OrderSide.SELL}, "of another kind": {"time_in_force": TimeInForce.IOC},
    "one that rests": {"post_only": True},
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED_ORDERS)
@pytest.mark.parametrize("looks", [True, False])
def test_any_other_is_refused_and_the_gate_is_told(name: str, looks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not looks:
        monkeypatch.setattr(LiveBroker, "_unfounded", lambda *_: "")  # mutation

    async def scenario(rig: LiveRig) -> None:
        announced(rig)
        order = made(rig, **FORGED_ORDERS[name])
        give(rig, order)
        await settled()
        assert rig.client.submitted == []
        if not looks:
            assert order.status == OrderStatus.FILLED
            return
        assert rig.names == ["OrderRejected"]
        assert UNLISTED in rig.events[-1].reason
        ((told, why),) = rig.alarms
        assert (told, why) == (order.client_order_id.value, f"{UNLISTED}: nothing of the kind was handed over")

    at_exchange(scenario)


def test_without_an_announcement_there_is_none() -> None:
    async def scenario(rig: LiveRig) -> None:
        order = made(rig)
        give(rig, order)
        await settled()
        assert (rig.names, len(rig.alarms)) == (["OrderRejected"], 1)

    at_exchange(scenario)


def test_a_token_is_asked_for_and_each_is_filled_once() -> None:
    async def scenario(rig: LiveRig) -> None:
        announced(rig)
        order = made(rig)
        rig.token(order)
        rig.give(order, {order.client_order_id.value: "00" * 32}, 1)
        await settled()
        assert rig.events[-1].reason == f"not taken over: {FORGED}"
        again = made(rig, "HANDOVER-1b")
        rig.broker.submit_order(SubmitOrder(TRADER, STRATEGY, again, UUID4(), 1))
        await settled()
        assert rig.names == ["OrderRejected", "OrderRejected"]

    at_exchange(scenario)


def test_in_a_list_there_is_none() -> None:
    async def scenario(rig: LiveRig) -> None:
        announced(rig)
        orders = [made(rig), rig.made()]
        tokens = {order.client_order_id.value: rig.token(order) for order in orders}
        both = OrderList(OrderListId("L-1"), orders)
        rig.broker.submit_order_list(SubmitOrderList(TRADER, STRATEGY, both, UUID4(), 1, None, None, {APPROVAL: tokens}))
        await settled()
        assert (rig.client.lists, rig.names) == ([], ["OrderRejected", "OrderRejected"])

    at_exchange(scenario)


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_what_a_crash_has_left_open_is_said_after_it_and_nothing_twice(done: int) -> None:
    async def scenario(rig: LiveRig) -> None:
        rig.broker._journal_read = False
        announced(rig)
        order = made(rig)
        give(rig, order)  # the journal is read
        await settled()
        assert rig.names == []
        before = LiveRig()
        announced(before)
        twin = made(before)
        give(before, twin)
        await settled()
        for event in before.events[1 : 1 + done]:
            rig._take(event)
        rig.broker._journal_read = True
        await rig.read()
        await rig.read()
        assert rig.names == ["OrderSubmitted", "OrderAccepted", "OrderFilled"]
        assert order.status == OrderStatus.FILLED

    at_exchange(scenario)


def test_one_that_was_refused_before_a_crash_is_refused_after_it() -> None:
    async def scenario(rig: LiveRig) -> None:
        rig.broker._journal_read = False
        order = made(rig)
        give(rig, order)
        rig.broker._journal_read = True
        await rig.read()
        assert rig.names == ["OrderRejected"]

    at_exchange(scenario)


def test_an_announcement_takes_back_the_one_before_it() -> None:
    async def scenario(rig: LiveRig) -> None:
        announced(rig)
        rig.live.announce([PART._replace(order_id="HANDOVER-1-LAW")])
        give(rig, made(rig))
        give(rig, made(rig, "HANDOVER-1-LAW"))
        await settled()
        assert rig.names == ["OrderRejected", "OrderSubmitted", "OrderAccepted", "OrderFilled"]
        assert (rig.events[-1].client_order_id.value, len(rig.alarms)) == ("HANDOVER-1-LAW", 1)

    at_exchange(scenario)


@pytest.mark.parametrize("there", [True, False])
def test_what_may_be_gone_is_not_filled_before_somebody_knows_and_not_at_all_if_it_is(there: bool) -> None:
    async def scenario(rig: LiveRig) -> None:
        rig.broker._journal_read = False
        announced(rig)
        order = made(rig)
        give(rig, order)  # the journal is read, and has nothing of what came of it
        rig.live.sure = False
        rig.broker._journal_read = True
        await rig.read()
        await settled()
        assert rig.names == []
        if there:
            rig.live.sure = True
            await rig.read()
            assert rig.names == ["OrderSubmitted", "OrderAccepted", "OrderFilled"]
            return
        rig.live.withdraw("it was sold")
        assert rig.names == [], "soon, as an input of its own"
        await settled()
        assert (rig.names, rig.events[-1].reason) == (["OrderRejected"], "not taken over: it was sold")
        give(rig, made(rig, "HANDOVER-2"))
        await settled()
        assert rig.names == ["OrderRejected", "OrderRejected"], "nor what was to come"

    at_exchange(scenario)


def test_what_was_taken_back_before_a_crash_is_not_filled_after_it() -> None:
    async def scenario(rig: LiveRig) -> None:
        rig.broker._journal_read = False
        announced(rig)
        give(rig, made(rig))
        rig.live.withdraw("it was sold")
        await settled()
        assert rig.names == []
        rig.broker._journal_read = True
        await rig.read()
        assert rig.names == ["OrderRejected"]

    at_exchange(scenario)


def test_the_broker_of_a_paper_node_sends_none() -> None:
    async def run() -> None:
        rig = Rig()
        order = made(rig)
        rig.broker.submit_order(SubmitOrder(TRADER, STRATEGY, order, UUID4(), 1))
        await settled()
        assert (rig.client.submitted, rig.names) == ([], ["OrderRejected"])

    asyncio.run(run())


# -- books


def taken(rig: LiveRig) -> list[Any]:
    announced(rig)
    give(rig, made(rig))
    return rig.events


def test_books_have_it_as_a_position_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(rig: LiveRig) -> None:
        book, seen = Book((BTC,)), Seen()
        rig.broker.witnesses.append(book.seen)
        book.seen(rig.events[0])
        book.opened_ns = 1
        taken(rig)
        await settled()
        seen.add(rig.cache.order(ClientOrderId("HANDOVER-1")))
        side = book.side()
        assert (side.orders, side.fills, side.fees, book.sent) == ({}, {}, {}, set())
        assert side.positions == {"BTCUSDT": D("0.0025")}
        assert side.balances == {"BTC": 10, "USDT": 100_000}, "as the exchange has them"
        assert (seen.orders, seen.fills, seen.paid, seen.sent) == ({}, {}, {}, set())
        assert book.copy().taken == book.taken == {"BTCUSDT": D("0.0025")}
        assert rig.broker._balances.expected() == {}

    at_exchange(scenario)


@pytest.mark.parametrize("where", ["sides", "reconcile"])
def test_mutation_a_book_that_does_not_leave_it_out_differs_from_the_exchange(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = f"alphatrade.nodes.live.{where}.handed" if where == "sides" else f"{reconcile.__name__}.handed"
    monkeypatch.setattr(target, lambda _: False)

    async def scenario(rig: LiveRig) -> None:
        book = Book((BTC,))
        rig.broker.witnesses.append(book.seen)
        book.seen(rig.events[0])
        book.opened_ns = 1
        taken(rig)
        await settled()
        if where == "reconcile":
            (base, quote) = rig.broker._balances.differences(rig.rest.held)
            assert (base.what, quote.what) == ("BTC", "USDT")
            return
        there = Side({}, {}, {"BTCUSDT": D("0.0025")}, {"BTC": D(10), "USDT": D(100_000)}, {})
        found = {one.row for one in compare({"journal": book.side(), "exchange": there}, (BTC,))}
        assert {"orders", "fills", "balances"} <= found

    at_exchange(scenario)


def test_no_reading_asks_the_exchange_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(rig: LiveRig) -> None:
        announced(rig)
        order = made(rig)
        rig.live._outstanding.order(order, 1)
        await rig.read()
        assert (rig.rest.asked, rig.live.facts()["exchange_orders"]) == (0, "")
        monkeypatch.setattr("alphatrade.nodes.paper.outstanding.handed", lambda _: False)  # mutation
        rig.live._outstanding.order(order, 1)
        await rig.read()
        assert rig.rest.asked == 1

    at_exchange(scenario)
