"""The engine of searches: one digest on any launcher, candidates a minute, memory of a worker, time to the first one.

``python -m benchmarks.evolve --only launchers first throughput memory [--candidates 1000] [--pairs 3]``
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from tqdm import tqdm

from benchmarks.evolve_place import TINY, Place
from benchmarks.figures import ROOT, Figure, figure, interleave, ratios

COMMAND = "make evolve-bench"
WAIT_S = 600.0
SEARCH = ("search.parents=4", "search.children=4", "search.generations=1")
LAUNCHERS: dict[str, tuple[str, ...]] = {
    "basic": ("hydra/launcher=basic",),
    "joblib x1": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=1"),
    "joblib x2": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "ray x2": ("hydra/launcher=ray", "hydra.launcher.n_jobs=2"),
}
WORKERS = {"joblib x2": "loky", "ray x2": "_RayWorker"}  # what the command line of a worker has


def launchers() -> list[Figure]:
    """Return how many different digests one search has on all launchers, and after a kill -9 of worker or driver."""
    same, killed = [], []
    with tempfile.TemporaryDirectory(prefix="alphatrade-launchers-") as folder:
        kinds = [*LAUNCHERS, *[f"worker of {name}" for name in WORKERS], "driver"]
        for kind in tqdm(kinds, desc="launchers", unit="search", disable=None):
            place = Place(Path(folder) / re.sub(r"\W", "-", kind))
            if kind in LAUNCHERS:
                same.append(place.run(*TINY, *SEARCH, *LAUNCHERS[kind])["digest"])
            else:
                killed.append(_killed(place, kind.removeprefix("worker of ")))
    what = f"one search on {', '.join(LAUNCHERS)}: different digests of all genotypes and fitness"
    after = "the same after kill -9 of a worker (joblib, ray) and of the driver, which goes on: different digests"
    every = len(set(same + killed))
    first = Figure("evolve.digests", what, len(set(same)), "", "== 1", len(set(same)) == 1, len(same), None, COMMAND)
    return [first, Figure("evolve.digests_killed", after, every, "", "== 1", every == 1, len(killed), None, COMMAND)]


def _killed(place: Place, kind: str) -> str:
    """Kill a worker or the driver in mid-search, see to it that the search ends, and return its digest."""
    words = (*TINY, *SEARCH, *LAUNCHERS.get(kind, LAUNCHERS["joblib x2"]))
    process = place.start(*words)
    _until(lambda: bool(place.outcomes()), process)
    if kind == "driver":
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    else:
        _workers(process.pid, WORKERS[kind])[0].kill()
    if len(place.outcomes()) >= 8:
        raise RuntimeError(f"{kind}: the search had ended before the kill")
    if kind == "driver":
        return str(place.run(*words)["digest"])
    place.done(process)
    return str(place.summary()["digest"])


def _workers(pid: int, name: str) -> list[psutil.Process]:
    below = psutil.Process(pid).children(recursive=True)
    found = []
    for child in below:
        try:
            # loky also runs a resource tracker, which does no jobs
            line = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if name in line and "tracker" not in line:
            found.append(child)
    if not found:
        raise RuntimeError(f"no worker {name} below process {pid}")
    return found


def _until(what: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """
    Wait until something is so.

    Raises
    ------
    RuntimeError
        If the process ends before, or it takes too long.
    """
    late = time.monotonic() + WAIT_S
    while not what():
        if process.poll() is not None or time.monotonic() > late:
            raise RuntimeError(f"exit {process.poll()} before what was waited for")
        time.sleep(0.02)


def throughput(pairs: int = 3, cells: int = 6) -> list[Figure]:
    """Return candidates a minute of two warm workers, and over those of two bare loops of the same replays."""
    words = (
        f"search.cells={cells}", "search.race=null", "search.parents=8", "search.children=8", "search.generations=2",
        "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="alphatrade-throughput-") as folder:
        model = Place(Path(folder) / "model")
        model.run(*words)  # whose candidates the bare loops replay; no figure is taken of it
        taken = 0

        def search() -> float:
            nonlocal taken
            taken += 1
            place = Place(Path(folder) / f"search-{taken}")
            if place.run(*words)["digest"] != model.summary()["digest"]:
                raise RuntimeError("the same search has another digest")
            ended = sorted(path.stat().st_mtime_ns for path in place.outcomes())
            return (len(ended) - 2) / ((ended[-1] - ended[1]) / 60e9)  # from when both workers had one: they are warm

        found = interleave({"search": search, "bare": lambda: _bare(model.folder)}, pairs, "throughput")
    what = f"candidates a minute, a day of the embedded tape in {cells} cells each: "
    share = "2 warm workers over two bare loops of the same replays"
    return [
        figure("evolve.throughput.search", what + "2 warm workers", found["search"], "/min", command=COMMAND),
        figure("evolve.throughput.bare", what + "two bare loops", found["bare"], "/min", command=COMMAND),
        figure("evolve.throughput", share, ratios(found["search"], found["bare"]), "x", ">= 0.85", command=COMMAND),
    ]  # fmt: skip


def _bare(folder: Path) -> float:
    """Return the candidates a minute of two bare loops at the same time, each from its first candidate on."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.evolve_bare", str(folder)]
    loops = [subprocess.Popen([*command, str(at), "2"], cwd=ROOT, stdout=subprocess.PIPE, text=True) for at in range(2)]
    total = 0.0
    for loop in loops:
        told, _ = loop.communicate()
        if loop.returncode != 0:
            raise RuntimeError(f"bare loop: exit {loop.returncode}")
        ended = json.loads(told.splitlines()[-1])["ended"]
        total += 60.0 * (len(ended) - 1) / (ended[-1] - ended[0])
    return total


def memory(candidates: int = 1000) -> list[Figure]:
    """Return how much larger a worker is after many candidates than after 50, never recycled and recycled."""
    rows = []
    for name, recycle in (("never recycled", 1_000_000), ("recycled at 200", 200)):
        early, late, most = _grown(candidates, recycle)
        what = f"resident memory of a warm worker, {name}: after {candidates} candidates over that after 50"
        slug = f"evolve.memory.{name.split()[0]}"
        rows.append(figure(slug, what, late / early, "x", "<= 1.3", command=COMMAND))
        what = f"{name}: largest between 50 and {candidates} candidates"
        rows.append(figure(f"{slug}.most", what, most / 2**20, "MiB", command=COMMAND))
    return rows


def _grown(candidates: int, recycle: int) -> tuple[int, int, int]:
    """Return the bytes of one worker after 50 candidates, after all, and the most between."""
    at_once = 25
    words = (
        *TINY, "search.cells=1", f"search.parents={at_once}", f"search.children={at_once}",
        f"search.generations={candidates // at_once}", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1",
        f"hydra.launcher.recycle={recycle}",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="alphatrade-memory-") as folder:
        place = Place(Path(folder))
        process = place.start(*words)
        seen: list[tuple[int, int]] = []
        try:
            with tqdm(total=candidates, desc=f"memory, recycle {recycle}", disable=None) as bar:
                while (done := len(place.outcomes())) < candidates:
                    bar.update(done - bar.n)
                    if process.poll() is not None:
                        raise RuntimeError(f"the search ended after {done} candidates")
                    if done:
                        seen.append((done, _resident(process.pid)))
                    time.sleep(0.25)
                seen.append((done, _resident(process.pid)))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    known = [(done, size) for done, size in seen if size and done >= 50]
    return known[0][1], known[-1][1], max(size for _, size in known)


def _resident(pid: int) -> int:
    """Return the bytes of the only worker; 0 while it is being replaced."""
    try:
        return max(int(child.memory_info().rss) for child in _workers(pid, "loky"))
    except (RuntimeError, psutil.Error):
        return 0


def first() -> list[Figure]:
    """Return how long ``make evolve`` takes to its first scored candidate, without making the environment."""
    with tempfile.TemporaryDirectory(prefix="alphatrade-first-") as folder:
        place = Place(Path(folder))
        # The environment is taken as it is, however old: -o keeps make from making it anew.
        command = ["make", "-o", ".venv/.installed", "evolve", f"ARGS=paths.artifacts={folder}/artifacts"]
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=place.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            _until(lambda: any(_scored(path) for path in place.outcomes()), process)
            took = time.perf_counter() - began
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    what = "make evolve: from the command to the first scored candidate, fresh state, environment made"
    return [figure("evolve.first", what, took, "s", command=COMMAND)]


def _scored(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_bytes())["status"] == "scored")
    except ValueError:
        return False
