"""Exposure of an account, exact and incremental: positions, working orders and prices per instrument.

Quantities and prices are nano integers (1e-9). Everything valued at the mid is kept *doubled*, because the
mid is ``(bid + ask) / 2`` and halving would round: ``mid2 = bid + ask``, and a name ending in ``2`` counts
0.5e-18 of money. Every change touches one instrument and corrects the running sums: no check scans anything.
"""

from dataclasses import dataclass, field

import msgspec

BUY = 1
SELL = -1


class Order(msgspec.Struct, gc=False):
    """
    One order as the law sees it.

    Parameters
    ----------
    order_id, instrument, strategy : str
        Who and what.
    side : int
        `BUY` (1) or `SELL` (-1).
    kind : str
        Order type in words, as ``MARKET``.
    qty : int
        Ordered quantity, nano.
    price, trigger : int, optional
        Limit and trigger price, nano.
    """

    order_id: str
    instrument: str
    side: int
    kind: str
    qty: int
    price: int | None = None
    trigger: int | None = None
    reduce_only: bool = False
    quote_qty: bool = False
    parent_id: str | None = None
    strategy: str = ""
    decision: int | None = None
    filled: int = 0
    # What `Exposure` has counted for this order: never less than what may still fill.
    reserved: int = 0
    pending: tuple[int, ...] = ()  # quantities of approved modifications that the venue has not answered
    asking: int = 0  # modifications announced and not yet judged: the next refusal may be of one of them
    turned: bool = False  # reduce-only, but the position it was to reduce is on the other side now
    working: bool = False
    by_law: bool = False
    ts: int = 0  # when it was approved, UTC ns
    identity: tuple[object, ...] | None = None  # what makes two orders identical
    explores: str = ""  # the tactic that is explored with it

    @property
    def leaves(self) -> int:
        """Quantity not yet filled, nano."""
        return max(self.qty - self.filled, 0)


@dataclass(slots=True)
class Holding:
    """Position, working quantity and reference price of one instrument (nano; sums in 0.5e-18 of money)."""

    instrument: str
    stale_ns: int
    position: int = 0
    buys: int = 0  # leaves of working BUY orders that are not reduce-only
    sells: int = 0
    covers: int = 0  # leaves of working reduce-only BUY orders
    exits: int = 0  # of working reduce-only SELL orders
    own: dict[str, int] = field(default_factory=dict)  # the position in parts, by whose it is
    longs: int = 0  # sum of the long parts: reduce-only sells can fill against each of them
    shorts: int = 0
    orders: int = 0  # working orders, reduce-only included
    basis: int = 0  # what the open position cost, price * quantity, same sign as the position
    bid: int = 0
    ask: int = 0
    mid2: int = 0
    mark_ts: int = -1  # -1: never marked
    seen_ts: int = -1  # the latest of all
    doubt: tuple[str, str, str] | None = None  # why no order is let through on the price
    halted: bool = False
    dirty: bool = False  # filled since the last mark: equity has to be looked at again
    value2: int = 0
    gross2: int = 0
    hi2: int = 0
    lo2: int = 0

    @property
    def idle(self) -> bool:
        """No position, no working order and nothing unseen: a new price changes no figure of the law."""
        return not (self.position or self.orders or self.dirty)

    def top(self, more: int = 0) -> int:
        """Return the position after all reduce-only buys, `more` of them included: where buys would start from."""
        return self.position + min(self.covers + more, self.shorts)

    def bottom(self, more: int = 0) -> int:
        """Return the position after all reduce-only sells, likewise: where sells would start from."""
        return self.position - min(self.exits + more, self.longs)

    def shift(self, owner: str, change: int) -> None:
        """Change the part of the position that is `owner`'s (nano, signed)."""
        before = self.own.get(owner, 0)
        after = before + change
        self.position += change
        self.longs += max(after, 0) - max(before, 0)
        self.shorts += max(-after, 0) - max(-before, 0)
        if after:
            self.own[owner] = after
        else:
            self.own.pop(owner, None)


@dataclass(slots=True)
class Exposure:
    """All holdings of one account, with running sums."""

    stale_ns: int
    holdings: dict[str, Holding] = field(default_factory=dict)
    working: dict[str, Order] = field(default_factory=dict)
    cash: int = 0  # cash flows of fills less fees, atto
    value2: int = 0
    gross2: int = 0
    hi2: int = 0
    lo2: int = 0
    unmarked: int = 0  # holdings with a position and no price yet
    open: int = 0  # holdings with a position

    def holding(self, instrument: str) -> Holding:
        """Return the holding of `instrument`, a new one if it has not been seen."""
        found = self.holdings.get(instrument)
        if found is None:
            found = self.holdings[instrument] = Holding(instrument, self.stale_ns)
        return found

    def mark(self, instrument: str, bid: int, ask: int, ts: int) -> None:
        """Value `instrument` at a new reference price (nano, nano, ns)."""
        held = self.holdings.get(instrument) or self.holding(instrument)
        if held.mark_ts < 0 and held.position:
            self.unmarked -= 1
        held.bid = bid
        held.ask = ask
        held.mark_ts = ts
        held.dirty = False
        mid2 = bid + ask
        if mid2 != held.mid2:
            held.mid2 = mid2
            if held.position or held.buys or held.sells:
                self._revalue(held)  # covers and exits count only against a position

    def add(self, order: Order) -> None:
        """Count an approved order as working."""
        held = self.holding(order.instrument)
        order.working = True
        self.working[order.order_id] = order
        held.orders += 1
        self._reserve(held, order, order.leaves)

    def resize(self, order: Order, qty: int) -> None:
        """Reserve for a modification to `qty` that the venue has not confirmed yet (nano)."""
        order.pending = (*order.pending, qty)
        self._reserve(self.holding(order.instrument), order, self._outstanding(order))

    def confirm(self, order: Order, qty: int) -> None:
        """Take over the quantity the venue works with; one that was waited for answers its modification."""
        order.qty = qty
        if qty in order.pending:  # a venue also updates orders by itself
            self._answered(order, order.pending.index(qty))
        elif order.working:
            self._reserve(self.holding(order.instrument), order, self._outstanding(order))

    def refuse(self, order: Order, qty: int | None = None) -> None:
        """Give back what was reserved for a modification that was refused: the oldest, or one to `qty` (nano)."""
        if order.pending and qty in (None, *order.pending):
            self._answered(order, 0 if qty is None else order.pending.index(qty))

    def turn(self, order: Order) -> None:
        """Count a reduce-only order as one that opens, now that its position has turned, until it is gone."""
        held, reserved = self.holding(order.instrument), order.reserved
        self._reserve(held, order, 0)
        order.turned = True
        self._reserve(held, order, reserved)

    def close(self, order_id: str) -> None:
        """Forget a working order that can no longer fill; an unknown id is ignored."""
        order = self.working.pop(order_id, None)
        if order is not None:
            held = self.holding(order.instrument)
            self._reserve(held, order, 0)
            held.orders -= 1
            order.working = False

    def fill(
        self, instrument: str, side: int, qty: int, price: int, fee: int, order: Order | None, owner: str = "",
        kept: int = 0,
    ) -> int:  # fmt: skip
        """
        Book one fill.

        Parameters
        ----------
        side : int
            `BUY` or `SELL`.
        qty, price, fee : int
            Nano, nano, atto of the account currency.
        order : Order, optional
            The order it belongs to, when the law knows it.
        owner : str
            Whose part of the position it changes: a strategy's where positions net, one position where they hedge.
        kept : int
            Nano of what was bought that the venue has kept as its fee, which is their value.

        Returns
        -------
        int
            Gross profit realised on the part of the position it closed, atto, at average cost.
        """
        held, booked = self.holding(instrument), qty - kept
        before, held.dirty = held.position, True
        realized = self._rebase(held, side, booked, price)
        held.shift(owner, side * booked)
        self.cash -= side * booked * price + fee
        opened = bool(held.position) - bool(before)
        self.open += opened
        if held.mark_ts < 0:
            self.unmarked += opened
        if order is not None:
            order.filled += qty
            if order.working:
                self._reserve(held, order, self._outstanding(order))
                if not order.leaves and not order.pending:
                    self.close(order.order_id)
        self._revalue(held)
        return realized

    def adopt(self, instrument: str, position: int, price: int, paid: bool, owner: str = "") -> None:
        """Take over a position from before this session; `paid`: the balance already lacks what it cost."""
        held = self.holding(instrument)
        before = held.position
        held.shift(owner, position)
        held.basis += position * price
        held.dirty = True
        opened = bool(held.position) - bool(before)
        self.open += opened
        if held.mark_ts < 0:
            self.unmarked += opened
        if not paid:
            self.cash -= position * price
        self._revalue(held)

    def _answered(self, order: Order, index: int) -> None:
        order.pending = (*order.pending[:index], *order.pending[index + 1 :])
        if order.working:
            self._reserve(self.holding(order.instrument), order, self._outstanding(order))

    @staticmethod
    def _outstanding(order: Order) -> int:
        if not order.pending:
            return order.leaves
        return max(max((order.qty, *order.pending)) - order.filled, 0)

    def _reserve(self, held: Holding, order: Order, leaves: int) -> None:
        more = leaves - order.reserved
        order.reserved = leaves
        if order.reduce_only and not order.turned:
            if order.side == BUY:
                held.covers += more
            else:
                held.exits += more
            self._revalue(held)
            return
        # A plain order moves one end of what the position can become, whatever else there is.
        more2 = more * held.mid2
        if order.side == BUY:
            held.buys += more
            held.hi2 += more2
            self.hi2 += more2
        else:
            held.sells += more
            held.lo2 -= more2
            self.lo2 -= more2
        gross2, low2 = held.hi2, -held.lo2
        if low2 > gross2:
            gross2 = low2
        self.gross2 += gross2 - held.gross2
        held.gross2 = gross2

    @staticmethod
    def _rebase(held: Holding, side: int, qty: int, price: int) -> int:
        before = held.position
        if before * side >= 0:
            held.basis += side * qty * price
            return 0
        closed = min(qty, abs(before))
        # The share of the cost that leaves with the closed part; what rounding leaves stays in the basis.
        cost = held.basis * closed // abs(before)
        held.basis -= cost
        opened = qty - closed
        if opened:
            held.basis = side * opened * price
        return -side * closed * price - cost

    def _revalue(self, held: Holding) -> None:
        mid2, position = held.mid2, held.position
        value2 = hi2 = lo2 = position * mid2
        if held.buys or held.covers:
            hi2 = (held.top() + held.buys) * mid2
        if held.sells or held.exits:
            lo2 = (held.bottom() - held.sells) * mid2
        gross2 = max(hi2, -lo2)  # the larger of the two in size: hi2 is never below lo2
        self.value2 += value2 - held.value2
        self.hi2 += hi2 - held.hi2
        self.lo2 += lo2 - held.lo2
        self.gross2 += gross2 - held.gross2
        held.value2, held.hi2, held.lo2, held.gross2 = value2, hi2, lo2, gross2
