"""Trading rules of a symbol: what exchangeInfo says, and the filters that refuse an order."""

from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Decimal
from typing import Any

from tests.venue.errors import VenueError, filter_failure

SATOSHI = Decimal("0.00000001")
ORDER_TYPES = (
    "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT",
)  # fmt: skip
STOP_TYPES = ("STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
PRICED_TYPES = ("LIMIT", "LIMIT_MAKER", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT")


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules of one symbol. `tick` and `lot` are the increments of price and quantity."""

    symbol: str
    base: str
    quote: str
    tick: Decimal
    lot: Decimal
    max_price: Decimal = Decimal("1000000")
    max_qty: Decimal = Decimal("9000")
    min_notional: Decimal = Decimal("5")
    max_notional: Decimal = Decimal("9000000")
    max_orders: int = 200
    max_stops: int = 5
    multiplier_up: Decimal = Decimal("5")
    multiplier_down: Decimal = Decimal("0.2")
    status: str = "TRADING"

    def changed(self, asked: dict[str, Any]) -> "Rules":
        """Return these rules with other values: ``tick``, ``lot``, ``min_notional``, ``status`` …"""
        return replace(self, **{k: v if k == "status" else Decimal(str(v)) for k, v in asked.items()})

    @classmethod
    def parse(cls, text: str) -> "Rules":
        """Return the rules of ``SYMBOL:BASE:QUOTE:TICK:LOT``, or of a known symbol."""
        symbol, *rest = text.split(":")
        if not rest:
            return KNOWN[symbol]
        base, quote, tick, lot = rest
        return cls(symbol, base, quote, Decimal(tick), Decimal(lot))

    def price(self, value: float | Decimal) -> Decimal:
        """Round to the nearest tick."""
        return (Decimal(str(value)) / self.tick).to_integral_value() * self.tick

    def size(self, value: float | Decimal) -> Decimal:
        """Round down to a lot."""
        return (Decimal(str(value)) / self.lot).to_integral_value(ROUND_DOWN) * self.lot

    def check_price(self, price: Decimal, reference: Decimal) -> None:
        if not self.tick <= price <= self.max_price or price % self.tick:
            raise filter_failure("PRICE_FILTER")
        if reference and not reference * self.multiplier_down <= price <= reference * self.multiplier_up:
            raise filter_failure("PERCENT_PRICE_BY_SIDE")

    def check_size(self, qty: Decimal) -> None:
        if qty != qty.quantize(SATOSHI):
            raise VenueError(-1111, "Parameter 'quantity' has too much precision.")
        if not self.lot <= qty <= self.max_qty or qty % self.lot:
            raise filter_failure("LOT_SIZE")

    def check_notional(self, qty: Decimal, price: Decimal) -> None:
        if not self.min_notional <= qty * price <= self.max_notional:
            raise filter_failure("NOTIONAL")

    def info(self) -> dict[str, Any]:
        """Return the symbol's entry in exchangeInfo."""
        return {
            "symbol": self.symbol, "status": self.status,
            "baseAsset": self.base, "baseAssetPrecision": 8,
            "quoteAsset": self.quote, "quotePrecision": 8, "quoteAssetPrecision": 8,
            "baseCommissionPrecision": 8, "quoteCommissionPrecision": 8,
            "orderTypes": list(ORDER_TYPES), "icebergAllowed": False, "ocoAllowed": False, "otoAllowed": False,
            "quoteOrderQtyMarketAllowed": True, "allowTrailingStop": False, "cancelReplaceAllowed": False,
            "isSpotTradingAllowed": True, "isMarginTradingAllowed": False,
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": text(self.tick), "maxPrice": text(self.max_price),
                 "tickSize": text(self.tick)},
                {"filterType": "LOT_SIZE", "minQty": text(self.lot), "maxQty": text(self.max_qty),
                 "stepSize": text(self.lot)},
                {"filterType": "MARKET_LOT_SIZE", "minQty": text(Decimal(0)), "maxQty": text(self.max_qty),
                 "stepSize": text(Decimal(0))},
                {"filterType": "NOTIONAL", "minNotional": text(self.min_notional), "applyMinToMarket": True,
                 "maxNotional": text(self.max_notional), "applyMaxToMarket": False, "avgPriceMins": 5},
                {"filterType": "PERCENT_PRICE_BY_SIDE", "avgPriceMins": 5,
                 "bidMultiplierUp": str(self.multiplier_up), "bidMultiplierDown": str(self.multiplier_down),
                 "askMultiplierUp": str(self.multiplier_up), "askMultiplierDown": str(self.multiplier_down)},
                {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": self.max_orders},
                {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": self.max_stops},
            ],
            "permissions": [], "permissionSets": [["SPOT"]],
            "defaultSelfTradePreventionMode": "NONE", "allowedSelfTradePreventionModes": ["NONE"],
        }  # fmt: skip


def text(value: Decimal) -> str:
    """Return a number as the venue writes it: eight decimals, never an exponent."""
    return f"{value:.8f}"


KNOWN = {
    "BTCUSDT": Rules("BTCUSDT", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001")),
    "ETHUSDT": Rules("ETHUSDT", "ETH", "USDT", Decimal("0.01"), Decimal("0.0001")),
    "EURUSDT": Rules(
        "EURUSDT", "EUR", "USDT", Decimal("0.00001"), Decimal("0.1"),
        max_price=Decimal(1000), max_qty=Decimal(10_000_000), max_notional=Decimal(100_000_000),
    ),
}  # fmt: skip
