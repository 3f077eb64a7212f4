"""What the order-heavy and the peers benchmark share: real one-minute bars and the bundled EMACross on them.

Bars are `btcusd_1m_2018` of the shared tapes (open-stamped: one bar length is added), rounded to cents as Nautilus
rounds them, so that every peer sees the same prices.
"""

import hashlib
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.config import ImportableControllerConfig
from nautilus_trader.examples.strategies.ema_cross import EMACross, EMACrossConfig
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Currency, Price, Quantity

from alphatrade.nodes.engine import build_engine, engine_config, run_engine
from alphatrade.nodes.venue import venue_kwargs
from alphatrade.nodes.venue_spec import VenueSpec
from benchmarks.figures import ROOT, timed

TAPE = "btcusd_1m_2018"
ID = "BTC/USD.SIM"
BARS = f"{ID}-1-MINUTE-LAST-EXTERNAL"
FAST, SLOW, SIZE, FEE, CASH = 10, 20, "0.1", "0.0005", 1_000_000
STOCK = VenueSpec(
    starting_balance=Decimal(CASH),
    prob_fill_on_limit=1.0,
    prob_slippage=0.0,
    latency_ms=0,
    exact_latency=False,
    assumed_spread=False,
    adaptive_bars=False,
    queue_position=False,
    liquidity_consumption=False,
)
HALF_SPREAD_BPS = 1.0


def frame(count: int) -> pd.DataFrame:
    """
    Return the first `count` bars: ts (int64 UTC ns at the close), open, high, low, close, volume.

    Raises
    ------
    FileNotFoundError
        If the shared tapes are not there; the message says where they were looked for.
    """
    tapes = Path(os.environ.get("ALPHATRADE_TAPES", ROOT.parent / "shared" / "tapes"))
    path = tapes / TAPE / "data.parquet"
    if not path.exists():
        raise FileNotFoundError(f"{path}: set ALPHATRADE_TAPES to the folder of the shared tapes")
    bars = pd.read_parquet(path).iloc[:count]
    bars["ts"] = bars["ts"].astype("datetime64[ns, UTC]").astype("int64") + 60 * 10**9
    prices = ["open", "high", "low", "close"]
    bars[prices] = bars[prices].round(2)
    return bars


def instrument() -> CurrencyPair:
    """Return the instrument of the tape, with the fee that every peer charges."""
    return CurrencyPair(
        instrument_id=InstrumentId.from_str(ID),
        raw_symbol=Symbol("BTC/USD"),
        base_currency=Currency.from_str("BTC"),
        quote_currency=Currency.from_str("USD"),
        price_precision=2,
        size_precision=8,
        price_increment=Price.from_str("0.01"),
        size_increment=Quantity.from_str("0.00000001"),
        ts_event=0,
        ts_init=0,
        maker_fee=Decimal(FEE),
        taker_fee=Decimal(FEE),
    )


def bars(count: int) -> list[Bar]:
    """Return the first `count` bars as Nautilus objects."""
    data = frame(count)
    columns = [data[name].to_numpy(np.float64) for name in ("open", "high", "low", "close", "volume")]
    stamps = data["ts"].to_numpy(np.uint64)
    rows: list[Bar] = Bar.from_raw_arrays_to_list(BarType.from_str(BARS), 2, 8, *columns, stamps, stamps)
    return rows


def ema_cross() -> EMACross:
    """Return Nautilus's bundled EMACross, unmodified."""
    return EMACross(
        EMACrossConfig(
            instrument_id=InstrumentId.from_str(ID),
            bar_type=BarType.from_str(BARS),
            trade_size=Decimal(SIZE),
            fast_ema_period=FAST,
            slow_ema_period=SLOW,
            request_bars=False,
            subscribe_trade_ticks=False,
        )
    )


def gate(run_dir: str | None) -> ImportableControllerConfig:
    """
    Return the law, writing its record to `run_dir`, without the one rule that EMACross breaks by design.

    It closes and reverses with two identical orders at the same moment, which the law takes for a duplicate.
    """
    return ImportableControllerConfig(
        controller_path="alphatrade.risk.gate:RiskGate",
        config_path="alphatrade.risk.gate:RiskGateConfig",
        config={
            "component_id": "RiskGate",
            "template": {"name": "bench", "duplicate_window_s": 0.0, "near_miss_action": "notify"},
            "capital": str(CASH),
            "currency": "USD",
            "run_dir": run_dir,
            "half_spread_bps": {ID: HALF_SPREAD_BPS},
            "stale_after_s": {ID: 600.0},
        },
    )


def venue(spec: VenueSpec) -> dict[str, Any]:
    """Return the arguments of the simulated venue."""
    return venue_kwargs(spec, "USD", {"bars"}, {"bar", "volume"}, {ID: HALF_SPREAD_BPS}, 1)


def stock_engine(data: list[Bar]) -> BacktestEngine:
    """Return a stock engine: its logging is bypassed and its closing analysis off, which only makes it faster."""
    engine = BacktestEngine(
        BacktestEngineConfig(trader_id="ALPHATRADE-001", logging=LoggingConfig(bypass_logging=True), run_analysis=False)
    )
    kwargs = venue(STOCK)
    for ours in ("fill_model", "modules", "latency_model"):
        kwargs.pop(ours)
    engine.add_venue(Venue("SIM"), **kwargs)
    engine.add_instrument(instrument())
    engine.add_data(data)
    engine.add_strategy(ema_cross())
    return engine


def our_engine(
    data: list[Bar], spec: VenueSpec = STOCK, run_dir: str | None = None, law: bool = True
) -> BacktestEngine:
    """Return our engine, with the law unless told otherwise."""
    config = engine_config(gate(run_dir) if law else None, [], [])
    return build_engine(config, [instrument()], [data], "SIM", venue(spec), [ema_cross()])


def measure(engine: BacktestEngine, ours: bool) -> dict[str, Any]:
    """
    Run `engine` and return times, counts, end equity and a digest of all fills.

    The fills are noted by a subscriber on both sides, as neither cache would say it in the end.
    """
    fills: list[str] = []
    commissions: list[Decimal] = []

    def note(fill: OrderFilled) -> None:
        what = (fill.ts_event, fill.client_order_id, fill.order_side, fill.last_qty, fill.last_px, fill.commission)
        fills.append(",".join(str(part) for part in what))
        commissions.append(fill.commission.as_decimal())

    engine.kernel.msgbus.subscribe("events.fills.*", note)
    result: dict[str, Any] = timed((lambda: run_engine(engine)) if ours else engine.run)
    balance = engine.portfolio.account(Venue("SIM")).balance_total(Currency.from_str("USD"))
    result["fills"] = len(fills)
    result["fees"] = float(sum(commissions))
    result["equity"] = str(balance.as_decimal())
    result["digest"] = hashlib.sha256("\n".join(fills).encode()).hexdigest()
    return result
