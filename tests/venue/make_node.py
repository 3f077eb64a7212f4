"""A stock TradingNode with the bundled Binance clients, connected to the venue on loopback, and a strategy that obeys."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from nautilus_trader.adapters.binance import (
    BINANCE,
    BinanceDataClientConfig,
    BinanceExecClientConfig,
    BinanceLiveDataClientFactory,
    BinanceLiveExecClientFactory,
)
from nautilus_trader.config import (
    InstrumentProviderConfig,
    LiveExecEngineConfig,
    LoggingConfig,
    StrategyConfig,
    TradingNodeConfig,
)
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import QuoteTick, TradeTick
from nautilus_trader.model.enums import OrderSide, TimeInForce
from nautilus_trader.model.events import OrderEvent
from nautilus_trader.model.identifiers import InstrumentId, TraderId
from nautilus_trader.model.orders import Order
from nautilus_trader.trading.strategy import Strategy

from tests.venue.keys import ED25519_KEY, ApiKey
from tests.venue.make_venue import Handle

INSTRUMENT = InstrumentId.from_str("BTCUSDT.BINANCE")


class Probe(Strategy):
    """Subscribes to quotes and trades, keeps all it hears, and sends what a test asks for."""

    def __init__(self, name: str = "P") -> None:
        super().__init__(
            StrategyConfig(strategy_id=f"Probe-{name}", order_id_tag=name, external_order_claims=[INSTRUMENT])
        )
        self.quotes: list[QuoteTick] = []
        self.trades: list[TradeTick] = []
        self.events: list[OrderEvent] = []
        self.node: TradingNode | None = None

    def on_start(self) -> None:
        self.subscribe_quote_ticks(INSTRUMENT)
        self.subscribe_trade_ticks(INSTRUMENT)

    def on_quote_tick(self, tick: QuoteTick) -> None:
        self.quotes.append(tick)

    def on_trade_tick(self, tick: TradeTick) -> None:
        self.trades.append(tick)

    def on_order_event(self, event: OrderEvent) -> None:
        self.events.append(event)

    def send(self, side: str, qty: str, price: str | None = None, tif: str = "GTC", post_only: bool = False) -> Order:
        """Send a market order, or a limit order if there is a price."""
        instrument = self.cache.instrument(INSTRUMENT)
        shared: dict[str, Any] = {
            "instrument_id": INSTRUMENT, "order_side": OrderSide[side], "quantity": instrument.make_qty(Decimal(qty)),
        }  # fmt: skip
        if price is None:
            order = self.order_factory.market(**shared)
        else:
            order = self.order_factory.limit(
                **shared,
                price=instrument.make_price(Decimal(price)),
                time_in_force=TimeInForce[tif],
                post_only=post_only,
            )
        self.submit_order(order)
        return order

    def names(self, order: Order) -> list[str]:
        """Return the names of an order's events so far."""
        return [type(event).__name__ for event in order.events]

    def position(self) -> Decimal:
        """Return the signed net position of the instrument."""
        return sum((p.signed_decimal_qty() for p in self.cache.positions_open(instrument_id=INSTRUMENT)), Decimal(0))

    def balances(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Return free and locked by asset, as Nautilus's cache has them."""
        account = self.cache.account_for_venue(INSTRUMENT.venue)
        return {
            str(currency): (balance.free.as_decimal(), balance.locked.as_decimal())
            for currency, balance in account.balances().items()
        }


def build(
    venue: Handle,
    probe: Probe,
    key: ApiKey = ED25519_KEY,
    exec_options: dict[str, Any] | None = None,
    engine_options: dict[str, Any] | None = None,
) -> TradingNode:
    """Return a node with the bundled clients; nothing of the adapter is changed but its addresses."""
    provider = InstrumentProviderConfig(load_ids=frozenset([INSTRUMENT]))
    shared: dict[str, Any] = {
        "api_key": key.name, "api_secret": key.secret, "base_url_http": venue.http, "instrument_provider": provider,
    }  # fmt: skip
    config = TradingNodeConfig(
        trader_id=TraderId("TESTER-001"),
        logging=LoggingConfig(log_level="WARNING"),
        data_clients={BINANCE: BinanceDataClientConfig(base_url_ws=venue.ws, **shared)},
        exec_clients={BINANCE: BinanceExecClientConfig(base_url_ws=venue.ws_api, **shared, **(exec_options or {}))},
        exec_engine=LiveExecEngineConfig(
            **({"inflight_check_interval_ms": 500, "inflight_check_threshold_ms": 2_000} | (engine_options or {}))
        ),
        timeout_connection=20.0,
        timeout_reconciliation=10.0,
        timeout_portfolio=10.0,
        timeout_disconnection=5.0,
        timeout_post_stop=0.2,
    )
    node = TradingNode(config)
    node.add_data_client_factory(BINANCE, BinanceLiveDataClientFactory)
    node.add_exec_client_factory(BINANCE, BinanceLiveExecClientFactory)
    node.trader.add_strategy(probe)
    node.build()
    return node


def drive[T](
    venue: Handle, scenario: Callable[[Probe], Awaitable[T]], start_timeout: float = 30.0, **options: Any
) -> T:
    """Run a node on the venue while a scenario lasts; its streams are subscribed when the scenario begins."""
    probe = Probe()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    probe.node = node = build(venue, probe, **options)
    try:
        return loop.run_until_complete(_drive(node, venue, probe, scenario, start_timeout))
    finally:
        node.dispose()  # closes the loop
        asyncio.set_event_loop(None)


async def _drive[T](
    node: TradingNode, venue: Handle, probe: Probe, scenario: Callable[[Probe], Awaitable[T]], start_timeout: float
) -> T:
    asyncio.get_running_loop().create_task(node.run_async())
    try:
        await until(lambda: probe.is_running and len(venue.look("state")["streams"]) == 2, start_timeout)
        return await scenario(probe)
    finally:
        await node.stop_async()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def until(what: Callable[[], Any], timeout: float = 15.0) -> Any:
    """Wait until something is true and return it."""
    ends = asyncio.get_running_loop().time() + timeout
    while asyncio.get_running_loop().time() < ends:
        if found := what():
            return found
        await asyncio.sleep(0.02)
    raise AssertionError("it did not become true in time")


def differences(venue: Handle, probe: Probe) -> list[str]:
    """
    Return where Nautilus's cache and the venue's books differ: balances, position, open orders.

    A position is exact as long as it was never short: Nautilus forgets the base-currency fee of what closes a short.
    """
    books = venue.look("books")
    found = list(books["audit"])
    here = probe.balances()
    for asset, held in books["balances"].items():
        there = (Decimal(held["free"]), Decimal(held["locked"]))
        if here.get(asset, (Decimal(0), Decimal(0))) != there:
            found.append(f"{asset}: {here.get(asset)} here, {there} there")
    position = sum((_base_flow(trade) for trade in books["trades"]), Decimal(0))
    if probe.position() != position:
        found.append(f"position {probe.position()} here, {position} there")
    open_there = {row["clientOrderId"]: Decimal(row["executedQty"]) for row in books["open"]}
    open_here = {
        order.client_order_id.value: order.filled_qty.as_decimal()
        for order in [*probe.cache.orders_open(), *probe.cache.orders_inflight()]
    }
    if open_here != open_there:
        found.append(f"open orders {open_here} here, {open_there} there")
    return found


def _base_flow(trade: dict[str, Any]) -> Decimal:
    qty = Decimal(trade["qty"]) * (1 if trade["isBuyer"] else -1)
    return qty - (Decimal(trade["commission"]) if trade["commissionAsset"] == INSTRUMENT.symbol.value[:3] else 0)


async def agree(venue: Handle, probe: Probe, timeout: float = 15.0) -> None:
    """Wait until cache and books are the same."""
    ends = asyncio.get_running_loop().time() + timeout
    while found := differences(venue, probe):
        assert asyncio.get_running_loop().time() < ends, found
        await asyncio.sleep(0.05)
