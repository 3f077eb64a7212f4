"""The gate in a stock TradingNode with sandbox execution: the kill race, kill requests, and a refused start.

A fast strategy floods the node; some of its orders are approved and still wait in the engine's queue when
the switch trips. None of them may reach the execution client. No network: quotes come from a data client in
this file.
"""

import asyncio
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.adapters.sandbox.config import SandboxExecutionClientConfig
from nautilus_trader.adapters.sandbox.execution import SandboxExecutionClient
from nautilus_trader.adapters.sandbox.factory import SandboxLiveExecClientFactory
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.common.providers import InstrumentProvider
from nautilus_trader.config import LiveExecEngineConfig, LiveRiskEngineConfig, TradingNodeConfig
from nautilus_trader.live.config import LiveDataClientConfig
from nautilus_trader.live.data_client import LiveMarketDataClient
from nautilus_trader.live.factories import LiveDataClientFactory
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import ClientId, Venue
from nautilus_trader.trading.strategy import Strategy

from alphatrade.risk import gate_commands
from alphatrade.risk.disk import FolderLock
from alphatrade.risk.errors import InUseError, LatchedError
from alphatrade.risk.gate_commands import Commands
from alphatrade.risk.kill import release, request_kill, status
from alphatrade.risk.losses import read_losses
from tests.risk.rig import BTCUSDT, audited, controller, quote

TEMPLATE = {
    "orders_per_second": 1_000_000, "orders_per_minute": 1_000_000, "repeat_max": 1_000_000,
    "duplicate_window_s": 0, "open_orders_max": 100_000, "instrument_max": 100, "gross_max": 100,
    "net_max": 100,
}  # fmt: skip


class Quotes(LiveMarketDataClient):
    """Sends a quote on every turn of the event loop."""

    def __init__(self, loop: Any, msgbus: Any, cache: Any, clock: Any) -> None:
        super().__init__(
            loop=loop, client_id=ClientId("BINANCE"), venue=Venue("BINANCE"), msgbus=msgbus, cache=cache,
            clock=clock, instrument_provider=InstrumentProvider(), config=LiveDataClientConfig(),
        )  # fmt: skip
        self.feed: Any = None

    async def _connect(self) -> None:
        self._instrument_provider.add(BTCUSDT)
        self._handle_data(BTCUSDT)

    async def _disconnect(self) -> None:
        if self.feed is not None:
            self.feed.cancel()

    async def _subscribe_quote_ticks(self, command: Any) -> None:
        if self.feed is None:
            self.feed = self.create_task(self._pump())

    async def _unsubscribe_quote_ticks(self, command: Any) -> None:
        pass

    async def _pump(self) -> None:
        while True:
            self._handle_data(quote(BTCUSDT, 50_000, self._clock.timestamp_ns()))
            await asyncio.sleep(0.0005)


class Factory(LiveDataClientFactory):
    @staticmethod
    def create(loop: Any, name: str, config: Any, msgbus: Any, cache: Any, clock: Any) -> Quotes:
        return Quotes(loop, msgbus, cache, clock)


class Flood(Strategy):
    """Submits five market orders at every quote while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.flooding = False
        self.quotes = 0
        self.denied: list[str] = []

    def on_start(self) -> None:
        self.subscribe_quote_ticks(BTCUSDT.id)

    def on_quote_tick(self, tick: Any) -> None:
        self.quotes += 1
        for _ in range(5 if self.flooding else 0):
            side = OrderSide.BUY if self.quotes % 3 else OrderSide.SELL
            self.submit_order(self.order_factory.market(BTCUSDT.id, side, BTCUSDT.make_qty(0.01)))

    def on_order_denied(self, event: Any) -> None:
        self.denied.append(event.reason)


def make(strategy: Strategy, **gate: Any) -> TradingNode:
    node = TradingNode(
        config=TradingNodeConfig(
            trader_id="LIVE-001",
            logging=LoggingConfig(log_level="OFF"),
            controller=controller(template=TEMPLATE, **gate),
            exec_engine=LiveExecEngineConfig(reconciliation=False, inflight_check_interval_ms=0),
            risk_engine=LiveRiskEngineConfig(max_order_submit_rate="100000/00:00:01"),
            data_clients={"BINANCE": LiveDataClientConfig()},
            exec_clients={
                "BINANCE": SandboxExecutionClientConfig(
                    venue="BINANCE", starting_balances=["1000000 USDT"], account_type="MARGIN",
                    default_leverage=Decimal(10),
                )
            },
            timeout_connection=5, timeout_reconciliation=2, timeout_portfolio=2, timeout_disconnection=2,
            timeout_post_stop=0.2,
        )
    )  # fmt: skip
    node.add_data_client_factory("BINANCE", Factory)
    node.add_exec_client_factory("BINANCE", SandboxLiveExecClientFactory)
    node.trader.add_strategy(strategy)
    node.build()
    node.kernel.cache.add_instrument(BTCUSDT)
    return node


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield made
    if not made.is_closed():
        made.close()


def end(node: TradingNode, loop: asyncio.AbstractEventLoop) -> None:
    """Dispose of a node after ending what Nautilus leaves running on the loop."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    node.dispose()


async def until(condition: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0)


async def race(node: TradingNode, flood: Flood) -> tuple[int, list[str]]:
    """Return how many orders waited in the queue at the kill, and the ids that reached the client after it."""
    gate, engine = node.kernel._controller, node.kernel.exec_engine
    reached: list[str] = []
    killed = False
    real = SandboxExecutionClient.submit_order

    def counted(self: Any, command: Any) -> Any:
        if killed:
            reached.append(command.order.client_order_id.value)
        return real(self, command)

    SandboxExecutionClient.submit_order = counted
    task = asyncio.ensure_future(node.run_async())
    try:
        await until(lambda: flood.quotes > 5)
        flood.flooding = True
        await until(lambda: len(gate.record.fills) > 50)
        await until(lambda: engine.cmd_qsize() >= 3)
        waiting = engine.cmd_qsize()
        killed = True
        gate.kill("race", "test")
        await until(lambda: gate.switch.state == "HALTED")
        flood.flooding = False
        await asyncio.sleep(0.2)
    finally:
        SandboxExecutionClient.submit_order = real
        await node.stop_async()
        task.cancel()
    return waiting, reached


def test_orders_queued_before_a_kill_do_not_leave(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    flood = Flood()
    node = make(flood)
    gate = node.kernel._controller
    waiting, reached = loop.run_until_complete(race(node, flood))
    assert waiting >= 3
    assert all(order_id.startswith("LAW-") for order_id in reached)
    assert not node.kernel.cache.positions_open()
    assert not [o for o in node.kernel.cache.orders() if o.is_open or o.is_inflight]
    assert not gate.law.exposure.working
    assert sum("REDUCING" in reason for reason in flood.denied) >= 3
    audited(gate, tmp_path, TEMPLATE, long_only=False)
    end(node, loop)


def test_an_approval_that_waited_too_long_does_not_leave(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_commands, "APPROVAL_NS", -1)
    flood = Flood()
    node = make(flood)

    async def go() -> None:
        task = asyncio.ensure_future(node.run_async())
        await until(lambda: flood.quotes > 5)
        flood.flooding = True
        await until(lambda: len(flood.denied) > 9)
        await node.stop_async()
        task.cancel()

    loop.run_until_complete(go())
    assert all(reason.startswith("STALE_REFERENCE: stale_reference=") for reason in flood.denied)
    assert not node.kernel._controller.record.fills
    end(node, loop)


@pytest.mark.parametrize("held", [True, False])
def test_in_the_shadow_no_approved_order_reaches_a_stock_client(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, held: bool
) -> None:
    reached: list[str] = []
    real = SandboxExecutionClient.submit_order

    def counted(self: Any, command: Any) -> Any:
        reached.append(command.order.client_order_id.value)
        return real(self, command)

    monkeypatch.setattr(SandboxExecutionClient, "submit_order", counted)
    if not held:  # mutation
        monkeypatch.setattr(Commands, "withhold", lambda self, command: self.gate.run_command(command))
    flood = Flood()
    node = make(flood, env="live-shadow")
    gate = node.kernel._controller

    async def go() -> None:
        task = asyncio.ensure_future(node.run_async())
        await until(lambda: flood.quotes > 5)
        flood.flooding = True
        await until(lambda: len(flood.denied) > 9)
        await node.stop_async()
        task.cancel()

    loop.run_until_complete(go())
    if held:
        assert reached == []
        assert 0 < sum(reason.startswith("SHADOW") for reason in flood.denied) <= gate.record.counts["shadow"]
        assert gate.switch.trip_cause is None
        audited(gate, tmp_path, TEMPLATE, long_only=False)
    else:
        assert gate.switch.trip_cause.code == "TRIPWIRE"
        assert reached
    end(node, loop)


class Changes(Strategy):
    """Rests one small order and asks to make it larger when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.quotes = 0
        self.order: Any = None
        self.refused: list[str] = []

    def on_start(self) -> None:
        self.subscribe_quote_ticks(BTCUSDT.id)

    def on_quote_tick(self, tick: Any) -> None:
        self.quotes += 1
        if self.quotes == 5:
            self.order = self.order_factory.limit(
                BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(0.01), BTCUSDT.make_price(49_000)
            )
            self.submit_order(self.order)

    def grow(self, quantity: float) -> None:
        self.modify_order(self.order, quantity=BTCUSDT.make_qty(quantity))

    def on_order_modify_rejected(self, event: Any) -> None:
        self.refused.append(event.reason)


def changed(loop: asyncio.AbstractEventLoop, act: Any) -> tuple[Any, Changes]:
    """Return the gate and the strategy after `act` on a resting order."""
    strategy = Changes()
    node = make(strategy)

    async def go() -> None:
        task = asyncio.ensure_future(node.run_async())
        await until(lambda: strategy.order is not None and strategy.order.is_open)
        await act(node, strategy)
        await node.stop_async()
        task.cancel()

    loop.run_until_complete(go())
    end(node, loop)
    return node.kernel._controller, strategy


def late(monkeypatch: pytest.MonkeyPatch) -> Any:
    async def act(node: TradingNode, strategy: Changes) -> None:
        strategy.grow(0.02)
        await until(lambda: strategy.order.quantity == BTCUSDT.make_qty(0.02))
        monkeypatch.setattr(gate_commands, "APPROVAL_NS", -1)
        strategy.grow(0.03)
        await until(lambda: strategy.refused or strategy.order.quantity == BTCUSDT.make_qty(0.03))
        await asyncio.sleep(0.05)

    return act


def test_an_approved_modification_that_waited_too_long_does_not_leave(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, strategy = changed(loop, late(monkeypatch))
    assert [reason.split(":")[0] for reason in strategy.refused] == ["STALE_REFERENCE"]
    assert strategy.order.quantity == BTCUSDT.make_qty(0.02)
    order = gate.law.exposure.working[strategy.order.client_order_id.value]
    assert (order.pending, order.asking, order.reserved) == ((), 0, 2 * 10**7)
    assert not gate.commands.changes


def test_without_a_look_at_its_age_it_does(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Commands, "_expired", staticmethod(lambda then, now: None))
    _, strategy = changed(loop, late(monkeypatch))
    assert strategy.order.quantity == BTCUSDT.make_qty(0.03), "the mutant"


def test_a_late_refusal_gives_back_its_own_reservation(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two approved modifications, the second is refused in the queue while the first is at the venue."""
    seen: list[tuple[int, ...]] = []

    async def act(node: TradingNode, strategy: Changes) -> None:
        order = node.kernel._controller.orders[strategy.order.client_order_id.value]
        real = Commands._expired

        def expired(then: int, now: int) -> Any:
            seen.append(order.pending)
            if len(seen) == 1:
                return real(then, now)
            order.asking += 1  # a third has been announced and waits for its judgement
            return real(0, now)

        monkeypatch.setattr(Commands, "_expired", staticmethod(expired))
        strategy.grow(0.02)
        strategy.grow(0.05)
        await until(lambda: strategy.refused and not order.pending)
        assert (order.reserved, order.asking) == (2 * 10**7, 1)

    _, strategy = changed(loop, act)
    assert seen == [(2 * 10**7, 5 * 10**7)] * 2
    assert strategy.order.quantity == BTCUSDT.make_qty(0.02)


def test_a_modification_put_into_the_engine_directly_does_not_leave(loop: asyncio.AbstractEventLoop) -> None:
    from nautilus_trader.core.uuid import UUID4
    from nautilus_trader.execution.messages import ModifyOrder

    async def act(node: TradingNode, strategy: Changes) -> None:
        order = strategy.order
        node.kernel.exec_engine.execute(
            ModifyOrder(
                trader_id=strategy.trader_id, strategy_id=strategy.id, instrument_id=BTCUSDT.id,
                client_order_id=order.client_order_id, venue_order_id=order.venue_order_id,
                quantity=BTCUSDT.make_qty(9), price=None, trigger_price=None, command_id=UUID4(),
                ts_init=strategy.clock.timestamp_ns(),
            )
        )  # fmt: skip
        await until(lambda: node.kernel._controller.switch.state == "HALTED")

    gate, strategy = changed(loop, act)
    assert gate.switch.trip_cause.code == "TRIPWIRE"
    assert strategy.order.quantity == BTCUSDT.make_qty(0.01)


def test_without_the_guard_they_do(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Commands, "guard", lambda self, command: self.gate.run_command(command))
    flood = Flood()
    node = make(flood)
    _, reached = loop.run_until_complete(race(node, flood))
    assert [order_id for order_id in reached if not order_id.startswith("LAW-")]
    end(node, loop)


def test_a_kill_request_stops_a_running_node(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    flood = Flood()
    place = {"env": "paper", "account": "ACC", "state_dir": str(tmp_path)}
    node = make(flood, **place, poll_interval_ms=20)
    gate = node.kernel._controller

    async def go() -> None:
        task = asyncio.ensure_future(node.run_async())
        await until(lambda: flood.quotes > 5)
        flood.flooding = True
        await until(lambda: len(gate.record.fills) > 20)
        request_kill(tmp_path, "paper", "ACC", "Bob", "odd fills", time.time_ns())
        await until(lambda: gate.switch.state == "HALTED")
        await node.stop_async()
        task.cancel()

    loop.run_until_complete(go())
    assert not node.kernel.cache.positions_open()
    end(node, loop)
    seen = status(tmp_path, "paper", "ACC")
    assert (seen.state, seen.request_pending) == ("HALTED", False)
    assert seen.trip is not None
    assert (seen.trip.who, seen.trip.reason) == ("Bob", "odd fills")
    other = asyncio.new_event_loop()
    asyncio.set_event_loop(other)
    with pytest.raises(LatchedError, match="odd fills, by Bob"):
        make(Flood(), **place)
    release(tmp_path, "paper", "ACC", "Ann", "looked into it", time.time_ns())
    second = make(Flood(), **place)
    with pytest.raises(InUseError):
        make(Flood(), **place)
    end(second, other)
    FolderLock(tmp_path / "paper" / "ACC").release()  # never started, and free again all the same


def test_losses_go_on_in_the_next_node(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    def session(on: asyncio.AbstractEventLoop, fills: int) -> Any:
        flood = Flood()
        node = make(flood, env="paper", account="ACC", state_dir=str(tmp_path), capital="1000000")
        gate = node.kernel._controller

        async def go() -> None:
            task = asyncio.ensure_future(node.run_async())
            await until(lambda: flood.quotes > 5)
            flood.flooding = fills > 0
            await until(lambda: len(gate.record.fills) >= fills)
            flood.flooding = False
            await asyncio.sleep(0.2)
            await node.stop_async()
            task.cancel()

        on.run_until_complete(go())
        kept = read_losses(tmp_path / "paper" / "ACC")
        end(node, on)
        return gate, kept

    first, kept = session(loop, 20)
    assert kept is not None
    assert kept.cash == first.law.exposure.cash
    assert kept.positions["BTCUSDT.BINANCE"][0] == first.law.exposure.holding("BTCUSDT.BINANCE").position
    other = asyncio.new_event_loop()
    asyncio.set_event_loop(other)
    second, _ = session(other, 0)
    # The sandbox has forgotten the position: it counts as closed at the price seen last.
    assert first.law.equity - 10**19 < second.law.equity <= first.law.equity < 10**24
    assert second.law.peak == first.law.peak
    other.close()


def test_an_order_put_into_the_engine_directly_does_not_leave(loop: asyncio.AbstractEventLoop) -> None:
    from nautilus_trader.core.uuid import UUID4
    from nautilus_trader.execution.messages import SubmitOrder

    flood = Flood()
    node = make(flood)
    gate = node.kernel._controller

    async def go() -> None:
        task = asyncio.ensure_future(node.run_async())
        await until(lambda: flood.quotes > 5)
        order = flood.order_factory.market(BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(0.01))
        node.kernel.exec_engine.execute(
            SubmitOrder(
                trader_id=flood.trader_id, strategy_id=flood.id, order=order, command_id=UUID4(),
                ts_init=flood.clock.timestamp_ns(),
            )
        )  # fmt: skip
        await until(lambda: gate.switch.state == "HALTED" and flood.denied)
        await node.stop_async()
        task.cancel()

    loop.run_until_complete(go())
    assert gate.switch.trip_cause.code == "TRIPWIRE"
    assert [o.status_string() for o in node.kernel.cache.orders()] == ["DENIED"]
    end(node, loop)
