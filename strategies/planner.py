"""Planner: the commands that bring the account from what it has to what the topology asks for."""

from typing import NamedTuple

import msgspec

from alphatrade.risk.units import NANO
from alphatrade.strategies.book import Book, Resting
from alphatrade.strategies.topologies.base import Desire, Limit


class Cancel(NamedTuple):
    """Cancel a working order."""

    order_id: str
    kind: str = "cancel"


class Market(NamedTuple):
    """Send a market order: side +1 or -1, nano units."""

    side: int
    qty_n: int
    reduce: bool
    kind: str = "market"


class Rest(NamedTuple):
    """Send a limit order."""

    side: int
    price_n: int
    qty_n: int
    reduce: bool
    kind: str = "limit"


class Stop(NamedTuple):
    """Send a protective, reduce-only stop-market order."""

    side: int
    trigger_n: int
    qty_n: int
    kind: str = "stop"


class Modify(NamedTuple):
    """Change a working order: `stop` says whether the price is its trigger."""

    order_id: str
    price_n: int
    qty_n: int
    stop: bool
    kind: str = "modify"


Command = Cancel | Market | Rest | Stop | Modify


class Grid(msgspec.Struct, frozen=True, gc=False):
    """
    The instrument's steps, the clip of this decision, where the market is and what the law permits, nano units.

    `step_n` is the price change of one step's volatility, `most_n` the largest quantity of an order, `reach_n` the
    largest distance of a price from the market.
    """

    tick_n: int
    lot_n: int
    clip_n: int
    mid_n: int
    step_n: int
    most_n: int
    reach_n: int

    def price(self, value: float, side: int) -> int:
        """Return a price on the tick grid, rounded away from the market (a buy down, a sell up)."""
        ticks = value * NANO / self.tick_n
        return (int(ticks // 1) if side > 0 else -int(-ticks // 1)) * self.tick_n

    def quantity(self, clips: float) -> int:
        """Return `clips` clips on the lot grid, rounded down."""
        return int(clips * self.clip_n / self.lot_n) * self.lot_n


def plan(desire: Desire, book: Book, grid: Grid) -> list[Command]:
    """
    Return the commands of one decision, cancellations first.

    Parameters
    ----------
    desire : Desire
        What the topology asks for.
    book : Book
        What there is.
    grid : Grid
        Steps and clip.

    Returns
    -------
    list of Command
        Empty while a market order is in flight: its outcome decides what is needed next.
    """
    if book.market:
        return []
    if desire.target is not None and desire.target != book.side:
        return clear(book) + _turn(desire.target, book, grid)
    commands: list[Command] = []
    wanted = {limit.side: limit for limit in desire.limits}
    for side in (1, -1):
        commands += _limit(side, wanted.get(side), book, grid)
    commands += _stop(desire.stop, book, grid)
    if len(commands) > 1:
        commands.sort(key=lambda command: command.kind != "cancel")
    return commands


def clear(book: Book) -> list[Command]:
    """Return the cancellation of everything that rests."""
    resting = [*book.limits.values(), *([book.stop] if book.stop else [])]
    return [Cancel(r.order_id) for r in resting]


def _turn(target: int, book: Book, grid: Grid) -> list[Command]:
    if target == 0:
        return [Market(-book.side, abs(book.position_n), True)]
    if grid.clip_n == 0:
        return []
    quantity = target * grid.clip_n - book.position_n
    if book.position_n and abs(quantity) > grid.most_n:  # close first; the other side is opened by the next step
        return [Market(-book.side, abs(book.position_n), True)]
    return [Market(1 if quantity > 0 else -1, abs(quantity), False)]


def _limit(side: int, limit: Limit | None, book: Book, grid: Grid) -> list[Command]:
    have = book.limits.get(side)
    if limit is None:
        return [Cancel(have.order_id)] if have else []
    quantity = abs(book.position_n) if limit.exit else grid.quantity(limit.clips)
    price = grid.price(limit.price, side)
    if quantity <= 0 or price <= 0:
        return [Cancel(have.order_id)] if have else []
    if abs(price - grid.mid_n) > grid.reach_n:  # too far to be lawful, and to matter
        return []
    if have is None:
        return [Rest(side, price, quantity, limit.exit)]
    return _move(have, price, quantity, grid, False)


def _stop(trigger: float | None, book: Book, grid: Grid) -> list[Command]:
    if trigger is None or not book.position_n:
        return [Cancel(book.stop.order_id)] if book.stop else []
    side, quantity = -book.side, abs(book.position_n)
    # A stop that the law would refuse protects nothing: rather one that is nearer.
    near = min(max(trigger, (grid.mid_n - grid.reach_n) / NANO), (grid.mid_n + grid.reach_n) / NANO)
    price = grid.price(near, -side)  # rounded away from the market, as a stop lies on the other side
    if book.stop is None:
        return [Stop(side, price, quantity)]
    return _move(book.stop, price, quantity, grid, True)


def _move(have: Resting, price: int, quantity: int, grid: Grid, stop: bool) -> list[Command]:
    # Each modification costs time at the venue and a place in the queue: follow the market with slack.
    near = abs(have.price_n - price) <= max(grid.step_n, abs(price - grid.mid_n) * 3 // 4)
    if not have.ready or (near and (have.qty_n == quantity or not stop)):
        return []
    return [Modify(have.order_id, price, quantity, stop)]
