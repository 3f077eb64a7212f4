"""The auditor's look at exploration: budget, changes, freeze and guardrail, from the files of a run alone.

What may be explored is in ``run.yaml``; which orders were let through as explored is told by rows ``explored`` of
``risk_events.parquet`` and, independently, by the diary, where there is one: an order of an exploring decision that
could open a position must be among the rows. Warnings are rows of the law's record, the first breach that the auditor
found itself, and alarms of ``drift.parquet``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from alphatrade.risk.audit_files import OrderRow, RunFiles, read_columns
from alphatrade.risk.audit_limits import read_file
from alphatrade.risk.audit_orders import Finding
from alphatrade.risk.errors import RunDirError

_WARNINGS = ("near_miss", "denied", "breach", "tripwire", "state", "kill", "frozen")
_ALARMS = ("warn", "alert", "flat")
FLIGHT_NS = 5 * 10**9  # a fill this soon after a freeze was on its way before the cancellation arrived
_CODE = "EXPLORATION"


_EVENTS = "seq:int ts:int? kind:str? instrument:str? order_id:str? limit:str? detail:str?"


class _Event(NamedTuple):
    """One row of the law's record; of an explored order, `detail` is the tactic."""

    seq: int
    ts: int
    kind: str
    instrument: str
    order_id: str
    limit: str
    detail: str


@dataclass(frozen=True, slots=True)
class Explored:
    """
    What was explored in a run.

    Attributes
    ----------
    findings : list of Finding
        What the law must not have let through.
    orders : int
        Explored orders.
    notional, flow : int
        Filled by them, and by all orders, 1e-18 of money.
    most : float
        Largest explored share of the flow on any prefix that ends with an explored fill.
    frozen : int or None
        Event time of the first warning, UTC ns.
    in_flight : int
        Fills of explored orders just after a freeze, before their cancellation could arrive.
    after_freeze : int
        Filled by explored orders later than that, 1e-18 of money.
    """

    findings: list[Finding] = field(default_factory=list)
    orders: int = 0
    notional: int = 0
    flow: int = 0
    most: float = 0.0
    frozen: int | None = None
    in_flight: int = 0
    after_freeze: int = 0


def explored(run_dir: Path, files: RunFiles, opening: set[str], killed: int | None) -> Explored:
    """
    Judge what was explored.

    Parameters
    ----------
    run_dir : Path
    files : RunFiles
        Its orders and fills.
    opening : set of str
        Orders that could open or enlarge a position when they were approved.
    killed : int or None
        Event time of the first breach that the auditor found, UTC ns.

    Raises
    ------
    RunDirError
        If a file is damaged, or an exploring run does not say what it may explore.
    """
    events = read_columns(run_dir / "risk_events.parquet", _EVENTS)
    rows = [_Event._make(row) for row in zip(*events.values(), strict=True)]
    marks = [row for row in rows if row.kind == "explored"]
    for row in marks:
        if None in row:
            raise RunDirError("risk_events.parquet", f"seq={row.seq} without a value", "all of an explored order")
    run = read_file(run_dir / "run.yaml")
    share, every, bounds = _budget(run)
    diary = _diary(run_dir)
    if not marks and not diary:
        return Explored()
    warned = [row for row in rows if row.kind in _WARNINGS and (row.kind == "frozen" or row.limit != _CODE)]
    alarms = [*_alarms(run_dir), *([(killed, "")] if killed is not None else [])]
    sent = {row.order_id: row for row in files.orders if row.event == "submitted"}
    ids = _decisions(run_dir)
    findings = [
        *_unmarked(diary, sent, opening, {mark.order_id for mark in marks}),
        *_changes(marks, ids, every, len(run["instruments"])),
        *_frozen_approvals(marks, warned, alarms),
        *_guarded(diary, bounds),
    ]
    first = min([*(row.ts for row in warned), *(ts for ts, _ in alarms)], default=None)
    return _flow(files, {mark.order_id for mark in marks}, share, first, findings)


def _budget(run: dict[str, Any]) -> tuple[Fraction, int, tuple[float, float]]:
    if run.get("exploration") is not True:
        return Fraction(0), 1, (0.0, 0.0)
    told: Any = run.get("explore")
    try:
        low, high = (float(bound) for bound in told["delta_bps"])
        return Fraction(repr(float(told["share"]))), int(told["every"]), (low, high)
    except (TypeError, KeyError, ValueError):
        raise RunDirError("run.yaml:explore", told, "share, every and delta_bps of an exploring run") from None


def _flow(files: RunFiles, marked: set[str], share: Fraction, first: int | None, findings: list[Finding]) -> Explored:
    """Count the flow fill by fill, and hold every prefix against the budget."""
    flow = part = late = flying = 0
    most = 0.0
    for fill in files.fills:
        notional = fill.qty * fill.price
        flow += notional
        if fill.order_id not in marked:
            continue
        part += notional
        most = max(most, part / flow)
        if part > share * flow:
            detail = f"explored {part / flow:.6f} of the flow > share={float(share):g}"
            findings.append(Finding(fill.seq, fill.ts, "EXPLORED_SHARE", fill.order_id, detail))
        if first is None or fill.ts <= first:
            continue
        if fill.ts - first <= FLIGHT_NS:
            flying += 1
            continue
        late += notional
        findings.append(Finding(fill.seq, fill.ts, "EXPLORED_FROZEN", fill.order_id, f"filled after ts={first}"))
    return Explored(findings, len(marked), part, flow, most, first, flying, late)


def _frozen_approvals(
    marks: list[_Event], warned: list[_Event], alarms: list[tuple[int, str]]
) -> Iterator[Finding]:
    """Yield what was let through after a warning; an alarm comes before the decision of its own time."""
    first = min((row.seq for row in warned), default=None)
    for mark in marks:
        late = [ts for ts, name in alarms if mark.ts > ts or (mark.ts == ts and mark.instrument == name)]
        if (first is not None and mark.seq > first) or late:
            detail = f"let through after a warning at {f'seq={first}' if first is not None else f'ts={min(late)}'}"
            yield Finding(mark.seq, mark.ts, "EXPLORED_FROZEN", mark.order_id, detail)


def _changes(marks: list[_Event], ids: dict[str, int], every: int, count: int) -> Iterator[Finding]:
    """Yield changes of what is explored in an instrument that came too soon; a decision's id tells its step."""
    since: dict[str, tuple[str, int]] = {}
    for mark in marks:
        step = ids.get(mark.order_id, -1) // count
        before, then = since.get(mark.instrument, ("", 0))
        if before == mark.detail:
            continue
        if before and step - then < every:
            detail = f"{mark.detail} {step - then} decisions after {before} was explored first, < every={every}"
            yield Finding(mark.seq, mark.ts, "EXPLORED_CHANGE", mark.order_id, detail)
        since[mark.instrument] = mark.detail, step


def _unmarked(
    diary: list[dict[str, Any]], sent: dict[str, OrderRow], opening: set[str], marked: set[str]
) -> Iterator[Finding]:
    """Yield orders sent or changed by exploring decisions that could open a position and are not counted."""
    for decision in diary:
        for order_id in decision["order_ids"] if decision["explored"] else ():
            row = sent.get(order_id)
            if row is not None and order_id in opening and order_id not in marked:
                detail = f"decision {decision['decision']} explores {decision['explored']} with it, uncounted"
                yield Finding(row.seq, row.ts, "EXPLORED_UNMARKED", order_id, detail)


def _guarded(diary: list[dict[str, Any]], bounds: tuple[float, float]) -> Iterator[Finding]:
    """Yield decisions that explored a tactic whose difference to its alternative had left the bounds."""
    low, high = bounds
    stopped: dict[tuple[str, str], int] = {}
    for row in diary:
        own, base, name = row["compared_own"], row["compared_base"], row["instrument"]
        if own is not None and base is not None and not low <= own - base <= high:
            stopped.setdefault((name, row["compared_topo"]), row["decision"])
        then = stopped.get((name, row["explored"]))
        if then is not None:
            detail = f"decision {row['decision']} explores {row['explored']}, which decision {then} had to stop"
            yield Finding(0, row["ts"], "EXPLORED_STOPPED", row["explored"], detail)


def _decisions(run_dir: Path) -> dict[str, int]:
    """Return the decision that each order was sent by, where one was named."""
    told = read_columns(run_dir / "orders.parquet", "order_id:str decision:int?")
    return {order_id: decision for order_id, decision in zip(*told.values(), strict=True) if decision is not None}


def _diary(run_dir: Path) -> list[dict[str, Any]]:
    """Return the diary's words on exploration, in order; nothing where there is no diary or nothing explored."""
    path = run_dir / "diary" / "decisions.parquet"
    names = ["decision", "ts", "instrument", "order_ids", "explored", "compared_topo", "compared_own", "compared_base"]
    if not path.exists():
        return []
    try:
        if "explored" not in pq.read_schema(path).names:
            return []
        rows: list[dict[str, Any]] = pq.read_table(path, columns=names, partitioning=None).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise RunDirError("diary/decisions.parquet", str(error)[:120], "a complete Parquet file") from None
    return rows


def _alarms(run_dir: Path) -> list[tuple[int, str]]:
    """Return when the drift sentry was first alarmed about each instrument."""
    path = run_dir / "drift.parquet"
    if not path.exists():
        return []
    told = read_columns(path, "ts:int instrument:str level:str")
    first: dict[str, int] = {}
    for ts, name, level in zip(*(list(column) for column in told.values()), strict=True):
        if level in _ALARMS:
            first.setdefault(name, int(ts))
    return [(ts, name) for name, ts in first.items()]
