"""Shim: the orders that a node has given to an exchange and that are not over, against the exchange's own books."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nautilus_trader.cache.cache import Cache
from nautilus_trader.live.execution_client import LiveExecutionClient
from nautilus_trader.model.enums import OrderStatus
from nautilus_trader.model.events import OrderRejected, OrderSubmitted
from nautilus_trader.model.identifiers import AccountId, ClientOrderId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.orders import Order

from alphatrade.nodes.paper.link import WINDOW_MS
from alphatrade.nodes.paper.reconcile import Balances, Difference, behind, bring, lacking, rejected, strangers, unseen
from alphatrade.nodes.venue_rest import VenueRest
from alphatrade.nodes.venue_rows import Placed
from alphatrade.risk.handover import handed

LATE_S = 3.0  # what the stream has not told so long after it happened, it will not tell
FRESH_NS = 200_000_000  # an order that was sent so shortly before may not be in the answer yet
TOLD_S = 0.3  # what happened while the books were read, the stream has told so long afterwards
LOST_S = 60.0  # a fill that the exchange does not show so long after it happened is told as a difference
AGAIN_NS = 1_000_000_000  # a cancellation is not sent again before
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


class Outstanding:
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
    bringing : bool
        What the client says now comes from them.
    """

    def __init__(self, cache: Cache, take: Callable[[Any], None]) -> None:
        self._cache, self._take = cache, take
        self._since: dict[str, int] = {}  # by order: when it was sent, UTC ns
        self._cancels: dict[str, tuple[Any, int]] = {}  # by order: the last command, and when it was sent, UTC ns
        self._odd: tuple[Difference, ...] = ()
        self._lost: list[Difference] = []
        self.doubts: dict[str, OrderRejected] = {}
        self.readings, self.bringing = 0, False

    def order(self, order: Order | OrderSubmitted, ts: int) -> None:
        """Note an order that is sent at `ts` (UTC ns of the wall: until when it may arrive is counted from there)."""
        if not handed(order.client_order_id.value):  # else no exchange will ever have it
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

    def cancel(self, command: Any, ts: int) -> None:
        """Note a cancellation that is sent at `ts` (UTC ns; 0: it could not be)."""
        self._cancels[command.client_order_id.value] = command, ts

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
        self._lost.clear()
        rows = [row for symbol in markets for row in await rest.placed(symbol)]
        found = {row.client_id: row for row in rows}
        late_ms, counts = asked_ns / 1e6 - LATE_S * 1000, [0, 0, 0]
        for order in self._unsettled(asked_ns):
            row = found.get(order.client_order_id.value)
            if row is None or order.client_order_id.value in self.doubts or behind(order, row):
                one = await self._settle(order, rest, client, markets, asked_ns, late_ms)
                counts = [a + b for a, b in zip(counts, one, strict=True)]
            if row is not None and order.is_open:
                self._cancel_again(row.client_id, client, asked_ns)
        here = {order_id: self._cache.order(ClientOrderId(order_id)) for order_id in found}
        brought, late, unknown = counts
        odd, settled = (*self._lost, *strangers(rows, here, late_ms)), not unknown and not brought
        if settled:
            odd += await self._unexplained(rest, balances)
        # What happens between two questions looks odd once.
        certain = tuple(one.line for one in odd if any(map(one.same, self._odd)))
        again = bool(unknown or (odd and not certain))
        self._odd = odd if settled else (*odd, *(one for one in self._odd if one.by))
        self.readings += 1
        return Report(len(rows), brought, late, unknown, certain, again, time.monotonic() - began)

    async def _unexplained(self, rest: VenueRest, balances: Balances) -> tuple[Difference, ...]:
        """Return how balances differ, but for what the stream tells a moment later."""
        held = await rest.account()
        first = balances.differences(held)
        if not first:
            return ()
        await asyncio.sleep(TOLD_S)
        return tuple(one for one in balances.differences(held) if any(map(one.same, first)))

    def _cancel_again(self, order_id: str, client: LiveExecutionClient, now_ns: int) -> None:
        """Send the cancellation of an order that is open at the exchange all the same."""
        command, sent_ns = self._cancels.get(order_id, (None, now_ns))
        if now_ns - sent_ns >= AGAIN_NS:
            self._cancels[order_id] = command, now_ns
            client.cancel_order(command)

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
        deals = await rest.deals(symbol, row.order_id) if lacking(order, row) else []
        self.doubts.pop(row.client_id, None)
        self.bringing = True
        try:
            brought = bring(client, order, row, deals, markets[symbol])
        finally:
            self.bringing = False
        late, lacks = brought if row.updated_ms < late_ms else 0, lacking(order, row)
        if order.is_closed and not lacks:
            self._forget(row.client_id)
        if lacks and row.updated_ms < asked_ns / 1e6 - LOST_S * 1000:
            told = f"order {row.client_id}: {row.filled} filled at the exchange, {order.filled_qty} by its fills"
            self._lost.append(Difference(row.client_id, told, lacks))
            return brought, late, 0
        return brought, late, int(bool(lacks))

    def _unheard_of(self, order: Order, account: AccountId, asked_ns: int) -> int:
        """Deal with an order that the exchange does not know; return 1 while it may still arrive there."""
        order_id = order.client_order_id.value
        if order.is_closed:
            self._forget(order_id)
            return 0
        if asked_ns - self._since[order_id] <= (WINDOW_MS + 1000 * LATE_S) * 1_000_000:
            return 1
        if not unseen(order):
            told = f"order {order_id} is open here and not known at the exchange"
            self._lost.append(Difference(order_id, told))
            return 0
        never = rejected(order, account, "it has never arrived at the exchange", asked_ns)
        self._take(self.doubts.pop(order_id, None) or never)
        return 0
