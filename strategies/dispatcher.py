"""Dispatcher: the Nautilus side of a decision: commands become orders, and what comes back keeps the book."""

from time import perf_counter_ns

from nautilus_trader.config import StrategyConfig
from nautilus_trader.model.enums import OrderSide, TimeInForce
from nautilus_trader.model.events import OrderDenied, OrderEvent, OrderFilled
from nautilus_trader.model.identifiers import ClientOrderId
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.model.orders import Order
from nautilus_trader.trading.strategy import Strategy

from alphatrade.risk.gate_orders import explores_tag, kept_of
from alphatrade.risk.units import NANO, RAW_PER_NANO
from alphatrade.strategies.book import Book, Resting
from alphatrade.strategies.exploring import Explorer
from alphatrade.strategies.planner import Cancel, Command, Market, Modify, Rest, Stop

_SIDES = {1: OrderSide.BUY, -1: OrderSide.SELL}
_CLOSED = frozenset({"OrderCanceled", "OrderExpired", "OrderRejected", "OrderDenied"})
_ANSWERS = frozenset({"OrderAccepted", "OrderUpdated", "OrderModifyRejected", "OrderCancelRejected"})


class Dispatcher(Strategy):
    """
    A strategy that sends commands for the open decision and keeps its own book.

    Attributes
    ----------
    signal_order_ns, order_ack_ns : list of int
        Durations from the belief to an order, and from there to the first answer.
    """

    def __init__(self, config: StrategyConfig) -> None:
        super().__init__(config)
        self._book = Book()
        self._step = 0
        self._decision = 0
        self._order_ids: list[str] = []
        self._verdict = "none"
        self._explorer: Explorer | None = None
        self._explores = ""  # what the open decision explores
        self._bounds: dict[int, int] = {}  # by side, the price beyond which nothing is opened (nano); empty: no bound
        self.signal_order_ns: list[int] = []
        self.order_ack_ns: list[int] = []
        self._sent_ns: dict[str, int] = {}

    # -- orders -------------------------------------------------------------------------------------------------

    def _send(self, command: Command, started: int) -> None:
        if isinstance(command, Modify) and self._bounds:
            command = Cancel(command.order_id)
        if isinstance(command, Cancel):
            order = self.cache.order(ClientOrderId(command.order_id))
            if order is not None and not order.is_closed and not order.is_pending_cancel:
                self.cancel_order(order)
            return
        if isinstance(command, Modify):
            self._modify(command)
            return
        order = self._make(command)
        order_id = order.client_order_id.value
        self._order_ids.append(order_id)
        self._verdict = "allow" if self._verdict == "none" else self._verdict
        if isinstance(command, Market):
            self._book.market = order_id
        elif isinstance(command, Stop):
            self._book.stop = Resting(order_id, command.trigger_n, command.qty_n)
        else:
            self._book.limits[command.side] = Resting(order_id, command.price_n, command.qty_n)
        now = perf_counter_ns()
        self.signal_order_ns.append(now - started)
        self._sent_ns[order_id] = now
        if self._explores and not order.is_reduce_only:
            self._explorer.sent(order_id, command)
        self.submit_order(order)

    def _make(self, command: Market | Rest | Stop) -> Order:
        tags = [f"decision={self._decision}"]
        if self._explores and not isinstance(command, Stop) and not command.reduce:
            tags.append(explores_tag(self._explores))
        side, quantity = _SIDES[command.side], self._quantity(command.qty_n)
        if isinstance(command, Market) and self._bounds and not command.reduce:
            terms = quantity, self._price(self._bounds[command.side]), TimeInForce.IOC
            return self.order_factory.limit(self._instrument_id, side, *terms, tags=tags)
        if isinstance(command, Market):
            return self.order_factory.market(self._instrument_id, side, quantity, reduce_only=command.reduce, tags=tags)
        if isinstance(command, Stop):
            return self.order_factory.stop_market(
                self._instrument_id, side, quantity, self._price(command.trigger_n), reduce_only=True, tags=tags
            )
        return self.order_factory.limit(
            self._instrument_id,
            side,
            quantity,
            self._price(command.price_n),
            time_in_force=TimeInForce.GTC,
            reduce_only=command.reduce,
            tags=tags,
        )

    def _modify(self, command: Modify) -> None:
        order = self.cache.order(ClientOrderId(command.order_id))
        if order is None or not order.is_open or order.is_pending_update or order.is_pending_cancel:
            return
        price = self._price(command.price_n)
        filled_n = order.filled_qty.raw // RAW_PER_NANO
        self._book.changed(command.order_id, command.price_n, command.qty_n)
        if self._explorer is not None:
            self._explorer.changed(command)
        self._order_ids.append(command.order_id)
        self._verdict = "allow" if self._verdict == "none" else self._verdict
        self.modify_order(
            order,
            quantity=self._quantity(command.qty_n + filled_n),
            price=None if command.stop else price,
            trigger_price=price if command.stop else None,
        )

    def _price(self, nano: int) -> Price:
        return Price.from_raw(nano * RAW_PER_NANO, self._price_precision)

    def _quantity(self, nano: int) -> Quantity:
        return Quantity.from_raw(nano * RAW_PER_NANO, self._size_precision)

    # -- what comes back ----------------------------------------------------------------------------------------

    def on_order_event(self, event: OrderEvent) -> None:
        """Keep the book; note the law's verdict where it concerns the open decision."""
        order_id = event.client_order_id.value
        kind = type(event).__name__
        if isinstance(event, OrderFilled):
            self._on_fill(event, order_id)
        elif kind in _CLOSED:
            self._gone(order_id)
        elif kind in _ANSWERS:
            self._book.answered(order_id)
        refused = isinstance(event, OrderDenied) or kind == "OrderModifyRejected"
        if refused and order_id in self._order_ids:
            self._verdict = f"deny:{event.reason.partition(':')[0]}"
        if kind in _CLOSED or kind in _ANSWERS or kind == "OrderFilled":
            sent = self._sent_ns.pop(order_id, None)
            if sent is not None:
                self.order_ack_ns.append(perf_counter_ns() - sent)

    def _on_fill(self, event: OrderFilled, order_id: str) -> None:
        quantity_n = event.last_qty.raw // RAW_PER_NANO
        price, fee = event.last_px.as_double(), event.commission.as_double()
        kept_n = kept_of(event, self.cache.instrument(event.instrument_id))
        signed_n = quantity_n - kept_n if event.order_side == OrderSide.BUY else -quantity_n
        self._book.fill(signed_n, price, self._step, fee * price if kept_n else fee)
        self._book.filled(order_id, quantity_n)
        if self._explorer is not None:
            self._explorer.filled(order_id, quantity_n / NANO * event.last_px.as_double())
        order = self.cache.order(event.client_order_id)
        if order is None or order.is_closed:
            self._gone(order_id)

    def _gone(self, order_id: str) -> None:
        self._book.gone(order_id)
        if self._explorer is not None:
            self._explorer.gone(order_id)
