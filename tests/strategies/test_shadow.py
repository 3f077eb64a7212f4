"""Shadows: paper books that pay every cost and never fill at a touch."""

import pytest

from alphatrade.strategies.hindsight import Hindsight
from alphatrade.strategies.shadow import Costs, Shadow, seen
from alphatrade.strategies.topologies.base import Desire, Limit, Topology, View
from tests.strategies.beliefs import belief

FREE = Costs(0.0, 0.0, 0.0)


class Scripted(Topology):
    """Wants what it is told, step by step."""

    def __init__(self, *script: Desire) -> None:
        self.script = list(script)
        self.seen: list[View] = []

    def desire(self, view: View) -> Desire:
        self.seen.append(view)
        return self.script.pop(0) if self.script else Desire(None, (), None, "")


def hold(target: int | None = None, *limits: Limit, stop: float | None = None) -> Desire:
    return Desire(target, limits, stop, "")


def test_a_market_order_pays_half_the_spread_the_fee_and_slippage() -> None:
    shadow = Shadow(Scripted(hold(1)), Costs(0.0002, 0.0, 0.005))
    shadow.mark(belief(0))
    shadow.act(belief(0), seen(belief(0)))
    assert shadow.clips == 1
    paid = (0.01 + 0.005) / 100 * 1e4 + 100.015 * 0.0002 / 100 * 1e4
    assert shadow.worth == pytest.approx(-paid)
    assert shadow.mark(belief(1, 101.0)) == pytest.approx(100 - paid)


def test_a_limit_fills_when_the_market_went_through_it_and_not_at_a_touch() -> None:
    for low, clips in ((99.49, 0), (99.48, 1)):  # the ask is a cent above the mid
        shadow = Shadow(Scripted(hold(None, Limit(1, 99.5, 1.0))), FREE)
        shadow.mark(belief(0))
        shadow.act(belief(0), seen(belief(0)))
        worth = shadow.mark(belief(1, 100.0, low=low))
        assert shadow.clips == clips
        assert worth == pytest.approx(50.0 * clips), "bought half a percent below where the step closed"


def test_a_stop_fills_at_its_trigger_or_beyond_it_after_a_gap() -> None:
    for high, low, price in ((100.0, 98.0, 99.0), (97.0, 96.0, 96.99)):
        shadow = Shadow(Scripted(hold(1), hold(None, stop=99.0)), FREE)
        for step in (0, 1):
            shadow.mark(belief(step))
            shadow.act(belief(step), seen(belief(step)))
        entry = shadow.worth
        assert shadow.mark(belief(2, 97.0, high=high, low=low)) - entry == pytest.approx((price - 100.0) * 100)
        assert shadow.clips == 0


def test_the_view_is_of_its_own_book() -> None:
    tactic = Scripted(hold(-1), hold(), hold(0), hold())
    shadow = Shadow(tactic, FREE)
    for step in range(4):
        shadow.mark(belief(step, 100.0 + step))
        shadow.act(belief(step, 100.0 + step), seen(belief(step, 100.0 + step)))
    assert [(view.position, view.held) for view in tactic.seen] == [(0, 0), (-1, 1), (-1, 2), (0, 0)]
    assert tactic.seen[1].entry == pytest.approx(99.99)


def test_a_cash_account_has_no_short_shadow() -> None:
    shadow = Shadow(Scripted(hold(-1), hold(None, Limit(-1, 101.0, 1.0))), FREE, long_only=True)
    for step in range(3):
        shadow.mark(belief(step, high=103.0))
        shadow.act(belief(step), seen(belief(step)))
        assert shadow.clips == 0


def test_outcomes_come_at_their_horizon_real_for_who_was_in_charge_throughout() -> None:
    shadows = [Shadow(Scripted(hold(1)), FREE), Shadow(Scripted(), FREE)]
    hindsight, found = Hindsight(shadows, 3), []
    for step in range(9):
        mid, chosen = 100.0 + step, 0 if step < 5 else 1
        own = 50.0 * step  # the real book makes 50 a step
        if (experience := hindsight.look(belief(step, mid), own)) is not None:
            found.append(experience)
        hindsight.note(belief(step, mid), chosen, own, 10_000.0)
    assert [e.step for e in found] == [0, 1, 2, 3, 4, 5]
    assert all(e.known == (e.step + 3) * 10 for e in found), "known at the event time of the horizon"
    assert [e.real for e in found] == [True, True, True, False, False, True], "a switch in between makes it a shadow's"
    assert found[0].values[0] == pytest.approx(150.0), "150 of a clip of 10,000 are 150 bps"
    assert found[3].values[0] == pytest.approx((106 / 105 - 1 + 105 / 104 - 1 + 104 / 103 - 1) * 1e4, rel=1e-3)
    assert found[5].values == (pytest.approx(found[5].values[0]), pytest.approx(150.0))
