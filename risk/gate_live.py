"""What the gate does in the environment ``live``: a law that asks for a permit, a token for each order."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nautilus_trader.execution.messages import SubmitOrder, SubmitOrderList
from nautilus_trader.model.enums import order_side_to_str, order_type_to_str, time_in_force_to_str
from nautilus_trader.model.orders import Order as NautilusOrder

from alphatrade.risk.approval import Approvals, Terms, plain
from alphatrade.risk.caps import CappedLaw
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.exploring_law import ExploringLaw
from alphatrade.risk.exposure import Order
from alphatrade.risk.handover import handed
from alphatrade.risk.limits import Code, Verdict, deny
from alphatrade.risk.live_law import KINDS, LiveLaw
from alphatrade.risk.permit import NONE, Permit, unfit

if TYPE_CHECKING:
    from alphatrade.risk.gate import RiskGate

LIVE = "live"  # the environment in which an order is of real money
APPROVAL = "approval"  # of a command's `params`: tokens by order id
_WAITS = deny(Code.HANDOVER, "held until what was handed over is taken over")
_FOREIGN = deny(Code.HANDOVER, "an id of what is handed over, which this order does not take over")
_UNSEALED = deny(Code.NO_PERMIT, "nothing here makes approvals, and no order leaves without one")


def new_law(gate: "RiskGate") -> ExploringLaw:
    """
    Return the law of a gate's configuration, without any facts yet but what has been explored and the permit.

    Raises
    ------
    ConfigError
        If a cap is configured in ``live``, where strategies have none of their own.
    """
    given = gate.template, gate.capital, gate.settings.long_only, gate.explorations.budget
    if not gate.live_gate.asks:
        return ExploringLaw(*given) if gate.cap is None else CappedLaw(*given, gate.cap)
    if gate.cap is not None:
        raise ConfigError("cap_share", gate.settings.cap_share, f"no cap of a strategy in the environment {LIVE}")
    law = LiveLaw(*given)
    law.permit = gate.live_gate.permit
    return law


def terms_of(order: NautilusOrder) -> Terms:
    """
    Return what is approved of an order.

    Raises
    ------
    ValueError
        If it is of a kind that terms cannot say.
    """
    kind = order_type_to_str(order.order_type)
    if kind not in KINDS:
        raise ValueError(f"a {kind} order cannot be approved")
    limit = order.has_price
    return Terms(
        order.client_order_id.value,
        order.instrument_id.value,
        order_side_to_str(order.side),
        kind,
        plain(str(order.quantity)),
        plain(str(order.price)) if limit else "",
        time_in_force_to_str(order.time_in_force) if limit else "",
        limit and order.is_post_only,
    )


def token_of(command: Any, order_id: str) -> object:
    """Return what a command carries as the token of one of its orders; None: it carries none."""
    tokens = (command.params or {}).get(APPROVAL)
    return tokens.get(order_id) if isinstance(tokens, dict) else None


class LiveGate:
    """
    The permit and the approvals of one gate.

    Parameters
    ----------
    gate : RiskGate
        Whose orders are meant.

    Attributes
    ----------
    asks : bool
        Whether this is ``live``, where nothing goes without a permit and an approval.
    permit : Permit
    waits : callable
        Tells whether something that another node has left is still to be taken over; set by who takes it over.
    takes : callable
        Tells of an order id whether it is one by which that is taken over right now; set likewise.
    """

    def __init__(self, gate: "RiskGate") -> None:
        self.gate = gate
        self.waits: Callable[[], bool] = lambda: False
        self.takes: Callable[[str], bool] = lambda _: False
        self.asks = gate.settings.env == LIVE
        self._approvals: Approvals | None = None
        self.clear()

    def clear(self) -> None:
        """Start over without a permit."""
        self.permit = NONE

    @property
    def approvals(self) -> Approvals | None:
        """Given by the node that has the door where they are asked for; they ask this gate whether it is too late."""
        return self._approvals

    @approvals.setter
    def approvals(self, approvals: Approvals | None) -> None:
        self._approvals = approvals
        if approvals is not None:
            approvals.late, approvals.alarm = self.late, self.bypassed

    def permitted(self, permit: Permit) -> None:
        """Judge by another permit from now on; one that is refused takes back what was approved and has not left."""
        self.permit = permit
        if isinstance(self.gate.law, LiveLaw):
            self.gate.law.permit = permit
        if permit.refused:
            self.void(permit.refused)

    def unfit(self, instrument: str, now: int) -> Verdict | None:
        """Return the denial of an order that the permit does not cover (UTC ns); None: it does, or none is needed."""
        return unfit(self.permit, instrument, now) if self.asks else None

    def held(self, orders: Sequence[Order]) -> Verdict | None:
        """
        Return the denial of orders before which something is taken over; what only closes does not wait for that.

        Nobody else may use an id of an order that takes something over, at any time.
        """
        if any(handed(order.order_id) and not self.takes(order.order_id) for order in orders):
            return _FOREIGN
        if not self.waits() or all(order.reduce_only or handed(order.order_id) for order in orders):
            return None
        return _WAITS

    def unsealed(self) -> Verdict | None:
        """Return the denial of all orders where approvals are needed and there are none."""
        return _UNSEALED if self.asks and self.approvals is None else None

    def sealed(self, command: Any) -> Any:
        """
        Return a copy of a command with a token for each of its orders.

        Cancels, questions, and everything where no approvals are made, come back as they are.

        Raises
        ------
        LawError
            If an order was approved before.
        ValueError
            If an order is of a kind that cannot be approved.
        """
        if self.approvals is None or not isinstance(command, SubmitOrder | SubmitOrderList):
            return command
        single = isinstance(command, SubmitOrder)
        tokens = {
            order.client_order_id.value: self._approve(self.approvals, order)
            for order in ([command.order] if single else command.order_list.orders)
        }
        return type(command)(
            command.trader_id,
            command.strategy_id,
            command.order if single else command.order_list,
            command.id,
            command.ts_init,
            command.position_id,
            command.client_id,
            {**(command.params or {}), APPROVAL: tokens},
            command.correlation_id,
        )

    def _approve(self, approvals: Approvals, order: NautilusOrder) -> str:
        known = self.gate.orders[order.client_order_id.value]
        return approvals.approve(terms_of(order), known.by_law)

    def late(self, order_id: str) -> str:
        """Return why an approved order must not leave any more, asked where it leaves; empty: it may."""
        known = self.gate.orders.get(order_id)
        if known is None:
            return "no order of this law"
        if known.by_law:
            return ""
        denial = self.gate.state_denial() or self.unfit(known.instrument, self.gate.clock.timestamp_ns())
        return "" if denial is None else denial.reason

    def bypassed(self, order_id: str, why: str) -> None:
        """Stop trading, because something tried to leave without this gate."""
        gate, known = self.gate, self.gate.orders.get(order_id)
        reason = f"order {order_id or 'of nobody'}: {why}"
        name, now = None if known is None else known.instrument, gate.clock.timestamp_ns()
        gate.record.event(now, "tripwire", name, order_id or None, "TRIPWIRE", "", "", reason)
        gate.trip("TRIPWIRE", reason, "law")

    def void(self, why: str) -> None:
        """Take back what was approved and has not left, but for the law's own orders."""
        if self.approvals is not None:
            self.approvals.void(why)
