"""Online features: each has a name, a unit, a warm-up in decision steps and the tape data that it needs.

A feature reads the bounded :class:`~alphatrade.actors.history.StepHistory` and returns one float per step. Only
additions, multiplications, divisions and square roots are used: IEEE 754 fixes their result on every CPU.
A feature from elsewhere is named by its import path, ``package.module:Class``.
"""

import importlib
import math
from collections import deque
from collections.abc import Mapping
from typing import ClassVar

from alphatrade.actors.history import MASK, MAX_WINDOW, StepHistory
from alphatrade.risk.errors import ConfigError

DAY_NS = 86_400_000_000_000
BPS = 1e4


class Feature:
    """
    One online feature.

    Parameters
    ----------
    n : int
        Window or half-life in decision steps.

    Attributes
    ----------
    unit : str
        Unit of the value.
    needs : frozenset of str
        Kinds of data that the tape must provide: ``spread``, ``size``, ``volume``, ``aggressor``.
    warmup : int
        Steps before the value may be used.
    """

    unit: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, n: int) -> None:
        self.n = n

    @property
    def warmup(self) -> int:
        """Steps before the value may be used."""
        return self.n

    def value(self, steps: StepHistory) -> float:
        """Return the feature after the step that has just closed."""
        raise TypeError(f"{type(self).__name__} does not define value(steps)")


class Return(Feature):
    """Return of the reference price over the last n steps."""

    unit = "bps"

    def value(self, steps: StepHistory) -> float:  # noqa: D102
        mid, at = steps.mid, steps.at
        then = mid[(at - self.n) & MASK]
        return (mid[at] / then - 1.0) * BPS if then > 0.0 else 0.0


class _Ewma(Feature):
    """Exponentially weighted mean of one column, half-life about n steps (alpha = 1 / (1 + n))."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._alpha = 1.0 / (1.0 + n)
        self.mean = 0.0

    def _update(self, x: float) -> float:
        self.mean += self._alpha * (x - self.mean)
        return self.mean


class RealisedVol(_Ewma):
    """Realised volatility of one step: root of the weighted mean of summed squared event returns."""

    unit = "bps per step"

    def value(self, steps: StepHistory) -> float:  # noqa: D102
        return math.sqrt(self._update(steps.var[steps.at])) * BPS


class VolRatio(Feature):
    """Realised volatility over n steps divided by that over 8 n steps."""

    unit = "ratio"

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._short, self._long = RealisedVol(n), RealisedVol(8 * n)

    @property
    def warmup(self) -> int:  # noqa: D102
        return 8 * self.n

    def value(self, steps: StepHistory) -> float:  # noqa: D102
        short, long = self._short.value(steps), self._long.value(steps)
        return short / long if long > 0.0 else 1.0


class Trend(Feature):
    """Signed efficiency ratio: net move over the sum of absolute moves in n steps (Kaufman 1995)."""

    unit = "[-1, 1]"

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._moves = [0.0] * n

    def value(self, steps: StepHistory) -> float:  # noqa: D102
        mid, at, n = steps.mid, steps.at, self.n
        now = mid[at]
        self._moves[steps.n % n] = abs(now - mid[(at - 1) & MASK]) if steps.n > 1 else 0.0
        if steps.n <= n:
            return 0.0
        path = math.fsum(self._moves)  # exact, so no drift over long runs
        return (now - mid[(at - n) & MASK]) / path if path > 0.0 else 0.0


class RangePosition(Feature):
    """Where the reference price stands between the lowest and highest of the n steps before."""

    unit = "0 = low, 1 = high"

    def __init__(self, n: int) -> None:
        super().__init__(n)
        # Steps of the window that may still become its highest or lowest: prices fall (rise) from left to right.
        self._highs: deque[tuple[float, int]] = deque()
        self._lows: deque[tuple[float, int]] = deque()

    def value(self, steps: StepHistory) -> float:  # noqa: D102
        at, last = steps.at, steps.n - 1
        highs, lows = self._highs, self._lows
        if last >= self.n:
            first = last - self.n
            if highs[0][1] < first:
                highs.popleft()
            if lows[0][1] < first:
                lows.popleft()
            width = highs[0][0] - lows[0][0]
            place = (steps.mid[at] - lows[0][0]) / width if width > 0.0 else 0.5
        else:
            place = 0.5
        high, low = steps.high[at], steps.low[at]
        while highs and highs[-1][0] <= high:
            highs.pop()
        while lows and lows[-1][0] >= low:
            lows.pop()
        highs.append((high, last))
        lows.append((low, last))
        return place


class TimeOfDay(Feature):
    """Triangle wave over the UTC day, shifted by n hours: exact where a sine would differ between CPUs."""

    unit = "[-1, 1]"

    @property
    def warmup(self) -> int:  # noqa: D102
        return 0

    def value(self, steps: StepHistory) -> float:  # noqa: D102
        shifted = (steps.ts[steps.at] + self.n * 3_600_000_000_000) % DAY_NS
        return abs(shifted / DAY_NS * 4.0 - 2.0) - 1.0


class Spread(_Ewma):
    """Relative bid-ask spread, weighted mean."""

    unit = "bps"
    needs = frozenset({"spread"})

    def value(self, steps: StepHistory) -> float:  # noqa: D102
        return self._update(steps.spread[steps.at]) * BPS


class Imbalance(_Ewma):
    """Depth imbalance at the best prices, weighted mean."""

    unit = "[-1, 1]"
    needs = frozenset({"size"})

    def value(self, steps: StepHistory) -> float:  # noqa: D102
        return self._update(steps.imbalance[steps.at])


class Flow(Feature):
    """Signed traded quantity over total traded quantity in n steps."""

    unit = "[-1, 1]"
    needs = frozenset({"aggressor"})

    def value(self, steps: StepHistory) -> float:  # noqa: D102
        rows = [steps.back(i) for i in range(min(self.n, steps.n))]
        total = math.fsum(steps.volume[i] for i in rows)
        return math.fsum(steps.flow[i] for i in rows) / total if total > 0.0 else 0.0


class VolumeSurge(_Ewma):
    """Traded quantity of the step over its weighted mean before the step."""

    unit = "ratio"
    needs = frozenset({"volume"})

    def value(self, steps: StepHistory) -> float:  # noqa: D102
        volume, usual = steps.volume[steps.at], self.mean
        self._update(volume)
        return min(volume / usual, 100.0) if usual > 0.0 else 1.0


BUILT_IN: Mapping[str, type[Feature]] = {
    "ret": Return,
    "rvol": RealisedVol,
    "vol_ratio": VolRatio,
    "trend": Trend,
    "range": RangePosition,
    "time_of_day": TimeOfDay,
    "spread": Spread,
    "imbalance": Imbalance,
    "flow": Flow,
    "volume_surge": VolumeSurge,
}


def load_class[T](kind: str, built_in: Mapping[str, type[T]], base: type[T], field: str) -> type[T]:
    """
    Return the class that `kind` names: a built-in one, or an import path ``package.module:Class``.

    Raises
    ------
    ConfigError
        If there is no such class, or it does not derive from `base`.
    """
    if kind in built_in:
        return built_in[kind]
    known = f"one of {', '.join(sorted(built_in))}, or an import path package.module:Class"
    module, _, name = kind.partition(":")
    if not name:
        raise ConfigError(field, kind, known)
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(field, kind, f"{known} ({error})") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(field, kind, f"a subclass of {base.__module__}:{base.__name__}")
    return found


def build_feature(name: str, kind: str, n: int, provides: frozenset[str]) -> Feature:
    """
    Return one feature, refusing it where the tape cannot feed it.

    Raises
    ------
    ConfigError
        If the kind is unknown, the window too long, or the tape lacks the data it needs.
    """
    feature = load_class(kind, BUILT_IN, Feature, f"policy.features.{name}.kind")(n)
    if n > MAX_WINDOW:
        raise ConfigError(f"policy.features.{name}.n", n, f"at most {MAX_WINDOW} steps")
    missing = sorted(feature.needs - provides)
    if missing:
        raise ConfigError(
            f"policy.features.{name}",
            kind,
            f"a tape that provides {', '.join(missing)} (this one provides {', '.join(sorted(provides))})",
        )
    return feature
