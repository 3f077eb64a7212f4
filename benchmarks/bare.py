"""The floor: a stock BacktestEngine, or a stock TradingNode, whose only component looks away at whatever comes."""

import asyncio
from decimal import Decimal
from typing import Any

from nautilus_trader.adapters.sandbox.config import SandboxExecutionClientConfig
from nautilus_trader.adapters.sandbox.factory import SandboxLiveExecClientFactory
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.config import LiveExecEngineConfig, TradingNodeConfig
from nautilus_trader.core.data import Data
from nautilus_trader.live.config import LiveDataClientConfig
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Money
from nautilus_trader.trading.strategy import Strategy

from alphatrade.nodes import feed
from alphatrade.nodes.paper.replay_feed import ReplayFeed, feed_factory
from alphatrade.nodes.tape import Tape


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


class IdleStrategy(Strategy):
    """
    Listens and does nothing.

    Parameters
    ----------
    tape : Tape
        Whose events it is sent.
    """

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self._tape, self.seen = tape, 0

    def on_start(self) -> None:
        """Subscribe."""
        if self._tape.kind == "bars":
            self.subscribe_bars(feed.bar_type(self._tape))
        else:
            self.subscribe_quote_ticks(InstrumentId.from_str(self._tape.instrument.id))

    def _count(self, event: Any) -> None:
        self.seen += 1

    on_quote_tick = on_bar = _count


def bare_node(tape: Tape, loop: asyncio.AbstractEventLoop) -> tuple[TradingNode, IdleStrategy, ReplayFeed]:
    """Return a stock node on the feed of a tape, built and not yet running, its strategy and its feed."""
    name, made, instrument = tape.instrument.venue, list[ReplayFeed](), feed.instrument(tape.instrument)
    balance = f"1000000 {tape.instrument.quote}"
    node = TradingNode(
        config=TradingNodeConfig(
            trader_id="BARE-001", logging=LoggingConfig(log_level="OFF"),
            exec_engine=LiveExecEngineConfig(reconciliation=False, inflight_check_interval_ms=0),
            data_clients={name: LiveDataClientConfig()}, timeout_post_stop=0.1,
            exec_clients={name: SandboxExecutionClientConfig(venue=name, starting_balances=[balance])},
        ),
        loop=loop,
    )  # fmt: skip
    idle = IdleStrategy(tape)
    node.trader.add_strategy(idle)
    node.kernel.cache.add_instrument(instrument)
    node.add_data_client_factory(name, feed_factory(name, [instrument], made))
    node.add_exec_client_factory(name, SandboxLiveExecClientFactory)
    node.build()
    return node, idle, made[0]
