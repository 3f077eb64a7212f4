"""Shim: the orders that a node has given to an exchange and that are not over, against the exchange's own books."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nautilus_trader.cache.cache import Cache
from nautilus_trader.live.execution_client import LiveExecutionClient
from nautilus_trader.model.enums import OrderStatus
from nautilus_trader.model.events import OrderRejected
from nautilus_trader.model.identifiers import AccountId, ClientOrderId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.orders import Order

from alphatrade.nodes.paper.exchange_client import WINDOW_MS
from alphatrade.nodes.paper.reconcile import UNSEEN, Balances, behind, bring, rejected, strangers
from alphatrade.nodes.venue_rest import VenueRest
from alphatrade.nodes.venue_rows import Placed

LATE_S = 3.0  # what the stream has not told so long after it happened, it will not tell
FRESH_NS = 200_000_000  # an order that was sent so shortly before may not be in the answer yet
CUT_SHORT = (OrderStatus.CANCELED, OrderStatus.EXPIRED)  # a fill from before that may have been lost


@dataclass(frozen=True, slots=True)
class Report:
    """
    What one reading of the exchange's books came to.

    Attributes
    ----------
    orders : int
        Open at the exchange.
    brought : int
        Events that the stream had not told.
    late : int
        How many of them it should have told by then.
    unknown : int
        Orders of ours that the exchange may still get to see.
    differences : tuple of str
        What nothing explains, this time and the last.
    again : bool
        Something is not settled: it should be read again soon.
    took_s : float
    """

    orders: int
    brought: int
    late: int
    unknown: int
    differences: tuple[str, ...]
    again: bool
    took_s: float


class Sent:
    """
    What was sent and is not over.

    Parameters
    ----------
    cache : Cache
        Of the node.
    take : callable
        Takes an event, as an input of the node.

    Attributes
    ----------
    doubts : dict of str to OrderRejected
        Refusals after which an order may be there all the same, by order.
    readings : int
        Of the exchange's books so far.
    """

    def __init__(self, cache: Cache, take: Callable[[Any], None]) -> None:
        self._cache, self._take = cache, take
        self._since: dict[str, int] = {}  # by order: when it was given to us, UTC ns
        self._cancels: dict[str, Any] = {}  # by order: the last command
        self._odd: tuple[str, ...] = ()
        self._vanished: list[str] = []
        self.doubts: dict[str, OrderRejected] = {}
        self.readings = 0

    def order(self, order: Order, ts: int) -> None:
        """Note an order that is sent at `ts` (UTC ns)."""
        self._since[order.client_order_id.value] = ts

    def facts(self) -> dict[str, str]:
        """Return what the heartbeat says of orders at the exchange."""
        orders = (self._cache.order(ClientOrderId(order_id)) for order_id in self._since)
        going = sorted(one.client_order_id.value for one in orders if one is not None and not one.is_closed)
        return {
            "exchange_orders": " ".join(going),
            "exchange_doubts": str(len(self.doubts)),
            "exchange_readings": str(self.readings),
        }

    def cancel(self, command: Any) -> None:
        """Note a cancellation that is sent."""
        self._cancels[command.client_order_id.value] = command

    async def check(self, rest: VenueRest, client: LiveExecutionClient, markets: Any, balances: Balances) -> Report:
        """
        Read the exchange's books, and have the node told what it has not been told.

        Parameters
        ----------
        rest : VenueRest
        client : LiveExecutionClient
            Says it, and sends cancellations again that did not arrive.
        markets : dict of str to Instrument
            By symbol.
        balances : Balances

        Raises
        ------
        BannedError, RefusedError, TroubleError
            If they cannot be read.
        """
        began, asked_ns = time.monotonic(), time.time_ns()
        self._vanished.clear()
        rows = [row for symbol in markets for row in await rest.placed(symbol)]
        found = {row.client_id: row for row in rows}
        late_ms, counts = asked_ns / 1e6 - LATE_S * 1000, [0, 0, 0]
        for order in self._unsettled(asked_ns):
            row = found.get(order.client_order_id.value)
            if row is None or order.client_order_id.value in self.doubts or behind(order, row):
                one = await self._settle(order, rest, client, markets, asked_ns, late_ms)
                counts = [a + b for a, b in zip(counts, one, strict=True)]
            elif order.is_pending_cancel and row.client_id in self._cancels:
                client.cancel_order(self._cancels[row.client_id])
        held = await rest.account()
        here = {order_id: self._cache.order(ClientOrderId(order_id)) for order_id in found}
        brought, late, unknown = counts
        odd = (*self._vanished, *strangers(rows, here, late_ms))
        if not unknown and not brought:
            odd += balances.differences(held)
        certain = tuple(line for line in odd if line in self._odd)  # what happens between two questions looks odd once
        self._odd, again = odd, bool(unknown or (odd and not certain))
        self.readings += 1
        return Report(len(rows), brought, late, unknown, certain, again, time.monotonic() - began)

    def _unsettled(self, asked_ns: int) -> list[Order]:
        """Return the orders that are not over, and those cut short since; not those that have only just been sent."""
        found = []
        for order_id, ts in list(self._since.items()):
            order = self._cache.order(ClientOrderId(order_id))
            if order is None or (order.is_closed and order.status not in CUT_SHORT):
                self._forget(order_id)
            elif ts < asked_ns - FRESH_NS:
                found.append(order)
        return found

    def _forget(self, order_id: str) -> None:
        for known in (self._since, self._cancels, self.doubts):
            known.pop(order_id, None)

    async def _settle(
        self, order: Order, rest: VenueRest, client: Any, markets: dict[str, Instrument], asked_ns: int, late_ms: float
    ) -> tuple[int, int, int]:
        """Bring one order up to date; return how many events were brought, and were late, and whether it is unknown."""
        symbol = order.instrument_id.symbol.value
        row: Placed | None = await rest.order(symbol, order.client_order_id.value)
        if row is None:
            return 0, 0, self._unheard_of(order, client.account_id, asked_ns)
        deals = await rest.deals(symbol, row.order_id) if row.filled != order.filled_qty.as_decimal() else []
        self.doubts.pop(row.client_id, None)
        brought = bring(client, order, row, deals, markets[symbol])
        if order.is_closed:
            self._forget(row.client_id)
        return brought, brought if row.updated_ms < late_ms else 0, 0

    def _unheard_of(self, order: Order, account: AccountId, asked_ns: int) -> int:
        """Deal with an order that the exchange does not know; return 1 while it may still arrive there."""
        order_id = order.client_order_id.value
        if order.is_closed:
            self._forget(order_id)
            return 0
        if asked_ns - self._since[order_id] <= (WINDOW_MS + 1000 * LATE_S) * 1_000_000:
            return 1
        if order.status not in UNSEEN:
            self._vanished.append(f"order {order_id} is open here and not known at the exchange")
            return 0
        never = rejected(order, account, "it has never arrived at the exchange", asked_ns)
        self._take(self.doubts.pop(order_id, None) or never)
        return 0
