"""REST: from an HTTP request to an operation and back, with weights, signatures and faults."""

import asyncio
import json
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from tests.venue.api import Api, Operation
from tests.venue.errors import VenueError
from tests.venue.faults import Fault, Faults
from tests.venue.limits import Limits, banned, too_much
from tests.venue.params import Params
from tests.venue.record import Record

ROUTES = {
    ("GET", "/api/v3/ping"): "ping",
    ("GET", "/api/v3/time"): "time",
    ("GET", "/api/v3/exchangeInfo"): "exchangeInfo",
    ("GET", "/api/v3/depth"): "depth",
    ("GET", "/api/v3/trades"): "trades",
    ("GET", "/api/v3/historicalTrades"): "historicalTrades",
    ("GET", "/api/v3/aggTrades"): "aggTrades",
    ("GET", "/api/v3/klines"): "klines",
    ("GET", "/api/v3/uiKlines"): "klines",
    ("GET", "/api/v3/avgPrice"): "avgPrice",
    ("GET", "/api/v3/ticker/24hr"): "ticker/24hr",
    ("GET", "/api/v3/ticker/price"): "ticker/price",
    ("GET", "/api/v3/ticker/bookTicker"): "ticker/bookTicker",
    ("GET", "/api/v3/account"): "account",
    ("GET", "/api/v3/rateLimit/order"): "rateLimit/order",
    ("POST", "/api/v3/order"): "order.place",
    ("POST", "/api/v3/order/test"): "order.test",
    ("GET", "/api/v3/order"): "order.status",
    ("DELETE", "/api/v3/order"): "order.cancel",
    ("GET", "/api/v3/openOrders"): "openOrders.status",
    ("DELETE", "/api/v3/openOrders"): "openOrders.cancelAll",
    ("GET", "/api/v3/allOrders"): "allOrders",
    ("GET", "/api/v3/myTrades"): "myTrades",
    ("GET", "/sapi/v1/asset/tradeFee"): "tradeFee",
    ("GET", "/sapi/v1/account/apiRestrictions"): "apiRestrictions",
    ("GET", "/sapi/v1/bnbBurn"): "bnbBurn",
    ("POST", "/sapi/v1/capital/withdraw/apply"): "withdraw",
}


class Rest:
    """Answers ``/api/v3/…`` and ``/sapi/v1/…``."""

    def __init__(self, api: Api, limits: Limits, faults: Faults, record: Record) -> None:
        self.api, self.limits, self.faults, self.record = api, limits, faults, record

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        query = request.raw_path.partition("?")[2]
        body = (await request.read()).decode()
        params: Params = dict(parse_qsl(query, keep_blank_values=True) + parse_qsl(body, keep_blank_values=True))
        entry = self.record.request(request.method, request.path, params)
        await self._wait(request)
        lost = self.faults.take("lost", "rest", request.path, request.method)
        try:
            answer = self._answer(request, params, query + body)
            status, headers = 200, self.limits.headers()
        except VenueError as error:
            answer, status, headers = error.body(), error.status, self.limits.headers() | error.headers
        code = answer.get("code") if isinstance(answer, dict) else None
        self.record.ended(entry, status, code, lost=lost is not None)
        if lost is not None:
            await asyncio.sleep(float(lost.options.get("delay", 0)))
            if request.transport is not None:
                request.transport.abort()
        if status == 200 and self.faults.take("garbage", "rest", request.path, request.method):
            return web.Response(text="<html><body>502 Bad Gateway</body></html>", content_type="text/html")
        return web.Response(text=json.dumps(answer), status=status, headers=headers, content_type="application/json")

    def _answer(self, request: web.Request, params: Params, payload: str) -> Any:
        path, method = request.path, request.method
        name = ROUTES.get((method, path))
        if name is None:
            raise VenueError(-1000, f"Path {path}, Method {method} is invalid", 404)
        operation = self.api.operations[name]
        self._limit(path, method, operation, params)
        error = self.faults.take("error", "rest", path, method)
        if error is not None and not error.options.get("after"):
            raise server_error(error)
        if operation.signed:
            key = request.headers.get("X-MBX-APIKEY")
            self.api.authorize(key, params, unsigned(payload))
        answer = operation.run(params)
        if error is not None:
            raise server_error(error)
        return answer

    def _limit(self, path: str, method: str, operation: Operation, params: Params) -> None:
        fault = self.faults.take("rate_limit", "rest", path, method)
        if fault is not None:
            wait = float(fault.options.get("retry_after", 1))
            if int(fault.options.get("status", 429)) == 418:
                raise banned(self.limits.clock() + int(wait * 1000), wait - 1)
            raise too_much(self.limits.weight, wait - 1)
        self.limits.spend(operation.weighs(params), operation.is_order)

    async def _wait(self, request: web.Request) -> None:
        if slow := self.faults.take("slow", "rest", request.path, request.method):
            await asyncio.sleep(float(slow.options.get("delay", 0.2)))
        if self.faults.stalled("rest"):
            self.faults.take("stall", "rest")
            while self.faults.stalled("rest"):
                await asyncio.sleep(0.02)


def unsigned(payload: str) -> str:
    """Return what was signed: the query without its signature, which comes last."""
    return payload.rpartition("signature=")[0].rstrip("&")


def server_error(fault: Fault) -> VenueError:
    status, code = int(fault.options.get("status", 503)), int(fault.options.get("code", -1000))
    words = "An unknown error occurred while processing the request."
    if code == -1007:
        words = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
    return VenueError(code, fault.options.get("message", words), status)
