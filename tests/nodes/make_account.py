"""An account at a small exchange on loopback: signatures, clock, balances, orders and filters, with faults on command."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from alphatrade.nodes.venue_rest import Credentials

KEY, SECRET = "key-canary-7f3a", "secret-canary-91bd"
PRIVATE = Ed25519PrivateKey.from_private_bytes(b"private-canary-of-thirty-two-byt")
PEM = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
ZERO = Decimal(0)


class NoError(Exception):
    """What the exchange says no with."""

    def __init__(self, code: int, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.body, self.status = {"code": code, "msg": text}, status


class Account:
    """
    Balances, open orders and what was done to them.

    `faults` maps a method and path such as ``POST /api/v3/order`` to what happens to the next requests of it, one each:
    500, 418, 418:1, 429:1, drop, slow, garbage; of orders also lost (done, but the answer is) and late (done later).
    """

    def __init__(self) -> None:
        self.url = ""
        self.free = {"BTC": Decimal("1.5"), "ETH": Decimal("20.25"), "USDT": Decimal(1000)}
        self.locked: Counter[str] = Counter()
        self.prices = {"BTCUSDT": Decimal(50_000), "ETHUSDT": Decimal(2500), "ETHBTC": Decimal("0.05")}
        self.pairs = {"BTCUSDT": ("BTC", "USDT"), "ETHUSDT": ("ETH", "USDT"), "ETHBTC": ("ETH", "BTC")}
        self.filters = {
            symbol: {"step": "0.0001", "least": "0.0001", "most": "9000", "notional": "10"} for symbol in self.pairs
        }
        self.orders: dict[str, tuple[str, str, Decimal]] = {}  # id: symbol, locked asset, amount
        self.closed: set[str] = set()  # symbols that do not trade now
        self.ahead_ms = 3_600_000  # of the real clock
        self.faults: dict[str, list[str]] = {}
        self.asked: list[tuple[float, str]] = []
        self.sold: list[tuple[str, Decimal]] = []
        self.delay_s = 0.0
        self.each: Callable[[], None] = lambda: None  # happens before each request, as by a node that is still alive

    def rest(self, order_id: str, symbol: str, side: str, amount: str) -> None:
        """Place an order that rests."""
        asset = self.pairs[symbol][side == "BUY"]
        self.free[asset] -= Decimal(amount)
        self.locked[asset] += Decimal(amount)  # type: ignore[assignment]
        self.orders[order_id] = (symbol, asset, Decimal(amount))

    def count(self, what: str) -> int:
        return sum(one == what for _, one in self.asked)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        what = f"{request.method} {request.path}"
        self.asked.append((time.monotonic(), what))
        await asyncio.sleep(self.delay_s)
        self.each()
        fault, _, wait = (self.faults[what].pop(0) if self.faults.get(what) else "").partition(":")
        if fault in ("500", "418", "429"):
            return web.Response(status=int(fault), headers={"Retry-After": wait} if wait else {})
        if fault == "garbage":
            return web.json_response({"what": 1})
        if fault == "slow":
            await asyncio.sleep(0.6)
        if fault == "late":
            asyncio.get_running_loop().call_later(0.3, self.quietly, request)
            return web.Response(status=504)
        try:
            body = self.do(request)
        except NoError as no:
            return web.json_response(no.body, status=no.status)
        if fault in ("drop", "lost"):
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(body)

    def quietly(self, request: web.Request) -> None:
        with contextlib.suppress(NoError):
            self.do(request)

    def do(self, request: web.Request) -> Any:
        query, path = request.query, request.path.removeprefix("/api/v3/")
        if path == "time":
            return {"serverTime": self.now_ms()}
        if path == "ticker/price":
            return {"symbol": query["symbol"], "price": str(self.prices[query["symbol"]])}
        if path == "exchangeInfo":
            return {
                "symbols": [self.told(symbol) for symbol in query["symbols"].strip("[]").replace('"', "").split(",")]
            }
        self.check(request)
        if path == "account":
            return {
                "balances": [
                    {"asset": asset, "free": str(free), "locked": str(self.locked[asset])}
                    for asset, free in self.free.items()
                ]
            }
        if query["symbol"] not in self.pairs:
            raise NoError(-1121, "Invalid symbol.")
        if path == "openOrders":
            return self.opened(query["symbol"], request.method == "DELETE")
        return self.market(query["symbol"], query["side"], Decimal(query["quantity"]))

    def now_ms(self) -> int:
        return int(time.time() * 1000) + self.ahead_ms

    def check(self, request: web.Request) -> None:
        if request.headers.get("X-MBX-APIKEY") != KEY:
            raise NoError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        payload, _, signature = request.rel_url.raw_query_string.rpartition("&signature=")
        try:
            PRIVATE.public_key().verify(base64.b64decode(unquote(signature), validate=True), payload.encode())
        except (InvalidSignature, ValueError):
            if signature != hmac.new(SECRET.encode(), payload.encode(), hashlib.sha256).hexdigest():
                raise NoError(-1022, "Signature for this request is not valid.") from None
        age = self.now_ms() - int(request.query["timestamp"])
        if not -1000 < age <= int(request.query["recvWindow"]):
            raise NoError(-1021, "Timestamp for this request is outside of the recvWindow.")

    def told(self, symbol: str) -> dict[str, Any]:
        if symbol not in self.pairs:
            raise NoError(-1121, "Invalid symbol.")
        (base, quote), rule = self.pairs[symbol], self.filters[symbol]
        lot = {"filterType": "LOT_SIZE", "minQty": rule["least"], "maxQty": "9000", "stepSize": rule["step"]}
        market = {"filterType": "MARKET_LOT_SIZE", "minQty": "0.0000", "maxQty": rule["most"], "stepSize": "0.0000"}
        value = {"filterType": "NOTIONAL", "minNotional": rule["notional"], "applyMinToMarket": True}
        return {"symbol": symbol, "baseAsset": base, "quoteAsset": quote, "filters": [lot, market, value]}

    def opened(self, symbol: str, cancel: bool) -> list[dict[str, str]]:
        found = [order for order, (where, _, _) in self.orders.items() if where == symbol]
        if cancel and not found:
            raise NoError(-2011, "Unknown order sent.")
        for order in found if cancel else []:
            _, asset, amount = self.orders.pop(order)
            self.locked[asset] -= amount  # type: ignore[assignment]
            self.free[asset] += amount
        return [{"symbol": symbol, "clientOrderId": order} for order in found]

    def market(self, symbol: str, side: str, quantity: Decimal) -> dict[str, str]:
        (base, quote), rule = self.pairs[symbol], self.filters[symbol]
        if symbol in self.closed:
            raise NoError(-1013, "Market is closed.")
        if quantity % Decimal(rule["step"]) or not Decimal(rule["least"]) <= quantity <= Decimal(rule["most"]):
            raise NoError(-1013, "Filter failure: LOT_SIZE")
        if quantity * self.prices[symbol] < Decimal(rule["notional"]):
            raise NoError(-1013, "Filter failure: NOTIONAL")
        assert side == "SELL"
        if self.free[base] < quantity:
            raise NoError(-2010, "Account has insufficient balance for requested action.")
        self.free[base] -= quantity
        self.free[quote] += quantity * self.prices[symbol]
        self.sold.append((symbol, quantity))
        return {"executedQty": str(quantity)}


def credentials(secret: str = SECRET) -> Credentials:
    return Credentials(KEY, secret)
