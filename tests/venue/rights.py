"""What a key may do, as the exchange tells it, and a door for money to leave by, which counts who tries it."""

from collections.abc import Mapping
from typing import Any

from tests.venue.errors import BAD_KEY, VenueError
from tests.venue.params import Params

RIGHTS: dict[str, Any] = {
    "ipRestrict": True, "createTime": 1_698_645_219_000, "enableReading": True, "enableSpotAndMarginTrading": True,
    "enableWithdrawals": False, "enableInternalTransfer": False, "permitsUniversalTransfer": False,
    "enableMargin": False, "enableFutures": False, "enableVanillaOptions": False,
    "enablePortfolioMarginTrading": False, "enableFixApiTrade": False, "enableFixReadOnly": True,
}  # fmt: skip


class Rights:
    """
    Rights of the keys, one set for all of them.

    Attributes
    ----------
    told : bool
        Whether ``/sapi`` is there; a testnet has none.
    restrictions, burn : dict
        What it tells.
    can_trade : bool
        Of the account.
    uid : int
        Of the account that all keys are of.
    withdrawals : int
        How often somebody tried to take money out.
    """

    def __init__(self) -> None:
        self.told, self.can_trade, self.withdrawals = True, True, 0
        self.uid, self.restrictions = 1, dict(RIGHTS)
        self.burn: dict[str, Any] = {"spotBNBBurn": False, "interestBNBBurn": False}

    def change(self, asked: Mapping[str, Any]) -> None:
        """Take new values: fields of either answer (None: the field is not there), `told`, `can_trade`, `uid`."""
        for name, value in asked.items():
            if name in ("told", "can_trade"):
                setattr(self, name, bool(value))
                continue
            if name == "uid":
                self.uid = int(value)
                continue
            where = self.burn if name.endswith("BNBBurn") else self.restrictions
            if value is None:
                where.pop(name, None)
            else:
                where[name] = value

    def _there(self) -> None:
        if not self.told:
            raise VenueError(-1000, "Path /sapi/v1 is invalid", 404)

    def show_restrictions(self, params: Params) -> dict[str, Any]:
        self._there()
        return dict(self.restrictions)

    def show_burn(self, params: Params) -> dict[str, Any]:
        self._there()
        return dict(self.burn)

    def withdraw(self, params: Params) -> dict[str, Any]:
        """Count a try; the books stay as they are, whatever the key may do."""
        self.withdrawals += 1
        if not self.restrictions.get("enableWithdrawals"):
            raise BAD_KEY
        return {"id": f"withdrawal-{self.withdrawals}"}
