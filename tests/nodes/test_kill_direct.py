"""The direct kill: cancels and sells until flat, whatever the venue does on the way, and says what is left."""

import asyncio
import itertools
import logging
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from alphatrade.nodes import kill_direct as module
from alphatrade.nodes.kill_direct import DirectReport, kill_direct
from alphatrade.nodes.venue_answers import RefusedError
from alphatrade.nodes.venue_rest import Credentials, VenueRest
from alphatrade.risk.errors import ConfigError
from tests.nodes.make_account import KEY, PEM, SECRET, Account, credentials
from tests.nodes.make_archive import serving

pytestmark = pytest.mark.long

BOTH = ("BTCUSDT", "ETHUSDT")
CALLS = (
    "GET /api/v3/time",
    "GET /api/v3/exchangeInfo",
    "GET /api/v3/account",
    "GET /api/v3/openOrders",
    "DELETE /api/v3/openOrders",
    "GET /api/v3/ticker/price",
    "POST /api/v3/order",
)


@pytest.fixture
def account() -> Iterator[Account]:
    with serving(Account()) as one:
        one.rest("a-1", "BTCUSDT", "SELL", "0.5")
        one.rest("a-2", "BTCUSDT", "BUY", "400")
        one.rest("a-3", "ETHUSDT", "SELL", "10")
        yield one


def killed(
    account: Account, symbols: tuple[str, ...] = BOTH, deadline_s: float = 10.0, secret: str = SECRET
) -> DirectReport:
    return asyncio.run(kill_direct(account.url, credentials(secret), symbols, deadline_s))


def flat(account: Account) -> bool:
    """By the venue's own books."""
    return not account.orders and account.free["BTC"] < Decimal("0.0001") and account.free["ETH"] < Decimal("0.0001")


@pytest.mark.parametrize(
    "secret", [SECRET, PEM, "".join(PEM.splitlines()[1:-1])], ids=["hmac", "pem", "pem without its frame"]
)
def test_all_is_canceled_and_sold(account: Account, secret: str) -> None:
    report = killed(account, secret=secret)
    assert report.flat
    assert flat(account)
    assert account.free["USDT"] == 1000 + Decimal("1.5") * 50_000 + Decimal("20.25") * 2500
    assert (report.canceled, report.open_orders, report.held, report.dust, report.troubles) == (3, (), (), (), {})
    assert [(sale.symbol, sale.filled) for sale in report.sales] == [
        ("BTCUSDT", Decimal("1.5")),
        ("ETHUSDT", Decimal("20.25")),
    ]
    assert report.canceled_ms is not None
    assert report.flat_ms is not None
    assert 0 < report.canceled_ms < report.sales[0].at_ms < report.sales[1].at_ms < report.flat_ms <= report.took_ms
    assert report.lines()[0].startswith("flat after")


def test_an_account_that_is_flat_is_left_alone(account: Account) -> None:
    killed(account)
    before = dict(account.free)
    report = killed(account)
    assert (report.flat, report.canceled, report.sales, account.free) == (True, 0, (), before)
    assert len(account.sold) == 2


def test_other_symbols_are_not_touched(account: Account) -> None:
    report = killed(account, ("BTCUSDT",))
    assert report.flat
    assert set(account.orders) == {"a-3"}
    assert account.sold == [("BTCUSDT", Decimal("1.5"))]


def test_what_is_bought_on_the_way_is_sold_too(account: Account) -> None:
    account.filters["ETHBTC"]["notional"] = "0.0001"
    report = killed(account, ("ETHBTC", "BTCUSDT"), 0.5)  # ETH into BTC, and all BTC into USDT
    assert report.flat is False  # ETH is locked in an order of a symbol that was not named
    assert "perhaps of another symbol" in " ".join(report.lines())
    account.opened("ETHUSDT", cancel=True)
    assert killed(account, ("ETHBTC", "BTCUSDT")).flat
    assert flat(account)


def test_what_is_too_little_for_one_symbol_is_sold_by_another(account: Account) -> None:
    account.opened("ETHUSDT", True)
    report = killed(account, ("ETHBTC", *BOTH))  # 20 ETH are about one BTC, and the least is ten
    assert (report.flat, report.dust) == (True, ())
    assert flat(account)


def test_dust_is_reported_and_no_error(account: Account) -> None:
    account.opened("BTCUSDT", True), account.opened("ETHUSDT", True)
    account.free |= {"BTC": Decimal("1.50009"), "ETH": Decimal("0.0039")}  # off the step; worth 9.75
    report = killed(account)
    assert report.flat
    assert [(one.asset, one.quantity) for one in report.dust] == [
        ("BTC", Decimal("0.00009")),
        ("ETH", Decimal("0.0039")),
    ]
    assert "the least is 0.0001" in report.dust[0].why
    assert "worth 9.75" in report.dust[1].why
    assert report.troubles == {}


def test_where_the_price_is_not_to_be_had_the_venue_says_what_dust_is(account: Account) -> None:
    account.free["ETH"], account.faults = Decimal("0.0039"), {"GET /api/v3/ticker/price": ["500"] * 99}
    account.opened("ETHUSDT", True)
    account.free["ETH"] = Decimal("0.0039")
    report = killed(account)
    assert report.flat
    assert [one.asset for one in report.dust] == ["ETH"]
    assert account.count("POST /api/v3/order") == 2  # one sale, and one refusal that is not repeated


def test_more_than_the_venue_takes_at_once_is_sold_in_parts(account: Account) -> None:
    account.filters["ETHUSDT"]["most"] = "8"
    report = killed(account)
    assert report.flat
    assert [sale.filled for sale in report.sales if sale.symbol == "ETHUSDT"] == [8, 8, Decimal("4.25")]


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        *itertools.product(CALLS, ["500", "drop", "garbage", "slow"]),
        ("DELETE /api/v3/openOrders", "429:1"),
        ("POST /api/v3/order", "429:1"),
    ],
)
def test_it_gets_flat_through_any_fault_that_passes(
    call: str, fault: str, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", 0.4)
    account.faults = {call: [fault, fault] if fault not in ("slow", "429:1") else [fault]}
    report = killed(account)
    assert report.flat
    assert flat(account)
    assert not account.faults[call], "all of them happened"
    assert sum(quantity for symbol, quantity in account.sold if symbol == "BTCUSDT") == Decimal("1.5")
    assert report.troubles or fault == "drop"  # where a GET on a kept connection is dropped, aiohttp asks again


@pytest.mark.parametrize("fault", ["lost", "late", "500"])
def test_a_sale_whose_answer_is_lost_sells_once(fault: str, account: Account) -> None:
    account.faults = {"POST /api/v3/order": [fault]}
    report = killed(account)
    assert report.flat
    assert flat(account)
    assert sum(quantity for symbol, quantity in account.sold if symbol == "BTCUSDT") == Decimal("1.5")
    assert account.free["USDT"] == 1000 + Decimal("1.5") * 50_000 + Decimal("20.25") * 2500


def test_it_outlasts_a_node_that_still_sends_orders(account: Account) -> None:
    left = [f"n-{n}" for n in range(6)]

    def node() -> None:
        if left and account.free["USDT"] > 10:
            account.rest(left.pop(), "BTCUSDT", "BUY", "10")

    account.each = node
    report = killed(account)
    assert report.flat
    assert flat(account)
    assert report.canceled == 9


def test_when_time_is_up_it_says_what_is_left(account: Account) -> None:
    account.closed = {"ETHUSDT"}
    account.faults = {"DELETE /api/v3/openOrders": ["500"] * 99}
    report = killed(account, deadline_s=0.7)
    assert not report.flat
    assert (report.flat_ms, report.canceled_ms, report.canceled) == (None, None, 0)
    assert set(report.open_orders) == {"a-1", "a-2", "a-3"}
    assert {one.asset: one.quantity for one in report.held}["ETH"] == Decimal("20.25")
    assert account.sold == [("BTCUSDT", Decimal("1.0"))], "what can be sold is sold all the same"
    assert 700 <= report.took_ms < 1500
    told = "\n".join(report.lines())
    assert "NOT FLAT" in told
    assert "Market is closed" in told
    assert "time is up, 0.7 s" in told
    assert len(account.asked) < 80, "it does not hammer"


def test_nothing_held_is_not_flat_while_an_order_is_open(account: Account) -> None:
    killed(account)
    account.rest("a-4", "BTCUSDT", "BUY", "400")
    account.faults = {"DELETE /api/v3/openOrders": ["500"] * 99}
    report = killed(account, deadline_s=0.5)
    assert (report.flat, report.open_orders, report.held) == (False, ("a-4",), ())


def test_what_one_symbol_would_take_is_held_and_no_dust_of_another(account: Account) -> None:
    account.closed = {"ETHUSDT"}
    report = killed(account, ("ETHBTC", "ETHUSDT"), 0.5)
    assert ([one.asset for one in report.held], report.dust) == (["ETH"], ())


def test_a_ban_ends_it_at_once_and_one_with_an_end_is_waited_for(account: Account) -> None:
    account.faults = {"GET /api/v3/account": ["418"]}
    report = killed(account)
    assert not report.flat
    assert account.asked[-1][1] == "GET /api/v3/account"
    assert any("banned" in told for told in report.troubles)
    account.faults = {"GET /api/v3/account": ["418:1"]}
    assert killed(account).flat


def test_nothing_is_asked_before_the_venue_allows_it(account: Account) -> None:
    account.faults = {"GET /api/v3/account": ["429:1"]}
    assert killed(account).flat
    times = [at for at, _ in account.asked]
    first = next(at for at, what in account.asked if what == "GET /api/v3/account")
    assert [at for at in times if first < at < first + 0.95] == []


def test_a_clock_that_jumps_is_read_again(account: Account) -> None:
    def jump() -> None:
        if account.count("POST /api/v3/order") == 1:
            account.ahead_ms = -7_200_000

    account.each = jump
    assert killed(account).flat
    assert account.count("GET /api/v3/time") >= 2


def refused(account: Account, given: Credentials, symbols: tuple[str, ...] = BOTH) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        asyncio.run(kill_direct(account.url, given, symbols, 5.0))
    return error.value


def test_what_nothing_can_be_done_with_is_said_at_once(account: Account) -> None:
    other = (
        rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    )
    for secret in (other, PEM.replace("MC4", "M4"), PEM.replace("MC4", "!C4")):
        assert "an Ed25519 key, not encrypted" in str(refused(account, Credentials(KEY, secret)))
    assert account.asked == []
    assert refused(account, Credentials(KEY, "wrong")).field == "credentials"
    assert refused(account, Credentials("wrong", SECRET)).field == "credentials"
    assert refused(account, Credentials(KEY, "")).field == "credentials"
    assert refused(account, credentials(), ("BTCUSDT", "NOUSDT")).field == "symbols"
    assert refused(account, credentials(), ()).field == "symbols"
    assert account.sold == []


def test_an_unreachable_venue_is_a_report_and_no_hang() -> None:
    report = asyncio.run(kill_direct("http://127.0.0.1:9", credentials(), BOTH, 0.5))
    assert not report.flat
    assert any("9" in told for told in report.troubles)


def test_neither_half_of_a_key_is_ever_shown(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    account.faults = {call: ["500", "garbage"] for call in ("POST /api/v3/order", "GET /api/v3/account")}
    shown = [*killed(account).lines(), repr(credentials()), str(credentials(PEM)), caplog.text]
    for given in (
        Credentials(KEY, "wrong-canary"),
        Credentials("wrong-canary", SECRET),
        Credentials(KEY, PEM[:60] + "A" + PEM[61:]),
    ):
        shown.append(repr(refused(account, given)))
    assert not [one for one in shown if "canary" in one or PEM[40:70] in one]


def test_the_client_sends_orders_once_and_says_no_as_the_venue_does(account: Account) -> None:
    async def job() -> Any:
        async with aiohttp.ClientSession() as session:
            venue = VenueRest(session, account.url, credentials())
            with pytest.raises(RefusedError) as no:
                await venue.market("BTCUSDT", "SELL", Decimal("0.00001"), "x-1")
            return no.value, await venue.open_orders("ETHUSDT"), await venue.account(), await venue.rules(["ETHUSDT"])

    no, orders, held, rules = asyncio.run(job())
    assert (no.code, no.status, account.count("POST /api/v3/order")) == (-1013, 400, 1)
    assert orders == ["a-3"]
    assert held["ETH"] == (Decimal("10.25"), Decimal(10))
    assert rules["ETHUSDT"][1:] == ("ETH", "USDT", Decimal("0.0001"), Decimal("0.0001"), Decimal(9000), Decimal(10))
