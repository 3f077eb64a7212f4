"""Hidden Markov regime against the RegimeFSM: accuracy where the truth is known, likelihood there and on real tapes.

``python -m benchmarks.regime [--worlds 30]``

Both are judged on worlds with seeds from 1000; the model, the majority mapping and the FSM's densities are fitted on
worlds with seeds below 100. Truth by name: direction is the sign of the planted drift, volatility is high where the
planted variance is above its mean over a schedule (only shocks are). Truth by majority: each label of an engine stands
for the planted regime that it met most often in the training worlds. The FSM's density of the next observation is that
of its six names as hidden states that are known: transitions and Gaussians counted in the same training data.

The shipped FSM was never fitted to worlds and the model was, so a second rival is the FSM with the thresholds of a grid
that name most steps of the training worlds rightly.

Real tapes: fitted on the first half, shown on the second, without claim (there is no truth to be right about).
"""

import argparse
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from alphatrade.actors.history import StepHistory
from alphatrade.actors.hmm import HmmParams, HmmRegime, hmm_params
from alphatrade.actors.hmm_kernel import observe
from alphatrade.actors.regime import REGIMES, RegimeFSM, RegimeParams
from alphatrade.nodes.perceive import walk
from alphatrade.nodes.regime_fit import SLOW, fit, logliks
from alphatrade.nodes.settings import compose_settings
from alphatrade.nodes.sim import load_tapes
from alphatrade.strategies.policy import RegimeSpec
from benchmarks.figures import ROOT, Figure, figure, publish

COMMAND = "python -m benchmarks.regime"
TAPES = Path(os.environ.get("ALPHATRADE_TAPES", ROOT.parent / "shared" / "tapes"))
FIRST, TRAINED = 1000, range(12)
BY_NAME = {"up": "up-low", "down": "down-low", "revert": "flat-low", "calm": "flat-low", "shock": "flat-high"}
MOST_STEPS = 40_000
GRID = product((0.9, 1.2, 1.6, 2.0), (0.5, 0.8), (1.15, 1.5, 2.0, 2.5), (0.83, 0.95), (240, 960))
REAL = {
    "eurusd_ticks_201405": ("quotes", "EUR/USD"),
    "xauusd_ticks_201405": ("quotes", "XAU/USD"),
    "usdjpy_1m_2013": ("bidask_bars", "USD/JPY"),
    "eurusd_1h_2007_2014": ("bidask_bars", "EUR/USD"),
    "btcusd_1m_2018": ("bars", "BTC/USD"),
    "ethusd_1m_2018": ("bars", "ETH/USD"),
    "spy_1s_201310": ("bidask_bars", "SPY"),
    "spy_trades_201310": ("trades", "SPY"),
}


class Walked(NamedTuple):
    """Steps of one tape after the warm-up is over: prices, variances, the FSM's labels and the planted regimes."""

    mid: np.ndarray
    var: np.ndarray
    fsm: np.ndarray
    truth: np.ndarray
    warm: int


def walked(overrides: Sequence[str]) -> Walked:
    """Return the first `MOST_STEPS` steps of a tape under the default policy."""
    settings = compose_settings(overrides)
    tape = load_tapes(settings.run)[0]
    steps = list(islice(walk(tape, settings.policy), MOST_STEPS))
    truth = np.array([])
    if tape.truth is not None:
        at = np.searchsorted(tape.truth["ts"].to_numpy(), [belief.ts for belief in steps], "right") - 1
        truth = tape.truth["regime"].to_numpy().astype(str)[at]
    mid, var = (np.array(column, float) for column in zip(*((b.mid, b.facts.var) for b in steps), strict=True))
    warm = next(at for at, belief in enumerate(steps) if belief.warm)
    return Walked(mid, var, np.array([belief.regime for belief in steps]), truth, warm)


def machine(params: HmmParams, one: Walked, regime: RegimeSpec) -> tuple[np.ndarray, float]:
    """Return the machine's regime at each step, and the share of steps in which the model itself decided."""
    hmm = HmmRegime(RegimeParams(**regime.model_dump(exclude={"kind", "hmm"})), params)
    engines: list[str] = []
    names = labelled(hmm, one, lambda: engines.append(hmm.engine))
    return names, engines.count("hmm") / len(engines)


def labelled(one: HmmRegime | RegimeFSM, tape: Walked, note: Callable[[], None] = lambda: None) -> np.ndarray:
    """Return the regime that a machine says at each step."""
    steps, names = StepHistory(), []
    for at, (mid, var) in enumerate(zip(tape.mid.tolist(), tape.var.tolist(), strict=True)):
        steps.price(mid)
        steps.close(at)
        steps.var[steps.at] = var
        one.update(steps)
        names.append(one.regime)
        note()
    return np.array(names)


def tuned(train: Sequence[Walked]) -> RegimeParams:
    """Return the thresholds of the grid that name most steps of the training worlds rightly."""
    plain = {name: name for name in REGIMES}
    found = []
    for enter, leave, high, low, long in tqdm(list(GRID), desc="thresholds of the FSM", disable=None):
        params = RegimeParams(60, enter, enter * leave, 20, long, high, high * low, 5)
        right = [hits(labelled(RegimeFSM(params), one)[one.warm :], by_name(one), plain) for one in train]
        found.append((float(np.mean(right)), params))
    return max(found)[1]


def by_name(one: Walked) -> np.ndarray:
    """Return the truth after the warm-up as regime names."""
    return np.array([BY_NAME[true] for true in one.truth[one.warm :]])


class Counted(NamedTuple):
    """The FSM as a model of the observations: transitions of its labels, and a Gaussian for each."""

    transition: np.ndarray
    means: np.ndarray
    variances: np.ndarray


def counted(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> Counted:
    """Return the model of (observations, labels); one more of each transition than was seen, so that all may happen."""
    counts = np.ones((6, 6))
    seen = np.concatenate([part[0] for part in parts])
    labels = np.concatenate([part[1] for part in parts])
    for _, part in parts:
        np.add.at(counts, (part[:-1], part[1:]), 1)
    means, variances = np.tile(seen.mean(axis=0), (6, 1)), np.tile(seen.var(axis=0), (6, 1))
    for at in range(6):
        if (labels == at).sum() > 30:
            means[at], variances[at] = seen[labels == at].mean(axis=0), seen[labels == at].var(axis=0) + 1e-3
    return Counted(counts / counts.sum(axis=1, keepdims=True), means, variances)


def counted_loglik(model: Counted, seen: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return ln of the density of each observation but the first, given the label before it."""
    off = seen[1:, None, :] - model.means[None]
    logs = -0.5 * (off**2 / model.variances + np.log(2 * np.pi * model.variances)).sum(axis=2)
    top = logs.max(axis=1)
    share = (model.transition[labels[:-1]] * np.exp(logs - top[:, None])).sum(axis=1)
    return np.asarray(top + np.log(share))


def numbered(names: np.ndarray) -> np.ndarray:
    """Return labels as places in `REGIMES`."""
    return np.array([REGIMES.index(name) for name in names])


def majority(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, str]:
    """Return the planted regime that each label met most often."""
    met: dict[str, Counter[str]] = {}
    for names, truth in pairs:
        for name, true in zip(names.tolist(), truth.tolist(), strict=True):
            met.setdefault(name, Counter())[true] += 1
    return {name: count.most_common(1)[0][0] for name, count in met.items()}


def hits(names: np.ndarray, truth: np.ndarray, mapping: dict[str, str]) -> float:
    """Return the share of steps in which the mapped label is the truth."""
    return float(np.mean([mapping.get(a, "") == b for a, b in zip(names.tolist(), truth.tolist(), strict=True)]))


def beats(row: Figure) -> Figure:
    """Return a row of differences that holds only where its whole interval is above 0."""
    return replace(row, holds=row.interval is not None and row.interval[0] > 0)


def world_rows(worlds: int) -> list[Figure]:
    """Return accuracy and likelihood on held-out worlds."""
    regime = RegimeSpec()
    train = [walked(["tape=world", f"tape.seed={s}"]) for s in tqdm(TRAINED, desc="training worlds", disable=None)]
    model = hmm_params(fit([(one.mid, one.var) for one in train], regime, 6))
    shipped = compose_settings(["policy/regime=hmm"]).policy.regime.hmm
    assert shipped is not None, "the shipped choice has its parameters"
    embedded = hmm_params(shipped.model_dump())
    rival = counted([_labelled(one, regime) for one in train])
    maps = {
        "fsm": majority([(one.fsm[one.warm :], one.truth[one.warm :]) for one in train]),
        "hmm": majority([(machine(model, one, regime)[0][one.warm :], one.truth[one.warm :]) for one in train]),
    }
    best = tuned(train)
    print(f"thresholds of the tuned FSM: {best}")
    found: dict[str, list[float]] = {}
    for seed in tqdm(range(FIRST, FIRST + worlds), desc="held-out worlds", disable=None):
        one = walked(["tape=world", f"tape.seed={seed}"])
        truth, named = one.truth[one.warm :], by_name(one)
        plain = {name: name for name in REGIMES}
        labels = {"fsm": one.fsm[one.warm :], "tuned": labelled(RegimeFSM(best), one)[one.warm :]}
        for key, params in (("hmm", model), ("shipped", embedded)):
            names, own = machine(params, one, regime)
            labels[key] = names[one.warm :]
            found.setdefault(f"own_{key}", []).append(own)
        for key, names in labels.items():
            found.setdefault(f"name_{key}", []).append(hits(names, named, plain))
            found.setdefault(f"flips_{key}", []).append(1e3 * float(np.mean(names[1:] != names[:-1])))
        for key, mapping in maps.items():
            found.setdefault(f"majority_{key}", []).append(hits(labels[key], truth, mapping))
        found.setdefault("loglik_fsm", []).append(float(counted_loglik(rival, *_labelled(one, regime)).mean()))
        ours = logliks(model, one.mid, one.var, regime.window)[one.warm + 1 :]
        found.setdefault("loglik_hmm", []).append(float(ours.mean()))
    return _world_figures(found)


def _labelled(one: Walked, regime: RegimeSpec) -> tuple[np.ndarray, np.ndarray]:
    return observe(one.mid, one.var, regime.window, SLOW)[one.warm :], numbered(one.fsm[one.warm :])


def _world_figures(found: dict[str, list[float]]) -> list[Figure]:
    def row(name: str, what: str, values: Sequence[float], unit: str, target: str = "") -> Figure:
        made = figure(f"regime.{name}", what, values, unit, target, command=COMMAND)
        return beats(made) if target else made

    def gain(key: str) -> list[float]:
        return [a - b for a, b in zip(found[f"{key}_hmm"], found[f"{key}_fsm"], strict=True)]

    rows = []
    for key, what in (("name", "state accuracy by name"), ("majority", "state accuracy by majority mapping")):
        rows += [row(f"{key}.{side}", f"{what}, {side.upper()}", found[f"{key}_{side}"], "") for side in ("hmm", "fsm")]
        rows.append(row(f"{key}.gain", f"{what}: HMM - FSM, the interval above 0", gain(key), "", "> 0"))
    over = [a - b for a, b in zip(found["name_hmm"], found["name_tuned"], strict=True)]
    rows.append(
        row("name.tuned_fsm", "state accuracy by name, FSM with thresholds fitted too", found["name_tuned"], "")
    )
    rows.append(
        row("name.over_tuned", "state accuracy by name: HMM - fitted FSM, the interval above 0", over, "", "> 0")
    )
    what = "log-likelihood of the next step's observations"
    rows += [
        row(f"loglik.{side}", f"{what}, {side.upper()}", found[f"loglik_{side}"], "nats/step")
        for side in ("hmm", "fsm")
    ]
    rows.append(row("loglik.gain", f"{what}: HMM - FSM, the interval above 0", gain("loglik"), "nats/step", "> 0"))
    rows += [
        row("shipped.name", "state accuracy by name, model of the embedded tape's bars", found["name_shipped"], ""),
        row("shipped.own", "steps in which that model decided itself, not the FSM", found["own_shipped"], ""),
        row("own", "the same for the model of the training worlds", found["own_hmm"], ""),
    ]
    for side in ("hmm", "fsm"):
        rows.append(
            row(f"flips.{side}", f"changes of regime, {side.upper()}", found[f"flips_{side}"], "per 1000 steps")
        )
    return rows


def real_rows() -> list[Figure]:
    """Return likelihoods on the second half of each real tape that is there."""
    places = {"btcusd_1m (embedded)": ["tape=btcusd_1m"]}
    for name, (kind, instrument) in REAL.items():
        path = TAPES / name / "data.parquet"
        if path.exists():
            places[name] = ["tape=file", f"tape.path={path}", f"tape.kind={kind}", f"tape.instrument={instrument}"]
    rows = []
    for name, overrides in tqdm(places.items(), desc="real tapes", disable=None):
        rows += _real(name, walked(overrides))
    return rows


def _real(name: str, one: Walked) -> list[Figure]:
    regime, half = RegimeSpec(), len(one.mid) // 2
    model = hmm_params(fit([(one.mid[:half], one.var[:half])], regime, 6))
    seen, labels = observe(one.mid, one.var, regime.window, SLOW), numbered(one.fsm)
    rival = counted([(seen[one.warm : half], labels[one.warm : half])])
    ours = logliks(model, one.mid, one.var, regime.window)[half + 1 :]
    theirs = counted_loglik(rival, seen[half:], labels[half:])
    names, own = machine(model, one, regime)
    key = f"regime.real.{name.split()[0]}"

    def row(what: str, value: float, unit: str, last: str) -> Figure:
        return replace(figure(f"{key}.{last}", f"{name}: {what}", value, unit, command=COMMAND), n=len(ours))

    return [
        row("log-likelihood out of sample, HMM", float(ours.mean()), "nats/step", "hmm"),
        row("log-likelihood out of sample, FSM", float(theirs.mean()), "nats/step", "fsm"),
        row("steps in which the model decided itself", own, "", "own"),
        row("changes of regime, HMM", 1e3 * float(np.mean(names[1:] != names[:-1])), "per 1000 steps", "flips_hmm"),
        row("changes of regime, FSM", 1e3 * float(np.mean(labels[1:] != labels[:-1])), "per 1000 steps", "flips_fsm"),
    ]


def cost_rows() -> list[Figure]:
    """Return what a step of each machine costs."""
    shipped = compose_settings(["policy/regime=hmm"]).policy.regime
    fsm = RegimeParams(**shipped.model_dump(exclude={"kind", "hmm"}))
    assert shipped.hmm is not None, "the shipped choice has its parameters"
    params = hmm_params(shipped.hmm.model_dump())
    rng = np.random.Generator(np.random.PCG64(1))
    mids = (100.0 * np.cumprod(1.0 + rng.normal(0.0, 1e-4, 4000))).tolist()

    def spent(make: Any) -> float:
        one, steps = make(), StepHistory()
        begin = time.process_time_ns()
        for at, mid in enumerate(mids):
            steps.price(mid)
            steps.close(at)
            one.update(steps)
        return (time.process_time_ns() - begin) / 1e3 / len(mids)

    pairs = [(spent(lambda: HmmRegime(fsm, params)), spent(lambda: RegimeFSM(fsm))) for _ in range(7)]
    ours, theirs = ([pair[at] for pair in pairs] for at in (0, 1))
    more = [a - b for a, b in pairs]
    return [
        figure(
            "regime.cost.hmm",
            "one step closed and taken by the HMM with the FSM beside it, CPU time",
            ours,
            "us",
            command=COMMAND,
        ),
        figure("regime.cost.fsm", "one step closed and taken by the FSM, CPU time", theirs, "us", command=COMMAND),
        figure("regime.cost.more", "what the HMM adds to a step", more, "us", command=COMMAND),
    ]


def rows(worlds: int = 30) -> list[Figure]:
    """Return every figure of this page."""
    return [*world_rows(worlds), *real_rows(), *cost_rows()]


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=30)
    publish("regime", rows(parser.parse_args().worlds))


if __name__ == "__main__":
    main()
