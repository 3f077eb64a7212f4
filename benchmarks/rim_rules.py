"""What governance lets through: planted faults that are put right, null worlds, and proposals that must not pass."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from alphatrade.actors.regime import REGIMES
from alphatrade.nodes import rim_train, rim_worlds
from alphatrade.nodes.rim_replay import resimulated
from alphatrade.nodes.rim_settings import shipped_bounds
from alphatrade.nodes.rim_worlds import FAULTS, TACTICS, World
from alphatrade.nodes.settings import Settings
from alphatrade.nodes.sim import load_tapes
from alphatrade.reflection.rim.edits import Bounds, Edit, RouteWeight, TacticParameter, TightenRisk, apply_edit
from alphatrade.reflection.rim.propose import options
from alphatrade.reflection.thresholds import GovernanceSpec
from alphatrade.reflection.uplift import uplift
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.policy import Policy
from benchmarks.evolve_gate import clopper_pearson, rate
from benchmarks.figures import Figure, figure
from benchmarks.rim_adversarial import CHEAP, attacked
from benchmarks.rim_adversarial import flipped as flip
from benchmarks.rim_learn import mean_bounds
from benchmarks.rim_runs import WINDOWS, Came, longer, many, opened, recorded, rule_of, settings_of, taken_back

COMMAND = "python -m benchmarks.rim"
PLANTED, NULL, WELL = 530_001, 540_001, 550_001
FIRST = 3  # proposals among which a right one has to be
TOGETHER = 5


def planted(seeds: int, workers: int) -> list[Figure]:
    """Return how many planted faults are found, and what was applied came to on a window that nobody had seen."""
    command, rows, all_of_them = f"{COMMAND} --only planted", [], list[Came]()
    for fault in FAULTS:
        found = many(partial(rim_worlds.planted, fault), range(PLANTED, PLANTED + seeds), workers, fault)
        all_of_them += found
        rows.append(_right(f"rim.right.{fault}", f"{fault}: a right edit among the first {FIRST}", found, "", command))
    what = f"planted faults with a right edit among the first {FIRST}"
    rows.append(_right("rim.right", what, all_of_them, ">= 0.8", command))
    begun = [one for one in all_of_them if one.applied]
    gains = [one.gain for one in begun]
    bounds = mean_bounds(gains) if gains else (0.0, 0.0)
    mean = round(sum(gains) / max(1, len(gains)), 4)
    what = f"gain of the applied edits on a later window ({len(begun)} of {len(all_of_them)} worlds)"
    rows.append(Figure("rim.gain", what, mean, "bps/h", "> 0", bounds[0] > 0.0, len(begun), bounds, command))
    differ = sum(one.fills_differ for one in begun) / max(1, len(begun))
    what, n = "applied edits that change the fills of the next run", len(begun)
    rows.append(Figure("rim.fills", what, round(differ, 4), "share", "== 1", differ == 1.0, n, None, command))
    what, broken = "violations found by the auditor in runs with applied changes", sum(one.violations for one in begun)
    rows.append(Figure("rim.violations", what, float(broken), "", "== 0", broken == 0, n, None, command))
    return rows


def _right(id: str, what: str, found: Sequence[Came], target: str, command: str) -> Figure:
    hits = sum(0 < one.right <= FIRST for one in found)
    share = round(hits / len(found), 4)
    holds = share >= float(target.split()[1]) if target else None
    return Figure(id, what, share, "share", target, holds, len(found), clopper_pearson(hits, len(found)), command)


def null(seeds: int, workers: int) -> list[Figure]:
    """Return how many proposals are applied by rule where nobody has an edge over anybody."""
    found = many(rim_worlds.null, range(NULL, NULL + seeds), workers, "null worlds")
    hits = [at < one.by_rule for one in found for at in range(one.proposals)]
    what = "null worlds: proposals applied by rule, upper 95 % bound"
    return [rate("rim.null", what, hits, "<= 0.05", f"{COMMAND} --only null")]


def refused(proposals: int, workers: int) -> list[Figure]:
    """Return how many proposals that do nothing, are drawn, or do the opposite of what is right are rejected."""
    kinds: dict[str, Callable[[int], list[bool]]] = {"no_op": no_ops, "random": at_random, "flipped": flipped}
    rows, every = list[Figure](), list[bool]()
    words = {
        "no_op": "edits that change nothing that trades",
        "random": "edits drawn in null worlds",
        "flipped": "edits that undo what is right",
    }
    command = f"{COMMAND} --only refused"
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for name, job in kinds.items():
            hits: list[bool] = []
            with tqdm(total=proposals // 3 + 1, desc=name, disable=None) as bar:
                first = WELL
                while len(hits) < proposals // 3 + 1:
                    for some in pool.map(job, range(first, first + 2 * workers)):
                        hits += some
                        bar.update(len(some))
                    first += 2 * workers
            every += hits
            rows.append(_rejected(f"rim.refused.{name}", words[name], hits, "", command))
    rows.append(_rejected("rim.refused", "proposals of these kinds that are rejected", every, ">= 0.99", command))
    return rows


def _rejected(id: str, what: str, hits: Sequence[bool], target: str, command: str) -> Figure:
    good = sum(not hit for hit in hits)
    share = good / len(hits)
    holds = share >= float(target.split()[1]) if target else None
    bounds = clopper_pearson(good, len(hits))
    return Figure(id, what, round(share, 4), "share", target, holds, len(hits), bounds, command)


def judged(world: World, edits: Sequence[Edit], bounds: Bounds, spec: GovernanceSpec) -> list[bool]:
    """Return which edits the figures of a replay on the second half of a world would let through."""
    own = world.settings
    second = rim_train.halves(load_tapes(own.run)[0]).second
    base, found = resimulated(own.policy, own.run, second, "bench"), []
    for edit in edits:
        try:
            child = apply_edit(own.policy, edit, bounds)
        except ConfigError:  # cannot be made: rejected
            found.append(False)
            continue
        came = resimulated(child, own.run, second, "bench")
        told = uplift(base.returns, came.returns, 1.0 - (1.0 - spec.level) / TOGETHER, spec.seed)
        enough = told.n >= spec.periods and told.moved >= spec.moved
        found.append(enough and told.mean >= spec.uplift_bps and told.low > 0.0 and not came.hits)
    return found


def no_ops(seed: int) -> list[bool]:
    """Judge edits of what does not trade in a planted world: idle tactics, regimes that hardly come, distant limits."""
    world, bounds = rim_worlds.planted("wrong_tactic", seed), shipped_bounds()
    policy = world.settings.policy
    lead = policy.router.table[REGIMES[0]]
    edits: list[Edit] = [TightenRisk(limit=name, value=0.99 * float(getattr(policy.risk, name))) for name in
                         ("drawdown_max", "daily_loss_max", "gross_max", "net_max")]  # fmt: skip
    for name, spec in sorted(TACTICS.items()):
        reaches = sorted(bounds.parameters.get(spec.kind, {}).items())
        if name != lead and reaches:
            edits += [TacticParameter(tactic=name, parameter=key, value=reach.low) for key, reach in reaches]
    return judged(world, edits, bounds, rule_of())


def at_random(seed: int) -> list[bool]:
    """Judge every edit that could be thought of in a null world."""
    world, bounds = rim_worlds.null(seed), shipped_bounds()
    part = rim_train.diary_of(world.settings, rim_train.halves(load_tapes(world.settings.run)[0]).first)
    edits = [option.edit for option in options(part, bounds, rim_train.LEAST)]
    return judged(world, edits, bounds, rule_of())


def flipped(seed: int) -> list[bool]:
    """Judge the edits that bring back what was wrong, in planted worlds whose policy has been put right."""
    found = []
    for fault in ("wrong_tactic", "wrong_number"):
        world, bounds = rim_worlds.planted(fault, seed), shipped_bounds()
        policy, wrong = world.settings.policy, world.settings.policy.router.table[REGIMES[0]]
        nature = "revert" if world.settings.run.tape.schedule == ("revert",) else "trend"
        best = rim_worlds.BEST[nature]
        router = policy.router.model_copy(update={"table": dict.fromkeys(REGIMES, best)})
        parts = {name: getattr(policy, name) for name in Policy.model_fields}
        put_right = Policy.model_validate(parts | {"router": router, "topologies": TACTICS})
        edits: list[Edit] = []
        if fault == "wrong_tactic":
            edits += [RouteWeight(regime=regime, tactic=wrong, weight=1.0) for regime in REGIMES]
        else:
            numbers = rim_worlds.WRONG[nature]
            edits += [TacticParameter(tactic=best, parameter=name, value=far) for name, far in sorted(numbers.items())]
        settled = world._replace(settings=Settings(policy=put_right, run=world.settings.run))
        found += judged(settled, edits, bounds, rule_of())
    return found


def rollback(seeds: int, workers: int) -> list[Figure]:
    """Return whether canaries that lose go, and how long they stay: wall time of the job, event time before it."""
    command = f"{COMMAND} --only rollback"
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = pool.map(taken_back, range(PLANTED, PLANTED + seeds))
        found = list(tqdm(jobs, "rollback", seeds, disable=None))
    lost = [one for one in found if one.lost]
    right = sum(one.lost == one.back for one in found) / len(found)
    what = f"canaries ({len(lost)} of {len(found)} lost too much) that are taken back if and only if they did"
    return [
        Figure("rim.rollback", what, round(right, 4), "share", "== 1", right == 1.0, len(found), None, command),
        figure("rim.rollback.s", "start of that job to the entry, wall time", [one.spent for one in lost], "s",
               command=command),
        figure("rim.rollback.h", "loss beyond the limit to the end of the run, event time",
               [one.late for one in lost], "h", command=command),
    ]  # fmt: skip


def adversarial(n: int = 1000) -> list[Figure]:
    """Return how many of a thousand adversarial proposals are granted or crash anything, at the real door."""
    command = f"{COMMAND} --only adversarial"
    with TemporaryDirectory(prefix="alphatrade-bench-") as name:
        place = Path(name)
        os.environ["ALPHATRADE_STATE"] = str(place / "state")
        world = longer(rim_worlds.planted("wrong_tactic", PLANTED))
        (tape,) = load_tapes(world.settings.run)
        start, end = tape.span
        two_windows = tape.slice(start, start + (end - start) * 2 // WINDOWS)
        job = opened(settings_of(recorded(world.settings, two_windows, place / "artifacts"), place / "artifacts"))
        found = attacked(job, n, 1, {**CHEAP, "flipped": flip})
    told = ", ".join([f"{kind} {dict(came)}" for kind, came in found.kinds.items()])
    print(told)
    return [
        Figure("rim.adversarial", "adversarial proposals that are granted", float(found.granted), "", "== 0",
               found.granted == 0, found.n, None, command),
        Figure("rim.crashes", "adversarial proposals that crash anything", float(found.crashes), "", "== 0",
               found.crashes == 0, found.n, None, command),
    ]  # fmt: skip
