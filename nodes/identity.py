"""Identity: what a run is called follows from what it is made of, never from when or where it ran."""

import hashlib
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import rfc8785


@dataclass(frozen=True, slots=True)
class Identity:
    """
    What a run is made of, as hashes; `tape_hash` is of the one tape, or of the hashes of all in their order.

    `entry` tells of the ledger entry that the policy was taken from: the same policy from a file is the same run.
    """

    run_id: str
    policy_hash: str
    tape_hash: str
    code_hash: str
    entry: Mapping[str, Any] | None = None


ROOMS = ("actors", "conf", "evolution", "nodes", "reflection", "risk", "strategies")
SUFFIXES = frozenset({".py", ".yaml", ".json", ".j2", ".gz", ".html", ".css"})


@cache
def code_hash() -> str:
    """
    Return the sha256 of the package's own files, the lock file and the Python minor version.

    The same for a clone, an editable install and a wheel: paths are relative to the package, documents and tests
    are not part of it.
    """
    package = Path(str(files("alphatrade")))
    found = [package / "__init__.py", package / "__main__.py", package / "requirements.lock"]
    for room in ROOMS:
        found += [path for path in sorted((package / room).rglob("*")) if path.suffix in SUFFIXES and path.is_file()]
    digest = hashlib.sha256(f"python {sys.version_info.major}.{sys.version_info.minor}\n".encode())
    for path in sorted(found, key=lambda item: item.relative_to(package).as_posix()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(package).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def identify(policy_hash: str, tape_hashes: Sequence[str], run_spec: dict[str, Any]) -> Identity:
    """
    Return the identity of a run; its id has 16 hexadecimal digits.

    Parameters
    ----------
    policy_hash : str
    tape_hashes : sequence of str
        In the order in which the tapes are merged.
    run_spec : dict
        Plain values without paths; the seed is among them.
    """
    code = code_hash()
    whole: Any = {"code": code, "policy": policy_hash, "run": run_spec, "tapes": list(tape_hashes)}
    run = hashlib.sha256(rfc8785.dumps(whole)).hexdigest()[:16]
    joint = tape_hashes[0] if len(tape_hashes) == 1 else hashlib.sha256("".join(tape_hashes).encode()).hexdigest()
    return Identity(run, policy_hash, joint, code)


def plugin_digests(kinds: Iterable[str]) -> dict[str, str]:
    """
    Return the sha256 of the source file of every kind that is an import path, ``package.module:Class``.

    What a user adds decides as much as what we ship: a changed file is another run.
    """
    found = {}
    for kind in sorted(set(kinds)):
        module, _, name = kind.partition(":")
        source = getattr(import_module(module), "__file__", None) if name else None
        if source:
            found[kind] = file_digest(Path(source))
    return found


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def joint_digest(paths: Sequence[Path]) -> str:
    """Return one sha256 over several files, in the given order."""
    return hashlib.sha256("\n".join(file_digest(path) for path in paths).encode()).hexdigest()


def lock_hash() -> str:
    """Return the sha256 of the lock file."""
    return file_digest(Path(str(files("alphatrade"))) / "requirements.lock")


def commit() -> str:
    """Return the commit of this code; empty where it is no clean git checkout."""
    package = Path(str(files("alphatrade")))
    roots = [str((package / room).resolve()) for room in ROOMS] + [str((package / "requirements.lock").resolve())]

    def git(*words: str) -> str | None:
        command = ["git", "-C", str(package), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    changed = git("status", "--porcelain", "--", str(package), *roots)
    tracked = git("ls-files", "--", str(package / "__init__.py"))
    return (git("rev-parse", "HEAD") or "") if changed == "" and tracked else ""
