"""Regime v2: a hidden Markov model, fitted elsewhere and only filtered here; the RegimeFSM where it does not fit.

The observations v and t are those of :mod:`alphatrade.actors.hmm_kernel`. The forward filter (Rabiner 1989, "A tutorial
on hidden Markov models", equations 19-20, scaled as in section V.A) with Gaussian emissions of diagonal covariance::

    q = p' A                    what the step is expected to be
    p = q N(x; m, s^2) / L      L = sum of the numerator: the predictive density of x

The running mean of ``ln L`` tells whether the model still describes the market.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from alphatrade.actors.history import StepHistory
from alphatrade.actors.hmm_kernel import Array, Matrix, advance, natural_log
from alphatrade.actors.regime import OBSERVATIONS, REGIMES, RegimeFSM, RegimeParams


class HmmParams(NamedTuple):
    """
    A fitted model of S states; see :class:`alphatrade.strategies.hmm_spec.HmmSpec` for what is checked.

    Attributes
    ----------
    states : tuple of str
        Regime of each state; several may share one.
    start : ndarray, shape (S,)
    transition : ndarray, shape (S, S)
        Rows sum to 1, all entries positive.
    means, variances : ndarray, shape (S, 2)
        Of v and t.
    slow : int
        Time constant of the slow variance, steps.
    loglik : float
        Mean of ln L on the fitted slice, nats per step.
    band : float
        Nats per step below `loglik` at which the model has collapsed.
    span : int
        Time constant of the running mean of ln L, steps.
    patience : int
        Steps that a collapse, or a recovery, has to last.
    """

    states: tuple[str, ...]
    start: Array
    transition: Matrix
    means: Matrix
    variances: Matrix
    slow: int
    loglik: float
    band: float
    span: int
    patience: int


def hmm_params(plain: Mapping[str, Any]) -> HmmParams:
    """Return the parameters from plain values; rows that were rounded in a file sum to 1 again."""
    start = np.array(plain["start"], np.float64)
    transition = np.array(plain["transition"], np.float64)
    return HmmParams(
        states=tuple(plain["states"]),
        start=start / start.sum(),
        transition=transition / transition.sum(axis=1, keepdims=True),
        means=np.array(plain["means"], np.float64),
        variances=np.array(plain["variances"], np.float64),
        **{name: plain[name] for name in ("slow", "loglik", "band", "span", "patience")},
    )


class HmmFilter:
    """
    The forward filter alone: prices and variances of steps in, state probabilities out.

    Parameters
    ----------
    params : HmmParams
    window : int
        Of the trend, steps.

    Attributes
    ----------
    belief : ndarray, shape (S,)
        Probability of each state, given all steps until now.
    seen : ndarray, shape (2,)
        Last observation: v and t.
    """

    def __init__(self, params: HmmParams, window: int) -> None:
        count = len(params.states)
        self.belief: Array = params.start.copy()
        self.seen: Array = np.zeros(OBSERVATIONS)
        self._ring: Matrix = np.zeros((2, window))
        self._memory: Array = np.zeros(2)
        self._alpha = 1.0 / (1.0 + params.slow)
        # Columns: mean and half precision of each observation, constant of the log density, regime.
        self._model: Matrix = np.zeros((count, 6))
        self._model[:, :2], self._model[:, 2:4] = params.means, 0.5 / params.variances
        for at in range(count):
            area = params.variances[at, 0] * params.variances[at, 1]
            self._model[at, 4] = -1.8378770664093453 - 0.5 * natural_log(area)  # - ln(2 pi) - ln(s1 s2)
            self._model[at, 5] = REGIMES.index(params.states[at])
        self._transition = params.transition
        self._work: Array = np.zeros(count)

    def take(self, mid: float, var: float, regime: int = 0) -> tuple[float, int, float, float]:
        """
        Take one closed step.

        Parameters
        ----------
        mid : float
            Reference price at its end.
        var : float
            Sum of the squared returns within it.
        regime : int
            Place in `REGIMES` whose probability is wanted.

        Returns
        -------
        loglik : float
            Log of the predictive density of the observation, nats.
        likeliest : int
            Place in `REGIMES` of the most probable regime.
        probable, asked : float
            Its probability, and that of `regime`.
        """
        found: tuple[float, int, float, float] = advance(
            mid, var, regime, self._alpha, self._ring, self._memory, self.seen, self._model, self._transition,
            self.belief, self._work,
        )  # fmt: skip
        return found


class HmmRegime:
    """
    The machine; feed it each closed step. Same interface as :class:`~alphatrade.actors.regime.RegimeFSM`.

    Parameters
    ----------
    fsm : RegimeParams
        Of the machine that takes over; its windows and dwell are used for both.
    params : HmmParams

    Attributes
    ----------
    regime : str
        Current regime.
    confidence : float
        In [0, 1]: filtered probability of the regime, or the RegimeFSM's confidence.
    cause : str
        Of the last change of regime or of engine.
    vol : float
        Short realised volatility of one step, fraction.
    engine : {"hmm", "fsm"}
        Who decides.
    loglik : float
        Running mean of the log-likelihood, nats per step.
    """

    def __init__(self, fsm: RegimeParams, params: HmmParams) -> None:
        self._fsm = RegimeFSM(fsm)
        self._filter = HmmFilter(params, fsm.window)
        self._params, self._dwell = params, fsm.dwell
        self._least = params.loglik - params.band
        self._alpha = 1.0 / (1.0 + params.span)
        self._since = self._against = self._at = 0
        self.regime = self._fsm.regime
        self.confidence = 0.0
        self.cause = ""
        self.vol = 0.0
        self.engine = "hmm"
        self.loglik = params.loglik
        HmmFilter(params, fsm.window).take(1.0, 0.0)  # compiled now, not at the first decision
        self._at = REGIMES.index(self.regime)

    @property
    def warmup(self) -> int:
        """Steps before the regime may be used."""
        return self._fsm.warmup

    def update(self, steps: StepHistory) -> bool:
        """Take the step that has just closed; return whether the regime or its engine changed."""
        fsm, last = self._fsm, steps.at
        fsm.update(steps)
        self.vol = fsm.vol
        loglik, likeliest, probable, asked = self._filter.take(steps.mid[last], steps.var[last], self._at)
        said = self._judge(loglik) if steps.n > self.warmup else ""
        self._since += 1
        wanted = REGIMES[likeliest] if self.engine == "hmm" else fsm.regime
        if changed := wanted != self.regime and self._since >= self._dwell:
            why = f"probability {probable:.2f}, of {self.regime} {asked:.2f}" if self.engine == "hmm" else fsm.cause
            said = "; ".join(part for part in (said, f"{self.engine}: {why}") if part)
            self.regime, self._at, self._since = wanted, REGIMES.index(wanted), 0
        self.confidence = (probable if changed else asked) if self.engine == "hmm" else fsm.confidence
        if said:
            self.cause = said
        return said != ""

    def _judge(self, loglik: float) -> str:
        """Take a step's log-likelihood into the running mean; return why the engine changes, if it does."""
        p = self._params
        self.loglik += self._alpha * (loglik - self.loglik)
        against = self.loglik < self._least if self.engine == "hmm" else self.loglik >= self._least
        self._against = self._against + 1 if against else 0
        if self._against < p.patience:
            return ""
        self._against = 0
        self.engine, side = ("fsm", "below") if self.engine == "hmm" else ("hmm", "above")
        words = f"log-likelihood {self.loglik:.2f} per step {side} {self._least:.2f} for {p.patience} steps"
        return f"engine {self.engine}: {words}"


def build_regime(plain: Mapping[str, Any]) -> RegimeFSM | HmmRegime:
    """Return the machine that the policy's plain ``regime`` part asks for."""
    fsm = RegimeParams(**{name: plain[name] for name in RegimeParams._fields})
    return HmmRegime(fsm, hmm_params(plain["hmm"])) if plain.get("kind", "fsm") == "hmm" else RegimeFSM(fsm)
