"""`flat_at_end`: every instrument is flat when its own tape is over, at every cadence."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alphatrade.nodes import run
from alphatrade.nodes.result import RunResult
from alphatrade.nodes.tapes import load_tape, parse_spec
from alphatrade.nodes.wiring import flat_after
from alphatrade.risk.audit import audit
from alphatrade.strategies.policy import CadenceSpec

SECOND = 10**9
QUIET = ("output.stress=false", "output.report=false", "output.diary=false")


def daily(folder: Path) -> Path:
    """Write eight years of weekdays of something like a share."""
    rng = np.random.Generator(np.random.PCG64(3))
    days = pd.bdate_range("2010-01-04", "2018-01-05")
    close = np.round(100 * np.cumprod(1 + 0.01 * rng.standard_normal(len(days))), 2)
    first = np.concatenate(([100.0], close[:-1]))
    frame = pd.DataFrame({"Date": days, "Open": first, "High": np.maximum(first, close) + 0.2,
                          "Low": np.minimum(first, close) - 0.2, "Close": close, "Volume": 10_000_000})  # fmt: skip
    frame.to_csv(path := folder / "SPY.csv", index=False)
    return path


def left(result: RunResult) -> dict[str, float]:
    """Return what each instrument still holds after its last fill."""
    fills = result.fills
    signed = fills["qty"].astype(float) * np.where(fills["side"] == "BUY", 1, -1)
    held = signed.groupby(fills["instrument"].to_numpy()).sum().round(9)
    return {name: float(quantity) for name, quantity in held.items() if quantity}


CASES = {
    "the shorter of two tapes": (
        "tapes=[{source: world, seed: 5, hours: 4}, {source: world, seed: 2, hours: 5, instrument: TWO/USD}]",
    ),
    "a slow cadence": ("tape=world", "tape.seed=5", "tape.hours=48", "tape.step_s=2", "policy.cadence.n=600"),
    "daily bars": ("tape=file", "policy.cadence.kind=bars", "policy.cadence.n=1"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_run_ends_flat(case: str, tmp_path: Path, state_dir: Path) -> None:
    source = (f"tape.path={daily(tmp_path)}",) if case == "daily bars" else ()
    place = (f"paths.artifacts={tmp_path / 'artifacts'}", f"paths.state={state_dir}")
    result = run([*CASES[case], *source, *QUIET, *place])
    assert result.summary["fills"] >= 2
    assert left(result) == {}
    assert audit(result.path).position == {}


@pytest.mark.parametrize(
    ("kind", "n", "hours"), [("seconds", 1, 1), ("seconds", 15, 4), ("seconds", 600, 4), ("events", 1000, 4)]
)
def test_steps_and_time_remain(kind: str, n: int, hours: int, tmp_path: Path) -> None:
    spec = parse_spec({"source": "world", "seed": 1, "hours": hours, "step_s": 2, "halts": 0, "gaps": 0})
    tape = load_tape(spec, tmp_path)
    ts = tape.columns["ts"]
    begin = flat_after(tape, CadenceSpec.model_validate({"kind": kind, "n": n}))
    assert ts[0] <= begin <= ts[-1] - 300 * SECOND
    remaining = ts[ts >= begin]
    assert len(remaining) >= 4 * (n if kind == "events" else 1)
    if kind == "seconds":
        assert len(np.unique(remaining // (n * SECOND))) > 4
    late = ts[-1] - begin
    assert late <= max(301, 6 * n * (2 if kind == "events" else 1)) * SECOND, "no earlier than it must be"
