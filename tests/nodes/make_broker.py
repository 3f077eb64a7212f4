"""A broker at an exchange made of plain values: what is sent there is noted, and it says what a test wants it to."""

import asyncio
import time
from contextlib import suppress
from decimal import Decimal
from typing import Any

from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.common.factories import OrderFactory
from nautilus_trader.common.providers import InstrumentProvider
from nautilus_trader.core.fsm import InvalidStateTrigger
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import SubmitOrder
from nautilus_trader.live.execution_client import LiveExecutionClient
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.enums import AccountType, LiquiditySide, OmsType, OrderSide
from nautilus_trader.model.events import AccountState, OrderPendingCancel
from nautilus_trader.model.identifiers import (
    AccountId,
    ClientId,
    InstrumentId,
    StrategyId,
    Symbol,
    TradeId,
    TraderId,
    Venue,
    VenueOrderId,
)
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import AccountBalance, Money, Price, Quantity
from nautilus_trader.model.orders import Order

from alphatrade.nodes.paper.broker import Broker
from alphatrade.nodes.paper.link import VENUE, Exchange
from alphatrade.nodes.paper.outstanding import FRESH_NS, Report
from alphatrade.nodes.secrets import Secrets
from alphatrade.nodes.venue_rows import Deal, Holding, Placed
from alphatrade.risk.gate_orders import cancel_of

TRADER, STRATEGY = TraderId("ALPHATRADE-001"), StrategyId("Organism-000")
NAME, ACCOUNT = InstrumentId.from_str("BTCUSDT.BINANCE"), AccountId("BINANCE-SPOT-master")
MARKET = CurrencyPair(
    instrument_id=NAME, raw_symbol=Symbol("BTCUSDT"), base_currency=BTC, quote_currency=USDT,
    price_precision=2, size_precision=8, price_increment=Price.from_str("0.01"),
    size_increment=Quantity.from_str("0.00001000"), ts_event=0, ts_init=0,
)  # fmt: skip


class Bundled(LiveExecutionClient):
    """Stands in for the bundled client: notes what it is given; a test says what it says."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bus: MessageBus, cache: Cache) -> None:
        super().__init__(
            loop=loop, client_id=ClientId(VENUE), venue=Venue(VENUE), oms_type=OmsType.NETTING,
            account_type=AccountType.CASH, base_currency=None, instrument_provider=InstrumentProvider(),
            msgbus=bus, cache=cache, clock=LiveClock(),
        )  # fmt: skip
        self._set_account_id(ACCOUNT)
        self.submitted: list[Any] = []
        self.lists: list[Any] = []
        self.cancelled: list[Any] = []
        self.asked = 0  # for the balances
        self.trouble: Exception | None = None

    async def _update_account_state(self) -> None:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble

    def submit_order(self, command: Any) -> None:
        assert command.order
        self.submitted.append(command)

    def submit_order_list(self, command: Any) -> None:
        assert command.order_list
        self.lists.append(command)

    def cancel_order(self, command: Any) -> None:
        self.cancelled.append(command)


class Rest:
    """The exchange's own books."""

    def __init__(self) -> None:
        self.rows: dict[str, Placed] = {}
        self.trades: dict[str, list[Deal]] = {}
        self.held = {"BTC": Holding(Decimal(10), Decimal(0)), "USDT": Holding(Decimal(100_000), Decimal(0))}
        self.ahead = 0.0
        self.asked = 0

    async def placed(self, _symbol: str) -> list[Placed]:
        return [row for row in self.rows.values() if row.status in ("NEW", "PARTIALLY_FILLED")]

    async def order(self, _symbol: str, client_id: str) -> Placed | None:
        self.asked += 1
        return self.rows.get(client_id)

    async def deals(self, _symbol: str, order_id: str) -> list[Deal]:
        return self.trades.get(order_id, [])

    async def account(self) -> dict[str, Holding]:
        return self.held

    async def ahead_ms(self) -> float:
        return self.ahead


class Rig:
    """A broker, the node around it as far as it matters, and the exchange."""

    def __init__(self, kind: type[Broker] = Broker, exchange: Exchange | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.cache, bus = Cache(), MessageBus(trader_id=TRADER, clock=LiveClock())
        self.cache.add_instrument(MARKET)
        self.told: list[str] = []
        self.events: list[Any] = []
        self.distrusted: list[str] = []
        self.failures: list[Exception] = []
        self._since: dict[str, int] = {}
        exchange = exchange or Exchange(None, None, (NAME,))
        self.broker = kind(loop, self.cache, LiveClock(), bus, exchange, Secrets(None), 1.0, self.told.append)
        self.broker.attach(lambda event: self._take(event), self.distrusted.append, self.failures.append)
        self.broker.connect()
        self.broker._set_account_id(ACCOUNT)
        self.rest, self.client = Rest(), Bundled(loop, self.broker._msgbus, self.cache)
        self.broker._link.rest, self.broker._link.client = self.rest, self.client  # type: ignore[assignment]
        self.broker._link.read_at = time.monotonic()
        self.broker._journal_read = True
        self._factory = OrderFactory(TRADER, STRATEGY, LiveClock())
        balances = [AccountBalance(Money(n, c), Money(0, c), Money(n, c)) for n, c in ((10, BTC), (100_000, USDT))]
        state = AccountState(ACCOUNT, AccountType.CASH, None, True, balances, [], {}, UUID4(), 0, 0)
        self._take(state)

    def _take(self, event: Any) -> None:
        """Do what a node does with an event."""
        self.events.append(event)
        if not isinstance(event, AccountState):
            order = self.cache.order(event.client_order_id)
            with suppress(InvalidStateTrigger):  # as Nautilus's engine
                order.apply(event)
            self.cache.update_order(order)
        self.broker.seen(event)

    @property
    def names(self) -> list[str]:
        """Kinds of the events that the node was given, but for the first of the account."""
        return [type(event).__name__ for event in self.events[1:]]

    def sent(self, quantity: str = "0.01000000", stop: bool = False, ago_s: float = 1.0) -> Order:
        """Send an order to buy, as the law would have, some time ago."""
        order = self.made(quantity, stop)
        self.submit(order, ago_s)
        self._since[order.client_order_id.value] = ts = time.time_ns() - int(ago_s * 1e9)
        self.broker._outstanding.order(order, ts)
        return order

    def made(self, quantity: str = "0.01000000", stop: bool = False) -> Order:
        """Make an order to buy."""
        size, made = Quantity.from_str(quantity), self._factory
        order: Order = (
            made.stop_market(NAME, OrderSide.BUY, size, Price.from_str("31000.00"))
            if stop
            else made.limit(NAME, OrderSide.BUY, size, Price.from_str("30000.00"))
        )
        self.cache.add_order(order)
        return order

    def submit(self, order: Order, ago_s: float) -> None:
        """Have an order submitted now, while the node's time is of some time ago."""
        ts = time.time_ns() - int(ago_s * 1e9)
        self.broker.submit_order(SubmitOrder(TRADER, STRATEGY, order, UUID4(), ts))

    def rests(self) -> Order:
        """Have an order rest at the exchange."""
        order = self.sent()
        self.submitted(order)
        self.accepted(order)
        self.placed(order)
        return order

    def ids(self, order: Order) -> tuple[Any, ...]:
        """Return who a command is about."""
        return TRADER, STRATEGY, NAME, order.client_order_id

    def cancels(self, order: Order) -> None:
        """Cancel an order as a strategy does: it says that it is pending."""
        order.apply(OrderPendingCancel(*self.ids(order), order.venue_order_id, ACCOUNT, UUID4(), 1, 1))
        self.cancel(order)

    def cancel(self, order: Order, ago_s: float = 0.0) -> None:
        """Cancel an order as the law does, some time ago: it does not say that it is pending."""
        command = cancel_of(order, time.time_ns())
        self.broker.cancel_order(command)
        if ago_s:
            self.broker._outstanding.cancel(command, time.time_ns() - int(ago_s * 1e9))

    def placed(self, order: Order, status: str = "NEW", filled: str = "0", number: int = 1, ago_s: float = 0.0) -> None:
        """Have the exchange know an order."""
        updated = int((time.time() - ago_s) * 1000)
        name = order.client_order_id.value
        self.rest.rows[name] = Placed("BTCUSDT", str(number), name, status, Decimal(filled), updated)

    def dealt(self, *trades: tuple[str, str], number: int = 1) -> None:
        """Have the exchange know fills, trade and quantity, and what they did to the balances."""
        deals = [Deal(name, Decimal(qty), Decimal(30_000), Decimal(qty) / 1000, "BTC", True, 1) for name, qty in trades]
        self.rest.trades[str(number)] = deals
        got = sum((deal.qty - deal.fee for deal in deals), Decimal(0))
        paid = sum((deal.qty * deal.price for deal in deals), Decimal(0))
        self.rest.held = {
            "BTC": Holding(Decimal(10) + got, Decimal(0)), "USDT": Holding(Decimal(100_000) - paid, Decimal(0))
        }  # fmt: skip

    # -- what the bundled client says

    def submitted(self, order: Order) -> None:
        self.client.generate_order_submitted(*self._who(order), 1)
        self.broker._outstanding.order(order, self._since[order.client_order_id.value])  # it was then

    def accepted(self, order: Order, number: int = 1) -> None:
        self.client.generate_order_accepted(*self._who(order), VenueOrderId(str(number)), 1)

    def filled(self, order: Order, trade: str, quantity: str, number: int = 1) -> None:
        self.client.generate_order_filled(
            *self._who(order), VenueOrderId(str(number)), None, TradeId(trade), order.side, order.order_type,
            Quantity.from_str(quantity), Price.from_str("30000.00"), USDT,
            Money(Decimal(quantity) / 1000, BTC), LiquiditySide.MAKER, 1,
        )  # fmt: skip

    def canceled(self, order: Order, number: int = 1) -> None:
        self.client.generate_order_canceled(*self._who(order), VenueOrderId(str(number)), 1)

    def not_cancelled(self, order: Order) -> None:
        reason = "BinanceClientError({'code': -2011, 'msg': 'Unknown order sent.'})"
        self.client.generate_order_cancel_rejected(*self._who(order), order.venue_order_id, reason, 1)

    def rejected(self, order: Order, reason: str) -> None:
        self.client.generate_order_rejected(*self._who(order), reason, 1)

    @staticmethod
    def _who(order: Order) -> tuple[Any, ...]:
        return order.strategy_id, order.instrument_id, order.client_order_id

    async def read(self) -> Report:
        """Read the books, when what has just been sent is old enough to be asked for."""
        await asyncio.sleep(0)
        return await self.broker.check()


FRESH_S = FRESH_NS / 1e9
