"""What must be true before an order of real money is sent, judged by what the exchange has told. Pure.

Each check says what was found and what is wanted. What is not told, or told in a way that is not known, does not hold.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from alphatrade.reflection.permits import moment

SKEW_MS = 1000.0  # by which the exchange's clock and ours may differ
ROOM = Decimal("1.2")  # an order has to be above the exchange's smallest by so much, or a move would put it below
KINDS = ("LIMIT", "LIMIT_MAKER", "MARKET")  # of orders that are sent in live
UNTOLD = Decimal("Infinity")  # in place of a number that is not told: within no bound, equal to no step
_NEEDED = ("enableReading", "enableSpotAndMarginTrading")
_FORBIDDEN = (
    "enableWithdrawals", "enableInternalTransfer", "permitsUniversalTransfer", "enableMargin", "enableFutures",
    "enableVanillaOptions", "enablePortfolioMarginTrading",
)  # fmt: skip
_HARMLESS = ("ipRestrict", "createTime", "tradingAuthorityExpirationTime", "enableFixReadOnly")


class Check(NamedTuple):
    """
    One check.

    Attributes
    ----------
    name, found, wanted : str
    holds : bool
    """

    name: str
    found: str
    wanted: str
    holds: bool


class Market(NamedTuple):
    """
    What the node believes of a symbol.

    Attributes
    ----------
    symbol, base, quote : str
    tick, lot : Decimal
        Steps of price and quantity.
    maker_fee, taker_fee : Decimal
        Fractions that it counts with.
    """

    symbol: str
    base: str
    quote: str
    tick: Decimal
    lot: Decimal
    maker_fee: Decimal
    taker_fee: Decimal


def key_checks(told: object, burn: object, net: str, ends_ms: int) -> list[Check]:
    """
    Judge what the key may do.

    Parameters
    ----------
    told, burn : object
        Answers about its rights and about fees in BNB; None: the exchange has no such interface.
    net : {"mainnet", "testnet", "sandbox"}
    ends_ms : int
        Until when it has to be of use, UTC ms.
    """
    if told is None and burn is None and net == "testnet":
        return [Check("rights of the key", "not told by the testnet", "no right to withdraw", True)]
    if not isinstance(told, Mapping):
        return [Check("rights of the key", "not told", "an exchange that tells them", False)]
    found = [_right(told, name, True) for name in _NEEDED] + [_right(told, name, False) for name in _FORBIDDEN]
    for name in sorted(set(told) - {*_NEEDED, *_FORBIDDEN, *_HARMLESS}):
        if told[name] is not False:
            found.append(
                Check(f"right {name}", _words(told[name]), "false: nobody here knows what it lets happen", False)
            )
    if net == "mainnet":
        found.append(_right(told, "ipRestrict", True))
    expires = told.get("tradingAuthorityExpirationTime")
    if expires is not None:
        lasts = isinstance(expires, int) and not isinstance(expires, bool) and expires > ends_ms
        found.append(Check("right to trade expires", _words(expires), f"after the permit, at {ends_ms}", lasts))
    if not isinstance(burn, Mapping):
        return [*found, Check("fees in BNB", "not told", "an exchange that tells whether they are", False)]
    return [*found, _is(burn, "spotBNBBurn", False, ": switch fees in BNB off at the exchange")]


def account_checks(account: object, markets: Iterable[Market]) -> list[Check]:
    """Judge whether the account may trade, and whether its fees are those that are counted with."""
    if not isinstance(account, Mapping):
        return [Check("account", "not told", "what the exchange has of it", False)]
    rates = account.get("commissionRates")
    told = rates if isinstance(rates, Mapping) else {}
    extra = max(_number(told.get("buyer")), _number(told.get("seller")))
    found = [_is(account, "canTrade", True), _equal("accountType", account.get("accountType"), "SPOT")]
    for market in markets:
        for name, assumed in (("maker", market.maker_fee), ("taker", market.taker_fee)):
            fee = _number(told.get(name)) + extra
            words = f"at most {assumed:f}, which is counted with (venue.{name}_fee)"
            found.append(Check(f"{name} fee of {market.symbol}", _words(fee), words, fee <= assumed))
    return found


def clock_check(ahead_ms: float, doubt_ms: float) -> Check:
    """Judge the exchange's clock, ahead of ours by `ahead_ms`, give or take `doubt_ms`."""
    holds = abs(ahead_ms) - doubt_ms <= SKEW_MS
    side = "ahead of" if ahead_ms > 0 else "behind"
    return Check("clock of the exchange", f"{abs(ahead_ms) / 1e3:.2f} s {side} ours", "within a second of ours", holds)


def filter_checks(told: object, market: Market, most: Decimal | None) -> list[Check]:
    """
    Judge what the exchange says about a symbol.

    Parameters
    ----------
    told : object
        Its entry in exchangeInfo.
    market : Market
    most : Decimal, optional
        Largest value of an order that the law lets through, quote units; None: it is not judged.
    """
    at = market.symbol
    if not isinstance(told, Mapping) or not isinstance(told.get("filters"), list):
        return [Check(f"filters of {at}", "not told", "what the exchange says of it", False)]
    filters = {one.get("filterType"): one for one in told["filters"] if isinstance(one, Mapping)}
    kinds = told.get("orderTypes")
    lacking = [kind for kind in KINDS if not isinstance(kinds, list) or kind not in kinds]
    lots = [filters[name] for name in ("LOT_SIZE", "MARKET_LOT_SIZE") if name in filters]
    lot = max((_number(one.get("stepSize")) for one in lots), default=UNTOLD)
    found = [
        _equal(f"status of {at}", told.get("status"), "TRADING"),
        _is(told, "isSpotTradingAllowed", True),
        _equal(f"price step of {at}", _number(filters.get("PRICE_FILTER", {}).get("tickSize")), market.tick),
        _equal(f"quantity step of {at}", lot, market.lot),
        Check(f"orders of {at}", f"no {', '.join(lacking)}" if lacking else "all", ", ".join(KINDS), not lacking),
    ]
    if most is not None:
        least = smallest(filters) * ROOM
        words = f"at most {most:f}, the largest order of the law: no order of this policy could be taken otherwise"
        found.append(Check(f"smallest order of {at}, with room", _words(least), words, least <= most))
    return found


def smallest(filters: Mapping[Any, Mapping[str, Any]]) -> Decimal:
    """Return the smallest value of an order, by filters; infinite where that is not told."""
    told = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL")
    return Decimal(0) if told is None else _number(told.get("minNotional"))


def stranger_checks(rows: Any) -> list[Check]:
    """Judge the open orders of all symbols: a run that begins has none yet."""
    if not isinstance(rows, list):
        return [Check("open orders of somebody else", "not told", "a list of what is open", False)]
    told = ", ".join(f"{row.get('clientOrderId')} of {row.get('symbol')}" for row in rows[:5])
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    wanted = "none: whoever sent them has to take them back, nothing here touches them"
    return [Check("open orders of somebody else", told + more or "none", wanted, not rows)]


def money_check(account: object, quote: str, wanted: Decimal) -> Check:
    """Judge whether as much is free as the permit lets be spent, quote units."""
    rows = account.get("balances") if isinstance(account, Mapping) else None
    free = [_number(row.get("free")) for row in rows or () if isinstance(row, Mapping) and row.get("asset") == quote]
    held = free[0] if free and free[0] != UNTOLD else Decimal(0)
    return Check(f"free {quote}", _words(held), f"at least {wanted:f}, which the permit lets be spent", held >= wanted)


def begin_check(begins: int, since: int) -> Check:
    """Judge whether a permit (UTC ns) began before anything was paid for what is taken over under it."""
    then = moment(str(since))
    wanted = f"by {then}, when what is taken over began to be paid for: else nobody counts what it has cost"
    return Check("the permit begins", moment(str(begins)), wanted, begins <= since)


def held_checks(
    account: object, held: Mapping[str, Decimal], bought: Mapping[str, Decimal], markets: Iterable[Market]
) -> list[Check]:
    """
    Judge whether what is taken over, base units by symbol, is there and free, and the pilot's.

    It has to have been `bought` and not sold since it began to be paid for: coins of the account's owner are nobody's.
    """
    rows = account.get("balances") if isinstance(account, Mapping) else None
    free = {row.get("asset"): _number(row.get("free")) for row in rows or () if isinstance(row, Mapping)}
    bases, found = {market.symbol: market.base for market in markets}, list[Check]()
    for symbol, wanted in held.items():
        base = bases.get(symbol)
        there = free.get(base, Decimal(0)) if base is not None else UNTOLD
        words = f"at least {wanted:f}, which is taken over; if it was sold, remove handover.json of the account"
        own = bought.get(symbol, Decimal(0))
        found.append(Check(f"free {base or symbol}", _words(there), words, there != UNTOLD and there >= wanted))
        found.append(Check(f"bought of {symbol} and not sold", f"{own:f}", words, own >= wanted))
    return found


def spent_of(trades: Iterable[Mapping[str, Any]], market: Market) -> Decimal:
    """
    Return what was paid for trades, less what came back, quote units; fees in the base asset are in what was got.

    Raises
    ------
    ValueError
        If a fee was paid in something else, or a trade cannot be read.
    """
    paid = Decimal(0)
    for row in trades:
        value, fee, asset = _number(row.get("quoteQty")), _number(row.get("commission")), row.get("commissionAsset")
        if asset not in (market.base, market.quote) and fee:
            raise ValueError(f"trade {row.get('id')} of {market.symbol} has paid its fee in {asset}")
        buyer = row.get("isBuyer")
        if not isinstance(buyer, bool) or UNTOLD in (value, fee):
            raise ValueError(f"trade {row.get('id')} of {market.symbol} cannot be read")
        paid += value if buyer else -value
        paid += fee if asset == market.quote else 0
    return paid


def bought_of(trades: Iterable[Mapping[str, Any]], market: Market, since_ms: int) -> Decimal:
    """Return what trades since a moment (UTC ms) have left of a symbol, base units, less fees kept of it."""
    left = Decimal(0)
    for row in trades:
        if int(row["time"]) >= since_ms:
            left += Decimal(row["qty"]) * (1 if row["isBuyer"] else -1)
            left -= Decimal(row["commission"]) if row["commissionAsset"] == market.base else 0
    return left


def _right(told: Mapping[str, Any], name: str, wanted: bool) -> Check:
    return _is(told, name, wanted, ": change what the key may do at the exchange, or use another one")


def _is(told: Mapping[str, Any], name: str, wanted: bool, remedy: str = "") -> Check:
    value = told.get(name)
    return Check(name, _words(value), f"{str(wanted).lower()}{remedy}", value is wanted)


def _equal(name: str, found: object, wanted: object) -> Check:
    return Check(name, _words(found), str(wanted), found == wanted)


def _words(value: object) -> str:
    if value is None or value == UNTOLD:
        return "not told"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value).lower() if isinstance(value, bool) else str(value)[:60]


def _number(value: object) -> Decimal:
    """Return a number as the exchange writes it; `UNTOLD` where it is none."""
    try:
        found = Decimal(value) if isinstance(value, str) else UNTOLD
    except InvalidOperation:
        return UNTOLD
    return found if found.is_finite() else UNTOLD
