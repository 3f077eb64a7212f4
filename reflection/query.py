"""Reading runs: SQL over one run folder, a list of all runs, two runs side by side.

An in-memory DuckDB looks at the Parquet files and changes none of them. A run that was killed, or is still
going on, is read from its segments and its trail.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import duckdb
import pandas as pd
import yaml

from alphatrade.reflection.segments import read_segments
from alphatrade.reflection.trail import trail_tables
from alphatrade.risk.errors import InputError, RunDirError

_TYPES = {"I": "BIGINT", "S": "VARCHAR", "F": "DOUBLE", "D": "DECIMAL(38,9)", "B": "BOOLEAN"}
# Where each view comes from, and its columns when a run has no such file (without features, probes, mark-outs).
_VIEWS = {
    "decisions": (
        "diary/decisions",
        "decision:I ts:I instrument:S step:I mid:F spread:F high:F low:F belief_idx:SMALLINT[] "
        "belief_val:FLOAT[] regime:S regime_confidence:F policy_hash:S exec_topo:S risk_template:S "
        "sigma_norm:F sigma_rank:F sigma_post:SMALLINT sigma_pre:SMALLINT candidates:VARCHAR[] scores:DOUBLE[] "
        "action:S order_ids:VARCHAR[] verdict:S explanation:S",
    ),
    "expost": (
        "diary/expost",
        "decision:I ts:I fills:INTEGER side:TINYINT cost_bps:F realized:D",
    ),
    "beliefs": (
        "belief_snapshots/beliefs",
        "step:I ts:I instrument:S idx:SMALLINT[] val:FLOAT[] regime:S regime_confidence:F cause:S",
    ),
    "orders": (
        "orders",
        "seq:I ts:I instrument:S strategy:S order_id:S event:S side:S type:S qty:D leaves:D price:D "
        "trigger:D reduce_only:B reason:S decision:I",
    ),
    "fills": (
        "fills",
        "seq:I ts:I instrument:S strategy:S order_id:S trade_id:S side:S qty:D price:D fee:D "
        "currency:S liquidity:S position_after:D realized:D decision:I",
    ),
    "marks": (
        "marks",
        "seq:I ts:I instrument:S bid:D ask:D source:S assumed:B",
    ),
    "equity": (
        "equity",
        "ts:I equity:D cash:D exposure:D peak:D drawdown:F",
    ),
    "risk_events": (
        "risk_events",
        "seq:I ts:I kind:S instrument:S order_id:S limit:S value:S bound:S detail:S",
    ),
}
VIEWS = tuple(_VIEWS)

_COUNTS = ("decisions", "orders", "fills", "denied")
_MONEY = ("pnl", "return", "max_drawdown", "fees")
_FIGURES = (
    *("run_id", "policy_hash", "tape_hash", "code_hash", "seed", "events", *_COUNTS),
    *(
        "law_orders",
        "denied_modifications",
        "near_misses",
        "regime_transitions",
        *_MONEY,
        "attribution",
        "diary_coverage",
        "wall_s",
        "events_per_s",
    ),
)


class Comparison(NamedTuple):
    """Two runs: `figures` (what, a, b, same) and `config` (key, a, b), the keys that differ only."""

    figures: pd.DataFrame
    config: pd.DataFrame


def check_run_dir(run_dir: Path) -> Path:
    """
    Return `run_dir` if it is the folder of a run.

    Raises
    ------
    RunDirError
        If there is no such folder, or it holds neither run.yaml nor policy.json nor a diary.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise RunDirError("run folder", str(run_dir), "an existing folder, for instance artifacts/latest")
    if not any((run_dir / name).exists() for name in ("run.yaml", "policy.json", "summary.json", "diary")):
        raise RunDirError("run folder", str(run_dir), "a folder that `alphatrade sim` wrote, with run.yaml in it")
    return run_dir


def open_views(run_dir: Path) -> duckdb.DuckDBPyConnection:
    """
    Return an in-memory DuckDB with one view per file of a run (:data:`VIEWS`), finished or not.

    Each view has the columns of its file and `time`, the event time `ts` as a UTC timestamp.

    Raises
    ------
    RunDirError
        If the folder is not that of a run, or one of its files is damaged.
    """
    run_dir = check_run_dir(run_dir)
    base = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
    trail = trail_tables(run_dir)
    for name, (place, columns) in _VIEWS.items():
        path = run_dir / f"{place}.parquet"
        # A run that ends just now moves its rows from the segments into the file.
        table = None if path.exists() else read_segments(path.with_suffix(""), id_column=None)
        table = trail.get(name) if table is None else table
        try:
            if path.exists():
                source = f"read_parquet('{str(path).replace("'", "''")}')"
            elif table is not None:
                base.register(f"{name}_segments", table)
                source = f"{name}_segments"
            else:
                pairs = (column.split(":") for column in columns.split())
                kinds = ", ".join(f'"{column}" {_TYPES.get(kind, kind)}' for column, kind in pairs)
                base.execute(f"CREATE TABLE {name}_absent ({kinds})")
                source = f"{name}_absent"
            base.execute(f"CREATE VIEW {name} AS SELECT *, make_timestamp_ns(ts) AS time FROM {source}")
        except duckdb.Error as error:
            raise RunDirError(str(path), _first_line(error), f"a whole Parquet file of {name}") from error
    return base


def query(run_dir: Path, sql: str) -> pd.DataFrame:
    """
    Return the answer to a query over the views of a run; it can read this run's files and change none.

    Raises
    ------
    InputError
        If DuckDB refuses the query; one line that says why.
    RunDirError
        As :func:`open_views`.
    """
    with open_views(run_dir) as base:
        try:
            # EXPLAIN ANALYZE runs what it explains, a COPY too, and may write where reading is allowed.
            if any(statement.type != duckdb.StatementType.SELECT for statement in base.extract_statements(sql)):
                raise InputError("sql", sql, "a query: SELECT, WITH, DESCRIBE, SHOW or SUMMARIZE")
            base.execute("SET allowed_directories = $1", [[str(run_dir)]])
            base.execute("SET enable_external_access = false")
            base.execute("SET lock_configuration = true")
            answer = base.sql(sql)
            if answer is None:
                raise InputError("sql", sql, "a query that returns rows")
            frame: pd.DataFrame = answer.df()
            return frame
        except duckdb.Error as error:
            raise InputError("sql", sql, f"a query over {', '.join(VIEWS)} ({_first_line(error)})") from error


def read_json(run_dir: Path, name: str) -> Any:
    """
    Return the content of a JSON or YAML file of a run; None if it is absent.

    Raises
    ------
    RunDirError
        If the file is damaged.
    """
    path = Path(run_dir) / name
    try:
        text = path.read_text(encoding="utf-8")
        return yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunDirError(str(path), _first_line(error), "a readable file, as the run wrote it") from error


def read_mapping(run_dir: Path, name: str) -> dict[str, Any]:
    """Return a file of a run that holds a mapping, empty if absent; errors as :func:`read_json`."""
    value = read_json(run_dir, name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RunDirError(str(Path(run_dir) / name), type(value).__name__, "a mapping of names to values")
    return value


def list_runs(artifacts: Path) -> pd.DataFrame:
    """
    Return one row per run folder below `artifacts`, ordered by date and run id.

    A run without summary is ``unfinished``; a damaged one is ``unreadable``, and does not hide the others.

    Raises
    ------
    RunDirError
        If there is no such folder.
    """
    artifacts = Path(artifacts)
    if not artifacts.is_dir():
        raise RunDirError("artifacts", str(artifacts), "an existing folder of runs")
    rows = []
    for folder in sorted(path.parent for path in artifacts.glob("*/*/run.yaml")):
        if folder.parent.is_symlink() or folder.name.startswith((".replaced-", ".removed-")):
            continue
        try:
            summary = read_mapping(folder, "summary.json")
            run = read_mapping(folder, "run.yaml")
            state = "finished" if summary else "unfinished"
        except RunDirError:
            summary, run, state = {}, {}, "unreadable"
        killed = str(summary.get("killed") or "").split(":")[0]
        row = {
            "date": folder.parent.name,
            "run": folder.name.removeprefix(".partial-")[:16],
            "state": f"killed: {killed}" if killed else state,
        }
        row["tape"] = _tapes(summary or run)
        row["policy"] = str(summary.get("policy_hash", ""))[:8]
        rows.append(row | {key: summary.get(key) for key in (*_COUNTS, *_MONEY, "wall_s")})
    columns = ["date", "run", "state", "tape", "policy", *_COUNTS, *_MONEY, "wall_s"]
    return pd.DataFrame(rows, columns=columns)


def compare_runs(a: Path, b: Path) -> Comparison:
    """
    Return the figures of two runs side by side, and the configuration values in which they differ.

    Raises
    ------
    RunDirError
        If one of them has no summary, or a damaged file.
    """
    sides = []
    for folder in (a, b):
        summary = read_mapping(check_run_dir(folder), "summary.json")
        if not summary:
            raise RunDirError("run folder", str(folder), "a finished run, with summary.json")
        sides.append(summary)
    pairs: dict[str, tuple[Any, Any]] = {"tape": (_tapes(sides[0]), _tapes(sides[1]))}
    pairs |= {key: (sides[0].get(key), sides[1].get(key)) for key in _FIGURES}
    digests = [side.get("digests") or {} for side in sides]
    names = sorted(set(digests[0]) | set(digests[1]))
    pairs |= {f"digest {name}": (digests[0].get(name), digests[1].get(name)) for name in names}
    figures = pd.DataFrame(
        [{"what": k, "a": x, "b": y, "same": "yes" if x == y else "no"} for k, (x, y) in pairs.items()]
    )
    trees = [
        _flat(read_mapping(folder, "policy.json"), "policy") | _flat(read_mapping(folder, "run.yaml"), "run")
        for folder in (a, b)
    ]
    keys = [k for k in sorted(set(trees[0]) | set(trees[1])) if trees[0].get(k) != trees[1].get(k)]
    rows = [{"key": key, "a": trees[0].get(key, "(absent)"), "b": trees[1].get(key, "(absent)")} for key in keys]
    return Comparison(figures, pd.DataFrame(rows, columns=["key", "a", "b"]))


def show(frame: pd.DataFrame, title: str = "", out: TextIO | None = None) -> None:
    """
    Print a table: rich on a terminal, plain aligned text anywhere else.

    Parameters
    ----------
    frame : DataFrame
    title : str
        Printed above the table.
    out : text file, optional
        Standard output unless given.
    """
    out = sys.stdout if out is None else out
    if not out.isatty():
        text = frame.to_string(index=False) if len(frame) else f"(no rows; columns: {', '.join(frame.columns)})"
        print(f"{title}\n{text}" if title else text, file=out)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", header_style="bold", row_styles=["", "dim"])
    for name in frame.columns:
        numeric = pd.api.types.is_numeric_dtype(frame[name])
        table.add_column(Text(str(name)), justify="right" if numeric else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    Console(file=out).print(table)


def _tapes(source: dict[str, Any]) -> str:
    tapes = source.get("tapes") or []
    return ", ".join(str(tape.get("name", "?")) if isinstance(tape, dict) else str(tape) for tape in tapes)


def _flat(tree: Any, path: str) -> dict[str, Any]:
    """Return the leaves of nested mappings, and of lists of them, under dotted paths."""
    if isinstance(tree, list) and any(isinstance(item, dict) for item in tree):
        tree = dict(enumerate(tree))
    if not isinstance(tree, dict):
        return {path: tree}
    return {key: value for name, item in tree.items() for key, value in _flat(item, f"{path}.{name}").items()}


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
