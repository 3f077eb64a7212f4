"""Book of one organism: its position and what it has working, kept from its own order events."""

from typing import NamedTuple

from alphatrade.risk.units import NANO


class Resting(NamedTuple):
    """A working limit or stop order: price and quantity in nano units, `ready` once the venue has answered."""

    order_id: str
    price_n: int
    qty_n: int
    ready: bool = False


class Book:
    """
    Position and working orders of one organism.

    Attributes
    ----------
    position_n : int
        Signed position, nano units, in whole lots.
    dust_n : int
        What is held beyond it, because a spot exchange keeps its fee of what is bought.
    lot_n : int
        Quantity increment of the venue, nano units.
    entry : float
        Average entry price; 0 while flat.
    cash : float
        What fills have brought in less fees, quote currency.
    since : int
        Step at which the position last became non-zero or changed its sign.
    market : str
        Client order id of the market order in flight, or "".
    limits : dict of int to Resting
        Working limit order a side (+1, -1).
    stop : Resting or None
        Working protective stop.
    """

    def __init__(self) -> None:
        self.position_n = self.dust_n = 0
        self.lot_n = 1
        self.entry = 0.0
        self.cash = 0.0
        self.since = 0
        self.market = ""
        self.limits: dict[int, Resting] = {}
        self.stop: Resting | None = None

    @property
    def side(self) -> int:
        """Sign of the position."""
        return (self.position_n > 0) - (self.position_n < 0)

    def worth(self, mid: float) -> float:
        """Return cash and position at a price, quote currency."""
        return self.cash + (self.position_n + self.dust_n) / NANO * mid

    def fill(self, signed_n: int, price: float, step: int, fee: float = 0.0) -> None:
        """Take a fill of `signed_n` nano units (+ bought) at `price` during `step`; `fee` in quote currency."""
        self.cash -= signed_n / NANO * price + fee
        before, held = self.position_n, self.position_n + self.dust_n + signed_n
        after = abs(held) // self.lot_n * self.lot_n * (1 if held > 0 else -1)
        self.dust_n = held - after
        if before * after <= 0:  # opened, closed or flipped
            self.entry = price if after else 0.0
            self.since = step
        elif abs(after) > abs(before):
            self.entry = (self.entry * before + price * signed_n) / after
        self.position_n = after

    def filled(self, order_id: str, filled_n: int) -> None:
        """Take `filled_n` nano units off a working order."""
        resting = self._find(order_id)
        if resting is not None:
            self._put(resting._replace(qty_n=resting.qty_n - filled_n))

    def answered(self, order_id: str) -> None:
        """Note that the venue has answered the last command on an order."""
        resting = self._find(order_id)
        if resting is not None:
            self._put(resting._replace(ready=True))

    def changed(self, order_id: str, price_n: int, qty_n: int) -> None:
        """Note a modification that has been sent."""
        resting = self._find(order_id)
        if resting is not None:
            self._put(Resting(order_id, price_n, qty_n))

    def gone(self, order_id: str) -> None:
        """Forget an order that is closed."""
        if self.market == order_id:
            self.market = ""
        self.limits = {side: r for side, r in self.limits.items() if r.order_id != order_id}
        if self.stop is not None and self.stop.order_id == order_id:
            self.stop = None

    def _find(self, order_id: str) -> Resting | None:
        for resting in (*self.limits.values(), self.stop):
            if resting is not None and resting.order_id == order_id:
                return resting
        return None

    def _put(self, changed: Resting) -> None:
        if self.stop is not None and self.stop.order_id == changed.order_id:
            self.stop = changed
        for side, resting in self.limits.items():
            if resting.order_id == changed.order_id:
                self.limits[side] = changed
