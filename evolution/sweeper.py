"""The Hydra sweeper ``hydra/sweeper=evolution``: a search whose candidates are jobs of any launcher.

A candidate is a config: its genotype is written as one more choice of the group ``genotype`` and a job is the command
line of the sweep with that choice. A job writes what came of it into a file, whole or not at all; a job that has its
file is not launched again, so that a search which was killed goes on from there, to the same result. A candidate whose
process died gets its file from here. Each generation goes into the ledger as a batch before the next one is bred.

The task function says what only it can know (:class:`Task`): the grid, the evaluator, where files go.
"""

import hashlib
import itertools
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import rfc8785
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from tqdm import tqdm

from alphatrade.evolution.genotype import Genotype
from alphatrade.evolution.plan import Plan
from alphatrade.evolution.search import Search, SearchSpec
from alphatrade.evolution.trial import Candidate, Outcome, leaf, outcome_from, outcome_plain
from alphatrade.risk.disk import FolderLock, write_whole
from alphatrade.risk.errors import ConfigError, WorkerDiedError

GROUP, OUTCOMES, SUMMARY, TRIALS = "genotype", "outcomes", "search.json", "trials.jsonl"


class Task(Protocol):
    """What the sweeper needs of a task function."""

    def __call__(self, config: DictConfig) -> None:
        """Replay the candidate that `config.genotype` is, and write its outcome to `config.trial.out`."""

    def plan(self, configs: Sequence[DictConfig]) -> Plan:
        """Return the plan of a search; one config for each founder."""


class EvolutionSweeper(Sweeper):
    """
    The sweeper.

    Overrides of ``genotype`` and its parts may have several values: each combination is a founder. All others are the
    same for every candidate.
    """

    def __init__(self) -> None:
        self._context: HydraContext
        self._config: DictConfig
        self._launcher: Launcher
        self._task: Task

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands to a sweeper."""
        from hydra.core.plugins import Plugins

        if not hasattr(task_function, "plan"):
            raise ConfigError("hydra/sweeper", "evolution", "basic: only `alphatrade evolve` can be searched over")
        self._context, self._config, self._task = hydra_context, config, task_function  # type: ignore[assignment]
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """
        Search, and return the summary.

        Raises
        ------
        InUseError
            If another process drives this search.
        """
        fixed, founders = self._split(arguments)
        plan = self._task.plan([self._compose([*fixed, *own]) for own in founders])
        body = plan.body()
        search = Search(plan.spec, plan.domain, plan.founders, [cell for cell in plan.cells if not cell.holdout])
        files = _Files(plan.folder(body["search"]), self._config, fixed)
        with open_dict(self._config):
            hydra = self._config.hydra
            hydra.sweep.dir, hydra.sweep.subdir = str(files.folder), "."
            # Of two search paths Hydra takes the first; the one of the jobs has both folders.
            hydra.overrides.hydra = [one for one in hydra.overrides.hydra if not one.startswith("hydra.searchpath=")]
        with FolderLock(files.folder, "process {} drives this search"):
            return self._search(plan, body, search, files)

    def _search(self, plan: Plan, body: Mapping[str, Any], search: Search, files: "_Files") -> dict[str, Any]:
        """Enter the search, unless it was begun before, and go on to its end."""
        plan.home.append_once("search", body)
        leaves: list[dict[str, Any]] = []
        try:
            with files.progress(plan.spec) as told:
                while bred := search.ask():
                    outcomes = self._run(bred, search, files)
                    new = [leaf(body["search"], one, outcome) for one, outcome in zip(bred, outcomes, strict=True)]
                    plan.home.append_generation(new)  # once: it may be there, from before a crash or from elsewhere
                    search.tell(outcomes)
                    leaves += new
                    told(search)
        finally:
            close = getattr(self._launcher, "close", None)
            if close is not None:
                close()
        return files.finish(body, search, leaves)

    def _compose(self, overrides: list[str]) -> DictConfig:
        """Return the configuration of a job, without what Hydra needs to run it."""
        config = self._context.config_loader.load_sweep_config(self._config, overrides)
        with open_dict(config):
            del config["hydra"]
        return config

    def _split(self, arguments: list[str]) -> tuple[list[str], list[list[str]]]:
        """Return the overrides that hold for every candidate, and those of each founder."""
        parser = OverridesParser.create(config_loader=self._context.config_loader)
        fixed, several = [], []
        for text, override in zip(arguments, parser.parse_overrides(arguments), strict=True):
            key = override.get_key_element()
            if override.is_sweep_override():
                if not override.is_discrete_sweep() or not _of_genotype(key):
                    only = "one value: only genotypes may be several, the founders"
                    raise ConfigError(key, text.partition("=")[2], only)
                several.append([f"{key}={value}" for value in override.sweep_string_iterator()])
            elif _of_genotype(key):
                several.append([text])
            else:
                fixed.append(text)
        return fixed, [list(one) for one in itertools.product(*several)]

    def _run(self, bred: Sequence[Candidate], search: Search, files: "_Files") -> list[Outcome]:
        """Return what came of each candidate, launching those of which it is not known yet."""
        rival = search.rival
        beside = None if rival is None else files.outcome(rival.candidate, files.rival_of[rival.number])
        outs = [files.outcome(one, beside) for one in bred]
        for at, one in enumerate(bred):
            files.rival_of[len(search.trials) + at] = beside
            files.write_candidate(one)
        missing = [at for at, out in enumerate(outs) if files.read(out) is None]
        jobs = [files.overrides(bred[at], outs[at], beside) for at in missing]
        returns = self._launcher.launch(jobs, initial_job_idx=len(search.trials)) if jobs else []
        for at, done in zip(missing, returns, strict=True):
            _check(done, outs[at])
        found = [files.read(out) for out in outs]
        return [outcome for outcome in found if outcome is not None]


class _Files:
    """The folder of a search."""

    def __init__(self, folder: Path, config: DictConfig, fixed: list[str]) -> None:
        self.folder, self._fixed = folder, fixed
        self.rival_of: dict[int, Path | None] = {}
        (folder / GROUP).mkdir(parents=True, exist_ok=True)
        (folder / OUTCOMES).mkdir(exist_ok=True)
        also = OmegaConf.select(config, "hydra.searchpath") or []
        self._path = json.dumps([*also, f"file://{folder.resolve()}"])

    def outcome(self, one: Candidate, rival: Path | None) -> Path:
        """Return the file of what came of a candidate; whom it had to beat is part of that."""
        against = "" if rival is None else f"-{rival.stem[:8]}"
        return self.folder.resolve() / OUTCOMES / f"{_name(one.genotype)}{against}.json"

    def write_candidate(self, one: Candidate) -> None:
        """Write a genotype as a choice of its group."""
        text = yaml.safe_dump(one.genotype.model_dump(mode="json"), sort_keys=False)
        write_whole(self.folder / GROUP / f"{_name(one.genotype)}.yaml", text)

    def overrides(self, one: Candidate, out: Path, rival: Path | None) -> list[str]:
        """Return the command line of a candidate."""
        name = json.dumps(_name(one.genotype))  # quoted: one hash in a thousand reads as a number
        own = [f"{GROUP}={name}", f"trial.out={json.dumps(str(out))}"]
        if rival is not None:
            own.append(f"trial.rival={json.dumps(str(rival))}")
        return [*self._fixed, *own, f"hydra.searchpath={self._path}"]

    def read(self, out: Path) -> Outcome | None:
        """Return what came of a candidate, or None where that is not known."""
        with suppress(OSError, ValueError):
            return outcome_from(json.loads(out.read_bytes()))
        return None

    @contextmanager
    def progress(self, spec: SearchSpec) -> Iterator[Callable[[Search], None]]:
        """Show how many candidates have their outcome; quiet when stderr is not a terminal."""
        total = spec.parents + spec.generations * spec.children
        ended = threading.Event()
        with tqdm(total=total, desc="candidates", unit="", disable=not sys.stderr.isatty()) as bar:

            def follow() -> None:
                while not ended.wait(0.5):
                    bar.update(len(list((self.folder / OUTCOMES).glob("*.json"))) - bar.n)

            def told(search: Search) -> None:
                best = search.best()
                bar.set_postfix_str(f"best {best[0].fitness:.1f} bps" if best else "none scored")

            thread = threading.Thread(target=follow, daemon=True)
            thread.start()
            try:
                yield told
            finally:
                ended.set()
                thread.join()

    def finish(self, body: Mapping[str, Any], search: Search, leaves: list[dict[str, Any]]) -> dict[str, Any]:
        """Write the trials and the summary of a finished search, and return the summary."""
        lines = [rfc8785.dumps(one) for one in leaves]
        write_whole(self.folder / TRIALS, b"\n".join(lines).decode() + "\n")
        summary = {
            "search": body["search"],
            "digest": hashlib.sha256(b"\n".join(lines)).hexdigest(),
            "trials": len(leaves),
            "replays": search.spent,
            "grid": len(search.order),
            "best": [one.candidate.genotype.genotype_hash for one in search.best()[:10]],
            "archive": [[number, novelty] for number, novelty in search.archived()],
            "body": dict(body),
        }
        write_whole(self.folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
        return summary


def _check(done: JobReturn, out: Path) -> None:
    """See to it that a job has left an outcome: its own, or that its process died; all else ends the search."""
    if done.status == JobStatus.COMPLETED:
        if not out.is_file():
            raise ConfigError(out.name, "nothing", "an outcome, since the job has ended")
        return
    error = done._return_value
    if not isinstance(error, WorkerDiedError):
        raise error if isinstance(error, BaseException) else RuntimeError(str(error))
    if not out.is_file():  # it may have written it before it died
        write_whole(out, json.dumps(outcome_plain(Outcome("killed", str(error), ()))))


def _of_genotype(key: str) -> bool:
    return key.lstrip("+~").startswith((GROUP + ".", GROUP + "/")) or key == GROUP or f"@{GROUP}" in key


def _name(genotype: Genotype) -> str:
    return genotype.genotype_hash[:16]
