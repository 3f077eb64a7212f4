"""Shim: a BacktestEngine that stays fast on long, order-heavy runs.

Stock Nautilus appends to a pandas Series per closed trade and keeps every closed order and position in its cache, so
its cost per order grows with the run. Here trades are listed and turned into Series once, and what is closed is purged
from the cache on Nautilus's own timers: it is in the run's record. Orders and equity are the same.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from nautilus_trader.analysis import PortfolioAnalyzer
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig, LoggingConfig
from nautilus_trader.config import (
    ExecEngineConfig,
    ImportableActorConfig,
    ImportableControllerConfig,
    ImportableStrategyConfig,
)
from nautilus_trader.core.data import Data
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Money

TRADER_ID = "ALPHATRADE-001"
PURGE_MINUTES = 60


class TradeLog:
    """
    Takes the place of an analyzer's append per closed trade.

    Parameters
    ----------
    analyzer : PortfolioAnalyzer
        Of one portfolio; only this instance is changed.
    """

    def __init__(self, analyzer: PortfolioAnalyzer) -> None:
        self._rows: dict[tuple[int, Any], tuple[dict[Any, Any], dict[Any, Any], list[Any]]] = {}
        analyzer._append_pnl_record = self._append

    def _append(
        self,
        pnls: dict[Any, Any],
        timestamps: dict[Any, Any],
        position_id: Any,
        realized_pnl: Money,
        ts_event: int | None,
    ) -> None:
        key = (id(pnls), realized_pnl.currency)
        rows = self._rows.get(key)
        if rows is None:
            rows = self._rows[key] = (pnls, timestamps, [])
        rows[2].append((position_id.value, realized_pnl.as_double(), ts_event))

    def flush(self) -> None:
        """Give the analyzer its Series, so that Nautilus's statistics can be read."""
        for (_, currency), (pnls, timestamps, rows) in self._rows.items():
            index = [row[0] for row in rows]
            pnls[currency] = pd.Series([row[1] for row in rows], index=index, dtype="float64")
            timestamps[currency] = pd.Series([row[2] for row in rows], index=index, dtype=object)


class Housekeeper(Actor):
    """Installs a :class:`TradeLog` in any node, from config alone."""

    def __init__(self, config: ActorConfig | None = None) -> None:
        super().__init__(config)
        self._trades: TradeLog | None = None

    def on_start(self) -> None:
        """Take over the portfolio's trade list."""
        self._trades = TradeLog(self.portfolio.analyzer)

    def flush(self) -> None:
        """Give the analyzer its Series."""
        if self._trades is not None:
            self._trades.flush()

    def on_stop(self) -> None:
        """Give the analyzer its Series."""
        self.flush()


def exec_config() -> ExecEngineConfig:
    """Return the execution engine's configuration: purge what is closed, on event-time timers."""
    return ExecEngineConfig(
        purge_closed_orders_interval_mins=PURGE_MINUTES,
        purge_closed_positions_interval_mins=PURGE_MINUTES,
        purge_account_events_interval_mins=PURGE_MINUTES,
        purge_account_events_lookback_mins=PURGE_MINUTES,
    )


def engine_config(
    controller: ImportableControllerConfig | None,
    actors: Sequence[ImportableActorConfig],
    strategies: Sequence[ImportableStrategyConfig],
) -> BacktestEngineConfig:
    """Return the configuration of a BacktestEngine, alone or inside a BacktestNode."""
    housekeeper = ImportableActorConfig(
        actor_path=f"{__name__}:Housekeeper",
        config_path="nautilus_trader.common.config:ActorConfig",
        config={"component_id": "Housekeeper"},
    )
    return BacktestEngineConfig(
        trader_id=TRADER_ID,
        logging=LoggingConfig(bypass_logging=True),
        exec_engine=exec_config(),
        controller=controller,
        actors=[housekeeper, *actors],
        strategies=list(strategies),
        run_analysis=False,
    )


def build_engine(
    config: BacktestEngineConfig,
    instruments: Sequence[Instrument],
    streams: Sequence[list[Data]],
    venue: str,
    venue_kwargs: dict[str, Any],
) -> BacktestEngine:
    """
    Return an engine that is ready to run.

    Parameters
    ----------
    config : BacktestEngineConfig
        See :func:`engine_config`.
    instruments : sequence of Instrument
        All of one venue.
    streams : sequence of list of Data
        One a tape, each in time order; merged stably by time.
    venue : str
    venue_kwargs : dict
        See :func:`alphatrade.nodes.venue.venue_kwargs`.
    """
    engine = BacktestEngine(config)
    engine.add_venue(Venue(venue), **venue_kwargs)
    for instrument in instruments:
        engine.add_instrument(instrument)
    for stream in streams:
        engine.add_data(stream, sort=len(streams) == 1)
    if len(streams) > 1:
        engine.sort_data()
    return engine
