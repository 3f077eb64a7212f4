"""From the parameters of a request to an order: every check of a new order that comes before the balance."""

import re
from decimal import Decimal
from typing import Any

from tests.venue.books import ZERO, Books, Order
from tests.venue.errors import BAD_SYMBOL, DUPLICATE, VenueError, bad_parameter, filter_failure, rejected
from tests.venue.matching import Matching
from tests.venue.params import Params, number
from tests.venue.rules import ORDER_TYPES, PRICED_TYPES, STOP_TYPES, Rules, text

_CLIENT_ID = r"^[a-zA-Z0-9-_]{1,36}$"


def parse_order(params: Params, matching: Matching) -> Order:
    """
    Return the order that a request asks for, checked against the filters but not yet against the balance.

    Raises
    ------
    VenueError
    """
    books = matching.books
    rules = books.rules.get(params.get("symbol", ""))
    if rules is None:
        raise BAD_SYMBOL
    if rules.status != "TRADING":
        raise VenueError(-1013, "Market is closed.")
    side, kind, tif = params.get("side"), params.get("type", ""), params.get("timeInForce")
    if side not in ("BUY", "SELL"):
        raise VenueError(-1117, "Invalid side.")
    if kind not in ORDER_TYPES:
        raise VenueError(-1116, "Invalid orderType.")
    _check_tif(kind, tif)
    best = matching.best[rules.symbol]
    reference = best.ask if side == "BUY" else best.bid
    price = number(params, "price") if kind in PRICED_TYPES else ZERO
    stop = number(params, "stopPrice") if kind in STOP_TYPES else ZERO
    for value in (price, stop):
        if value:
            rules.check_price(value, reference)
    qty, quote_qty = _quantity(params, kind, rules, reference)
    rules.check_size(qty)
    rules.check_notional(qty, price or stop or reference)
    _check_room(books, rules, kind)
    ident, now = matching.new_id(), matching.clock()
    return Order(
        id=ident, client_id=_client_id(params, books, ident), symbol=rules.symbol, side=side, type=kind,
        tif=tif or "GTC", qty=qty, price=price, stop=stop, created=now, updated=now, quote_qty=quote_qty,
    )  # fmt: skip


def _check_tif(kind: str, tif: str | None) -> None:
    needed = kind in ("LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT")
    if needed and tif is None:
        raise bad_parameter("timeInForce")
    if not needed and tif is not None:
        raise VenueError(-1106, "Parameter 'timeInForce' sent when not required.")
    if needed and tif not in ("GTC", "IOC", "FOK"):
        raise VenueError(-1115, "Invalid timeInForce.")


def _quantity(params: Params, kind: str, rules: Rules, reference: Decimal) -> tuple[Decimal, Decimal]:
    if "quoteOrderQty" not in params:
        return number(params, "quantity"), ZERO
    if kind != "MARKET" or "quantity" in params:
        raise VenueError(-1128, "Combination of optional parameters invalid.")
    quote = number(params, "quoteOrderQty")
    return rules.size(quote / reference), quote


def _check_room(books: Books, rules: Rules, kind: str) -> None:
    of_symbol = [order for order in books.open.values() if order.symbol == rules.symbol]
    if len(of_symbol) >= rules.max_orders:
        raise filter_failure("MAX_NUM_ORDERS")
    if kind in STOP_TYPES and sum(not order.working for order in of_symbol) >= rules.max_stops:
        raise filter_failure("MAX_NUM_ALGO_ORDERS")


def _client_id(params: Params, books: Books, ident: int) -> str:
    given = params.get("newClientOrderId", f"venue-{ident}")
    if not re.match(_CLIENT_ID, given):
        raise VenueError(
            -1100, f"Illegal characters found in parameter 'newClientOrderId'; legal range is '{_CLIENT_ID}'."
        )
    before = books.by_client_id(given)
    if before is not None and before.is_open:  # the id of a closed order may be used again, as at the real venue
        raise rejected(DUPLICATE)
    return given


def answer_new(order: Order, style: str | None) -> dict[str, Any]:
    """Return the answer to a new order: ACK, RESULT or FULL."""
    style = style or ("FULL" if order.type in ("MARKET", "LIMIT") else "ACK")
    body: dict[str, Any] = {
        "symbol": order.symbol, "orderId": order.id, "orderListId": -1, "clientOrderId": order.client_id,
        "transactTime": order.updated,
    }  # fmt: skip
    if style == "ACK":
        return body
    whole = order.body()
    shared = ("price", "origQty", "executedQty", "origQuoteOrderQty", "cummulativeQuoteQty", "status", "timeInForce",
              "type", "side", "workingTime", "selfTradePreventionMode")  # fmt: skip
    body |= {name: whole[name] for name in shared}
    if style == "FULL":
        body["fills"] = [
            {"price": text(t.price), "qty": text(t.qty), "commission": text(t.fee), "commissionAsset": t.fee_asset,
             "tradeId": t.id}
            for t in order.trades
        ]  # fmt: skip
    return body


def answer_cancel(order: Order, cancel_id: str) -> dict[str, Any]:
    """Return the answer to a cancel."""
    whole = order.body()
    kept = {k: v for k, v in whole.items() if k not in ("time", "updateTime", "isWorking", "workingTime")}
    return kept | {
        "origClientOrderId": order.client_id, "clientOrderId": cancel_id, "transactTime": order.updated,
    }  # fmt: skip
