"""Worlds: the same bytes on every machine, and planted features that can be found again."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alphatrade.nodes.tape import Tape
from alphatrade.nodes.tape_spec import REGIMES, WorldTape
from alphatrade.nodes.tapes import parse_spec
from alphatrade.nodes.world_state import normal
from alphatrade.nodes.worlds import make_world
from alphatrade.risk.errors import TapeError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world() -> Tape:
    return make_world(WorldTape(seed=7, hours=12, halts=2, gaps=2, bad_prints=5))


def mid(tape: Tape) -> np.ndarray:
    return (tape.columns["bid"] + tape.columns["ask"]) / 2e9


def test_same_bytes_in_other_processes(world: Tape) -> None:
    code = (
        "from alphatrade.nodes.worlds import make_world; from alphatrade.nodes.tape_spec import WorldTape;"
        "import hashlib; w = make_world(WorldTape(seed=7, hours=12, halts=2, gaps=2, bad_prints=5));"
        "print(w.tape_hash, hashlib.sha256(w.truth.to_csv().encode()).hexdigest())"
    )
    said = set()
    plain = {"NPY_DISABLE_CPU_FEATURES": "", "OPENBLAS_CORETYPE": ""}
    poor = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4", "OPENBLAS_CORETYPE": "Nehalem", "TZ": "Asia/Tokyo"}
    for seed, extra in (("1", plain), ("2", poor)):
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, **extra}
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd="/")
        assert run.returncode == 0, run.stderr
        said.add(run.stdout.strip())
    assert len(said) == 1
    assert said.pop().split()[0] == world.tape_hash


def test_parameters_change_the_world(world: Tape) -> None:
    hashes = {world.tape_hash}
    for change in (
        {"seed": 8},
        {"alpha": 0.1},
        {"bad_prints": 4},
        {"spread_ticks": 3},
        {"taker_fee": "0.001"},
    ):
        keys = {"seed": 7, "hours": 12, "halts": 2, "gaps": 2, "bad_prints": 5, **change}
        hashes.add(make_world(parse_spec({"source": "world", **keys})).tape_hash)
    assert len(hashes) == 6


def test_form(world: Tape) -> None:
    columns = world.columns
    assert world.provides == frozenset({"quote", "spread", "size"})
    assert (np.diff(columns["ts"]) > 0).all()
    assert (columns["ask"] > columns["bid"]).all()
    assert all((columns[name] % 10**7 == 0).all() for name in ("bid", "ask", "bid_size", "ask_size"))
    assert (columns["bid_size"] > 0).all()
    assert world.truth is not None
    assert (world.truth["ts"].to_numpy() == columns["ts"]).all()
    assert set(world.truth["regime"]) == set(REGIMES)


def test_planted_events_are_where_the_truth_says(world: Tape) -> None:
    assert world.truth is not None
    truth, ts = world.truth, world.columns["ts"]
    assert truth["event"].value_counts().drop("").to_dict() == {"bad_print": 5, "reopen": 2, "gap": 2}
    assert {k: world.audit[k] for k in ("halts", "gap", "bad_prints")} == {
        "halts": 2,
        "gap": 4,
        "bad_prints": 5,
    }
    for place in np.flatnonzero(truth["event"] == "bad_print"):
        off = mid(world)[place] / (truth["mid"][place] / 1e9) - 1
        assert 0.014 < abs(off) < 0.031
        assert abs(mid(world)[place + 1] / mid(world)[place - 1] - 1) < 0.01, "it is alone"
    for halted, open_again in world.status.ts.reshape(-1, 2):
        assert not ((ts >= halted) & (ts <= open_again)).any(), "no quote while halted"
    assert world.status.action.tolist() == [0, 1, 0, 1]


def test_imbalance_leads_by_the_planted_amount() -> None:
    keys = {"hours": 24, "halts": 0, "gaps": 0, "bad_prints": 0, "schedule": ("up:1", "down:1", "revert:1")}
    found = {}
    for alpha in (0.0, 0.2, 0.4):
        tape = make_world(WorldTape(seed=3, alpha=alpha, tick="0.0001", **keys))
        bid, ask = tape.columns["bid_size"], tape.columns["ask_size"]
        imbalance = (bid - ask) / (bid + ask)
        found[alpha] = float(np.corrcoef(imbalance[:-1], np.diff(mid(tape)))[0, 1])
        before = float(np.corrcoef(imbalance[1:], np.diff(mid(tape)))[0, 1])
        assert alpha == 0 or found[alpha] > before, "it leads rather than follows"
    assert abs(found[0.0]) < 0.02
    assert 0.13 < found[0.2] < 0.21
    assert 0.28 < found[0.4] < 0.41


def test_alpha_decays() -> None:
    tape = make_world(WorldTape(seed=3, hours=8, alpha=0.4, alpha_half_life_s=3600, schedule=("up", "down")))
    assert tape.truth is not None
    alpha = tape.truth["alpha"].to_numpy()
    assert alpha[0] == 0.4
    hour = int(np.searchsorted(tape.columns["ts"], tape.columns["ts"][0] + 3600 * 10**9))
    assert abs(alpha[hour] - 0.2) < 0.01


def test_regimes_are_what_they_are_called() -> None:
    tape = make_world(WorldTape(seed=5, hours=20, halts=0, gaps=0, bad_prints=0, schedule=REGIMES))
    assert tape.truth is not None
    price, regime = mid(tape), tape.truth["regime"].to_numpy()
    spread = tape.columns["ask"] - tape.columns["bid"]
    move, vol, wide = {}, {}, {}
    for name in REGIMES:
        part = price[regime == name]
        move[name] = part[-1] / part[100] - 1
        vol[name] = float(np.std(np.diff(part) / part[:-1]))
        wide[name] = float(np.mean(spread[regime == name]))
    assert move["up"] > 0.03
    assert move["down"] < -0.03
    assert vol["calm"] < 0.6 * vol["up"] < 0.3 * vol["shock"]
    assert wide["calm"] < wide["up"] < wide["shock"]
    depth = tape.columns["bid_size"] + tape.columns["ask_size"]
    assert np.mean(depth[regime == "shock"]) < 0.5 * np.mean(depth[regime == "calm"])
    reverting = price[regime == "revert"]
    step = 300
    back = np.corrcoef(np.diff(reverting[::step])[:-1], np.diff(reverting[::step])[1:])[0, 1]
    assert back < -0.2


def test_schedule_weights_and_slices() -> None:
    spec = WorldTape(hours=4, halts=0, gaps=0, bad_prints=0, schedule=("up:3", "calm"))
    tape = make_world(spec)
    assert tape.truth is not None
    assert (tape.truth["regime"] == "up").mean() == pytest.approx(0.75, abs=0.001)
    part = make_world(spec.model_copy(update={"end": "2025-01-06T01:00:00Z"}))
    assert len(part) == 3600
    assert part.truth is not None
    assert len(part.truth) == 3600


def test_normal_is_about_normal() -> None:
    sample = normal(np.random.Generator(np.random.PCG64(1)), 100_000)
    assert abs(sample.mean()) < 0.02
    assert abs(sample.std() - 1) < 0.01


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"hours": 0.001}, "tape.hours"),
        ({"hours": 8000, "step_s": 0.5}, "tape.hours"),
        ({"hours": 0.5, "halts": 100}, "tape.halts"),
        ({"hours": 0.1, "bad_prints": 5000, "halts": 0, "gaps": 0}, "tape.bad_prints"),
        ({"schedule": ["sideways"]}, "schedule"),
        ({"schedule": ["up:0"]}, "tape.schedule"),
        ({"seed": -1}, "seed"),
        ({"begin": "yesterday?"}, "tape.begin"),
        ({"instrument": "SPY", "lot": "0.5"}, "tape.lot"),
        ({"start": "2031-01-01"}, "tape.start"),
    ],
)
def test_bad_worlds_are_refused(keys: dict[str, object], word: str) -> None:
    with pytest.raises(TapeError, match=word.replace(".", r"\.")):
        make_world(parse_spec({"source": "world", **keys}))
