"""What comes from an exchange is brought to the decimals of its instrument, or left out: nothing senseless gets in."""

import asyncio
import re
import time
from collections.abc import Iterator
from decimal import Decimal as D
from typing import Any

import pytest
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.model.data import Bar, BarType, QuoteTick, TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import InstrumentId, TradeId, TraderId
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.test_kit.providers import TestInstrumentProvider

from alphatrade.nodes import feed
from alphatrade.nodes.instruments import on_grid
from alphatrade.nodes.paper import adapters
from alphatrade.nodes.paper.exchange_facts import instrument, market
from alphatrade.nodes.paper.feed_switch import HELD_UP_NS
from alphatrade.nodes.paper.feeds import Address, LiveFeedSpec
from alphatrade.nodes.paper.intake import Intake
from alphatrade.nodes.paper.live_feed import LiveFeed, Unfit
from tests.conftest import ROOT

SPEC = on_grid("BTC/USDT.BINANCE", D("0.01"), D("0.00001"), D("0.001"), D("0.001"))
NAME = InstrumentId.from_str(SPEC.id)
BARS = BarType.from_str(f"{SPEC.id}-1-MINUTE-LAST-EXTERNAL")


@pytest.fixture
def live() -> Iterator[LiveFeed]:
    loop, clock = asyncio.new_event_loop(), LiveClock()
    bus = MessageBus(TraderId("TESTER-001"), clock)
    spec = LiveFeedSpec(source="binance", symbols=("BTCUSDT",))
    yield LiveFeed(loop, bus, Cache(), clock, "BINANCE", [feed.instrument(SPEC)], spec, print)
    loop.close()


def quote(
    bid: str = "30000.00000000", ask: str = "30001.00000000", size: str = "0.50000000", name: Any = NAME
) -> QuoteTick:
    return QuoteTick(
        name, Price.from_str(bid), Price.from_str(ask), Quantity.from_str(size), Quantity.from_str(size), 1, 2
    )


def bar(*prices: str) -> Bar:
    return Bar(BARS, *(Price.from_str(one) for one in prices), Quantity.from_str("1.00000000"), 1, 2)


def test_what_is_fit_has_the_decimals_of_its_instrument_and_its_own_stamps(live: LiveFeed) -> None:
    found = live._fit(quote())
    assert (str(found.bid_price), str(found.ask_size)) == ("30000.00", "0.50000")
    assert (found.ts_event, found.ts_init) == (1, 2)
    trade = TradeTick(
        NAME, Price.from_str("1.10000000"), Quantity.from_str("2"), AggressorSide.BUYER, TradeId("7"), 1, 2
    )
    assert str(live._fit(trade).price) == "1.10"
    assert [str(one) for one in (live._fit(bar("1.0", "3.0", "1.0", "2.0")).high,)] == ["3.00"]
    assert type(live._fit(bar("1.0", "3.0", "1.0", "2.0"))) is Bar


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (quote(bid="0.00000000"), "a price of 0"),
        (quote(bid="30002.00000000"), "above ask"),
        (quote(bid="30000.00100000"), "more than 2 decimals"),
        (quote(size="0.00000100"), "more than 5 decimals"),
        (quote(name=InstrumentId.from_str("ETHUSDT.BINANCE")), "ETHUSDT.BINANCE"),
        (bar("1.001", "3.0", "1.0", "2.0"), "more than 2 decimals"),
        ("text", "a str"),
    ],
)  # fmt: skip
def test_what_is_not_fit_is_left_out(live: LiveFeed, what: Any, why: str) -> None:
    with pytest.raises(Unfit, match=why):
        live._fit(what)


def test_a_node_that_fails_on_an_event_is_not_fed_any_more_and_ends(
    live: LiveFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[Any] = []

    def fail(event: Any) -> None:
        came.append(event)
        raise ZeroDivisionError

    async def nothing(way: int) -> None:
        live._heard(0, None, quote())
        live._heard(0, None, quote())

    live._msgbus.register(endpoint="DataEngine.process", handler=fail)
    monkeypatch.setattr(live, "_keep", nothing)
    with pytest.raises(ZeroDivisionError):
        live._loop.run_until_complete(live.listen(0, lambda: False, asyncio.Event()))
    assert len(came) == 1


def test_instruments_of_any_adapter_are_told_in_our_words() -> None:
    btc, spy, eur = (instrument(one) for one in (feed.instrument(SPEC), TestInstrumentProvider.equity("SPY", "ARCA"),
                                                  TestInstrumentProvider.default_fx_ccy("EUR/USD")))  # fmt: skip
    assert btc == SPEC
    assert (spy.id, spy.base, spy.quote, spy.asset, spy.tick, spy.lot) == (
        "SPY.ARCA",
        "SPY",
        "USD",
        "equity",
        "0.01",
        "1",
    )
    assert (eur.base, eur.quote, eur.asset, eur.taker_fee) == ("EUR", "USD", "fx", "0.00002")


def test_assumptions_of_a_market_follow_its_kind() -> None:
    def made(**words: Any) -> tuple[float, float, float, str]:
        spec = LiveFeedSpec(source="binance", symbols=("BTCUSDT",), **words)
        found = market(spec, SPEC, 5)
        return found.stale_after_s, found.half_spread_bps, found.bar_s, found.reference

    assert made() == (10.0, 0.0, 0.0, "quote")
    assert made(kind="trades") == (60.0, 1.0, 0.0, "trade")
    assert made(kind="bars", bar_s=60) == (180.0, 1.0, 60.0, "bar")
    assert made(kind="bars", bar_s=1) == (60.0, 1.0, 1.0, "bar")
    assert made(kind="bars", stale_after_s=7, half_spread_bps=2) == (7.0, 2.0, 60.0, "bar")
    spec = LiveFeedSpec(source="binance", symbols=("BTCUSDT",))
    assert market(spec, SPEC, 5).tape_hash == market(spec, SPEC, 5).tape_hash != market(spec, SPEC, 6).tape_hash


def test_the_lines_for_another_adapter_make_a_client_that_asks_where_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those for Bybit: the others need a package that is not here. Nothing answers, so that is all that is shown."""
    lines = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "paper.md").read_text(), re.S)
    monkeypatch.setattr(adapters, "ADAPTERS", dict(adapters.ADAPTERS))
    exec(lines[0], dict(vars(adapters)) | {"ADAPTERS": adapters.ADAPTERS})

    async def asked() -> None:
        at = Address.model_construct(source="bybit", testnet=True, http="http://127.0.0.1:9", ws=None)
        connection = adapters.Connection(at, print, asyncio.get_running_loop())
        try:
            await connection.open(())
        finally:
            await connection.close()

    with pytest.raises(ValueError, match=r"127\.0\.0\.1:9/v5/market/instruments-info"):
        asyncio.run(asked())
    compile(lines[1], "docs/paper.md", "exec")


def test_a_node_that_cannot_process_what_a_broker_said_ends(live: LiveFeed) -> None:
    live.fail(ValueError("a strategy's mistake"))
    with pytest.raises(ValueError, match="a strategy's mistake"):
        live._loop.run_until_complete(live.listen(0, lambda: False, asyncio.Event()))


@pytest.mark.parametrize(("live", "waited", "moved"), [(True, 2, True), (True, 0, False), (False, 2, False)])
def test_an_event_that_waited_finds_the_node_at_the_present(
    monkeypatch: pytest.MonkeyPatch, live: bool, waited: int, moved: bool
) -> None:
    """Also where a loop is behind all the time, so that something always comes and no beat moves the time on."""
    intake, done = object.__new__(Intake), list[tuple[str, int]]()
    intake._live, intake._loop = live, asyncio.new_event_loop()
    monkeypatch.setattr(Intake, "tick", lambda _, ts: done.append(("tick", ts)))
    monkeypatch.setattr(Intake, "take", lambda _, event: done.append(("take", event.ts_init)))
    event = QuoteTick(
        NAME,
        *(Price.from_str("1.00"),) * 2,
        *(Quantity.from_str("1.00000"),) * 2,
        1,
        stamp := time.time_ns() - waited * HELD_UP_NS,
    )
    intake.receive(event)
    intake._loop.close()
    assert [what for what, _ in done] == ["tick", "take"][not moved :]
    assert done[-1][1] == stamp
    assert not moved or 0 <= time.time_ns() - done[0][1] < HELD_UP_NS
