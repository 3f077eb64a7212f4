"""Historical data of an exchange into a tape: days and months of its archive, what is not there yet from REST."""

import re
import zipfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

from alphatrade.nodes.addresses import require_url
from alphatrade.nodes.download_http import Asker
from alphatrade.nodes.download_plan import Span, Wish, plan
from alphatrade.nodes.download_rest import Rest, fetch, first_day
from alphatrade.nodes.download_rows import Rows, from_archive
from alphatrade.nodes.download_store import Result, Store
from alphatrade.nodes.tape_files import progress
from alphatrade.nodes.venue_answers import RefusedError
from alphatrade.risk.errors import ConfigError, TapeError

Told = Callable[[int], object]


class Venue(BaseModel):
    """Where a venue's data is: a file of ``conf/download``, or what the command line says instead."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    archive: str
    rest: str
    weight_per_minute: int


class Report(NamedTuple):
    """
    What a download came to.

    Attributes
    ----------
    path : Path
        The tape.
    result : Result
    fetched, kept : int
        Parts of this call and of earlier ones.
    damaged : list of str
        Parts of earlier calls that were not what the manifest says, and were fetched again where they were asked for.
    """

    path: Path
    result: Result
    fetched: int
    kept: int
    damaged: list[str]


def venue_of(name: str, base_url: str = "", rest_url: str = "") -> Venue:
    """
    Return a venue.

    Parameters
    ----------
    name : str
    base_url, rest_url : str
        Instead of those of the configuration; `rest_url` defaults to `base_url`.

    Raises
    ------
    ConfigError
        If there is no such venue, or a URL is none.
    """
    folder = files("alphatrade.conf") / "download"
    known = {item.name.removesuffix(".yaml"): item for item in folder.iterdir() if item.name.endswith(".yaml")}
    if name not in known:
        raise ConfigError("--venue", name, ", ".join(sorted(known)))
    for field, url in (("--base-url", base_url), ("--rest-url", rest_url)):
        require_url(field, url)
    facts = {"name": name, **yaml.safe_load(known[name].read_text())}
    given = {"archive": base_url, "rest": rest_url or base_url}
    facts |= {key: url.rstrip("/") for key, url in given.items() if url}
    return Venue.model_validate(facts)


async def download(wish: Wish, venue: Venue, out: Path, asker: Asker) -> Report:
    """
    Fetch what is not there yet, and make one file of all that is.

    Parameters
    ----------
    wish : Wish
    venue : Venue
    out : Path
        Folder.
    asker : Asker

    Raises
    ------
    ConfigError
        If the venue does not know the symbol.
    TapeError
        If it does not answer, or something is not what it should be; parts that are whole stay.
    InUseError
        If another process downloads the same.
    """
    try:
        with Store(out, venue.name, wish) as store:
            covered = store.covered()
            todo, kept = plan(wish, covered), len(store.manifest.parts)
            with progress(sum(len(list(span.days())) for span in todo), wish.stem, "days", True) as bar:
                fetched = await _fetch_all(wish, venue, store, asker, todo, bar)
            return Report(store.result, store.assemble(), fetched, kept, store.damaged)
    except RefusedError as no:
        raise TapeError(f"{venue.archive}, {wish.stem}", str(no), "an answer") from None
    except OSError as error:
        expected = f"a folder that can be written, with space on it ({error.strerror or error})"
        raise TapeError("--out", str(out), expected) from None


async def _fetch_all(wish: Wish, venue: Venue, store: Store, asker: Asker, todo: list[Span], bar: "tqdm[Any]") -> int:
    """Fetch the spans, those that the archive does not have by days from REST; return how many parts came of it."""
    fetched, began = 0, None
    while todo:
        span = todo.pop(0)
        found = await _archived(wish, venue, store, asker, span, _meter(bar, span.name, "B"))
        if found is not None:
            store.add(span, found[0], found[1], span.bounds()[1])
        else:
            rest = Rest(asker, venue.rest, _meter(bar, span.name, "rows"))
            began = began or await first_day(rest, wish)
            if span.end <= began:  # nobody traded it yet
                bar.update(len(list(span.days())))
                continue
            if span.is_month:
                todo[:0] = span.split()
                continue
            rows, until = await fetch(rest, wish, span)
            store.add(span, rows, "", until)
        fetched += 1
        bar.update(len(list(span.days())))
    return fetched


async def _archived(
    wish: Wish, venue: Venue, store: Store, asker: Asker, span: Span, told: Told
) -> tuple[Rows, str] | None:
    """Return rows of the archive and the hash of its file; None: it has none, or none with a checksum."""
    url = venue.archive + wish.archive_path(span)
    name = url.rpartition("/")[2]
    text = await asker.text(f"{url}.CHECKSUM")
    if text is None:
        return None
    match = re.fullmatch(r"([0-9a-f]{64})\s+\*?(\S+)", text.strip())
    if match is None or match[2] != name:
        raise TapeError(f"{url}.CHECKSUM", text[:100], f"a sha256 and {name}")
    if not await asker.save(url, store.zip, match[1], told):
        return None
    return from_archive(wish, span, _unzipped(store.zip, url), name), match[1]


def _unzipped(path: Path, url: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            inside = archive.namelist()
            if len(inside) == 1:
                return archive.read(inside[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise TapeError(url, str(error), "a zip") from None
    raise TapeError(url, f"{len(inside)} files", "a zip with one file in it")


def _meter(bar: "tqdm[Any]", name: str, unit: str) -> Told:
    """Return what shows on the bar how much of a part has come."""
    seen = 0

    def told(count: int) -> None:
        nonlocal seen
        seen += count
        bar.set_postfix_str(f"{name} {seen:,} {unit}")

    return told
