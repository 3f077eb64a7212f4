"""The hidden state of a world: regimes, the mid they move, the imbalance that leads it, the heat it leaves.

Everything here is reproducible to the last bit on any machine: random numbers are integers of PCG64 (normal
ones are sums of twelve uniforms), everything after them is ``+ - * /``, square root and rounding in IEEE
doubles, and constants that need another power are rounded to twelve decimals.
"""

import re
from collections.abc import Sequence
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphatrade.nodes.tape_spec import REGIMES, WorldTape
from alphatrade.risk.errors import TapeError

Floats = NDArray[np.float64]
BP = 1e-4
SHOCK_JUMP = 0.015  # a shock begins with a jump of this size, either way
IMBALANCE_HALF_LIFE_S = 10.0
HEAT_HALF_LIFE_S = 60.0


class Regime(NamedTuple):
    """Drift (bp per second), volatility (bp per root second), pull to the anchor (per second), jump at the start."""

    drift: float
    vol: float
    pull: float
    jump: float = 0.0


REGIME: dict[str, Regime] = {
    "up": Regime(0.04, 1.0, 0.0),
    "down": Regime(-0.04, 1.0, 0.0),
    "revert": Regime(0.0, 1.0, 1 / 60),
    "calm": Regime(0.0, 0.35, 0.0),
    "shock": Regime(0.0, 5.0, 0.0, SHOCK_JUMP),
}


class State(NamedTuple):
    """Per step: mid (price units), imbalance (standardised), heat (realised volatility over calm)."""

    mid: Floats
    imbalance: Floats
    heat: Floats


def normal(rng: np.random.Generator, count: int) -> Floats:
    """Return about standard normal numbers: sums of twelve 16-bit uniforms, the same on every CPU."""
    total = np.zeros(count, dtype=np.int64)
    for _ in range(12):
        total += rng.integers(0, 65_536, count, dtype=np.int64)
    return (total - 6 * 65_535) / 65_536.0


def schedule(spec: WorldTape, steps: int, rng: np.random.Generator) -> NDArray[np.int8]:
    """Return the regime of every step, as its place in `REGIMES`."""
    stretches: list[tuple[int, float]] = []
    if spec.schedule is not None:
        for item in spec.schedule:
            match = re.fullmatch(r"([a-z]+)(?::([\d.]+))?", item)
            assert match is not None, "the specification has checked this"
            stretches.append((REGIMES.index(match[1]), float(match[2] or 1.0)))
        whole = sum(weight for _, weight in stretches)
        if whole <= 0:
            raise TapeError("tape.schedule", list(spec.schedule), "weights above zero")
        stretches = [(index, weight / whole * steps) for index, weight in stretches]
    else:
        filled = 0.0
        while filled < steps:  # every round visits each regime once, in a drawn order
            for index in rng.permutation(len(REGIMES)).tolist():
                seconds = spec.regime_s * (0.5 + int(rng.integers(0, 1024)) / 1024.0)
                seconds *= 0.25 if REGIMES[index] == "shock" else 1.0
                stretches.append((index, max(1.0, seconds / spec.step_s)))
                filled += stretches[-1][1]
    ends = np.rint(np.cumsum([length for _, length in stretches])).astype(np.int64)
    out = np.array([index for index, _ in stretches], np.int8)
    return out[np.minimum(np.searchsorted(ends, np.arange(steps), "right"), len(out) - 1)]


def planted_alpha(spec: WorldTape, steps: int) -> Floats:
    """Return the planted correlation at every step, in 64 levels per half-life where it decays; 0 after its end."""
    if spec.alpha_ends_s is not None:
        lasting = planted_alpha(spec.model_copy(update={"alpha_ends_s": None}), steps)
        return np.where(np.arange(steps) * spec.step_s < spec.alpha_ends_s, lasting, 0.0)
    if spec.alpha_half_life_s is None:
        return np.full(steps, spec.alpha)
    level = np.floor(np.arange(steps) * spec.step_s * 64 / spec.alpha_half_life_s).astype(np.int64)
    table = np.array([round(spec.alpha * 0.5 ** (k / 64), 12) for k in range(int(level[-1]) + 1)])
    return table[level]


def run(
    spec: WorldTape, regimes: Sequence[Regime], place: NDArray[np.integer[Any]], alpha: Floats, rng: np.random.Generator
) -> State:
    """
    Run the hidden state through `regimes`, of which `place` says which is in force at each step.

    The move of a step is led by the imbalance of the step before it.
    """
    steps, dt = len(place), spec.step_s
    noise, news = normal(rng, steps).tolist(), normal(rng, steps).tolist()
    jumps = rng.integers(0, 2, steps).tolist()
    stay = round(0.5 ** (dt / IMBALANCE_HALF_LIFE_S), 12)
    fresh = sqrt(1.0 - stay * stay)
    fade = round(0.5 ** (dt / HEAT_HALF_LIFE_S), 12)
    calm = REGIME["calm"].vol * BP * sqrt(dt)
    scale = [(r.drift * BP * dt, r.vol * BP * sqrt(dt), min(1.0, r.pull * dt), r.jump) for r in regimes]
    mid = anchor = spec.price
    imbalance, variance, before = news[0], calm * calm, -1
    mids, imbalances, heats = [0.0] * steps, [0.0] * steps, [0.0] * steps
    for i, (now, lead) in enumerate(zip(place.tolist(), alpha.tolist(), strict=True)):
        drift, vol, pull, jump = scale[now]
        move = drift + vol * (lead * imbalance + sqrt(1.0 - lead * lead) * noise[i])
        if now != before:
            anchor, before = mid, now
            if jump:
                move += jump * (2 * jumps[i] - 1)
        move += pull * (anchor - mid) / mid
        mid *= 1.0 + max(-0.5, min(1.0, move))
        imbalance = stay * imbalance + fresh * news[i]
        variance = fade * variance + (1.0 - fade) * min(move * move, 400.0 * calm * calm)
        mids[i], imbalances[i], heats[i] = mid, imbalance, sqrt(variance) / calm
    return State(np.array(mids), np.array(imbalances), np.array(heats))
