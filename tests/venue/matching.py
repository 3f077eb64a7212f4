"""Matching of the account's orders against the replayed best bid and ask, with their sizes.

Only the best price of the tape is known, so only its size can be taken: what a market, IOC or FOK order finds there
is all there is until the next quote. Resting orders are served in order of price, then time, when a quote reaches
their price. The account's orders never meet each other (self-trade prevention NONE, no other participants).
"""

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.venue.books import ZERO, Books, Order, Trade
from tests.venue.errors import INSUFFICIENT, WOULD_TAKE, WOULD_TRIGGER, rejected
from tests.venue.rules import STOP_TYPES, text


@dataclass(slots=True)
class Best:
    """Best bid and ask of a symbol, what is left of their sizes, and the last traded price."""

    bid: Decimal = ZERO
    bid_size: Decimal = ZERO
    ask: Decimal = ZERO
    ask_size: Decimal = ZERO
    last: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Print:
    """A public trade, of the tape or of the account."""

    id: int
    symbol: str
    price: Decimal
    qty: Decimal
    time: int
    buyer_maker: bool


class Matching:
    """
    Matches orders and books what happens.

    Parameters
    ----------
    books : Books
    clock : callable
        The venue's time, milliseconds.
    maker_fee, taker_fee : Decimal
        Fractions of what is received.
    on_event : callable
        Receives each event of the user stream, in order.
    on_print : callable
        Receives each public trade.
    """

    def __init__(
        self,
        books: Books,
        clock: Callable[[], int],
        maker_fee: Decimal,
        taker_fee: Decimal,
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
        on_print: Callable[[Print], None] = lambda trade: None,
    ) -> None:
        self.books, self.clock = books, clock
        self.fees = {True: maker_fee, False: taker_fee}
        self.on_event, self.on_print = on_event, on_print
        self.best: dict[str, Best] = {symbol: Best() for symbol in books.rules}
        self._order_ids = itertools.count(1001)
        self._trade_ids = itertools.count(1)
        self._executions = itertools.count(1)
        self._prints: deque[Print] = deque()

    # -- the market ---------------------------------------------------------------------------------------------

    def quote(self, symbol: str, bid: Decimal, bid_size: Decimal, ask: Decimal, ask_size: Decimal) -> None:
        """Take a new best bid and ask; resting orders that they reach are filled."""
        best = self.best[symbol]
        best.bid, best.bid_size, best.ask, best.ask_size = bid, bid_size, ask, ask_size
        resting = [o for o in self.books.open.values() if o.symbol == symbol and o.working]
        for order in sorted((o for o in resting if o.side == "BUY"), key=lambda o: (-o.price, o.id)):
            self._make(order)
        for order in sorted((o for o in resting if o.side == "SELL"), key=lambda o: (o.price, o.id)):
            self._make(order)
        self._settle()

    def trade(self, symbol: str, price: Decimal, qty: Decimal, buyer_maker: bool) -> None:
        """Take a public trade of the tape; stops that it reaches are triggered."""
        self._prints.append(Print(next(self._trade_ids), symbol, price, qty, self.clock(), buyer_maker))
        self._settle()

    def _settle(self) -> None:
        """Publish the trades so far; a stop that one of them triggers may trade again."""
        while self._prints:
            printed = self._prints.popleft()
            self.best[printed.symbol].last = printed.price
            self.on_print(printed)
            for order in list(self.books.open.values()):
                if order.symbol == printed.symbol and not order.working and _triggered(order, printed.price):
                    order.working = True
                    order.updated = self.clock()
                    self._report(order, "NEW")
                    self._take(order)

    # -- the account --------------------------------------------------------------------------------------------

    def new_id(self) -> int:
        return next(self._order_ids)

    def new_trade_id(self) -> int:
        return next(self._trade_ids)

    def place(self, order: Order) -> None:
        """
        Take a new order in and match it.

        Raises
        ------
        VenueError
            -2010; the books are unchanged then.
        """
        best = self.best[order.symbol]
        if order.type == "LIMIT_MAKER" and _crosses(order, best):
            raise rejected(WOULD_TAKE)
        if order.type in STOP_TYPES:
            if best.last and _triggered(order, best.last):
                raise rejected(WOULD_TRIGGER)
            order.working = False
        if order.type == "MARKET" and order.side == "BUY" and self._affordable(order, best.ask) < order.qty:
            raise rejected(INSUFFICIENT)
        self.books.enter(order)
        self._report(order, "NEW")
        self._positions(order)
        if order.working:
            self._take(order)
        self._settle()

    def cancel(self, order: Order, cancel_id: str) -> None:
        """Cancel an open order."""
        self.books.close(order, "CANCELED", self.clock())
        self._report(order, "CANCELED", cancel_id=cancel_id)
        self._positions(order)

    # -- fills --------------------------------------------------------------------------------------------------

    def _affordable(self, order: Order, price: Decimal) -> Decimal:
        rule = self.books.rules[order.symbol]
        return rule.size(self.books.balances[rule.quote].free / price) if price else ZERO

    def _take(self, order: Order) -> None:
        """Match an order that arrives, or a stop that was triggered, against the best price."""
        best = self.best[order.symbol]
        buy = order.side == "BUY"
        price, shown = (best.ask, best.ask_size) if buy else (best.bid, best.bid_size)
        qty = min(order.left, shown) if _crosses(order, best) else ZERO
        if buy and not order.price:
            qty = min(qty, self._affordable(order, price))
        if order.tif == "FOK" and qty < order.left:
            qty = ZERO
        if qty:
            self._fill(order, qty, price, maker=False)
        if order.left and (not order.price or order.tif in ("IOC", "FOK")):
            self.books.close(order, "EXPIRED", self.clock())
            self._report(order, "EXPIRED")
            self._positions(order)

    def _make(self, order: Order) -> None:
        """Fill a resting order at its own price when the other side has come to it."""
        best = self.best[order.symbol]
        shown = best.ask_size if order.side == "BUY" else best.bid_size
        if shown and order.is_open and _crosses(order, best):
            self._fill(order, min(order.left, shown), order.price, maker=True)

    def _fill(self, order: Order, qty: Decimal, price: Decimal, maker: bool) -> None:
        best = self.best[order.symbol]
        if order.side == "BUY":
            best.ask_size -= qty
        else:
            best.bid_size -= qty
        trade = self.books.fill(order, next(self._trade_ids), qty, price, self.fees[maker], maker, self.clock())
        self._prints.append(Print(trade.id, order.symbol, price, qty, trade.time, (order.side == "BUY") == maker))
        self._report(order, "TRADE", trade)
        self._positions(order)

    # -- events -------------------------------------------------------------------------------------------------

    def _report(self, order: Order, execution: str, trade: Trade | None = None, cancel_id: str = "") -> None:
        self.on_event(execution_report(order, execution, trade, cancel_id, next(self._executions), self.clock()))

    def _positions(self, order: Order) -> None:
        rule, now = self.books.rules[order.symbol], self.clock()
        held = {asset: self.books.balances[asset] for asset in (rule.base, rule.quote)}
        self.on_event(
            {
                "e": "outboundAccountPosition", "E": now, "u": now,
                "B": [{"a": asset, "f": text(b.free), "l": text(b.locked)} for asset, b in held.items()],
            }
        )  # fmt: skip


def _crosses(order: Order, best: Best) -> bool:
    if order.side == "BUY":
        return bool(best.ask) and (not order.price or order.price >= best.ask)
    return bool(best.bid) and (not order.price or order.price <= best.bid)


def _triggered(order: Order, last: Decimal) -> bool:
    above = (order.side == "BUY") == order.type.startswith("STOP_LOSS")
    return last >= order.stop if above else last <= order.stop


def execution_report(
    order: Order, execution: str, trade: Trade | None, cancel_id: str, execution_id: int, now: int
) -> dict[str, Any]:
    """Return an executionReport as the user stream carries it."""
    return {
        "e": "executionReport", "E": now, "s": order.symbol,
        "c": cancel_id or order.client_id, "S": order.side, "o": order.type, "f": order.tif,
        "q": text(order.qty), "p": text(order.price), "P": text(order.stop), "F": text(ZERO), "g": -1,
        "C": order.client_id if cancel_id else "", "x": execution, "X": order.status, "r": "NONE", "i": order.id,
        "l": text(trade.qty if trade else ZERO), "z": text(order.executed),
        "L": text(trade.price if trade else ZERO),
        "n": text(trade.fee if trade else ZERO), "N": trade.fee_asset if trade else None,
        "T": order.updated, "t": trade.id if trade else -1, "I": execution_id,
        "w": order.is_open and order.working, "m": bool(trade and trade.maker), "M": False,
        "O": order.created, "Z": text(order.quote_executed), "Y": text(trade.quote if trade else ZERO),
        "Q": text(order.quote_qty), "W": order.created, "V": "NONE",
    }  # fmt: skip
