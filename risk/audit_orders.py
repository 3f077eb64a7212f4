"""The auditor's memory of orders: terms as the rows tell them, and where the rows contradict each other.

Units are those of :mod:`alphatrade.risk.audit_files`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from alphatrade.risk.audit_files import OrderRow
from alphatrade.risk.audit_limits import HALF_ATTO

_BY_LAW = re.compile(r"[A-Z_]+: ")
LIST_SPAN_NS = 10**9  # an entry and its children, one list, are approved within this time
PATIENCE_NS = 10 * 10**9  # an approval that is older when its order is submitted counts for nothing


class Finding(NamedTuple):
    """One thing that is wrong: where, which limit or check, and with what numbers."""

    seq: int
    ts: int
    code: str
    subject: str
    detail: str


def nano(value: int | None) -> str:
    """Return a nano integer in whole units, for people."""
    return "none" if value is None else f"{Decimal(value) / 10**9:f}"


def money(value: int) -> str:
    """Return half-attos in whole units of money, for people."""
    return f"{Decimal(value) / HALF_ATTO:.6f}"


@dataclass(slots=True, eq=False)
class Order:
    """What is known of one order; `held` is the quantity that the book counts as working for it."""

    row: OrderRow
    status: str = "new"  # new, working, closed, denied
    approved: int = 0  # when, UTC ns
    sent: bool = False  # its `submitted` has come
    qty: int = 0
    price: int | None = None
    trigger: int | None = None
    filled: int = 0
    held: int = 0
    granted: list[int] = field(default_factory=list)  # quantities of modifications still in flight
    fills: list[int] = field(default_factory=list)  # filled so far after each row of fills.parquet
    filled_rows: list[int] = field(default_factory=list)  # the same, as orders.parquet tells it
    emulated: bool = False
    parent: "Order | None" = None  # the entry of the same list, for a reduce-only child

    @property
    def sign(self) -> int:
        """+1 for a BUY, -1 for a SELL."""
        return 1 if self.row.side == "BUY" else -1

    @property
    def ceiling(self) -> int:
        """The quantity that may be filled at most, modifications in flight included."""
        return max([self.qty, *self.granted])

    @property
    def terms(self) -> tuple[object, ...]:
        """What makes two working orders identical."""
        row = self.row
        kind = row.instrument, row.strategy, row.side, row.type, row.reduce_only
        return *kind, self.qty, self.price, self.trigger

    def is_child(self, qty: int) -> bool:
        """Return whether, with `qty`, it is a reduce-only child of an entry that works."""
        parent = self.parent
        return parent is not None and parent.status == "working" and qty <= parent.ceiling

    def restate(self, row: OrderRow) -> None:
        """Take over the terms of a row."""
        self.row, self.qty, self.price, self.trigger = row, row.qty, row.price, row.trigger

    def moved_by(self, row: OrderRow) -> list[int]:
        """Return the prices that a row moves; trailing stops move by themselves."""
        if row.type.startswith("TRAILING"):
            return []
        pairs = ((self.price, row.price), (self.trigger, row.trigger))
        return [new for old, new in pairs if old is not None and new is not None and old != new]

    def contradictions(self, row: OrderRow) -> Iterator[tuple[str, str]]:
        """Yield (code, detail) where a row contradicts what the rows before it said of this order."""
        old, fresh = self.row, row.event in ("initialized", "modify_approved", "updated")
        if row[2:5] != old[2:5] or row.side != old.side or row.reduce_only != old.reduce_only:
            yield "CHANGED_TERMS", "instrument, strategy, side or reduce_only differ from before"
        shrunk = self.status == "new" and row.qty <= self.qty  # an execution algorithm spawned a part of it
        if not fresh and row.qty != self.qty and not shrunk:
            yield "CHANGED_TERMS", f"qty={nano(row.qty)} after {nano(self.qty)} without an update"
        if not fresh and self.status == "working":
            for now, before in ((row.price, self.price), (row.trigger, self.trigger)):
                if before is not None and now != before:
                    yield "CHANGED_TERMS", f"price={nano(now)} after {nano(before)} without an update"
        leaves = max(0, row.qty - self.filled)
        if row.event in ("submitted", "accepted", "updated") and row.leaves != leaves:
            yield "LEAVES", f"leaves={nano(row.leaves)}, {nano(leaves)} by fills"
        if row.event == "initialized" and self.status != "new":
            yield "EVENT_ORDER", f"initialized while {self.status}"


class Kin:
    """Finds twins (identical working orders) and the entries of reduce-only children, by key."""

    def __init__(self) -> None:
        self._twins: dict[tuple[object, ...], list[Order]] = {}
        self._entries: dict[tuple[str, str], list[Order]] = {}

    def add(self, order: Order) -> list[Order]:
        """Remember an order under its terms of now; return the other working orders that are identical."""
        same = [
            twin
            for twin in self._twins.get(order.terms, [])
            if twin is not order and twin.status == "working" and twin.terms == order.terms
        ]
        self._twins[order.terms] = [*same, order]
        return same

    def add_entry(self, order: Order) -> None:
        """Remember an order that may have reduce-only children."""
        self._entries.setdefault((order.row.instrument, order.row.strategy), []).append(order)

    def entry_of(self, child: Order) -> Order | None:
        """Return the working entry of the same list to which a reduce-only order just approved belongs."""
        for entry in reversed(self._entries.get((child.row.instrument, child.row.strategy), [])):
            if child.approved - entry.approved > LIST_SPAN_NS:
                return None
            if entry.status == "working" and entry.sign != child.sign and child.qty <= entry.qty:
                return entry
        return None


def approvals(rows: Iterable[OrderRow]) -> dict[int, OrderRow]:
    """
    Find the rows at which orders were approved: their ``initialized`` immediately before ``submitted``.

    Any other ``initialized`` tells of an order that the law had only heard of, and one long before the submission
    (`PATIENCE_NS`) says nothing about it.

    Returns
    -------
    dict of int to OrderRow
        `seq` of an ``initialized`` → the ``submitted`` that followed.
    """
    latest: dict[str, OrderRow] = {}
    approved: dict[int, OrderRow] = {}
    for row in rows:
        before = latest.get(row.order_id)
        latest[row.order_id] = row
        if before is None or (before.event, row.event) != ("initialized", "submitted"):
            continue
        if row.ts - before.ts <= PATIENCE_NS:
            approved[before.seq] = row
    return approved


def granted_modifications(rows: Iterable[OrderRow]) -> dict[int, OrderRow]:
    """
    Match every approved modification with the answer that grants it.

    A refusal is of a request that was not approved, while there is one: by the law, known by a reason that begins
    with ``CODE:``, or by Nautilus before the law saw it. Else it is the venue's, which answers in order.

    Returns
    -------
    dict of int to OrderRow
        `seq` of a ``modify_approved`` → the ``updated`` that grants it. Refused ones are left out.
    """
    waiting: dict[str, list[OrderRow]] = {}
    asking: Counter[str] = Counter()
    granted: dict[int, OrderRow] = {}
    for row in rows:
        name, event = row.order_id, row.event
        approved = waiting.setdefault(name, [])
        if event == "pending_update":
            asking[name] += 1
        elif event == "modify_approved":
            asking[name] = max(asking[name] - 1, 0)
            approved.append(row)
        elif event == "modify_rejected":
            if asking[name]:
                asking[name] -= 1
            elif approved and not _BY_LAW.match(row.reason or ""):
                approved.pop(0)
        elif event == "updated":
            match = next((one for one in approved if one.qty == row.qty), None)
            if match is not None:
                approved.remove(match)
                granted[match.seq] = row
    return granted
