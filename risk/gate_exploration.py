"""What the gate does about exploration: counts decision steps, freezes at the first warning, cancels what works."""

from typing import TYPE_CHECKING, Any

from nautilus_trader.model.identifiers import ClientOrderId

from alphatrade.risk.exploration import LOCKED, Exploration
from alphatrade.risk.gate_config import Frozen
from alphatrade.risk.gate_orders import cancel_of
from alphatrade.risk.limits import Code, text

if TYPE_CHECKING:
    from alphatrade.risk.exposure import Order
    from alphatrade.risk.gate import RiskGate

FROZEN_TOPIC = "alphatrade.risk.frozen"
# Rows of the record after which nothing is explored any more: whatever the law has against trading.
WARNINGS = frozenset({"near_miss", "denied", "breach", "tripwire", "state", "kill"})


class Explorations:
    """
    The budget of one gate.

    Parameters
    ----------
    gate : RiskGate
        Whose orders are explored, and whose record is a warning.

    Attributes
    ----------
    budget : Exploration
    """

    def __init__(self, gate: "RiskGate") -> None:
        self.gate = gate
        self.clear()

    def clear(self) -> None:
        """Start over with the budget of the configuration; in a locked environment there is none."""
        settings = self.gate.settings
        share = 0.0 if settings.env in LOCKED else settings.explored_share
        self.budget = Exploration(share, settings.explored_every, self.gate.template.price_collar)

    def listen(self, first: int) -> None:
        """Hear of steps and of alarms, with bus priority `first`; nobody is listened to where nothing is explored."""
        gate, settings = self.gate, self.gate.settings
        if not self.budget.share_n:
            return
        if settings.steps_topic:
            gate.msgbus.subscribe(topic=settings.steps_topic, handler=self.on_step, priority=first)
        if settings.alarms_topic:
            gate.msgbus.subscribe(topic=settings.alarms_topic, handler=self.on_alarm, priority=first)

    def on_step(self, step: Any) -> None:
        """Count a decision step."""
        self.budget.step(step.instrument)

    def on_alarm(self, alarm: Any) -> None:
        """Freeze on an alarm; one that does not say whether it asks for it does."""
        if getattr(alarm, "freeze", True):
            self.freeze(self.gate.clock.timestamp_ns(), f"drift: {getattr(alarm, 'detail', alarm)}")

    def warned(self, ts: int, kind: str, limit: str) -> None:
        """Look at a row of the record; a denial for the budget itself is no warning."""
        if self.budget.share_n and kind in WARNINGS and limit != Code.EXPLORATION:
            self.freeze(ts, f"{kind} {limit}".rstrip())

    def freeze(self, ts: int, why: str) -> None:
        """Let nothing be explored from now on, and cancel what is."""
        gate = self.gate
        if not self.budget.freeze(why):
            return
        gate.record.event(ts, "frozen", None, None, str(Code.EXPLORATION), "", "", why)
        gate.msgbus.publish(FROZEN_TOPIC, Frozen(why))
        for order_id in self.budget.working:
            order = gate.cache.order(ClientOrderId(order_id))
            if order is None or order.is_closed or order.is_pending_cancel:
                continue
            command = cancel_of(order, ts)
            if order.is_emulated:
                gate.msgbus.send("OrderEmulator.execute", command)
            else:
                gate.forward(command)

    def approved(self, order: "Order", now: int) -> None:
        """Write down that an order was let through as explored: what it may come to, and what is left after it."""
        budget = self.budget
        if order.order_id in budget.opening:
            claim, left = (text(amount2, "m") for amount2 in (budget.claim2(order.order_id), budget.room2))
            name, limit = order.instrument, str(Code.EXPLORATION)
            self.gate.record.event(now, "explored", name, order.order_id, limit, claim, left, order.explores)
