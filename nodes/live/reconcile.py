"""Our journal, Nautilus's cache and the exchange's books, side by side: orders, fills, positions, balances, fees. Pure.

Quantities and money are decimals, and have to be the same to the last digit; only balances may be off by what the
exchange rounds a fill to. A side that has no word about something is not asked about it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from decimal import Decimal
from typing import NamedTuple

from alphatrade.nodes.live.checks import Market

ROUNDING = Decimal("0.00000001")  # the exchange rounds what a fill costs to so much
EXCHANGE = "exchange"
ROWS = ("orders", "fills", "positions", "balances", "fees")
STRANGER = "stranger"
_ZERO = Decimal(0)


class Order(NamedTuple):
    """An order of a symbol; `state` is open, filled, canceled or expired; None: this side does not say."""

    symbol: str
    side: str | None
    qty: Decimal | None
    filled: Decimal
    state: str | None


class Fill(NamedTuple):
    """A fill of an order; `ms` is when, UTC, and is not compared."""

    order: str
    side: str
    qty: Decimal
    price: Decimal
    fee: Decimal
    asset: str
    ms: int = 0


class Side(NamedTuple):
    """
    What one of the three has.

    Attributes
    ----------
    orders : mapping of str to Order, optional
        By the id that we gave it.
    fills : mapping of (symbol, trade id) to Fill, optional
    positions : mapping of str to Decimal, optional
        By symbol, base units.
    balances : mapping of str to Decimal, optional
        By asset, free and locked; an asset that is not in it is not known.
    fees : mapping of str to Decimal, optional
        By asset.
    """

    orders: Mapping[str, Order] | None = None
    fills: Mapping[tuple[str, str], Fill] | None = None
    positions: Mapping[str, Decimal] | None = None
    balances: Mapping[str, Decimal] | None = None
    fees: Mapping[str, Decimal] | None = None


class Difference(NamedTuple):
    """
    Something that the sides do not agree about.

    Attributes
    ----------
    row : str
        One of `ROWS`, or `STRANGER`: an order that is not ours.
    what, line : str
        What it is about, and what each side has.
    by : Decimal
        How far the exchange is off.
    """

    row: str
    what: str
    line: str
    by: Decimal = _ZERO

    def same(self, other: "Difference") -> bool:
        """Return whether another is the same one, whatever was traded between the two."""
        return (self.row, self.what, self.by) == (other.row, other.what, other.by)


def positions(fills: Mapping[tuple[str, str], Fill], markets: Iterable[Market]) -> dict[str, Decimal]:
    """Return what fills have left of each symbol, base units, less the fees that were kept of it."""
    bases = {market.symbol: market.base for market in markets}
    held = dict.fromkeys(bases, _ZERO)
    for (symbol, _), fill in fills.items():
        held[symbol] += fill.qty if fill.side == "BUY" else -fill.qty
        held[symbol] -= fill.fee if fill.asset == bases[symbol] else 0
    return held


def fees(fills: Iterable[Fill]) -> dict[str, Decimal]:
    """Return the fees of fills by asset."""
    paid = defaultdict[str, Decimal](Decimal)
    for fill in fills:
        paid[fill.asset] += fill.fee
    return dict(paid)


def balances(
    opening: Mapping[str, Decimal], fills: Mapping[tuple[str, str], Fill], markets: Iterable[Market]
) -> dict[str, Decimal]:
    """Return what should be held of the assets of `markets`: what was held when a run began, and its fills since."""
    pairs = {market.symbol: market for market in markets}
    assets = {asset for market in pairs.values() for asset in (market.base, market.quote)}
    held = defaultdict[str, Decimal](Decimal, {asset: opening.get(asset, _ZERO) for asset in assets})
    for (symbol, _), fill in fills.items():
        sign, market = 1 if fill.side == "BUY" else -1, pairs[symbol]
        held[market.base] += sign * fill.qty
        held[market.quote] -= sign * fill.qty * fill.price
        held.setdefault(fill.asset, opening.get(fill.asset, _ZERO))
        held[fill.asset] -= fill.fee
    return dict(held)


def compare(
    sides: Mapping[str, Side], markets: Iterable[Market] = (), moving: Set[str] = frozenset()
) -> list[Difference]:
    """
    Return what the sides do not agree about.

    Parameters
    ----------
    sides : mapping of str to Side
        By name; that of the exchange is `EXCHANGE`.
    markets : iterable of Market
        Of what is traded, for the rounding of balances.
    moving : set of str
        Ids of orders whose answer is still on its way: they are not compared.
    """
    found = _orders(sides, moving) + _fills(sides)
    for row in ("positions", "fees"):
        told = {name: getattr(side, row) for name, side in sides.items() if getattr(side, row) is not None}
        keys = sorted({key for values in told.values() for key in values})
        for key in keys:  # what is not in it is none
            found += _amount(row, key, {name: values.get(key, _ZERO) for name, values in told.items()}, _ZERO)
    return found + _balances(sides, tuple(markets))


def strangers(open_orders: Iterable[tuple[str, str]], ours: Set[str]) -> list[Difference]:
    """Return which open orders of the account, as (id, symbol), are not of this run."""
    return [
        Difference(STRANGER, order_id, f"order {order_id} of {symbol} is open at the exchange and not ours")
        for order_id, symbol in sorted(open_orders)
        if order_id not in ours
    ]


def _orders(sides: Mapping[str, Side], moving: Set[str]) -> list[Difference]:
    told = {name: side.orders for name, side in sides.items() if side.orders is not None}
    found = []
    for key in sorted({key for orders in told.values() for key in orders} - moving):
        have = {name: orders.get(key) for name, orders in told.items()}
        ours = [name for name, one in have.items() if one is not None and name != EXCHANGE]
        there = have.get(EXCHANGE)
        if there is not None and not ours:
            line = f"order {key} of {there.symbol} was made at the exchange and is not ours"
            found.append(Difference(STRANGER, key, line, there.filled))
        elif not _agree(have):
            filled = [one.filled for name, one in have.items() if one is not None and name != EXCHANGE]
            by = (_ZERO if there is None else there.filled) - (filled[0] if filled else _ZERO)
            found.append(Difference("orders", key, f"order {key}: {_each(have)}", by))
    return found


def _fills(sides: Mapping[str, Side]) -> list[Difference]:
    told = {name: side.fills for name, side in sides.items() if side.fills is not None}
    found = []
    for key in sorted({key for fills in told.values() for key in fills}):
        have = {name: fills.get(key) for name, fills in told.items()}
        if len({one and one._replace(ms=0) for one in have.values()}) > 1:
            found.append(Difference("fills", " ".join(key), f"fill {key[1]} of {key[0]}: {_each(have)}"))
    return found


def _balances(sides: Mapping[str, Side], markets: tuple[Market, ...]) -> list[Difference]:
    told = {name: side.balances for name, side in sides.items() if side.balances is not None}
    doubts = Counter[str]()
    pairs = {market.symbol: (market.base, market.quote) for market in markets}
    fills = sides[EXCHANGE].fills if EXCHANGE in sides else None
    for symbol, _ in fills or ():
        doubts.update(pairs.get(symbol, ()))
    found = []
    for asset in sorted({asset for held in told.values() for asset in held}):
        have = {name: held[asset] for name, held in told.items() if asset in held}
        if EXCHANGE in told:
            have.setdefault(EXCHANGE, _ZERO)  # it does not list what is nought
        if len(have) > 1:
            found += _amount("balances", asset, have, ROUNDING * doubts[asset])
    return found


def _amount(row: str, key: str, have: Mapping[str, Decimal], doubt: Decimal) -> list[Difference]:
    if max(have.values()) - min(have.values()) <= doubt:
        return []
    others = [value for name, value in have.items() if name != EXCHANGE]
    there = have.get(EXCHANGE, others[0])
    by = max((there - value for value in others), key=abs)
    if not by:  # the exchange is not asked: ours differ
        by = others[-1] - others[0]
    return [Difference(row, key, f"{key}: {_each(have)}", by)]


def _agree(have: Mapping[str, Order | None]) -> bool:
    """Return whether each side has an order, and what they say of it is the same."""
    rows = list(have.values())
    return None not in rows and all(len(set(values) - {None}) <= 1 for values in zip(*filter(None, rows), strict=True))


def _each(have: Mapping[str, object]) -> str:
    return ", ".join(f"{name} has {_words(value)}" for name, value in have.items())


def _words(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return "(" + " ".join("?" if part is None else str(part) for part in value) + ")"
    return str(value)
