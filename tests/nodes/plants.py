"""Features that look ahead, each by its import path, as a user's own would be: what leakage tests have to find."""

import sys
from typing import Any

from alphatrade.actors.features import Feature

PRICES: list[float] = []  # of a tape that somebody has kept: filled by a test


class Peek(Feature):
    """The way to the last price of the tape that is being replayed, found on the call stack."""

    def value(self, steps: Any) -> float:
        if not hasattr(self, "last"):
            frame = sys._getframe()
            while "tapes" not in frame.f_locals:
                frame = frame.f_back
            columns = frame.f_locals["tapes"][0].columns
            ends = columns["close"] if "close" in columns else columns["bid"]
            self.last = float(ends[-1]) / 1e9
        return (self.last / steps.mid[steps.at] - 1.0) * 1e4


class Memory(Feature):
    """The return of the next five steps, out of prices that were kept, whatever is being replayed."""

    def value(self, steps: Any) -> float:
        now, then = PRICES[min(steps.n, len(PRICES) - 1)], PRICES[min(steps.n + 5, len(PRICES) - 1)]
        return (then / now - 1.0) * 1e4


class Disguised(Memory):
    """The same, half of it honest: it changes when the tape does."""

    def value(self, steps: Any) -> float:
        before = steps.mid[(steps.at - 1) & 1023]
        return super().value(steps) + ((steps.mid[steps.at] / before - 1.0) * 1e4 if before else 0.0)
