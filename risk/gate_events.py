"""Order events on their way into the law and the record, and the tripwire for orders nobody approved."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nautilus_trader.model.events import (
    OrderAccepted,
    OrderDenied,
    OrderFilled,
    OrderModifyRejected,
    OrderPendingUpdate,
    OrderSubmitted,
    OrderUpdated,
)
from nautilus_trader.model.identifiers import ClientOrderId

from alphatrade.risk.exposure import Order
from alphatrade.risk.gate_live import new_law
from alphatrade.risk.gate_orders import EVENT_NAMES, REASONED, TERMINAL, cancel_of, intent, kept_of
from alphatrade.risk.limits import Code
from alphatrade.risk.units import RAW_PER_NANO, to_nano

if TYPE_CHECKING:
    from alphatrade.risk.gate import RiskGate

_LIQUIDITY = {1: "MAKER", 2: "TAKER"}


class Events:
    """
    Listens on ``events.order.*`` before every strategy.

    Parameters
    ----------
    gate : RiskGate
        Whose law and record are kept.
    """

    def __init__(self, gate: "RiskGate") -> None:
        self.gate = gate
        # What an event does to the law; True when it ends the order.
        self.handlers: dict[type, Callable[[Any, Order], bool]] = {
            OrderFilled: self._fill,
            OrderUpdated: self._update,
            OrderPendingUpdate: self._modify_asked,
            OrderModifyRejected: self._modify_rejected,
            **dict.fromkeys(TERMINAL, self._ended),
        }

    def adopt(self) -> None:
        """Take over orders and positions that were there before the start."""
        gate, cache = self.gate, self.gate.cache
        orders = cache.orders_open() + cache.orders_inflight()
        positions = cache.positions_open()
        if not orders and not positions and gate.memory.file is None:
            return
        gate.law = new_law(gate)  # what reconciliation has told already is in the positions too
        gate.market.clear()
        for position in positions:
            account = cache.account(position.account_id)
            quantity = position.quantity.raw // RAW_PER_NANO * (1 if position.is_long else -1)
            name = position.instrument_id.value
            # A balance of cash lacks what the position cost, a configured capital does not.
            paid = gate.settings.capital is None and account is not None and account.is_cash_account
            who = position.id.value, position.strategy_id.value
            gate.law.adopt(name, quantity, to_nano(position.avg_px_open), paid, *who)
            gate.market.wake(name)
        for order in orders:
            known = gate.orders[order.client_order_id.value] = intent(order)
            known.filled = order.filled_qty.raw // RAW_PER_NANO
            known.by_law = True
            gate.law.commit((known,), gate.clock.timestamp_ns())
            known.by_law = False
            gate.market.wake(known.instrument)
        gate.memory.resume()

    def on_event(self, event: Any) -> None:
        """Take one order event; whatever cannot be understood stops trading."""
        kind = type(event)
        name = EVENT_NAMES.get(kind)
        if name is None:
            return  # initialized: written when the order is first judged or heard of again
        try:
            self._take(event, kind, name)
            self.gate.record.ensure_kept()
            if kind is OrderFilled and self.gate.memory.file is not None and not self.gate.recovering:
                self.gate.memory.keep()
        except Exception as error:
            self.gate.fail(f"taking {kind.__name__}", error)

    def _take(self, event: Any, kind: type, name: str) -> None:
        gate = self.gate
        record, law = gate.record, gate.law
        if record.quiet is not None:
            record.quiet.close()
        order_id = event.client_order_id.value
        order = gate.orders.get(order_id) or self._meet(event, kind)
        if order is None:
            return
        reason = event.reason if kind in REASONED else None
        if kind is OrderDenied:
            reason = self._denied(event, order)
        if kind is not OrderDenied or reason is not None:
            handler = self.handlers.get(kind)
            ended = handler is not None and handler(event, order)
            record.order(event.ts_event, order, name, order.qty, order.price, order.trigger, reason)
            unsent = gate.commands.shadow or order_id not in law.approved
            if unsent and (kind is OrderSubmitted or kind is OrderAccepted):
                self._tripwire(event, order, kind)
            if ended:
                self._forget(order, event.ts_event)
        if gate.switch.trip_cause is not None:
            gate.reduction.on_event(order_id, kind)

    def _forget(self, order: Order, ts: int) -> None:
        gate = self.gate
        gate.orders.pop(order.order_id, None)
        gate.market.settle(order.instrument)
        if gate.factors:
            gate.advise(order.instrument, ts)

    def _meet(self, event: Any, kind: type) -> Order | None:
        known = self.gate.cache.order(event.client_order_id)
        if known is None:
            return None
        order = intent(known)
        order.filled = known.filled_qty.raw // RAW_PER_NANO
        if kind is OrderFilled:  # the event has been applied to the order already
            order.filled -= event.last_qty.raw // RAW_PER_NANO
        if order.order_id not in self.gate.law.approved:
            self.gate.record.order(known.ts_init, order, "initialized", order.qty, order.price, order.trigger)
        self.gate.orders[order.order_id] = order
        return order

    def _ended(self, event: Any, order: Order) -> bool:
        known = self.gate.cache.order(event.client_order_id)
        if known is not None and not known.is_closed:
            return False  # Nautilus could not apply the event: the order lives on
        self.gate.law.on_closed(order.order_id)
        return True

    def _fill(self, event: OrderFilled, order: Order) -> bool:
        gate = self.gate
        law = gate.law
        gate.market.refresh(order.instrument)
        qty, price = event.last_qty.raw // RAW_PER_NANO, event.last_px.raw // RAW_PER_NANO
        if not order.working:
            order.filled += qty
        fee = gate.in_account_currency(event.commission, order.instrument, price)
        # Where positions net there is one of each strategy; where they hedge, the fill says which it is of.
        owner = order.strategy if event.position_id is None else event.position_id.value
        who = owner, order.strategy
        kept = kept_of(event, gate.cache.instrument(event.instrument_id))
        realized = law.on_fill(order.order_id, order.instrument, order.side, qty, price, fee, *who, kept)
        position = law.exposure.holding(order.instrument).position
        gate.record.fill(
            event.ts_event, order, event.trade_id.value, qty, price, event.commission.raw // RAW_PER_NANO,
            event.commission.currency.code, _LIQUIDITY.get(int(event.liquidity_side), ""), position, realized,
        )  # fmt: skip
        gate.record_equity(event.ts_event)
        gate.market.wake(order.instrument)
        self._cancel_strays(event)
        return not order.leaves and self._ended(event, order)

    def _cancel_strays(self, fill: OrderFilled) -> None:
        """Cancel reduce-only orders that a fill has turned into openers: the venue looks at their side only once."""
        gate, cache = self.gate, self.gate.cache
        name = fill.instrument_id.value
        for order in [o for o in gate.law.exposure.working.values() if o.reduce_only and o.instrument == name]:
            known = cache.order(ClientOrderId(order.order_id))
            if known is None or not known.is_open:
                continue
            held = cache.positions_open(instrument_id=known.instrument_id, strategy_id=known.strategy_id)
            if any(position.is_opposite_side(known.side) for position in held):
                continue
            gate.law.exposure.turn(order)
            if not known.is_pending_cancel:
                gate.forward(cancel_of(known, gate.clock.timestamp_ns()))

    def _modify_asked(self, _event: Any, order: Order) -> bool:
        self.gate.law.on_modify_asked(order)
        return False

    def _modify_rejected(self, _event: Any, order: Order) -> bool:
        self.gate.law.on_modify_rejected(order)
        return False

    def _update(self, event: OrderUpdated, order: Order) -> bool:
        qty = event.quantity.raw // RAW_PER_NANO
        if event.price is not None:
            order.price = event.price.raw // RAW_PER_NANO
        if event.trigger_price is not None:
            order.trigger = event.trigger_price.raw // RAW_PER_NANO
        gate = self.gate
        if not gate.law.on_updated(order, qty):
            reason = f"order {order.order_id} grew beyond what was approved"
            name, now = order.instrument, event.ts_event
            gate.record.event(now, "tripwire", name, order.order_id, "TRIPWIRE", "", "", reason)
            gate.trip("TRIPWIRE", reason, "law")
        return False

    def _tripwire(self, event: Any, order: Order, kind: type) -> None:
        if getattr(event, "reconciliation", False):
            return
        if kind is OrderAccepted and order.reduce_only:
            return  # the venue closing an expired contract
        gate = self.gate
        reason = f"order {order.order_id} went out without approval"
        gate.record.event(event.ts_event, "tripwire", order.instrument, order.order_id, "TRIPWIRE", "", "", reason)
        gate.trip("TRIPWIRE", reason, "law")

    def _denied(self, event: OrderDenied, order: Order) -> str | None:
        """Return the reason with a code, after closing what hangs on the order; None if it is not meant."""
        gate = self.gate
        commands, reason, known = gate.commands, event.reason, gate.cache.order(event.client_order_id)
        own = known is not None and known.is_closed  # else another order with the id of a living one was denied
        if own and order.order_id in commands.denying:
            commands.denying.discard(order.order_id)
        else:
            words = ((Code.HALTED, "HALTED"), (Code.REDUCING, "REDUCING"), (Code.DUPLICATE, "duplicate"))
            limit = next((str(code) for code, word in words if word in reason), "NATIVE")
            reason = f"{limit}: {reason}"
            name = order.instrument
            gate.record.event(event.ts_event, "denied", name, order.order_id, limit, "", "", reason)
        if not own:
            return None
        commands.close_children(known, reason, gate.clock.timestamp_ns())
        return reason
