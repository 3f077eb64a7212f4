"""Nautilus orders, events and commands: read into the law's terms, and built on the law's behalf."""

from collections.abc import Mapping

from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import (
    BatchCancelOrders,
    CancelAllOrders,
    CancelOrder,
    QueryAccount,
    QueryOrder,
    SubmitOrder,
)
from nautilus_trader.model.enums import OrderSide, OrderStatus, order_type_to_str
from nautilus_trader.model.events import (
    OrderAccepted,
    OrderCanceled,
    OrderCancelRejected,
    OrderDenied,
    OrderEmulated,
    OrderExpired,
    OrderFilled,
    OrderModifyRejected,
    OrderPendingCancel,
    OrderPendingUpdate,
    OrderRejected,
    OrderReleased,
    OrderSubmitted,
    OrderTriggered,
    OrderUpdated,
)
from nautilus_trader.model.identifiers import ClientOrderId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Quantity
from nautilus_trader.model.orders import MarketOrder
from nautilus_trader.model.orders import Order as NautilusOrder
from nautilus_trader.model.position import Position

from alphatrade.risk.exposure import BUY, SELL, Order
from alphatrade.risk.units import ATTO_PER_RAW, RAW_PER_NANO

# Commands that can only shrink risk, or ask. Exact types: a subclass could carry anything.
HARMLESS = frozenset((CancelOrder, CancelAllOrders, BatchCancelOrders, QueryOrder, QueryAccount))

EVENT_NAMES = {
    OrderDenied: "denied",
    OrderEmulated: "emulated",
    OrderReleased: "released",
    OrderSubmitted: "submitted",
    OrderAccepted: "accepted",
    OrderRejected: "rejected",
    OrderCanceled: "canceled",
    OrderExpired: "expired",
    OrderTriggered: "triggered",
    OrderPendingUpdate: "pending_update",
    OrderPendingCancel: "pending_cancel",
    OrderModifyRejected: "modify_rejected",
    OrderCancelRejected: "cancel_rejected",
    OrderUpdated: "updated",
    OrderFilled: "filled",
}
TERMINAL = frozenset((OrderDenied, OrderRejected, OrderCanceled, OrderExpired))
REASONED = frozenset((OrderDenied, OrderRejected, OrderModifyRejected, OrderCancelRejected))
UNSENT = (OrderStatus.INITIALIZED, OrderStatus.RELEASED)
_KINDS: dict[int, str] = {}  # names of order types, filled as they are met
LAW_TAG = "law=flatten"
_DECISION = "decision="
_EXPLORES = "explores="


def intent(order: NautilusOrder) -> Order:
    """Return what the law needs to know of a Nautilus order that has no fills yet."""
    kind = order.order_type
    name = _KINDS.get(kind) or _KINDS.setdefault(kind, order_type_to_str(kind))
    parent, tags = order.parent_order_id, order.tags
    found = Order(
        order.client_order_id.value,
        order.instrument_id.value,
        BUY if order.side == OrderSide.BUY else SELL,
        name,
        order.quantity.raw // RAW_PER_NANO,
        order.price.raw // RAW_PER_NANO if order.has_price else None,
        _trigger(order) if order.has_trigger_price else None,
        order.is_reduce_only,
        order.is_quote_quantity,
        None if parent is None else parent.value,
        order.strategy_id.value,
        _decision(tags) if tags else None,
    )
    if tags and len(tags) > 1:
        found.explores = _explores(tags)
    return found


def _trigger(order: NautilusOrder) -> int | None:
    trigger = order.trigger_price  # a trailing stop has none before its first price
    return None if trigger is None else trigger.raw // RAW_PER_NANO


def _decision(tags: list[str]) -> int | None:
    for tag in tags:
        if tag.startswith(_DECISION) and tag[len(_DECISION) :].isdigit():
            return int(tag[len(_DECISION) :])
    return None


def explores_tag(tactic: str) -> str:
    """Return the tag that marks an order as explored."""
    return _EXPLORES + tactic


def _explores(tags: list[str]) -> str:
    for tag in tags:
        if tag.startswith(_EXPLORES):
            return tag[len(_EXPLORES) :] or "?"  # a mark without a name is a mark
    return ""


def denied(order: NautilusOrder, reason: str, ts: int) -> OrderDenied:
    """Return the event that denies `order`."""
    return OrderDenied(
        trader_id=order.trader_id,
        strategy_id=order.strategy_id,
        instrument_id=order.instrument_id,
        client_order_id=order.client_order_id,
        reason=reason,
        event_id=UUID4(),
        ts_init=ts,
    )


def modify_rejected(order: NautilusOrder, reason: str, ts: int) -> OrderModifyRejected:
    """Return the event that rejects a modification of `order`."""
    return OrderModifyRejected(
        trader_id=order.trader_id,
        strategy_id=order.strategy_id,
        instrument_id=order.instrument_id,
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        account_id=order.account_id,
        reason=reason,
        event_id=UUID4(),
        ts_event=ts,
        ts_init=ts,
    )


def cancel_of(order: NautilusOrder, ts: int) -> CancelOrder:
    """Return the command that cancels `order`."""
    return CancelOrder(
        trader_id=order.trader_id,
        strategy_id=order.strategy_id,
        instrument_id=order.instrument_id,
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        command_id=UUID4(),
        ts_init=ts,
    )


def kept_of(fill: OrderFilled, instrument: Instrument | None) -> int:
    """Return how much of what was bought the venue has kept as its fee, nano: a spot exchange charges what it gives."""
    if fill.order_side != OrderSide.BUY or not fill.commission.raw:
        return 0
    base = None if instrument is None else instrument.get_base_currency()
    return fill.commission.raw // RAW_PER_NANO if base is not None and fill.commission.currency == base else 0


def closing(
    position: Position, instrument: Instrument | None, own: Mapping[str, int], price: int = 0
) -> Quantity | None:
    """
    Return how much of a position can be sold or bought back; None: less than the venue takes in one order.

    Parameters
    ----------
    position : Position
    instrument : Instrument, optional
    own : mapping of str to int
        The parts of the instrument's position by the law's books, nano, by id of the position. They count where a
        venue has kept fees of purchases: Nautilus rounds after each, and in time believes in more than there is.
    price : int
        What it would be closed at, nano; 0: not known, and its value says nothing.
    """
    raw = position.quantity.raw
    if position.adjustments:
        raw = min(raw, abs(own.get(position.id.value, 0)) * RAW_PER_NANO)
    step = 1 if instrument is None else instrument.size_increment.raw
    whole = raw // step * step
    least = None if instrument is None else instrument.min_notional
    if not whole or (price and least is not None and whole // RAW_PER_NANO * price < least.raw * ATTO_PER_RAW):
        return None
    return Quantity.from_raw(whole, position.quantity.precision)


def flatten_of(position: Position, quantity: Quantity, number: int, ts: int) -> SubmitOrder:
    """Return the command that closes `quantity` of a position with a reduce-only market order of its own strategy."""
    order = MarketOrder(
        trader_id=position.trader_id,
        strategy_id=position.strategy_id,
        instrument_id=position.instrument_id,
        client_order_id=ClientOrderId(f"LAW-{ts}-{number}"),
        order_side=OrderSide.SELL if position.is_long else OrderSide.BUY,
        quantity=quantity,
        init_id=UUID4(),
        ts_init=ts,
        reduce_only=True,
        tags=[LAW_TAG],
    )
    return SubmitOrder(
        trader_id=position.trader_id,
        strategy_id=position.strategy_id,
        order=order,
        command_id=UUID4(),
        ts_init=ts,
        position_id=position.id,
    )
