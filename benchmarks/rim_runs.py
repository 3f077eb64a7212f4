"""Planted and null worlds before the real reflection job: what is proposed, ruled and applied, and what came of it.

A world has three windows of equal length. The run over the first two is what the job reads: it proposes from the first
and rules on the second. The third is a later run, which nobody has seen: there the policy as it was and what was
applied are replayed side by side.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr
from functools import partial
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pandas as pd
from hydra import compose, initialize_config_module
from tqdm import tqdm

from alphatrade.actors.regime import REGIMES
from alphatrade.nodes.artifacts import RunFolder
from alphatrade.nodes.feedback import taken_up
from alphatrade.nodes.identity import code_hash
from alphatrade.nodes.ledger_home import home
from alphatrade.nodes.overrides import CONFIG_MODULE
from alphatrade.nodes.rim import Job, _read, rim
from alphatrade.nodes.rim_replay import PERIOD_S, Replayed, resimulated
from alphatrade.nodes.rim_settings import RimSettings, model_file, rim_settings, shipped_bounds
from alphatrade.nodes.rim_train import INPUT
from alphatrade.nodes.rim_worlds import HOURS, World, planted
from alphatrade.nodes.settings import Settings
from alphatrade.nodes.sim import identity_of, load_tapes, run_into
from alphatrade.nodes.tape import Tape
from alphatrade.reflection.query import read_mapping
from alphatrade.reflection.rim.edits import RouteWeight, apply_edit
from alphatrade.reflection.rim.engines import load
from alphatrade.reflection.rim.proposals import sealed_proposal
from alphatrade.reflection.rim.propose import Made, propose
from alphatrade.reflection.thresholds import GovernanceSpec
from alphatrade.risk.audit import audit
from alphatrade.strategies.policy import Policy, canonical

WINDOWS = 3
BPS = 1e4


class Came(NamedTuple):
    """
    What came of one world.

    Attributes
    ----------
    seed : int
    proposals : int
    right : int
        Rank of the first right edit among the proposals; 0: none.
    by_rule : int
        Proposals that were ruled to be applied.
    applied : bool
        Whether one was begun.
    gain : float
        Of what was applied, on the third window, bps of the capital an hour.
    fills_differ : bool
        Whether its fills there are others.
    violations : int
        Of the auditor on that run.
    """

    seed: int
    proposals: int
    right: int
    by_rule: int
    applied: bool
    gain: float
    fills_differ: bool
    violations: int


def settings_of(run_dir: Path, artifacts: Path, *words: str) -> RimSettings:
    """Return the settings of a job on a run, governed feedback on."""
    told = [f"run={run_dir}", f"paths.artifacts={artifacts}", "governed_feedback=true", *words]
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        return rim_settings(compose("rim", overrides=told))


def opened(own: RimSettings) -> Job:
    """Return a job as it is when proposals have been made and none was entered."""
    read = _read(own)
    engine, from_here = load(model_file(own.rim.engine), INPUT), Made(code_hash(), own.config_hash)
    return Job(own, read, home(), propose(read.part, own.bounds, engine, own.rim, from_here))


def rule_of() -> GovernanceSpec:
    """Return the rule as it comes."""
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        return rim_settings(compose("rim")).governance


def longer(world: World) -> World:
    """Return a world with a third window; its schedule is stretched over all of it."""
    tape = world.settings.run.tape.model_copy(update={"hours": WINDOWS * HOURS})
    run = world.settings.run.model_copy(update={"tape": tape})
    return world._replace(settings=Settings(policy=world.settings.policy, run=run))


def recorded(settings: Settings, tape: Tape, artifacts: Path) -> Path:
    """Run a policy on a tape into a run folder, as `alphatrade sim` does, and return it."""
    start, end = tape.span
    spec = settings.run.tape.model_copy(update={"start": str(start), "end": str(end + 1)})
    own = Settings(policy=settings.policy, run=settings.run.model_copy(update={"tape": spec}))
    (part,) = load_tapes(own.run)
    identity = identity_of(own, [part])
    with RunFolder(artifacts, identity.run_id) as folder:
        run_into(folder, own, [part], identity)
        return folder.publish()


def one(make: Callable[[int], World], words: Sequence[str], seed: int) -> Came:
    """Take one world through the job, with a ledger of its own."""
    with TemporaryDirectory(prefix="alphatrade-bench-") as name, redirect_stderr(StringIO()):
        place = Path(name)
        os.environ["ALPHATRADE_STATE"] = str(place / "state")
        os.environ.pop("ALPHATRADE_LEDGER", None)
        world = longer(make(seed))
        settings = world.settings
        (tape,) = load_tapes(settings.run)
        start, end = tape.span
        third = start + (end - start) * 2 // WINDOWS
        run_dir = recorded(settings, tape.slice(start, third), place / "artifacts")
        own = settings_of(run_dir, place / "artifacts", *words)
        rim(own)
        feedback = home().ledger.chain.feedback
        cases = sorted(feedback.cases.values(), key=lambda case: case.proposal.rank)
        ranks = [case.proposal.rank for case in cases if world.right(case.proposal.edit)]
        begun = [case for case in cases if case.applied]
        gain, differ, violations = 0.0, False, 0
        if begun:
            child = apply_edit(settings.policy, begun[0].proposal.edit, own.bounds)
            rest = tape.slice(third, end + 1)
            before, after = (played(policy, settings, rest, place) for policy in (settings.policy, child))
            gain = BPS * (sum(after[0].returns) - sum(before[0].returns)) / max(1, len(before[0].returns))
            differ, violations = after[1] != before[1], after[2]
        by_rule = sum(case.ruling is not None and case.ruling.outcome == "apply" for case in cases)
        return Came(seed, len(cases), min(ranks, default=0), by_rule, bool(begun), gain, differ, violations)


def played(policy: Any, settings: Settings, tape: Tape, place: Path) -> tuple[Replayed, str, int]:
    """Return what a policy comes to on a tape, the digest of its fills, and what the auditor has against the run."""
    own = Settings(policy=policy, run=settings.run)
    identity = identity_of(own, [tape])
    with RunFolder(place / "later", identity.run_id) as folder:
        summary = run_into(folder, own, [tape], identity)
        found = audit(folder.path)
        digest = summary["digests"]["fills"]
        folder.publish()
    return resimulated(policy, settings.run, tape, "bench"), digest, len(found.violations) + len(found.integrity)


def many(make: Callable[[int], World], seeds: Sequence[int], workers: int, label: str, *words: str) -> list[Came]:
    """Take many worlds through the job; with a progress bar."""
    job = partial(one, make, words)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(tqdm(pool.map(job, seeds), label, len(seeds), disable=None))


class Canary(NamedTuple):
    """
    A canary that trades where nobody can earn, beside a policy that does not trade.

    Attributes
    ----------
    lost : bool
        Whether it ended more behind the policy than a canary may.
    back : bool
        Whether the job after its run took it back.
    spent : float
        Seconds of that job up to the entry.
    late : float
        Hours of event time between the loss beyond the limit and the end of the run.
    """

    lost: bool
    back: bool
    spent: float
    late: float


def taken_back(seed: int) -> Canary:
    """Let a change that only pays costs be a canary in a run of one window, and return how long it stays."""
    with TemporaryDirectory(prefix="alphatrade-bench-") as name, redirect_stderr(StringIO()):
        place = Path(name)
        os.environ["ALPHATRADE_STATE"] = str(place / "state")
        os.environ.pop("ALPHATRADE_LEDGER", None)
        world = planted("no_edge", seed)
        wrong, settings = world.settings.policy, world.settings
        right = Policy.model_validate(
            {part: getattr(wrong, part) for part in Policy.model_fields}
            | {"router": wrong.router.model_copy(update={"table": dict.fromkeys(REGIMES, "flat")})}
        )
        own = Settings(policy=right, run=settings.run)
        (tape,) = load_tapes(own.run)
        start, end = tape.span
        middle = (start + end) // 2
        lead = wrong.router.table["flat-low"]
        edit = RouteWeight(regime="flat-low", tactic=lead, weight=1.0)
        _granted(right, edit, middle)
        run_dir = recorded(taken_up(_governed(own)), tape.slice(middle + 1, end + 1), place / "artifacts")
        job = settings_of(run_dir, place / "artifacts")
        began = time.monotonic()
        rim(job)
        feedback = home().ledger.chain.feedback
        (case,) = [case for case in feedback.cases.values() if case.applied]
        spent = time.monotonic() - began
        behind = -BPS * float(read_mapping(run_dir, "summary.json")["canary"]["return"])
        lost, back = behind > job.governance.canary_loss_bps, case.rollback is not None
        return Canary(lost, back, spent, _since_loss(run_dir, job, end))


def _governed(own: Settings) -> Settings:
    return Settings(policy=own.policy, run=own.run.model_copy(update={"governed_feedback": True}))


def _granted(policy: Policy, edit: RouteWeight, until: int) -> None:
    """Enter a change as a canary, with figures that are made up: only what follows is measured."""
    keeper, spec = home(), rule_of()
    child = apply_edit(policy, edit, shipped_bounds())
    rows = {"first": 0, "last": 1, "start": "1", "end": "2", "sha256": "0" * 64}
    pointer = {"run_id": "0" * 16, "instrument": "WLD/USD.SIM", **rows}
    proposal = sealed_proposal({
        "schema_version": 1, "edit": edit.model_dump(), "target": policy.policy_hash, "child": child.policy_hash,
        "rank": 1, "uplift": 1.0, "confidence": 0.9, "rationale": "made up", "regimes": ["flat-low"],
        "evidence": [pointer], "engine": "ridge", "model_hash": "0" * 64, "code_hash": "0" * 64,
        "config_hash": "0" * 64, "created": "2",
    })  # fmt: skip
    keeper.append("proposal", proposal.plain())
    n = spec.periods
    keeper.append("ruling", {
        "proposal": proposal.id, "outcome": "apply", "why": [], "base": [0.0] * n, "changed": [1e-3] * n, "hits": 0,
        "window": {"instrument": "WLD/USD.SIM", "tape_hash": "0" * 64, "start": str(4 * 10**15), "end": str(until - 1)},
        "family": 1, "changes": 0, "flow": 1.0, "stage": "experiment", "spec": canonical(spec), "code_hash": "0" * 64,
    })  # fmt: skip
    both = {"target": policy.policy_hash, "child": child.policy_hash}
    body = {"proposal": proposal.id, **both, "run_id": "0" * 16, "why": "made up"}
    keeper.append("application", body | {"phase": "shadow", "share": 0.0, "until": str(until - 1)})
    keeper.append("application", body | {"phase": "canary", "share": spec.canary_share, "until": str(until)})


def _since_loss(run_dir: Path, job: RimSettings, end: int) -> float:
    """Return the hours between the moment at which a run had lost what a canary may, and its end."""
    curve = pd.read_parquet(run_dir / "equity.parquet", columns=["ts", "equity"])
    capital = float(read_mapping(run_dir, "summary.json")["capital"])
    most = job.governance.canary_loss_bps / BPS * job.governance.canary_share * capital
    lost = curve["ts"][capital - curve["equity"].astype(float) > most]  # the policy beside it stands aside
    return 0.0 if lost.empty else (end - int(lost.iloc[0])) / (PERIOD_S * 1e9)
