"""Reference prices as Nautilus delivers them: last quote, else last trade, else last closed bar.

The gate is passed over every tick, so a tick is only kept here; it is read when the law needs it.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING

from nautilus_trader.model.data import Bar, InstrumentStatus, QuoteTick, TradeTick
from nautilus_trader.model.enums import MarketStatusAction, PriceType, price_type_to_str
from nautilus_trader.model.identifiers import InstrumentId

from alphatrade.risk.gate_config import misfit
from alphatrade.risk.gate_price import doubted, set_band
from alphatrade.risk.gate_slot import MarketSlot
from alphatrade.risk.kill import State
from alphatrade.risk.limits import ALLOWED, Code, Verdict, deny, floor_nano
from alphatrade.risk.units import ATTO, from_atto

if TYPE_CHECKING:
    from alphatrade.risk.gate import RiskGate

FIRST = 100  # message bus priority: before the portfolio (10) and strategies (0)

_NO_CHANGE = (MarketStatusAction.NONE, MarketStatusAction.NEW_PRICE_INDICATION,
              MarketStatusAction.SHORT_SELL_RESTRICTION_CHANGE)  # fmt: skip


class Market:
    """
    Listens to quotes, trades, bars and status, and hands the law the prices it needs.

    Parameters
    ----------
    half_spread_bps, stale_after_s : dict of float
        By instrument id.
    """

    def __init__(self, gate: "RiskGate", half_spread_bps: dict[str, float], stale_after_s: dict[str, float]) -> None:
        self.gate = gate
        self.half_spread_bps = half_spread_bps
        self.stale_after_s = stale_after_s
        self._heard: list[tuple[str, Callable[..., None]]] = []
        self.clear()

    def clear(self) -> None:
        """Forget all prices."""
        for topic, handler in self._heard:
            self.gate.msgbus.unsubscribe(topic, handler)
        self._heard = []
        self.slots: dict[InstrumentId, MarketSlot] = {}
        self.by_name: dict[str, MarketSlot] = {}
        self.loss_near: Code | None = None

    # -- what Nautilus publishes

    def listeners(self) -> dict[str, Callable[..., None]]:
        """Return who hears which topic of the message bus; prices are heard an instrument at a time."""
        return {"data.status.*": self.on_status}

    def _quote_taker(self, slot: MarketSlot) -> Callable[[QuoteTick], None]:
        """Return the handler of one instrument's quotes: keep it, look at it only if it changes a figure."""

        def take(tick: QuoteTick) -> None:
            slot.before, slot.quote = slot.quote, tick
            ts = tick.ts_event
            if slot.newest < ts <= tick.ts_init:
                slot.newest = ts
            if slot.live and not (
                ts < slot.until and slot.low <= tick.bid_price.raw + tick.ask_price.raw <= slot.high
            ):
                self.live_mark(slot)

        return take

    def _trade_taker(self, slot: MarketSlot) -> Callable[[TradeTick], None]:
        """Return the handler of one instrument's trades, likewise."""

        def take(tick: TradeTick) -> None:
            before, slot.trade = slot.trade, tick
            if slot.quote is None:
                slot.before, ts = before, tick.ts_event
                if slot.newest < ts <= tick.ts_init:
                    slot.newest = ts
                if slot.live and not (ts < slot.until and slot.low <= 2 * tick.price.raw <= slot.high):
                    self.live_mark(slot)

        return take

    def _bar_taker(self, slot: MarketSlot) -> Callable[[Bar], None]:
        """Return the handler of one instrument's bars of last or mid prices: list them while nothing else changes."""
        gate = self.gate

        def take(bar: Bar) -> None:
            before, slot.bar = slot.bar, bar
            if slot.quote is not None or slot.trade is not None:
                return
            slot.before = before
            if not slot.live:
                return
            run = gate.record.quiet
            if run is not None and run.slot is slot:
                ts, price = bar.ts_init, bar.close.raw
                if run.last < ts < slot.day_end and slot.low <= 2 * price <= slot.high:
                    run.last = ts
                    run.stamps.append(ts)
                    run.prices.append(price)
                    return
            self.live_mark(slot)

        return take

    def _side_taker(self, slot: MarketSlot, side: str) -> Callable[[Bar], None]:
        """Return the handler of one instrument's bid or ask bars; one of each makes a price."""

        def take(bar: Bar) -> None:
            setattr(slot, side, bar)
            if slot.live and slot.quote is None and slot.trade is None:
                self.live_mark(slot)

        return take

    def on_status(self, status: InstrumentStatus) -> None:
        """Note halts, closures and resumptions."""
        try:
            slot = self.slot(status.instrument_id)
            law = self.gate.law
            before = not law.exposure.holding(slot.instrument).halted
            trades = before if status.action in _NO_CHANGE else status.action == MarketStatusAction.TRADING
            law.on_status(slot.instrument, not trades or status.is_trading is False)
        except Exception as error:
            self.gate.fail("taking an instrument status", error)

    # -- slots

    def slot(self, instrument_id: InstrumentId) -> MarketSlot:
        """Return the slot of an instrument, a new one at first sight."""
        slot = self.slots.get(instrument_id)
        if slot is None:
            name = instrument_id.value
            slot = MarketSlot(instrument_id, self.half_spread_bps.get(name, 0.0))
            self.slots[instrument_id] = self.by_name[name] = slot
            held = self.gate.law.exposure.holding(name)
            limit = self.stale_after_s.get(name)
            if limit is not None:
                held.stale_ns = min(held.stale_ns, floor_nano(limit))
            slot.live = not held.idle
            self._listen(slot)
        return slot

    def _listen(self, slot: MarketSlot) -> None:
        """Follow one instrument from now on; what it showed before is in the cache."""
        bus, cache, name = self.gate.msgbus, self.gate.cache, slot.instrument_id
        slot.quote, slot.trade = cache.quote_tick(name), cache.trade_tick(name)
        slot.before = cache.trade_tick(name, 1) if slot.quote is None else cache.quote_tick(name, 1)
        tail, bar = f"{name.venue}.{name.symbol}", self._bar_taker(slot)
        takers = [(f"data.quotes.{tail}", self._quote_taker(slot)), (f"data.trades.{tail}", self._trade_taker(slot))]
        sides = {
            PriceType.BID: ("bid_bar", self._side_taker(slot, "bid_bar")),
            PriceType.ASK: ("ask_bar", self._side_taker(slot, "ask_bar")),
            PriceType.LAST: ("bar", bar),
            PriceType.MID: ("bar", bar),
        }
        for kind, (side, taker) in sides.items():
            takers.append((f"data.bars.{name}-*-{price_type_to_str(kind)}-*", taker))
            known = [cache.bar(one) for one in cache.bar_types(instrument_id=name, price_type=kind)]
            latest = [one for one in (*known, getattr(slot, side)) if one is not None]
            setattr(slot, side, max(latest, key=attrgetter("ts_init"), default=None))
        for topic, handler in takers:
            bus.subscribe(topic=topic, handler=handler, priority=FIRST)
        self._heard += takers

    def named(self, instrument: str) -> InstrumentId:
        """Return the Nautilus id of an instrument by its name."""
        slot = self.by_name.get(instrument)
        return InstrumentId.from_str(instrument) if slot is None else slot.instrument_id

    def follow(self, instrument: str) -> None:
        """Look at prices of `instrument` from now on, outside its quiet band, until nothing depends on it."""
        slot = self.by_name.get(instrument) or self.slot(self.named(instrument))
        slot.live = True

    def wake(self, instrument: str) -> None:
        """Follow `instrument` after a change of its position: with that, all bands are void."""
        self.follow(instrument)
        for other in self.slots.values():
            other.until = 0

    def settle(self, instrument: str) -> None:
        """Stop looking at every price of `instrument` if nothing depends on it any more."""
        gate = self.gate
        slot = self.by_name.get(instrument)
        if slot is not None and gate.switch.trip_cause is None and gate.law.exposure.holdings[instrument].idle:
            slot.live = False

    def wake_all(self) -> None:
        """Look at every price, as long as the kill switch has work."""
        for slot in self.slots.values():
            slot.live = True
            slot.until = 0

    # -- what the law needs

    def live_mark(self, slot: MarketSlot) -> None:
        """Mark `slot`, stop trading on a breach, and drive a reduction on; failing stops trading too."""
        gate = self.gate
        try:
            verdict = self.mark(slot)
            if verdict.code is not None:
                gate.breach(verdict, gate.clock.timestamp_ns())
            reducing = gate.switch.state is State.REDUCING
            if reducing:
                gate.reduction.step()
            slot.live = reducing or not gate.law.exposure.holdings[slot.instrument].idle
            slot.until = 0
            if slot.live and not reducing and slot.used is not None:
                set_band(gate, slot, slot.used[2])
        except Exception as error:
            gate.fail("marking a price", error)

    def catch_up(self) -> None:
        """Show the law the bars that were only listed; before anybody asks it something."""
        run = self.gate.record.quiet
        if run is not None:
            run.close()

    def mark(self, slot: MarketSlot) -> Verdict:
        """Let the law use the latest price of `slot`, and record that it did."""
        gate, name = self.gate, slot.instrument
        if gate.record.quiet is not None:
            gate.record.quiet.close()
        tick = slot.quote
        held = gate.law.exposure.holdings[name]
        dirty = held.dirty
        if tick is not None and tick is slot.used_tick and not dirty:
            return ALLOWED
        slot.used_tick = tick
        reference = slot.reference(gate.clock.timestamp_ns())
        if reference is None or (reference == slot.used and not dirty) or doubted(gate, slot, reference):
            return ALLOWED
        slot.used = reference
        bid, ask, ts, source, assumed = reference
        gate.record.mark(ts, name, bid, ask, source, assumed)
        held.seen_ts = max(held.seen_ts, slot.newest)
        verdict = gate.law.on_mark(name, bid, ask, ts)
        if gate.memory.file is not None:
            gate.memory.keep()
        if gate.record.minute_of(ts):
            gate.record_equity(ts)
            gate.record.ensure_kept()
        if gate.law.loss_near is not self.loss_near:
            self._losses_changed(ts)
        return verdict

    def refresh(self, instrument: str) -> None:
        """Mark `instrument` for a fill, so that equity after it counts from the latest price."""
        slot = self.by_name.get(instrument) or self.slot(self.named(instrument))
        try:
            verdict = self.mark(slot)
            if verdict.code is not None:
                self.gate.breach(verdict, self.gate.clock.timestamp_ns())
        except Exception as error:  # the fill has to be booked all the same
            self.gate.fail("marking a price", error)

    def look(self, instrument: str) -> Verdict | None:
        """Mark `instrument` for an order; a denial if it cannot be judged, or if losses stop trading."""
        slot = self.by_name.get(instrument) or self.slot(self.named(instrument))
        if not slot.ready:
            unfit = self.prepare(slot.instrument_id)
            if unfit is not None:
                return unfit
        for other in self.slots.values():  # what else is open counts at its latest price
            if other.live and other is not slot and (verdict := self.mark(other)).code is not None:
                return verdict
        verdict = self.mark(slot)
        return self.gate.state_denial() if verdict.code is None else verdict  # a mark may have tripped the switch

    def prepare(self, instrument_id: InstrumentId) -> Verdict | None:
        """Return a denial if orders in an instrument cannot be judged at all."""
        slot = self.slot(instrument_id)
        if slot.ready:
            return None
        gate = self.gate
        instrument = gate.cache.instrument(instrument_id)
        if instrument is None:
            return deny(Code.UNKNOWN_INSTRUMENT, f"no definition of {slot.instrument}")
        quote = instrument.quote_currency
        currency = gate.currency or quote.code
        unfit = misfit(instrument, currency) or gate.memory.foreign(currency)
        if unfit is not None:
            return unfit
        if gate.law.capital is None:
            account = gate.cache.account_for_venue(instrument_id.venue)
            balance = None if account is None else account.balance_total(quote)
            if balance is None or balance.raw <= 0:
                return deny(Code.NO_ACCOUNT, f"no positive balance in {currency} for {slot.instrument}")
            gate.law.set_capital(balance.raw * (ATTO // 10**16))
            gate.memory.resume()
        gate.currency = currency
        slot.ready = True
        gate.set_native_limit(instrument_id)
        return None

    def _losses_changed(self, ts: int) -> None:
        gate, law = self.gate, self.gate.law
        self.loss_near = near = law.loss_near
        if near is not None:
            loss, drawdown = from_atto(law.day_loss()), law.drawdown
            detail = f"loss of the day {loss}, drawdown {drawdown:.6f}"
            gate.record.event(ts, "near_miss", None, None, str(near), "", "", detail)
        for name in self.by_name:
            gate.advise(name, ts)
