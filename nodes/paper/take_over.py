"""Shim: what another node has left is bought without an exchange, by orders that this node's law judges as any other.

Each order waits for a market event of its instrument, so that the law has a price, and for the one before it. It goes
straight to the law, not by Nautilus's own risk engine: that one asks for money which the position was bought with long
ago. What is denied, or not taken by the broker, stops trading: then somebody holds something that nobody watches.
"""

from collections import defaultdict
from decimal import Decimal
from typing import Any

from nautilus_trader.core.data import Data
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import SubmitOrder
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import Bar, InstrumentStatus
from nautilus_trader.model.enums import OrderSide, OrderStatus
from nautilus_trader.model.identifiers import ClientOrderId, InstrumentId
from nautilus_trader.model.orders import LimitOrder

from alphatrade.nodes.replay import members
from alphatrade.reflection.following import BY
from alphatrade.risk.gate import RiskGate
from alphatrade.risk.handover import KIND, HandOver, Part

BETWEEN_NS = 500_000_000  # from one order to the next: the law has limits of a rate


class TakeOver:
    """
    Takes over what was left, part by part.

    Parameters
    ----------
    node : TradingNode
    gate : RiskGate
        Its law.
    venue : LiveBroker
        Is told what may come; another one takes over nothing.

    Attributes
    ----------
    given : HandOver or None
        What was left; None: nothing was.
    taken : mapping of str to Decimal
        What of it this node has by now, by instrument.
    refused : str
        Why not all of it was taken over; empty: it was, or still may be.
    """

    def __init__(self, node: TradingNode, gate: RiskGate, venue: Any) -> None:
        self._node, self._gate, self._venue = node, gate, venue
        self.given: HandOver | None = None
        self.taken: dict[str, Decimal] = defaultdict(Decimal)
        self.refused = ""
        self._open: list[Part] = []
        self._sent: Part | None = None
        self._next = 0  # not before this time is another order sent, UTC ns

    @property
    def waits(self) -> bool:
        """Whether something is still to be taken over."""
        return bool(self._open)

    def begin(self, left: HandOver, ts: int) -> None:
        """Have all of it taken over as soon as there are prices."""
        self.given, self._open = left, list(left.parts)
        for part in left.parts:
            words = f"left by run {left.run}"
            self._gate.record.event(ts, KIND, part.instrument, part.order_id, KIND.upper(), part.qty, part.price, words)
        self._venue.announce(left.parts, lambda: self.waits)

    def heard(self, data: Data, ts: int) -> None:
        """Send the next order, if this event is a price of its instrument and it is due."""
        self.settled()
        if self._sent is not None or ts < self._next or isinstance(data, InstrumentStatus):
            return
        name = (data.bar_type if isinstance(data, Bar) else data).instrument_id.value
        part = next((one for one in self._open if one.instrument == name), None)
        if part is not None:
            self._sent, self._next = part, ts + BETWEEN_NS
            self._send(part, ts)
            self.settled()

    def settled(self) -> None:
        """See what came of the order that was sent last."""
        part = self._sent
        if part is None:
            return
        order = self._node.kernel.cache.order(ClientOrderId(part.order_id))
        if order is not None and not order.is_closed:
            return
        self._sent = None
        if order is not None and order.status == OrderStatus.FILLED:
            self._open.remove(part)
            self.taken[part.instrument] += Decimal(part.qty)
            return
        why = "nothing has come of it" if order is None else getattr(order.last_event, "reason", "it has ended")
        self.refused = f"{part.order_id}, {part.qty} of {part.instrument} at {part.price}: {why}"
        self._open.clear()
        self._gate.trip(KIND.upper(), self.refused, "law")

    def _send(self, part: Part, ts: int) -> None:
        kernel, name = self._node.kernel, InstrumentId.from_str(part.instrument)
        instrument = kernel.cache.instrument(name)
        strategy = next(
            one for one in members(self._node.trader, "Organism") if one.config.instrument_id == part.instrument
        )
        order = LimitOrder(
            trader_id=strategy.trader_id, strategy_id=strategy.id, instrument_id=name,
            client_order_id=ClientOrderId(part.order_id), order_side=OrderSide.BUY,
            quantity=instrument.make_qty(Decimal(part.qty)), price=instrument.make_price(Decimal(part.price)),
            init_id=UUID4(), ts_init=ts, tags=[f"{BY}{KIND}"],
        )  # fmt: skip
        kernel.msgbus.publish(f"events.order.{strategy.id.value}", order.init_event)
        command = SubmitOrder(
            trader_id=order.trader_id, strategy_id=order.strategy_id, order=order, command_id=UUID4(), ts_init=ts
        )
        kernel.msgbus.send(endpoint="ExecEngine.execute", msg=command)
