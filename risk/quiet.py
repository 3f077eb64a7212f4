"""Bars in a row that change no figure of the law but its marks: listed one by one, taken up together.

A one-minute bar while a position is open is a row of the marks and one of the equity curve, and mostly nothing else.
"""

from typing import TYPE_CHECKING

from alphatrade.risk.units import NANO, RAW_PER_NANO

if TYPE_CHECKING:
    from alphatrade.risk.gate import RiskGate
    from alphatrade.risk.gate_slot import MarketSlot


class QuietBars:
    """
    Closed bars of one instrument inside its quiet band, see `Account.quiet_band`.

    Nothing else may happen in between: the record closes this before it takes any other row, and the gate before it
    asks the law anything.

    Attributes
    ----------
    last : int
        Time of the latest price the law or this list has, UTC ns.
    stamps, prices : list of int
        Times (UTC ns) and closes (raw, 1e-16) not taken up yet.
    """

    __slots__ = ("gate", "last", "prices", "slot", "stamps")

    def __init__(self, gate: "RiskGate", slot: "MarketSlot", last: int) -> None:
        self.gate = gate
        self.slot = slot
        self.last = last
        self.stamps: list[int] = []
        self.prices: list[int] = []

    def close(self) -> None:
        """Write the rows of all bars and show the law the last one."""
        gate, slot, stamps = self.gate, self.slot, self.stamps
        record, law, name = gate.record, gate.law, slot.instrument
        record.quiet = None
        if not stamps:
            return
        prices = [raw // RAW_PER_NANO for raw in self.prices]
        half_n, book = slot.half_n, law.exposure
        halves = [price * half_n // NANO for price in prices]
        bids = [price - half for price, half in zip(prices, halves, strict=True)]
        asks = [price + half for price, half in zip(prices, halves, strict=True)]
        record.bars(name, stamps, bids, asks)
        # Capital, peak and the position, the only one, are what they were at the first bar: else none is quiet.
        record.equity_of_bars(stamps, prices, book.holdings[name].position, *law.funds())
        book.mark(name, bids[-1], asks[-1], stamps[-1])
        held = book.holdings[name]
        held.seen_ts, held.doubt = stamps[-1], None  # in order, and not a jump: else they would not be quiet
        slot.used = (bids[-1], asks[-1], stamps[-1], 2, True)
