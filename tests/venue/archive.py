"""The exchange's archive of history: zipped CSV files by day and month with checksums, as data.binance.vision has them.

``/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-31.zip`` and ``….zip.CHECKSUM``; ``monthly`` likewise, and
``trades`` and ``aggTrades``. From 2025 on, stamps in spot archives are microseconds.
"""

import hashlib
import io
import re
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from tests.venue.candles import INTERVALS, kline
from tests.venue.market import Market
from tests.venue.rules import text

_FILE = re.compile(
    r"^/data/spot/(?P<span>daily|monthly)/(?P<kind>klines|trades|aggTrades)/(?P<symbol>[A-Z0-9]+)/(?:(?P<interval>\w+)/)?"
    r"(?P=symbol)-(?P<what>\w+)-(?P<date>\d{4}-\d\d(?:-\d\d)?)\.zip(?P<sum>\.CHECKSUM)?$"
)
_MICROSECONDS_FROM = datetime(2025, 1, 1, tzinfo=UTC)
_MISSING = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code></Error>'


class Archive:
    """Serves the files of what the market knows; a day or month without a row has no file."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.served = 0

    async def handle(self, request: web.Request) -> web.Response:
        """Serve one file or its checksum."""
        found = _FILE.match(request.path)
        body = self.file(found) if found else None
        if found is None or body is None:
            return web.Response(status=404, text=_MISSING, content_type="application/xml")
        self.served += 1
        name = request.path.rpartition("/")[2].removesuffix(".CHECKSUM")
        if found["sum"]:
            return web.Response(text=f"{hashlib.sha256(body).hexdigest()}  {name}\n")
        return web.Response(body=body, content_type="application/zip")

    def file(self, asked: re.Match[str]) -> bytes | None:
        """Return the zip that a path names; the same bytes each time."""
        symbol, kind, interval = asked["symbol"], asked["kind"], asked["interval"]
        wanted = interval if kind == "klines" else kind
        if (
            symbol not in self.market.feeds
            or asked["what"] != wanted
            or (kind == "klines" and interval not in INTERVALS)
        ):
            return None
        span = _span(asked["date"], asked["span"])
        if span is None:
            return None
        start, end = (int(moment.timestamp() * 1000) for moment in span)
        rows = list(self._rows(symbol, kind, interval, start, end - 1, 1000 if span[0] >= _MICROSECONDS_FROM else 1))
        if not rows:
            return None
        name = f"{symbol}-{asked['what']}-{asked['date']}.csv"
        return _zipped(name, "".join(",".join(str(cell) for cell in row) + "\n" for row in rows))

    def _rows(self, symbol: str, kind: str, interval: str, start: int, end: int, scale: int) -> Iterable[list[Any]]:
        if kind == "klines":
            for row in self.market.candles[symbol].read(interval, start, end, 100_000):
                cells = kline(row, interval)
                cells[0] *= scale
                cells[6] = (cells[6] + 1) * scale - 1
                yield cells
            return
        for t in self.market.trades[symbol]:
            if start <= t.time <= end:
                shared = [text(t.price), text(t.qty)]
                if kind == "trades":
                    yield [t.id, *shared, text(t.price * t.qty), t.time * scale, t.buyer_maker, True]
                else:
                    yield [t.id, *shared, t.id, t.id, t.time * scale, t.buyer_maker, True]


def _span(date: str, span: str) -> tuple[datetime, datetime] | None:
    try:
        if span == "daily":
            start = datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC)
            return start, start + timedelta(days=1)
        start = datetime.strptime(date, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        return None
    return start, (start + timedelta(days=31)).replace(day=1)


def _zipped(name: str, content: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
