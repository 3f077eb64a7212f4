"""What follows a run keeps little of its past in memory, and loses none of it."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from alphatrade.actors.messages import DriftState
from alphatrade.reflection import clerk as module
from alphatrade.reflection import following
from alphatrade.reflection.clerk import ClerkConfig, DriftClerk
from alphatrade.reflection.following import Follower
from alphatrade.risk import shelf


def state(at: int) -> DriftState:
    return DriftState(at, "A.SIM", ("overall", "belief")[at % 2], at / 7, float("nan"), 0.0, 1.0, 2.0, 5.0, "learning")


def clerk(folder: Path, rows: int) -> DriftClerk:
    folder.mkdir()
    found = DriftClerk(ClerkConfig(run_dir=str(folder)))
    for at in range(rows):
        found.on_state(state(at))
    return found


@pytest.mark.parametrize("rows", [0, 3, 100, 1_234])
@pytest.mark.parametrize("full", [False, True], ids=["", "a full disk"])
def test_states_of_drift_leave_memory_and_are_all_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, full: bool
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("no space")

    whole = clerk(tmp_path / "whole", rows)
    assert len(whole._states) == rows, "the pieces are larger"
    whole.finish()
    monkeypatch.setattr(module, "PIECE", 20)
    monkeypatch.setattr(shelf, "GROUP", 100)
    if full:
        monkeypatch.setattr(shelf.Shelf, "_put", refuse)
    small = clerk(tmp_path / "small", rows)
    assert len(small._states) < 20
    small.finish()
    files = [tmp_path / name / "drift.parquet" for name in ("whole", "small")]
    assert [file.exists() for file in files] == [rows > 0] * 2
    if rows:
        assert files[0].read_bytes() == files[1].read_bytes()
        assert pd.read_parquet(files[1])["ts"].tolist() == list(range(rows))


def test_orders_are_forgotten_long_after_their_end_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "ENDED", 10)
    one = Follower((1,), 1)
    one.ordered("resting", "X", "S", ["decision=1"], 0)
    for number in range(2, 200):
        one.ordered(f"{number}", "X", "S", [f"decision={number}"], number)
        one.ended(f"{number}", "X", number)
        one.filled(f"{number}", "X", 1.0 if number % 2 else -1.0, 100.0 + number % 2, 0.0)  # after its end
    assert len(one._orders) == 11
    assert sum(one.realised.of(number) is not None for number in range(200)) == 99
    one.filled("resting", "X", 1.0, 90.0, 0.0)
    assert one.realised.of(1) is None
    one.filled("resting", "X", -1.0, 95.0, 0.0)
    assert one.realised.of(1) == 5 * 10**9
