"""Fees that a spot exchange keeps of what is bought: law, auditor, organism and position agree, and dust is left alone."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.objects import Money, Quantity
from nautilus_trader.model.position import Position

from alphatrade.risk.exposure import BUY, SELL
from alphatrade.risk.gate_orders import closing, kept_of
from alphatrade.risk.units import NANO, RAW_PER_NANO, to_nano
from alphatrade.strategies.book import Book
from tests.nodes.make_broker import MARKET, Rig
from tests.risk.test_audit import Run, doubts
from tests.risk.test_law import law, order, send


def test_the_law_holds_what_the_exchange_has_left_it() -> None:
    made = law(capital=100_000, mid=30_000)
    bought = send(made, order(BUY, 1))
    made.on_fill(bought.order_id, "X", BUY, NANO, to_nano(30_000), 30 * NANO * NANO, kept=NANO // 1000)
    held = made.exposure.holding("X")
    assert held.position == NANO - NANO // 1000
    assert made.equity == (100_000 - 30) * NANO * NANO  # the fee, and nothing else, is gone
    assert made.check([order(SELL, 1, reduce_only=True)], 10**18).code == "REDUCE_ONLY"
    assert made.check([order(SELL, "0.999", reduce_only=True)], 10**18).code is None


def bought(fee: Any, left: Any) -> Run:
    run = Run(drawdown_max=1)
    run.mark(100).new("a", "BUY", 2).fill("a", 2, 100, fee)
    run.rows["fills"][-1] |= {"currency": "X", "position_after": Decimal(left)}
    run.cost["X"] = Decimal(100)
    run.position["X"] = Decimal(left)
    return run.wait(1).mark(100)


def test_the_auditor_counts_what_is_left(tmp_path: Path) -> None:
    run = bought("0.002", "1.998")
    run.trade("b", "SELL", "1.998", 100, reduce_only=True)
    report = run.audit(tmp_path)
    assert not doubts(report)
    assert not report.violations
    assert report.equity == Decimal(1000) - Decimal("0.2")
    assert not report.position


@pytest.mark.parametrize("left", ["2", "1.999"])
def test_the_auditor_doubts_a_position_with_the_fee_in_it(left: str, tmp_path: Path) -> None:
    assert "POSITION" in doubts(bought("0.002", left).audit(tmp_path))


def test_the_book_of_an_organism_is_in_whole_lots_and_keeps_the_dust() -> None:
    book = Book()
    book.lot_n = 10_000  # 0.00001
    book.fill(to_nano("0.08333") - 83_330, 30_000.0, 1, 2.5)
    assert (book.position_n, book.dust_n) == (83_240_000, 6_670)
    book.fill(to_nano("0.08333") - 83_330, 30_000.0, 2, 2.5)
    assert book.position_n + book.dust_n == 2 * (to_nano("0.08333") - 83_330)
    assert book.dust_n < book.lot_n
    book.fill(-book.position_n, 30_000.0, 3, 2.5)
    assert (book.side, book.position_n) == (0, 0)
    assert 0 < book.dust_n < book.lot_n


def test_nautilus_holds_the_same_when_its_instrument_has_the_decimals_of_a_balance() -> None:
    """With those of a lot each fill is rounded, and after some of them more is held here than at the exchange."""

    async def scenario() -> None:
        rig = Rig()
        position, exact = None, Decimal(0)
        for number in range(1, 20):
            order_ = rig.sent("0.08333000")
            rig.submitted(order_)
            rig.accepted(order_, number)
            rig.filled(order_, str(number), "0.08333000", number)
            fill = rig.events[-1]
            kept = kept_of(fill, MARKET)
            assert kept == fill.commission.raw // RAW_PER_NANO == 83_330
            exact += Decimal("0.08333") - Decimal(kept) / NANO
            fill = type(fill).from_dict(type(fill).to_dict(fill) | {"position_id": "P-1"})
            if position is None:
                position = Position(MARKET, fill)
            else:
                position.apply(fill)
        assert position is not None
        assert position.quantity.as_decimal() == exact
        whole = closing(position, MARKET, {"P-1": int(exact * NANO)})
        assert whole is not None
        assert exact - Decimal("0.00001") < whole.as_decimal() <= exact

    import asyncio

    asyncio.run(scenario())


def test_less_than_a_lot_is_not_closed() -> None:
    class Dust:
        quantity, adjustments = Quantity.from_str("0.00000999"), ()

    assert closing(Dust(), MARKET, {}) is None  # type: ignore[arg-type]


def test_a_fee_in_money_is_kept_of_nothing() -> None:
    class Fill:
        order_side, commission = 1, Money(2.5, USDT)

    assert kept_of(Fill(), MARKET) == 0  # type: ignore[arg-type]
    Fill.commission = Money(0.001, BTC)
    assert kept_of(Fill(), MARKET) == 1_000_000  # type: ignore[arg-type]
