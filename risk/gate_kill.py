"""After a trip: cancel everything, flatten everything, and see that it really happens."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from nautilus_trader.execution.messages import SubmitOrder
from nautilus_trader.model.events import OrderAccepted

from alphatrade.risk.gate_orders import cancel_of, closing, flatten_of, intent

if TYPE_CHECKING:
    from alphatrade.risk.gate import RiskGate

_RETRY_NS = 1_000_000_000


class Reduction:
    """
    Works towards an account without orders and positions, step by step as events come in.

    Cancels and closing orders can be refused or overtaken (a cancel may arrive before its order), so each is
    sent again, at most once a second of event time, until the account is flat. Then the switch goes to
    HALTED.

    Attributes
    ----------
    owed : callable
        Takes over by the law, given UTC ns, what another node has left, and returns whether something of it is missing
        still; set by who takes it over.
    """

    def __init__(self, gate: "RiskGate") -> None:
        self.gate = gate
        self.owed: Callable[[int], bool] = lambda _: False
        self.clear()

    def clear(self) -> None:
        """Forget what is under way."""
        self.busy = False
        self.number = 0
        self.tried: dict[str, int] = {}  # order or position id: when a cancel or a closing order was last sent
        self.closing: dict[str, str] = {}  # position id: id of the order that is closing it

    def on_event(self, order_id: str, kind: type) -> None:
        """React to an event of an order while the switch is not ACTIVE."""
        if kind is OrderAccepted:
            self.tried.pop(order_id, None)  # it rests now: a cancel sent earlier may have missed it
        self.step()

    def step(self) -> None:
        """Send what is missing; go to HALTED when nothing is."""
        if self.busy:
            return
        self.busy = True
        try:
            now = self.gate.clock.timestamp_ns()
            owed, orders = self.owed(now), self._cancel(now)
            positions = self._flatten(now)
            if not owed and not orders and not positions and not self.gate.law.exposure.working:
                self.gate.halt()
        finally:
            self.busy = False

    def _cancel(self, now: int) -> int:
        gate, cache = self.gate, self.gate.cache
        left = 0
        for order in cache.orders_open() + cache.orders_inflight() + cache.orders_emulated():
            if order.is_closed:
                continue
            order_id = order.client_order_id.value
            known = gate.orders.get(order_id)
            left += 1
            if (known is not None and known.by_law) or not self._due(order_id, now):
                continue
            command = cancel_of(order, now)
            if order.is_emulated:
                gate.msgbus.send("OrderEmulator.execute", command)
                left -= order.is_closed
            else:
                gate.forward(command)
        return left

    def _flatten(self, now: int) -> int:
        gate, left = self.gate, 0
        for position in gate.cache.positions_open():
            key = position.id.value
            held = gate.law.exposure.holding(position.instrument_id.value)
            price = held.bid if position.is_long else held.ask
            quantity = closing(position, gate.cache.instrument(position.instrument_id), held.own, price)
            if quantity is None:
                continue  # dust
            left += 1
            sent = self.closing.get(key)
            if sent is not None and sent in gate.law.exposure.working:
                continue
            if not self._due(key, now):
                continue
            self.number += 1
            command = flatten_of(position, quantity, self.number, now)
            self.closing[key] = command.order.client_order_id.value
            self.send(command, now)
        return left

    def send(self, command: SubmitOrder, now: int) -> None:
        """Send an order of the law itself (UTC ns), which nothing judges."""
        gate = self.gate
        gate.msgbus.publish(f"events.order.{command.strategy_id.value}", command.order.init_event)
        order = intent(command.order)
        order.by_law = True
        gate.orders[order.order_id] = order
        gate.record.order(now, order, "initialized", order.qty, order.price)
        gate.market.follow(order.instrument)
        gate.law.commit((order,), now)
        gate.forward(command)

    def _due(self, key: str, now: int) -> bool:
        last = self.tried.get(key)
        if last is not None and now - last < _RETRY_NS:
            return False
        self.tried[key] = now
        return True
