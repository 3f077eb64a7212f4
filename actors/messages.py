"""What perception says: one belief snapshot per decision step, one signal per regime change."""

from typing import Any

import msgspec
import numpy as np

Array = np.ndarray[tuple[int], np.dtype[Any]]

BELIEF_TOPIC = "alphatrade.belief"
REGIME_TOPIC = "alphatrade.regime"


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
        Why the regime changed at this step; empty where it did not.
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
    A change of regime.

    Attributes
    ----------
    instrument, step, ts
        As in :class:`BeliefSnapshot`.
    before, after : str
        Regime names.
    confidence : float
        Of the new regime, in [0, 1].
    cause : str
        The statistic and the threshold that it crossed.
    """

    instrument: str
    step: int
    ts: int
    before: str
    after: str
    confidence: float
    cause: str
