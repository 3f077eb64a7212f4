"""The venue's books: whatever is sent in whatever order, they add up to the last decimal, and the audit would tell."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.venue.books import Books
from tests.venue.errors import VenueError
from tests.venue.make_engine import D, Engine

QTY = st.decimals("0.00001", "0.9", places=5)
PRICE = st.decimals("29990", "30010", places=2)
SIDE = st.sampled_from(["BUY", "SELL"])
ACTIONS = st.one_of(
    st.tuples(st.just("market"), SIDE, QTY),
    st.tuples(st.just("limit"), SIDE, QTY, PRICE, st.sampled_from(["GTC", "IOC", "FOK"])),
    st.tuples(st.just("maker"), SIDE, QTY, PRICE),
    st.tuples(st.just("stop"), SIDE, QTY, PRICE, PRICE, st.sampled_from(["STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"])),
    st.tuples(st.just("quote_qty"), SIDE, st.decimals("5", "20000", places=2)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("quote"), PRICE, st.decimals("0.01", "3", places=2), QTY, QTY),
    st.tuples(st.just("print"), PRICE, QTY),
)


def act(engine: Engine, action: tuple[Any, ...]) -> None:
    """Do one thing; a refusal is fine."""
    name, *rest = action
    try:
        if name == "market":
            engine.send(rest[0], "MARKET", rest[1])
        elif name == "limit":
            engine.send(rest[0], "LIMIT", rest[1], price=rest[2], timeInForce=rest[3])
        elif name == "maker":
            engine.send(rest[0], "LIMIT_MAKER", rest[1], price=rest[2])
        elif name == "stop":
            engine.send(rest[0], rest[4], rest[1], price=rest[2], stopPrice=rest[3])
        elif name == "quote_qty":
            engine.send(rest[0], "MARKET", quoteOrderQty=rest[1])
        elif name == "cancel" and engine.books.open:
            found = list(engine.books.open.values())
            engine.cancel(found[rest[0] % len(found)])
        elif name == "quote":
            engine.quote(rest[0], rest[0] + rest[1], rest[2], rest[3])
        elif name == "print":
            engine.matching.trade("BTCUSDT", rest[0], rest[1], buyer_maker=False)
    except VenueError:
        pass


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTIONS, max_size=60), st.sampled_from(["0", "0.00075", "0.001"]))
def test_books_add_up_after_anything(actions: list[tuple[Any, ...]], fee: str) -> None:
    engine = Engine(maker=fee, taker=fee)
    for action in actions:
        act(engine, action)
        assert engine.books.audit() == []
    for order in list(engine.books.open.values()):
        engine.cancel(order)
    assert engine.books.audit() == []
    assert engine.held("USDT")[1] == engine.held("BTC")[1] == 0


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTIONS, max_size=60))
def test_the_user_stream_alone_tells_the_same_as_the_books(actions: list[tuple[Any, ...]]) -> None:
    """Whoever hears every event knows balances and orders without ever asking: independent of how they are booked."""
    engine = Engine()
    for action in actions:
        act(engine, action)
    total, heard = {"USDT": D("100000"), "BTC": D(2)}, {}
    for event in engine.events:
        if event["e"] == "outboundAccountPosition":
            heard |= {row["a"]: (D(row["f"]), D(row["l"])) for row in event["B"]}
        elif event["x"] == "TRADE":
            sign = 1 if event["S"] == "BUY" else -1
            total["BTC"] += sign * D(event["l"])
            total["USDT"] -= sign * D(event["Y"])
            total[event["N"]] -= D(event["n"])
    for asset, (free, locked) in heard.items():
        assert (free, locked) == engine.held(asset)
        assert free + locked == total[asset]
    last = {e["i"]: e for e in engine.events if e["e"] == "executionReport"}
    for order in engine.books.orders.values():
        assert (last[order.id]["X"], D(last[order.id]["z"])) == (order.status, order.executed)


def test_a_fill_is_paid_for_by_what_was_locked_and_the_rest_is_given_back() -> None:
    engine = Engine()
    order = engine.send("BUY", "LIMIT", "0.5", price="29999")
    assert engine.held("USDT") == (D("100000") - D("14999.5"), D("14999.5"))
    engine.quote("29990", "29999", ask_size="0.2")
    assert order.status == "PARTIALLY_FILLED"
    assert engine.held("USDT") == (D("85000.5"), D("8999.7"))
    assert engine.held("BTC") == (D("2.19984"), D(0))  # less the maker's 0.08 %
    engine.cancel(order)
    assert engine.held("USDT") == (D("94000.2"), D(0))


def test_a_better_price_than_the_limit_is_given_back() -> None:
    engine = Engine()
    engine.send("BUY", "LIMIT", "1", price="30009")
    assert engine.held("USDT") == (D("69999"), D(0))


def test_fees_are_taken_from_what_is_received_and_cut_off_at_eight_decimals() -> None:
    engine = Engine(taker="0.00075")
    bought = engine.send("BUY", "MARKET", "0.00033").trades[0]
    sold = engine.send("SELL", "MARKET", "0.00033").trades[0]
    assert (bought.fee, bought.fee_asset) == (D("0.00000024"), "BTC")  # of 0.0000002475
    assert (sold.fee, sold.fee_asset) == (D("0.00742500"), "USDT")


@pytest.mark.parametrize("broken", ["fee", "unlock", "release"])
def test_the_audit_sees_a_book_that_does_not_add_up(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine()
    if broken == "fee":
        whole = Books.fill

        def forgets_the_fee(self: Books, order: Any, *rest: Any) -> Any:
            trade = whole(self, order, *rest)
            self.balances[trade.fee_asset].free += trade.fee
            return trade

        monkeypatch.setattr(Books, "fill", forgets_the_fee)
    elif broken == "unlock":
        monkeypatch.setattr(
            Books,
            "_spend",
            lambda self, order, balance, spent, unlocked: setattr(balance, "free", balance.free - spent),
        )
    else:
        monkeypatch.setattr(Books, "_release", lambda self, order: self.open.pop(order.id))
    order = engine.send("BUY", "LIMIT", "0.5", price="29999")
    engine.quote("29990", "29999", ask_size="0.2")
    if broken == "release":
        engine.cancel(order)
    assert engine.books.audit() != []


def test_the_account_cannot_spend_what_it_does_not_have() -> None:
    engine = Engine(usdt="100", btc="0.001")
    for side, kind, more in [("BUY", "MARKET", {}), ("BUY", "LIMIT", {"price": "30000"}), ("SELL", "MARKET", {}),
                             ("SELL", "LIMIT_MAKER", {"price": "30005"})]:  # fmt: skip
        with pytest.raises(VenueError, match="-2010 Account has insufficient balance"):
            engine.send(side, kind, "0.01", **more)
    assert engine.events == []
    assert engine.held("USDT") == (Decimal(100), Decimal(0))
