"""A Redis server for tests: a child process on a free port of loopback, gone with the test."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from alphatrade.nodes.paper.redis_server import CacheSpec, Server
from alphatrade.nodes.secrets import Secret

PASSWORD = "canaryREDIS" + "1q2W3e4R5t6Y7u8I9o0P" * 2


class Redis:
    """One server; `words` are its own options, `config` a file of them."""

    def __init__(self, folder: Path, *words: str, port: int = 0, config: Path | None = None) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.skip("redis-server is not installed: apt-get install redis-server")
        self.port = port or free_port()
        first = [binary] if config is None else [binary, str(config)]
        command = [*first, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), *words]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the server does not answer")

    def spec(self, **more: object) -> CacheSpec:
        return CacheSpec.model_validate({"backend": "redis", "port": self.port, **more})

    def server(self, password: str = "") -> Server:
        return Server(self.spec(), Secret(password) if password else None)

    def words(self) -> tuple[str, ...]:
        return ("cache=redis", f"cache.port={self.port}")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def redis(folder: Path, *words: str) -> Iterator[Redis]:
    """A server with a password, or with what `words` say."""
    one = Redis(folder, *words)
    try:
        yield one
    finally:
        one.end()
