"""What the law costs: CPU time of a submit and its cancel, with the gate and without, interleaved.

``python -m benchmarks.gate_cost [--orders 6000] [--rounds 7]``

Four runs over the same quotes make one round: with and without the gate, with and without orders. The runs without orders
take the price of the quotes themselves (marking the book at each of them) out of the price of an order.
"""

import argparse
import json
import statistics
from decimal import Decimal
from typing import Any

from benchmarks.figures import child, figure, interleave, publish

COMMAND = "python -m benchmarks.gate_cost"
ID = "EUR/USD.SIM"
SIDES = ("native_idle", "native", "gated_idle", "gated")


def run_side(side: str, orders: int) -> None:
    """Run one of `SIDES` in this process and print its CPU seconds as JSON."""
    from nautilus_trader.config import ImportableControllerConfig, StrategyConfig
    from nautilus_trader.model.data import QuoteTick
    from nautilus_trader.model.enums import OrderSide
    from nautilus_trader.model.identifiers import InstrumentId, Symbol
    from nautilus_trader.model.instruments import CurrencyPair
    from nautilus_trader.model.objects import Currency, Price, Quantity
    from nautilus_trader.trading.strategy import Strategy

    from alphatrade.nodes.engine import build_engine, engine_config, run_engine
    from alphatrade.nodes.venue import venue_kwargs
    from benchmarks.bars import STOCK
    from benchmarks.figures import timed

    identifier = InstrumentId.from_str(ID)
    pair = CurrencyPair(
        instrument_id=identifier,
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

    class Quoter(Strategy):
        """Replaces its one resting order at every quote."""

        def on_start(self) -> None:
            self.resting: Any = None
            self.subscribe_quote_ticks(identifier)

        def on_quote_tick(self, tick: QuoteTick) -> None:
            if "idle" in side:
                return
            if self.resting is not None:
                self.cancel_order(self.resting)
            self.resting = self.order_factory.limit(
                identifier, OrderSide.BUY, Quantity.from_int(1_000), Price(1.09, 5)
            )
            self.submit_order(self.resting)

    size = Quantity.from_int(1_000_000)
    bid, ask = Price(1.1, 5), Price(1.1001, 5)
    quotes = [QuoteTick(identifier, bid, ask, size, size, i * 10**9, i * 10**9) for i in range(1, orders + 1)]
    law = ImportableControllerConfig(
        controller_path="alphatrade.risk.gate:RiskGate",
        config_path="alphatrade.risk.gate:RiskGateConfig",
        config={
            "component_id": "RiskGate",
            "template": {"name": "bench", "repeat_max": 1_000, "duplicate_window_s": 0.0},
            "capital": "1000000",
            "currency": "USD",
        },
    )
    kwargs = venue_kwargs(STOCK, "USD", {"quotes"}, {"quote", "spread"}, {ID: 0.0}, 1)
    engine = build_engine(
        engine_config(law if "gated" in side else None, [], []), [pair], [quotes], "SIM", kwargs, [Quoter(StrategyConfig())]
    )
    accepted = []
    engine.kernel.msgbus.subscribe("events.order.*", lambda event: accepted.append(type(event).__name__))
    result: dict[str, Any] = timed(lambda: run_engine(engine))
    result["orders"] = accepted.count("OrderCanceled")
    print(json.dumps(result))


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=6_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", choices=SIDES, help="run one side here and print JSON")
    args = parser.parse_args()
    if args.side:
        run_side(args.side, args.orders)
        return

    def go(side: str) -> dict[str, float]:
        return child("benchmarks.gate_cost", "--side", side, "--orders", str(args.orders))

    runs = interleave({side: (lambda side=side: go(side)) for side in SIDES}, args.rounds, "gate cost")
    orders = runs["native"][0]["orders"]
    cpu = {side: [run["cpu_s"] for run in sample] for side, sample in runs.items()}
    # Each side's floor is the median of its idle runs: subtracting single idle runs would only add their noise.
    floor = {side: statistics.median(cpu[f"{side}_idle"]) for side in ("native", "gated")}
    native = [1e6 * (value - floor["native"]) / orders for value in cpu["native"]]
    gated = [1e6 * (value - floor["gated"]) / orders for value in cpu["gated"]]
    added = [b / a - 1 for a, b in zip(native, gated, strict=True)]
    mark = 1e6 * (floor["gated"] - floor["native"]) / args.orders
    publish(
        "gate_cost",
        [
            figure("gate_cost.added", "CPU the gate adds to a submit and its cancel", added, "of native", "<= 0.25", command=COMMAND),
            figure("gate_cost.native", "native submit and cancel, CPU", native, "us/order", command=COMMAND),
            figure("gate_cost.gated", "the same under the gate", gated, "us/order", command=COMMAND),
            figure("gate_cost.mark", "CPU the gate adds to a quote without orders", mark, "us/quote", command=COMMAND),
            figure("gate_cost.orders", "orders submitted and cancelled on both sides", orders, "orders", f"== {args.orders - 1}", command=COMMAND),
        ],
    )


if __name__ == "__main__":
    main()
