"""Slices of a diary: what was known by their end, the same whatever came later, and none with holes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from alphatrade.nodes import run
from alphatrade.reflection.query import query
from alphatrade.reflection.rim.edits import DisableTactic, RouteWeight, TacticParameter, apply_edit
from alphatrade.reflection.rim.inputs import flow_share, inputs
from alphatrade.reflection.rim.paper import Paper
from alphatrade.reflection.rim.slices import Slice, read_slice
from alphatrade.risk.errors import RunDirError
from tests.reflection.make_proposal import BOUNDS
from tests.reflection.make_run import make_run

WORLD = ("tape=world", "tape.hours=4", "policy.cadence.n=10", "output.stress=false", "output.report=false",
         "policy.topologies.momentum.params={signal: ret_5, enter: 1.0, leave: 0.0, hold_min: 1}",
         "policy.router.table.flat-high=momentum", "policy.topologies.maker.params.half_spread=1.0")  # fmt: skip
CUT = "tape.end=2025-01-06T02:00:00Z"
MINUTE = 60 * 10**9
TABLES = ("diary/decisions", "diary/expost", "fills", "marks", "orders", "risk_events", "equity")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    return run([*WORLD, f"paths.artifacts={folder}", f"paths.state={folder}"]).path


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same world, cut off after half of it."""
    folder = tmp_path_factory.mktemp("short")
    return run([*WORLD, CUT, f"paths.artifacts={folder}", f"paths.state={folder}"]).path


@pytest.fixture
def copy(full: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(full, tmp_path / "copy"))


def rewrite(run_dir: Path, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    path = run_dir / f"{name}.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def same(part: Slice, run_id: str) -> str:
    """Return the hash of the rows alone, as if another run had them."""
    return Slice(run_id, part.policy, part.instrument, part.capital, part.rows, part.costs).sha256()


# -- what is in it


def test_a_slice_has_every_decision_and_its_hash_is_stable(full: Path) -> None:
    part, again = read_slice(full), read_slice(full)
    decisions = query(full, "SELECT * FROM decisions ORDER BY decision")
    assert len(part.rows) == len(decisions) > 500
    assert part.sha256() == again.sha256()
    assert part.rows["mid"].tolist() == decisions["mid"].tolist()
    assert (part.rows["f_ret_5"].to_numpy() == decisions["f_ret_5"].to_numpy()).all()
    pointer = part.pointer()
    assert (pointer.first, pointer.last) == (decisions["decision"].iloc[0], decisions["decision"].iloc[-1])
    assert pointer.sha256 == part.sha256()
    assert part.hours == pytest.approx((int(pointer.end) - int(pointer.start)) / 3.6e12)


def test_fills_and_costs_are_those_of_the_diary_where_all_is_known(full: Path) -> None:
    rows = read_slice(full).rows
    expost = query(full, "SELECT * FROM expost ORDER BY decision")
    notional = query(full, "SELECT decision, sum(qty * price)::DOUBLE AS n FROM fills GROUP BY decision").set_index("decision")["n"]
    assert rows["fills"].tolist() == expost["fills"].tolist()
    assert rows["fills"].sum() > 20
    assert rows["side"].tolist() == expost["side"].tolist()
    assert rows["cost_bps"].to_numpy() == pytest.approx(expost["cost_bps"].to_numpy(), abs=1e-9)
    assert rows.set_index("decision")["notional"].loc[notional.index].tolist() == notional.tolist()


def test_any_changed_value_changes_the_hash(full: Path) -> None:
    part = read_slice(full)
    for column in part.rows.columns:
        rows = part.rows.copy()
        value = rows[column].iloc[7]
        rows.loc[rows.index[7], column] = f"{value}x" if isinstance(value, str) else 0.5 if value != value else value + 1
        assert Slice(part.run_id, part.policy, part.instrument, part.capital, rows, part.costs).sha256() != part.sha256(), column
    assert same(part, "ab" * 32) != part.sha256()


# -- up to when


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_the_end_cuts_rows_and_what_was_not_known(full: Path, share: float) -> None:
    whole = read_slice(full).rows
    end = int(whole["ts"].iloc[int(share * len(whole))])
    rows = read_slice(full, end).rows
    assert rows["ts"].max() == end
    assert rows["decision"].tolist() == whole["decision"][: len(rows)].tolist()
    expost = query(full, "SELECT * FROM expost ORDER BY decision").iloc[: len(rows)]
    for horizon in (1, 5, 20):
        known = (expost[f"known_{horizon}"].fillna(2**62) <= end).to_numpy()
        assert (rows[f"markout_{horizon}"].notna().to_numpy() == known).all()
        assert rows[f"markout_{horizon}"].iloc[-horizon:].isna().all()
        assert known.sum() >= len(rows) - 60
    late = query(full, f"SELECT decision FROM fills WHERE ts > {end} AND decision IS NOT NULL")["decision"]
    early = query(full, f"SELECT count(*) AS n FROM fills WHERE ts <= {end} AND decision IS NOT NULL")["n"][0]
    assert rows["fills"].sum() == early
    assert len(late) > 0


def test_what_comes_later_changes_nothing(full: Path, copy: Path) -> None:
    """Later decisions, fills, marks and outcomes are taken away, or others put in their place."""
    rows = read_slice(full).rows
    sent = query(full, "SELECT f.decision, min(d.ts) AS ts FROM fills f JOIN decisions d USING (decision) WHERE f.ts > d.ts GROUP BY f.decision")
    ends = [int(rows["ts"].iloc[len(rows) // 2]), int(sent["ts"].iloc[0]), int(sent["ts"].iloc[len(sent) // 2])]
    before = [read_slice(full, end).sha256() for end in ends]
    for end, expected in zip(ends, before, strict=True):
        for name in ("diary/decisions", "fills", "marks"):
            rewrite(copy, name, lambda table, end=end: table.filter(pc.less_equal(table["ts"], end)))
        own = query(copy, "SELECT max(decision) AS last FROM decisions")["last"][0]
        rewrite(copy, "diary/expost", lambda table, own=own: table.filter(pc.less_equal(table["decision"], int(own))))
        assert read_slice(copy).sha256() == expected
        assert read_slice(copy, end).sha256() == expected
        for name in TABLES:
            shutil.copy(full / f"{name}.parquet", copy / f"{name}.parquet")


def test_an_order_that_fills_after_the_end_has_not_filled(full: Path) -> None:
    """Its decision is the last of the slice: what came of it a moment later is the future."""
    sent = query(full, "SELECT d.decision, d.ts FROM fills f JOIN decisions d USING (decision) WHERE f.ts > d.ts ORDER BY d.ts")
    assert len(sent) > 5
    for decision, ts in sent.iloc[:: len(sent) // 5].itertuples(index=False):
        last = read_slice(full, int(ts)).rows.iloc[-1]
        assert (last["decision"], last["fills"], last["side"], last["notional"], last["cost_bps"]) == (decision, 0, 0, 0.0, 0.0)


def test_a_run_on_a_shorter_tape_says_the_same_of_the_same_decisions(full: Path, short: Path) -> None:
    last = int(read_slice(short).rows["ts"].iloc[-1])
    end = last - 30 * MINUTE  # a run closes what it holds at its end, and knows when that is
    one, other = read_slice(full, end), read_slice(short, end)
    assert len(one.rows) > 200
    assert one.rows["fills"].sum() > 5
    assert one.run_id != other.run_id
    assert same(one, "ab" * 32) == same(other, "ab" * 32)


# -- holes


def refused(run_dir: Path, message: str, **more: Any) -> None:
    with pytest.raises(RunDirError, match=message) as caught:
        read_slice(run_dir, **more)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("at", [0, 1, 300])
def test_a_missing_decision_is_a_gap(copy: Path, at: int) -> None:
    rewrite(copy, "diary/decisions", lambda table: pa.concat_tables([table.slice(0, at), table.slice(at + 1)]))
    refused(copy, "a gap")


def test_a_missing_step_is_a_gap_though_the_rows_are_counted_anew(copy: Path) -> None:
    def without(table: pa.Table) -> pa.Table:
        left = pa.concat_tables([table.slice(0, 300), table.slice(301)])
        return left.set_column(0, "row", pa.array(range(left.num_rows), pa.int64()))

    rewrite(copy, "diary/decisions", without)
    refused(copy, r"a gap after step \d+ of WLD/USD")


def test_a_missing_outcome_is_no_outcome_of_nothing(copy: Path) -> None:
    rewrite(copy, "diary/expost", lambda table: pa.concat_tables([table.slice(0, 300), table.slice(301)]))
    refused(copy, r"no outcome of decision \d+")


def test_a_run_that_has_not_ended_is_no_slice(copy: Path) -> None:
    (copy / "fills.parquet").unlink()
    refused(copy, r"no fills\.parquet")


def test_an_empty_diary_is_refused(copy: Path) -> None:
    rewrite(copy, "diary/decisions", lambda table: table.slice(0, 0))
    refused(copy, "no decision")
    (copy / "diary" / "decisions.parquet").unlink()
    refused(copy, "diary of")


def test_nothing_before_the_first_decision(full: Path) -> None:
    refused(full, "no decision", end=int(read_slice(full).rows["ts"].iloc[0]) - 1)
    refused(full, "no decision", instrument="TWO/USD.SIM")


def test_a_damaged_table_is_refused(copy: Path) -> None:
    path = copy / "diary" / "decisions.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    refused(copy, "decisions")


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense", '{"features": {}}', None, "null"])
def test_a_policy_that_is_none_is_refused(copy: Path, text: str | None) -> None:
    if text is None:
        (copy / "policy.json").unlink()
    else:
        (copy / "policy.json").write_text(text)
    refused(copy, "policy.json|a mapping")


def test_a_policy_with_an_impossible_part_is_refused(copy: Path) -> None:
    plain = json.loads((copy / "policy.json").read_text())
    (copy / "policy.json").write_text(json.dumps(plain | {"belief": plain["belief"] | {"k": 512}}))
    refused(copy, "policy.json")


def test_another_policy_has_made_none_of_these_decisions(copy: Path) -> None:
    plain = json.loads((copy / "policy.json").read_text())
    (copy / "policy.json").write_text(json.dumps(plain | {"sizing": {"fraction": 0.01, "vol_target_bps": 5.0}}))
    refused(copy, "no decision")


def test_no_folder_of_a_run_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none", "run")
    (tmp_path / "some").mkdir()
    refused(tmp_path / "some", "run")


def test_the_segments_of_a_killed_run_are_no_slice(tmp_path: Path) -> None:
    refused(make_run(tmp_path / "killed", 100, finished=False), "finished run")


# -- on paper


def test_paper_is_deterministic_and_reads_nothing_but_the_slice(full: Path, copy: Path) -> None:
    part = read_slice(full)
    one, other = Paper(part), Paper(read_slice(full))
    for name, spec in part.policy.topologies.items():
        assert one.tactic(spec).tobytes() == other.tactic(spec).tobytes(), name
    assert one.policy(part.policy).tobytes() == other.policy(part.policy).tobytes()
    end = int(part.rows["ts"].iloc[len(part.rows) // 2])
    early = Paper(read_slice(full, end)).policy(part.policy)
    assert (early[:-1] == one.policy(part.policy)[: len(early) - 1]).all(), "what comes later changes nothing that came of a row before"
    assert np.isfinite(one.policy(part.policy)).all()


def test_an_edit_on_paper_changes_the_rows_that_it_bears_on(full: Path) -> None:
    part = read_slice(full)
    paper, regimes = Paper(part), part.rows["regime"].to_numpy()
    regime = next(one for one in ("up-low", "flat-low", "down-low", "flat-high") if (regimes == one).sum() > 50)
    lead = part.policy.router.table[regime]
    before = paper.policy(part.policy)
    half = paper.policy(apply_edit(part.policy, RouteWeight(regime=regime, tactic=lead, weight=0.5), BOUNDS))
    here = regimes == regime
    assert half[here] == pytest.approx(0.5 * before[here])
    assert (half[~here] == before[~here]).all()
    without = paper.policy(apply_edit(part.policy, DisableTactic(tactic=lead), BOUNDS))
    assert (without[here] == 0.0).all()


def test_what_an_engine_sees_is_finite_and_the_flow_a_share(full: Path) -> None:
    part = read_slice(full)
    paper = Paper(part)
    for edit in (
        RouteWeight(regime="up-low", tactic="reversion", weight=0.5), DisableTactic(tactic="momentum"),
        TacticParameter(tactic="breakout", parameter="stop", value=4.0),
    ):  # fmt: skip
        edited, rows = inputs(paper, edit, apply_edit(part.policy, edit, BOUNDS), BOUNDS)
        assert np.isfinite(edited).all()
        assert np.isfinite(rows).all()
        assert 0.0 <= flow_share(paper.part, edit) <= 1.0
