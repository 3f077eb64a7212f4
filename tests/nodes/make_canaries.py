"""Planted secrets, looked for wherever a process may have left them: files, output, command lines, environments."""

import gzip
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from alphatrade.nodes.redact import forms

KEY = "canaryKEY" + "0a1B2c3D4e5F6g7H8i9J" * 2
SECRET = "canarySECRET" + "9z8Y7x6W5v4U3t2S1r0Q" * 2

_PIECE = 16


class Canaries:
    """Secrets that must not be found again, whole or shortened, in clear, JSON, URL, hexadecimal or base64."""

    def __init__(self, *secrets: str) -> None:
        self._forms = [(form.encode(), secret[:12]) for secret in secrets for form in forms(secret)]
        self._forms += [(secret.encode("utf-16-le"), secret[:12]) for secret in secrets]
        for secret in secrets:  # a library that shortens what it shows leaves both ends
            self._forms += [(end.encode(), secret[:12]) for end in (secret[:_PIECE], secret[-_PIECE:])]

    def within(self, data: bytes | str, where: str) -> list[str]:
        """Return one line for each secret that is there."""
        raw = data.encode() if isinstance(data, str) else data
        return sorted({f"{where}: {name}…" for form, name in self._forms if form in raw})

    def in_files(self, *roots: Path) -> list[str]:
        """Search files below folders, and their names; what is compressed is opened."""
        found = []
        for root in roots:
            for path in [root, *sorted(root.rglob("*"))] if root.is_dir() else [root]:
                found += self.within(str(path), f"name of {path.name[:8]}…")
                if path.is_symlink():
                    found += self.within(str(path.readlink()), f"{path} (link)")
                elif path.is_file():
                    for data in _contents(path):
                        found += self.within(data, str(path))
        return found

    def in_processes(self, pid: int) -> list[str]:
        """Search command line and environment of a process and of all that come from it."""
        found = []
        for one in family(pid):
            for what in ("cmdline", "environ", "comm"):
                try:
                    found += self.within(Path(f"/proc/{one}/{what}").read_bytes(), f"{what} of process {one}")
                except (FileNotFoundError, ProcessLookupError):
                    continue  # it has ended
        return found


def family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    parents = dict(_parents())
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            told = Path(f"/proc/{name}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield int(name), int(told.rpartition(")")[2].split()[1])


def _contents(path: Path) -> Iterable[bytes]:
    data = path.read_bytes()
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    elif data[:4] == data[-4:] == b"PAR1":
        table = pq.read_table(path)
        yield repr((table.schema.to_string(), table.schema.metadata)).encode()
        for column in table.columns:
            values = column if pa.types.is_nested(column.type) else column.unique()
            yield "\n".join(map(str, values.to_pylist())).encode()
