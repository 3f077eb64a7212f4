"""``alphatrade fitness``: real replays of the cells that a search may see."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from typer.testing import CliRunner

from alphatrade.evolution.fitness import Row, fitness
from alphatrade.evolution.grid import NS, Cell, GridSpec, cut
from alphatrade.evolution.search import SearchSpec
from alphatrade.nodes.app import app
from alphatrade.nodes.evaluate import per_period, reference
from alphatrade.nodes.evolve import SearchSettings, measured
from alphatrade.nodes.settings import Settings, compose_settings
from alphatrade.nodes.sim import load_tapes
from alphatrade.risk.law import Law
from alphatrade.risk.limits import ALLOWED

if TYPE_CHECKING:
    from alphatrade.evolution.domain import Domain
    from alphatrade.evolution.genotype import Genotype

SPEC = GridSpec(block_s=4 * 3600, embargo_s=1200, holdout=0.5, least=100, period_s=1200)


def settings(tmp: Path, *words: str) -> Settings:
    own = ["genotype=default", "tape=world", "tape.hours=16", f"paths.state={tmp}", f"paths.artifacts={tmp}/a"]
    return compose_settings([*own, *words])


def evaluate(own: Settings, spec: GridSpec) -> list[Row]:
    """Return the fitness table of `own`, as ``alphatrade fitness`` comes to it."""
    search = SearchSpec(operators={"op_mutate_tunable": 1.0})
    return list(
        measured(SearchSettings(own, cast("Genotype", None), spec, search, cast("Domain", None), None, None)).rows
    )


def test_cells_are_replayed_and_the_held_out_are_not(tmp_path: Path) -> None:
    own = settings(tmp_path)
    rows = evaluate(own, SPEC)
    (tape,) = load_tapes(own.run)
    cells = cut(tape.instrument.id, tape.columns["ts"], reference(tape), SPEC)
    assert sorted(row.cell for row in rows) == sorted(cell for cell in cells if not cell.holdout)
    assert len(cells) == 4
    for row in rows:
        assert row.measured is not None
        assert not row.fault
        assert row.measured.violations == 0
        assert row.measured.fills > 0
        assert row.measured.turnover > 0
    assert evaluate(own, SPEC) == rows, "the same replays, the same table"
    assert evaluate(settings(tmp_path, "genotype.sizing.fraction=0.02"), SPEC) != rows
    assert not (tmp_path / "a").exists(), "nothing is left behind"


def test_what_breaks_the_law_is_found_in_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tight = settings(tmp_path, "genotype.risk.instrument_max=0.001")
    assert fitness(evaluate(tight, SPEC)) > -1e9
    monkeypatch.setattr(Law, "_measure", lambda *_: ALLOWED)
    rows = evaluate(tight, SPEC)
    assert any("violations" in row.fault for row in rows)
    assert fitness(rows) == float("-inf")


def test_the_command_shows_the_table(tmp_path: Path) -> None:
    words = ["tape=world", "tape.hours=16", f"paths.state={tmp_path}", "grid.block_s=14400", "grid.embargo_s=1200"]
    done = CliRunner().invoke(app, ["fitness", *words])
    assert done.exit_code == 0, done.output
    assert "3 of 3 cells count" in done.output
    done = CliRunner().invoke(app, ["fitness", "grid.holdout=2", *words])
    assert "grid.holdout" in str(done.exception)


def test_returns_by_period() -> None:
    ts, cell = np.array([15, 20, 30, 55]) * NS, Cell("X", "up-low", 10 * NS, 60 * NS, False)
    assert per_period(ts, np.array([1.01, 1.02, 1.01, 1.05]), cell, 20.0) == pytest.approx((0.01, 0.0))
    assert per_period(ts, np.array([1.01, 1.02, 1.01, 1.05]), cell, 25.0) == pytest.approx((0.01, 0.04))
    assert per_period(ts[:0], np.array([]), cell, 25.0) == (0.0, 0.0)
