"""The console as a server: its port is taken first, then the token, then the page."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from alphatrade.nodes.addresses import cannot_listen
from alphatrade.nodes.console.access import Access, token_of
from alphatrade.nodes.console.actions import Place, attach
from alphatrade.nodes.console.guard import BODY_BYTES, Guard
from alphatrade.nodes.console.page import add_page
from alphatrade.nodes.console.watch import Watch
from alphatrade.risk.errors import ConfigError


def serve(place: Place, host: str, port: int, metrics: str, token_file: Path | None) -> None:
    """
    Show a node until a signal ends it.

    Raises
    ------
    ConfigError
        If address or port cannot be had, or the state folder or the token cannot be used.
    """
    with _listening(host, port) as taken:
        _usable(place.state)
        token = token_of(place.state, token_file)
        access, app = Access(token), FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        attach(app, access, place)
        watch = Watch(place, metrics)
        add_page(access, place, watch)
        ui.run_with(app, title="AlphaTrade console", dark=None, show_welcome_message=False, favicon="📈")
        where = f"[{host}]" if ":" in host else host
        print(f"alphatrade: console of {place.env}/{place.account} at http://{where}:{port}", file=sys.stderr)
        print(f"alphatrade: its token is in {token_file or place.state / 'console.token'}", file=sys.stderr, flush=True)
        os.nice(10)  # the node goes first
        with watch:
            settings = uvicorn.Config(
                Guard(app, access, host), log_level="error", access_log=False, ws_max_size=2**20,
                timeout_graceful_shutdown=1, server_header=False,
                http="h11", h11_max_incomplete_event_size=BODY_BYTES,  # the other parser takes headers of any length
                proxy_headers=False,
            )  # fmt: skip
            _Server(settings).run(sockets=[taken])


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """
        Leave SIGINT alone where it was ignored from the start, as it is in a background job of a script.

        A Ctrl-C goes to all that a terminal runs. Beside a node (`scripts/run-paper`) it is for the node, which then
        cancels and closes; the console shows that until the node has ended, and is ended by the script.
        """
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        with super().capture_signals():
            if ignored:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            yield


def _listening(host: str, port: int) -> socket.socket:
    if not host:
        raise ConfigError("--host", host, "an address; 0.0.0.0 is all of this machine")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        taken = socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        hint = "another console may have it: another number"
        raise cannot_listen(error, ("--host", host), ("--port", port), hint) from None
    taken.setblocking(False)
    return taken


def _usable(state: Path) -> None:
    """Refuse a state folder that cannot be read and written: what an operator asks for is written there."""
    expected = "a folder that can be read and written"
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("ALPHATRADE_STATE", str(state), f"{expected} ({error.strerror})") from None
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError("ALPHATRADE_STATE", str(state), expected)
