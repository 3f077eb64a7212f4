"""Perception as a Nautilus Actor: market events in, belief snapshots and regime signals out on the message bus."""

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.data import Bar, BarType, QuoteTick, TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import InstrumentId

from alphatrade.actors.cadence import Cadence
from alphatrade.actors.messages import BELIEF_TOPIC, REGIME_TOPIC
from alphatrade.actors.perceiver import Perceiver

MOST_WAITING = 256  # ticks that wait to be folded together
_SIGN = {AggressorSide.BUYER: 1, AggressorSide.SELLER: -1}


class PerceptionConfig(ActorConfig, frozen=True):
    """
    Configuration of :class:`Perception`.

    Parameters
    ----------
    instrument_id : str
        What is perceived.
    data : str
        ``quotes``, ``trades`` or ``bars``: the stream that carries the reference price.
    bar_type : str, optional
        Nautilus bar type, for ``bars``.
    provides : list of str
        What the tape provides (see :mod:`alphatrade.actors.features`).
    half_spread_bps : float
        Assumed, around the price of a trade or a bar.
    features, belief, regime, cadence : dict
        The perception part of the policy.
    """

    instrument_id: str
    data: str
    provides: list[str]
    features: dict[str, dict[str, str | int]]
    belief: dict[str, int]
    regime: dict[str, Any]
    cadence: dict[str, str | int]
    bar_type: str | None = None
    half_spread_bps: float = 0.0


class Perception(Actor):
    """One instrument's eyes: folds events into steps and publishes at the decision cadence."""

    def __init__(self, config: PerceptionConfig) -> None:
        super().__init__(config)
        provides = frozenset(config.provides)
        self.perceiver = Perceiver(
            config.instrument_id, config.features, config.belief, config.regime, provides
        )
        self._cadence = Cadence(str(config.cadence["kind"]), int(config.cadence["n"]), provides)
        self._half = config.half_spread_bps / 1e4
        self._belief_topic = f"{BELIEF_TOPIC}.{config.instrument_id}"
        self._regime_topic = f"{REGIME_TOPIC}.{config.instrument_id}"
        self._waiting: list[QuoteTick | TradeTick] = []
        self.events = 0
        self.transitions = 0
        self.step_ns: list[int] = []

    def on_start(self) -> None:
        """Subscribe to the stream that carries the reference price."""
        name = InstrumentId.from_str(self.config.instrument_id)
        tail = f"{name.venue}.{name.symbol}"
        if self.config.data == "quotes":
            self.subscribe_quote_ticks(name)
            self.msgbus.subscribe(f"data.quotes.{tail}", self._taker(self._fold_quotes))
        elif self.config.data == "trades":
            self.subscribe_trade_ticks(name)
            self.msgbus.subscribe(f"data.trades.{tail}", self._taker(self._fold_trades))
        else:
            self.subscribe_bars(BarType.from_str(self.config.bar_type))

    def _taker(self, fold: Callable[[], None]) -> Callable[[QuoteTick | TradeTick], None]:
        """Return the handler of ticks: they wait in a list until one may close a step, and are folded together."""
        waiting, append = self._waiting, self._waiting.append
        cadence = self._cadence
        if cadence.by_time:

            def take(tick: QuoteTick | TradeTick) -> None:
                append(tick)
                if tick.ts_init >= cadence.next or len(waiting) >= MOST_WAITING:
                    fold()

        else:

            def take(tick: QuoteTick | TradeTick) -> None:
                append(tick)
                if len(waiting) >= cadence.remaining or len(waiting) >= MOST_WAITING:
                    fold()

        return take

    def _fold_quotes(self) -> None:
        received = perf_counter_ns()
        ticks, steps = self._waiting, self.perceiver.steps
        bids = [tick.bid_price.as_double() for tick in ticks]
        asks = [tick.ask_price.as_double() for tick in ticks]
        steps.quotes(bids, asks)
        last = ticks[-1]
        if self._taken(last.ts_init):
            steps.sizes(last.bid_size.as_double(), last.ask_size.as_double())
            self._step(last.ts_init, bids[-1], asks[-1], received)

    def _fold_trades(self) -> None:
        received = perf_counter_ns()
        ticks, steps, half = self._waiting, self.perceiver.steps, self._half
        for tick in ticks:
            price = tick.price.as_double()
            steps.price(price)
            steps.trade(tick.size.as_double(), _SIGN.get(tick.aggressor_side, 0))
        ts = ticks[-1].ts_init
        if self._taken(ts):
            self._step(ts, price * (1.0 - half), price * (1.0 + half), received)

    def _taken(self, ts: int) -> bool:
        """Count the ticks that waited, the last at `ts`; return whether it closes a step, as only the last can."""
        ticks = self._waiting
        self.events += len(ticks)
        due = self._cadence.due(ts, len(ticks))
        ticks.clear()
        return due

    def on_bar(self, bar: Bar) -> None:
        """Take a closed bar; its close with the assumed half-spread is the reference."""
        received = perf_counter_ns()
        close = bar.close.as_double()
        steps = self.perceiver.steps
        steps.price(close)
        steps.range(bar.high.as_double(), bar.low.as_double())
        steps.trade(bar.volume.as_double(), 0)
        ts = bar.ts_init
        if self._cadence.due(ts):
            self._step(ts, close * (1.0 - self._half), close * (1.0 + self._half), received)
        self.events += 1

    def _step(self, ts: int, bid: float, ask: float, received: int) -> None:
        snapshot, signal = self.perceiver.step(ts, bid, ask, received)
        if signal is not None:
            self.transitions += 1
            self.msgbus.publish(self._regime_topic, signal)
        self.msgbus.publish(self._belief_topic, snapshot)
        self.step_ns.append(perf_counter_ns() - received)

    def on_stop(self) -> None:
        """Fold what came after the last step, so that every event is counted."""
        if self._waiting:
            (self._fold_quotes if self.config.data == "quotes" else self._fold_trades)()
