"""kill -9 of a running sim: what was acknowledged is there, nothing half written is read, the rerun is as if undisturbed."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphatrade.reflection.query import list_runs, query
from tests.conftest import FrontDoor

WORLD = ("tape=world", "tape.hours=8", "policy.cadence.n=10")
SIX_DAYS = ("tape=btcusd_1m", "tape.end='2026-08-23'")
FIXED = ("output.stress=false", "output.report=false", "output.flush_rows=64", "output.flush_ms=20")
STREAMS = {"decisions": "diary/decisions", "expost": "diary/expost", "beliefs": "belief_snapshots/beliefs"}
ACKS = 20
LATER = 1.2  # moments after the last acknowledgement too: compaction, summary, the swap


@dataclass
class Acks:
    """What the ack pipe said: the last durable row of each stream, how often, and for how long after the 20th."""

    last: dict[str, int]
    count: int
    ran_on_s: float


class Sim:
    """`alphatrade sim` in a process of its own, with an ack pipe."""

    def __init__(self, overrides: Sequence[str], artifacts: Path, env: dict[str, str]) -> None:
        self._read, write = os.pipe()
        command = [sys.executable, "-m", "alphatrade", "sim", *FIXED, *overrides]
        self.process = subprocess.Popen(
            [*command, f"paths.artifacts={artifacts}", f"output.ack_fd={write}"],
            pass_fds=(write,),
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(write)
        self._text = ""
        self._heard = 0.0

    def _more(self) -> bool:
        """Read what is in the pipe, waiting for at least a byte; False at its end."""
        block = os.read(self._read, 65_536)
        if block:
            self._text += block.decode()
            self._heard = time.monotonic()
        return bool(block)

    def run(self, kill_after_s: float | None = None) -> Acks:
        """Let it run to its end, or kill it so long after its 20th acknowledgement."""
        while self._text.count("\n") < ACKS and self._more():
            pass
        reached = self._heard
        if kill_after_s is not None:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(kill_after_s)
            self.process.kill()
        while self._more():
            pass
        os.close(self._read)
        _, errors = self.process.communicate()
        assert self.process.returncode in (0, -9), errors
        last: dict[str, int] = {}
        lines = self._text.splitlines()
        for line in lines:
            word, stream, first, end = line.split()
            assert word == "ack"
            assert int(first) == last.get(stream, -1) + 1, "acknowledged in order and without a gap"
            last[stream] = int(end)
        return Acks(last, len(lines), self._heard - reached)


def killed_run(overrides: Sequence[str], artifacts: Path, env: dict[str, str], after_s: float) -> Acks:
    """Kill a run at a moment; if it was faster than the moment, take an earlier one."""
    while True:
        sim = Sim(overrides, artifacts, env)
        acks = sim.run(after_s)
        if sim.process.returncode == -9:
            assert acks.count >= ACKS
            return acks
        after_s /= 2


def rows_on_disk(folder: Path, stream: str) -> pa.Table:
    """Return the rows of a stream, read without any code of ours: the compacted file, else its segments."""
    whole = folder / f"{STREAMS[stream]}.parquet"
    files = [whole] if whole.exists() else sorted((folder / STREAMS[stream]).glob("*.parquet"))
    return pa.concat_tables([pq.read_table(file, partitioning=None) for file in files])


def check_remains(folder: Path, acks: Acks, undisturbed: Path) -> None:
    """Every acknowledged row is there with its final value, and the diary reads exactly what is whole."""
    for file in folder.rglob("*.parquet"):
        pq.read_table(file, partitioning=None)  # under its final name a file is whole, or it is not there
    for file in folder.glob("*.json"):
        json.loads(file.read_text())
    for stream, last in acks.last.items():
        rows = rows_on_disk(folder, stream)
        assert rows["row"].to_pylist() == list(range(len(rows))), stream
        assert len(rows) > last, f"{stream}: acknowledged up to {last}, {len(rows)} rows on disk"
        expected = pq.read_table(undisturbed / f"{STREAMS[stream]}.parquet", partitioning=None)
        names = [name for name in rows.column_names if name != "realized"]
        assert rows.select(names).equals(expected.select(names).slice(0, len(rows))), stream
        assert query(folder, f"select count(*) as n from {stream}")["n"].iloc[0] == len(rows)


@dataclass
class Undisturbed:
    """A run that nobody killed: its folder, its digests, seconds from its 20th acknowledgement to its last."""

    path: Path
    digests: dict[str, str]
    ran_on_s: float


def undisturbed_run(overrides: Sequence[str], artifacts: Path, env: dict[str, str]) -> Undisturbed:
    sim = Sim(overrides, artifacts, env)
    acks = sim.run()
    assert sim.process.returncode == 0
    path = (artifacts / "latest").resolve()
    assert acks.last == {name: len(rows_on_disk(path, name)) - 1 for name in STREAMS}, "in the end all rows"
    assert acks.count >= 3 * ACKS, "flushed often enough to be killed in between"
    return Undisturbed(path, summary(path)["digests"], acks.ran_on_s)


def summary(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "summary.json").read_text())
    return found


def remains(artifacts: Path) -> Path:
    """Return what a killed run has left: its partial folder, or the published one if it came so far."""
    partial = list(artifacts.glob("*/.partial-*"))
    assert len(partial) <= 1
    return partial[0] if partial else (artifacts / "latest").resolve()


def drill(
    overrides: Sequence[str], kills: int, seed: int, tmp_path: Path, env: dict[str, str], door: FrontDoor
) -> None:
    """Kill, look, rerun, compare: so many times."""
    calm = undisturbed_run(overrides, tmp_path / "calm", env)
    rng = random.Random(seed)
    artifacts = tmp_path / "artifacts"
    at_partial = 0
    for number in range(kills):
        acks = killed_run(overrides, artifacts, env, rng.uniform(0.0, LATER * calm.ran_on_s))
        folder = remains(artifacts)
        at_partial += folder.name.startswith(".partial-")
        check_remains(folder, acks, calm.path)
        if number == 0 and folder.name.startswith(".partial-"):
            look_from_outside(folder, artifacts, door)
        again = door("sim", *FIXED, *overrides, f"paths.artifacts={artifacts}")
        assert again.returncode == 0, again.stderr
        finished = (artifacts / "latest").resolve()
        assert summary(finished)["digests"] == calm.digests, f"kill {number}"
        assert summary(finished)["replaced"] in (None, "identical digests")
        assert list(artifacts.glob("*/.*")) == [], "the rerun clears what the killed run has left"
    assert at_partial >= kills / 2, "most kills must hit a run that is going on"


def look_from_outside(folder: Path, artifacts: Path, door: FrontDoor) -> None:
    """What an operator does after a crash: list the runs and query the diary."""
    assert "unfinished" in set(list_runs(artifacts)["state"])
    shown = door("diary", str(folder), "select max(row) as last, count(*) as n from decisions")
    assert shown.returncode == 0, shown.stderr
    last, count = map(int, shown.stdout.split()[-2:])
    assert count == last + 1 == len(rows_on_disk(folder, "decisions"))


@pytest.mark.long
def test_two_kills_on_a_world(tmp_path: Path, door_env: dict[str, str], front_door: FrontDoor) -> None:
    drill(WORLD, 2, 5, tmp_path, door_env, front_door)


@pytest.mark.long
def test_twenty_kills_at_random_moments(tmp_path: Path, door_env: dict[str, str], front_door: FrontDoor) -> None:
    drill(SIX_DAYS, 20, 20, tmp_path, door_env, front_door)


# -- the last steps of a run: the swap ------------------------------------------------------------------------------

PUBLISH = """
import os, pathlib, shutil, sys
from alphatrade.nodes.artifacts import RunFolder

left = int(sys.argv[3])

def dying(function):
    def call(*arguments, **named):
        global left
        if left == 0:
            os.kill(os.getpid(), 9)
        left -= 1
        return function(*arguments, **named)
    return call

with RunFolder(pathlib.Path(sys.argv[1]), "same") as folder:
    folder.write_json("summary.json", {"run": sys.argv[2]})
    folder.write_json("other.json", {"run": sys.argv[2]})
    for name in ("rename", "unlink", "replace", "symlink_to"):
        setattr(pathlib.Path, name, dying(getattr(pathlib.Path, name)))
    shutil.rmtree = dying(shutil.rmtree)
    folder.publish()
"""


def publish(artifacts: Path, what: str, steps: int, env: dict[str, str]) -> int:
    """Publish a run in a process that dies before its `steps`-th change of the file system; return its exit code."""
    command = [sys.executable, "-c", PUBLISH, str(artifacts), what, str(steps)]
    return subprocess.run(command, env=env, check=False).returncode


def contents(folder: Path) -> set[str]:
    return {json.loads(path.read_text())["run"] for path in folder.glob("*.json")}


def test_a_kill_between_any_two_steps_of_the_swap_loses_no_run(tmp_path: Path, door_env: dict[str, str]) -> None:
    for steps in range(20):
        artifacts = tmp_path / str(steps)
        assert publish(artifacts, "old", 99, door_env) == 0
        code = publish(artifacts, "new", steps, door_env)
        (day,) = artifacts.glob("[0-9]*")
        found = [contents(path) for path in day.iterdir() if path.name != ".partial-same"]
        assert {"old"} in found or {"new"} in found, f"step {steps}: neither run is whole"
        assert all(len(one) == 1 for one in found), f"step {steps}: mixed"
        # The next run finishes the swap before it begins, and takes its place in the end.
        assert publish(artifacts, "next", 99, door_env) == 0
        assert contents(artifacts / "latest") == {"next"}
        assert [path.name for path in day.iterdir()] == ["same"]
        assert [path.name for path in artifacts.iterdir() if path.name.startswith(".")] == []
        if code == 0:
            assert steps >= 4, "the drill must have died between several steps"
            return
    pytest.fail("the swap never came to its end")
