"""Shim: a copy of the node's cache in a Redis server, by Nautilus's own means.

The journal is the truth. A copy begins empty, is filled while the journal is read, and follows; nothing is ever read
from it. A server that is lost in mid-run takes nothing from the node: trading goes on, the copy gets a hole, and a
line says so.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import Event, Thread
from typing import Any, Self
from uuid import UUID

import pandas as pd
from nautilus_trader.cache.cache import Cache
from nautilus_trader.cache.config import CacheConfig
from nautilus_trader.common.config import DatabaseConfig, pyo3_config_json
from nautilus_trader.core import nautilus_pyo3
from nautilus_trader.core.uuid import UUID4

from alphatrade.nodes.engine import TRADER_ID
from alphatrade.nodes.paper.redis_server import LEAST, CacheSpec, RedisError, Server
from alphatrade.nodes.secrets import Secrets
from alphatrade.risk.errors import ConfigError

BATCH_MS = 100  # between two batches of writes: one that fails is dropped, and holds nothing up
PATIENCE_S = 2  # for a batch
LOST = 3  # looks, a second or two apart, without a sign of life from the copy
GONE = "is lost: trading goes on, what happens now will be missing there until the next start"
BACK = "answers again: what happened meanwhile is missing there until the next start"


class Mirror(AbstractContextManager["Mirror"]):
    """
    A copy of one node's cache.

    Parameters
    ----------
    spec : CacheSpec
        Of redis.
    env, account : str
        Of the node: with the prefix, whose keys they are.
    tell : callable
        Takes a line about the copy.

    Raises
    ------
    ConfigError
        If there is no such secret.
    """

    def __init__(self, spec: CacheSpec, env: str, account: str, tell: Callable[[str], object]) -> None:
        self._spec, self._tell = spec, tell
        name = spec.password_from
        self._password = None if name is None else Secrets(spec.secrets_dir).single(name)
        digest = hashlib.sha256(f"{spec.prefix}/{env}/{account}".encode()).digest()
        self._instance = str(UUID(bytes=digest[:16], version=4))
        self.keys = f"trader-{TRADER_ID}:{self._instance}:"
        self._over = Event()
        self._watch: Thread | None = None

    def settings(self) -> dict[str, Any]:
        """Return what a node's configuration says of it."""
        spec, password = self._spec, self._password
        database = DatabaseConfig(
            host=spec.host, port=spec.port, username=spec.username, ssl=spec.ssl,
            password=None if password is None else password.get_secret_value(),
            connection_timeout=PATIENCE_S, response_timeout=PATIENCE_S, number_of_retries=0, max_delay=1,
        )  # fmt: skip
        cache = CacheConfig(database=database, buffer_interval_ms=BATCH_MS, use_instance_id=True)
        return {"cache": cache, "instance_id": UUID4.from_str(self._instance)}

    def check(self) -> None:
        """
        See that the server can be used, before anything is begun.

        Raises
        ------
        ConfigError
            If it does not answer, refuses the user, is too old, or takes no writes.
        """
        with self._usable(), Server(self._spec, self._password) as server:
            version = server.version()
            if version < LEAST:
                raise RedisError("version {}.{} is older than {}.{}".format(*version, *LEAST))
            server.ask("SET", f"{self.keys}probe", "1")
            server.ask("UNLINK", f"{self.keys}probe")
            nautilus_pyo3.RedisCacheDatabase(  # the client that will be used: its own way of TLS, for instance
                trader_id=nautilus_pyo3.TraderId(TRADER_ID),
                instance_id=nautilus_pyo3.UUID4.from_str(self._instance),
                config_json=pyo3_config_json(self.settings()["cache"]),
            ).close()

    def begin(self, cache: Cache) -> None:
        """Remove what an earlier node has left, and watch the copy of `cache` from now on."""
        with self._usable(), Server(self._spec, self._password) as server:
            server.clear(self.keys)
        self._watch = Thread(target=self._watched, args=(cache,), name="redis", daemon=True)
        self._watch.start()

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RedisError, RuntimeError) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            expected = "a Redis server that answers, and lets this user write"
            raise ConfigError(f"cache, {self._spec.where}", why.lower(), expected) from None

    def __enter__(self) -> Self:
        """Return itself, checked."""
        self.check()
        return self

    def __exit__(self, *exception: object) -> None:
        """Watch no more."""
        self._over.set()
        if self._watch is not None:
            self._watch.join()

    def _watched(self, cache: Cache) -> None:
        """Put a sign of life through the copy each second, and say when none comes out at the other end."""
        before, silent, lost = b"", 0, False
        while True:
            with suppress(ValueError):  # the node has let go of the copy
                cache.heartbeat(pd.Timestamp.now("UTC"))
            if self._over.wait(1.0):
                return
            seen = self._heard()
            silent = 0 if seen not in (b"", before) else silent + 1
            before = seen or before
            if lost != (silent >= LOST):
                lost = not lost
                self._tell(f"{self._spec.where} {GONE if lost else BACK}")

    def _heard(self) -> bytes:
        with suppress(OSError, RedisError), Server(self._spec, self._password, 1.0) as server:
            return bytes(server.ask("GET", f"{self.keys}health:heartbeat") or b"")
        return b""
