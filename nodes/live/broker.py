"""Shim: an exchange as the broker of a live node: orders leave with their tokens, and their ends are believed late.

An exchange's stream may tell a fill after the end of its order, or not at all. What the law has reserved for an order
is given back when it ends: then it must be known what it has filled. So an end that the stream tells is a reason to
read the books, and nothing more.

An order that the exchange refuses is a reason to look at its rules before the next one is sent: its market may be
closed, or its steps may be others.

An order that takes over what another node has left is filled here, if it is one that was announced and the gate has
approved it: the exchange has what it buys already, and is not asked.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from nautilus_trader.execution.messages import SubmitOrder
from nautilus_trader.model.events import OrderCanceled, OrderExpired, OrderRejected
from nautilus_trader.model.orders import Order

from alphatrade.nodes.live.door import CODE
from alphatrade.nodes.live.exchange import LiveExchange
from alphatrade.nodes.paper.broker import Broker
from alphatrade.nodes.paper.link import ANSWER_S
from alphatrade.nodes.paper.outstanding import Report
from alphatrade.nodes.paper.reconcile import UNCLEAR, bring, code_of, rejected, unseen
from alphatrade.nodes.venue_answers import TroubleError
from alphatrade.nodes.venue_rows import Deal, Placed
from alphatrade.risk.approval import UNLISTED, Terms, plain
from alphatrade.risk.gate_live import terms_of, token_of
from alphatrade.risk.handover import Part, handed

LEAST_S = 0.001  # an exchange that has only just gone is away too
HELD_S = 1.0  # between two readings of the books, at most, while an order is held open that may be over


class LiveBroker(Broker):
    """
    Sends what the gate has approved, and nothing else; see :class:`~alphatrade.nodes.paper.broker.Broker`.

    Attributes
    ----------
    ending : dict of str to Order
        Orders of which the stream has told an end that the books have not told yet.
    holds : bool
        Whether a refusal holds the orders after it; set by who looks at the rules then, and calls `go_on`.
    refusal : str
        What the exchange has said of an order that it refused, while orders are held for it; empty: none are.
    sure : bool
        Whether what takes something over may be filled: not while nobody knows that the exchange has it still.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        assert isinstance(self._exchange, LiveExchange)
        self._approvals = self._exchange.approvals
        self.ending: dict[str, Order] = {}
        self._begun = time.monotonic()
        self.holds, self.refusal, self._looked = False, "", False
        self._read = 0
        self.sure = True
        self._parts: dict[str, Part] = {}  # by order id: what may be taken over, once
        self._taking: dict[str, tuple[Order, str]] = {}  # orders that do so and are not over; why not, if they must not

    @property
    def away_s(self) -> float:
        """For how many seconds the exchange could not be read; 0: it can be."""
        if self._link.client is not None and not self._away:
            return 0.0
        return max(time.monotonic() - max(self._link.read_at, self._begun), LEAST_S)

    @property
    def readings(self) -> int:
        """How often books and balances were read so far, to the end."""
        return self._read

    async def begin(self, again: bool) -> None:
        """Connect as the paper node does; how long the exchange is away is counted from here at the earliest."""
        self._begun = time.monotonic()
        await super().begin(again)

    def announce(self, parts: Iterable[Part]) -> None:
        """Say what orders take something over: these, and none that were announced before and have not come."""
        self._parts = {part.order_id: part for part in parts}

    def withdraw(self, why: str) -> None:
        """Let nothing be taken over any more; what was sent for it and is not filled ends so."""
        self._parts, self.sure = {}, True
        self._taking = {name: (order, known or why) for name, (order, known) in self._taking.items()}
        if self._journal_read:
            self._loop.call_soon(self._taken_over)

    def _submit(self, command: Any, orders: list[Order]) -> None:
        """Send orders as the paper node does, but for those that take something over, which nobody is sent."""
        if not any(handed(order.client_order_id.value) for order in orders):
            super()._submit(command, orders)
            return
        for order in orders:
            self._taking[order.client_order_id.value] = order, self._unfounded(command, order)
        if self._journal_read:  # else what came of it is in there, or is said after the first reading of the books
            self._loop.call_soon(self._taken_over)

    def _unfounded(self, command: Any, order: Order) -> str:
        """Use up the token of an order that takes something over; return why it must not be filled."""
        name = order.client_order_id.value
        part = self._parts.pop(name, None)
        if part is None or not isinstance(command, SubmitOrder) or terms_of(order) != _terms(part):
            return self._approvals.refuse(UNLISTED, "nothing of the kind was handed over", name)
        return self._approvals.present(name, token_of(command, name)) or self._approvals.redeem(terms_of(order))

    def _taken_over(self) -> None:
        """Say what comes of orders that take something over, as far as it was not said before a crash."""
        if self.account_id is None or not self.sure:
            return
        for name, (order, why) in list(self._taking.items()):
            if not order.is_closed and why:
                self._take(rejected(order, self.account_id, f"not taken over: {why}", order.ts_init))
            elif not order.is_closed:
                self._fill(order)
            if order.is_closed:
                del self._taking[name]

    def _fill(self, order: Order) -> None:
        """Fill an order at its limit, without a fee."""
        name, at = order.client_order_id.value, self._instruments[order.instrument_id.symbol.value]
        qty, ms = order.quantity.as_decimal(), -(-order.ts_init // 1_000_000)
        placed = Placed(order.instrument_id.symbol.value, name, name, "FILLED", qty, ms)
        deal = Deal(name, qty, order.price.as_decimal(), Decimal(0), at.quote_currency.code, True, ms)
        bring(self, order, placed, [deal], at)

    def _unapproved(self, command: Any, orders: list[Order]) -> str:
        """Present the token of each order; return why they must not leave."""
        if self.refusal:
            return "held until the exchange's rules were looked at, for it has refused an order"
        why = ""
        for order in orders:
            order_id = order.client_order_id.value
            why = self._approvals.present(order_id, token_of(command, order_id)) or why
        return f"not approved: {why}" if why else ""

    def _told(self, event: Any) -> None:
        """Take an event of the bundled client, but for the end of an order that may have been filled meanwhile."""
        order = self._cache.order(event.client_order_id) if self._ends(event) else None
        if order is None or order.is_closed or self._outstanding.bringing:
            super()._told(event)
            return
        if isinstance(event, OrderRejected) and unseen(order):
            if self.holds and code_of(event.reason) not in (*UNCLEAR, CODE):
                self.refusal = " ".join(event.reason.split())[:200]
            super()._told(event)  # the answer to the order itself, which is believed where it is clear
            return
        self.ending[event.client_order_id.value] = order
        self._patience_s = min(HELD_S, self._check_s)
        self._wake.set()

    def go_on(self) -> None:
        """Send orders again: the rules were looked at."""
        self.refusal = ""

    @staticmethod
    def _ends(event: Any) -> bool:
        return isinstance(event, OrderCanceled | OrderExpired | OrderRejected)

    def cancel_order(self, command: Any) -> None:
        """Send a cancellation; of an order that may be over only if the next reading shows that it is not."""
        if handed(command.client_order_id.value):
            return
        if command.client_order_id.value in self.ending:
            self._outstanding.cancel(command, 0)
        else:
            super().cancel_order(command)

    def look(self) -> None:
        """Have the books and the balances read soon."""
        self._looked = True
        super().look()

    async def _balances_anew(self) -> None:
        client: Any = self._link.client
        try:
            await asyncio.wait_for(client._update_account_state(), ANSWER_S)
        except Exception as error:  # of another library's connection: whatever it is, they were not read
            told = " ".join(str(error).split())[:120] or type(error).__name__
            raise TroubleError(f"balances: {told}") from None

    async def check(self) -> Report:
        """
        Read the books as the paper node does, and soon again while an end that was told is not in them.

        A fill that the stream has not told has not told its balances either: they are asked for then, and when somebody
        looks.

        Raises
        ------
        BannedError, RefusedError, TroubleError, TimeoutError
            If the books or the balances cannot be read.
        """
        report = await super().check()
        if report.brought or self._looked:
            await self._balances_anew()
            self._looked = False
        self._read += 1
        self._taken_over()
        held = len(self.ending)
        self.ending = {name: order for name, order in self.ending.items() if not order.is_closed}
        if self.ending:
            self._wake.set()
        else:
            self._patience_s = self._check_s
        ended = held - len(self.ending)  # the stream was not late with these: they were told, and not believed
        return replace(report, late=max(0, report.late - ended))


def _terms(part: Part) -> Terms:
    qty, price = plain(part.qty), plain(part.price)
    return Terms(part.order_id, part.instrument, "BUY", "LIMIT", qty, price, "GTC", False)
