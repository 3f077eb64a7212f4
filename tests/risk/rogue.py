"""A strategy that tries everything, and the bookkeeping that compares every answer with the oracle's."""

import random
from collections import Counter
from fractions import Fraction as F
from typing import Any

from nautilus_trader.config import StrategyConfig
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.algorithm import ExecAlgorithm
from nautilus_trader.execution.messages import SubmitOrder
from nautilus_trader.model.data import InstrumentStatus, QuoteTick
from nautilus_trader.model.enums import (
    MarketStatusAction,
    OrderSide,
    OrderStatus,
    TriggerType,
    order_type_to_str,
)
from nautilus_trader.model.identifiers import OrderListId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.orders import Order, OrderList
from nautilus_trader.trading.strategy import Strategy

from tests.risk.oracle import Ask, Oracle
from tests.risk.rig import ADABTC, ADAUSDT, BTCUSDT, ETHUSDT, XBTUSD
from tests.risk.shots import ALGO

LAWFUL = "lawful"
PENDING = (OrderStatus.INITIALIZED, OrderStatus.DENIED, OrderStatus.EMULATED, OrderStatus.RELEASED)


class Smuggled(SubmitOrder):
    """A command type the law does not know."""


def ask(order: Order) -> Ask:
    parent = order.parent_order_id
    trigger = order.trigger_price if order.has_trigger_price else None
    return Ask(
        id=order.client_order_id.value,
        instrument=order.instrument_id.value,
        side=1 if order.side == OrderSide.BUY else -1,
        kind=order_type_to_str(order.order_type),
        qty=F(str(order.quantity)),
        price=F(str(order.price)) if order.has_price else None,
        trigger=None if trigger is None else F(str(trigger)),
        reduce_only=order.is_reduce_only,
        quote_qty=order.is_quote_quantity,
        parent=None if parent is None else parent.value,
    )


class Slice(ExecAlgorithm):
    """Passes an order on whole, or spawns a part of it."""

    def __init__(self, rogue: "Rogue") -> None:
        super().__init__()
        self.rogue = rogue

    def on_order(self, order: Order) -> None:
        if self.rogue.random.random() < 0.5:
            part = (
                order.quantity
                if order.quantity.raw < 10**10
                else order.quantity.__class__(order.quantity.as_double() * 0.5, order.quantity.precision)
            )
            order = self.spawn_market(order, part, reduce_only=order.is_reduce_only, reduce_primary=True)
        self.rogue.expect("exec algorithm", [order])
        self.submit_order(order)


class Rogue(Strategy):
    """Runs (path, aim, seed) steps, one per quote of BTCUSDT."""

    def __init__(self, steps: list[tuple[str, str, int]], oracle: Oracle) -> None:
        super().__init__(StrategyConfig(market_exit_max_attempts=6))
        self.steps = list(steps)
        self.oracle = oracle
        self.random = random.Random(0)
        self.path = ""
        self.expected: dict[str, tuple[str, str | None]] = {}
        self.denied: dict[str, str] = {}
        self.modify_denied: list[str] = []
        self.mismatches: list[str] = []
        self.matrix: Counter[tuple[str, str]] = Counter()
        self.held: set[str] = set()
        self.n = 0

    # -- facts for the oracle

    def on_start(self) -> None:
        for instrument in (BTCUSDT, ETHUSDT):
            self.subscribe_quote_ticks(instrument.id)
            self.subscribe_instrument_status(instrument.id)

    def on_instrument_status(self, status: InstrumentStatus) -> None:
        name = status.instrument_id.value
        if status.action == MarketStatusAction.HALT:
            self.oracle.halted.add(name)
        elif status.action == MarketStatusAction.TRADING:
            self.oracle.halted.discard(name)

    def on_quote_tick(self, tick: QuoteTick) -> None:
        name, now = tick.instrument_id.value, tick.ts_event
        self.oracle.on_quote(name, F(str(tick.bid_price)), F(str(tick.ask_price)), now)
        if name != BTCUSDT.id.value:
            return
        self.n += 1
        if self.n > 3 and self.steps and not self.is_exiting():
            self.path, aim, seed = self.steps.pop(0)
            self.random.seed(seed)
            self.act(self.path, aim)

    def on_order_initialized(self, event: Any) -> None:
        id = event.client_order_id.value
        if event.emulation_trigger or event.exec_algorithm_id or event.order_list_id is not None:
            self.held.add(id)  # judged when it is released, spawned or sent as a list
        if id in self.expected or id in self.held:
            return
        path = self.path if self.path in ("close_position", "market_exit") else "unexpected"
        price, trigger = (event.options.get(k) for k in ("price", "trigger_price"))
        self.judge(path, [Ask(
            id, event.instrument_id.value, 1 if event.side == OrderSide.BUY else -1,
            order_type_to_str(event.order_type), F(str(event.quantity)),
            None if price in (None, "None") else F(str(price)),
            None if trigger in (None, "None") else F(str(trigger)), event.reduce_only, event.quote_quantity,
        )])  # fmt: skip

    def on_order_released(self, event: Any) -> None:
        order = self.cache.order(event.client_order_id)
        if order.exec_algorithm_id is None:
            self.expect("emulated", [order])

    def on_order_filled(self, event: Any) -> None:
        side = 1 if event.order_side == OrderSide.BUY else -1
        qty, price = F(str(event.last_qty)), F(str(event.last_px))
        fee = F(event.commission.as_decimal())
        self.oracle.on_fill(event.client_order_id.value, event.instrument_id.value, side, qty, price, fee)

    def on_order_updated(self, event: Any) -> None:
        order = self.oracle.working.get(event.client_order_id.value)
        if order is not None:
            order.qty = F(str(event.quantity))
            order.price = F(str(event.price)) if event.price is not None else order.price
            order.trigger = F(str(event.trigger_price)) if event.trigger_price is not None else order.trigger

    def _closed(self, event: Any) -> None:
        self.oracle.working.pop(event.client_order_id.value, None)

    on_order_canceled = on_order_rejected = on_order_expired = _closed

    def on_order_denied(self, event: Any) -> None:
        self.denied[event.client_order_id.value] = event.reason

    def on_order_modify_rejected(self, event: Any) -> None:
        self.modify_denied.append(event.reason)

    # -- expectation and outcome

    def expect(self, path: str, orders: list[Order]) -> None:
        self.judge(path, [ask(order) for order in orders])

    def judge(self, path: str, asks: list[Ask]) -> None:
        code = self.oracle.check(asks, self.clock.timestamp_ns())
        for one in asks:
            self.expected[one.id] = (path, code)

    def settle(self) -> None:
        """Compare every answer with what was expected; to be called after the run."""
        for id, (path, code) in self.expected.items():
            self.matrix[path, code or LAWFUL] += 1
            reason = self.denied.get(id)
            order = next((o for o in self.cache.orders() if o.client_order_id.value == id), None)
            if code is None and (reason is not None or order is None or order.status in PENDING):
                status = "missing" if order is None else order.status_string()
                self.mismatches.append(f"{path} {id}: lawful, but {status}: {reason}")
            if code is not None and (reason is None or not reason.startswith(f"{code}:")):
                self.mismatches.append(f"{path} {id}: expected {code}, got {reason}")

    # -- what it does

    def act(self, path: str, aim: str) -> None:
        if aim == "tidy":
            for instrument in (BTCUSDT, ETHUSDT):
                self.cancel_all_orders(instrument.id)
            self.path = "close_position"
            for position in self.cache.positions_open():
                self.close_position(position)
            return
        instrument = {
            "unquoted": ADAUSDT, "foreign": ADABTC, "inverse": XBTUSD, "halted": ETHUSDT, "stale": ETHUSDT, "suspect": ETHUSDT,
        }.get(aim, self.random.choice((BTCUSDT, BTCUSDT, ETHUSDT)))  # fmt: skip
        many = aim in ("repeat", "rate") and path != "modify"  # one modification in flight at a time
        burst = self.random.randint(2, 5) if many else 1
        side = self.random.choice((OrderSide.BUY, OrderSide.SELL))
        size = self.size(instrument, aim)
        spare = size
        for k in range(burst):
            if aim == "rate":  # not identical, so that only the pace is at stake
                spare = instrument.make_qty(size.as_double() * (1 + 0.01 * k))
            getattr(self, "do_" + path.replace(" ", "_"))(instrument, side, spare, aim)

    def size(self, instrument: Instrument, aim: str) -> Any:
        quoted = self.oracle.quotes.get(instrument.id.value)
        mid = float((quoted[0] + quoted[1]) / 2) if quoted else 1.0
        limit = float(self.oracle.t["order_notional_max"]) * float(self.oracle.capital) / mid
        share = {"big": self.random.choice((0.7, 0.95, 1.0, 1.05, 1.4)), "huge": self.random.uniform(1.5, 30)}
        if instrument is XBTUSD:
            return instrument.make_qty(100)
        if not quoted:
            return instrument.make_qty(10)
        return instrument.make_qty(limit * share.get(aim, self.random.choice((0.02, 0.1, 0.3))))

    def level(self, instrument: Instrument, side: OrderSide, aim: str, passive: bool = True) -> Any:
        """Return a price, passive or marketable, within the collar or (aim far) around and beyond its edge."""
        quoted = self.oracle.quotes.get(instrument.id.value)
        mid = float((quoted[0] + quoted[1]) / 2) if quoted else float(instrument.price_increment) * 1000
        collar = float(self.oracle.t["price_collar"])
        away = self.random.choice((0.99, 1.0, 1.01, 2, 5)) * collar if aim == "far" else 0.5 * collar
        sign = (-1 if side == OrderSide.BUY else 1) * (1 if passive else -1)
        return instrument.make_price(max(mid * (1 + sign * away), float(instrument.price_increment)))

    def reduce_only(self, aim: str) -> bool:
        return aim == "reduce"

    def do_market(self, instrument: Instrument, side: OrderSide, qty: Any, aim: str) -> None:
        order = self.order_factory.market(
            instrument.id, side, qty, reduce_only=self.reduce_only(aim), quote_quantity=aim == "quote"
        )
        self.expect("market", [order])
        self.submit_order(order)

    def do_limit(self, instrument: Instrument, side: OrderSide, qty: Any, aim: str) -> None:
        order = self.order_factory.limit(
            instrument.id, side, qty, self.level(instrument, side, aim),
            reduce_only=self.reduce_only(aim), quote_quantity=aim == "quote",
        )  # fmt: skip
        self.expect("limit", [order])
        self.submit_order(order)

    def do_stop(self, instrument: Instrument, side: OrderSide, qty: Any, aim: str) -> None:
        order = self.order_factory.stop_market(
            instrument.id, side, qty, self.level(instrument, side, aim, passive=False),
            reduce_only=self.reduce_only(aim), quote_quantity=aim == "quote",
        )  # fmt: skip
        self.expect("stop", [order])
        self.submit_order(order)

    def do_bracket(self, instrument: Instrument, side: OrderSide, qty: Any, aim: str) -> None:
        away = "far" if aim == "far" else "near"
        opposite = OrderSide.SELL if side == OrderSide.BUY else OrderSide.BUY
        orders = self.order_factory.bracket(
            instrument.id, side, qty, quote_quantity=aim == "quote",
            sl_trigger_price=self.level(instrument, opposite, "near", passive=False),
            tp_price=self.level(instrument, opposite, away),
        )  # fmt: skip
        if aim == "reduce":
            orders = self._overgrown(orders, instrument, opposite, qty)
        self.expect("bracket", orders.orders)
        self.submit_order_list(orders)

    def _overgrown(self, orders: OrderList, instrument: Instrument, side: OrderSide, qty: Any) -> OrderList:
        """Return an entry with a reduce-only child larger than the entry."""
        entry = orders.orders[0]
        child = self.order_factory.limit(
            instrument.id, side, instrument.make_qty(qty.as_double() * 2), self.level(instrument, side,
            "near"), reduce_only=True,
        )  # fmt: skip
        single = self.order_factory.market(instrument.id, entry.side, qty)
        return self._list([single, child])

    def _list(self, orders: list[Order]) -> OrderList:
        number = self.order_factory.generate_order_list_id()
        self.held.update(order.client_order_id.value for order in orders)
        return OrderList(OrderListId(number.value), orders)

    def do_list(self, instrument: Instrument, side: OrderSide, qty: Any, aim: str) -> None:
        count = self.random.randint(2, 4)
        tick = float(instrument.price_increment)
        prices = [self.level(instrument, side, aim).as_double() + k * tick for k in range(count)]
        if aim == "repeat":
            prices = [prices[0]] * count
        orders = [
            self.order_factory.limit(
                instrument.id, side, qty, instrument.make_price(price),
                reduce_only=self.reduce_only(aim), quote_quantity=aim == "quote",
            )
            for price in prices
        ]  # fmt: skip
        batch = self._list(orders)
        self.expect("list", orders)
        self.submit_order_list(batch)

    def _modify_unknown(self, instrument: Instrument, side: OrderSide, qty: Any) -> None:
        """Modify an order that exists but that the law never approved."""
        order = self.order_factory.limit(instrument.id, side, qty, self.level(instrument, side, "near"))
        self.cache.add_order(order)
        seen = len(self.modify_denied)
        self.modify_order(order, quantity=instrument.make_qty(qty.as_double() * 0.5))
        self.matrix["modify", "UNKNOWN_ORDER"] += 1
        if (
            not all(r.startswith("UNKNOWN_ORDER:") for r in self.modify_denied[seen:])
            or len(self.modify_denied) == seen
        ):
            self.mismatches.append(f"modify of an unknown order: {self.modify_denied[seen:]}")

    def do_modify(self, instrument: Instrument, side: OrderSide, qty: Any, aim: str) -> None:
        if aim == "unknown":
            self._modify_unknown(instrument, side, qty)
            return
        resting = [o for o in self.cache.orders_open() if not o.is_pending_update and o.filled_qty.raw == 0]
        if aim in ("stale", "halted"):
            resting = [o for o in resting if o.instrument_id == instrument.id]
        if not resting:
            self.do_limit(instrument, side, self.size(instrument, "near"), "near")
            return
        order = self.random.choice(resting)
        instrument = self.cache.instrument(order.instrument_id)
        price = self.level(instrument, order.side, aim) if order.has_price else None
        trigger = self.level(instrument, order.side, aim, passive=False) if order.has_trigger_price else None
        wanted = self.size(instrument, aim if aim in ("big", "huge") else "near")
        if aim in ("big", "huge", "reduce"):
            price = trigger = None
        if wanted == order.quantity and price in (None, order.price if order.has_price else None):
            return
        id = order.client_order_id.value
        code = self.oracle.check_modify(
            id, F(str(wanted)), None if price is None else F(str(price)),
            None if trigger is None else F(str(trigger)), self.clock.timestamp_ns(),
        )  # fmt: skip
        seen = len(self.modify_denied)
        self.modify_order(order, quantity=wanted, price=price, trigger_price=trigger)
        reasons = self.modify_denied[seen:]
        self.matrix["modify", code or LAWFUL] += 1
        if (code is None) == bool(reasons) or not all(r.startswith(f"{code}:") for r in reasons):
            self.mismatches.append(f"modify {id}: expected {code}, got {reasons}")

    def do_emulated(self, instrument: Instrument, side: OrderSide, qty: Any, aim: str) -> None:
        now = self.random.random() < 0.8
        order = self.order_factory.limit(
            instrument.id, side, qty, self.level(instrument, side, "near", passive=not now),
            reduce_only=self.reduce_only(aim), quote_quantity=aim == "quote",
            emulation_trigger=TriggerType.BID_ASK,
        )  # fmt: skip
        self.submit_order(order)

    def do_exec_algorithm(self, instrument: Instrument, side: OrderSide, qty: Any, aim: str) -> None:
        order = self.order_factory.market(
            instrument.id, side, qty, exec_algorithm_id=ALGO,
            reduce_only=self.reduce_only(aim), quote_quantity=aim == "quote",
        )  # fmt: skip
        self.submit_order(order)

    def do_direct(self, instrument: Instrument, side: OrderSide, qty: Any, aim: str) -> None:
        order = self.order_factory.limit(
            instrument.id, side, qty, self.level(instrument, side, aim),
            reduce_only=self.reduce_only(aim), quote_quantity=aim == "quote",
        ) if aim == "far" else self.order_factory.market(
            instrument.id, side, qty, reduce_only=self.reduce_only(aim), quote_quantity=aim == "quote"
        )  # fmt: skip
        kind = Smuggled if aim == "smuggle" else SubmitOrder
        if aim == "smuggle":
            self.expected[order.client_order_id.value] = ("direct", "UNKNOWN_COMMAND")
        else:
            self.expect("direct", [order])
        if self.random.random() < 0.5:
            self.cache.add_order(order)
        command = kind(
            trader_id=self.trader_id, strategy_id=self.id, order=order, command_id=UUID4(),
            ts_init=self.clock.timestamp_ns(),
        )  # fmt: skip
        self.msgbus.send("ExecEngine.execute", command)

    def do_close_position(self, instrument: Instrument, side: OrderSide, qty: Any, aim: str) -> None:
        positions = self.cache.positions_open()
        if aim in ("halted", "stale", "suspect"):
            positions = [p for p in positions if p.instrument_id == ETHUSDT.id]
        if positions:
            self.close_position(self.random.choice(positions))
        else:
            self.do_market(instrument, side, self.size(instrument, "near"), "near")

    def do_market_exit(self, instrument: Instrument, side: OrderSide, qty: Any, aim: str) -> None:
        if aim == "repeat":  # an exit on top of closing orders that are still in flight
            for position in self.cache.positions_open():
                self.close_position(position)
        if not self.is_exiting():
            self.market_exit()
