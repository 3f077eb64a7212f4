"""The last door without an exchange: what is signed, what is read from the wire, and what the bundled adapter is like."""

import ast
import asyncio
import base64
import copy
import json
import pickle
import re
import time
from contextlib import suppress
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus, urlencode

import nautilus_trader
import pytest
from cryptography.hazmat.primitives.serialization import load_der_private_key
from hypothesis import given, settings
from hypothesis import strategies as st
from nautilus_trader.adapters import binance
from nautilus_trader.adapters.binance.http.error import BinanceClientError
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.common.factories import OrderFactory
from nautilus_trader.core.nautilus_pyo3 import HttpMethod, WebSocketClientError
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import SubmitOrder
from nautilus_trader.model.enums import OrderSide, TimeInForce
from nautilus_trader.model.identifiers import InstrumentId, StrategyId, TraderId
from nautilus_trader.model.objects import Price, Quantity

from alphatrade.nodes.live import seal
from alphatrade.nodes.live.door import HttpDoor, SocketDoor, install
from alphatrade.nodes.live.exchange import LiveExchange
from alphatrade.nodes.live.seal import HARMLESS, LISTED, ORDER, STREAM, Seal, SealedError, throwaway
from alphatrade.nodes.live.wire import FIELDS, SENT, fields_of, terms_of_query
from alphatrade.nodes.paper.link import Exchange
from alphatrade.nodes.venue_rest import Credentials
from alphatrade.risk.approval import UNKNOWN, UNLISTED, USED, Approvals, Terms, fresh_key
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.gate_live import terms_of
from tests.venue.keys import ED25519_KEY, HMAC_KEY, Keys

NAME = InstrumentId.from_str("BTCUSDT.BINANCE")
QUERY = (
    "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.01000000&price=29000.00"
    "&newClientOrderId=O-1&recvWindow=5000&timestamp=1"
)
TERMS = Terms("O-1", "BTCUSDT.BINANCE", "BUY", "LIMIT", "0.01", "29000", "GTC", False)
REAL = Credentials(ED25519_KEY.name, ED25519_KEY.secret)


def made() -> tuple[Approvals, Any, list[str]]:
    """Return approvals, a seal, and what is told as an alarm."""
    approvals, alarms = Approvals(fresh_key(), time.monotonic_ns), list[str]()
    approvals.alarm = lambda order_id, why: alarms.append(why)
    return approvals, Seal(REAL, approvals, "BINANCE"), alarms


def right(query: str, signature: str) -> bool:
    keys = Keys()
    keys.accept(ED25519_KEY.public())
    try:
        keys.check(ED25519_KEY.name, query, signature)
    except Exception:
        return False
    return True


# -- the wire


def test_an_order_is_read_as_the_exchange_reads_it() -> None:
    assert terms_of_query(QUERY, "BINANCE") == TERMS
    maker = QUERY.replace("=LIMIT", "=LIMIT_MAKER").replace("&timeInForce=GTC", "")
    assert terms_of_query(maker, "BINANCE") == TERMS._replace(post_only=True)
    market = QUERY.replace("=LIMIT", "=MARKET").replace("&timeInForce=GTC", "").replace("&price=29000.00", "")
    assert terms_of_query(market, "BINANCE") == TERMS._replace(kind="MARKET", price="", tif="")


@pytest.mark.parametrize("kind", FIELDS)
def test_each_field_has_to_be_there_once_and_no_other(kind: str) -> None:
    values = {"symbol": "BTCUSDT", "side": "BUY", "type": kind, "quantity": "1", "price": "2", "timeInForce": "GTC",
              "newClientOrderId": "O-1", "recvWindow": "5000", "timestamp": "1"}  # fmt: skip
    whole = {name: values[name] for name in (*FIELDS[kind], *SENT)}
    terms_of_query(urlencode(whole), "BINANCE")
    for name in whole:
        for query in (
            urlencode({other: value for other, value in whole.items() if other != name}),
            urlencode(whole | {name: ""}),
            urlencode([*whole.items(), (name, whole[name])]),
        ):
            with pytest.raises(ValueError, match=r"."):
                terms_of_query(query, "BINANCE")
    for name in ("quoteOrderQty", "stopPrice", "icebergQty", "trailingDelta", "strategyId", "selfTradePreventionMode",
                 "newOrderRespType", "pegPriceType", "signature", "x", *values):  # fmt: skip
        if name not in whole:
            with pytest.raises(ValueError, match="not sent with it"):
                terms_of_query(urlencode(whole | {name: "1"}), "BINANCE")


@pytest.mark.parametrize(
    "query",
    [
        "&", "=", "a", "a=1&a=1", "a=1;b=2", "a=1&", "&a=1", "a=%41", "a=b+%20", "a=\u00e9", "a=1&&b=2", "a=1#b", "a= 1",
        "%61=1", "a=%e9",
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_not_read(query: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        fields_of(query)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recvWindow", "5001"), ("recvWindow", "-1"), ("timestamp", "1.5"), ("timestamp", "\u0661"), ("quantity", "1e3"),
        ("quantity", "-1"), ("price", "+1"), ("price", "NaN"), ("type", "STOP_LOSS"), ("type", "limit"),
    ],
)  # fmt: skip
def test_a_value_that_no_approval_can_be_made_for_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        terms_of_query(urlencode(fields_of(QUERY) | {name: value}), "BINANCE")


class Spy:
    """The connection of a bundled client: notes what would have left."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    async def request(self, method: Any, url: str, headers: Any = None, body: Any = None, keys: Any = None) -> Any:
        self.urls.append(url)
        raise BinanceClientError(400, {"code": -2010, "msg": "enough"}, {})


class Bundled:
    """The bundled client, with a spy in the place of its connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        clock, cache = LiveClock(), Cache()
        bus = MessageBus(trader_id=TraderId("T-001"), clock=clock)
        bus.register("ExecEngine.process", lambda _: None)
        self.client: Any = Exchange("http://127.0.0.1:9", "ws://127.0.0.1:9", (NAME,)).client(loop, bus, cache, REAL)
        self.client._http_client._client = self.spy = Spy()
        self.factory = OrderFactory(TraderId("T-001"), StrategyId("S-1"), clock)
        self.loop = loop

    def sent(self, order: Any) -> str:
        """Return what of an order is signed, as the adapter sends it."""
        self.spy.urls.clear()
        self.loop.run_until_complete(
            self.client._submit_order(SubmitOrder(order.trader_id, order.strategy_id, order, UUID4(), 0))
        )
        (url,) = self.spy.urls
        return url.partition("?")[2].rpartition("&signature=")[0]


@pytest.fixture(scope="module")
def bundled() -> Any:
    loop = asyncio.new_event_loop()
    yield Bundled(loop)
    loop.close()


raw = st.integers(1, 10**13)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["LIMIT", "MAKER", "MARKET"]), st.sampled_from([OrderSide.BUY, OrderSide.SELL]), raw, raw,
       st.sampled_from([TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK]), st.booleans())  # fmt: skip
def test_the_wire_says_what_was_approved_of_every_order(
    bundled: Bundled, kind: str, side: OrderSide, qty: int, price: int, tif: TimeInForce, closes: bool
) -> None:
    size, level = Quantity.from_str(f"{qty / 10**8:.8f}"), Price.from_str(f"{price / 100:.2f}")
    if kind == "MARKET":
        order = bundled.factory.market(NAME, side, size, reduce_only=closes)
    else:
        maker = kind == "MAKER"
        order = bundled.factory.limit(
            NAME, side, size, level, TimeInForce.GTC if maker else tif, post_only=maker, reduce_only=closes
        )
    assert terms_of_query(bundled.sent(order), "BINANCE") == terms_of(order)


def test_what_terms_cannot_say_is_seen_on_the_wire(bundled: Bundled) -> None:
    size = Quantity.from_str("1.00000000")
    shown = bundled.factory.limit(
        NAME, OrderSide.BUY, size, Price.from_str("1.00"), display_qty=Quantity.from_str("0.10000000")
    )
    quote = bundled.factory.market(NAME, OrderSide.BUY, size, quote_quantity=True)
    for order, name in ((shown, "icebergQty"), (quote, "quantity")):
        with pytest.raises(ValueError, match=name):
            terms_of_query(bundled.sent(order), "BINANCE")


# -- the seal


def test_what_is_on_the_list_is_signed_with_the_real_key() -> None:
    _, sealed, alarms = made()
    for method, path in LISTED:
        query = "apiKey=k&timestamp=1" if (method, path) == STREAM else "symbol=BTCUSDT&timestamp=1"
        assert right(query, sealed.signer()(method, path, query))
    assert alarms == []


def test_an_order_is_signed_once_it_is_approved_and_presented_and_no_second_time() -> None:
    approvals, sealed, alarms = made()
    sign = sealed.signer()
    with pytest.raises(SealedError, match=UNKNOWN):
        sign(*ORDER, QUERY)
    token = approvals.approve(TERMS)
    assert approvals.present("O-1", token) == ""
    assert right(QUERY, sign(*ORDER, QUERY))
    with pytest.raises(SealedError, match=USED):
        sign(*ORDER, QUERY)
    assert alarms == [UNKNOWN, USED]


SIGNS = "&=;%+#?/.0159 -_éBUYSELLsymbolquantity"


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(QUERY)), st.integers(0, 3), st.text(SIGNS, max_size=4))
def test_whatever_is_changed_what_is_signed_says_what_was_approved(at: int, gone: int, put: str) -> None:
    """Read by two readers of other makes: of a field that is there twice one takes the first, the other the last."""
    approvals, sealed, _ = made()
    approvals.present("O-1", approvals.approve(TERMS))
    query = QUERY[:at] + put + QUERY[at + gone :]
    try:
        sealed.signer()(*ORDER, query)
    except SealedError:
        return
    pairs = [tuple(unquote_plus(part) for part in pair.split("=", 1)) for pair in re.split("[&;]", query)]
    wanted = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "newClientOrderId": "O-1"}
    for found in (dict(pairs), dict(reversed(pairs))):
        assert {name: found[name] for name in wanted} == wanted
        assert (Decimal(found["quantity"]), Decimal(found["price"])) == (Decimal("0.01"), Decimal(29000))
        assert len(found) == 9


def test_an_approval_is_for_orders_of_one_venue() -> None:
    approvals, _, _ = made()
    elsewhere = Seal(REAL, approvals, "BYBIT")
    approvals.present("O-1", approvals.approve(TERMS))
    with pytest.raises(SealedError, match="not what was approved: instrument"):
        elsewhere.signer()(*ORDER, QUERY)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v3/order/test"), ("POST", "/api/v3/order/oco"), ("POST", "/api/v3/order/"), ("post", "/api/v3/order"),
        ("PUT", "/api/v3/order"), ("POST", "//api/v3/order"), ("POST", "/sapi/v1/capital/withdraw/apply"), ("", ""),
        ("POST", "/sapi/v1/bnbBurn"), ("GET", "/sapi/v1/capital/config/getall"), ("WS", "session.logon"),
        ("WS", "order.place"), ("DELETE", "/api/v3/orderList"), ("GET", "/api/v3/order "), ("POST", "/api/v3/userDataStream"),
    ],
)  # fmt: skip
def test_nothing_else_is_signed(method: str, path: str) -> None:
    _, sealed, alarms = made()
    with pytest.raises(SealedError, match=UNLISTED):
        sealed.signer()(method, path, "symbol=BTCUSDT&timestamp=1")
    assert alarms == [f"{UNLISTED}: {method} {path}"]


def test_no_signature_of_a_reading_would_do_for_an_order_or_a_withdrawal() -> None:
    """A signature covers the fields alone: whoever got one of a reading could send them as something else."""
    _, sealed, _ = made()
    needed = {"side", "type", "coin", "address", "asset", "amount", "newQty", "toSymbol"}
    assert needed.isdisjoint(HARMLESS)
    for method, path in sorted(LISTED):
        for query in (QUERY, "coin=BTC&address=a&amount=1&timestamp=1", "timestamp=1&timestamp=1", "timestamp=%31"):
            with pytest.raises(SealedError, match=UNLISTED):
                sealed.signer()(method, path, query)


def test_without_a_look_at_its_fields_it_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "fields_of", lambda query: {})  # mutation
    _, sealed, _ = made()
    assert right(QUERY, sealed.signer()("GET", "/api/v3/order", QUERY))


@pytest.mark.parametrize("part", ["redeem", "listed"])
def test_without_asking_anything_would_be_signed(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    approvals, sealed, _ = made()
    if part == "redeem":
        monkeypatch.setattr(approvals, "redeem", lambda terms: "")  # mutation
        assert right(QUERY, sealed.signer()(*ORDER, QUERY))
    else:
        monkeypatch.setattr(seal, "LISTED", {("POST", "/sapi/v1/capital/withdraw/apply")})  # mutation
        assert sealed.signer()("POST", "/sapi/v1/capital/withdraw/apply", "timestamp=1")


def test_a_seal_shows_and_gives_away_nothing() -> None:
    _, sealed, _ = made()
    text = "".join(line for line in ED25519_KEY.secret.splitlines() if not line.startswith("-"))
    assert (sealed.key, sealed.is_private_key) == (ED25519_KEY.name, True)
    assert text not in sealed.secret
    for shown in (repr(sealed), str(sealed), repr(sealed.signer()), repr(vars(sealed))):
        assert text not in shown
        assert ED25519_KEY.name not in shown
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="stays where it is"):
            take(sealed)
    load_der_private_key(base64.b64decode(sealed.secret), None)
    assert len({throwaway() for _ in range(10)}) == 10


def test_keys_that_the_venue_knows_the_secret_of_are_refused() -> None:
    approvals, _, _ = made()
    with pytest.raises(ConfigError, match="HMAC secret"):
        Seal(Credentials(HMAC_KEY.name, HMAC_KEY.secret), approvals, "BINANCE")


# -- the door


class Through:
    """A connection that answers all."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def request(self, method: Any, url: str, headers: Any = None, body: Any = None, keys: Any = None) -> Any:
        self.asked.append((str(method).rpartition(".")[2], url, body, keys))
        return "answer"


def passed(*given: Any, **named: Any) -> list[tuple[Any, ...]]:
    """Return what of a request has left by a door to ``http://here``, after the approval of an order."""
    approvals, sealed, _ = made()
    approvals.present("O-1", approvals.approve(TERMS))
    through = Through()
    with suppress(BinanceClientError):
        asyncio.run(HttpDoor(through, "http://here", sealed).request(*given, **named))
    return through.asked


def test_an_order_is_not_held_back_by_a_limiter_after_it_was_looked_at() -> None:
    """A kill in between would come too late for it."""
    ((method, url, body, keys),) = passed(
        HttpMethod.POST, url=f"http://here/api/v3/order?{QUERY}&signature=x", keys=["binance:global"]
    )
    assert (method, body, keys) == ("POST", None, None)
    assert url.startswith(f"http://here/api/v3/order?{QUERY}&signature=")
    ((*_, keys),) = passed(HttpMethod.GET, url="http://here/api/v3/account?timestamp=1&signature=x", keys=["a"])
    assert keys == ["a"]


def test_what_needs_no_signature_is_read_as_it_is() -> None:
    for url in ("http://here/api/v3/time", "http://here/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22%5D"):
        assert passed(HttpMethod.GET, url=url) == [("GET", url, None, None)]


@pytest.mark.parametrize("method", [HttpMethod.GET, HttpMethod.POST, HttpMethod.DELETE, "POST"])
@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("http://there/api/v3/order?{}&signature=x", None),
        ("http://here.there/api/v3/order?{}&signature=x", None),
        ("http://here@there/api/v3/order?{}&signature=x", None),
        ("http://here/api/v3/order?{}&signature=x", b"side=SELL"),
        ("http://here/api/v3/order?{}&signature=x", b""),
        ("http://here/api/v3/order?signature=x&{}", None),
        ("http://here/api/v3/order/?{}&signature=x", None),
        ("http://here//api/v3/order?{}&signature=x", None),
        ("http://here/api/v3/%6frder?{}&signature=x", None),
        ("http://here/sapi/../api/v3/order?{}&signature=x", None),
        ("/api/v3/order?{}&signature=x", None),
    ],
)
def test_nothing_leaves_for_another_place_or_with_a_body(method: Any, url: str, body: Any) -> None:
    asked = passed(method, url=url.format(QUERY), body=body)
    signed_nothing = all("signature=x" in one[1] for one in asked)
    assert asked == [] or (
        method == HttpMethod.GET and body is None and url.startswith("http://here/") and signed_nothing
    )


class Socket:
    """The connection of a bundled client to a WS-API: notes what leaves."""

    disconnect = is_active = is_closed = is_disconnecting = is_reconnecting = staticmethod(bool)

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def send_text(self, data: bytes) -> None:
        self.sent.append(json.loads(data))


def test_on_a_socket_only_what_is_about_the_stream_leaves_and_says_no_more_than_it_has_to() -> None:
    _, sealed, alarms = made()
    raw, answers = Socket(), list[bytes]()
    socket = SocketDoor(raw, sealed, answers.append, lambda: 7)
    order = {"symbol": "BTCUSDT", "side": "BUY", "signature": "x", "apiKey": "k"}

    def send(method: Any, **params: Any) -> None:
        asyncio.run(socket.send_text(json.dumps({"id": "1", "method": method, "params": params}).encode()))

    send("session.logon", apiKey="k", timestamp=1, signature="x")
    assert (raw.sent, [json.loads(one) for one in answers]) == ([], [{"id": "1", "status": 200, "result": {}}])
    send("userDataStream.subscribe", **order)
    (told,) = raw.sent
    signature = told["params"].pop("signature")
    assert told == {"id": "1", "method": STREAM[1], "params": {"apiKey": ED25519_KEY.name, "timestamp": 7}}
    assert right(f"apiKey={ED25519_KEY.name}&timestamp=7", signature)
    send("userDataStream.unsubscribe", subscriptionId="3", **order)
    send("session.status", **order)
    assert [one["params"] for one in raw.sent[1:]] == [{"subscriptionId": "3"}, {}]
    for method in ("order.place", "order.cancelReplace", "sor.order.place", STREAM[1], "ORDER.PLACE", "", None):
        with pytest.raises(WebSocketClientError, match=UNLISTED):
            send(method, **order)
    assert (len(raw.sent), len(alarms)) == (3, 7)


def test_a_client_of_another_make_gets_no_door() -> None:
    _, sealed, _ = made()
    with pytest.raises(ConfigError, match="that this version was made for"):
        install(object(), sealed)  # type: ignore[arg-type]
    loop = asyncio.new_event_loop()
    client = Bundled(loop).client  # its connection is none of the adapter's
    with pytest.raises(ConfigError, match="that this version was made for"):
        install(client, sealed)
    loop.close()


def test_the_clients_of_a_live_node_get_keys_under_a_seal_or_none() -> None:
    approvals, sealed, _ = made()
    nothing: Any = None
    exchange = LiveExchange(None, None, (), approvals=approvals)
    for make in (partial(exchange.client, nothing, nothing, nothing), partial(exchange.reader, nothing)):
        with pytest.raises(ConfigError, match="keys under a seal"):
            make(REAL)
    assert exchange.reader(nothing, sealed)


# -- what the bundled adapter is like: an upgrade that moves one of these lines moves the door


ADAPTER = Path(binance.__file__).parent


@cache
def functions() -> list[tuple[str, set[str]]]:
    """Return each function of the adapter's, as its file and name, and what it names."""
    found = []
    for path in sorted(ADAPTER.rglob("*.py")):
        if "futures" in path.parts:
            continue
        for one in ast.walk(ast.parse(path.read_text())):
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
                named = {ast.unparse(node) for node in ast.walk(one) if isinstance(node, ast.Attribute | ast.Name)}
                found.append((f"{path.relative_to(ADAPTER)} {one.name}", named))
    return found


def using(name: str) -> list[str]:
    return [where for where, named in functions() if name in named]


def test_the_adapter_is_the_one_that_the_door_was_made_for() -> None:
    assert nautilus_trader.__version__ == "1.231.0"


def test_the_adapter_reaches_the_exchange_in_the_places_where_the_doors_are() -> None:
    assert using("self._client.request") == ["http/client.py send_request"]
    assert using("HttpClient") == ["http/client.py __init__"]
    user, other = "websocket/user.py", "websocket/client.py"  # the other one hears markets
    assert [one for one in using("self._client.send_text") if not one.startswith(other)] == [f"{user} _send_request"]
    assert [one for one in using("WebSocketClient.connect") if not one.startswith(other)] == [
        f"{user} connect", f"{user} _connect_stream",  # the latter for futures
    ]  # fmt: skip
    for way in ("self._client.send", "aiohttp", "requests", "urllib.request", "httpx", "socket"):
        assert using(way) == [], way
