"""What the earlier orders of one list would add to the exposure, before any of them is counted."""

from dataclasses import dataclass, field

from alphatrade.risk.exposure import BUY, Holding, Order

Key = tuple[str, int, int]  # instrument, side, quantity


@dataclass(slots=True)
class Batch:
    """Sums of one list so far: by instrument in nano, by repeat key, and over all in 0.5e-18 of money."""

    buys: dict[str, int] = field(default_factory=dict)
    sells: dict[str, int] = field(default_factory=dict)
    covers: dict[str, int] = field(default_factory=dict)
    exits: dict[str, int] = field(default_factory=dict)
    repeats: dict[Key, int] = field(default_factory=dict)
    seen: set[object] = field(default_factory=set)
    entries: dict[str, Order] = field(default_factory=dict)
    gross2: int = 0
    hi2: int = 0
    lo2: int = 0
    count: int = 0

    def add(self, order: Order, held: Holding) -> None:
        """Count a plain order."""
        name, qty = order.instrument, order.qty
        (top, bottom), (buys, sells) = start(held, self), working(held, self)
        before = max(top + buys, sells - bottom)
        if order.side == BUY:
            self.buys[name] = self.buys.get(name, 0) + qty
            self.hi2 += qty * held.mid2
        else:
            self.sells[name] = self.sells.get(name, 0) + qty
            self.lo2 -= qty * held.mid2
        buys, sells = working(held, self)
        self.gross2 += (max(top + buys, sells - bottom) - before) * held.mid2

    def add_exit(self, order: Order, more: int, held: Holding) -> bool:
        """Count `more` of a reduce-only order; return whether plain ones can now go further on the other side."""
        name = order.instrument
        top, bottom = start(held, self)
        side = self.covers if order.side == BUY else self.exits
        side[name] = side.get(name, 0) + more
        after_top, after_bottom = start(held, self)
        self.hi2 += (after_top - top) * held.mid2
        self.lo2 += (after_bottom - bottom) * held.mid2
        buys, sells = working(held, self)
        worst = max(after_top + buys, sells - after_bottom) - max(top + buys, sells - bottom)
        self.gross2 += worst * held.mid2
        return after_top + buys > max(top + buys, 0) or after_bottom - sells < min(bottom - sells, 0)


ALONE = Batch()  # shared by all single orders, never written to


def start(held: Holding, batch: Batch) -> tuple[int, int]:
    """Return where buys and where sells start from: the position after the reduce-only orders of that side."""
    if batch is ALONE:
        return held.top(), held.bottom()
    return held.top(batch.covers.get(held.instrument, 0)), held.bottom(batch.exits.get(held.instrument, 0))


def working(held: Holding, batch: Batch) -> tuple[int, int]:
    """Return the working buys and sells, those of the same list included (nano)."""
    if batch is ALONE:
        return held.buys, held.sells
    return held.buys + batch.buys.get(held.instrument, 0), held.sells + batch.sells.get(held.instrument, 0)
