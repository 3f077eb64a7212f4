"""The gate inside Nautilus: take-over, denials, the tripwire, the kill drill, resets, records, plug-in use."""

import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from nautilus_trader.backtest.config import (
    BacktestDataConfig,
    BacktestEngineConfig,
    BacktestRunConfig,
    BacktestVenueConfig,
)
from nautilus_trader.backtest.models import FillModel, LatencyModel
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.config import ImportableStrategyConfig
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import SubmitOrder
from nautilus_trader.model.data import Bar, BarType, TradeTick
from nautilus_trader.model.enums import (
    AccountType,
    AggressorSide,
    OrderSide,
    OrderStatus,
    TradingState,
    TriggerType,
)
from nautilus_trader.model.identifiers import TradeId
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from alphatrade.risk import record, shelf
from alphatrade.risk.errors import ConfigError, LatchedError
from alphatrade.risk.gate import ADVICE_TOPIC, STATE_TOPIC
from alphatrade.risk.gate_commands import Commands
from alphatrade.risk.gate_market import Market
from alphatrade.risk.kill import release, status
from alphatrade.risk.limits import ALLOWED
from alphatrade.risk.quiet import QuietBars
from tests.risk.rig import (
    BTCUSDT,
    CAPITAL,
    SECOND,
    START,
    Scripted,
    controller,
    engine,
    flat_quotes,
    gate_of,
    quote,
)
from tests.risk.shots import send_directly

QUOTES = flat_quotes(BTCUSDT, 50_000, 60)
Act = Callable[[Scripted], None]


def market(qty: float, side: OrderSide = OrderSide.BUY, **more: Any) -> Act:
    def act(s: Scripted) -> None:
        s.submit_order(s.order_factory.market(BTCUSDT.id, side, BTCUSDT.make_qty(qty), **more))

    return act


def limit(qty: float, price: float, **more: Any) -> Act:
    def act(s: Scripted) -> None:
        s.kept = s.order_factory.limit(
            BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(qty), BTCUSDT.make_price(price), **more
        )
        s.submit_order(s.kept)

    return act


def bracket(qty: float, **more: Any) -> Act:
    def act(s: Scripted) -> None:
        s.submit_order_list(
            s.order_factory.bracket(
                BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(qty), tp_price=BTCUSDT.make_price(51_000),
                sl_trigger_price=BTCUSDT.make_price(49_000), **more,
            )
        )  # fmt: skip

    return act


def run(script: dict[int, Act], data: Any = QUOTES, gate: dict[str, Any] | None = None, **more: Any) -> Any:
    strategy = Scripted(script)
    built = engine(data, [strategy], {} if gate is None else gate, **more)
    built.run()
    return built, strategy, gate_of(built)


def statuses(built: Any) -> list[str]:
    return [o.status_string() for o in sorted(built.cache.orders(), key=lambda o: o.client_order_id.value)]


def drill(script: dict[int, Act], at: int = 20, **more: Any) -> Any:
    """Run `script` and trip the switch at quote `at`."""
    strategy = Scripted({**script, at: lambda s: gate_of(built).kill("drill", "tester") and None})
    gate = more.pop("gate", {})
    built = engine(more.pop("data", QUOTES), [strategy], gate, **more)
    built.run()
    return built, strategy, gate_of(built)


# -- denials


def test_a_denied_order_is_denied_by_an_event_with_the_reason() -> None:
    built, strategy, gate = run({5: market(50), 6: market(0.1)})
    assert statuses(built) == ["DENIED", "FILLED"]
    (reason,) = strategy.denied.values()
    assert reason == "ORDER_NOTIONAL: order_notional=2500000 > limit=150000 (notional of the order)"
    assert gate.record.counts["denied"] == 1


def test_a_denied_bracket_leaves_no_child_behind() -> None:
    built, strategy, _ = run({5: bracket(50)})
    assert statuses(built) == ["DENIED"] * 3
    assert len(strategy.denied) == 3


def test_an_emulated_bracket_leaves_no_child_behind() -> None:
    built, strategy, _ = run(
        {
            4: limit(0.1, 49_500, emulation_trigger=TriggerType.BID_ASK),
            6: bracket(50, emulation_trigger=TriggerType.BID_ASK),
        }
    )
    orders = built.cache.orders()
    assert [o for o in orders if not o.is_closed and o.status != OrderStatus.EMULATED] == []
    assert sum(o.status == OrderStatus.EMULATED for o in orders) == 1
    assert any(reason.startswith("ORDER_NOTIONAL:") for reason in strategy.denied.values())


def test_a_bracket_denied_by_nautilus_leaves_no_child_behind() -> None:
    def act(s: Scripted) -> None:
        orders = s.order_factory.bracket(
            BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(0.1), tp_price=BTCUSDT.make_price(51_000),
            sl_trigger_price=BTCUSDT.make_price(49_000),
            entry_price=BTCUSDT.make_price(49_900).__class__(49_900.123, 3), entry_order_type=s.kept,
        )  # fmt: skip
        s.submit_order_list(orders)

    from nautilus_trader.model.enums import OrderType

    strategy = Scripted({5: act})
    strategy.kept = OrderType.LIMIT
    built = engine(QUOTES, [strategy], {})
    built.run()
    assert statuses(built) == ["DENIED"] * 3
    reasons = [row[-2] for row in gate_of(built).record.orders if row[5] == "denied"]
    assert all(str(reason).startswith("NATIVE: ") for reason in reasons)


def test_an_order_id_is_used_once_and_the_first_order_lives_on() -> None:
    def again(s: Scripted) -> None:
        send_directly(s, s.kept)
        twin = s.order_factory.market(
            BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(1), client_order_id=s.kept.client_order_id
        )
        send_directly(s, twin)
        s.submit_order(twin)  # refused by the strategy base class itself

    built, _, gate = run({5: limit(0.5, 49_500), 8: again})
    assert statuses(built) == ["ACCEPTED"]
    assert len(gate.law.exposure.working) == 1
    assert [row[5] for row in gate.record.risk_events] == ["DUPLICATE"] * 3
    assert [row[5] for row in gate.record.orders] == ["initialized", "submitted", "accepted"]


def test_the_capital_is_the_account_balance() -> None:
    _, _, gate = run({5: market(0.1)})
    assert gate.law.capital == CAPITAL * 10**18
    assert gate.currency == "USDT"
    _, strategy, gate = run({5: market(0.1)}, gate={"capital": "1000"})
    assert next(iter(strategy.denied.values())).startswith("ORDER_NOTIONAL:")
    _, strategy, _ = run({5: market(0.1)}, gate={"currency": "EUR"})
    assert next(iter(strategy.denied.values())).startswith("NO_ACCOUNT:")


# -- fail closed


def test_an_exception_in_the_law_denies_and_stops_trading(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(Commands, "_judge", broken)
    built, strategy, gate = run({5: market(0.1), 9: market(0.1)})
    assert statuses(built) == ["DENIED", "DENIED"]
    assert gate.switch.state == "HALTED"
    assert gate.switch.trip_cause.code == "EXCEPTION"
    assert "ZeroDivisionError" in next(iter(strategy.denied.values()))


def test_an_exception_while_marking_stops_trading(monkeypatch: pytest.MonkeyPatch) -> None:
    from alphatrade.risk.law import Law

    calls = []

    def broken(*args: Any) -> Any:
        calls.append(args)
        if len(calls) > 1:
            raise OverflowError("planted")
        return real(*args)

    real = Law.on_mark
    monkeypatch.setattr(Law, "on_mark", broken)
    built, _, gate = run({5: market(0.1)})
    assert gate.switch.trip_cause.code == "EXCEPTION"
    assert gate.switch.state == "HALTED"
    assert not built.cache.positions_open()


def test_rows_that_cannot_leave_memory_stop_trading_and_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space")

    monkeypatch.setattr(record, "_PIECE", 1)
    monkeypatch.setattr(shelf, "GROUP", 5)
    monkeypatch.setattr(shelf.Shelf, "_put", full)
    script = {at: market(0.1, OrderSide.BUY if at % 2 else OrderSide.SELL) for at in range(3, 19)}
    built, _, gate = run(script, gate={"run_dir": str(tmp_path / "run")})
    assert gate.switch.trip_cause.code == "EXCEPTION"
    assert "no space" in gate.switch.trip_cause.reason
    assert not built.cache.positions_open()
    assert not gate.orders, "each event was taken to its end"
    gate.save(str(tmp_path / "later"))
    tables = [pq.read_table(tmp_path / "later" / f"{name}.parquet") for name in ("orders", "fills", "risk_events", "marks")]
    assert sorted(seq for one in tables for seq in one["seq"].to_pylist()) == list(range(1, gate.record.seq + 1))
    assert tables[1].num_rows == gate.record.filled > 0


def test_an_order_that_goes_around_the_gate_trips_the_wire() -> None:
    def around(s: Scripted) -> None:
        order = s.order_factory.market(BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(0.1))
        now = s.clock.timestamp_ns()
        command = SubmitOrder(trader_id=s.trader_id, strategy_id=s.id, order=order, command_id=UUID4(), ts_init=now)
        s.kept.execute(command)  # the engine itself, not its endpoint on the bus

    strategy = Scripted({5: around})
    built = engine(QUOTES, [strategy], {})
    strategy.kept = built.kernel.exec_engine
    built.run()
    gate = gate_of(built)
    assert gate.switch.trip_cause.code == "TRIPWIRE"
    assert gate.switch.state == "HALTED"
    assert not built.cache.positions_open()
    assert gate.record.counts["tripwire"] == 1


# -- references


def trades(n: int) -> list[TradeTick]:
    return [
        TradeTick(
            BTCUSDT.id, BTCUSDT.make_price(50_000), BTCUSDT.make_qty(1), AggressorSide.BUYER, TradeId(str(i)),
            START + i * SECOND, START + i * SECOND,
        )
        for i in range(n)
    ]  # fmt: skip


def bars(n: int) -> list[Bar]:
    kind = BarType.from_str("BTCUSDT.BINANCE-1-MINUTE-LAST-EXTERNAL")
    price, size = BTCUSDT.make_price(50_000), BTCUSDT.make_qty(1)
    stamps = [START + i * 60 * SECOND for i in range(n)]
    return [Bar(kind, price, price, price, price, size, ts, ts) for ts in stamps]


@pytest.mark.parametrize(("data", "source"), [(trades(30), 1), (bars(30), 2)])
def test_without_quotes_trades_or_bars_are_the_reference(data: list[Any], source: int) -> None:
    class Any_(Scripted):
        def on_start(self) -> None:
            self.subscribe_trade_ticks(BTCUSDT.id)
            self.subscribe_bars(BarType.from_str("BTCUSDT.BINANCE-1-MINUTE-LAST-EXTERNAL"))

        def on_trade_tick(self, tick: Any) -> None:
            self.on_quote_tick(tick)

        on_bar = on_trade_tick

    strategy = Any_({5: market(0.1)})
    built = engine(data, [strategy], {"half_spread_bps": {"BTCUSDT.BINANCE": 2.0}})
    built.run()
    marks = gate_of(built).record.tables()["marks"].to_pylist()
    assert statuses(built) == ["FILLED"]
    assert (marks[0]["bid"], marks[0]["ask"]) == (Decimal(49_990), Decimal(50_010))
    assert (marks[0]["source"], marks[0]["assumed"]) == (("quote", "trade", "bar")[source], True)


def test_a_mark_precedes_every_order_that_was_judged_with_it() -> None:
    _, _, gate = run({5: market(0.1), 9: market(0.2)})
    tables = gate.record.tables()
    marks = {row["seq"]: row for row in tables["marks"].to_pylist()}
    for row in tables["orders"].to_pylist():
        if row["event"] == "submitted":
            latest = max(seq for seq in marks if seq < row["seq"])
            assert marks[latest]["ts"] == row["ts"]


def test_idle_quotes_are_not_marked() -> None:
    _, _, gate = run({5: market(0.1), 9: market(0.1, OrderSide.SELL)})
    assert gate.record.marks <= 7  # from the first order to one after the last fill, not sixty


class Barred(Scripted):
    """Runs its script at bars, of one and of five minutes."""

    def on_start(self) -> None:
        for minutes in (1, 5):
            self.subscribe_bars(BarType.from_str(f"BTCUSDT.BINANCE-{minutes}-MINUTE-LAST-EXTERNAL"))

    def on_bar(self, bar: Bar) -> None:
        self.on_quote_tick(bar)


def walk(seed: int, n: int) -> list[Bar]:
    """Bars of a random walk over a midnight, every fifth close also as a bar of five minutes."""
    draw, price, data = random.Random(seed), 50_000.0, []
    begin = START // (86_400 * SECOND) * 86_400 * SECOND + 86_400 * SECOND - n // 2 * 60 * SECOND
    for i in range(n):
        price += draw.gauss(0, 60)
        ts, level, size = begin + i * 60 * SECOND, BTCUSDT.make_price(price), BTCUSDT.make_qty(1)
        for minutes in (1, 5) if i % 5 == 4 else (1,):
            kind = BarType.from_str(f"BTCUSDT.BINANCE-{minutes}-MINUTE-LAST-EXTERNAL")
            data.append(Bar(kind, level, level, level, level, size, ts, ts))
    return data


def barred(seed: int) -> Any:
    """Trade over random bars with limits that some of them break; return the gate."""
    draw = random.Random(seed)
    script: dict[int, Act] = {}
    for n in sorted(draw.sample(range(3, 280), 12)):
        side = draw.choice((OrderSide.BUY, OrderSide.SELL))
        script[n] = draw.choice((market(draw.choice((0.5, 1.0)), side), limit(0.1, 49_000), market(0.7, side)))
    template = {
        "price_collar": 0.5,
        "daily_loss_max": 0.004,
        "drawdown_max": draw.choice((0.002, 0.01)),
        "repeat_max": 99,
    }
    strategy = Barred(script)
    built = engine(walk(seed, 300), [strategy], {"template": template, "half_spread_bps": {"BTCUSDT.BINANCE": 1.0}})
    built.run()
    return gate_of(built)


def test_bars_that_change_nothing_are_rows_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    listed, killed = 0, 0
    plain = QuietBars.close

    def counted(run: QuietBars) -> None:
        nonlocal listed
        listed += len(run.stamps)
        plain(run)

    monkeypatch.setattr(QuietBars, "close", counted)
    for seed in range(12):
        quick = barred(seed)
        with monkeypatch.context() as patch:
            patch.setattr("alphatrade.risk.gate_price.BAR", -1)  # no bar is quiet
            slow = barred(seed)
        assert {k: v.to_pylist() for k, v in quick.record.tables().items()} == {
            k: v.to_pylist() for k, v in slow.record.tables().items()
        }
        assert quick.law.equity == slow.law.equity
        killed += quick.switch.state == "HALTED"
    assert listed > 1000
    assert 0 < killed < 12


def test_the_law_sees_listed_bars_before_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = barred(3).record.tables()["equity"].to_pylist()
    monkeypatch.setattr("alphatrade.risk.account.Account.quiet_band", lambda *_: (0, 2**127, 2**62))
    assert barred(3).record.tables()["equity"].to_pylist() != wide, "the mutant: losses and peaks inside go unseen"


# -- the kill drill


@pytest.mark.parametrize("delay", [0, 50, 2500])
def test_the_kill_drill(delay: int, tmp_path: Path) -> None:
    """Resting, emulated and in-flight orders are cancelled, positions closed, nothing more is submitted."""
    latency = LatencyModel(base_latency_nanos=delay * 1_000_000) if delay else None
    script: dict[int, Act] = {
        4: market(0.5), 8: limit(0.1, 49_500), 9: limit(0.1, 49_000, emulation_trigger=TriggerType.BID_ASK),
        10: bracket(0.3), 19: market(0.4), 21: market(0.1), 22: limit(0.1, 49_400), 40: bracket(0.1),
    }  # fmt: skip
    gate = {"state_dir": str(tmp_path), "account": "A", "template": {"repeat_max": 99}}
    built, _, at = drill(script, gate=gate, latency=latency)
    assert at.switch.state == "HALTED"
    assert not built.cache.positions_open()
    assert built.portfolio.net_position(BTCUSDT.id) == 0
    assert not [o for o in built.cache.orders() if not o.is_closed]
    assert not at.law.exposure.working
    tripped = next(row[0] for row in at.record.risk_events if row[2] == "kill")
    late = [row for row in at.record.orders if row[0] > tripped and row[5] == "submitted"]
    assert late
    assert all(str(row[4]).startswith("LAW-") and row[12] for row in late)  # reduce-only closing orders only
    built.dispose()
    with pytest.raises(LatchedError, match=r"drill, by tester"):
        engine(QUOTES, [], gate)
    release(tmp_path, "sim", "A", "Ann", "drill over", 1)
    built, _, _ = run({4: market(0.1)}, gate=gate)
    assert statuses(built) == ["FILLED"]
    assert status(tmp_path, "sim", "A").state == "ACTIVE"


def test_a_flatten_that_fills_in_parts_is_sent_again() -> None:
    thin = [quote(BTCUSDT, 50_000, START + i * SECOND, size=0.2) for i in range(60)]
    built, _, gate = drill({4: market(1.0)}, data=thin, fill_model=FillModel(prob_slippage=0.0))
    assert gate.switch.state == "HALTED"
    assert not built.cache.positions_open()


def test_a_strategy_cannot_cancel_its_way_around_the_flatten() -> None:
    script: dict[int, Act] = {4: market(0.5)} | {n: lambda s: s.cancel_all_orders(BTCUSDT.id) for n in range(21, 30)}
    built, _, gate = drill(script, latency=LatencyModel(base_latency_nanos=1_500_000_000))
    assert gate.switch.state == "HALTED"
    assert not built.cache.positions_open()


@pytest.mark.parametrize("code", ["DAILY_LOSS", "DRAWDOWN"])
def test_a_breach_at_a_mark_stops_trading(code: str) -> None:
    data = QUOTES[:20] + [quote(BTCUSDT, 50_000 - 200 * (i - 19), START + i * SECOND) for i in range(20, 60)]
    template = {
        "drawdown_max": 0.001 if code == "DRAWDOWN" else 1,
        "daily_loss_max": 0.001 if code == "DAILY_LOSS" else 1,
    }
    built, _, gate = run({4: market(1.0)}, data=data, gate={"template": template})
    assert gate.switch.trip_cause.code == code
    assert gate.switch.state == "HALTED"
    assert not built.cache.positions_open()
    kinds = [row[2] for row in gate.record.risk_events]
    assert kinds.index("near_miss") < kinds.index("breach") < kinds.index("kill") < kinds.index("state")
    assert Decimal(980_000) < gate.law.equity / Decimal(10**18) < CAPITAL - 1000


def test_native_states_follow() -> None:
    built, _, _ = drill({4: market(0.5)})
    assert built.kernel.risk_engine.trading_state == TradingState.HALTED


def test_native_limits_do_not_stand_in_the_way_of_closing() -> None:
    template = {"order_notional_max": 0.05, "instrument_max": 0.2, "repeat_max": 99, "duplicate_window_s": 0}
    script: dict[int, Act] = {n: market(0.9) for n in range(4, 8)}
    script[20] = lambda s: s.close_all_positions(BTCUSDT.id)
    built, _, _ = run(script, gate={"template": template}, account=AccountType.CASH)
    assert built.kernel.risk_engine.max_notional_per_order(BTCUSDT.id) == Decimal(400_000)
    assert not built.cache.positions_open()


# -- reset, messages, records


def test_reset_starts_over_and_forgets_a_latch_in_memory() -> None:
    built, strategy, gate = drill({4: market(0.5)})
    assert gate.switch.state == "HALTED"
    first = len(gate.record.orders)
    built.reset()
    strategy.n, strategy.script = 0, {4: market(0.5)}
    built.run()
    assert gate.switch.state == "ACTIVE"
    assert built.kernel.risk_engine.trading_state == TradingState.ACTIVE
    assert 0 < len(gate.record.orders) < first
    assert gate.law.exposure.holding("BTCUSDT.BINANCE").position == 5 * 10**8


def test_reset_does_not_lift_a_latch_on_disk(tmp_path: Path) -> None:
    built, strategy, gate = drill({4: market(0.5)}, gate={"state_dir": str(tmp_path)})
    built.reset()
    strategy.n = 0
    with pytest.raises(LatchedError):
        built.run()
    assert gate.switch.state == "HALTED"


def test_messages_on_the_bus() -> None:
    heard: list[Any] = []
    strategy = Scripted({4: market(2.0), 8: market(2.0), 30: market(4.0, OrderSide.SELL, reduce_only=True)})
    built = engine(QUOTES, [strategy], {"template": {"instrument_max": 0.25, "duplicate_window_s": 0}})
    for topic in (ADVICE_TOPIC, STATE_TOPIC):
        built.kernel.msgbus.subscribe(topic, heard.append)
    strategy.script[40] = lambda s: gate_of(built).kill("drill", "tester") and None
    built.run()
    factors = [(m.factor, m.reason) for m in heard if hasattr(m, "factor")]
    assert factors == [(0.5, "INSTRUMENT_EXPOSURE"), (1.0, "")]
    assert [(m.before, m.after) for m in heard if hasattr(m, "after")] == [
        ("ACTIVE", "REDUCING"),
        ("REDUCING", "HALTED"),
    ]


def test_records_are_written_and_equal_for_equal_runs(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        script: dict[int, Act] = {
            4: market(0.5, tags=["decision=7"]),
            8: bracket(0.2),
            20: market(50),
            30: limit(0.1, 49_500),
        }
        built, _, _ = run(script, gate={"run_dir": str(tmp_path / name)})
        built.dispose()
        files = sorted((tmp_path / name).iterdir())
        assert [f.name for f in files] == sorted(
            f"{n}.parquet" for n in ("orders", "fills", "marks", "risk_events", "equity")
        )
        contents.append([f.read_bytes() for f in files])
    assert contents[0] == contents[1]
    fills = pq.read_table(tmp_path / "a" / "fills.parquet").to_pylist()
    assert [(f["qty"], f["position_after"], f["decision"]) for f in fills] == [
        (Decimal("0.5"), Decimal("0.5"), 7), (Decimal("0.2"), Decimal("0.7"), None),
    ]  # fmt: skip
    seqs = [
        row["seq"]
        for n in ("orders", "fills", "marks", "risk_events")
        for row in pq.read_table(tmp_path / "a" / f"{n}.parquet").to_pylist()
    ]
    assert sorted(seqs) == list(range(1, len(seqs) + 1))
    equity = pq.read_table(tmp_path / "a" / "equity.parquet").to_pylist()
    assert equity[-1]["equity"] == equity[-1]["cash"] + equity[-1]["exposure"]


def test_a_wrong_template_is_one_clear_line() -> None:
    with pytest.raises(ConfigError) as caught:
        engine(QUOTES, [], {"template": {"order_notional_max": -1}})
    assert "risk.order_notional_max" in str(caught.value)
    with pytest.raises(ConfigError, match=r"risk\.nonsense"):
        engine(QUOTES, [], {"template": {"nonsense": 1}})


# -- under a stock BacktestNode and a strategy that knows nothing of us


def node_run(tmp_path: Path, template: dict[str, Any], gate: bool = True) -> Any:
    rng, price, data = random.Random(3), 50_000.0, []
    for i in range(4000):
        price += rng.gauss(0, 8)
        data.append(quote(BTCUSDT, price, START + i * SECOND))
    catalog = ParquetDataCatalog(str(tmp_path / "catalog"))
    if not (tmp_path / "catalog" / "data").exists():
        catalog.write_data([BTCUSDT])
        catalog.write_data(data)
    strategy = ImportableStrategyConfig(
        strategy_path="nautilus_trader.examples.strategies.ema_cross:EMACross",
        config_path="nautilus_trader.examples.strategies.ema_cross:EMACrossConfig",
        config={
            "instrument_id": "BTCUSDT.BINANCE", "bar_type": "BTCUSDT.BINANCE-10-TICK-MID-INTERNAL",
            "trade_size": "0.5", "request_bars": False,
        },
    )  # fmt: skip
    config = BacktestRunConfig(
        venues=[
            BacktestVenueConfig(
                name="BINANCE", oms_type="NETTING", account_type="MARGIN", starting_balances=["1000000 USDT"]
            )
        ],
        data=[
            BacktestDataConfig(
                catalog_path=str(tmp_path / "catalog"), data_cls="nautilus_trader.model.data:QuoteTick",
                instrument_id="BTCUSDT.BINANCE",
            )
        ],
        engine=BacktestEngineConfig(
            logging=LoggingConfig(bypass_logging=True), strategies=[strategy], run_analysis=False,
            controller=controller(template=template, run_dir=str(tmp_path / "run")) if gate else None,
        ),
        dispose_on_completion=False,
    )  # fmt: skip
    node = BacktestNode([config])
    node.run()
    built = node.get_engine(config.id)
    out = [(o.status_string(), str(o.quantity)) for o in built.cache.orders()], gate_of(built)
    node.dispose()
    return out


def test_a_stock_node_with_emacross_and_the_gate_by_config(tmp_path: Path) -> None:
    free = {"orders_per_minute": 1000, "repeat_max": 1000}
    bare, _ = node_run(tmp_path, {}, gate=False)
    under, gate = node_run(tmp_path, free)
    assert len(bare) >= 20
    assert sorted(bare) == sorted(under)  # a law that allows everything changes nothing
    assert gate.record.counts.get("denied", 0) == 0
    assert (tmp_path / "run" / "orders.parquet").exists()
    tight, gate = node_run(tmp_path, {**free, "order_notional_max": 0.01})
    denied = [status for status, _ in tight if status == "DENIED"]
    assert len(denied) == gate.record.counts["denied"] > 0
    assert gate.law.exposure.holding("BTCUSDT.BINANCE").position == 0


# -- what was there before the start


def test_a_restart_takes_over_positions_and_orders() -> None:
    _, strategy, gate = run({4: market(0.5), 8: limit(0.1, 49_500)})
    gate.events.adopt()
    held = gate.law.exposure.holding("BTCUSDT.BINANCE")
    assert (held.position, held.buys, held.orders) == (5 * 10**8, 10**8, 1)
    assert strategy.kept.client_order_id.value in gate.law.approved
    assert gate.law.exposure.unmarked == 1  # nothing is judged before there is a price


# -- reduce-only orders that a fill turned into openers


def _turned(monkeypatch: pytest.MonkeyPatch | None = None) -> float:
    """Long, a reduce-only sell above the market, then short; the market rises through it. Return the position."""
    if monkeypatch is not None:
        monkeypatch.setattr("alphatrade.risk.gate_events.Events._cancel_strays", lambda self, fill: None)

    def rest(s: Scripted) -> None:
        s.submit_order(
            s.order_factory.limit(
                BTCUSDT.id, OrderSide.SELL, BTCUSDT.make_qty(0.1), BTCUSDT.make_price(50_100), reduce_only=True
            )
        )

    quotes = flat_quotes(BTCUSDT, 50_000, 30)
    quotes += [quote(BTCUSDT, 50_200, quotes[-1].ts_init + i * SECOND) for i in range(1, 10)]
    script = {3: market(0.1), 6: rest, 9: market(0.2, OrderSide.SELL)}
    built, _, _ = run(script, data=quotes)
    return float(built.portfolio.net_position(BTCUSDT.id))


def test_a_reduce_only_order_goes_when_its_position_has_turned() -> None:
    assert _turned() == pytest.approx(-0.1)


def test_without_that_the_stray_order_adds_to_the_position(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _turned(monkeypatch) == pytest.approx(-0.2), "the mutant"


# -- closing and reversing in one breath


def _close_and_reverse() -> tuple[float, list[str]]:
    """Hold 2.97, then close it reduce-only and sell as much again before anything can fill."""
    template = {"order_notional_max": 0.2, "instrument_max": 0.1485, "repeat_max": 100}

    def both(s: Scripted) -> None:
        market(2.97, OrderSide.SELL, reduce_only=True)(s)
        for qty in (1.0, 0.99, 0.98, 0.5):
            market(qty, OrderSide.SELL)(s)

    built, strategy, _ = run(
        {3: market(2.97), 12: both}, gate={"template": template}, latency=LatencyModel(300_000_000)
    )
    return float(built.portfolio.net_position(BTCUSDT.id)), [r.partition(":")[0] for r in strategy.denied.values()]


def test_an_exit_in_flight_does_not_hide_what_opens_behind_it() -> None:
    position, denied = _close_and_reverse()
    assert abs(position) <= 2.97
    assert denied == ["INSTRUMENT_EXPOSURE"]


def test_without_exits_in_the_sums_the_reversal_escapes_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alphatrade.risk.exposure.Holding.bottom", lambda self, more=0: self.position)
    assert abs(_close_and_reverse()[0]) > 2.97 or _close_and_reverse()[1] == [], "the mutant"


# -- exits with plain orders behind them


def _closes_twice() -> tuple[float, list[str]]:
    """Hold one, with a plain and a reduce-only order above the market that both close it; the market rises."""

    def rest(price: float, only: bool) -> Act:
        def act(s: Scripted) -> None:
            level, one = BTCUSDT.make_price(price), BTCUSDT.make_qty(1.0)
            s.submit_order(s.order_factory.limit(BTCUSDT.id, OrderSide.SELL, one, level, reduce_only=only))

        return act

    quotes = flat_quotes(BTCUSDT, 50_000, 30)
    quotes += [quote(BTCUSDT, 50_000 + 40 * i, quotes[-1].ts_init + i * SECOND) for i in range(1, 20)]
    script = {3: market(1.0), 6: rest(50_400, False), 9: rest(50_200, True)}
    built, strategy, _ = run(script, data=quotes, gate={"long_only": True})
    return float(built.portfolio.net_position(BTCUSDT.id)), [r.partition(":")[0] for r in strategy.denied.values()]


def test_an_exit_before_a_plain_closing_order_does_not_make_a_long_only_account_short() -> None:
    assert _closes_twice() == (0.0, ["LONG_ONLY"])


def test_without_a_look_behind_exits_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from alphatrade.risk.law import Law

    monkeypatch.setattr(Law, "_check_behind", lambda *_: ALLOWED)
    assert _closes_twice() == (-1.0, []), "the mutant"


# -- refusals of modifications


def _refused_on_top() -> tuple[Any, int]:
    """Enlarge a resting order, and while that is under way ask for more than is lawful; return gate and quantity."""

    def enlarge(qty: float) -> Act:
        return lambda s: s.modify_order(s.kept, quantity=BTCUSDT.make_qty(qty))

    script = {3: limit(0.1, 49_900), 10: enlarge(1.0), 11: enlarge(50.0)}
    built, strategy, gate = run(script, latency=LatencyModel(4 * SECOND))
    assert len(strategy.rejected) == 1
    assert built.cache.order(strategy.kept.client_order_id).quantity == BTCUSDT.make_qty(1.0)
    return gate, gate.law.exposure.holding("BTCUSDT.BINANCE").buys


def test_a_refused_modification_leaves_the_one_under_way_alone() -> None:
    gate, buys = _refused_on_top()
    assert gate.switch.state == "ACTIVE"
    assert buys == 10**9


def test_without_counting_requests_the_answer_to_it_trips_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    from alphatrade.risk.law import Law

    monkeypatch.setattr(Law, "on_modify_asked", lambda *_: None)
    assert _refused_on_top()[0].switch.trip_cause.code == "TRIPWIRE", "the mutant"


# -- what the auditor sees of a judgement


def test_every_judgement_has_a_row_of_its_own() -> None:
    def enlarge(s: Scripted) -> None:
        s.modify_order(s.kept, quantity=BTCUSDT.make_qty(0.3))

    emulated = limit(0.1, 49_700, emulation_trigger=TriggerType.BID_ASK)
    script = {3: limit(0.1, 49_900), 5: enlarge, 6: emulated, 8: bracket(0.1)}
    quotes = [*QUOTES[:20], *(quote(BTCUSDT, 49_600, START + i * SECOND) for i in range(20, 60))]
    _, _, gate = drill(script, data=quotes, at=40)
    rows = [(row[4], row[5]) for row in gate.record.orders]
    for number, (order, event) in enumerate(rows):
        if event == "submitted":
            assert next(e for o, e in reversed(rows[:number]) if o == order) == "initialized", order
        if event == "updated" and not order.startswith("LAW"):
            assert (order, "modify_approved") in rows[:number]
    assert any(order.startswith("LAW-") for order, _ in rows)


def test_equity_after_a_late_fill_counts_from_the_price_of_that_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rest(s: Scripted) -> None:
        s.submit_order(s.order_factory.limit(BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(1), BTCUSDT.make_price(49_990)))

    mids = [50_000.0] * 4 + [50_000.0 - i / 10 for i in range(200)]  # it fills long after the law last had to look
    data = [quote(BTCUSDT, mid, START + i * SECOND // 10) for i, mid in enumerate(mids)]

    def row_of_the_fill(folder: Path) -> tuple[Decimal, Decimal]:
        _, strategy, gate = run({3: rest}, data)
        gate.save(str(folder))
        (fill,) = strategy.fills
        rows = pq.read_table(folder / "equity.parquet").to_pylist()
        row = next(row for row in rows if row["ts"] == fill.ts_event)
        return row["exposure"], Decimal(str(mids[round((fill.ts_event - START) * 10 / SECOND)]))

    worth, mid = row_of_the_fill(tmp_path / "a")
    assert abs(worth - mid) <= Decimal("0.11"), "the price of the fill's own quote or of the one before it"
    monkeypatch.setattr(Market, "refresh", lambda *_: None)
    worth, mid = row_of_the_fill(tmp_path / "b")
    assert abs(worth - mid) > 5, "the mutant: the price that the law looked at last"
