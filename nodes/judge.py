"""``alphatrade judge``: the best trial of a finished search before the gate; the verdict and all it follows from."""

import json
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from alphatrade.evolution.dossier import opened, sha
from alphatrade.evolution.genotype import Genotype
from alphatrade.evolution.promotion import Verdict, judge
from alphatrade.evolution.sweeper import SUMMARY, TRIALS
from alphatrade.nodes.dossier import write_dossier
from alphatrade.nodes.evolve import SETTINGS, SearchSettings, grid_of, settings_again, tapes_of
from alphatrade.nodes.ledger_home import PERSON, SERVICE, Home, existing, key_file, public_keys
from alphatrade.nodes.promote import Claim, gather, promotion_spec
from alphatrade.nodes.refusals import checked
from alphatrade.reflection.keys import SigningKey
from alphatrade.risk.errors import ConfigError, RunDirError
from alphatrade.strategies.policy import canonical


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


def judge_search(folder: Path, trial: str, thresholds: str, sign: bool) -> Judged:
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
        If the verdict holds, move the policy to paper, signed with the person's key of this machine.

    Raises
    ------
    InputError
        If the folder is not that of a finished search, or anything in it or in the ledger cannot be used.
    """
    summary, plain = (_read(folder / name) for name in (SUMMARY, SETTINGS))
    named = checked(_Named, summary, SUMMARY)
    leaf, spec = _chosen(folder, trial), promotion_spec(thresholds)
    own = settings_again(plain, checked(Genotype, leaf.genotype, f"{TRIALS}.genotype"))
    home = existing()
    _enter_look(home, leaf.policy_hash, own)
    ledger = home.ledger
    head = ledger.chain.head
    claim = Claim(named.search, leaf.generation, leaf.index)
    evidence = gather(own, ledger.folder, claim, spec, ledger.chain.fingerprint, f"{head.seq}:{head.hash}")
    verdict = judge(evidence, spec)
    signers = [SigningKey.load(key_file(SERVICE))] + ([SigningKey.load(key_file(PERSON))] if sign else [])
    dossier = write_dossier(evidence, spec, plain, own, ledger.folder, signers)
    data = dossier.read_bytes()
    promoted = opened(data).manifest.promoted
    move = sign and promoted and ledger.chain.stages.stage_of(verdict.policy_hash) == "experiment"
    if move:
        body = {
            "policy_hash": verdict.policy_hash, "from": "experiment", "to": "paper", "why": "the gate's verdict",
            "dossier": sha(data),
        }  # fmt: skip
        existing(key_file(PERSON)).append_stage(body, {"holds": True, **canonical(verdict)})
    return Judged(verdict, promoted, dossier, move, public_keys(ledger))


def _chosen(folder: Path, trial: str) -> "_Leaf":
    """Return the leaf of a trial, or of the best one."""
    try:
        plain = [json.loads(line) for line in (folder / TRIALS).read_bytes().splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise RunDirError(str(folder), type(error).__name__, "the folder of a finished search") from None
    leaves = [checked(_Leaf, one, TRIALS) for one in plain]
    scored = [leaf for leaf in leaves if leaf.fitness is not None]
    if trial:
        scored = [leaf for leaf in scored if f"{leaf.generation}.{leaf.index}" == trial]
    if not scored:
        raise ConfigError("--trial", trial or "the best", "a scored trial of the search, GENERATION.PLACE")
    return max(scored, key=lambda leaf: -inf if leaf.fitness is None else leaf.fitness)


def _enter_look(home: Home, policy_hash: str, own: SearchSettings) -> None:
    """Enter the look at the held-out cells of each tape, unless this policy was shown them before."""
    known = [entry.body for entry in home.ledger.entries() if entry.kind == "look"]
    cells = [cell for cell in grid_of(tapes_of(own.settings), own.grid) if cell.holdout]
    for tape in tapes_of(own.settings):
        name = tape.instrument.id
        spans = [[str(cell.start), str(cell.end)] for cell in cells if cell.instrument == name]
        look = {"policy_hash": policy_hash, "tapes": {name: tape.tape_hash}, "spans": spans, "why": "the gate"}
        if look not in known:
            home.append("look", look)


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
