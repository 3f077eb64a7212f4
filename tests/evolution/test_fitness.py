"""Fitness: cells that do not count, regimes that count the same, and the law before everything."""

from math import inf
from typing import Any, cast

import pytest

from alphatrade.evolution.fitness import Measured, fitness, table
from alphatrade.evolution.grid import Cell
from alphatrade.risk.errors import AlphaTradeError, LawError, LedgerError, RunDirError, TapeError
from alphatrade.strategies.policy import Policy

POLICY = cast("Policy", None)
GOOD = Measured(200, 5, 0, 0.001, 1.0, 0.01, 2.0, "", (0.001,))


def cell(regime: str, number: int = 0) -> Cell:
    return Cell("X/USD.SIM", regime, number, number + 1, False)


def rows(*found: tuple[str, dict[str, Any]]) -> list[Any]:
    told = {cell(regime, at): GOOD._replace(**changed) for at, (regime, changed) in enumerate(found)}
    return table(POLICY, list(told), lambda _, one: told[one], least=100)


def test_each_regime_counts_the_same() -> None:
    found = rows(("up-low", {}), ("up-low", {}), ("up-low", {}), ("flat-low", {"net_return": -0.003}))
    assert fitness(found) == pytest.approx(-10.0)


def test_a_cell_with_few_decisions_does_not_count() -> None:
    found = rows(("up-low", {}), ("flat-low", {"net_return": 1.0, "decisions": 99}))
    assert fitness(found) == pytest.approx(10.0)
    assert found[1].fault == "99 decisions, fewer than 100"
    assert fitness(rows(("up-low", {"decisions": 3}))) == -inf
    assert fitness([]) == -inf


def test_one_violation_is_the_end_even_in_a_cell_that_does_not_count() -> None:
    assert fitness(rows(("up-low", {}), ("up-low", {"violations": 1}))) == -inf
    assert fitness(rows(("up-low", {}), ("up-low", {"violations": 1, "decisions": 3}))) == -inf


def test_a_replay_that_cannot_be_made_stops_nothing() -> None:
    def replay(_: Policy, one: Cell) -> Measured:
        if one.start == 0:
            raise TapeError("tape", "3 events", "more")
        return GOOD

    found = table(POLICY, [cell("up-low", 0), cell("up-low", 1)], replay, 100)
    assert found[0].fault == "tape: got '3 events', expected more"
    assert fitness(found) == pytest.approx(10.0)


@pytest.mark.parametrize("fault", [RunDirError("/x", "No space left", "space"), LawError("x"), LedgerError("a", 1, "b")])
def test_what_is_nobodys_fault_is_no_result(fault: AlphaTradeError) -> None:
    def replay(_: Policy, one: Cell) -> Measured:
        raise fault

    with pytest.raises(type(fault)):
        table(POLICY, [cell("up-low")], replay, 100)
