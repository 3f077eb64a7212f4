"""Shim: a BacktestEngine that stays fast on long, order-heavy runs.

Stock Nautilus pays more for every order the longer a run gets: it appends to a pandas Series per closed
trade, walks all orders a position ever had on every closing fill, and pickles a closed position each time
it reopens. Here trades are listed and become Series when asked for, and what is closed leaves the cache:
it is in the run's record. Orders and balances are the same as without.
"""

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import pandas as pd
from nautilus_trader.accounting.accounts.base import Account
from nautilus_trader.analysis import PortfolioAnalyzer
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import LiveClock
from nautilus_trader.common.config import ActorConfig, LoggingConfig
from nautilus_trader.config import (
    ImportableActorConfig,
    ImportableControllerConfig,
    ImportableStrategyConfig,
    PortfolioConfig,
    RiskEngineConfig,
)
from nautilus_trader.core.data import Data
from nautilus_trader.model.events import AccountState, OrderEvent, PositionClosed, PositionEvent
from nautilus_trader.model.identifiers import AccountId, PositionId, Venue
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Currency, Money
from nautilus_trader.model.orders import Order
from nautilus_trader.model.position import Position
from nautilus_trader.trading.strategy import Strategy

from alphatrade.nodes.collector import quiet_gc

TRADER_ID = "ALPHATRADE-001"
_DAY_NS = 86_400 * 10**9
_NEVER_MS = 10**12  # Nautilus formats every account state for a log line, also when nothing is logged


class PastPosition(NamedTuple):
    """What Nautilus's statistics need of a closed position."""

    account_id: AccountId
    entry: Any
    ts_closed: int
    realized_return: float


class LeanAnalyzer(PortfolioAnalyzer):
    """
    Portfolio analyzer that lists what stock Nautilus appends to pandas Series one by one.

    Made by `adopt`, from the analyzer that a portfolio already has, so that its statistics stay
    registered. What is purged from the engine's cache is kept here, as far as statistics and tearsheets
    need it.
    """

    @classmethod
    def adopt(cls, analyzer: PortfolioAnalyzer) -> "LeanAnalyzer":
        """Turn `analyzer` itself into a `LeanAnalyzer`; a second call changes nothing."""
        if not isinstance(analyzer, cls):
            analyzer.__class__ = cls
            analyzer._clear_lists()
        return analyzer

    def _clear_lists(self) -> None:
        self._listed: dict[Currency, list[tuple[str, float, int | None]]] = {}
        self._past: list[PastPosition] = []
        self._days: dict[AccountId, dict[int, AccountState]] = {}

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._clear_lists()

    def record_trade(self, position_id: PositionId, realized_pnl: Money, ts_event: int | None = None) -> None:
        """List the realized PnL of a closed trade."""
        row = (position_id.value, realized_pnl.as_double(), ts_event)
        self._listed.setdefault(realized_pnl.currency, []).append(row)

    def realized_pnls(self, currency: Currency | None = None) -> pd.Series | None:
        """Return realized PnLs as stock Nautilus does, after turning what is listed into Series."""
        for listed, rows in self._listed.items():
            ids = [row[0] for row in rows]
            _extend(self._recorded_realized_pnls, listed, pd.Series([row[1] for row in rows], ids, "float64"))
            _extend(
                self._recorded_realized_pnl_timestamps,
                listed,
                pd.Series([row[2] for row in rows], ids, object),
            )
        self._listed.clear()
        return super().realized_pnls(currency)

    def keep_position(self, event: PositionClosed) -> None:
        """Keep what statistics need of a position that may be purged."""
        self._past.append(PastPosition(event.account_id, event.entry, event.ts_closed, event.realized_return))

    def keep_balances(self, account: Account) -> None:
        """Keep the last account state of each UTC day: portfolio returns are daily."""
        days = self._days.setdefault(account.id, {})
        for state in account.events:
            days[state.ts_event // _DAY_NS] = state

    def calculate_statistics(self, account: Account, positions: list[Position]) -> None:
        """Calculate statistics over the positions still open and all closed ones, purged or not."""
        super().calculate_statistics(account, [position for position in positions if position.is_open])
        past = [position for position in self._past if position.account_id == account.id]
        self._positions = [*past, *self._positions]
        if past:
            stamps = pd.to_datetime([position.ts_closed for position in past], unit="ns", utc=True)
            returns = pd.Series([position.realized_return for position in past], stamps, "float64")
            self._position_returns = returns.groupby(level=0).sum().sort_index()
        self._sync_returns_alias()

    def _calculate_portfolio_returns(self, account: Account) -> pd.Series:
        days = self._days.get(account.id, {})
        states = [days[day] for day in sorted(days)]
        return super()._calculate_portfolio_returns(SimpleNamespace(events=[*states, *account.events]))


def _extend(series: dict[Currency, pd.Series], currency: Currency, tail: pd.Series) -> None:
    head = series.get(currency)
    series[currency] = tail if head is None else pd.concat([head, tail])


class HousekeeperConfig(ActorConfig, frozen=True):
    """
    Configuration of `Housekeeper`.

    Attributes
    ----------
    every : int
        Order events between two sweeps.
    keep_s : int
        Closed orders stay in the cache for this long, seconds of event time; more than any latency, so that
        commands still on their way find their order.
    """

    every: int = 64
    keep_s: int = 60


class Housekeeper(Actor):
    """
    Plug-in that keeps the cost of an order constant, in any node, from config alone.

    A closed position leaves the cache at once, unless an order of it is still working (its bracket legs
    must be found and cancelled); closed orders, snapshots and account states leave in sweeps, between two
    market events, and only when no relative of theirs is open. So ``cache.positions_closed()``,
    ``cache.order(id)`` of orders long closed and ``portfolio.realized_pnl()`` forget the past: the run's
    record and the account's balance have it.

    Parameters
    ----------
    config : HousekeeperConfig
        The configuration.

    Attributes
    ----------
    forgets : callable
        Is shown each order that leaves the cache.
    """

    def __init__(self, config: HousekeeperConfig | None = None) -> None:
        super().__init__(config or HousekeeperConfig())
        self.forgets: Callable[[Order], object] = lambda _order: None
        self._every, self._keep_ns = self.config.every, self.config.keep_s * 10**9
        self._events = 0
        self._due = False
        self._analyzer: LeanAnalyzer | None = None

    def on_start(self) -> None:
        """Take over the portfolio's trade list and listen, after everybody else."""
        self._analyzer = LeanAnalyzer.adopt(self.portfolio.analyzer)
        self.msgbus.subscribe("events.position.*", self._on_position_event)
        self.msgbus.subscribe("events.order.*", self._on_order_event)

    def on_reset(self) -> None:
        """Start counting anew."""
        self._events, self._due = 0, False

    def _on_position_event(self, event: PositionEvent) -> None:
        if type(event) is PositionClosed:
            assert self._analyzer is not None
            self._analyzer.keep_position(event)
            self._retire(event.position_id)

    def _on_order_event(self, event: OrderEvent) -> None:
        self._events += 1
        if self._events >= self._every and not self._due:
            self._due = True
            # Not now: the matching engine may be in the middle of a list of orders that it expects to find.
            if isinstance(self.clock, LiveClock):  # whose alerts come on a thread of their own
                asyncio.get_running_loop().call_soon(self._sweep, None)
            else:
                self.clock.set_time_alert_ns("housekeeping", self.clock.timestamp_ns() + 1, self._sweep)

    def _retire(self, position_id: PositionId) -> None:
        """Purge a closed position that no working order belongs to."""
        position = self.cache.position(position_id)
        if position is None or position.is_open:
            return
        if all(order.is_closed for order in self.cache.orders_for_position(position_id)):
            self.cache.purge_position(position_id, purge_from_database=True)

    def _sweep(self, _event: object) -> None:
        """Purge what is closed and has no open relative."""
        self._events, self._due = 0, False
        cache, now = self.cache, self.clock.timestamp_ns()
        horizon = now - self._keep_ns
        for order in cache.orders_closed():
            if order.ts_last <= horizon and self._alone(order):
                self.forgets(order)
                cache.purge_order(order.client_order_id, purge_from_database=True)
        for position in cache.positions_closed():
            self._retire(position.id)
        for position_id in cache.position_snapshot_ids():
            cache.position_snapshot_bytes(position_id).clear()
        assert self._analyzer is not None
        for account in cache.accounts():
            self._analyzer.keep_balances(account)
        cache.purge_account_events(now)

    def _alone(self, order: Order) -> bool:
        """Whether no order is open that Nautilus could still look up `order` for."""
        cache = self.cache
        relatives = [cache.order(linked) for linked in order.linked_order_ids or ()]
        if order.parent_order_id is not None:
            relatives.append(cache.order(order.parent_order_id))
        if order.order_list_id is not None:
            family = cache.order_list(order.order_list_id)
            relatives.extend(() if family is None else family.orders)
        if order.exec_spawn_id is not None:
            relatives.extend(cache.orders_for_exec_spawn(order.exec_spawn_id))
        return all(relative is None or relative.is_closed for relative in relatives)


def engine_config(
    controller: ImportableControllerConfig | None,
    actors: Sequence[ImportableActorConfig],
    strategies: Sequence[ImportableStrategyConfig],
    risk: RiskEngineConfig | None = None,
) -> BacktestEngineConfig:
    """Return the configuration of a BacktestEngine, alone or inside a BacktestNode; `risk` none: as in Nautilus."""
    housekeeper = ImportableActorConfig(
        actor_path=f"{__name__}:Housekeeper",
        config_path=f"{__name__}:HousekeeperConfig",
        config={"component_id": "Housekeeper"},
    )
    return BacktestEngineConfig(
        trader_id=TRADER_ID,
        logging=LoggingConfig(bypass_logging=True),
        portfolio=PortfolioConfig(min_account_state_logging_interval_ms=_NEVER_MS),
        risk_engine=risk or RiskEngineConfig(),
        controller=controller,
        actors=[housekeeper, *actors],
        strategies=list(strategies),
        run_analysis=False,
    )


def run_engine(engine: BacktestEngine) -> None:
    """Run `engine` to the end of its data, with the garbage collector kept quiet (a tenth of the time)."""
    with quiet_gc():
        engine.run()


def build_engine(
    config: BacktestEngineConfig,
    instruments: Sequence[Instrument],
    streams: Sequence[list[Data]],
    venue: str,
    venue_kwargs: dict[str, Any],
    components: Sequence[Actor] = (),
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
    components : sequence of Actor
        Ready-made actors and strategies, added in this order after those of `config`.
    """
    engine = BacktestEngine(config)
    engine.add_venue(Venue(venue), **venue_kwargs)
    for instrument in instruments:
        engine.add_instrument(instrument)
    for stream in streams:
        engine.add_data(stream, sort=len(streams) == 1)
    if len(streams) > 1:
        engine.sort_data()
    for component in components:
        if isinstance(component, Strategy):
            engine.add_strategy(component)
        else:
            engine.add_actor(component)
    return engine
