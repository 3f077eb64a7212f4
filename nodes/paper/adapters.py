"""Shim: the bundled adapters whose feeds a paper node can hear; another one is a few lines in a table.

An adapter is used as it is, but not by the node itself: a node runs on the time of its inputs, and an adapter stamps
what comes with the wall's. So each connection has a bus, a cache and a clock of its own, and can be thrown away alone.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from nautilus_trader.adapters.binance import BINANCE, BinanceDataClientConfig, BinanceLiveDataClientFactory
from nautilus_trader.adapters.binance.common.enums import BinanceEnvironment
from nautilus_trader.adapters.binance.http.error import BinanceError
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.data.messages import SubscribeBars, SubscribeQuoteTicks, SubscribeTradeTicks
from nautilus_trader.live.config import LiveDataClientConfig
from nautilus_trader.live.data_client import LiveMarketDataClient
from nautilus_trader.live.factories import LiveDataClientFactory
from nautilus_trader.model.identifiers import InstrumentId, TraderId
from nautilus_trader.model.instruments import Instrument

from alphatrade.nodes.engine import TRADER_ID
from alphatrade.nodes.paper.feeds import Address

ANSWER_S = 10.0  # for an exchange to answer, or a connection to be closed
_UNKNOWN_SYMBOL = -1121
# Every adapter has these; that they are awaited here shows what goes wrong, which the ones around them only log.
_SUBSCRIBE = {
    SubscribeQuoteTicks: "_subscribe_quote_ticks",
    SubscribeTradeTicks: "_subscribe_trade_ticks",
    SubscribeBars: "_subscribe_bars",
}


class Adapter(NamedTuple):
    """
    How a bundled adapter is put in.

    Attributes
    ----------
    venue : str
        As its instruments are named after.
    factory : type of LiveDataClientFactory
    config : callable
        Makes the configuration of its data client for an address.
    clock : callable, optional
        Asks the exchange, by a data client, for its time, UTC ms; None: it is not compared with ours.
    unknown : callable
        Tells from an exception that the exchange does not know a symbol.
    """

    venue: str
    factory: type[LiveDataClientFactory]
    config: Callable[[Address], LiveDataClientConfig]
    clock: Callable[[Any], Awaitable[int]] | None = None
    unknown: Callable[[Exception], bool] = lambda _: False


def _unknown(error: Exception) -> bool:
    told = error.message if isinstance(error, BinanceError) else None
    return isinstance(told, dict) and told.get("code") == _UNKNOWN_SYMBOL


def _binance(at: Address) -> BinanceDataClientConfig:
    return BinanceDataClientConfig(
        environment=BinanceEnvironment.TESTNET if at.testnet else BinanceEnvironment.LIVE,
        base_url_http=at.http,
        base_url_ws=at.ws,
        update_instruments_interval_mins=None,
    )


ADAPTERS = {
    "binance": Adapter(
        venue=BINANCE,
        factory=BinanceLiveDataClientFactory,
        config=_binance,
        clock=lambda client: client._http_market.request_server_time(),
        unknown=_unknown,
    )
}


class Connection:
    """
    A data client of an adapter, apart from any node.

    Parameters
    ----------
    at : Address
    take : callable
        Is handed all that comes, on whatever thread.
    loop : asyncio.AbstractEventLoop
    """

    def __init__(self, at: Address, take: Callable[[Any], None], loop: asyncio.AbstractEventLoop) -> None:
        self.adapter = ADAPTERS[at.source]
        clock = LiveClock()
        bus = MessageBus(trader_id=TraderId(TRADER_ID), clock=clock)
        bus.register(endpoint="DataEngine.process", handler=take)
        bus.register(endpoint="DataEngine.response", handler=lambda _: None)  # nothing is asked for
        self.client: LiveMarketDataClient = self.adapter.factory.create(
            loop, self.adapter.venue, self.adapter.config(at), bus, Cache(), clock
        )

    async def open(self, commands: Iterable[Any]) -> None:
        """
        Connect and subscribe.

        Raises
        ------
        Exception
            Whatever the adapter raises.
        """
        await self.client._connect()
        for command in commands:
            await self.subscribe(command)

    async def subscribe(self, command: Any) -> None:
        """Subscribe to what a command of a node names."""
        await getattr(self.client, _SUBSCRIBE[type(command)])(command)

    async def close(self) -> None:
        """Let go of it, however it is."""
        with suppress(Exception):
            await asyncio.wait_for(self.client._disconnect(), ANSWER_S)
        with suppress(Exception):
            await self.client.cancel_pending_tasks()

    async def instruments(self, names: Sequence[str]) -> list[Instrument | None]:
        """Return what the exchange says of its instruments, named with or without a venue; None: it knows none."""
        provider, found = self.client._instrument_provider, []
        for name in names:
            one = InstrumentId.from_str(name if "." in name else f"{name}.{self.adapter.venue}")
            try:
                await provider.load_ids_async([one])
            except Exception as error:
                if not self.adapter.unknown(error):
                    raise
            found.append(provider.find(one))
        return found

    async def ahead_ms(self) -> tuple[float, float]:
        """Return how far the clock of the exchange is ahead of ours, and how far off that may be, ms."""
        ask = self.adapter.clock
        if ask is None:
            return 0.0, 0.0
        await ask(self.client)  # the first answer takes as long as a connection does
        before = time.time_ns()
        clock = await ask(self.client)
        after = time.time_ns()
        return clock - (before + after) / 2e6, (after - before) / 2e6
