"""Shim: the connection to an exchange that executes orders: the bundled client, and its books by a client of ours."""

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
from nautilus_trader.adapters.binance import BinanceExecClientConfig, BinanceLiveExecClientFactory
from nautilus_trader.adapters.binance.common.enums import BinanceEnvironment
from nautilus_trader.adapters.binance.common.urls import get_http_base_url
from nautilus_trader.adapters.binance.config import BinanceAccountType
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.config import InstrumentProviderConfig
from nautilus_trader.live.execution_client import LiveExecutionClient
from nautilus_trader.model.enums import OrderType
from nautilus_trader.model.identifiers import AccountId, InstrumentId
from nautilus_trader.model.orders import Order

from alphatrade.nodes.paper.settings import KEYS
from alphatrade.nodes.secrets import Secrets
from alphatrade.nodes.venue_answers import RefusedError, TroubleError
from alphatrade.nodes.venue_rest import Credentials, VenueRest
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.handover import handed

VENUE = "BINANCE"
ANSWER_S = 10.0  # for one answer of the exchange, and for one step of the bundled client
KEYS_S = 1.0  # for one look for new keys; a later one takes what it has found
WINDOW_MS = 5_000  # an order that reaches the exchange later than this is refused there
EARLY_MS = 1_000  # one that is stamped later than the exchange's clock shows, by more than this, likewise
BLIND_S = 60.0  # without having read the books for so long, nothing new is sent
STOPS = (OrderType.STOP_MARKET, OrderType.TRAILING_STOP_MARKET)


@dataclass(frozen=True, slots=True)
class Exchange:
    """
    Where orders go.

    Attributes
    ----------
    http, ws_api : str, optional
        Addresses other than those of the testnet.
    instruments : tuple of InstrumentId
    keys : str
        What the names of its keys begin with.
    """

    http: str | None
    ws_api: str | None
    instruments: tuple[InstrumentId, ...]
    keys: str = KEYS

    @property
    def environment(self) -> BinanceEnvironment:
        """Which of the exchange's own places it is, where there is no address."""
        return BinanceEnvironment.TESTNET

    @property
    def rest(self) -> str:
        """Address of the REST interface."""
        return self.http or str(get_http_base_url(BinanceAccountType.SPOT, self.environment, False))

    def held(self, credentials: Credentials) -> Credentials:
        """Return what a node has in its hands of its keys."""
        return credentials

    def reader(self, session: aiohttp.ClientSession, credentials: Credentials) -> VenueRest:
        """Return a client of ours, by which the books are read."""
        return VenueRest(session, self.rest, credentials, WINDOW_MS)

    async def vetted(self, rest: VenueRest, uid: object) -> None:
        """Refuse keys, new ones for a node of the account `uid`, by ConfigError; they are those of `rest`."""

    def client(
        self, loop: asyncio.AbstractEventLoop, bus: MessageBus, cache: Cache, credentials: Credentials
    ) -> LiveExecutionClient:
        """
        Return the bundled client, not connected.

        It signs with a clock of its own: that of the node shows the time of the node's inputs. It never tries an order
        twice, because the exchange lets the id of a filled order be used again.
        """
        config = BinanceExecClientConfig(
            api_key=credentials.key, api_secret=credentials.secret, environment=self.environment,
            base_url_http=self.http, base_url_ws=self.ws_api, recv_window_ms=WINDOW_MS,
            instrument_provider=InstrumentProviderConfig(load_ids=frozenset(self.instruments)),
        )  # fmt: skip
        made: Any = BinanceLiveExecClientFactory.create(loop, VENUE, config, bus, cache, LiveClock())
        return made  # type: ignore[no-any-return]


class Link:
    """
    A connection, opened anew whenever that is needed.

    Parameters
    ----------
    exchange : Exchange
    secrets : Secrets
    loop, bus, cache
        Of the bundled client.
    tell : callable
        Takes a line about the connection.

    Attributes
    ----------
    client : LiveExecutionClient or None
        The bundled client, while it is connected.
    rest : VenueRest or None
        Reads the books.
    read_at : float
        When they were last read, monotonic.
    skewed : bool
        An order was refused for its time, and the clocks have not been found right since.
    """

    def __init__(
        self,
        exchange: Exchange,
        secrets: Secrets,
        loop: asyncio.AbstractEventLoop,
        bus: MessageBus,
        cache: Cache,
        tell: Callable[[str], object],
    ) -> None:
        self._exchange, self._secrets, self._tell = exchange, secrets, tell
        self._given = loop, bus, cache
        self._http: aiohttp.ClientSession | None = None
        self.client: LiveExecutionClient | None = None
        self.rest: VenueRest | None = None
        self.read_at, self.skewed = -BLIND_S, False
        self._credentials: Credentials | None = None
        self._uid: object = None  # of the account that is traded; None: not known yet
        self._fresh: Credentials | None = None  # new keys that have not been tried yet
        self._look: asyncio.Future[Credentials | None] | None = None  # for new keys

    def unfit(self, orders: Collection[Order]) -> str:
        """Return why orders cannot be sent now; empty: they can."""
        if any(handed(order.client_order_id.value) for order in orders):
            return "no exchange is sent what is taken over from another node"
        if self.client is None:
            return "the exchange is not connected"
        if time.monotonic() - self.read_at > BLIND_S:
            return f"the exchange's books have not been read for {BLIND_S:g} s"
        if self.skewed:
            return "the exchange's clock and this machine's differ"
        if any(order.order_type in STOPS for order in orders):
            return "no stop orders at this exchange: a position is closed by a decision"
        return ""

    async def timed(self) -> None:
        """Where an order was refused for its time, look whether the clocks are right again."""
        if self.skewed and self.rest is not None:
            ahead_ms = await self.rest.ahead_ms()
            self.skewed = not -EARLY_MS < ahead_ms < WINDOW_MS
            if self.skewed:
                self._tell(f"the exchange's clock is {ahead_ms / 1000:.1f} s ahead of this machine's: nothing is sent")

    async def open(self) -> AccountId:
        """
        Connect with the keys of now, and return the account.

        Raises
        ------
        ConfigError
            If there are no keys.
        BannedError, RefusedError, TroubleError, TimeoutError
            If the exchange refuses them, or does not answer.
        """
        self._credentials = self._credentials or self._read()
        self.rest = await self._admitted(self._credentials)
        self._uid = self.rest.uid if self._uid is None else self._uid
        client = self._exchange.client(*self._given, self._credentials)
        try:
            await asyncio.wait_for(client._connect(), ANSWER_S)
        except BaseException as error:
            await _leave(client)
            if isinstance(error, (TimeoutError, asyncio.CancelledError)):
                raise
            told = " ".join(str(error).split())[:120] or type(error).__name__
            raise TroubleError(f"connecting: {told}") from None
        self.client = client
        return client.account_id

    def _read(self) -> Credentials:
        keys = self._secrets.read(self._exchange.keys)
        return self._exchange.held(Credentials(keys.api_key.get_secret_value(), keys.api_secret.get_secret_value()))

    async def _admitted(self, credentials: Credentials) -> VenueRest:
        """Return a client that the exchange answers; the bundled one would only log that it does not."""
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S))
        rest = self._exchange.reader(self._http, credentials)
        await rest.account()
        return rest

    async def renewed(self) -> bool:
        """
        Take up new keys that the exchange admits; return whether there were any.

        Raises
        ------
        BannedError, TroubleError, TimeoutError
            If it cannot be asked; the next call asks again.
        """
        try:
            self._fresh = await self._looked() or self._fresh
            if self._fresh is None:
                return False
            await self._exchange.vetted(await self._admitted(self._fresh), self._uid)
        except (ConfigError, RefusedError) as error:
            self._fresh = None
            self._tell(f"new keys are of no use, those in use stay in use: {error}")
            return False
        self._credentials, self._fresh = self._fresh, None
        self._tell("there are new keys: connecting anew")
        return True

    async def _looked(self) -> Credentials | None:
        """Return new keys, if there are any; a keyring may wait for its user, and nothing else waits with it."""
        if self._look is None:
            self._look = asyncio.ensure_future(asyncio.to_thread(self._newer))
        if not (await asyncio.wait((self._look,), timeout=KEYS_S))[0]:
            return None
        look, self._look = self._look, None
        return look.result()

    def _newer(self) -> Credentials | None:
        return self._read() if self._secrets.changed(self._exchange.keys) else None

    async def close(self) -> None:
        """Let go of the bundled client, whatever state it is in."""
        client, self.client = self.client, None
        if client is not None:
            await _leave(client)

    async def end(self) -> None:
        """Let go of all."""
        await self.close()
        if self._http is not None:
            await self._http.close()
            self._http = None


async def _leave(client: LiveExecutionClient) -> None:
    with suppress(Exception):
        await asyncio.wait_for(client._disconnect(), ANSWER_S / 2)
    with suppress(Exception):
        await asyncio.wait_for(client.cancel_pending_tasks(1.0), ANSWER_S / 2)
