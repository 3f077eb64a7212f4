"""The endpoint of a node: red when the loop is stuck, not ready while the journal is read, and held up by nobody."""

import asyncio
import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alphatrade.nodes import metrics_server
from alphatrade.nodes.beats import Beat, BeatLimits
from alphatrade.nodes.hydra_app import run_config
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.metrics import Reading
from alphatrade.nodes.metrics_server import MOST, Watched, served
from alphatrade.nodes.paper import pulse
from alphatrade.nodes.paper.assembly import Parts
from alphatrade.nodes.paper.settings import paper_settings
from alphatrade.risk.errors import ConfigError
from tests.nodes.make_paper import SHORT, Node, flown, settings

BEAT = Beat(ts=10**18, number=1, pid=1, lag_s=0.0, feed_age_s=0.5, feed_limit_s=60.0, events=9, orders=0, fills=0, rss=1, kill="ACTIVE", journal=0)


class Endpoint:
    def __init__(self, watched: Watched, port: int) -> None:
        self.watched, self.port = watched, port

    def get(self, path: str, method: str = "GET", timeout: float = 5.0) -> tuple[int, str]:
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(asked, timeout=timeout) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def raw(self, sent: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as channel:
            channel.sendall(sent)
            found = b""
            while part := channel.recv(65_536):
                found += part
            return found


def port_of(line: str) -> int:
    return int(line.rpartition(":")[2].partition("/")[0])


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    told: list[str] = []
    with served("127.0.0.1", 0, told.append) as watched:
        yield Endpoint(watched, port_of(told[0]))


def take(watched: Watched, journal_left: int = 0, heard: bool = True, **changes: Any) -> None:
    watched.take(Reading(beat=msgspec.structs.replace(BEAT, **changes), journal_left=journal_left, heard=heard))


# -- whether it lives, whether it is ready


def test_before_the_first_beat_it_neither_lives_nor_is_ready(endpoint: Endpoint) -> None:
    assert endpoint.get("/healthz") == (503, "not alive\nNO_BEAT no beat\n")
    assert endpoint.get("/readyz")[0] == 503
    assert endpoint.get("/metrics") == (200, "")


def test_one_that_is_well_says_so(endpoint: Endpoint) -> None:
    take(endpoint.watched)
    assert endpoint.get("/healthz") == (200, "alive\n")
    assert endpoint.get("/readyz") == (200, "ready\n")
    assert "alphatrade_events_total 9.0\n" in endpoint.get("/metrics")[1]


@pytest.mark.parametrize(
    ("changes", "alive", "ready", "code"),
    [
        ({"lag_s": 2.5}, False, False, "LOOP_LATE"),
        ({"feed_age_s": 61.0}, True, False, "FEED_OLD"),
        ({"kill": "REDUCING"}, True, False, "KILLED"),
        ({"kill": "HALTED"}, True, False, "KILLED"),
        ({"journal_left": 7}, True, False, "JOURNAL_READ"),
        ({"heard": False}, True, False, "FEED_UNHEARD"),
        ({"feed_age_s": None}, True, True, ""),
        ({"feed_age_s": 301.0, "feed_limit_s": 310.0}, True, True, ""),
    ],
)
def test_only_what_a_restart_would_cure_is_red(endpoint: Endpoint, changes: dict[str, Any], alive: bool, ready: bool, code: str) -> None:
    take(endpoint.watched, **changes)
    lives, trades = endpoint.get("/healthz"), endpoint.get("/readyz")
    assert (lives[0] == 200, trades[0] == 200) == (alive, ready)
    assert code in trades[1]
    if code not in ("JOURNAL_READ", "FEED_UNHEARD"):
        assert code in lives[1], "an operator sees why, also where nothing is to be restarted"


def test_a_beat_grows_old_by_a_clock_that_nobody_sets() -> None:
    now = [100.0]
    watched = Watched(clock=lambda: now[0])
    take(watched)  # its stamp is of another century
    now[0] += BeatLimits().beat_s
    assert watched.alive() == (True, [])
    now[0] += 0.1
    assert (watched.alive()[0], watched.ready()[0]) == (False, False)
    assert watched.alive()[1][0].code == "BEAT_OLD"


def test_a_loop_that_is_blocked_is_red_until_it_goes_on(tmp_path: Path) -> None:
    told, seen, over = list[str](), list[tuple[float, int, str]](), threading.Event()

    def ready(parts: Parts) -> None:
        parts.node.kernel.loop.call_later(2.5, time.sleep, 2.5)

    with served("127.0.0.1", 0, told.append) as watched:
        watched._limits = BeatLimits(beat_s=1.5, lag_s=10.0)
        endpoint = Endpoint(watched, port_of(told[0]))

        def ask() -> None:
            while not over.wait(0.1):
                seen.append((time.monotonic(), *endpoint.get("/healthz")))

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            flown(settings(*SHORT), tmp_path / "run", speed=17_000.0, watched=watched, ready=ready)
        finally:
            over.set()
            asking.join()
    codes = [code for _, code, _ in seen]
    words = "".join("r" if code == 503 else "g" for code in codes).strip("r")  # before the first beat, after the last
    red = [at for at, code, text in seen if code == 503 and "BEAT_OLD" in text]
    assert re.fullmatch("g+r+g+", words), words
    assert 0.5 < red[words.count("r") - 1] - red[0] < 2.5, "for as long as it was older than allowed"


@pytest.mark.long
def test_while_the_journal_is_read_it_lives_and_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal.open(tmp_path / "journal", {"format": 1}) as journal:
        flown(settings(*SHORT), tmp_path / "first", journal=journal)
    shutil.rmtree(tmp_path / "first")
    stock, told = Journal.records, list[str]()
    seen: list[tuple[int, int, str]] = []
    shown: list[str] = []

    def slowly(self: Journal) -> Iterator[Any]:
        for record in stock(self):
            if record[0] % 100 == 0:
                time.sleep(0.1)
                (code, text), lives = endpoint.get("/readyz"), endpoint.get("/healthz")
                seen.append((lives[0], code, text))
                shown.append(endpoint.get("/metrics")[1])
            yield record

    monkeypatch.setattr(Journal, "records", slowly)
    monkeypatch.setattr(pulse, "READ_S", 0.05)
    monkeypatch.setattr("alphatrade.nodes.paper.node.BATCH", 10)
    with served("127.0.0.1", 0, told.append) as watched, Journal.open(tmp_path / "journal", {"format": 1}) as journal:
        endpoint = Endpoint(watched, port_of(told[0]))
        count = journal.count
        flown(settings(*SHORT), tmp_path / "again", journal=journal, watched=watched)
    while_read = seen[2:]
    assert len(while_read) > 10
    assert {(lives, code) for lives, code, _ in while_read} == {(200, 503)}
    left = [int(text.partition("JOURNAL_READ ")[2].partition(" ")[0]) for _, _, text in while_read]
    assert left == sorted(left, reverse=True)
    assert 0 < left[-1] < left[0] < count
    names = {line.partition("{")[0].partition(" ")[0] for line in "".join(shown).splitlines() if line[0] != "#"}
    assert names == {f"alphatrade_{name}" for name in ("beats_total", "beat_timestamp_seconds", "loop_lag_seconds", "resident_memory_bytes", "kill_state")}


# -- who asks


@pytest.mark.parametrize("path", ["/", "/metricsx", "/metrics/", "/../etc/passwd", "/healthz/x", "/%2e%2e/metrics"])
def test_an_unknown_path_is_404(endpoint: Endpoint, path: str) -> None:
    assert endpoint.raw(f"GET {path} HTTP/1.0\r\n\r\n".encode()).startswith(b"HTTP/1.0 404 ")


def test_a_query_changes_nothing(endpoint: Endpoint) -> None:
    take(endpoint.watched)
    assert endpoint.get("/healthz?full=1") == (200, "alive\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "FROB"])
def test_another_method_is_405(endpoint: Endpoint, method: str) -> None:
    answer = endpoint.raw(f"{method} /metrics HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc".encode())
    assert answer.startswith(b"HTTP/1.0 405 ")
    assert b"\r\nAllow: GET\r\n" in answer


def test_a_body_is_not_read(endpoint: Endpoint) -> None:
    before = time.monotonic()
    answer = endpoint.raw(b"POST /metrics HTTP/1.0\r\nContent-Length: 10000000000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 405 ")
    assert time.monotonic() - before < 2.0


@pytest.mark.parametrize(
    "sent", [b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 70_000 + b" HTTP/1.0\r\n\r\n",
             b"GET /metrics HTTP/1.0\r\n" + b"a: b\r\n" * 200 + b"\r\n"],
    ids=["empty", "no path", "tls", "version", "long", "headers"],
)  # fmt: skip
def test_nonsense_is_refused_and_others_are_served(endpoint: Endpoint, sent: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    take(endpoint.watched)
    assert b"200 OK" not in endpoint.raw(sent)
    assert endpoint.get("/healthz")[0] == 200
    assert capfd.readouterr() == ("", ""), "and nothing is said about it"


def test_what_was_asked_for_is_not_repeated(endpoint: Endpoint) -> None:
    assert b"script" not in endpoint.raw(b"GET /<script> HTTP/1.0\r\n\r\n")


def test_slow_clients_hold_up_nobody_and_are_hung_up_on(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "PATIENCE_S", 1.0)
    take(endpoint.watched)
    slow = [socket.create_connection(("127.0.0.1", endpoint.port), timeout=5) for _ in range(MOST // 2)]
    begin = time.monotonic()
    for channel in slow:
        channel.sendall(b"GET /metrics HTTP/1.0\r\nX: ")
    while time.monotonic() - begin < 0.8:
        assert endpoint.get("/healthz") == (200, "alive\n")
        for channel in slow:
            with suppress(OSError):  # the last ones may be hung up on by now
                channel.sendall(b"y")  # a byte now and then is no way to stay
    for channel in slow:
        assert channel.recv(100) == b""
        channel.close()
    assert 0.9 < time.monotonic() - begin < 2.5
    assert endpoint.get("/healthz") == (200, "alive\n")


def test_a_crowd_is_turned_away_and_leaves_no_trace(endpoint: Endpoint) -> None:
    take(endpoint.watched)
    crowd = [socket.create_connection(("127.0.0.1", endpoint.port), timeout=5) for _ in range(4 * MOST)]
    time.sleep(0.5)
    assert sum("process_request" in thread.name for thread in threading.enumerate()) == MOST
    for channel in crowd:
        channel.close()
    time.sleep(0.2)
    assert endpoint.get("/healthz") == (200, "alive\n")


def test_the_loop_is_not_held_up_by_scrapes(endpoint: Endpoint) -> None:
    take(endpoint.watched)
    over, late = threading.Event(), list[float]()

    def scrape() -> None:
        while not over.is_set():
            endpoint.get("/metrics")

    async def loop() -> None:
        for _ in range(100):
            due = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            late.append(time.perf_counter() - due)

    scraping = threading.Thread(target=scrape)
    scraping.start()
    asyncio.run(loop())
    over.set()
    scraping.join()
    assert sorted(late)[50] < 0.01


# -- where


def test_nothing_is_left_listening(endpoint: Endpoint) -> None:
    told: list[str] = []
    with served("127.0.0.1", 0, told.append):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port_of(told[0])), timeout=1)


@pytest.mark.parametrize(
    ("host", "port", "field"),
    [("127.0.0.1", None, "metrics.port"), ("192.0.2.1", 0, "metrics.host"), ("no.such.host.invalid", 0, "metrics.host"),
     ("a..b", 0, "metrics.host"), ("x" * 253, 0, "metrics.host"), ("::zz", 0, "metrics.host"), ("2001:db8::1", 0, "metrics.host")],
)
def test_what_cannot_be_served_is_said_in_one_line(endpoint: Endpoint, host: str, port: int | None, field: str) -> None:
    with pytest.raises(ConfigError) as error, served(host, endpoint.port if port is None else port, print):
        pass
    assert str(error.value).startswith(f"{field}: got ")


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.EADDRINUSE, "metrics.port: got 81, expected a port that is free"),
        (errno.EACCES, "metrics.port: got 81, expected a port that this user may listen on"),
        (errno.EADDRNOTAVAIL, "metrics.host: got 'h', expected an address of this machine"),
    ],
)
def test_why_nothing_can_be_served_is_told_by_its_number_not_by_its_words(number: int, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise OSError(number, "in another tongue")

    monkeypatch.setattr(metrics_server, "_Server", refused)
    with pytest.raises(ConfigError) as error, served("h", 81, print):
        pass
    assert str(error.value).startswith(told)


# -- as a process


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, "subprocess.Popen[str]", Endpoint]]:
    node = Node(tmp_path_factory.mktemp("running"), "feed.speed=60", "output.report=false")
    process = node.start("metrics.port=0")
    assert process.stderr is not None
    try:
        yield node, process, Endpoint(Watched(), port_of(process.stderr.readline()))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_node_of_its_own_says_that_it_is_ready(running: tuple[Node, "subprocess.Popen[str]", Endpoint]) -> None:
    node, _, endpoint = running
    deadline = time.monotonic() + 60
    while endpoint.get("/readyz")[0] != 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert endpoint.get("/readyz") == (200, "ready\n")
    line = next(line for line in endpoint.get("/metrics")[1].splitlines() if line.startswith("alphatrade_info{"))
    head = json.loads((node.journal / "head.json").read_text())
    for label, value in (("policy", head["policy"]), ("code", head["code"]), ("run", head["run"]), ("env", "paper"), ("account", "SIM")):
        assert f'{label}="{value}"' in line
    assert line.endswith(" 1.0")


def test_a_port_that_is_taken_is_said_before_anything_is_written(running: tuple[Node, "subprocess.Popen[str]", Endpoint], tmp_path: Path) -> None:
    other = Node(tmp_path, "feed.speed=max", f"metrics.port={running[2].port}", "account=OTHER")
    told = other.here(code=2)
    assert told.startswith(f"alphatrade: metrics.port: got {running[2].port}, expected a port that is free")
    assert len(told.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_stopped_answers_nothing(running: tuple[Node, "subprocess.Popen[str]", Endpoint]) -> None:
    _, process, endpoint = running
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError):
            endpoint.get("/healthz", timeout=1.0)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert endpoint.get("/healthz")[0] in (200, 503)


@pytest.mark.parametrize("word", ["metrics.port=65536", "metrics.port=-1", "metrics.host=", "metrics.host='a b'", "metrics.enabled=perhaps", "+metrics.path=/x"])
def test_bad_settings_are_refused(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["alphatrade"])
    with pytest.raises(ConfigError) as error:
        run_config("paper", [word], "paper", paper_settings)
    assert str(error.value).startswith("metrics.")
