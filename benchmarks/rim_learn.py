"""What the engines know of labelled edits of held-out worlds: ridge, TRM, a plain net, and doing nothing."""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alphatrade.nodes import rim_train, rim_worlds
from alphatrade.nodes.rim_settings import model_file, shipped_bounds
from alphatrade.nodes.sim import load_tapes
from alphatrade.reflection.rim import engines
from alphatrade.reflection.rim.calibration import base_brier, brier, expected_calibration_error
from alphatrade.reflection.rim.examples import Inputs, Labels, Prediction
from alphatrade.reflection.rim.propose import Made, RimSpec, propose, ranked
from benchmarks.figures import ROOT, Figure, child

COMMAND = "python -m benchmarks.rim"
HELD_OUT = 520_001
PLAIN = engines.TrmSpec(latent_steps=0, cycles=1, supervision=1)  # T = 1, n = 0: a net of two layers
MAKES = (  # the files that labels depend on most
    "nodes/rim_worlds.py", "nodes/rim_train.py", "nodes/rim_settings.py", "reflection/rim/*.py", "conf/rim.yaml",
    "conf/domain/*", "conf/policy/*.yaml", "conf/policy/*/*.yaml", "strategies/*.py", "strategies/topologies/*.py",
)  # fmt: skip
DRAWS = 2000


def kept(out: Path, first: int, worlds: int, workers: int, label: str) -> tuple[Inputs, Labels]:
    """Return labelled edits of drawn worlds, made once while what makes them is the same."""
    told = hashlib.sha256(f"{first} {worlds} {rim_train.MOST}".encode())
    for pattern in MAKES:
        for path in sorted(ROOT.glob(pattern)):
            told.update(path.read_bytes())
    file = out / "rim" / f"{label}-{told.hexdigest()[:12]}.npz"
    if not file.is_file():
        seeds = range(first, first + worlds)
        found = rim_train.stacked(
            rim_train.gathered(rim_worlds.drawn, seeds, shipped_bounds(), rim_train.MOST, workers, label)
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file.with_suffix(".tmp.npz"), *found[0], *found[1])
        file.with_suffix(".tmp.npz").replace(file)
    with np.load(file) as arrays:
        values = [arrays[name] for name in arrays.files]
    return Inputs(*values[:2]), Labels(*values[2:])


def learn(out: Path, worlds: int, workers: int) -> list[Figure]:
    """Return what each engine is worth on worlds that none has seen, and whether learning again gives the same."""
    seen = kept(out, rim_train.FIRST, rim_train.WORLDS, workers, "seen")
    inputs, labels = kept(out, HELD_OUT, worlds, workers, "held-out")
    made = rim_train.learnt(out / "rim", seen, rim_train.SEED)
    made["plain"] = engines.fit("trm", *seen, PLAIN, rim_train.SEED, rim_train.INPUT)
    answers = {name: model.predict(inputs) for name, model in made.items()}
    command, n = f"{COMMAND} --only learn", len(labels.beat)
    base = base_brier(labels.beat)
    rows = [Figure("rim.base", "Brier score of the base rate", round(base, 4), "", "", None, n, None, command)]
    values = {name: _value(answer, labels) for name, answer in answers.items()}
    for name, answer in answers.items():
        rows += _engine(name, answer, labels, base, values[name], command)
    lead = values["trm"] - values["ridge"]
    rows.append(_mean("rim.value.trm_ridge", "the same, TRM less ridge, world by world", lead, "", command))
    for name in ("ridge", "trm"):
        same = float(engines.load(model_file(name)).model_hash == made[name].model_hash)
        what = f"{name}: learning again gives the model that ships"
        rows.append(Figure(f"rim.again.{name}", what, same, "", "== 1", same == 1.0, 1, None, command))
    return rows


def _engine(
    name: str, answer: Prediction, labels: Labels, base: float, value: NDArray[np.float64], command: str
) -> list[Figure]:
    """Return the rows of one engine; targets are those of the default."""
    default = name == "ridge"
    ece, loss = expected_calibration_error(answer.confidence, labels.beat), brier(answer.confidence, labels.beat)
    n, bounds = len(labels.beat), _bounds(answer, labels)
    rank = float(np.corrcoef(np.argsort(np.argsort(answer.uplift)), np.argsort(np.argsort(labels.uplift)))[0, 1])
    return [
        Figure(f"rim.ece.{name}", f"{name}: expected calibration error of its confidence", round(ece, 4), "",
               "<= 0.05" if default else "", ece <= 0.05 if default else None, n, bounds["ece"], command),
        Figure(f"rim.brier.{name}", f"{name}: Brier score over that of the base rate", round(loss / base, 4), "x",
               "< 1" if default else "", loss < base if default else None, n, bounds["brier"], command),
        Figure(f"rim.rank.{name}", f"{name}: rank correlation of expected and realised uplift", round(rank, 4), "",
               "", None, n, None, command),
        _mean(f"rim.value.{name}", f"{name}: uplift of what it would propose first, or of doing nothing", value,
              "> 0" if default else "", command),
    ]  # fmt: skip


def _value(answer: Prediction, labels: Labels) -> NDArray[np.float64]:
    """Return what acting on an engine would have come to in each world: what it would propose first, if anything."""
    found = []
    for group in np.unique(labels.group):
        here = np.flatnonzero(labels.group == group)
        order = ranked(Prediction(answer.uplift[here], answer.confidence[here]), RimSpec().confidence)
        found.append(float(labels.uplift[here[order[0]]]) if order else 0.0)
    return np.array(found)


def _mean(id: str, what: str, values: NDArray[np.float64], target: str, command: str) -> Figure:
    """Return a row of a mean over worlds, with its bootstrap interval; a target of ``> 0`` is for the lower bound."""
    low, high = mean_bounds(values.tolist())
    holds = low > 0.0 if target else None
    mean = round(float(values.mean()), 4)
    return Figure(id, what, mean, "bps/h", target, holds, len(values), (low, high), command)


def mean_bounds(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean (Efron 1979)."""
    rng, found = np.random.default_rng(1), np.array(values)
    means = found[rng.integers(0, len(found), (DRAWS, len(found)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return round(float(low), 4), round(float(high), 4)


def _bounds(answer: Prediction, labels: Labels) -> dict[str, tuple[float, float]]:
    """Return bootstrap intervals over worlds of the calibration error, and of the Brier score over the base rate's."""
    rng, groups = np.random.default_rng(1), np.unique(labels.group)
    rows = {int(group): np.flatnonzero(labels.group == group) for group in groups}
    eces, briers = [], []
    for _ in range(200):
        drawn = np.concatenate([rows[int(group)] for group in rng.choice(groups, len(groups))])
        sure, beat = answer.confidence[drawn], labels.beat[drawn]
        eces.append(expected_calibration_error(sure, beat))
        briers.append(brier(sure, beat) / base_brier(beat))
    told = {"ece": eces, "brier": briers}
    return {
        name: (round(float(np.quantile(found, 0.025)), 4), round(float(np.quantile(found, 0.975)), 4))
        for name, found in told.items()
    }


def same() -> list[Figure]:
    """Return whether one slice makes the same proposals in fresh processes, also of other CPU features."""
    old = {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4", "PYTHONHASHSEED": "7"}
    found = [child("benchmarks.rim_learn", env=env)["sha256"] for env in ({}, old)]
    command, digests = f"{COMMAND} --only same", float(len(set(found)))
    what = "different bytes of the proposals of one slice, in two processes of different CPU features"
    return [Figure("rim.same", what, digests, "digests", "== 1", digests == 1.0, len(found), None, command)]


def main() -> int:
    """Print the digest of the proposals of one planted world."""
    world = rim_worlds.planted("wrong_tactic", 530_001)
    part = rim_train.diary_of(world.settings, rim_train.halves(load_tapes(world.settings.run)[0]).first)
    engine, nowhere = engines.load(model_file("ridge"), rim_train.INPUT), Made("0" * 64, "0" * 64)
    made = propose(part, shipped_bounds(), engine, RimSpec(), nowhere)
    told = json.dumps([one.plain() for one in made], sort_keys=True)
    print(json.dumps({"sha256": hashlib.sha256(told.encode()).hexdigest(), "proposals": len(made)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
