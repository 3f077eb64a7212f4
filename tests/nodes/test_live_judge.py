"""The judge of the live drill: from books of the test exchange, each wrong that a pilot could do is found."""

import copy
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from benchmarks.live.judge import flat, held, lost, lost_since, moments, most_out, own, sent_after, wrong
from tests.venue.make_venue import Handle, running

CAPITAL, SYMBOLS, EVER = Decimal(50), frozenset({"BTCUSDT"}), 10**15


@pytest.fixture(scope="module")
def books() -> Iterator[dict[str, Any]]:
    """Two buys and a sale by hand, one cancel, at 30,000: 0.001 is 30 USDT."""
    with running(deposits={"USDT": "60", "BTC": "0"}) as venue:
        venue.quote(29_999, 30_000, 1, 1)
        buy(venue, "A", "0.0004", 30_000)
        buy(venue, "B", "0.001", 29_900)
        venue.signed("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="B")
        time.sleep(0.005)  # in one millisecond the end of one counts after the beginning of another
        buy(venue, "C", "0.0008", 30_000)
        held = venue.balance("BTC")[0]
        venue.order("SELL", "MARKET", held.quantize(Decimal("0.00001"), "ROUND_DOWN"), newClientOrderId="LAW-1")
        yield venue.look("books")


def buy(venue: Handle, name: str, qty: str, price: int) -> None:
    answer = venue.order("BUY", "LIMIT", qty, price=price, newClientOrderId=name)
    assert answer.status == 200, answer.body


def test_what_is_out_is_what_was_paid_and_what_is_on_offer(books: dict[str, Any]) -> None:
    steps = list(moments(books))
    bought = sum(Decimal(one["quoteQty"]) for one in books["trades"] if one["isBuyer"])
    assert bought == 36
    assert most_out(books) == Decimal("12") + Decimal("29.9")
    assert steps[-1].offered == 0
    assert Decimal(0) < steps[-1].paid < Decimal("0.5")  # spread and fees
    held = Decimal(books["balances"]["BTC"]["free"])  # the dust that was not sold
    assert lost(books, Decimal(29_999)) + held * 29_999 == steps[-1].paid


def test_a_pilot_that_kept_to_its_permit_is_right(books: dict[str, Any]) -> None:
    assert wrong(books, CAPITAL, SYMBOLS, 0, EVER) == []
    assert flat(books, {"BTC": "0"}, Decimal("0.00001")) == ""


def changed(books: dict[str, Any], name: str, **fields: Any) -> dict[str, Any]:
    own = copy.deepcopy(books)
    next(one for one in own["orders"] if one["clientOrderId"] == name).update(fields)
    return own


def test_mutations_every_wrong_is_found(books: dict[str, Any]) -> None:
    order = {one["clientOrderId"]: one for one in books["orders"]}
    at = order["C"]["time"]
    cases = {
        "41.9": (books, Decimal("41.8"), SYMBOLS, 0, EVER),
        "is in BTCUSDT": (books, CAPITAL, frozenset({"ETHUSDT"}), 0, EVER),
        "A came at": (books, CAPITAL, SYMBOLS, order["A"]["time"] + 1, EVER),
        "C came at": (books, CAPITAL, SYMBOLS, 0, at),
        "buys at any price": (changed(books, "A", type="MARKET"), CAPITAL, SYMBOLS, 0, EVER),
        "is of the law, and buys": (changed(books, "C", clientOrderId="LAW-2"), CAPITAL, SYMBOLS, 0, EVER),
        "does not add up": (books | {"audit": ["does not add up"]}, CAPITAL, SYMBOLS, 0, EVER),
        "104.77": (changed(books, "B", status="NEW", origQty="0.0023"), CAPITAL, SYMBOLS, 0, EVER),
    }
    for words, (told, *rest) in cases.items():
        found = wrong(told, *rest)
        assert found, words
        assert any(words in line for line in found), (words, found)


def test_an_order_in_flight_counts_before_the_end_of_another_in_the_same_millisecond(books: dict[str, Any]) -> None:
    order = {one["clientOrderId"]: one for one in books["orders"]}
    together = changed(books, "B", updateTime=order["C"]["time"])
    assert most_out(together) == Decimal("12") + Decimal("29.9") + Decimal("24")


def test_what_came_after_a_moment_is_the_laws_own_or_wrong(books: dict[str, Any]) -> None:
    last = max(one["time"] for one in books["orders"] if one["clientOrderId"] == "C")
    assert sent_after(books, last - 1) == ["C"]
    assert sent_after(books, last) == []
    assert sent_after(changed(books, "LAW-1", side="BUY", time=last + 1), last) == ["LAW-1"]


def test_what_is_left_is_found(books: dict[str, Any]) -> None:
    held = copy.deepcopy(books)
    held["balances"]["BTC"]["locked"] = "0.0001"
    assert "BTC is held" in flat(held, {"BTC": "0"}, Decimal("0.00001"))
    assert flat(held, {"BTC": "0.0001"}, Decimal("0.00001")) == ""
    assert flat(books | {"open": [1]}, {}, Decimal("0.00001")) == "1 orders are open"


def test_what_was_lost_since_a_moment_is_what_left_less_what_came_back_and_is_held(books: dict[str, Any]) -> None:
    bid = Decimal(29_999)
    assert lost_since(books, 0, bid) == lost(books, bid)
    at = next(one["time"] for one in books["trades"] if not one["isBuyer"])
    sale = next(one for one in books["trades"] if not one["isBuyer"])
    since = lost_since(books, at, bid)
    assert since == Decimal(sale["commission"])  # sold at the bid itself
    assert lost_since(books, at + 1, bid) == 0
    dearer = copy.deepcopy(books)
    dearer["trades"][-1]["quoteQty"] = str(Decimal(sale["quoteQty"]) - 5)
    assert lost_since(dearer, at, bid) == since + 5


def test_what_is_a_strangers_is_left_out_and_nothing_else(books: dict[str, Any]) -> None:
    assert own(books) == books
    theirs = own(changed(books, "A", clientOrderId="web-1"))
    assert [one["clientOrderId"] for one in theirs["orders"]] == ["B", "C", "LAW-1"]
    assert len(theirs["trades"]) == len(books["trades"]) - 1
    assert held(books, {"BTC": "0"}) == Decimal(books["balances"]["BTC"]["free"]) > 0
    assert held(books, {"BTC": books["balances"]["BTC"]["free"]}) == 0
