"""Mark-outs and realised PnL against arithmetic done by hand."""

import pytest

from alphatrade.reflection.expost import MarkOuts
from alphatrade.reflection.realised import Realised


def test_markouts_are_net_of_every_cost_and_known_only_at_their_horizon() -> None:
    marks = MarkOuts((1, 3))
    marks.sent(7, 0)
    marks.decided(7, 0, 0, 100.0)
    marks.filled(7, 2.0, 100.5, 0.4)
    marks.ended(7, 5)
    assert marks.step(1, 10, 101.0) == []
    marks.step(2, 20, 150.0)
    (outcome,) = marks.step(3, 30, 102.0)
    notional = 201.0
    assert outcome.markouts == pytest.approx(
        [(202 - 201 - 0.4) / notional * 1e4, (204 - 201 - 0.4) / notional * 1e4]
    )
    assert outcome.known == [10, 30]
    assert (outcome.fills, outcome.side) == (1, 1)
    assert outcome.cost_bps == pytest.approx((0.4 + 1.0) / notional * 1e4)


def test_a_decision_without_a_fill_has_outcome_zero() -> None:
    marks = MarkOuts((1,))
    marks.decided(1, 0, 0, 100.0)
    (outcome,) = marks.step(1, 1, 90.0)
    assert outcome.markouts == [0.0]
    assert outcome.side == 0


def test_a_resting_order_is_followed_from_its_fill_however_late_that_is() -> None:
    marks = MarkOuts((1, 3))
    marks.sent(1, 0)
    marks.decided(1, 0, 0, 100.0)
    for step in range(1, 9):
        assert marks.step(step, 10 * step, 90.0) == [], "an order still works"
    marks.filled(1, 1.0, 100.0, 0.0)
    marks.step(9, 90, 101.0)
    marks.ended(1, 95)
    marks.step(10, 100, 70.0)
    (outcome,) = marks.step(11, 110, 103.0)
    assert outcome.markouts == pytest.approx([100.0, 300.0])
    assert outcome.known == [95, 110], "until its end it might have filled again"
    assert marks.step(12, 120, 100.0) == []


def test_each_fill_has_horizons_of_its_own() -> None:
    marks = MarkOuts((2,))
    marks.sent(1, 0)
    marks.sent(1, 0)
    marks.decided(1, 0, 0, 100.0)
    marks.filled(1, 1.0, 100.0, 0.0)
    marks.ended(1, 5)
    marks.step(1, 10, 105.0)
    marks.step(2, 20, 110.0)
    marks.filled(1, -1.0, 112.0, 0.0)
    marks.ended(1, 25)
    assert marks.step(3, 30, 0.0) == []
    (outcome,) = marks.step(4, 40, 108.0)
    assert outcome.markouts == pytest.approx([(10.0 + 4.0) / 212.0 * 1e4])
    assert (outcome.fills, outcome.side, outcome.known) == (2, 0, [40])


def test_an_order_that_ends_without_a_fill_is_known_at_its_end_and_forgotten() -> None:
    marks = MarkOuts((1, 2))
    marks.sent(1, 0)
    marks.decided(1, 0, 0, 100.0)
    for step in range(1, 50):
        assert marks.step(step, step, 100.0) == []
    marks.ended(1, 49)
    (outcome,) = marks.step(50, 50, 100.0)
    assert (outcome.markouts, outcome.known) == ([0.0, 0.0], [49, 49])
    assert marks.close() == []


def test_what_is_denied_before_the_decision_is_told_has_outcome_zero_at_its_horizon() -> None:
    marks = MarkOuts((1, 2))
    marks.step(0, 0, 100.0)
    marks.sent(1, 0)
    marks.ended(1, 0)
    marks.decided(1, 0, 0, 100.0)
    assert marks.step(1, 1, 100.0) == []
    (outcome,) = marks.step(2, 2, 100.0)
    assert (outcome.markouts, outcome.known) == ([0.0, 0.0], [1, 2])


def test_a_fill_near_the_end_of_the_tape_is_unknown_where_its_horizon_is() -> None:
    marks = MarkOuts((1, 5))
    marks.sent(1, 0)
    marks.decided(1, 0, 0, 100.0)
    marks.step(1, 1, 100.0)
    marks.filled(1, 1.0, 100.0, 0.0)
    marks.step(2, 2, 101.0)
    (outcome,) = marks.close()
    assert outcome.markouts == [pytest.approx(100.0), None]
    assert outcome.known == [2, None]


def test_the_end_of_the_tape_leaves_unknown_horizons_unknown() -> None:
    marks = MarkOuts((1, 5))
    marks.decided(1, 0, 0, 100.0)
    marks.step(1, 1, 101.0)
    (outcome,) = marks.close()
    assert outcome.markouts == [0.0, None]
    assert outcome.known == [1, None]


def test_realised_pnl_goes_to_the_decision_that_closed() -> None:
    realised = Realised()
    realised.fill(1, "X", 2.0, 100.0)
    realised.fill(2, "X", 2.0, 110.0)
    realised.fill(3, "X", -5.0, 120.0)
    realised.fill(4, "X", 1.0, 118.0)
    assert realised.of(1) is None
    assert realised.of(3) == 60 * 10**9
    assert realised.of(4) == 2 * 10**9
