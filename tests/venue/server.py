"""The venue put together: listeners, the market's clock, and the faults that concern all of it (drop, restart)."""

import asyncio
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from aiohttp import web

from tests.venue.api import Api
from tests.venue.archive import Archive
from tests.venue.books import Books
from tests.venue.control import Control
from tests.venue.faults import Fault, Faults
from tests.venue.keys import ED25519_KEY, HMAC_KEY, Keys
from tests.venue.limits import Limits
from tests.venue.market import Feed, Market
from tests.venue.matching import Matching, Print
from tests.venue.record import Record
from tests.venue.rest import Rest
from tests.venue.streams import Streams
from tests.venue.ws_api import WsApi

HOST = "127.0.0.1"


class Venue:
    """
    A venue on loopback.

    Parameters
    ----------
    feeds : list of Feed
        What is replayed, one per symbol.
    deposits : mapping of str to str
        What the account begins with.
    speed : float
        Pace of the tape; 0 shows the first quote and then only what `/control/quote` sets; ``inf`` is as fast as the
        slowest listener can take it.
    loop : bool
        Whether the tape turns round at its end.
    maker_fee, taker_fee : str
        Fractions of what is received.
    port : int
        0 for any free port. It stays the same over a restart.
    state : Path or None
        Folder for the log of requests.
    """

    def __init__(
        self,
        feeds: list[Feed],
        deposits: Mapping[str, str],
        speed: float = 1.0,
        loop: bool = True,
        maker_fee: str = "0.001",
        taker_fee: str = "0.001",
        port: int = 0,
        state: Path | None = None,
    ) -> None:
        self.port, self.control_port, self.up, self.restarts = port, 0, False, 0
        self.faults = Faults()
        rules = {feed.rules.symbol: feed.rules for feed in feeds}
        self.books = Books(rules, {asset: Decimal(amount) for asset, amount in deposits.items()})
        self.matching = Matching(self.books, self.clock, Decimal(maker_fee), Decimal(taker_fee))
        self.market = Market(feeds, self.matching, self.clock, speed, loop)
        self.keys, self.limits, self.record = Keys(), Limits(self.clock), Record(state)
        for key in (ED25519_KEY, HMAC_KEY):
            self.keys.accept(key.public())
        self.api = api = Api(self.matching, self.market, self.keys, self.faults, self.clock)
        self.rest = Rest(api, self.limits, self.faults, self.record)
        self.streams = Streams(self.market, self.faults, self.clock)
        self.ws_api = WsApi(api, self.limits, self.faults, self.record, self.clock)
        self.archive = Archive(self.market)
        self.matching.on_event, self.matching.on_print = self.ws_api.push, self._printed
        self.market.on_quote, self.market.backlog = self.streams.quoted, self.streams.backlog
        self.faults.actions = {"drop": self._drop, "restart": self._restart, "terminate": self._terminate}
        self._runner: web.AppRunner | None = None
        self._control: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def clock(self) -> int:
        """Return the venue's time in milliseconds, which a fault may have set wrong."""
        return time.time_ns() // 1_000_000 + self.faults.skew_ms

    def _printed(self, trade: Print) -> None:
        self.market.printed(trade)
        self.streams.printed(trade)

    # -- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open both ports, show the first quotes, start the tape."""
        self.market.open()
        self._control, self.control_port = await _listen(Control(self).app(), 0)
        await self._open()
        self._tasks = [asyncio.create_task(self.market.replay()), asyncio.create_task(self.streams.tick())]

    async def stop(self) -> None:
        """Close everything; what a fault holds back is let go first."""
        self.faults.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._close()
        if self._control is not None:
            await self._control.cleanup()

    async def _open(self) -> None:
        app = web.Application()
        app.router.add_get("/stream", self.streams.handle)
        app.router.add_get("/ws", self.streams.handle)
        app.router.add_get("/ws/{name}", self.streams.handle)
        app.router.add_get("/ws-api/v3", self.ws_api.handle)
        app.router.add_get("/data/{path:.*}", self.archive.handle)
        app.router.add_route("*", "/{path:.*}", self.rest.handle)
        self._runner, self.port = await _listen(app, self.port)
        self.up = True

    async def _close(self) -> None:
        self.up = False
        if self._runner is not None:
            runner, self._runner = self._runner, None
            for site in list(runner.sites):
                await site.stop()
            for connection in list(runner.server.connections if runner.server else []):
                if connection.transport is not None:
                    connection.transport.abort()
            await runner.cleanup()

    # -- faults -------------------------------------------------------------------------------------------------

    def _drop(self, fault: Fault) -> None:
        if fault.where in ("market", "all"):
            self.faults.hits["drop"] += self.streams.drop()
        if fault.where in ("user", "all"):
            self.faults.hits["drop"] += self.ws_api.drop()

    def _terminate(self, fault: Fault) -> None:
        self.faults.hits["terminate"] += self.ws_api.end_streams()

    def _restart(self, fault: Fault) -> None:
        self._tasks.append(asyncio.create_task(self._away(float(fault.options.get("seconds", 1.0)))))

    async def _away(self, seconds: float) -> None:
        """Go away, with the books; the market and the orders in it go on meanwhile."""
        if not self.up:
            return
        self.faults.hits["restart"] += 1
        await self._close()
        await asyncio.sleep(seconds)
        await self._open()
        self.restarts += 1


async def _listen(app: web.Application, port: int) -> tuple[web.AppRunner, int]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, HOST, port, reuse_address=True)
    await site.start()
    sockets = site._server.sockets if site._server else []  # type: ignore[union-attr]
    return runner, sockets[0].getsockname()[1]
