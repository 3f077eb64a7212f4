"""Who may use the console: a token in a file, sessions made with it, and a number for each action that is used once."""

import hashlib
import hmac
import os
import secrets
import stat
import time
from pathlib import Path
from urllib.parse import urlsplit

from alphatrade.risk.errors import ConfigError

SESSION_S, NONCE_S = 12 * 3600.0, 120.0
_MOST = 64  # sessions, and open numbers of one
_LEAST = 32  # characters of a token


def cookie_of(host: str) -> str:
    """Return the name of the session's cookie at an address. Cookies ignore ports; two consoles of a host must not."""
    return f"alphatrade_console_{urlsplit(f'//{host}').port or 80}"


def token_of(folder: Path, named: Path | None) -> str:
    """
    Return the token of a console, made at the first start unless its file was named.

    Parameters
    ----------
    folder : Path
        Of the state.
    named : Path, optional
        File that has to be there.

    Raises
    ------
    ConfigError
        If the file is missing where it was named, others can read it, or it holds no token.
    """
    path = named or folder / "console.token"
    try:
        if named is None:
            _made(path)
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe would be waited for
        file = os.fdopen(handle, encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError("--token-file", str(path), f"a file that can be read ({error.strerror})") from error
    with file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise ConfigError(
                "--token-file", f"{path}, {stat.filemode(found.st_mode)}", "a file that only you can read (0600)"
            )
        token = file.read(1000).strip()
    if len(token) < _LEAST or not token.isascii() or not token.isprintable():
        raise ConfigError("--token-file", str(path), f"one line of {_LEAST} printable characters or more")
    return token


def _made(path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}-{os.getpid()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
        file.flush()
        os.fsync(handle)
    try:
        os.link(beside, path)  # whoever comes first has made it
    except FileExistsError:
        pass
    finally:
        beside.unlink()


class Access:
    """
    Sessions in memory: a console that was started anew asks for the token again.

    Parameters
    ----------
    token : str
    """

    def __init__(self, token: str) -> None:
        self._digest = _digest(token)
        self._sessions: dict[str, float] = {}  # digest of its name, and until when
        self._nonces: dict[str, tuple[str, float]] = {}  # of which session, and until when

    def login(self, token: str) -> str | None:
        """
        Return the name of a new session; None: the token is wrong.

        It can be tried without end, for nobody guesses 32 bytes; a lock would only let others keep the operator out.
        """
        if not hmac.compare_digest(_digest(token), self._digest):
            return None
        name = secrets.token_urlsafe(32)
        while len(self._sessions) >= _MOST:
            self._sessions.pop(next(iter(self._sessions)))
        self._sessions[_digest(name)] = time.monotonic() + SESSION_S
        return name

    def known(self, name: str) -> bool:
        """Return whether a session is open."""
        return self._sessions.get(_digest(name), 0.0) > time.monotonic()

    def nonce(self, name: str) -> str:
        """Return a number for one action of a session."""
        own = secrets.token_urlsafe(16)
        while len(self._nonces) >= _MOST:
            self._nonces.pop(next(iter(self._nonces)))
        self._nonces[own] = _digest(name), time.monotonic() + NONCE_S
        return own

    def spend(self, name: str, nonce: str) -> bool:
        """Return whether the number is one of this session that was not used; it is used now."""
        session, until = self._nonces.pop(nonce, ("", 0.0))
        return hmac.compare_digest(session, _digest(name)) and until > time.monotonic()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
