"""Parameters of a hidden Markov regime as part of the policy: validated here, used by :mod:`alphatrade.actors.hmm`."""

import math
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from alphatrade.actors.regime import OBSERVATIONS, REGIMES
from alphatrade.risk.errors import ConfigError

MOST_STATES = 16
Row = tuple[Annotated[float, Field(allow_inf_nan=False)], ...]
_PLACE = "policy.regime.hmm"
_ROUNDED = 1e-4  # by which a row of rounded probabilities may miss 1


class HmmSpec(BaseModel):
    """
    A fitted model of S states over d = 2 observations: log variance ratio and trend.

    Attributes
    ----------
    states : tuple of str, length S
        Regime that each state stands for; several may stand for one.
    start : tuple of float, length S
        Probabilities at the first step.
    transition : tuple of rows, (S, S)
        Row i: probabilities of the next state after state i, all positive, so that no state is ever ruled out.
    means, variances : tuple of rows, (S, d)
        Of the observations in each state.
    slow : int
        Time constant of the slow variance, steps.
    loglik : float
        Mean log-likelihood of a step on the fitted slice, nats.
    band : float
        Nats per step below it at which the model has collapsed and the RegimeFSM takes over.
    span, patience : int
        Steps: time constant of the running mean, and how long a collapse or a recovery has to last.
    fitted_tape, fitted_slice : str
        Hash of the tape, and what of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    states: Annotated[tuple[str, ...], Field(min_length=2, max_length=MOST_STATES)]
    start: Row
    transition: tuple[Row, ...]
    means: tuple[Row, ...]
    variances: tuple[Row, ...]
    slow: Annotated[int, Field(ge=1, le=100_000)] = 960
    loglik: Annotated[float, Field(allow_inf_nan=False)]
    band: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
    span: Annotated[int, Field(ge=1, le=100_000)] = 240
    patience: Annotated[int, Field(ge=1, le=100_000)] = 60
    fitted_tape: str
    fitted_slice: str

    @model_validator(mode="after")
    def _a_model(self) -> Self:
        count = len(self.states)
        for at, name in enumerate(self.states):
            _hold(name in REGIMES, f"states.{at}", name, f"one of {', '.join(REGIMES)}")
        _hold(len(self.start) == count, "start", self.start, f"{count} probabilities, one for each state")
        _stochastic("start", self.start, 0.0)
        for key, width in (("transition", count), ("means", OBSERVATIONS), ("variances", OBSERVATIONS)):
            rows: tuple[Row, ...] = getattr(self, key)
            shape = [len(row) for row in rows]
            _hold(shape == [width] * count, key, f"rows of {shape}", f"{count} rows of {width}")
        for at, row in enumerate(self.transition):
            _stochastic(f"transition.{at}", row, 1e-12)
        for at, row in enumerate(self.variances):
            _hold(min(row) >= 1e-6, f"variances.{at}", row, "at least 1e-6")
        return self


def _stochastic(key: str, row: Row, least: float) -> None:
    more = "positive probabilities" if least else "probabilities"
    right = min(row) >= least and abs(math.fsum(row) - 1.0) <= _ROUNDED
    _hold(right, key, row, f"{more} that sum to 1, not {math.fsum(row):.6g}")


def _hold(right: bool, key: str, value: Any, expected: str) -> None:
    if not right:
        raise ConfigError(f"{_PLACE}.{key}", value, expected)
