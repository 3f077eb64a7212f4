"""The venue's own books: balances, orders and trades, exact to the last decimal, and an audit that says so."""

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import Any

from tests.venue.errors import INSUFFICIENT, rejected
from tests.venue.rules import SATOSHI, Rules, text

ZERO = Decimal(0)
OPEN = ("NEW", "PARTIALLY_FILLED")


@dataclass(slots=True)
class Balance:
    """What the account holds of one asset: free to trade, and locked by open orders."""

    free: Decimal = ZERO
    locked: Decimal = ZERO


@dataclass(slots=True)
class Order:
    """
    An order as the venue knows it.

    `locked` is what it still holds of its asset: never negative, zero once it is closed. `working` is False for a
    stop that has not been triggered.
    """

    id: int
    client_id: str
    symbol: str
    side: str
    type: str
    tif: str
    qty: Decimal
    price: Decimal
    stop: Decimal
    created: int
    updated: int
    quote_qty: Decimal = ZERO
    status: str = "NEW"
    executed: Decimal = ZERO
    quote_executed: Decimal = ZERO
    locked: Decimal = ZERO
    working: bool = True
    trades: list["Trade"] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def left(self) -> Decimal:
        return self.qty - self.executed

    def body(self) -> dict[str, Any]:
        """Return the order as REST shows it."""
        return {
            "symbol": self.symbol, "orderId": self.id, "orderListId": -1, "clientOrderId": self.client_id,
            "price": text(self.price), "origQty": text(self.qty), "executedQty": text(self.executed),
            "cummulativeQuoteQty": text(self.quote_executed), "status": self.status, "timeInForce": self.tif,
            "type": self.type, "side": self.side, "stopPrice": text(self.stop), "icebergQty": text(ZERO),
            "time": self.created, "updateTime": self.updated, "isWorking": self.working,
            "workingTime": self.created if self.working else -1, "origQuoteOrderQty": text(self.quote_qty),
            "selfTradePreventionMode": "NONE",
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill of one order."""

    id: int
    order_id: int
    symbol: str
    side: str
    price: Decimal
    qty: Decimal
    quote: Decimal
    fee: Decimal
    fee_asset: str
    maker: bool
    time: int

    def body(self) -> dict[str, Any]:
        """Return the trade as `myTrades` shows it."""
        return {
            "symbol": self.symbol, "id": self.id, "orderId": self.order_id, "orderListId": -1,
            "price": text(self.price), "qty": text(self.qty), "quoteQty": text(self.quote),
            "commission": text(self.fee), "commissionAsset": self.fee_asset, "time": self.time,
            "isBuyer": self.side == "BUY", "isMaker": self.maker, "isBestMatch": True,
        }  # fmt: skip


class Books:
    """Balances, orders and trades of the one account of the venue; several API keys may act for it."""

    def __init__(self, rules: dict[str, Rules], deposits: dict[str, Decimal]) -> None:
        self.rules = rules
        self.deposits = {asset: Decimal(amount) for asset, amount in deposits.items()}
        self.balances: dict[str, Balance] = defaultdict(Balance)
        for asset, amount in self.deposits.items():
            self.balances[asset].free = amount
        for rule in rules.values():
            for asset in (rule.base, rule.quote):
                self.balances.setdefault(asset, Balance())  # a zero balance is listed too
        self.orders: dict[int, Order] = {}
        self.open: dict[int, Order] = {}
        self.trades: list[Trade] = []
        self.updated = 0
        self._client: dict[str, Order] = {}

    def by_client_id(self, client_id: str) -> Order | None:
        """Return the newest order of that client id: Binance lets an id be used again once its order is closed."""
        return self._client.get(client_id)

    def change(self, symbol: str, asked: dict[str, Any]) -> None:
        """Have other rules for the new orders of a symbol."""
        self.rules[symbol] = self.rules[symbol].changed(asked)

    def lock_asset(self, order: Order) -> str:
        rule = self.rules[order.symbol]
        return rule.quote if order.side == "BUY" else rule.base

    def enter(self, order: Order) -> None:
        """
        Take an order in and lock what it may spend; a market order locks nothing, it must only be affordable.

        Raises
        ------
        VenueError
            -2010 if the account cannot pay; nothing has changed then.
        """
        balance = self.balances[self.lock_asset(order)]
        need = order.qty if order.side == "SELL" else (order.qty * order.price).quantize(SATOSHI)
        if order.type in ("MARKET", "STOP_LOSS", "TAKE_PROFIT") and order.side == "BUY":
            need = ZERO
        if need > balance.free:
            raise rejected(INSUFFICIENT)
        balance.free -= need
        balance.locked += need
        order.locked = need
        self.orders[order.id] = self.open[order.id] = order
        self._client[order.client_id] = order

    def fill(
        self, order: Order, trade_id: int, qty: Decimal, price: Decimal, rate: Decimal, maker: bool, now: int
    ) -> Trade:
        """Book a fill: money, goods and the fee, which is charged in what is received."""
        assert ZERO < qty <= order.left, "a fill is not larger than what is left"
        rule = self.rules[order.symbol]
        base, quote = self.balances[rule.base], self.balances[rule.quote]
        cost = (qty * price).quantize(SATOSHI)
        received = qty if order.side == "BUY" else cost
        fee = (received * rate).quantize(SATOSHI, ROUND_DOWN)
        order.executed += qty
        order.quote_executed += cost
        order.status = "PARTIALLY_FILLED" if order.left else "FILLED"
        if order.side == "BUY":
            self._spend(order, quote, cost, (qty * order.price).quantize(SATOSHI))
            base.free += qty - fee
        else:
            self._spend(order, base, qty, qty)
            quote.free += cost - fee
        asset = rule.base if order.side == "BUY" else rule.quote
        trade = Trade(trade_id, order.id, order.symbol, order.side, price, qty, cost, fee, asset, maker, now)
        order.trades.append(trade)
        order.updated = self.updated = now
        self.trades.append(trade)
        if not order.left:
            self._release(order)
        return trade

    def close(self, order: Order, status: str, now: int) -> None:
        """Close an order that was not filled completely, and unlock what it held."""
        order.status, order.updated, self.updated = status, now, now
        self._release(order)

    def _spend(self, order: Order, balance: Balance, spent: Decimal, unlocked: Decimal) -> None:
        unlocked = min(unlocked, order.locked)
        order.locked -= unlocked
        balance.locked -= unlocked
        balance.free += unlocked - spent
        assert balance.free >= ZERO, "an order is never filled beyond what the account holds"

    def _release(self, order: Order) -> None:
        balance = self.balances[self.lock_asset(order)]
        balance.locked -= order.locked
        balance.free += order.locked
        order.locked = ZERO
        del self.open[order.id]

    def account(self) -> list[dict[str, str]]:
        """Return the balances as REST shows them."""
        return [
            {"asset": asset, "free": text(held.free), "locked": text(held.locked)}
            for asset, held in sorted(self.balances.items())
        ]

    def audit(self) -> list[str]:
        """Return what does not add up; an empty list is the only good answer."""
        faults = []
        flow: dict[str, Decimal] = defaultdict(Decimal, self.deposits)
        for trade in self.trades:
            rule, sign = self.rules[trade.symbol], 1 if trade.side == "BUY" else -1
            flow[rule.base] += sign * trade.qty
            flow[rule.quote] -= sign * trade.quote
            flow[trade.fee_asset] -= trade.fee
        locked: dict[str, Decimal] = defaultdict(Decimal)
        for order in self.open.values():
            locked[self.lock_asset(order)] += order.locked
            if order.locked != (order.left if order.side == "SELL" else order.left * order.price):
                faults.append(f"order {order.id}: {order.locked} locked for {order.left} at {order.price}")
        for asset, held in self.balances.items():
            if held.free < ZERO or held.locked < ZERO:
                faults.append(f"{asset}: negative, free {held.free} locked {held.locked}")
            if held.free + held.locked != flow[asset]:
                faults.append(f"{asset}: holds {held.free + held.locked}, trades say {flow[asset]}")
            if held.locked != locked[asset]:
                faults.append(f"{asset}: {held.locked} locked, open orders say {locked[asset]}")
        for order in self.orders.values():
            if order.executed != sum((trade.qty for trade in order.trades), ZERO):
                faults.append(f"order {order.id}: executed {order.executed} is not the sum of its trades")
            if order.is_open != (order.id in self.open) or (not order.is_open and order.locked):
                faults.append(f"order {order.id}: {order.status}, locked {order.locked}")
        return faults
