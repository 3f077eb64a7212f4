"""What reaches the console: 200 attacks and more change nothing on the disk, and the same request done rightly does."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from alphatrade.nodes.console import guard as guard_module
from alphatrade.nodes.console.access import Access, cookie_of, token_of
from alphatrade.nodes.console.actions import Place, attach
from alphatrade.nodes.console.guard import Guard
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.kill import read_request
from tests.nodes.make_console import there

TOKEN = "t" * 40
HERE = "127.0.0.1:8464"
COOKIE = cookie_of(HERE)
EVIL = (
    "http://evil.example",
    "http://127.0.0.1:3000",
    "null",
    "https://localhost:8464",
    "http://127.0.0.1:8464.evil.example",
)
STRANGE_HOSTS = (
    "evil.example",
    "evil.example:8464",
    "127.0.0.1.evil.example",
    "x@127.0.0.1:8464",
    "",
    "127.0.0.2:8464",
)
PATHS = (
    "/../etc/passwd",
    "/%2e%2e/x",
    "/..%2fx",
    "/a/%252e%252e/b",
    "/_nicegui/..%5c..%5cx",
    "/%00",
    "/_nicegui/static/../../x",
)


class Desk:
    """A console without its page."""

    def __init__(self, state: Path) -> None:
        self.state, self.access, app = state, Access(TOKEN), FastAPI()
        attach(app, self.access, Place(state, "paper", "SIM", ""))
        self.reads = 0
        self.app = Guard(app, self.access, "127.0.0.1")

    def send(
        self, method: str = "POST", path: str = "/act", body: bytes = b"", kind: str = "http", **headers: str | None
    ) -> int:
        """Send a request of our own page, but for what is given; return its status, 0 for a socket let in."""
        own = {
            "host": HERE,
            "origin": f"http://{HERE}",
            "content-type": "application/json",
            "content-length": str(len(body)),
        }
        all_ = {name.replace("_", "-"): value for name, value in (own | headers).items() if value is not None}
        scope: dict[str, Any] = {
            "type": kind, "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "http_version": "1.1",
            "scheme": "http", "server": ("127.0.0.1", 8464), "client": ("127.0.0.1", 1), "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in all_.items()],
        }  # fmt: skip
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            self.reads += 1
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        self.headers = dict(sent[0].get("headers", ()))
        return int(sent[0].get("status", sent[0].get("code", 0)))

    def wish(self, session: str, **parts: Any) -> bytes:
        plain = {"action": "kill", "who": "ann", "why": "odd", "nonce": self.access.nonce(session)}
        return json.dumps(plain | parts).encode()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path))
    monkeypatch.delenv("ALPHATRADE_LEDGER", raising=False)
    return Desk(tmp_path)


def session(desk: Desk) -> str:
    name = desk.access.login(TOKEN)
    assert name is not None
    return name


def attacks(desk: Desk, name: str) -> list[int]:
    """Attack in every way, most with the session of the operator's own browser, and return what was answered."""
    cookie, found = f"{COOKIE}={name}", []
    for action in ("kill", "freeze", "acknowledge", "sign_off"):
        body = desk.wish(name, action=action)
        for wrong in (None, "", "x" * 43, name[:-1]):
            found.append(desk.send(body=body, cookie=None if wrong is None else f"{COOKIE}={wrong}"))
            found.append(
                desk.send(
                    kind="websocket",
                    path="/_nicegui_ws/socket.io/",
                    cookie=None if wrong is None else f"{COOKIE}={wrong}",
                )
            )
        for origin in (*EVIL, None):
            found.append(desk.send(body=body, cookie=cookie, origin=origin))
            found.append(desk.send(kind="websocket", path="/_nicegui_ws/socket.io/", cookie=cookie, origin=origin))
        for host in STRANGE_HOSTS:
            found.append(desk.send(body=body, cookie=cookie, host=host, origin=f"http://{host}"))
        for path in PATHS:
            found += [desk.send(body=body, cookie=cookie, path=path), desk.send("GET", path, cookie=cookie)]
        for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
            found.append(desk.send(method, body=body, cookie=cookie))
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            found.append(desk.send(body=body, cookie=cookie, content_type=kind))
        for nonce in ("", "x" * 22, desk.access.nonce("another")):
            found.append(desk.send(body=desk.wish(name, action=action, nonce=nonce), cookie=cookie))
        reads = desk.reads
        found.append(desk.send(body=body, cookie=cookie, content_length="10000000"))
        found.append(desk.send(body=body, cookie=cookie, transfer_encoding="chunked"))
        assert desk.reads == reads, "refused before it is read"
        for bad in (
            b"",
            b"[]",
            b"{",
            desk.wish(name, action="trade"),
            desk.wish(name, more="x"),
            desk.wish(name, who=7),
            b"\xff" * 99,
        ):
            found.append(desk.send(body=bad, cookie=cookie))
    return found


def test_no_attack_has_an_effect_and_the_rightful_request_has(desk: Desk) -> None:
    name, before = session(desk), there(desk.state)
    found = attacks(desk, name)
    assert len(found) >= 200
    assert not {0, 200} & set(found)
    assert there(desk.state) == before
    body, cookie = desk.wish(name, why="<script>alert(1)</script>"), f"{COOKIE}={name}"
    assert desk.send(body=body, cookie=cookie) == 200
    request = read_request(desk.state / "paper" / "SIM")
    assert request is not None
    assert (desk.state / "ledger").is_dir()
    done = there(desk.state)
    assert desk.send(body=body, cookie=cookie) == 409, "replayed"
    assert there(desk.state) == done


@pytest.mark.parametrize("off", ["_strange", "_unknown"])
def test_without_either_half_of_the_guard_an_attack_has_an_effect(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, off: str
) -> None:
    """Mutation. Without a session there is no number to use, so there it is the page that would be shown."""
    monkeypatch.setattr(guard_module.Guard, off, lambda *_: 0)
    name = session(desk)
    if off == "_strange":
        assert desk.send(body=desk.wish(name), cookie=f"{COOKIE}={name}", origin=EVIL[0]) == 200
    else:
        assert desk.send("GET", "/", origin=None) == 404, "it went on to the application"


def test_without_the_number_a_replay_has_an_effect(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation."""
    monkeypatch.setattr(Access, "spend", lambda *_: True)
    name = session(desk)
    body = desk.wish(name)
    assert [desk.send(body=body, cookie=f"{COOKIE}={name}") for _ in range(2)] == [200, 200]


def test_the_login_takes_the_token_alone_and_wrong_ones_lock_nobody_out(desk: Desk) -> None:
    for wrong in (*["wrong"] * 20, TOKEN[:-1], TOKEN + "t", ""):
        assert desk.send(path="/login", body=f"token={wrong}".encode()) == 403
    assert desk.send(path="/login", body=f"token={TOKEN}".encode(), origin="http://evil.example") == 403
    assert desk.send(path="/login", body=f"token={TOKEN}".encode()) == 303
    cookie = desk.headers[b"set-cookie"].decode().lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert desk.headers[b"x-frame-options"] == b"DENY"
    assert b"frame-ancestors 'none'" in desk.headers[b"content-security-policy"]


def test_a_token_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    token = token_of(tmp_path, None)
    file = tmp_path / "console.token"
    assert (file.stat().st_mode & 0o777, token_of(tmp_path, None)) == (0o600, token)
    with pytest.raises(ConfigError, match="--token-file"):
        token_of(tmp_path, tmp_path / "none")
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="only you can read"):
        token_of(tmp_path, None)
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(ConfigError):
        token_of(tmp_path, tmp_path / "link")
