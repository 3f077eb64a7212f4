"""What Binance spot answers, as plain values: the rules of a symbol, balances, orders and fills."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple


class Rules(NamedTuple):
    """
    What a venue says about a symbol, as far as market orders are concerned.

    Attributes
    ----------
    symbol, base, quote : str
    step, least, most : Decimal
        Of the quantity, base units.
    notional : Decimal
        Smallest value of a market order, quote units.
    """

    symbol: str
    base: str
    quote: str
    step: Decimal
    least: Decimal
    most: Decimal
    notional: Decimal


class Holding(NamedTuple):
    """An asset of the account: free, and locked in open orders."""

    free: Decimal
    locked: Decimal


class Placed(NamedTuple):
    """
    An order as the venue has it.

    Attributes
    ----------
    symbol : str
    order_id : str
        The venue's own.
    client_id : str
    status : str
        NEW, PARTIALLY_FILLED, FILLED, CANCELED, EXPIRED, REJECTED …
    filled : Decimal
        Base units.
    updated_ms : int
        When it last changed, UTC ms of the venue.
    """

    symbol: str
    order_id: str
    client_id: str
    status: str
    filled: Decimal
    updated_ms: int


class Deal(NamedTuple):
    """A fill as the venue has it; quantity in base units, price and fee as decimals, `ms` UTC."""

    trade_id: str
    qty: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str
    maker: bool
    ms: int


def placed_of(told: Mapping[str, Any]) -> Placed:
    """Return an order."""
    updated = int(told.get("updateTime", told.get("time", 0)))
    filled = Decimal(told["executedQty"])
    return Placed(told["symbol"], str(told["orderId"]), told["clientOrderId"], told["status"], filled, updated)


def deal_of(told: Mapping[str, Any]) -> Deal:
    """Return a fill."""
    qty, price, fee = (Decimal(told[name]) for name in ("qty", "price", "commission"))
    return Deal(str(told["id"]), qty, price, fee, told["commissionAsset"], bool(told["isMaker"]), int(told["time"]))


def rules_of(told: Mapping[str, Any]) -> Rules:
    """Return the rules of a symbol: of the lot filters, the stricter."""
    filters = {one["filterType"]: one for one in told["filters"]}
    lots = [filters[name] for name in ("LOT_SIZE", "MARKET_LOT_SIZE") if name in filters]
    most = [Decimal(one["maxQty"]) for one in lots]
    value = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or {}
    applies = value.get("applyMinToMarket", value.get("applyToMarket", True))
    return Rules(
        symbol=told["symbol"],
        base=told["baseAsset"],
        quote=told["quoteAsset"],
        step=max(Decimal(one["stepSize"]) for one in lots),
        least=max(Decimal(one["minQty"]) for one in lots),
        most=min([one for one in most if one] or [Decimal("Infinity")]),
        notional=Decimal(value.get("minNotional", "0")) if applies else Decimal(0),
    )
