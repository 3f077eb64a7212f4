"""What the report shows, computed from the files of a run; no drawing and no HTML here.

DuckDB does the thinning: of every pixel-wide slice of time the first, lowest, highest and last point stay, so
a curve of half a million rows keeps each spike. Fills are never thinned.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from alphatrade.reflection import report_sql
from alphatrade.reflection.query import check_run_dir, open_views, read_json, read_mapping
from alphatrade.reflection.report_frames import COLUMNS, Base, Span, frame, one, sliced, thin
from alphatrade.reflection.report_learning_data import Learning, load_learning
from alphatrade.reflection.report_stats import Array, Sharpe, sharpe
from alphatrade.risk.errors import RunDirError

STRIPES = 480


@dataclass(frozen=True, slots=True)
class Texts:
    """The JSON and YAML files of a run; `stress` is None if the stress replays were not run."""

    summary: dict[str, Any]
    run: dict[str, Any]
    policy: dict[str, Any]
    latency: dict[str, Any]
    stress: list[dict[str, Any]] | None


@dataclass(frozen=True, slots=True)
class Belief:
    """
    Activity of the belief units.

    Attributes
    ----------
    n, steps : int
        Units, and snapshots looked at.
    share : ndarray, shape (n, COLUMNS)
        Part of the steps of a slice of time in which a unit was active; NaN where there were no steps.
    counts : DataFrame (active, steps)
        How often so many units were active at once.
    """

    n: int
    steps: int
    share: Array
    counts: pd.DataFrame


@dataclass(frozen=True, slots=True)
class ReportData:
    """
    Everything on the page. Times in frames are `t`, epoch milliseconds UTC.

    Attributes
    ----------
    span : tuple of int
        First and last event time, UTC nanoseconds.
    equity, drawdown, hold : DataFrame (t, y)
        Thinned curves; `hold` is the equity of buy-and-hold and `hold_return` its return.
    prices : dict of str to DataFrame (t, y)
        By instrument.
    regimes : dict of str to DataFrame (slice, regime)
        Most frequent regime in each of `STRIPES` slices of time, by instrument.
    fills : DataFrame
        Every fill with the topology and regime of its decision.
    topologies : DataFrame
        One row per topology with counts, PnL and mark-outs.
    shares : DataFrame (slice, exec_topo, share)
        Of the decisions in each of `COLUMNS` slices of time.
    cells : DataFrame (exec_topo, regime, fills, realized, fees, net)
    denied : DataFrame (code, denied, near)
    notable : DataFrame (kind, code, events, first_ts, detail)
        Risk events that are neither denials nor near-misses.
    marks, assumed : int
        Reference prices of the law, and those among them whose half spread is assumed.
    cost_bps : float or None
        Mean cost of the decisions that traded.
    learning : Learning
        What routed, learnt, probed and watched.
    """

    run_dir: Path
    texts: Texts
    capital: float
    currency: str
    span: Span
    sharpe: Sharpe
    equity: pd.DataFrame
    drawdown: pd.DataFrame
    hold: pd.DataFrame
    hold_return: float | None
    prices: dict[str, pd.DataFrame]
    regimes: dict[str, pd.DataFrame]
    fills: pd.DataFrame
    topologies: pd.DataFrame
    shares: pd.DataFrame
    cells: pd.DataFrame
    belief: Belief | None
    denied: pd.DataFrame
    notable: pd.DataFrame
    marks: int
    assumed: int
    cost_bps: float | None
    learning: Learning


def load(run_dir: Path) -> ReportData:
    """
    Read a finished run.

    Raises
    ------
    RunDirError
        If the folder is not that of a finished run, or a file in it is damaged or foreign.
    """
    run_dir = check_run_dir(run_dir)
    texts = _texts(run_dir)
    try:
        with open_views(run_dir) as base:
            base.execute("SET threads = 1")  # `first` and `last` follow the order of the file then
            return _collect(run_dir, base, texts)
    except (duckdb.Error, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        what = f"{type(error).__name__}: {error}"[:200]
        raise RunDirError(str(run_dir), what, "files as `alphatrade sim` writes them") from error


def _texts(run_dir: Path) -> Texts:
    summary, run = read_mapping(run_dir, "summary.json"), read_mapping(run_dir, "run.yaml")
    for name, value in (("summary.json", summary), ("run.yaml", run)):
        if not value:
            raise RunDirError(
                str(run_dir / name), "nothing", "a finished run, with summary.json and run.yaml"
            )
    stress = read_json(run_dir, "stress.json")
    if stress is not None and not (isinstance(stress, list) and all(isinstance(row, dict) for row in stress)):
        raise RunDirError(str(run_dir / "stress.json"), type(stress).__name__, "a list of stress replays")
    policy, latency = read_mapping(run_dir, "policy.json"), read_mapping(run_dir, "latency.json")
    return Texts(summary, run, policy, latency, stress)


def _collect(run_dir: Path, base: Base, texts: Texts) -> ReportData:
    capital = float(texts.run.get("capital") or texts.summary["capital"])
    first, last = one(base, report_sql.SPAN)
    span = (int(first or 0), int(last or 0))
    base.execute(report_sql.PRICES)
    base.execute(report_sql.JOINED)
    names = list(frame(base, "SELECT DISTINCT instrument FROM prices ORDER BY 1")["instrument"])
    prices = {name: thin(base, "prices", "mid", span, {"instrument": name}) for name in names}
    curve = frame(base, "SELECT ts, equity::DOUBLE AS equity FROM equity")
    hold, hold_return = _hold(prices, capital)
    marks, assumed = one(base, "SELECT count(*), count(*) FILTER (assumed) FROM marks")
    policy = texts.policy
    return ReportData(
        run_dir=run_dir,
        texts=texts,
        capital=capital,
        currency=str(texts.run.get("currency") or texts.summary.get("currency") or ""),
        span=span,
        sharpe=sharpe(curve["ts"].to_numpy(), curve["equity"].to_numpy(), capital, _shares(texts.run)),
        equity=thin(base, "equity", "equity", span),
        drawdown=thin(base, "equity", "drawdown", span),
        hold=hold,
        hold_return=hold_return,
        prices=prices,
        regimes={name: sliced(base, report_sql.STRIPES, span, STRIPES, name) for name in names},
        fills=frame(base, report_sql.FILLS),
        topologies=_topologies(base, (policy.get("expost") or {}).get("primary")),
        shares=sliced(base, report_sql.SHARES, span, COLUMNS),
        cells=frame(base, report_sql.CELLS),
        belief=_belief(base, span, (policy.get("belief") or {}).get("n")),
        denied=frame(base, report_sql.DENIED),
        notable=frame(base, report_sql.NOTABLE),
        marks=marks,
        assumed=assumed,
        cost_bps=one(base, "SELECT avg(cost_bps) FROM expost WHERE fills > 0")[0],
        learning=load_learning(run_dir, base, span, texts.summary, texts.run, policy),
    )


def _shares(run: dict[str, Any]) -> bool:
    """Return whether only shares are traded: the base of a share is its symbol."""
    found = run.get("instruments") or {}
    return bool(found) and all(facts.get("base") == name.rpartition(".")[0] for name, facts in found.items())


def _hold(prices: dict[str, pd.DataFrame], capital: float) -> tuple[pd.DataFrame, float | None]:
    """Return the equity of putting equal parts of the capital into each instrument at its first price."""
    curves = [frame.set_index("t")["y"] for frame in prices.values() if len(frame) and frame["y"].iloc[0] > 0]
    if not curves:
        return pd.DataFrame({"t": [], "y": []}), None
    grown = [(curve / curve.iloc[0]).groupby(level=0).last() for curve in curves]
    joined = pd.concat(grown, axis=1).sort_index().ffill().fillna(1.0).mean(axis=1)
    hold = pd.DataFrame({"t": joined.index.to_numpy(), "y": joined.to_numpy() * capital})
    return hold, float(joined.iloc[-1] - 1.0)


def _topologies(base: Base, horizon: object) -> pd.DataFrame:
    known = [column[0] for column in base.execute("SELECT * FROM expost LIMIT 0").description or ()]
    markout = f"markout_{horizon}" if f"markout_{horizon}" in known else "NULL::DOUBLE"
    return frame(base, report_sql.TOPOLOGIES.format(markout=markout))


def _belief(base: Base, span: Span, n: object) -> Belief | None:
    """Return the activity of the belief units, from the snapshots or, without them, from the diary."""
    source = "(SELECT ts, idx FROM beliefs)"
    if one(base, "SELECT count(*) FROM beliefs")[0] == 0:
        source = "(SELECT ts, belief_idx AS idx FROM decisions)"
    steps, largest = one(base, f"SELECT count(*), max(list_max(idx)) FROM {source}")
    if not steps or largest is None:
        return None
    size = max(n if isinstance(n, int) else 0, int(largest) + 1)
    texts = [
        text.replace("{source}", source) for text in (report_sql.ACTIVE, report_sql.STEPS, report_sql.COUNTS)
    ]
    active, total = (sliced(base, text, span, COLUMNS) for text in texts[:2])
    seen = np.full(COLUMNS, np.nan)
    inside = total["slice"].between(0, COLUMNS - 1)
    seen[total["slice"][inside]] = total["n"][inside]
    share = np.zeros((size, COLUMNS))
    active = active[active["slice"].between(0, COLUMNS - 1)]
    share[active["unit"], active["slice"]] = active["n"]
    return Belief(size, int(steps), share / seen, frame(base, texts[2]))
