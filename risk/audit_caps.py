"""The auditor's judgement of a run with a canary: what its strategies may come to, recomputed order by order.

At every approval, and at every change of terms, of a capped strategy's order that can open or enlarge what the
strategy itself holds: the sum of worst cases of all capped strategies, each counted by itself, at the mids, and the
notional of the order. A reduce-only order of theirs must fit what its strategy holds, and may not make that sum larger
beyond the cap. Reduce-only orders of all strategies of such a run may reduce their strategy's position where the net
one is smaller or on the other side.
"""

from collections.abc import Iterator
from typing import NamedTuple

from alphatrade.risk.audit_book import Lot, Reach
from alphatrade.risk.audit_files import OrderRow, RunFiles
from alphatrade.risk.audit_judge import Judge
from alphatrade.risk.audit_limits import Cap
from alphatrade.risk.audit_orders import Order, nano


class Own(NamedTuple):
    """What one strategy has of one instrument: position, and the highest and lowest that its orders can lead to."""

    pos: int
    hi: int
    lo: int


class CappedJudge(Judge):
    """
    Judges as :class:`~alphatrade.risk.audit_judge.Judge` does, and capped strategies by their cap.

    Parameters
    ----------
    files : RunFiles
    cap : Cap
        Of the run.
    """

    def __init__(self, files: RunFiles, cap: Cap) -> None:
        super().__init__(files)
        self.cap = cap
        self._capped: dict[str, Order] = {}  # working orders of capped strategies
        self._before = 0  # what they could come to before the order that is judged

    def _approve(self, order: Order, row: OrderRow, terms: OrderRow) -> None:
        self._before = self._total()
        if self.cap.holds(row.strategy):
            self._capped[row.order_id] = order
        super()._approve(order, row, terms)

    def _modify(self, order: Order, row: OrderRow) -> None:
        self._before = self._total()
        super()._modify(order, row)

    def _update(self, order: Order, row: OrderRow) -> None:
        self._before = self._total()
        super()._update(order, row)

    def _room(self, order: Order, lot: Lot) -> int:
        own = self.book.own[order.row.strategy, lot.name]
        return max(super()._room(order, lot), -own * order.sign)

    def _judge(self, order: Order, lot: Lot, row: OrderRow, terms: OrderRow, prices: list[int], before: Reach) -> None:
        super()._judge(order, lot, row, terms, prices, before)
        if not self.cap.holds(row.strategy) or self._flattens(order):
            return
        own, total = self._own()[row.strategy, row.instrument], self._total()
        if row.reduce_only:
            leaves, room = terms.qty - order.filled, max(-own.pos * order.sign, 0)
            if leaves > room and not order.is_child(terms.qty):
                self._violate(row, "CAP", f"leaves={nano(leaves)} > opposite position of its strategy={nano(room)}")
            if total > self._before:
                self._bound(row, "CAP", total, self.cap.gross)
        elif not (own.lo >= 0 < own.pos if order.sign < 0 else own.hi <= 0 > own.pos):
            price = terms.price if terms.price is not None else terms.trigger
            notional = terms.qty * (lot.mid2 if price is None else 2 * price)
            self._bound(row, "CAP", notional, self.cap.order_notional)
            self._bound(row, "CAP", total, self.cap.gross)

    def _total(self) -> int:
        """Return the sum of worst cases of the capped strategies, half-attos."""
        return sum(max(abs(own.hi), abs(own.lo)) * self.book.lot(name).mid2 for (_, name), own in self._own().items())

    def _own(self) -> dict[tuple[str, str], Own]:
        """Return what each capped strategy has of each instrument."""
        working: dict[tuple[str, str], list[int]] = {
            key: [0, 0, 0, 0] for key, pos in self.book.own.items() if pos and self.cap.holds(key[0])
        }
        for order in self._open():
            sums = working.setdefault((order.row.strategy, order.row.instrument), [0, 0, 0, 0])
            sums[2 * order.row.reduce_only + (order.sign < 0)] += order.held
        found = {}
        for key, (buys, sells, covers, exits) in working.items():
            pos = self.book.own[key]
            hi, lo = pos + min(covers, max(-pos, 0)) + buys, pos - min(exits, max(pos, 0)) - sells
            found[key] = Own(pos, hi, lo)
        return found

    def _open(self) -> Iterator[Order]:
        """Yield the working orders of capped strategies, and forget those that are closed."""
        for order_id, order in list(self._capped.items()):
            if order.status == "working":
                yield order
            else:
                del self._capped[order_id]
