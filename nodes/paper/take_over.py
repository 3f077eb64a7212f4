"""Shim: what another node has left is bought without an exchange, by orders that this node's law judges as any other.

Each order waits for a market event of its instrument by which the law can judge it, and for the one before it. It goes
straight to the law, not by Nautilus's own risk engine: that one asks for money which the position was bought with long
ago. What is denied, or not taken by the broker, stops trading. Then the law takes over all that is left, by orders of
its own that nothing judges, and sells it as anything else that is held: else nobody would watch it.
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

from alphatrade.actors.cadence import SECOND_NS
from alphatrade.nodes.replay import members
from alphatrade.reflection.following import BY
from alphatrade.risk.gate import RiskGate
from alphatrade.risk.handover import BY_LAW, KIND, LEFT_BY, HandOver, Part
from alphatrade.risk.reference import check_market
from alphatrade.risk.template import RiskTemplate

BETWEEN_NS = SECOND_NS // 2  # from one order to the next, at least
SOLD = "the law takes it over to sell it"
DOUBT = "the books differ from the exchange's, which may not have it any more"
USED = "its id is that of another order"


class TakeOver:
    """
    Takes over what was left, part by part.

    Parameters
    ----------
    node : TradingNode
    gate : RiskGate
        Its law, which lets nothing else be bought meanwhile.
    venue : LiveBroker
        Is told what may come; another one takes over nothing.

    Attributes
    ----------
    given : HandOver or None
        What was left; None: nothing was.
    taken : mapping of str to Decimal
        What of it this node has by now, by instrument; what is to be sold at once is in it.
    refused : str
        Why it is not kept, and what becomes of it; empty: all was taken over, or still may be.
    """

    def __init__(self, node: TradingNode, gate: RiskGate, venue: Any) -> None:
        self._node, self._gate, self._venue = node, gate, venue
        self.given: HandOver | None = None
        self.taken: dict[str, Decimal] = defaultdict(Decimal)
        self.refused = ""
        self._open: list[Part] = []
        self._sent: dict[str, Part] = {}  # by order id: parts that are on their way
        self._next, self._between_ns = 0, between_ns(gate.template)  # before that time no other is sent, UTC ns
        gate.live_gate.waits, gate.reduction.owed = lambda: self.waits, self._by_law
        gate.live_gate.takes = self._sent.__contains__

    @property
    def waits(self) -> bool:
        """Whether something is still to be taken over."""
        return bool(self._open)

    def begin(self, left: HandOver, ts: int) -> None:
        """
        Have all of it taken over as soon as there are prices; at once, to be sold, where trading has stopped.

        A second one without parts takes the first one back: what waits may be gone, and is taken over by nobody here.
        """
        if not left.parts:
            self._take_back()
            return
        self.given, self._open = left, list(left.parts)
        for part in left.parts:
            words = f"{LEFT_BY}{left.run}"
            self._gate.record.event(ts, KIND, part.instrument, part.order_id, KIND.upper(), part.qty, part.price, words)
        self._venue.announce(left.parts)
        if self._gate.switch.trip_cause is not None:
            self._gate.reduction.step()

    def heard(self, data: Data, ts: int) -> None:
        """Send the next order, if this event is a price of its instrument and it is due."""
        self.settled()
        if self._sent or ts < self._next or isinstance(data, InstrumentStatus):
            return
        name = (data.bar_type if isinstance(data, Bar) else data).instrument_id.value
        part = next((one for one in self._open if one.instrument == name), None)
        if part is not None and self._ready(part, ts):
            if self._used(part):
                self._denied(part, USED)
                return
            self._sent[part.order_id], self._next = part, ts + self._between_ns
            self._send(part, ts)
            self.settled()

    def settled(self) -> None:
        """See what came of the orders that were sent."""
        cache, over = self._node.kernel.cache, False
        for name, part in list(self._sent.items()):
            order = cache.order(ClientOrderId(name))
            if order is not None and not order.is_closed:
                continue
            del self._sent[name]
            over = True
            if order is not None and order.status == OrderStatus.FILLED:
                self._open.remove(part)
                self.taken[part.instrument] += Decimal(part.qty)
            else:
                why = "nothing has come of it" if order is None else getattr(order.last_event, "reason", "it has ended")
                self._denied(part, why)
        if over and self._gate.switch.trip_cause is not None:
            self._gate.reduction.step()

    def _ready(self, part: Part, ts: int) -> bool:
        """Return whether it is the time for an order, and there is a price to judge it by."""
        gate = self._gate
        if gate.phase != "open":
            return False
        gate.market.refresh(part.instrument)
        if gate.switch.trip_cause is not None:  # by that price: the law has it now
            return False
        return check_market(gate.law, gate.law.exposure.holding(part.instrument), ts, None, None, []) is None

    def _denied(self, part: Part, why: str) -> None:
        words = f"{_words(part)}: {why}"
        if part.order_id.endswith(BY_LAW):
            self._open.remove(part)
            self.refused = f"{self.refused}; but not {words}"
            return
        self.refused = self.refused or f"{words}; {SOLD}"
        self._gate.trip(KIND.upper(), self.refused, "law")

    def _take_back(self) -> None:
        """Take over nothing more."""
        rest = ", ".join(_words(part) for part in self._open)
        self.refused = "; ".join(filter(None, (self.refused, f"not taken over is {rest}: {DOUBT}")))
        self._open.clear()
        self._sent.clear()
        self._venue.withdraw(DOUBT)
        self._gate.trip(KIND.upper(), self.refused, "law")

    def _used(self, part: Part) -> bool:
        """Return whether somebody else has sent an order of this id: what comes of that one is not ours."""
        return self._node.kernel.cache.order(ClientOrderId(part.order_id)) is not None

    def _by_law(self, now: int) -> bool:
        """Have the law take over what is not on its way, as trading has stopped; return whether some is missing yet."""
        self.settled()
        rest = [part for part in self._open if part.order_id not in self._sent]
        if rest:
            cause = self._gate.switch.trip_cause
            self.refused = self.refused or f"trading has stopped ({cause and cause.code}): {SOLD}"
            parts = [part._replace(order_id=part.order_id + BY_LAW) for part in rest]
            self._open = [part for part in self._open if part not in rest] + parts
            self._venue.announce(parts)
            used = [part for part in parts if self._used(part)]
            for part in used:
                self._denied(part, USED)
            free = [part for part in parts if part not in used]
            self._sent.update({part.order_id: part for part in free})
            for part in free:
                self._gate.reduction.send(self._command(part, now), now)
        return self.waits

    def _send(self, part: Part, ts: int) -> None:
        bus, command = self._node.kernel.msgbus, self._command(part, ts)
        bus.publish(f"events.order.{command.strategy_id.value}", command.order.init_event)
        bus.send(endpoint="ExecEngine.execute", msg=command)

    def _command(self, part: Part, ts: int) -> SubmitOrder:
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
        return SubmitOrder(
            trader_id=order.trader_id, strategy_id=order.strategy_id, order=order, command_id=UUID4(), ts_init=ts
        )


def _words(part: Part) -> str:
    return f"{part.order_id}, {part.qty} of {part.instrument} at {part.price}"


def between_ns(template: RiskTemplate) -> int:
    """Return the time from one order to the next by which none is denied for its rate."""
    return max(
        BETWEEN_NS,
        -(-SECOND_NS // template.orders_per_second),
        -(-60 * SECOND_NS // template.orders_per_minute),
    )
