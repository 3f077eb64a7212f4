"""Where API keys come from: a folder with one file per secret, or the system's keyring, and nowhere else.

In the folder a secret of venue ``binance`` is ``binance_api_key`` or ``binance_api_secret``; in the keyring it is the
user of that name under the service ``alphatrade``. Configuration, command line and environment hold no secret: what
looks like one there is refused by :mod:`alphatrade.nodes.redact`. No message here repeats what was read.
"""

import hashlib
import os
import re
import secrets
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

from alphatrade.nodes.redact import HIDDEN
from alphatrade.risk.errors import ConfigError

SERVICE = "alphatrade"
LEAST, MOST = 8, 4096  # characters; a shorter one could not be told from ordinary text when it is redacted
_PLAIN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_SECRET = re.compile(r"[!-~]*")  # printable ASCII without blanks: it goes into a header of HTTP
_ACL = "system.posix_acl_access"
_USER, _GROUPS, _MASK, _OTHER = 0x02, (0x04, 0x08), 0x10, 0x20  # tags of an entry of it


class Secret(SecretStr):
    """A string that is shown as stars, and cannot be pickled: a pickle would hold it in clear."""

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not pickled")


class Keys(BaseSettings):
    """
    The keys of one venue; made by :meth:`Secrets.read` only.

    Attributes
    ----------
    api_key, api_secret : Secret
    """

    model_config = SettingsConfigDict(extra="forbid")

    api_key: Secret
    api_secret: Secret

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise TypeError("keys are read, not set")  # pydantic's own refusal would repeat the value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave one source: neither arguments nor the environment."""
        assert isinstance(file_secret_settings, SecretsSettingsSource)
        return (_Source(settings_cls, file_secret_settings),)


class _Source(PydanticBaseSettingsSource):
    """Reads each field from its file, or from the keyring where no folder is named."""

    def __init__(self, settings_cls: type[BaseSettings], named: SecretsSettingsSource) -> None:
        super().__init__(settings_cls)
        folder: Any = named.secrets_dir  # the library would take several
        self._folder: Path | None = folder
        self._prefix = named.env_prefix

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Secret, str, bool]:
        """Return the secret, its field, and that it is no JSON."""
        name = self._prefix + field_name
        return _from_keyring(name) if self._folder is None else _from_file(self._folder, name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return {name: self.get_field_value(at, name)[0] for name, at in self.settings_cls.model_fields.items()}


FIELDS = tuple(Keys.model_fields)


class _Seen(NamedTuple):
    """What was read: for each secret a mark that changes when it is written, and a salted hash of it."""

    marks: tuple[object, ...]
    digests: tuple[bytes, ...]


class Secrets:
    """
    The place of the keys, which can be read again while a node runs.

    Parameters
    ----------
    folder : Path or None
        One file per secret; None: the system's keyring.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = None if folder is None else folder.expanduser()
        self._salt = secrets.token_bytes(32)
        self._seen: dict[str, _Seen] = {}

    def read(self, venue: str) -> Keys:
        """
        Return the keys of a venue as they are now.

        Parameters
        ----------
        venue : str
            As in the names of the files, for instance ``binance`` or ``binance_testnet``.

        Raises
        ------
        ConfigError
            If one is missing, others can read it, or it cannot be a key; the content is not shown.
        """
        keys, self._seen[venue] = self._look(venue)
        return keys

    def single(self, name: str) -> Secret:
        """
        Return one secret by its own name, for instance the password of a server.

        Raises
        ------
        ConfigError
            As :meth:`read`.
        """
        if not _PLAIN.fullmatch(name):
            raise ConfigError("name of a secret", name, "small letters, digits and single underscores")
        return _from_keyring(name) if self.folder is None else _from_file(self.folder, name)

    def changed(self, venue: str) -> bool:
        """
        Return whether there are new keys since the last :meth:`read`.

        A rotation writes all secrets of a venue anew. While only some are, the new ones and the old ones do not belong
        together, and this says False.

        Raises
        ------
        ConfigError
            As :meth:`read`: the keys that are in use stay in use.
        """
        before = self._seen.get(venue)
        if before is None:
            return True
        if self.folder is not None and not _all_differ(_marks(self.folder, venue), before.marks):
            return False
        now = self._look(venue)[1]
        return _all_differ(now.marks, before.marks) and now.digests != before.digests

    def _look(self, venue: str) -> tuple[Keys, _Seen]:
        if not _PLAIN.fullmatch(venue):
            raise ConfigError("venue", venue, "small letters, digits and single underscores, as in binance_testnet")
        marks = () if self.folder is None else _marks(self.folder, venue)  # first: what is written later is a change
        keys = Keys(_secrets_dir=self.folder, _env_prefix=f"{venue}_")
        digests = tuple(self._digest(getattr(keys, name)) for name in FIELDS)
        return keys, _Seen(marks or digests, digests)

    def _digest(self, secret: Secret) -> bytes:
        return hashlib.blake2b(secret.get_secret_value().encode(), key=self._salt).digest()


def _all_differ(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return all(a != b for a, b in zip(one, other, strict=True))


def _marks(folder: Path, venue: str) -> tuple[object, ...]:
    """Return what tells that a file was written anew, for each secret."""
    found: list[object] = []
    for name in FIELDS:
        path = folder / f"{venue}_{name}"
        try:
            at = path.stat()
        except OSError as error:
            raise _missing(path, error) from None
        found.append((at.st_dev, at.st_ino, at.st_mtime_ns, at.st_size))
    return tuple(found)


def _from_keyring(name: str) -> Secret:
    import keyring
    from keyring.core import recommended
    from keyring.errors import KeyringError

    backend = keyring.get_keyring()
    if not recommended(backend):  # there is none, or it keeps its secrets in a plain file
        raise ConfigError("keyring", type(backend).__name__, "a keyring of the system, or a folder of secrets")
    where = f"keyring {SERVICE}/{name}"
    trouble, secret = "", Secret("")
    try:
        secret = Secret(keyring.get_password(SERVICE, name) or "")
    except KeyringError as error:
        trouble = type(error).__name__
    if trouble:  # raised here, so that what the backend's own error says is no context of ours
        raise ConfigError(where, trouble, "a keyring that is unlocked")
    if not secret:
        raise ConfigError(where, None, f"a secret, put there by: keyring set {SERVICE} {name}")
    return _checked(where, secret)


def _from_file(folder: Path, name: str) -> Secret:
    path = folder / name
    try:
        base, real = folder.resolve(strict=True), path.resolve(strict=True)
        if not real.is_relative_to(base):
            raise ConfigError(str(path), "a link out of its folder", "a file in the folder, or a link to one in it")
        with _opened(base, os.O_DIRECTORY) as handle:
            _private(folder, os.fstat(handle), _acl(handle), 0o700)
        with _opened(real, os.O_NONBLOCK) as handle:  # a pipe would wait for its other end
            at = os.fstat(handle)
            if not stat.S_ISREG(at.st_mode):
                raise ConfigError(str(path), "no regular file", "a file with the secret in one line")
            _private(path, at, _acl(handle), 0o600)
            secret = Secret(os.read(handle, MOST + 3).decode("latin-1").removesuffix("\n").removesuffix("\r"))
    except OSError as error:
        raise _missing(path, error) from None
    return _checked(str(path), secret)


@contextmanager
def _opened(path: Path, flag: int) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flag)
    try:
        yield handle
    finally:
        os.close(handle)


def _missing(path: Path, error: OSError) -> ConfigError:
    expected = "a file with the secret in one line, mode 0600, in a folder of mode 0700"
    return ConfigError(str(path), (error.strerror or type(error).__name__).lower(), expected)


def _private(path: Path, at: os.stat_result, acl: bytes, mode: int) -> None:
    """Refuse what belongs to others, or what others than this user and root have a part in."""
    if at.st_uid not in (os.geteuid(), 0):
        raise ConfigError(str(path), f"owner {at.st_uid}", f"one that belongs to user {os.geteuid()}, or to root")
    if _foreign(at.st_mode, acl):
        raise ConfigError(str(path), f"mode {stat.S_IMODE(at.st_mode):04o}", f"{mode:04o} (chmod {mode:o} {path})")


def _foreign(mode: int, acl: bytes) -> int:
    """
    Return what others than this user and root may do, as bits.

    A file with an access list shows the list's mask where its group's bits would be: systemd hands credentials to a
    user that way, and nobody else is on the list.
    """
    if not acl:
        return mode & 0o077
    entries = list(struct.iter_unpack("<HHI", acl[4:]))  # after four bytes of version: tag, bits, user or group
    mask = next((bits for tag, bits, _ in entries if tag == _MASK), 0o7)
    found = 0
    for tag, bits, who in entries:
        if tag in _GROUPS or (tag == _USER and who not in (os.geteuid(), 0)):
            found |= bits & mask
        elif tag == _OTHER:
            found |= bits
    return found


def _acl(handle: int) -> bytes:
    try:
        return os.getxattr(handle, _ACL)
    except OSError:  # there is none, or the file system knows of none
        return b""


def _checked(where: str, secret: Secret) -> Secret:
    """Return a secret that can be one; `where` names it in the error, and no frame here holds it in clear."""
    size = len(secret)
    if not LEAST <= size <= MOST:
        raise ConfigError(where, f"{size if size <= MOST else 'too many'} characters", f"a secret of {LEAST} to {MOST}")
    if not _SECRET.fullmatch(secret.get_secret_value()):
        raise ConfigError(where, HIDDEN, "one line of printable ASCII without blanks")
    return secret
