"""Market streams: the `/stream` and `/ws` sockets, with SUBSCRIBE and UNSUBSCRIBE."""

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from aiohttp import web

from tests.venue.candles import INTERVALS, Row, interval_ms
from tests.venue.faults import Faults
from tests.venue.market import Market
from tests.venue.matching import Print
from tests.venue.rules import text
from tests.venue.sockets import Socket

_DEPTH_S = 0.1


class Client:
    """A socket and the streams it asked for; `wrapped` sockets name the stream with each message."""

    def __init__(self, socket: Socket, streams: list[str], wrapped: bool) -> None:
        self.socket, self.streams, self.wrapped = socket, set(streams), wrapped


class Streams:
    """Publishes the market to whoever has subscribed."""

    def __init__(self, market: Market, faults: Faults, clock: Callable[[], int]) -> None:
        self.market, self.faults, self.clock = market, faults, clock
        self.clients: set[Client] = set()
        self._shown: dict[str, tuple[int, dict[str, Decimal]]] = {}
        self._candles: dict[str, Row] = {}

    # -- sockets ------------------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve ``/stream?streams=a/b``, ``/ws`` and ``/ws/a``."""
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        wrapped = request.path.startswith("/stream")
        asked = request.query.get("streams", "") if wrapped else request.match_info.get("name", "")
        socket = Socket(ws, request, "market", self.faults)
        client = Client(socket, [name for name in asked.split("/") if name], wrapped)
        self.clients.add(client)
        try:
            async for message in socket.texts():
                socket.send(json.dumps(self._control(client, message)), answer=True)
        finally:
            self.clients.discard(client)
        return ws

    def _control(self, client: Client, message: str) -> dict[str, Any]:
        try:
            asked = json.loads(message)
            method, names, ident = asked["method"], asked.get("params", []), asked.get("id")
        except (ValueError, KeyError, TypeError, AttributeError):
            return {"error": {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}}
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": sorted(client.streams), "id": ident}
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            return {"error": {"code": 1, "msg": f"Invalid value type: unknown method {method}"}, "id": ident}
        if not all(isinstance(name, str) and "@" in name for name in names):
            return {"error": {"code": 2, "msg": "Invalid request: invalid stream"}, "id": ident}
        client.streams = client.streams | set(names) if method == "SUBSCRIBE" else client.streams - set(names)
        return {"result": None, "id": ident}

    def drop(self) -> int:
        """Abort every socket; return how many there were."""
        for client in list(self.clients):
            client.socket.abort()
        return len(self.clients)

    def backlog(self) -> int:
        """Return how many messages the slowest socket is behind."""
        return max((client.socket.backlog for client in self.clients), default=0)

    def wanted(self) -> set[str]:
        return set().union(*(client.streams for client in self.clients)) if self.clients else set()

    def publish(self, stream: str, data: dict[str, Any]) -> None:
        raw = wrapped = ""
        for client in self.clients:
            if stream in client.streams:
                raw = raw or json.dumps(data, separators=(",", ":"))
                wrapped = wrapped or f'{{"stream":"{stream}","data":{raw}}}'
                client.socket.send(wrapped if client.wrapped else raw)

    # -- what is published --------------------------------------------------------------------------------------

    def quoted(self, symbol: str) -> None:
        """Publish a bookTicker."""
        if not self.clients:
            return
        best = self.market.matching.best[symbol]
        self.publish(
            f"{symbol.lower()}@bookTicker",
            {
                "u": self.market.update_ids[symbol], "s": symbol, "b": text(best.bid), "B": text(best.bid_size),
                "a": text(best.ask), "A": text(best.ask_size),
            },
        )  # fmt: skip

    def printed(self, trade: Print) -> None:
        """Publish a trade and an aggregate trade."""
        if not self.clients:
            return
        name, now = trade.symbol.lower(), self.clock()
        shared = {"E": now, "s": trade.symbol, "p": text(trade.price), "q": text(trade.qty), "T": trade.time,
                  "m": trade.buyer_maker, "M": True}  # fmt: skip
        self.publish(f"{name}@trade", {"e": "trade", "t": trade.id, **shared})
        ids = {"a": trade.id, "f": trade.id, "l": trade.id}
        self.publish(f"{name}@aggTrade", {"e": "aggTrade", **ids, **shared})

    async def tick(self) -> None:
        """Publish what is published on a clock: depth each 100 ms, candles when they change and when they close."""
        while True:
            await asyncio.sleep(_DEPTH_S)
            for stream in self.wanted():
                symbol, _, kind = stream.partition("@")
                if symbol.upper() not in self.market.feeds:
                    continue
                if kind.startswith("kline_") and kind[6:] in INTERVALS:
                    self._kline(stream, symbol.upper(), kind[6:])
                elif kind.startswith("depth"):
                    self._depth(stream, symbol.upper(), kind)
                elif kind == "ticker":
                    self._ticker(stream, symbol.upper())

    def _depth(self, stream: str, symbol: str, kind: str) -> None:
        best, update = self.market.matching.best[symbol], self.market.update_ids[symbol]
        before, levels = self._shown.get(stream, (update - 1, {}))
        if update == before:
            return
        now = {"bid": best.bid, "ask": best.ask}
        self._shown[stream] = (update, now)
        bids, asks = [[text(best.bid), text(best.bid_size)]], [[text(best.ask), text(best.ask_size)]]
        if not kind.startswith("depth@") and kind != "depth":
            self.publish(stream, {"lastUpdateId": update, "bids": bids, "asks": asks})
            return
        for side, rows in (("bid", bids), ("ask", asks)):
            if levels and levels[side] != now[side]:
                rows.append([text(levels[side]), text(Decimal(0))])
        self.publish(
            stream,
            {"e": "depthUpdate", "E": self.clock(), "s": symbol, "U": before + 1, "u": update, "b": bids, "a": asks},
        )

    def _kline(self, stream: str, symbol: str, interval: str) -> None:
        last = self.market.matching.best[symbol].last
        if not last:
            return
        row = list(self.market.candles[symbol].current(interval, self.clock(), last))
        before = self._candles.get(stream)
        if before is not None and before[0] != row[0]:
            closed = self.market.candles[symbol].current(interval, before[0], before[4])
            self.publish(stream, _candle(symbol, interval, closed, True, self.clock()))
        elif before == row:
            return
        self._candles[stream] = row
        self.publish(stream, _candle(symbol, interval, row, False, self.clock()))

    def _ticker(self, stream: str, symbol: str) -> None:
        body, now = ticker(self.market, symbol, self.clock()), self.clock()
        short = {
            "p": "priceChange", "P": "priceChangePercent", "w": "weightedAvgPrice", "x": "prevClosePrice",
            "c": "lastPrice", "Q": "lastQty", "b": "bidPrice", "B": "bidQty", "a": "askPrice", "A": "askQty",
            "o": "openPrice", "h": "highPrice", "l": "lowPrice", "v": "volume", "q": "quoteVolume",
            "O": "openTime", "C": "closeTime", "F": "firstId", "L": "lastId", "n": "count",
        }  # fmt: skip
        self.publish(stream, {"e": "24hrTicker", "E": now, "s": symbol} | {k: body[v] for k, v in short.items()})


def _candle(symbol: str, interval: str, row: Row, closed: bool, now: int) -> dict[str, Any]:
    opened, first, high, low, last, volume, quote, count, taker, taker_quote = row
    return {
        "e": "kline", "E": now, "s": symbol,
        "k": {
            "t": opened, "T": opened + interval_ms(interval) - 1, "s": symbol, "i": interval, "f": -1, "L": -1,
            "o": text(first), "c": text(last), "h": text(high), "l": text(low), "v": text(volume), "n": count,
            "x": closed, "q": text(quote), "V": text(taker), "Q": text(taker_quote), "B": "0",
        },
    }  # fmt: skip


def ticker(market: Market, symbol: str, now: int) -> dict[str, Any]:
    """Return the statistics of the last 24 hours, as far as the venue was open."""
    best, zero = market.matching.best[symbol], Decimal(0)
    rows = market.candles[symbol].read("1m", now - 86_400_000, now, 1_500)
    opened = rows[0][1] if rows else best.last
    volume, quote = sum((r[5] for r in rows), zero), sum((r[6] for r in rows), zero)
    traded = market.trades[symbol]
    change = best.last - opened
    return {
        "symbol": symbol, "priceChange": text(change),
        "priceChangePercent": f"{change / opened * 100 if opened else zero:.3f}",
        "weightedAvgPrice": text(quote / volume if volume else zero), "prevClosePrice": text(opened),
        "lastPrice": text(best.last), "lastQty": text(traded[-1].qty if traded else zero),
        "bidPrice": text(best.bid), "bidQty": text(best.bid_size), "askPrice": text(best.ask),
        "askQty": text(best.ask_size), "openPrice": text(opened),
        "highPrice": text(max((r[2] for r in rows), default=best.last)),
        "lowPrice": text(min((r[3] for r in rows), default=best.last)), "volume": text(volume),
        "quoteVolume": text(quote), "openTime": now - 86_400_000, "closeTime": now,
        "firstId": traded[0].id if traded else -1, "lastId": traded[-1].id if traded else -1,
        "count": sum(r[7] for r in rows),
    }  # fmt: skip
