"""What the law costs: CPU time of a submit and its cancel, with the gate and without, interleaved.

``python -m benchmarks.gate_cost [--orders 2000] [--rounds 15]``

Four short runs over the same quotes make one round, in one process: with and without the gate, with and without
orders. The runs without orders take what the quotes themselves cost (marking the book at each of them) out of the
price of an order. CPU time, as other processes share the machine.
"""

import argparse
import statistics
from decimal import Decimal

from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.config import ImportableControllerConfig, StrategyConfig
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.events import OrderCanceled, OrderEvent
from nautilus_trader.model.identifiers import InstrumentId, Symbol
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Currency, Price, Quantity
from nautilus_trader.model.orders import LimitOrder
from nautilus_trader.trading.strategy import Strategy

from alphatrade.nodes.engine import build_engine, engine_config, run_engine
from alphatrade.nodes.venue import venue_kwargs
from benchmarks.bars import STOCK
from benchmarks.figures import figure, interleave, publish, timed

COMMAND = "python -m benchmarks.gate_cost"
ID = InstrumentId.from_str("EUR/USD.SIM")
SIDES = ("native_idle", "native", "gated_idle", "gated")


class Quoter(Strategy):
    """Replaces its one resting order at every quote, or does nothing."""

    def __init__(self, idle: bool) -> None:
        super().__init__(StrategyConfig(strategy_id="quoter"))
        self.idle = idle
        self.cancelled = 0
        self.resting: LimitOrder | None = None

    def on_start(self) -> None:
        """Subscribe."""
        self.subscribe_quote_ticks(ID)

    def on_quote_tick(self, tick: QuoteTick) -> None:
        """Cancel the old order and submit a new one, far from the market."""
        if self.idle:
            return
        if self.resting is not None:
            self.cancel_order(self.resting)
        self.resting = self.order_factory.limit(ID, OrderSide.BUY, Quantity.from_int(1_000), Price(1.09, 5))
        self.submit_order(self.resting)

    def on_order_event(self, event: OrderEvent) -> None:
        """Count what really was cancelled."""
        self.cancelled += type(event) is OrderCanceled


def instrument() -> CurrencyPair:
    """Return a plain FX pair."""
    return CurrencyPair(
        instrument_id=ID,
        raw_symbol=Symbol("EUR/USD"),
        base_currency=Currency.from_str("EUR"),
        quote_currency=Currency.from_str("USD"),
        price_precision=5,
        size_precision=0,
        price_increment=Price.from_str("0.00001"),
        size_increment=Quantity.from_int(1),
        ts_event=0,
        ts_init=0,
        maker_fee=Decimal("0.00002"),
        taker_fee=Decimal("0.00002"),
    )


def law() -> ImportableControllerConfig:
    """Return the gate, with the throttles that would stop this strategy opened."""
    return ImportableControllerConfig(
        controller_path="alphatrade.risk.gate:RiskGate",
        config_path="alphatrade.risk.gate:RiskGateConfig",
        config={
            "component_id": "RiskGate",
            "template": {"name": "bench", "repeat_max": 1_000, "duplicate_window_s": 0.0},
            "capital": "1000000",
            "currency": "USD",
        },
    )


def build(side: str, quotes: list[QuoteTick]) -> tuple[BacktestEngine, Quoter]:
    """Return an engine for one of `SIDES`."""
    quoter = Quoter(idle=side.endswith("idle"))
    config = engine_config(law() if side.startswith("gated") else None, [], [])
    kwargs = venue_kwargs(STOCK, "USD", {"quotes"}, {"quote", "spread"}, {str(ID): 0.0}, 1)
    return build_engine(config, [instrument()], [quotes], "SIM", kwargs, [quoter]), quoter


def run_side(side: str, quotes: list[QuoteTick]) -> dict[str, float]:
    """Run one of `SIDES` and return its times and the number of orders that came and went."""
    engine, quoter = build(side, quotes)
    result = timed(lambda: run_engine(engine))
    result["orders"] = quoter.cancelled
    engine.dispose()
    return result


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()

    size, bid, ask = Quantity.from_int(1_000_000), Price(1.1, 5), Price(1.1001, 5)
    quotes = [QuoteTick(ID, bid, ask, size, size, i * 10**9, i * 10**9) for i in range(1, args.orders + 2)]
    for side in SIDES:
        run_side(side, quotes[:200])  # warm up imports and caches
    runs = interleave({side: lambda side=side: run_side(side, quotes) for side in SIDES}, args.rounds, "gate cost")
    orders = runs["native"][0]["orders"]
    cpu = {side: [run["cpu_s"] for run in sample] for side, sample in runs.items()}
    native = [1e6 * (busy - idle) / orders for busy, idle in zip(cpu["native"], cpu["native_idle"], strict=True)]
    gated = [1e6 * (busy - idle) / orders for busy, idle in zip(cpu["gated"], cpu["gated_idle"], strict=True)]
    added = [b / a - 1 for a, b in zip(native, gated, strict=True)]
    mark = [1e6 * (b - a) / len(quotes) for a, b in zip(cpu["native_idle"], cpu["gated_idle"], strict=True)]
    different = [run["orders"] for side in ("native", "gated") for run in runs[side] if run["orders"] != orders]
    rows = [
        ("added", "CPU the gate adds to a submit and its cancel", added, "of native", "<= 0.25"),
        (
            "of_medians",
            "the same, from the two medians",
            statistics.median(gated) / statistics.median(native) - 1,
            "of native",
            "",
        ),
        ("native", "native submit and cancel, CPU", native, "us/order", ""),
        ("gated", "the same under the gate", gated, "us/order", ""),
        ("mark", "CPU the gate adds to a quote without orders", mark, "us/quote", ""),
        ("differences", "runs with another number of cancelled orders", len(different), "", "== 0"),
    ]
    publish("gate_cost", [figure(f"gate_cost.{name}", *row, command=COMMAND) for name, *row in rows])


if __name__ == "__main__":
    main()
