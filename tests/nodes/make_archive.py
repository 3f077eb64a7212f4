"""A small exchange on loopback for downloads: archive with checksums, REST klines and trades, faults on command."""

import asyncio
import hashlib
import io
import json
import math
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from alphatrade.nodes.download_plan import Wish, make_wish

DAY_S = 86_400
NS = 10**9
TODAY = date(2025, 6, 12)  # at the exchange
EVERY_S = 30  # seconds between trades
SLOW_S = 3.0  # of an answer that is too late
INTERVALS = {"1m": 60, "5m": 300, "1h": 3600, "1d": DAY_S}


def seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def price(second: int) -> float:
    return round(50_000 + 900 * math.sin(second / 9000) + 70 * math.sin(second / 311) + second % 7, 2)


def stamp(second: int) -> int:
    """The archive counts milliseconds up to 2024 and microseconds since; REST counts milliseconds."""
    return second * (10**6 if second >= seconds(date(2025, 1, 1)) else 10**3)


class Exchange:
    """
    What it has, what it does wrong, and what it was asked.

    `faults` maps the end of a path to what happens to the next requests of it, one each: 500, 429, 418, drop, short,
    corrupt, badsum, othername, slow, absent, garbage.
    """

    def __init__(self) -> None:
        self.symbols = {"BTCUSDT", "WIFUSDT"}
        self.months_before = date(2025, 6, 1)  # months that end by then are in the archive
        self.days_before = date(2025, 6, 10)  # likewise days
        self.now = seconds(date(2025, 6, 12)) + 3600 * 7 + 95  # by the exchange's clock
        self.listed = date(2020, 3, 15)
        self.holes: set[int] = set()  # opens of minutes, or trades, that never were
        self.header = False
        self.delay_s = 0.0
        self.faults: dict[str, list[str]] = {}
        self.asked: Counter[str] = Counter()
        self.url = ""

    def klines(self, start: int, end: int, step: int) -> list[list[Any]]:
        out = []
        for at in range(max(start, seconds(self.listed)), min(end, self.now + 1), step):
            if at in self.holes:
                continue
            o, c = price(at), price(at + step)
            out.append(
                [at, f"{o:.8f}", f"{max(o, c) + 3:.8f}", f"{min(o, c) - 3:.8f}", f"{c:.8f}", f"{1 + at % 11 / 10:.8f}"]
            )
        return out

    def trades(self, first: int, end: int) -> list[list[Any]]:
        """Trade n happens at second n * EVERY_S: ids count on from day to day."""
        last = min(end, self.now) // EVERY_S
        return [
            [n, f"{price(n * EVERY_S):.8f}", f"{0.001 * (1 + n % 5):.8f}", n * EVERY_S, n % 3 == 0]
            for n in range(first, last + 1)
            if n * EVERY_S < end and n * EVERY_S not in self.holes
        ]

    def csv(self, kind: str, word: str, start: int, end: int) -> bytes:
        if kind == "klines":
            step = INTERVALS[word]
            rows = [
                [stamp(r[0]), *r[1:], stamp(r[0] + step) - 1, "1.0", 5, "0.5", "0.5", 0]
                for r in self.klines(start, end, step)
            ]
            names = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
        elif kind == "aggTrades":
            rows = [
                [n, p, q, n, n, stamp(at), maker, True] for n, p, q, at, maker in self.trades(-(-start // EVERY_S), end)
            ]
            names = (
                "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker,is_best_match"
            )
        else:
            rows = [
                [n, p, q, "1.0", stamp(at), maker, True]
                for n, p, q, at, maker in self.trades(-(-start // EVERY_S), end)
            ]
            names = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match"
        lines = [names] * self.header + [",".join(map(str, row)) for row in rows]
        return ("\n".join(lines) + "\n").encode()

    def zipped(self, path: str) -> bytes | None:
        """Return a file of the archive, the same bytes each time; None: not there."""
        _, _, _, period, kind, symbol, *_, file = path.split("/")
        text = file.removesuffix(".zip").removeprefix(symbol + "-")
        word, _, name = text.partition("-")
        start = date.fromisoformat(name if period == "daily" else f"{name}-01")
        end = start + timedelta(1) if period == "daily" else (start + timedelta(32)).replace(day=1)
        if (
            symbol not in self.symbols
            or end <= self.listed
            or end > (self.days_before if period == "daily" else self.months_before)
        ):
            return None
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            inside = zipfile.ZipInfo(file.replace(".zip", ".csv"), (2025, 1, 1, 0, 0, 0))
            archive.writestr(inside, self.csv(kind, word, seconds(start), seconds(end)))
        return buffer.getvalue()

    def fault(self, path: str) -> str:
        for part, left in self.faults.items():
            if path.endswith(part) and left:
                return left.pop(0)
        return ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.path] += 1
        await asyncio.sleep(self.delay_s)
        fault = self.fault(request.path)
        if fault == "slow":
            await asyncio.sleep(SLOW_S)
        if fault in ("500", "418", "429"):
            return web.Response(status=int(fault), headers={"Retry-After": "1"} if fault == "429" else {})
        if fault == "absent":
            return web.Response(status=404)
        return await (self.archive(request, fault) if request.path.startswith("/data/") else self.rest(request, fault))

    async def archive(self, request: web.Request, fault: str) -> web.StreamResponse:
        path = request.path.removesuffix(".CHECKSUM")
        body = self.zipped(path)
        if body is None:
            return web.Response(status=404, text="NoSuchKey")
        if path != request.path:
            digest = hashlib.sha256(b"other" if fault == "badsum" else body).hexdigest()
            name = "other.zip" if fault == "othername" else path.rpartition("/")[2]
            return web.Response(text=f"{digest}  {name}\n")
        if fault == "short":  # a cache that holds half of the file
            body = body[: len(body) // 2]
        if fault == "corrupt":
            body = body[:-30] + bytes([body[-30] ^ 1]) + body[-29:]
        if fault == "drop":
            response = web.StreamResponse(headers={"Content-Length": str(len(body))})
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
            assert request.transport is not None
            request.transport.abort()
            return response
        return web.Response(body=body)

    async def rest(self, request: web.Request, fault: str) -> web.StreamResponse:
        query, name = request.query, request.path.rpartition("/")[2]
        if name == "time":
            return web.json_response({"serverTime": self.now * 1000})
        if query["symbol"] not in self.symbols:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        limit = int(query.get("limit", 500))
        if fault == "garbage":
            return web.Response(text="<html>")
        if name == "klines":
            step = INTERVALS[query["interval"]]
            start, end = (
                -(-int(query["startTime"]) // 1000 // step) * step,
                int(query.get("endTime", 10**13)) // 1000 + 1,
            )
            rows: list[Any] = [
                [r[0] * 1000, *r[1:], (r[0] + step) * 1000 - 1, "1.0", 5, "0.5", "0.5", "0"]
                for r in self.klines(start, end, step)
            ]
        else:
            if "fromId" in query:
                found = self.trades(int(query["fromId"]), self.now)
            else:
                assert int(query["endTime"]) - int(query["startTime"]) < 3_600_000, "an hour at most"
                found = self.trades(-(-int(query["startTime"]) // 1000 // EVERY_S), int(query["endTime"]) // 1000 + 1)
            if name == "aggTrades":
                rows = [
                    {"a": n, "p": p, "q": q, "f": n, "l": n, "T": at * 1000, "m": maker, "M": True}
                    for n, p, q, at, maker in found
                ]
            else:
                rows = [
                    {
                        "id": n,
                        "price": p,
                        "qty": q,
                        "quoteQty": "1.0",
                        "time": at * 1000,
                        "isBuyerMaker": maker,
                        "isBestMatch": True,
                    }
                    for n, p, q, at, maker in found
                ]
        body = json.dumps(rows[:limit]).encode()
        if fault == "drop":
            assert request.transport is not None
            request.transport.abort()
        return web.Response(body=body, content_type="application/json")


class Answering(Protocol):
    """Something that answers requests, and is told where it is."""

    url: str

    async def answer(self, request: web.Request) -> web.StreamResponse: ...


@contextmanager
def serving[T: Answering](exchange: T) -> Iterator[T]:
    """Serve it on a free port of loopback, in a thread of its own."""
    loop, ready = asyncio.new_event_loop(), threading.Event()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", exchange.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        exchange.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        loop.call_soon(ready.set)
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield exchange
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


def asked(
    exchange: Exchange, out: Path, kind: str = "aggTrades", start: str = "2025-05-10", end: str = "2025-06-01"
) -> list[str]:
    """Arguments of a download: 22 days of trades, if nothing else is said."""
    return ["BTCUSDT", "--kind", kind, "--from", start, "--to", end, "--out", str(out), "--base-url", exchange.url]


def wished(start: str, end: str, kind: str = "klines", interval: str | None = None, symbol: str = "BTCUSDT") -> Wish:
    return make_wish(symbol, kind, interval, start, end, TODAY)
