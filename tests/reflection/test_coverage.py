"""Coverage: exact on a made run, and every kind of missing data raises the alert that names it."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from alphatrade.nodes.app import app
from alphatrade.reflection.coverage import coverage, format_coverage
from alphatrade.reflection.parquet import write_parquet
from alphatrade.risk.errors import RunDirError
from tests.reflection.make_run import make_run

DECISIONS = 600
WARMUP = 1  # the made run decides at every belief
Edit = Callable[[pd.DataFrame], pd.DataFrame]


def rewrite(run: Path, name: str, edit: Edit) -> None:
    path = run / f"{name}.parquet"
    table = pq.read_table(path)
    frame = edit(table.to_pandas())
    extra = [pa.field(c, pa.float64()) for c in frame.columns if c not in table.column_names]
    write_parquet(pa.Table.from_pandas(frame, pa.schema([*table.schema, *extra]), preserve_index=False), path)


def decisions(run: Path, edit: Edit) -> None:
    rewrite(run, "diary/decisions", edit)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("runs") / "run", decisions=DECISIONS)
    decisions(run, only_one_probe)
    return run


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "run"
    for path in original.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(original)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(original)).write_bytes(path.read_bytes())
    return copy


def only_one_probe(f: pd.DataFrame) -> pd.DataFrame:
    nothing = dict.fromkeys([name for name in f.columns if name.startswith("p_")], float("nan"))
    return f.assign(**nothing | {"p_sweep": 0.25})


def ordering(frame: pd.DataFrame) -> pd.Series:
    """Return which rows sent an order."""
    return frame["order_ids"].map(len) > 0


def test_everything_is_covered(run: Path) -> None:
    found = coverage(run, WARMUP)
    ids = pq.read_table(run / "orders.parquet")["order_id"].unique()
    assert (found.orders, found.steps) == (len(ids), DECISIONS)
    assert found.attribution == found.diary_coverage == 1.0
    assert found.alerts == ()
    assert "COVERED" in format_coverage(found)


def test_denied_orders_and_the_laws_own_are_in_the_denominator(run: Path) -> None:
    orders = pq.read_table(run / "orders.parquet").to_pandas()
    assert (orders["event"] == "denied").any()
    before = coverage(run, WARMUP)

    def flatten(frame: pd.DataFrame) -> pd.DataFrame:
        law = frame.iloc[[-1]].assign(order_id="LAW-1", decision=None, seq=frame["seq"].max() + 1)
        return pd.concat([frame, law], ignore_index=True)

    rewrite(run, "orders", flatten)
    found = coverage(run, WARMUP)
    assert found.orders == before.orders + 1
    assert found.lacks == {"no diary row": ["LAW-1"]}


def drop_a_tenth(f: pd.DataFrame) -> pd.DataFrame:
    return f[f.index % 10 != 3]


def drop_a_tenth_of_orders(f: pd.DataFrame) -> pd.DataFrame:
    return f.drop(f[ordering(f)].index[::10])


def null_probes(f: pd.DataFrame) -> pd.DataFrame:
    rows = f[ordering(f)].index[::10]
    f.loc[rows, "p_sweep"] = None
    return f


def no_probes(f: pd.DataFrame) -> pd.DataFrame:
    return f.assign(p_sweep=float("nan"))


def no_belief(f: pd.DataFrame) -> pd.DataFrame:
    f["belief_idx"] = [[] if i % 10 == 0 or len(ids) else idx
                       for i, (idx, ids) in enumerate(zip(f["belief_idx"], f["order_ids"], strict=True))]  # fmt: skip
    return f


def no_explanation(f: pd.DataFrame) -> pd.DataFrame:
    return f.assign(explanation="  ")


@pytest.mark.parametrize(
    ("edit", "lack", "share"),
    [
        (drop_a_tenth_of_orders, "no diary row", 0.9),
        (null_probes, "no probe", 0.9),
        (no_probes, "no probe", 0.0),
        (no_belief, "empty belief", 0.0),
        (no_explanation, "no explanation", 0.0),
    ],
)
def test_missing_data_raises_an_alert_that_names_it(run: Path, edit: Edit, lack: str, share: float) -> None:
    decisions(run, edit)
    found = coverage(run, WARMUP)
    assert found.attribution == pytest.approx(share, abs=0.02)
    assert list(found.lacks) == [lack]
    alert = found.alerts[0]
    assert alert.startswith("missing data: attribution")
    assert found.lacks[lack][0] in alert


def test_a_missing_row_of_a_step_without_orders_is_seen_too(run: Path) -> None:
    decisions(run, lambda f: f[ordering(f) | (f.index % 30 != 7)])
    found = coverage(run, WARMUP)
    assert found.attribution == 1.0
    assert 0.95 < found.diary_coverage < 0.99
    (alert,) = found.alerts
    assert "diary coverage" in alert
    assert "step 7" in alert


def test_leading_rows_that_are_gone_are_seen(run: Path) -> None:
    """The warm-up is told by the run, not guessed from the first row that is left."""
    decisions(run, lambda f: f[(f.index >= 60) | ordering(f)])
    assert coverage(run, WARMUP).diary_coverage < 0.95
    assert coverage(run, 61).diary_coverage == 1.0


def test_a_diary_that_is_gone_covers_nothing(run: Path) -> None:
    (run / "diary" / "decisions.parquet").unlink()
    found = coverage(run, WARMUP)
    assert found.attribution == found.diary_coverage == 0.0
    assert len(found.alerts) == 2


def test_an_order_without_a_tag_is_found_by_the_row_that_names_it(run: Path) -> None:
    rewrite(run, "orders", lambda f: f.assign(decision=f["decision"].where(f.index < 0)))
    assert coverage(run, WARMUP).attribution == 1.0


def test_the_front_door_says_it_with_its_exit_code(run: Path) -> None:
    summary = run / "summary.json"
    with pytest.raises(RunDirError, match="warmup"):
        coverage(run)
    summary.write_text(summary.read_text().replace('{"run_id"', f'{{"warmup": {WARMUP}, "run_id"'))
    good = CliRunner().invoke(app, ["coverage", str(run)])
    assert good.exit_code == 0, good.output
    decisions(run, no_probes)
    bad = CliRunner().invoke(app, ["coverage", str(run)])
    assert bad.exit_code == 1
    assert "missing data" in bad.output
