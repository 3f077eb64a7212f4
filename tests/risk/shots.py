"""Cells that end a run (losses, the kill switch): one small backtest each."""

from typing import Any

from nautilus_trader.backtest.models import LatencyModel
from nautilus_trader.config import ExecAlgorithmConfig
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.algorithm import ExecAlgorithm
from nautilus_trader.execution.messages import SubmitOrder
from nautilus_trader.model.enums import OrderSide, TriggerType
from nautilus_trader.model.identifiers import ExecAlgorithmId
from nautilus_trader.model.orders import OrderList

from tests.risk.rig import BTCUSDT, Scripted, engine, flat_quotes, gate_of

ALGO = ExecAlgorithmId("Slice")
QTY = BTCUSDT.make_qty(0.1)
UP = OrderSide.BUY
CALM: dict[str, Any] = {"instrument_max": 50, "gross_max": 50, "net_max": 50, "daily_loss_max": 1, "drawdown_max": 1}


class Through(ExecAlgorithm):
    """Passes every order on."""

    def __init__(self) -> None:
        super().__init__(ExecAlgorithmConfig(exec_algorithm_id=ALGO))

    def on_order(self, order: Any) -> None:
        self.submit_order(order)


class Shooter(Scripted):
    """Buys, and sends one order along `path` once the state that `code` stands for has come about."""

    def __init__(self, path: str, code: str) -> None:
        super().__init__({3: Shooter.rest, 5: Shooter.buy})
        self.path, self.code = path, code
        self.before: set[str] | None = None
        self.gate: Any = None
        if code == "HALTED":
            self.script |= {8: Shooter.kill, 12: Shooter.act}
        else:
            self.on_fill = self.filled

    def limit(self, price: float, **more: Any) -> Any:
        return self.order_factory.limit(BTCUSDT.id, UP, QTY, BTCUSDT.make_price(price), **more)

    def rest(self) -> None:
        self.kept = self.limit(49_500)
        self.submit_order(self.kept)
        if self.path == "emulated":  # the emulator must have seen quotes to release at once later
            self.submit_order(self.limit(49_400, emulation_trigger=TriggerType.BID_ASK))

    def buy(self) -> None:
        self.submit_order(self.order_factory.market(BTCUSDT.id, UP, BTCUSDT.make_qty(0.5)))

    def kill(self) -> None:
        self.gate.kill("drill", "test")

    def filled(self, _event: Any) -> None:
        if self.code == "REDUCING" and self.before is None:
            self.before = set()  # the kill itself fills orders when there is no latency
            self.kill()
            self.before = None
        self.act()

    def act(self) -> None:
        if self.before is None:
            self.before = {o.client_order_id.value for o in self.cache.orders()}
            getattr(self, "do_" + self.path.replace(" ", "_"))()

    def do_market(self) -> None:
        self.submit_order(self.order_factory.market(BTCUSDT.id, UP, QTY))

    def do_limit(self) -> None:
        self.submit_order(self.limit(49_900))

    def do_stop(self) -> None:
        self.submit_order(self.order_factory.stop_market(BTCUSDT.id, UP, QTY, BTCUSDT.make_price(50_100)))

    def do_bracket(self) -> None:
        stop, target = BTCUSDT.make_price(49_900), BTCUSDT.make_price(50_100)
        orders = self.order_factory.bracket(BTCUSDT.id, UP, QTY, sl_trigger_price=stop, tp_price=target)
        self.submit_order_list(orders)

    def do_list(self) -> None:
        orders = [self.limit(49_900), self.limit(49_800)]
        self.submit_order_list(OrderList(self.order_factory.generate_order_list_id(), orders))

    def do_modify(self) -> None:
        self.modify_order(self.kept, quantity=BTCUSDT.make_qty(0.2))

    def do_emulated(self) -> None:
        self.submit_order(self.limit(50_100, emulation_trigger=TriggerType.BID_ASK))

    def do_exec_algorithm(self) -> None:
        self.submit_order(self.order_factory.market(BTCUSDT.id, UP, QTY, exec_algorithm_id=ALGO))

    def do_direct(self) -> None:
        send_directly(self, self.order_factory.market(BTCUSDT.id, UP, QTY))

    def do_close_position(self) -> None:
        self.close_position(self.cache.positions_open()[0])

    def do_market_exit(self) -> None:
        self.market_exit()


def send_directly(strategy: Scripted, order: Any) -> None:
    """Put a submission on the bus, past strategy and risk engine."""
    command = SubmitOrder(
        trader_id=strategy.trader_id, strategy_id=strategy.id, order=order, command_id=UUID4(),
        ts_init=strategy.clock.timestamp_ns(),
    )  # fmt: skip
    strategy.msgbus.send("ExecEngine.execute", command)


def shot(path: str, code: str, gate: bool = True) -> int:
    """Return how many orders were denied for `code` on `path`; every other answer fails."""
    limit = {"DAILY_LOSS": "daily_loss_max", "DRAWDOWN": "drawdown_max"}.get(code)
    template = {**CALM, **({limit: 1e-5} if limit else {})}
    shooter = Shooter(path, code)
    latency = LatencyModel(base_latency_nanos=50_000_000) if code == "REDUCING" else None
    config = {"template": template} if gate else None
    quotes = flat_quotes(BTCUSDT, 50_000, 30)
    built = engine(quotes, [shooter], config, latency=latency, algorithms=[Through()])
    shooter.gate = gate_of(built)
    built.run()
    answers = shooter.rejected
    if path != "modify":
        ids = {o.client_order_id.value: o for o in built.cache.orders()}
        mine = [i for i in ids if i not in (shooter.before or ()) and not i.startswith("LAW-")]
        answers = [shooter.denied.get(i, ids[i].status_string()) for i in mine]
    assert answers, (path, code)
    assert all(code in answer for answer in answers), (path, code, answers)
    assert shooter.gate.switch.state == "HALTED"
    assert not built.cache.positions_open()
    assert not built.cache.orders_open()
    built.dispose()
    return len(answers)
