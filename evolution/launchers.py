"""Hydra launchers on warm workers: processes of joblib's loky, or Ray actors.

A worker starts once: it takes the sweep as a whole, loads what every job needs (``warm`` of the task function) and
then runs one job after another. It is recycled after a number of jobs, so that what a long run leaks is given back. A
job whose worker dies gets another one and, if that dies too, is returned as failed with :class:`WorkerDiedError`; the
others do not notice. A worker that does not start is no job's fault: it ends the sweep. Results come back in the order
of the jobs, whoever was faster.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import cloudpickle
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from alphatrade.risk.errors import ConfigError, WorkerDiedError

LIVES = 2  # of a job: who takes that many workers along is to blame
Job = tuple[int, list[str]]


class WarmLauncher(Launcher):
    """
    What both launchers have in common.

    Parameters
    ----------
    n_jobs : int
        Workers; one for each core with -1.
    recycle : int
        Jobs after which a worker makes place for a fresh one.
    """

    def __init__(self, n_jobs: int = -1, recycle: int = 200) -> None:
        for field, value in (("n_jobs", n_jobs), ("recycle", recycle)):
            if type(value) is not int or (value < 1 and (field, value) != ("n_jobs", -1)):
                raise ConfigError(f"hydra.launcher.{field}", value, "a whole number above 0")
        self.n_jobs = n_jobs if n_jobs > 0 else len(os.sched_getaffinity(0))
        self.recycle = recycle
        self._payload = b""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands to a launcher."""
        self._sweep = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs and return what came of each, in their order."""
        setup_globals()
        context, task, config = self._sweep
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        self._payload = self._payload or cloudpickle.dumps((context, task, config, Singleton.get_state()))
        jobs = [(initial_job_idx + at, list(overrides)) for at, overrides in enumerate(job_overrides)]
        return self._finish(jobs)

    def _finish(self, jobs: list[Job]) -> list[JobReturn]:
        raise NotImplementedError

    def close(self) -> None:
        """Let the workers go."""
        raise NotImplementedError


class JoblibLauncher(WarmLauncher):
    """Jobs in warm processes of this machine: joblib's loky executor."""

    _executor: Any = None
    _futures: Mapping[int, Any] = {}
    _done = 0

    def close(self) -> None:
        """Let the workers go; those that are at work are stopped."""
        if self._executor is not None:
            if not all(future.done() for future in self._futures.values()):
                # Not by loky's own kill_workers, which trips over jobs that nobody has taken yet.
                for process in list(self._executor._processes.values()):
                    process.terminate()
            self._executor.shutdown(wait=True)
            self._executor, self._futures, self._done = None, {}, 0

    def _finish(self, jobs: list[Job]) -> list[JobReturn]:
        # A dead worker takes the whole pool along and does not say whose job it was: those without a result are run
        # again one by one, and only there a death counts.
        results = self._round(jobs)
        for job in jobs:
            for _ in range(LIVES):
                if job[0] not in results:
                    results |= self._round([job])
        return [results.get(job[0]) or _dead() for job in jobs]

    def _round(self, jobs: list[Job]) -> dict[int, JobReturn]:
        """Return the results of those jobs that had one when all had ended, or the pool broke."""
        from concurrent.futures.process import BrokenProcessPool

        if self._done >= self.recycle * self.n_jobs:
            self.close()
        results, futures = dict[int, JobReturn](), dict[int, Any]()
        for _ in range(LIVES):
            pool = self._warm()
            self._futures = futures
            with suppress(BrokenProcessPool):
                for job in jobs:
                    futures[job[0]] = pool.submit(_work, *job)
            if futures:
                break
            self.close()  # it was broken before: a worker died between two generations, of none of these jobs
        for number, future in futures.items():
            try:
                results[number] = future.result()
            except BrokenProcessPool:  # loky's own errors derive from it
                continue
        self._done += len(jobs)
        if len(results) < len(jobs):
            self.close()
        return results

    def _warm(self) -> Any:
        from concurrent.futures.process import BrokenProcessPool

        if self._executor is None:
            from joblib.externals.loky import ProcessPoolExecutor

            self._executor = ProcessPoolExecutor(self.n_jobs, initializer=_start, initargs=(self._payload,))
            try:
                self._executor.submit(_ready).result()
            except BrokenProcessPool as error:
                self.close()
                raise _no_start("its process died") from error
        return self._executor


class RayLauncher(WarmLauncher):
    """
    Jobs in warm Ray actors, of this machine or of a cluster.

    Parameters
    ----------
    address : str, optional
        Of a cluster, as `ray.init` takes it; without it one is started here, for this sweep only.
    """

    def __init__(self, n_jobs: int = -1, recycle: int = 200, address: str | None = None) -> None:
        super().__init__(n_jobs, recycle)
        self.address = address
        self._actors: list[tuple[Any, Any]] = []  # each with what tells that it has started

    def close(self) -> None:
        """Let the actors go, and Ray itself."""
        import ray

        if ray.is_initialized():
            ray.shutdown()
        self._actors = []

    def _actor(self) -> tuple[Any, Any]:
        import ray

        if not ray.is_initialized():
            local: dict[str, Any] = {} if self.address else {"num_cpus": self.n_jobs, "include_dashboard": False}
            try:
                ray.init(
                    address=self.address or "local", log_to_driver=False, configure_logging=False,
                    logging_level=logging.CRITICAL, **local,
                )  # fmt: skip
            except (ConnectionError, OSError, RuntimeError, ValueError) as error:
                raise ConfigError("hydra.launcher.address", self.address, f"a cluster ({error})"[:200]) from error
        actor: Any = ray.remote(num_cpus=1, max_restarts=0)(_RayWorker).remote(self._payload)
        return actor, actor.ready.remote()

    def _finish(self, jobs: list[Job]) -> list[JobReturn]:
        import ray

        waiting, results = list(reversed(jobs)), dict[int, JobReturn]()
        lives = dict.fromkeys([job[0] for job in jobs], LIVES)
        running: dict[Any, tuple[Any, Any, Job]] = {}
        while waiting or running:
            while waiting and len(running) < self.n_jobs:
                job = waiting.pop()
                known = self._actors and lives[job[0]] == LIVES  # one that sat idle may be dead: no job's last life
                actor, started = self._actors.pop() if known else self._actor()
                running[actor.run.remote(*job)] = actor, started, job
            if not waiting:
                self._make_place([started for _, started, _ in running.values()])
            (ended, *_), _ = ray.wait(list(running), num_returns=1)
            actor, started, job = running.pop(ended)
            try:
                results[job[0]], worked = ray.get(ended)
            except ray.exceptions.RayTaskError as error:  # what Ray makes of it is many lines
                raise error.cause from None
            except ray.exceptions.RayError as error:
                if not isinstance(error, _deaths()):
                    words = f"{type(error).__name__}: {error}".splitlines()[0]
                    raise ConfigError("hydra.launcher", words[:200], "a cluster that takes jobs") from error
                try:
                    ray.get(started)
                except ray.exceptions.RayError as no_start:
                    raise _no_start("its actor died") from no_start
                lives[job[0]] -= 1
                if lives[job[0]]:
                    waiting.append(job)
                else:
                    results[job[0]] = _dead()
                continue
            if worked < self.recycle:
                self._actors.append((actor, started))
            else:
                ray.kill(actor)
        return [results[job[0]] for job in jobs]

    def _make_place(self, started: list[Any]) -> None:
        """Let idle actors go, one for each that has a job and has not started: it may wait for their processor."""
        import ray

        for _ in ray.wait(started, num_returns=len(started), timeout=0)[1][: len(self._actors)]:
            ray.kill(self._actors.pop()[0])


def _deaths() -> tuple[type[Exception], ...]:
    """Return what Ray raises where an actor is gone, with its node or for want of memory, or its result with it."""
    from ray.exceptions import NodeDiedError, ObjectLostError, OutOfMemoryError, RayActorError, WorkerCrashedError

    return RayActorError, WorkerCrashedError, OutOfMemoryError, NodeDiedError, ObjectLostError


class _RayWorker:
    """An actor: one worker and how many jobs it has done."""

    def __init__(self, payload: bytes) -> None:
        _start(payload)
        self.done = 0

    def ready(self) -> None:
        """Tell that this actor was started."""

    def run(self, number: int, overrides: list[str]) -> tuple[JobReturn, int]:
        self.done += 1
        return _work(number, overrides), self.done


_SWEEP: list[Any] = []  # of this worker
_FAULT: list[ConfigError] = []  # why it is none


def _start(payload: bytes) -> None:
    """Make a worker of this process; where that fails, it says so to whoever wants it to work, and does not die."""
    _FAULT.clear()
    try:
        context, task, config, state = cloudpickle.loads(payload)
        setup_globals()
        Singleton.set_state(state)
        _SWEEP[:] = context, task, config
        warm = getattr(task, "warm", None)
        if warm is not None:
            warm(config)
    except Exception as error:
        _FAULT.append(_no_start(f"{type(error).__name__}: {error}"))


def _ready() -> None:
    """Raise why this process is no worker, if it is none."""
    if _FAULT:
        raise _FAULT[0]


def _work(number: int, overrides: list[str]) -> JobReturn:
    _ready()
    context, task, config = _SWEEP
    own = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(own):
        own.hydra.job.id, own.hydra.job.num = f"{own.hydra.job.name}_{number}", number
    done = run_job(
        hydra_context=context, task_function=task, config=own, job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )  # fmt: skip
    done.cfg = done.hydra_cfg = None  # nobody asks, and they would travel
    return done


def _no_start(why: str) -> ConfigError:
    return ConfigError("hydra.launcher", f"a worker that does not start ({why})", "workers that load tapes and code")


def _dead() -> JobReturn:
    error = WorkerDiedError(f"its worker process died {LIVES} times")
    return JobReturn(status=JobStatus.FAILED, _return_value=error)
