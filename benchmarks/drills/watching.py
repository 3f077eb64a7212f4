"""A real Prometheus and a real Alertmanager, on free ports of loopback, with the rules and routes of ``deploy/``.

What differs from ``deploy/``: the files of ``targets/`` (addresses), and in ``alertmanager.yml`` the addresses of the
mail server and of Telegram's interface, mail without TLS, and secrets that are written into the file, because Debian's
Alertmanager 0.25 knows neither ``url_file`` nor ``bot_token_file``. Intervals and durations are the real ones.
"""

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

import yaml

from alphatrade.nodes.metrics import CONTENT_TYPE, NodeMetrics, Reading
from alphatrade.risk.errors import ConfigError
from benchmarks.figures import ROOT

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules"
PROGRAMS = "prometheus", "promtool", "prometheus-alertmanager", "amtool"
OPENER = build_opener(ProxyHandler({}))
START_S = 60.0  # with a past of three days


def missing() -> list[str]:
    """Return which programs are not installed; on Debian they are prometheus and prometheus-alertmanager."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def free_port() -> int:
    """Return a port of loopback that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def secrets_within(text: str, secrets: Mapping[str, str], folder: Path) -> str:
    """Return an ``alertmanager.yml`` as Alertmanager 0.25 reads it: with the secrets that it can take from no file."""
    text = re.sub(r"url_file: \S*/(\w+)", lambda found: f"url: {secrets[found[1]]}", text)
    text = re.sub(r"bot_token_file: \S*/(\w+)", lambda found: f"bot_token: {secrets[found[1]]}", text)
    return text.replace("/etc/alertmanager/secrets", str(folder))


class Told(NamedTuple):
    """An alert that has arrived: when (monotonic seconds), by which way, its name, its node, and firing or resolved."""

    at: float
    way: str
    name: str
    instance: str
    status: str


class Ear:
    """
    The far end of each channel: takes what an Alertmanager posts, and serves what stand-ins say of themselves.

    Attributes
    ----------
    told : list of Told
    """

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.telegrams: list[str] = []
        self.stands: dict[str, Callable[[], Reading]] = {}
        self._metrics: dict[str, NodeMetrics] = {}
        self.server = self._served()

    def _served(self) -> ThreadingHTTPServer:
        ear = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.strip("/").partition("/")[0]
                self.answer(*ear.metrics(name))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(ear.take(self.path, body), "application/json")

            def answer(self, body: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        return server

    @property
    def port(self) -> int:
        """Return where it listens."""
        return int(self.server.server_address[1])

    def metrics(self, name: str) -> tuple[bytes, str]:
        """Return what a stand-in says of itself, as a node renders it."""
        shown = self._metrics.setdefault(name, NodeMetrics())
        shown.latest = self.stands[name]()
        return shown.text(), CONTENT_TYPE

    def take(self, path: str, body: Any) -> bytes:
        """Note what has arrived, and return what its sender wants to hear."""
        if path.endswith("/sendMessage"):
            self.telegrams.append(body["text"])
            return b'{"ok":true,"result":{"message_id":1,"date":1,"chat":{"id":1,"type":"private"}}}'
        way, now = path.strip("/"), time.monotonic()
        for alert in body["alerts"]:
            labels = alert["labels"]
            self.told.append(Told(now, f"{way} {body['receiver']}", labels["alertname"],
                                  labels.get("instance", ""), alert["status"]))  # fmt: skip
        return b"{}"

    def deaf(self) -> None:
        """Hear nothing from now on."""
        self.server.shutdown()
        self.server.server_close()


class Watch:
    """
    Prometheus and Alertmanager, made ready in a folder.

    Attributes
    ----------
    ear : Ear
    url : str
        Of the Alertmanager.
    """

    def __init__(self, place: Path, ear: Ear, smarthost: str) -> None:
        self.place, self.ear = place, ear
        self.ports = free_port(), free_port()
        self.prometheus, self.url = (f"http://127.0.0.1:{port}" for port in self.ports)
        shutil.copytree(DEPLOY / "prometheus", place / "prometheus", dirs_exist_ok=True)
        self.targets("alertmanager", {"alertmanager": f"127.0.0.1:{self.ports[1]}"})
        secrets = place / "secrets"
        secrets.mkdir()
        (secrets / "smtp_password").write_text("password")
        root = f"http://127.0.0.1:{ear.port}"
        known = {"webhook_url": f"{root}/webhook", "webhook_watchdog_url": f"{root}/deadman", "telegram_token": "1:a"}
        text = secrets_within((DEPLOY / "alertmanager" / "alertmanager.yml").read_text(), known, secrets)
        text = text.replace("mail.example.org:587", smarthost).replace("https://api.telegram.org", root)
        (place / "alertmanager.yml").write_text(text.replace("smtp_require_tls: true", "smtp_require_tls: false"))

    def targets(self, name: str, addresses: Mapping[str, str]) -> None:
        """Say who is scraped: an address, or one with a path, by the name that it goes by."""
        found = []
        for instance, address in addresses.items():
            host, _, path = address.partition("/")
            labels = {"instance": instance, **({"__metrics_path__": f"/{path}"} if path else {})}
            found.append({"targets": [host], "labels": labels})
        (self.place / "prometheus" / "targets" / f"{name}.yml").write_text(yaml.safe_dump(found))

    def remember(self, openmetrics: str) -> None:
        """Give Prometheus a past, before it is started."""
        file = self.place / "past.txt"
        file.write_text(openmetrics)
        command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(file), str(self.place / "data")]
        subprocess.run(command, check=True, capture_output=True, text=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """
        Run both until the block is left, from the moment on that both are ready.

        Raises
        ------
        ConfigError
            If one of them ends instead, or is not ready in time; with the last line that it logged.
        """
        first, second = self.ports
        commands = {
            "prometheus": [
                "prometheus", f"--config.file={self.place}/prometheus/prometheus.yml",
                f"--storage.tsdb.path={self.place}/data", f"--web.listen-address=127.0.0.1:{first}",
                "--storage.tsdb.retention.time=30d",
            ],
            "alertmanager": [
                "prometheus-alertmanager", f"--config.file={self.place}/alertmanager.yml",
                f"--storage.path={self.place}/kept", f"--web.listen-address=127.0.0.1:{second}",
                "--cluster.listen-address=",
            ],
        }  # fmt: skip
        processes = {}
        try:
            for name, command in commands.items():
                with (self.place / f"{name}.log").open("w") as log:
                    processes[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.place)
            self._ready("prometheus", self.prometheus, processes["prometheus"])
            self._ready("alertmanager", self.url, processes["alertmanager"])
            yield
        finally:
            for process in processes.values():
                process.terminate()
            for process in processes.values():
                process.wait(30)

    def _ready(self, name: str, url: str, process: "subprocess.Popen[bytes]") -> None:
        ends = time.monotonic() + START_S
        while time.monotonic() < ends and process.poll() is None:
            with suppress(OSError):
                OPENER.open(f"{url}/-/ready", timeout=5).close()
                return
            time.sleep(0.1)
        said = (self.place / f"{name}.log").read_text(errors="replace").splitlines()
        raise ConfigError(f"{name}.yml", said[-1] if said else "nothing", "a configuration with which it starts")

    def asked(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return what Prometheus says to an expression; nothing while it does not answer."""
        with suppress(URLError, ConnectionError, TimeoutError):
            with OPENER.open(f"{self.prometheus}/api/v1/query?query={quote(expression)}", timeout=10) as answer:
                found = json.loads(answer.read())["data"]["result"]
            return [(one["metric"], float(one["value"][1])) for one in found]
        return []


def rules() -> dict[str, dict[str, Any]]:
    """Return the alerts of the rules by name."""
    groups = [group for file in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(file.read_text())["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}
