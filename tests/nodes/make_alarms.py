"""An Alertmanager: one that is no more than two pages of its interface, and Debian's."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

import pytest

PROGRAM = shutil.which("prometheus-alertmanager") or ""
needs_alertmanager = pytest.mark.skipif(not PROGRAM, reason="needs Debian's package prometheus-alertmanager")


class Fake(ThreadingHTTPServer):
    """An Alertmanager as far as two pages of its interface go."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []
        self.refusal = ""
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def alerts(self) -> list[dict[str, Any]]:
        def one(name: str, severity: str, instance: str) -> dict[str, Any]:
            labels = {"alertname": name, "severity": severity, "instance": instance}
            quiet = [m["id"] for m in self.made if {x["name"]: x["value"] for x in m["matchers"]} == labels]
            return {
                "labels": labels,
                "annotations": {"summary": f"{name}!", "runbook": "docs/playbook.md#x"},
                "startsAt": "2026-01-02T03:04:05.678Z",
                "status": {"silencedBy": quiet, "inhibitedBy": []},
            }

        return [
            one("Watchdog", "watchdog", ""),
            one("Late", "ticket", "a"),
            one("Dead", "page", "b"),
            one("Dead", "page", "a"),
        ]


class Handler(BaseHTTPRequestHandler):
    server: Fake

    def do_GET(self) -> None:
        self.answer({"/api/v2/alerts": self.server.alerts(), "/api/v2/silences": self.server.made}[self.path])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.refusal:
            self.answer(self.server.refusal, 400)
            return
        self.server.made.append({**body, "id": str(len(self.server.made))})
        self.answer({"silenceID": "x"})

    def answer(self, what: object, code: int = 200) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(what).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served() -> Iterator[Fake]:
    """Run one."""
    with Fake() as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@contextmanager
def real(folder: Path, alerts: list[dict[str, Any]]) -> Iterator[str]:
    """Run Debian's Alertmanager, have something fire in it, and return its address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    (folder / "alertmanager.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    words = [
        f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={folder}/kept",
        f"--web.listen-address={url[7:]}",
        "--cluster.listen-address=",
    ]
    with subprocess.Popen([PROGRAM, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 30
            while True:
                try:
                    asked(url, "alerts", alerts)
                    break
                except OSError:
                    assert time.monotonic() < end, "it does not answer"
                    time.sleep(0.1)
            yield url
        finally:
            process.terminate()


def asked(url: str, what: str, body: object = None) -> Any:
    """Return what an Alertmanager answers; it takes what is given."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(f"{url}/api/v2/{what}", data, {"Content-Type": "application/json"}), timeout=5) as answer:
        return json.loads(answer.read() or b"null")
