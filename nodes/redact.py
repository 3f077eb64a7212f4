"""What looks like a secret is refused where none belongs, and a known one is struck out of what is printed."""

import base64
import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, quote_plus

from alphatrade.risk.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import SecretStr

HIDDEN = "(not shown)"
PLACES = "no secret here: it comes from a file of the folder of secrets, or from the keyring"
_NAME = (
    r"(?:api[_-]?key|api[_-]?secret|secret[_-]?key|private[_-]?key|client[_-]?secret|secret"
    r"|password|passwd|passphrase|(?:access|auth|bearer)[_-]?token|token)"
)
_KEY = re.compile(r"[+~]*([A-Za-z_][\w.@/-]*)=")
_ASSIGNED = re.compile(rf"(?<![a-z])(?P<name>{_NAME})['\"\s]*[:=]", re.IGNORECASE)
_OPTION = re.compile(rf"--?(?:[a-z0-9]+[_-])*(?P<name>{_NAME})", re.IGNORECASE)
_LOGIN = re.compile(r"://[^/\s:@]*:[^/\s@]+@")  # scheme://user:password@host
_VARIABLE = re.compile(r"\w*(KEY|SECRET|PASSWORD|PASSPHRASE|TOKEN)")


def refuse_plain(words: Iterable[str]) -> None:
    """
    Refuse words of a command line that carry a secret, whatever the value is; before anybody repeats them.

    Raises
    ------
    ConfigError
        Naming the key, never the value.
    """
    for word in words:
        if found := _ASSIGNED.search(word) or _OPTION.fullmatch(word) or _LOGIN.search(word):
            key = _KEY.match(word)  # nothing else of the word is repeated
            raise ConfigError(key[1] if key else found.groupdict().get("name") or "address", HIDDEN, PLACES)


def refuse_config(config: Mapping[str, Any]) -> None:
    """
    Refuse a configuration that carries a secret, as :func:`refuse_plain` does.

    Parameters
    ----------
    config : mapping
        Composed, of plain mappings, lists and values.
    """
    refuse_plain(_words(config, ""))


def refuse_environment(environ: Mapping[str, str], venues: Iterable[str]) -> None:
    """
    Refuse an environment with a secret of one of the venues: their adapters would take it from there.

    Parameters
    ----------
    environ : mapping
    venues : iterable of str
        As in ``binance_testnet``; the first part counts.
    """
    owners = {"ALPHATRADE", *(venue.partition("_")[0].upper() for venue in venues)}
    for name, value in environ.items():
        owner, _, rest = name.partition("_")
        if owner in owners and _VARIABLE.fullmatch(rest) and value:
            raise ConfigError(f"environment variable {name}", HIDDEN, PLACES)


def _words(node: Any, path: str) -> Iterable[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _words(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for value in node:
            yield from _words(value, path)
    elif node not in (None, ""):
        yield f"{path}={node}"


def forms(secret: str) -> list[str]:
    """
    Return how a secret may be written, the longest first: as it is, in JSON, in a URL, hexadecimal, base64.

    In base64 it may begin at any of three places of a longer text; characters that depend on its neighbours are left
    out.
    """
    raw = secret.encode()
    found = {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe=""), quote_plus(secret)}
    found |= {raw.hex(), raw.hex().upper()}
    for shift, begin in enumerate((0, 2, 3)):
        end = (shift + len(raw)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found.add(encode(b"\0" * shift + raw).decode()[begin:end])
    return sorted(found, key=len, reverse=True)


class Redactor:
    """
    Strikes known secrets out of text.

    Parameters
    ----------
    secrets : iterable of SecretStr
    """

    def __init__(self, secrets: Iterable["SecretStr"] = ()) -> None:
        self._forms: list[str] = []
        for secret in secrets:
            self.add(secret)

    def add(self, secret: "SecretStr") -> None:
        """Strike this one out as well from now on; after a rotation the old one stays known."""
        known = {*self._forms, *forms(secret.get_secret_value())}
        self._forms = sorted(known, key=len, reverse=True)  # replaced whole: other threads may be reading

    def __call__(self, text: str) -> str:
        """Return `text` without them."""
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return text

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("what knows secrets is not pickled")

    def install(self) -> None:
        """Strike them out of every record of `logging` and of every traceback that nobody catches, from now on."""
        made = logging.getLogRecordFactory()

        def record(*args: Any, **kwargs: Any) -> logging.LogRecord:
            one = made(*args, **kwargs)
            one.msg, one.args = self(one.getMessage()), ()
            if one.exc_info and one.exc_info[0]:
                one.exc_text = self("".join(traceback.format_exception(*one.exc_info))).rstrip()
            return one

        def uncaught(_: type[BaseException], error: BaseException | None, frames: TracebackType | None) -> None:
            if error is not None:
                sys.stderr.write(self("".join(traceback.format_exception(type(error), error, frames))))

        logging.setLogRecordFactory(record)
        sys.excepthook = uncaught
        threading.excepthook = lambda told: uncaught(told.exc_type, told.exc_value, told.exc_traceback)
        sys.unraisablehook = lambda told: uncaught(told.exc_type, told.exc_value, told.exc_traceback)
