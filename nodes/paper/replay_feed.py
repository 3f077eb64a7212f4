"""Shim: a tape as a live feed: a data client that sends it at a pace, as an exchange would."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.common.providers import InstrumentProvider
from nautilus_trader.core.data import Data
from nautilus_trader.live.config import LiveDataClientConfig
from nautilus_trader.live.data_client import LiveMarketDataClient
from nautilus_trader.live.factories import LiveDataClientFactory
from nautilus_trader.model.identifiers import ClientId, Venue
from nautilus_trader.model.instruments import Instrument

from alphatrade.nodes.paper.factories import factory_of

BATCH = 64  # events between two looks at the rest of the loop, at full speed
LONG_S = 0.2  # a sleep that the end of the node has to cut short


class ReplayFeed(LiveMarketDataClient):
    """
    Sends the events of a tape.

    Parameters
    ----------
    loop, msgbus, cache, clock
        Of the node.
    venue : str
    instruments : sequence of Instrument
    """

    live, limit_s = False, None

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        msgbus: MessageBus,
        cache: Cache,
        clock: LiveClock,
        venue: str,
        instruments: Sequence[Instrument],
    ) -> None:
        super().__init__(
            loop=loop, client_id=ClientId(venue), venue=Venue(venue), msgbus=msgbus, cache=cache, clock=clock,
            instrument_provider=InstrumentProvider(), config=LiveDataClientConfig(),
        )  # fmt: skip
        self._instruments = instruments

    async def _connect(self) -> None:
        for instrument in self._instruments:
            self._handle_data(instrument)

    async def _disconnect(self) -> None:
        """Nothing is open."""

    async def _subscribe_quote_ticks(self, command: Any) -> None:
        """All of the tape is sent anyway."""

    _subscribe_trade_ticks = _subscribe_bars = _subscribe_instrument_status = _subscribe_quote_ticks
    _unsubscribe_quote_ticks = _unsubscribe_trade_ticks = _unsubscribe_bars = _subscribe_quote_ticks

    def facts(self) -> dict[str, str]:
        """Return what the heartbeat says of the feed."""
        return {}

    async def send(self, events: Iterable[Data], speed: float, stop: asyncio.Event) -> None:
        """
        Send events in order, until they or the node come to an end.

        Parameters
        ----------
        events : iterable of Data
            In order of time.
        speed : float
            Seconds of the tape in one of the wall; 0: as fast as they are processed.
        stop : asyncio.Event
            Set where the node wants no more.
        """
        pace = _Pace(self._loop, speed, stop)
        for at, event in enumerate(events):
            if at % BATCH == 0:
                await asyncio.sleep(0)
                if stop.is_set():
                    return
            if speed and await pace.wait(event.ts_init) and stop.is_set():
                return
            self._handle_data(event)


class _Pace:
    """When the event of a moment is due on the wall."""

    def __init__(self, loop: asyncio.AbstractEventLoop, speed: float, stop: asyncio.Event) -> None:
        self._loop, self._speed, self._stop = loop, speed, stop
        self._first: tuple[int, float] | None = None

    async def wait(self, ts: int) -> bool:
        """Sleep until the event of `ts` (UTC ns) is due, or the node wants no more; return whether it was not due."""
        now = self._loop.time()
        if self._first is None:
            self._first = ts, now
        rest = self._first[1] + (ts - self._first[0]) / 1e9 / self._speed - now
        if rest > LONG_S:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), rest)
        elif rest > 0.0:
            await asyncio.sleep(rest)
        return rest > 0.0


def feed_factory(venue: str, instruments: Sequence[Instrument], made: list[ReplayFeed]) -> type[LiveDataClientFactory]:
    """Return the factory of a replay feed, for a node's builder; what it makes is put into `made`."""

    def make(loop: asyncio.AbstractEventLoop, bus: MessageBus, cache: Cache, clock: LiveClock) -> ReplayFeed:
        return ReplayFeed(loop, bus, cache, clock, venue, instruments)

    return factory_of(LiveDataClientFactory, make, made)
