"""Shim: the paper venue, Nautilus's sandbox with the venue of a replay in it: the same fills, fees and latency.

The stock sandbox fills at once whatever is touched. This one is moved by the intake, input by input, in the order of a
replay: what is due before the input, the input itself, the decisions on it, and what they have sent.
"""

import asyncio
from bisect import bisect_right, insort
from typing import Any

from nautilus_trader.adapters.sandbox.config import SandboxExecutionClientConfig
from nautilus_trader.adapters.sandbox.execution import SandboxExecutionClient
from nautilus_trader.backtest.engine import SimulatedExchange
from nautilus_trader.backtest.execution_client import BacktestExecClient
from nautilus_trader.backtest.models import MakerTakerFeeModel
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus, TestClock
from nautilus_trader.common.providers import InstrumentProvider
from nautilus_trader.core.data import Data
from nautilus_trader.live.execution_client import LiveExecutionClient
from nautilus_trader.live.factories import LiveExecClientFactory
from nautilus_trader.model.data import Bar, InstrumentStatus, QuoteTick, TradeTick
from nautilus_trader.model.identifiers import AccountId, ClientId, Venue
from nautilus_trader.portfolio.base import PortfolioFacade

from alphatrade.nodes.bus_watch import BusWatch
from alphatrade.nodes.paper.clock import TIME


class PaperVenue(SandboxExecutionClient):
    """
    The simulated venue of a paper node.

    Parameters
    ----------
    loop, portfolio, msgbus, cache, clock
        Of the node.
    config : SandboxExecutionClientConfig
        Only the name of its venue counts.
    arguments : dict
        Of a replay's venue, see :func:`alphatrade.nodes.venue.venue_kwargs`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        portfolio: PortfolioFacade,
        msgbus: MessageBus,
        cache: Cache,
        clock: LiveClock,
        config: SandboxExecutionClientConfig,
        arguments: dict[str, Any],
    ) -> None:
        name = config.venue
        LiveExecutionClient.__init__(
            self, loop=loop, client_id=ClientId(name), venue=Venue(name), oms_type=arguments["oms_type"],
            account_type=arguments["account_type"], base_currency=arguments["base_currency"],
            instrument_provider=InstrumentProvider(), msgbus=msgbus, cache=cache, clock=clock,
        )  # fmt: skip
        self._set_account_id(AccountId(f"{name}-001"))
        self.test_clock = TestClock()
        self.test_clock.set_time(TIME.now)
        self.exchange = SimulatedExchange(
            venue=Venue(name), leverages={}, portfolio=portfolio, msgbus=msgbus, cache=cache, clock=self.test_clock,
            fee_model=MakerTakerFeeModel(), **arguments,
        )  # fmt: skip
        self._client = BacktestExecClient(exchange=self.exchange, msgbus=msgbus, cache=cache, clock=self.test_clock)
        self.exchange.register_client(self._client)
        self.exchange.initialize_account()
        (self.watch,) = arguments["modules"]
        model = arguments["latency_model"]
        self._latency = 0 if model is None else model.insert_latency_nanos  # one for all commands
        self._due: list[int] = []  # when commands on their way arrive, ascending

    @property
    def bus(self) -> BusWatch:
        """What the heartbeat says."""
        return self.watch.bus

    def connect(self) -> None:
        """Take the instruments of the node; market data come from the intake."""
        for instrument in self.exchange.cache.instruments(venue=self.venue):
            if instrument.id not in self.exchange.instruments:
                self.exchange.add_instrument(instrument)
        self._client._set_connected(True)
        self._set_connected(True)

    # -- commands

    def submit_order(self, command: Any) -> None:
        """Send an order on its way."""
        self._sent(command)
        self._client.submit_order(command)

    def submit_order_list(self, command: Any) -> None:
        """Send a list of orders on its way."""
        self._sent(command)
        self._client.submit_order_list(command)

    def modify_order(self, command: Any) -> None:
        """Send a modification on its way."""
        self._sent(command)
        self._client.modify_order(command)

    def cancel_order(self, command: Any) -> None:
        """Send a cancellation on its way."""
        self._sent(command)
        self._client.cancel_order(command)

    def cancel_all_orders(self, command: Any) -> None:
        """Send the cancellation of all orders on its way."""
        self._sent(command)
        self._client.cancel_all_orders(command)

    def _sent(self, command: Any) -> None:
        insort(self._due, command.ts_init + self._latency)

    # -- time and market

    def arrivals(self) -> int:
        """Return when the last of what is on its way arrives, UTC ns; 0: nothing is."""
        return self._due[-1] if self._due else 0

    def advance(self, ts: int) -> None:
        """Let arrive what arrives before `ts` (UTC ns), each at its own moment."""
        clock = self.test_clock
        while clock.timer_count:
            moment = min(clock.next_time_ns(name) for name in clock.timer_names)
            if moment >= ts:
                return
            clock.advance_time(moment)
            TIME.advance(moment)
            self.settle(moment)

    def take(self, data: Data, ts: int) -> None:
        """Let the market move, at `ts`, also by what is older: Nautilus would turn its clock back to what that says."""
        self.test_clock.set_time(ts)
        kind = type(data)
        if data.ts_init < ts:
            data = kind.from_dict(kind.to_dict(data) | {"ts_init": ts})
        if kind is QuoteTick:
            self.exchange.process_quote_tick(data)
        elif kind is TradeTick:
            self.exchange.process_trade_tick(data)
        elif kind is Bar:
            self.exchange.process_bar(data)
        elif kind is InstrumentStatus:
            self.exchange.process_instrument_status(data)

    def settle(self, ts: int) -> None:
        """Process what has arrived by `ts`, and what comes of it; as a replay does after every event and timer."""
        exchange = self.exchange
        self.test_clock.set_time(ts)
        while self._due and self._due[0] <= ts:
            del self._due[: bisect_right(self._due, ts)]
            opens = dict(self.watch.opens)
            exchange.process(ts)
            self.watch.opens.update(opens)  # the bar is not over
            for engine in exchange.get_matching_engines().values():
                engine.iterate(ts)
        exchange.process(ts)


def venue_factory(arguments: dict[str, Any], made: list[PaperVenue]) -> type[LiveExecClientFactory]:
    """Return the factory of a paper venue, for a node's builder; what it makes is put into `made`."""

    class SandboxLiveExecClientFactory(LiveExecClientFactory):  # only to this name the builder hands the portfolio
        """Makes the one venue of a node."""

        @staticmethod
        def create(
            loop: asyncio.AbstractEventLoop,
            name: str,
            config: SandboxExecutionClientConfig,
            portfolio: PortfolioFacade,
            msgbus: MessageBus,
            cache: Cache,
            clock: LiveClock,
        ) -> PaperVenue:
            """Return the venue."""
            made.append(PaperVenue(loop, portfolio, msgbus, cache, clock, config, arguments))
            return made[-1]

    return SandboxLiveExecClientFactory
