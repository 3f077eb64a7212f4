"""A long run costs no more per order than a short one; orders, balances, statistics are as in stock."""

import gc
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from nautilus_trader.analysis import PortfolioAnalyzer
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.config import (
    BacktestDataConfig,
    BacktestRunConfig,
    BacktestVenueConfig,
    ImportableStrategyConfig,
    StrategyConfig,
)
from nautilus_trader.examples.strategies.ema_cross import EMACross, EMACrossConfig
from nautilus_trader.model.data import Bar
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.events import OrderEvent, OrderFilled
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.trading.strategy import Strategy

from alphatrade.nodes import collector
from alphatrade.nodes.collector import quiet_gc, settle
from alphatrade.nodes.engine import (
    Housekeeper,
    LeanAnalyzer,
    build_engine,
    engine_config,
    run_engine,
)
from tests.nodes import market
from tests.nodes.market import BARS, ID, MINUTE, STOCK_VENUE, USD

FEE = "0.0005"


def wave(count: int, step: int = MINUTE) -> list[Bar]:
    """Return bars around 10,000 that swing often enough to trade a lot."""
    rng = np.random.default_rng(7)
    closes = np.round(10_000 + 50 * np.sin(np.arange(count) / 5) + rng.normal(0, 5, count), 2)
    bars, last = [], float(closes[0])
    for index, close in enumerate(closes.tolist(), start=1):
        high, low = max(last, close) + 1, min(last, close) - 1
        bars.append(market.bar(index * step, (last, high, low, close)))
        last = close
    return bars


def ema_cross() -> EMACross:
    return EMACross(
        EMACrossConfig(
            instrument_id=ID,
            bar_type=BARS,
            trade_size=Decimal("0.1"),
            fast_ema_period=3,
            slow_ema_period=7,
            request_bars=False,
            subscribe_trade_ticks=False,
        )
    )


def events_of(engine: BacktestEngine) -> list[str]:
    """Collect order events as they happen, without their random ids."""
    seen: list[str] = []

    def keep(event: OrderEvent) -> None:
        fill = (event.last_qty, event.last_px, event.commission) if isinstance(event, OrderFilled) else ()
        seen.append(f"{event.ts_event} {type(event).__name__} {event.client_order_id} {fill}")

    engine.kernel.msgbus.subscribe("events.order.*", keep)
    return seen


def stock_engine(bars: list[Bar], strategy: Strategy, analysis: bool = False, **venue: Any) -> BacktestEngine:
    return market.stock_engine(bars, strategy, STOCK_VENUE | venue, FEE, analysis)


def our_engine(bars: list[Bar], strategy: Strategy, **venue: Any) -> BacktestEngine:
    config = engine_config(None, [], [])
    return build_engine(config, [market.instrument(FEE)], [bars], "SIM", STOCK_VENUE | venue, [strategy])


def balance(engine: BacktestEngine) -> str:
    return str(engine.portfolio.account(Venue("SIM")).balance_total(USD))


def test_orders_and_balance_are_those_of_stock_and_the_cache_stays_small() -> None:
    bars = wave(1_500)
    stock, ours = stock_engine(bars, ema_cross()), our_engine(bars, ema_cross())
    stock_events, our_events = events_of(stock), events_of(ours)
    gone = list[str]()
    (keeper,) = [actor for actor in ours.trader.actors() if isinstance(actor, Housekeeper)]
    keeper.forgets = lambda order: gone.append(order.client_order_id.value)
    stock.run()
    run_engine(ours)
    assert len(stock.cache.orders()) > 150
    left = [order.client_order_id.value for order in ours.cache.orders()]
    assert sorted(gone + left) == sorted(order.client_order_id.value for order in stock.cache.orders())
    assert our_events == stock_events
    assert balance(ours) == balance(stock)
    assert len(ours.cache.orders()) < 80
    assert not ours.cache.position_snapshots()
    assert ours.portfolio.account(Venue("SIM")).event_count < 80
    for engine in (stock, ours):
        engine.dispose()


def test_without_the_housekeeper_the_cache_keeps_everything() -> None:
    """Mutation: what the test above asserts is the housekeeper's doing."""
    config = engine_config(None, [], [])
    config.actors.clear()
    engine = build_engine(config, [market.instrument(FEE)], [wave(1_500)], "SIM", STOCK_VENUE, [ema_cross()])
    run_engine(engine)
    assert len(engine.cache.orders()) > 150
    assert type(engine.portfolio.analyzer) is PortfolioAnalyzer
    engine.dispose()


def test_statistics_are_those_of_stock() -> None:
    bars = wave(1_200, step=10 * MINUTE)  # over eight days: portfolio returns are daily
    stock, ours = stock_engine(bars, ema_cross(), analysis=True), our_engine(bars, ema_cross())
    stock.run()
    run_engine(ours)
    account = ours.portfolio.account(Venue("SIM"))
    analyzer = ours.portfolio.analyzer
    analyzer.calculate_statistics(account, ours.cache.positions())
    expected = stock.portfolio.analyzer
    assert isinstance(analyzer, LeanAnalyzer)
    assert analyzer.get_performance_stats_pnls(USD) == pytest.approx(expected.get_performance_stats_pnls(USD))
    assert analyzer.get_performance_stats_general() == expected.get_performance_stats_general()
    for name in ("returns", "position_returns", "portfolio_returns"):
        theirs = getattr(expected, name)()
        assert len(theirs) > 5
        pd.testing.assert_series_equal(getattr(analyzer, name)(), theirs, check_freq=False, check_index_type=False)
    pd.testing.assert_series_equal(analyzer.realized_pnls(USD), expected.realized_pnls(USD))
    for engine in (stock, ours):
        engine.dispose()


class Scripted(Strategy):
    """Runs `act` on every bar."""

    def __init__(self, act: Callable[["Scripted", int], None]) -> None:
        super().__init__(StrategyConfig(strategy_id="scripted"))
        self.act = act
        self.bars = 0

    def on_start(self) -> None:
        self.subscribe_bars(BARS)

    def on_bar(self, bar: Bar) -> None:
        self.bars += 1
        self.act(self, self.bars)

    def one(self) -> Quantity:
        return Quantity.from_str("1.000000")


def brackets(strategy: Scripted, count: int) -> None:
    """Keep entering brackets; some entries never fill, some legs do, everything is cancelled now and then."""
    close = strategy.cache.bar(BARS).close.as_double()
    side = OrderSide.BUY if count % 2 else OrderSide.SELL
    sign = 1 if side == OrderSide.BUY else -1
    if count % 3 == 0:
        orders = strategy.order_factory.bracket(
            ID,
            side,
            strategy.one(),
            tp_price=Price(close + sign * 30, 2),
            sl_trigger_price=Price(close - sign * 20, 2),
        )
        strategy.submit_order_list(orders)
    if count % 7 == 0:
        limit = Price(close - sign * 500, 2)
        strategy.submit_order(strategy.order_factory.limit(ID, side, strategy.one(), limit))
    if count % 40 == 0:
        strategy.cancel_all_orders(ID)
    if count % 55 == 0:
        strategy.close_all_positions(ID)


@pytest.mark.parametrize("latency_ms", [0, 250])
def test_brackets_and_orders_in_flight_never_miss_a_relative(latency_ms: int) -> None:
    from nautilus_trader.backtest.models import LatencyModel

    def venue() -> dict[str, Any]:
        return {"latency_model": LatencyModel(latency_ms * 10**6)} if latency_ms else {}

    bars = wave(1_200)
    stock = stock_engine(bars, Scripted(brackets), **venue())
    ours = our_engine(bars, Scripted(brackets), **venue())
    stock_events, our_events = events_of(stock), events_of(ours)
    stock.run()
    run_engine(ours)
    assert len(stock_events) > 2_000
    # Nautilus cancels in the order of a set, which also depends on what was purged: compare within a moment.
    assert sorted(our_events) == sorted(stock_events)
    assert balance(ours) == balance(stock)
    assert len(ours.cache.orders_closed()) < len(stock.cache.orders_closed()) / 2
    for engine in (stock, ours):
        engine.dispose()


def flips(strategy: Scripted, count: int) -> None:
    """Reverse with one order of twice the position: positions flip and never close by themselves."""
    side = OrderSide.BUY if count % 2 else OrderSide.SELL
    quantity = strategy.one() if count == 1 else Quantity.from_str("2.000000")
    strategy.submit_order(strategy.order_factory.market(ID, side, quantity))


def test_flips_are_counted_as_closed_positions() -> None:
    bars = wave(400, step=60 * MINUTE)
    stock, ours = stock_engine(bars, Scripted(flips), analysis=True), our_engine(bars, Scripted(flips))
    stock.run()
    run_engine(ours)
    analyzer = ours.portfolio.analyzer
    analyzer.calculate_statistics(ours.portfolio.account(Venue("SIM")), ours.cache.positions())
    expected = stock.portfolio.analyzer
    assert balance(ours) == balance(stock)
    assert len(ours.cache.position_snapshots()) < 70 < len(stock.cache.position_snapshots())
    assert analyzer.get_performance_stats_general() == expected.get_performance_stats_general()
    pd.testing.assert_series_equal(
        analyzer.position_returns(), expected.position_returns(), check_freq=False, check_index_type=False
    )
    for engine in (stock, ours):
        engine.dispose()


def test_a_reset_engine_starts_with_empty_lists() -> None:
    bars = wave(300)
    engine = our_engine(bars, ema_cross())
    run_engine(engine)
    first = balance(engine)
    assert engine.portfolio.analyzer.realized_pnls(USD) is not None
    engine.reset()
    assert engine.portfolio.analyzer.realized_pnls(USD) is None
    run_engine(engine)
    assert balance(engine) == first
    engine.dispose()


def test_the_garbage_collector_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before = gc.get_threshold()
    monkeypatch.setattr(collector, "_settled", threading.Event())
    gc.unfreeze()
    with quiet_gc():
        assert gc.get_threshold() != before
        assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
    settle()
    frozen = gc.get_freeze_count()
    more = [[number] for number in range(1000)]
    settle()
    with quiet_gc():
        assert gc.get_freeze_count() == frozen > 0
    assert gc.get_freeze_count() == frozen
    del more


def test_the_housekeeper_works_in_a_stock_node_from_config_alone(tmp_path: Any) -> None:
    bars = wave(600)
    catalog = ParquetDataCatalog(str(tmp_path))
    catalog.write_data([market.instrument(FEE)])
    catalog.write_data(bars)
    strategy = ImportableStrategyConfig(
        strategy_path="nautilus_trader.examples.strategies.ema_cross:EMACross",
        config_path="nautilus_trader.examples.strategies.ema_cross:EMACrossConfig",
        config={
            "instrument_id": str(ID),
            "bar_type": str(BARS),
            "trade_size": "0.1",
            "fast_ema_period": 3,
            "slow_ema_period": 7,
            "request_bars": False,
            "subscribe_trade_ticks": False,
        },
    )
    run = BacktestRunConfig(
        engine=engine_config(None, [], [strategy]),
        venues=[BacktestVenueConfig("SIM", "NETTING", "MARGIN", ["1000000 USD"], "USD", 10.0)],
        data=[BacktestDataConfig(str(tmp_path), "nautilus_trader.model.data:Bar", bar_types=[str(BARS)])],
        raise_exception=True,
        dispose_on_completion=False,
    )
    node = BacktestNode([run])
    node.run()
    (engine,) = node.get_engines()
    reference = our_engine(bars, ema_cross())
    run_engine(reference)
    assert any(isinstance(actor, Housekeeper) for actor in engine.trader.actors())
    assert balance(engine) == balance(reference) != "1_000_000.00 USD"
    assert len(engine.cache.orders()) < 80
    node.dispose()
    reference.dispose()
