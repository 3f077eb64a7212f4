"""What a start with real orders is refused for: each thing that the exchange may tell, one at a time."""

from decimal import Decimal
from typing import Any

import pytest

from alphatrade.nodes.live.checks import (
    Check,
    account_checks,
    clock_check,
    filter_checks,
    key_checks,
    money_check,
    spent_of,
    stranger_checks,
)
from tests.nodes.make_checks import ACCOUNT, BTC, BURN, deal, rights
from tests.venue.rules import KNOWN

ENDS_MS = 2_000_000_000_000


def failed(checks: list[Check]) -> list[str]:
    return [one.name for one in checks if not one.holds]


def test_a_key_that_may_read_and_trade_spot_and_nothing_else_passes():
    assert failed(key_checks(rights(), BURN, "mainnet", ENDS_MS)) == []


@pytest.mark.parametrize(
    "right",
    ["enableWithdrawals", "enableInternalTransfer", "permitsUniversalTransfer", "enableMargin", "enableFutures",
     "enableVanillaOptions", "enablePortfolioMarginTrading"],
)  # fmt: skip
def test_a_key_that_may_do_more_than_trade_spot_is_refused_and_so_is_one_of_which_it_is_not_told(right):
    for value in (True, None, "false", 0, "true"):
        (odd,) = [one for one in key_checks(rights(**{right: value}), BURN, "loopback", ENDS_MS) if not one.holds]
        assert odd.name == right
        assert odd.wanted == "false: change what the key may do at the exchange, or use another one"


@pytest.mark.parametrize("right", ["enableReading", "enableSpotAndMarginTrading"])
def test_a_key_that_may_not_do_what_is_needed_is_refused(right):
    for value in (False, None, 1):
        assert failed(key_checks(rights(**{right: value}), BURN, "loopback", ENDS_MS)) == [right]


def test_a_right_that_nobody_here_knows_is_refused_by_its_name_unless_it_is_off():
    assert failed(key_checks(rights(enableMindReading=True), BURN, "loopback", ENDS_MS)) == ["right enableMindReading"]
    assert failed(key_checks(rights(enableMindReading="on"), BURN, "loopback", ENDS_MS)) == ["right enableMindReading"]
    assert failed(key_checks(rights(enableMindReading=False), BURN, "loopback", ENDS_MS)) == []


def test_only_the_real_exchange_asks_for_a_list_of_addresses():
    assert failed(key_checks(rights(ipRestrict=False), BURN, "mainnet", ENDS_MS)) == ["ipRestrict"]
    assert failed(key_checks(rights(ipRestrict=False), BURN, "loopback", ENDS_MS)) == []


def test_a_right_to_trade_that_expires_before_the_permit_does_is_refused():
    name = "tradingAuthorityExpirationTime"
    for value, bad in ((ENDS_MS, True), (ENDS_MS + 1, False), ("never", True), (True, True)):
        assert bool(failed(key_checks(rights(**{name: value}), BURN, "loopback", ENDS_MS))) == bad


def test_rights_that_are_not_told_are_let_pass_by_the_testnet_alone():
    assert failed(key_checks(None, None, "testnet", ENDS_MS)) == []
    assert failed(key_checks(None, None, "mainnet", ENDS_MS)) == ["rights of the key"]
    assert failed(key_checks(None, None, "loopback", ENDS_MS)) == ["rights of the key"]
    assert failed(key_checks(None, BURN, "testnet", ENDS_MS)) == ["rights of the key"]
    assert failed(key_checks(["?"], BURN, "testnet", ENDS_MS)) == ["rights of the key"]


def test_fees_in_bnb_are_refused():
    for burn in ({"spotBNBBurn": True}, {}, {"spotBNBBurn": "false"}):
        assert failed(key_checks(rights(), burn, "loopback", ENDS_MS)) == ["spotBNBBurn"]
    assert failed(key_checks(rights(), None, "loopback", ENDS_MS)) == ["fees in BNB"]


def test_an_account_whose_fees_are_higher_than_what_is_counted_with_is_refused():
    def of(**rates: Any) -> list[str]:
        return failed(account_checks(ACCOUNT | {"commissionRates": ACCOUNT["commissionRates"] | rates}, [BTC]))

    assert of() == []
    assert of(taker="0.0010001") == ["taker fee of BTCUSDT"]
    assert of(maker="0.002") == ["maker fee of BTCUSDT"]
    assert of(seller="0.0001") == ["maker fee of BTCUSDT", "taker fee of BTCUSDT"]
    for nonsense in (None, "NaN", "-Infinity", "free", 0.0001):
        assert of(taker=nonsense) == ["taker fee of BTCUSDT"]
    assert len(failed(account_checks({}, [BTC]))) == 4


@pytest.mark.parametrize(("name", "value"), [("canTrade", False), ("canTrade", None), ("accountType", "MARGIN")])
def test_an_account_that_may_not_trade_spot_is_refused(name, value):
    assert failed(account_checks(ACCOUNT | {name: value}, [BTC])) == [name]


def test_a_clock_may_be_off_by_a_second_and_by_what_the_way_takes():
    assert clock_check(-1_050.0, 50.0).holds
    assert not clock_check(1_051.0, 50.0).holds
    assert not clock_check(-1_051.0, 50.0).holds
    assert not clock_check(float("nan"), 0.0).holds
    assert clock_check(3_000.0, 10.0).found == "3.00 s ahead of ours"


def test_filters_that_are_not_those_of_the_node_are_refused():
    info, most = KNOWN["BTCUSDT"].info(), Decimal(6)

    def of(most: Decimal | None = most, **changed: Any) -> list[str]:
        return failed(filter_checks(info | changed, BTC, most))

    def without(kind: str, **changed: Any) -> list[dict[str, Any]]:
        return [one | changed if one["filterType"] == kind else one for one in info["filters"]]

    assert of() == []
    assert of(status="BREAK") == ["status of BTCUSDT"]
    assert of(isSpotTradingAllowed=False) == ["isSpotTradingAllowed"]
    assert of(orderTypes=["LIMIT", "MARKET"]) == ["orders of BTCUSDT"]
    assert of(filters=without("PRICE_FILTER", tickSize="0.10")) == ["price step of BTCUSDT"]
    assert of(filters=without("LOT_SIZE", stepSize="0.00002")) == ["quantity step of BTCUSDT"]
    assert of(filters=without("MARKET_LOT_SIZE", stepSize="0.01")) == ["quantity step of BTCUSDT"]
    assert of(filters=without("NOTIONAL", minNotional="5.01")) == ["smallest order of BTCUSDT, with room"]
    assert of(filters=without("NOTIONAL", minNotional=None)) == ["smallest order of BTCUSDT, with room"]
    assert of(None, filters=without("NOTIONAL", minNotional="5.01")) == []
    assert of(filters=[])[:1] == ["price step of BTCUSDT"]
    assert failed(filter_checks(None, BTC, most)) == ["filters of BTCUSDT"]


def test_an_open_order_of_somebody_else_is_named_whatever_its_symbol():
    rows = [{"clientOrderId": "O-1", "symbol": "BTCUSDT"}, {"clientOrderId": "web_7", "symbol": "DOGEUSDT"}]
    assert failed(stranger_checks([])) == []
    (check,) = stranger_checks(rows)
    assert (check.holds, check.found) == (False, "O-1 of BTCUSDT, web_7 of DOGEUSDT")
    assert failed(stranger_checks({})) == ["open orders of somebody else"]
    assert failed(stranger_checks([{}])) == ["open orders of somebody else"]


def test_what_the_permit_lets_be_spent_has_to_be_there():
    assert money_check(ACCOUNT, "USDT", Decimal("60.5")).holds
    assert not money_check(ACCOUNT, "USDT", Decimal("60.51")).holds
    assert not money_check(ACCOUNT, "EUR", Decimal(1)).holds
    assert not money_check({"balances": [{"asset": "USDT", "free": None}]}, "USDT", Decimal(1)).holds
    assert not money_check([], "USDT", Decimal(1)).holds


def test_what_was_spent_is_what_was_paid_less_what_came_back_and_the_fees_in_it():
    rows = [deal("BUY", "20", "0.0001", "BTC"), deal("SELL", "15", "0.015", "USDT"), deal("BUY", "1", "0", "BNB")]
    assert spent_of(rows, BTC) == Decimal("6.015")


def test_a_fee_in_another_asset_and_a_trade_that_cannot_be_read_are_told():
    with pytest.raises(ValueError, match="trade 7 of BTCUSDT has paid its fee in BNB"):
        spent_of([deal("BUY", "20", "0.0001", "BNB", 7)], BTC)
    for row in (
        deal("BUY", "?", "0", "BTC"),
        deal("BUY", "1", "NaN", "BTC"),
        deal("BUY", "1", "0", "BTC") | {"isBuyer": 1},
    ):
        with pytest.raises(ValueError, match="cannot be read"):
            spent_of([row], BTC)
