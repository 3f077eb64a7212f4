"""kill -9 of the reflection job at seeded random moments: the ledger verifies, and the next job ends as if nothing had been."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_check import verify
from tests.nodes.make_rim import Place, knowing, placed

JOB = """
import sys
from pathlib import Path
import pytest
from tests.nodes.make_rim import Place, knowing
patch = pytest.MonkeyPatch()
knowing(patch)
place = Place(Path(sys.argv[1]), patch)
place.own(Path(sys.argv[2]))
print("ready", flush=True)
place.job(Path(sys.argv[2]))
print("done", flush=True)
"""
Told = list[tuple[str, dict[str, Any]]]


class Calm(NamedTuple):
    """A flow that nobody disturbs: its runs, the state before the first job, how long jobs take, and the entries."""

    runs: list[Path]
    state: Path
    seconds: list[float]
    entries: Told


def told(state: Path) -> Told:
    """Return kinds and bodies of all entries, without when and by whom."""
    return [
        (entry.kind, entry.body)
        for entry in Ledger(state / "ledger").entries()
        if entry.kind not in ("genesis", "roster")
    ]


def started(root: Path, run: Path, env: dict[str, str]) -> "subprocess.Popen[str]":
    job = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", JOB, str(root), str(run)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "ready\n"
    return job


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, door_env: dict[str, str]) -> Iterator[Calm]:
    root = tmp_path_factory.mktemp("calm")
    with pytest.MonkeyPatch.context() as patch:
        knowing(patch)
        place = Place(root, patch)
        place.keeper.entries()
        state = shutil.copytree(place.state, root / "before")
        runs, seconds = [], []
        for n in range(4):
            runs.append(place.sim(n, "governed_feedback=true").path)
            job = started(root, runs[n], door_env)
            begin = time.monotonic()
            assert job.wait(120) == 0
            seconds.append(time.monotonic() - begin)
        yield Calm(runs, state, seconds, told(place.state))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(7))
def test_a_killed_job_goes_on_and_nothing_is_applied_twice(
    calm: Calm, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door_env: dict[str, str]
) -> None:
    rng, killed = random.Random(seed), 0
    knowing(monkeypatch)
    place = placed(tmp_path, calm.state, monkeypatch)
    for run, seconds in zip(calm.runs, calm.seconds, strict=True):
        job = started(tmp_path, run, door_env)
        time.sleep(rng.uniform(0.0, 0.7 * seconds))
        if job.poll() is None:
            os.kill(job.pid, signal.SIGKILL)
            killed += 1
        job.wait()
        assert verify(place.state / "ledger").problems == ()
        place.job(run)
    assert killed >= 3, "21 of seven flows at least"
    found = told(place.state)
    phases = [(body["proposal"], body["phase"]) for kind, body in found if kind == "application"]
    assert len(phases) == len(set(phases)) == 3
    assert sorted(map(repr, found)) == sorted(map(repr, calm.entries))
