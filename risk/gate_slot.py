"""Latest market data of one instrument, and the reference price that it makes (shim)."""

from nautilus_trader.model.data import Bar, QuoteTick, TradeTick
from nautilus_trader.model.identifiers import InstrumentId

from alphatrade.risk.units import RAW_PER_NANO

# A price the law may use: bid, ask (nano), UTC ns, index into `record.SOURCES`, assumed half spread or not.
Reference = tuple[int, int, int, int, bool]


class MarketSlot:
    """
    Latest market data of one instrument.

    Parameters
    ----------
    half_spread_bps : float
        Added to and taken from a trade price or a bar close to make an ask and a bid.
    """

    __slots__ = (
        "ask_bar", "bar", "before", "bid_bar", "day_end", "half_n", "high", "instrument", "instrument_id", "live",
        "low", "newest", "quote", "ready", "suspected", "trade", "until", "used", "used_tick",
    )  # fmt: skip

    def __init__(self, instrument_id: InstrumentId, half_spread_bps: float) -> None:
        self.instrument_id = instrument_id
        self.instrument = instrument_id.value
        self.half_n = round(half_spread_bps * 100_000)  # bps to 1e-9
        self.quote: QuoteTick | None = None
        self.trade: TradeTick | None = None
        self.before: QuoteTick | TradeTick | Bar | None = None  # just before the latest of what makes the reference
        self.bar: Bar | None = None
        self.bid_bar: Bar | None = None
        self.ask_bar: Bar | None = None
        self.live = False  # the next tick changes a figure of the law
        self.ready = False  # the instrument was found fit to be judged
        # Until then, a price whose doubled raw mid lies between low and high can change no figure of the law.
        self.until = self.low = self.high = 0
        self.newest = 0  # latest stamp of a tick that is not from the future, UTC ns
        self.day_end = 0  # the same, but for a row of the equity curve every minute
        self.used: Reference | None = None  # what the law saw last
        self.used_tick: QuoteTick | None = None
        self.suspected: Reference | None = None  # the latest that was not believed

    def reference(self, now: int) -> Reference | None:
        """
        Return the reference price by the stated order of sources; None without any data.

        A stamp from after `now` (UTC ns) would never be stale and would end the day for good: it counts as `now`.
        """
        found = self._latest()
        return found if found is None or found[2] <= now else (*found[:2], now, *found[3:])

    def _latest(self) -> Reference | None:
        tick = self.quote
        if tick is not None:
            bid, ask = tick.bid_price.raw // RAW_PER_NANO, tick.ask_price.raw // RAW_PER_NANO
            return bid, ask, tick.ts_event, 0, False
        trade = self.trade
        if trade is not None:
            return self._around(trade.price.raw // RAW_PER_NANO, trade.ts_event, 1)
        bar, bid_bar, ask_bar = self.bar, self.bid_bar, self.ask_bar
        if bid_bar is not None and ask_bar is not None:
            bid, ask = bid_bar.close.raw // RAW_PER_NANO, ask_bar.close.raw // RAW_PER_NANO
            return bid, ask, min(bid_bar.ts_init, ask_bar.ts_init), 2, False
        bar = bar or bid_bar or ask_bar
        if bar is not None:
            return self._around(bar.close.raw // RAW_PER_NANO, bar.ts_init, 2)
        return None

    def before2(self, source: int) -> int:
        """Return the doubled mid (nano) just before the reference of that source; 0: there is none."""
        before, kind = self.before, (QuoteTick, TradeTick, Bar)[source]
        if type(before) is not kind or (source == 2 and self.bar is None):  # bars of bid and of ask come one by one
            return 0
        if kind is QuoteTick:
            return max((before.bid_price.raw + before.ask_price.raw) // RAW_PER_NANO, 0)
        return max(2 * (before.price if kind is TradeTick else before.close).raw // RAW_PER_NANO, 0)

    def _around(self, price: int, ts: int, source: int) -> Reference:
        half = self.half(price)
        return price - half, price + half, ts, source, True

    def half(self, price: int) -> int:
        """Return half the assumed spread around a price (nano)."""
        return abs(price) * self.half_n // 10**9
