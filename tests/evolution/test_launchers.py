"""Launchers when workers die or do not start, with pools and actors that are made up."""

import os
import subprocess
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest
import ray
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from ray.exceptions import ActorDiedError, NodeDiedError, ObjectLostError, OutOfDiskError, OutOfMemoryError, RayError

from alphatrade.evolution import launchers
from alphatrade.evolution.launchers import Job, JoblibLauncher, RayLauncher
from alphatrade.risk.errors import ConfigError, WorkerDiedError

JOBS: list[Job] = [(at, [f"genotype={at}"]) for at in range(4)]


class Pool:
    """Of processes that are none; a job of a `deadly` number takes it along."""

    made: list["Pool"]
    deadly: frozenset[int] = frozenset()

    def __init__(self, n_jobs: int, initializer: Any, initargs: tuple[bytes]) -> None:
        self.broken = False
        if initargs[0]:
            initializer(*initargs)
        self.made.append(self)

    def submit(self, what: Any, *job: Any) -> "Future[Any]":
        if self.broken:
            raise BrokenProcessPool("a worker has died")
        done: Future[Any] = Future()
        if job and job[0] in self.deadly:
            self.broken = True
            done.set_exception(BrokenProcessPool("a worker has died"))
        else:
            done.set_result(what(*job))
        return done

    def shutdown(self, **_: Any) -> None:
        self.broken = True


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> type[Pool]:
    class Own(Pool):
        made: list[Pool] = []

    monkeypatch.setattr("joblib.externals.loky.ProcessPoolExecutor", Own)
    monkeypatch.setattr(launchers, "_work", lambda number, _: JobReturn(overrides=[str(number)]))
    return Own


def ran(found: list[JobReturn]) -> list[str]:
    return [one.overrides[0] if one.overrides else "dead" for one in found]


def test_a_pool_that_broke_between_two_generations_is_made_again(pool: type[Pool]) -> None:
    launcher = JoblibLauncher(n_jobs=2)
    assert ran(launcher._finish(JOBS)) == ["0", "1", "2", "3"]
    pool.made[0].broken = True  # the out-of-memory killer came by while nobody worked
    assert ran(launcher._finish(JOBS)) == ["0", "1", "2", "3"]
    assert len(pool.made) == 2


def test_who_takes_two_workers_along_is_to_blame_and_nobody_else(pool: type[Pool]) -> None:
    pool.deadly = frozenset({1})
    found = JoblibLauncher(n_jobs=2)._finish(JOBS)
    assert ran(found) == ["0", "dead", "2", "3"]
    assert found[1].status == JobStatus.FAILED
    assert isinstance(found[1]._return_value, WorkerDiedError)


WRONG = """
import time
from hydra.core.utils import JobReturn
from alphatrade.evolution import launchers

def work(number, overrides):
    time.sleep(0.2 if number < 2 else 0.001)  # then another has just ended when the workers are to go
    if number == 1:
        raise ValueError("number one")
    return JobReturn(overrides=overrides)

launchers._work, launchers._start, launchers._ready = work, print, time.monotonic
launcher = launchers.JoblibLauncher(n_jobs=1)
try:
    launcher._finish([(at, [str(at)]) for at in range(40)])
except ValueError as error:
    print("refused:", error)
finally:
    launcher.close()
"""


def test_an_error_of_a_job_ends_the_workers_without_a_trace() -> None:
    command = [sys.executable, "-W", "ignore", "-c", WRONG]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "refused: number one" in done.stdout
    assert done.stderr == ""


class Actor:
    """Of a process that is none."""

    made: list["Actor"]
    deadly: frozenset[int] = frozenset()
    dies_of: Exception = ActorDiedError()

    def __init__(self, _: bytes) -> None:
        self.dead, self.done = False, 0
        self.made.append(self)
        self.run = SimpleNamespace(remote=self._run)
        self.ready = SimpleNamespace(remote=lambda: _Ref("started"))

    def _run(self, number: int, _: list[str]) -> Any:
        self.dead = self.dead or number in self.deadly
        self.done += 1
        return _Ref(self.dies_of if self.dead else (JobReturn(overrides=[str(number)]), self.done))


class _Ref:
    def __init__(self, value: Any) -> None:
        self.value = value


def _get(ref: _Ref) -> Any:
    if isinstance(ref.value, ray.exceptions.RayError):
        raise ref.value
    if isinstance(ref.value, Exception):
        raise ray.exceptions.RayTaskError("run", "a traceback", ref.value, "worker", 1, "host")
    return ref.value


@pytest.fixture
def actor(monkeypatch: pytest.MonkeyPatch) -> type[Actor]:
    class Own(Actor):
        made: list[Actor] = []

    fake = SimpleNamespace(
        is_initialized=lambda: True, get=_get,
        wait=lambda refs, num_returns, timeout=None: (refs[:num_returns], refs[num_returns:]),
        remote=lambda **_: lambda _: SimpleNamespace(remote=Own), kill=lambda _: None,
        exceptions=ray.exceptions,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "ray", fake)
    return Own


def test_actors_that_died_between_two_generations_are_nobodys_fault(actor: type[Actor]) -> None:
    launcher = RayLauncher(n_jobs=2)
    assert ran(launcher._finish(JOBS)) == ["0", "1", "2", "3"]
    for one in actor.made:
        one.dead = True
    assert ran(launcher._finish(JOBS[:1])) == ["0"]
    actor.deadly = frozenset({1})
    assert ran(launcher._finish(JOBS)) == ["0", "dead", "2", "3"]


def test_more_actors_than_processors_take_turns(actor: type[Actor], monkeypatch: pytest.MonkeyPatch) -> None:
    """An actor that sits idle has its processor until it goes; a job whose own actor has none yet would wait for ever."""
    gone: list[Actor] = []
    owner: dict[int, Actor] = {}

    def of(ref: _Ref, one: Actor) -> _Ref:
        owner[id(ref)] = one
        return ref

    def made(_: RayLauncher) -> tuple[Actor, _Ref]:
        one = actor(b"")
        one.run = SimpleNamespace(remote=lambda *job: of(one._run(*job), one))
        return one, of(_Ref("started"), one)

    def wait(refs: list[_Ref], num_returns: int, timeout: float | None = None) -> tuple[list[_Ref], list[_Ref]]:
        started = [one for one in actor.made if one not in gone][:2]
        ready = [ref for ref in refs if owner[id(ref)] in started][:num_returns]
        assert ready or timeout == 0, "it would wait for ever"
        return ready, [ref for ref in refs if ref not in ready]

    monkeypatch.setattr(RayLauncher, "_actor", made)
    monkeypatch.setattr(sys.modules["ray"], "wait", wait)
    monkeypatch.setattr(sys.modules["ray"], "kill", gone.append)
    launcher = RayLauncher(n_jobs=4)
    for _ in range(2):
        assert ran(launcher._finish(JOBS)) == ["0", "1", "2", "3"]
    few = RayLauncher(n_jobs=2)
    gone[:], actor.made[:] = [], []
    assert ran(few._finish(JOBS)) == ["0", "1", "2", "3"]
    assert not gone, "with a processor for each nobody goes"


@pytest.mark.parametrize("error", [OutOfMemoryError("of its node"), NodeDiedError("n"), ObjectLostError("0", "", "")])
def test_who_goes_with_his_memory_or_node_is_dead(actor: type[Actor], error: RayError) -> None:
    """None of these is an error of an actor in Ray's words."""
    actor.deadly, actor.dies_of = frozenset({1}), error
    assert ran(RayLauncher(n_jobs=2)._finish(JOBS)) == ["0", "dead", "2", "3"]


def test_a_cluster_that_does_not_work_is_nobodys_death_and_one_line(actor: type[Actor]) -> None:
    actor.deadly, actor.dies_of = frozenset({1}), OutOfDiskError("no space left\non its node")
    with pytest.raises(ConfigError, match=r"OutOfDiskError.*a cluster that takes jobs") as told:
        RayLauncher(n_jobs=2)._finish(JOBS)
    assert "\n" not in str(told.value)


class Cold:
    """A task that cannot be made ready."""

    def warm(self, _: Any) -> None:
        raise FileNotFoundError(2, "No such file", "/mnt/tapes")


def test_a_worker_that_does_not_start_ends_the_sweep(pool: type[Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("joblib.externals.loky.ProcessPoolExecutor", pool)
    launcher = JoblibLauncher(n_jobs=2)
    launcher._payload = cloudpickle.dumps((None, Cold(), None, Singleton.get_state()))
    with pytest.raises(ConfigError, match=r"a worker that does not start \(FileNotFoundError: .*/mnt/tapes"):
        launcher._finish(JOBS)
    with pytest.raises(ConfigError, match="does not start"):  # another one of the same pool
        launchers._work(0, [])
    launchers._FAULT.clear()


def test_a_worker_that_dies_before_it_has_started_ends_the_sweep(
    pool: type[Pool], actor: type[Actor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "submit", lambda *_: _broken())
    with pytest.raises(ConfigError, match=r"does not start \(its process died"):
        JoblibLauncher(n_jobs=2)._finish(JOBS)
    made = RayLauncher(n_jobs=2)._actor

    def dead(_: RayLauncher) -> tuple[Any, Any]:
        one, _ = made()
        one.dead = True
        return one, _Ref(ActorDiedError())

    monkeypatch.setattr(RayLauncher, "_actor", dead)
    with pytest.raises(ConfigError, match=r"does not start \(its actor died"):
        RayLauncher(n_jobs=2)._finish(JOBS)


def test_what_an_actor_raises_is_raised_as_it_was(actor: type[Actor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor, "_run", lambda *_: _Ref(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        RayLauncher(n_jobs=2)._finish(JOBS)


def _broken() -> "Future[Any]":
    done: Future[Any] = Future()
    done.set_exception(BrokenProcessPool("a worker has died"))
    return done


class Frozen(Cold):
    def warm(self, _: Any) -> None:
        os._exit(9)


@pytest.mark.long
@pytest.mark.parametrize("task", [Cold(), Frozen()], ids=["raises", "dies"])
@pytest.mark.parametrize("kind", [JoblibLauncher, RayLauncher])
def test_real_workers_that_do_not_start(kind: type[JoblibLauncher] | type[RayLauncher], task: Cold) -> None:
    launcher = kind(n_jobs=2)
    launcher._payload = cloudpickle.dumps((None, task, None, Singleton.get_state()))
    try:
        with pytest.raises(ConfigError, match="a worker that does not start"):
            launcher._finish(JOBS)
    finally:
        launcher.close()
