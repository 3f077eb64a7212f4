"""Shim: the feed of an exchange as the data client of a paper node.

It holds connections of a bundled adapter (:mod:`alphatrade.nodes.paper.adapters`), throws away one that has gone silent
and makes another, after a pause that grows; where there is a second way to the exchange, it is heard while the first is
lost. What comes is checked, brought to the decimals of its instrument, and let in one event after the other.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.common.providers import InstrumentProvider
from nautilus_trader.core.data import Data
from nautilus_trader.live.config import LiveDataClientConfig
from nautilus_trader.live.data_client import LiveMarketDataClient
from nautilus_trader.live.factories import LiveDataClientFactory
from nautilus_trader.model.data import Bar, QuoteTick, TradeTick
from nautilus_trader.model.identifiers import ClientId, Venue
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Price, Quantity

from alphatrade.nodes.paper.adapters import ANSWER_S, Connection
from alphatrade.nodes.paper.factories import factory_of
from alphatrade.nodes.paper.feed_switch import Arrivals, FeedChange, Patience, Switch, pause
from alphatrade.nodes.paper.feeds import LiveFeedSpec

LOOK_S = 0.1  # between two looks at whether something comes
_DIGITS = 16  # decimals of a raw value


class Unfit(Exception):  # noqa: N818 (nothing went wrong here)
    """What came is no market event of ours."""


class LiveFeed(LiveMarketDataClient):
    """
    The feed of an exchange.

    Parameters
    ----------
    loop, msgbus, cache, clock
        Of the node.
    venue : str
    instruments : sequence of Instrument
    spec : LiveFeedSpec
    tell : callable
        Takes a line about the feed.

    Attributes
    ----------
    unfit : int
        Events that were refused.
    limit_s : float
        Age from which on it is silent, seconds: of bars, more than one.
    """

    live = True

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        msgbus: MessageBus,
        cache: Cache,
        clock: LiveClock,
        venue: str,
        instruments: Sequence[Instrument],
        spec: LiveFeedSpec,
        tell: Callable[[str], object],
    ) -> None:
        super().__init__(
            loop=loop, client_id=ClientId(venue), venue=Venue(venue), msgbus=msgbus, cache=cache, clock=clock,
            instrument_provider=InstrumentProvider(), config=LiveDataClientConfig(),
        )  # fmt: skip
        self._instruments = {one.id: one for one in instruments}
        self._spec, self._tell = spec, tell
        self._rng = random.Random(os.getpid())  # nodes that lost the same exchange do not come back at one moment
        self._commands: list[Any] = []
        self._open: list[Connection | None] = [None for _ in spec.addresses]
        self._switch: Switch | None = None
        self._arrivals = Arrivals()
        self._failure: Exception | None = None
        self.unfit, self.limit_s = 0, spec.limit_s

    # -- what the node asks of it

    async def _connect(self) -> None:
        for instrument in self._instruments.values():
            self._handle_data(instrument)

    async def _disconnect(self) -> None:
        """Connections end with :meth:`listen`."""

    async def _subscribe_quote_ticks(self, command: Any) -> None:
        self._commands.append(command)
        for connection in filter(None, self._open):
            await connection.subscribe(command)

    _subscribe_trade_ticks = _subscribe_bars = _subscribe_quote_ticks

    async def _subscribe_instrument_status(self, command: Any) -> None:
        """The adapter has none; a feed that is lost makes prices stale, and the law holds orders."""

    async def _unsubscribe_quote_ticks(self, command: Any) -> None:
        """Everything is heard until the end."""

    _unsubscribe_trade_ticks = _unsubscribe_bars = _unsubscribe_quote_ticks

    def fail(self, error: Exception) -> None:
        """End the node, which could not process what an exchange has said of an order: nothing more is heard."""
        self._failure = self._failure or error
        self._tell(f"the node ends: what the exchange said could not be processed: {error!r}")

    def facts(self) -> dict[str, str]:
        """Return what the heartbeat says of the feed."""
        switch = self._switch
        name = self._spec.addresses[0 if switch is None else switch.current].name
        up = switch is not None and not switch.lost
        return {"feed": name, "feed_state": "up" if up else "lost", "feed_unfit": str(self.unfit)}

    # -- what it hears

    async def listen(self, latest: int, closed: Callable[[], bool], stop: asyncio.Event) -> None:
        """
        Hear the exchange until the node wants no more.

        Parameters
        ----------
        latest : int
            Stamp of the last market event that the node has had, UTC ns; 0: none.
        closed : callable
            Says whether the market is, so that its silence is no loss.
        stop : asyncio.Event
            Set where the node wants no more.

        Raises
        ------
        Exception
            Whatever the node raised on an event: it cannot go on.
        """
        spec, second = self._spec, self._spec.fallback
        patience = Patience(spec.silence_s, *(() if second is None else (second.after_s, second.back_s)))
        names = [at.name for at in spec.addresses]
        self._switch = Switch(names, patience, self._loop.time(), latest)
        ways = [self._loop.create_task(self._keep(way)) for way in range(len(names))]
        try:
            while not stop.is_set():
                self._arrivals.turn(time.time_ns())
                if self._failure is not None:
                    raise self._failure
                if closed():
                    self._switch.rest(self._loop.time())
                change = self._switch.look(self._loop.time(), time.time_ns())
                if change is not None:
                    self._changed(change)
                await asyncio.sleep(LOOK_S)
        finally:
            for task in ways:
                task.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _keep(self, way: int) -> None:
        """Keep one way open while it is wanted."""
        spec, tries = self._spec, 0
        while True:
            if not self._switch.wanted(way, self._loop.time()):
                await asyncio.sleep(LOOK_S)
                continue
            began = self._loop.time()
            why = await self._hear(way)
            tries = 1 if self._loop.time() - began > 2 * spec.silence_s else tries + 1
            wait = pause(tries, spec.pause_s, spec.pause_most_s, self._rng)
            if why:
                self._tell(f"feed {spec.addresses[way].name}: {why}; connected anew in {wait:.1f} s")
            await asyncio.sleep(wait)

    async def _hear(self, way: int) -> str:
        """Connect one way and hear it until it is silent or not wanted; return what is wrong with it."""
        connection: Connection | None = None

        def take(data: Any) -> None:
            self._loop.call_soon_threadsafe(self._heard, way, connection, data)

        try:
            connection = Connection(self._spec.addresses[way], take, self._loop)
            self._open[way] = connection
            await asyncio.wait_for(connection.open(self._commands), ANSWER_S)
            return await self._silent(way)
        except Exception as error:
            return " ".join(str(error).split())[:160] or type(error).__name__
        finally:
            self._open[way] = None
            if connection is not None:
                await connection.close()

    async def _silent(self, way: int) -> str:
        opened = self._loop.time()
        while self._switch.wanted(way, self._loop.time()):
            if (silence := self._switch.silence(way, opened, self._loop.time())) > self._spec.silence_s:
                return f"silent for {silence:.1f} s"
            await asyncio.sleep(LOOK_S)
        return ""

    def _heard(self, way: int, connection: Connection | None, data: Any) -> None:
        """Let in what came, if it is fit and comes by the way that is heard; nothing more once the node has failed."""
        if self._failure is not None or self._open[way] is not connection or isinstance(data, Instrument):
            return
        try:
            event = self._fit(data)
        except Unfit as why:
            self.unfit += 1
            if self.unfit == 1:
                self._tell(f"feed {self._spec.addresses[way].name}: left out: {why}; further ones are only counted")
            return
        admitted, changes = self._switch.heard(way, self._loop.time(), event.ts_init)
        try:
            for change in changes:
                self._changed(change)
            if admitted:
                self._handle_data(event)
        except Exception as error:  # nobody hears of one in a callback of the loop
            self._failure = error

    def _changed(self, change: FeedChange) -> None:
        passed = (change.ts - change.since) / 1e9 if change.since else 0.0
        words = {"lost": "lost: nothing came for", "gap": "is back after", "source": "is heard from now on, after"}
        self._tell(f"feed {change.source} {words[change.kind]} {passed:.1f} s")
        self._msgbus.send(endpoint="DataEngine.process", msg=change)

    def _fit(self, data: Any) -> Data:
        """
        Return an event with the decimals of its instrument, and a stamp that is not later than when it came.

        Raises
        ------
        Unfit
            If it is not of a kind or an instrument that was asked for, or its numbers make no sense.
        """
        if not isinstance(data, QuoteTick | TradeTick | Bar):
            raise Unfit(f"a {type(data).__name__}")
        name = data.bar_type.instrument_id if isinstance(data, Bar) else data.instrument_id
        found = self._instruments.get(name)
        if found is None:
            raise Unfit(f"an event of {name}")
        digits, lots = found.price_precision, found.size_precision
        came = self._arrivals.came(data.ts_init, time.time_ns())
        stamps = min(data.ts_event, came), came
        if isinstance(data, QuoteTick):
            bid, ask = _price(data.bid_price, digits), _price(data.ask_price, digits)
            if bid > ask:
                raise Unfit(f"{name}: bid {bid} above ask {ask}")
            return QuoteTick(name, bid, ask, _size(data.bid_size, lots), _size(data.ask_size, lots), *stamps)
        if isinstance(data, TradeTick):
            price, size = _price(data.price, digits), _size(data.size, lots)
            return TradeTick(name, price, size, data.aggressor_side, data.trade_id, *stamps)
        prices = [_price(one, digits) for one in (data.open, data.high, data.low, data.close)]
        return Bar(data.bar_type, *prices, _size(data.volume, lots), *stamps)


def _price(value: Price, digits: int) -> Price:
    if value.raw <= 0:
        raise Unfit(f"a price of {value}")
    return Price.from_raw(_on_grid(value.raw, digits), digits)


def _size(value: Quantity, digits: int) -> Quantity:
    return Quantity.from_raw(_on_grid(value.raw, digits), digits)


def _on_grid(raw: int, digits: int) -> int:
    if raw % 10 ** (_DIGITS - digits):
        raise Unfit(f"{raw / 10**_DIGITS} with more than {digits} decimals")
    return raw


def live_factory(
    venue: str,
    instruments: Sequence[Instrument],
    made: list[LiveFeed],
    spec: LiveFeedSpec,
    tell: Callable[[str], object],
) -> type[LiveDataClientFactory]:
    """Return the factory of a live feed, for a node's builder; what it makes is put into `made`."""

    def make(loop: asyncio.AbstractEventLoop, bus: MessageBus, cache: Cache, clock: LiveClock) -> LiveFeed:
        return LiveFeed(loop, bus, cache, clock, venue, instruments, spec, tell)

    return factory_of(LiveDataClientFactory, make, made)
