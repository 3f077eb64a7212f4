"""Whether a pilot has kept to its permit, by the exchange's books alone: nothing of the node is asked.

The books say of each order when it came, what it was for, what was filled and when it ended. Replayed in that order
they give, at every moment, what was paid out and what working buys might still take.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

ZERO = Decimal(0)
LAW = "LAW-"  # what the ids of the law's own closing orders begin with
STRANGER = "web-"  # what those of somebody else begin with, in the drill
Books = Mapping[str, Any]


class Moment(NamedTuple):
    """
    What is out at a moment.

    Attributes
    ----------
    ms : int
        UTC.
    paid : Decimal
        For what was bought, less what was sold for, with fees; quote units.
    offered : Decimal
        What working buys might take, at their limits.
    """

    ms: int
    paid: Decimal
    offered: Decimal

    @property
    def out(self) -> Decimal:
        """All of it."""
        return self.paid + self.offered


def moments(books: Books, quote: str = "USDT") -> Iterator[Moment]:
    """
    Yield what is out after every order, fill and end of an order.

    What happens in one millisecond is taken in the order in which most is out: orders, buys, sales, ends.

    Raises
    ------
    ValueError
        If there is a buy without a limit: nobody can say what it might have taken.
    """
    paid, working = ZERO, dict[int, Decimal]()
    prices = {order["orderId"]: Decimal(order["price"]) for order in books["orders"]}
    events: list[tuple[int, int, int, Callable[[], Decimal]]] = []
    for order in books["orders"]:
        if order["side"] == "BUY":
            if order["type"] not in ("LIMIT", "LIMIT_MAKER"):
                raise ValueError(f"{order['clientOrderId']} buys at any price")
            events.append((order["time"], 0, order["orderId"], _offered(working, order)))
            if order["status"] not in ("NEW", "PARTIALLY_FILLED"):
                events.append((order["updateTime"], 3, order["orderId"], _ended(working, order)))
    for trade in books["trades"]:
        events.append(
            (trade["time"], 1 if trade["isBuyer"] else 2, trade["id"], _traded(working, trade, prices, quote))
        )
    for ms, _, _, event in sorted(events, key=lambda event: event[:3]):
        paid += event()
        yield Moment(ms, paid, sum(working.values(), ZERO))


def _offered(working: dict[int, Decimal], order: Mapping[str, Any]) -> Callable[[], Decimal]:
    def event() -> Decimal:
        working[order["orderId"]] = Decimal(order["origQty"]) * Decimal(order["price"])
        return ZERO

    return event


def _ended(working: dict[int, Decimal], order: Mapping[str, Any]) -> Callable[[], Decimal]:
    def event() -> Decimal:
        working.pop(order["orderId"], None)
        return ZERO

    return event


def _traded(
    working: dict[int, Decimal], trade: Mapping[str, Any], prices: Mapping[int, Decimal], quote: str
) -> Callable[[], Decimal]:
    def event() -> Decimal:
        name, value = trade["orderId"], Decimal(trade["quoteQty"])
        fee = Decimal(trade["commission"]) if trade["commissionAsset"] == quote else ZERO
        if name in working:
            working[name] = max(working[name] - Decimal(trade["qty"]) * prices[name], ZERO)
        return (value if trade["isBuyer"] else -value) + fee

    return event


def most_out(books: Books, quote: str = "USDT") -> Decimal:
    """Return the most that was out at any moment, quote units."""
    return max((one.out for one in moments(books, quote)), default=ZERO)


def lost(books: Books, bid: Decimal, base: str = "BTC", quote: str = "USDT") -> Decimal:
    """Return what the account has lost since its deposits, with what it holds valued at a bid; quote units."""

    def worth(held: Callable[[str], Decimal]) -> Decimal:
        return held(quote) + held(base) * bid

    balances, deposits = books["balances"], books["deposits"]
    now = worth(lambda asset: Decimal(balances[asset]["free"]) + Decimal(balances[asset]["locked"]))
    return worth(lambda asset: Decimal(deposits.get(asset, "0"))) - now


def own(books: Books) -> Books:
    """Return books without the stranger's orders."""
    strange = {one["orderId"] for one in books["orders"] if one["clientOrderId"].startswith(STRANGER)}
    lists = "orders", "open", "trades"
    return {**books, **{name: [one for one in books[name] if one["orderId"] not in strange] for name in lists}}


def held(books: Books, deposits: Mapping[str, str], base: str = "BTC") -> Decimal:
    """Return what is held beyond what was there at first, base units."""
    now = books["balances"][base]
    return Decimal(now["free"]) + Decimal(now["locked"]) - Decimal(deposits.get(base, "0"))


def lost_since(books: Books, ms: int, bid: Decimal, base: str = "BTC", quote: str = "USDT") -> Decimal:
    """Return what trades since a moment have cost, less what came back and what is left of them is worth at a bid."""
    gone = taken = ZERO
    for trade in books["trades"]:
        if trade["time"] >= ms:
            value, qty = Decimal(trade["quoteQty"]), Decimal(trade["qty"])
            sign, fee, asset = 1 if trade["isBuyer"] else -1, Decimal(trade["commission"]), trade["commissionAsset"]
            gone += sign * value + (fee if asset == quote else ZERO)
            taken += sign * qty - (fee if asset == base else ZERO)
    return gone - taken * bid


def sent_after(books: Books, ms: int) -> list[str]:
    """Return the orders that came after a moment, UTC ms, but for sales of the law itself."""
    return [
        order["clientOrderId"]
        for order in books["orders"]
        if order["time"] > ms and not (order["clientOrderId"].startswith(LAW) and order["side"] == "SELL")
    ]


def wrong(books: Books, capital: Decimal, symbols: frozenset[str], since: int, until: int) -> list[str]:
    """
    Return what broke the permit, a line each.

    Parameters
    ----------
    books : mapping
    capital : Decimal
        Of the permit, quote units.
    symbols : frozenset of str
    since, until : int
        Time of the permit, UTC ms; with what a look at the ledger may take.
    """
    found = [*books["audit"]]
    try:
        most = most_out(books)
    except ValueError as error:
        return [*found, str(error)]
    found += [f"{most} was out, of {capital}"] if most > capital else []
    for order in books["orders"]:
        name, own = order["clientOrderId"], order["clientOrderId"].startswith(LAW)
        if order["symbol"] not in symbols:
            found.append(f"{name} is in {order['symbol']}")
        if own and order["side"] != "SELL":
            found.append(f"{name} is of the law, and buys")
        if not own and not since <= order["time"] < until:
            found.append(f"{name} came at {order['time']}, outside of {since} to {until}")
    return found


def flat(books: Books, deposits: Mapping[str, str], step: Decimal) -> str:
    """Return what is still open or held beyond what was there at first; empty: less than a step of the symbol."""
    if books["open"]:
        return f"{len(books['open'])} orders are open"
    for asset in set(books["balances"]) - {"USDT", "BNB"}:
        held = Decimal(books["balances"][asset]["free"]) + Decimal(books["balances"][asset]["locked"])
        if held - Decimal(deposits.get(asset, "0")) >= step:
            return f"{held} {asset} is held"
    return ""
