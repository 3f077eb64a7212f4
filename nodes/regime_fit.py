"""Fitting a hidden Markov regime on a slice of a tape, offline, and writing it as a choice of ``policy/regime``.

Expectation maximisation (Baum et al. 1970) by hmmlearn, an extra that nothing else needs. The states of the best of
several starts get the name of the regime they stand for:

- up or down where the mean trend of the state is at least one standard deviation of a market without drift;
- high where the mean variance of its steps, over the slow variance, is above that of the whole slice.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from alphatrade.actors.hmm import HmmFilter, hmm_params
from alphatrade.actors.hmm_kernel import observe
from alphatrade.nodes.counting import looked
from alphatrade.nodes.perceive import walk
from alphatrade.nodes.settings import Settings
from alphatrade.nodes.sim import load_tapes
from alphatrade.nodes.tape import Tape
from alphatrade.risk.errors import ConfigError, TapeError
from alphatrade.strategies.hmm_spec import HmmSpec
from alphatrade.strategies.policy import Policy, RegimeSpec

Floats = NDArray[np.float64]
Steps = tuple[Floats, Floats]  # mid and variance of each step of one stretch

TREND = 1.0
SLOW, SPAN, PATIENCE = 960, 240, 60
LEAST_STEPS = 100  # for each state
ITERATIONS, STARTS = 60, 3
BAND_TIMES, LEAST_BAND = 1.5, 0.5  # of the worst shortfall on the fitted slice, and nats
_STAY = 0.98  # a state's first guess of its own return: regimes last
_RAREST = 1e-6
_DIGITS = 6
_TABLES = ("transition", "means", "variances")


def fit_regime(settings: Settings, tape: Tape, states: int, seed: int = 1) -> RegimeSpec:
    """
    Return the policy's regime with a model fitted on `tape`, at the policy's cadence, window and dwell.

    Raises
    ------
    TapeError
        If the tape has too few steps for so many states, or too little happens on it.
    ConfigError
        If hmmlearn is not installed.
    """
    first, last = (np.datetime64(ts, "ns").astype("datetime64[s]") for ts in tape.span)
    cadence = settings.policy.cadence
    where = f"{tape.name}, {first} to {last} UTC, {cadence.n} {cadence.kind} a step"
    plain = fit([steps_of(tape, settings.policy)], settings.policy.regime, states, seed)
    spec = HmmSpec(**plain, fitted_tape=tape.tape_hash, fitted_slice=where)
    rest = settings.policy.regime.model_dump(exclude={"kind", "hmm"})
    return RegimeSpec(**rest, kind="hmm", hmm=spec)


def fit_command(settings: Settings, states: int, out: Path, command: str) -> None:
    """Be ``alphatrade regime fit``: load the tape, enter a look, fit, write the file and say what was found."""
    tapes = load_tapes(settings.run)
    if len(tapes) != 1:
        raise ConfigError("tapes", [tape.name for tape in tapes], "one tape to fit on")
    looked(settings, tapes, "regime fit")
    spec = fit_regime(settings, tapes[0], states)
    write_regime(spec, out, command)
    assert spec.hmm is not None, "it was just fitted"
    found = spec.hmm
    print(f"fitted on {found.fitted_slice}")
    for name, row, stay in zip(found.states, found.means, np.diag(np.array(found.transition)), strict=True):
        lasts = 1.0 / max(1e-9, 1.0 - float(stay))
        print(f"  {name:9}  log variance {row[0]:+.2f}  trend {row[1]:+.2f}  lasts {lasts:,.0f} steps")
    print(f"log-likelihood {found.loglik:.3f} per step; it has collapsed {found.band:.2f} below that")
    print(f"{out}: with --config-dir <folder>, policy/regime={out.stem} is <folder>/policy/regime/{out.name}")


def steps_of(tape: Tape, policy: Policy) -> Steps:
    """Return the reference price and the variance of every decision step of a tape."""
    seen = [(belief.mid, belief.facts.var) for belief in walk(tape, policy) if belief.facts is not None]
    table = np.array(seen, np.float64).reshape(-1, 2)
    return table[:, 0].copy(), table[:, 1].copy()


def fit(stretches: Sequence[Steps], regime: RegimeSpec, states: int, seed: int = 1) -> dict[str, Any]:
    """
    Return the fields of an `HmmSpec`, without where it was fitted.

    Parameters
    ----------
    stretches : sequence of (mid, variance)
        One for each tape; what comes before the warm-up of each is left out.
    regime : RegimeSpec
        Its window and its warm-up.
    states : int
    seed : int
        Of the starts; the best by likelihood stays.
    """
    warm = max(regime.window, regime.vol_long)
    seen = [observe(mid, var, regime.window, SLOW)[warm:] for mid, var in stretches if len(mid) > warm]
    count = sum(map(len, seen))
    if count < LEAST_STEPS * states:
        expected = f"at least {LEAST_STEPS * states} for {states} states: a longer slice or fewer states"
        raise TapeError("tape", f"{count} steps after the warm-up of {warm}", expected)
    table, lengths = np.concatenate(seen), [len(part) for part in seen]
    if float(table.std(axis=0).min()) < 1e-3:
        raise TapeError("tape", "steps that are all alike", "a market that moves")
    model = _best(table, lengths, states, seed)
    spread = np.array([np.diag(part) for part in model.covars_])
    transition = np.maximum(model.transmat_, _RAREST)
    names = _names(table, model.predict_proba(table, lengths), model.means_)
    order = sorted(range(states), key=lambda at: (names[at], *model.means_[at]))
    plain: dict[str, Any] = {
        "states": [names[at] for at in order],
        "start": _rows(np.full((1, states), 1.0 / states))[0],  # a tape may begin in any of them
        "transition": _rows((transition / transition.sum(axis=1, keepdims=True))[np.ix_(order, order)]),
        "means": _rows(model.means_[order]),
        "variances": _rows(spread[order]),
        "slow": SLOW,
        "span": SPAN,
        "patience": PATIENCE,
    }
    return plain | _expectation(plain, stretches, regime)


def _best(table: Floats, lengths: list[int], states: int, seed: int) -> Any:
    """Return the likeliest of several models, each from its own start."""
    try:
        from hmmlearn.hmm import GaussianHMM
    except ImportError:
        raise ConfigError("hmmlearn", "not installed", "the extra learn: pip install 'alphatrade[learn]'") from None
    found = []
    for start in range(STARTS):
        model = GaussianHMM(states, "diag", n_iter=ITERATIONS, tol=1e-5 * len(table), random_state=seed + start)
        model.init_params = "smc"  # start, means and variances; not the transitions, which follow
        model.transmat_ = np.full((states, states), (1.0 - _STAY) / (states - 1))
        np.fill_diagonal(model.transmat_, _STAY)
        model.fit(table, lengths)
        found.append((float(model.score(table, lengths)), -start, model))
    return max(found, key=lambda item: item[:2])[2]


def _names(table: Floats, share: Floats, means: Floats) -> list[str]:
    """Return the regime of each state, by the rule in the head of this module; `share` is of states in each step."""
    ratio = np.exp(table[:, 0])
    weight = share.sum(axis=0)
    size = (share * ratio[:, None]).sum(axis=0) / np.maximum(weight, 1e-12)
    names = []
    for trend, heat in zip(means[:, 1], size, strict=True):
        direction = "up" if trend >= TREND else "down" if trend <= -TREND else "flat"
        names.append(f"{direction}-{'high' if heat > ratio.mean() else 'low'}")
    return names


def _rows(table: Floats) -> list[list[float]]:
    return [[round(float(value), _DIGITS) for value in row] for row in table]


def _expectation(plain: dict[str, Any], stretches: Sequence[Steps], regime: RegimeSpec) -> dict[str, float]:
    """Return mean log-likelihood of the filter itself on the slice, and the band that its running mean never left."""
    params = hmm_params(plain | {"loglik": 0.0, "band": 1.0})
    warm = max(regime.window, regime.vol_long)
    runs = [logliks(params, *part, regime.window)[warm:] for part in stretches if len(part[0]) > warm]
    mean = float(np.concatenate(runs).mean())
    worst = 0.0
    for run in runs:
        level = mean
        for value in run.tolist():
            level += (value - level) / (1.0 + SPAN)
            worst = max(worst, mean - level)
    return {"loglik": round(mean, _DIGITS), "band": round(max(LEAST_BAND, BAND_TIMES * worst), _DIGITS)}


def logliks(params: Any, mid: Floats, var: Floats, window: int) -> Floats:
    """Return the log of the predictive density of each step, nats."""
    one = HmmFilter(params, window)
    return np.array([one.take(a, b)[0] for a, b in zip(mid.tolist(), var.tolist(), strict=True)])


def write_regime(spec: RegimeSpec, out: Path, command: str) -> None:
    """
    Write a fitted regime as a file of the group ``policy/regime``, whole or not at all.

    Raises
    ------
    ConfigError
        If it cannot be written there.
    """
    plain = spec.model_dump(mode="json")
    assert spec.hmm is not None, "only a fitted regime is written"
    hmm = plain.pop("hmm")
    head = f"# Hidden Markov regime, fitted on {spec.hmm.fitted_slice}:\n#   {command}\n"
    head += "# Windows, thresholds and dwell are those of the machine that stands by; window and dwell are shared.\n"
    lines = [yaml.safe_dump(plain, sort_keys=False), "hmm:\n"]
    for key, value in hmm.items():
        rows = "".join(f"\n    - {_text(row)}" for row in value) if key in _TABLES else f" {_text(value)}"
        lines.append(f"  {key}:{rows}\n")
    part = out.with_name(f"{out.name}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(head + "".join(lines), encoding="utf-8")
        part.replace(out)
    except OSError as error:
        raise ConfigError("--out", str(out), f"a file that can be written ({error.strerror})") from None


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, float):
        return f"{value:.{_DIGITS}f}"
    return str(value) if isinstance(value, int) else f'"{value}"'
