"""Attacks on a console that runs, byte by byte on its sockets: none has an effect, and the rightful request has.

What is attacked is the process with its page, and most attacks have what an operator's browser would add by itself: the
session, the page as origin, and a number that was not used. After each one everything on the disk is compared.
"""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from alphatrade.reflection.ledger import Ledger
from alphatrade.risk.freeze import read_freeze
from alphatrade.risk.kill import read_request
from tests.nodes.make_alarms import Fake, served
from tests.nodes.make_console import SCRIPT, SOCKET, Hand, Page, Place, asked, login, page_of, raw, there, until

MB, GROWN_MB = 10**6, 20
ACTIONS = ("kill", "freeze", "acknowledge", "sign_off")
HOSTS = (
    "evil.example",
    "127.0.0.1.evil.example:8464",
    "x@127.0.0.1",
    "127.0.0.2",
    "127.0.0.1:0",
    "[::1",
    "127.0.0.1#",
    "127.1",
    "",
)
UP = (
    "..",
    "%2e%2e",
    "%2E.",
    ".%2e",
    "%252e%252e",
    "..;",
    "..%00",
    "%c0%ae%c0%ae",
    "..%5c..",
    "..\\..",
    "%2e%2e%2f..",
    "...",
    "\uff0e\uff0e".encode().decode("latin-1"),
)
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
POLL, TALK = f"{SOCKET}?EIO=4&transport=polling", f"{SOCKET}?EIO=4&transport=websocket"


class Attacker:
    """Who attacks a console: knows its port; and its session, where the browser would add it."""

    def __init__(self, place: Place, cookie: str, other: str, hand: Hand, alarms: Fake) -> None:
        self.place, self.cookie, self.other, self.hand, self.alarms = place, cookie, other, hand, alarms
        self.host, self.first = f"127.0.0.1:{place.port}", b""

    def send(
        self,
        method: str = "POST",
        target: str = "/act",
        body: bytes | None = None,
        more: bytes = b"",
        **headers: str | None,
    ) -> int:
        """Send a request of the page, but for what is given; `more` follows it. Return its status."""
        return asked(self.place.port, self.spelt(method, target, body, **headers) + more)[0]

    def spelt(
        self, method: str = "POST", target: str = "/act", body: bytes | None = None, **headers: str | None
    ) -> bytes:
        body = (self.hand.wish() if method == "POST" else b"") if body is None else body
        own = {
            "host": self.host,
            "origin": f"http://{self.host}",
            "cookie": self.cookie,
            "content_type": "application/json",
            "content_length": str(len(body)),
        }
        all_ = {name.replace("_", "-"): value for name, value in (own | headers).items() if value is not None}
        return raw(method, target, all_, body)

    def talk(self, target: str = TALK, **headers: str | None) -> int:
        """Ask for a socket."""
        own = {name.replace("-", "_"): value for name, value in HANDSHAKE.items()}
        return self.send("GET", target, content_length=None, content_type=None, **(own | headers))

    def all(self) -> Iterator[tuple[str, int]]:
        """Attack in every way, and yield what each was and what was answered; 0 is nothing."""
        for part in (
            self.strangers,
            self.origins,
            self.replays,
            self.bodies,
            self.paths,
            self.spellings,
            self.headers,
            self.sockets,
            self.texts,
        ):
            yield from part()

    def strangers(self) -> Iterator[tuple[str, int]]:
        """Without a session."""
        name, _, value = self.cookie.partition("=")
        wrong = (
            None,
            "",
            f"{name}=",
            f"{name}={'x' * 43}",
            f"{name}={value[:-1]}",
            f"{name}={value}x",
            f"alphatrade_console={value}",
            f"{name}x={value}",
            f"{name}; {value}",
        )
        for cookie in wrong:
            for action in ACTIONS:
                yield f"{action} as {cookie}", self.send(body=self.hand.wish(action=action), cookie=cookie)
            for target in ("/", POLL, "/favicon.ico", "/_nicegui/x/static/nicegui.js"):
                yield f"GET {target} as {cookie}", self.send("GET", target, cookie=cookie)
            yield f"polling as {cookie}", self.send("POST", POLL, b"40", cookie=cookie)
            yield f"socket as {cookie}", self.talk(cookie=cookie)
        for token in (None, "", "x" * 43, self.place.token[:-1], self.place.token + "x", "%00", "a&token=b"):
            body = b"" if token is None else f"token={token}".encode()
            yield (
                f"token {token}",
                self.send("POST", "/login", body, content_type="application/x-www-form-urlencoded", cookie=None),
            )

    def origins(self) -> Iterator[tuple[str, int]]:
        """By another page in the operator's browser."""
        here = self.host
        evil = (
            "http://evil.example",
            "http://127.0.0.1:3000",
            "http://127.0.0.1",
            "null",
            f"https://localhost:{here[10:]}",
            f"http://{here}.evil.example",
            f"http://{here}/",
            f"http://x@{here}",
            f"ftp://{here}",
            "",
            None,
        )
        for origin in evil:
            for action in ACTIONS:
                yield f"{action} of {origin}", self.send(body=self.hand.wish(action=action), origin=origin)
            yield f"form of {origin}", self.send(origin=origin, content_type="text/plain")
            yield (
                f"login of {origin}",
                self.send("POST", "/login", f"token={self.place.token}".encode(), origin=origin, cookie=None),
            )
            yield f"polling of {origin}", self.send("POST", POLL, b"40", origin=origin)
            yield f"socket of {origin}", self.talk(origin=origin)
            if origin is not None:
                yield f"page of {origin}", self.send("GET", "/", origin=origin)
        for host in HOSTS:
            for target in ("/act", "/login"):
                yield f"{target} at {host}", self.send(target=target, host=host, origin=f"http://{host}")
            yield f"page at {host}", self.send("GET", "/", host=host, origin=None)
            yield f"socket at {host}", self.talk(host=host, origin=f"http://{host}")

    def replays(self) -> Iterator[tuple[str, int]]:
        """Again, with another's number, or with none."""
        for _ in range(3):
            yield "captured and sent again", asked(self.place.port, self.first)[0]
        used = self.first.partition(b"\r\n\r\n")[2].replace(b"freeze", b"kill")
        for what, body, cookie in (
            ("another session's number", self.hand.wish(), self.other), ("no number", self.hand.wish(nonce=""), self.cookie),
            ("a guessed number", self.hand.wish(nonce="A" * 22), self.cookie), ("a used number", used, self.cookie),
        ):  # fmt: skip
            yield what, self.send(body=body, cookie=cookie)

    def bodies(self) -> Iterator[tuple[str, int]]:
        """10 MB that are really sent."""
        much = b" " * (10 * MB)
        chunks = b"".join([b"100000\r\n" + b" " * 2**20 + b"\r\n" for _ in range(10)]) + b"0\r\n\r\n"
        for target in ("/login", "/act", "/", POLL, "/_nicegui/client/x/upload/1", "/_nicegui/x/static/nicegui.js"):
            yield f"10 MB to {target}", self.send("POST", target, much)
            yield (
                f"10 MB in pieces to {target}",
                self.send("POST", target, chunks, content_length=None, transfer_encoding="chunked"),
            )
            yield f"10 MB after a short length to {target}", self.send("POST", target, b"x" * 99, more=much)
            yield (
                f"10 MB before a long length to {target}",
                self.send("POST", target, much, content_length=str(20 * MB)),
            )
            yield f"10 MB without length to {target}", self.send("POST", target, much, content_length=None)
            yield f"10 MB, asked for first, to {target}", self.send("POST", target, much, expect="100-continue")
        yield "10 MB with a GET", self.send("GET", "/", much)
        yield (
            "10 MB of a form",
            self.send(
                "POST",
                "/login",
                b"token=" + b"x" * 10 * MB,
                content_type="application/x-www-form-urlencoded",
                cookie=None,
            ),
        )
        yield "10 MB of parts", self.send("POST", "/act", much, content_type="multipart/form-data; boundary=x")
        for length in ("-1", "+5", "5x", "0x10", " ", "9" * 30, "9" * 5000, "1e3", "\xb2"):
            yield f"length {length[:40]}", self.send(content_length=length)

    def paths(self) -> Iterator[tuple[str, int]]:
        """Out of the folders that are served."""
        for up in UP:
            for target in (
                f"/{up}/{up}/{up}/etc/passwd",
                f"/_nicegui/3.18.0/static/{up}/{up}/__init__.py",
                f"/_nicegui/3.18.0/resources/x/{up}/{up}/x",
                f"/act/{up}/act",
            ):
                code, answer = asked(self.place.port, self.spelt("GET", target, connection="close"), whole=True)
                assert not re.search(rb"daemon:|from \. import|" + self.place.token.encode(), answer), answer
                yield f"GET {target}", code
            yield f"POST through {up}", self.send(target=f"/x/{up}/act")
        for target in (
            "//act",
            "/act/",
            "/act%00",
            "/act%2f",
            "/ACT",
            "*",
            "act",
            "\\act",
            "/./act",
            "/login/../act",
            "/act;x",
        ):
            yield f"POST {target}", self.send(target=target)

    def spellings(self) -> Iterator[tuple[str, int]]:
        """As two ends may read differently, with a second request inside that lacks something."""
        evil = self.spelt(origin="http://evil.example")
        inner = raw("POST", "/act", {"Host": self.host, "Content-Length": "0"})
        own, body = (
            self.spelt(body=b"", content_length=None).decode("latin-1").removesuffix("\r\n\r\n"),
            self.hand.wish(),
        )
        size = len(body)
        for what, more in {
            "two lengths": f"Content-Length: {size}\r\nContent-Length: 0", "length and pieces": f"Content-Length: {size}\r\nTransfer-Encoding: chunked",
            "pieces and length": f"Transfer-Encoding: chunked\r\nContent-Length: {size}", "odd pieces": f"Transfer-Encoding: xchunked\r\nContent-Length: {size}",
            "pieces twice": "Transfer-Encoding: chunked, chunked", "a blank before the colon": f"Content-Length : {size}", "two hosts": f"Content-Length: {size}\r\nHost: evil.example",
            "two origins": f"Content-Length: {size}\r\nOrigin: http://evil.example", "a folded origin": f"Content-Length: {size}\r\nOrigin:\r\n http://evil.example",
            "no colon": f"Content-Length: {size}\r\nnonsense", "a NUL": f"Content-Length: {size}\r\nx: a\0b", "folded pieces": f"Content-Length: {size}\r\nTransfer-Encoding:\r\n chunked",
        }.items():  # fmt: skip
            for tail in (body, b"0\r\n\r\n" + inner, evil):
                yield what, asked(self.place.port, f"{own}\r\n{more}\r\n\r\n".encode("latin-1") + tail)[0]
        yield "a folded host", self.send(host=f"{self.host}\r\n .evil.example")
        yield "a folded cookie", self.send(cookie=f"x=y;\r\n {self.cookie}", origin="http://evil.example")
        yield (
            "two equal lengths",
            self.send(content_length=f"{size}\r\nContent-Length: {size}", body=body, origin="null"),
        )
        yield "a list of lengths", self.send(content_length=f"{size}, {size}", body=body, origin="null")
        yield "bare line feeds", asked(self.place.port, evil.replace(b"\r\n", b"\n"))[0]
        yield "bare returns", self.ended(evil.replace(b"\r\n", b"\r"))
        yield "a header in a value", self.send(origin=f"http://evil.example\nOrigin: http://{self.host}")
        for target in (
            f"http://{self.host}/act",
            "http://evil.example/act",
            "//evil.example/act",
            f"https://{self.host}/act",
        ):
            yield f"target {target}", self.send(target=target)
        yield (
            "a second request behind a GET",
            self.second(self.spelt("GET", "/favicon.ico", content_length=None) + evil),
        )
        yield "a second request in a body", self.second(self.spelt("POST", "/login", b"x") + inner)
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "post", "GET", "HEAD", "X" * 100):
            yield f"{method} /act", self.send(method, body=self.hand.wish())
        for version in ("HTTP/0.9", "HTTP/1.0", "HTTP/2.0", "HTTP/9.9", "ICAP/1.0", ""):
            for host in (None, "evil.example"):
                yield (
                    f"{version} at {host}",
                    asked(
                        self.place.port,
                        raw(
                            "POST",
                            "/act",
                            {"Cookie": self.cookie} | ({} if host is None else {"Host": host}),
                            b"",
                            version,
                        ),
                    )[0],
                )
        for bytes_ in (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
            b"\0" * 1000,
            b"\r\n" * 1000,
            b"GET /act\r\n\r\n",
            b"",
        ):
            yield f"bytes {bytes_[:12]!r}", self.ended(bytes_)

    def second(self, data: bytes) -> int:
        """Return the status of the last of several answers."""
        _, found = asked(self.place.port, data, whole=True)
        return int((re.findall(rb"HTTP/1\.1 (\d{3}) ", found) or [b"0"])[-1])

    def ended(self, data: bytes) -> int:
        with socket.create_connection(("127.0.0.1", self.place.port), timeout=5.0) as wire, suppress(ConnectionError):
            wire.sendall(data)
            wire.shutdown(socket.SHUT_WR)
            return int((re.findall(rb"HTTP/1\.1 (\d{3}) ", wire.recv(1000)) or [b"0"])[0])
        return 0

    def headers(self) -> Iterator[tuple[str, int]]:
        """Headers beyond all measure, and what arrives slowly."""
        evil = "http://evil.example"
        yield "10 MB in a header", self.send(x="x" * 10 * MB, origin=evil)
        yield "10 MB in a name", self.send(**{"x" * 10 * MB: "x"}, origin=evil)
        yield "10 MB in the target", self.send(target="/act?" + "x" * 10 * MB, origin=evil)
        yield "10 MB in the cookie", self.send(cookie=f"{'x' * 10 * MB}; {self.cookie}", origin=evil)
        yield "100,000 headers", self.send(**{f"x{n}": "x" for n in range(100_000)}, origin=evil)
        yield "10 MB in the method", self.send("X" * 10 * MB, body=b"")
        yield "10 MB of socket", self.talk(x="x" * 10 * MB, cookie=None)
        wires = [socket.create_connection(("127.0.0.1", self.place.port), timeout=5.0) for _ in range(60)]
        for at, wire in enumerate(wires):
            whole = self.spelt(origin=evil if at % 2 else None, body=b"x" * 1000)
            wire.sendall(whole[: (3, 60, len(whole) - 500)[at % 3]])
        assert asked(self.place.port, raw("GET", "/login", {"Host": self.host}))[0] == 200, "meanwhile it answers"
        for wire in wires:
            wire.close()
            yield "a request that is not finished", 0

    def sockets(self) -> Iterator[tuple[str, int]]:
        """On the page's own socket, by hand."""
        page = page_of(self.place.port, self.cookie)
        assert isinstance(page, Page)
        for origin, cookie in (("", ""), ("", "x=y"), ("http://evil.example", self.cookie), ("null", self.cookie)):
            yield f"another's page with {origin} and {cookie[:3]}", self.by_hand(cookie, page, origin)
        yield "a page without session", self.by_hand("", None)
        for target in ("/", "/act", "/login", SOCKET, POLL, "/_nicegui_ws/", f"{SOCKET}../x?EIO=4&transport=websocket"):
            yield f"socket at {target} without session", self.talk(target, cookie=None)
        for target in ("/", "/act", "/login"):
            yield f"socket at {target}", self.talk(target)
        event = (
            b'42["event",{"id":1,"client_id":"'
            + str(page.query["client_id"]).encode()
            + b'","listener_id":"x","args":[]}]'
        )
        for sid in ("", "&sid=x", "&sid=" + "A" * 20):
            yield f"an event by polling {sid}", self.send("POST", POLL + sid, event, cookie=None)
            yield (
                f"an event by polling of another page {sid}",
                self.send("POST", POLL + sid, event, origin="http://evil.example"),
            )
        yield (
            "another protocol",
            self.send("POST", "/act", connection="Upgrade", upgrade="h2c", origin="http://evil.example"),
        )
        yield (
            "an upgrade of an action",
            self.ended(
                self.spelt(origin="http://evil.example", **{k.replace("-", "_"): v for k, v in HANDSHAKE.items()})
            ),
        )
        for data in (
            b"\0" * 100,
            "42" + "[" * 10_000,
            '42["event",{"client_id":"x"}]',
            '42["javascript_response",{}]',
            "9",
            "4",
            "x" * 10 * MB,
        ):
            with suppress(ConnectionClosed), Hand(self.place.port, self.cookie, self.fresh()) as own:
                own.says(data)
            yield f"on an own socket {data[:20]!r}", 0

    def fresh(self) -> Page:
        page = page_of(self.place.port, self.cookie)
        assert isinstance(page, Page)
        return page

    def by_hand(self, cookie: str, page: Page | None, origin: str = "") -> int:
        """Click Kill on a socket of one's own, then send what it says the page has to."""
        found = page_of(self.place.port, cookie) if page is None else page
        if isinstance(found, int):
            return found
        try:
            with Hand(self.place.port, cookie, found, origin) as own:
                return self.send(body=own.opens().wish(), cookie=cookie or None)
        except InvalidStatus as refused:
            return refused.response.status_code

    def texts(self) -> Iterator[tuple[str, int]]:
        """Wishes that are none, with all that a rightful one has."""
        labels: dict[str, Any] = {"alertname": SCRIPT}
        for parts in (
            {"who": ""}, {"why": "  "}, {"who": "w" * 101}, {"why": "w" * 1001}, {"who": 7}, {"who": None}, {"why": ["x"]}, {"action": "trade"}, {"action": SCRIPT},
            {"more": SCRIPT}, {"approve": "yes"}, {"labels": SCRIPT}, {"labels": {"a": 1}}, {"action": "acknowledge", "labels": labels}, {"action": "acknowledge", "labels": {}},
            {"action": "acknowledge", "labels": {"alertname": "Watchdog"}}, {"action": "acknowledge", "labels": {"alertname": "Dead"}, "hours": 0.0}, {"action": "acknowledge", "labels": {"alertname": "Dead"}, "hours": 169.0},
            {"action": "acknowledge", "labels": {"alertname": "Dead"}, "hours": -1.0}, {"action": "acknowledge", "labels": {"alertname": "Dead"}, "hours": float("nan")},
            {"action": "acknowledge", "labels": {"alertname": "Dead"}, "hours": float("inf")}, {"action": "acknowledge", "labels": {"alertname": "Dead"}, "hours": "4"},
            {"action": "acknowledge", "labels": {"alertname": "Dead"}, "who": SCRIPT, "why": ""}, {"action": "sign_off", "proposal": SCRIPT, "approve": True}, {"action": "sign_off", "proposal": ""},
            {"action": "sign_off", "proposal": "../../keys/owner.pem"}, {"action": "sign_off", "proposal": "0" * 64, "approve": True}, {"nonce": SCRIPT},
        ):  # fmt: skip
            yield f"wish {parts}", self.send(body=self.hand.wish(**parts))
        for body in (
            b"",
            b"{",
            b"[]",
            b"null",
            b"\xff" * 99,
            b"[" * 60_000,
            b'{"who":"\\ud800"}',
            self.hand.wish()[:-1],
            self.hand.wish() * 2,
        ):
            yield f"body {body[:20]!r}", self.send(body=body)
        for kind in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "",
            "text/plain; application/json",
            None,
        ):
            yield f"type {kind}", self.send(content_type=kind)


def effects(attacker: Attacker) -> tuple[int, list[str]]:
    """Return how many attacks there were, and those that had an effect, or were answered as if they were none."""
    known, count, found = there(attacker.place.root), 0, list[str]()
    for what, code in attacker.all():
        count += 1
        now = there(attacker.place.root)
        if code == 101 or 200 <= code < 300 or now != known or attacker.alarms.made:
            found.append(f"{what[:200]} ({code})")
        known = now
        attacker.alarms.made.clear()
    return count, found


def memory(process: Any) -> float:
    """Return the most that a process has had in memory, MB."""
    (found,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    return int(found) / 1000


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    own = Place(tmp_path)
    yield own
    own.end()


def begun(place: Place, stack: ExitStack, change: str = "") -> tuple[Attacker, Any]:
    """Start a console, sign in, open its page, and have exploration frozen by a request that is captured."""
    alarms = stack.enter_context(served())
    process = place.shows("--alertmanager", alarms.url, change=change)
    cookie = login(place)
    page = page_of(place.port, cookie)
    assert isinstance(page, Page)
    hand = stack.enter_context(Hand(place.port, cookie, page)).opens()
    attacker = Attacker(place, cookie, login(place), hand, alarms)
    attacker.first = attacker.spelt(body=hand.wish(action="freeze"))
    assert asked(place.port, attacker.first)[0] == 200
    assert read_freeze(place.state / "paper" / "SIM") is not None
    return attacker, process


def test_no_attack_has_an_effect_and_the_rightful_request_has(place: Place) -> None:
    with ExitStack() as stack:
        attacker, process = begun(place, stack)
        before = memory(process)
        count, found = effects(attacker)
        grown = memory(process) - before
        print(f"{count} attacks, {len(found)} with an effect; at most {grown:.0f} MB more in memory")
        assert (found, count >= 200) == ([], True)
        assert grown < GROWN_MB
        folder, ledger = place.state / "paper" / "SIM", Ledger(place.state / "ledger")
        assert read_request(folder) is None
        size = len(ledger.entries())
        assert attacker.send(body=attacker.hand.wish(why=SCRIPT)) == 200
        assert read_request(folder) is not None
        assert [one.body for one in ledger.entries()[size:]] == [
            {"action": "kill", "target": "paper/SIM", "who": "ann", "why": SCRIPT}
        ]
        assert process.poll() is None


@pytest.mark.long
@pytest.mark.parametrize("off", ["_strange", "_unknown"])
def test_without_either_half_of_the_guard_attacks_have_an_effect(place: Place, off: str) -> None:
    """Mutation: a foreign page kills; and so does somebody who speaks on a socket by hand, without a session."""
    with ExitStack() as stack:
        attacker, _ = begun(
            place, stack, f"from alphatrade.nodes.console.guard import Guard\nGuard.{off} = lambda *_: 0"
        )
        found = effects(attacker)[1]
    print(off, len(found))
    assert ("kill of http://evil.example (200)" if off == "_strange" else "a page without session (200)") in found
    assert read_request(place.state / "paper" / "SIM") is not None


@pytest.mark.long
def test_without_numbers_what_was_captured_has_an_effect_again(place: Place) -> None:
    """Mutation."""
    with ExitStack() as stack:
        attacker, _ = begun(
            place, stack, "from alphatrade.nodes.console.access import Access\nAccess.spend = lambda *_: True"
        )
        assert "captured and sent again (200)" in effects(attacker)[1]


WITHOUT = {
    "bodies": "from alphatrade.nodes.console import guard\nguard.BODY_BYTES = 10**9",
    "headers": "from uvicorn.config import HTTP_PROTOCOLS as known\nknown['h11'] = known['httptools']",
}


@pytest.mark.long
@pytest.mark.parametrize("part", WITHOUT)
def test_without_its_bounds_a_console_takes_much_into_memory(place: Place, part: str) -> None:
    """Mutation: of a body's length; and another parser of requests, which takes headers of any length."""
    with ExitStack() as stack:
        attacker, process = begun(place, stack, WITHOUT[part])
        before = memory(process)
        for _ in getattr(attacker, part)():
            pass
        grown = memory(process) - before
    print(part, f"{grown:.0f} MB")
    assert grown > GROWN_MB


@pytest.mark.long
def test_sessions_and_numbers_expire(place: Place) -> None:
    with ExitStack() as stack:
        attacker, _ = begun(
            place, stack, "from alphatrade.nodes.console import access\naccess.SESSION_S, access.NONCE_S = 4.0, 1.0"
        )
        known, body = there(place.root), attacker.hand.wish()
        assert attacker.send("GET", "/") == 200
        time.sleep(1.1)
        assert attacker.send(body=body) == 409
        until(lambda: attacker.send("GET", "/") == 303, 10.0)
        assert (attacker.send(body=attacker.hand.wish()), attacker.talk(), attacker.send("GET", POLL)) == (
            401,
            403,
            401,
        ), "a socket that is open gives numbers, of no use"
        assert there(place.root) == known


@pytest.mark.long
def test_two_consoles_on_one_host_keep_their_sessions(tmp_path: Path) -> None:
    """A browser sends the cookies of a host to all of its ports."""
    places = [Place(tmp_path), Place(tmp_path)]
    try:
        for one in places:
            one.shows()
        both = "; ".join([login(one) for one in places] + ['other={"a": "b, c"}'])
        assert [isinstance(page_of(one.port, both), Page) for one in places] == [True, True]
        assert [page_of(one.port, login(places[0])) for one in places][1] == 303, "one's session is not the other's"
    finally:
        for one in places:
            one.end()
