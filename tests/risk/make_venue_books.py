"""A venue with books of its own for the tests of the caps: it fills, tells late and in any order, and ends orders."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction as F
from typing import Any

from alphatrade.risk.exposure import BUY, SELL, Order
from alphatrade.risk.live_law import LiveLaw
from alphatrade.risk.permit import Permit
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.units import ATTO, NANO, from_nano
from tests.risk.test_law import NOW, WIDE, mark, order

FEE = NANO // 1000
DAY = 86_400 * NANO
JUMP = F(5, 100)
NAMES = ("X", "Y")
Step = tuple[int, int, int, int]  # which step, and three numbers that it makes of what it needs


def permit(capital: int = 50, loss: int = 50, **more: Any) -> Permit:
    return Permit(
        "e" * 64, "p" * 64, "c" * 64, "binance", "PILOT", NAMES, "USDT", capital * ATTO, loss * ATTO,
        NOW - DAY, NOW + DAY, fee=FEE,
    )._replace(**more)  # fmt: skip


def law_of(given: Permit, **limits: Any) -> LiveLaw:
    made = LiveLaw(RiskTemplate(**{**WIDE, "jump_max": float(JUMP), **limits}), 1000 * ATTO, long_only=False)
    made.permit = given
    for name in NAMES:
        mark(made, 10, name)
    return made


@dataclass
class Trade:
    """A fill as the venue has booked it; `kept`: how much of a purchase it kept as its fee."""

    order: Order
    qty: int
    price: int
    fee: int
    kept: int


@dataclass
class Recount:
    """Money and units by a list of trades, exactly: nothing of the law is asked."""

    paid: F = F(0)
    units: Counter[str] = field(default_factory=Counter)
    cost: dict[str, F] = field(default_factory=dict)

    @classmethod
    def of(cls, trades: Sequence[Trade], spent: int = 0) -> "Recount":
        found = cls(F(spent))
        for one in trades:
            name, before = one.order.instrument, found.units[one.order.instrument]
            money = F(one.qty * one.price)
            if one.order.side == BUY:
                found.paid += money + (0 if one.kept else one.fee)
                found.units[name] += one.qty - one.kept
                found.cost[name] = found.cost.get(name, F(0)) + F((one.qty - one.kept) * one.price)
            else:
                found.paid -= money - one.fee
                found.units[name] -= one.qty
                found.cost[name] -= found.cost[name] * one.qty / before
        return found

    @property
    def out(self) -> F:
        return max(self.paid, sum(self.cost.values(), F(0)))


class Books:
    """
    One account at the venue, and the law that sends it orders.

    Attributes
    ----------
    booked, told : list of Trade
        What the venue knows, and what it has said.
    promise : bool
        The end of an order is told after its fills, as a broker who asks the books does.
    recounts : bool
        Look at the law's own figures, too.
    """

    def __init__(self, law: LiveLaw, promise: bool = True, recounts: bool = True) -> None:
        self.law, self.promise, self.recounts = law, promise, recounts
        self.left: dict[str, int] = {}  # of orders that work at the venue
        self.known: dict[str, Order] = {}  # of orders whose end was not told
        self.booked: list[Trade] = []
        self.told: list[Trade] = []
        self.untold: list[Trade | Order] = []
        self.mids = dict.fromkeys(NAMES, 10 * NANO)
        self.denied: Counter[str] = Counter()
        self.sent = 0

    def play(self, steps: Sequence[Step]) -> None:
        kinds = (
            self._buy,
            self._fill,
            self._buy,
            self._tell,
            self._sell,
            self._fill,
            self._end,
            self._mark,
            self._tell,
        )
        for kind, *numbers in steps:
            kinds[kind % len(kinds)](*numbers)
            self.check()

    # -- what must hold

    def check(self) -> None:
        """Hold the venue's own books against the permit, and the law's figures against a recount of what it was told."""
        capital = self.law.permit.capital
        truth = Recount.of(self.booked, self.law.permit.spent)
        locked = sum(
            left * (self.known[name].price or 0) for name, left in self.left.items() if self.known[name].side == BUY
        )
        assert truth.paid + locked <= capital, "the venue has taken more than the capital"
        assert sum(truth.cost.values()) + locked <= capital, "what is held cost more than the capital"
        if not self.recounts:
            return
        heard = Recount.of(self.told, self.law.permit.spent)
        assert 0 <= self.law.money_out() - heard.out <= len(self.told)
        assert 0 <= self.law.committed() - self._committed(heard) <= self._slack()
        assert 0 <= self.law.worst_loss() - self._worst(heard) <= self._slack()

    def _slack(self) -> int:
        """What rounding may add: a nano of a price for each unit that is held or may be, and an atto for each fill."""
        units = sum(one.reserved for one in self.law.exposure.working.values()) + sum(
            abs(h.position) for h in self.law.exposure.holdings.values()
        )
        return 2 * units + len(self.told)

    def _working(self, more: Sequence[Order]) -> list[tuple[Order, int]]:
        """Return what may still fill by what was told, recounted from orders and fills."""
        done: Counter[str] = Counter()
        for one in self.told:
            done[one.order.order_id] += one.qty
        left = [(one, one.qty - done[one.order_id]) for one in (*self.known.values(), *more) if one.side == BUY]
        return [(one, qty) for one, qty in left if qty > 0]

    def _committed(self, heard: Recount, more: Sequence[Order] = ()) -> F:
        return heard.out + sum(
            (F(qty * (one.price or 0) * (NANO + FEE), NANO) for one, qty in self._working(more)), F(0)
        )

    def _worst(self, heard: Recount, more: Sequence[Order] = ()) -> F:
        exits = {name: self.mids[name] * (1 - JUMP) * (1 - F(FEE, NANO)) for name in NAMES}
        loss = heard.out - sum((heard.units[name] * exits[name] for name in NAMES), F(0))
        for one, qty in self._working(more):
            loss += qty * max(F((one.price or 0) * (NANO + FEE), NANO) - exits[one.instrument], F(0))
        return loss

    # -- steps

    def _buy(self, which: int, qty: int, price: int) -> None:
        name = NAMES[which % 2]
        one = order(BUY, Decimal(1 + qty % 30) / 10, from_nano(self.mids[name]) * (90 + price % 13) / 100, name=name)
        given, heard = self.law.permit, Recount.of(self.told, self.law.permit.spent)
        over = self._committed(heard, [one]) - given.capital, self._worst(heard, [one]) - given.loss
        expected = "CAPITAL_CAP" if over[0] > 0 else "LOSS_ROOM" if over[1] > 0 else None
        verdict = self.law.check([one], NOW)
        if self.recounts and min(abs(over[0]), abs(over[1])) > self._slack() + 2 * one.qty:
            assert (None if verdict.code is None else str(verdict.code)) == expected, verdict.reason
        self.denied[str(verdict.code)] += 1
        if verdict.code is None:
            self._send(one)

    def _sell(self, which: int, share: int, price: int) -> None:
        held = self.law.exposure.holding(NAMES[which % 2])
        free = held.position - held.sells
        if free > 0:
            qty, at = from_nano(free * (1 + share % 4) // 4), from_nano(self.mids[held.instrument])
            one = order(SELL, qty, at * (99 + price % 3) / 100, name=held.instrument)
            if one.qty and self.law.check([one], NOW).code is None:
                self._send(one)

    def _send(self, one: Order) -> None:
        self.law.commit([one], NOW)
        self.left[one.order_id] = one.qty
        self.known[one.order_id] = one
        self.sent += 1

    def _fill(self, which: int, part: int, better: int) -> None:
        if not self.left:
            return
        name = list(self.left)[which % len(self.left)]
        one, qty = self.known[name], max(self.left[name] * (1 + part % 4) // 4, 1)
        price = (one.price or 0) * (100 - one.side * (better % 3)) // 100
        kept = qty * FEE // NANO if one.side == BUY and better % 2 else 0
        trade = Trade(one, qty, price, kept * price if kept else qty * price * FEE // NANO, kept)
        self.booked.append(trade)
        self.untold.append(trade)
        self.left[name] -= qty
        if not self.left[name]:
            del self.left[name]

    def _end(self, which: int, *_: int) -> None:
        """A cancel, an expiry: the venue ends an order, and has that to say."""
        if self.left:
            name = list(self.left)[which % len(self.left)]
            del self.left[name]
            self.untold.append(self.known[name])

    def _tell(self, which: int, *_: int) -> None:
        """Let the law hear one thing, which need not be the oldest."""
        held = {one.order.order_id for one in self.untold if isinstance(one, Trade)} if self.promise else set()
        free = [one for one in self.untold if isinstance(one, Trade) or one.order_id not in held]
        free = [one for one in free if not (isinstance(one, Trade) and one.order.side == SELL and self._early(one))]
        if not free:
            return
        one = free[which % len(free)]
        self.untold.remove(one)
        if isinstance(one, Order):
            self.law.on_closed(one.order_id)
            self.known.pop(one.order_id, None)
            return
        self.told.append(one)
        own = one.order
        self.law.on_fill(own.order_id, own.instrument, own.side, one.qty, one.price, one.fee, kept=one.kept)
        if own.order_id not in self.law.exposure.working:
            self.known.pop(own.order_id, None)

    def _early(self, sale: Trade) -> bool:
        """A sale of more than the law knows of cannot be told yet: a buy that it sold is told first."""
        return self.law.exposure.holding(sale.order.instrument).position < sale.qty

    def _mark(self, which: int, move: int, _: int) -> None:
        name = NAMES[which % 2]
        self.mids[name] = self.mids[name] * (97 + move % 7) // 100
        verdict = self.law.on_mark(name, self.mids[name], self.mids[name], NOW)
        over = self._worst(Recount.of(self.told, self.law.permit.spent)) - self.law.permit.loss
        if self.recounts and abs(over) > self._slack():
            assert (verdict.code == "LOSS_CAP") == (over > 0), verdict.reason
