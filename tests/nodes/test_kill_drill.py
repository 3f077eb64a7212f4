"""The kill drill: flat, and nothing sent afterwards; a law that does not do its work is found out."""

from pathlib import Path
from typing import Any

import pytest

from alphatrade.evolution.grid import Cell, GridSpec
from alphatrade.nodes.evolve import grid_of
from alphatrade.nodes.kill_drill import WALL, Drill, kill_drill
from alphatrade.nodes.settings import Settings, compose_settings
from alphatrade.nodes.sim import load_tapes
from alphatrade.nodes.tape import Tape
from alphatrade.risk.gate import RiskGate
from alphatrade.risk.gate_kill import Reduction
from alphatrade.risk.limits import ALLOWED

GRID = GridSpec(block_s=3600, embargo_s=600, period_s=600, least=20, holdout=0.25)
Ground = tuple[Settings, list[Tape], list[Cell]]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    state = tmp_path_factory.mktemp("state")
    settings = compose_settings(
        ["genotype=default", "tape=world", "tape.hours=4", "cadence.n=3", f"paths.state={state}"]
    )
    tapes = load_tapes(settings.run)
    return settings, tapes, grid_of(tapes, GRID)


@pytest.fixture(scope="module")
def drill(ground: Ground) -> Drill:
    return kill_drill(*ground)


def plain(drill: Drill) -> dict[str, Any]:
    return drill.model_dump(exclude=set(WALL))


def test_the_position_is_closed_and_nothing_is_sent_afterwards(drill: Drill, ground: Ground) -> None:
    assert drill.wrong == ""
    assert float(drill.position) != 0
    assert drill.start + 0.3 * (drill.end - drill.start) <= drill.tripped < drill.end
    assert 0 < (drill.flat_ns or 0) <= (drill.halted_ns or 0) < 60 * 10**9
    assert drill.wall_us > 0
    assert (drill.start, drill.end) in {(cell.start, cell.end) for cell in ground[2] if not cell.holdout}


def test_a_drill_comes_out_the_same_but_for_the_wall_clock(drill: Drill, ground: Ground) -> None:
    assert plain(kill_drill(*ground)) == plain(drill)


def test_held_out_cells_are_not_drilled_in(ground: Ground) -> None:
    settings, tapes, cells = ground
    assert kill_drill(settings, tapes, [cell for cell in cells if cell.holdout]) == Drill()


def test_who_never_holds_anything_was_not_drilled(ground: Ground) -> None:
    settings, tapes, cells = ground
    flat = compose_settings([
        "genotype=default", "cadence.n=3", *(f"genotype.topologies.{regime}=[{{kind:flat}}]" for regime in
        settings.genotype.topologies),  # type: ignore[union-attr]
    ])  # fmt: skip
    found = kill_drill(settings.model_copy(update={"policy": flat.policy}), tapes, cells)
    assert found == Drill()
    assert "nothing was drilled" in found.wrong


def test_a_law_that_does_not_flatten_is_found_out(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reduction, "_flatten", lambda self, now: 0)
    found = kill_drill(*ground)
    assert found.flat_ns is None
    assert found.wrong == "the position was never closed"


def test_a_law_that_does_not_halt_is_found_out(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RiskGate, "halt", lambda self: None)
    assert kill_drill(*ground).wrong == "the law never halted"


def test_a_law_that_lets_orders_through_after_the_trip_is_found_out(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switch trips and flattens, but neither law nor policy takes any notice of its state."""
    monkeypatch.setattr(RiskGate, "state_denial", lambda self: None if self.switch.trip_cause is None else ALLOWED)
    monkeypatch.setattr(RiskGate, "_announce", lambda self, before, now: None)
    monkeypatch.setattr(RiskGate, "_native", lambda self, state: None)
    found = kill_drill(*ground)
    assert found.sent > 0
    assert found.wrong


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("tripped", 0, "nothing was drilled"), ("flat_ns", None, "never closed"), ("halted_ns", None, "never halted"),
     ("sent", 1, "after the trip"), ("sent_halted", 1, "after the halt"), ("left", "0.1", "was left"),
     ("violations", 2, "2 violations")],
)  # fmt: skip
def test_each_thing_that_can_be_wrong_is(drill: Drill, field: str, value: Any, words: str) -> None:
    assert words in drill.model_copy(update={field: value}).wrong


def test_a_stop_that_the_law_made_itself_is_no_drill(tmp_path: Path, ground: Ground) -> None:
    """A policy that was stopped for its losses before has shown nothing of an operator's stop."""
    settings, tapes, cells = ground
    risk = settings.policy.risk.model_copy(update={"daily_loss_max": 1e-5, "drawdown_max": 1e-5})
    found = kill_drill(
        settings.model_copy(update={"policy": settings.policy.model_copy(update={"risk": risk})}), tapes, cells
    )
    assert found.wrong == Drill().wrong
