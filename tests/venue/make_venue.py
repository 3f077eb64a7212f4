"""A running venue for a test: in a thread of this process, or as a process of its own; and a client of it."""

import asyncio
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from tests.conftest import ROOT
from tests.venue.keys import ED25519_KEY, ApiKey
from tests.venue.market import Feed, walk
from tests.venue.rules import KNOWN
from tests.venue.server import Venue

DEPOSITS = {"USDT": "1000000", "BTC": "10"}


@dataclass(slots=True)
class Answer:
    """An answer of the venue."""

    status: int
    body: Any
    headers: dict[str, str]


@dataclass(slots=True)
class Handle:
    """What a test holds of a venue: its addresses, its control endpoint, and a client that signs."""

    port: int
    control_port: int
    key: ApiKey = ED25519_KEY

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def ws_api(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws-api/v3"

    # -- control --------------------------------------------------------------------------------------------------

    def look(self, what: str) -> Any:
        """Read ``state``, ``books``, ``requests?path=…`` or ``faults``."""
        return fetch("GET", f"http://127.0.0.1:{self.control_port}/control/{what}").body

    def tell(self, what: str, **values: Any) -> Any:
        """Post to ``fault``, ``clear``, ``quote``, ``trade``, ``pause``, ``resume``, ``limits``, ``keys``, ``permissions`` …"""
        url = f"http://127.0.0.1:{self.control_port}/control/{what}"
        return fetch("POST", url, json.dumps(values).encode()).body

    def fault(self, name: str, **options: Any) -> None:
        answer = self.tell("fault", name=name, **options)
        assert "error" not in answer, answer

    def quote(self, bid: Any, ask: Any, bid_size: Any = 1, ask_size: Any = 1, symbol: str = "BTCUSDT") -> None:
        sizes = {"bid_size": str(bid_size), "ask_size": str(ask_size)}
        self.tell("quote", symbol=symbol, bid=str(bid), ask=str(ask), **sizes)

    def balance(self, asset: str) -> tuple[Decimal, Decimal]:
        """Return free and locked."""
        held = self.look("books")["balances"][asset]
        return Decimal(held["free"]), Decimal(held["locked"])

    # -- the venue's own surface ----------------------------------------------------------------------------------

    def get(self, path: str, **params: Any) -> Answer:
        """Ask without a key."""
        return fetch("GET", f"{self.http}{path}?{urlencode(params)}")

    def signed(self, method: str, path: str, key: ApiKey | None = None, **params: Any) -> Answer:
        """Ask with a signature; `timestamp` is now unless it is given."""
        key = key or self.key
        query = urlencode({"timestamp": int(time.time() * 1000)} | params)
        signature = urlencode({"signature": key.sign(query)})
        return fetch(method, f"{self.http}{path}?{query}&{signature}", headers={"X-MBX-APIKEY": key.name})

    def order(self, side: str, kind: str, quantity: Any, symbol: str = "BTCUSDT", **params: Any) -> Answer:
        """Send a new order; a limit order is GTC unless said otherwise."""
        if kind in ("LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"):
            params = {"timeInForce": "GTC"} | params
        fields = {"symbol": symbol, "side": side, "type": kind, "quantity": quantity} | params
        return self.signed("POST", "/api/v3/order", **fields)


def fetch(method: str, url: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
    request = urllib.request.Request(url, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return Answer(answer.status, json.loads(answer.read()), dict(answer.headers))
    except urllib.error.HTTPError as error:
        return Answer(error.code, json.loads(error.read()), dict(error.headers))


@contextmanager
def running(feeds: list[Feed] | None = None, speed: float = 0.0, **options: Any) -> Iterator[Handle]:
    """Run a venue in a thread; by default BTCUSDT at 30000, and the price moves only on command."""
    feeds = feeds or [walk(KNOWN["BTCUSDT"], 30_000.0, 2_000, seed=1)]
    venue = Venue(feeds, options.pop("deposits", DEPOSITS), speed, **options)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(venue.start(), loop).result(10)
        yield Handle(venue.port, venue.control_port)
    finally:
        asyncio.run_coroutine_threadsafe(venue.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@contextmanager
def spawned(*arguments: str) -> Iterator[Handle]:
    """Run a venue as a process of its own, which ends with this one."""
    command = [sys.executable, "-m", "tests.venue", "--tied", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        yield Handle(ports["port"], ports["control"])
    finally:
        process.terminate()
        process.wait(10)


def until(what: Callable[[], Any], timeout: float = 10.0, pause: float = 0.02) -> Any:
    """Wait until something is true and return it."""
    ends = time.monotonic() + timeout
    while time.monotonic() < ends:
        if found := what():
            return found
        time.sleep(pause)
    raise AssertionError("it did not become true in time")
