"""The run of a node, read as it grows: what the console draws of it is kept thinned, and nothing else is kept."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from alphatrade.nodes.console.thinned import Curve, Ints, Minds, Regimes
from alphatrade.nodes.paper.desk import RUN
from alphatrade.reflection import report_plots
from alphatrade.reflection.report_data import ReportData
from alphatrade.reflection.segments import list_segments
from alphatrade.reflection.trail import TRAIL, Trail
from alphatrade.risk.record import TABLES

DRAW_S = 3.0  # between two drawings of the curves: the dearest of it, for the browser too
MOST = 40  # orders that are listed
FILLS = 5_000  # that are drawn: the latest
_ORDERS = 400  # whose latest event is known
_BATCH = 65_536  # rows that are read at a time
_COLUMNS = {
    "orders": ["seq", "ts", "order_id", "event", "side", "qty"],
    "fills": ["seq", "ts", "instrument", "side", "qty", "price", "order_id", "decision"],
    "equity": ["ts", "equity", "drawdown"],
}
_DECISIONS = ["row", "decision", "ts", "instrument", "mid", "regime", "exec_topo"]
_NONE = pd.DataFrame({"t": [], "y": []})


class RunSeen(NamedTuple):
    """
    A run.

    Attributes
    ----------
    drawn : int
        Grows where a figure changed.
    folder : Path or None
        Of the run; None: there is none.
    figures : mapping
        What Plotly calls data and layout, by name.
    orders : tuple of mapping
        The latest ones, each as its latest event has it.
    scores : tuple of (str, float)
        Of the topologies at the latest decision, the best first.
    scored : int
        When that was, in the node's time, UTC ns.
    trouble : str
        Why it could not be read just now.
    """

    drawn: int = 0
    folder: Path | None = None
    figures: Mapping[str, Any] = {}
    orders: tuple[Mapping[str, Any], ...] = ()
    scores: tuple[tuple[str, float], ...] = ()
    scored: int = 0
    trouble: str = ""


def told(folder: Path) -> Mapping[str, Any]:
    """Return what the latest node has said of itself in the folder of its account; nothing if none has."""
    try:
        found = json.loads((folder / RUN).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Running:
    """
    Looks for the run of an account, and at it.

    Parameters
    ----------
    folder : Path
        Of the account.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._of: tuple[Path, int] | None = None
        self._begin(0)

    def _begin(self, drawn: int) -> None:
        self._files = None if self._of is None else Files(self._of[0])
        self._drawn_at, self._fresh = -DRAW_S, False
        self._seen = RunSeen(drawn, None if self._of is None else self._of[0])

    def __call__(self) -> RunSeen:
        """Return what there is of the latest run; of one that is not yet known, all of it is read."""
        of = self._run()
        if of != self._of:
            self._of = of
            self._begin(self._seen.drawn + 1)
        try:
            self._look()
        except Exception as error:  # what it has been so far is shown, and why it is not more
            return self._seen._replace(trouble=f"{type(error).__name__}: {error}")
        return self._seen

    def _look(self) -> None:
        files = self._files
        if files is None:
            return
        self._fresh |= files.grown()
        if self._fresh and time.monotonic() - self._drawn_at > DRAW_S:
            self._seen = self._seen._replace(
                drawn=self._seen.drawn + 1, figures=files.draw(), scores=files.scores, scored=files.scored,
                orders=tuple(list(files.orders.values())[: -MOST - 1 : -1]),
            )  # fmt: skip
            self._drawn_at, self._fresh = time.monotonic(), False

    def _run(self) -> tuple[Path, int] | None:
        """Return the folder of the run, and what tells it from another one in the same place."""
        try:
            named, written = Path(told(self._folder)["folder"]), (self._folder / RUN).stat().st_mtime_ns
        except (OSError, KeyError, TypeError):
            return None
        final = named.with_name(named.name.removeprefix(".partial-"))
        return next(((path, written) for path in (named, final) if path.is_dir()), None)


class Files:
    """
    What a run leaves, finished or not.

    Parameters
    ----------
    run : Path

    Attributes
    ----------
    orders, scores, scored
        As of :class:`RunSeen`; the orders by id.
    """

    def __init__(self, run: Path) -> None:
        self._run, self._trail, self._whole = run, Trail(run / TRAIL), set[str]()
        self._last = dict.fromkeys((*_COLUMNS, "decisions"), -1)  # first value of the latest row that was taken
        self._span: tuple[int, int] | None = None
        self._equity, self._drawdown, self._capital = Curve(), Curve(), 0.0
        self._fills, self._minds = pd.DataFrame(), Minds()
        self._prices: dict[str, Curve] = {}
        self._regimes: dict[str, Regimes] = {}
        self.orders: dict[str, Mapping[str, Any]] = {}
        self.scores: tuple[tuple[str, float], ...] = ()
        self.scored = 0

    def grown(self) -> bool:
        """Take what is new; return whether anything was."""
        grown = False
        while self._trail.more():
            for name in TABLES:
                rows = self._trail.let_go(name)
                grown |= name in _COLUMNS and self._take(name, rows)
        for name in _COLUMNS.keys() - self._whole:
            path = self._run / f"{name}.parquet"
            if path.exists():
                grown |= self._take(name, pq.ParquetFile(path).read(columns=_COLUMNS[name]))
                self._whole.add(name)
        return self._decided() or grown

    def _take(self, name: str, rows: pa.Table) -> bool:
        """Take the rows of a table that were not taken yet: it is read anew where a trail begins anew, or is over."""
        key = _COLUMNS[name][0]
        rows = rows.filter(rows[key].to_numpy() > self._last[name]).select(_COLUMNS[name])
        if not rows.num_rows:
            return False
        self._last[name] = rows[key][-1].as_py()
        {"orders": self._ordered, "fills": self._filled, "equity": self._valued}[name](rows)
        return True

    def _ordered(self, rows: pa.Table) -> None:
        for row in rows.slice(max(0, rows.num_rows - 10 * _ORDERS)).to_pylist():
            self.orders[row["order_id"]] = row
        for name in list(self.orders)[:-_ORDERS]:
            del self.orders[name]

    def _filled(self, rows: pa.Table) -> None:
        fresh = rows.slice(max(0, rows.num_rows - FILLS)).to_pandas()
        fresh = fresh.assign(t=fresh["ts"] / 1e6, decision=fresh["decision"].fillna(-1).astype(np.int64))
        fresh = fresh.astype({"qty": float, "price": float})
        self._fills = pd.concat([self._fills, fresh], ignore_index=True).tail(FILLS)

    def _valued(self, rows: pa.Table) -> None:
        t, equity = rows["ts"].to_numpy(), rows["equity"].cast(pa.float64()).to_numpy()
        self._capital = self._capital or float(equity[0])
        self._equity.add(t, equity)
        self._drawdown.add(t, rows["drawdown"].to_numpy())
        self._spans(t)

    def _spans(self, t: Ints) -> None:
        first, last = (int(t[0]), int(t[-1])) if self._span is None else self._span
        self._span = min(first, int(t[0])), max(last, int(t[-1]))

    def _decided(self) -> bool:
        """Take new decisions: of segments, however they were joined, or of the file that they become."""
        whole, last = self._run / "diary" / "decisions.parquet", self._last["decisions"]
        latest = None
        try:
            if whole.exists() and "decisions" not in self._whole:
                latest = self._decisions(whole)
                self._whole.add("decisions")
            elif "decisions" not in self._whole:
                for one in list_segments(whole.with_suffix("")):
                    if one.first + one.rows - 1 > self._last["decisions"]:
                        latest = self._decisions(one.path)
        except FileNotFoundError:  # it was joined just now; the next look finds where its rows are
            return self._last["decisions"] > last
        if latest is not None and self._last["decisions"] > last:
            self._score(latest)
        return self._last["decisions"] > last

    def _decisions(self, path: Path) -> pq.ParquetFile:
        file = pq.ParquetFile(path)
        for batch in file.iter_batches(_BATCH, columns=_DECISIONS):
            rows = pa.Table.from_batches([batch])
            rows = rows.filter(rows["row"].to_numpy() > self._last["decisions"])
            if rows.num_rows:
                self._decision(rows.to_pandas())
        return file

    def _decision(self, rows: pd.DataFrame) -> None:
        self._last["decisions"] = int(rows["row"].iloc[-1])
        self._spans(rows["ts"].to_numpy())
        self._minds.add(rows["decision"].to_numpy(), rows["exec_topo"], rows["regime"])
        for name, own in rows.groupby("instrument"):
            t = own["ts"].to_numpy()
            self._prices.setdefault(str(name), Curve()).add(t, own["mid"].to_numpy(float))
            self._regimes.setdefault(str(name), Regimes()).add(t, own["regime"])

    def _score(self, file: pq.ParquetFile) -> None:
        """Take the scores of the latest decision; of its own group of rows only."""
        rows = file.read_row_group(file.num_row_groups - 1, columns=["ts", "candidates", "scores"])
        (tail,) = rows.slice(rows.num_rows - 1).to_pylist()
        pairs = zip(tail["candidates"] or (), tail["scores"] or (), strict=False)
        self.scores, self.scored = tuple(sorted(pairs, key=lambda one: -one[1])), tail["ts"]

    def draw(self) -> dict[str, Any]:
        """Draw what the report draws, of a run that goes on."""
        equity = self._equity.frame()
        if self._span is None or equity.empty:
            return {}
        fills = self._fills
        if not fills.empty:
            minds = self._minds.of(fills["decision"].to_numpy())
            fills = fills.reset_index(drop=True).join(minds)
        names = sorted(name for name, curve in self._prices.items() if not curve.frame().empty)[:1]
        data = cast(ReportData, SimpleNamespace(
            span=self._span, capital=self._capital or 1.0, currency="", hold=_NONE, equity=equity,
            drawdown=self._drawdown.frame(), prices={name: self._prices[name].frame() for name in names},
            regimes={name: self._regimes[name].stripes(self._span) for name in names},
            fills=fills if not fills.empty else pd.DataFrame(columns=["t", "instrument", "side", "price"]),
        ))  # fmt: skip
        figures = {"equity": report_plots.equity(data).plain}
        return figures | ({"price": report_plots.price(data, 0, names[0]).plain} if names else {})
