"""Whether a node and an exchange agree, from outside: the node's beats and record against the exchange's own books."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

ZERO = Decimal(0)


class Books(NamedTuple):
    """
    What an exchange has.

    Attributes
    ----------
    open : set of str
        Client ids of open orders.
    position : Decimal
        Bought less sold less fees in it, base units.
    held : dict of str to Decimal
        Free and locked, by asset.
    """

    open: set[str]
    position: Decimal
    held: dict[str, Decimal]


def books_of(told: Mapping[str, Any], base: str) -> Books:
    """Return the books as the exchange's control shows them."""
    position = ZERO
    for trade in told["trades"]:
        position += Decimal(trade["qty"]) * (1 if trade["isBuyer"] else -1)
        position -= Decimal(trade["commission"]) if trade["commissionAsset"] == base else ZERO
    held = {asset: Decimal(one["free"]) + Decimal(one["locked"]) for asset, one in told["balances"].items()}
    return Books({order["clientOrderId"] for order in told["open"]}, position, held)


def apart(facts: Mapping[str, str], books: Books) -> list[str]:
    """
    Return in what a node and an exchange differ; nothing: they agree, and the node is sure of all of it.

    Parameters
    ----------
    facts : mapping of str to str
        Of the node's beat.
    books : Books
    """
    found = []
    for name, wanted in (("exchange", "up"), ("exchange_doubts", "0"), ("exchange_unknown", "0")):
        if facts.get(name) != wanted:
            found.append(f"{name}: {facts.get(name)}")
    mine = set(facts.get("exchange_orders", "").split())
    if mine != books.open:
        found.append(f"open only here: {sorted(mine - books.open)}, only there: {sorted(books.open - mine)}")
    position = sum((Decimal(one.rpartition(":")[2]) for one in facts.get("positions", "").split()), ZERO)
    if position != books.position:
        found.append(f"position: {position} here, {books.position} there")
    for one in facts.get("exchange_balances", "").split():
        asset, _, amount = one.partition(":")
        if abs(Decimal(amount) - books.held.get(asset, ZERO)) > Decimal("0.000001"):
            found.append(f"{asset}: {amount} here, {books.held.get(asset)} there")
    return found


class Count(NamedTuple):
    """
    Orders at an exchange.

    Attributes
    ----------
    sent, accepted : int
        Requests that placed an order; orders in the books.
    lost : int
        Orders that were accepted and are not in the books once, or that the node does not have in its record.
    doubled : int
        Sender's ids that were sent, or are in the books, more than once.
    """

    sent: int
    accepted: int
    lost: int
    doubled: int


def counted(requests: Iterable[Mapping[str, Any]], told: Mapping[str, Any], known: set[str] | None = None) -> Count:
    """
    Count the orders of an exchange's books.

    Parameters
    ----------
    requests : iterable of mapping
        Its log of new orders.
    told : mapping
        Its books.
    known : set of str, optional
        Ids of the orders that the node's record has; None: it is not looked at.
    """
    tried = Counter(row["params"]["newClientOrderId"] for row in requests)
    taken = Counter(row["params"]["newClientOrderId"] for row in requests if row.get("taken", row["status"] == 200))
    there = Counter(order["clientOrderId"] for order in told["orders"])
    lost = {name for name in taken if there[name] != 1}
    if known is not None:
        lost |= set(there) - known
    doubled = {name for name, times in (tried + there).items() if tried[name] > 1 or there[name] > 1}
    return Count(sum(taken.values()), sum(there.values()), len(lost), len(doubled))


def fills_apart(fills: Sequence[tuple[str, str, Decimal, Decimal]], told: Mapping[str, Any]) -> list[str]:
    """
    Return which fills differ between a node's record and an exchange's books.

    Parameters
    ----------
    fills : sequence of tuple
        Order, trade, quantity and fee as the node has them.
    told : mapping
        The books.
    """
    names = {order["orderId"]: order["clientOrderId"] for order in told["orders"]}
    mine, there = defaultdict[tuple[str, str], list[Any]](list), {}
    for order, trade, qty, fee in fills:
        mine[order, trade].append((qty, fee))
    for trade in told["trades"]:
        key = names[trade["orderId"]], str(trade["id"])
        there[key] = (Decimal(trade["qty"]), Decimal(trade["commission"]))
    found = [f"fill {key} only here" for key in mine if key not in there]
    found += [f"fill {key} only there" for key in there if key not in mine]
    found += [
        f"fill {key}: {mine[key]} here, {there[key]} there"
        for key in there
        if mine.get(key, [there[key]]) != [there[key]]
    ]
    return found
