"""Launchers when workers die or do not start, with pools and actors that are made up."""

import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus

from alphatrade.evolution import launchers
from alphatrade.evolution.launchers import Job, JoblibLauncher, RayLauncher
from alphatrade.risk.errors import WorkerDiedError

JOBS: list[Job] = [(at, [f"genotype={at}"]) for at in range(4)]


class Pool:
    """Of processes that are none; a job of a `deadly` number takes it along."""

    made: list["Pool"]
    deadly: frozenset[int] = frozenset()

    def __init__(self, n_jobs: int, **_: Any) -> None:
        self.broken = False
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


class ActorError(Exception):
    """As Ray's."""


class Actor:
    """Of a process that is none."""

    made: list["Actor"]
    deadly: frozenset[int] = frozenset()

    def __init__(self, _: bytes) -> None:
        self.dead, self.done = False, 0
        self.made.append(self)
        self.run = SimpleNamespace(remote=self._run)

    def _run(self, number: int, _: list[str]) -> Any:
        self.dead = self.dead or number in self.deadly
        self.done += 1
        return _Ref(None if self.dead else (JobReturn(overrides=[str(number)]), self.done))


class _Ref:
    def __init__(self, value: Any) -> None:
        self.value = value


def _get(ref: _Ref) -> Any:
    if ref.value is None:
        raise ActorError
    return ref.value


@pytest.fixture
def actor(monkeypatch: pytest.MonkeyPatch) -> type[Actor]:
    class Own(Actor):
        made: list[Actor] = []

    fake = SimpleNamespace(
        is_initialized=lambda: True, wait=lambda refs, num_returns: (refs[:1], refs[1:]), get=_get,
        remote=lambda **_: lambda _: SimpleNamespace(remote=Own), kill=lambda _: None,
        exceptions=SimpleNamespace(RayActorError=ActorError),
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
