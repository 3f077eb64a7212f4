"""How much of a position can be closed where a venue keeps its fees of what was bought."""

from nautilus_trader.model.currencies import BTC
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import PositionId, TradeId
from nautilus_trader.model.objects import Money
from nautilus_trader.model.position import Position
from nautilus_trader.test_kit.stubs.events import TestEventStubs
from nautilus_trader.test_kit.stubs.execution import TestExecStubs

from alphatrade.risk.gate_orders import closing
from alphatrade.risk.units import RAW_PER_NANO
from tests.risk.rig import BTCUSDT


def bought(times: int) -> tuple[Position, dict[str, int]]:
    """Return a position of so many purchases of which the venue kept a thousandth, and what the law's books have of it."""
    position, held = None, 0
    for number in range(times):
        order = TestExecStubs.market_order(instrument=BTCUSDT, order_side=OrderSide.BUY, quantity=BTCUSDT.make_qty(0.083333))
        fee = Money("0.00008333", BTC)
        fill = TestEventStubs.order_filled(
            order, BTCUSDT, position_id=PositionId("P"), trade_id=TradeId(str(number)), last_px=BTCUSDT.make_price(30_000), commission=fee
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
