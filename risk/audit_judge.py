"""The auditor's judgement: every order event and fill of a run, in order of `seq`, against the limits.

What it holds against the law is told in :mod:`alphatrade.risk.audit`; the arithmetic is in
:mod:`alphatrade.risk.audit_book`.
"""

import numpy as np

from alphatrade.risk.audit_book import Book, Lot, Reach
from alphatrade.risk.audit_files import FillRow, OrderRow, RunFiles
from alphatrade.risk.audit_marks import Prices
from alphatrade.risk.audit_orders import Finding, Kin, Order, approvals, granted_modifications, money, nano

LAW_PREFIX = "LAW-"  # ids of the orders with which the law flattens; they carry the strategy of the position
SKEW_NS = 10**9  # a reference may be this much younger than the order judged with it (clocks of venues)
_REALIZED_SLACK = 10**12  # 1e-6 of the currency: the file may round its average prices


class Judge:
    """
    Replays a run, collects what the law let through and where files contradict themselves.

    Parameters
    ----------
    files : RunFiles
        The run as read.
    """

    def __init__(self, files: RunFiles) -> None:
        self.files, self.limits, self.book = files, files.limits, Book(files)
        self.violations: list[Finding] = []
        self.integrity: list[Finding] = []
        self.orders: dict[str, Order] = {}
        self.working = self.submitted = 0
        self.opening: set[str] = set()  # orders that could open or enlarge a position
        self.approvals: list[tuple[int, int, str]] = []  # ts, seq, order id; for rates
        self.repeats: dict[tuple[object, ...], list[tuple[int, int, str]]] = {}
        self._prices, self._at, self._kin = Prices(files), 0, Kin()
        self._trades: set[tuple[str, str]] = set()
        self._approved = approvals(files.orders)
        self._granted = granted_modifications(files.orders)
        self._on = {
            "initialized": self._initialize, "emulated": self._emulate, "released": self._emulate,
            "submitted": self._submit, "denied": self._deny, "rejected": self._close, "canceled": self._close,
            "expired": self._close, "modify_approved": self._modify, "updated": self._update,
            "accepted": self._at_venue, "triggered": self._at_venue, "filled": self._at_venue,
        }  # fmt: skip

    def run(self) -> None:
        """Judge everything."""
        rows: list[OrderRow | FillRow] = [*self.files.orders, *self.files.fills]
        rows.sort(key=lambda row: row.seq)
        stops = np.searchsorted(self.files.seq, np.asarray([row.seq for row in rows], np.int64)).tolist()
        at = 0
        for row, stop in zip(rows, stops, strict=True):
            self.book.play(at, stop)
            at = self._at = stop
            if isinstance(row, FillRow):
                self._fill(row)
            else:
                self._order(row)
        self.book.play(at, len(self.files.seq))

    def _order(self, row: OrderRow) -> None:
        order = self.orders.get(row.order_id)
        if order is None:
            order = self.orders[row.order_id] = Order(row)
            order.restate(row)
        for code, detail in order.contradictions(row):
            self._doubt(row, code, detail)
        if row.event in self._on:
            self._on[row.event](order, row)

    def _initialize(self, order: Order, row: OrderRow) -> None:
        order.restate(row)
        self.book.hold(order)
        sent = self._approved.get(row.seq)
        if sent is not None and order.status == "new":
            self._approve(order, row, sent)

    def _emulate(self, order: Order, row: OrderRow) -> None:
        order.emulated = True

    def _deny(self, order: Order, row: OrderRow) -> None:
        if order.status == "new":  # else it is the denial of another order with the same id
            order.status = "denied"

    def _close(self, order: Order, row: OrderRow) -> None:
        self.working -= order.status == "working"
        order.status, order.granted = "closed", []
        self.book.settle(self.book.hold(order), passive=True)

    def _at_venue(self, order: Order, row: OrderRow) -> None:
        local = order.emulated and row.event == "triggered"
        if order.status in ("new", "denied") and not local:
            self._violate(row, "UNAPPROVED", f"{row.event} while {order.status}: it was never submitted")
        if row.event == "filled":
            order.filled_rows.append(row.qty - row.leaves)

    def _submit(self, order: Order, row: OrderRow) -> None:
        if order.status == "working":
            if order.sent:
                self._violate(row, "DUPLICATE", "an order of the same id is working")
            order.sent = True
            return
        if order.status != "new":
            code = "DENIED" if order.status == "denied" else "DUPLICATE"
            self._violate(row, code, f"submitted after it was {order.status}")
        order.sent = True
        self._approve(order, row, row)

    def _approve(self, order: Order, row: OrderRow, terms: OrderRow) -> None:
        """Judge an order at `row`, the moment of its approval, with the `terms` it was sent with."""
        order.status, order.approved = "working", row.ts
        self.working += 1
        self.submitted += 1
        for code, detail in order.contradictions(terms) if terms is not row else ():
            self._doubt(terms, code, detail)
        order.restate(terms)
        before = self.book.reach(row.instrument)
        lot = self.book.hold(order)
        twins = self._kin.add(order)
        if not self._flattens(order):
            stamp = (row.ts, row.seq, row.order_id)
            self.approvals.append(stamp)
            self.repeats.setdefault((row.instrument, row.side, terms.qty), []).append(stamp)
            for twin in twins:
                age, window = row.ts - twin.approved, self.limits.duplicate_ns
                if age < window:
                    self._violate(row, "DUPLICATE", f"age={age} ns of {twin.row.order_id} < window={window}")
        order.parent = self._kin.entry_of(order) if row.reduce_only else None
        prices = [price for price in (terms.price, terms.trigger) if price is not None]
        self._judge(order, lot, row, terms, prices, before)
        if not row.reduce_only:
            self._kin.add_entry(order)
        self.book.settle(lot, passive=False)

    def _modify(self, order: Order, row: OrderRow) -> None:
        """Judge an approved modification with the terms that were granted later, if they were."""
        if order.status != "working":
            return
        self.approvals.append((row.ts, row.seq, row.order_id))
        target = self._granted.get(row.seq)
        if target is None:
            return
        order.granted.append(target.qty)
        before = self.book.reach(row.instrument)
        lot = self.book.hold(order)
        moved = order.moved_by(target)
        if moved or target.qty > order.qty:
            self._judge(order, lot, row, target, moved, before)
        self.book.settle(lot, passive=False)

    def _update(self, order: Order, row: OrderRow) -> None:
        asked = row.qty in order.granted
        if asked:
            order.granted.remove(row.qty)
        moved, raised = order.moved_by(row), row.qty > order.qty
        # Venues keep the quantities of children and siblings, all reduce-only, in step: that is no approval.
        unasked = not asked and bool(moved or (raised and not row.reduce_only))
        order.restate(row)
        before = self.book.reach(row.instrument)
        lot = self.book.hold(order)
        if order.status == "working":
            self._kin.add(order)
            if unasked:
                self._judge(order, lot, row, row, moved, before)
        self.book.settle(lot, passive=False)

    def _judge(self, order: Order, lot: Lot, row: OrderRow, terms: OrderRow, prices: list[int], before: Reach) -> None:
        """Judge an order at `row` with `terms`, of which `prices` are new; the book, `before` not, holds it already."""
        known = self.limits.stale_ns.get(row.instrument)
        if known is None:
            self._violate(row, "UNKNOWN_INSTRUMENT", "not in run.yaml")
        if lot.marked is None:
            self._violate(row, "NO_REFERENCE", "no mark before the order")
        else:
            age = row.ts - lot.marked
            if age < -SKEW_NS:
                self._doubt(row, "FUTURE_MARK", f"its reference is {-age} ns younger than the order")
            if known is not None:
                self._bound(row, "STALE_REFERENCE", age, known)
            self._judge_prices(order, lot, row, prices)
        if row.reduce_only:
            leaves, room = terms.qty - order.filled, self._room(order, lot)
            if not (leaves <= room > 0 or order.is_child(terms.qty) or self._flattens(order)):
                self._violate(row, "REDUCE_ONLY", f"leaves={nano(leaves)} > opposite position={nano(room)}")
            if not self._flattens(order):
                self._judge_behind(order, lot, row, before)
        elif not (lot.lo >= 0 < lot.pos if order.sign < 0 else lot.hi <= 0 > lot.pos):
            self._judge_risk(lot, row, terms)

    def _room(self, order: Order, lot: Lot) -> int:
        """Return the position that a reduce-only order could reduce; 0 or less: none."""
        return -lot.pos * order.sign

    def _judge_prices(self, order: Order, lot: Lot, row: OrderRow, prices: list[int]) -> None:
        if self._flattens(order):
            return
        wrong = self._prices.wrong(row.instrument, self._at)
        if wrong is not None:
            self._violate(row, "SUSPECT_REFERENCE", wrong)
        share = self.limits.collar
        for price in prices:
            away = abs(2 * price - lot.mid2) * share.denominator
            self._bound(row, "PRICE_COLLAR", away, lot.mid2 * share.numerator)

    def _judge_risk(self, lot: Lot, row: OrderRow, terms: OrderRow) -> None:
        limits, book = self.limits, self.book
        self.opening.add(row.order_id)
        if limits.order_qty is not None:
            self._bound(row, "ORDER_QTY", terms.qty, limits.order_qty)
        price = terms.price if terms.price is not None else terms.trigger
        notional = terms.qty * (lot.mid2 if price is None else 2 * price)
        self._bound(row, "ORDER_NOTIONAL", notional, limits.order_notional)
        if row.event in ("initialized", "submitted"):
            self._bound(row, "OPEN_ORDERS", self.working, limits.open_orders)
        if book.killed is not None:
            self._violate(row, "HALTED", f"risk-increasing after the breach at ts={book.killed}")
        self._bound(row, "INSTRUMENT_EXPOSURE", lot.worst * lot.mid2, limits.instrument)
        if limits.inventory is not None:
            self._bound(row, "INVENTORY", lot.worst, limits.inventory)
        self._bound(row, "GROSS_EXPOSURE", book.gross, limits.gross)
        self._bound(row, "NET_EXPOSURE", max(book.high, -book.low), limits.net)
        self._bound(row, "DAILY_LOSS", book.day_loss(), limits.daily_loss)
        self._bound(row, "DRAWDOWN", *book.drawdown())
        if limits.long_only and lot.lo < 0:
            self._violate(row, "LONG_ONLY", f"worst position={nano(lot.lo)} < 0")

    def _judge_behind(self, order: Order, lot: Lot, row: OrderRow, before: Reach) -> None:
        """Judge what plain orders that only reduced so far can open behind a reduce-only one: what it makes worse."""
        limits, now = self.limits, self.book.reach(row.instrument)
        if not (now.lo < min(before.lo, 0) if order.sign < 0 else now.hi > max(before.hi, 0)):
            return
        if now.worst > before.worst:
            self._bound(row, "INSTRUMENT_EXPOSURE", now.worst * lot.mid2, limits.instrument)
            if limits.inventory is not None:
                self._bound(row, "INVENTORY", now.worst, limits.inventory)
        if now.gross > before.gross:
            self._bound(row, "GROSS_EXPOSURE", now.gross, limits.gross)
        if now.net > before.net:
            self._bound(row, "NET_EXPOSURE", now.net, limits.net)
        if limits.long_only and now.lo < min(before.lo, 0):
            self._violate(row, "LONG_ONLY", f"worst position={nano(now.lo)} < 0")

    def _flattens(self, order: Order) -> bool:
        """Return whether this is an order of the law itself that strictly reduces its strategy's position."""
        row, own = order.row, self.book.own[order.row.strategy, order.row.instrument]
        named = row.order_id.startswith(LAW_PREFIX) and row.type == "MARKET" and row.reduce_only
        return named and own * order.sign < 0 and order.qty - order.filled <= abs(own)

    def _fill(self, row: FillRow) -> None:
        order, lot = self.orders.get(row.order_id), self.book.lot(row.instrument)
        if (row.order_id, row.trade_id) in self._trades:
            self._doubt(row, "DUPLICATE_FILL", f"trade {row.trade_id} is there twice")
        self._trades.add((row.order_id, row.trade_id))
        if order is None or order.status in ("new", "denied"):
            self._violate(row, "UNAPPROVED", "fill of an order that was never submitted")
        if order is not None:
            self._fill_order(order, row, lot.pos)
        kept = row.fee if row.currency == self.limits.base.get(row.instrument) else 0  # of what was bought
        signed = row.qty - kept if row.side == "BUY" else -row.qty
        realized = self.book.fill(lot, order.row.strategy if order else "", signed, row.price, self._fee(row))
        if order is not None:
            self.book.hold(order)
        drift = row.position_after - lot.pos
        if drift != lot.drift:
            self._doubt(row, "POSITION", f"position_after={nano(row.position_after)}, {nano(lot.pos)} by fills")
        elif abs(row.realized * 10**9 - realized) > _REALIZED_SLACK and not drift:
            self._doubt(row, "REALIZED", f"realized={nano(row.realized)}, {nano(realized // 10**9)} by fills")
        lot.drift = drift
        self.book.settle(lot, passive=True)
        self.book.note(row.ts)

    def _fee(self, row: FillRow) -> int:
        """Return a fee in half-attos; one in the base currency is valued at the price of its fill."""
        if row.fee and row.currency == self.limits.base.get(row.instrument):
            return 2 * row.fee * row.price
        if row.fee and row.currency != self.limits.currency:
            self._doubt(row, "FEE_CURRENCY", f"fee in {row.currency}, not {self.limits.currency}")
        return 2 * row.fee * 10**9

    def _fill_order(self, order: Order, row: FillRow, before: int) -> None:
        if row.side != order.row.side or row.instrument != order.row.instrument:
            self._doubt(row, "FILL_TERMS", f"{row.side} {row.instrument} is not what the order says")
        room = order.ceiling - order.filled
        if row.qty > room:
            self._violate(row, "OVERFILL", f"qty={nano(row.qty)} > leaves={nano(room)}")
        toward = row.qty if row.side == "BUY" else -row.qty
        own = self.book.own[order.row.strategy, row.instrument]
        reduces = [position * toward < 0 and row.qty <= abs(position) for position in (before, own)]
        if order.row.reduce_only and not any(reduces):
            self._violate(row, "REDUCE_ONLY", f"a fill of {nano(toward)} does not reduce {nano(before)}")
        elif order.row.reduce_only and not reduces[0]:
            self.book.passive["REDUCE_ONLY"] += 1  # it closed its strategy's part of an opposite net position
        if order.status == "closed" and order.filled < order.qty:
            self.book.passive["FILL_AFTER_CLOSE"] += 1
        order.filled += row.qty
        order.fills.append(order.filled)
        if order.status == "working" and order.filled >= order.ceiling:
            self.working -= 1
            order.status = "closed"

    def _bound(self, row: OrderRow, code: str, value: int, bound: int) -> None:
        if not self.book.use(code, value, bound):
            return
        if code in ("PRICE_COLLAR", "DRAWDOWN"):  # shares, both sides multiplied by a denominator
            detail = f"{value / max(bound, 1):.6f} times the limit"
        elif code in ("OPEN_ORDERS", "STALE_REFERENCE"):
            detail = f"{value} > limit={bound}" + (" ns" if code == "STALE_REFERENCE" else "")
        else:
            show = nano if code in ("ORDER_QTY", "INVENTORY") else money
            detail = f"{show(value)} > limit={show(bound)}"
        self._violate(row, code, detail)

    def _violate(self, row: OrderRow | FillRow, code: str, detail: str) -> None:
        self.violations.append(Finding(row.seq, row.ts, code, row.order_id, detail))

    def _doubt(self, row: OrderRow | FillRow, code: str, detail: str) -> None:
        self.integrity.append(Finding(row.seq, row.ts, code, row.order_id, detail))
