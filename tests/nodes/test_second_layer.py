"""Nautilus's own risk engine under the limits of the same template: it bites only where the law has failed."""

from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.config import ImportableControllerConfig, RiskEngineConfig, StrategyConfig
from nautilus_trader.model.data import Bar
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.trading.strategy import Strategy

from alphatrade.nodes.engine import build_engine, engine_config, run_engine
from alphatrade.nodes.settings import compose_settings
from alphatrade.nodes.tapes import load_tape
from alphatrade.nodes.wiring import node_config, second_layer, sim_config
from alphatrade.risk.pace import Pace
from alphatrade.risk.template import RiskTemplate
from tests.nodes import market
from tests.nodes.market import BARS, ID, MINUTE, STOCK_VENUE

TEMPLATE = RiskTemplate(orders_per_second=4, repeat_max=1000, duplicate_window_s=0, open_orders_max=1000)
SECOND = 10**9


def test_a_sim_carries_the_limits_of_its_template(tmp_path: Path) -> None:
    for risk, rate in (("default", "20/00:00:01"), ("tight", "10/00:00:01"), ("pilot", "4/00:00:01")):
        settings = compose_settings([f"policy/risk={risk}", "tape=world", "tape.hours=1"])
        known = settings.policy, [load_tape(settings.run.tape, tmp_path)], settings.run, None
        for config in (sim_config(*known), node_config(*known, tmp_path).engine):
            assert config.risk_engine.max_order_submit_rate == config.risk_engine.max_order_modify_rate == rate


class Burst(Strategy):
    """Send orders, or change one, as often as asked at each bar; resting, so that none fills."""

    def __init__(self, sizes: list[int], change: bool = False) -> None:
        super().__init__(StrategyConfig(order_id_tag="000"))
        self.sizes, self.change = list(sizes), change
        self.denied: list[str] = []
        self.passed = self.changes = 0
        self.kept: Any = None
        self.gate: Any = None

    def on_start(self) -> None:
        self.subscribe_bars(BARS)

    def on_bar(self, bar: Bar) -> None:
        for _ in range(self.sizes.pop(0) if self.sizes else 0):
            if self.change and self.kept is not None:
                self.changes += 1
                self.modify_order(self.kept, quantity=Quantity(0.1 + 0.001 * self.changes, 6))
            else:
                self.kept = self.order_factory.limit(ID, OrderSide.BUY, Quantity(0.1, 6), Price(9_900, 2))
                self.submit_order(self.kept)

    def on_order_denied(self, event: Any) -> None:
        self.denied.append(event.reason)

    on_order_modify_rejected = on_order_denied

    def on_order_accepted(self, _event: Any) -> None:
        self.passed += 1

    on_order_updated = on_order_accepted


class Held(Burst):
    """Open a position, use up all that Nautilus lets through in a second, and have the switch tripped at once."""

    def on_start(self) -> None:
        super().on_start()
        self.sizes = [0, 30]

    def on_bar(self, bar: Bar) -> None:
        if len(self.sizes) == 2:
            self.submit_order(self.order_factory.market(ID, OrderSide.BUY, Quantity(1, 6)))
        before = len(self.denied)
        super().on_bar(bar)
        if len(self.denied) > before:
            self.gate.kill("drill", "tester")


def play(burst: Burst, risk: RiskEngineConfig, step: int = MINUTE) -> Burst:
    config = {"component_id": "RiskGate", "template": TEMPLATE.model_dump(mode="json"), "currency": "USD"}
    gate = ImportableControllerConfig(
        controller_path="alphatrade.risk.gate:RiskGate", config_path="alphatrade.risk.gate:RiskGateConfig", config=config
    )  # fmt: skip
    bars = [market.bar((n + 1) * step, [10_000] * 4) for n in range(8)]
    engine = build_engine(engine_config(gate, [], [], risk), [market.instrument()], [bars], "SIM", STOCK_VENUE, [burst])
    burst.gate = engine.kernel._controller
    run_engine(engine)
    assert not engine.cache.positions_open()
    engine.dispose()
    return burst


LAYER, LOOSE = second_layer(TEMPLATE), RiskEngineConfig()


def test_all_that_the_law_allows_passes_it() -> None:
    burst = play(Burst([4] * 8), LAYER, SECOND)
    assert (burst.passed, burst.denied) == (32, [])
    changes = play(Burst([1, *[4] * 7], change=True), LAYER, SECOND)
    assert (changes.passed, changes.denied) == (29, [])


@pytest.mark.parametrize("change", [False, True])
def test_where_the_law_counts_nothing_it_bites_at_twice_the_rate(change: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [1, 30] if change else [30]
    lawful = play(Burst(sizes, change), LAYER)
    assert lawful.passed == 4 + change
    assert sum(reason.startswith("ORDER_RATE:") for reason in lawful.denied) == 4, "the law denies first"
    monkeypatch.setattr(Pace, "check_rate", lambda *_: None)
    maimed = play(Burst(sizes, change), LAYER)
    assert maimed.passed == 8 + change
    assert len(maimed.denied) == 22
    assert all("Exceeded MAX_ORDER_" in reason for reason in maimed.denied)
    assert play(Burst(sizes, change), LOOSE).passed == 30 + change, "the mutant: without the second layer all pass"


def test_the_laws_own_closing_order_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "check_rate", lambda *_: None)
    held = play(Held([]), LAYER)
    assert len(held.denied) == 22
    assert held.gate.switch.state == "HALTED"
    assert [row[4] for row in held.gate.record.orders if row[5] == "filled"][-1].startswith("LAW-")
