"""The floor: a stock BacktestEngine whose only component is an actor that looks away at every quote."""

from decimal import Decimal

from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Money


def bare_engine(instrument: Instrument, data: list[Data]) -> BacktestEngine:
    """Return the bare engine, ready to run."""

    class Idle(Actor):
        """Subscribes and does nothing."""

        def on_start(self) -> None:
            self.subscribe_quote_ticks(instrument.id)

        def on_quote_tick(self, tick: QuoteTick) -> None:
            pass

    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False))
    engine.add_venue(
        instrument.id.venue,
        OmsType.NETTING,
        AccountType.MARGIN,
        [Money(1_000_000, instrument.quote_currency)],
        default_leverage=Decimal(10),
    )
    engine.add_instrument(instrument)
    engine.add_data(data)
    engine.add_actor(Idle())
    return engine
