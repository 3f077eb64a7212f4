"""Mark-outs and realised PnL against arithmetic done by hand."""

import pytest

from alphatrade.reflection.expost import MarkOuts
from alphatrade.reflection.realised import Realised


def test_markouts_are_net_of_every_cost_and_known_only_at_their_horizon() -> None:
    marks = MarkOuts((1, 3))
    marks.decided(7, 0, 0, 100.0)
    marks.filled(7, 0, 2.0, 100.5, 0.4)
    assert marks.step(1, 10, 101.0) == []
    marks.step(2, 20, 150.0)
    (outcome,) = marks.step(3, 30, 102.0)
    notional = 201.0
    assert outcome.markouts == pytest.approx(
        [(202 - 201 - 0.4) / notional * 1e4, (204 - 201 - 0.4) / notional * 1e4]
    )
    assert outcome.known == [10, 30]
    assert outcome.side == 1
    assert outcome.cost_bps == pytest.approx((0.4 + 1.0) / notional * 1e4)


def test_a_decision_without_a_fill_has_outcome_zero() -> None:
    marks = MarkOuts((1,))
    marks.decided(1, 0, 0, 100.0)
    (outcome,) = marks.step(1, 1, 90.0)
    assert outcome.markouts == [0.0]
    assert outcome.side == 0


def test_a_fill_after_the_horizon_does_not_reach_back() -> None:
    marks = MarkOuts((1, 2))
    marks.decided(1, 0, 0, 100.0)
    marks.step(1, 1, 100.0)
    marks.filled(1, 0, 1.0, 100.0, 0.0)
    (outcome,) = marks.step(2, 2, 110.0)
    assert outcome.markouts[0] == 0.0
    assert outcome.markouts[1] == pytest.approx(1000.0)


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
