"""The market: a tape of quotes (and trades, if it has any), replayed at a chosen pace with stamps of the wall clock."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alphatrade.nodes.tape import Tape
from tests.venue.candles import Candles
from tests.venue.matching import Matching, Print
from tests.venue.rules import Rules

Floats = NDArray[np.float64]
KEPT_TRADES = 200_000
_BATCH = 64  # events sent before the loop is given to others
_BACKLOG = 1_000  # messages; at infinite speed the slowest listener sets the pace


@dataclass(slots=True)
class Feed:
    """
    What is replayed for one symbol.

    Parameters
    ----------
    rules : Rules
    quotes : array (n, 5)
        Time (ns), bid, ask, bid size, ask size; times do not decrease.
    trades : array (m, 4) or None
        Time (ns), price, size, 1 if a buyer was the aggressor. Without them trades are derived: a best price that
        is left behind was traded away.
    past_candles : array (k, 6) or None
        One-minute candles of before the venue opened: opening time (ms), open, high, low, close, volume.
    past_trades : array (l, 4) or None
        Trades of before: time (ms), price, size, 1 if a buyer was the aggressor. They make candles too.
    """

    rules: Rules
    quotes: Floats
    trades: Floats | None = None
    past_candles: Floats | None = None
    past_trades: Floats | None = None

    def __post_init__(self) -> None:
        assert self.quotes.ndim == 2, "quotes are rows"
        assert self.quotes.shape[1] == 5, "of ts, bid, ask, bid size, ask size"
        assert np.all(np.diff(self.quotes[:, 0]) >= 0), "times do not decrease"


@dataclass(frozen=True, slots=True)
class _Script:
    """Events in order: when, in which part, at which row of it."""

    stamps: Floats
    which: NDArray[np.int64]
    at: NDArray[np.int64]
    parts: list[tuple[str, Floats]]


class Market:
    """Replays feeds into the matching engine and keeps what was traded."""

    def __init__(
        self, feeds: list[Feed], matching: Matching, clock: Callable[[], int], speed: float, loop: bool
    ) -> None:
        self.feeds = {feed.rules.symbol: feed for feed in feeds}
        self.matching, self.clock = matching, clock
        self.speed, self.repeat = speed, loop
        self.running = asyncio.Event()
        self.running.set()
        self.candles = {symbol: Candles() for symbol in self.feeds}
        self.trades: dict[str, deque[Print]] = {symbol: deque(maxlen=KEPT_TRADES) for symbol in self.feeds}
        self.quotes_sent = 0
        self.update_ids = dict.fromkeys(self.feeds, 0)
        self.on_quote: Callable[[str], None] = lambda symbol: None
        self.backlog: Callable[[], int] = lambda: 0
        for feed in feeds:
            self._remember(feed)
        self._script = _merged(list(self.feeds.values()))

    def _remember(self, feed: Feed) -> None:
        """Take in what happened before the venue opened."""
        rules = feed.rules
        if feed.past_candles is not None:
            self.candles[rules.symbol].seed(
                [(int(t), *(rules.price(p) for p in prices), rules.size(size))
                 for t, *prices, size in feed.past_candles.tolist()]
            )  # fmt: skip
        for moment, price, size, buyer in [] if feed.past_trades is None else feed.past_trades.tolist():
            ident = self.matching.new_trade_id()
            self.printed(Print(ident, rules.symbol, rules.price(price), rules.size(size), int(moment), not buyer))

    def open(self) -> None:
        """Show the first quote of every symbol: a venue that answers has a market."""
        for symbol, feed in self.feeds.items():
            self._show(symbol, feed.quotes[0])

    async def replay(self) -> None:
        """Replay until the tape ends; with `loop`, turn round there and go back, so that the price never jumps."""
        if self.speed <= 0:
            return
        order = np.arange(len(self._script.stamps))
        while True:
            await self._play(order)
            if not self.repeat:
                return
            order = order[::-1]

    async def _play(self, order: NDArray[np.int64]) -> None:
        script = self._script
        offsets = np.abs(script.stamps[order] - script.stamps[order[0]]) / 1e9 / self.speed
        began = time.monotonic()
        for count, index in enumerate(order):
            if not self.running.is_set():
                paused = time.monotonic()
                await self.running.wait()
                began += time.monotonic() - paused
            ahead = began + float(offsets[count]) - time.monotonic()
            if ahead > 0.001:
                await asyncio.sleep(ahead)
            elif count % _BATCH == 0:
                await asyncio.sleep(0)
                while self.speed == math.inf and self.backlog() > _BACKLOG:
                    await asyncio.sleep(0.001)
            symbol, rows = script.parts[script.which[index]]
            self._event(symbol, rows[script.at[index]])

    def _event(self, symbol: str, values: Floats) -> None:
        if len(values) == 5:
            self._show(symbol, values)
        else:
            rules = self.feeds[symbol].rules
            _, price, size, buyer = values
            self.matching.trade(symbol, rules.price(price), max(rules.size(size), rules.lot), not buyer)

    def _show(self, symbol: str, values: Floats) -> None:
        rules = self.feeds[symbol].rules
        _, bid, ask, bid_size, ask_size = values.tolist()
        self.quote(
            symbol, rules.price(bid), rules.price(ask),
            max(rules.size(bid_size), rules.lot), max(rules.size(ask_size), rules.lot),
        )  # fmt: skip

    def quote(self, symbol: str, bid: Decimal, ask: Decimal, bid_size: Decimal, ask_size: Decimal) -> None:
        """Make a quote the best of its symbol, now."""
        rules, best = self.feeds[symbol].rules, self.matching.best[symbol]
        ask = max(ask, bid + rules.tick)
        gone = []
        if self.feeds[symbol].trades is None:
            if best.ask and ask > best.ask:
                gone.append((best.ask, max(best.ask_size, rules.lot), False))
            if best.bid and bid < best.bid:
                gone.append((best.bid, max(best.bid_size, rules.lot), True))
        self.update_ids[symbol] += 1
        self.quotes_sent += 1
        self.matching.quote(symbol, bid, bid_size, ask, ask_size)
        self.on_quote(symbol)
        for price, size, buyer_maker in gone:
            self.matching.trade(symbol, price, size, buyer_maker)

    def printed(self, trade: Print) -> None:
        """Keep a public trade."""
        self.trades[trade.symbol].append(trade)
        self.candles[trade.symbol].add(trade.time, trade.price, trade.qty, trade.buyer_maker)


def _merged(feeds: list[Feed]) -> _Script:
    """Return what happens when, over all feeds: trades before quotes of the same moment."""
    parts: list[tuple[str, Floats]] = []
    for feed in feeds:
        parts += [(feed.rules.symbol, feed.trades)] if feed.trades is not None else []
    parts += [(feed.rules.symbol, feed.quotes) for feed in feeds]
    stamps = np.concatenate([rows[:, 0] for _, rows in parts])
    order = np.argsort(stamps, kind="stable")
    which = np.concatenate([np.full(len(rows), index) for index, (_, rows) in enumerate(parts)])[order]
    at = np.concatenate([np.arange(len(rows)) for _, rows in parts])[order]
    return _Script(stamps[order], which, at, parts)


def walk(rules: Rules, start: float, count: int, seed: int, step_s: float = 0.1, size: float = 2.0) -> Feed:
    """Return a seeded random walk of quotes, for tests that need no particular market."""
    rng = np.random.default_rng(seed)
    tick = float(rules.tick)
    mid = start * np.exp(np.cumsum(rng.normal(0, 1e-5, count)))
    half = tick * rng.integers(1, 6, count)
    sizes = size * rng.uniform(0.05, 1.0, (count, 2))
    return Feed(rules, np.column_stack([np.arange(count) * step_s * 1e9, mid - half, mid + half, sizes]))


def load(path: str, rules: Rules, size: float = 1.0) -> Feed:
    """
    Return the feed of a file of quotes.

    Parameters
    ----------
    path : str
        ``.npy`` with rows of ts (ns), bid, ask, bid size, ask size; or ``.parquet`` with those columns, the sizes
        being optional.
    rules : Rules
    size : float
        Shown at each best price where the file has no sizes.
    """
    if path.endswith(".npy"):
        return Feed(rules, np.load(path).astype(np.float64))
    table = pd.read_parquet(path)
    stamps = pd.to_datetime(table["ts"], utc=True).astype("int64").to_numpy()
    return Feed(rules, _quotes(stamps, table, size))


def from_tape(tape: Tape, rules: Rules, size: float = 1.0) -> Feed:
    """Return the feed of quotes of one of the project's tapes, whose numbers are nano integers."""
    assert tape.kind == "quotes", "a tape of quotes"
    table = {name: column / 1e9 for name, column in tape.columns.items() if name != "ts"}
    return Feed(rules, _quotes(tape.columns["ts"], table, size))


def _quotes(stamps: NDArray[np.int64], table: Mapping[str, Any], size: float) -> Floats:
    sizes = [table[name] if name in table else np.full(len(stamps), size) for name in ("bid_size", "ask_size")]
    return np.column_stack([stamps, table["bid"], table["ask"], *sizes]).astype(np.float64)
