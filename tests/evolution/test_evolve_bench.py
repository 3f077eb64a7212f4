"""The benchmark of the gate counts what it says: finished searches, bounds, rows that do not hold."""

import json
from pathlib import Path

import pytest

from benchmarks.evolve_gate import clopper_pearson, rate
from benchmarks.evolve_worlds import finished, planted_in, planted_rows, setup


def test_bounds_of_a_rate() -> None:
    bounds = clopper_pearson(0, 200)
    assert bounds is not None
    assert bounds[0] == 0.0
    assert bounds[1] == pytest.approx(1 - 0.05 ** (1 / 200))
    assert clopper_pearson(0, 0) is None


def test_nothing_measured_does_not_hold() -> None:
    assert rate("x", "", [], "<= 0.05", "").holds is False
    assert rate("x", "", [False] * 20, "<= 0.05", "").holds is False  # too few to say so
    assert rate("x", "", [False] * 60, "<= 0.05", "").holds is True
    assert [row.holds for row in planted_rows([])] == [False, False]


def test_a_promotion_without_the_planted_topology_does_not_count() -> None:
    won = [{"arm": "topology", "seed": at, "promoted": True, "planted": at < 17} for at in range(20)]
    assert [row.figure for row in planted_rows(won)] == [17, 0]
    assert planted_rows(won)[0].holds is False


def test_the_planted_topology_counts_only_where_it_earns() -> None:
    flat, found = [{"kind": "flat"}], [{"kind": "passive_reversion"}]
    assert planted_in({"topologies": {"flat-low": found, "flat-high": flat, "up-low": flat}})
    assert not planted_in({"topologies": {"flat-low": flat, "flat-high": found, "up-low": found}})


def test_a_torn_line_or_a_search_of_another_world_is_no_finished_search(tmp_path: Path) -> None:
    file, own = tmp_path / "null.jsonl", {"arm": "null", "seed": 1, "setup": setup("null")}
    others = ({"arm": "null", "seed": 2, "setup": setup("topology")}, {"arm": "null", "seed": 3})
    lines = "".join(json.dumps(each) + "\n" for each in (own, *others))
    file.write_text(lines + '{"arm": "nul', encoding="utf-8")
    assert finished(file) == [own]
