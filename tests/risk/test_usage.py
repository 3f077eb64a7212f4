"""The use of limits: what the law itself would compare, in the units of an operator."""

from decimal import Decimal

import pytest

from alphatrade.risk.caps import Cap, CappedLaw
from alphatrade.risk.exposure import BUY, SELL, Order
from alphatrade.risk.law import Law
from alphatrade.risk.limits import Code
from alphatrade.risk.live_law import LiveLaw
from alphatrade.risk.permit import Permit
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.units import ATTO, NANO
from alphatrade.risk.usage import used

SECOND = 10**9
TEMPLATE = RiskTemplate(inventory_max=Decimal(50), order_notional_max=1.0)


def order(number: int, side: int, units: int, instrument: str = "A", strategy: str = "Free-001") -> Order:
    return Order(f"O-{number}", instrument, side, "LIMIT", units * NANO, price=100 * NANO, strategy=strategy)


def marked(law: Law) -> Law:
    for name in "AB":
        law.on_mark(name, 99 * NANO, 101 * NANO, SECOND)
    return law


def test_nothing_is_used_before_the_capital_is_known() -> None:
    assert used(Law(TEMPLATE), SECOND) == {}


def test_worst_cases_losses_and_counts() -> None:
    law = marked(Law(TEMPLATE, 10_000 * ATTO))
    law.commit((order(1, BUY, 10), order(2, SELL, 4), order(3, SELL, 20, "B")), 2 * SECOND)
    law.on_fill("O-1", "A", BUY, 10 * NANO, 100 * NANO, 0)
    law.on_mark("A", 89 * NANO, 91 * NANO, 3 * SECOND)
    found = {code: (one.value, one.bound) for code, one in used(law, 3 * SECOND).items()}
    assert found == {
        Code.GROSS_EXPOSURE: (10 * 90 + 20 * 100, 10_000), Code.NET_EXPOSURE: (4 * 0 + 20 * 100 - 6 * 90, 10_000),
        Code.INSTRUMENT_EXPOSURE: (2_000, 5_000), Code.OPEN_ORDERS: (2, 20), Code.ORDER_RATE: (3, 120),
        Code.DRAWDOWN: (0.01, 0.1), Code.DAILY_LOSS: (100, 300), Code.INVENTORY: (20, 50),
    }  # fmt: skip
    assert used(law, 63 * SECOND)[Code.ORDER_RATE].value == 0, "sixty seconds later"


def test_at_other_prices_other_losses() -> None:
    law = marked(Law(TEMPLATE, 10_000 * ATTO))
    law.commit((order(1, BUY, 10),), SECOND)
    law.on_fill("O-1", "A", BUY, 10 * NANO, 100 * NANO, 0)
    assert used(law, SECOND)[Code.DAILY_LOSS].value == 0
    assert used(law, SECOND, 2 * 800 * ATTO)[Code.DAILY_LOSS].value == 200
    assert used(law, SECOND, 2 * 800 * ATTO)[Code.DRAWDOWN].value == pytest.approx(0.02)
    assert used(law, SECOND, 2 * 1200 * ATTO)[Code.DRAWDOWN].value == 0


def test_what_is_capped_has_a_limit_of_its_own() -> None:
    law = marked(CappedLaw(TEMPLATE, 10_000 * ATTO, False, None, Cap(0.1, ("Canary-002",))))
    assert used(law, SECOND)[Code.CAP] == (0, 1_000)
    law.commit((order(1, BUY, 3, strategy="Canary-002"), order(2, BUY, 5)), SECOND)
    assert used(law, SECOND)[Code.CAP] == (300, 1_000)


def test_in_live_both_caps_of_the_permit_are_told_once_there_is_one() -> None:
    law = marked(LiveLaw(TEMPLATE, 10_000 * ATTO))
    assert Code.CAPITAL_CAP not in used(law, SECOND)
    law.permit = Permit("e", capital=5_000 * ATTO, loss=400 * ATTO, ends=2**62)
    law.commit((order(1, BUY, 10), order(2, BUY, 5)), SECOND)
    law.on_fill("O-1", "A", BUY, 10 * NANO, 100 * NANO, 0)
    found = used(law, SECOND)
    assert found[Code.CAPITAL_CAP] == (1_500, 5_000)
    assert found[Code.LOSS_CAP] == (1_500 - 15 * 99 * 0.95, 400)
