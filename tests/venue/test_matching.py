"""Matching: what is filled, at which price, as maker or taker, and what becomes of the rest."""

import pytest

from tests.venue.errors import VenueError
from tests.venue.make_engine import D, Engine
from tests.venue.orders import parse_order


def test_a_market_order_takes_what_is_shown_and_the_rest_expires() -> None:
    engine = Engine()
    engine.quote("30000", "30001", ask_size="0.4")
    order = engine.send("BUY", "MARKET", "1")
    assert (order.status, order.executed) == ("EXPIRED", D("0.4"))
    assert engine.reports(order) == ["NEW", "TRADE", "EXPIRED"]


def test_size_that_was_taken_is_gone_until_the_next_quote() -> None:
    engine = Engine()
    engine.send("BUY", "MARKET", "0.7")
    second = engine.send("BUY", "LIMIT", "0.7", price="30001")
    assert second.executed == D("0.3")
    engine.quote("30000", "30001")
    assert second.status == "FILLED"
    assert [trade.maker for trade in second.trades] == [False, True]


def test_an_ioc_order_expires_with_what_it_could_not_get() -> None:
    engine = Engine()
    order = engine.send("SELL", "LIMIT", "1.5", price="30000", timeInForce="IOC")
    assert (order.status, order.executed) == ("EXPIRED", D(1))


@pytest.mark.parametrize(("qty", "status", "executed"), [("1", "FILLED", "1"), ("1.00001", "EXPIRED", "0")])
def test_a_fok_order_is_filled_whole_or_not_at_all(qty: str, status: str, executed: str) -> None:
    order = Engine().send("BUY", "LIMIT", qty, price="30001", timeInForce="FOK")
    assert (order.status, order.executed) == (status, D(executed))


def test_a_limit_order_away_from_the_market_rests_and_is_filled_at_its_own_price_as_maker() -> None:
    engine = Engine()
    order = engine.send("SELL", "LIMIT", "0.5", price="30005")
    assert engine.reports(order) == ["NEW"]
    engine.quote("30004.99", "30006")
    assert order.status == "NEW"
    engine.quote("30007", "30008")
    assert (order.trades[0].price, order.trades[0].maker) == (D("30005"), True)


def test_resting_orders_are_served_by_price_and_then_by_time() -> None:
    engine = Engine()
    late_better = [engine.send("BUY", "LIMIT", "0.5", price=price) for price in ("29990", "29995", "29995")]
    engine.quote("29980", "29985", ask_size="0.7")
    assert [order.executed for order in late_better] == [D(0), D("0.5"), D("0.2")]


def test_post_only_is_refused_if_it_would_take() -> None:
    engine = Engine()
    with pytest.raises(VenueError, match="Order would immediately match and take"):
        engine.send("BUY", "LIMIT_MAKER", "0.1", price="30001")
    assert engine.send("BUY", "LIMIT_MAKER", "0.1", price="30000.99").status == "NEW"


def test_a_stop_waits_for_a_trade_at_its_price_and_then_works() -> None:
    engine = Engine()
    order = engine.send("SELL", "STOP_LOSS_LIMIT", "0.5", price="29990", stopPrice="29995")
    engine.quote("29994", "29996")
    assert not order.working  # a quote does not trigger it
    engine.matching.trade("BTCUSDT", D("29995"), D("0.1"), buyer_maker=True)
    assert (order.status, order.trades[0].price) == ("FILLED", D("29994"))
    assert engine.reports(order) == ["NEW", "NEW", "TRADE"]


def test_a_take_profit_triggers_on_the_other_side() -> None:
    engine = Engine()
    order = engine.send("SELL", "TAKE_PROFIT_LIMIT", "0.5", price="30010", stopPrice="30010")
    engine.matching.trade("BTCUSDT", D("30009"), D("0.1"), buyer_maker=False)
    assert not order.working
    engine.matching.trade("BTCUSDT", D("30010"), D("0.1"), buyer_maker=False)
    assert order.working
    assert order.status == "NEW"


def test_a_stop_that_would_trigger_at_once_is_refused() -> None:
    engine = Engine()
    engine.matching.trade("BTCUSDT", D("30000"), D("0.1"), buyer_maker=False)
    with pytest.raises(VenueError, match="Stop price would trigger immediately"):
        engine.send("SELL", "STOP_LOSS_LIMIT", "0.5", price="30000", stopPrice="30002")


def test_the_account_s_own_fill_is_a_public_trade_and_can_trigger_its_own_stop() -> None:
    engine = Engine()
    stop = engine.send("BUY", "STOP_LOSS_LIMIT", "0.1", price="30010", stopPrice="30001")
    engine.send("BUY", "MARKET", "0.2")
    assert stop.status == "FILLED"
    assert [(p.price, p.qty, p.buyer_maker) for p in engine.prints] == [
        (D("30001"), D("0.2"), False), (D("30001"), D("0.1"), False),
    ]  # fmt: skip


def test_a_market_order_in_quote_currency_buys_whole_lots() -> None:
    order = Engine().send("BUY", "MARKET", quoteOrderQty="100")
    assert order.executed == D("0.00333")
    assert order.quote_executed <= 100


def test_an_open_client_id_is_taken_and_a_closed_one_is_free_again() -> None:
    """As at the real venue: a retry of a filled order would be a second order."""
    engine = Engine()
    engine.send("BUY", "LIMIT", "0.1", price="29000", newClientOrderId="mine")
    with pytest.raises(VenueError, match="-2010 Duplicate order sent"):
        engine.send("BUY", "LIMIT", "0.1", price="29000", newClientOrderId="mine")
    for _ in range(2):
        engine.send("BUY", "MARKET", "0.1", newClientOrderId="once")
    assert len(engine.books.orders) == 3


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"price": "30000.001"}, "-1013 Filter failure: PRICE_FILTER"),
        ({"price": "1"}, "-1013 Filter failure: PERCENT_PRICE_BY_SIDE"),
        ({"quantity": "0.000001"}, "-1013 Filter failure: LOT_SIZE"),
        ({"quantity": "0.0000000001"}, "-1111"),
        ({"quantity": "0.0001"}, "-1013 Filter failure: NOTIONAL"),
        ({"quantity": "0"}, "-1013 Invalid quantity"),
        ({"quantity": "nan"}, "-1013 Invalid quantity"),
        ({"quantity": "x"}, "-1102"),
        ({"side": "HOLD"}, "-1117"),
        ({"type": "OCO"}, "-1116"),
        ({"timeInForce": "GTD"}, "-1115"),
        ({"type": "LIMIT_MAKER"}, "-1106"),
        ({"newClientOrderId": "no spaces"}, "-1100"),
        ({"newClientOrderId": "x" * 37}, "-1100"),
        ({"symbol": "NOPE"}, "-1121"),
        ({"price": None}, "-1102"),
    ],
)
def test_an_order_that_breaks_a_rule_is_refused_in_the_venue_s_words(
    change: dict[str, str | None], refused: str
) -> None:
    engine = Engine()
    good = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.01",
        "price": "20000",
    }
    parse_order(good, engine.matching)
    with pytest.raises(VenueError, match=refused):
        parse_order({k: v for k, v in (good | change).items() if v is not None}, engine.matching)


def test_a_symbol_has_room_for_five_stops() -> None:
    engine = Engine()
    for _ in range(5):
        engine.send("SELL", "STOP_LOSS_LIMIT", "0.01", price="29000", stopPrice="29000")
    with pytest.raises(VenueError, match="MAX_NUM_ALGO_ORDERS"):
        engine.send("SELL", "STOP_LOSS_LIMIT", "0.01", price="29000", stopPrice="29000")
