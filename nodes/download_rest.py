"""The last days, which an archive does not have yet, from the REST interface of Binance spot, page by page."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from alphatrade.nodes.download_http import Asker
from alphatrade.nodes.download_plan import Span, Wish
from alphatrade.nodes.download_rows import Rows, from_rest
from alphatrade.nodes.venue_answers import RefusedError
from alphatrade.risk.errors import ConfigError, TapeError

PAGE = 1000
_HOUR = 3_600_000  # ms; the longest window that aggTrades may be asked for
_PATHS = {"klines": "/api/v3/klines", "aggTrades": "/api/v3/aggTrades", "trades": "/api/v3/historicalTrades"}
_UNKNOWN_SYMBOL = -1121


class Rest(NamedTuple):
    """The REST interface of a venue: whom to ask, where, and who hears how many rows have come."""

    asker: Asker
    root: str
    told: Callable[[int], object]


async def first_day(rest: Rest, wish: Wish) -> date:
    """
    Return the UTC day on which trading of a symbol began.

    Raises
    ------
    ConfigError
        If the venue does not know the symbol.
    TapeError
        If it does not answer, or not with what was asked for.
    """
    where = f"{rest.root}{_PATHS['klines']}, {wish.symbol}, its first day"
    with _explained(rest, wish, where):
        found = await rest.asker.json(
            rest.root + _PATHS["klines"], {"symbol": wish.symbol, "interval": "1d", "startTime": 0, "limit": 1}
        )
        return datetime.fromtimestamp(found[0][0] / 1000, UTC).date()


@contextmanager
def _explained(rest: Rest, wish: Wish, where: str) -> Iterator[None]:
    """Turn what the venue refuses, or says in another form, into the errors of a user."""
    try:
        yield
    except RefusedError as no:
        if no.code == _UNKNOWN_SYMBOL:
            raise ConfigError("symbol", wish.symbol, f"one that {rest.root} knows") from None
        raise TapeError(where, str(no), "an answer") from None
    except (LookupError, TypeError, ValueError) as error:
        raise TapeError(where, " ".join(str(error).split())[:120], f"{wish.kind} as documented by the venue") from None


async def fetch(rest: Rest, wish: Wish, span: Span) -> tuple[Rows, int]:
    """
    Return the rows of a day, and up to when they are complete by the venue's clock, UTC ns.

    Raises
    ------
    ConfigError
        If the venue does not know the symbol.
    TapeError
        If it does not answer, or not with what was asked for.
    """
    start, end = (bound // 10**6 for bound in span.bounds())
    where = f"{rest.root}{_PATHS[wish.kind]}, {wish.symbol}, {span.name}"
    with _explained(rest, wish, where):
        now = (await rest.asker.json(f"{rest.root}/api/v3/time", {}))["serverTime"]
        until = min(end, int(now))
        get = _klines if wish.kind == "klines" else _trades
        rows = await get(rest, wish, start, until)
    return from_rest(wish, span, rows, until * 10**6, where), until * 10**6


async def _page(rest: Rest, kind: str, **params: str | int) -> list[Any]:
    rows = await rest.asker.json(rest.root + _PATHS[kind], {**params, "limit": PAGE})
    if not isinstance(rows, list):
        raise TypeError("an answer that is no list")
    rest.told(len(rows))
    return rows


async def _klines(rest: Rest, wish: Wish, start: int, until: int) -> list[Any]:
    """Return the klines that open from `start` on and before `until`, ms."""
    out: list[Any] = []
    while start < until:
        page = await _page(
            rest, "klines", symbol=wish.symbol, interval=wish.interval, startTime=start, endTime=until - 1
        )
        if any(row[0] < start for row in page):
            raise ValueError("klines from before the time asked for")
        out += page
        if len(page) < PAGE:
            break
        start = page[-1][0] + wish.step // 10**6
    return out


async def _trades(rest: Rest, wish: Wish, start: int, until: int) -> list[Any]:
    """Return the trades from `start` on and before `until`, ms: the first is found by its time, all others by id."""
    kind, id_, time = (wish.kind, "a", "T") if wish.kind == "aggTrades" else (wish.kind, "id", "time")
    first = None
    while first is None and start < until:
        window = {"startTime": start, "endTime": min(start + _HOUR, until) - 1}
        found = await _page(rest, "aggTrades", symbol=wish.symbol, **window)
        if found:
            first = found[0]["a" if kind == "aggTrades" else "f"]
        start += _HOUR
    out: list[Any] = []
    while first is not None:
        page = await _page(rest, kind, symbol=wish.symbol, fromId=first)
        if any(row[id_] < first for row in page):
            raise ValueError("trades from before the id asked for")
        out += [row for row in page if row[time] < until]
        first = page[-1][id_] + 1 if len(page) == PAGE and page[-1][time] < until else None
    return out
