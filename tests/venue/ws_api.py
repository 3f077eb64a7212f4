"""The WS-API: requests over a socket, sessions (`session.logon`), and the user data stream."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tests.venue.api import Api
from tests.venue.errors import VenueError, bad_parameter
from tests.venue.faults import Faults
from tests.venue.limits import Limits
from tests.venue.params import Params
from tests.venue.record import Record
from tests.venue.sockets import Socket

_OPERATIONS = {
    "ping": "ping", "time": "time", "exchangeInfo": "exchangeInfo", "depth": "depth", "klines": "klines",
    "trades.recent": "trades", "trades.aggregate": "aggTrades", "ticker.book": "ticker/bookTicker",
    "account.status": "account", "order.place": "order.place", "order.test": "order.test",
    "order.status": "order.status", "order.cancel": "order.cancel", "openOrders.status": "openOrders.status",
    "openOrders.cancelAll": "openOrders.cancelAll", "allOrders": "allOrders", "myTrades": "myTrades",
}  # fmt: skip


class Session:
    """A socket, the key it logged on with, and its subscriptions to the user data stream."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.key: str | None = None
        self.since = 0
        self.subscriptions: dict[int, str] = {}


class WsApi:
    """Answers ``/ws-api/v3`` and pushes the events of the account."""

    def __init__(self, api: Api, limits: Limits, faults: Faults, record: Record, clock: Callable[[], int]) -> None:
        self.api, self.limits, self.faults, self.record, self.clock = api, limits, faults, record, clock
        self.sessions: set[Session] = set()
        self.pushed = 0
        self._methods: dict[str, Callable[[Session, Params], Any]] = {
            "session.logon": self._logon,
            "session.logout": self._logout,
            "session.status": lambda session, params: self._status(session),
            "userDataStream.subscribe": self._subscribe,
            "userDataStream.subscribe.signature": self._subscribe_signature,
            "userDataStream.unsubscribe": self._unsubscribe,
        }

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one socket."""
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        session = Session(Socket(ws, request, "user", self.faults))
        self.sessions.add(session)
        try:
            async for message in session.socket.texts():
                answer = self._answer(session, message)
                session.socket.send(json.dumps(answer), answer=True)
        finally:
            self.sessions.discard(session)
        return ws

    def push(self, event: dict[str, Any]) -> None:
        """Send an event of the account to every subscription; who is not connected never sees it."""
        if event.get("x") == "TRADE" and (late := self.faults.take("late", "user")) is not None:
            asyncio.get_running_loop().call_later(float(late.options.get("delay", 2)), self._push, event)
        else:
            self._push(event)

    def _push(self, event: dict[str, Any]) -> None:
        for session in self.sessions:
            for ident in session.subscriptions:
                self.pushed += 1
                session.socket.send(json.dumps({"subscriptionId": ident, "event": event}))

    def drop(self) -> int:
        """Abort every socket; return how many there were."""
        for session in list(self.sessions):
            session.socket.abort()
        return len(self.sessions)

    def end_streams(self) -> int:
        """End all subscriptions, as the venue does when it moves them elsewhere; return how many there were."""
        ended = 0
        for session in self.sessions:
            for ident in session.subscriptions:
                event = {"e": "eventStreamTerminated", "E": self.clock()}
                session.socket.send(json.dumps({"subscriptionId": ident, "event": event}), answer=True)
            ended += len(session.subscriptions)
            session.subscriptions.clear()
        return ended

    def expel(self, key: str) -> None:
        """End the sessions of a key that is accepted no more."""
        for session in list(self.sessions):
            if key == session.key or key in session.subscriptions.values():
                session.socket.abort()

    def _answer(self, session: Session, message: str) -> dict[str, Any]:
        ident = None
        try:
            asked = json.loads(message)
            ident, method = asked.get("id"), asked["method"]
            params = {name: _plain(value) for name, value in (asked.get("params") or {}).items()}
        except (ValueError, KeyError, AttributeError):
            return _failure(ident, VenueError(-1135, "JSON error: request is malformed."))
        entry = self.record.request("WS", method, params)
        try:
            result = self._run(session, method, params)
        except VenueError as error:
            self.record.ended(entry, error.status, error.code)
            return _failure(ident, error)
        self.record.ended(entry, 200, None)
        return {"id": ident, "status": 200, "result": result, "rateLimits": []}

    def _run(self, session: Session, method: str, params: Params) -> Any:
        if method in self._methods:
            self.limits.spend(2, False)
            return self._methods[method](session, params)
        name = _OPERATIONS.get(method)
        if name is None:
            raise VenueError(-1000, f"Method {method} is invalid", 404)
        operation = self.api.operations[name]
        self.limits.spend(operation.weighs(params), operation.is_order)
        if operation.signed:
            if session.key is not None and "apiKey" not in params:
                self.api.check_time(params)
            else:
                self.api.authorize(params.get("apiKey"), params, signed_text(params))
        return operation.run(params)

    # -- sessions -----------------------------------------------------------------------------------------------

    def _logon(self, session: Session, params: Params) -> dict[str, Any]:
        for name in ("apiKey", "signature"):
            if name not in params:
                raise bad_parameter(name)
        self.api.check_time(params)
        self.api.keys.check(params["apiKey"], signed_text(params), params["signature"], ed25519_only=True)
        session.key, session.since = params["apiKey"], self.clock()
        return self._status(session)

    def _logout(self, session: Session, params: Params) -> dict[str, Any]:
        session.key = None
        session.subscriptions.clear()
        return self._status(session)

    def _status(self, session: Session) -> dict[str, Any]:
        return {
            "apiKey": session.key, "authorizedSince": session.since if session.key else None,
            "connectedSince": session.since, "returnRateLimits": False, "serverTime": self.clock(),
            "userDataStream": bool(session.subscriptions),
        }  # fmt: skip

    def _subscribe(self, session: Session, params: Params) -> dict[str, Any]:
        if session.key is None:
            raise VenueError(-2015, "Session is not authenticated: send session.logon first.", 401)
        return self._add(session, session.key)

    def _subscribe_signature(self, session: Session, params: Params) -> dict[str, Any]:
        key = params.get("apiKey")
        self.api.authorize(key, params, signed_text(params))
        return self._add(session, key or "")

    def _add(self, session: Session, key: str) -> dict[str, Any]:
        ident = max(session.subscriptions, default=-1) + 1
        session.subscriptions[ident] = key
        return {"subscriptionId": ident}

    def _unsubscribe(self, session: Session, params: Params) -> dict[str, Any]:
        if "subscriptionId" in params:
            session.subscriptions.pop(int(params["subscriptionId"]), None)
        else:
            session.subscriptions.clear()
        return {}


def signed_text(params: Params) -> str:
    """Return what a WS-API request signs: its parameters by name, without the signature."""
    return "&".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)


def _failure(ident: Any, error: VenueError) -> dict[str, Any]:
    return {"id": ident, "status": error.status, "error": error.body(), "rateLimits": []}
