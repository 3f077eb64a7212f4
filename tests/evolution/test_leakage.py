"""The comparisons of leakage tests, on toy policies: functions of prices, honest or not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from alphatrade.evolution import leakage
from alphatrade.evolution.leakage import LeakageSpec, Stream, cuts, difference, echo, look, shuffle
from alphatrade.risk.errors import TapeError

N = 1200
SPEC = LeakageSpec()
Toy = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def prices(seed: int = 1) -> dict[str, Any]:
    steps = np.random.default_rng(seed).normal(0, 40, N).round().astype(np.int64)
    close = (100_000 + np.cumsum(steps)) * 10**7
    return {
        "ts": np.arange(N, dtype=np.int64) * 60,
        "open": close - 10**7,
        "high": close + 10**7,
        "low": close - 2 * 10**7,
        "close": close,
    }


REAL = prices()["close"] / 1e9


def run(toy: Toy) -> list[str]:
    """Return the leak of every test, as `leaks` would find it in replays."""

    def replayed(test: str, at: int) -> Stream:
        columns = prices()
        keep = int(np.searchsorted(columns["ts"], at, "right"))
        if test == "truncation":
            columns = {name: values[:keep] for name, values in columns.items()}
        elif test == "shuffle":
            columns = shuffle(columns, keep, 10**7, 1)
        mid = columns["close"] / 1e9
        signal = toy(mid)
        return {"decisions": {"ts": columns["ts"].tolist(), "mid": mid.tolist(), "f": signal.tolist()},
                "orders": {"ts": columns["ts"][signal > 0].tolist()}}  # fmt: skip

    return [row.leak for row in look("X", replayed, SPEC)]


def change(x: np.ndarray[Any, Any], steps: int) -> np.ndarray[Any, Any]:
    return np.concatenate((np.zeros(steps), x[steps:] / x[:-steps] - 1.0))


PLANTS: dict[str, Toy] = {
    "next price": lambda mid: np.append(mid[1:] / mid[:-1] - 1.0, 0.0),
    "last price": lambda mid: mid[-1] / mid - 1.0,
    "mean of the tape": lambda mid: mid - mid.mean(),
    "length of the tape": lambda mid: np.full(len(mid), float(len(mid))),
}


@pytest.mark.parametrize("steps", [1, 5, 60])
def test_the_honest_pass(steps: int) -> None:
    assert run(lambda mid: change(mid, steps)) == [""] * 7


def test_a_clock_is_no_leak() -> None:
    """A slow wave of time goes with whatever the market did in that time; its local mean is taken away."""
    assert run(lambda mid: np.sin(np.arange(len(mid)) / 400)) == [""] * 7


@pytest.mark.parametrize("name", PLANTS)
def test_a_look_ahead_is_found_by_cutting(name: str) -> None:
    found = run(PLANTS[name])
    assert all(found[at] for at in (0, 2, 4))  # the truncations


def test_what_only_knows_the_length_is_not_found_by_shuffling() -> None:
    found = run(PLANTS["length of the tape"])
    assert not any(found[at] for at in (1, 3, 5))
    assert all(run(PLANTS["last price"])[at] for at in (1, 3, 5))


@pytest.mark.parametrize("ahead", [1, 5, 15])
def test_what_knows_the_tape_by_heart_echoes(ahead: int) -> None:
    kept = np.append(REAL[ahead:] / REAL[:-ahead] - 1.0, np.zeros(ahead))
    found = run(lambda mid: kept[: len(mid)] + change(mid, 1))
    assert found[:-1] == [""] * 6, "cutting and shuffling cannot see it"
    assert "moves with the real price" in found[-1]


def test_without_the_comparisons_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: it is they that find it."""
    monkeypatch.setattr(leakage, "difference", lambda *_: "")
    monkeypatch.setattr(leakage, "echo", lambda *_: (0.0, "", 500))
    kept = np.append(REAL[1:] / REAL[:-1] - 1.0, 0.0)
    assert run(PLANTS["next price"]) == run(lambda mid: kept[: len(mid)]) == [""] * 7


def test_honest_echoes_stay_below_the_bar() -> None:
    """In 60 worlds the loudest of six series and their changes, at 20 lags, is far from where an echo begins."""
    loudest = []
    for seed in range(60):
        real, other = prices(seed)["close"] / 1e9, prices(1000 + seed)["close"] / 1e9
        ts = list(range(N))
        columns = {f"f_{n}": change(other, n).tolist() for n in (1, 5, 20, 60)} | {
            "clock": np.cos(np.arange(N) / 200).tolist()
        }
        loudest.append(
            echo(
                {"decisions": {"ts": ts, "mid": real.tolist()}},
                {"decisions": {"ts": ts, "mid": other.tolist(), **columns}},
                300,
            )[0]
        )
    assert max(loudest) < SPEC.echo_max
    assert np.median(loudest) < 3.5


def test_rows_columns_and_counts_are_compared() -> None:
    one: Any = {"decisions": {"ts": [1, 2, 3], "x": [0.5, float("nan"), [1, 2]]}}
    assert difference(one, {"decisions": {"ts": [1, 2, 3, 4], "x": [0.5, float("nan"), [1, 2], 9]}}, 3) == ""
    assert "row 1, x" in difference(one, {"decisions": {"ts": [1, 2, 3], "x": [0.5, 0.25, [1, 2]]}}, 3)
    assert difference(one, {"decisions": {"ts": [1, 2, 3], "x": [0.5, float("nan"), [1, 3]]}}, 2) == ""
    assert "3 rows and 2" in difference(one, {"decisions": {"ts": [1, 2], "x": [0.5, float("nan")]}}, 3)


def test_cuts_are_the_same_again_and_apart() -> None:
    stamps = list(range(0, 12_000, 10))
    found = cuts(stamps, SPEC)
    assert found == cuts(stamps, SPEC)
    assert len(set(found)) == 3
    assert 3600 <= min(found) < max(found) < 10_800
    assert found != cuts(stamps, SPEC.model_copy(update={"seed": 2}))
    with pytest.raises(TapeError, match="decisions"):
        cuts(stamps[:300], SPEC)


def test_a_future_needs_rows() -> None:
    for first in (0, N - 1, N):
        with pytest.raises(TapeError):
            shuffle(prices(), first, 10**7, 1)
