"""Perception without Nautilus: one closed step in, one belief snapshot out."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from alphatrade.actors.belief import Encoder, Standardiser
from alphatrade.actors.features import Feature, build_feature
from alphatrade.actors.history import MAX_WINDOW, StepHistory
from alphatrade.actors.hmm import build_regime
from alphatrade.actors.messages import BeliefSnapshot, RegimeSignal
from alphatrade.risk.errors import ConfigError


class Perceiver:
    """
    Features, belief and regime of one instrument.

    Parameters
    ----------
    instrument : str
        Nautilus instrument id.
    features : mapping of str to mapping
        Name to ``{"kind": …, "n": …}``; used in the order of the names.
    belief : mapping
        ``{"n", "k", "seed", "halflife"}``.
    regime : mapping
        Fields of :class:`~alphatrade.actors.regime.RegimeParams`; with ``kind: hmm`` also ``hmm``, those of
        :class:`~alphatrade.actors.hmm.HmmParams`.
    provides : frozenset of str
        What the tape provides.

    Raises
    ------
    ConfigError
        If a feature is unknown or the tape cannot feed it.
    """

    def __init__(
        self,
        instrument: str,
        features: Mapping[str, Mapping[str, object]],
        belief: Mapping[str, int],
        regime: Mapping[str, Any],
        provides: frozenset[str],
    ) -> None:
        self.instrument = instrument
        self.names = tuple(sorted(features))
        self.steps = StepHistory()
        self._features: list[Feature] = [
            build_feature(name, str(features[name]["kind"]), int(str(features[name]["n"])), provides)
            for name in self.names
        ]
        self.regime = build_regime(regime)
        if regime["window"] > MAX_WINDOW:
            raise ConfigError("policy.regime.window", regime["window"], f"at most {MAX_WINDOW} steps")
        self._standardiser = Standardiser(len(self.names), belief["halflife"])
        self._encoder = Encoder(len(self.names), belief["n"], belief["k"], belief["seed"])
        self.warmup = 1 + max([self.regime.warmup, *(f.warmup for f in self._features)])

    def step(
        self, ts: int, bid: float, ask: float, received_ns: int
    ) -> tuple[BeliefSnapshot, RegimeSignal | None]:
        """
        Close the open step and return what is believed now.

        Parameters
        ----------
        ts : int
            Event time, UTC ns.
        bid, ask : float
            Reference price at the step.
        received_ns : int
            Monotonic clock at which the event arrived (latency only).

        Returns
        -------
        BeliefSnapshot
        RegimeSignal or None
            Where the regime, or the engine behind it, changed.
        """
        steps = self.steps
        steps.close(ts)
        raw = [feature.value(steps) for feature in self._features]
        x = np.array(raw)
        z = self._standardiser.update(x)
        before = self.regime.regime
        changed = self.regime.update(steps)
        idx, val = self._encoder.encode(z)
        step = steps.n - 1
        snapshot = BeliefSnapshot(
            self.instrument,
            step,
            ts,
            bid,
            ask,
            0.5 * (bid + ask),
            self.regime.vol,
            x,
            z,
            idx,
            val,
            self.regime.regime,
            self.regime.confidence,
            self.regime.cause if changed else "",
            steps.n >= self.warmup,
            received_ns,
            steps.facts(),
        )
        if not changed:
            return snapshot, None
        r = self.regime
        return snapshot, RegimeSignal(self.instrument, step, ts, before, r.regime, r.confidence, r.cause)
