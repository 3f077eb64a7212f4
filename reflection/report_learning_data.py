"""What the report shows of learning: routing, scores, probes, synapses, drift; no drawing and no HTML here.

What a run does not have, because a mechanism was off or the tape is no world, is empty here and said on the page.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pandas as pd

from alphatrade.reflection import report_learning_sql as sql
from alphatrade.reflection.graph import Floats
from alphatrade.reflection.graph_files import read_sigmas
from alphatrade.reflection.probes import EVENTS
from alphatrade.reflection.query import read_json, read_mapping
from alphatrade.reflection.report_frames import COLUMNS, Base, Span, frame, one, quoted, sliced, thin
from alphatrade.risk.errors import RunDirError

MOST = 4  # instruments, each with figures of its own
MOST_CHARTS = 12
NORMS = 160  # slices of time
SMALL = 600  # slices of time of a figure in small multiples
AFTER = 4  # steps after a planted event that are neither its own nor quiet; a probe may fire one step late
DRIFT = ("ts", "instrument", "stream", "value", "cusum_up", "cusum_down", "page_hinkley", "threshold", "level")


class Probed(NamedTuple):
    """
    One probe in one instrument.

    Attributes
    ----------
    curve : DataFrame (t, y)
        Thinned values.
    steps, fired : int
        Decisions with a value, and those at or above the threshold.
    planted, caught : int
        Events of its kind within these decisions, and those in which it fired; 0 on a tape that is no world.
    outside : int
        Decisions with it fired in no planted event of any kind.
    """

    curve: pd.DataFrame
    steps: int
    fired: int
    planted: int
    caught: int
    outside: int


class Chart(NamedTuple):
    """Thinned statistics (t, y) of one stream, and every outcome (t, y) after which one was beyond the threshold."""

    instrument: str
    stream: str
    up: pd.DataFrame
    down: pd.DataFrame
    page_hinkley: pd.DataFrame
    threshold: pd.DataFrame
    alarms: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Learning:
    """
    What routed, learnt, probed and watched. Times in curves are `t`, epoch milliseconds UTC.

    Attributes
    ----------
    table : dict of str to str
        Tactic of each regime by the policy's table; empty where the policy is not known.
    kinds : dict of str to str
        Topology of each tactic.
    router : str
        What routes: ``table``, ``attention``, ``ewma``, ``linucb``.
    routes : DataFrame (regime, nature, pays, exec_topo, n, traded, total)
        Decisions, those that traded with a known outcome, and the sum of these outcomes, bps. `nature` and `pays`
        (a topology) are null except on worlds that pay by a drawn map.
    switches : int
    scores : dict of str to DataFrame (slice, tactic, score)
        Mean score in each of `COLUMNS` slices of time, by instrument; empty unless the router learns.
    probes : dict of str to dict of str to Probed
        By instrument and probe.
    thresholds : dict of str to dict
        Unit, threshold and needs of each probe, as the run recorded them.
    planted : DataFrame (instrument, event, first_ts, last_ts)
        Of a world.
    norms : dict of str to DataFrame (slice, low, mean, high, rank)
        Lowest, mean and highest norm of the fast weights and mean participation ratio of their factors in each of
        `NORMS` slices of time, by instrument.
    clamped : float
        Share of the decisions at which the norm was at its bound.
    sigmas : dict of str to ndarray, shape (n, n)
        Synapses at the end, post x pre, by the name in the file's name.
    bound : float
        Of their norm.
    fast_weights : bool
        Whether the policy has them on.
    watched : dict
        ``drift.json``; empty where no sentry watched.
    streams : DataFrame (instrument, stream, outcomes, mean, level, largest, threshold, alarms)
    charts : list of Chart
        Streams with statistics, at most `MOST_CHARTS`.
    packets : list of dict
        By file name, under ``file``.
    """

    table: dict[str, str]
    kinds: dict[str, str]
    router: str
    routes: pd.DataFrame
    switches: int
    scores: dict[str, pd.DataFrame]
    probes: dict[str, dict[str, Probed]]
    thresholds: dict[str, Any]
    planted: pd.DataFrame
    norms: dict[str, pd.DataFrame]
    clamped: float
    sigmas: dict[str, Floats]
    bound: float
    fast_weights: bool
    watched: dict[str, Any]
    streams: pd.DataFrame
    charts: list[Chart]
    packets: list[dict[str, Any]]


def load_learning(
    run_dir: Path, base: Base, span: Span, summary: dict[str, Any], run: dict[str, Any], policy: dict[str, Any]
) -> Learning:
    """
    Read what a run says of learning.

    Raises
    ------
    RunDirError
        If a file of it is damaged or foreign.
    """
    if "canary" in run:
        base.execute(sql.OWN, [str(run.get("policy_hash"))])
    known = [row[0] for row in base.execute("DESCRIBE decisions").fetchall()]
    names = list(frame(base, "SELECT DISTINCT instrument FROM decisions ORDER BY 1")["instrument"])
    _truth(run_dir, base, summary, names)
    planted, router, flags = frame(base, sql.PLANTED), policy.get("router") or {}, policy.get("flags") or {}
    kind = "attention" if flags.get("linear_attention") else str(router.get("kind") or "table")
    thresholds = run.get("probes") or {}
    watched, streams, charts = _drift(run_dir, base, span)
    drawn, bound = names[:MOST], float(((policy.get("learning") or {}).get("fast_weights") or {}).get("bound", 1.0))
    norms = {name: sliced(base, sql.NORMS, span, NORMS, name) for name in drawn if "sigma_norm" in known}
    norms = {name: rows for name, rows in norms.items() if len(rows)}
    return Learning(
        table=dict(router.get("table") or {}),
        kinds={name: str(spec["kind"]) for name, spec in (policy.get("topologies") or {}).items()},
        router=kind,
        routes=_routes(base, (policy.get("expost") or {}).get("primary")),
        switches=int(one(base, sql.SWITCHES)[0] or 0),
        scores={} if kind == "table" else {name: sliced(base, sql.SCORES, span, COLUMNS, name) for name in drawn},
        probes={name: _probes(base, span, name, thresholds, known, planted) for name in drawn},
        thresholds=thresholds,
        planted=planted,
        norms=norms,
        clamped=float(one(base, sql.CLAMPED.format(bound=repr(0.9999 * bound)))[0] or 0.0) if norms else 0.0,
        sigmas=read_sigmas(run_dir) if any(run_dir.glob("sigma*.parquet")) else {},
        bound=bound,
        fast_weights=bool(flags.get("fast_weights")),
        watched=watched,
        streams=streams,
        charts=charts,
        packets=_packets(run_dir),
    )


def _truth(run_dir: Path, base: Base, summary: dict[str, Any], names: list[str]) -> None:
    """Make the view `truth` of all worlds in the run."""
    tapes = [tape for tape in summary.get("tapes") or [] if isinstance(tape, dict)]
    of_tape = {str(tape.get("name")): str(tape.get("instrument")) for tape in tapes}
    parts: list[str] = []
    base.execute("CREATE TEMP TABLE worlds (source VARCHAR, instrument VARCHAR)")
    for path in sorted(run_dir.glob("truth*.parquet")):
        view = f"truth_{len(parts)}"
        columns = _register(base, path, view, ("ts",))
        instrument = of_tape.get(path.stem.removeprefix("truth-"))
        if path.stem == "truth":
            instrument = next(iter(of_tape.values()), names[0] if names else "")
        base.execute("INSERT INTO worlds VALUES (?, ?)", [view, instrument])
        wanted = ", ".join(name if name in columns else f"NULL::VARCHAR AS {name}" for name in sql.TRUTH)
        parts.append(f"SELECT instrument, ts, {wanted} FROM {view}, worlds WHERE source = '{view}'")
    nothing = ", ".join(f"''::VARCHAR AS {name}" for name in sql.TRUTH)
    text = " UNION ALL ".join(parts) or f"SELECT ''::VARCHAR AS instrument, 0::BIGINT AS ts, {nothing} LIMIT 0"
    base.execute(f"CREATE TEMP TABLE truth AS {text}")


def _register(base: Base, path: Path, view: str, wanted: tuple[str, ...]) -> list[str]:
    """Make a view of a Parquet file that has these columns at least; return all of them."""
    expected = f"a whole Parquet file with {', '.join(wanted)}"
    try:
        base.execute(f"CREATE TEMP VIEW {view} AS SELECT * FROM read_parquet('{str(path).replace("'", "''")}')")
        columns = [str(row[0]) for row in base.execute(f"DESCRIBE {view}").fetchall()]
        base.execute(f"SELECT count(*) FROM {view} WHERE ts < 0")
    except duckdb.Error as error:
        raise RunDirError(str(path), str(error).strip().splitlines()[0][:200], expected) from error
    lacking = [name for name in wanted if name not in columns]
    if lacking:
        raise RunDirError(str(path), f"no {', '.join(lacking)}", expected)
    return columns


def _routes(base: Base, horizon: object) -> pd.DataFrame:
    known = [row[0] for row in base.execute("DESCRIBE expost").fetchall()]
    name = f"markout_{horizon}"
    return frame(base, sql.ROUTES.format(markout=name if name in known else "NULL::DOUBLE"))


def _probes(
    base: Base, span: Span, instrument: str, thresholds: dict[str, Any], known: list[str], planted: pd.DataFrame
) -> dict[str, Probed]:
    found = {}
    for name, facts in thresholds.items():
        value = quoted(f"p_{name}")
        rows = frame(base, sql.PROBED.format(value=value), instrument) if f"p_{name}" in known else pd.DataFrame()
        if rows.empty:
            continue
        ts, fired = rows["ts"].to_numpy(), rows["y"].to_numpy() >= float(facts["threshold"])
        events = planted[(planted["instrument"] == instrument) & (planted["last_ts"] >= ts[0])]
        curve = thin(base, "decisions", value, span, {"instrument": instrument}, SMALL)
        own = events[events["event"] == EVENTS.get(name)]
        inside = sum(int(fired[slice(*_steps(ts, *pair, 1))].any()) for pair in _pairs(own))
        outside = fired.copy()
        for pair in _pairs(events):
            outside[slice(*_steps(ts, *pair, AFTER))] = False
        counts = (len(rows), int(fired.sum()), len(own), inside, int(outside.sum()))
        found[name] = Probed(curve.dropna(subset="y"), *counts)
    return found


def _pairs(events: pd.DataFrame) -> list[tuple[int, int]]:
    return list(zip(events["first_ts"].astype(int), events["last_ts"].astype(int), strict=True))


def _steps(ts: Any, first: int, last: int, after: int) -> tuple[int, int]:
    """Return the decisions of an event, from the one that ends a step with its first quote, and some after it."""
    return int(np.searchsorted(ts, first)), int(np.searchsorted(ts, last)) + 1 + after


def _drift(run_dir: Path, base: Base, span: Span) -> tuple[dict[str, Any], pd.DataFrame, list[Chart]]:
    watched, path = read_mapping(run_dir, "drift.json"), run_dir / "drift.parquet"
    if not path.exists():
        return watched, pd.DataFrame(), []
    _register(base, path, "drift", DRIFT)
    base.execute(sql.CHARTS)
    streams, charts = frame(base, sql.STREAMS), []
    for row in streams[streams["threshold"].notna()].head(MOST_CHARTS).itertuples():
        where = {"instrument": row.instrument, "stream": row.stream}
        up, down, page_hinkley, threshold = (
            thin(base, "charts", name, span, where, SMALL)
            for name in ("cusum_up", "cusum_down", "page_hinkley", "threshold")
        )
        alarms = frame(base, sql.ALARMS, row.instrument, row.stream)
        charts.append(Chart(row.instrument, row.stream, up, down, page_hinkley, threshold, alarms))
    return watched, streams, charts


def _packets(run_dir: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(run_dir.glob("packets/*.json")):
        packet = read_json(run_dir, f"packets/{path.name}")
        if not isinstance(packet, dict):
            raise RunDirError(str(path), type(packet).__name__, "a theory packet")
        found.append({**packet, "file": path.name})
    return found
