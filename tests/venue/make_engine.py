"""A matching engine without a server, and shorthand for what is done to it."""

from decimal import Decimal
from typing import Any

from tests.venue.books import Books, Order
from tests.venue.matching import Matching, Print
from tests.venue.orders import parse_order
from tests.venue.rules import KNOWN

D = Decimal


class Engine:
    """BTCUSDT at 30000/30001, one BTC on each side; the account holds 100000 USDT and 2 BTC."""

    def __init__(self, usdt: str = "100000", btc: str = "2", maker: str = "0.0008", taker: str = "0.001") -> None:
        self.books = Books({"BTCUSDT": KNOWN["BTCUSDT"]}, {"USDT": D(usdt), "BTC": D(btc)})
        self.events: list[dict[str, Any]] = []
        self.prints: list[Print] = []
        self.now = 1_000
        self.matching = Matching(self.books, self._clock, D(maker), D(taker), self.events.append, self.prints.append)
        self.quote("30000", "30001")

    def _clock(self) -> int:
        self.now += 1
        return self.now

    def quote(self, bid: Any, ask: Any, bid_size: Any = 1, ask_size: Any = 1) -> None:
        self.matching.quote("BTCUSDT", D(str(bid)), D(str(bid_size)), D(str(ask)), D(str(ask_size)))

    def send(self, side: str, kind: str, quantity: Any = None, **params: Any) -> Order:
        if kind in ("LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"):
            params = {"timeInForce": "GTC"} | params
        if quantity is not None:
            params["quantity"] = quantity
        asked = {"symbol": "BTCUSDT", "side": side, "type": kind} | {k: str(v) for k, v in params.items()}
        order = parse_order(asked, self.matching)
        self.matching.place(order)
        return order

    def cancel(self, order: Order) -> None:
        self.matching.cancel(order, "c1")

    def held(self, asset: str) -> tuple[Decimal, Decimal]:
        return self.books.balances[asset].free, self.books.balances[asset].locked

    def reports(self, order: Order) -> list[str]:
        """Return execution types of the user stream for one order, in order."""
        return [e["x"] for e in self.events if e["e"] == "executionReport" and e["i"] == order.id]
