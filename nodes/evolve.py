"""``alphatrade evolve``: a candidate on the cells that a search may see, and the plan of a search for the sweeper."""

import errno
import faulthandler
import json
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig

from alphatrade.evolution.domain import Domain
from alphatrade.evolution.fitness import OWN, Row, table
from alphatrade.evolution.genotype import Genotype, develop
from alphatrade.evolution.grid import Cell, GridSpec, cut
from alphatrade.evolution.plan import Plan
from alphatrade.evolution.schedule import fair, hopeless
from alphatrade.evolution.search import SearchSpec
from alphatrade.evolution.trial import Outcome, outcome_from, outcome_plain
from alphatrade.nodes.artifacts import today
from alphatrade.nodes.counting import Count, counted
from alphatrade.nodes.evaluate import reference, replays
from alphatrade.nodes.identity import code_hash
from alphatrade.nodes.ledger_home import home
from alphatrade.nodes.refusals import checked
from alphatrade.nodes.settings import RunSpec, Settings, plain_from, settings_of
from alphatrade.nodes.sim import identity_of, instrument_facts, load_tapes
from alphatrade.nodes.tape import Tape
from alphatrade.reflection.feedback import Feedback
from alphatrade.reflection.rim.edits import Experiment
from alphatrade.risk.disk import write_whole
from alphatrade.risk.errors import AlphaTradeError, ConfigError
from alphatrade.strategies.policy import canonical

SETTINGS = "settings.json"  # of a search, in its folder
FULL = (errno.ENOSPC, errno.EDQUOT)


class SearchSettings(NamedTuple):
    """
    The validated configuration of ``conf/evolve.yaml``.

    `out` and `rival` are those of one candidate; with `experiments`, proposals that were referred here are founders.
    """

    settings: Settings
    genotype: Genotype
    grid: GridSpec
    search: SearchSpec
    domain: Domain
    out: Path | None
    rival: Path | None
    experiments: bool = False


def search_settings(config: DictConfig) -> SearchSettings:
    """
    Validate a composed configuration.

    Raises
    ------
    ConfigError
        Naming path, value and expectation of the first problem.
    """
    rest = plain_from(config)
    plain = {name: rest.pop(name) for name in ("grid", "search", "domain", "trial", "experiments")}
    if not isinstance(plain["experiments"], bool):
        raise ConfigError("experiments", plain["experiments"], "true or false")
    settings = settings_of(rest)
    if settings.genotype is None:
        raise ConfigError("genotype", None, "a genotype: only those are searched")
    out, rival = (None if plain["trial"][name] is None else Path(plain["trial"][name]) for name in ("out", "rival"))
    own = _checked(plain, settings, settings.genotype)
    return own._replace(out=out, rival=rival, experiments=plain["experiments"])


def _checked(plain: Mapping[str, Any], settings: Settings, genotype: Genotype) -> SearchSettings:
    """Validate what a search has beside the run of a candidate."""
    return SearchSettings(
        settings, genotype, checked(GridSpec, plain["grid"], "grid"), checked(SearchSpec, plain["search"], "search"),
        checked(Domain, plain["domain"], "domain"), None, None,
    )  # fmt: skip


class CandidateJob:
    """
    The task function of ``alphatrade evolve``: it replays one candidate, and knows what a search is made of.

    Attributes
    ----------
    outcome : Outcome or None
        Of the last candidate that this process has replayed.
    folder : Path or None
        Of the search that was planned here.
    """

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.folder: Path | None = None
        self._worker = False

    def warm(self, config: DictConfig) -> None:
        """Make this process a worker: what every candidate needs is loaded once."""
        self._worker = True
        tapes_of(search_settings(config).settings)

    def __call__(self, config: DictConfig) -> None:
        """Replay the candidate of a configuration, and write what came of it to its file if it has one."""
        own = search_settings(config)
        try:
            with deadline(own.search.timeout_s, hard=self._worker):
                self.outcome = measured(own)
        except TimedOut:
            self.outcome = Outcome("timeout", f"longer than {own.search.timeout_s:g} s", ())
        except BaseException as error:  # of whatever the candidate is made of: it has failed, the search has not
            if isinstance(error, KeyboardInterrupt) or not to_blame(error):
                raise
            words = str(error) if isinstance(error, OWN) else f"{type(error).__name__}: {error}"
            self.outcome = Outcome("failed", " ".join(words.split())[:300], ())
        if own.out is not None:
            write_whole(own.out, json.dumps(outcome_plain(self.outcome)))

    def plan(self, configs: Sequence[DictConfig]) -> Plan:
        """
        Return the plan of a search.

        Parameters
        ----------
        configs : sequence of DictConfig
            One for each founder; they differ in nothing else.

        Raises
        ------
        InputError
            If a founder, the grid or a tape cannot be used.
        """
        all_of_them = [search_settings(config) for config in configs]
        own = all_of_them[0]
        run = own.settings.run
        tapes = tapes_of(own.settings)

        def folder(name: str) -> Path:
            self.folder = search_folder(run.paths.artifacts, name)
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / SETTINGS, json.dumps(plain_settings(own), indent=1) + "\n")
            return self.folder

        keeper, founders = home(), [each.genotype for each in all_of_them]
        if own.experiments:
            founders += [one for one in referred(own, keeper.ledger.chain.feedback) if one not in founders]
        return Plan(
            spec=own.search,
            domain=own.domain,
            founders=founders,
            cells=grid_of(tapes, own.grid),
            evaluator=evaluator(own, tapes),
            tapes={tape.instrument.id: tape.tape_hash for tape in tapes},
            code_hash=code_hash(),
            folder=folder,
            home=keeper,
        )


def referred(own: SearchSettings, feedback: Feedback) -> list[Genotype]:
    """
    Return a genotype for each experiment that was referred to evolution and that its domain allows.

    It is the first founder with that topology in that regime, parameters drawn by the seed of the search.
    """
    rng, found = np.random.Generator(np.random.PCG64(own.search.seed)), list[Genotype]()
    for case in feedback.cases.values():
        edit = case.proposal.edit
        if case.ruling is None or case.ruling.outcome != "refer" or not isinstance(edit, Experiment):
            continue
        if not own.domain.suits(edit.topology, edit.regime):
            continue
        gene = own.domain.gene(edit.topology, own.genotype, rng)
        if gene is not None:
            topologies = dict(own.genotype.topologies) | {edit.regime: (gene,)}
            found.append(Genotype.model_validate(dict(own.genotype) | {"topologies": topologies}))
    return list({one.genotype_hash: one for one in found}.values())


def plain_settings(own: SearchSettings) -> dict[str, Any]:
    """Return what a search is made of as plain values, its genotypes left out: content of its ``settings.json``."""
    parts = {"run": own.settings.run, "grid": own.grid, "search": own.search, "domain": own.domain}
    return {name: part.model_dump(mode="json") for name, part in parts.items()}


def settings_again(plain: Mapping[str, Any], genotype: Genotype) -> SearchSettings:
    """
    Return the settings of a search, with a candidate of it, from its ``settings.json``.

    Raises
    ------
    ConfigError
        If they are not valid, or one is missing.
    """
    parts = ("run", "grid", "search", "domain")
    if missing := [name for name in parts if name not in plain]:
        raise ConfigError(SETTINGS, f"no {missing[0]}", f"what a search is made of: {', '.join(parts)}")
    settings = Settings(policy=develop(genotype), run=checked(RunSpec, plain["run"], "run"), genotype=genotype)
    return _checked(plain, settings, genotype)


def measured(own: SearchSettings) -> Outcome:
    """Return what comes of a candidate on the cells that may be seen, until it is hopeless."""
    tapes = tapes_of(own.settings)
    order = fair([cell for cell in grid_of(tapes, own.grid) if not cell.holdout], own.search.cells)
    rival: tuple[Row, ...] = ()
    if own.rival is not None:
        rival = outcome_from(json.loads(own.rival.read_bytes())).rows
    race = own.search.race if rival else None
    replay = replays(own.settings, tapes, own.grid.period_s)
    lost = None if race is None else lambda rows: hopeless(rows, rival, race)
    count = Count()
    if own.out is None:  # of a search, the ledger counts whole generations
        run_id = identity_of(own.settings, tapes).run_id
        count = counted(own.settings, tapes, run_id, "fitness", [(cell.start, cell.end) for cell in order])
    rows = table(own.settings.policy, order, replay, own.grid.least, lost)
    count.close_table(rows)
    if len(rows) < len(order):
        return Outcome("stopped", f"hopeless after {len(rows)} of {len(order)} cells", tuple(rows))
    return Outcome("scored", "", tuple(rows))


def grid_of(tapes: Sequence[Tape], spec: GridSpec) -> list[Cell]:
    """Return the cells of several tapes."""
    return [cell for tape in tapes for cell in cut(tape.instrument.id, tape.columns["ts"], reference(tape), spec)]


def evaluator(own: SearchSettings, tapes: Sequence[Tape]) -> dict[str, Any]:
    """Return all that shapes a replay beside genotype and cell, as plain values."""
    run = own.settings.run
    return {
        "run": run.identity(),
        "instruments": [instrument_facts(tape, run) for tape in tapes],
        "grid": canonical(own.grid),
    }


def search_folder(artifacts: Path, name: str) -> Path:
    """Return the folder of a search: where it was begun, on whatever day, else a new one of today."""
    begun = sorted(artifacts.expanduser().glob(f"*/evolve/{name[:12]}"))
    return begun[0] if begun else today(artifacts, "evolve") / name[:12]


class TimedOut(BaseException):
    """A candidate took too long; no handler of its own may keep it."""


@contextmanager
def deadline(seconds: float, hard: bool) -> Iterator[None]:
    """
    Raise :class:`TimedOut` in what runs longer; with `hard`, what does not listen takes this process along.

    Parameters
    ----------
    seconds : float
    hard : bool
        After twice the time the process ends itself: only in a worker, which is replaced.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(_: int, __: FrameType | None) -> None:
        raise TimedOut

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again each second: a callback of compiled code may swallow one
    if hard:
        faulthandler.dump_traceback_later(2 * seconds + 5, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if hard:
            faulthandler.cancel_dump_traceback_later()


def to_blame(error: BaseException) -> bool:
    """Return whether a candidate is to blame for an error: not for a full disk, a folder, the ledger or the law."""
    if isinstance(error, AlphaTradeError) and not isinstance(error, OWN):
        return False
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno in FULL:
            return False
        found = found.__cause__ or found.__context__
    return True


def tapes_of(settings: Settings) -> list[Tape]:
    """Return the tapes of a run, loaded once in each process."""
    return _loaded(settings.run.model_dump_json())


@lru_cache(maxsize=4)
def _loaded(run: str) -> list[Tape]:
    return load_tapes(RunSpec.model_validate_json(run))
