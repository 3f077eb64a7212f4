"""Shim: what each of the three has, as plain values: the events of our journal, Nautilus's cache, the exchange.

What was taken over from another node was never traded by this one: it is in the positions of all, and nowhere else.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from nautilus_trader.cache.cache import Cache
from nautilus_trader.model.enums import OrderStatus, order_side_to_str
from nautilus_trader.model.events import (
    AccountState,
    OrderAccepted,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderSubmitted,
)
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.orders import Order as NautilusOrder

from alphatrade.nodes.live import history
from alphatrade.nodes.live.checks import Market
from alphatrade.nodes.live.first import records
from alphatrade.nodes.live.reconcile import Fill, Order, Side, balances, fees, positions
from alphatrade.nodes.paper.inputs import BROKER, event_of
from alphatrade.nodes.paper.reconcile import UNCLEAR, code_of, unseen
from alphatrade.nodes.venue_rest import VenueRest
from alphatrade.risk.handover import handed

TURN = 200  # orders read from the cache before others have their turn
_MS = 1_000_000  # ns
_NEVER_SENT = (OrderStatus.INITIALIZED, OrderStatus.EMULATED, OrderStatus.RELEASED, OrderStatus.DENIED)
_STATES = {
    OrderStatus.FILLED: "filled", OrderStatus.CANCELED: "canceled", OrderStatus.EXPIRED: "expired",
}  # fmt: skip
_THERE = {
    "NEW": "open", "PARTIALLY_FILLED": "open", "PENDING_CANCEL": "open", "PENDING_NEW": "open", "FILLED": "filled",
    "CANCELED": "canceled", "EXPIRED": "expired", "EXPIRED_IN_MATCH": "expired",
}  # fmt: skip
_ENDS = {OrderCanceled: "canceled", OrderExpired: "expired"}


class Book:
    """
    What our journal says: fed with each event of a broker, as it is kept, and again as it is read.

    Parameters
    ----------
    markets : tuple of Market

    Attributes
    ----------
    opened_ns : int
        When the account was first seen, UTC ns; 0: not yet.
    opening : mapping of str to Decimal
        What it held then, by asset.
    orders : dict of str to Order
    fills : dict of (symbol, trade id) to Fill
    sent : set of str
        Ids of orders without an answer.
    refused : dict of str to str
        Why orders were refused, by id.
    refusals : list of str
        Likewise, of those that the exchange has refused itself, in clear words, in order.
    taken : dict of str to Decimal
        What was taken over from another node, by symbol, base units.
    """

    def __init__(self, markets: tuple[Market, ...]) -> None:
        self.markets = markets
        self.opened_ns, self.opening = 0, dict[str, Decimal]()
        self.orders: dict[str, Order] = {}
        self.fills: dict[tuple[str, str], Fill] = {}
        self.sent: set[str] = set()
        self.refused: dict[str, str] = {}
        self.refusals: list[str] = []
        self.taken: dict[str, Decimal] = {}

    def seen(self, event: Any) -> None:
        """Take an event that is in the journal."""
        if isinstance(event, AccountState):
            if not self.opened_ns:
                self.opened_ns = event.ts_init
                self.opening = {one.currency.code: one.total.as_decimal() for one in event.balances}
        elif isinstance(event, OrderEvent) and not handed(event.client_order_id.value):
            self._order(event, event.client_order_id.value)
        elif isinstance(event, OrderFilled):
            symbol = event.instrument_id.symbol.value
            self.taken[symbol] = self.taken.get(symbol, Decimal(0)) + event.last_qty.as_decimal()

    def _order(self, event: Any, order_id: str) -> None:
        if isinstance(event, OrderSubmitted):
            self.sent.add(order_id)
        elif isinstance(event, OrderRejected):
            self.refused[order_id] = event.reason
            if code_of(event.reason) not in UNCLEAR:
                self.refusals.append(event.reason)
            self.sent.discard(order_id)
            self.orders.pop(order_id, None)
        elif isinstance(event, (OrderAccepted, OrderFilled, OrderCanceled, OrderExpired)):
            self.sent.discard(order_id)
            symbol = event.instrument_id.symbol.value
            order = self.orders.get(order_id) or Order(symbol, None, None, Decimal(0), None)
            if isinstance(event, OrderFilled):
                order = self._filled(event, order, symbol)
            self.orders[order_id] = order._replace(state=_ENDS.get(type(event), order.state))

    def _filled(self, event: OrderFilled, order: Order, symbol: str) -> Order:
        fill = fill_of(event)
        self.fills[symbol, event.trade_id.value] = fill
        return order._replace(side=fill.side, filled=order.filled + fill.qty)

    def copy(self) -> "Book":
        """Return what it says now."""
        made = Book(self.markets)
        made.opened_ns, made.opening = self.opened_ns, dict(self.opening)
        made.orders, made.fills, made.refused = dict(self.orders), dict(self.fills), dict(self.refused)
        made.taken = dict(self.taken)
        return made

    def side(self) -> Side:
        """Return it as one of the three."""
        fills = self.fills
        held = balances(self.opening, fills, self.markets) if self.opened_ns else None
        return Side(self.orders, fills, _held(fills, self.markets, self.taken), held, fees(fills.values()))


def _held(
    fills: Mapping[tuple[str, str], Fill], markets: tuple[Market, ...], taken: Mapping[str, Decimal]
) -> dict[str, Decimal]:
    """Return positions: what was traded, and what was taken over."""
    return {name: qty + taken.get(name, Decimal(0)) for name, qty in positions(fills, markets).items()}


def kept(folder: Path, markets: tuple[Market, ...]) -> Book:
    """
    Return what the journal in a folder says, read from the disk; an empty one where there is none.

    Raises
    ------
    JournalError
        If it is damaged.
    """
    book = Book(markets)
    for kind, payload in records(folder):
        if kind == BROKER:
            book.seen(event_of(payload))
    return book


def fill_of(event: OrderFilled) -> Fill:
    """Return a fill of Nautilus as plain values."""
    commission = event.commission
    return Fill(
        event.client_order_id.value, order_side_to_str(event.order_side), event.last_qty.as_decimal(),
        event.last_px.as_decimal(), commission.as_decimal(), commission.currency.code, event.ts_event // _MS,
    )  # fmt: skip


class Seen:
    """
    What Nautilus has, or had, of orders.

    Attributes
    ----------
    orders : dict of str to Order
    fills : dict of (symbol, trade id) to Fill
    paid : dict of str to Decimal
        Fees by asset.
    sent : set of str
        Ids of orders without an answer.
    """

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.fills: dict[tuple[str, str], Fill] = {}
        self.paid: dict[str, Decimal] = {}
        self.sent: set[str] = set()

    def add(self, order: NautilusOrder) -> None:
        """Take an order as it is now."""
        order_id = order.client_order_id.value
        if handed(order_id):
            return
        if order.status in _NEVER_SENT or (order.status == OrderStatus.REJECTED and not order.trade_ids):
            return
        if unseen(order):
            self.sent.add(order_id)
            return
        self.orders[order_id] = _of_cache(order)
        for event in order.events:
            if isinstance(event, OrderFilled):
                self.fills[event.instrument_id.symbol.value, event.trade_id.value] = fill_of(event)
        for one in order.commissions():
            self.paid[one.currency.code] = self.paid.get(one.currency.code, Decimal(0)) + one.as_decimal()

    def copy(self) -> "Seen":
        """Return what is known now."""
        made = Seen()
        made.orders, made.fills, made.paid = dict(self.orders), dict(self.fills), dict(self.paid)
        return made


async def cached(cache: Cache, venue: str, markets: tuple[Market, ...], gone: Seen) -> tuple[Side, set[str]]:
    """
    Return what Nautilus's cache has, and the ids of orders without an answer.

    Parameters
    ----------
    cache : Cache
    venue : str
    markets : tuple of Market
    gone : Seen
        What it had of the orders that have left it: they are over, and are compared as they were then.
    """
    seen = gone.copy()
    for number, order in enumerate(cache.orders()):
        if number % TURN == 0:
            await asyncio.sleep(0)
        seen.add(order)
    held = {market.symbol: Decimal(0) for market in markets}
    for position in cache.positions():
        held[position.instrument_id.symbol.value] += position.signed_decimal_qty()
    account = cache.account_for_venue(Venue(venue))
    totals = None if account is None else {
        currency.code: one.total.as_decimal() for currency, one in account.balances().items()
    }  # fmt: skip
    return Side(seen.orders, seen.fills, held, totals, seen.paid), seen.sent


def _of_cache(order: NautilusOrder) -> Order:
    return Order(
        order.instrument_id.symbol.value, order_side_to_str(order.side), order.quantity.as_decimal(),
        order.filled_qty.as_decimal(), _STATES.get(order.status, "open"),
    )  # fmt: skip


class There(NamedTuple):
    """What the exchange has; `open` are id and symbol of every open order, of all symbols."""

    side: Side
    open: tuple[tuple[str, str], ...]


async def asked(rest: VenueRest, markets: tuple[Market, ...], opened_ns: int, taken: Mapping[str, Decimal]) -> There:
    """
    Return what the exchange has since a run began (UTC ns of this machine), with what it has `taken` over.

    Raises
    ------
    BannedError, RefusedError, TroubleError
        If it cannot be read.
    LookupError, ValueError, TypeError, ArithmeticError
        If what it says cannot be read.
    """
    ahead_ms = int(await rest.ahead_ms())
    since_ms, until_ms = opened_ns // _MS + ahead_ms, time.time_ns() // _MS + ahead_ms
    rows = history.listed(await rest.asked("/api/v3/openOrders"), "openOrders")
    ids, orders, fills = dict[int, str](), dict[str, Order](), dict[tuple[str, str], Fill]()
    for market in markets:
        for row in await history.orders(rest, market.symbol, since_ms, until_ms):
            ids[int(row["orderId"])] = row["clientOrderId"]
            if row["status"] != "REJECTED":
                orders[row["clientOrderId"]] = _of_exchange(row)
        for row in await history.trades(rest, market.symbol, since_ms, until_ms):
            fills[market.symbol, str(row["id"])] = _deal(row, ids)
    account = await rest.asked("/api/v3/account")
    totals = {one["asset"]: Decimal(one["free"]) + Decimal(one["locked"]) for one in account["balances"]}
    side = Side(orders, fills, _held(fills, markets, taken), totals, fees(fills.values()))
    return There(side, tuple((row["clientOrderId"], row["symbol"]) for row in rows))


def _of_exchange(row: Mapping[str, Any]) -> Order:
    state = _THERE.get(row["status"], row["status"])
    return Order(row["symbol"], row["side"], Decimal(row["origQty"]), Decimal(row["executedQty"]), state)


def _deal(row: Mapping[str, Any], ids: Mapping[int, str]) -> Fill:
    """Return a fill; one of an order from before the run is named by the exchange's own id."""
    order = ids.get(int(row["orderId"]), f"order {row['orderId']} of before")
    qty, price, fee = (Decimal(row[name]) for name in ("qty", "price", "commission"))
    side = "BUY" if row["isBuyer"] else "SELL"
    return Fill(order, side, qty, price, fee, row["commissionAsset"], int(row["time"]))


def of_the_law(holdings: Mapping[str, Any], markets: Iterable[Market], venue: str) -> Side:
    """Return what the law has, of which it knows positions alone, nano units."""
    own = {market.symbol: holdings.get(f"{market.symbol}.{venue}") for market in markets}
    return Side(positions={name: Decimal(held.position if held else 0).scaleb(-9) for name, held in own.items()})
