"""The endpoint of a node: ``/metrics`` for Prometheus, ``/healthz`` and ``/readyz`` for whoever keeps it running.

It is served by threads of the node's own process, beside the loop that trades, and looks at the age of the latest
beat itself: a loop that hangs is told of as such. A process that is stopped answers nothing.

Who asks is never waited for: a request has a few seconds, few are served at a time, and bodies are not read.
"""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import BoundedSemaphore, Thread
from typing import Any

from alphatrade.nodes.addresses import cannot_listen
from alphatrade.nodes.beats import Beat, BeatLimits, Reason, health, restart_helps
from alphatrade.nodes.metrics import CONTENT_TYPE, NodeMetrics, Reading

MOST = 16  # requests at a time; one more is turned away
PATIENCE_S = 5.0  # in which a request has to be over
_LOOK_S = 0.2  # between two looks at requests that take too long
_NEAR = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where all addresses are listened on
_PLAIN = "text/plain; charset=utf-8"


class Watched:
    """
    What is known of a node, for the threads that tell it.

    Parameters
    ----------
    limits : BeatLimits
    clock : callable
        Monotonic seconds: a wall clock that is set makes no beat old.

    Attributes
    ----------
    metrics : NodeMetrics
    address : str
        Of the metrics, for who is on this machine; empty: nobody serves them.
    """

    def __init__(self, limits: BeatLimits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits or BeatLimits(), clock
        self.metrics = NodeMetrics()
        self.address = ""
        self._latest: tuple[Reading, float] | None = None  # one object, so that both are of one moment

    def begin(self, about: Mapping[str, str]) -> None:
        """Say what runs, see :data:`alphatrade.nodes.metrics.ABOUT`."""
        self.metrics.about = about

    def take(self, reading: Reading) -> None:
        """Take the reading of a beat that has just been made."""
        self._latest = reading, self._clock()
        self.metrics.latest = reading

    def alive(self) -> tuple[bool, list[Reason]]:
        """Return whether a restart would not help, and all that is wrong."""
        reasons = self._reasons()
        return not restart_helps(reasons), reasons

    def ready(self) -> tuple[bool, list[str]]:
        """Return whether the node trades, and why not."""
        told = [f"{reason.code} {reason.text}" for reason in self._reasons()]
        if self._latest is not None:
            reading = self._latest[0]
            if reading.journal_left:
                told.append(f"JOURNAL_READ {reading.journal_left} records of the journal are still to be read")
            elif not reading.heard:
                told.append("FEED_UNHEARD nothing has come from the feed yet")
        return not told, told

    def _reasons(self) -> list[Reason]:
        if self._latest is None:
            return health(None, 0, self._limits)
        reading, at = self._latest
        beat: Beat = reading.beat
        return health(beat, beat.ts + round((self._clock() - at) * 1e9), self._limits)


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"
    server_version, sys_version = "alphatrade", ""
    timeout = PATIENCE_S

    def do_GET(self) -> None:
        """Answer one of the three pages."""
        watched, path = self.server.watched, self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, watched.metrics.text(), CONTENT_TYPE)
        elif path == "/healthz":
            alive, reasons = watched.alive()
            self._told(alive, "alive", [f"{reason.code} {reason.text}" for reason in reasons])
        elif path == "/readyz":
            ready, told = watched.ready()  # asked once: a beat may come between two answers
            self._told(ready, "ready", told)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _told(self, well: bool, word: str, reasons: list[str]) -> None:
        text = "\n".join([word if well else f"not {word}", *reasons]) + "\n"
        self._answer(HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE, text.encode(), _PLAIN)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer in one plain line; what is asked for is not repeated."""
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:  # which is what the library says of a method that has no handler
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self._answer(status, f"{status.value} {status.phrase}\n".encode(), _PLAIN)

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the node's own lines are what its log is for."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 4 * MOST

    def __init__(self, host: str, port: int, watched: Watched) -> None:
        self.watched = watched
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._room = BoundedSemaphore(MOST)
        self._open: dict[Any, float] = {}  # each connection, and when it has to be over
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind, without asking for the name of the host."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._open[request] = time.monotonic() + PATIENCE_S
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread is to be had
            self._over(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._over(request)

    def _over(self, request: Any) -> None:
        self._open.pop(request, None)
        self._room.release()

    def service_actions(self) -> None:
        """Hang up on who takes too long, also by sending a byte now and then."""
        now = time.monotonic()
        for request, until in list(self._open.items()):
            if now > until:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone away."""


@contextmanager
def served(host: str, port: int, tell: Callable[[str], object]) -> Iterator[Watched]:
    """
    Serve what is known of a node, until the block is left.

    Parameters
    ----------
    host : str
        Address to listen on.
    port : int
        0: any that is free.
    tell : callable
        Takes a line that says where.

    Raises
    ------
    ConfigError
        If nothing can be served there.
    """
    watched = Watched()
    try:
        server = _Server(host, port, watched)
    except (OSError, UnicodeError) as error:
        hint = "another node may have it: another number, 0 for any, or metrics.enabled=false"
        raise cannot_listen(error, ("metrics.host", host), ("metrics.port", port), hint) from None
    port = server.server_address[1]
    tell(f"metrics: {_address(host, port)}")
    watched.address = _address(_NEAR.get(host, host), port)
    thread = Thread(target=server.serve_forever, args=(_LOOK_S,), name="metrics", daemon=True)
    thread.start()
    try:
        yield watched
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"
