"""Tapes of the red team: a plain market of quotes, one a second, with one fault planted into it, and where it is.

Bytes depend on the scenario and on the policy's cadence and warm-up alone.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from alphatrade.nodes.tape import InstrumentSpec, Ints, Status, Tape
from alphatrade.nodes.tape_rules import RULES
from alphatrade.nodes.world_state import Floats, normal

SECOND = 10**9
BEGIN = 1_736_121_600 * SECOND  # Monday, 2025-01-06T00:00Z
PRICE, TICK, LOT = 100.0, 10**7, 10**7  # tick and lot, nano
HALF_SPREAD = 0.01
DEPTH = 100_000 * 10**9  # at each side, nano units
STALE_S = 60.0
NOISE = 1e-4  # of one second
DRIFT, SWING_S = 1e-5, 900  # of one second, this way and that, so that trends come and go
SPEC = InstrumentSpec(
    id="RED/USD.SIM", symbol="RED/USD", venue="SIM", base="RED", quote="USD", asset="fx", price_precision=2,
    size_precision=2, tick="0.01", lot="0.01", maker_fee="0.00001", taker_fee="0.00005",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Market:
    """
    A tape in the making.

    Attributes
    ----------
    ts : int64 array (n,)
        When a quote is known, UTC ns.
    stamp : int64 array (n,)
        Event time that it carries, UTC ns: the same unless the venue's clock is wrong.
    mid : float64 array (n,)
        True price.
    bid, ask : float64 array (n,)
        As shown.
    bad : bool array (n,)
        Quotes on which nothing may be traded.
    at : int
        Row of the fault, the first one if there are several.
    halts : tuple of int
        Stamps at which trading halts and goes on, in turn.
    """

    ts: Ints
    stamp: Ints
    mid: Floats
    bid: Floats
    ask: Floats
    bad: NDArray[np.bool_]
    at: int
    halts: tuple[int, ...] = ()

    def __len__(self) -> int:
        """Return the number of quotes."""
        return len(self.ts)

    def tape(self, name: str) -> Tape:
        """Return it as a tape."""
        columns = {"ts": self.ts}
        for side, values in (("bid", self.bid), ("ask", self.ask)):
            columns[side] = np.maximum(np.rint(values * (10**9 // TICK)).astype(np.int64), 1) * TICK
        sizes = np.full(len(self), DEPTH, np.int64)
        counts = {"rows_read": len(self), "rows_used": len(self), "halts": len(self.halts) // 2}
        status = Status(np.array(self.halts, np.int64), np.array([0, 1] * (len(self.halts) // 2), np.int8))
        return Tape(
            name=name,
            kind="quotes",
            instrument=SPEC,
            columns=columns | {"bid_size": sizes, "ask_size": sizes.copy()},
            status=status,
            audit=dict.fromkeys(RULES, 0) | counts,
            half_spread_bps=0.0,
            stale_after_s=STALE_S,
        )


def market(rows: int, seed: int) -> Market:
    """Return a market without a fault; the place for one is two thirds down."""
    rng = np.random.Generator(np.random.PCG64(seed))
    swing = np.where((np.arange(rows) // SWING_S) % 2 == 0, DRIFT, -DRIFT)
    mid = PRICE * np.cumprod(1.0 + swing + NOISE * normal(rng, rows))
    ts = BEGIN + np.arange(rows, dtype=np.int64) * SECOND
    quiet = np.zeros(rows, np.bool_)
    return Market(ts, ts.copy(), mid, mid - HALF_SPREAD, mid + HALF_SPREAD, quiet, rows * 2 // 3)


def step_sigma(calm: Market, step_rows: int) -> float:
    """Return the standard deviation of the returns of one decision step before the fault, a fraction."""
    closes = calm.mid[: calm.at : step_rows]
    returns = closes[1:] / closes[:-1] - 1.0
    return float(np.sqrt(np.mean(returns * returns)))


def gap(calm: Market, size: float) -> Market:
    """Let the price jump by `size` (a fraction, signed) and stay there."""
    factor = np.where(np.arange(len(calm)) >= calm.at, 1.0 + size, 1.0)
    return replace(calm, mid=calm.mid * factor, bid=calm.bid * factor, ask=calm.ask * factor)


def prints(calm: Market, factors: tuple[float, ...], every: int = 40) -> Market:
    """Plant single quotes that are `factors` times the market, `every` quotes apart."""
    bid, ask, bad = calm.bid.copy(), calm.ask.copy(), calm.bad.copy()
    for number, factor in enumerate(factors):
        row = calm.at + number * every
        bid[row], ask[row], bad[row] = bid[row] * factor, ask[row] * factor, True
    return replace(calm, bid=bid, ask=ask, bad=bad)


def crossed(calm: Market, rows: int) -> Market:
    """Show the bid ten ticks above the ask, for so many quotes."""
    where = slice(calm.at, calm.at + rows)
    bid, ask, bad = calm.bid.copy(), calm.ask.copy(), calm.bad.copy()
    bid[where], ask[where], bad[where] = calm.mid[where] + 0.05, calm.mid[where] - 0.05, True
    return replace(calm, bid=bid, ask=ask, bad=bad)


def silence(calm: Market, rows: int) -> Market:
    """Take so many quotes out."""
    kept = np.ones(len(calm), np.bool_)
    kept[calm.at : calm.at + rows] = False
    cut = {name: getattr(calm, name)[kept] for name in ("ts", "stamp", "mid", "bid", "ask", "bad")}
    return replace(calm, **cut)


def halted(calm: Market, rows: int) -> Market:
    """Halt trading for so many quotes, which go on all the same."""
    bad = calm.bad.copy()
    bad[calm.at : calm.at + rows] = True
    return replace(calm, bad=bad, halts=(int(calm.ts[calm.at]) - 1, int(calm.ts[calm.at + rows]) - 1))


def backwards(calm: Market, rows: int, by_s: int) -> Market:
    """Set the venue's clock back by `by_s` seconds, for so many quotes."""
    stamp = calm.stamp.copy()
    stamp[calm.at : calm.at + rows] -= by_s * SECOND
    return replace(calm, stamp=stamp, bad=stamp < np.maximum.accumulate(stamp))
