"""What the venue can be asked: one operation per endpoint, for REST and WS-API alike."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.venue.books import Order
from tests.venue.candles import kline
from tests.venue.errors import (
    BAD_KEY,
    BAD_SYMBOL,
    UNKNOWN_CANCEL,
    UNKNOWN_ORDER,
    VenueError,
    bad_parameter,
)
from tests.venue.faults import Faults
from tests.venue.keys import Keys
from tests.venue.market import Market
from tests.venue.matching import Matching, Print
from tests.venue.orders import answer_cancel, answer_new, parse_order
from tests.venue.params import Params, a_day, in_time, integer, limit, page
from tests.venue.rights import Rights
from tests.venue.rules import Rules, text
from tests.venue.streams import ticker


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation: what it does, what it weighs (for one symbol, and for all), whether it has to be signed."""

    run: Callable[[Params], Any]
    weight: int
    signed: bool = False
    is_order: bool = False
    weight_of_all: int | None = None

    def weighs(self, params: Params) -> int:
        return self.weight if self.weight_of_all is None or "symbol" in params else self.weight_of_all


class Api:
    """Carries out requests on the books and the market."""

    def __init__(
        self, matching: Matching, market: Market, keys: Keys, faults: Faults, clock: Callable[[], int]
    ) -> None:
        self.matching, self.market, self.keys, self.faults, self.clock = matching, market, keys, faults, clock
        self.books, self.rights = matching.books, Rights()
        self._cancels = itertools.count(1)
        self.operations = self._operations()

    def _operations(self) -> dict[str, Operation]:
        return {
            "ping": Operation(lambda p: {}, 1),
            "time": Operation(lambda p: {"serverTime": self.clock()}, 1),
            "exchangeInfo": Operation(self.exchange_info, 20),
            "depth": Operation(self.depth, 5),
            "trades": Operation(self.trades, 25),
            "historicalTrades": Operation(self.trades, 25),
            "aggTrades": Operation(self.agg_trades, 4),
            "klines": Operation(self.klines, 2),
            "avgPrice": Operation(self.avg_price, 2),
            "ticker/24hr": Operation(self.ticker_24hr, 2, weight_of_all=80),
            "ticker/price": Operation(self.ticker_price, 2, weight_of_all=4),
            "ticker/bookTicker": Operation(self.ticker_book, 2, weight_of_all=4),
            "account": Operation(self.account, 20, signed=True),
            "tradeFee": Operation(self.trade_fee, 1, signed=True),
            "apiRestrictions": Operation(self.rights.show_restrictions, 1, signed=True),
            "bnbBurn": Operation(self.rights.show_burn, 1, signed=True),
            "withdraw": Operation(self.rights.withdraw, 600, signed=True),
            "rateLimit/order": Operation(lambda p: rate_limits()[1:], 40, signed=True),
            "order.place": Operation(self.place, 1, signed=True, is_order=True),
            "order.test": Operation(self.test, 1, signed=True),
            "order.status": Operation(self.status, 4, signed=True),
            "order.cancel": Operation(self.cancel, 1, signed=True),
            "openOrders.status": Operation(self.open_orders, 6, signed=True, weight_of_all=80),
            "openOrders.cancelAll": Operation(self.cancel_all, 1, signed=True),
            "allOrders": Operation(self.all_orders, 20, signed=True),
            "myTrades": Operation(self.my_trades, 20, signed=True),
        }

    def authorize(self, name: str | None, params: Params, payload: str) -> None:
        """
        Check who asks: key, time, signature over `payload`.

        Raises
        ------
        VenueError
        """
        if not self.keys.known(name):
            raise BAD_KEY
        self.check_time(params)
        if "signature" not in params:
            raise bad_parameter("signature")
        self.keys.check(name, payload, params["signature"])

    def check_time(self, params: Params) -> None:
        """
        Check `timestamp` against the venue's clock.

        Raises
        ------
        VenueError
            -1021.
        """
        window, sent, now = integer(params, "recvWindow") or 5_000, integer(params, "timestamp"), self.clock()
        if window > 60_000:
            raise VenueError(-1131, "recvWindow must be less than 60000.")
        if sent is None:
            raise bad_parameter("timestamp")
        if sent > now + 1_000:
            raise VenueError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if now - sent > window:
            raise VenueError(-1021, "Timestamp for this request is outside of the recvWindow.")

    # -- the market ---------------------------------------------------------------------------------------------

    def rules(self, params: Params) -> Rules:
        if not params.get("symbol"):
            raise bad_parameter("symbol")
        found = self.books.rules.get(params["symbol"])
        if found is None:
            raise BAD_SYMBOL
        return found

    def _symbols(self, params: Params) -> list[str]:
        names = json.loads(params["symbols"]) if "symbols" in params else [params.get("symbol")]
        names = list(self.books.rules) if names == [None] else names
        if not set(names) <= set(self.books.rules):
            raise BAD_SYMBOL
        return names

    def exchange_info(self, params: Params) -> dict[str, Any]:
        return {
            "timezone": "UTC", "serverTime": self.clock(), "rateLimits": rate_limits(), "exchangeFilters": [],
            "symbols": [self.books.rules[name].info() for name in self._symbols(params)],
        }  # fmt: skip

    def depth(self, params: Params) -> dict[str, Any]:
        rules = self.rules(params)
        best = self.matching.best[rules.symbol]
        return {
            "lastUpdateId": self.market.update_ids[rules.symbol],
            "bids": [[text(best.bid), text(best.bid_size)]], "asks": [[text(best.ask), text(best.ask_size)]],
        }  # fmt: skip

    def _public(self, params: Params) -> list[Print]:
        found = list(self.market.trades[self.rules(params).symbol])
        first, start, end = (integer(params, name) for name in ("fromId", "startTime", "endTime"))
        found = [t for t in found if (first is None or t.id >= first) and in_time(t.time, start, end)]
        return page(found, params, forward=first is not None or start is not None)

    def trades(self, params: Params) -> list[dict[str, Any]]:
        return [
            {"id": t.id, "price": text(t.price), "qty": text(t.qty), "quoteQty": text(t.price * t.qty),
             "time": t.time, "isBuyerMaker": t.buyer_maker, "isBestMatch": True}
            for t in self._public(params)
        ]  # fmt: skip

    def agg_trades(self, params: Params) -> list[dict[str, Any]]:
        return [
            {"a": t.id, "p": text(t.price), "q": text(t.qty), "f": t.id, "l": t.id, "T": t.time,
             "m": t.buyer_maker, "M": True}
            for t in self._public(params)
        ]  # fmt: skip

    def klines(self, params: Params) -> list[list[Any]]:
        rules, interval = self.rules(params), params.get("interval", "")
        start, end = integer(params, "startTime"), integer(params, "endTime")
        rows = self.market.candles[rules.symbol].read(interval, start, end, limit(params))
        return [kline(row, interval) for row in rows]

    def avg_price(self, params: Params) -> dict[str, Any]:
        best = self.matching.best[self.rules(params).symbol]
        return {"mins": 5, "price": text((best.bid + best.ask) / 2), "closeTime": self.clock()}

    def _each(self, params: Params, make: Callable[[str], dict[str, Any]]) -> Any:
        found = [make(name) for name in self._symbols(params)]
        return found[0] if "symbol" in params else found

    def ticker_24hr(self, params: Params) -> Any:
        return self._each(params, lambda name: ticker(self.market, name, self.clock()))

    def ticker_price(self, params: Params) -> Any:
        return self._each(params, lambda name: {"symbol": name, "price": text(self.matching.best[name].last)})

    def ticker_book(self, params: Params) -> Any:
        best = self.matching.best
        return self._each(
            params,
            lambda name: {
                "symbol": name, "bidPrice": text(best[name].bid), "bidQty": text(best[name].bid_size),
                "askPrice": text(best[name].ask), "askQty": text(best[name].ask_size),
            },
        )  # fmt: skip

    # -- the account --------------------------------------------------------------------------------------------

    def account(self, params: Params) -> dict[str, Any]:
        maker, taker = self.matching.fees[True], self.matching.fees[False]
        return {
            "makerCommission": int(maker * 10_000), "takerCommission": int(taker * 10_000),
            "buyerCommission": 0, "sellerCommission": 0,
            "commissionRates": {"maker": text(maker), "taker": text(taker), "buyer": text(Decimal(0)), "seller": text(Decimal(0))},
            "canTrade": self.rights.can_trade, "canWithdraw": False, "canDeposit": False, "brokered": False,
            "requireSelfTradePrevention": False, "preventSor": False, "updateTime": self.books.updated,
            "accountType": "SPOT", "balances": self.books.account(), "permissions": ["SPOT"], "uid": self.rights.uid,
        }  # fmt: skip

    def trade_fee(self, params: Params) -> list[dict[str, str]]:
        maker, taker = str(self.matching.fees[True]), str(self.matching.fees[False])
        return [{"symbol": name, "makerCommission": maker, "takerCommission": taker} for name in self._symbols(params)]

    def place(self, params: Params) -> dict[str, Any]:
        if fault := self.faults.take("reject", "rest"):
            words = fault.options.get("message", "This action is disabled on this account.")
            raise VenueError(int(fault.options.get("code", -2010)), words)
        order = parse_order(params, self.matching)
        self.matching.place(order)
        return answer_new(order, params.get("newOrderRespType"))

    def test(self, params: Params) -> dict[str, Any]:
        parse_order(params, self.matching)
        return {}

    def _find(self, params: Params, unknown: VenueError) -> Order:
        rules, ident, client_id = self.rules(params), integer(params, "orderId"), params.get("origClientOrderId")
        if ident is None and client_id is None:
            raise VenueError(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
        found = self.books.orders.get(ident) if ident is not None else self.books.by_client_id(client_id or "")
        if found is None or found.symbol != rules.symbol or (client_id and found.client_id != client_id):
            raise unknown
        return found

    def status(self, params: Params) -> dict[str, Any]:
        return self._find(params, UNKNOWN_ORDER).body()

    def cancel(self, params: Params) -> dict[str, Any]:
        order = self._find(params, UNKNOWN_CANCEL)
        if not order.is_open:
            raise UNKNOWN_CANCEL
        cancel_id = params.get("newClientOrderId", f"cancel-{next(self._cancels)}")
        self.matching.cancel(order, cancel_id)
        return answer_cancel(order, cancel_id)

    def cancel_all(self, params: Params) -> list[dict[str, Any]]:
        symbol = self.rules(params).symbol
        orders = [order for order in self.books.open.values() if order.symbol == symbol]
        if not orders:
            raise UNKNOWN_CANCEL
        return [self.cancel({"symbol": symbol, "orderId": str(order.id)}) for order in orders]

    def open_orders(self, params: Params) -> list[dict[str, Any]]:
        symbol = self.rules(params).symbol if "symbol" in params else None
        return [order.body() for order in self.books.open.values() if symbol in (None, order.symbol)]

    def all_orders(self, params: Params) -> list[dict[str, Any]]:
        symbol, first = self.rules(params).symbol, integer(params, "orderId")
        start, end = a_day(params)
        found = [
            order
            for order in self.books.orders.values()
            if order.symbol == symbol and order.id >= (first or 0) and in_time(order.created, start, end)
        ]
        return [order.body() for order in page(found, params, forward=first is not None or start is not None)]

    def my_trades(self, params: Params) -> list[dict[str, Any]]:
        symbol, first, order_id = self.rules(params).symbol, integer(params, "fromId"), integer(params, "orderId")
        start, end = a_day(params)
        shown = self.clock() - 1000 * self.faults.behind("rest")
        found = [
            trade
            for trade in self.books.trades
            if trade.symbol == symbol
            and trade.time <= shown
            and trade.id >= (first or 0)
            and order_id in (None, trade.order_id)
            and in_time(trade.time, start, end)
        ]
        return [trade.body() for trade in page(found, params, forward=first is not None or start is not None)]


def rate_limits() -> list[dict[str, Any]]:
    return [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
        {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200000},
    ]
