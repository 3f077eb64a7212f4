"""Same policy, tape, seed and code: the same bytes, whatever the process, the machine's habits and the threads."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from alphatrade.nodes import run
from alphatrade.nodes.result import RunResult

WORLD = ("tape=world", "tape.hours=8", "policy.cadence.n=10")
EMBEDDED = ("tape=btcusd_1m",)
DIGESTED = ("diary/decisions.parquet", "diary/expost.parquet", "fills.parquet", "equity.parquet")
# The same by the same rule, though no digest is taken of them.
TABLES = ("orders.parquet", "marks.parquet", "risk_events.parquet", "belief_snapshots/beliefs.parquet")
ALSO = (*TABLES, "run.yaml", "policy.json", "heartbeat.json")
PLAIN = {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
FOREIGN = {
    "PYTHONHASHSEED": "4711",
    "TZ": "Asia/Kathmandu",
    "LC_ALL": "tr_TR.UTF-8",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
    "NUMBA_CPU_NAME": "nehalem",
    "NUMBA_CPU_FEATURES": "",
    "OMP_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "2",
}
CPU_CHECK = (
    "import numpy as np\n"
    "from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__\n"
    "print([name for name in ('X86_V3', 'X86_V4') if __cpu_features__.get(name)])"
)


def replay(overrides: Sequence[str], env: Mapping[str, str], home: Path) -> tuple[Path, dict[str, Any]]:
    """Run `alphatrade sim` in a fresh process in a folder of its own; return the run folder and its summary."""
    home.mkdir(parents=True)
    fixed = ("output.stress=false", "output.report=false")
    done = subprocess.run(
        [sys.executable, "-m", "alphatrade", "sim", *fixed, *overrides],
        env=dict(env),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    path = (home / "artifacts" / "latest").resolve()
    return path, json.loads((path / "summary.json").read_text())


def hashes(folder: Path, names: Sequence[str]) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def check_identical(overrides: Sequence[str], env: Mapping[str, str], tmp_path: Path) -> None:
    """Run twice under different circumstances, with separate states so that nothing is shared but the tape."""
    runs = []
    for name, extra in (("here", PLAIN), ("far/a way", FOREIGN)):
        own = {**env, **extra, "ALPHATRADE_STATE": str(tmp_path / f"state of {name.replace('/', '-')}")}
        runs.append(replay(overrides, own, tmp_path / name))
    (path_a, a), (path_b, b) = runs
    assert a["fills"] > 10, "a run without trades shows nothing"
    assert a["run_id"] == b["run_id"]
    assert a["digests"] == b["digests"], "digests"
    assert hashes(path_a, DIGESTED) == hashes(path_b, DIGESTED)
    assert hashes(path_a, ALSO) == hashes(path_b, ALSO)
    timed = {"wall_s", "events_per_s"}
    assert {k: v for k, v in a.items() if k not in timed} == {k: v for k, v in b.items() if k not in timed}


@pytest.mark.long
def test_two_processes_agree_on_a_world(tmp_path: Path, door_env: dict[str, str]) -> None:
    check_identical(WORLD, door_env, tmp_path)


@pytest.mark.long
def test_two_processes_agree_on_the_embedded_tape(tmp_path: Path, door_env: dict[str, str]) -> None:
    check_identical(EMBEDDED, door_env, tmp_path)


@pytest.mark.long
def test_two_processes_agree_on_real_ticks(tmp_path: Path, door_env: dict[str, str], tapes_dir: Path) -> None:
    path = tapes_dir / "eurusd_ticks_201405" / "data.parquet"
    if not path.exists():
        pytest.skip(f"no {path}")
    days = ("tape.end='2014-05-06'", "policy.cadence.n=10")
    check_identical(
        ("tape=file", f"tape.path={path}", "tape.kind=quotes", "tape.instrument=EUR/USD", *days), door_env, tmp_path
    )


DICE = """
from alphatrade.strategies.topologies import Desire, Topology

class Dice(Topology):
    def desire(self, view):
        return Desire(hash(f"step {view.step // 10}") % 3 - 1, (), None, "as it falls")
"""


@pytest.mark.long
def test_the_check_sees_a_policy_that_depends_on_the_process(tmp_path: Path, door_env: dict[str, str]) -> None:
    (tmp_path / "dice.py").write_text(DICE)
    env = door_env | {"PYTHONPATH": f"{door_env['PYTHONPATH']}:{tmp_path}"}
    dice = ("+policy.topologies.dice={kind: 'dice:Dice', params: {}}", "policy.router.table.flat-low=dice")
    with pytest.raises(AssertionError, match="digests"):
        check_identical((*WORLD, *dice), env, tmp_path)


def test_the_other_circumstances_really_are_others(door_env: dict[str, str]) -> None:
    """The features of the CPU must be gone, or the runs above would show nothing."""
    seen = [
        subprocess.run(
            [sys.executable, "-c", CPU_CHECK], env=door_env | extra, capture_output=True, text=True, check=True
        ).stdout.strip()
        for extra in (PLAIN, FOREIGN)
    ]
    if seen[0] == "[]":
        pytest.skip("this CPU has neither X86_V3 nor X86_V4 to take away")
    assert seen[1] == "[]"


# -- what must change -----------------------------------------------------------------------------------------------


def ticks(count: int = 6_000) -> pd.DataFrame:
    """Return quotes, one each five seconds, that trend and swing enough to trade."""
    rng = np.random.default_rng(11)
    steps = np.arange(count)
    path = 0.002 * np.sin(steps / 400) + 0.00008 * np.cumsum(rng.standard_normal(count))
    bid = np.round(1.1 * (1.0 + path), 5)
    ts = pd.Timestamp("2024-03-04", tz="UTC") + pd.to_timedelta(5 * steps, "s")
    return pd.DataFrame({"ts": ts, "bid": bid, "ask": np.round(bid + 0.0001, 5)})


def replay_file(path: Path, tmp_path: Path, state: Path, *overrides: str) -> RunResult:
    fixed = (
        "output.stress=false",
        "output.report=false",
        f"paths.artifacts={tmp_path / 'artifacts'}",
        f"paths.state={state}",
    )
    tape = ("tape=file", f"tape.path={path}", "tape.kind=quotes", "tape.instrument=EUR/USD", "policy.cadence.n=10")
    return run([*fixed, *tape, *overrides])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, state_dir: Path) -> tuple[RunResult, Path]:
    folder = tmp_path_factory.mktemp("base")
    path = folder / "ticks.parquet"
    ticks().to_parquet(path)
    return replay_file(path, folder, state_dir), path


def features(result: RunResult) -> pd.DataFrame:
    decisions = result.decisions
    return decisions[[name for name in decisions if name.startswith("f_")]]


def check_changed_tick(before: RunResult, after: RunResult, moment: int) -> None:
    """One changed price: other hash, other digests, other feature values from that moment on and only from then."""
    assert after.summary["tape_hash"] != before.summary["tape_hash"]
    assert after.summary["run_id"] != before.summary["run_id"]
    assert after.summary["policy_hash"] == before.summary["policy_hash"]
    assert after.summary["digests"]["diary"] != before.summary["digests"]["diary"]
    a, b = features(before), features(after)
    assert list(a) == list(b)
    assert len(a) == len(b)
    changed = ~((a == b) | (a.isna() & b.isna()))
    rows = before.decisions["ts"][changed.any(axis=1)]
    assert len(rows) > 0, "feature values change, not only ids"
    assert changed.any(axis=0).sum() >= 3
    assert rows.min() >= moment, "and none before the price was known"


def with_one_price_changed(frame: pd.DataFrame, before: RunResult, by: float) -> tuple[pd.DataFrame, int]:
    """Return the frame with another bid at one decision step in the second half, and that moment."""
    decided = before.decisions["ts"]
    moment = int(decided.iloc[2 * len(decided) // 3])
    row = np.flatnonzero((frame["ts"] == pd.Timestamp(moment, tz="UTC")).to_numpy())[-1]
    changed = frame.reset_index(drop=True)
    changed.loc[row, "bid"] = round(changed.loc[row, "bid"] + by, 5)
    assert (changed["bid"] != frame["bid"].to_numpy()).sum() == 1
    return changed, moment


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_changed_tick_changes_hash_digests_and_feature_values(
    base: tuple[RunResult, Path], tmp_path: Path, state_dir: Path, form: str
) -> None:
    frame, moment = with_one_price_changed(ticks(), base[0], -0.0002)
    path = tmp_path / f"ticks.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    check_changed_tick(base[0], replay_file(path, tmp_path, state_dir), moment)


def test_the_form_of_a_file_does_not_matter(base: tuple[RunResult, Path], tmp_path: Path, state_dir: Path) -> None:
    path = tmp_path / "other name.csv"
    ticks().to_csv(path, index=False)
    after = replay_file(path, tmp_path, state_dir)
    assert after.summary["fills"] > 10
    assert after.summary["tape_hash"] == base[0].summary["tape_hash"]
    assert after.summary["digests"] == base[0].summary["digests"]


@pytest.mark.parametrize("override", ["seed=2", "policy.sizing.fraction=0.04"])
def test_a_changed_seed_or_value_changes_the_digests(
    base: tuple[RunResult, Path], tmp_path: Path, state_dir: Path, override: str
) -> None:
    after = replay_file(base[1], tmp_path, state_dir, override)
    assert after.summary["tape_hash"] == base[0].summary["tape_hash"]
    same = {name for name, digest in after.summary["digests"].items() if digest == base[0].summary["digests"][name]}
    assert same == set()


@pytest.mark.long
def test_a_changed_real_tick_changes_hash_digests_and_feature_values(
    tmp_path: Path, state_dir: Path, tapes_dir: Path
) -> None:
    source = tapes_dir / "eurusd_ticks_201405" / "data.parquet"
    if not source.exists():
        pytest.skip(f"no {source}")
    frame = pd.read_parquet(source).iloc[:60_000].reset_index(drop=True)
    path, other = tmp_path / "a.parquet", tmp_path / "b.parquet"
    frame.to_parquet(path)
    before = replay_file(path, tmp_path, state_dir)
    changed, moment = with_one_price_changed(frame, before, -0.0002)
    changed.to_parquet(other)
    check_changed_tick(before, replay_file(other, tmp_path, state_dir), moment)
