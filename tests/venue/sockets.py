"""The sending side of a socket: one queue, one writer, and the faults in between."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from aiohttp import WSMsgType, web

from tests.venue.faults import Faults

_PING_S = 20.0
_HELD_S = 0.5  # a message waits no longer for the one it is to change places with


class Socket:
    """
    One websocket of a client.

    Parameters
    ----------
    ws : web.WebSocketResponse
        Prepared with ``autoping=False``: a stalled socket answers no ping either.
    request : web.Request
    where : {"market", "user"}
    faults : Faults
    """

    def __init__(self, ws: web.WebSocketResponse, request: web.Request, where: str, faults: Faults) -> None:
        self.ws, self.where, self.faults = ws, where, faults
        self._transport = request.transport
        self._queue: asyncio.Queue[tuple[float, str, bool]] = asyncio.Queue()
        self._held: str | None = None
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._ping())]

    def send(self, text: str, answer: bool = False) -> None:
        """Queue a message; an answer to a request is delayed or held back, but never lost, doubled or moved."""
        slow = self.faults.take("slow", self.where)
        due = time.monotonic() + (float(slow.options.get("delay", 0.2)) if slow else 0.0)
        self._queue.put_nowait((due, text, answer))

    @property
    def backlog(self) -> int:
        """Messages not sent yet."""
        return self._queue.qsize()

    def abort(self) -> None:
        """Cut the connection, without a closing handshake."""
        if self._transport is not None:
            self._transport.abort()

    async def texts(self) -> AsyncIterator[str]:
        """Yield what the client sends, until it is gone."""
        try:
            async for message in self.ws:
                if message.type is WSMsgType.TEXT:
                    yield message.data
                elif message.type is WSMsgType.PING and not self.faults.stalled(self.where):
                    await self.ws.pong(message.data)
        finally:
            for task in self._tasks:
                task.cancel()

    async def _ping(self) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            while True:
                await asyncio.sleep(_PING_S)
                if not self.faults.stalled(self.where):
                    await self.ws.ping(str(int(time.time() * 1000)).encode())

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            while True:
                try:
                    due, text, answer = await asyncio.wait_for(self._queue.get(), _HELD_S if self._held else None)
                except TimeoutError:
                    await self._flush()
                    continue
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                if self.faults.stalled(self.where):
                    self.faults.take("stall", self.where)
                    while self.faults.stalled(self.where):
                        await asyncio.sleep(0.02)
                await (self.ws.send_str(text) if answer else self._deliver(text))

    async def _deliver(self, text: str) -> None:
        if self.faults.take("gap", self.where):
            return
        if self.faults.take("garbage", self.where):
            await self._garbage()
        if self._held is None and self.faults.take("reorder", self.where):
            self._held = text
            return
        await self.ws.send_str(text)
        if self.faults.take("duplicate", self.where):
            await self.ws.send_str(text)
        await self._flush()

    async def _flush(self) -> None:
        if self._held is not None:
            text, self._held = self._held, None
            await self.ws.send_str(text)

    async def _garbage(self) -> None:
        frame = self.faults.garbage()
        await (self.ws.send_bytes(frame) if isinstance(frame, bytes) else self.ws.send_str(frame))
