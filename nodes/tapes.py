"""Loading tapes: from a specification to an audited, cached `Tape`.

::

    spec ──▶ file ──read──▶ Rows ──audit──▶ Tape ──▶ cache: a Nautilus catalog and tape.json, named by content
         ├─▶ catalog ─read──▶ Rows ──audit──▶ Tape
         └─▶ world ──make───▶ Tape with ground truth
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from alphatrade.nodes import tape_catalog
from alphatrade.nodes.instruments import guess_name
from alphatrade.nodes.tape import InstrumentSpec, Status, Tape
from alphatrade.nodes.tape_audit import Settings, audit
from alphatrade.nodes.tape_files import data_files, progress
from alphatrade.nodes.tape_foreign import read_foreign
from alphatrade.nodes.tape_read import read_rows
from alphatrade.nodes.tape_rules import RULES
from alphatrade.nodes.tape_spec import BtcusdTape, CatalogTape, FileTape, TapeSpec, WorldTape
from alphatrade.nodes.tape_time import parse_moment
from alphatrade.nodes.worlds import make_world
from alphatrade.risk.errors import TapeError

__all__ = ["RULES", "InstrumentSpec", "Status", "Tape", "TapeSpec", "load_tape", "parse_spec"]

FORMAT = 2  # of the cache; a change of reading, audit or layout that changes what is stored raises it
_BLOCK = 1 << 20
AnyTape = BtcusdTape | FileTape | CatalogTape | WorldTape
_ADAPTER: TypeAdapter[AnyTape] = TypeAdapter(TapeSpec)


def parse_spec(values: Mapping[str, Any]) -> AnyTape:
    """
    Validate the `tape` part of a configuration.

    Raises
    ------
    TapeError
        Naming the key, its value and what was expected.
    """
    try:
        return _ADAPTER.validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["tape", *(str(part) for part in first["loc"][1:])])
        raise TapeError(place, first.get("input"), first["msg"]) from None


def load_tape(spec: AnyTape, cache_dir: str | Path, shown: bool = True) -> Tape:
    """
    Return the tape that `spec` describes.

    Parameters
    ----------
    spec : one of the models of :mod:`alphatrade.nodes.tape_spec`
    cache_dir : path
        Where converted files are kept. Nothing else is written.
    shown : bool, default True
        Show progress when standard error is a terminal.

    Raises
    ------
    TapeError
        If the source cannot be used; the message names file, row and column.
    """
    if isinstance(spec, WorldTape):
        return make_world(spec)
    if isinstance(spec, CatalogTape):
        return _from_catalog(spec)
    if isinstance(spec, BtcusdTape):
        with as_file(files("alphatrade.nodes") / "data" / "btcusd_1m.csv.gz") as path:
            shared = spec.model_dump(exclude={"source"})
            embedded = FileTape(path=str(path), kind="bars", stamp="open", instrument="BTC/USD", **shared)
            return _from_file(embedded, Path(cache_dir), shown)
    return _from_file(spec, Path(cache_dir), shown)


def _from_file(spec: FileTape, cache_dir: Path, shown: bool) -> Tape:
    paths = data_files(spec.path)
    text = spec.instrument or guess_name(paths[0])
    if text is None:
        raise TapeError("tape.instrument", None, f"the instrument in {spec.path}, for example EUR/USD or SPY")
    folder = cache_dir / _key(paths, spec, text, shown)
    cached = tape_catalog.load(folder)
    if cached is not None:
        return cached
    tape = audit(read_rows(spec, shown), _settings(spec, text, _name(text, spec.name)))
    return tape_catalog.store(tape, folder)


def _from_catalog(spec: CatalogTape) -> Tape:
    found = read_foreign(spec)
    how = _settings(spec, found.instrument, _name(found.instrument.id, spec.name))
    return audit(found.rows, replace(how, bar_s=found.bar_s), found.status)


def _settings(spec: FileTape | CatalogTape, instrument: str | InstrumentSpec, name: str) -> Settings:
    file = spec if isinstance(spec, FileTape) else None
    start, end = parse_moment(spec.start, "tape.start"), parse_moment(spec.end, "tape.end")
    if start is not None and end is not None and start >= end:
        raise TapeError("tape.end", spec.end, f"a moment after tape.start ({spec.start})")
    return Settings(
        instrument=instrument,
        name=name,
        start=start,
        end=end,
        sort=file is not None and file.sort,
        bar_s=None if file is None else file.bar_s,
        max_bad=spec.max_bad,
        outlier=spec.outlier,
        tick=spec.tick,
        lot=spec.lot,
        maker_fee=spec.maker_fee,
        taker_fee=spec.taker_fee,
        half_spread_bps=spec.half_spread_bps,
        stale_after_s=spec.stale_after_s,
        depth=spec.depth,
    )


def _name(text: str, given: str | None) -> str:
    return given or "".join(c if c.isalnum() else "_" for c in text.split(".")[0].lower())


def _key(paths: list[Path], spec: FileTape, instrument: str, shown: bool) -> str:
    """Return the name of a cache entry: a hash of the files' content and of what is asked, not of places."""
    asked = {k: str(v) if isinstance(v, Decimal) else v for k, v in spec.model_dump(exclude={"path"}).items()}
    digest = hashlib.sha256(json.dumps([FORMAT, instrument, asked], sort_keys=True).encode())
    with progress(sum(path.stat().st_size for path in paths), "hashing", "B", shown) as bar:
        for path in paths:
            inner = hashlib.sha256()
            with path.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    inner.update(block)
                    bar.update(len(block))
            digest.update(inner.digest())
    return digest.hexdigest()[:32]
