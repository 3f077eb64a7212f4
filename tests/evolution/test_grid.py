"""The regime grid: cells that do not touch, labels that know their own prices only, and blocks no search may see."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from alphatrade.evolution.grid import NS, Cell, GridSpec, cut
from alphatrade.risk.errors import ConfigError

HOUR = 3600 * NS
SPEC = GridSpec(block_s=3600, embargo_s=600, holdout=0.25, least=10, period_s=600)


def market(hours: list[tuple[float, float]], seed: int = 1) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return a price every ten seconds; each hour has a total move and a volatility, in hundredths."""
    rng = np.random.Generator(np.random.PCG64(seed))
    returns = []
    for move, vol in hours:
        noise = rng.standard_normal(360) * vol / 100 / np.sqrt(360)
        returns.append(noise - noise.mean() + move / 100 / 360)
    ts = np.arange(360 * len(hours), dtype=np.int64) * 10 * NS + 7 * HOUR
    return ts, 100.0 * np.exp(np.cumsum(np.concatenate(returns)))


def cells(hours: list[tuple[float, float]], spec: GridSpec = SPEC) -> list[Cell]:
    return cut("X/USD.SIM", *market(hours), spec)


EIGHT = [(3, 1), (-3, 1), (0, 1), (0, 2), (6, 2), (-6, 2), (0, 1), (6, 2)]


def test_labels_say_what_the_market_did() -> None:
    assert [cell.regime for cell in cells(EIGHT)] == [
        "up-low", "down-low", "flat-low", "flat-high", "up-high", "down-high", "flat-low", "up-high",
    ]  # fmt: skip


def test_cells_are_an_embargo_apart_and_the_last_are_held_out() -> None:
    found = cells(EIGHT)
    assert [cell.holdout for cell in found] == [False] * 6 + [True] * 2
    assert all(cell.end - cell.start == 50 * 60 * NS for cell in found)
    assert all(later.start - earlier.end == 600 * NS for earlier, later in pairwise(found))


def test_held_out_blocks_shape_no_label_of_the_others() -> None:
    wild = [*EIGHT[:6], (50, 40), (-50, 40)]
    assert [c.regime for c in cells(wild)[:6]] == [c.regime for c in cells(EIGHT)[:6]]


def test_a_hole_in_the_tape_is_no_cell() -> None:
    ts, price = market(EIGHT)
    keep = (ts < 9 * HOUR) | (ts >= 10 * HOUR)
    assert len(cut("X/USD.SIM", ts[keep], price[keep], SPEC)) == 7


def test_a_block_in_which_the_market_was_mostly_closed_is_no_cell() -> None:
    ts, price = market(EIGHT)
    sunday = (ts >= 9 * HOUR) & (ts < 9 * HOUR + 2400 * NS)  # of fifty minutes there are left ten
    half = (ts >= 11 * HOUR) & (ts < 11 * HOUR + 1200 * NS)  # and here thirty
    found = cut("X/USD.SIM", ts[~(sunday | half)], price[~(sunday | half)], SPEC)
    assert [(cell.start - 7 * HOUR) // HOUR for cell in found] == [0, 1, 3, 4, 5, 6, 7]


def test_a_quiet_block_of_an_open_market_is_a_cell() -> None:
    ts, price = market(EIGHT)
    quiet = (ts >= 9 * HOUR) & (ts < 10 * HOUR) & (np.arange(len(ts)) % 10 > 0)
    assert len(cut("X/USD.SIM", ts[~quiet], price[~quiet], SPEC)) == 8


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"embargo_s": 3600}, r"grid\.embargo_s: got 3600\.0, expected at most grid\.block_s=3600 less grid\.period_s=600"),
        ({"block_s": 86_400}, r"blocks to search and to hold out: the tape has 1"),
        ({"holdout": 0.01}, r"blocks to search and to hold out: the tape has 8"),
    ],
)
def test_a_grid_without_both_kinds_of_cells_is_refused(spec: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cells(EIGHT, GridSpec.model_validate(SPEC.model_dump() | spec))
