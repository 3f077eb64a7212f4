"""How much of a position can be closed: a venue keeps its fees of what was bought, and takes no order below a value."""

from typing import Any

import pytest
from nautilus_trader.model.currencies import BTC
from nautilus_trader.model.enums import AccountType, OrderSide
from nautilus_trader.model.identifiers import PositionId, TradeId
from nautilus_trader.model.objects import Money
from nautilus_trader.model.position import Position
from nautilus_trader.test_kit.stubs.events import TestEventStubs
from nautilus_trader.test_kit.stubs.execution import TestExecStubs

from alphatrade.risk import gate_kill
from alphatrade.risk.gate_orders import closing
from alphatrade.risk.units import ATTO_PER_RAW, RAW_PER_NANO
from tests.risk.rig import BTCUSDT, SECOND, START, Scripted, engine, flat_quotes, gate_of, quote


def bought(times: int) -> tuple[Position, dict[str, int]]:
    """Return a position of so many purchases of which the venue kept a thousandth, and what the law's books have of it."""
    position, held = None, 0
    for number in range(times):
        order = TestExecStubs.market_order(
            instrument=BTCUSDT, order_side=OrderSide.BUY, quantity=BTCUSDT.make_qty(0.083333)
        )
        fee = Money("0.00008333", BTC)
        fill = TestEventStubs.order_filled(
            order,
            BTCUSDT,
            position_id=PositionId("P"),
            trade_id=TradeId(str(number)),
            last_px=BTCUSDT.make_price(30_000),
            commission=fee,
        )
        held += 83_333_000 - 83_330
        if position is None:
            position = Position(BTCUSDT, fill)
        else:
            position.apply(fill)
    assert position is not None
    return position, {"P": held}


def test_no_more_is_closed_than_the_law_has_counted() -> None:
    """Nautilus rounds what is left of each purchase to the instrument's digits: in time it believes in more than there is."""
    position, own = bought(40)
    assert position.quantity.raw // RAW_PER_NANO > own["P"]
    quantity = closing(position, BTCUSDT, own)
    assert quantity is not None
    assert own["P"] - 1_000 < quantity.raw // RAW_PER_NANO <= own["P"]
    assert closing(position, BTCUSDT, {}) is None
    assert closing(position, BTCUSDT, {"P": 999}) is None, "less than a step of the venue"


def test_what_is_worth_less_than_the_venue_takes_is_dust() -> None:
    """A real venue refuses it each time: nobody would ever be flat."""
    position, own = bought(1)
    least = BTCUSDT.min_notional
    assert least.as_decimal() == 10
    edge = least.raw * ATTO_PER_RAW // 83_249_000  # what it can be sold at to be worth that, nano, rounded down
    assert closing(position, BTCUSDT, own, edge) is None
    assert closing(position, BTCUSDT, own, edge + 1) == BTCUSDT.make_qty(0.083249)
    assert closing(position, BTCUSDT, own) is not None, "without a price its value says nothing"


def left(monkeypatch: pytest.MonkeyPatch, price: float, mutated: bool = False) -> tuple[Any, list[str]]:
    """Return the gate after a kill while 0.0005 BTC of a larger position are left, and the law's orders."""
    if mutated:
        real = gate_kill.closing
        monkeypatch.setattr(gate_kill, "closing", lambda *given: real(*given[:3]))

    def trade(side: OrderSide, qty: float) -> Any:
        return lambda s: s.submit_order(s.order_factory.market(BTCUSDT.id, side, BTCUSDT.make_qty(qty)))

    kill = lambda s: gate_of(built).kill("drill", "tester") and None  # noqa: E731
    script = {2: trade(OrderSide.BUY, 0.01), 4: trade(OrderSide.SELL, 0.0095), 20: kill}
    quotes = [*flat_quotes(BTCUSDT, 50_000, 5), *(quote(BTCUSDT, price, START + n * SECOND) for n in range(5, 26))]
    built = engine(quotes, [Scripted(script)], {"template": {"jump_max": 1}}, account=AccountType.CASH)
    built.run()
    gate = gate_of(built)
    return gate, [name for row in gate.record.orders for name in row if str(name).startswith("LAW-")]


def test_a_kill_ends_with_dust_and_sends_nothing_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, orders = left(monkeypatch, 19_000)  # 9.5 USDT
    assert (gate.switch.state, orders) == ("HALTED", [])
    assert sum(gate.law.exposure.holding(BTCUSDT.id.value).own.values()) == 500_000


def test_a_kill_sells_what_the_venue_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, orders = left(monkeypatch, 50_000)
    assert gate.switch.state == "HALTED"
    assert orders


def test_without_the_value_it_would_be_sent_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    _, orders = left(monkeypatch, 19_000, mutated=True)
    assert orders
