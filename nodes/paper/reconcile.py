"""Shim: a node's orders and balances against an exchange's own books, and the events that bring them up to date."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from nautilus_trader.core.uuid import UUID4
from nautilus_trader.live.execution_client import LiveExecutionClient
from nautilus_trader.model.enums import LiquiditySide, OrderSide, OrderStatus
from nautilus_trader.model.events import (
    AccountState,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderSubmitted,
)
from nautilus_trader.model.identifiers import AccountId, TradeId, VenueOrderId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Currency, Money
from nautilus_trader.model.orders import Order

from alphatrade.nodes.venue_rows import Deal, Holding, Placed
from alphatrade.risk.handover import handed

GONE = {"CANCELED": "canceled", "EXPIRED": "expired", "EXPIRED_IN_MATCH": "expired", "REJECTED": "rejected"}
UNCLEAR = (None, -1000, -1001, -1006, -1007)  # codes after which an order may have been taken all the same
WRONG_TIME = -1021
ROUNDING = Decimal("0.00000001")  # the exchange rounds what a fill costs to so much
_ENDS = (OrderCanceled, OrderExpired, OrderRejected)
_CODE = re.compile(r"code\W+(-\d+)")


class Difference(NamedTuple):
    """
    Something that the node and the exchange do not agree about.

    Attributes
    ----------
    what, line : str
        What it is about, and how it is told.
    by, doubt : Decimal
        How far they differ, and how much of that may be rounding.
    """

    what: str
    line: str
    by: Decimal = Decimal(0)
    doubt: Decimal = Decimal(0)

    def same(self, other: "Difference") -> bool:
        """Return whether another is the same one, whatever was traded between the two."""
        return self.what == other.what and abs(self.by - other.by) <= max(self.doubt, other.doubt)


def code_of(reason: str) -> int | None:
    """Return the exchange's code in the words of a refusal; None: it has none."""
    found = _CODE.search(reason)
    return None if found is None else int(found[1])


def unseen(order: Order) -> bool:
    """Return whether an exchange has never said that it has an order: also one whose cancellation is on its way."""
    return order.venue_order_id is None and not order.is_closed


def known(event: Any, order: Order) -> bool:
    """Return whether an order has what an event says: a stream repeats itself after a reconnect, or comes late."""
    kind = type(event)
    if kind is OrderFilled:
        return event.trade_id in order.trade_ids
    if kind is OrderSubmitted:
        return bool(order.status != OrderStatus.INITIALIZED)
    if kind is OrderAccepted:
        return not unseen(order)
    return kind in _ENDS and order.is_closed


def behind(order: Order, placed: Placed) -> bool:
    """Return whether an order has less than the exchange has of it."""
    return unseen(order) or bool(lacking(order, placed))


def lacking(order: Order, placed: Placed) -> Decimal:
    """Return how much more the exchange has filled of an order than its fills that are known."""
    return placed.filled - order.filled_qty.as_decimal()


def rejected(order: Order, account: AccountId, reason: str, ts: int) -> OrderRejected:
    """Return the refusal of an order that never was at the exchange."""
    who = order.trader_id, order.strategy_id, order.instrument_id, order.client_order_id
    return OrderRejected(*who, account, reason, UUID4(), ts, ts)


def bring(client: LiveExecutionClient, order: Order, placed: Placed, deals: Iterable[Deal], at: Instrument) -> int:
    """
    Have a client say what an order has not been told yet; return how many events that were.

    Its end is said when all its fills are known: the exchange's list of them may be behind its list of orders.

    Parameters
    ----------
    client : LiveExecutionClient
    order : Order
        As the node has it.
    placed : Placed
        As the exchange has it.
    deals : iterable of Deal
        All its fills.
    at : Instrument
    """
    who = order.strategy_id, order.instrument_id, order.client_order_id
    ts, before = placed.updated_ms * 1_000_000, order.event_count
    if order.status == OrderStatus.INITIALIZED:
        client.generate_order_submitted(*who, ts)
    if unseen(order) and placed.status != "REJECTED":
        client.generate_order_accepted(*who, VenueOrderId(placed.order_id), ts)
    for deal in deals:
        if TradeId(deal.trade_id) not in order.trade_ids:
            client.generate_order_filled(
                *who, VenueOrderId(placed.order_id), None, TradeId(deal.trade_id), order.side, order.order_type,
                at.make_qty(deal.qty), at.make_price(deal.price), at.quote_currency,
                Money(deal.fee, Currency.from_str(deal.fee_asset)),
                LiquiditySide.MAKER if deal.maker else LiquiditySide.TAKER, deal.ms * 1_000_000,
            )  # fmt: skip
    end = GONE.get(placed.status)
    if end is not None and not order.is_closed and not lacking(order, placed):
        if end == "rejected":
            client.generate_order_rejected(*who, "rejected by the exchange (code: -2010)", ts)
        else:
            getattr(client, f"generate_order_{end}")(*who, VenueOrderId(placed.order_id), ts)
    return int(order.event_count - before)


class Balances:
    """
    What an account should hold: what it held when the journal began, and what has been traded since.

    What was taken over from another node was held then, and was not traded.

    Parameters
    ----------
    instruments : mapping of str to Instrument
        By symbol.
    """

    def __init__(self, instruments: Mapping[str, Instrument]) -> None:
        self._instruments = {instrument.id: instrument for instrument in instruments.values()}
        self._opening: dict[str, Decimal] | None = None
        self._flows: dict[str, Decimal] = defaultdict(Decimal)
        self._deals: Counter[str] = Counter()

    def seen(self, event: Any) -> None:
        """Take an event that the node processes."""
        if isinstance(event, AccountState):
            if self._opening is None:
                self._opening = {one.currency.code: one.total.as_decimal() for one in event.balances}
        elif isinstance(event, OrderFilled) and not handed(event.client_order_id.value):
            instrument, sign = self._instruments[event.instrument_id], 1 if event.order_side == OrderSide.BUY else -1
            qty, price = event.last_qty.as_decimal(), event.last_px.as_decimal()
            base, quote = instrument.base_currency.code, instrument.quote_currency.code
            self._flows[base] += sign * qty
            self._flows[quote] -= sign * qty * price
            self._flows[event.commission.currency.code] -= event.commission.as_decimal()
            self._deals.update((base, quote))

    def expected(self) -> dict[str, Decimal]:
        """Return what should be held of each asset that was traded; empty before the account is known."""
        if self._opening is None:
            return {}
        return {asset: self._opening.get(asset, Decimal(0)) + flow for asset, flow in sorted(self._flows.items())}

    def differences(self, held: Mapping[str, Holding]) -> tuple[Difference, ...]:
        """Return what an account holds otherwise than by its trades, in the assets that were traded."""
        found = []
        for asset, here in self.expected().items():
            there = sum(held.get(asset, (Decimal(0),)), Decimal(0))
            by, doubt = there - here, ROUNDING * self._deals[asset]
            if abs(by) > doubt:
                line = f"{asset}: {there} at the exchange, {here} by what was traded"
                found.append(Difference(asset, line, by, doubt))
        return tuple(found)


def strangers(placed: Sequence[Placed], ours: Mapping[str, Order | None], before_ms: float) -> tuple[Difference, ...]:
    """Return which orders are open at the exchange, and have been for a while, that the node does not have open."""
    found = []
    for row in placed:
        order = ours.get(row.client_id)
        if row.updated_ms < before_ms and (order is None or order.is_closed):
            line = f"order {row.client_id} of {row.symbol} is open at the exchange and not here"
            found.append(Difference(row.client_id, line))
    return tuple(found)
