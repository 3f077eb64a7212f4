"""How well the probes see what is planted: ranking, false events, how much they repeat each other, and their cost.

``python -m benchmarks.probes [--seeds 40]``

Worlds of a day each, seeds from 1200 on: the thresholds were set on seeds below 100. What counts was fixed before these
seeds were looked at:

- a step belongs to an event if a quote of the event is in it; the four steps after belong to nobody;
- a step is quiet if it belongs to none of the events that a probe is for, and to no crossed quote. Halts, silent feeds,
  bad prints and every change of regime are quiet: that is what a probe must not take for its event. For the
  volatility shock, the shocks of the regime schedule are neither: they are shocks of volatility, and not quiet;
- each quiet step at or above the threshold is a false event.
"""

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from time import perf_counter

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from alphatrade.actors.messages import BeliefSnapshot
from alphatrade.nodes.perceive import walk
from alphatrade.nodes.settings import compose_settings
from alphatrade.nodes.tape import Tape
from alphatrade.nodes.tape_spec import WorldTape
from alphatrade.nodes.worlds import make_world
from alphatrade.reflection.probes import BUILT_IN, EVENTS, Probes
from alphatrade.strategies.policy import Policy
from benchmarks.figures import Figure, meets, publish

COMMAND = "python -m benchmarks.probes"
SEEDS = range(1200, 1240)
AFTER = 4  # steps after an event that are neither its own nor quiet
NAMES = tuple(BUILT_IN)
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def planted(seed: int, hours: float = 24.0) -> WorldTape:
    """Return a world with all that the probes are for, and all that they must not take for it."""
    return WorldTape(seed=seed, hours=hours, auctions=2, sweeps=16, surges=12, vol_shocks=6, vacuums=12, crossed=3)


@dataclass(frozen=True, slots=True)
class Watched:
    """
    A world as the probes saw it, from their warm-up on.

    Attributes
    ----------
    values : ndarray of float64, shape (steps, probes)
        In the order of `NAMES`.
    word : ndarray of object, shape (steps,)
        The planted event that a step belongs to; empty for none.
    shock : ndarray of bool, shape (steps,)
        Whether the schedule of regimes has a shock.
    """

    values: Floats
    word: NDArray[np.object_]
    shock: Flags

    def event(self, name: str) -> Flags:
        """Return the steps of the events that a probe is for."""
        return np.asarray(self.word == EVENTS[name])

    def quiet(self, name: str) -> Flags:
        """Return the steps on which a probe must not fire."""
        busy = np.isin(self.word, [*EVENTS.values(), "crossed"])
        for later in range(1, AFTER + 1):
            busy[later:] |= np.isin(self.word[:-later], [*EVENTS.values(), "crossed"])
        return ~busy & ~self.shock if name == "volatility_shock" else ~busy

    def column(self, name: str) -> Floats:
        """Return the values of one probe."""
        return self.values[:, NAMES.index(name)]


def watch(tape: Tape, beliefs: Sequence[BeliefSnapshot]) -> Watched:
    """Return what the probes say at every step, beside the truth of its quotes."""
    assert tape.truth is not None
    probes = Probes(tape.provides)
    values = np.array([probes.step(belief) for belief in beliefs])
    step = np.searchsorted([belief.ts for belief in beliefs], tape.truth["ts"].to_numpy())
    words, shocks = tape.truth["event"].to_numpy(), (tape.truth["regime"] == "shock").to_numpy()
    word, shock = np.full(len(beliefs) + 1, "", object), np.zeros(len(beliefs) + 1, np.bool_)
    for kind in ["bad_print", "gap", "reopen", "crossed", *EVENTS.values()]:
        word[step[words == kind]] = kind
    shock[step[shocks]] = True
    warm = ~np.isnan(values).all(axis=1)
    return Watched(values[warm], word[:-1][warm], shock[:-1][warm])


def auc(events: Floats, quiet: Floats) -> float:
    """Return the chance that an event's step has a larger value than a quiet one (Mann and Whitney 1947)."""
    ranks = pd.Series(np.concatenate([events, quiet])).rank().to_numpy()[: len(events)]
    return float((ranks.sum() - len(events) * (len(events) + 1) / 2) / (len(events) * len(quiet)))


def caught(world: Watched, name: str) -> list[int | None]:
    """Return, for each planted event, the steps until its probe fired, at the latest one after its end; None: never."""
    at = np.flatnonzero(world.event(name))
    fired = world.column(name) >= BUILT_IN[name].threshold
    out: list[int | None] = []
    for part in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1):
        first = np.flatnonzero(fired[part[0] : part[-1] + 2])
        out.append(int(first[0]) if len(first) else None)
    return out


def spearman(world: Watched) -> Floats:
    """Return the rank correlations of the probes over all steps, shape (probes, probes)."""
    return pd.DataFrame(world.values).corr("spearman").to_numpy()


def measure(worlds: Sequence[Watched], cost_us: float) -> list[Figure]:
    """Return the rows over these worlds."""
    out: list[Figure] = []
    for name in NAMES:
        out += _of_probe(worlds, name)
    matrices = [spearman(world) for world in worlds]
    means = np.nanmean(matrices, axis=0)
    a, b = max(combinations(range(len(NAMES)), 2), key=lambda pair: abs(means[pair]))
    out.append(
        _row(
            "rho",
            f"largest |rho| (Spearman) of ten pairs: {NAMES[a]} and {NAMES[b]}",
            [abs(float(matrix[a, b])) for matrix in matrices],
            _mean,
            "",
            "< 0.9",
        )
    )
    return [*out, _row("cost", "all five together, one step, best of repeats", [cost_us], _mean, "us", "<= 5")]


def _of_probe(worlds: Sequence[Watched], name: str) -> list[Figure]:
    event, threshold = EVENTS[name], BUILT_IN[name].threshold
    false = []
    for world in worlds:
        values = world.column(name)[world.quiet(name)]
        false.append((float((values >= threshold).sum()), float(len(values))))
    ranked = [auc(world.column(name)[world.event(name)], world.column(name)[world.quiet(name)]) for world in worlds]
    found = [caught(world, name) for world in worlds]
    hits = [(float(sum(late is not None for late in one)), float(len(one))) for one in found]
    late = [float(steps) for one in found for steps in one if steps is not None]
    return [
        _row(f"{name}.auc", f"steps of a planted {event} against quiet steps", ranked, _mean, "", ">= 0.8"),
        _row(f"{name}.false", f"quiet steps at or above {threshold:g}, per 1,000", false, _thousand, "", "<= 1"),
        _row(f"{name}.caught", f"share of planted {event}s that it fired in", hits, _share, ""),
        _row(f"{name}.delay", "steps from the first of an event to the first fired, median", late, median, "steps"),
    ]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _share(pairs: Sequence[tuple[float, float]]) -> float:
    return sum(part for part, _ in pairs) / sum(whole for _, whole in pairs)


def _thousand(pairs: Sequence[tuple[float, float]]) -> float:
    return 1000.0 * _share(pairs)


def _row[Sample](
    id: str,
    what: str,
    samples: Sequence[Sample],
    over: Callable[[Sequence[Sample]], float],
    unit: str,
    target: str = "",
) -> Figure:
    """Return `over` the samples, one a world, with the 95 % bootstrap interval of resampled worlds (Efron 1979)."""
    rng = random.Random(1)
    drawn = sorted(over(rng.choices(samples, k=len(samples))) for _ in range(2000)) if len(samples) > 1 else []
    interval = (round(drawn[50], 4), round(drawn[1949], 4)) if drawn else None
    value = round(over(samples), 4)
    holds = meets(value, target) if target else None
    return Figure(f"probes.{id}", what, value, unit, target, holds, len(samples), interval, COMMAND)


def policy() -> Policy:
    """Return the default policy with the features of quotes: 15 seconds a step."""
    return compose_settings(["policy/features=quotes"]).policy


def rows(seeds: Sequence[int] = SEEDS) -> list[Figure]:
    """Make the worlds, watch them and return the rows; about a second a world."""
    eye, worlds, costs = policy(), [], []
    for seed in tqdm(seeds, desc="probes", unit="world", disable=None):
        tape = make_world(planted(seed))
        beliefs = list(walk(tape, eye))
        worlds.append(watch(tape, beliefs))
        costs.append(_cost_us(tape, beliefs))
    return measure(worlds, min(costs))


def _cost_us(tape: Tape, beliefs: Sequence[BeliefSnapshot]) -> float:
    probes = Probes(tape.provides)
    started = perf_counter()
    for belief in beliefs:
        probes.step(belief)
    return (perf_counter() - started) / len(beliefs) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="how well the probes see what is planted")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="held-out worlds, from seed 1200 on")
    publish("probes", rows(range(SEEDS.start, SEEDS.start + parser.parse_args().seeds)))


if __name__ == "__main__":
    main()
