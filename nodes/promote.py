"""Promotion: the gate gathers its evidence by replays of its own, for a claim that the ledger has to bear out.

:func:`gather` takes nothing from whoever makes the claim but where to look: trials come from the ledger, everything
else is cut, replayed and measured here. A dossier is verified by the same function.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import yaml
from tqdm import tqdm

from alphatrade.evolution.evidence import (
    Again,
    Attack,
    Evidence,
    GridCell,
    Incumbent,
    Latency,
    PromotionSpec,
    Record,
    Result,
    spots,
    trials_of,
)
from alphatrade.evolution.fitness import Row, table
from alphatrade.evolution.genotype import Genotype, develop
from alphatrade.evolution.grid import Cell
from alphatrade.evolution.leakage import Found
from alphatrade.evolution.promotion import in_charge
from alphatrade.evolution.rebuild import rebuild_strategy
from alphatrade.evolution.trial import row_plain
from alphatrade.nodes.evaluate import MEMORY, replays
from alphatrade.nodes.evolve import SearchSettings, evaluator, grid_of, tapes_of
from alphatrade.nodes.identity import code_hash
from alphatrade.nodes.latency import quantiles
from alphatrade.nodes.leakage import leaks
from alphatrade.nodes.overrides import CONFIG_MODULE
from alphatrade.nodes.red_team import attack, ground_of, unsorted_file
from alphatrade.nodes.red_team_scenarios import scenarios
from alphatrade.nodes.refusals import checked
from alphatrade.nodes.replay import Replay, replay
from alphatrade.nodes.settings import RunSpec, Settings, compose_settings
from alphatrade.nodes.tape import Tape
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_chain import head_of
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.ledger_files import beside, read_batch
from alphatrade.risk.errors import AlphaTradeError, ConfigError, LedgerError, TapeError
from alphatrade.strategies.policy import Policy, canonical

REPEATS = 3  # of each decision that is timed


class Claim(NamedTuple):
    """Which trial is to be promoted: its search, generation and place in it."""

    search: str
    generation: int
    place: int


def promotion_spec(name: str = "default") -> PromotionSpec:
    """
    Return the thresholds ``conf/promotion/<name>.yaml``.

    Raises
    ------
    ConfigError
        If there is no such file, or a threshold is outside its bounds.
    """
    folder = files(CONFIG_MODULE).joinpath("promotion")
    names = sorted(file.name.removesuffix(".yaml") for file in folder.iterdir())
    if name not in names:
        raise ConfigError("promotion", name, f"one of {', '.join(names)}")
    return checked(PromotionSpec, yaml.safe_load(folder.joinpath(f"{name}.yaml").read_text("utf-8")), "promotion")


def records(folder: Path) -> tuple[Record, ...]:
    """
    Return the entries of a ledger as evidence has them, the trials of its batches among them.

    Raises
    ------
    LedgerError
        If the ledger or a batch is damaged.
    """
    found = []
    chain, entries = Ledger(folder).read()
    for entry in entries:
        signer = chain.roster.named(entry.key)
        trials: tuple[dict[str, Any], ...] = ()
        if entry.kind == "batch":
            read_batch(folder, entry)  # checked against its root
            trials = tuple([json.loads(line) for line in (folder / beside(entry)[0]).read_bytes().splitlines()])
        role = signer.role if signer else ""
        found.append(Record(seq=entry.seq, hash=entry.hash, kind=entry.kind, body=entry.body, trials=trials, role=role))
    return tuple(found)


def trial_at(told: Sequence[Record], claim: Claim) -> dict[str, Any]:
    """
    Return what a ledger tells of a trial, whether it was entered alone or in a batch.

    Raises
    ------
    LedgerError
        If there is none.
    """
    leaves = [leaf for record in told for leaf in record.tried if claim.search and leaf["search"] == claim.search]
    for leaf in leaves:
        if (leaf["generation"], leaf["index"]) == (claim.generation, claim.place):
            return leaf
    raise LedgerError("trial", f"{claim.generation}.{claim.place}", f"one of search {claim.search[:12]}")


def gather(
    own: SearchSettings, ledger: Path, claim: Claim, spec: PromotionSpec, fingerprint: str = "", head: str = ""
) -> Evidence:
    """
    Return the evidence for a claim: what the ledger says, and what comes of replays made here.

    Parameters
    ----------
    own : SearchSettings
        Run, grid and search as the search had them.
    ledger : Path
        Folder of the ledger.
    claim : Claim
    spec : PromotionSpec
    fingerprint, head : str
        Of the ledger, as they were kept elsewhere, the head as ``NUMBER:HASH``; empty: nobody has told.

    Raises
    ------
    InputError
        If the ledger is damaged, has no such trial, or a tape cannot be used.
    """
    told, tapes = records(ledger), tapes_of(own.settings)
    genotype = checked(Genotype, trial_at(told, claim)["genotype"], "trial.genotype")
    grid = [GridCell.model_validate(cell._asdict()) for cell in grid_of(tapes, own.grid)]
    problems = verify(ledger, fingerprint or None, head_of(head) if head else None).problems
    bare = Evidence(
        policy_hash=develop(genotype).policy_hash, genotype=canonical(genotype), search=claim.search,
        generation=claim.generation, index=claim.place, code_hash=code_hash(), evaluator=evaluator(own, tapes),
        tapes={tape.instrument.id: tape.tape_hash for tape in tapes}, grid=tuple(grid), ledger=told,
        ledger_problems=problems, fingerprint=fingerprint, head=head, cost_multiple=spec.cost_multiple,
    )  # fmt: skip
    return _replayed(bare, own, ledger, spec)


def _replayed(bare: Evidence, own: SearchSettings, ledger: Path, spec: PromotionSpec) -> Evidence:
    """Return the evidence with all that is found by replays."""
    policy, tapes = develop(Genotype.model_validate(bare.genotype)), tapes_of(own.settings)
    cells = grid_of(tapes, own.grid)
    seen, held = ([cell for cell in cells if cell.holdout == which] for which in (False, True))
    places = [(bare.generation, bare.index), *spots(bare, spec.spot)]
    by_place = {(leaf["generation"], leaf["index"]): leaf["genotype"] for leaf in trials_of(bare, bare.search)}
    due = in_charge(bare)
    rival = rebuild_strategy(due, ledger) if due else None
    with _progress(len(seen) * len(places) + len(held) * (3 if rival else 2) + 2 * len(tapes) + 2) as tick:
        play = _player(own, tapes, tick)
        again = [
            Again(generation=g, index=i, cells=play(develop(Genotype.model_validate(by_place[g, i])), seen))
            for g, i in places
        ]
        dear = own.settings.run.venue.model_copy(update={"cost_multiple": spec.cost_multiple})
        costly = own.settings.run.model_copy(update={"venue": dear})
        parts = {
            "again": again,
            "holdout": play(policy, held),
            "costly": play(policy, held, costly),
            "incumbent": None if rival is None else Incumbent(policy_hash=rival.policy_hash, holdout=play(rival, held)),
            "leakage": [found for tape in tapes for found in _leaks(policy, tape, cells, own, spec, tick)],
            "red_team": _attacked(policy, own, tick),
            "latency": _latency(policy, rival, tapes, held, own, tick),
        }
    return Evidence.model_validate(dict(bare) | parts)


def _player(own: SearchSettings, tapes: list[Tape], tick: Callable[[], None]) -> Callable[..., tuple[Result, ...]]:
    """Return what replays a policy in cells, at the costs of the search or of another run spec."""

    def play(policy: Policy, cells: Sequence[Cell], run: RunSpec | None = None) -> tuple[Result, ...]:
        settings = Settings(policy=policy, run=run or own.settings.run)
        measure = replays(settings, tapes, own.grid.period_s)
        rows: list[Row] = []
        for cell in cells:
            rows += table(policy, [cell], measure, own.grid.least)
            tick()
        return tuple([Result.model_validate(row_plain(row)) for row in rows])

    return play


def _leaks(
    policy: Policy, tape: Tape, grid: Sequence[Cell], own: SearchSettings, spec: PromotionSpec,
    tick: Callable[[], None],
) -> list[Found]:  # fmt: skip
    """
    Return what the leakage tests find on a tape: on its first cell, and on all that is held out, in one piece.

    Where too little is decided for a test there is nothing.
    """
    mine = sorted((cell for cell in grid if cell.instrument == tape.instrument.id), key=lambda cell: cell.start)
    held = [cell for cell in mine if cell.holdout]
    found: list[Found] = []
    for start, end in [(each[0].start, each[-1].end) for each in (mine[:1], held) if each]:
        tick()
        try:
            found += leaks(policy, tape.slice(start, end), own.settings.run, spec.leakage)
        except TapeError:  # it cannot be tested: the gate asks for complete tests, so that is no pass
            continue
    return found


def _attacked(policy: Policy, own: SearchSettings, tick: Callable[[], None]) -> tuple[Attack, ...]:
    """Return how a policy stood each scenario of the red team, in folders that are thrown away."""
    settings = Settings(policy=policy, run=own.settings.run)
    tick()
    try:
        makers = scenarios(ground_of(settings), settings.run.venue.account == "cash")
    except AlphaTradeError as error:  # it cannot be attacked: that is no pass
        return (Attack(name=" ".join(str(error).split())[:200], passed=False),)
    with TemporaryDirectory(prefix="alphatrade-red-team-", dir=MEMORY) as folder:
        found = [attack(make(), settings, Path(folder) / name) for name, make in makers.items()]
        found.append(unsorted_file(Path(folder)))
    return tuple([Attack(name=one.name, passed=one.passed) for one in found])


def _latency(
    policy: Policy, rival: Policy | None, tapes: Sequence[Tape], held: Sequence[Cell], own: SearchSettings,
    tick: Callable[[], None],
) -> Latency | None:  # fmt: skip
    """
    Return how long decisions take, and those of the incumbent or the default policy, measured in turn.

    A replay takes the same decisions each time: of each the fastest run counts, so that the p99 is that of the policy
    and not of whatever else this machine does.
    """
    base = rival or compose_settings([]).policy
    by_name = {tape.instrument.id: tape for tape in tapes}
    cell, found = held[0], dict[str, list[list[int]]]()
    part = by_name[cell.instrument].slice(cell.start, cell.end)
    tick()
    for _ in range(REPEATS):
        for name, one in (("own", policy), ("base", base)):
            output = replay(Replay(one, [part], own.settings.run), None)
            found.setdefault(name, []).append(output.decision_ns)
    fastest = {name: [min(each) for each in zip(*runs, strict=True)] for name, runs in found.items()}
    took = {name: quantiles(each) for name, each in fastest.items()}
    n = min(one["count"] for one in took.values())
    return Latency(n=n, p99=took["own"]["p99_ns"], base_p99=took["base"]["p99_ns"]) if n else None


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Show how far the gate is; quiet when stderr is not a terminal."""
    with tqdm(total=total, desc="gate", unit="replay", disable=not sys.stderr.isatty()) as bar:

        def tick() -> None:
            bar.update()

        yield tick
