"""RegimeFSM v1: direction x volatility by thresholds with hysteresis, a minimum dwell and a confidence.

Direction statistic: net return over n steps divided by its expected size under no drift, ``r / sqrt(sum of squared
returns)``. Volatility statistic: root of the short over the long weighted mean of step variance.
"""

import math
from typing import NamedTuple

from alphatrade.actors.history import MASK, StepHistory

DIRECTIONS = ("down", "flat", "up")
VOLATILITIES = ("low", "high")
REGIMES = tuple(f"{d}-{v}" for d in DIRECTIONS for v in VOLATILITIES)
OBSERVATIONS = 2  # of a step: one for each, where a hidden Markov model tells them


class RegimeParams(NamedTuple):
    """Thresholds of the machine; windows and dwell in decision steps (see ``conf/policy/regime``)."""

    window: int
    trend_enter: float
    trend_exit: float
    vol_short: int
    vol_long: int
    vol_enter: float
    vol_exit: float
    dwell: int


class RegimeFSM:
    """
    The machine; feed it each closed step.

    Attributes
    ----------
    regime : str
        Current regime.
    confidence : float
        In [0, 1]: how far the statistics stand inside the regime's own thresholds.
    cause : str
        Of the last transition.
    vol : float
        Short realised volatility of one step, fraction.
    """

    def __init__(self, params: RegimeParams) -> None:
        self._p = params
        self._direction, self._volatility = "flat", "low"
        self._since = 0
        self._a_short = 1.0 / (1.0 + params.vol_short)
        self._a_long = 1.0 / (1.0 + params.vol_long)
        self._short = self._long = 0.0
        self._squares = [0.0] * params.window
        self.regime = "flat-low"
        self.confidence = 0.0
        self.cause = ""
        self.vol = 0.0

    @property
    def warmup(self) -> int:
        """Steps before the regime may be used."""
        return max(self._p.window, self._p.vol_long)

    def update(self, steps: StepHistory) -> bool:
        """Take the step that has just closed; return whether the regime changed."""
        trend, ratio = self._statistics(steps)
        direction, volatility = self._next_direction(trend), self._next_volatility(ratio)
        self._since += 1
        changed = (direction, volatility) != (self._direction, self._volatility) and self._since >= self._p.dwell
        if changed:
            self.cause = self._why(direction, volatility, trend, ratio)
            self._direction, self._volatility = direction, volatility
            self.regime = f"{direction}-{volatility}"
            self._since = 0
        self.confidence = self._confidence(trend, ratio)
        return changed

    def _statistics(self, steps: StepHistory) -> tuple[float, float]:
        last, window = steps.at, self._p.window
        var, first = steps.var[last], 1.0 / steps.n
        self._short += (self._a_short if self._a_short > first else first) * (var - self._short)
        self._long += (self._a_long if self._a_long > first else first) * (var - self._long)
        self.vol = math.sqrt(self._short)
        self._squares[steps.n % window] = var
        if steps.n <= window:
            return 0.0, 1.0
        noise = math.sqrt(math.fsum(self._squares))
        then = steps.mid[(last - window) & MASK]
        trend = (steps.mid[last] / then - 1.0) / noise if noise > 0.0 else 0.0
        ratio = math.sqrt(self._short / self._long) if self._long > 0.0 else 1.0
        return trend, ratio

    def _next_direction(self, trend: float) -> str:
        p = self._p
        if trend >= p.trend_enter:
            return "up"
        if trend <= -p.trend_enter:
            return "down"
        opposed = trend < 0.0 if self._direction == "up" else trend > 0.0
        return "flat" if abs(trend) < p.trend_exit or opposed else self._direction

    def _next_volatility(self, ratio: float) -> str:
        p = self._p
        if ratio >= p.vol_enter:
            return "high"
        return "low" if ratio < p.vol_exit else self._volatility

    def _why(self, direction: str, volatility: str, trend: float, ratio: float) -> str:
        p, words = self._p, []
        if direction != self._direction:
            crossed = {
                "up": f">= {p.trend_enter:g}",
                "down": f"<= {-p.trend_enter:g}",
                "flat": f"left the {self._direction} side (exit {p.trend_exit:g})",
            }
            words.append(f"trend {trend:.2f} {crossed[direction]}")
        if volatility != self._volatility:
            crossed = {"high": f">= {p.vol_enter:g}", "low": f"< {p.vol_exit:g}"}
            words.append(f"volatility ratio {ratio:.2f} {crossed[volatility]}")
        return "; ".join(words)

    def _confidence(self, trend: float, ratio: float) -> float:
        p, direction = self._p, self._direction
        if direction == "flat":
            inside = (p.trend_enter - abs(trend)) / p.trend_enter
        else:
            inside = ((trend if direction == "up" else -trend) - p.trend_exit) / p.trend_enter
        level = ratio - p.vol_exit if self._volatility == "high" else p.vol_enter - ratio
        return max(0.0, min(1.0, inside, level / p.vol_enter * 2.0))
