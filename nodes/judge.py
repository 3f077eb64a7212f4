"""``alphatrade judge``: the best trial of a finished search before the gate; the verdict and all it follows from."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from alphatrade.evolution.dossier import opened
from alphatrade.evolution.genotype import Genotype
from alphatrade.evolution.promotion import Verdict, judge
from alphatrade.evolution.sweeper import SUMMARY, TRIALS
from alphatrade.nodes.dossier import write_dossier
from alphatrade.nodes.evolve import SETTINGS, SearchSettings, grid_of, settings_again, tapes_of
from alphatrade.nodes.ledger_home import PERSON, SERVICE, Home, existing, key_file, public_keys
from alphatrade.nodes.promote import Claim, gather, promotion_spec, records, trial_at
from alphatrade.nodes.promote_stage import promote_stage
from alphatrade.nodes.refusals import checked
from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger_chain import head_of
from alphatrade.reflection.ledger_check import verify
from alphatrade.risk.errors import ConfigError, LedgerError, RunDirError


class Judged(NamedTuple):
    """
    What came of a judgement.

    Attributes
    ----------
    verdict : Verdict
    promoted : bool
        Whether verdict and kill drill let the policy go up.
    dossier : Path
    moved : bool
        Whether it has gone to paper.
    trust : Path
        Public keys of those who say so.
    """

    verdict: Verdict
    promoted: bool
    dossier: Path
    moved: bool
    trust: Path


def judge_search(
    folder: Path, trial: str, thresholds: str, sign: bool, fingerprint: str = "", head: str = ""
) -> Judged:
    """
    Bring a trial of a finished search before the gate.

    The look at the held-out cells is entered before it is made, so that it counts however this ends.

    Parameters
    ----------
    folder : Path
        Of the search.
    trial : str
        ``GENERATION.PLACE``; empty: the best one.
    thresholds : str
        Name in ``conf/promotion``.
    sign : bool
        If verdict and kill drill hold, move the policy to paper, signed with the person's key of this machine.
    fingerprint, head : str
        Of the ledger, as they were kept elsewhere; empty: it is checked only in itself, and the verdict says so.

    Raises
    ------
    InputError
        If the folder is not that of a finished search, or anything in it or in the ledger cannot be used.
    """
    summary, plain = (_read(folder / name) for name in (SUMMARY, SETTINGS))
    named = checked(_Named, summary, SUMMARY)
    told, spec = _chosen(folder, trial), promotion_spec(thresholds)
    settings_again(plain, checked(Genotype, told["genotype"], f"{TRIALS}.genotype"))  # of the folder, so far
    home, claim = existing(), Claim(named.search, told["generation"], told["index"])
    ledger = home.ledger
    _known(home, fingerprint, head)
    leaf = trial_at(records(ledger.folder), claim)  # what is replayed, whatever the folder says
    if leaf != told:
        value = f"another trial {claim.generation}.{claim.place} than in the ledger"
        raise RunDirError(str(folder / TRIALS), value, "the trials as the search has entered them")
    own = settings_again(plain, checked(Genotype, leaf["genotype"], "trial.genotype"))
    _enter_look(home, own)
    evidence = gather(own, ledger.folder, claim, spec, fingerprint, head)
    verdict = judge(evidence, spec)
    signers = [SigningKey.load(key_file(SERVICE))] + ([SigningKey.load(key_file(PERSON))] if sign else [])
    dossier = write_dossier(evidence, spec, plain, own, ledger.folder, signers)
    data = dossier.read_bytes()
    promoted = opened(data).manifest.promoted
    move = sign and promoted and ledger.chain.stages.stage_of(verdict.policy_hash) == "experiment"
    if move:
        promote_stage(data, verdict.policy_hash, "the gate's verdict", existing(key_file(PERSON)))
    return Judged(verdict, promoted, dossier, move, public_keys(ledger))


def _chosen(folder: Path, trial: str) -> dict[str, Any]:
    """Return what the folder tells of a trial, or of the best one."""
    try:
        plain = [json.loads(line) for line in (folder / TRIALS).read_bytes().splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise RunDirError(str(folder), type(error).__name__, "the folder of a finished search") from None
    leaves = [(checked(_Leaf, one, TRIALS), one) for one in plain]
    scored = [(leaf.fitness, one) for leaf, one in leaves if trial in ("", f"{leaf.generation}.{leaf.index}")]
    found = [(fitness, one) for fitness, one in scored if fitness is not None]
    if not found:
        raise ConfigError("--trial", trial or "the best", "a scored trial of the search, GENERATION.PLACE")
    best: dict[str, Any] = max(found, key=lambda each: each[0])[1]
    return best


def _known(home: Home, fingerprint: str, head: str) -> None:
    """Refuse a ledger that is not the one whose fingerprint or head was kept elsewhere, before anything is entered."""
    home.entries()  # an end that a crash cut short is no problem: it was never acknowledged
    problems = verify(home.ledger.folder, fingerprint or None, head_of(head) if head else None).problems
    if problems:
        raise LedgerError(str(home.ledger.folder), problems[0], "a ledger in which nothing is wrong")


def _enter_look(home: Home, own: SearchSettings) -> None:
    """Enter the look at the held-out cells of each tape, unless this policy was shown them before."""
    policy_hash = own.settings.policy.policy_hash  # developed here: a trial can tell of any
    cells = [cell for cell in grid_of(tapes_of(own.settings), own.grid) if cell.holdout]
    for tape in tapes_of(own.settings):
        name = tape.instrument.id
        spans = [[str(cell.start), str(cell.end)] for cell in cells if cell.instrument == name]
        look = {"policy_hash": policy_hash, "tapes": {name: tape.tape_hash}, "spans": spans, "why": "the gate"}
        home.append_once("look", look)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise RunDirError(str(path.parent), f"no {path.name} ({type(error).__name__})", "a finished search") from None
    if not isinstance(found, dict):
        raise RunDirError(str(path.parent), f"no object in {path.name}", "a finished search")
    return found


class _Named(BaseModel):
    """What is needed of the summary of a search."""

    search: str


class _Leaf(BaseModel):
    """What is needed of a trial of it."""

    model_config = ConfigDict(allow_inf_nan=False)

    generation: int
    index: int
    genotype: dict[str, Any]
    policy_hash: str
    fitness: float | None
