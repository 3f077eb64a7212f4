"""The novelty archive: behaviours, not names; what is new is kept, what is alike is not."""

import numpy as np
import pytest

from alphatrade.evolution.archive import Archive, behaviour
from alphatrade.evolution.fitness import Measured, Row
from alphatrade.evolution.grid import Cell

REGIMES = ("flat-low", "up-low")
CELLS = [Cell("X/USD.SIM", regime, at, at + 1, False) for at, regime in enumerate(REGIMES * 2)]


def rows(exposure: float = 0.1, passive: float = 0.5, turnover: float = 2.0, net: float = 0.001, fault: str = "") -> list[Row]:
    found = Measured(200, 5, 0, net, 1.0, 0.01, turnover, "", (net,), exposure=exposure, passive=passive)
    return [Row(cell, found, fault) for cell in CELLS]


def test_a_behaviour_is_what_was_done_in_each_regime() -> None:
    vector = behaviour(rows(), REGIMES)
    assert vector is not None
    assert vector == pytest.approx([0.1, 0.5, np.log1p(2.0), 0.1] * 2)
    other = behaviour(rows(net=5.0), REGIMES)
    assert other is not None
    assert other[3] == 1.0, "a large outcome counts as large, not more"


def test_a_regime_without_a_cell_that_counts_is_no_behaviour() -> None:
    assert behaviour(rows(fault="few"), REGIMES) is None
    assert behaviour(rows(), (*REGIMES, "down-high")) is None
    assert behaviour([], REGIMES) is None


def test_novelty_is_the_mean_distance_to_the_nearest() -> None:
    archive = Archive(REGIMES, neighbours=2)
    archive.add(0, rows(exposure=0.0), 1.0)
    archive.add(1, rows(exposure=1.0), 1.0)
    found = archive.add(2, rows(exposure=3.0), 1.0)
    assert found == pytest.approx((2.0 + 3.0) / 2 * np.sqrt(2), rel=1e-6)
    assert [number for number, _ in archive.standing()] == [0, 1, 2]
    by_number = dict(archive.standing())
    assert max(by_number, key=by_number.__getitem__) == 2, "who stands apart is the most novel"


def test_what_is_alike_is_kept_once_whatever_it_is_called() -> None:
    archive = Archive(REGIMES, neighbours=3)
    for number in range(5):
        archive.add(number, rows(), 1.0)
    assert len(archive.standing()) == 1
    assert archive.add(5, rows(fault="few"), 1.0) is None
