"""Synapse probes: labelled detectors that watch every belief, each with a unit, a threshold and a test against truth.

A probe reads what the step was against what is usual on this tape, so that a threshold means the same everywhere. The
usual level is an exponentially weighted mean that no single step can pull far (Huber 1964, "Robust estimation of a
location parameter": the influence of an observation is bounded). A probe decides nothing; the diary has its value.

Compiled as the belief is: additions, products, quotients and square roots only, the same bits on every CPU.
"""

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np

from alphatrade.actors.compiled import compiled
from alphatrade.actors.messages import Array, BeliefSnapshot

SLOW = 500.0  # steps over which the usual is what it is
FAST, RECENT, STEADY = 0.5, 0.125, 0.3  # weight of the last step: in volatility, in what a sweep meets, in a lean
WARMUP = 60  # steps before a value is given
MOST_PULL = 3.0  # what is beyond so many times the usual pulls no further
MOST = 100.0  # no ratio is larger
SILENCE_S, SILENCE_STEPS = 600.0, 8.0  # a market was closed: at least so long, and so many times the usual step
OPENING, OPEN = 1.0, 0.1  # values with which it begins and is over; a feed that falls silent comes back as it was
OPENING_S = 900.0  # it lasts no longer
BOUNCE = 1.2  # a path of more than so many squared ranges went out and came back: a print, not a market
JOLT = 8.0  # times the usual volatility is the most that one step is taken for
PARKINSON = 0.36067  # 1 / (4 ln 2): variance over squared range (Parkinson 1980)
FAR, THIN = 8.0, 40.0  # a sweep goes no further and leaves no less, as far as its value is concerned
HELD = 0.75  # of a sweep's value is left a step later

# Places in the state vector; `_usual` keeps its count in the place after its level.
STEPS, LAST_TS, AWAITED, OPENED, LAST_MID, FAST_VAR, RECENT_VAR, MEAN_LEAN, STEADY_LEAN, BIDS, ASKS, SWEEP = range(12)
GAP, VOL, SPREAD, DEPTH, STEADY_DEV, VOL_DEV = range(12, 24, 2)
SIZE = 24


@dataclass(frozen=True, slots=True)
class Probe:
    """
    One detector.

    Attributes
    ----------
    definition : str
        What is measured.
    unit : str
        Unit of the value.
    threshold : float
        The value from which the probe has fired.
    needs : frozenset of str
        What the tape must provide; where it does not, the value is NaN.
    """

    definition: str
    unit: str
    threshold: float
    needs: frozenset[str]


_BOOK = frozenset({"spread", "size"})
BUILT_IN: dict[str, Probe] = {  # in the order of `_step`'s values, which is that of the names
    "imbalance_surge": Probe(
        "the book leans to one side: size of its mean imbalance over about three steps, less the usual imbalance",
        "mean absolute deviations",
        4.25,
        frozenset({"size"}),
    ),
    "liquidity_vacuum": Probe(
        "wide and thin beyond what volatility explains: the lesser of spread over the usual and usual depth over "
        "depth, divided by volatility over the usual where that is above one",
        "times the usual",
        2.5,
        _BOOK,
    ),
    "opening_auction": Probe(
        "a market opens: in the quarter of an hour after at least ten silent minutes that ended wide and thin, the "
        "lesser of spread over the usual and usual depth over depth, less one; else zero",
        "times the usual, less one",
        1.75,
        _BOOK,
    ),
    "sweep_risk": Probe(
        "the book is walked one way: how far the step reached, in recent deviations, times the root of recent over "
        "present size at the side that was hit; three quarters of it are left a step later",
        "deviations",
        13.0,
        _BOOK,
    ),
    "volatility_shock": Probe(
        "volatility of about the last two steps beyond the usual one; prints that went and came are left out",
        "mean absolute deviations",
        8.0,
        frozenset(),
    ),
}
EVENTS = {  # what each is for, in the word of a world's truth
    "imbalance_surge": "surge",
    "liquidity_vacuum": "vacuum",
    "opening_auction": "auction",
    "sweep_risk": "sweep",
    "volatility_shock": "vol_shock",
}


class Probes:
    """
    All probes of one instrument.

    Parameters
    ----------
    provides : frozenset of str
        What the tape provides.
    """

    def __init__(self, provides: frozenset[str]) -> None:
        self._state = np.zeros(SIZE)
        self._unheard = [probe.needs - provides != frozenset() for probe in BUILT_IN.values()]
        self._lacking = any(self._unheard)
        _step(np.zeros(SIZE), 0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0)  # compiled now, not at the first decision

    def step(self, belief: BeliefSnapshot) -> tuple[float, ...]:
        """
        Take the belief of a step; return the value of every probe in the order of `BUILT_IN`.

        NaN where the tape lacks what a probe needs, where nothing was perceived, and in the first 60 steps.
        """
        facts = belief.facts
        if facts is None or not belief.mid > 0.0:
            return UNKNOWN
        values: tuple[float, ...] = _step(
            self._state, belief.ts, belief.mid, facts.high, facts.low, facts.var, facts.spread, facts.imbalance,
            facts.depth,
        )  # fmt: skip
        if self._lacking:
            return tuple(nan if lost else value for lost, value in zip(self._unheard, values, strict=True))
        return values


UNKNOWN = (nan,) * len(BUILT_IN)


def described() -> dict[str, dict[str, object]]:
    """Return unit, threshold and needs of every probe as plain values, for the record of a run."""
    return {
        name: {"unit": probe.unit, "threshold": probe.threshold, "needs": sorted(probe.needs)}
        for name, probe in BUILT_IN.items()
    }


@compiled
def _usual(state: Array, at: int, x: float) -> float:
    """Return `x` over what was usual before it, and learn from it; 1 where nothing is known yet."""
    level = state[at]
    state[at + 1] += 1.0
    if level <= 0.0:
        state[at] = x
        return 1.0
    ratio: float = x / level
    state[at] = level + level * (min(ratio, MOST_PULL) - 1.0) / min(state[at + 1], SLOW)
    return min(ratio, MOST)


@compiled
def _silence(state: Array, ts: int) -> tuple[float, bool]:
    """Return by how much the step was longer than usual, at least 1, and whether the market may have been closed."""
    gap = (ts - state[LAST_TS]) * 1e-9 if state[STEPS] > 1.0 else 0.0
    longer = max(1.0, _usual(state, GAP, gap)) if gap > 0.0 else 1.0
    state[LAST_TS] = ts
    return longer, longer >= SILENCE_STEPS and gap >= SILENCE_S


@compiled
def _moved(state: Array, mid: float, high: float, low: float, path: float, longer: float) -> tuple[float, float, float]:
    """Return how far up and down the step reached, in recent deviations, and volatility over the usual."""
    before = state[LAST_MID] if state[STEPS] > 1.0 else mid
    state[LAST_MID] = mid
    reach, move = (high - low) / mid, mid / before - 1.0
    variance = PARKINSON * (reach * reach)
    if path > BOUNCE * (reach * reach):
        high, low, variance = max(mid, before), min(mid, before), move * move
    usual, recent = state[VOL], sqrt(state[RECENT_VAR] * longer)
    variance /= longer  # a long step counts as one
    state[RECENT_VAR] += RECENT * (variance - state[RECENT_VAR])
    jolt = JOLT * usual if usual > 0.0 else sqrt(variance)
    state[FAST_VAR] += FAST * (min(variance, jolt * jolt) - state[FAST_VAR])
    _usual(state, VOL, sqrt(variance))
    if usual <= 0.0 or recent <= 0.0:
        return 0.0, 0.0, 1.0
    return (high / before - 1.0) / recent, (1.0 - low / before) / recent, min(sqrt(state[FAST_VAR]) / usual, MOST)


@compiled
def _gone(state: Array, at: int, size: float) -> float:
    """Return recent over present size at one side of the book, and learn from it."""
    recent = state[at]
    state[at] = size if recent == 0.0 else recent + RECENT * (size - recent)
    gone: float = min(recent / size, THIN) if size > 0.0 else THIN
    return gone


@compiled
def _leant(state: Array, imbalance: float) -> float:
    """Return the lean of the book over the last steps beyond the usual, in mean absolute deviations."""
    off = imbalance - state[MEAN_LEAN]
    state[MEAN_LEAN] += off / min(state[STEPS], SLOW)
    state[STEADY_LEAN] += STEADY * (off - state[STEADY_LEAN])
    usual = state[STEADY_DEV]
    _usual(state, STEADY_DEV, abs(state[STEADY_LEAN]))
    return state[STEADY_LEAN] / usual if usual > 0.0 else 0.0


@compiled
def _surge(steady: float) -> float:
    return abs(steady)


@compiled
def _vacuum(wide: float, thin: float, vol: float) -> float:
    return min(wide, thin) / max(1.0, vol)


@compiled
def _opening(state: Array, closed: bool, wide: float, thin: float) -> float:
    beyond = max(0.0, min(wide, thin) - 1.0)
    if closed:
        state[AWAITED], state[OPENED] = state[STEPS] + 2.0, 0.0  # the mean spread of this step is still of before
    if state[STEPS] <= state[AWAITED] and beyond >= OPENING:
        state[AWAITED], state[OPENED] = 0.0, state[LAST_TS]
    elif beyond < OPEN:
        state[OPENED] = 0.0  # what comes later is something else
    return beyond if state[LAST_TS] - state[OPENED] <= OPENING_S * 1e9 else 0.0


@compiled
def _sweep(held: float, up: float, down: float, asks_gone: float, bids_gone: float) -> float:
    return max(HELD * held, min(up, FAR) * sqrt(asks_gone), min(down, FAR) * sqrt(bids_gone))


@compiled
def _shock(state: Array, vol: float) -> float:
    """Return volatility beyond the usual in mean absolute deviations: some tapes are wilder than others every day."""
    usual = state[VOL_DEV]
    _usual(state, VOL_DEV, abs(vol - 1.0))
    return (vol - 1.0) / usual if usual > 0.0 else 0.0


@compiled
def _step(
    state: Array, ts: int, mid: float, high: float, low: float, path: float, spread: float, imbalance: float,
    depth: float,
) -> tuple[float, float, float, float, float]:  # fmt: skip
    """Take a step into the state and return the values of the probes in the order of their names."""
    state[STEPS] += 1.0
    longer, closed = _silence(state, ts)
    up, down, vol = _moved(state, mid, high, low, path, longer)
    wide = _usual(state, SPREAD, spread) if spread > 0.0 else 1.0
    thin = 1.0 / max(_usual(state, DEPTH, depth), 1.0 / MOST) if depth > 0.0 else 1.0
    asks_gone = _gone(state, ASKS, depth * (1.0 - imbalance))
    bids_gone = _gone(state, BIDS, depth * (1.0 + imbalance))
    state[SWEEP] = _sweep(state[SWEEP], up, down, asks_gone, bids_gone)
    steady, opening = _leant(state, imbalance), _opening(state, closed, wide, thin)
    shock = _shock(state, vol)
    if state[STEPS] <= WARMUP:
        return nan, nan, nan, nan, nan
    return _surge(steady), _vacuum(wide, thin, vol), opening, state[SWEEP], shock
