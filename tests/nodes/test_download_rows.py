"""Downloads of market data without any I/O: what is planned, and how rows are read and verified."""

import random
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from alphatrade.nodes.download_plan import FIRST, Span, Wish, make_wish, midnight, plan
from alphatrade.nodes.download_rows import from_archive, from_rest
from alphatrade.risk.errors import ConfigError, TapeError
from tests.nodes.make_archive import NS, TODAY, Exchange, price, wished

# What is planned


def test_whole_months_of_klines_are_months_and_the_rest_days() -> None:
    names = [span.name for span in plan(wished("2025-01-30", "2025-04-02"), frozenset())]
    assert names == ["2025-01-30", "2025-01-31", "2025-02", "2025-03", "2025-04-01"]


def test_a_month_of_which_a_day_is_there_is_filled_up_by_days() -> None:
    there = frozenset({date(2025, 2, 3)})
    spans = plan(wished("2025-02-01", "2025-03-01"), there)
    assert len(spans) == 27
    assert not any(span.is_month or span.start in there for span in spans)


def test_trades_are_planned_by_days() -> None:
    assert len(plan(wished("2025-01-01", "2025-02-01", "trades"), frozenset())) == 31


def test_every_plan_covers_each_missing_day_exactly_once() -> None:
    draw = random.Random(5)
    for _ in range(200):
        start = date(2024, 1, 1) + timedelta(draw.randrange(300))
        wish = wished(str(start), str(start + timedelta(1 + draw.randrange(120))), draw.choice(("klines", "aggTrades")))
        days = list(wish.span.days())
        covered = frozenset(draw.sample(days, draw.randrange(len(days)) // 8))
        assert [day for span in plan(wish, covered) for day in span.days()] == [
            day for day in days if day not in covered
        ]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (("BTC/USDT", "klines", None, "2025-01-01", "2025-02-01"), "symbol"),
        (("BTCUSDT", "candles", None, "2025-01-01", "2025-02-01"), "--kind"),
        (("BTCUSDT", "klines", "7m", "2025-01-01", "2025-02-01"), "--interval"),
        (("BTCUSDT", "trades", "1m", "2025-01-01", "2025-02-01"), "--interval"),
        (("BTCUSDT", "klines", None, "2025-13-01", "2025-02-01"), "--from"),
        (("BTCUSDT", "klines", None, "01.01.2025", "2025-02-01"), "--from"),
        (("BTCUSDT", "klines", None, "2025-02-01", "2025-02-01"), "--from"),
        (("BTCUSDT", "klines", None, str(FIRST - timedelta(1)), "2025-02-01"), "--from"),
        (("BTCUSDT", "klines", None, "2025-01-01", "yesterday"), "--to"),
        (("BTCUSDT", "klines", None, "2025-01-01", "2025-06-14"), "--to"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(given: tuple[Any, ...], field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make_wish(*given, TODAY)
    assert refused.value.field == field


def test_symbols_become_instruments_of_tapes() -> None:
    pairs = {
        symbol: wished("2025-01-01", "2025-01-02", symbol=symbol).pair()
        for symbol in ("btcusdt", "WIFUSDT", "ETHBTC", "ODD")
    }
    assert pairs == {"btcusdt": "BTC/USDT", "WIFUSDT": "WIF/USDT", "ETHBTC": "ETH/BTC", "ODD": None}


# What is read


def lines(wish: Wish, exchange: Exchange) -> list[bytes]:
    start, end = (bound // NS for bound in wish.span.bounds())
    return exchange.csv(wish.kind, wish.interval, start, end).splitlines()


@pytest.mark.parametrize("day", ["2024-12-31", "2025-01-01"])
@pytest.mark.parametrize("header", [False, True])
def test_milliseconds_and_microseconds_are_told_apart_and_klines_carry_their_close(day: str, header: bool) -> None:
    exchange = Exchange()
    exchange.header = header
    wish = wished(day, str(date.fromisoformat(day) + timedelta(1)))
    rows = from_archive(wish, wish.span, b"\n".join(lines(wish, exchange)), "a file")
    ts = rows.table["close_time"].to_numpy().astype(np.int64)
    first, end = wish.span.bounds()
    assert ts[0] == first + 60 * NS  # known at its close, not at its open
    assert ts[-1] == end
    assert rows.table["open"][5].as_py() == price(first // NS + 300)
    assert rows.gaps == ()


@pytest.mark.parametrize("kind", ["klines", "aggTrades", "trades"])
@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda rows: [*rows[:9], rows[10], rows[9], *rows[11:]], "that of the row before"),
        (lambda rows: [*rows[:9], rows[9], rows[9], *rows[10:]], "that of the row before"),
        (lambda rows: [*rows[:9], rows[9].replace(b".", b"x"), *rows[10:]], "a CSV of"),
        (lambda rows: [*rows[:9], rows[9].replace(b"17", b""), *rows[10:]], "a time in"),
        (lambda rows: [*rows[:9], rows[9][:20], *rows[10:]], "a CSV of"),
        (lambda rows: [*rows[:9], b"," * rows[9].count(b","), *rows[10:]], "a value in every row"),
    ],
    ids=["swapped", "twice", "no number", "other times", "cut", "empty"],
)
def test_rows_that_are_not_as_they_should_be_are_refused_by_row(kind: str, spoil: Any, expected: str) -> None:
    wish = wished("2025-06-01", "2025-06-02", kind)
    with pytest.raises(TapeError, match=expected):
        from_archive(wish, wish.span, b"\n".join(spoil(lines(wish, Exchange()))), "a file")


def test_a_file_of_another_day_or_off_the_grid_is_refused() -> None:
    wish, exchange = wished("2025-06-01", "2025-06-02"), Exchange()
    with pytest.raises(TapeError, match="a time in 2025-06-02"):
        from_archive(wish, Span(date(2025, 6, 2), date(2025, 6, 3)), b"\n".join(lines(wish, exchange)), "a file")
    shifted = [row.replace(b"000000,", b"500000,", 1) for row in lines(wish, exchange)]
    for rows in (shifted, [*lines(wish, exchange)[:9], shifted[9], *lines(wish, exchange)[10:]]):
        with pytest.raises(TapeError, match="on the grid of 60 s"):
            from_archive(wish, wish.span, b"\n".join(rows), "a file")


def test_a_kline_that_is_not_over_is_left_out() -> None:
    wish = wished("2025-06-12", "2025-06-13")
    at = midnight(TODAY) // NS
    rows = [[(at + n * 60) * 1000, "1", "1", "1", "1", "1"] for n in range(3)]
    for until, count in ((at + 180, 3), (at + 179, 2), (at + 60, 1), (at + 59, 0)):
        found = from_rest(wish, wish.span, rows, until * NS, "REST")
        assert (found.table.num_rows, found.gaps) == (count, ())
