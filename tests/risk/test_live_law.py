"""The caps of a permit: exact at their edges, and never exceeded in a venue's own books, whatever is told when."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphatrade.risk.exposure import BUY, SELL
from alphatrade.risk.law import Law
from alphatrade.risk.limits import Code
from alphatrade.risk.live_law import LiveLaw
from alphatrade.risk.units import ATTO, NANO, to_nano
from tests.risk.make_venue_books import FEE, Books, Step, law_of, permit
from tests.risk.test_law import NOW, code, fill, mark, order, send

NUMBERS = st.integers(0, 10**6)
STEPS = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), max_size=60)


# -- at the edges


def test_a_buy_counts_at_its_limit_with_the_fee_and_may_reach_the_capital() -> None:
    law = law_of(permit(capital=50, loss=50, fee=0))
    assert code(law, order(BUY, 5, 10)) is None
    assert code(law, order(BUY, "5.000000001", 10)) is Code.CAPITAL_CAP
    law = law_of(permit(capital=50))
    assert code(law, order(BUY, 5, 10)) is Code.CAPITAL_CAP
    assert code(law, order(BUY, "4.995", 10)) is None


def test_what_is_taken_over_from_another_node_counts_without_a_fee() -> None:
    law = law_of(permit(capital=50))
    assert code(law, order(BUY, 5, 10)) is Code.CAPITAL_CAP
    one = order(BUY, 5, 10, order_id="HANDOVER-1")
    assert code(law, one) is None
    send(law, one)
    assert law.committed() == 50 * ATTO
    assert code(law, order(BUY, "0.000000001", 10, order_id="HANDOVER-2")) is Code.CAPITAL_CAP


def test_what_works_what_was_paid_and_what_was_spent_before_count_together() -> None:
    law = law_of(permit(capital=50, spent=10 * ATTO, fee=0))
    one = send(law, order(BUY, 2, 10))
    assert law.headroom()[0] == 20 * ATTO
    fill(law, one, 1, 9)  # partly, and cheaper
    assert (law.committed(), law.money_out()) == (29 * ATTO, 19 * ATTO)
    assert code(law, order(BUY, "2.1", 10)) is None
    assert code(law, order(BUY, "2.100000001", 10)) is Code.CAPITAL_CAP
    law.on_closed(one.order_id)
    assert law.committed() == 19 * ATTO


def test_a_denial_says_how_much_it_would_be() -> None:
    verdict = law_of(permit(capital=50, fee=0)).check([order(BUY, 6, 10)], NOW)
    assert (verdict.value, verdict.bound) == ("60", "50")
    assert verdict.reason.startswith("CAPITAL_CAP: capital_cap=60 > limit=50 (money out with all working buys")


def test_orders_that_are_sent_together_count_together() -> None:
    law = law_of(permit(capital=50))
    verdict = law.check([order(BUY, 2, 10), order(BUY, 2, 10), last := order(BUY, 1, 10)], NOW)
    assert (verdict.code, verdict.order_id) == (Code.CAPITAL_CAP, last.order_id)
    assert law.check([order(BUY, 2, 10), order(BUY, 2, 10)], NOW).code is None


def test_only_sales_that_are_booked_give_back_and_marks_never_do() -> None:
    law = law_of(permit(capital=50, fee=0))
    fill(law, send(law, order(BUY, 5, 10)), 5, 10)
    mark(law, 12)
    assert code(law, order(BUY, "0.1", 12)) is Code.CAPITAL_CAP
    sale = send(law, order(SELL, 2, 12))
    assert code(law, order(BUY, "0.1", 12)) is Code.CAPITAL_CAP
    fill(law, sale, 1, 12)
    assert law.headroom()[0] == 10 * ATTO, "what is held has cost 40, whatever else came back"


def test_a_profit_raises_no_cap() -> None:
    law = law_of(permit(capital=50, fee=0))
    fill(law, send(law, order(BUY, 5, 10)), 5, 10)
    mark(law, 20)
    fill(law, send(law, order(SELL, 5, 20)), 5, 20)
    assert law.money_out() == 0
    assert code(law, order(BUY, "2.5", 20)) is None
    assert code(law, order(BUY, "2.500000001", 20)) is Code.CAPITAL_CAP


@pytest.mark.parametrize("kind", ["plain", "reduce_only"])
def test_a_buy_without_a_price_is_denied_and_a_sale_is_not(kind: str) -> None:
    law = law_of(permit())
    assert code(law, order(BUY, 1, reduce_only=kind == "reduce_only")) is Code.UNBOUNDED
    fill(law, send(law, order(BUY, 1, 10)), 1, 10)
    assert code(law, order(SELL, 1, reduce_only=kind == "reduce_only")) is None


def test_a_buy_without_a_price_from_before_leaves_no_room() -> None:
    law = law_of(permit())
    law.commit([order(BUY, 1)], NOW)
    assert code(law, order(BUY, "0.1", 10)) is Code.CAPITAL_CAP


def test_nothing_goes_short_whatever_the_configuration_says() -> None:
    law = law_of(permit())
    assert code(law, order(SELL, "0.1", 10)) is Code.LONG_ONLY


def test_a_sale_is_never_denied_by_a_cap() -> None:
    law = law_of(permit(capital=50))
    fill(law, send(law, order(BUY, 4, 10)), 4, 10)
    law.permit = law.permit._replace(capital=0, loss=0)
    assert code(law, order(SELL, 4, 10)) is None


# -- losses


def test_an_order_leaves_room_for_a_jump_of_the_price() -> None:
    law = law_of(permit(loss=1, fee=0))  # a jump of five percent
    assert code(law, order(BUY, 2, 10)) is None
    assert code(law, order(BUY, "2.000000001", 10)) is Code.LOSS_ROOM
    assert code(law, order(BUY, 1, "10.5")) is None  # half at once, half with the jump
    assert code(law, order(BUY, 1, "10.500000001")) is Code.LOSS_ROOM
    assert code(law, order(BUY, 4, "9.5")) is None, "it fills only once the price is there"


def test_fee_and_spread_are_lost_too() -> None:
    law = law_of(permit(loss=1))
    assert law.worst_loss([order(BUY, 1, 10)]) == to_nano(10) * NANO * (NANO + FEE) // NANO - 9_490_500_000 * NANO
    mark(law, 10, half="0.1")
    assert law.worst_loss([order(BUY, 1, 10)]) == to_nano(10) * NANO * (NANO + FEE) // NANO - 9_395_595_000 * NANO


def test_a_mark_stops_trading_before_the_loss_is_reached() -> None:
    law = law_of(permit(loss=1, fee=0))
    fill(law, send(law, order(BUY, 1, 10)), 1, 10)
    assert mark(law, "9.5").code is None
    assert law.worst_loss() == to_nano("0.975") * NANO
    assert mark(law, "9.473684211").code is None
    verdict = mark(law, "9.473684210")
    assert verdict.code is Code.LOSS_CAP
    assert verdict.code in law.stops
    assert law.check([order(BUY, "0.1", 5)], NOW).code not in law.stops, "no room is no reason to sell"


def test_without_a_permit_no_mark_is_a_loss() -> None:
    law = law_of(permit(), daily_loss_max=1)
    law.permit = LiveLaw.permit
    law.adopt("X", NANO, 10 * NANO, False)
    assert mark(law, 5).code is None


def test_every_price_is_looked_at() -> None:
    law = law_of(permit(loss=1))
    fill(law, send(law, order(BUY, "0.1", 10)), "0.1", 10)
    mark(law, 10)
    assert law.quiet_band("X") is None
    assert Law.quiet_band(law, "X") is not None, "another law would let some pass"


# -- in the venue's own books


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, loss=st.sampled_from([1, 8, 50]), spent=st.sampled_from([0, 20]))
def test_no_order_of_events_takes_a_venue_beyond_the_caps(steps: list[Step], loss: int, spent: int) -> None:
    Books(law_of(permit(loss=loss, spent=spent * ATTO))).play(steps)


def chance(seed: int, n: int = 120) -> list[Step]:
    draw = random.Random(seed)
    return [(draw.randrange(9), *(draw.randrange(10**6) for _ in range(3))) for _ in range(n)]  # type: ignore[misc]


def test_chance_meets_both_caps_and_trades() -> None:
    denied, sent = dict.fromkeys(("CAPITAL_CAP", "LOSS_ROOM"), 0), 0
    for seed in range(30):
        books = Books(law_of(permit(loss=(1, 50)[seed % 2])))
        books.play(chance(seed))
        sent += len(books.told)
        for name in denied:
            denied[name] += books.denied[name]
    assert min(denied.values()) > 50, denied
    assert sent > 250


def found(promise: bool = True, recounts: bool = True) -> bool:
    """Return whether chance shows that a mechanism is off: by what the venue has, or by a recount of the figures."""
    for seed in range(60):
        try:
            Books(law_of(permit(loss=(1, 50)[seed % 2])), promise, recounts).play(chance(seed))
        except AssertionError:
            return True
    return False


MUTATIONS: dict[str, Any] = {
    "_capped": lambda self, buys: None,
    "_buys": lambda self, more: (
        (one.instrument, one.qty, self._costing(one)) for one in more
    ),  # what works is forgotten
    "money_out": lambda self: self.permit.spent + self.paid,
    "_paying": lambda self, price: price,
    "_lost": lambda self: None,
    "_bringing": lambda self, bid: bid,
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_without_a_mechanism_a_recount_finds_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(LiveLaw, name, MUTATIONS[name])
    assert found()


@pytest.mark.parametrize("name", ["_capped", "_buys", "money_out"])
def test_without_one_of_the_capital_the_venue_itself_has_more(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(LiveLaw, name, MUTATIONS[name])
    assert found(recounts=False)


def test_where_an_end_is_told_before_its_fills_the_venue_has_more() -> None:
    """So a broker asks the books before it believes in an end: the law gives back what an order reserved."""
    assert found(promise=False, recounts=False)
    assert not found(recounts=False)
