"""Shim: the last door of a live node, inside of the bundled client: what it sends is looked at, and signed anew.

The bundled client is used as it is, but it is given a throw-away key, and the two objects by which it reaches the
exchange are put behind doors. Nothing that it signs itself is of any use there.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec
from nautilus_trader.adapters.binance.http.client import BinanceHttpClient
from nautilus_trader.adapters.binance.http.error import BinanceClientError
from nautilus_trader.adapters.binance.spot.execution import BinanceSpotExecutionClient
from nautilus_trader.adapters.binance.websocket.user import BinanceUserDataWebSocketClient
from nautilus_trader.core.nautilus_pyo3 import HttpClient, HttpMethod, WebSocketClient, WebSocketClientError

from alphatrade.nodes.live.seal import ORDER, STREAM, Seal, SealedError
from alphatrade.risk.approval import UNLISTED
from alphatrade.risk.errors import ConfigError

CODE = -9001  # of a refusal, in the place of an exchange's own: it is clear, and no order is waited for
_STATUS = 403
_METHODS = {
    HttpMethod.GET: "GET", HttpMethod.POST: "POST", HttpMethod.PUT: "PUT", HttpMethod.PATCH: "PATCH",
    HttpMethod.DELETE: "DELETE",
}  # fmt: skip
_MARK = "&signature="
_LOGON, _SUBSCRIBE = "session.logon", "userDataStream.subscribe"
_PLAIN = frozenset(("session.status", "session.logout", "userDataStream.unsubscribe"))


class HttpDoor:
    """
    Stands in for the connection of a bundled HTTP client.

    Parameters
    ----------
    raw : HttpClient
        The connection.
    root : str
        Where it may ask: URL without path.
    seal : Seal
    """

    def __init__(self, raw: HttpClient, root: str, seal: Seal) -> None:
        self._raw, self._root, self._seal, self._sign = raw, root, seal, seal.signer()

    async def request(
        self, method: HttpMethod, url: str, headers: Any = None, body: Any = None, keys: Any = None
    ) -> Any:
        """
        Send a request on, with a signature of the real key where it had one of the throw-away key.

        Raises
        ------
        BinanceClientError
            If it is not signed: nothing has left then.
        """
        name, (path, query) = _METHODS.get(method, ""), self._parts(url)
        try:
            leaves = self._signed(name, path, query, body)
        except SealedError as no:
            raise BinanceClientError(_STATUS, {"code": CODE, "msg": str(no)}, {}) from None
        if (name, path) == ORDER:
            keys = None  # a limiter of rates would hold it back after it was looked at; the law has limits of its own
        return await self._raw.request(method, url=leaves, headers=headers, keys=keys)

    def _parts(self, url: str) -> tuple[str, str]:
        """Return path and query of an address of this exchange; of another one, nothing."""
        path, _, query = url.removeprefix(self._root).partition("?")
        return (path, query) if url.startswith(f"{self._root}/") else ("", "")

    def _signed(self, name: str, path: str, query: str, body: Any) -> str:
        text, signed, _ = query.rpartition(_MARK)
        if not path or body is not None or (not signed and name != "GET"):
            raise SealedError(self._seal.approvals.refuse(UNLISTED, f"{name} {path or 'of another place'}"))
        if not signed:
            return f"{self._root}{path}?{query}" if query else f"{self._root}{path}"
        return f"{self._root}{path}?{text}{_MARK}{quote(self._sign(name, path, text), safe='')}"


class SocketDoor:
    """
    Stands in for the connection of a bundled client to an exchange's WS-API.

    The session is never logged on, so that no order could be sent on it: the logon is answered here, and the
    subscription has a signature of its own.

    Parameters
    ----------
    raw : WebSocketClient
        The connection.
    seal : Seal
    answer : callable
        Takes an answer, as bytes.
    now_ms : callable
        Returns the time, UTC ms.
    """

    def __init__(
        self, raw: WebSocketClient, seal: Seal, answer: Callable[[bytes], object], now_ms: Callable[[], int]
    ) -> None:
        self._raw, self._seal, self._answer, self._now_ms = raw, seal, answer, now_ms
        for name in ("disconnect", "is_active", "is_closed", "is_disconnecting", "is_reconnecting"):
            setattr(self, name, getattr(raw, name))

    async def send_text(self, data: bytes) -> None:
        """
        Send a request on that is about the stream.

        Raises
        ------
        WebSocketClientError
            If it is another one: nothing has left then.
        """
        asked = msgspec.json.decode(data)
        method, number = asked.get("method"), asked.get("id")
        if method == _LOGON:
            self._answer(msgspec.json.encode({"id": number, "status": 200, "result": {}}))
            return
        if method == _SUBSCRIBE:
            method, params = STREAM[1], self._signed()
        elif method in _PLAIN:
            params = {name: value for name, value in asked.get("params", {}).items() if name == "subscriptionId"}
        else:
            raise WebSocketClientError(self._seal.approvals.refuse(UNLISTED, str(method)))
        await self._raw.send_text(msgspec.json.encode({"id": number, "method": method, "params": params}))

    def _signed(self) -> dict[str, Any]:
        params: dict[str, Any] = {"apiKey": self._seal.key, "timestamp": self._now_ms()}
        text = "&".join(f"{name}={params[name]}" for name in sorted(params))
        return params | {"signature": self._seal.signer()(*STREAM, text)}


def install(client: BinanceSpotExecutionClient, seal: Seal) -> None:
    """
    Put the doors into a bundled client that is not connected yet.

    Raises
    ------
    ConfigError
        If it is not built as the bundled client of this version is, so that a door might be walked around.
    """
    http, ws = getattr(client, "_http_client", None), getattr(client, "_ws_client", None)
    built = (type(client), type(http), type(getattr(http, "_client", None)), type(ws), getattr(ws, "_client", client))
    if built != (BinanceSpotExecutionClient, BinanceHttpClient, HttpClient, BinanceUserDataWebSocketClient, None):
        raise ConfigError("broker", type(client).__name__, "the client of Binance spot that this version was made for")
    assert http is not None
    assert ws is not None
    http._client = HttpDoor(http._client, http.base_url, seal)
    connect = ws.connect

    async def connected() -> None:
        await connect()
        ws._client = SocketDoor(ws._client, seal, ws._handle_message, ws._clock.timestamp_ms)

    ws.connect = connected
