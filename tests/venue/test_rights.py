"""Rights of keys, changed filters, late fills and the door for money, as the venue shows them."""

import asyncio
import json
import time
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from tests.venue.make_venue import running, until
from tests.venue.market import walk
from tests.venue.rules import KNOWN
from tests.venue.ws_api import signed_text


@pytest.fixture(scope="module")
def venue():
    with running([walk(KNOWN["BTCUSDT"], 30_000, 10, 1)], 0) as handle:
        handle.quote(29_999, 30_001, 5, 5)
        yield handle


def test_a_key_tells_its_rights_and_they_can_be_changed(venue):
    rights = venue.signed("GET", "/sapi/v1/account/apiRestrictions").body
    assert (rights["enableReading"], rights["enableWithdrawals"]) == (True, False)
    venue.tell("permissions", enableWithdrawals=True, enableReading=None, spotBNBBurn=True)
    rights = venue.signed("GET", "/sapi/v1/account/apiRestrictions").body
    assert rights["enableWithdrawals"]
    assert "enableReading" not in rights
    assert venue.signed("GET", "/sapi/v1/bnbBurn").body["spotBNBBurn"]
    venue.tell("permissions", enableWithdrawals=False, enableReading=True, spotBNBBurn=False, told=False)
    assert venue.signed("GET", "/sapi/v1/account/apiRestrictions").status == 404
    venue.tell("permissions", told=True, can_trade=False)
    assert not venue.signed("GET", "/api/v3/account").body["canTrade"]
    venue.tell("permissions", can_trade=True)


def test_a_try_to_take_money_out_is_counted_and_takes_none(venue):
    before = venue.look("books")["balances"]
    path, asked = "/sapi/v1/capital/withdraw/apply", {"coin": "USDT", "address": "x", "amount": 1}
    assert venue.signed("POST", path, **asked).status == 401
    venue.tell("permissions", enableWithdrawals=True)
    assert venue.signed("POST", path, **asked).status == 200
    venue.tell("permissions", enableWithdrawals=False)
    assert venue.look("state")["withdrawals"] == 2
    assert venue.look("books")["balances"] == before


def test_filters_and_status_of_a_symbol_can_be_changed(venue):
    def shown() -> dict:
        return venue.get("/api/v3/exchangeInfo", symbol="BTCUSDT").body["symbols"][0]

    venue.tell("rules", symbol="BTCUSDT", min_notional="100")
    assert any(one.get("minNotional") == "100.00000000" for one in shown()["filters"])
    assert venue.order("BUY", "MARKET", "0.001").body["msg"] == "Filter failure: NOTIONAL"
    venue.tell("rules", symbol="BTCUSDT", min_notional="5", status="BREAK")
    assert shown()["status"] == "BREAK"
    assert venue.order("BUY", "MARKET", "0.001").body["msg"] == "Market is closed."
    venue.tell("rules", symbol="BTCUSDT", status="TRADING")
    assert venue.order("BUY", "MARKET", "0.001").status == 200


def test_a_list_of_fills_may_be_behind_the_books(venue):
    venue.order("BUY", "MARKET", "0.002", newClientOrderId="behind")
    booked = [one["id"] for one in venue.look("books")["trades"]]
    venue.tell("late", seconds=60, where="rest")
    assert venue.signed("GET", "/api/v3/myTrades", symbol="BTCUSDT").body == []
    assert venue.signed("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="behind").body["status"] == "FILLED"
    venue.tell("clear")
    assert [one["id"] for one in venue.signed("GET", "/api/v3/myTrades", symbol="BTCUSDT").body] == booked
    assert venue.balance("BTC")[0] > Decimal(10)
    assert until(lambda: venue.look("books")["audit"] == [])


def test_a_fill_may_be_told_after_the_end_of_its_order(venue):
    async def heard() -> list[str]:
        params: dict[str, Any] = {"apiKey": venue.key.name, "timestamp": int(time.time() * 1000)}
        params["signature"] = venue.key.sign(signed_text(params))
        asked = {"id": 1, "method": "userDataStream.subscribe.signature", "params": params}
        async with aiohttp.ClientSession() as session, session.ws_connect(venue.ws_api) as ws:
            await ws.send_str(json.dumps(asked))
            assert (await ws.receive_json())["status"] == 200
            venue.tell("late", seconds=0.5, count=1)
            venue.quote(29_999, 30_001, 5, "0.001")
            venue.order("BUY", "LIMIT", "0.002", price=30_001, timeInForce="IOC")
            told: list[str] = []
            while "TRADE" not in told:
                event = (await ws.receive_json())["event"]
                told += [event["x"]] if event["e"] == "executionReport" else []
            return told

    assert asyncio.run(asyncio.wait_for(heard(), 5)) == ["NEW", "EXPIRED", "TRADE"]
