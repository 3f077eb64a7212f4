"""Shim: a third-party strategy that does what it should not, by a script; the red team puts it beside the Organism."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from nautilus_trader.config import StrategyConfig
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.events import OrderAccepted, OrderDenied
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import Quantity
from nautilus_trader.model.orders import Order
from nautilus_trader.trading.strategy import Strategy

TAG = "666"
BUY, SELL = 1, -1


class Act(NamedTuple):
    """
    One thing to do.

    Attributes
    ----------
    what : str
        ``market`` or ``limit`` (at the touch): send an order; ``hold``: bring the account's position, whoever holds it,
        to `side` times `units` by orders of `most` units; ``close``: close the own position; ``same`` and ``spray``:
        answer every answer with the next order, all alike or each of another size, until `most` were sent.
    side : int
        +1 buys, -1 sells.
    units : float
        Quantity.
    most : float
        Orders of a loop; largest order of ``hold``, units.
    """

    what: str
    side: int = BUY
    units: float = 0.0
    most: float = 1


class Intruder(Strategy):
    """
    Follows a script.

    Parameters
    ----------
    instrument_id : str
    script : mapping of int to sequence of Act
        What to do at which quote, counted from 0.
    alarms : mapping of int to sequence of Act
        What to do at which event time, UTC ns, whether or not there is a quote.

    Attributes
    ----------
    tried : list of tuple
        Event time (UTC ns) and id of every order it sent.
    """

    def __init__(
        self, instrument_id: str, script: Mapping[int, Sequence[Act]], alarms: Mapping[int, Sequence[Act]]
    ) -> None:
        super().__init__(StrategyConfig(strategy_id="Intruder", order_id_tag=TAG))
        self._name = InstrumentId.from_str(instrument_id)
        self._script, self._alarms = script, alarms
        self._quotes = 0
        self._left = 0
        self._next: Callable[[], Order] | None = None
        self.tried: list[tuple[int, str]] = []

    def on_start(self) -> None:
        """Listen to quotes and set the alarms."""
        self._instrument = self.cache.instrument(self._name)
        self.subscribe_quote_ticks(self._name)
        for number, (ts, acts) in enumerate(sorted(self._alarms.items())):
            self.clock.set_time_alert_ns(f"intruder-{number}", ts, lambda _, acts=acts: self._all(acts))

    def on_quote_tick(self, tick: QuoteTick) -> None:
        """Do what the script says for this quote."""
        self._tick = tick
        acts = self._script.get(self._quotes)
        self._quotes += 1
        if acts:
            self._all(acts)

    def on_order_event(self, event: Any) -> None:
        """Go on with a loop as soon as an order is answered."""
        if isinstance(event, OrderAccepted | OrderDenied):
            self._on()

    def _all(self, acts: Sequence[Act]) -> None:
        for act in acts:
            self._do(act)

    def _do(self, act: Act) -> None:
        if act.what == "close":
            for position in self.cache.positions_open(strategy_id=self.id):
                side = OrderSide.SELL if position.is_long else OrderSide.BUY
                self._send(self.order_factory.market(self._name, side, position.quantity, reduce_only=True))
        elif act.what == "hold":
            self._hold(act)
        elif act.what in ("same", "spray"):
            self._left, self._next = int(act.most), lambda: self._looped(act)
            self._on()
        else:
            self._send(self._order(act, self._units(act.units)))

    def _hold(self, act: Act) -> None:
        missing = act.side * act.units - float(self.portfolio.net_position(self._name))
        if abs(missing) > 0.02 * act.units:
            side = BUY if missing > 0 else SELL
            self._send(self._order(Act("market", side), self._units(min(abs(missing), act.most))))

    def _on(self) -> None:
        """Send the next order of a loop, if one is going on: the answer comes while it is being sent, or later."""
        while self._left > 0 and self._next is not None:
            self._left -= 1
            self._send(self._next())

    def _looped(self, act: Act) -> Order:
        part = 1.0 if act.what == "same" else 0.2 + 0.8 * (len(self.tried) * 37 % 101) / 101
        side = act.side if act.what == "same" or len(self.tried) % 2 else -act.side
        return self._order(act._replace(what="market", side=side), self._units(act.units * part))

    def _order(self, act: Act, quantity: Quantity) -> Order:
        side = OrderSide.BUY if act.side > 0 else OrderSide.SELL
        if act.what == "limit":
            price = self._tick.bid_price if act.side > 0 else self._tick.ask_price
            return self.order_factory.limit(self._name, side, quantity, price)
        return self.order_factory.market(self._name, side, quantity)

    def _units(self, units: float) -> Quantity:
        lot = self._instrument.size_increment.as_double()
        return self._instrument.make_qty(max(int(units / lot), 1) * lot)

    def _send(self, order: Order) -> None:
        self.tried.append((self.clock.timestamp_ns(), order.client_order_id.value))
        self.submit_order(order)
