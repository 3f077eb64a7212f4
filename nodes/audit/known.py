"""Secrets that are looked for in what is to be handed to others; that one was found is said, never which."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from alphatrade.nodes.redact import forms
from alphatrade.risk.errors import ConfigError

PRIVATE = b"PRIVATE KEY-----"  # how any private key begins in PEM
_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")  # what an Ed25519 key begins with, in DER
_SEED = 32  # bytes, which follow
_SHORTEST = 8  # what is shorter is found in anything


def leaks(members: Mapping[str, bytes], state: Path, folders: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """
    Yield members that hold a secret, and whose: the name of its file.

    Parameters
    ----------
    members : mapping of str to bytes
    state : Path
        Folder with this machine's private keys.
    folders : iterable of Path
        One file per secret.

    Raises
    ------
    ConfigError
        If a folder, or a file in it, cannot be read: what nobody has looked for cannot be ruled out.
    """
    known: list[tuple[bytes, str]] = []
    for folder in (*folders, *([state / "keys"] if (state / "keys").is_dir() else [])):
        known += _secrets(folder.expanduser())
    for name, data in members.items():
        if PRIVATE in data:
            yield name, "a private key"
        for form, whose in known:
            if form in data:
                yield name, f"the secret of {whose}"


def _secrets(folder: Path) -> list[tuple[bytes, str]]:
    found = []
    try:
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith(".") and path.suffix != ".txt":  # public.txt is public
                found += [(form, path.name) for form in _forms(path.read_bytes())]
    except OSError as error:
        expected = f"a folder of secrets that can be read ({error.strerror or error})"
        raise ConfigError("--secrets-dir", str(error.filename or folder), expected) from None
    return found


def _forms(raw: bytes) -> list[bytes]:
    text = raw.decode("utf-8", "replace").strip()
    body = "".join(line for line in text.splitlines() if not line.startswith("-----"))
    found = [form.encode() for form in forms(body) if len(form) >= _SHORTEST] if len(body) >= _SHORTEST else []
    try:
        der = base64.b64decode(body, validate=True)
    except ValueError:
        return found
    if len(der) == len(_PKCS8) + _SEED and der.startswith(_PKCS8):  # a private key: its half that counts, bare
        seed = der[-_SEED:]
        found += [seed, seed.hex().encode(), seed.hex().upper().encode(), base64.b64encode(seed)]
    return found
