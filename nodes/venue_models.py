"""Shim: fills of the simulated venue. Takers pay a spread, limits keep their price, commands are on time.

What Nautilus 1.231 does was read in ``backtest/engine.pyx``:

- on bars and trades the book is one price wide, so takers would pay no spread at all;
- ``is_slipped`` is asked for every fill of an L1 book, also on simulated books *and for resting limits*,
  which would then fill beyond their limit;
- a stop that a bar moved through fills at its trigger, unless the bar opened beyond it; a simulated book
  hides that rule, so it is applied here;
- a command in flight is looked at when the next event comes, after that event moved the market: on bars,
  50 ms become a minute and a fill at the next close.
"""

import random

from nautilus_trader.backtest.config import SimulationModuleConfig
from nautilus_trader.backtest.engine import SimulatedExchange
from nautilus_trader.backtest.models import FillModel
from nautilus_trader.backtest.modules import SimulationModule
from nautilus_trader.common.component import Logger
from nautilus_trader.common.config import NautilusConfig
from nautilus_trader.core.data import Data
from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.data import Bar, BookOrder
from nautilus_trader.model.enums import BookType, LiquiditySide, OrderSide, TimeInForce
from nautilus_trader.model.events import OrderEvent, OrderPendingCancel, OrderPendingUpdate, OrderSubmitted
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.model.orders import Order

from alphatrade.nodes.bus_watch import BusWatch
from alphatrade.risk.units import to_nano

_BPS_NANO = 10**4 * 10**9  # a nano of basis points, as a divisor


class HouseFillModelConfig(NautilusConfig, frozen=True):
    """
    Configuration of `HouseFillModel`.

    Attributes
    ----------
    prob_fill_on_limit, prob_slippage : float
        As in Nautilus's own fill model.
    random_seed : int
        Seed of the model's private generator.
    half_spread_bps : dict of str to str
        Per instrument id, the half spread takers pay on bars and trades, basis points as a decimal string.
    widen : str
        Extra share of the quoted half spread that takers pay, decimal string.
    """

    prob_fill_on_limit: float = 1.0
    prob_slippage: float = 0.0
    random_seed: int = 0
    half_spread_bps: dict[str, str] = {}
    widen: str = "0"


class HouseFillModel(FillModel):
    """
    Fill model in which takers pay a spread and limits never fill beyond their price.

    Takers get the price of the book moved against them by the assumed half spread, rounded up to whole
    ticks, for the size the book shows; what is left fills one tick further (Nautilus's rule). Stops on
    bars fill at their trigger, or at the open when the bar gapped over it. A limit inside the assumed
    spread rests, and fills at its own price once the market has come a half spread through it. Resting
    limits otherwise go Nautilus's standard way.

    Parameters
    ----------
    config : HouseFillModelConfig
        The configuration; randomness comes from a private generator, so strategies cannot disturb it.
    """

    def __init__(self, config: HouseFillModelConfig) -> None:
        super().__init__(config.prob_fill_on_limit, config.prob_slippage, config.random_seed)
        self._random = random.Random(config.random_seed)
        self._half_spread = {name: to_nano(bps) for name, bps in config.half_spread_bps.items()}
        self._widen = to_nano(config.widen)
        self._may_slip = False
        self._inside: set[str] = set()
        self._watch: VenueWatch | None = None

    def attach(self, watch: "VenueWatch") -> None:
        """Let the model see the open of the current bar and the sizes of the book."""
        self._watch = watch

    def is_limit_filled(self) -> bool:
        """Draw whether a resting limit fills when the market only touches it."""
        chance: float = self.prob_fill_on_limit
        return chance >= 1.0 or self._random.random() < chance

    def is_slipped(self) -> bool:
        """Draw whether the fill being made is one tick worse; never for makers."""
        chance: float = self.prob_slippage
        return self._may_slip and chance > 0.0 and self._random.random() < chance

    def get_orderbook_for_fill_simulation(
        self, instrument: Instrument, order: Order, best_bid: Price, best_ask: Price
    ) -> OrderBook | None:
        """Return the one-level book a taker meets, or None for Nautilus's standard way."""
        limit = order.price.raw if order.has_price else None
        rested = limit is not None and order.client_order_id.value in self._inside
        if order.liquidity_side == LiquiditySide.MAKER and not rested:
            self._may_slip = False
            return None
        sign = 1 if order.side == OrderSide.BUY else -1
        best = (best_ask if sign > 0 else best_bid).raw
        tick = instrument.price_increment.raw
        name = instrument.id.value
        extra = self._extra(name, best_bid.raw, best_ask.raw, tick)
        if extra == 0:
            self._may_slip = limit is None or (limit - best) * sign >= 2 * tick
            return None
        price = (best if rested else self._base(name, order, best)) + sign * extra
        if limit is not None:
            price = self._limited(order, price, limit, sign, rested)
        self._may_slip = not rested and (limit is None or (limit - price) * sign >= 2 * tick)
        # Nautilus fills what the book does not show one tick further, also past a limit: then all must show.
        whole = limit is not None and (limit - price) * sign < tick
        return self._book(instrument, order, price, sign, whole)

    def _extra(self, name: str, bid: int, ask: int, tick: int) -> int:
        """Return what a taker pays beyond the book, in raw price units and whole ticks, rounded up."""
        bps = self._half_spread.get(name)
        if bps is not None:
            return -(-ask * bps // (_BPS_NANO * tick)) * tick
        if self._widen and ask > bid:
            return -(-(ask - bid) * self._widen // (2 * 10**9 * tick)) * tick
        return 0

    def _base(self, name: str, order: Order, best: int) -> int:
        """Return the raw price before costs: the trigger, if a bar moved through it, else the best."""
        if self._watch is None or not order.has_trigger_price:
            return best
        opened = self._watch.opens.get(name)
        return best if opened is None or opened == best else int(order.trigger_price.raw)

    def _limited(self, order: Order, price: int, limit: int, sign: int, rested: bool) -> int:
        """Apply the order's limit: fill at `price`, at the limit, or stay inside the assumed spread."""
        key = order.client_order_id.value
        if (limit - price) * sign >= 0:
            self._inside.discard(key)
            return limit if rested else price  # nobody improves the price of an order that was already there
        if order.time_in_force == TimeInForce.IOC:
            return limit  # Nautilus would leave an unfilled IOC resting: let it pay all it offered
        if order.time_in_force != TimeInForce.FOK:
            self._inside.add(key)
        return price

    def _book(self, instrument: Instrument, order: Order, price: int, sign: int, whole: bool) -> OrderBook:
        """Return a book with the one level that `order` takes from: the size on show, or all of it."""
        size = None if whole or self._watch is None else self._watch.size(instrument.id, sign)
        if size is None or size.raw == 0:
            size = order.quantity
        side = OrderSide.SELL if sign > 0 else OrderSide.BUY
        book = OrderBook(instrument.id, BookType.L2_MBP)
        level = Quantity.from_raw(size.raw, instrument.size_precision)
        book.add(BookOrder(side, Price.from_raw(price, instrument.price_precision), level, 1), 0, 0)
        return book


class VenueWatchConfig(SimulationModuleConfig, frozen=True):
    """
    Configuration of `VenueWatch`.

    Attributes
    ----------
    arrival_ns : int
        Latency after which commands are to be looked at, nanoseconds; 0 leaves it to the next event.
    """

    arrival_ns: int = 0


class VenueWatch(SimulationModule):
    """
    Venue module: tells the fill model where a bar opened and what size shows, wakes the venue on time, and beats.

    A time alert at the moment of arrival is all that punctual commands take: the backtest engine settles
    its venues after any timer. A command without an order event (a bare cancel) still waits for the next
    event.

    Parameters
    ----------
    config : VenueWatchConfig
        The configuration.
    """

    def __init__(self, config: VenueWatchConfig) -> None:
        super().__init__(config)
        self.opens: dict[str, int] = {}
        self.bus: BusWatch
        self._arrival_ns = config.arrival_ns
        self._next = 0

    def register_venue(self, exchange: SimulatedExchange) -> None:
        """Attach to the fill model of `exchange` and, for punctual commands, to the order events."""
        super().register_venue(exchange)
        if isinstance(exchange.fill_model, HouseFillModel):
            exchange.fill_model.attach(self)
        if self._arrival_ns:
            self.msgbus.subscribe("events.order.*", self._on_order_event)
        self.bus = BusWatch(self.msgbus)

    def _on_order_event(self, event: OrderEvent) -> None:
        kind = type(event)
        if kind is OrderSubmitted or kind is OrderPendingCancel or kind is OrderPendingUpdate:
            arrival = self.clock.timestamp_ns() + self._arrival_ns
            if arrival != self._next:
                self._next = arrival
                self.clock.set_time_alert_ns(f"arrival-{self.exchange.id}-{arrival}", arrival, _wake)

    def size(self, instrument_id: InstrumentId, sign: int) -> Quantity | None:
        """Return the size at the best price that a buyer (1) or a seller (-1) takes from."""
        book = self.exchange.get_book(instrument_id)
        if book is None:
            return None
        return book.best_ask_size() if sign > 0 else book.best_bid_size()

    def pre_process(self, data: Data) -> None:
        """Beat, and note the open of a bar before the matching engine walks through it."""
        pulse = self.bus.pulse
        if data.ts_init >= pulse.next:
            pulse.beat(data.ts_init)
        if type(data) is Bar:
            self.opens[data.bar_type.instrument_id.value] = data.open.raw

    def process(self, ts_now: int) -> None:
        """Forget the opens: the bar is over."""
        self.opens.clear()

    def log_diagnostics(self, logger: Logger) -> None:
        """Nothing to say."""

    def reset(self) -> None:
        """Forget everything."""
        self.opens.clear()
        self.bus.begin()
        self._next = 0


def _wake(_event: object) -> None:
    """Do nothing: the engine settles the venues after any timer."""
