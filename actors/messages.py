"""What perception says: one belief snapshot per decision step, one signal per regime change."""

from typing import Any

import msgspec
import numpy as np

Array = np.ndarray[tuple[int], np.dtype[Any]]

BELIEF_TOPIC = "alphatrade.belief"
REGIME_TOPIC = "alphatrade.regime"
OUTCOME_TOPIC = "alphatrade.outcome"  # its messages are reflection's; named here, as watch-keepers listen to it
DRIFT_TOPIC = "alphatrade.drift"
DRIFT_STATE_TOPIC = "alphatrade.drift_state"
MECHANISM_TOPIC = "alphatrade.mechanism"
# Bus priorities: a belief is watched, then completes outcomes, before anyone acts on it. Beliefs and signals are
# written down last (0), when what they lead to has been sent.
WATCH, COMPLETE, ACT = 60, 50, 10


class StepFacts(msgspec.Struct, frozen=True, gc=False):
    """
    What happened within one decision step; 0 where the tape does not say.

    Attributes
    ----------
    high, low : float
        Highest and lowest reference price.
    var : float
        Sum over the step's events of squared returns, fraction squared.
    spread : float
        Mean relative spread, fraction.
    imbalance : float
        Last (bid size - ask size) / (bid size + ask size).
    depth : float
        Last bid size + ask size, units.
    volume, flow : float
        Traded quantity, total and signed by aggressor, units.
    """

    high: float
    low: float
    var: float
    spread: float
    imbalance: float
    depth: float
    volume: float
    flow: float


class BeliefSnapshot(msgspec.Struct, frozen=True, gc=False):
    """
    All that perception knows at one decision step.

    Attributes
    ----------
    instrument : str
        Nautilus instrument id.
    step : int
        Decision step of this instrument, from 0.
    ts : int
        Event time, UTC nanoseconds.
    bid, ask, mid : float
        Reference price at the step, quote currency.
    vol : float
        Realised volatility of one step, fraction.
    features, z : ndarray, shape (d,)
        Raw features in their own units, and standardised.
    idx, val : ndarray, shape (a,), a <= k
        Active belief units in ascending order (int16) and their values (> 0).
    regime : str
        ``<direction>-<volatility>``, for instance ``up-low``.
    confidence : float
        Of the regime, in [0, 1].
    cause : str
        Why the regime, or the engine behind it, changed at this step; empty where neither did.
    warm : bool
        Whether every feature and the regime have enough history to be used.
    facts : StepFacts or None
        What happened within the step; None where nothing was perceived.
    received_ns : int
        Monotonic clock at which the event reached perception; for latency only, never digested.
    """

    instrument: str
    step: int
    ts: int
    bid: float
    ask: float
    mid: float
    vol: float
    features: Array
    z: Array
    idx: Array
    val: Array
    regime: str
    confidence: float
    cause: str
    warm: bool
    received_ns: int
    facts: StepFacts | None = None


class RegimeSignal(msgspec.Struct, frozen=True):
    """
    A change of regime, or of the engine behind it: `before` and `after` may be the same then.

    Attributes
    ----------
    instrument, step, ts
        As in :class:`BeliefSnapshot`.
    before, after : str
        Regime names.
    confidence : float
        Of the new regime, in [0, 1].
    cause : str
        The statistic and the threshold that it crossed, or the probabilities.
    """

    instrument: str
    step: int
    ts: int
    before: str
    after: str
    confidence: float
    cause: str


class DriftSignal(msgspec.Struct, frozen=True):
    """
    What the drift sentry says when the severity of one instrument changes, or rises within a stream.

    Attributes
    ----------
    ts : int
        Event time, UTC ns.
    instrument : str
        Whose trading it is about.
    level : str
        ``warn``, ``alert``, ``flat``, or ``recovered``: one level of severity less.
    stream : str
        ``overall``, ``belief`` or ``tactic:<name>``; empty for a recovery.
    statistic, threshold : float
        The chart's value and what it crossed, both in baseline scales.
    chart : str
        ``cusum`` or ``page_hinkley``; empty for a recovery.
    factor : float
        What clips are multiplied by from now on: 1, 0.5 or 0; at 0 positions are only closed.
    freeze : bool
        Whether exploration has to rest.
    change_point : int
        Event time since when the stream drifts, by estimate: the last time its CUSUM was zero, UTC ns.
    last_good, last : int
        Decision ids (steps for ``belief``): the last one before the change point, and the one that alarmed.
    detail : str
        One line in words.
    """

    ts: int
    instrument: str
    level: str
    stream: str
    statistic: float
    threshold: float
    chart: str
    factor: float
    freeze: bool
    change_point: int
    last_good: int
    last: int
    detail: str


class DriftState(msgspec.Struct, frozen=True, gc=False):
    """
    Statistics of one stream after one outcome, baseline scales; NaN while it learns.

    Attributes
    ----------
    ts : int
        Event time, UTC ns.
    instrument, stream : str
        As in :class:`DriftSignal`.
    value : float
        The outcome: bps net of costs, or for ``belief`` in units of the volatility expected over the horizon.
    score, cusum_up, cusum_down, page_hinkley : float
        Its standardised score, and the charts; Page-Hinkley scaled so that all have one threshold.
    threshold : float
        Alarm threshold h of the family.
    level : str
        ``learning``, ``watching``, or the severity of the instrument.
    """

    ts: int
    instrument: str
    stream: str
    value: float
    score: float
    cusum_up: float
    cusum_down: float
    page_hinkley: float
    threshold: float
    level: str


class MechanismFault(msgspec.Struct, frozen=True):
    """
    A mechanism has switched itself off, or ignored what it cannot use; trading goes on without it.

    Attributes
    ----------
    ts : int
        Event time, UTC ns.
    mechanism : str
        Its name, such as ``drift_sentry``.
    reason : str
        One line: what was wrong with what.
    """

    ts: int
    mechanism: str
    reason: str
