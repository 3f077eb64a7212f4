"""SQL over finished and killed runs, one order explained, runs listed and compared."""

import io
import json
import sys
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from make_run import make_run

from alphatrade.reflection.explain import explain_order
from alphatrade.reflection.query import VIEWS, compare_runs, list_runs, open_views, query, show
from alphatrade.risk.errors import InputError, RunDirError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    return make_run(tmp_path_factory.mktemp("runs") / "2026-01-01" / "aaaa", 600)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left of a run that was killed."""
    return make_run(tmp_path_factory.mktemp("runs") / "2026-01-01" / ".partial-bbbb", 600, finished=False)


def test_every_view_has_its_rows_and_a_utc_time(run: Path) -> None:
    """Each view equals its file; `time` is `ts` in UTC whatever the machine's zone."""
    for name in VIEWS:
        path = next(run.rglob(f"{name}.parquet"))
        assert query(run, f"SELECT count(*) AS n FROM {name}")["n"][0] == pq.read_metadata(path).num_rows > 0
    first = query(run, "SELECT min(time) AS t, min(ts) AS ts FROM decisions").iloc[0]
    assert first["t"] == pd.Timestamp(first["ts"]) == pd.Timestamp("2018-01-01")


def test_views_can_be_joined(run: Path) -> None:
    """The example of the documentation: fees by topology."""
    frame = query(run, """SELECT exec_topo, sum(fee) AS fees FROM fills JOIN decisions USING (decision)
                          GROUP BY exec_topo ORDER BY exec_topo""")  # fmt: skip
    fees = float(json.loads((run / "summary.json").read_text())["fees"])
    assert frame["fees"].astype(float).sum() == pytest.approx(fees)


def test_a_killed_run_is_read_from_its_segments(run: Path, killed: Path) -> None:
    """Same rows as the finished one, no half-written file, empty views for what was never written."""
    columns = "decision, ts, regime, belief_idx, order_ids, explanation"
    sql = f"SELECT {columns} FROM decisions ORDER BY row"
    pd.testing.assert_frame_equal(query(killed, sql), query(run, sql))
    assert query(killed, "SELECT count(*) AS n FROM beliefs")["n"][0] == 600
    assert query(killed, "SELECT fee, decision, time FROM fills").empty
    segment = sorted((killed / "diary" / "decisions").glob("*.parquet"))[1]
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-100])
    try:
        with pytest.raises(RunDirError, match=segment.name):
            open_views(killed)
    finally:
        segment.write_bytes(whole)


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{out}'",
        "SELECT 1; COPY (SELECT 1) TO '{out}'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'",
        "ATTACH '{out}' AS other",
        "SET enable_external_access = true",
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM '{secret}'",
    ],
)
def test_a_query_only_reads_and_only_its_run(run: Path, sql: str, tmp_path: Path) -> None:
    """Nothing is written, inside the run's folder or outside, and no other file is read."""
    (tmp_path / "secret.csv").write_text("a\n1\n")
    for out in (tmp_path / "out", run / "out"):
        with pytest.raises(InputError) as caught:
            query(run, sql.format(out=out, secret=tmp_path / "secret.csv"))
        assert "\n" not in str(caught.value)
        assert not out.exists()


@pytest.mark.parametrize("sql", ["SHOW TABLES", "DESCRIBE fills", "SUMMARIZE fills", "WITH f AS (FROM fills) FROM f"])
def test_questions_are_answered_from_wherever_they_are_asked(
    run: Path, sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a relative path and behind a link."""
    (tmp_path / "latest").symlink_to(run)
    monkeypatch.chdir(tmp_path)
    assert len(query(Path("latest"), sql)) == len(query(run, sql)) > 0


def test_tapes_are_compared_key_by_key(tmp_path: Path) -> None:
    sides = [make_run(tmp_path / name, 60) for name in ("a", "b")]
    for side, hours in zip(sides, (4, 5), strict=True):
        record = yaml.safe_load((side / "run.yaml").read_text())
        tape = {"name": "world", "spec": {"source": "world", "hours": hours}}
        (side / "run.yaml").write_text(yaml.safe_dump(record | {"tapes": [tape]}))
    _, config = compare_runs(*sides)
    assert config.to_numpy().tolist() == [["run.tapes.0.spec.hours", 4, 5]]


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT * FROM nope", "", "SELECT 'x", "SELECT nope FROM fills"])
def test_bad_sql_is_one_line(run: Path, sql: str) -> None:
    """The query and DuckDB's own reason, without a traceback."""
    with pytest.raises(InputError) as caught:
        query(run, sql)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("sql: got")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, run: Path) -> None:
    """Missing, foreign, and with a damaged or foreign file in it."""
    with pytest.raises(RunDirError, match="nowhere"):
        open_views(tmp_path / "nowhere")
    with pytest.raises(RunDirError, match="alphatrade sim"):
        open_views(tmp_path)
    (tmp_path / "run.yaml").write_text("seed: 1")
    whole = (run / "fills.parquet").read_bytes()
    for content in (whole[:500], b"", (run / "latency.json").read_bytes()):
        (tmp_path / "fills.parquet").write_bytes(content)
        with pytest.raises(RunDirError, match=r"fills\.parquet") as caught:
            open_views(tmp_path)
        assert "\n" not in str(caught.value)


def test_an_order_is_explained(run: Path) -> None:
    """All of the order's numbers appear: decision, belief, topology, events, fills, outcome."""
    fill = query(run, "SELECT * FROM fills WHERE realized <> 0 AND decision > 60 ORDER BY seq LIMIT 1").iloc[0]
    row = query(run, f"SELECT * FROM decisions WHERE decision = {fill['decision']}").iloc[0]
    text = explain_order(run, fill["order_id"])
    wanted = [
        f"Order {fill['order_id']}", f"Decision {fill['decision']}", f"{len(row['belief_idx'])} of 128 units",
        row["regime"], f"topology    {row['exec_topo']}", row["explanation"], "verdict     allow",
        "submitted", "filled", str(Decimal(str(fill["fee"]))), "realized",
        "+5    steps", "the drift sentry watches this one", f"probes      surge {row['p_surge']:g}",
    ]  # fmt: skip
    assert [word for word in wanted if word not in text] == []
    assert ("(fired at 4)" in text) == (row["p_surge"] >= 4)


def test_a_denied_order_says_why(run: Path) -> None:
    """The reason of the law in full."""
    denied = query(run, "SELECT order_id, reason FROM orders WHERE event = 'denied' LIMIT 1").iloc[0]
    text = explain_order(run, denied["order_id"])
    assert denied["reason"] in text
    assert "ended denied" in text
    assert "Fills\n  none" in text


def test_an_order_of_a_killed_run_and_an_unknown_one(run: Path, killed: Path) -> None:
    """What is on disk is told; what is not is named."""
    name = query(killed, "SELECT unnest(order_ids) AS o FROM decisions LIMIT 1")["o"][0]
    assert "no event is on disk" in explain_order(killed, name)
    with pytest.raises(RunDirError, match=r"O-nope.*for instance O-0"):
        explain_order(run, "O-nope")


def test_runs_are_listed(tmp_path: Path) -> None:
    """Finished, unfinished and damaged runs; the link to the latest is not counted twice."""
    make_run(tmp_path / "2026-01-01" / "aaaa", 60)
    make_run(tmp_path / "2026-01-02" / ".partial-bbbb", 60, finished=False)
    (make_run(tmp_path / "2026-01-02" / "cccc", 60) / "summary.json").write_text("{half")
    (tmp_path / "latest").symlink_to("2026-01-02")
    (tmp_path / "notes").mkdir()
    frame = list_runs(tmp_path)
    assert frame[["run", "state"]].to_numpy().tolist() == [
        ["aaaa", "finished"], ["bbbb", "unfinished"], ["cccc", "unreadable"]
    ]  # fmt: skip
    assert frame["tape"].tolist() == ["btcusd_1m", "btcusd_1m", ""]
    with pytest.raises(RunDirError, match="absent"):
        list_runs(tmp_path / "absent")


def test_runs_are_compared(tmp_path: Path, run: Path) -> None:
    """Equal runs have no differing key; a changed seed and limit are named."""
    same = make_run(tmp_path / "same", 600)
    figures, config = compare_runs(run, same)
    assert (figures["same"] == "yes").all()
    assert config.empty
    other = make_run(tmp_path / "other", 600, seed=2)
    policy = json.loads((other / "policy.json").read_text())
    policy["risk"]["price_collar"] = 0.01
    policy["risk"]["new"] = 1
    (other / "policy.json").write_text(json.dumps(policy))
    figures, config = compare_runs(run, other)
    same_of = dict(zip(figures["what"], figures["same"], strict=True))
    names = ("tape", "pnl", "digest fills", "digest equity")
    assert [same_of[name] for name in names] == ["yes", "no", "yes", "no"]
    assert config.to_numpy().tolist() == [
        ["policy.risk.new", "(absent)", 1], ["policy.risk.price_collar", 0.03, 0.01], ["run.seed", 1, 2]
    ]  # fmt: skip
    with pytest.raises(RunDirError, match=r"summary\.json"):
        compare_runs(run, make_run(tmp_path / "cut", 60, finished=False))


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        """Pretend to be one."""
        return True


def test_tables_are_plain_text_unless_on_a_terminal() -> None:
    """No escape codes in a pipe; markup from data is text in both."""
    frame = pd.DataFrame({"name": ["[red]x[/red]", None], "n": [1.5, 2.0]})
    plain, rich = io.StringIO(), _Terminal()
    show(frame, "title", plain)
    show(frame, "title", rich)
    assert "\x1b" not in plain.getvalue()
    assert plain.getvalue().splitlines()[0] == "title"
    assert all("[red]x[/red]" in out.getvalue() for out in (plain, rich))
    empty = io.StringIO()
    show(frame.iloc[:0], out=empty)
    assert empty.getvalue() == "(no rows; columns: name, n)\n"
