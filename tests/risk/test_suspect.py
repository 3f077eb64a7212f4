"""Prices that are not believed, through the gate: quotes, trades and bars; what is noted, and what each costs."""

from typing import Any

import pytest
from nautilus_trader.model.data import Bar, BarType, QuoteTick, TradeTick
from nautilus_trader.model.enums import AggressorSide, OrderSide
from nautilus_trader.model.identifiers import TradeId
from nautilus_trader.model.objects import Price

from alphatrade.risk import gate_price
from alphatrade.risk.gate import RiskGate
from tests.risk.rig import BTCUSDT, SECOND, START, Scripted, engine, flat_quotes, gate_of, quote

WIDE = {"duplicate_window_s": 0, "repeat_max": 99}
SIZE = BTCUSDT.make_qty(1)


def quotes(levels: dict[int, float], n: int = 30) -> list[QuoteTick]:
    return [quote(BTCUSDT, levels.get(i, 50_000), START + i * SECOND) for i in range(1, n + 1)]


def trades(levels: dict[int, float], n: int = 30) -> list[TradeTick]:
    return [
        TradeTick(BTCUSDT.id, BTCUSDT.make_price(levels.get(i, 50_000)), SIZE, AggressorSide.BUYER, TradeId(str(i)),
                  START + i * SECOND, START + i * SECOND)
        for i in range(1, n + 1)
    ]  # fmt: skip


def bars(levels: dict[int, float], n: int = 30) -> list[Bar]:
    kind = BarType.from_str(f"{BTCUSDT.id}-1-SECOND-LAST-EXTERNAL")
    made = []
    for i in range(1, n + 1):
        price = BTCUSDT.make_price(levels.get(i, 50_000))
        made.append(Bar(kind, price, price, price, price, SIZE, START + i * SECOND, START + i * SECOND))
    return made


class Timed(Scripted):
    """Buys, or whatever the script says, at so many seconds; the feed is whatever it is."""

    def __init__(self, at: dict[int, Any]) -> None:
        super().__init__({})
        self.at = at

    def on_start(self) -> None:
        for second, act in self.at.items():
            self.clock.set_time_alert_ns(f"t{second}", START + second * SECOND + 1, lambda _, act=act: act(self))


def order(side: OrderSide = OrderSide.BUY) -> Any:
    return lambda s: s.submit_order(s.order_factory.market(BTCUSDT.id, side, BTCUSDT.make_qty(0.1)))


def play(data: list[Any], at: dict[int, Any], **limits: Any) -> tuple[list[str], RiskGate]:
    """Return the answer to each order, in their order, and the gate."""
    strategy = Timed(at)
    built = engine(data, [strategy], {"template": {**WIDE, **limits}, "half_spread_bps": {BTCUSDT.id.value: 1.0}})
    built.run()
    orders = sorted(built.cache.orders(), key=lambda o: (o.ts_init, o.client_order_id.value))
    answers = [strategy.denied.get(o.client_order_id.value, "ok").partition(":")[0] for o in orders]
    gate = gate_of(built)
    built.dispose()
    return answers, gate


FEEDS = pytest.mark.parametrize("feed", [quotes, trades, bars])


@FEEDS
@pytest.mark.parametrize("level", [5_000_000, 500, 55_000, 46_000])
def test_nothing_is_traded_on_a_lone_price_and_the_next_good_one_is_believed(feed: Any, level: float) -> None:
    answers, gate = play(feed({10: level}), {5: order(), 10: order(), 11: order()})
    assert answers == ["ok", "SUSPECT_REFERENCE", "ok"]
    assert gate.record.counts["suspect"] == 1
    assert gate.switch.state == "ACTIVE"
    assert max(gate.record._bids) < 50_100 * 10**9, "it marked nothing"


@FEEDS
def test_a_jump_that_the_next_price_confirms_is_the_market(feed: Any) -> None:
    answers, _ = play(feed(dict.fromkeys(range(10, 40), 55_000)), {5: order(), 10: order(), 11: order()})
    assert answers == ["ok", "SUSPECT_REFERENCE", "ok"]


@FEEDS
def test_a_lone_price_is_seen_with_nothing_held_too(feed: Any) -> None:
    answers, _ = play(feed({10: 500_000}), {10: order(), 12: order()})
    assert answers == ["SUSPECT_REFERENCE", "ok"]


@FEEDS
def test_what_the_jump_is_follows_the_template(feed: Any) -> None:
    assert play(feed({10: 55_000}), {5: order(), 10: order()}, jump_max=0.1)[0] == ["ok", "ok"]
    assert play(feed({10: 50_300}), {5: order(), 10: order()}, jump_max=0.005)[0] == ["ok", "SUSPECT_REFERENCE"]


@FEEDS
def test_a_lone_price_trips_nothing_and_a_confirmed_loss_does(feed: Any) -> None:
    one = {5: order(), 12: order()}
    assert play(feed({10: 500}), one, daily_loss_max=0.001)[1].switch.state == "ACTIVE"
    lost = play(feed(dict.fromkeys(range(10, 40), 25_000)), one, daily_loss_max=0.001)[1]
    assert lost.switch.state == "HALTED"
    assert lost.switch.trip_cause is not None
    assert lost.switch.trip_cause.code == "DAILY_LOSS"


def test_the_mutant_that_believes_every_price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_price, "alone", lambda *_: None)
    answers, gate = play(quotes({10: 500}), {5: order(), 12: order()}, daily_loss_max=0.001)
    assert gate.switch.state != "ACTIVE", "a bad print has stopped trading for no loss"
    assert "TradingState.HALTED" in answers, "what came afterwards is denied by the native state"


def test_a_lone_price_inside_a_quiet_stretch_of_a_tiny_position_is_seen() -> None:
    """Where hardly anything is held almost no price changes a limit, and yet none may be traded on unseen."""
    def tiny(s: Any) -> None:
        s.submit_order(s.order_factory.market(BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(0.000001)))

    for feed in (quotes, bars):
        answers, _ = play(feed({10: 54_000}), {3: tiny, 10: order(), 11: order()})
        assert answers == ["ok", "SUSPECT_REFERENCE", "ok"], feed.__name__


def test_a_crossed_quote_is_no_price_to_trade_on_but_counts_for_losses() -> None:
    data = quotes({})
    data[9] = quote(BTCUSDT, 50_000, START + 10 * SECOND, half=-5)
    answers, _ = play(data, {5: order(), 10: order(), 11: order()})
    assert answers == ["ok", "SUSPECT_REFERENCE", "ok"]
    crossed = [quote(BTCUSDT, 48_000, START + i * SECOND, half=-5) for i in range(10, 31)]
    lost = play(quotes({}, 9) + crossed, {5: order(), 12: order()}, daily_loss_max=0.0001)[1]
    assert lost.switch.state == "HALTED", "a book that stays crossed does not hide a loss"


def test_a_quote_of_nothing_is_no_price_to_trade_on() -> None:
    data = quotes({})
    nothing = Price(0, BTCUSDT.price_precision)
    data[9] = QuoteTick(BTCUSDT.id, nothing, nothing, SIZE, SIZE, START + 10 * SECOND, START + 10 * SECOND)
    assert play(data, {10: order(), 11: order()})[0] == ["SUSPECT_REFERENCE", "ok"]


def test_stamps_that_go_back_are_no_reference_until_they_have_caught_up() -> None:
    data = [
        QuoteTick(q.instrument_id, q.bid_price, q.ask_price, q.bid_size, q.ask_size,
                  q.ts_event - 5 * SECOND if 10 <= i < 20 else q.ts_event, q.ts_init)
        for i, q in enumerate(quotes({}), start=1)
    ]  # fmt: skip
    for held in ({}, {5: order()}):
        answers, gate = play(data, {**held, 10: order(), 13: order(), 16: order(), 25: order()})
        assert answers[len(held) :] == ["SUSPECT_REFERENCE", "SUSPECT_REFERENCE", "ok", "ok"]
        assert gate.switch.state == "ACTIVE"


def test_a_stamp_from_the_future_does_not_shut_out_what_follows() -> None:
    data = quotes({})
    q = data[7]
    data[7] = QuoteTick(q.instrument_id, q.bid_price, q.ask_price, SIZE, SIZE, q.ts_event + 3600 * SECOND, q.ts_init)
    assert play(data, {5: order(), 12: order()})[0] == ["ok", "ok"]


def test_a_modification_is_judged_likewise() -> None:
    def rest(s: Any) -> None:
        s.kept = s.order_factory.limit(BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(0.1), BTCUSDT.make_price(49_500))
        s.submit_order(s.kept)

    strategy = Timed({5: rest, 10: lambda s: s.modify_order(s.kept, quantity=BTCUSDT.make_qty(0.2))})
    data = [*flat_quotes(BTCUSDT, 50_000, 10), *quotes({10: 5_000_000})[9:]]
    built = engine(data, [strategy], {"template": WIDE})
    built.run()
    assert [reason.partition(":")[0] for reason in strategy.rejected] == ["SUSPECT_REFERENCE"]
    built.dispose()
