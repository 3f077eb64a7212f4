"""The checks before a start with real orders, against a venue that answers: one clear line, and nothing is sent."""

import asyncio
import time
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from alphatrade.nodes.live import history
from alphatrade.nodes.live.exchange import LiveExchange
from alphatrade.nodes.live.preflight import Asked, Found, Held, again, preflight, require, table
from alphatrade.nodes.paper import assembly
from alphatrade.nodes.paper.assembly import Flight
from alphatrade.nodes.paper.exchange_facts import markets
from alphatrade.nodes.paper.feeds import LiveFeedSpec
from alphatrade.nodes.paper.settings import BrokerSpec
from alphatrade.nodes.venue_rest import Credentials, VenueRest
from alphatrade.risk.approval import Approvals, fresh_key
from alphatrade.risk.errors import ConfigError
from tests.nodes.make_checks import BTC
from tests.venue.make_venue import Handle, running
from tests.venue.market import walk
from tests.venue.rules import KNOWN

SECOND_NS = 10**9


@pytest.fixture
def venue():
    with running([walk(KNOWN["BTCUSDT"], 30_000, 10, 1)], 0) as handle:
        handle.quote(29_999, 30_001, 5, 5)
        yield handle


def asked(**changed: Any) -> Asked:
    now = time.time_ns()
    plain = Asked("loopback", (BTC,), Decimal(10), Decimal(50), now - 60 * SECOND_NS, now + 3600 * SECOND_NS)
    return plain._replace(**changed)


def ask(venue: Handle, call: Any, *values: Any, timeout: float = 5.0) -> Any:
    async def run() -> Any:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout)) as session:
            rest = VenueRest(session, venue.http, Credentials(venue.key.name, venue.key.secret))
            return await call(rest, *values)

    return asyncio.run(run())


def refused(venue: Handle, what: Asked) -> str:
    """Return the line with which a start is refused; nothing was sent that could cost anything."""
    with pytest.raises(ConfigError) as error:
        require(ask(venue, preflight, what).checks)
    assert all(one["method"] == "GET" for one in venue.look("requests"))
    line = str(error.value)
    assert "\n" not in line
    return line


def test_a_venue_that_is_in_order_lets_a_node_start(venue):
    found: Found = ask(venue, preflight, asked())
    require(found.checks)
    assert found.spent == 0
    assert len(found.checks) >= 20
    assert "NOT" not in table(found.checks)
    require(ask(venue, again, asked()))


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"enableWithdrawals": True}, "enableWithdrawals: true"),
        ({"enableWithdrawals": None}, "enableWithdrawals: not told"),
        ({"spotBNBBurn": True}, "spotBNBBurn: true"),
        ({"told": False}, "rights of the key: not told"),
        ({"can_trade": False}, "canTrade: false"),
    ],
)
def test_a_key_or_account_that_is_not_in_order_is_one_line(venue, told, line):
    venue.tell("permissions", **told)
    found = refused(venue, asked())
    assert all(word.strip() in found.replace("'", "") for word in line.split(":"))
    with pytest.raises(ConfigError):
        require(ask(venue, again, asked()))


def test_filters_that_have_changed_stop_a_start(venue):
    venue.tell("rules", symbol="BTCUSDT", tick="0.1")
    assert "price step of BTCUSDT" in refused(venue, asked())
    venue.tell("rules", symbol="BTCUSDT", tick="0.01", status="BREAK")
    assert "status of BTCUSDT" in refused(venue, asked())
    venue.tell("rules", symbol="BTCUSDT", status="TRADING", min_notional="9")
    assert "smallest order of BTCUSDT" in refused(venue, asked())


def test_an_order_of_a_stranger_is_named_and_stays_where_it_is(venue):
    venue.order("BUY", "LIMIT", "0.001", price=20_000, newClientOrderId="web-77")
    with pytest.raises(ConfigError) as error:
        require(ask(venue, preflight, asked()).checks)
    line = str(error.value)
    assert "web-77 of BTCUSDT" in line
    assert [row["clientOrderId"] for row in venue.look("books")["open"]] == ["web-77"]
    require(ask(venue, preflight, asked(again=True)).checks)  # it is compared as a whole, once its journal was read


def test_what_was_spent_under_a_permit_is_counted_from_its_beginning_whoever_spent_it(venue):
    venue.order("BUY", "MARKET", "0.001")
    time.sleep(0.01)
    begins = time.time_ns()
    time.sleep(0.01)
    venue.order("BUY", "MARKET", "0.001")
    venue.order("SELL", "MARKET", "0.0004")
    spent = Decimal("0.001") * 30_001 - Decimal("0.0004") * 29_999 * Decimal("0.999")
    assert ask(venue, preflight, asked(begins=begins)).spent == spent
    assert ask(venue, preflight, asked(begins=time.time_ns() + SECOND_NS)).spent == 0
    venue.quote(40_000, 40_002, 5, 5)
    venue.order("SELL", "MARKET", "0.0016")
    assert ask(venue, preflight, asked(begins=begins)).spent == 0  # a gain is not to be spent on top


def test_money_that_is_not_there_stops_a_start_but_not_one_that_goes_on(venue):
    rich = asked(capital=Decimal(2_000_000))
    assert "free USDT" in refused(venue, rich)
    require(ask(venue, preflight, rich._replace(again=True)).checks)


def test_a_permit_that_is_used_up_starts_nothing_but_what_goes_on(venue):
    begins = time.time_ns()
    time.sleep(0.01)
    venue.order("BUY", "MARKET", "0.002")
    used = asked(begins=begins)
    with pytest.raises(ConfigError, match=r"left of the permit: got '-10\.002"):
        require(ask(venue, preflight, used).checks)
    require(ask(venue, preflight, used._replace(again=True)).checks)


def test_without_a_beginning_no_history_is_asked_for_and_nothing_starts(venue):
    with pytest.raises(ConfigError, match="trades under the permit"):
        require(ask(venue, preflight, asked(begins=0)).checks)
    assert not any("myTrades" in one["path"] for one in venue.look("requests"))


def test_a_clock_that_is_off_stops_a_start(venue):
    venue.fault("skew", ms=-3_000)
    assert "clock of the exchange" in refused(venue, asked())


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"name": "error", "path": "/sapi/v1/account/apiRestrictions"}, "an exchange that answers"),
        ({"name": "error", "path": "/api/v3/openOrders", "status": 500}, "an exchange that answers"),
        ({"name": "rate_limit", "where": "rest"}, "an exchange that answers"),
        ({"name": "rate_limit", "where": "rest", "status": 418}, "banned"),
        ({"name": "garbage", "where": "rest", "count": 100}, "an exchange that answers"),
        ({"name": "stall", "where": "rest", "seconds": 5}, "no answer in time"),
    ],
)
def test_an_exchange_that_does_not_answer_stops_a_start(venue, fault, words):
    venue.fault(**fault)
    with pytest.raises(ConfigError) as error:
        ask(venue, preflight, asked(), timeout=0.5)
    assert words in str(error.value)


def test_a_key_that_is_not_known_stops_a_start(venue):
    venue.tell("keys", revoke=venue.key.name)
    with pytest.raises(ConfigError, match="-2015"):
        ask(venue, preflight, asked())


def test_a_history_of_many_pages_is_read_whole(venue, monkeypatch):
    monkeypatch.setattr(history, "PAGE", 3)
    for _ in range(8):
        venue.order("BUY", "MARKET", "0.001")
    now_ms = time.time_ns() // 10**6
    booked = venue.look("books")
    since = now_ms - 3 * history.DAY_MS
    rows = ask(venue, history.trades, "BTCUSDT", since, now_ms)
    assert [row["id"] for row in rows] == [row["id"] for row in booked["trades"]]
    rows = ask(venue, history.orders, "BTCUSDT", since, now_ms)
    assert [row["orderId"] for row in rows] == [row["orderId"] for row in booked["orders"]]
    assert ask(venue, history.trades, "BTCUSDT", now_ms + 1000, now_ms + 1000) == []


def test_rights_that_are_refused_are_not_taken_for_rights_that_are_not_told(venue):
    for path in ("/sapi/v1/account/apiRestrictions", "/sapi/v1/bnbBurn"):
        venue.fault("error", path=path, status=403, code=-2015)
    with pytest.raises(ConfigError, match="an exchange that lets this key read its account"):
        ask(venue, preflight, asked(net="testnet"))
    venue.tell("clear")
    venue.tell("permissions", told=False)
    require(ask(venue, preflight, asked(net="testnet")).checks)


def test_of_a_full_day_none_is_missed_if_the_exchange_gives_the_newest_of_it(monkeypatch):
    monkeypatch.setattr(history, "PAGE", 3)
    rows = [{"id": 7 + n, "time": 1_000_000 + 60_000 * n} for n in range(40)]

    class Newest:
        async def asked(self, path: str, params: dict[str, str]) -> list[dict[str, int]]:
            if "fromId" in params:
                return [row for row in rows if row["id"] >= int(params["fromId"])][:3]
            begin, end = int(params["startTime"]), int(params["endTime"])
            return [row for row in rows if begin <= row["time"] <= end][-3:]

    found = asyncio.run(history.trades(Newest(), "BTCUSDT", 0, 10**8))  # type: ignore[arg-type]
    assert found == rows


def test_the_smallest_order_of_an_exchange_reaches_the_instrument_that_a_node_closes_by(venue):
    spec = LiveFeedSpec(source="binance", symbols=("BTCUSDT",), http=venue.http, ws=venue.ws)
    (market,) = markets(spec)
    assert Decimal(market.min_notional) == KNOWN["BTCUSDT"].min_notional == 5
    at_exchange = assembly._instrument(market, Flight(broker=BrokerSpec(kind="binance")))
    assert str(at_exchange.min_notional) == "5.00000000 USDT"
    assert assembly._instrument(market, Flight()).min_notional is None  # a simulated venue takes all


def test_new_keys_of_another_account_are_refused_whatever_they_may_do(venue):
    exchange = LiveExchange(venue.http, None, (), approvals=Approvals(fresh_key(), int))

    async def vetted(rest: VenueRest, uid: object) -> None:
        await rest.account()
        await exchange.vetted(rest, uid)

    for uid in (1, None):
        ask(venue, vetted, uid)
    with pytest.raises(ConfigError, match="account of the new keys"):
        ask(venue, vetted, 2)
    venue.tell("permissions", uid=2)
    ask(venue, vetted, 2)
    with pytest.raises(ConfigError, match="account of the new keys"):
        ask(venue, vetted, 1)


# -- what is taken over from another node


def taking(price: Decimal | None = None, qty: str = "0.00099", **changed: Any) -> Asked:
    made = asked(held=(Held("BTCUSDT", Decimal(qty), price),), **changed)
    return made._replace(since=made.begins)


def test_what_is_taken_over_is_no_longer_spent_as_it_is_bought_once_more(venue):
    venue.order("BUY", "MARKET", "0.001")
    assert ask(venue, preflight, asked()).spent == Decimal("30.001")
    found = ask(venue, preflight, taking())
    require(found.checks)
    assert found.held == (Held("BTCUSDT", Decimal("0.00099"), Decimal(30_001)),), "at the best offer"
    assert found.spent == Decimal("0.30001")
    noted = ask(venue, preflight, taking(Decimal(29_000)))
    assert (noted.held[0].price, noted.spent) == (29_000, Decimal("1.291"))
    assert ask(venue, preflight, taking(Decimal(31_000))).spent == 0, "never below nothing"


def test_what_is_held_is_money_that_is_there(venue):
    venue.order("BUY", "MARKET", "0.001")
    require(ask(venue, preflight, taking(capital=Decimal(1_000_000))).checks)
    assert "free USDT" in line_of(venue, taking(capital=Decimal("1000000.01")))


def line_of(venue: Handle, what: Asked) -> str:
    with pytest.raises(ConfigError) as error:
        require(ask(venue, preflight, what).checks)
    return str(error.value)


def test_what_is_not_there_and_what_nobody_counted_is_not_taken_over(venue):
    assert "which is taken over; if it was sold, remove handover.json" in refused(venue, taking(qty="10.001"))
    what = taking()
    assert "bought of BTCUSDT and not sold: got '0'" in line_of(venue, what), "coins of the account's owner"
    venue.order("BUY", "MARKET", "0.001")
    require(ask(venue, preflight, what).checks)
    later = what._replace(since=time.time_ns() + 5 * SECOND_NS)
    assert "bought of BTCUSDT" in line_of(venue, later), "of before, and nobody's"
    was, late = taking(Decimal(29_000)), taking(Decimal(29_000), begins=time.time_ns() + SECOND_NS)
    assert [ask(venue, preflight, one).spent for one in (was, late)] == [Decimal("1.291"), 0], "what it lost is not counted"
    line = line_of(venue, what._replace(since=what.begins - 1))
    assert "the permit begins" in line
    assert "nobody counts what it has cost" in line
    venue.order("SELL", "MARKET", "0.0005")
    assert "bought of BTCUSDT and not sold: got '0.000499" in line_of(venue, what), "somebody has sold some of it"
