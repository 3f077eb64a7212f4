"""From desires to commands: the planner, the book and the sizes, without an engine."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphatrade.risk.units import NANO
from alphatrade.strategies.book import Book, Resting
from alphatrade.strategies.planner import Cancel, Grid, Market, Modify, Rest, Stop, plan
from alphatrade.strategies.sizing import Sizer
from alphatrade.strategies.topologies import Desire, Limit

GRID = Grid(
    tick_n=NANO // 100,
    lot_n=NANO // 1000,
    clip_n=2 * NANO,
    mid_n=100 * NANO,
    step_n=NANO // 10,
    most_n=4 * NANO,
    reach_n=6 * NANO,
)


def want(target: int | None = None, limits: tuple[Limit, ...] = (), stop: float | None = None) -> Desire:
    return Desire(target, limits, stop, "")


def holding(units: float) -> Book:
    book = Book()
    book.fill(round(units * NANO), 100.0, 0)
    return book


def test_a_target_is_reached_by_one_market_order() -> None:
    assert plan(want(1), Book(), GRID) == [Market(1, 2 * NANO, False)]
    assert plan(want(-1), holding(2), GRID) == [Market(-1, 4 * NANO, False)]
    assert plan(want(0), holding(-3), GRID) == [Market(1, 3 * NANO, True)]
    assert plan(want(1), holding(1), GRID) == [], "the side is held already: sizes are not chased"


def test_a_turn_that_is_too_large_for_one_order_closes_first() -> None:
    assert plan(want(-1), holding(3), GRID) == [Market(-1, 3 * NANO, True)]
    assert plan(want(-1), Book(), GRID) == [Market(-1, 2 * NANO, False)]


def test_no_price_is_asked_for_that_the_law_would_refuse() -> None:
    book = holding(2)
    assert plan(want(None, (), 90.0), book, GRID) == [Stop(-1, 94 * NANO, 2 * NANO)], "a nearer stop, not none"
    assert plan(want(None, (Limit(1, 93.0, 1.0),)), Book(), GRID) == []
    book = Book()
    book.limits[1] = Resting("a", 95 * NANO, 2 * NANO, True)
    assert plan(want(None, (Limit(1, 80.0, 1.0),)), book, GRID) == [], "what rests already stays"


def test_what_rests_is_cancelled_before_a_turn() -> None:
    book = holding(2)
    book.limits[-1] = Resting("a", 101 * NANO, NANO, True)
    book.stop = Resting("b", 99 * NANO, 2 * NANO, True)
    assert plan(want(0), book, GRID) == [Cancel("a"), Cancel("b"), Market(-1, 2 * NANO, True)]


def test_nothing_is_sent_while_a_market_order_is_in_flight() -> None:
    book = Book()
    book.market = "x"
    assert plan(want(1, (Limit(1, 99.0, 1.0),)), book, GRID) == []


def test_limits_are_placed_moved_and_removed() -> None:
    book = Book()
    assert plan(want(None, (Limit(1, 99.007, 1.0),)), book, GRID) == [Rest(1, 99 * NANO, 2 * NANO, False)]
    book.limits[1] = Resting("a", 99 * NANO, 2 * NANO, True)
    assert plan(want(None, (Limit(1, 99.05, 1.0),)), book, GRID) == [], "near enough"
    assert plan(want(None, (Limit(1, 97.5, 1.0),)), book, GRID) == [], "part of the distance from the market is slack"
    moved = plan(want(None, (Limit(1, 95.0, 1.0),)), book, GRID)
    assert moved == [Modify("a", 95 * NANO, 2 * NANO, False)]
    assert plan(want(None), book, GRID) == [Cancel("a")]
    book.limits[1] = Resting("a", 99 * NANO, 2 * NANO, False)
    assert plan(want(None, (Limit(1, 95.0, 1.0),)), book, GRID) == [], "the venue has not answered yet"


def test_prices_are_rounded_away_from_the_market() -> None:
    assert GRID.price(99.009, 1) == 99 * NANO
    assert GRID.price(99.001, -1) == 99 * NANO + NANO // 100


def test_a_stop_protects_the_whole_position_and_goes_with_it() -> None:
    book = holding(-2)
    assert plan(want(None, (), 103.0), book, GRID) == [Stop(1, 103 * NANO, 2 * NANO)]
    book.stop = Resting("s", 103 * NANO, 2 * NANO, True)
    assert plan(want(None, (), 101.0), book, GRID) == [Modify("s", 101 * NANO, 2 * NANO, True)]
    book.fill(NANO, 100.0, 3)
    assert plan(want(None, (), 103.0), book, GRID) == [Modify("s", 103 * NANO, NANO, True)]
    book.fill(NANO, 100.0, 4)
    assert plan(want(None, (), 103.0), book, GRID) == [Cancel("s")]


def test_no_clip_no_order() -> None:
    none = msgspec.structs.replace(GRID, clip_n=0)
    assert plan(want(1, (Limit(1, 99.0, 1.0),)), Book(), none) == []


@given(st.lists(st.tuples(st.integers(-5, 5).filter(bool), st.floats(50, 150)), min_size=1, max_size=30))
def test_the_book_keeps_position_and_average_entry(fills: list[tuple[int, float]]) -> None:
    book, position, cost = Book(), 0, 0.0
    for step, (units, price) in enumerate(fills):
        book.fill(units * NANO, price, step)
        if position * units >= 0:
            cost += units * price
        elif abs(units) <= abs(position):
            cost *= (position + units) / position
        else:
            cost = (position + units) * price
        position += units
        cost = 0.0 if position == 0 else cost
    assert book.position_n == position * NANO
    assert book.entry == pytest.approx(cost / position if position else 0.0)


@given(st.floats(1.0, 1e5), st.floats(0.0, 0.2), st.floats(0.01, 1.0))
def test_a_clip_stays_inside_the_order_limit_and_on_the_lot_grid(price: float, vol: float, factor: float) -> None:
    sizer = Sizer(1e6, 0.4, 5e-4, 0.15, NANO // 100)
    clip = sizer.clip(price, vol, factor)
    assert clip % sizer.lot_n == 0
    assert clip / NANO * price <= 0.15 * 1e6
    assert sizer.clip(price, vol * 2, factor) <= clip
