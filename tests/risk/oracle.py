"""A second, slow reading of the law: it keeps every fact and adds everything up again for every question.

It shares nothing with alphatrade.risk but the names of the codes, and works in exact fractions.
"""

from dataclasses import dataclass, field
from fractions import Fraction as F
from typing import Any

DAY = 86_400 * 10**9
DEFAULTS: dict[str, Any] = {
    "order_qty_max": None, "order_notional_max": 0.15, "gross_max": 1.0, "net_max": 1.0,
    "instrument_max": 0.5, "inventory_max": None, "price_collar": 0.03, "stale_after_s": 600.0, "daily_loss_max": 0.03,
    "drawdown_max": 0.10, "orders_per_second": 10, "orders_per_minute": 120, "repeat_max": 10,
    "repeat_window_s": 60.0, "duplicate_window_s": 1.0, "open_orders_max": 20,
}  # fmt: skip


def exact(value: Any) -> F:
    return F(repr(value)) if isinstance(value, float) else F(str(value))


@dataclass
class Ask:
    """What is asked of the law: one order."""

    id: str
    instrument: str
    side: int
    kind: str
    qty: F
    price: F | None
    trigger: F | None
    reduce_only: bool
    quote_qty: bool = False
    parent: str | None = None
    filled: F = F(0)
    ts: int = 0

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.instrument, self.side, self.kind, self.reduce_only, self.qty, self.price, self.trigger)


@dataclass
class Oracle:
    """Facts as the strategy sees them, and the verdict they call for."""

    template: dict[str, Any]
    capital: F
    long_only: bool = False
    position: dict[str, F] = field(default_factory=dict)
    cash: F = F(0)
    quotes: dict[str, tuple[F, F, int]] = field(default_factory=dict)
    halted: set[str] = field(default_factory=set)
    unfit: dict[str, str] = field(default_factory=dict)
    working: dict[str, Ask] = field(default_factory=dict)
    sent: list[tuple[int, str | None, Any]] = field(default_factory=list)  # ts, order id (None: modify), repeat key
    ids: set[str] = field(default_factory=set)
    peak: F = F(0)
    day: int = -1
    day_start: F = F(0)
    state: str = "ACTIVE"

    def __post_init__(self) -> None:
        self.t = {**DEFAULTS, **self.template}
        self.peak = self.capital

    # facts

    def mid(self, name: str) -> F:
        bid, ask, _ = self.quotes[name]
        return (bid + ask) / 2

    def equity(self) -> F:
        return self.capital + self.cash + sum(q * self.mid(n) for n, q in self.position.items() if q)

    def on_quote(self, name: str, bid: F, ask: F, ts: int) -> None:
        self.quotes[name] = (bid, ask, ts)
        self.look(ts)

    def look(self, ts: int) -> None:
        equity = self.equity()
        self.peak = max(self.peak, equity)
        if ts // DAY > self.day:
            self.day, self.day_start = ts // DAY, equity

    def on_fill(self, id: str, name: str, side: int, qty: F, price: F, fee: F) -> None:
        self.position[name] = self.position.get(name, F(0)) + side * qty
        self.cash -= side * qty * price + fee
        order = self.working.get(id)
        if order is not None:
            order.filled += qty
            if order.filled >= order.qty:
                del self.working[id]

    # judgement

    def check(self, orders: list[Ask], now: int) -> str | None:
        """Return the code of the denial, or None; an approved list is taken into the facts."""
        accepted: list[Ask] = []
        for order in orders:
            code = self.judge(order, accepted, now)
            if code:
                return code
            accepted.append(order)
        for order in accepted:
            order.ts = now
            self.working[order.id] = order
            self.ids.add(order.id)
            self.sent.append((now, order.id, (order.instrument, order.side, order.qty)))
        return None

    def judge(self, order: Ask, before: list[Ask], now: int) -> str | None:
        if self.state != "ACTIVE":
            return self.state
        if order.instrument in self.unfit:
            return self.unfit[order.instrument]
        if order.quote_qty:
            return "QUOTE_QTY"
        if order.id in self.ids or any(o.id == order.id for o in before):
            return "DUPLICATE"
        return (
            self.market(order.instrument, (order.price, order.trigger), now)
            or self.pace(now, len(before))
            or self.repetition(order, before, now)
            or self.risk(order, before)
        )

    def market(self, name: str, levels: tuple[F | None, ...], now: int) -> str | None:
        if name in self.halted:
            return "INSTRUMENT_HALTED"
        if name not in self.quotes:
            return "NO_REFERENCE"
        if self.quotes[name][0] > self.quotes[name][1]:
            return "SUSPECT_REFERENCE"
        if now - self.quotes[name][2] > exact(self.t["stale_after_s"]) * 10**9:
            return "STALE_REFERENCE"
        for level in levels:
            if level is not None and abs(level / self.mid(name) - 1) > exact(self.t["price_collar"]):
                return "PRICE_COLLAR"
        return None

    def pace(self, now: int, more: int) -> str | None:
        for seconds, limit in ((1, "orders_per_second"), (60, "orders_per_minute")):
            if sum(now - seconds * 10**9 < ts for ts, _, _ in self.sent) + more + 1 > self.t[limit]:
                return "ORDER_RATE"
        return None

    def repetition(self, order: Ask, before: list[Ask], now: int) -> str | None:
        horizon = now - exact(self.t["repeat_window_s"]) * 10**9
        key = (order.instrument, order.side, order.qty)
        times = sum(k == key and ts > horizon for ts, _, k in self.sent)
        times += sum((o.instrument, o.side, o.qty) == key for o in before)
        if times + 1 > self.t["repeat_max"]:
            return "REPEATED"
        window = exact(self.t["duplicate_window_s"]) * 10**9
        for other in self.working.values():
            if other.key == order.key and now - other.ts < window:
                return "DUPLICATE"
        if window and any(o.key == order.key for o in before):
            return "DUPLICATE"
        return None

    def reach(self, name: str, extra: list[Ask], skip: str = "") -> tuple[F, F]:
        """Highest and lowest position that could come about."""
        position = self.position.get(name, F(0))
        working = [order for order in self.working.values() if order.id != skip]
        mine = [order for order in [*working, *extra] if order.instrument == name]

        def total(side: int, reduce_only: bool) -> F:
            wanted = [o for o in mine if o.side == side and o.reduce_only == reduce_only]
            return sum((o.qty - o.filled for o in wanted), F(0))

        hi, lo = position, position
        if position < 0:
            hi = min(position + total(1, True), F(0))
        if position > 0:
            lo = max(position - total(-1, True), F(0))
        return hi + total(1, False), lo - total(-1, False)

    def risk(self, order: Ask, before: list[Ask]) -> str | None:
        name, position = order.instrument, self.position.get(order.instrument, F(0))
        if order.reduce_only:
            parent = next((o for o in before if o.id == order.parent), None)
            child = parent is not None and parent.side != order.side and order.qty <= parent.qty
            if not child and order.qty > max(-order.side * position, F(0)):
                return "REDUCE_ONLY"
            return self.behind(order, before, [*before, order])
        hi, lo = self.reach(name, [*before, order])
        if (order.side < 0 and lo >= 0 and position > 0) or (order.side > 0 and hi <= 0 and position < 0):
            return None
        count = len(self.working) + len(before) + 1
        return self.limits(order, order.qty, [*before, order], count)

    def behind(self, order: Ask, before: list[Ask], after: list[Ask], skip: str = "") -> str | None:
        """Judge what plain orders can open behind a reduce-only one: only what it makes worse."""
        t, name, capital = self.t, order.instrument, self.capital
        old, new = self.spread(before), self.spread(after, skip)
        if not (new[name][1] < min(old[name][1], F(0)) or new[name][0] > max(old[name][0], F(0))):
            return None
        if self.long_only and order.side < 0:
            return "LONG_ONLY"

        def sizes(reaches: dict[str, tuple[F, F]]) -> list[F]:
            worst = {n: max(abs(hi), abs(lo)) for n, (hi, lo) in reaches.items()}
            gross = sum((worst[n] * self.mid(n) for n in worst), F(0))
            net = max(abs(sum(reaches[n][i] * self.mid(n) for n in reaches)) for i in (0, 1))
            return [worst[name], worst[name] * self.mid(name), gross, net]

        inventory = None if t["inventory_max"] is None else exact(t["inventory_max"])
        shares = [exact(t[key]) * capital for key in ("instrument_max", "gross_max", "net_max")]
        codes = ("INVENTORY", "INSTRUMENT_EXPOSURE", "GROSS_EXPOSURE", "NET_EXPOSURE")
        for code, was, now, bound in zip(codes, sizes(old), sizes(new), [inventory, *shares], strict=True):
            if bound is not None and now > bound and now > was:
                return code
        return None

    def spread(self, extra: list[Ask], skip: str = "") -> dict[str, tuple[F, F]]:
        return {n: self.reach(n, extra, skip) for n in self.quotes}

    def limits(self, order: Ask, qty: F, extra: list[Ask], count: int, skip: str = "") -> str | None:
        t, name = self.t, order.instrument
        price = next((p for p in (order.price, order.trigger) if p is not None), self.mid(name))
        reaches = self.spread(extra, skip)
        worst = {n: max(abs(hi), abs(lo)) for n, (hi, lo) in reaches.items()}
        net = [abs(sum(reaches[n][i] * self.mid(n) for n in reaches)) for i in (0, 1)]
        equity = self.equity()
        tests = [
            ("DAILY_LOSS", self.day_start - equity, exact(t["daily_loss_max"]) * self.capital),
            ("DRAWDOWN", (self.peak - equity) / self.peak, exact(t["drawdown_max"])),
            ("LONG_ONLY", -reaches[name][1], F(0) if self.long_only else None),
            ("ORDER_QTY", qty, t["order_qty_max"]),
            ("ORDER_NOTIONAL", qty * price, exact(t["order_notional_max"]) * self.capital),
            ("INVENTORY", worst[name], t["inventory_max"]),
            ("INSTRUMENT_EXPOSURE", worst[name] * self.mid(name), exact(t["instrument_max"]) * self.capital),
            (
                "GROSS_EXPOSURE",
                sum(worst[n] * self.mid(n) for n in worst),
                exact(t["gross_max"]) * self.capital,
            ),
            ("NET_EXPOSURE", max(net), exact(t["net_max"]) * self.capital),
            ("OPEN_ORDERS", F(count), t["open_orders_max"]),
        ]
        for code, value, bound in tests:
            if bound is not None and value > exact(bound):
                return code
        return None

    def check_modify(self, id: str, qty: F | None, price: F | None, trigger: F | None, now: int) -> str | None:
        """Return the code of the rejection of a modification, or None, in which case it is taken over."""
        old = self.working.get(id)
        if self.state != "ACTIVE":
            return self.state
        if old is None:
            return "UNKNOWN_ORDER"
        new = Ask(**{**old.__dict__, "qty": old.qty if qty is None else qty})
        code = self.market(old.instrument, (price, trigger), now) or self.pace(now, 0)
        if code:
            return code
        leaves, position = new.qty - new.filled, self.position.get(old.instrument, F(0))
        same = price in (None, old.price) and trigger in (None, old.trigger)
        new.price = old.price if price is None else price
        new.trigger = old.trigger if trigger is None else trigger
        if old.reduce_only:
            if leaves > max(-old.side * position, F(0)):
                return "REDUCE_ONLY"
            if new.qty > old.qty:
                code = self.behind(new, [], [new], skip=id)
        elif new.qty > old.qty or not same:
            bigger = new if new.qty > old.qty else old
            hi, lo = self.reach(old.instrument, [bigger], skip=id)
            reducing = (old.side < 0 and lo >= 0 and position > 0) or (old.side > 0 and hi <= 0 and position < 0)
            if not reducing:
                code = self.limits(new, new.qty, [bigger], 0, skip=id)
        if code is None:
            self.sent.append((now, None, None))
            # the venue answers later, but never lets more be outstanding than the larger of both
            self.working[id] = new
        return code
