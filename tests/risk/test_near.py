"""Near-misses of the moment (collar, staleness, rate, repetition): seen, logged, and no reason for smaller orders."""

from collections.abc import Iterator
from fractions import Fraction as F
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nautilus_trader.model.enums import OrderSide

from alphatrade.risk.exposure import BUY, SELL
from alphatrade.risk.law import Law
from alphatrade.risk.limits import Verdict, soft
from alphatrade.risk.units import NANO, from_nano
from tests.risk.rig import BTCUSDT, SECOND, Scripted, flat_quotes
from tests.risk.test_gate import Act, bracket, limit, market, run
from tests.risk.test_law import NOW, law, mark, order, send

Near = list[tuple[str, str, str]]


def near(verdict: Verdict) -> Near:
    assert verdict.code is None, verdict.reason
    return [(str(use.code), use.value, use.bound) for use in verdict.near]


# -- each limit at the edge of its near-miss


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (("10.239999999", None), []),
        (("10.24", None), [("PRICE_COLLAR", "0.024", "0.03")]),
        (("9.76", None), [("PRICE_COLLAR", "0.024", "0.03")]),
        (("10.3", None), [("PRICE_COLLAR", "0.03", "0.03")]),
        ((None, "9.75"), [("PRICE_COLLAR", "0.025", "0.03")]),
        (("10.1", "9.75"), [("PRICE_COLLAR", "0.025", "0.03")]),
        (("10.25", "10.26"), [("PRICE_COLLAR", "0.025", "0.03"), ("PRICE_COLLAR", "0.026", "0.03")]),
    ],
)
def test_the_collar(levels: tuple[Any, Any], expected: Near) -> None:
    made = law(price_collar=0.03)
    assert near(made.check([order(BUY, 1, *levels)], NOW)) == expected
    resting = send(made, order(BUY, 1, 10))
    price, trigger = (None if level is None else round(F(level) * NANO) for level in levels)
    assert near(made.check_modify(resting, None, price, trigger, NOW)) == expected
    assert near(made.check_modify(resting, 2 * NANO, None, None, NOW)) == []  # the levels stay, and are not asked for


def test_staleness() -> None:
    made = law(stale_after_s=5)
    resting = send(made, order(BUY, 1, 10))
    for age, expected in ((4 * SECOND - 1, []), (4 * SECOND, ["4"]), (5 * SECOND, ["5"])):
        rows = [("STALE_REFERENCE", value, "5") for value in expected]
        assert near(made.check([order(BUY, 1)], NOW + age)) == rows
        assert near(made.check_modify(resting, 2 * NANO, None, None, NOW + age)) == rows
    made.exposure.holding("X").stale_ns = SECOND  # the tape's own limit
    assert near(made.check([order(BUY, 1)], NOW + SECOND)) == [("STALE_REFERENCE", "1", "1")]


def test_order_rate_in_a_second_and_in_a_minute() -> None:
    made = law(orders_per_second=5, orders_per_minute=10)
    *_, resting = (send(made, order(BUY, k + 1)) for k in range(3))
    assert near(made.check([order(BUY, 9)], NOW)) == [("ORDER_RATE", "4", "5")]
    assert near(made.check_modify(resting, 2 * NANO, None, None, NOW)) == [("ORDER_RATE", "4", "5")]
    assert near(made.check([order(BUY, 9)], NOW + SECOND)) == []
    for k in range(4):
        send(made, order(BUY, k + 1), at=NOW + (k + 1) * SECOND)
    assert near(made.check([order(BUY, 9)], NOW + 9 * SECOND)) == [("ORDER_RATE", "8", "10")]
    assert near(made.check([order(BUY, 9)], NOW + 60 * SECOND)) == []


def test_repeated_execution() -> None:
    made = law(repeat_max=5, repeat_window_s=10)
    for _ in range(3):
        send(made, order(BUY, 1))
    assert near(made.check([order(BUY, 1)], NOW)) == [("REPEATED", "4", "5")]
    assert near(made.check([order(SELL, 1)], NOW)) == near(made.check([order(BUY, 2)], NOW)) == []
    assert near(made.check([order(BUY, 1)], NOW + 10 * SECOND)) == []


# -- small counts

COUNTS = {"orders_per_second": "ORDER_RATE", "orders_per_minute": "ORDER_RATE", "repeat_max": "REPEATED",
          "open_orders_max": "OPEN_ORDERS"}  # fmt: skip


def counted(what: str, bound: int) -> list[int]:
    """Return which of the orders that a count limit allows are near-misses of it."""
    made, found = law(**{what: bound}), []
    for n in range(1, bound + 1):
        one = order(BUY, 1, 9)
        if COUNTS[what] in [code for code, _, _ in near(made.check([one], NOW))]:
            found.append(n)
        made.commit([one], NOW)
    assert made.check([order(BUY, 1, 9)], NOW).code == COUNTS[what]
    return found


@pytest.mark.parametrize("what", COUNTS)
@pytest.mark.parametrize(("bound", "expected"), [(1, []), (2, [2]), (3, [3]), (4, [4]), (5, [4, 5]), (10, [8, 9, 10])])
def test_one_order_is_no_accumulation(what: str, bound: int, expected: list[int]) -> None:
    assert counted(what, bound) == expected


def test_without_that_every_order_under_a_limit_of_one_would_be_near(monkeypatch: pytest.MonkeyPatch) -> None:
    assert law(open_orders_max=1).size_factor("X") == 1.0
    for module in ("limits", "law"):
        monkeypatch.setattr(f"alphatrade.risk.{module}.soft_count", soft)
    assert [counted(what, 1) for what in COUNTS] == [[1]] * 4, "the mutant"


def test_one_working_order_of_one_does_not_size_down() -> None:
    made = law(open_orders_max=1)
    send(made, order(BUY, 1, 9))
    assert made.size_factor("X") == 1.0
    made = law(open_orders_max=2)
    for qty in (1, 2):
        send(made, order(BUY, qty, 9))
    assert made.pressure("X") == "OPEN_ORDERS"


# -- with everything else


def test_near_misses_of_the_moment_and_of_exposure_are_told_together_and_forgotten() -> None:
    made = law(price_collar=0.03, instrument_max=0.1, order_qty_max=9)
    both = [("PRICE_COLLAR", "0.025", "0.03"), ("INSTRUMENT_EXPOSURE", "80", "100")]
    assert near(made.check([order(BUY, 8, "10.25")], NOW)) == [both[0], ("ORDER_QTY", "8", "9"), both[1]]
    assert made.check([order(BUY, 11, "10.25")], NOW).near == ()  # denied: nothing to tell
    assert near(made.check([order(BUY, 1)], NOW)) == []


def test_in_a_list_each_near_miss_names_its_order() -> None:
    made = law(price_collar=0.03, orders_per_second=3)
    entry = order(BUY, 1)
    stop = order(SELL, 1, None, "9.75", reduce_only=True, parent_id=entry.order_id)
    target = order(SELL, 1, "10.1", reduce_only=True, parent_id=entry.order_id)
    told = [(use.code, use.order_id) for use in made.check([entry, stop, target], NOW).near]
    assert told == [("PRICE_COLLAR", stop.order_id), ("ORDER_RATE", target.order_id)]


def test_what_is_far_from_its_limits_costs_no_object(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("a closer look at an order that is far from all limits")

    for target in ("reference._check_collar", "pace._check_count", "reference.Use", "law.Use"):
        monkeypatch.setattr(f"alphatrade.risk.{target}", never)
    made = law(orders_per_second=5, repeat_max=5, price_collar=0.03, stale_after_s=5)
    for _ in range(3):
        send(made, order(BUY, 1, "10.2", "9.8"), at=NOW + 3 * SECOND)
    with pytest.raises(AssertionError, match="closer look"):
        send(made, order(BUY, 1), at=NOW + 3 * SECOND)


# -- against adding everything up again

SMALL = {"price_collar": 0.03, "stale_after_s": 10, "orders_per_second": 5, "orders_per_minute": 12, "repeat_max": 5,
         "repeat_window_s": 20}  # fmt: skip
MOVES = st.lists(
    st.tuples(
        st.sampled_from(("order", "order", "order", "modify", "mark")), st.sampled_from((0, 0, 1, 300, 1000, 4000, 9000)),
        st.sampled_from((BUY, SELL)), st.integers(1, 2), st.none() | st.integers(9_690_000_000, 10_310_000_000),
    ),
    min_size=10, max_size=60,
)  # fmt: skip


def recount(sent: list[tuple[int, Any]], marked: int, now: int, price: int | None, key: Any) -> tuple[Any, Near]:
    """Return the code of a denial, if any, and the near-misses, from the list of all that was sent."""
    uses = [("STALE_REFERENCE", F(now - marked, SECOND), F(10))]
    if price is not None:
        uses.append(("PRICE_COLLAR", abs(F(price, 10 * NANO) - 1), F(3, 100)))
    for window, bound in ((1, 5), (60, 12)):
        uses.append(("ORDER_RATE", F(1 + sum(ts > now - window * SECOND for ts, _ in sent)), F(bound)))
    if key is not None:
        uses.append(("REPEATED", F(1 + sum(k == key and ts > now - 20 * SECOND for ts, k in sent)), F(5)))
    beyond = next((code for code, value, bound in uses if value > bound), None)
    told = [(c, str(from_nano(int(v * NANO))), str(from_nano(int(b * NANO)))) for c, v, b in uses if v * 5 >= b * 4]
    return beyond, told


def replayed(moves: list[Any]) -> Iterator[tuple[Verdict, Any]]:
    made, now, marked, resting = law(**SMALL), NOW, NOW, None
    sent: list[tuple[int, Any]] = []
    for what, ms, side, qty, price in moves:
        now += ms * 1_000_000
        if what == "mark":
            mark(made, 10, ts=now)
            marked = now
        elif what == "order":
            one = order(side, qty, None if price is None else from_nano(price))
            verdict = made.check([one], now)
            yield verdict, recount(sent, marked, now, price, (side, qty))
            if verdict.code is None:
                made.commit([one], now)
                sent.append((now, (side, qty)))
                resting = one
        elif resting is not None:
            verdict = made.check_modify(resting, qty * NANO, price, None, now)
            yield verdict, recount(sent, marked, now, price, None)
            if verdict.code is None:
                made.commit_modify(resting, qty * NANO, now)
                sent.append((now, None))


@settings(max_examples=300, deadline=None)
@given(MOVES)
def test_denials_and_near_misses_are_those_of_a_full_recount(moves: list[Any]) -> None:
    for verdict, (beyond, told) in replayed(moves):
        assert verdict.code == beyond
        assert verdict.near == () if beyond else near(verdict) == told


# -- in the record


def logged(gate: Any) -> list[tuple[Any, ...]]:
    events = gate.record.tables()["risk_events"].to_pylist()
    return [(e["limit"], e["value"], e["bound"], e["order_id"][-1]) for e in events if e["kind"] == "near_miss"]


def burst(s: Scripted) -> None:
    for n in range(4):
        market(0.01 * (n + 1))(s)


def late(s: Scripted) -> None:
    s.clock.set_time_alert_ns("late", s.clock.timestamp_ns() + 9 * SECOND, lambda _: market(0.1)(s))


def sent_again(s: Scripted) -> None:
    market(0.1, OrderSide.SELL)(s)


MOMENTS: dict[str, tuple[dict[int, Act], dict[str, Any], list[tuple[Any, ...]]]] = {
    "collar": (
        {5: limit(0.1, 49_100), 9: lambda s: s.modify_order(s.kept, price=BTCUSDT.make_price(49_050)), 12: bracket(0.1)},
        {"price_collar": 0.02},
        [
            ("PRICE_COLLAR", "0.018", "0.02", "1"), ("PRICE_COLLAR", "0.019", "0.02", "1"),
            ("PRICE_COLLAR", "0.02", "0.02", "3"), ("PRICE_COLLAR", "0.02", "0.02", "4"),
        ],
    ),
    "staleness": ({60: late}, {"stale_after_s": 10}, [("STALE_REFERENCE", "9", "10", "1")]),
    "rate": ({5: burst}, {"orders_per_second": 5}, [("ORDER_RATE", "4", "5", "4")]),
    "repetition": (
        dict.fromkeys(range(5, 13, 2), sent_again), {"repeat_max": 5, "duplicate_window_s": 0}, [("REPEATED", "4", "5", "4")],
    ),
}  # fmt: skip
QUOTES = [*flat_quotes(BTCUSDT, 50_000, 60), flat_quotes(BTCUSDT, 50_000, 90)[-1]]


@pytest.mark.parametrize("what", MOMENTS)
def test_they_are_rows_of_their_own_and_change_no_size(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script, template, rows = MOMENTS[what]
    _, strategy, gate = run(script, data=QUOTES, gate={"template": template})
    assert not strategy.denied
    assert logged(gate) == rows
    assert {row[2] for row in gate.record.risk_events} == {"near_miss"}  # no advice follows
    monkeypatch.setattr(Law, "_with_near", lambda _, verdict: verdict)
    assert logged(run(script, data=QUOTES, gate={"template": template})[2]) == [], "the mutant"
