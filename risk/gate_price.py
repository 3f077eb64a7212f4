"""What the gate makes of a price: whether to believe it, and between which prices the next ones need no look.

A price that is not believed is noted and marks nothing, and no order is let through on it.
"""

from typing import TYPE_CHECKING

from alphatrade.risk.limits import Code
from alphatrade.risk.plausible import NOTHING, alone
from alphatrade.risk.quiet import QuietBars
from alphatrade.risk.record import SOURCES
from alphatrade.risk.units import RAW_PER_NANO

if TYPE_CHECKING:
    from alphatrade.risk.gate import RiskGate
    from alphatrade.risk.gate_slot import MarketSlot, Reference

BAR = SOURCES.index("bar")
MINUTE_NS = 60 * 10**9


def doubted(gate: "RiskGate", slot: "MarketSlot", reference: "Reference") -> bool:
    """Return whether a reference is not to be believed; the law denies every order in the instrument until one is."""
    bid, ask, ts, source, _ = reference
    law = gate.law
    held = law.exposure.holdings[slot.instrument]
    doubt = NOTHING if bid <= 0 or ask <= 0 else alone(bid + ask, slot.before2(source), held.mid2, law.limits.jump_n)
    if doubt is None:
        return False
    held.doubt = doubt
    if reference != slot.suspected:  # once a price
        slot.suspected = reference
        words, value, bound = doubt
        gate.record.event(ts, "suspect", slot.instrument, None, str(Code.SUSPECT_REFERENCE), value, bound, words)
    return True

def set_band(gate: "RiskGate", slot: "MarketSlot", ts: int) -> None:
    """Find the prices of a slot that need no look, from `ts` (UTC ns) up to the next row of the equity curve."""
    band = gate.law.quiet_band(slot.instrument)
    if band is not None:
        low, high, end = band
        slot.low, slot.high = low * RAW_PER_NANO, high * RAW_PER_NANO
        slot.until, slot.day_end = min(end, (ts // MINUTE_NS + 1) * MINUTE_NS), end
        if slot.used is not None and slot.used[3] == BAR and slot.used[4]:
            gate.record.quiet = QuietBars(gate, slot, ts)
