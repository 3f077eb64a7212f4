"""Answers of an exchange that lets a pilot start, to change one thing in."""

from decimal import Decimal
from typing import Any

from alphatrade.nodes.live.checks import Market
from tests.venue.rights import RIGHTS

BTC = Market("BTCUSDT", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"), Decimal("0.001"), Decimal("0.001"))
BURN = {"spotBNBBurn": False, "interestBNBBurn": True}
ACCOUNT: dict[str, Any] = {
    "canTrade": True, "accountType": "SPOT",
    "commissionRates": {"maker": "0.001", "taker": "0.001", "buyer": "0.0", "seller": "0.0"},
    "balances": [{"asset": "USDT", "free": "60.5", "locked": "0"}, {"asset": "BTC", "free": "1", "locked": "0"}],
}  # fmt: skip


def rights(**changed: Any) -> dict[str, Any]:
    """Return what a key may do; None takes a field away."""
    return {name: value for name, value in (RIGHTS | changed).items() if value is not None}


def deal(side: str, value: str, fee: str, asset: str, number: int = 1) -> dict[str, Any]:
    """Return a fill."""
    return {"id": number, "quoteQty": value, "commission": fee, "commissionAsset": asset, "isBuyer": side == "BUY"}
