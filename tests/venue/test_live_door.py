"""The last door: the bundled client, unmodified, at a venue that counts what arrives; every way past the gate is tried."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import pytest
from nautilus_trader.adapters.binance.common.enums import (
    BinanceAccountType,
    BinanceEnvironment,
    BinanceKeyType,
    BinanceOrderType,
)
from nautilus_trader.adapters.binance.factories import get_cached_binance_http_client
from nautilus_trader.adapters.binance.http.client import BinanceHttpClient
from nautilus_trader.adapters.binance.http.endpoint import BinanceHttpEndpoint
from nautilus_trader.adapters.binance.http.error import BinanceClientError
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import SubmitOrderList
from nautilus_trader.model.enums import OrderSide, TimeInForce
from nautilus_trader.model.orders import OrderList

from alphatrade.nodes.live import door, exchange, seal
from alphatrade.nodes.live.door import SocketDoor
from alphatrade.nodes.live.seal import Seal, SealedError
from alphatrade.nodes.paper.reconcile import UNCLEAR, code_of
from alphatrade.nodes.venue_rest import VenueRest
from alphatrade.risk.approval import (
    CHANGED,
    LATE,
    UNKNOWN,
    UNLISTED,
    UNREADABLE,
    USED,
    WITHDRAWN,
    Approvals,
    fresh_key,
)
from alphatrade.risk.gate_live import terms_of
from tests.venue.keys import ED25519_KEY as KEY
from tests.venue.make_door import DELETE, GET, POST, PUT, STRATEGY, TRADER, Behind, behind, credentials
from tests.venue.make_venue import Handle, running


@pytest.fixture(scope="module")
def shared() -> Iterator[Handle]:
    with running() as handle:
        yield handle


@pytest.fixture
def venue(shared: Handle) -> Handle:
    """Return the venue with a price at which nothing rests that is bought at 29,000."""
    shared.tell("clear")
    shared.quote(30000, 30001)
    return shared


async def settled(what: Callable[[], Any]) -> None:
    for _ in range(250):
        if what():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not become true in time")


# -- what is approved goes through, as the adapter sends it


KINDS: tuple[tuple[str | None, dict[str, Any]], ...] = (
    ("29000.50", {}),
    ("29000.5", {"time_in_force": TimeInForce.IOC}),
    ("29000", {"time_in_force": TimeInForce.FOK}),
    ("29000", {"post_only": True}),
    ("29000", {"post_only": True, "reduce_only": True}),
    (None, {}),
    (None, {"side": OrderSide.SELL, "reduce_only": True}),
)


def test_an_approved_order_is_signed_and_comes_to_the_venue_once(venue: Handle) -> None:
    async def scenario(one: Behind) -> None:
        before = one.posts()
        for number, (price, more) in enumerate(KINDS, 1):
            order = one.order(price, **more)
            one.approved(order)
            one.client.submit_order(one.command(order, {"approval": {}}))
            await settled(lambda name=order.client_order_id.value: name in one.orders())
            await settled(lambda number=number: one.names.count("OrderAccepted") == number)
            assert (one.posts(), one.approvals.counts["redeemed"]) == (before + number, number)
        await one.account.cancel_all_open_orders("BTCUSDT")
        assert one.alarms == []

    behind(venue, scenario)


def test_with_the_settings_of_real_money_the_adapter_asks_for_fees_and_has_its_answer(venue: Handle) -> None:
    async def scenario(one: Behind) -> None:
        order = one.order(None)
        one.approved(order)
        one.client.submit_order(one.command(order))
        await settled(lambda: "OrderFilled" in one.names)
        rows = venue.look(f"requests?path=/sapi/v1/asset/tradeFee&since={since}")
        assert [row["status"] for row in rows] == [200]
        assert one.alarms == []

    since = venue.look("state")["requests"]
    behind(venue, scenario, mainnet=True)


def test_a_list_of_orders_goes_one_by_one(venue: Handle) -> None:
    async def scenario(one: Behind) -> None:
        before, orders = one.posts(), [one.order("29000"), one.order("28900")]
        for order in orders:
            one.approved(order)
        made = OrderList(one.factory.generate_order_list_id(), orders)
        one.client.submit_order_list(SubmitOrderList(TRADER, STRATEGY, made, UUID4(), 0))
        await settled(lambda: one.names.count("OrderAccepted") == 2)
        await one.account.cancel_all_open_orders("BTCUSDT")
        assert one.posts() == before + 2

    behind(venue, scenario)


# -- every way out without an approval


def oco(one: Behind) -> Awaitable[Any]:
    return one.client._spot_http_account.new_spot_oco(  # type: ignore[no-any-return]
        symbol="BTCUSDT", side=one.client._enum_parser.parse_internal_order_side(OrderSide.SELL), quantity="0.01",
        price="31000", stop_price="29000",
    )  # fmt: skip


def endpoint(one: Behind) -> Awaitable[Any]:
    """Call through an endpoint object that was made with the client."""
    return BinanceHttpEndpoint._method(one.account._endpoint_order, POST, one.fields("x-endpoint"))  # type: ignore[no-any-return]


def cached(one: Behind) -> Awaitable[Any]:
    """Take the client that the adapter's factory keeps."""
    http = one.http
    found = get_cached_binance_http_client(
        clock=http._clock, account_type=BinanceAccountType.SPOT, api_key=http._key, api_secret=http._secret,
        key_type=BinanceKeyType.HMAC, base_url=http.base_url, environment=BinanceEnvironment.TESTNET, is_us=False,
        proxy_url=None,
    )  # fmt: skip
    assert found is http
    return signed(POST, "/api/v3/order", **PLACE)(one)


def signed(method: Any, path: str, **fields: str) -> Callable[[Behind], Awaitable[Any]]:
    return lambda one: one.http.sign_request(method, path, {**fields, "timestamp": one.stamp()})


def sent(method: Any, path: str, **fields: str) -> Callable[[Behind], Awaitable[Any]]:
    """Return a request that carries a signature of the caller's own."""
    return lambda one: one.http.send_request(
        method, path, {**fields, "timestamp": one.stamp(), "signature": "c2lnbmVk"}
    )


def socket(method: str, **params: Any) -> Callable[[Behind], Awaitable[Any]]:
    return lambda one: one.ws._send_request(method, one.fields("x-ws") | params)


PLACE = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
WAYS: dict[str, Callable[[Behind], Awaitable[Any]]] = {
    "new_order": lambda one: one.new("x-1"),
    "new_order, market": lambda one: one.new("x-2", order_type=BinanceOrderType.MARKET, time_in_force=None, price=None),
    "new_order, without an id": lambda one: one.new("", new_client_order_id=None),
    "new_spot_oco": oco,
    "modify_order": lambda one: one.account.modify_order("BTCUSDT", None, "0.02", "29000"),
    "an endpoint": endpoint,
    "the factory's own": cached,
    "sign_request, order": signed(POST, "/api/v3/order", **PLACE, newClientOrderId="x-3", recvWindow="5000"),
    "sign_request, order test": signed(POST, "/api/v3/order/test", **PLACE),
    "sign_request, OCO": signed(POST, "/api/v3/order/oco", **PLACE),
    "sign_request, order list": signed(POST, "/api/v3/orderList/oco", **PLACE),
    "sign_request, SOR": signed(POST, "/api/v3/sor/order", **PLACE),
    "sign_request, cancel and replace": signed(POST, "/api/v3/order/cancelReplace", **PLACE),
    "sign_request, amend": signed(PUT, "/api/v3/order/amend/keepPriority", symbol="BTCUSDT", newQty="0.1"),
    "sign_request, withdraw": signed(POST, "/sapi/v1/capital/withdraw/apply", coin="BTC", address="a", amount="1"),
    "sign_request, transfer": signed(POST, "/sapi/v1/asset/transfer", type="MAIN_MARGIN", asset="BTC", amount="1"),
    "sign_request, margin": signed(POST, "/sapi/v1/margin/order", **PLACE),
    "sign_request, dust": signed(POST, "/sapi/v1/asset/dust", asset="BTC"),
    "sign_request, burn": signed(POST, "/sapi/v1/bnbBurn", spotBNBBurn="true"),
    "sign_request, an order as a reading": signed(GET, "/api/v3/order", **PLACE),
    "sign_request, an order as a cancellation": signed(DELETE, "/api/v3/order", **PLACE),
    "send_request, order": sent(POST, "/api/v3/order", **PLACE, newClientOrderId="x-4", recvWindow="5000"),
    "send_request, withdraw": sent(POST, "/sapi/v1/capital/withdraw/apply", coin="BTC", address="a", amount="1"),
    "send_request, unsigned": lambda one: one.http.send_request(POST, "/api/v3/order", dict(PLACE)),
    "send_request, listen key": lambda one: one.http.send_request(POST, "/api/v3/userDataStream", {}),
    "submit_order": lambda one: one.client._submit_order(one.command(one.order())),
    "_submit_order_inner": lambda one: one.client._submit_order_inner(one.order(), None, None),
    "_submit_limit_order": lambda one: one.client._submit_limit_order(one.order(), None, None, False),
    "_submit_market_order": lambda one: one.client._submit_market_order(one.order(None), None, None, False),
    "_submit_order_list": lambda one: one.client._submit_order_list(
        SubmitOrderList(TRADER, STRATEGY, OrderList(one.factory.generate_order_list_id(), [one.order()]), UUID4(), 0)
    ),
    "ws order.place": socket("order.place"),
    "ws order.cancelReplace": socket("order.cancelReplace"),
    "ws orderList.place": socket("orderList.place"),
    "ws sor.order.place": socket("sor.order.place"),
    "the connection": lambda one: one.http._client.request(POST, f"{one.venue.http}/api/v3/order?symbol=BTCUSDT"),
    "the connection, with a body": lambda one: one.http._client.request(
        DELETE, f"{one.venue.http}/api/v3/order?symbol=BTCUSDT&timestamp=1&signature=x", body=b"side=BUY"
    ),
}  # fmt: skip


async def tried(one: Behind, way: str) -> str:
    """Try a way past the gate; return how it ended: in the words of an error, or of an event."""
    one.events.clear()
    try:
        await WAYS[way](one)
    except Exception as error:
        return str(error)
    return " ".join(getattr(event, "reason", "") for event in one.events)


def test_nothing_leaves_without_an_approval(venue: Handle) -> None:
    async def scenario(one: Behind) -> None:
        before, orders, last = one.posts(), one.orders(), ""
        for number, way in enumerate(WAYS, 1):
            told = await tried(one, way)
            assert "'code': -9001" in told or "Failed to send" in told, (way, told)
            assert (one.posts(), one.orders()) == (before, orders), way
            assert len(one.alarms) == sum(one.approvals.counts.values()) == number, way
            last = one.alarms[-1]
        assert one.approvals.counts.keys() == {UNKNOWN, UNREADABLE, UNLISTED}, last

    behind(venue, scenario)


@pytest.mark.parametrize("way", ["new_order", "submit_order", "sign_request, order", "ws order.place"])
def test_without_the_doors_it_would_leave(venue: Handle, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(exchange, "install", lambda client, seal: None)  # mutation
    monkeypatch.setattr(Seal, "secret", property(lambda self: KEY.secret), raising=False)  # and its own key
    monkeypatch.setattr(Seal, "__init__", lambda self, credentials, approvals, venue: None)
    monkeypatch.setattr(Seal, "key", property(lambda self: KEY.name), raising=False)

    async def scenario(one: Behind) -> None:
        before = one.posts()
        await tried(one, way)
        await settled(lambda: one.posts() == before + 1)

    behind(venue, scenario)


def test_a_key_that_is_thrown_away_is_worth_nothing_at_the_venue(venue: Handle) -> None:
    """Whoever takes all that the adapter knows, or the connection from behind the door, gets no order in."""

    async def scenario(one: Behind) -> None:
        orders = one.orders()
        raw, http = one.http._client._raw, one.http
        known = (one.clock, http._key, http._secret, one.venue.http)
        fresh = BinanceHttpClient(*known, ed25519_private_key=http._secret)
        with pytest.raises(BinanceClientError, match="-1022"):
            await fresh.sign_request(POST, "/api/v3/order", one.fields("x-fresh"))
        query = http._prepare_params(one.fields("x-raw"))
        url = f"{one.venue.http}/api/v3/order?{query}&signature={quote(http._get_sign(query), safe='')}"
        answer = await raw.request(POST, url=url, headers=http._headers)
        assert json.loads(answer.body)["code"] == -1022
        assert one.orders() == orders

    behind(venue, scenario)


def test_a_socket_is_never_logged_on_so_that_an_order_on_it_is_of_nobody(venue: Handle) -> None:
    async def scenario(one: Behind) -> None:
        orders = one.orders()
        frame = {"id": "raw", "method": "order.place", "params": {**PLACE, "timestamp": int(one.stamp())}}
        answer = asyncio.get_running_loop().create_future()
        one.ws._pending_requests["raw"] = answer
        await one.ws._client._raw.send_text(json.dumps(frame).encode())
        assert "error" in await asyncio.wait_for(answer, 5)
        assert one.orders() == orders
        assert "session.logon" not in {row["path"] for row in venue.look(f"requests?method=WS&since={since}")}

    since = venue.look("state")["requests"]
    behind(venue, scenario)


def test_with_a_logon_it_would_be_filled(venue: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    stock = SocketDoor.send_text

    async def send_text(self: Any, data: bytes) -> None:
        asked = json.loads(data)
        if asked["method"] != "session.logon":
            return await stock(self, data)
        text = f"apiKey={KEY.name}&timestamp={asked['params']['timestamp']}"
        params = asked["params"] | {"signature": KEY.sign(text)}
        return await self._raw.send_text(json.dumps(asked | {"params": params}).encode())

    monkeypatch.setattr(SocketDoor, "send_text", send_text)  # mutation

    async def scenario(one: Behind) -> None:
        orders = one.orders()
        frame = {"id": "raw", "method": "order.place", "params": {**PLACE, "timestamp": int(one.stamp())}}
        await one.ws._client._raw.send_text(json.dumps(frame).encode())
        await settled(lambda: len(one.orders()) == len(orders) + 1)

    behind(venue, scenario)


# -- an approval is for one order, once


CHANGES: dict[str, dict[str, str]] = {
    "newClientOrderId": {"newClientOrderId": "other"},
    "symbol": {"symbol": "ETHUSDT"},
    "side": {"side": "SELL"},
    "type": {"type": "LIMIT_MAKER"},
    "quantity": {"quantity": "0.01000001"},
    "price": {"price": "29000.01"},
    "timeInForce": {"timeInForce": "IOC"},
    "quoteOrderQty": {"quoteOrderQty": "300"},
    "icebergQty": {"icebergQty": "0.001"},
    "stopPrice": {"stopPrice": "31000"},
    "newOrderRespType": {"newOrderRespType": "ACK"},
    "recvWindow": {"recvWindow": "60000"},
}  # fmt: skip


def test_what_leaves_is_what_was_approved_field_by_field(venue: Handle) -> None:
    async def scenario(one: Behind) -> None:
        before = one.posts()
        for name, changed in CHANGES.items():
            order = one.order("29000")
            one.approved(order)
            fields = one.fields(order.client_order_id.value) | changed
            if changed.get("type") == "LIMIT_MAKER":
                del fields["timeInForce"]
            with pytest.raises(BinanceClientError, match="-9001"):
                await one.http.sign_request(POST, "/api/v3/order", fields)
            assert one.posts() == before, name
        assert one.approvals.counts[CHANGED] == 6
        assert one.approvals.counts[UNKNOWN] == 1
        assert one.approvals.counts[UNREADABLE] == 5

    behind(venue, scenario)


def test_without_comparing_the_wire_another_order_would_leave(venue: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(one: Behind) -> None:
        for name, changed in CHANGES.items():
            order = one.order("29000")
            one.approved(order)
            monkeypatch.setattr(seal, "terms_of_query", lambda query, venue, order=order: terms_of(order))  # mutation
            before, fields = one.posts(), one.fields(order.client_order_id.value) | changed
            with suppress(BinanceClientError):
                await one.http.sign_request(POST, "/api/v3/order", fields)
            assert one.posts() == before + 1, name
        await one.account.cancel_all_open_orders("BTCUSDT")

    behind(venue, scenario)


def test_a_field_twice_or_in_another_spelling_is_no_order(venue: Handle) -> None:
    async def scenario(one: Behind) -> None:
        before = one.posts()
        for twist in (
            lambda query: f"{query}&quantity=1",
            lambda query: query.replace("quantity=0.01", "quantity=1&quantity=0.01"),
            lambda query: query.replace("quantity", "quantit%79"),
            lambda query: query.replace("BTCUSDT", "BTC%55SDT"),
            lambda query: query.replace("quantity=0.01", "quantity=%30.01"),
            lambda query: query.replace("quantity=0.01", "quantity=0.01;quantity=1"),
            lambda query: f"{query}&",
            lambda query: f"&{query}",
            lambda query: f"{query}&price=",
            lambda query: f"signature=x&{query}",
        ):
            order = one.order("29000")
            one.approved(order)
            query = twist(urlencode(one.fields(order.client_order_id.value)))
            with pytest.raises(BinanceClientError, match="-9001"):
                await one.http._client.request(POST, url=f"{one.venue.http}/api/v3/order?{query}&signature=x")
            assert one.posts() == before, query
        assert one.approvals.counts[UNREADABLE] == 10

    behind(venue, scenario)


def test_an_order_leaves_once_whatever_comes_of_it(venue: Handle) -> None:
    async def scenario(one: Behind) -> None:
        before = one.posts()
        taken, refused = one.order("29000"), one.order("29000.001")  # off the tick
        for order in (taken, refused):
            one.approved(order)
            with suppress(BinanceClientError):
                await one.client._submit_limit_order(order, None, None, False)
        await one.account.cancel_all_open_orders("BTCUSDT")
        assert one.posts() == before + 2
        for order in (taken, refused):
            with pytest.raises(BinanceClientError, match=USED):
                await one.client._submit_limit_order(order, None, None, False)
        assert one.posts() == before + 2

    behind(venue, scenario)


def test_a_retry_of_the_adapter_is_refused(venue: Handle) -> None:
    async def scenario(one: Behind) -> None:
        for _ in range(3):
            venue.fault("lost", path="/api/v3/order", method="POST")
        before = one.posts()
        order = one.order(None)
        one.approved(order)
        with suppress(Exception):  # whatever the connection raises
            await one.client._submit_market_order(order, None, None, False)
        await settled(lambda: one.posts() == before + 1)
        venue.tell("clear")
        with pytest.raises(BinanceClientError, match=USED):
            await one.client._submit_market_order(order, None, None, False)
        assert one.posts() == before + 1

    behind(venue, scenario)


def test_an_order_that_was_not_presented_or_is_late_or_withdrawn_does_not_leave(venue: Handle) -> None:
    async def scenario(one: Behind) -> None:
        before, orders = one.posts(), [one.order("29000") for _ in range(4)]
        one.approvals.approve(terms_of(orders[0]))
        for order in orders[1:]:
            one.approved(order)
        foreign = Approvals(fresh_key(), time.monotonic_ns)
        assert one.approvals.present(orders[3].client_order_id.value, foreign.approve(terms_of(orders[3])))
        one.approvals.void("a drill")
        one.approvals.late = lambda order_id: "REDUCING"
        late = one.order("29000")
        one.approved(late)
        for order in (*orders, late):
            with pytest.raises(BinanceClientError, match="-9001"):
                await one.client._submit_limit_order(order, None, None, False)
        assert one.posts() == before
        assert one.approvals.counts[LATE] == 1
        assert one.approvals.counts[WITHDRAWN] == 4

    behind(venue, scenario)


@pytest.mark.parametrize("without", ["late", "presented", "withdrawn", "used", "old"])
def test_without_that_look_it_would_leave(venue: Handle, monkeypatch: pytest.MonkeyPatch, without: str) -> None:
    async def scenario(one: Behind) -> None:
        order, approvals = one.order("29000"), one.approvals
        before, token = one.posts(), approvals.approve(terms_of(order))
        assert without == "presented" or approvals.present(order.client_order_id.value, token) == ""
        if without == "late":
            approvals.late = lambda _: ""  # mutation: it would say that it is too late
        elif without == "presented":
            approvals._open[order.client_order_id.value].presented = token  # mutation
        elif without == "withdrawn":
            monkeypatch.setattr(Approvals, "void", lambda self, why: None)  # mutation
            approvals.void("a drill")
        elif without == "used":
            monkeypatch.setattr(Approvals, "_close", lambda self, order_id, why: None)  # mutation
            await one.client._submit_limit_order(order, None, None, False)
            await one.account.cancel_all_open_orders("BTCUSDT")
            before += 1
        else:
            monkeypatch.setattr(Approvals, "_old", lambda self, made: False)  # mutation
            approvals._clock = lambda: 2**62
        await one.client._submit_limit_order(order, None, None, False)
        await one.account.cancel_all_open_orders("BTCUSDT")
        assert one.posts() == before + 1

    behind(venue, scenario)


def test_a_cancellation_needs_no_approval(venue: Handle) -> None:
    async def scenario(one: Behind) -> None:
        order = one.order("29000")
        one.approved(order)
        await one.client._submit_limit_order(order, None, None, False)
        one.approvals.void("a drill")
        one.approvals.late = lambda order_id: "HALTED"
        await one.account.cancel_order("BTCUSDT", orig_client_order_id=order.client_order_id.value)
        assert venue.look("books")["open"] == []
        assert one.alarms == []

    behind(venue, scenario)


def test_a_refusal_settles_the_order_at_once(venue: Handle) -> None:
    async def scenario(one: Behind) -> None:
        one.client.submit_order(one.command(one.order()))
        await settled(lambda: "OrderRejected" in one.names)
        code = code_of(one.events[-1].reason)
        assert code == door.CODE
        assert code not in UNCLEAR

    behind(venue, scenario)


# -- the stream


@pytest.mark.parametrize("fault", ["drop", "terminate"])
def test_the_stream_comes_back_by_the_door(venue: Handle, fault: str) -> None:
    async def scenario(one: Behind) -> None:
        venue.fault(fault, where="user")
        await settled(lambda: venue.look("state")["subscriptions"] == 0)
        await settled(lambda: venue.look("state")["subscriptions"] == 1)
        order = one.order(None)
        one.approved(order)
        one.client.submit_order(one.command(order))
        await settled(lambda: "OrderFilled" in one.names)
        assert one.alarms == []

    behind(venue, scenario)


# -- what reads the books


def test_our_own_client_reads_by_the_seal_and_cannot_order(venue: Handle) -> None:
    async def scenario(one: Behind) -> None:
        before = one.posts()
        async with aiohttp.ClientSession() as session:
            rest = one.exchange.reader(session, one.seal)
            assert "USDT" in await rest.account()
            assert await rest.placed("BTCUSDT") == []
            assert await rest.order("BTCUSDT", "nobody") is None
            assert await rest.deals("BTCUSDT", "1") == []
            assert await rest.cancel_all("BTCUSDT") == 0
            assert one.alarms == []
            with pytest.raises(SealedError, match=UNREADABLE):
                await rest.market("BTCUSDT", "SELL", Decimal("0.01"), "x-rest")
            stock = VenueRest(session, venue.http, credentials())
            assert await stock.market("BTCUSDT", "SELL", Decimal("0.01"), "x-stock") == Decimal("0.01")
        assert one.posts() == before + 1

    behind(venue, scenario)
