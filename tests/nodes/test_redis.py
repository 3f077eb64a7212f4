"""Redis shows what a paper node knows, changes nothing of what it does, and belongs to others, too."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from nautilus_trader.cache.database import CacheDatabaseAdapter
from nautilus_trader.model.identifiers import TraderId
from nautilus_trader.serialization.serializer import MsgSpecSerializer

from alphatrade.nodes.engine import TRADER_ID
from alphatrade.nodes.paper import mirror as module
from alphatrade.nodes.paper.assembly import Parts
from alphatrade.nodes.paper.mirror import BACK, GONE, Mirror
from alphatrade.nodes.paper.redis_server import CacheSpec, Server
from alphatrade.risk.errors import ConfigError
from tests.nodes.make_paper import SHORT, Node, digests, flown, settings
from tests.nodes.make_redis import PASSWORD, Redis, free_port, redis

OWN = settings(*SHORT)
SERIALIZER = MsgSpecSerializer(encoding=msgspec.msgpack, timestamps_as_str=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with redis(tmp_path_factory.mktemp("redis")) as one:
        yield one


def mirror(server: Redis, told: list[str] | None = None, **more: object) -> Mirror:
    return Mirror(server.spec(**more), "paper", "SIM", [].append if told is None else told.append)


def names(server: Redis) -> set[str]:
    with server.server() as asked:
        return {key.decode() for key in asked.keys("")}


def put(server: Redis, *keys: str) -> None:
    with server.server() as asked:
        for key in keys:
            asked.ask("SET", key, "theirs")


def test_the_copy_is_of_this_run_and_nothing_else_is_touched(server: Redis, tmp_path: Path) -> None:
    other = mirror(server, prefix="another").keys
    foreign = {"foreign", f"trader-{TRADER_ID}:orders:O-1", f"{other}orders:O-1", "trader-OTHER-001:orders:O-1"}
    with mirror(server) as one:
        stale = f"{one.keys}orders:O-19700101-000000-001-000-1"
        put(server, *foreign, stale)
        seen: list[tuple[set[str], set[str], int]] = []

        def ready(parts: Parts) -> None:
            cache, dispose = parts.node.kernel.cache, parts.node.dispose

            def look() -> None:
                orders = {order.client_order_id.value for order in cache.orders()}
                positions = {position.id.value for position in cache.positions()}
                seen.append((orders, positions, len(cache.positions_open())))
                dispose()

            parts.node.dispose = look

        flown(OWN, tmp_path / "with", mirror=one, ready=ready)
    flown(OWN, tmp_path / "without")
    assert digests(tmp_path / "with") == digests(tmp_path / "without")
    ((orders, positions, still),) = seen
    assert 0 < len(orders) < 50, "what the node has let go, the copy has let go too"
    own = {name.removeprefix(one.keys) for name in names(server) if name.startswith(one.keys)}
    assert {name.partition(":")[2] for name in own if name.startswith("orders:")} == orders
    assert {name.partition(":")[2] for name in own if name.startswith("positions:")} == positions
    assert stale not in names(server)
    assert foreign <= names(server), "a flush of Nautilus's own would have emptied the database"
    config = one.settings()
    adapter = CacheDatabaseAdapter(TraderId(TRADER_ID), config["instance_id"], SERIALIZER, config["cache"])
    account = adapter.load_accounts()
    adapter.close()
    assert still == 0
    assert [one.id.value for one in account.values()] == ["SIM-001"]


def test_the_flush_that_nautilus_has_would_take_the_keys_of_others(server: Redis) -> None:
    """Why the node removes its keys itself: if this changes, it need not any more."""
    config = mirror(server, prefix="flushed").settings()
    adapter = CacheDatabaseAdapter(TraderId(TRADER_ID), config["instance_id"], SERIALIZER, config["cache"])
    put(server, "foreign")
    adapter.flush()
    adapter.close()
    assert "foreign" not in names(server)


def test_two_accounts_share_a_server(server: Redis) -> None:
    keys = {
        Mirror(server.spec(prefix=p), env, account, print).keys
        for p in "ab"
        for env in ("paper", "sim")
        for account in ("A", "B")
    }
    assert len(keys) == 8


@pytest.mark.long
def test_kill_9_and_on_with_it(server: Redis, tmp_path: Path) -> None:
    node = Node(tmp_path, "tape.end=2026-08-17T14:00:00Z", "output.report=false")
    node.run("output.stress=false", verb="sim")
    wanted = node.summary()["digests"]
    node.killed(node.start("feed.speed=30000", *server.words()), 20_000)
    own = mirror(server).keys
    put(server, f"{own}orders:O-stale")
    node.run("feed.speed=max", *server.words())
    assert node.summary()["digests"] == wanted
    assert f"{own}orders:O-stale" not in names(server)
    assert any(name.startswith(f"{own}orders:O-2026") for name in names(server))


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.long)])
def test_a_server_that_is_lost_in_mid_run_changes_nothing_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    monkeypatch.setattr(module, "LOST", 1)
    told: list[str] = []
    flown(OWN, tmp_path / "without")
    with redis(tmp_path) as one, mirror(one, told) as copy:

        def lose() -> None:
            time.sleep(1.5)
            os.kill(one.process.pid, how)

        threading.Thread(target=lose).start()
        came = flown(OWN, tmp_path / "with", mirror=copy, speed=20_000.0)
    assert came.killed is None
    assert digests(tmp_path / "with") == digests(tmp_path / "without")
    assert told == [f"Redis at 127.0.0.1:{one.port} {GONE}"]


@pytest.mark.long
def test_a_server_that_comes_back_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOST", 1)
    told: list[str] = []
    with redis(tmp_path) as one, mirror(one, told) as copy:
        again: list[Redis] = []

        def restart() -> None:
            time.sleep(1.2)
            one.end()
            while not told:
                time.sleep(0.05)
            again.append(Redis(tmp_path, port=one.port))

        thread = threading.Thread(target=restart)
        thread.start()
        flown(OWN, tmp_path / "with", mirror=copy, speed=16_000.0)
        thread.join()
        left = names(again[0])
        again[0].end()
    assert told == [f"Redis at 127.0.0.1:{one.port} {words}" for words in (GONE, BACK)]
    assert any(":orders:" in name for name in left), "what comes after is there"


def refused(spec: CacheSpec, *words: str) -> None:
    with pytest.raises(ConfigError) as caught, Mirror(spec, "paper", "SIM", print):
        raise AssertionError("not refused")
    told = str(caught.value)
    assert told.startswith(f"cache, Redis at 127.0.0.1:{spec.port}: got ")
    assert "\n" not in told
    assert PASSWORD not in told
    for word in words:
        assert word in told


def secret(folder: Path, value: str = PASSWORD) -> dict[str, object]:
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "redis_password").write_text(value)
    (folder / "redis_password").chmod(0o600)
    return {"password_from": "redis_password", "secrets_dir": folder}


@pytest.mark.long
def test_what_cannot_be_used_is_refused_before_anything_is_begun(tmp_path: Path) -> None:
    right, wrong = secret(tmp_path / "right"), secret(tmp_path / "wrong", PASSWORD[::-1])
    refused(CacheSpec(backend="redis", port=free_port()), "connection refused")
    with redis(tmp_path, "--requirepass", PASSWORD) as one:
        refused(one.spec(), "noauth")
        refused(one.spec(**wrong), "wrongpass")
        refused(one.spec(**right, username="nobody"), "wrongpass")
        with one.server(PASSWORD) as asked:
            asked.ask("ACL", "SETUSER", "reader", "on", f">{PASSWORD}", "~*", "+@read", "+info")
            asked.ask("ACL", "SETUSER", "node", "on", f">{PASSWORD}", "~trader-*", "+@all", "-flushdb", "-flushall")
        refused(one.spec(**right, username="reader"), "noperm")
        refused(one.spec(**right, ssl=True), "")
        for good in ({}, {"username": "node"}):
            with Mirror(one.spec(**right, **good), "paper", "SIM", print):
                pass
        with one.server(PASSWORD) as asked:
            asked.ask("REPLICAOF", "127.0.0.1", str(free_port()))
        refused(one.spec(**right), "")
        os.kill(one.process.pid, signal.SIGSTOP)
        refused(one.spec(**right), "timed out")
        os.kill(one.process.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no redis server"), (b"", "hung up"), (b"$100\r\nredis_ver", "hung up"),
        (b"$22\r\nredis_version:6.0.16\r\n\r\n", "version 6.0 is older than 6.2"), (b"-LOADING in memory\r\n", "loading"),
    ],
)  # fmt: skip
def test_what_is_no_server_or_too_old(answer: bytes, word: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            one = listener.accept()[0]
            one.recv(1000)
            one.sendall(answer)
            one.close()

        threading.Thread(target=serve, daemon=True).start()
        refused(CacheSpec(backend="redis", port=listener.getsockname()[1]), word)


BAD = {
    "cache=moon": "cache", "cache.port=70000": "cache.port", "cache.prefix='a b'": "cache.prefix", "cache.username=x": "cache.password_from",
    "cache.password_from=/etc/passwd": "name of a secret", "cache.password_from=missing": "missing",
    "cache.host=nowhere.invalid": "nowhere.invalid",
    f"+cache.password={PASSWORD}": "no secret here", f"cache.host=redis://u:{PASSWORD}@h": "no secret here",
}  # fmt: skip


@pytest.mark.long
def test_bad_input_is_one_line_and_2_and_leaves_nothing(tmp_path: Path) -> None:
    node, port = Node(tmp_path), free_port()
    secrets = tmp_path / "keys"
    secrets.mkdir(mode=0o700)
    for word, expected in {f"cache.port={port}": f"Redis at 127.0.0.1:{port}", **BAD}.items():
        choice = () if word.startswith("cache=") else ("cache=redis", f"cache.secrets_dir={secrets}")
        told = node.run(*choice, word, code=2).splitlines()
        assert len(told) == 1, told
        assert expected in told[0]
        assert PASSWORD not in told[0]
    left = {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*") if path.is_file()}
    assert left <= {("state", "cache")}, "at most the tape was converted"


def test_a_long_answer_comes_whole(server: Redis) -> None:
    with server.server() as asked:
        asked.ask("SET", "long", "x" * 300_000)
        asked.ask("DEL", "none")
        assert asked.ask("GET", "long") == b"x" * 300_000
        assert asked.ask("GET", "none") is None
        for number in range(2500):
            asked.ask("SET", f"many:{number}", "1")
        assert len(set(asked.keys("many:"))) == 2500
        asked.clear("many:")
        assert set(asked.keys("many:")) == set()
        assert isinstance(asked, Server)
