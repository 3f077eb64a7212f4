"""One account as the law sees it: exposure, equity, peak, and the loss of the day and from the peak."""

from alphatrade.risk.exposure import BUY, Exposure, Holding, Order
from alphatrade.risk.limits import ALLOWED, NO_LIMIT, Code, Limits, Verdict, deny, soft, text
from alphatrade.risk.plausible import doubt_of
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.units import NANO, from_nano

DAY_NS = 86_400 * 10**9


class Account:
    """
    Facts about one account, kept exactly.

    Parameters
    ----------
    template : RiskTemplate
        The limits.
    capital : int, optional
        Atto of the account currency; None until `set_capital`.
    """

    def __init__(self, template: RiskTemplate, capital: int | None = None) -> None:
        self.template = template
        self.capital = capital
        self.limits = Limits.of(template, capital or 0)
        self.exposure = Exposure(self.limits.stale_ns)
        self.peak2: int | None = None
        self.day = -1  # UTC day of the latest first mark
        self.day_start2 = 0
        self._day_end = 0
        self.loss_near: Code | None = None
        self.calm2 = 0  # above this equity no loss limit is even near
        if capital is not None:
            self.set_capital(capital)

    # -- facts

    def set_capital(self, capital: int) -> None:
        """Fix the capital (atto) that the fractions of the template refer to."""
        self.capital = capital
        self.limits = Limits.of(self.template, capital)
        if self.peak2 is None and not self.exposure.unmarked:
            self.peak2 = self.equity2
        self._calm()

    def resume(self, peak2: int | None, day: int = -1, day_start2: int = 0) -> None:
        """
        Count losses from where an earlier session did.

        Parameters
        ----------
        peak2, day_start2 : int
            Highest equity and equity at the first mark of the UTC `day`, 0.5e-18; without a peak, count from now on.
        """
        if peak2 is None and not self.exposure.unmarked:
            peak2 = self.equity2
        self.peak2, self.day, self.day_start2 = peak2, day, day_start2
        self._day_end = (day + 1) * DAY_NS
        self._calm()

    def on_status(self, instrument: str, halted: bool) -> None:
        """Note that `instrument` is halted or closed, or trades again."""
        self.exposure.holding(instrument).halted = halted

    def on_mark(self, instrument: str, bid: int, ask: int, ts: int) -> Verdict:
        """
        Value the account at a new reference price and look at its losses.

        Parameters
        ----------
        bid, ask : int
            Nano.
        ts : int
            Event time of the price, UTC ns; the UTC day of the daily loss follows it.

        Returns
        -------
        Verdict
            A denial with code DAILY_LOSS or DRAWDOWN when trading must stop.
        """
        exposure = self.exposure
        held = exposure.holdings.get(instrument) or exposure.holding(instrument)
        held.doubt = doubt_of(bid, ask, ts, held.seen_ts) if bid > ask or ts < held.seen_ts else None
        exposure.mark(instrument, bid, ask, ts)
        held.seen_ts = max(ts, held.seen_ts)
        if self.capital is None or exposure.unmarked:
            return ALLOWED
        equity2 = 2 * (self.capital + exposure.cash) + exposure.value2
        if self.peak2 is None or equity2 > self.peak2:
            self.peak2 = equity2
            self._calm()
        if ts >= self._day_end:
            self.day = ts // DAY_NS
            self._day_end = (self.day + 1) * DAY_NS
            self.day_start2 = equity2
            self._calm()
        return self.losses(equity2)

    def on_fill(
        self, order_id: str, instrument: str, side: int, qty: int, price: int, fee: int, owner: str = "",
        strategy: str = "", kept: int = 0,
    ) -> int:  # fmt: skip
        """Book a fill, see `Exposure.fill` (nano, nano, atto of account currency); return the profit realised, atto."""
        return self.exposure.fill(instrument, side, qty, price, fee, self.exposure.working.get(order_id), owner, kept)

    def adopt(
        self, instrument: str, position: int, price: int, paid: bool, owner: str = "", strategy: str = ""
    ) -> None:
        """Take over a strategy's position from before this session, see `Exposure.adopt`."""
        self.exposure.adopt(instrument, position, price, paid, owner)

    def on_closed(self, order_id: str) -> None:
        """Forget a working order that was filled, cancelled, expired, rejected or denied."""
        self.exposure.close(order_id)

    def on_updated(self, order: Order, qty: int) -> bool:
        """Take over the quantity a venue confirms; False if it exceeds what was approved for the order."""
        outgrown = order.working and not order.reduce_only and qty - order.filled > order.reserved
        self.exposure.confirm(order, qty)
        return not outgrown

    def on_modify_asked(self, order: Order) -> None:
        """Note that a strategy has announced a modification; it is judged, or refused by somebody else, later."""
        order.asking += 1

    def on_modify_rejected(self, order: Order) -> None:
        """Give back what was reserved for a modification that did not happen; one not approved reserved nothing."""
        if order.asking:
            order.asking -= 1
        else:
            self.exposure.refuse(order)

    # -- figures

    @property
    def equity2(self) -> int:
        """Capital, cash flows and the value of all positions at the mids, doubled (0.5e-18)."""
        return 2 * ((self.capital or 0) + self.exposure.cash) + self.exposure.value2

    @property
    def equity(self) -> int:
        """Equity, atto (rounded down)."""
        return self.equity2 // 2

    @property
    def peak(self) -> int:
        """Highest equity at any mark, atto (rounded down)."""
        return (self.equity2 if self.peak2 is None else self.peak2) // 2

    @property
    def drawdown(self) -> float:
        """Loss from the peak as a fraction of the peak."""
        peak2 = self.peak2
        return (peak2 - self.equity2) / peak2 if peak2 and peak2 > 0 else 0.0

    def figures(self, value2: int) -> tuple[int, int, int, int, float]:
        """Return equity, cash, exposure and peak, atto, and the drawdown, with positions worth `value2`."""
        cash, peak2 = self.funds()
        equity2 = 2 * cash + value2
        return equity2 // 2, cash, value2 // 2, peak2 // 2, (peak2 - equity2) / peak2 if peak2 > 0 else 0.0

    def funds(self) -> tuple[int, int]:
        """Return the cash, atto, and the highest equity at any mark (0.5e-18)."""
        cash = (self.capital or 0) + self.exposure.cash
        return cash, 2 * cash + self.exposure.value2 if self.peak2 is None else self.peak2

    def day_loss(self) -> int:
        """Loss since the first mark of the UTC day, atto; negative after a profit."""
        return (self.day_start2 - self.equity2) // 2

    def losses(self, equity2: int) -> Verdict:
        """Judge an equity (0.5e-18) against the day's start and the peak; remember a near-miss."""
        if equity2 > self.calm2:
            self.loss_near = None
            return ALLOWED
        limits = self.limits
        peak2 = equity2 if self.peak2 is None else self.peak2
        loss2 = self.day_start2 - equity2 if self.day >= 0 else 0
        fall, bound = (peak2 - equity2) * NANO, limits.drawdown_n * peak2
        near = None
        if loss2 >= limits.soft.daily_loss2:
            near = Code.DAILY_LOSS
            if loss2 > limits.daily_loss2:
                return deny(near, "loss of the UTC day", text(loss2, "m"), text(limits.daily_loss2, "m"))
        if fall * NANO >= limits.near_n * bound:
            near = Code.DRAWDOWN
            if fall > bound:
                value = str(from_nano(fall // peak2)) if peak2 > 0 else "1"
                return deny(near, "loss from peak equity, fraction", value, str(from_nano(limits.drawdown_n)))
        self.loss_near = near
        return ALLOWED

    def far(self, held: Holding, side: int, grow: int) -> bool:
        """Return whether all exposures stay far from their limits with `grow` (nano) more on one side."""
        soft, exposure, more2 = self.limits.soft, self.exposure, grow * held.mid2
        hi2, low2, high2, deep2 = held.hi2, -held.lo2, exposure.hi2, -exposure.lo2
        if side == BUY:
            hi2 += more2
            high2 += more2
        else:
            low2 += more2
            deep2 += more2
        worst2 = hi2 if hi2 > low2 else low2
        return (
            worst2 < soft.instrument2
            and high2 < soft.net2
            and deep2 < soft.net2
            and exposure.gross2 + worst2 - held.gross2 < soft.gross2
            and (soft.inventory_n == NO_LIMIT or worst2 < soft.inventory_n * held.mid2)
        )

    def quiet_band(self, instrument: str) -> tuple[int, int, int] | None:
        """
        Return the doubled mids (nano) between which, and the time (UTC ns) before which, a price changes nothing.

        Inside, equity makes no new peak and comes near no loss limit, so that looking at it is a comparison of two
        integers. None where every price counts: near a limit, with a second position, with an unseen fill. A price
        further than `jump_max` away is never inside.
        """
        exposure = self.exposure
        held = exposure.holdings[instrument]
        if self.capital is None or self.peak2 is None or exposure.unmarked or held.dirty:
            return None
        jump, mid2 = self.limits.jump_n, held.mid2
        low, high = max(mid2 - mid2 * jump // (NANO + jump), 2), mid2 + mid2 * jump // NANO  # beyond: to be doubted
        if not held.position:
            return None if exposure.open else (low, high, self._day_end)
        if exposure.open > 1:
            return None
        equity2 = self.equity2
        down = equity2 - self.calm2 - 1
        if down < 0:
            return None
        fall, rise = down // abs(held.position), (self.peak2 - equity2) // abs(held.position)
        if held.position < 0:
            fall, rise = rise, fall
        return max(mid2 - fall, low), min(mid2 + rise, high), self._day_end

    def _calm(self) -> None:
        limits = self.limits
        peak2 = self.peak2 or 0
        from_peak = peak2 - soft(limits.drawdown_n * peak2, limits.near_n) // NANO
        self.calm2 = max(from_peak, self.day_start2 - limits.soft.daily_loss2)
