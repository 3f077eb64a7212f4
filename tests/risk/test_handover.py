"""What is handed over, in the law's terms: in parts that a law lets through, and back from the words of a journal."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from alphatrade.risk.handover import PARTS, PREFIX, HandOver, Part, hand_over_of, handed, split

D = Decimal
LOT = D("0.00001")


def test_what_fits_is_one_part_and_nothing_is_none():
    assert split(D("0.002"), D("0.00333"), LOT) == (D("0.002"),)
    assert split(D(0), D(1), LOT) == ()


def test_parts_are_no_larger_than_one_may_be_on_the_step_and_no_two_alike():
    parts = split(D("0.00333"), D("0.001004"), LOT)
    assert parts == (D("0.001"), D("0.00099"), D("0.00098"), D("0.00036"))


def test_what_would_be_too_many_parts_is_left_to_the_law_as_one():
    parts = split(D(1), LOT, LOT)
    assert len(parts) == PARTS
    assert sum(parts) == 1
    assert parts[-1] > LOT


@given(st.integers(1, 10**7), st.integers(0, 10**7))
def test_parts_are_all_of_it(lots, most):
    parts = split(lots * LOT, most * LOT, LOT)
    assert sum(parts) == lots * LOT
    assert 1 <= len(parts) <= PARTS
    assert all(part > 0 and part % LOT == 0 for part in parts)
    assert all(part <= max(most, 1) * LOT for part in parts[: PARTS - 1])


def test_it_comes_back_from_plain_values():
    left = HandOver("ab12", 2**62, (Part(f"{PREFIX}1", "BTCUSDT.BINANCE", "0.001", "30000"),))
    assert hand_over_of(left.plain()) == left


def test_an_order_is_known_by_its_id_alone():
    assert handed("HANDOVER-1")
    assert not any(map(handed, ("O-20261127-1", "LAW-HANDOVER-1", "handover-1", "HANDOVER")))
