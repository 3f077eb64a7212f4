"""The dossier as a file: one zip in which every byte counts, a manifest of its members, and who has signed that.

Nothing is compressed, since packers differ; names, times and order are fixed. So the archive follows from its members,
and whoever packs them again has to get the same bytes: a byte that no member explains has been tampered with.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import rfc8785
from pydantic import Field, TypeAdapter, ValidationError

from alphatrade.reflection.keys import SigningKey
from alphatrade.risk.errors import InputError
from alphatrade.strategies.policy import Spec, canonical

MANIFEST, SIGNATURES = "manifest.json", "signatures.json"
LEDGER = "ledger"  # folder of the segment
PURPOSE = b"alphatrade dossier\n"  # no signature of anything else is one of a manifest
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[a-z]+)?(/[A-Za-z0-9_-]+(\.[a-z]+)?)*")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX, _MODE = 3, 0o100644 << 16

Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
NoSha = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class Manifest(Spec):
    """
    What a dossier is of, and what it holds.

    Attributes
    ----------
    policy_hash, search : str
        The policy, and the search that bred it; `generation` and `index` are its place there.
    promoted : bool
        Whether verdict and kill drill let it go up.
    code_hash, lock_hash, python : str
        Of the code it was made with, its lock file, the Python minor version.
    commit : str
        Of that code in git; empty where it was no clean checkout.
    tapes : dict of str to str
        Instrument to hash of its tape.
    files : tuple of str
        Of each tape, in the order of the run: sha256 of what it was read from; empty if it is embedded or generated.
    plugins : dict of str to str
        Import path to sha256 of its source, for parts of the policy that are not ours.
    fingerprint, head : str
        Of the ledger in it, on the word of who has signed; the evidence has those that were kept elsewhere.
    seeds : dict of str to int
    contents : dict of str to str
        Where each thing is.
    members : dict of str to str
        Sha256 of every other member but the signatures.
    """

    schema_version: Literal[1] = 1
    policy_hash: Sha
    search: Sha
    generation: Annotated[int, Field(ge=0)]
    index: Annotated[int, Field(ge=0)]
    promoted: bool
    code_hash: Sha
    lock_hash: Sha
    python: str
    commit: Annotated[str, Field(pattern=r"^([0-9a-f]{40})?$")]
    tapes: dict[str, Sha]
    files: tuple[NoSha, ...]
    plugins: dict[str, Sha]
    fingerprint: NoSha
    head: str
    seeds: dict[str, int]
    contents: dict[str, str]
    members: dict[str, Sha]


class Signature(Spec):
    """Who has signed a manifest: name in the roster of the ledger, and public key."""

    name: str
    public: Sha
    sig: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


class Opened(NamedTuple):
    """A dossier that was read: its bytes, its members, its manifest and its signatures."""

    data: bytes
    members: dict[str, bytes]
    manifest: Manifest
    signatures: tuple[Signature, ...]


_SIGNATURES: TypeAdapter[tuple[Signature, ...]] = TypeAdapter(tuple[Signature, ...])


def dumped(plain: Any) -> bytes:
    """Return plain values as the bytes of a member: canonical JSON (RFC 8785)."""
    return rfc8785.dumps(plain)


def sha(data: bytes) -> str:
    """Return the sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def pack(members: Mapping[str, bytes]) -> bytes:
    """
    Return the archive of members, byte for byte the same wherever it is made.

    Raises
    ------
    InputError
        If a name is none that a member may have.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        for name in sorted(members):
            if not _NAME.fullmatch(name):
                raise InputError("dossier", name, "a member's name: letters, digits, _ and -, folders and a suffix")
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr, info.compress_type = _UNIX, _MODE, zipfile.ZIP_STORED
            file.writestr(info, members[name])
    return out.getvalue()


def unpack(data: bytes, where: str = "dossier") -> dict[str, bytes]:
    """
    Return the members of an archive.

    Raises
    ------
    InputError
        If it is no zip file, or damaged, or one that :func:`pack` would not make.
    """
    expected = "a dossier as `alphatrade` writes it: an intact zip file, nothing compressed"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            infos = file.infolist()
            names = [info.filename for info in infos]
            strange = [info.filename for info in infos if info.compress_type or not _NAME.fullmatch(info.filename)]
            if strange or len(set(names)) < len(names):
                raise InputError(where, (strange or names)[0], expected)
            return {info.filename: file.read(info) for info in infos}
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise InputError(where, str(error) or type(error).__name__, expected) from None


def sealed(members: Mapping[str, bytes], facts: Mapping[str, Any], signers: Iterable[tuple[str, SigningKey]]) -> bytes:
    """
    Return the file: members, their manifest, and its signatures.

    Parameters
    ----------
    members : mapping of str to bytes
    facts : mapping
        The other fields of :class:`Manifest`.
    signers : iterable of (str, SigningKey)
        Name in the roster, and key.
    """
    hashes = {name: sha(data) for name, data in members.items()}
    manifest = dumped(canonical(Manifest.model_validate({**facts, "members": hashes})))
    signatures = [
        {"name": name, "public": key.public, "sig": key.sign(PURPOSE + manifest)} for name, key in sorted(signers)
    ]
    return pack({**members, MANIFEST: manifest, SIGNATURES: dumped(signatures)})


def opened(data: bytes, where: str = "dossier") -> Opened:
    """
    Return a dossier as far as it can be read; nothing is checked but its form.

    Raises
    ------
    InputError
        If it is none.
    """
    members = unpack(data, where)
    for name in (MANIFEST, SIGNATURES):
        if name not in members:
            raise InputError(where, f"no {name}", "a dossier")
    try:
        manifest = Manifest.model_validate_json(members[MANIFEST])
        signatures = _SIGNATURES.validate_json(members[SIGNATURES])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        told = f"{'.'.join(map(str, first['loc']))}: {first['input']!r}"[:120]
        raise InputError(where, told, f"a dossier: {first['msg']}") from None
    return Opened(data, members, manifest, signatures)


def plain(members: Mapping[str, bytes], name: str) -> Any:
    """
    Return the values of a member.

    Raises
    ------
    InputError
        If it is missing, or not written as it has to be, to the last byte.
    """
    data = members.get(name, b"")
    try:
        value = json.loads(data)
        same = dumped(value) == data
    except (ValueError, RecursionError, rfc8785.CanonicalizationError):
        same = False
    if not same:
        raise InputError(f"dossier {name}", data[:60].decode("utf-8", "replace"), "canonical JSON")
    return value


def difference(told: Any, found: Any) -> tuple[str, str] | None:
    """Return the first place in which two plain values differ as JSON, with what each has there; None: they do not."""
    return _difference(json.loads(dumped(told)), json.loads(dumped(found)), "")


def _difference(told: Any, found: Any, where: str) -> tuple[str, str] | None:
    if isinstance(told, dict) and isinstance(found, dict) and told.keys() == found.keys():
        pairs: Sequence[tuple[Any, Any, Any]] = [(name, told[name], found[name]) for name in told]
    elif isinstance(told, list) and isinstance(found, list) and len(told) == len(found):
        pairs = [(at, *both) for at, both in enumerate(zip(told, found, strict=True))]
    else:
        same = type(told) is type(found) and told == found
        return None if same else (f"{where} {_brief(told)}".strip(), _brief(found))
    for name, one, other in pairs:
        if (first := _difference(one, other, f"{where}.{name}" if where else str(name))) is not None:
            return first
    return None


def _brief(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"{len(value)} {'fields' if isinstance(value, dict) else 'items'}"
    return str(value)[:120]
