"""Parts of a download on disk, the manifest that names each with its hash, and the one file that is made of them.

A part counts when the manifest says so and its bytes have the hash that the manifest names; everything else in the
folder of the parts is a leftover of a process that was killed, and goes. All files are written under a temporary name,
synced and renamed.
"""

import hashlib
import json
import os
import shutil
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from alphatrade.nodes.download_plan import Span, Wish, midnight
from alphatrade.nodes.download_rows import Gap, Rows, schema
from alphatrade.risk.disk import LOCK, FolderLock, sync, write_whole
from alphatrade.risk.errors import TapeError


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(_Model):
    """
    What the manifest says of a part.

    Attributes
    ----------
    start, end : date
        UTC days, the last one left out.
    source : {"archive", "rest"}
    sha256 : str
        Of the part's file.
    archive_sha256 : str
        Of the archive's file it was made of, as published by the exchange; empty: from REST.
    rows : int
    until : int
        UTC ns up to which it is complete; before the end of the day, the next download fetches it again.
    gaps : list of Gap
    ids : (int, int) or None
        First and last id of trades.
    """

    start: date
    end: date
    source: Literal["archive", "rest"]
    sha256: str
    archive_sha256: str
    rows: int
    until: int
    gaps: tuple[Gap, ...]
    ids: tuple[int, int] | None

    @property
    def span(self) -> Span:
        """Return its days."""
        return Span(self.start, self.end)

    @property
    def whole(self) -> bool:
        """Return whether its days were over when it was fetched."""
        return self.until >= midnight(self.end)


class Result(_Model):
    """The file that was made of the parts: its name, hash and rows, all its gaps, and a hash over the parts' facts."""

    file: str
    sha256: str
    rows: int
    gaps: tuple[Gap, ...]
    parts_sha256: str


class Manifest(_Model):
    """All that is known of a download; the parts are in order of time and do not overlap."""

    format: Literal[1] = 1
    venue: str
    symbol: str
    kind: str
    interval: str
    parts: tuple[Part, ...] = ()
    result: Result | None = None


class Store(AbstractContextManager["Store"]):
    """
    The files of one symbol and kind, for one process at a time.

    Parameters
    ----------
    out : Path
        Folder; made if it is missing.
    venue : str
    wish : Wish

    Raises
    ------
    InUseError
        If another process downloads the same.
    TapeError
        If the folder cannot be written or its manifest is not ours.
    """

    def __init__(self, out: Path, venue: str, wish: Wish) -> None:
        self.wish = wish
        self.path, self.result = out / f"{wish.stem}.json", out / f"{wish.stem}.parquet"
        self.folder = out / f"{wish.stem}.parts"
        self.zip = self.folder / "archive.tmp"
        self.manifest = self._read(venue)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise TapeError("--out", str(out), f"a folder that can be written ({error.strerror})") from None
        self._lock = FolderLock(self.folder, "process {} downloads into it")
        self.damaged = self._tidy()

    def __exit__(self, *exception: object) -> None:
        """Leave nothing behind where nothing was had."""
        self.zip.unlink(missing_ok=True)
        if not self.manifest.parts:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    def covered(self) -> frozenset[date]:
        """Return the days that are there and whole."""
        return frozenset(day for part in self.manifest.parts if part.whole for day in part.span.days())

    def add(self, span: Span, rows: Rows, archive_sha256: str, until: int) -> None:
        """Write a part, then the manifest that names it; it takes the place of a day of it that was not over."""
        file = self._file(span)
        temporary = file.with_suffix(".tmp")
        pq.write_table(rows.table, temporary)
        sync(temporary)
        temporary.replace(file)
        sync(self.folder)
        part = Part(
            start=span.start,
            end=span.end,
            source="archive" if archive_sha256 else "rest",
            sha256=sha256_of(file),
            archive_sha256=archive_sha256,
            rows=rows.table.num_rows,
            until=until,
            gaps=rows.gaps,
            ids=rows.ids,
        )
        others = [one for one in self.manifest.parts if one.end <= span.start or one.start >= span.end]
        self._write(parts=tuple(sorted([*others, part], key=lambda one: one.start)))

    def assemble(self) -> Result:
        """
        Make the result of all parts, if it is not there already, and return what it is.

        Raises
        ------
        TapeError
            If there are no rows at all, or ids of trades go back from one part to the next.
        """
        parts = self.manifest.parts
        rows, made_of = sum(part.rows for part in parts), _digest([part.model_dump_json() for part in parts])
        if not rows:
            raise TapeError(f"{self.wish.symbol} {self.wish.kind}", "no rows", "days on which there was trading")
        known = self.manifest.result
        if known is not None and known.parts_sha256 == made_of and _has(self.result, known.sha256):
            return known
        temporary = self.folder / "result.tmp"
        with pq.ParquetWriter(temporary, schema(self.wish.kind)) as writer:
            for part in parts:
                writer.write_table(pq.read_table(self._file(part.span)))
        sync(temporary)
        found = Result(
            file=self.result.name, sha256=sha256_of(temporary), rows=rows, gaps=self._gaps(), parts_sha256=made_of
        )
        temporary.replace(self.result)
        sync(self.result.parent)
        self._write(result=found)
        return found

    def _gaps(self) -> tuple[Gap, ...]:
        """Return what is missing inside the parts and between them."""
        out: list[Gap] = []
        last: Part | None = None
        for part in self.manifest.parts:
            if last is not None:
                out += _between(last, part, self.wish.step)
            out += part.gaps
            last = part if self.wish.step or part.ids is not None else last
        return tuple(out)

    def _file(self, span: Span) -> Path:
        return self.folder / f"{span.name}.parquet"

    def _read(self, venue: str) -> Manifest:
        fresh = Manifest(venue=venue, symbol=self.wish.symbol, kind=self.wish.kind, interval=self.wish.interval)
        try:
            found = Manifest.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return fresh
        except NotADirectoryError as error:
            raise TapeError("--out", str(self.path.parent), f"a folder ({error.strerror})") from None
        except (OSError, ValidationError):
            expected = "the manifest of a download (remove it to start anew)"
            raise TapeError(str(self.path), "something else", expected) from None
        if found.model_copy(update={"parts": (), "result": None}) != fresh:
            told = f"{found.venue} {found.symbol} {found.kind} {found.interval}"
            raise TapeError(str(self.path), told, f"a manifest of {venue} {self.wish.stem}")
        return found

    def _tidy(self) -> list[str]:
        """Remove leftovers, and forget parts whose bytes are not those that were recorded; return their names."""
        whole = [part for part in self.manifest.parts if _has(self._file(part.span), part.sha256)]
        damaged = [part.span.name for part in self.manifest.parts if part not in whole]
        if damaged:
            self._write(parts=tuple(whole))
        keep = {LOCK, *(self._file(part.span).name for part in whole)}
        for path in self.folder.iterdir():
            if path.name not in keep:
                path.unlink()
        return damaged

    def _write(self, **changed: object) -> None:
        self.manifest = self.manifest.model_copy(update=changed)
        write_whole(self.path, json.dumps(self.manifest.model_dump(mode="json"), indent=1) + "\n")


def sha256_of(path: Path) -> str:
    """Return the hash of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _between(last: Part, part: Part, step: int) -> list[Gap]:
    """Return what is missing between two parts: days that nobody asked for, or trades."""
    after, before = last.until, midnight(part.start)
    if step:
        after = after // step * step
        return [Gap(after, before, (before - after) // step)] if before > after else []
    if last.ids is None or part.ids is None:
        return []
    missing = part.ids[0] - last.ids[1] - 1
    if missing < 0:
        raise TapeError(f"first id of {part.span.name}", part.ids[0], f"one above {last.ids[1]}, of the days before")
    return [Gap(after, before, missing)] if missing else []
