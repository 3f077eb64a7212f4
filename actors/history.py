"""Bounded history of decision steps: what happened between two decisions, folded into one record each."""

import math
from collections.abc import Sequence

from alphatrade.actors.messages import StepFacts

SIZE = 1024  # steps kept; a power of two, so that an index wraps with a mask
MASK = SIZE - 1
MAX_WINDOW = SIZE - 1


class StepHistory:
    """
    Ring of the last 1023 decision steps.

    Events are accumulated as they arrive and folded when a step closes; nothing later than the closing event
    can enter a step, which is what rules look-ahead out.

    Attributes
    ----------
    n : int
        Steps closed so far.
    at : int
        Place of the last closed step in every list; the step k before it is at ``(at - k) & MASK``.
    mid, high, low : list of float
        Last, highest and lowest reference price of each step.
    var : list of float
        Sum over the step's events of squared returns (fraction squared).
    spread : list of float
        Mean relative spread over the step, fraction.
    imbalance : list of float
        Last (bid size - ask size) / (bid size + ask size).
    depth : list of float
        Last bid size + ask size.
    volume, flow : list of float
        Traded quantity, total and signed by aggressor.
    ts : list of int
        Event time of the closing event.
    """

    __slots__ = (
        "_ask_size",
        "_bid_size",
        "_flow",
        "_high",
        "_last",
        "_low",
        "_quotes",
        "_spread",
        "_sq",
        "_volume",
        "at",
        "depth",
        "flow",
        "high",
        "imbalance",
        "low",
        "mid",
        "n",
        "spread",
        "ts",
        "var",
        "volume",
    )

    def __init__(self) -> None:
        self.n = 0
        self.at = MASK
        self.ts = [0] * SIZE
        self.mid, self.high, self.low = [0.0] * SIZE, [0.0] * SIZE, [0.0] * SIZE
        self.var, self.spread, self.imbalance = [0.0] * SIZE, [0.0] * SIZE, [0.0] * SIZE
        self.depth, self.volume, self.flow = [0.0] * SIZE, [0.0] * SIZE, [0.0] * SIZE
        self._last = math.nan
        self._bid_size = self._ask_size = 0.0
        self._clear()

    def _clear(self) -> None:
        self._sq = self._spread = self._volume = self._flow = 0.0
        self._quotes = 0
        self._high = self._low = self._last

    def price(self, mid: float) -> None:
        """Take a new reference price into the open step."""
        last = self._last
        if last == last:  # not NaN: there was a price before
            change = mid / last - 1.0
            self._sq += change * change
            if mid > self._high:
                self._high = mid
            elif mid < self._low:
                self._low = mid
        else:
            self._high = self._low = mid
        self._last = mid

    def quotes(self, bids: Sequence[float], asks: Sequence[float]) -> None:
        """Take quotes into the open step, in their order."""
        last, spread = self._last, self._spread
        for bid, ask in zip(bids, asks, strict=True):
            mid = 0.5 * (bid + ask)
            if mid != last:  # most quotes leave the mid where it is
                self.price(mid)
                last = mid
            spread += (ask - bid) / mid
        self._spread = spread
        self._quotes += len(bids)

    def sizes(self, bid_size: float, ask_size: float) -> None:
        """Take the sizes at the best bid and ask."""
        self._bid_size, self._ask_size = bid_size, ask_size

    def trade(self, size: float, sign: int) -> None:
        """Take a traded quantity; `sign` is +1 for a buying, -1 for a selling aggressor, 0 where unknown."""
        self._volume += size
        self._flow += sign * size

    def range(self, high: float, low: float) -> None:
        """Widen the open step to a bar's extremes."""
        self._high = max(self._high, high)
        self._low = min(self._low, low)

    def close(self, ts: int) -> None:
        """Close the open step at event time `ts` (UTC ns)."""
        i = self.at = self.n & MASK
        depth = self._bid_size + self._ask_size
        self.ts[i] = ts
        self.mid[i] = self._last
        self.high[i] = self._high
        self.low[i] = self._low
        self.var[i] = self._sq
        self.spread[i] = self._spread / self._quotes if self._quotes else 0.0
        self.imbalance[i] = (self._bid_size - self._ask_size) / depth if depth > 0.0 else 0.0
        self.depth[i] = depth
        self.volume[i] = self._volume
        self.flow[i] = self._flow
        self.n += 1
        self._clear()

    def facts(self) -> StepFacts:
        """Return what happened in the last closed step."""
        i = self.at
        return StepFacts(
            self.high[i], self.low[i], self.var[i], self.spread[i], self.imbalance[i], self.depth[i],
            self.volume[i], self.flow[i],
        )  # fmt: skip

    def back(self, steps: int) -> int:
        """Return the ring index of the step `steps` before the last closed one."""
        return (self.at - steps) & MASK
