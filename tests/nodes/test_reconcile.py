"""Three sides that agree, and each way in which one of them may not: orders, fills, positions, balances, fees."""

from decimal import Decimal
from typing import Any

import pytest

from alphatrade.nodes.live.reconcile import (
    EXCHANGE,
    ROUNDING,
    STRANGER,
    Fill,
    Order,
    Side,
    balances,
    compare,
    fees,
    positions,
    strangers,
)
from tests.nodes.make_checks import BTC

D = Decimal
BUY = Fill("O-1", "BUY", D("0.002"), D(30_000), D("0.000002"), "BTC")
SELL = Fill("O-2", "SELL", D("0.001"), D(30_010), D("0.03001"), "USDT")
FILLS = {("BTCUSDT", "7"): BUY, ("BTCUSDT", "8"): SELL}
ORDERS = {
    "O-1": Order("BTCUSDT", "BUY", D("0.002"), D("0.002"), "filled"),
    "O-2": Order("BTCUSDT", "SELL", D("0.003"), D("0.001"), "open"),
    "O-3": Order("BTCUSDT", "BUY", D("0.001"), D(0), "canceled"),
}
OPENING = {"USDT": D(100), "BTC": D(1), "DOGE": D(5)}


def side(**changed: Any) -> Side:
    whole = Side(ORDERS, FILLS, positions(FILLS, [BTC]), balances(OPENING, FILLS, [BTC]), fees(FILLS.values()))
    return whole._replace(**changed)


def sides(journal: Side, cache: Side, exchange: Side) -> dict[str, Side]:
    return {"journal": journal, "cache": cache, EXCHANGE: exchange}


def test_sides_that_are_the_same_have_no_difference():
    assert compare(sides(side(), side(), side()), [BTC]) == []
    assert side().positions == {"BTCUSDT": D("0.000998")}
    assert side().balances == {"USDT": D("100") - D(60) + D("30.01") - D("0.03001"), "BTC": D("1.000998")}


def _without(rows: dict[Any, Any], key: Any) -> dict[Any, Any]:
    return {name: row for name, row in rows.items() if name != key}


OTHERS = {
    "orders: qty": {"orders": ORDERS | {"O-1": ORDERS["O-1"]._replace(qty=D("0.0021"))}},
    "orders: filled": {"orders": ORDERS | {"O-2": ORDERS["O-2"]._replace(filled=D("0.002"))}},
    "orders: state": {"orders": ORDERS | {"O-2": ORDERS["O-2"]._replace(state="canceled")}},
    "orders: side": {"orders": ORDERS | {"O-1": ORDERS["O-1"]._replace(side="SELL")}},
    "orders: gone": {"orders": _without(ORDERS, "O-3")},
    "fills: gone": {"fills": _without(FILLS, ("BTCUSDT", "7"))},
    "fills: qty": {"fills": FILLS | {("BTCUSDT", "7"): BUY._replace(qty=D("0.00200001"))}},
    "fills: price": {"fills": FILLS | {("BTCUSDT", "7"): BUY._replace(price=D("30000.01"))}},
    "fills: fee": {"fills": FILLS | {("BTCUSDT", "8"): SELL._replace(fee=D("0.03002"))}},
    "fills: asset": {"fills": FILLS | {("BTCUSDT", "8"): SELL._replace(asset="BNB")}},
    "fills: order": {"fills": FILLS | {("BTCUSDT", "8"): SELL._replace(order="O-1")}},
    "fills: new": {"fills": FILLS | {("BTCUSDT", "9"): SELL}},
    "positions": {"positions": {"BTCUSDT": D("0.00099800001")}},
    "positions: none": {"positions": {}},
    "balances": {"balances": side().balances | {"BTC": D("1.00099803")}},
    "fees": {"fees": {"BTC": D("0.000002"), "USDT": D("0.03")}},
    "fees: more": {"fees": fees(FILLS.values()) | {"BNB": D("0.0001")}},
}


@pytest.mark.parametrize("who", ["journal", "cache", EXCHANGE])
@pytest.mark.parametrize("what", OTHERS)
def test_one_side_that_has_something_else_is_told_whichever_it_is(what, who):
    three = sides(side(), side(), side()) | {who: side(**OTHERS[what])}
    found = compare(three, [BTC])
    assert [one.row for one in found] == [what.partition(":")[0]]
    assert all(f"{name} has" in found[0].line for name in three)


def test_an_order_that_only_the_exchange_has_is_a_strangers():
    other = ORDERS | {"web-1": Order("BTCUSDT", "BUY", D(1), D(0), "open")}
    (found,) = compare(sides(side(), side(), side(orders=other)), [BTC])
    assert (found.row, found.what) == (STRANGER, "web-1")
    assert compare(sides(side(), side(orders=other), side(orders=other)), [BTC])[0].row == "orders"


def test_what_is_open_in_any_symbol_and_not_ours_is_a_strangers():
    rows = [("O-2", "BTCUSDT"), ("web-2", "DOGEUSDT")]
    assert [one.what for one in strangers(rows, {"O-2"})] == ["web-2"]


def test_an_order_whose_answer_is_on_its_way_is_not_compared_and_what_it_has_filled_is():
    sent = ORDERS | {"O-4": Order("BTCUSDT", "BUY", D(1), D(0), None)}
    three = sides(side(orders=sent), side(orders=sent), side())
    assert len(compare(three, [BTC])) == 1
    assert compare(three, [BTC], {"O-4"}) == []


def test_a_side_that_does_not_say_is_not_asked():
    silent = {
        "O-1": ORDERS["O-1"]._replace(qty=None, state=None, side=None),
        "O-2": ORDERS["O-2"],
        "O-3": ORDERS["O-3"],
    }
    assert compare(sides(side(orders=silent), side(), side()), [BTC]) == []
    law = Side(positions=side().positions)
    assert compare(sides(side(), side(), side()) | {"law": law}, [BTC]) == []
    law = Side(positions={"BTCUSDT": D(0)})
    assert [one.row for one in compare(sides(side(), side(), side()) | {"law": law}, [BTC])] == ["positions"]


def test_a_balance_may_be_off_by_what_the_exchange_rounds_and_no_more():
    held = side().balances
    for digits, off in ((2, False), (3, True)):
        other = side(balances=held | {"USDT": held["USDT"] + digits * ROUNDING})
        assert bool(compare(sides(side(), side(), other), [BTC])) == off


def test_an_asset_that_the_exchange_does_not_list_is_nought_and_one_that_only_it_lists_is_not_ours():
    held = {name: value for name, value in side().balances.items() if name != "BTC"}
    assert [one.what for one in compare(sides(side(), side(), side(balances=held)), [BTC])] == ["BTC"]
    more = side(balances=side().balances | {"DOGE": D(3)})
    assert compare(sides(side(), side(), more), [BTC]) == []


def test_a_fee_in_a_third_asset_comes_out_of_what_was_held_of_it():
    odd = {("BTCUSDT", "7"): BUY._replace(asset="DOGE", fee=D(2))}
    assert balances(OPENING, odd, [BTC])["DOGE"] == D(3)
    assert positions(odd, [BTC]) == {"BTCUSDT": D("0.002")}


def test_a_difference_is_the_same_one_while_it_is_as_large():
    def off(by: str) -> Any:
        held = side().balances
        return compare(sides(side(), side(), side(balances=held | {"BTC": held["BTC"] + D(by)})), [BTC])[0]

    assert off("0.1").same(off("0.1"))
    assert not off("0.1").same(off("0.2"))
    assert off("-0.1").by == D("-0.1")
