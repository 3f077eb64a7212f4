"""RegimeFSM v1: direction x volatility by thresholds with hysteresis, a minimum dwell and a confidence.

Direction statistic: net return over n steps divided by its expected size under no drift, ``r / sqrt(sum of squared
returns)``. Volatility statistic: root of the short over the long weighted mean of step variance.
"""

import math
from typing import NamedTuple

from alphatrade.actors.history import StepHistory

DIRECTIONS = ("down", "flat", "up")
VOLATILITIES = ("low", "high")
REGIMES = tuple(f"{d}-{v}" for d in DIRECTIONS for v in VOLATILITIES)


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
        self._path = 0.0
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
        direction, why_d = self._next_direction(trend)
        volatility, why_v = self._next_volatility(ratio)
        self._since += 1
        changed = (direction, volatility) != (self._direction, self._volatility) and self._since >= self._p.dwell
        if changed:
            self.cause = "; ".join(
                why
                for why, moved in (
                    (why_d, direction != self._direction),
                    (why_v, volatility != self._volatility),
                )
                if moved
            )
            self._direction, self._volatility = direction, volatility
            self.regime = f"{direction}-{volatility}"
            self._since = 0
        self.confidence = self._confidence(trend, ratio)
        return changed

    def _statistics(self, steps: StepHistory) -> tuple[float, float]:
        last, window = steps.back(0), self._p.window
        var = steps.var[last]
        gain = max(self._a_short, 1.0 / steps.n)
        self._short += gain * (var - self._short)
        self._long += max(self._a_long, 1.0 / steps.n) * (var - self._long)
        self.vol = math.sqrt(self._short)
        self._squares[steps.n % window] = var
        if steps.n <= window:
            return 0.0, 1.0
        noise = math.sqrt(math.fsum(self._squares))
        then = steps.mid[steps.back(window)]
        trend = (steps.mid[last] / then - 1.0) / noise if noise > 0.0 else 0.0
        ratio = math.sqrt(self._short / self._long) if self._long > 0.0 else 1.0
        return trend, ratio

    def _next_direction(self, trend: float) -> tuple[str, str]:
        p = self._p
        if trend >= p.trend_enter:
            return "up", f"trend {trend:.2f} >= {p.trend_enter:g}"
        if trend <= -p.trend_enter:
            return "down", f"trend {trend:.2f} <= {-p.trend_enter:g}"
        opposed = trend < 0.0 if self._direction == "up" else trend > 0.0
        if abs(trend) < p.trend_exit or opposed:
            return "flat", f"trend {trend:.2f} left the {self._direction} side (exit {p.trend_exit:g})"
        return self._direction, ""

    def _next_volatility(self, ratio: float) -> tuple[str, str]:
        p = self._p
        if ratio >= p.vol_enter:
            return "high", f"volatility ratio {ratio:.2f} >= {p.vol_enter:g}"
        if ratio < p.vol_exit:
            return "low", f"volatility ratio {ratio:.2f} < {p.vol_exit:g}"
        return self._volatility, ""

    def _confidence(self, trend: float, ratio: float) -> float:
        p = self._p
        side = {"up": trend - p.trend_exit, "down": -trend - p.trend_exit, "flat": p.trend_enter - abs(trend)}
        level = {"high": ratio - p.vol_exit, "low": p.vol_enter - ratio}
        inside_d = side[self._direction] / p.trend_enter
        inside_v = level[self._volatility] / p.vol_enter * 2.0
        return max(0.0, min(1.0, inside_d, inside_v))
