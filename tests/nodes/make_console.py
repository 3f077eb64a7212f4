"""A console as a process: beside a node, in Chromium, and as somebody meets it who writes on its sockets by hand."""

import ast
import hashlib
import html
import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from alphatrade.nodes.console.access import cookie_of
from tests.nodes.make_paper import Node

CHROMIUM = shutil.which("chromium") or ""
SCRIPT = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>'
SOCKET = "/_nicegui_ws/socket.io/"
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="needs Debian's package chromium")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "this never happened"
        time.sleep(0.1)


class Place(Node):
    """A node, and a console on a free port."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "feed.speed=1200", "output.report=false", "output.flush_ms=500")
        self.port, self.at = free_port(), free_port()
        self.state, self.processes = root / "state", list[subprocess.Popen[str]]()

    def trades(self) -> "subprocess.Popen[str]":
        process = self.start(f"metrics.port={self.at}")
        self.processes.append(process)
        until(lambda: self.beat().get("fills", 0) > 2)
        return process

    def shows(self, *words: str, change: str = "") -> "subprocess.Popen[str]":
        """Start the console; `change` is Python that is run in it before."""
        own = ["console", "--port", str(self.port), "--metrics", f"http://127.0.0.1:{self.at}/metrics", *words]
        begin = f"{change}\nfrom alphatrade.nodes.app import command\ncommand()"
        process = subprocess.Popen(
            [sys.executable, "-c", begin, *own], cwd=self.root, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.processes.append(process)
        until(lambda: self.answers() and (self.state / "console.token").exists())
        return process

    def start(self, *words: str, verb: str = "paper", module: str = "") -> "subprocess.Popen[str]":
        own, self.words = self.words, () if verb == "console" else self.words
        try:
            return super().start(*words, verb=verb, module=module)
        finally:
            self.words = own

    def answers(self) -> bool:
        with socket.socket() as asked:
            return asked.connect_ex(("127.0.0.1", self.port)) == 0

    def beat(self) -> dict[str, Any]:
        path = self.state / "paper" / "SIM" / "beats.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return json.loads(lines[-1]) if lines else {}

    @property
    def token(self) -> str:
        return (self.state / "console.token").read_text().strip()

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=20)


@contextmanager
def in_chromium() -> Iterator[Any]:
    """Open a page in Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1440, "height": 900})
        browser.close()


def signed_in(page: Any, place: Place, token: str | None = None) -> None:
    page.goto(f"http://127.0.0.1:{place.port}/")
    assert page.url.endswith("/login")
    page.get_by_label("token").fill(token or place.token)
    page.click("button")


def shown(page: Any) -> str:
    return str(page.inner_text("body"))


def there(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a folder."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def raw(method: str, target: str, headers: dict[str, str], body: bytes = b"", version: str = "HTTP/1.1") -> bytes:
    """Return a request as its bytes, with nothing that was not given."""
    lines = [f"{method} {target} {version}", *[f"{name}: {value}" for name, value in headers.items()]]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def asked(port: int, data: bytes, whole: bool = False) -> tuple[int, bytes]:
    """Write bytes on a socket; return the status of the first answer, 0 for none, and what was read."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=4.0) as wire:
        with suppress(ConnectionError, TimeoutError):
            wire.sendall(data)
        with suppress(ConnectionError, TimeoutError):
            while (whole or b"\r\n" not in found) and (more := wire.recv(65536)):
                found += more
    told = re.match(rb"HTTP/1\.1 (\d{3}) ", found)
    return int(told[1]) if told else 0, found


def login(place: Place) -> str:
    """Return the cookie of a new session."""
    host, body = f"127.0.0.1:{place.port}", f"token={place.token}".encode()
    headers = {"Host": host, "Origin": f"http://{host}", "Content-Length": str(len(body)), "Connection": "close"}
    code, answer = asked(place.port, raw("POST", "/login", headers, body), whole=True)
    assert code == 303, answer
    (name,) = re.findall(rb"(?i)set-cookie: (\S+?);", answer)
    assert name.decode().startswith(f"{cookie_of(host)}=")
    return str(name.decode())


class Page(NamedTuple):
    """What a page consists of at first, and what its socket has to say."""

    elements: dict[str, Any]
    query: dict[str, Any]


def page_of(port: int, cookie: str) -> Page | int:
    """Return the page, or the status with which it was refused."""
    headers = {"Host": f"127.0.0.1:{port}", "Cookie": cookie, "Connection": "close"}
    code, answer = asked(port, raw("GET", "/", headers), whole=True)
    if code != 200:
        return code
    text = answer.decode("latin-1")
    elements, query = re.search(r"parseElements\(String\.raw`(.*?)`\)", text), re.search(r"query: (\{.*?\}),\n", text)
    assert elements is not None
    assert query is not None
    return Page(json.loads(html.unescape(elements[1])), ast.literal_eval(query[1]))


class Hand:
    """Somebody who speaks on the socket of a page as the browser does, and does not send what it is told to."""

    def __init__(self, port: int, cookie: str, page: Page, origin: str = "") -> None:
        own = {
            "EIO": "4",
            "transport": "websocket",
            "implicit_handshake": "true",
            "document_id": "d",
            "tab_id": "t",
            "old_tab_id": "",
        }
        self.elements, self._client, self._told = dict(page.elements), page.query["client_id"], Queue[str]()
        self._socket = connect(
            f"ws://127.0.0.1:{port}{SOCKET}?{urlencode(page.query | own)}", origin=origin or f"http://127.0.0.1:{port}",  # type: ignore[arg-type]
            additional_headers={"Cookie": cookie}, proxy=None, max_size=None,
        )  # fmt: skip
        self._socket.send("40")
        Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _listen(self) -> None:
        with suppress(ConnectionClosed):
            for text in self._socket:
                if text == "2":
                    self._socket.send("3")
                if not isinstance(text, str) or not text.startswith("42"):
                    continue
                name, data = json.loads(text[2:])
                if name == "update":
                    self.elements |= {key: one for key, one in data.items() if isinstance(one, dict)}
                if name == "run_javascript" and "fetch" in data["code"]:
                    self.emit(
                        "javascript_response", request_id=data["request_id"], result={"ok": False, "words": "kept"}
                    )
                    self._told.put(data["code"])

    def emit(self, name: str, **what: Any) -> None:
        self._socket.send("42" + json.dumps([name, what | {"client_id": self._client}]))

    def event(self, label: str, kind: str, *args: Any) -> None:
        """Let something happen at the latest element with a label, once there is one."""
        until(lambda: self._labelled(label), 5.0)
        key, one = self._labelled(label)[-1]
        (listener,) = [e["listener_id"] for e in one["events"] if e["type"] == kind]
        self.emit("event", id=int(key), listener_id=listener, args=[json.dumps(arg) for arg in args])

    def _labelled(self, label: str) -> list[tuple[str, Any]]:
        return [(key, one) for key, one in list(self.elements.items()) if one.get("props", {}).get("label") == label]

    def opens(self, button: str = "Kill") -> Self:
        """Open the dialog of an action, and say who and why."""
        self.event(button, "click")
        for label, text in (("who", "ann"), ("why", "odd")):
            self.event(label, "update:value", text)
        return self

    def wish(self, **parts: Any) -> bytes:
        """Return the body of the request that the page would send now, with a number that was not used."""
        self.event("Confirm", "click")
        found = re.search(r'\("/act", ("(?:[^"\\]|\\.)*"),', self._told.get(timeout=5.0))
        assert found is not None
        plain: dict[str, Any] = json.loads(json.loads(found[1]))
        return json.dumps(plain | parts).encode()

    def says(self, data: str | bytes) -> None:
        """Send anything."""
        self._socket.send(data)
