"""Every fault does what it says, is counted, and ends when it should."""

import asyncio
import time
import urllib.error
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import pytest

from tests.venue.faults import NAMES, Faults
from tests.venue.make_venue import Handle, running, until

pytestmark = pytest.mark.long

Bids = list[int]


@pytest.fixture
def venue() -> Iterator[Handle]:
    with running() as handle:
        handle.quote(30000, 30001)
        yield handle


def listen(venue: Handle, scenario: Callable[[aiohttp.ClientWebSocketResponse], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        url = f"{venue.ws}/stream?streams=btcusdt@bookTicker"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
            return await asyncio.wait_for(scenario(ws), 10)

    return asyncio.run(run())


def quotes(venue: Handle, count: int = 5) -> None:
    """Quote bids of 1000, 1001, 1002, …"""
    for n in range(count):
        venue.quote(1000 + n, 2000)


async def hear(ws: aiohttp.ClientWebSocketResponse, pause: float = 0.7) -> tuple[Bids, int]:
    """Return the bids heard until there is silence, and how many frames made no sense."""
    bids, nonsense = [], 0
    while True:
        try:
            message = await asyncio.wait_for(ws.receive(), pause)
        except TimeoutError:
            return bids, nonsense
        try:
            bids.append(int(float(message.json()["data"]["b"])) - 1000)
        except (ValueError, KeyError, TypeError):
            nonsense += 1


def counts(venue: Handle, name: str) -> tuple[int, int]:
    state = venue.look("faults")
    return state["asked"].get(name, 0), state["hits"].get(name, 0)


@pytest.mark.parametrize(
    ("name", "count", "heard", "nonsense"),
    [
        (None, 0, [0, 1, 2, 3, 4], 0),
        ("gap", 2, [2, 3, 4], 0),
        ("duplicate", 2, [0, 0, 1, 1, 2, 3, 4], 0),
        ("reorder", 1, [1, 0, 2, 3, 4], 0),
        ("reorder", 2, [1, 0, 3, 2, 4], 0),
        ("garbage", 3, [0, 1, 2, 3, 4], 3),
    ],
)
def test_messages_are_lost_doubled_moved_or_mixed_with_garbage(
    venue: Handle, name: str | None, count: int, heard: Bids, nonsense: int
) -> None:
    async def scenario(ws: aiohttp.ClientWebSocketResponse) -> tuple[Bids, int]:
        if name is not None:
            venue.fault(name, where="market", count=count)
        quotes(venue)
        return await hear(ws)

    assert listen(venue, scenario) == (heard, nonsense)
    if name is not None:
        assert counts(venue, name) == (1, count)


def test_the_last_message_is_delivered_even_if_none_follows_to_change_places_with(venue: Handle) -> None:
    async def scenario(ws: aiohttp.ClientWebSocketResponse) -> tuple[Bids, int]:
        venue.fault("reorder", where="market")
        quotes(venue, 1)
        return await hear(ws, 1.5)

    assert listen(venue, scenario) == ([0], 0)


@pytest.mark.parametrize(
    ("fault", "least"), [({"name": "stall", "seconds": 0.8}, 0.6), ({"name": "slow", "delay": 0.5}, 0.4)]
)
def test_a_stalled_or_slow_socket_delivers_late_but_in_order(
    venue: Handle, fault: dict[str, Any], least: float
) -> None:
    async def scenario(ws: aiohttp.ClientWebSocketResponse) -> tuple[float, tuple[Bids, int]]:
        venue.fault(where="market", **fault)
        began = time.monotonic()
        quotes(venue, 3)
        first = int(float((await ws.receive_json())["data"]["b"])) - 1000
        late = time.monotonic() - began
        bids, nonsense = await hear(ws)
        return late, ([first, *bids], nonsense)

    late, heard = listen(venue, scenario)
    assert least < late < 3
    assert heard == ([0, 1, 2], 0)
    assert counts(venue, fault["name"])[1] >= 1


def test_a_dropped_socket_is_gone_without_a_farewell_and_can_be_opened_again(venue: Handle) -> None:
    async def scenario(ws: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMsgType:
        venue.fault("drop", where="user")  # not this one
        assert not ws.closed
        venue.fault("drop", where="market")
        return (await ws.receive()).type

    assert listen(venue, scenario) in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    assert counts(venue, "drop") == (2, 1)

    async def again(ws: aiohttp.ClientWebSocketResponse) -> tuple[Bids, int]:
        quotes(venue, 2)
        return await hear(ws)

    assert listen(venue, again) == ([0, 1], 0)


def test_the_venue_goes_away_and_comes_back_at_the_same_address_with_its_books(venue: Handle) -> None:
    order = venue.order("BUY", "LIMIT", "0.5", price="29990").body["orderId"]
    venue.fault("restart", seconds=0.6)
    until(lambda: not venue.look("state")["up"])
    with pytest.raises(urllib.error.URLError):
        venue.get("/api/v3/ping")
    venue.quote(29980, 29985, ask_size="0.2")  # the market does not wait
    until(lambda: venue.look("state")["up"])
    found = venue.signed("GET", "/api/v3/order", symbol="BTCUSDT", orderId=order).body
    assert (found["status"], found["executedQty"]) == ("PARTIALLY_FILLED", "0.20000000")
    assert venue.look("state")["restarts"] == 1
    assert counts(venue, "restart") == (1, 1)


# -- REST -----------------------------------------------------------------------------------------------------------


def test_an_order_is_rejected_on_command_and_leaves_no_trace(venue: Handle) -> None:
    venue.fault("reject", count=1)
    answers = [venue.order("BUY", "MARKET", "0.1") for _ in range(2)]
    assert [a.body.get("code") for a in answers] == [-2010, None]
    assert len(venue.look("books")["orders"]) == 1


@pytest.mark.parametrize("status", [429, 418])
def test_a_rate_limit_on_command_names_the_time_to_wait(venue: Handle, status: int) -> None:
    venue.fault("rate_limit", status=status, retry_after=7, path="/api/v3/time")
    assert venue.get("/api/v3/ping").status == 200
    answer = venue.get("/api/v3/time")
    assert (answer.status, answer.body["code"], answer.headers["Retry-After"]) == (status, -1003, "7")
    assert venue.get("/api/v3/time").status == 200


@pytest.mark.parametrize(("after", "orders"), [(False, 0), (True, 1)])
def test_a_server_error_comes_before_or_after_the_work_was_done(venue: Handle, after: bool, orders: int) -> None:
    venue.fault("error", status=504, code=-1007, after=after, method="POST")
    answer = venue.order("BUY", "MARKET", "0.1")
    assert (answer.status, answer.body["code"]) == (504, -1007)
    assert len(venue.look("books")["orders"]) == orders


def test_an_answer_is_lost_but_the_order_is_not(venue: Handle) -> None:
    venue.fault("lost", path="/api/v3/order", method="POST")
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        venue.order("BUY", "MARKET", "0.1", newClientOrderId="lost")
    found = venue.signed("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="lost").body
    assert found["status"] == "FILLED"
    (row,) = venue.look("requests?path=/api/v3/order&method=POST")
    assert row["lost"]


def test_the_clock_of_the_venue_can_be_wrong(venue: Handle) -> None:
    venue.fault("skew", ms=7_000)
    assert venue.get("/api/v3/time").body["serverTime"] - time.time() * 1000 > 6_000
    assert venue.signed("GET", "/api/v3/account").body["code"] == -1021
    venue.fault("skew", ms=-7_000)
    assert venue.signed("GET", "/api/v3/account").body["code"] == -1021
    venue.tell("clear")
    assert venue.signed("GET", "/api/v3/account").status == 200


def test_an_answer_can_be_slow_stalled_or_garbage(venue: Handle) -> None:
    for fault in ({"name": "slow", "delay": 0.3, "count": 1}, {"name": "stall", "seconds": 0.4}):
        venue.fault(where="rest", **fault)
        began = time.monotonic()
        assert venue.get("/api/v3/ping").status == 200
        assert 0.25 < time.monotonic() - began < 2
    venue.fault("garbage", where="rest")
    with pytest.raises(ValueError, match="Expecting value"):
        venue.get("/api/v3/ping")
    assert venue.get("/api/v3/ping").status == 200


def test_control_is_touched_by_no_fault_and_knows_what_it_cannot_do(venue: Handle) -> None:
    venue.fault("stall", where="all", seconds=30)
    assert "no fault 'flood'" in venue.tell("fault", name="flood")["error"]
    assert venue.look("faults")["on"][0]["name"] == "stall"
    assert venue.tell("clear")["on"] == []


def test_every_fault_that_is_named_can_be_asked_for() -> None:
    faults = Faults()
    faults.actions = dict.fromkeys(("drop", "restart", "terminate"), lambda fault: None)
    for name in NAMES:
        faults.inject(name, ms=1)
    assert set(faults.asked) == set(NAMES)
    with pytest.raises(ValueError, match="no fault"):
        faults.inject("flood")
