"""The gate's doubts: a price that is not believed is noted, marks nothing, and no order is let through on it."""

from typing import TYPE_CHECKING

from alphatrade.risk.limits import Code
from alphatrade.risk.plausible import NOTHING, alone

if TYPE_CHECKING:
    from alphatrade.risk.gate import RiskGate
    from alphatrade.risk.gate_slot import MarketSlot, Reference


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
