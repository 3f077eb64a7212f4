"""The pure law: every limit at its exact edge, in-flight exposure, losses, near-misses, and sums that never drift."""

import random
from decimal import Decimal
from fractions import Fraction as F
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphatrade.risk.exposure import BUY, SELL, Exposure, Holding, Order
from alphatrade.risk.law import Law
from alphatrade.risk.limits import ALLOWED, Code, floor_nano, share, soft
from alphatrade.risk.plausible import alone
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.units import ATTO, NANO, to_nano

SECOND = 10**9
NOW = 1_700_006_400 * SECOND  # midnight, UTC
WIDE: dict[str, Any] = {
    "order_notional_max": 100, "gross_max": 100, "net_max": 100, "instrument_max": 100, "price_collar": 1,
    "daily_loss_max": 1, "drawdown_max": 1, "orders_per_second": 1000, "orders_per_minute": 1000,
    "repeat_max": 1000, "duplicate_window_s": 0, "open_orders_max": 1000,
}  # fmt: skip
COUNT = iter(range(10**9))


def law(capital: int | None = 1000, long_only: bool = False, mid: Any = 10, **limits: Any) -> Law:
    made = Law(RiskTemplate(**{**WIDE, **limits}), None if capital is None else capital * ATTO, long_only)
    if mid is not None:
        mark(made, mid)
    return made


def mark(made: Law, mid: Any, name: str = "X", ts: int = NOW, half: Any = 0) -> Any:
    return made.on_mark(name, to_nano(mid) - to_nano(half), to_nano(mid) + to_nano(half), ts)


def order(side: int, qty: Any, price: Any = None, trigger: Any = None, name: str = "X", **more: Any) -> Order:
    levels = [None if level is None else to_nano(level) for level in (price, trigger)]
    kind = "LIMIT" if price is not None else "STOP_MARKET" if trigger is not None else "MARKET"
    return Order(more.pop("order_id", f"O{next(COUNT)}"), name, side, kind, to_nano(qty), *levels, **more)


def code(made: Law, *orders: Order, at: int = NOW) -> Code | None:
    return made.check(orders, at).code


def send(made: Law, one: Order, at: int = NOW) -> Order:
    assert made.check([one], at).code is None
    made.commit([one], at)
    return one


def fill(made: Law, one: Order, qty: Any, price: Any, fee: Any = 0) -> int:
    return made.on_fill(one.order_id, one.instrument, one.side, to_nano(qty), to_nano(price), to_nano(fee) * NANO)


def worst(held: Holding) -> int:
    return max(abs(held.top() + held.buys), abs(held.bottom() - held.sells))


# -- every limit at its edge: reaching it is allowed, the smallest step beyond is not


@pytest.mark.parametrize(
    ("limits", "inside", "beyond", "expected"),
    [
        ({"order_qty_max": 3}, order(BUY, 3), order(BUY, "3.000000001"), "ORDER_QTY"),
        ({"order_notional_max": 0.1}, order(BUY, 10), order(BUY, "10.000000001"), "ORDER_NOTIONAL"),
        ({"order_notional_max": 0.1}, order(BUY, 10, 10), order(BUY, 10, "10.000000001"), "ORDER_NOTIONAL"),
        (
            {"order_notional_max": 0.1},
            order(SELL, 10, None, 10),
            order(SELL, 10, None, "10.000000001"),
            "ORDER_NOTIONAL",
        ),
        ({"instrument_max": 0.1}, order(SELL, 10), order(SELL, "10.000000001"), "INSTRUMENT_EXPOSURE"),
        ({"inventory_max": 7}, order(SELL, 7), order(SELL, "7.000000001"), "INVENTORY"),
        ({"gross_max": 0.1}, order(BUY, 10), order(BUY, "10.000000001"), "GROSS_EXPOSURE"),
        ({"net_max": 0.1}, order(SELL, 10), order(SELL, "10.000000001"), "NET_EXPOSURE"),
        ({"price_collar": 0.03}, order(BUY, 1, "10.3"), order(BUY, 1, "10.300000001"), "PRICE_COLLAR"),
        ({"price_collar": 0.03}, order(BUY, 1, "9.7"), order(BUY, 1, "9.699999999"), "PRICE_COLLAR"),
        (
            {"price_collar": 0.03},
            order(SELL, 1, None, "9.7"),
            order(SELL, 1, None, "9.699999999"),
            "PRICE_COLLAR",
        ),
    ],
)
def test_edges(limits: dict[str, Any], inside: Order, beyond: Order, expected: str) -> None:
    assert code(law(**limits), inside) is None
    verdict = law(**limits).check([beyond], NOW)
    assert verdict.code == expected
    assert verdict.reason.startswith(f"{expected}: {expected.lower()}={verdict.value} > limit={verdict.bound} (")


def test_fractions_become_integers_rounded_down() -> None:
    assert floor_nano(0.1) == 100_000_000
    assert floor_nano(1e-10) == 0
    assert share(0.3, 7) == 2
    assert soft(10, floor_nano(0.8)) == 8
    assert soft(11, floor_nano(0.8)) == 9


def test_the_mid_is_not_rounded() -> None:
    made = law(mid=None, instrument_max=0.1)
    made.on_mark("X", 10 * NANO, 10 * NANO + 1, NOW)  # mid 10.0000000005: ten units are worth a little over 100
    assert code(made, order(BUY, 10)) is Code.INSTRUMENT_EXPOSURE


def test_nothing_is_allowed_without_facts() -> None:
    assert code(law(capital=None), order(BUY, 1)) is Code.NO_ACCOUNT
    assert code(law(capital=0), order(BUY, 1)) is Code.NO_ACCOUNT
    assert code(law(mid=None), order(BUY, 1)) is Code.NO_REFERENCE
    assert code(law(), order(BUY, 1, name="Y")) is Code.NO_REFERENCE
    assert code(law(), order(BUY, 1, quote_qty=True)) is Code.QUOTE_QTY


def test_stale_references() -> None:
    made = law(stale_after_s=5)
    assert code(made, order(BUY, 1), at=NOW + 5 * SECOND) is None
    assert code(made, order(BUY, 1), at=NOW + 5 * SECOND + 1) is Code.STALE_REFERENCE
    made.exposure.holding("X").stale_ns = SECOND  # the tape's own limit
    assert code(made, order(BUY, 1), at=NOW + 2 * SECOND) is Code.STALE_REFERENCE


def test_a_crossed_reference_is_no_price_to_trade_on() -> None:
    made = law()
    mid2 = made.exposure.holding("X").mid2
    made.on_mark("X", mid2 // 2 + 1, mid2 // 2 - 1, NOW)
    assert code(made, order(BUY, 1)) is Code.SUSPECT_REFERENCE
    assert made.exposure.holding("X").mid2 == mid2, "the account is valued all the same"
    assert code(made, order(BUY, 1, name="X", price=None)) is Code.SUSPECT_REFERENCE
    made.on_mark("X", mid2 // 2, mid2 // 2, NOW)  # locked is not crossed
    assert code(made, order(BUY, 1)) is None


def test_a_reference_from_before_the_one_before_is_no_price_to_trade_on() -> None:
    made = law()
    half = made.exposure.holding("X").mid2 // 2
    made.on_mark("X", half, half, NOW + 9)
    made.on_mark("X", half, half, NOW + 8)
    verdict = made.check([order(BUY, 1)], NOW + 10)
    assert verdict.code is Code.SUSPECT_REFERENCE
    assert verdict.value == "1E-9"
    made.on_mark("X", half, half, NOW + 9)
    assert code(made, order(BUY, 1), at=NOW + 10) is None


def test_a_price_is_alone_only_beyond_the_jump_from_both_neighbours() -> None:
    jump = floor_nano(0.05)
    for near, far in ((105 * NANO, 105 * NANO + 1), (-(-100 * NANO * 20 // 21), 100 * NANO * 20 // 21)):
        assert alone(near, 100 * NANO, 100 * NANO, jump) is None
        assert alone(far, 100 * NANO, 100 * NANO, jump) is not None
        assert alone(far, far, 100 * NANO, jump) is None, "the price before it agrees"
        assert alone(far, 100 * NANO, far, jump) is None, "the last one believed agrees"
        assert alone(far, 0, 100 * NANO, jump) is None, "nothing before it says anything"
        assert alone(far, 100 * NANO, 0, jump) is not None
    words, value, bound = alone(10_000 * NANO, 90 * NANO, 100 * NANO, jump)  # doubled mids or ("", "", "")
    assert "5000" in words
    assert (value, bound) == ("99", "0.05")


def test_a_quiet_band_never_holds_a_jump() -> None:
    made = law(jump_max=0.05)
    held = made.exposure.holding("X")
    send(made, order(BUY, 1))
    low, high, _ = made.quiet_band("X") or (0, 0, 0)
    for edge in (low, high):
        assert alone(edge, held.mid2, held.mid2, made.limits.jump_n) is None
    for edge in (low - 1, high + 1):
        assert alone(edge, held.mid2, held.mid2, made.limits.jump_n) is not None


def test_halted_instruments() -> None:
    made = law()
    made.on_status("X", True)
    assert code(made, order(BUY, 1)) is Code.INSTRUMENT_HALTED
    made.on_status("X", False)
    assert code(made, order(BUY, 1)) is None


# -- pace


def test_order_rate_in_a_second_and_in_a_minute() -> None:
    made = law(orders_per_second=2)
    send(made, order(BUY, 1))
    send(made, order(BUY, 2))
    assert code(made, order(BUY, 3), at=NOW + SECOND - 1) is Code.ORDER_RATE
    assert code(made, order(BUY, 3), at=NOW + SECOND) is None
    made = law(orders_per_minute=2)
    send(made, order(BUY, 1))
    send(made, order(BUY, 2), at=NOW + 5 * SECOND)
    assert code(made, order(BUY, 3), at=NOW + 60 * SECOND - 1) is Code.ORDER_RATE
    assert code(made, order(BUY, 3), at=NOW + 60 * SECOND) is None


def test_denied_orders_do_not_count_for_the_rate() -> None:
    made = law(orders_per_second=2, order_qty_max=1)
    for _ in range(9):
        assert code(made, order(BUY, 5)) is Code.ORDER_QTY
    assert code(made, order(BUY, 1)) is None


def test_repeated_execution() -> None:
    made = law(repeat_max=2, repeat_window_s=10)
    send(made, order(BUY, 1))
    send(made, order(BUY, 1, 9))
    assert code(made, order(BUY, 1, 8)) is Code.REPEATED
    assert code(made, order(SELL, 1)) is None
    assert code(made, order(BUY, 2)) is None
    assert code(made, order(BUY, 1), at=NOW + 10 * SECOND) is None


def test_repeat_keys_do_not_pile_up() -> None:
    made = law(repeat_window_s=1)
    for k in range(3000):
        made.pace.count_order(order(BUY, k + 1), NOW + k * SECOND)
    assert len(made.pace._repeats) <= 1024


def test_duplicates() -> None:
    made = law(duplicate_window_s=2)
    first = send(made, order(BUY, 1, 9))
    assert code(made, order(BUY, 1, 9), at=NOW + 2 * SECOND - 1) is Code.DUPLICATE
    assert code(made, order(BUY, 1, 9), at=NOW + 2 * SECOND) is None
    assert code(made, order(BUY, 1, 8)) is None
    made.on_closed(first.order_id)
    assert code(made, order(BUY, 1, 9)) is None
    assert code(made, first) is Code.DUPLICATE  # an id is used once


def test_open_orders() -> None:
    made = law(open_orders_max=2)
    first = send(made, order(BUY, 1))
    send(made, order(BUY, 2))
    assert code(made, order(BUY, 3)) is Code.OPEN_ORDERS
    made.on_closed(first.order_id)
    assert code(made, order(BUY, 3)) is None


# -- exposure


def test_orders_in_flight_count_until_they_close() -> None:
    made = law(instrument_max=0.1)
    first = send(made, order(BUY, 6, 9))
    assert code(made, order(BUY, 5)) is Code.INSTRUMENT_EXPOSURE
    assert code(made, order(SELL, 10)) is None  # the other side has room of its own
    made.on_closed(first.order_id)
    assert code(made, order(BUY, 5)) is None


def test_a_partial_fill_moves_exposure_from_order_to_position() -> None:
    made = law(instrument_max=0.1)
    first = send(made, order(BUY, 8))
    fill(made, first, 3, 10)
    held = made.exposure.holding("X")
    assert (held.position, held.buys, worst(held)) == (3 * NANO, 5 * NANO, 8 * NANO)
    fill(made, first, 5, 10)
    assert (held.position, held.buys, held.orders) == (8 * NANO, 0, 0)
    assert code(made, order(BUY, 3)) is Code.INSTRUMENT_EXPOSURE


def test_gross_and_net_over_instruments() -> None:
    made = law(gross_max=0.2)
    mark(made, 20, "Y")
    fill(made, send(made, order(BUY, 10)), 10, 10)
    assert code(made, order(SELL, 5, name="Y")) is None
    assert code(made, order(SELL, "5.1", name="Y")) is Code.GROSS_EXPOSURE
    made = law(net_max=0.15)
    mark(made, 20, "Y")
    fill(made, send(made, order(BUY, 10)), 10, 10)
    assert code(made, order(BUY, 3, name="Y")) is Code.NET_EXPOSURE
    assert code(made, order(SELL, 7, name="Y")) is None


def test_reducing_orders_pass_whatever_the_exposure() -> None:
    made = law(instrument_max=0.1)
    fill(made, send(made, order(BUY, 10)), 10, 10)
    mark(made, 30)  # the market carried the position beyond its limit
    assert code(made, order(BUY, 1)) is Code.INSTRUMENT_EXPOSURE
    assert code(made, order(SELL, 10)) is None
    assert code(made, order(SELL, "10.1")) is Code.INSTRUMENT_EXPOSURE  # it flips, so it is judged like any other
    send(made, order(SELL, 10))
    assert code(made, order(SELL, 10)) is Code.INSTRUMENT_EXPOSURE  # no longer certain to reduce


def test_reduce_only() -> None:
    made = law(instrument_max=0.001)
    assert code(made, order(SELL, 1, reduce_only=True)) is Code.REDUCE_ONLY
    made = law()
    fill(made, send(made, order(BUY, 5)), 5, 10)
    assert code(made, order(SELL, 5, reduce_only=True)) is None
    assert code(made, order(SELL, 6, reduce_only=True)) is Code.REDUCE_ONLY
    assert code(made, order(BUY, 1, reduce_only=True)) is Code.REDUCE_ONLY


def test_long_only() -> None:
    made = law(long_only=True)
    assert code(made, order(SELL, 1)) is Code.LONG_ONLY
    fill(made, send(made, order(BUY, 5)), 5, 10)
    assert code(made, order(SELL, 5)) is None
    assert code(made, order(SELL, 6)) is Code.LONG_ONLY
    send(made, order(SELL, 4, 11))
    assert code(made, order(SELL, 2)) is Code.LONG_ONLY


# -- lists are judged as one


def test_a_bracket_passes_and_its_children_may_not_outgrow_the_entry() -> None:
    entry = order(BUY, 5)
    child = order(SELL, 5, 11, reduce_only=True, parent_id=entry.order_id)
    stop = order(SELL, 5, None, 9, reduce_only=True, parent_id=entry.order_id)
    assert code(law(), entry, child, stop) is None
    big = order(SELL, 6, 11, reduce_only=True, parent_id=entry.order_id)
    assert code(law(), entry, big) is Code.REDUCE_ONLY
    same_side = order(BUY, 5, 11, reduce_only=True, parent_id=entry.order_id)
    assert code(law(), entry, same_side) is Code.REDUCE_ONLY


def test_orders_of_a_list_add_up() -> None:
    assert code(law(instrument_max=0.1), order(BUY, 6), order(BUY, 5, 9)) is Code.INSTRUMENT_EXPOSURE
    assert code(law(instrument_max=0.1), order(BUY, 6), order(SELL, 5, 11)) is None
    assert code(law(orders_per_second=1), order(BUY, 1), order(BUY, 2)) is Code.ORDER_RATE
    assert code(law(repeat_max=1), order(BUY, 1), order(BUY, 1, 9)) is Code.REPEATED
    assert code(law(duplicate_window_s=1), order(BUY, 1, 9), order(BUY, 1, 9)) is Code.DUPLICATE
    assert code(law(open_orders_max=1), order(BUY, 1), order(BUY, 2)) is Code.OPEN_ORDERS
    made = law(gross_max=0.1)
    mark(made, 10, "Y")
    assert code(made, order(BUY, 6), order(SELL, 5, name="Y")) is Code.GROSS_EXPOSURE
    made = law(net_max=0.1)
    mark(made, 10, "Y")
    assert code(made, order(BUY, 6), order(BUY, 5, name="Y")) is Code.NET_EXPOSURE


# -- modifications


def test_modify_reserves_until_the_venue_answers() -> None:
    made = law(instrument_max=0.1)
    first = send(made, order(BUY, 4, 9))
    assert made.check_modify(first, to_nano(11), None, None, NOW).code is Code.INSTRUMENT_EXPOSURE
    assert made.check_modify(first, to_nano(9), None, None, NOW).allowed
    made.commit_modify(first, to_nano(9), NOW)
    assert code(made, order(BUY, 2)) is Code.INSTRUMENT_EXPOSURE
    made.on_modify_rejected(first)
    assert code(made, order(BUY, 2)) is None
    made.commit_modify(first, to_nano(2), NOW)
    assert code(made, order(BUY, 7)) is Code.INSTRUMENT_EXPOSURE  # not smaller before the venue says so
    assert made.on_updated(first, to_nano(2))
    assert code(made, order(BUY, 7)) is None


def test_a_venues_own_update_does_not_answer_a_modification() -> None:
    made = law()
    first = send(made, order(BUY, 4, 9))
    made.commit_modify(first, to_nano(9), NOW)
    assert made.on_updated(first, to_nano(4))
    assert made.exposure.holding("X").buys == to_nano(9)
    assert made.on_updated(first, to_nano(9))
    assert not made.on_updated(first, to_nano(10))  # nobody asked for ten


def test_modify_checks() -> None:
    made = law(order_qty_max=5, order_notional_max=0.05, price_collar=0.2)
    first = send(made, order(BUY, 4, 10))
    for qty, price, expected in (
        (6, None, "ORDER_QTY"), (5, "10.1", "ORDER_NOTIONAL"), (None, "12.1", "PRICE_COLLAR"),
        (3, None, None), (None, 11, None), (3, 12, None),
    ):  # fmt: skip
        levels = [None if value is None else to_nano(value) for value in (qty, price)]
        assert made.check_modify(first, *levels, None, NOW).code == expected, (qty, price)
    assert made.check_modify(None, None, None, None, NOW).code is Code.UNKNOWN_ORDER
    made.on_closed(first.order_id)
    assert made.check_modify(first, None, to_nano(11), None, NOW).code is Code.UNKNOWN_ORDER


def test_modify_counts_for_the_rate() -> None:
    made = law(orders_per_second=2)
    first = send(made, order(BUY, 1, 9))
    made.commit_modify(first, None, NOW)
    assert code(made, order(BUY, 2)) is Code.ORDER_RATE
    assert made.check_modify(first, None, to_nano(8), None, NOW).code is Code.ORDER_RATE


def test_modify_of_a_reduce_only_order() -> None:
    made = law()
    fill(made, send(made, order(BUY, 5)), 5, 10)
    child = send(made, order(SELL, 4, 11, reduce_only=True))
    assert made.check_modify(child, to_nano(5), None, None, NOW).allowed
    assert made.check_modify(child, to_nano(6), None, None, NOW).code is Code.REDUCE_ONLY


def test_a_refused_modification_of_an_exit_counts_its_old_quantity_again() -> None:
    made = law(inventory_max=9)
    fill(made, send(made, order(BUY, 5)), 5, 10)
    child = send(made, order(SELL, 2, 11, reduce_only=True))
    held = made.exposure.holding("X")
    made.commit_modify(child, to_nano(5), NOW)
    assert (held.exits, held.bottom()) == (to_nano(5), 0)
    assert code(made, order(SELL, "9.1")) is Code.INVENTORY
    made.on_modify_rejected(child)
    assert (held.exits, held.bottom()) == (to_nano(2), to_nano(3))
    assert code(made, order(SELL, 12)) is None


def test_each_answer_is_for_its_own_modification() -> None:
    made = law()
    one = send(made, order(BUY, 4, 9))
    held = made.exposure.holding("X")
    for qty in (9, 6):
        made.commit_modify(one, to_nano(qty), NOW)
    made.on_modify_rejected(one)  # the venue answers in order
    assert held.buys == to_nano(6)
    assert made.on_updated(one, to_nano(6))
    assert (held.buys, one.pending) == (to_nano(6), ())
    made.commit_modify(one, to_nano(9), NOW)
    made.on_modify_asked(one)
    made.on_modify_rejected(one)  # of the second, which nobody approved: the first may still be granted
    assert held.buys == to_nano(9)
    assert made.on_updated(one, to_nano(9))


# -- exits with plain orders behind them


def long_five(**limits: Any) -> Law:
    """Five long, with a plain order resting that would close it."""
    made = law(**limits)
    fill(made, send(made, order(BUY, 5)), 5, 10)
    send(made, order(SELL, 5, 11))
    return made


def test_an_exit_is_judged_by_what_plain_orders_could_open_behind_it() -> None:
    exit_ = order(SELL, 5, reduce_only=True)
    assert code(long_five(), exit_) is None
    assert code(long_five(long_only=True), exit_) is Code.LONG_ONLY
    assert code(long_five(long_only=True), order(SELL, 1, reduce_only=True)) is Code.LONG_ONLY
    made = long_five(inventory_max=6)
    send(made, order(SELL, 6, 12))
    assert code(made, exit_) is Code.INVENTORY  # eleven behind it
    made = long_five(net_max=0.06)
    mark(made, 10, "Y")
    fill(made, send(made, order(SELL, 2, name="Y")), 2, 10)
    assert code(made, exit_) is Code.NET_EXPOSURE
    made = law(long_only=True)
    fill(made, send(made, order(BUY, 5)), 5, 10)
    assert code(made, order(SELL, 5, 11), exit_) is Code.LONG_ONLY  # in one list, in either order
    assert code(made, exit_, order(SELL, 5, 11)) is Code.LONG_ONLY
    assert code(made, order(SELL, 2, 11), order(SELL, 3, reduce_only=True)) is None


def test_an_exit_is_denied_only_for_what_it_makes_worse() -> None:
    made = long_five(instrument_max=0.06)
    mark(made, 13)  # the market carried it beyond: 65 of 60
    assert code(made, order(SELL, 5, reduce_only=True)) is None


def test_a_larger_exit_is_judged_likewise() -> None:
    made = law(long_only=True)
    fill(made, send(made, order(BUY, 5)), 5, 10)
    child = send(made, order(SELL, 2, 11, reduce_only=True))
    send(made, order(SELL, 3, 12))
    assert made.check_modify(child, None, to_nano(12), None, NOW).allowed
    assert made.check_modify(child, to_nano(1), None, None, NOW).allowed
    assert made.check_modify(child, to_nano(3), None, None, NOW).code is Code.LONG_ONLY


def test_an_exit_whose_position_has_turned_opens() -> None:
    made = law(inventory_max=8)
    fill(made, send(made, order(BUY, 5)), 5, 10)
    stray = send(made, order(SELL, 5, 11, reduce_only=True))
    fill(made, send(made, order(SELL, 8)), 8, 10)
    assert code(made, order(SELL, 5)) is None
    made.exposure.turn(stray)
    assert code(made, order(SELL, 1)) is Code.INVENTORY
    made.on_closed(stray.order_id)
    assert code(made, order(SELL, 5)) is None


# -- several strategies in one instrument


def test_exits_count_against_the_position_of_their_strategy() -> None:
    made = law(inventory_max=5)
    made.exposure.fill("X", BUY, to_nano(5), to_nano(10), 0, None, "A")
    mark(made, 10)
    send(made, order(SELL, 5, 11, reduce_only=True, strategy="A"))
    other = send(made, order(SELL, 5, strategy="B"))
    made.exposure.fill("X", SELL, to_nano(5), to_nano(10), 0, other, "B")
    assert made.exposure.holding("X").position == 0
    assert code(made, order(SELL, 1, strategy="B")) is Code.INVENTORY  # what A still may sell leads to five short
    assert code(made, order(BUY, 5, strategy="B")) is None


ACTS = st.lists(
    st.tuples(
        st.sampled_from(("send", "send", "send", "fill", "fill", "close", "grow", "answer", "refuse")),
        st.sampled_from("AB"), st.sampled_from((BUY, SELL)), st.integers(1, 6), st.integers(0, 9), st.booleans(),
    ),
    min_size=5, max_size=60,
)  # fmt: skip


def adversary(acts: list[Any], long_only: bool, by_account: bool, made: Law) -> list[int]:
    """
    Play against the law: the venue fills what hurts, in any order; return the positions on the way.

    A venue fills reduce-only orders against the position of their strategy, or against that of the account.
    """
    own: dict[str, int] = {"A": 0, "B": 0}
    seen = [0]
    for what, name, side, qty, pick, flag in acts:
        working = list(made.exposure.working.values())
        one = working[pick % len(working)] if working else None
        if what == "send":
            new = order(side, qty, strategy=name, reduce_only=flag)
            if made.check([new], NOW).code is None:
                made.commit([new], NOW)
        elif one is None:
            continue
        elif what == "fill":
            most = one.leaves // NANO
            if one.reduce_only:
                most = min(most, max(-one.side * (sum(own.values()) if by_account else own[one.strategy]), 0))
            part = min(qty, most)
            if part:
                own[one.strategy] += one.side * part
                made.on_fill(one.order_id, "X", one.side, part * NANO, to_nano(10), 0, one.strategy)
                mark(made, 10)
        elif what == "close":
            made.on_closed(one.order_id)
        elif what == "grow" and made.check_modify(one, qty * NANO, None, None, NOW).allowed:
            made.commit_modify(one, qty * NANO, NOW)
        elif what == "answer" and one.pending:
            foreseen = made.on_updated(one, max(one.pending[0], one.filled))
            seen += [] if foreseen else [99]
        elif what == "refuse" and one.pending:
            made.on_modify_rejected(one)
        seen.append(sum(own.values()))
    return seen


@settings(max_examples=400, deadline=None)
@given(ACTS, st.booleans(), st.booleans())
def test_no_order_of_fills_leads_beyond_the_limits(acts: list[Any], long_only: bool, by_account: bool) -> None:
    seen = adversary(acts, long_only, by_account, law(long_only=long_only, inventory_max=6))
    assert -6 <= min(seen) <= max(seen) <= 6
    assert not long_only or min(seen) >= 0


def beyond(seed: int) -> bool:
    draw = random.Random(seed)
    kinds = ("send", "send", "send", "fill", "fill", "close", "grow", "answer", "refuse")
    acts = [
        (draw.choice(kinds), draw.choice("AB"), draw.choice((BUY, SELL)), draw.randint(1, 6), draw.randint(0, 9),
         draw.random() < 0.5)
        for _ in range(60)
    ]  # fmt: skip
    seen = adversary(acts, bool(seed % 2), bool(seed % 4 // 2), law(long_only=bool(seed % 2), inventory_max=6))
    return not (0 if seed % 2 else -6) <= min(seen) <= max(seen) <= 6


MAIMED: dict[str, tuple[Any, str, Any]] = {
    "exits lead nowhere": (Law, "_check_behind", lambda *_: ALLOWED),
    "positions only net": (Holding, "bottom", lambda held, more=0: max(held.position - held.exits - more, 0)
                           if held.position > 0 else held.position),
    "modifications reserve nothing": (Exposure, "resize", lambda book, order, qty: setattr(order, "pending", (qty,))),
}  # fmt: skip


@pytest.mark.parametrize("what", MAIMED)
def test_the_adversary_beats_a_maimed_law(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(beyond(seed) for seed in range(300))
    monkeypatch.setattr(*MAIMED[what])
    assert any(beyond(seed) for seed in range(3000))


# -- money


def test_average_cost_and_equity() -> None:
    made = law()
    assert fill(made, send(made, order(BUY, 4)), 4, 10, "0.5") == 0
    assert fill(made, send(made, order(BUY, 4)), 4, 12, 0) == 0
    assert fill(made, send(made, order(SELL, 3)), 3, 13, 0) == 6 * ATTO  # average 11
    mark(made, 13)
    assert made.equity == int((Decimal(1000) - Decimal("0.5") - 40 - 48 + 39 + 5 * 13) * ATTO)
    assert fill(made, send(made, order(SELL, 8)), 8, 13, 0) == 10 * ATTO  # closes five, opens three short
    assert fill(made, send(made, order(BUY, 3)), 3, 12, 0) == 3 * ATTO
    held = made.exposure.holding("X")
    assert (held.position, held.basis) == (0, 0)
    assert made.equity == 1000 * ATTO + (6 + 10 + 3) * ATTO - ATTO // 2


def test_daily_loss() -> None:
    made = law(daily_loss_max=0.02)
    fill(made, send(made, order(BUY, 10)), 10, 10)
    assert mark(made, 8).code is None  # 20 lost: reached, not exceeded
    assert made.loss_near is Code.DAILY_LOSS
    assert mark(made, "7.999999999").code is Code.DAILY_LOSS
    assert code(made, order(BUY, 1)) is Code.DAILY_LOSS
    assert mark(made, 7, ts=NOW + 86_400 * SECOND).code is None  # a new day starts where it is
    assert mark(made, "5.1", ts=NOW + 86_401 * SECOND).code is None
    assert mark(made, "4.9", ts=NOW + 86_402 * SECOND).code is Code.DAILY_LOSS


def test_drawdown() -> None:
    made = law(drawdown_max=0.02, daily_loss_max=1)
    fill(made, send(made, order(BUY, 10)), 10, 10)
    assert mark(made, 20).code is None
    assert made.peak == 1100 * ATTO
    assert mark(made, "17.8").code is None  # 22 of 1100: reached
    assert made.drawdown == pytest.approx(0.02)
    assert mark(made, "17.799999999").code is Code.DRAWDOWN
    assert code(made, order(BUY, 1)) is Code.DRAWDOWN
    assert code(made, order(SELL, 1)) is None  # reducing is still allowed


def test_no_judgement_while_a_position_has_no_price() -> None:
    made = law()
    made.exposure.adopt("Y", to_nano(3), to_nano(50), paid=False)
    assert code(made, order(BUY, 1)) is Code.NO_REFERENCE
    mark(made, 60, "Y")
    assert code(made, order(BUY, 1)) is None
    assert made.equity == 1030 * ATTO


# -- near-misses


def test_near_misses_are_reported_and_size_down_while_they_last() -> None:
    made = law(instrument_max=0.1, near_miss=0.8)
    assert made.check([order(BUY, "7.9")], NOW).near == ()
    verdict = made.check([order(BUY, 8)], NOW)
    assert [(use.code, use.value, use.bound) for use in verdict.near] == [("INSTRUMENT_EXPOSURE", "80", "100")]
    assert made.size_factor("X") == 1.0
    first = send(made, order(BUY, 8))
    assert made.pressure("X") is Code.INSTRUMENT_EXPOSURE
    assert made.size_factor("X") == 0.5
    assert made.size_factor("Y") == 1.0
    made.on_closed(first.order_id)
    assert made.size_factor("X") == 1.0
    made = law(instrument_max=0.1, near_miss_action="notify")
    send(made, order(BUY, 9))
    assert made.size_factor("X") == 1.0


def test_a_loss_near_its_limit_sizes_everything_down() -> None:
    made = law(daily_loss_max=0.02)
    fill(made, send(made, order(BUY, 10)), 10, 10)
    mark(made, "8.4")
    assert (made.pressure("X"), made.pressure("Y")) == (Code.DAILY_LOSS, Code.DAILY_LOSS)
    mark(made, "8.5")
    assert made.pressure("X") is None


# -- running sums against adding everything up

STEPS = ("send", "fill", "close", "mark", "grow", "answer", "refuse", "turn")
MOVES = st.lists(
    st.tuples(
        st.sampled_from(STEPS), st.sampled_from(("X", "Y")),
        st.sampled_from((BUY, SELL)), st.integers(1, 10**12), st.integers(1, 10**12), st.booleans(),
    ),
    max_size=60,
)  # fmt: skip


def move(book: Exposure, one: Order, what: str, qty: int, price: int, flag: bool) -> None:
    if what == "fill":
        book.fill(one.instrument, one.side, min(qty, one.leaves), price, qty, one, one.strategy)
    elif what == "close":
        book.close(one.order_id)
    elif what == "grow":
        book.resize(one, qty)
    elif what == "answer":
        book.confirm(one, one.pending[-1] if flag and one.pending else max(qty, one.filled))
    elif what == "refuse":
        book.refuse(one)
    elif what == "turn" and one.reduce_only:
        book.turn(one)


@settings(max_examples=150, deadline=None)
@given(MOVES)
def test_sums_never_drift(moves: list[tuple[str, str, int, int, int, bool]]) -> None:
    book = Exposure(SECOND)
    orders: list[Order] = []
    cash = 0
    for what, name, side, qty, price, flag in moves:
        open_orders = [o for o in orders if o.working]
        one = open_orders[qty % len(open_orders)] if open_orders else None
        if what == "send":
            orders.append(order(side, 1, reduce_only=flag, name=name, strategy="AB"[price % 2]))
            orders[-1].qty = qty
            book.add(orders[-1])
        elif what == "mark":
            book.mark(name, price, price + qty % 1000, 0)
        elif one is not None:
            cash -= (one.side * min(qty, one.leaves) * price + qty) if what == "fill" else 0
            move(book, one, what, qty, price, flag)
    assert book.cash == cash
    for held in book.holdings.values():
        agree(held, [o for o in orders if o.instrument == held.instrument])
    each = book.holdings.values()
    assert book.value2 == sum(h.position * h.mid2 for h in each)
    assert book.gross2 == sum(worst(h) * h.mid2 for h in each)
    assert book.hi2 == sum((h.top() + h.buys) * h.mid2 for h in each)
    assert book.lo2 == sum((h.bottom() - h.sells) * h.mid2 for h in each)
    assert book.unmarked == sum(bool(h.position) and h.mark_ts < 0 for h in each)
    assert book.open == sum(bool(h.position) for h in each)


def agree(held: Holding, orders: list[Order]) -> None:
    """Compare the sums of one instrument with its orders, added up."""
    mine = [o for o in orders if o.working]
    rests = {
        (s, only): sum(o.reserved for o in mine if o.side == s and (o.reduce_only and not o.turned) == only)
        for s in (BUY, SELL)
        for only in (False, True)
    }
    assert (held.buys, held.sells, held.orders) == (rests[BUY, False], rests[SELL, False], len(mine))
    assert (held.covers, held.exits) == (rests[BUY, True], rests[SELL, True])
    assert all(o.reserved == max(max(o.qty, *o.pending, 0) - o.filled, 0) for o in mine)
    parts = [sum(o.side * o.filled for o in orders if o.strategy == name) for name in "AB"]
    assert held.position == sum(parts)
    assert (held.longs, held.shorts) == (sum(max(p, 0) for p in parts), sum(max(-p, 0) for p in parts))
    hi, lo = held.top() + held.buys, held.bottom() - held.sells
    assert lo <= held.position <= hi


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from((BUY, SELL)), st.integers(1, 10**6), st.integers(1, 10**6)), max_size=30))
def test_realised_profit_is_average_cost(fills: list[tuple[int, int, int]]) -> None:
    book = Exposure(SECOND)
    position, average = F(0), F(0)
    for side, qty, price in fills:
        closed = min(F(qty), abs(position)) if position * side < 0 else F(0)
        expected = -side * closed * (price - average)
        if closed < qty:
            opened = qty - closed
            kept = abs(position) - closed
            average = F(price) if closed else (kept * average + opened * price) / (kept + opened)
        position += side * qty
        got = book.fill("X", side, qty, price, 0, None)
        assert abs(got - expected) <= len(fills)  # rounding stays in the basis, below 1e-18 a fill
    if not position:
        assert book.holding("X").basis == 0
