"""The surface of the venue: signatures, time, limits, market data, and both kinds of sockets."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any

import aiohttp
import numpy as np
import pytest

from alphatrade.nodes.tapes import load_tape, parse_spec
from alphatrade.nodes.venue_rest import Credentials, VenueRest
from alphatrade.nodes.venue_rows import Deal
from tests.venue.candles import MINUTE, Candles
from tests.venue.keys import ED25519_KEY, HMAC_KEY, ApiKey, make_ed25519
from tests.venue.make_venue import Handle, fetch, running, until
from tests.venue.market import Feed, from_tape, walk
from tests.venue.rules import KNOWN
from tests.venue.ws_api import signed_text


@pytest.fixture
def venue() -> Iterator[Handle]:
    with running() as handle:
        handle.quote(30000, 30001)
        yield handle


def now() -> int:
    return int(time.time() * 1000)


# -- who asks, and when ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [ED25519_KEY, HMAC_KEY], ids=["ed25519", "hmac"])
def test_a_signed_request_is_answered(venue: Handle, key: ApiKey) -> None:
    answer = venue.signed("GET", "/api/v3/account", key)
    assert answer.status == 200
    assert {row["asset"] for row in answer.body["balances"]} == {"BTC", "USDT"}


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (ApiKey(HMAC_KEY.name, "another secret"), -1022),
        (ApiKey(ED25519_KEY.name, make_ed25519("x", 2).secret), -1022),
        (ApiKey("unknown", "secret"), -2015),
    ],
)
def test_a_wrong_signature_or_key_is_refused(venue: Handle, key: ApiKey, code: int) -> None:
    assert venue.signed("GET", "/api/v3/account", key).body["code"] == code


def test_a_request_that_was_changed_after_signing_is_refused(venue: Handle) -> None:
    query = f"timestamp={now()}"
    signed = f"{venue.http}/api/v3/account?{query}&recvWindow=60000&signature={HMAC_KEY.sign(query)}"
    assert fetch("GET", signed, headers={"X-MBX-APIKEY": HMAC_KEY.name}).body["code"] == -1022


@pytest.mark.parametrize(("off", "refused"), [(-5_500, True), (-4_000, False), (500, False), (1_500, True)])
def test_the_time_of_a_request_must_be_near_the_venue_s(venue: Handle, off: int, refused: bool) -> None:
    answer = venue.signed("GET", "/api/v3/account", timestamp=now() + off)
    assert (answer.status == 400 and answer.body["code"] == -1021) == refused


def test_a_request_without_time_or_with_a_wide_window_is_refused(venue: Handle) -> None:
    assert venue.signed("GET", "/api/v3/account", timestamp="").body["code"] == -1100
    assert venue.signed("GET", "/api/v3/account", recvWindow=60_001).body["code"] == -1131


def test_a_key_can_be_rotated(venue: Handle) -> None:
    new = make_ed25519("second key", 7)
    assert venue.signed("GET", "/api/v3/account", new).body["code"] == -2015
    venue.tell("keys", accept=new.public(), revoke=ED25519_KEY.name)
    assert venue.signed("GET", "/api/v3/account", new).status == 200
    assert venue.signed("GET", "/api/v3/account").body["code"] == -2015


def test_unknown_paths_symbols_and_orders_are_refused(venue: Handle) -> None:
    assert venue.get("/api/v3/nothing").status == 404
    assert venue.get("/api/v3/depth", symbol="NOPE").body["code"] == -1121
    assert venue.get("/api/v3/depth").body["code"] == -1102
    assert venue.get("/api/v3/klines", symbol="BTCUSDT", interval="7m").body["code"] == -1120
    for method, code in (("GET", -2013), ("DELETE", -2011)):
        assert venue.signed(method, "/api/v3/order", symbol="BTCUSDT", orderId=99).body["code"] == code
        assert venue.signed(method, "/api/v3/order", symbol="BTCUSDT").body["code"] == -1102
    assert venue.signed("DELETE", "/api/v3/openOrders", symbol="BTCUSDT").body["code"] == -2011


# -- limits ---------------------------------------------------------------------------------------------------------


def test_weights_are_counted_and_too_much_of_them_gives_429_and_then_a_ban(venue: Handle) -> None:
    first = int(venue.get("/api/v3/ping").headers["X-MBX-USED-WEIGHT-1M"])
    assert int(venue.signed("GET", "/api/v3/account").headers["X-MBX-USED-WEIGHT-1M"]) - first in (20, 20 - first)
    venue.tell("limits", weight=1, patience=3)
    answers = [venue.get("/api/v3/exchangeInfo") for _ in range(5)]
    assert [a.status for a in answers] == [429, 429, 429, 429, 418]
    assert all(a.body["code"] == -1003 and int(a.headers["Retry-After"]) >= 1 for a in answers)


def test_too_many_orders_in_ten_seconds_are_refused(venue: Handle) -> None:
    venue.tell("limits", orders=2)
    answers = [venue.order("BUY", "LIMIT", "0.01", price="20000") for _ in range(4)]
    assert any(a.status == 429 and a.body["code"] == -1015 for a in answers)
    assert sum(a.status == 200 for a in answers) <= 3  # a window may end in between
    assert len(venue.look("books")["open"]) == sum(a.status == 200 for a in answers)


# -- orders and what is remembered of them --------------------------------------------------------------------------


def test_an_order_is_answered_in_the_form_that_was_asked_for(venue: Handle) -> None:
    assert "fills" in venue.order("BUY", "MARKET", "0.01").body
    assert "fills" not in venue.order("BUY", "MARKET", "0.01", newOrderRespType="RESULT").body
    assert "status" not in venue.order("BUY", "LIMIT_MAKER", "0.01", price="20000").body
    assert (
        venue.signed("POST", "/api/v3/order/test", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="1").body == {}
    )


def test_orders_and_trades_can_be_read_in_pages(venue: Handle) -> None:
    ids = [venue.order("BUY", "MARKET", "0.01", newClientOrderId=f"o-{n}").body["orderId"] for n in range(5)]
    page = venue.signed("GET", "/api/v3/allOrders", symbol="BTCUSDT", limit=2).body
    assert [row["orderId"] for row in page] == ids[-2:]
    page = venue.signed("GET", "/api/v3/allOrders", symbol="BTCUSDT", orderId=ids[1], limit=2).body
    assert [row["orderId"] for row in page] == ids[1:3]
    trades = venue.signed("GET", "/api/v3/myTrades", symbol="BTCUSDT").body
    assert [row["orderId"] for row in trades] == ids
    later = venue.signed("GET", "/api/v3/myTrades", symbol="BTCUSDT", fromId=trades[3]["id"]).body
    assert later == trades[3:]
    day = venue.signed("GET", "/api/v3/myTrades", symbol="BTCUSDT", startTime=now() - 90_000_000, endTime=now())
    assert day.body["code"] == -1127
    found = venue.signed("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="o-2").body
    assert (found["orderId"], found["status"]) == (ids[2], "FILLED")


def test_the_fills_of_an_order_are_read_page_by_page(venue: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = venue.order("BUY", "LIMIT", "0.07", price="29990").body["orderId"]
    for _ in range(7):  # another one's fills between its own
        venue.order("BUY", "MARKET", "0.01")
        venue.quote(29980, 29990, ask_size="0.01")
        venue.quote(30000, 30001)
    monkeypatch.setattr("alphatrade.nodes.venue_rest._PAGE", 3)

    async def read() -> list[Deal]:
        async with aiohttp.ClientSession() as session:
            rest = VenueRest(session, venue.http, Credentials(HMAC_KEY.name, HMAC_KEY.secret))
            return await rest.deals("BTCUSDT", str(mine))

    deals = asyncio.run(read())
    assert [deal.qty for deal in deals] == [Decimal("0.01")] * 7
    assert len({deal.trade_id for deal in deals}) == 7


def test_all_open_orders_of_a_symbol_can_be_cancelled_at_once(venue: Handle) -> None:
    for price in (20000, 20001):
        venue.order("BUY", "LIMIT", "0.01", price=price)
    assert len(venue.signed("GET", "/api/v3/openOrders").body) == 2
    gone = venue.signed("DELETE", "/api/v3/openOrders", symbol="BTCUSDT").body
    assert [row["status"] for row in gone] == ["CANCELED", "CANCELED"]
    assert venue.balance("USDT") == (1_000_000, 0)


def test_every_request_is_on_record_without_its_signature(venue: Handle) -> None:
    venue.order("BUY", "MARKET", "0.01", newClientOrderId="mine")
    (row,) = venue.look("requests?path=/api/v3/order&method=POST")
    assert (row["status"], row["params"]["newClientOrderId"]) == (200, "mine")
    assert "signature" not in row["params"]


# -- market data ----------------------------------------------------------------------------------------------------


def test_market_data_agrees_with_itself(venue: Handle) -> None:
    venue.quote(30010, 30011)  # 30001 was traded away
    best = venue.get("/api/v3/ticker/bookTicker", symbol="BTCUSDT").body
    depth = venue.get("/api/v3/depth", symbol="BTCUSDT", limit=5).body
    trades = venue.get("/api/v3/trades", symbol="BTCUSDT", limit=3).body
    aggregated = venue.get("/api/v3/aggTrades", symbol="BTCUSDT", limit=3).body
    assert depth["bids"] == [[best["bidPrice"], best["bidQty"]]]
    assert trades[-1]["price"] == aggregated[-1]["p"] == "30001.00000000"
    assert venue.get("/api/v3/ticker/price", symbol="BTCUSDT").body["price"] == "30001.00000000"
    assert venue.get("/api/v3/ticker/24hr", symbol="BTCUSDT").body["count"] == trades[-1]["id"]
    (row,) = venue.get("/api/v3/klines", symbol="BTCUSDT", interval="1w", limit=1).body
    assert row[8] == trades[-1]["id"]
    assert row[4] == "30001.00000000"


def test_longer_candles_are_made_of_minutes() -> None:
    candles, price = Candles(), Decimal(100)
    start = 1_700_000_040_000 // (3 * MINUTE) * 3 * MINUTE
    for minute in range(6):
        for step in (0, 3, -2, 1):
            candles.add(start + minute * MINUTE + 100 * (step + 2), price + minute + step, Decimal(1), step > 0)
    rows = candles.read("3m", start, None, 10)
    assert [(r[0] - start, r[1], r[2], r[3], r[4], r[5], r[7]) for r in rows] == [
        (0, 100, 105, 98, 103, 12, 12), (3 * MINUTE, 103, 108, 101, 106, 12, 12),
    ]  # fmt: skip
    assert candles.read("3m", start + 1, None, 10) == rows[1:]  # the first began before what was asked for
    assert len(candles.read("1m", None, None, 4)) == 4


# -- sockets --------------------------------------------------------------------------------------------------------

Talk = Callable[[aiohttp.ClientSession], Awaitable[Any]]


def talk(scenario: Talk) -> Any:
    async def run() -> Any:
        async with aiohttp.ClientSession() as session:
            return await asyncio.wait_for(scenario(session), 10)

    return asyncio.run(run())


def test_a_stream_sends_what_was_subscribed_and_stops_when_it_is_unsubscribed(venue: Handle) -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"{venue.ws}/stream?streams=btcusdt@bookTicker") as ws:
            await ws.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@trade", "btcusdt@depth@100ms"], "id": 7})
            assert await ws.receive_json() == {"result": None, "id": 7}
            venue.quote(30010, 30011, "0.5")
            heard = [await ws.receive_json() for _ in range(3)]
            assert [row["stream"] for row in heard] == ["btcusdt@bookTicker", "btcusdt@trade", "btcusdt@depth@100ms"]
            assert heard[0]["data"]["b"] == "30010.00000000"
            assert heard[1]["data"]["p"] == "30001.00000000"
            assert heard[2]["data"]["b"][0] == ["30010.00000000", "0.50000000"]
            await ws.send_json({"method": "UNSUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 8})
            assert await ws.receive_json() == {"result": None, "id": 8}
            await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 9})
            assert (await ws.receive_json())["result"] == ["btcusdt@depth@100ms", "btcusdt@trade"]
            venue.quote(30020, 30021)
            assert (await ws.receive_json())["stream"] == "btcusdt@trade"

    talk(scenario)


def test_a_raw_socket_sends_bare_messages_and_says_what_it_does_not_understand(venue: Handle) -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"{venue.ws}/ws/btcusdt@aggTrade") as ws:
            await ws.send_str("{nonsense")
            assert "error" in await ws.receive_json()
            venue.tell("trade", symbol="BTCUSDT", price="30005", qty="0.1")
            assert (await ws.receive_json())["p"] == "30005.00000000"

    talk(scenario)


def test_a_candle_is_sent_while_it_grows_and_once_more_when_it_is_closed(venue: Handle) -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"{venue.ws}/ws/btcusdt@kline_1s") as ws:
            venue.tell("trade", symbol="BTCUSDT", price="30005", qty="0.1")
            rows = []
            while not rows or not rows[-1]["x"]:
                rows.append((await ws.receive_json())["k"])
            assert rows[-1]["T"] - rows[-1]["t"] == 999
            assert rows[-1]["c"] == "30005.00000000"

    talk(scenario)


def logon(key: ApiKey, **more: Any) -> dict[str, Any]:
    params: dict[str, Any] = {"apiKey": key.name, "timestamp": now()} | more
    return params | {"signature": key.sign(signed_text({k: str(v) for k, v in params.items()}))}


def test_a_session_logs_on_with_ed25519_and_hears_what_happens_to_its_orders(venue: Handle) -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(venue.ws_api) as ws:
            ids = iter(range(100))

            async def ask(method: str, **params: Any) -> dict[str, Any]:
                ident = next(ids)
                await ws.send_json({"id": ident, "method": method, "params": params})
                while (answer := await ws.receive_json()).get("id") != ident:
                    events.append(answer["event"])
                return answer

            events: list[dict[str, Any]] = []
            assert (await ask("userDataStream.subscribe"))["error"]["code"] == -2015
            assert (await ask("session.logon", **logon(HMAC_KEY)))["error"]["code"] == -4056
            assert (await ask("session.logon", **logon(ED25519_KEY)))["result"]["apiKey"] == ED25519_KEY.name
            assert (await ask("userDataStream.subscribe"))["result"] == {"subscriptionId": 0}
            order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1", "timestamp": now()}
            placed = await ask("order.place", **order)
            await ask("ping")
            assert placed["result"]["status"] == "FILLED"
            assert [e.get("x", e["e"]) for e in events] == [
                "NEW", "outboundAccountPosition", "TRADE", "outboundAccountPosition",
            ]  # fmt: skip
            assert (await ask("order.place", **order | {"symbol": "X"}))["error"]["code"] == -1121
            assert (await ask("what.is.this"))["status"] == 404
            await ws.send_str("[]")
            assert "error" in await ws.receive_json()

    talk(scenario)


def test_a_stream_can_be_subscribed_with_a_signature_alone_by_any_key(venue: Handle) -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(venue.ws_api) as ws:
            await ws.send_json({"id": "a", "method": "userDataStream.subscribe.signature", "params": logon(HMAC_KEY)})
            assert (await ws.receive_json())["result"] == {"subscriptionId": 0}
            venue.order("BUY", "LIMIT", "0.1", price="20000")
            assert (await ws.receive_json())["event"]["x"] == "NEW"

    talk(scenario)


# -- the tape -------------------------------------------------------------------------------------------------------


def test_a_tape_is_replayed_at_its_pace_with_stamps_of_now_and_turns_round_at_its_end() -> None:
    feed = walk(KNOWN["BTCUSDT"], 30_000.0, 50, seed=3, step_s=0.1)
    with running([feed], speed=20.0) as venue:
        began = time.monotonic()
        until(lambda: venue.look("state")["quotes"] > 120)
        took = time.monotonic() - began
        best = venue.look("state")["best"]["BTCUSDT"]
        trades = venue.get("/api/v3/trades", symbol="BTCUSDT").body
        venue.tell("pause")
        still = venue.look("state")["quotes"]
        time.sleep(0.1)
        assert venue.look("state")["quotes"] <= still + 1
        venue.tell("resume")
        until(lambda: venue.look("state")["quotes"] > still + 5)
    assert 0.3 < took < 3.0  # 120 quotes at 200 a second
    assert abs(float(best["bid"]) - 30_000) < 60
    assert 0 <= now() - trades[-1]["time"] < 5_000


def test_trades_of_a_tape_are_printed_in_order_with_its_quotes() -> None:
    quotes = np.array([[0, 100, 101, 1, 1], [2e8, 102, 103, 1, 1]], np.float64)
    trades = np.array([[1e8, 101, 0.5, 1], [2e8, 101, 0.25, 0]], np.float64)
    with running([Feed(KNOWN["BTCUSDT"], quotes, trades)], speed=10.0, loop=False) as venue:
        until(lambda: venue.look("state")["best"]["BTCUSDT"]["bid"] == "102.00000000")
        rows = venue.get("/api/v3/trades", symbol="BTCUSDT").body
        assert [(row["price"], row["qty"], row["isBuyerMaker"]) for row in rows] == [
            ("101.00000000", "0.50000000", False), ("101.00000000", "0.25000000", True),
        ]  # fmt: skip


def test_one_of_the_project_s_tapes_becomes_a_feed() -> None:
    tape = load_tape(parse_spec({"source": "world", "hours": 1, "seed": 3}), "unused", shown=False)
    feed = from_tape(tape, KNOWN["BTCUSDT"])
    assert len(feed.quotes) == len(tape.columns["ts"])
    with running([feed]) as venue:
        best = venue.look("state")["best"]["BTCUSDT"]
        assert float(best["bid"]) == pytest.approx(tape.columns["bid"][0] / 1e9, abs=0.01)
