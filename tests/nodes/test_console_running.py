"""What the console draws of a run that goes on: each row once, of the run that is, in memory of one size."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphatrade.nodes.console import running, thinned
from alphatrade.nodes.console.running import Files, Running
from alphatrade.nodes.console.thinned import Curve, Minds, Regimes
from alphatrade.nodes.paper.desk import RUN
from alphatrade.reflection import segment_writer
from alphatrade.reflection.segment_writer import SegmentWriter
from alphatrade.reflection.trail import TRAIL
from alphatrade.risk.columns import table
from alphatrade.risk.record import TABLES

NANO = 10**9
REGIMES = ("up-low", "down-high")


def decisions(first: int, rows: int) -> pa.Table:
    ids = pa.array(range(first, first + rows), pa.int64())
    return pa.table({
        "row": ids, "decision": pa.array(range(1000 + first, 1000 + first + rows), pa.int64()), "ts": pa.array([n * NANO for n in range(first, first + rows)]),
        "instrument": ["A.SIM"] * rows, "mid": [100.0 + n % 7 for n in range(first, first + rows)],
        "regime": [REGIMES[n // 50 % 2] for n in range(first, first + rows)], "exec_topo": ["maker"] * rows,
        "candidates": [["maker", "taker"]] * rows, "scores": [[float(n), 0.5] for n in range(first, first + rows)], "explanation": ["x" * 50] * rows,
    })  # fmt: skip


def rows(first: int, last: int) -> dict[str, list[list[Any]]]:
    """Return what the law records in some seconds: equity, and an order and its fill each second."""
    orders = [
        [2 * n, n * NANO, "A.SIM", "O", f"O-{n}", "filled", "BUY", "MARKET", NANO, 0, NANO, None, False, None, 1000 + n]
        for n in range(first, last)
    ]
    fills = [
        [
            2 * n + 1,
            n * NANO,
            "A.SIM",
            "O",
            f"O-{n}",
            f"T-{n}",
            "BUY",
            NANO,
            100 * NANO,
            0,
            "USD",
            "taker",
            NANO,
            0,
            1000 + n,
        ]
        for n in range(first, last)
    ]
    return {
        "orders": orders,
        "fills": fills,
        "equity": [[n * NANO, (1000 + n % 13) * NANO, 0, 0, 0, 0.01 * (n % 5)] for n in range(first, last)],
    }


def trailed(run: Path, first: int, last: int) -> None:
    with (run / TRAIL).open("a") as trail:
        trail.write(json.dumps(rows(first, last)) + "\n")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run" / "diary").mkdir(parents=True)
    return tmp_path / "run"


def counted(files: Files) -> int:
    return int(sum(one._rows["n"].sum() for one in files._regimes.values()))


def test_each_decision_is_counted_once_however_often_segments_are_joined(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_writer, "JOINED", 16)
    files = Files(run)
    with SegmentWriter(
        run / "diary" / "decisions", lambda part: part, flush_rows=10**6, flush_ms=0, id_column="row"
    ) as writer:
        for n in range(60):
            writer.put(decisions(n, 1))
            while writer.last < n:
                time.sleep(0.001)
            if n % 5 == 0:
                files.grown()
        files.grown()
        joined = list((run / "diary" / "decisions").glob("*-16.parquet"))
        assert (len(joined), counted(files)) == (3, 60)
    assert not files.grown()
    assert (files.scores[0], files.scored) == (("maker", 59.0), 59 * NANO)


def test_a_run_is_drawn_alike_while_it_goes_on_and_when_it_is_over(run: Path, tmp_path: Path) -> None:
    goes_on, over = Files(run), tmp_path / "over"
    with SegmentWriter(run / "diary" / "decisions", lambda part: part, flush_rows=100, id_column="row") as writer:
        for first in range(0, 3_000, 100):
            trailed(run, first, first + 100)
            writer.put(decisions(first, 100))
            while writer.last < first + 99:
                time.sleep(0.001)
            assert goes_on.grown()
    (over / "diary").mkdir(parents=True)
    pq.write_table(decisions(0, 3_000), over / "diary" / "decisions.parquet")
    for name, own in rows(0, 3_000).items():
        pq.write_table(table(TABLES[name], [tuple(row) for row in own]), over / f"{name}.parquet")
    ended = Files(over)
    assert ended.grown()
    one, other = (json.loads(json.dumps(files.draw(), default=np.ndarray.tolist)) for files in (goes_on, ended))
    assert one.keys() == {"equity", "price"}
    assert one == other
    assert "buy (3,000)" in json.dumps(one["price"])
    assert list(goes_on.orders.values()) == list(ended.orders.values())
    for name in rows(0, 1):  # the tables come beside the trail that has been read
        (over / f"{name}.parquet").rename(run / f"{name}.parquet")
    (run / TRAIL).unlink()
    assert not goes_on.grown()


def test_what_is_kept_of_a_day_is_bounded_and_its_extremes_stay(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "FILLS", 500)
    monkeypatch.setattr(thinned, "DECISIONS", 700)
    files, day = Files(run), 86_400
    for first in range(0, day, 4_320):
        trailed(run, first, first + 4_320)
    (run / "diary" / "decisions").mkdir()
    found = decisions(0, day)
    level = np.full(day, 100.0)
    level[[11_111, 55_555]] = 7.0, 900.0
    pq.write_table(
        found.set_column(4, "mid", pa.array(level)), run / "diary" / "decisions" / f"segment-{0:012d}-{day}.parquet"
    )
    assert files.grown()
    price = files._prices["A.SIM"].frame()
    assert (price["y"].min(), price["y"].max(), price["t"].min(), price["t"].max()) == (
        7.0,
        900.0,
        0.0,
        (day - 1) * 1e3,
    )
    assert len(price) <= 4 * thinned.SLICES
    assert len(files._equity.frame()) <= 4 * thinned.SLICES
    assert (len(files._fills), len(files._minds._ids), len(files.orders)) == (500, 700, 400)
    assert files._fills["order_id"].iloc[-1] == f"O-{day - 1}"
    assert all(files._trail.count(name) == 0 for name in TABLES)
    assert counted(files) == day
    assert len(files._regimes["A.SIM"]._rows) <= 2 * thinned.CELLS
    stripes = files._regimes["A.SIM"].stripes((0, (day - 1) * NANO))
    assert list(stripes["slice"]) == list(range(480)), "none is left out"


def test_a_fill_is_of_the_decision_that_sent_its_order_however_long_ago() -> None:
    minds = Minds()
    minds.add(np.array([5, 6]), pd.Series(["maker", "taker"]), pd.Series(["up", "down"]))
    minds.add(np.arange(7, 900), pd.Series(["x"] * 893), pd.Series(["y"] * 893))
    found = minds.of(np.array([6, 5, -1, 1000, 4]))
    assert list(found["exec_topo"]) == ["taker", "maker", *["(no decision)"] * 3]
    assert list(Minds().of(np.array([1]))["regime"]) == ["(no decision)"]


def test_the_most_frequent_regime_of_a_stripe_is_drawn() -> None:
    regimes = Regimes()
    for name, times in (("up", 3), ("down", 5)):
        regimes.add(np.arange(times) * NANO, pd.Series([name] * times))
    assert list(regimes.stripes((0, 10 * NANO))["regime"])[-1] == "down"
    assert set(regimes.stripes((0, 48_000 * NANO))["regime"]) == {"down"}


def test_a_value_that_is_none_is_no_point() -> None:
    curve = Curve()
    curve.add(np.array([1, 2, 3]) * NANO, np.array([np.nan, 2.0, np.nan]))
    assert curve.frame().to_dict("list") == {"t": [2_000.0], "y": [2.0]}


def looked(of: Running) -> tuple[int, int, str]:
    seen = of()
    return len(seen.figures), len(seen.orders), seen.trouble


def test_of_another_run_nothing_is_shown_that_was_of_the_one_before(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "DRAW_S", 0.0)
    folder = run.parent
    of = Running(folder)
    assert looked(of) == (0, 0, "")
    (folder / RUN).write_text(json.dumps({"folder": str(run)}))
    trailed(run, 0, 9)
    assert looked(of) == (1, 9, "")
    drawn = of().drawn
    assert of().drawn == drawn, "nothing is new"
    (run / TRAIL).unlink()
    (folder / RUN).write_text(json.dumps({"folder": str(run), "pid": 2}))  # another one, in the same place
    assert looked(of) == (0, 0, "")
    assert of().drawn > drawn
    trailed(run, 0, 3)
    assert looked(of) == (1, 3, "")
    (run.parent / "other").mkdir()
    (folder / RUN).write_text(json.dumps({"folder": str(run.parent / "other")}))
    assert looked(of) == (0, 0, "")


def test_what_cannot_be_read_is_said_and_the_rest_stays(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "DRAW_S", 0.0)
    (run.parent / RUN).write_text(json.dumps({"folder": str(run)}))
    of = Running(run.parent)
    trailed(run, 0, 9)
    assert looked(of) == (1, 9, "")
    (run / "diary" / "decisions").mkdir()
    (run / "diary" / "decisions" / f"segment-{0:012d}-5.parquet").write_bytes(b"not Parquet")
    figures, orders, trouble = looked(of)
    assert (figures, orders) == (1, 9)
    assert "ArrowInvalid" in trouble
