"""What the console shows: read from a node's files by a thread of its own, as they grow; nothing is written."""

import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, Self, cast
from urllib.request import ProxyHandler, build_opener

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from prometheus_client.parser import text_string_to_metric_families

from alphatrade.nodes.beats import Beat, last_beat
from alphatrade.nodes.console.actions import Place
from alphatrade.nodes.ledger_home import ledger_dir
from alphatrade.nodes.metrics import PREFIX
from alphatrade.nodes.paper.desk import RUN
from alphatrade.reflection import report_plots, report_sql
from alphatrade.reflection.feedback import Case
from alphatrade.reflection.ledger_files import FILE
from alphatrade.reflection.report_data import STRIPES, ReportData
from alphatrade.reflection.report_frames import frame, sliced, thin
from alphatrade.reflection.rim.edits import describe
from alphatrade.reflection.segments import list_segments
from alphatrade.reflection.trail import TRAIL, Trail
from alphatrade.risk.columns import table
from alphatrade.risk.errors import AlphaTradeError
from alphatrade.risk.kill import KillStatus, latch_dir, status
from alphatrade.risk.record import TABLES

EVERY_S = 0.4  # between two looks
SLOW_S = 2.0  # between two looks at what changes seldom
DRAW_S = 3.0  # between two drawings of the curves: the dearest of it, for the browser too
MOST = 40  # orders, entries, proposals
POINTS = 500  # slices of time of a curve, of each up to four points
_OPENER = build_opener(ProxyHandler({}))  # a node is near; nobody's proxy has to know of it
_COLUMNS = ["decision", "ts", "instrument", "mid", "regime", "exec_topo", "candidates", "scores", "explanation"]


class Proposed(NamedTuple):
    """A proposal: its id, what it would change, its rationale, and whether it waits for a person."""

    id: str
    words: str
    why: str
    waits: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """
    One look; `number` grows with each, `drawn` with each in which a curve changed.

    Where the metrics that were named are of another node, `stranger` is whose, and `metrics` has none of them.
    """

    number: int = 0
    drawn: int = 0
    beat: Beat | None = None
    run_dir: Path | None = None
    latch: KillStatus | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    scores: tuple[tuple[str, float], ...] = ()
    orders: tuple[Mapping[str, Any], ...] = ()
    metrics: Mapping[str, tuple[tuple[Mapping[str, str], float], ...]] = field(default_factory=dict)
    alarms: tuple[Any, ...] = ()
    ledger: tuple[tuple[int, str, str], ...] = ()
    proposals: tuple[Proposed, ...] = ()
    stranger: str = ""
    trouble: str = ""


class Watch:
    """
    Looks at a node again and again while it is entered; `seen` is its latest look.

    Parameters
    ----------
    place : Place
    metrics : str
        Address of the node's metrics.
    """

    def __init__(self, place: Place, metrics: str) -> None:
        self._place, self._metrics = place, metrics
        self._folder = latch_dir(place.state, place.env, place.account)
        self._end, self._thread = threading.Event(), threading.Thread(target=self._go, daemon=True)
        self.seen = Seen()
        self._run: Path | None = None
        self._slow, self._slow_at, self._ledger_size = dict[str, Any](), 0.0, -1
        self._begin(None)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._end.set()
        self._thread.join(2.0)

    def _begin(self, run: Path | None) -> None:
        self._run, self._known = run, set[Path]()
        self._trail = Trail(Path("none") if run is None else run / TRAIL)
        self._diary: list[pa.Table] = []
        self._curves: dict[str, Any] = {}
        self._drawn_at, self._fresh = -DRAW_S, True

    def _go(self) -> None:
        while not self._end.wait(EVERY_S if self.seen.number else 0.0):
            try:
                self.seen = self.look()
            except Exception as error:  # a file that is half there, a run that just ends: look again
                number = self.seen.number + 1
                self.seen = Seen(
                    number, self.seen.drawn, last_beat(self._folder), trouble=f"{type(error).__name__}: {error}"
                )

    def look(self) -> Seen:
        """Return what there is now."""
        run = self._run_dir()
        if run != self._run:
            self._begin(run)
        self._fresh |= run is not None and self._grown(run)
        if run is not None and self._fresh and time.monotonic() - self._drawn_at > DRAW_S:
            self._curves, self._drawn_at, self._fresh = self._draw(run), time.monotonic(), False
        if time.monotonic() - self._slow_at > SLOW_S:
            self._slow, self._slow_at = self._seldom(), time.monotonic()
        place, before = self._place, self.seen
        changed = self._curves.get("figures") is not before.figures
        return Seen(
            before.number + 1, before.drawn + changed, last_beat(self._folder), run,
            status(place.state, place.env, place.account), **self._curves, **self._slow,
        )  # fmt: skip

    def _run_dir(self) -> Path | None:
        try:
            named = Path(json.loads((self._folder / RUN).read_text("utf-8"))["folder"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        final = named.with_name(named.name.removeprefix(".partial-"))
        return next((path for path in (named, final) if path.is_dir()), None)

    def _grown(self, run: Path) -> bool:
        """Take new rows of the trail and new segments of the diary; return whether there were any."""
        grown = self._trail.more()
        whole = run / "diary" / "decisions.parquet"
        paths = [whole] if whole.exists() else [one.path for one in list_segments(whole.with_suffix(""))]
        if whole in paths and whole not in self._known:
            self._diary, self._known = [], set()
        for path in paths:
            if path not in self._known:
                self._diary.append(pq.ParquetFile(path).read(columns=_COLUMNS))
                self._known.add(path)
                grown = True
        if len(self._diary) > 64:
            self._diary = [pa.concat_tables(self._diary).combine_chunks()]
        return grown

    def _rows(self, run: Path, name: str) -> pa.Table:
        path = run / f"{name}.parquet"
        return pq.ParquetFile(path).read() if path.exists() else self._trail.table(name)

    def _draw(self, run: Path) -> dict[str, Any]:
        """Draw what the report draws, of a run that goes on."""
        decisions = pa.concat_tables(self._diary) if self._diary else None
        rows = {name: self._rows(run, name) for name in TABLES}
        last = rows["orders"].slice(max(0, rows["orders"].num_rows - 400)).to_pylist()
        shown = {row["order_id"]: row for row in last}
        made: dict[str, Any] = {"orders": tuple(list(shown.values())[::-1][:MOST])}
        if decisions is None or not rows["equity"].num_rows:
            return made | {"figures": {}, "scores": ()}
        with duckdb.connect(":memory:") as base:
            base.execute("SET threads = 1")
            for name, found in (rows | {"decisions": decisions}).items():
                base.register(name, found)
            base.register("marks", table("seq:i ts:i instrument:s bid:d ask:d source:s assumed:b", ()))
            data = _data(base)
        figures = {"equity": report_plots.equity(data).plain}
        for at, name in enumerate(list(data.prices)[:1]):
            figures["price"] = report_plots.price(data, at, name).plain
        (tail,) = decisions.slice(decisions.num_rows - 1).to_pylist()
        pairs = zip(tail["candidates"] or (), tail["scores"] or (), strict=False)
        return made | {"figures": figures, "scores": tuple(sorted(pairs, key=lambda one: -one[1]))}

    def _seldom(self) -> dict[str, Any]:
        found = dict(self._slow)
        with suppress(Exception):  # what cannot be asked keeps its last answer; the age of the beat tells the rest
            found |= self._measured()
        if self._place.alertmanager:
            from alphatrade.nodes.alarms import alarms

            with suppress(Exception):
                found["alarms"] = tuple(alarms(self._place.alertmanager))
        file = ledger_dir() / FILE
        size = file.stat().st_size if file.is_file() else 0
        if size != self._ledger_size:
            self._ledger_size = size
            found |= _ledger() if size else {"ledger": (), "proposals": ()}
        return found

    def _measured(self) -> dict[str, Any]:
        with _OPENER.open(self._metrics, timeout=0.5) as answer:
            text = answer.read(2**20).decode()
        found: dict[str, Any] = {}
        for family in text_string_to_metric_families(text):
            for one in family.samples:
                found.setdefault(one.name, []).append((one.labels, one.value))
        whose = next((f"{labels['env']}/{labels['account']}" for labels, _ in found.get(f"{PREFIX}info", ())), "")
        if whose and whose != f"{self._place.env}/{self._place.account}":
            return {"stranger": whose, "metrics": {}}
        return {"stranger": "", "metrics": {name: tuple(rows) for name, rows in found.items()}}


def _data(base: duckdb.DuckDBPyConnection) -> ReportData:
    """Return as much of a report's data as its figures of equity and price ask for."""
    first, last = base.execute(report_sql.SPAN).fetchone() or (0, 0)
    span = int(first), int(last)
    base.execute(report_sql.PRICES)
    base.execute(report_sql.JOINED)
    names = list(frame(base, "SELECT DISTINCT instrument FROM prices ORDER BY 1")["instrument"])
    (capital,) = base.execute("SELECT equity::DOUBLE FROM equity ORDER BY ts LIMIT 1").fetchone() or (0.0,)
    return cast(ReportData, SimpleNamespace(
        span=span, capital=capital or 1.0, currency="", hold=pd.DataFrame({"t": [], "y": []}),
        equity=thin(base, "equity", "equity", span, None, POINTS),
        drawdown=thin(base, "equity", "drawdown", span, None, POINTS),
        prices={name: thin(base, "prices", "mid", span, {"instrument": name}, POINTS) for name in names},
        regimes={name: sliced(base, report_sql.STRIPES, span, STRIPES, name) for name in names},
        fills=frame(base, report_sql.FILLS),
    ))  # fmt: skip


def _ledger() -> dict[str, Any]:
    """Return the latest entries and proposals of the ledger, the latest first; of one that is damaged, why it is."""
    from alphatrade.reflection.ledger import Ledger

    try:
        chain, entries = Ledger(ledger_dir()).read(whole=False)
    except AlphaTradeError as error:
        return {"ledger": ((-1, "damaged", str(error)),), "proposals": ()}
    cases = list(chain.feedback.cases.values())[: -MOST - 1 : -1]
    return {
        "ledger": tuple([(one.seq, one.kind, _words(one.body)) for one in entries[: -MOST - 1 : -1]]),
        "proposals": tuple([_proposal(case) for case in cases]),
    }


def _proposal(case: Case) -> Proposed:
    waits = case.open and case.ruling is not None
    if case.rollback is not None:
        became = "taken back"
    elif waits or case.ruling is None:
        became = "waits for a person" if waits else "not ruled on"
    else:
        became = case.phase or ("signed off" if case.granted else "refused")
    own = case.proposal
    return Proposed(own.id, f"{own.id[:8]} {became}: {describe(own.edit)}", own.rationale, waits)


def _words(body: Mapping[str, Any]) -> str:
    return ", ".join([f"{name} {value}" for name, value in body.items() if isinstance(value, str | int | float)])[:300]
