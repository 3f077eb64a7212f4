"""Candles of a symbol: built from its public trades, beside history that was there before the venue opened."""

from bisect import bisect_left
from decimal import Decimal
from typing import Any

from tests.venue.errors import VenueError
from tests.venue.rules import SATOSHI, text

SECOND, MINUTE = 1_000, 60_000
UNITS = {"s": SECOND, "m": MINUTE, "h": 60 * MINUTE, "d": 1440 * MINUTE, "w": 7 * 1440 * MINUTE}
INTERVALS = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w")
_MONDAY = 4 * 1440 * MINUTE  # the epoch was a Thursday
Row = list[Any]  # open ms, open, high, low, close, volume, quote volume, count, taker base, taker quote


def interval_ms(interval: str) -> int:
    """Return the length of an interval in milliseconds."""
    if interval not in INTERVALS:
        raise VenueError(-1120, "Invalid interval.")
    return int(interval[:-1]) * UNITS[interval[-1]]


def open_of(moment: int, length: int) -> int:
    """Return the opening time of the candle of `length` that `moment` is in; weeks begin on Monday."""
    shift = _MONDAY if length == UNITS["w"] else 0
    return (moment - shift) // length * length + shift


class Candles:
    """Seconds and minutes are kept; longer intervals are put together when they are asked for."""

    def __init__(self) -> None:
        self._kept: dict[int, dict[int, Row]] = {SECOND: {}, MINUTE: {}}
        self._opens: dict[int, list[int]] = {SECOND: [], MINUTE: []}

    def seed(self, rows: list[tuple[int, Decimal, Decimal, Decimal, Decimal, Decimal]]) -> None:
        """Take history in: one-minute candles (open ms, open, high, low, close, volume), ascending."""
        for opened, first, high, low, last, volume in rows:
            quote = (volume * last).quantize(SATOSHI)
            half = (volume / 2).quantize(SATOSHI)
            row = [opened, first, high, low, last, volume, quote, 10, half, (half * last).quantize(SATOSHI)]
            self._kept[MINUTE][opened] = row
            self._opens[MINUTE].append(opened)

    def add(self, moment: int, price: Decimal, qty: Decimal, buyer_maker: bool) -> None:
        """Count a public trade."""
        for length, kept in self._kept.items():
            opened = open_of(moment, length)
            row = kept.get(opened)
            if row is None:
                row = kept[opened] = [opened, price, price, price, price, *[Decimal(0)] * 2, 0, *[Decimal(0)] * 2]
                self._opens[length].append(opened)
            quote = (price * qty).quantize(SATOSHI)
            row[2], row[3], row[4] = max(row[2], price), min(row[3], price), price
            row[5] += qty
            row[6] += quote
            row[7] += 1
            if not buyer_maker:
                row[8] += qty
                row[9] += quote

    def read(self, interval: str, start: int | None, end: int | None, limit: int) -> list[Row]:
        """Return candles of an interval, ascending: the first `limit` from `start`, or the last `limit`."""
        length = interval_ms(interval)
        base = SECOND if length < MINUTE else MINUTE
        opens, kept = self._opens[base], self._kept[base]
        low = bisect_left(opens, start) if start is not None else 0
        high = bisect_left(opens, end + 1) if end is not None else len(opens)
        window = opens[low:high]
        if length == base:
            chosen = window[:limit] if start is not None else window[-limit:]
            return [kept[opened] for opened in chosen]
        merged: dict[int, Row] = {}
        for opened in window:
            key = open_of(opened, length)
            if start is not None and key < start:
                continue  # began before what was asked for
            _merge(merged, key, kept[opened])
        rows = list(merged.values())
        return rows[:limit] if start is not None else rows[-limit:]

    def current(self, interval: str, moment: int, last: Decimal) -> Row:
        """Return the candle that `moment` is in; where nothing traded, a flat one of the last price."""
        length = interval_ms(interval)
        opened = open_of(moment, length)
        rows = self.read(interval, opened, opened + length - 1, 1)
        return rows[0] if rows else [opened, last, last, last, last, *[Decimal(0)] * 2, 0, *[Decimal(0)] * 2]


def _merge(merged: dict[int, Row], key: int, row: Row) -> None:
    into = merged.get(key)
    if into is None:
        merged[key] = [key, *row[1:]]
        return
    into[2], into[3], into[4] = max(into[2], row[2]), min(into[3], row[3]), row[4]
    for column in range(5, 10):
        into[column] += row[column]


def kline(row: Row, interval: str) -> list[Any]:
    """Return a candle as REST shows it."""
    opened, first, high, low, last, volume, quote, count, taker, taker_quote = row
    return [
        opened, text(first), text(high), text(low), text(last), text(volume),
        opened + interval_ms(interval) - 1, text(quote), count, text(taker), text(taker_quote), "0",
    ]  # fmt: skip
