"""What a download consists of: the wish of the user, checked, and the days and months that it takes. No I/O."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple

from alphatrade.nodes.instruments import QUOTES, split_pair
from alphatrade.risk.errors import ConfigError

Kind = Literal["klines", "aggTrades", "trades"]
KINDS: tuple[Kind, ...] = ("klines", "aggTrades", "trades")
# Seconds of each. Longer ones do not divide a day or a month and are left out.
INTERVALS = {
    "1s": 1, "1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800,
    "1h": 3600, "2h": 7200, "4h": 14_400, "6h": 21_600, "8h": 28_800, "12h": 43_200, "1d": 86_400,
}  # fmt: skip
FIRST = date(2017, 1, 1)  # before any of the archives begins
_DAY = timedelta(days=1)


class Span(NamedTuple):
    """UTC days that are had at once, from `start` on and before `end`: one day, or one month."""

    start: date
    end: date

    @property
    def is_month(self) -> bool:
        """Return whether it is a month."""
        return (self.end - self.start).days > 1

    @property
    def name(self) -> str:
        """Return what the archive calls it: 2025-01 or 2025-01-31."""
        return f"{self.start:%Y-%m}" if self.is_month else self.start.isoformat()

    def days(self) -> Iterator[date]:
        """Return each day."""
        return (self.start + n * _DAY for n in range((self.end - self.start).days))

    def split(self) -> list["Span"]:
        """Return its days as spans."""
        return [Span(day, day + _DAY) for day in self.days()]

    def bounds(self) -> tuple[int, int]:
        """Return the first moment and the first one after it, UTC ns."""
        return midnight(self.start), midnight(self.end)


@dataclass(frozen=True, slots=True)
class Wish:
    """
    What to download.

    Attributes
    ----------
    symbol : str
        As the venue writes it.
    kind : {"klines", "aggTrades", "trades"}
    interval : str
        Of klines, else empty.
    span : Span
        UTC days; the last may be today.
    """

    symbol: str
    kind: Kind
    interval: str
    span: Span

    @property
    def stem(self) -> str:
        """Return the name of the result: BTCUSDT-1m-klines."""
        return "-".join(filter(None, (self.symbol, self.interval, self.kind)))

    @property
    def step(self) -> int:
        """Return the length of a kline, ns; 0 for trades."""
        return INTERVALS.get(self.interval, 0) * 10**9

    def pair(self) -> str | None:
        """Return the instrument as a tape writes it, BTC/USDT; none: it does not end with a known currency."""
        if found := split_pair(self.symbol):
            return "/".join(found)
        for quote in sorted(QUOTES, key=lambda code: (-len(code), code)):
            if (base := self.symbol.removesuffix(quote)) and base != self.symbol:
                return f"{base}/{quote}"
        return None

    def archive_path(self, span: Span) -> str:
        """Return where the archive has a day or a month, from its root on."""
        period = "monthly" if span.is_month else "daily"
        inner = f"{self.interval}/" if self.interval else ""
        word = self.interval or self.kind
        return f"/data/spot/{period}/{self.kind}/{self.symbol}/{inner}{self.symbol}-{word}-{span.name}.zip"


def midnight(day: date) -> int:
    """Return when a UTC day begins, UTC ns."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 10**9


def make_wish(symbol: str, kind: str, interval: str | None, start: str, end: str, today: date) -> Wish:
    """
    Return what the user asks for.

    Parameters
    ----------
    symbol, kind : str
    interval : str or None
        Of klines; none: 1m.
    start, end : str
        ISO days, UTC; `end` is the first one left out, at most tomorrow.
    today : date
        UTC.

    Raises
    ------
    ConfigError
        If one of them is not usable.
    """
    if not re.fullmatch(r"[A-Z0-9]{2,24}", symbol.upper()):
        raise ConfigError("symbol", symbol, "letters and digits, as the venue writes it: BTCUSDT")
    if kind not in KINDS:
        raise ConfigError("--kind", kind, ", ".join(KINDS))
    if kind == "klines":
        interval = interval or "1m"
        if interval not in INTERVALS:
            raise ConfigError("--interval", interval, ", ".join(INTERVALS))
    elif interval:
        raise ConfigError("--interval", interval, f"none: {kind} have no interval")
    first, last = _day("--from", start), _day("--to", end)
    if first < FIRST:
        raise ConfigError("--from", start, f"a day from {FIRST} on")
    if first >= last:
        raise ConfigError("--from", start, f"a day before --to {end}, which is the first one left out")
    if last > today + _DAY:
        raise ConfigError("--to", end, f"{today + _DAY} at the latest: today is {today} (UTC)")
    return Wish(symbol.upper(), kind, interval or "", Span(first, last))


def _day(field: str, text: str) -> date:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    raise ConfigError(field, text, "a day such as 2025-01-31")


def plan(wish: Wish, covered: frozenset[date]) -> list[Span]:
    """
    Return what to fetch, in order: months of klines where nothing of them is there, else days.

    Trades are taken by days: a month of them may not fit into memory.

    Parameters
    ----------
    wish : Wish
    covered : frozenset of date
        Days that are whole already.
    """
    out, day = [], wish.span.start
    while day < wish.span.end:
        month = Span(day, (day.replace(day=1) + 32 * _DAY).replace(day=1))
        whole = wish.kind == "klines" and day.day == 1 and month.end <= wish.span.end
        if whole and covered.isdisjoint(month.days()):
            out.append(month)
            day = month.end
            continue
        if day not in covered:
            out.append(Span(day, day + _DAY))
        day += _DAY
    return out
