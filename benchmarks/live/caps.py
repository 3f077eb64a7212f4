"""Orders beyond the caps of a permit: in the one step of quantity too many, whatever was paid and is on offer before.

Each attempt draws what came before: orders that work, fills in parts, gains, losses, money that was spent. Then the
largest order that fits is let through by the law; the one that is a step larger, or wrong otherwise, is given to the
client, approved only if the law lets it through.
"""

import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from nautilus_trader.model.enums import OrderSide

from alphatrade.risk.exposure import BUY, SELL, Order
from alphatrade.risk.limits import Code
from alphatrade.risk.live_law import LiveLaw
from alphatrade.risk.permit import Permit
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.units import ATTO, NANO, from_nano, to_nano
from benchmarks.live.forgeries import WIDE, handed
from tests.venue.make_door import NAME, Behind

CAPITAL, LOSS = 100, 100
FEE = NANO // 1000
STEP = to_nano("0.00001")
BID, ASK = to_nano(30_000), to_nano(30_001)
HOUR = 3_600 * NANO


class Book:
    """
    A law with a permit, and what it has seen.

    Attributes
    ----------
    law : LiveLaw
    now : int
        UTC ns.
    """

    def __init__(self, rng: random.Random, **terms: Any) -> None:
        self.rng, self.now, self._count = rng, time.time_ns(), 0
        self.law = LiveLaw(RiskTemplate(**WIDE), 1_000 * ATTO)
        self.law.permit = Permit(
            "e" * 64, "p" * 64, "c" * 64, "sandbox", "PILOT", (NAME.value,), "USDT", CAPITAL * ATTO, LOSS * ATTO,
            self.now - HOUR, self.now + HOUR, fee=FEE, at=self.now,
        )._replace(**terms)  # fmt: skip
        self.law.on_mark(NAME.value, BID, ASK, self.now)

    def price(self) -> int:
        """Draw a price that rests."""
        return BID - self.rng.randrange(100) * to_nano("0.01")

    def order(self, qty: int, price: int | None, side: int = BUY, kind: str = "LIMIT", **more: Any) -> Order:
        """Return an order."""
        self._count += 1
        return Order(f"B-{self._count}", NAME.value, side, kind, qty, price, **more)

    def sent(self, qty: int, price: int, side: int = BUY) -> Order:
        """Let an order through, and have it work."""
        order = self.order(qty, price, side)
        assert self.law.check([order], self.now).code is None
        self.law.commit([order], self.now)
        return order

    def filled(self, order: Order, qty: int, price: int) -> None:
        """Fill an order, in part or as a whole; the fee is in quote units."""
        self.law.on_fill(order.order_id, NAME.value, order.side, qty, price, qty * price // NANO * FEE)

    def most(self, price: int) -> int:
        """Return the largest quantity of a buy that a cap on the capital has room for, by steps."""
        room = self.law.permit.capital - self.law.committed()
        return room // -(-price * (NANO + FEE) // NANO) // STEP * STEP

    def fits(self, *orders: Order) -> None:
        """See that what is within the caps is let through: else an attempt would prove nothing."""
        verdict = self.law.check(orders, self.now)
        assert verdict.code is None, verdict


class Beyond(NamedTuple):
    """What is tried: orders that a law judges together at a moment, the last for the client; and why it is denied."""

    book: Book
    orders: tuple[Order, ...]
    now: int
    code: Code


def _edge(book: Book) -> Beyond:
    """Return the first order of a price that the capital has no room for; one a step smaller fits."""
    price = book.price()
    qty = book.most(price)
    if qty:
        book.fits(book.order(qty, price))
    return Beyond(book, (book.order(qty + STEP, price),), book.now, Code.CAPITAL_CAP)


def _some(book: Book, share: float = 0.2) -> int:
    """Draw a quantity that is worth a share of the capital, at most."""
    return max(STEP, int(book.rng.uniform(0.05, share) * to_nano(CAPITAL) * NANO // BID) // STEP * STEP)


def alone(rng: random.Random) -> Beyond:
    """One order, of a capital that is drawn."""
    return _edge(Book(rng, capital=rng.randint(10, 100) * ATTO))


def working(rng: random.Random) -> Beyond:
    """After orders that work."""
    book = Book(rng)
    for _ in range(rng.randint(1, 4)):
        book.sent(_some(book), book.price())
    return _edge(book)


def partly(rng: random.Random) -> Beyond:
    """After orders that were filled in part, and cheaper."""
    book = Book(rng)
    for _ in range(rng.randint(1, 4)):
        order = book.sent(max(_some(book), 2 * STEP), book.price())
        book.filled(order, rng.randrange(1, order.qty // STEP) * STEP, BID - rng.randrange(1000) * to_nano("0.01"))
    return _edge(book)


def ended(rng: random.Random) -> Beyond:
    """After orders that ended: what they did not fill has room again, and no step more."""
    book = Book(rng)
    for _ in range(rng.randint(1, 4)):
        order = book.sent(max(_some(book), 2 * STEP), book.price())
        book.filled(order, rng.randrange(1, order.qty // STEP) * STEP, order.price or BID)
        book.law.on_closed(order.order_id)
    return _edge(book)


def spent(rng: random.Random) -> Beyond:
    """After money that was spent in runs of before."""
    return _edge(Book(rng, spent=rng.randrange(1, CAPITAL * 10**6) * ATTO // 10**6))


def _round_trip(rng: random.Random, low: float, high: float) -> Book:
    book = Book(rng)
    order = book.sent(_some(book), BID)
    book.filled(order, order.qty, BID)
    price = int(BID * rng.uniform(low, high)) // to_nano("0.01") * to_nano("0.01")
    book.law.on_mark(NAME.value, price, price + to_nano("0.01"), book.now)
    sale = book.sent(order.qty, price, SELL)
    book.filled(sale, sale.qty, price)
    book.law.on_mark(NAME.value, BID, ASK, book.now)
    return book


def gained(rng: random.Random) -> Beyond:
    """After a gain, which raises no cap."""
    return _edge(_round_trip(rng, 1.005, 1.04))


def lost(rng: random.Random) -> Beyond:
    """After a loss, which is money that is out."""
    return _edge(_round_trip(rng, 0.96, 0.995))


def without_fee(rng: random.Random) -> Beyond:
    """An order that fits but for its fee."""
    price = BID - rng.randrange(100) * to_nano("0.01")
    qty = rng.randint(20, 300) * STEP
    book = Book(rng, capital=qty * price)
    return Beyond(book, (book.order(qty, price),), book.now, Code.CAPITAL_CAP)


def together(rng: random.Random) -> Beyond:
    """Orders of which each fits, and all together do not."""
    book, count = Book(rng), rng.randint(2, 8)
    price = book.price()
    qty = book.most(price) // count // STEP * STEP
    batch, last = [book.order(qty, price) for _ in range(count - 1)], book.most(price) - (count - 1) * qty
    book.fits(*batch, book.order(last, price))
    return Beyond(book, (*batch, book.order(last + STEP, price)), book.now, Code.CAPITAL_CAP)


def loss(rng: random.Random) -> Beyond:
    """An order that a jump of the price would make too dear for the cap on the loss."""
    book = Book(rng, loss=rng.randint(1, 4) * ATTO)
    price = book.price()
    low, high = 0, book.most(price) // STEP
    while high - low > 1:
        middle = (low + high) // 2
        good = book.law.worst_loss([book.order(middle * STEP, price)]) <= book.law.permit.loss
        low, high = (middle, high) if good else (low, middle)
    book.fits(book.order(low * STEP, price))
    return Beyond(book, (book.order(high * STEP, price),), book.now, Code.LOSS_ROOM)


def unbounded(rng: random.Random) -> Beyond:
    """A buy at any price."""
    book = Book(rng)
    return Beyond(book, (book.order(_some(book), None, kind="MARKET"),), book.now, Code.UNBOUNDED)


def short(rng: random.Random) -> Beyond:
    """A sale of a step more than is held."""
    book = Book(rng)
    order = book.sent(_some(book), BID)
    book.filled(order, order.qty, BID)
    book.fits(book.order(order.qty, ASK, SELL))
    return Beyond(book, (book.order(order.qty + STEP, ASK, SELL),), book.now, Code.LONG_ONLY)


def over(rng: random.Random) -> Beyond:
    """An order after the permit's end."""
    book = Book(rng)
    order = book.order(_some(book), book.price())
    book.fits(order)
    late = book.now + HOUR + rng.randrange(HOUR)
    book.law.on_mark(NAME.value, BID, ASK, late)
    return Beyond(book, (order,), late, Code.PERMIT_ENDED)


def unlooked(rng: random.Random) -> Beyond:
    """An order by a permit that nobody has looked at for three minutes."""
    book = Book(rng)
    order = book.order(_some(book), book.price())
    book.fits(order)
    return Beyond(book, (order,), book.now + 180 * NANO + rng.randrange(1, 60 * NANO), Code.PERMIT_ENDED)


CAPS: dict[str, Callable[[random.Random], Beyond]] = {
    "alone": alone, "after working orders": working, "after partial fills": partly, "after ends": ended,
    "after what was spent": spent, "after a gain": gained, "after a loss": lost, "but for the fee": without_fee,
    "a list of orders": together, "beyond the loss": loss, "at any price": unbounded, "more than is held": short,
    "after the end": over, "not looked at": unlooked,
}  # fmt: skip


def capped(name: str) -> Callable[[Behind, random.Random], Awaitable[None]]:
    """Return a kind of attempts by its name."""

    async def kind(one: Behind, rng: random.Random) -> None:
        tried = CAPS[name](rng)
        verdict, last = tried.book.law.check(tried.orders, tried.now), tried.orders[-1]
        assert verdict.code in (None, tried.code), verdict  # denied for something else it would prove nothing
        price = None if last.price is None else f"{from_nano(last.price):.2f}"
        made = one.order(price, f"{from_nano(last.qty):.5f}", OrderSide.BUY if last.side == BUY else OrderSide.SELL)
        await handed(one, made, verdict.code is None)

    return kind
