"""A Redis server, as far as a paper node has to know one: whether it can be used, and keys that are ours.

A few commands over a socket: Nautilus's own client hands none on, and its flush empties the whole database, whosever
the keys in it are.
"""

import socket
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from alphatrade.nodes.secrets import Secret
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.policy import Spec

LEAST = (6, 2)  # the version that Nautilus asks for
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class CacheSpec(Spec):
    """
    Where Nautilus's cache is, and a copy of it.

    Attributes
    ----------
    backend : {"memory", "redis"}
        Of redis only: all that follows.
    host, port
        Of the server; its database 0 is used, no other can be.
    username : str, optional
        None: the server's default user.
    password_from : str, optional
        Name of the secret that holds the password; None: without one.
    secrets_dir : Path, optional
        Folder of that secret; None: the keyring.
    ssl : bool
    prefix : str
        Keeps the keys of two installations apart that share a server.
    """

    backend: Literal["memory", "redis"] = "memory"
    host: Annotated[str, Field(min_length=1, max_length=253)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 6379
    username: Annotated[str, Field(min_length=1)] | None = None
    password_from: Annotated[str, Field(min_length=1)] | None = None
    secrets_dir: Path | None = None
    ssl: bool = False
    prefix: Annotated[str, Field(pattern=_NAME)] = "alphatrade"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.username is not None and self.password_from is None:
            raise ConfigError("cache.password_from", None, "the name of a secret: a user name needs a password")
        return self

    @property
    def where(self) -> str:
        """The server, for messages."""
        return f"Redis at {self.host}:{self.port}"


class RedisError(Exception):
    """The server has refused a command."""


class Server(AbstractContextManager["Server"]):
    """
    A connection to a server.

    Parameters
    ----------
    spec : CacheSpec
    password : Secret, optional
    patience_s : float
        For one answer.

    Raises
    ------
    OSError
        If it cannot be reached, or does not answer in time; so do all methods.
    RedisError
        If it refuses user or password; methods, if it refuses a command.
    """

    def __init__(self, spec: CacheSpec, password: Secret | None, patience_s: float = 3.0) -> None:
        channel = socket.create_connection((spec.host, spec.port), patience_s)
        try:
            if spec.ssl:
                channel = ssl.create_default_context().wrap_socket(channel, server_hostname=spec.host)
            self._channel, self._answers = channel, channel.makefile("rb")
            if password is not None:
                self.ask("AUTH", *([spec.username] if spec.username else []), password.get_secret_value())
        except BaseException:
            channel.close()
            raise

    def __exit__(self, *exception: object) -> None:
        """Hang up."""
        self._answers.close()
        self._channel.close()

    def ask(self, *words: str) -> Any:
        """Send a command and return its answer: bytes, an int, a list, or None."""
        parts = [word.encode() for word in words]
        self._channel.sendall(b"*%d\r\n" % len(parts) + b"".join([b"$%d\r\n%b\r\n" % (len(p), p) for p in parts]))
        return self._answer()

    def _answer(self) -> Any:
        line = self._answers.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server hung up")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RedisError(rest.decode(errors="replace"))
        if kind == b"+":
            return rest
        if not rest.removeprefix(b"-").isdigit() or kind not in b":$*":
            raise ConnectionError("no Redis server")
        count = int(rest)
        if kind == b":":
            return count
        if count < 0:
            return None
        return self._bulk(count) if kind == b"$" else [self._answer() for _ in range(count)]

    def _bulk(self, size: int) -> bytes:
        data = self._answers.read(size + 2)
        if len(data) < size + 2:
            raise ConnectionError("the server hung up")
        return bytes(data[:-2])

    def version(self) -> tuple[int, ...]:
        """Return the server's version, major and minor."""
        told = dict(line.split(":", 1) for line in self.ask("INFO", "server").decode().splitlines() if ":" in line)
        return tuple([int(part) for part in told.get("redis_version", "0.0").split(".")[:2]])

    def keys(self, prefix: str) -> Iterator[bytes]:
        """Give the keys that begin with a prefix, without holding up the server's other clients."""
        cursor = "0"
        while True:
            at, found = self.ask("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", "1000")
            yield from found
            cursor = at.decode()
            if cursor == "0":
                return

    def clear(self, prefix: str) -> None:
        """Remove the keys that begin with a prefix."""
        for key in self.keys(prefix):
            self.ask("UNLINK", key.decode())
