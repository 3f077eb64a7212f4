"""Fast weights under attack and beside the dense matrix that they stand for; a long run with all flags on."""

import tempfile
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from alphatrade.nodes import run
from alphatrade.nodes.perceive import walk
from alphatrade.nodes.settings import compose_settings
from alphatrade.nodes.sim import load_tapes
from alphatrade.reflection.coverage import coverage
from alphatrade.risk.audit import audit
from alphatrade.strategies.fast_weights import FastWeights
from benchmarks.figures import Figure, figure

COMMAND = "make learn-bench"
STEPS = 1_000_000
FLAGS = ("policy.flags.linear_attention=true", "policy.flags.fast_weights=true")


def rows(steps: int = STEPS) -> list[Figure]:
    """Return the figures."""
    return [*attacked(steps), lost(), *long_run()]


def attacked(steps: int) -> list[Figure]:
    """Reward and punish a few pairs of beliefs with outcomes of any size; look at the norm after each."""
    spec = compose_settings([*FLAGS]).policy.learning.fast_weights
    sigma = FastWeights(128, 16, spec.rank, spec.halflife, 1.0, spec.clip, spec.bound)  # twenty times the default eta
    rng = np.random.Generator(np.random.PCG64(1001))
    pairs = []
    for _ in range(16):
        ends = [np.sort(rng.permutation(128)[:16]).astype(np.int16) for _ in range(2)]
        pairs.append((ends[0], rng.random(16) + 0.01, ends[1], rng.random(16) + 0.01))
    most, broken = 0.0, 0
    for step in tqdm(range(steps), desc="sigma", unit="step", unit_scale=True, disable=None):
        size = float(10.0 ** int(rng.integers(-300, 300))) if step % 7 == 0 else float(step % 3)
        sigma.learn(size if step // 500 % 2 else -size, *pairs[step // 40 % 16])
        most = max(most, sigma.norm)
        if step % 1000 == 0:
            most = max(most, float(np.sqrt((sigma.dense() ** 2).sum())))
            broken += not np.isfinite(sigma.push(*pairs[step % 16][:2])).all()
    again = FastWeights(128, 16, spec.rank, spec.halflife, 1.0, spec.clip, spec.bound)
    for name, array in sigma.arrays().items():
        again.arrays()[name][...] = np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)
    again.restored()
    for step in range(1000):
        for each in (sigma, again):
            each.learn(float(step % 5), *pairs[step % 16])
    different = sum(a.tobytes() != again.arrays()[name].tobytes() for name, a in sigma.arrays().items())

    def row(name: str, what: str, value: float, target: str, n: int) -> Figure:
        return replace(figure(f"learn.sigma.{name}", what, value, "", target, command=COMMAND), n=n)

    return [
        row("norm", "largest norm over its bound, adversarial steps", most / spec.bound, "<= 1.000000001", steps),
        row("finite", "pushes with a number that is not finite", broken, "== 0", steps // 1000),
        row("restored", "arrays that differ a thousand steps after save and restore", different, "== 0", 6),
    ]


def lost() -> Figure:
    """Return how far the factors are from dense sigma along the beliefs of a world, relative, at most."""
    settings = compose_settings(["tape=world", "tape.seed=1001", "tape.hours=12", "policy/features=depth"])
    spec = settings.policy.learning.fast_weights
    sigma = FastWeights(128, 16, spec.rank, spec.halflife, spec.eta, spec.clip, spec.bound)
    dense, keep = np.zeros((128, 128)), round(0.5 ** (1.0 / spec.halflife), 12)
    rng = np.random.Generator(np.random.PCG64(1))
    before, worst = None, 0.0
    for belief in walk(load_tapes(settings.run)[0], settings.policy):
        if before is not None and len(before.idx) and len(belief.idx):
            sigma.learn(float(rng.integers(-100, 101)), belief.idx, belief.val, before.idx, before.val)
            at = (int(sigma.arrays()["seen"][4]) - 1) % spec.rank
            dense *= keep
            post, pre = np.zeros(128), np.zeros(128)
            post[sigma.idx[0, at]] += sigma.val[0, at]
            pre[sigma.idx[1, at]] += sigma.val[1, at]
            dense += sigma.gains[at] * np.outer(post, pre)
            size = float(np.sqrt((dense**2).sum()))
            if belief.step > 1000 and size > 0.0:
                worst = max(worst, float(np.sqrt(((dense - sigma.dense()) ** 2).sum())) / size)
        before = belief
    what = "largest distance of the factors from dense sigma, relative, along a world's beliefs"
    return figure("learn.sigma.lost", what, worst, "", command=COMMAND)


def long_run() -> list[Figure]:
    """Replay the embedded tape, 14 days, with both flags: no violation, everything attributed."""
    with tempfile.TemporaryDirectory() as folder:
        result = run([*FLAGS, "output.stress=false", "output.report=false", f"paths.artifacts={folder}"])
        report, covered = audit(result.path), coverage(result.path)
    hours = result.summary["events"] / 60.0  # of minute bars

    def row(name: str, what: str, value: float, unit: str, target: str) -> Figure:
        return figure(f"learn.run.{name}", what, value, unit, target, command=COMMAND)

    return [
        row("hours", "event time of a run with both flags on", hours, "h", ">= 4"),
        row("violations", "violations that the auditor finds in it", len(report.violations), "", "== 0"),
        row("attribution", "orders with belief, probes and explanation", covered.attribution, "", ">= 0.95"),
        row("diary", "decision steps in the diary", covered.diary_coverage, "", ">= 0.99"),
    ]
