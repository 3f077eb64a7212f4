"""What tests of the engine and of the venue trade on: BTC/USD in cents, minute bars, and stock Nautilus around it."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.config import BacktestEngineConfig
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

MINUTE = 60 * 10**9
ID = InstrumentId.from_str("BTC/USD.SIM")
BARS = BarType.from_str(f"{ID}-1-MINUTE-LAST-EXTERNAL")
USD = Currency.from_str("USD")
STOCK_VENUE: dict[str, Any] = {
    "oms_type": OmsType.NETTING,
    "account_type": AccountType.MARGIN,
    "starting_balances": [Money(1_000_000, USD)],
    "base_currency": USD,
    "default_leverage": Decimal(10),
}


def instrument(fee: str = "0.001") -> CurrencyPair:
    return CurrencyPair(
        instrument_id=ID,
        raw_symbol=Symbol("BTC/USD"),
        base_currency=Currency.from_str("BTC"),
        quote_currency=USD,
        price_precision=2,
        size_precision=6,
        price_increment=Price.from_str("0.01"),
        size_increment=Quantity.from_str("0.000001"),
        ts_event=0,
        ts_init=0,
        maker_fee=Decimal(fee),
        taker_fee=Decimal(fee),
    )


def bar(stamp: int, prices: Sequence[float], volume: float = 100.0) -> Bar:
    return Bar(BARS, *(Price(price, 2) for price in prices), Quantity(volume, 6), stamp, stamp)


def stock_engine(
    data: Sequence[Data], strategy: Strategy, venue: dict[str, Any], fee: str = "0.001", analysis: bool = False
) -> BacktestEngine:
    """Return an engine as Nautilus makes it, but for its silence."""
    silent = LoggingConfig(bypass_logging=True)
    engine = BacktestEngine(BacktestEngineConfig(trader_id="ALPHATRADE-001", logging=silent, run_analysis=analysis))
    engine.add_venue(Venue("SIM"), **venue)
    engine.add_instrument(instrument(fee))
    engine.add_data(list(data))
    engine.add_strategy(strategy)
    return engine
