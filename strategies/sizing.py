"""Sizing: how many units one clip is, from volatility and the risk template."""

import math
from typing import NamedTuple

from alphatrade.risk.units import NANO

MARGIN = 0.95  # stay this far inside the limits of the template: the price moves between planning and judging


class Sizer(NamedTuple):
    """
    Clip size of one instrument.

    Attributes
    ----------
    capital : float
        In the instrument's quote currency.
    fraction : float
        Notional of a clip at or below the volatility target, fraction of capital.
    vol_target : float
        Step volatility (fraction) from which clips shrink.
    ceiling : float
        Largest notional of one order under the risk template, fraction of capital.
    lot_n : int
        Quantity step, nano units.
    """

    capital: float
    fraction: float
    vol_target: float
    ceiling: float
    lot_n: int

    def clip(self, price: float, vol: float, factor: float) -> int:
        """
        Return the clip in nano units, a multiple of the lot; 0 where the capital does not reach for one.

        Parameters
        ----------
        price : float
            Reference price.
        vol : float
            Realised volatility of one step, fraction.
        factor : float
            In (0, 1]: what the law advises after a near-miss.
        """
        share = self.fraction * factor
        if vol > self.vol_target:
            share *= self.vol_target / vol
        return self._lots(min(share, self.ceiling * MARGIN), price)

    def most(self, price: float) -> int:
        """Return the largest quantity of one order in nano units, a multiple of the lot, at `price`."""
        return self._lots(self.ceiling * MARGIN, price)

    def _lots(self, share: float, price: float) -> int:
        return math.floor(self.capital * share / price * NANO / self.lot_n) * self.lot_n
