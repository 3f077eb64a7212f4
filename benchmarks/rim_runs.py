"""Planted and null worlds before the real reflection job: what is proposed, ruled and applied, and what came of it.

A world has three windows of equal length. The run over the first two is what the job reads: it proposes from the first
and rules on the second. The third is a later run, which nobody has seen: there the policy as it was and what was
applied are replayed side by side.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr
from functools import partial
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from hydra import compose, initialize_config_module
from tqdm import tqdm

from alphatrade.nodes.artifacts import RunFolder
from alphatrade.nodes.ledger_home import home
from alphatrade.nodes.overrides import CONFIG_MODULE
from alphatrade.nodes.rim import rim
from alphatrade.nodes.rim_replay import Replayed, resimulated
from alphatrade.nodes.rim_settings import RimSettings, rim_settings
from alphatrade.nodes.rim_worlds import HOURS, World
from alphatrade.nodes.settings import Settings
from alphatrade.nodes.sim import identity_of, load_tapes, run_into
from alphatrade.nodes.tape import Tape
from alphatrade.reflection.governance import GovernanceSpec
from alphatrade.reflection.rim.edits import apply_edit
from alphatrade.risk.audit import audit

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
    spec = settings.run.tape.model_copy(update={"start": _moment(start), "end": _moment(end + 1)})
    own = Settings(policy=settings.policy, run=settings.run.model_copy(update={"tape": spec}))
    (part,) = load_tapes(own.run)
    identity = identity_of(own, [part])
    with RunFolder(artifacts, identity.run_id) as folder:
        run_into(folder, own, [part], identity)
        return folder.publish()


def _moment(ns: int) -> str:
    from datetime import UTC, datetime

    seconds, rest = divmod(ns, 10**9)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:09d}Z"


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
