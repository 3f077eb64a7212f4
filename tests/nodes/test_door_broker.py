"""The broker of a live node: no order without its token, and no end of an order before the exchange's books have it."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import pytest
from nautilus_trader.adapters.binance.http.error import BinanceServerError
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import SubmitOrder, SubmitOrderList
from nautilus_trader.model.enums import OrderStatus
from nautilus_trader.model.identifiers import OrderListId, VenueOrderId
from nautilus_trader.model.orders import Order, OrderList

from alphatrade.nodes.live.broker import HELD_S, LiveBroker
from alphatrade.nodes.live.door import CODE
from alphatrade.nodes.live.exchange import LiveExchange, exchange_of
from alphatrade.nodes.paper.broker import Broker
from alphatrade.nodes.paper.link import Exchange
from alphatrade.nodes.paper.reconcile import code_of
from alphatrade.nodes.venue_answers import TroubleError
from alphatrade.risk.approval import AGAIN, FORGED, OLD, UNKNOWN, WITHDRAWN, Approvals, fresh_key
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.gate_live import APPROVAL, terms_of
from tests.nodes.make_broker import NAME, STRATEGY, TRADER, Rig


class Watch:
    """A clock that is moved by hand, ns."""

    now = 10**12

    def __call__(self) -> int:
        return self.now


class LiveRig(Rig):
    """A live broker, and its approvals."""

    def __init__(self) -> None:
        self.watch = Watch()
        self.approvals = Approvals(fresh_key(), self.watch)
        self.alarms: list[tuple[str, str]] = []
        self.approvals.alarm = lambda *told: self.alarms.append(told)
        super().__init__(LiveBroker, LiveExchange(None, None, (NAME,), approvals=self.approvals))

    def token(self, order: Order) -> str:
        return self.approvals.approve(terms_of(order))

    def submit(self, order: Order, ago_s: float) -> None:
        """Submit as the gate does: with a token."""
        ts = time.time_ns() - int(ago_s * 1e9)
        self.give(order, {order.client_order_id.value: self.token(order)}, ts)

    def give(self, order: Order, tokens: Any, ts: int = 1) -> None:
        params = {APPROVAL: tokens}
        self.broker.submit_order(SubmitOrder(TRADER, STRATEGY, order, UUID4(), ts, None, None, params))

    @property
    def live(self) -> LiveBroker:
        assert isinstance(self.broker, LiveBroker)
        return self.broker


def at_exchange(scenario: Callable[[LiveRig], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        await scenario(LiveRig())

    asyncio.run(run())


# -- balances


def test_balances_are_asked_for_where_the_stream_has_not_told_a_fill_and_when_somebody_looks() -> None:
    async def scenario(rig: LiveRig) -> None:
        order = rig.rests()
        await rig.read()
        assert rig.client.asked == 0  # the stream tells them
        rig.placed(order, "PARTIALLY_FILLED", "0.005")
        rig.dealt(("7", "0.005"))
        await rig.read()
        assert rig.client.asked == 1
        rig.broker.look()
        before = rig.live.readings
        for trouble in (BinanceServerError(503, "away", {}), RuntimeError("connection refused")):
            rig.client.trouble = trouble
            with pytest.raises(TroubleError):
                await rig.read()
        assert rig.live.readings == before
        rig.client.trouble = None
        await rig.read()
        await rig.read()
        assert rig.client.asked == 4
        assert rig.live.readings == before + 2

    at_exchange(scenario)


# -- refusals

CLOSED = "BinanceClientError({'code': -1013, 'msg': 'Market is closed.'})"


@pytest.mark.parametrize(
    ("holds", "why", "held"),
    [
        (True, CLOSED, True),
        (True, "BinanceClientError({'code': -1013, 'msg': 'Filter failure: PRICE_FILTER'})", True),
        (True, "BinanceServerError({'code': -1000, 'msg': 'An unknown error'})", False),  # no refusal
        (True, f"BinanceClientError({{'code': {CODE}, 'msg': 'not approved'}})", False),  # our own door
        (False, CLOSED, False),  # nobody would let them go again
    ],
)
def test_an_order_that_is_refused_holds_the_next_ones_until_the_rules_were_looked_at(
    holds: bool, why: str, held: bool
) -> None:
    async def scenario(rig: LiveRig) -> None:
        rig.live.holds = holds
        first = rig.sent()
        rig.submitted(first)
        rig.rejected(first, why)
        second = rig.sent()
        await asyncio.sleep(0)
        assert (second.status == OrderStatus.REJECTED) == held
        assert (len(rig.client.submitted) == 1) == held
        if held:
            assert "rules were looked at" in rig.events[-1].reason
            assert code_of(rig.events[-1].reason) is None  # it counts as no refusal of the exchange
            assert rig.live.refusal
        rig.live.go_on()
        rig.sent()
        assert len(rig.client.submitted) == 2 + (not held)
        assert rig.alarms == []

    at_exchange(scenario)


# -- tokens


def test_an_order_leaves_with_its_token() -> None:
    async def scenario(rig: LiveRig) -> None:
        order = rig.sent()
        assert [one.order for one in rig.client.submitted] == [order]
        assert (rig.approvals.counts, rig.alarms) == ({"approved": 1, "presented": 1}, [])

    at_exchange(scenario)


WRONG: dict[str, tuple[str, Callable[[LiveRig, Order], Any]]] = {
    "none, and none was made": (UNKNOWN, lambda rig, order: None),
    "one of its own making": (UNKNOWN, lambda rig, order: {order.client_order_id.value: "00" * 32}),
    "none": (FORGED, lambda rig, order: rig.token(order) and None),
    "a word": (FORGED, lambda rig, order: rig.token(order) and "token"),
    "that of another order": (
        FORGED,
        lambda rig, order: rig.token(order) and {order.client_order_id.value: rig.token(rig.made())},
    ),
    "that of another process": (
        FORGED,
        lambda rig, order: (
            rig.token(order)
            and {order.client_order_id.value: Approvals(fresh_key(), rig.watch).approve(terms_of(order))}
        ),
    ),
    "one that was presented": (AGAIN, lambda rig, order: presented(rig, order)),
}


def presented(rig: LiveRig, order: Order) -> dict[str, str]:
    token = rig.token(order)
    assert rig.approvals.present(order.client_order_id.value, token) == ""
    return {order.client_order_id.value: token}


@pytest.mark.parametrize("token", WRONG)
def test_an_order_with_a_wrong_token_is_refused_and_the_gate_is_told(token: str) -> None:
    reason, make = WRONG[token]

    async def scenario(rig: LiveRig) -> None:
        order = rig.made()
        rig.give(order, make(rig, order))
        await asyncio.sleep(0)
        assert (rig.client.submitted, rig.names) == ([], ["OrderRejected"])
        assert rig.events[-1].reason == f"not approved: {reason}"
        assert rig.alarms == [(order.client_order_id.value, reason)]

    at_exchange(scenario)


@pytest.mark.parametrize("token", WRONG)
def test_without_that_look_it_would_go_to_the_client(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiveBroker, "_unapproved", Broker._unapproved)  # mutation

    async def scenario(rig: LiveRig) -> None:
        order = rig.made()
        rig.give(order, WRONG[token][1](rig, order))
        assert len(rig.client.submitted) == 1

    at_exchange(scenario)


def test_an_order_that_comes_late_or_was_withdrawn_is_refused_and_is_no_alarm() -> None:
    async def scenario(rig: LiveRig) -> None:
        for undo, reason in (
            (lambda: setattr(rig.watch, "now", rig.watch.now + 6 * 10**9), OLD),
            (lambda: rig.approvals.void("a drill"), f"{WITHDRAWN}: a drill"),
        ):
            order = rig.made()
            tokens = {order.client_order_id.value: rig.token(order)}
            undo()
            rig.give(order, tokens)
            await asyncio.sleep(0)
            assert rig.events[-1].reason == f"not approved: {reason}"
        assert (rig.client.submitted, rig.alarms) == ([], [])

    at_exchange(scenario)


def test_of_a_list_all_leave_or_none() -> None:
    async def scenario(rig: LiveRig) -> None:
        for wrong in (0, 1):
            orders = [rig.made(), rig.made()]
            tokens = {order.client_order_id.value: rig.token(order) for order in orders}
            if wrong:
                tokens[orders[0].client_order_id.value] = "00"
            made = OrderList(OrderListId(f"L-{wrong}"), orders)
            rig.broker.submit_order_list(
                SubmitOrderList(TRADER, STRATEGY, made, UUID4(), 1, None, None, {APPROVAL: tokens})
            )
            await asyncio.sleep(0)
        assert len(rig.client.lists) == 1
        assert rig.names == ["OrderRejected", "OrderRejected"]

    at_exchange(scenario)


def test_while_a_journal_is_read_nothing_is_presented_and_nothing_leaves() -> None:
    async def scenario(rig: LiveRig) -> None:
        rig.broker._journal_read = False
        order = rig.made()
        rig.submit(order, 1.0)
        rig.broker._journal_read = True
        assert (rig.client.submitted, rig.approvals.counts["presented"], rig.names) == ([], 0, [])

    at_exchange(scenario)


# -- ends


@pytest.mark.parametrize("kind", ["canceled", "expired", "rejected"])
def test_an_end_that_the_stream_tells_is_believed_when_the_books_have_it(kind: str) -> None:
    async def scenario(rig: LiveRig) -> None:
        order = rig.rests()
        end(rig, order, kind)
        assert order.is_open  # the law still reserves for all of it
        assert rig.broker._wake.is_set()
        rig.placed(order, "EXPIRED" if kind == "expired" else "CANCELED", "0.004")
        report = await rig.read()
        assert (order.is_open, report.unknown) == (True, 1)  # a fill of it is not known yet
        rig.dealt(("7", "0.004"))
        report = await rig.read()
        assert (order.is_open, order.filled_qty.as_decimal(), rig.live.ending) == (False, Decimal("0.004"), {})
        assert rig.names[-2:] == ["OrderFilled", "OrderExpired" if kind == "expired" else "OrderCanceled"]
        assert not rig.distrusted

    at_exchange(scenario)


def end(rig: LiveRig, order: Order, kind: str) -> None:
    """Have the stream tell an end."""
    if kind == "rejected":
        rig.rejected(order, "BinanceClientError({'code': -2010, 'msg': 'no'})")
    else:
        getattr(rig.client, f"generate_order_{kind}")(*rig._who(order), VenueOrderId("1"), 1)


@pytest.mark.parametrize("kind", ["canceled", "expired", "rejected"])
def test_without_that_the_law_would_give_back_what_may_still_be_filled(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LiveBroker, "_told", Broker._told)  # mutation

    async def scenario(rig: LiveRig) -> None:
        order = rig.rests()
        end(rig, order, kind)
        assert order.is_closed

    at_exchange(scenario)


def test_a_fill_that_the_stream_tells_after_the_end_is_taken_at_once() -> None:
    async def scenario(rig: LiveRig) -> None:
        order = rig.rests()
        rig.canceled(order)
        rig.filled(order, "7", "0.00400000")
        assert (order.status, order.filled_qty.as_decimal()) == (OrderStatus.PARTIALLY_FILLED, Decimal("0.004"))
        rig.placed(order, "CANCELED", "0.004")
        rig.dealt(("7", "0.004"))
        await rig.read()
        assert order.status == OrderStatus.CANCELED

    at_exchange(scenario)


def test_an_order_that_is_filled_whole_needs_no_book() -> None:
    async def scenario(rig: LiveRig) -> None:
        order = rig.rests()
        rig.filled(order, "7", "0.01000000")
        assert order.status == OrderStatus.FILLED
        rig.canceled(order)  # that was on its way
        assert rig.live.ending == {}

    at_exchange(scenario)


def test_the_clear_answer_to_an_order_is_believed_at_once() -> None:
    async def scenario(rig: LiveRig) -> None:
        order = rig.sent()
        rig.submitted(order)
        rig.rejected(order, "BinanceClientError({'code': -9001, 'msg': 'withdrawn'})")
        assert (order.status, rig.live.ending) == (OrderStatus.REJECTED, {})

    at_exchange(scenario)


def test_books_that_are_behind_are_read_again_each_second_and_the_stream_is_not_late() -> None:
    async def scenario(rig: LiveRig) -> None:
        rig.broker._check_s = rig.broker._patience_s = 60.0
        order = rig.rests()
        rig.canceled(order)
        rig.broker._wake.clear()
        await rig.read()
        assert rig.broker._wake.is_set()
        assert (list(rig.live.ending), rig.broker._patience_s) == ([order.client_order_id.value], HELD_S)
        rig.placed(order, "CANCELED", ago_s=4.0)
        rig.broker._wake.clear()
        report = await rig.read()
        assert (report.brought, report.late, order.is_closed) == (1, 0, True)
        assert (rig.broker._wake.is_set(), rig.broker._patience_s) == (False, 60.0)

    at_exchange(scenario)


def test_an_order_that_may_be_over_is_cancelled_once_more_if_it_is_not() -> None:
    async def scenario(rig: LiveRig) -> None:
        order = rig.rests()
        rig.canceled(order)
        rig.cancel(order)
        assert rig.client.cancelled == []
        await rig.read()  # it rests there all the same
        assert len(rig.client.cancelled) == 1
        rig.placed(order, "CANCELED")
        await rig.read()
        assert (order.status, len(rig.client.cancelled)) == (OrderStatus.CANCELED, 1)

    at_exchange(scenario)


# -- exchanges


def test_an_exchange_without_a_door_is_refused_in_a_sentence() -> None:
    assert exchange_of("binance") is LiveExchange
    with pytest.raises(ConfigError, match="no other adapter has a last door"):
        exchange_of("bybit")


def test_addresses_are_those_of_real_money_only_where_that_is_said() -> None:
    approvals = Approvals(fresh_key(), Watch())
    assert "testnet" in LiveExchange(None, None, (), approvals=approvals).rest
    assert "testnet" in Exchange(None, None, ()).rest
    assert LiveExchange(None, None, (), approvals=approvals, mainnet=True).rest == "https://api.binance.com"
    assert repr(approvals) not in repr(LiveExchange(None, None, (), approvals=approvals))
