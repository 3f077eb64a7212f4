"""In front of the console's page: which requests and sockets reach it at all.

A page of somebody else, in the operator's own browser, is what this is against: it may send requests here, and knows
neither the token nor may it read an answer. So the name in ``Host`` has to be one of this machine (a name of somebody
else that leads here is refused), ``Origin`` has to be this page for whatever could change something and for sockets,
and a session is needed for all but the login.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.requests import cookie_parser

from alphatrade.nodes.console.access import Access, cookie_of

BODY_BYTES = 65_536
LOGIN = "/login"
_SAFE = {"GET", "HEAD"}
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # without any, Origin of our own form is null
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
type App = Callable[[Scope, Receive, Send], Awaitable[None]]


def session_of(headers: dict[str, str]) -> str:
    """Return the session that a request names; empty: none."""
    return cookie_parser(headers.get("cookie", "")).get(cookie_of(headers["host"]), "")


class Guard:
    """
    An ASGI application around another one.

    Parameters
    ----------
    app : callable
    access : Access
    host : str
        Where the console listens: a name that is allowed beside those of loopback.
    """

    def __init__(self, app: App, access: Access, host: str) -> None:
        self._app, self._access = app, access
        self._hosts = _LOOPBACK | ({host} - {"0.0.0.0", "::"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request or a socket through, or answer it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        code = self._refusal(scope)

        async def told(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        if code == 0:
            await self._app(scope, receive, told)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            place = [(b"location", LOGIN.encode())] if code == 303 else []
            headers = [(b"content-type", b"text/plain"), (b"connection", b"close"), *place]
            await told({"type": "http.response.start", "status": code, "headers": headers})
            await send({"type": "http.response.body", "body": f"refused ({code})\n".encode()})

    def _refusal(self, scope: Scope) -> int:
        """Return with which status something is refused; 0: it is let through."""
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            if name in (b"host", b"origin", b"content-length") and name.decode() in headers:
                return 400
            headers[name.decode("latin-1")] = value.decode("latin-1")
        return self._strange(scope, headers) or self._unknown(scope, headers)

    def _strange(self, scope: Scope, headers: dict[str, str]) -> int:
        """Refuse what is not of this page, too long, or leads elsewhere."""
        host, socket = headers.get("host", ""), scope["type"] == "websocket"
        if not self._ours(host):
            return 421
        origin, unsafe = headers.get("origin"), socket or scope["method"] not in _SAFE
        if (origin is None and unsafe) or (origin is not None and origin not in (f"http://{host}", f"https://{host}")):
            return 403
        if not socket and scope["method"] not in {*_SAFE, "POST"}:
            return 405
        length = headers.get("content-length")
        if "transfer-encoding" in headers or (length is not None and not length.isdecimal()):
            return 411
        if length is not None and int(length) > BODY_BYTES:
            return 413
        path = unquote(unquote(scope.get("raw_path", scope["path"].encode()).decode("latin-1")))
        if ".." in path.replace("\\", "/").split("/") or "\0" in path or "\\" in path:
            return 400
        return 0

    def _ours(self, host: str) -> bool:
        try:
            found = urlsplit(f"//{host}")
            return found.netloc == host and "@" not in host and found.port != 0 and found.hostname in self._hosts
        except ValueError:
            return False

    def _unknown(self, scope: Scope, headers: dict[str, str]) -> int:
        """Refuse who has no session."""
        if scope["path"] == LOGIN and scope["type"] == "http":
            return 0
        if self._access.known(session_of(headers)):
            return 0
        return 303 if scope["type"] == "http" and scope["path"] == "/" and scope["method"] in _SAFE else 401
