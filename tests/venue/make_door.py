"""The bundled client behind the door of a live node, connected to a venue; approvals are given by the test."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from nautilus_trader.accounting.factory import AccountFactory
from nautilus_trader.adapters.binance.common.enums import BinanceOrderSide, BinanceOrderType, BinanceTimeInForce
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.common.factories import OrderFactory
from nautilus_trader.core.nautilus_pyo3 import HttpMethod
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import SubmitOrder
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import InstrumentId, StrategyId, TraderId
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.model.orders import Order

from alphatrade.nodes.live.exchange import LiveExchange
from alphatrade.nodes.live.seal import Seal
from alphatrade.nodes.venue_rest import Credentials
from alphatrade.risk.approval import Approvals, fresh_key
from alphatrade.risk.gate_live import terms_of
from tests.venue.keys import ED25519_KEY
from tests.venue.make_venue import Handle

NAME = InstrumentId.from_str("BTCUSDT.BINANCE")
TRADER, STRATEGY = TraderId("T-001"), StrategyId("S-1")
POST, GET, PUT, DELETE = HttpMethod.POST, HttpMethod.GET, HttpMethod.PUT, HttpMethod.DELETE


def credentials() -> Credentials:
    return Credentials(ED25519_KEY.name, ED25519_KEY.secret)


class Behind:
    """A client behind the door, and what a test can do with it."""

    def __init__(self, venue: Handle, mainnet: bool = False) -> None:
        self.venue, self.clock, self.cache = venue, LiveClock(), Cache()
        self.bus = MessageBus(trader_id=TRADER, clock=self.clock)
        self.events: list[Any] = []
        self.alarms: list[str] = []
        self.approvals = Approvals(fresh_key(), time.monotonic_ns)
        self.approvals.alarm = lambda order_id, why: self.alarms.append(why)
        self.bus.register("ExecEngine.process", self._told)
        self.bus.register("Portfolio.update_account", self._account)
        for what in ("report", "mass_status"):
            self.bus.register(f"ExecEngine.reconcile_execution_{what}", lambda _: None)
        self.exchange = LiveExchange(venue.http, venue.ws_api, (NAME,), approvals=self.approvals, mainnet=mainnet)
        self.seal: Any = self.exchange.held(credentials())
        assert isinstance(self.seal, Seal)
        self.client: Any = self.exchange.client(asyncio.get_running_loop(), self.bus, self.cache, self.seal)
        self.http, self.ws, self.account = self.client._http_client, self.client._ws_client, self.client._http_account
        self.factory = OrderFactory(TRADER, STRATEGY, self.clock)

    def _account(self, event: Any) -> None:
        if self.cache.account(event.account_id) is None:
            self.cache.add_account(AccountFactory.create(event))

    def _told(self, event: Any) -> None:
        self.events.append(event)
        order = self.cache.order(event.client_order_id)
        with suppress(Exception):
            order.apply(event)
            self.cache.update_order(order)

    @property
    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def order(
        self, price: str | None = "29000", qty: str = "0.01", side: OrderSide = OrderSide.BUY, **more: Any
    ) -> Order:
        quantity = Quantity.from_str(f"{float(qty):.8f}")
        made: Order = (
            self.factory.market(NAME, side, quantity, **more)
            if price is None
            else self.factory.limit(NAME, side, quantity, Price.from_str(price), **more)
        )
        self.cache.add_order(made)
        return made

    def approved(self, order: Order) -> str:
        """Approve an order and have its token presented, as gate and broker do."""
        token = self.approvals.approve(terms_of(order))
        assert self.approvals.present(order.client_order_id.value, token) == ""
        return token

    def command(self, order: Order, params: dict[str, Any] | None = None) -> SubmitOrder:
        return SubmitOrder(TRADER, STRATEGY, order, UUID4(), 0, None, None, params)

    def new(self, order_id: str, **more: Any) -> Awaitable[Any]:
        """Call the adapter's own way of sending an order."""
        fields = {
            "symbol": "BTCUSDT", "side": BinanceOrderSide.BUY, "order_type": BinanceOrderType.LIMIT,
            "time_in_force": BinanceTimeInForce.GTC, "quantity": "0.01", "price": "29000", "recv_window": "5000",
            "new_client_order_id": order_id,
        }  # fmt: skip
        return self.account.new_order(**(fields | more))  # type: ignore[no-any-return]

    def fields(self, order_id: str, **more: str) -> dict[str, str]:
        """Return an order in the words of the wire."""
        return {
            "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01",
            "price": "29000", "newClientOrderId": order_id, "recvWindow": "5000", "timestamp": self.stamp(),
        } | more  # fmt: skip

    def stamp(self) -> str:
        return str(self.clock.timestamp_ms())

    def posts(self) -> int:
        """Return how many requests have come to the venue that could move something, cancellations left out."""
        rows = self.venue.look("requests")
        quiet = ("session.", "userDataStream.")
        return sum(
            row["method"] in ("POST", "PUT", "PATCH") or (row["method"] == "WS" and not row["path"].startswith(quiet))
            for row in rows
        )

    def orders(self) -> list[str]:
        return [row["clientOrderId"] for row in self.venue.look("books")["orders"]]


def behind(venue: Handle, scenario: Callable[[Behind], Awaitable[None]], mainnet: bool = False) -> None:
    """Run a scenario with a client that is connected."""

    async def run() -> None:
        made = Behind(venue, mainnet)
        await asyncio.wait_for(made.client._connect(), 10)
        try:
            await scenario(made)
        finally:
            await made.client._disconnect()

    asyncio.run(run())
