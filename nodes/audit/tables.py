"""Runs as members of an audit archive: settings as JSON, tables as JSON Lines that anybody can read."""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from alphatrade.evolution.dossier import dumped
from alphatrade.nodes.journal_folder import head_of
from alphatrade.reflection.query import read_mapping
from alphatrade.risk.audit import audit
from alphatrade.risk.errors import InputError, RunDirError
from alphatrade.risk.handover import KIND, LEFT_BY

TABLES = {
    "orders": "orders", "fills": "fills", "risk_events": "risk_events", "equity": "equity",
    "decisions": "diary/decisions", "expost": "diary/expost",
}  # fmt: skip
_DAY, _RUN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"), re.compile("[A-Za-z0-9_-]+")
PERMIT = "permit"  # of the risk events that tell which one a run was given
_EXACT = 2**53  # beyond it other readers of JSON lose digits


class Span(NamedTuple):
    """Days, both counted, UTC."""

    first: date
    last: date

    def folders(self, artifacts: Path) -> list[Path]:
        """
        Return the dated folders of them, in order.

        Raises
        ------
        InputError
            If the artifacts cannot be read: what nobody has looked at is not nothing.
        """
        first, last = self.first.isoformat(), self.last.isoformat()
        return [path for path in listed(artifacts) if _DAY.fullmatch(path.name) and first <= path.name <= last]

    def has(self, ns: int) -> bool:
        """Return whether a moment, UTC ns, is in it."""
        return self.first <= date(1970, 1, 1) + timedelta(ns // (86_400 * 10**9)) <= self.last


class Taken(NamedTuple):
    """
    What was found of runs.

    Attributes
    ----------
    members : dict of str to bytes
        By name.
    runs : dict of str to Path
        Folder of each by its id.
    left_out : list of str
        What was left out, in words.
    origins, under : dict of str to set of str
        By the id of a run: which others have left something to it, and the permits that it was given.
    """

    members: dict[str, bytes]
    runs: dict[str, Path]
    left_out: list[str]
    origins: dict[str, set[str]]
    under: dict[str, set[str]]


def listed(folder: Path) -> list[Path]:
    """
    Return what is in a folder, in order.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(str(folder), error.strerror or str(error), "a folder that can be read") from None


def runs_of(artifacts: Path, span: Span) -> Taken:
    """
    Return the runs of a span that were on paper or live; replays are counted, and left out.

    Runs of days before are taken as well if they have left something to one of them, or were under the same permit:
    whoever judges what was taken over has to see who had it, and what a permit has cost is known from all of its runs.

    Parameters
    ----------
    artifacts : Path
        Root of the dated folders; a run is of the day on which it began.
    span : Span
    """
    taken, replays = Taken({}, {}, [], {}, {}), 0
    for day in span.folders(artifacts):
        for folder in listed(day):
            if not (folder / "run.yaml").is_file() or folder.name.startswith(".replaced-"):
                continue
            if folder.name.startswith("."):
                taken.left_out.append(f"{day.name}/{folder.name}: not finished")
                continue
            replays += not _take(folder, taken)
    if replays:
        taken.left_out.append(f"{replays} replays (env sim), in which no order was sent anywhere")
    _take_earlier(artifacts, span, taken)
    return taken


def _take(folder: Path, taken: Taken) -> bool:
    """Take a run, or say that it cannot be read; return False of a replay."""
    try:
        run, summary = read_mapping(folder, "run.yaml"), read_mapping(folder, "summary.json")
        if run["env"]["name"] == "sim":
            return False
        members, name = _run(folder, run, summary), folder.name
        events = [*map(json.loads, members.get(f"runs/{name}/risk_events.jsonl", b"").splitlines())]
        taken.origins[name], taken.under[name] = _origins(events), _entries(events)
        taken.members.update(members)
        taken.runs[name] = folder
    except (RunDirError, LookupError, TypeError, OSError, ValueError) as error:
        taken.left_out.append(f"{folder.parent.name}/{folder.name}: cannot be read: {error}")
    return True


def _take_earlier(artifacts: Path, span: Span, taken: Taken) -> None:
    """Take the runs of days before without which those of the span cannot be judged, and what these need in turn."""
    days = [day for day in Span(date.min, span.last).folders(artifacts) if day.name < span.first.isoformat()]
    runs = [run for day in days for run in listed(day) if (run / "run.yaml").is_file()]
    earlier = {run.name: (run, _under(run)) for run in runs if run.name[0] != "."}
    ahead, seen = sorted(taken.runs), set(taken.runs)
    while ahead:
        run = ahead.pop()
        origins, under = taken.origins[run], taken.under[run]
        same = {name for name, (_, entries) in earlier.items() if entries is None or entries & under}
        for name in sorted((origins | same) - seen):
            seen.add(name)
            if name in earlier:
                _take(earlier[name][0], taken)
            if name in taken.runs:
                ahead.append(name)
            elif name in origins:
                taken.left_out.append(f"run {name}, which has left something to run {run}: not found")
    if any(taken.under.values()):  # who was killed may have been under one of them
        killed = [run for run in runs if run.name[0] == "." and not run.name.startswith(".replaced-") and _real(run)]
        taken.left_out.extend(f"{run.parent.name}/{run.name}: not finished" for run in killed)


def _real(folder: Path) -> bool:
    """Return whether the run in a folder was a live one, or may have been: nobody can say."""
    try:
        return bool(read_mapping(folder, "run.yaml")["env"]["name"] == "live")
    except (RunDirError, LookupError, TypeError):
        return True


def _origins(events: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return which runs have left something to one, as far as their names are those of folders."""
    named = {str(row["detail"]).removeprefix(LEFT_BY) for row in events if row["kind"] == KIND}
    return {name for name in named if _RUN.fullmatch(name)}


def _entries(events: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the permits that a run was given, by their entries."""
    told = (json.loads(row["detail"]) for row in events if row["kind"] == PERMIT)
    return {one["entry"] for one in told if not one["refused"]}


def _under(folder: Path) -> set[str] | None:
    """Return the permits that a run in a folder was given; None: nobody can say, so that it is not passed over."""
    if not (folder / "risk_events.parquet").exists() and not _real(folder):
        return set()
    told = links(folder)
    return None if told is None else told[1]


def links(folder: Path) -> tuple[set[str], set[str]] | None:
    """Return which runs have left something to that in a folder, and what permits it had; None: nobody can say."""
    path, wanted = folder / "risk_events.parquet", [("kind", "in", (KIND, PERMIT))]
    try:
        events = pq.read_table(path, columns=["kind", "detail"], filters=wanted).to_pylist()
        return _origins(events), _entries(events)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _run(folder: Path, run: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, bytes]:
    found = {"run.json": dumped(portable(run)), "summary.json": dumped(portable(summary))}
    found["policy.json"] = dumped(read_mapping(folder, "policy.json"))
    if (head := head_of(folder / "journal")) is not None:
        found["journal.json"] = dumped(portable(head))
    for name, path in TABLES.items():
        if (folder / f"{path}.parquet").is_file():
            found[f"{name}.jsonl"] = lines(rows(folder / f"{path}.parquet"))
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    found["files.json"] = dumped({path.relative_to(folder).as_posix(): _digest(path) for path in files})
    found["audit.json"] = dumped(_audited(folder))
    return {f"runs/{folder.name}/{name}": data for name, data in found.items()}


def _audited(folder: Path) -> dict[str, Any]:
    """Return what the auditor finds in a run today."""
    try:
        report = audit(folder)
    except RunDirError as error:
        return {"ok": False, "not_possible": portable(str(error))}
    findings = {"violations": report.violations, "integrity": report.integrity}
    told = {name: [f"{one.code} {one.subject}: {one.detail}" for one in found] for name, found in findings.items()}
    used = {limit: round(share, 6) for limit, share in report.utilisation.items()}
    return {"ok": report.ok, **told, "passive": dict(report.passive), "utilisation": used}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file as plain values."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield from batch.to_pylist()


def lines(values: Iterable[Any]) -> bytes:
    """Return values as JSON Lines, fields in order of their names."""
    text = [json.dumps(portable(one), sort_keys=True, separators=(",", ":"), allow_nan=False) for one in values]
    return "".join(f"{line}\n" for line in text).encode()


def portable(value: Any) -> Any:
    """Return plain values as any reader of JSON takes them: exact, and without the paths of this machine."""
    if isinstance(value, Mapping):
        return {str(name): portable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [portable(one) for one in value]
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _EXACT:
        return str(value)
    if isinstance(value, str) and value.startswith(("/", "~/")):
        return Path(value).name
    return value
