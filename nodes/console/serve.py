"""The console as a server: its port is taken first, then the token, then the page."""

import socket
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from nicegui import ui

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
        If the port is taken, or the token cannot be used.
    """
    with _listening(host, port) as taken:
        token = token_of(place.state, token_file)
        access, app = Access(token), FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        attach(app, access, place)
        watch = Watch(place, metrics)
        add_page(access, place, watch)
        ui.run_with(app, title="AlphaTrade console", dark=None, show_welcome_message=False, favicon="📈")
        where = f"[{host}]" if ":" in host else host
        print(f"alphatrade: console of {place.env}/{place.account} at http://{where}:{port}", file=sys.stderr)
        print(f"alphatrade: its token is in {token_file or place.state / 'console.token'}", file=sys.stderr, flush=True)
        with watch:
            settings = uvicorn.Config(
                Guard(app, access, host), log_level="error", access_log=False, ws_max_size=2**20,
                timeout_graceful_shutdown=1, server_header=False,
                http="h11", h11_max_incomplete_event_size=BODY_BYTES,  # the other parser takes headers of any length
                proxy_headers=False,
            )  # fmt: skip
            uvicorn.Server(settings).run(sockets=[taken])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        taken = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError("--port", f"{host}:{port}", f"one that is free ({error.strerror or error})") from error
    taken.setblocking(False)
    return taken
