"""The gate's judgement of commands: what reaches the execution engine, and how the rest is refused."""

from typing import TYPE_CHECKING, Any

from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import ModifyOrder, SubmitOrder, SubmitOrderList
from nautilus_trader.model.enums import ContingencyType, OrderStatus
from nautilus_trader.model.orders import Order as NautilusOrder

from alphatrade.risk.approval import APPROVAL_NS
from alphatrade.risk.exposure import Order
from alphatrade.risk.gate_orders import HARMLESS, UNSENT, cancel_of, denied, intent, modify_rejected
from alphatrade.risk.limits import Code, Verdict, deny
from alphatrade.risk.units import RAW_PER_NANO, from_nano

if TYPE_CHECKING:
    from alphatrade.risk.gate import RiskGate

_HELD = deny(Code.SHADOW, "judged and held, as nothing is sent in this environment")
SHADOW = "live-shadow"  # the environment in which orders are judged and none leaves


class Commands:
    """
    Stands at ``ExecEngine.execute``.

    Parameters
    ----------
    gate : RiskGate
        Whose law is applied.

    Attributes
    ----------
    shadow : bool
        What is let through is held all the same.
    """

    def __init__(self, gate: "RiskGate") -> None:
        self.gate = gate
        self.shadow = gate.settings.env == SHADOW
        self.clear()

    def clear(self) -> None:
        """Forget what is under way."""
        self.denying: set[str] = set()  # denials sent and not yet seen as events; membership only
        self.changes: dict[UUID4, tuple[int, int]] = {}  # modifications in a live queue: approved when, to what (nano)

    def receive(self, command: Any) -> None:
        """Take a command from the bus, on whatever thread."""
        self.gate.at_home(self.execute, command)

    def execute(self, command: Any) -> None:
        """Let a command through or refuse it; whatever cannot be judged is refused and stops trading."""
        kind = type(command)
        try:
            if kind in HARMLESS:
                passes = True
            elif kind is SubmitOrder:
                passes = self._submit(command, (command.order,))
            elif kind is SubmitOrderList:
                passes = self._submit(command, command.order_list.orders)
            elif kind is ModifyOrder:
                passes = self._modify(command)
            else:
                passes = self._unknown(command)
        except Exception as error:
            self.gate.fail(f"judging {kind.__name__}", error)
            self._refuse(command, deny(Code.HALTED, f"the law failed: {error!r}"))
            return
        if passes:
            leave = self.withhold if self.shadow and not self.gate.live else self.gate.forward
            leave(command)

    def guard(self, command: Any) -> None:
        """Second look in a live node, where a command waits in a queue between judgement and venue."""
        gate = self.gate
        kind = type(command)
        try:
            verdict = None if kind in HARMLESS else self._late_denial(command, kind)
            if verdict is not None:
                self._refuse(command, verdict)
            else:
                command = gate.live_gate.sealed(command)
        except Exception as error:
            gate.fail(f"guarding {kind.__name__}", error)
            self._refuse(command, deny(Code.HALTED, f"the law failed: {error!r}"))  # else it would be waited for
            return
        if verdict is None:
            leave = self.withhold if self.shadow else gate.run_command
            leave(command)

    def withhold(self, command: Any) -> None:
        """Hold a command that may leave, in an environment where nothing does; its orders end as denied, and say so."""
        now = self.gate.clock.timestamp_ns()
        if isinstance(command, ModifyOrder):
            self._refuse_modify(command, _HELD, now)
        elif isinstance(command, SubmitOrder | SubmitOrderList):
            for order in [command.order] if isinstance(command, SubmitOrder) else command.order_list.orders:
                name, order_id, qty = order.instrument_id.value, order.client_order_id.value, str(order.quantity)
                self.gate.record.event(now, "shadow", name, order_id, str(Code.SHADOW), qty, "", "would have been sent")
                self.deny_order(order, _HELD.reason, now)

    # -- judgement

    def _submit(
        self, command: SubmitOrder | SubmitOrderList, orders: tuple[NautilusOrder, ...] | list[NautilusOrder]
    ) -> bool:
        gate = self.gate
        now = gate.clock.timestamp_ns()
        intents = [intent(order) for order in orders]
        verdict = self._borrowed(command, intents) or self._judge(intents, now)
        if not verdict.allowed:
            self._refuse_orders(orders, verdict, now)
            if verdict.code in gate.law.stops:
                gate.breach(verdict, now)
            return False
        for order in intents:  # the row just before `submitted` is the moment of this judgement
            gate.record.order(now, order, "initialized", order.qty, order.price, order.trigger)
            gate.orders[order.order_id] = order
        gate.law.commit(intents, now)
        for order in intents:
            gate.market.follow(order.instrument)
            if order.explores:
                gate.explorations.approved(order, now)
        if verdict.near or gate.factors:
            self._near(verdict, intents, now)
        return True

    def _borrowed(self, command: Any, intents: list[Order]) -> Verdict | None:
        """Return a denial of orders under another strategy's name, where it matters whose an order is."""
        sender = command.strategy_id.value
        if self.gate.cap is None or all(order.strategy == sender for order in intents):
            return None
        return deny(Code.CAP, f"{sender} acts under the name of another strategy")

    def _shut(self, intents: list[Order]) -> Verdict | None:
        """Return a denial outside of the session, and shortly before its end of what does not only close."""
        phase = self.gate.phase
        if phase == "open" or (phase == "closing" and all(order.reduce_only for order in intents)):
            return None
        return deny(Code.SESSION, f"the market is {phase}")

    def _judge(self, intents: list[Order], now: int) -> Verdict:
        gate = self.gate
        if gate.switch.trip_cause is not None:
            return gate.state_denial()
        early = self._shut(intents) or gate.live_gate.held(intents)
        if early is not None:
            return early
        seen = None
        for order in intents:
            if order.instrument != seen:
                seen = order.instrument
                unfit = gate.market.look(seen)
                if unfit is not None:
                    return unfit
        return gate.law.check(intents, now)

    def _modify(self, command: ModifyOrder) -> bool:
        gate = self.gate
        now = gate.clock.timestamp_ns()
        order = gate.orders.get(command.client_order_id.value)
        qty, price, trigger = (
            None if level is None else level.raw // RAW_PER_NANO
            for level in (command.quantity, command.price, command.trigger_price)
        )
        verdict = gate.state_denial()
        if verdict is None and order is not None:
            verdict = self._borrowed(command, [order]) or self._shut([order]) or gate.market.look(order.instrument)
        if verdict is None:
            verdict = gate.law.check_modify(order, qty, price, trigger, now)
        if not verdict.allowed or order is None:
            self._refuse_modify(command, verdict, now)
            if verdict.code in gate.law.stops:
                gate.breach(verdict, now)
            return False
        gate.law.commit_modify(order, qty, now)
        if gate.live:
            self.changes[command.id] = (now, order.qty if qty is None else qty)
        terms = (order.qty if qty is None else qty, price or order.price, trigger or order.trigger)
        gate.record.order(now, order, "modify_approved", *terms)
        if verdict.near or gate.factors:
            self._near(verdict, [order], now)
        return True

    def _unknown(self, command: Any) -> bool:
        words = f"{type(command).__name__} is not a command this law knows"
        self._refuse(command, deny(Code.UNKNOWN_COMMAND, words))
        return False

    def _late_denial(self, command: Any, kind: type) -> Verdict | None:
        """Return a denial of an approved command if the switch has tripped, the permit or the approval has ended."""
        gate = self.gate
        if kind is ModifyOrder:
            return self._late_change(command)
        unsealed = gate.live_gate.unsealed()
        if unsealed is not None:
            return unsealed
        denial = gate.state_denial()
        now = gate.clock.timestamp_ns()
        for order in [command.order] if kind is SubmitOrder else command.order_list.orders:
            known = gate.orders.get(order.client_order_id.value)
            if known is None or known.order_id not in gate.law.approved:
                return self._unapproved(order.client_order_id.value)
            if known.by_law:
                continue
            denial = denial or gate.live_gate.unfit(known.instrument, now) or self._expired(known.ts, now)
            if denial is not None:
                return denial
        return None

    def _late_change(self, command: ModifyOrder) -> Verdict | None:
        """Return a denial of a modification likewise, after giving back what was reserved for it."""
        gate = self.gate
        order_id = command.client_order_id.value
        approved = self.changes.pop(command.id, None)
        if approved is None:
            return self._unapproved(order_id)
        then, qty = approved
        denial = gate.state_denial() or self._expired(then, gate.clock.timestamp_ns())
        order = gate.orders.get(order_id)
        if denial is not None and order is not None:
            gate.law.exposure.refuse(order, qty)
            gate.law.on_modify_asked(order)  # the refusal that follows answers this, not another modification
        return denial

    def _unapproved(self, order_id: str) -> Verdict | None:
        self.gate.trip("TRIPWIRE", f"order {order_id} was queued without approval", "law")
        return self.gate.state_denial()

    @staticmethod
    def _expired(then: int, now: int) -> Verdict | None:
        if now - then <= APPROVAL_NS:
            return None
        age, bound = str(from_nano(now - then)), str(from_nano(APPROVAL_NS))
        return deny(Code.STALE_REFERENCE, "age of the approval, seconds", age, bound)

    # -- refusal

    def _refuse(self, command: Any, verdict: Verdict) -> None:
        now = self.gate.clock.timestamp_ns()
        if isinstance(command, SubmitOrder):
            self._refuse_orders((command.order,), verdict, now)
        elif isinstance(command, SubmitOrderList):
            self._refuse_orders(command.order_list.orders, verdict, now)
        elif isinstance(command, ModifyOrder):
            self._refuse_modify(command, verdict, now)
        else:
            self._note(verdict, None, None, now)

    def _refuse_orders(self, orders: Any, verdict: Verdict, now: int) -> None:
        for order in orders:
            self._note(verdict, order.instrument_id.value, order.client_order_id.value, now)
        for order in orders:
            self.deny_order(order, verdict.reason, now)

    def deny_order(self, order: NautilusOrder, reason: str, now: int) -> None:
        """Deny one order by an event, unless it was already sent or its id belongs to another order."""
        gate = self.gate
        order_id = order.client_order_id
        if order.status not in UNSENT or order_id.value in self.denying:
            return
        known = gate.cache.order(order_id)
        if known is None:
            gate.cache.add_order(order)
        elif known.status not in UNSENT:
            return  # the event would hit the other order
        self.denying.add(order_id.value)
        gate.msgbus.send("ExecEngine.process", denied(order, reason, now))

    def close_children(self, order: NautilusOrder, reason: str, now: int) -> None:
        """Close the contingent children of an entry that was denied: nobody else would."""
        if order.contingency_type != ContingencyType.OTO:
            return
        for child_id in order.linked_order_ids or ():
            child = self.gate.cache.order(child_id)
            if child is None or child.is_closed:
                continue
            if child.status in UNSENT:
                self.deny_order(child, f"{reason}; entry {order.client_order_id.value} denied", now)
            elif child.status == OrderStatus.EMULATED:
                self.gate.msgbus.send("OrderEmulator.execute", cancel_of(child, now))

    def _refuse_modify(self, command: ModifyOrder, verdict: Verdict, now: int) -> None:
        order_id = command.client_order_id
        self._note(verdict, command.instrument_id.value, order_id.value, now)
        order, known = self.gate.cache.order(order_id), self.gate.orders.get(order_id.value)
        if order is not None and not order.is_closed:
            if known is not None and not known.asking:  # sent past the strategy, which would have announced it
                self.gate.law.on_modify_asked(known)
            self.gate.msgbus.send("ExecEngine.process", modify_rejected(order, verdict.reason, now))

    # -- records

    def _note(self, verdict: Verdict, instrument: str | None, order_id: str | None, now: int) -> None:
        limit = str(verdict.code)
        self.gate.record.event(now, "denied", instrument, order_id, limit, verdict.value, verdict.bound, verdict.reason)

    def _near(self, verdict: Verdict, orders: list[Order], now: int) -> None:
        gate = self.gate
        for use in verdict.near:
            order = gate.orders[use.order_id] if use.order_id else orders[0]
            gate.record.event(
                now, "near_miss", order.instrument, order.order_id, str(use.code), use.value, use.bound, ""
            )
        for instrument in dict.fromkeys(order.instrument for order in orders):
            gate.advise(instrument, now)
