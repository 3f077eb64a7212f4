"""Secrets that are looked for in what is to be handed to others; that one was found is said, never which."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from alphatrade.nodes.redact import forms
from alphatrade.risk.errors import ConfigError

PRIVATE = b"PRIVATE KEY-----"  # how any private key begins in PEM
_SEED = 32  # bytes of an Ed25519 key, at the end of its DER
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
    if PRIVATE in raw:
        body = b"".join(line for line in raw.splitlines() if not line.startswith(b"-----"))
        seed = base64.b64decode(body)[-_SEED:]
        return [body, seed, seed.hex().encode(), seed.hex().upper().encode(), base64.b64encode(seed)]
    text = raw.decode("utf-8", "replace").strip()
    return [form.encode() for form in forms(text) if len(form) >= _SHORTEST] if len(text) >= _SHORTEST else []
