"""The simulated venue: takers pay a spread, limits keep their price, commands arrive on time."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
import yaml
from nautilus_trader.backtest.config import FillModelFactory
from nautilus_trader.backtest.models import FillModel
from nautilus_trader.config import ActorFactory, StrategyConfig
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar, QuoteTick
from nautilus_trader.model.enums import OrderSide, TimeInForce
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.trading.strategy import Strategy
from pydantic import ValidationError

from alphatrade.nodes.venue import venue_config, venue_kwargs
from alphatrade.nodes.venue_models import HouseFillModel
from alphatrade.nodes.venue_spec import VenueSpec, plan
from tests.nodes import market
from tests.nodes.market import BARS, ID, MINUTE

CALM: dict[str, Any] = {"prob_slippage": 0.0, "latency_ms": 0}


class Fill(NamedTuple):
    ts: int
    side: str
    price: str
    liquidity: str


def bar(minute: int, prices: Sequence[float], volume: float = 100.0) -> Bar:
    return market.bar(minute * MINUTE, prices, volume)


def quote(stamp: int, bid: float, ask: float, size: float = 10.0) -> QuoteTick:
    amount = Quantity(size, 6)
    return QuoteTick(ID, Price(bid, 2), Price(ask, 2), amount, amount, stamp, stamp)


class Script(Strategy):
    """Runs one action per event, by its number, and keeps the fills."""

    def __init__(self, actions: dict[int, Callable[["Script"], None]]) -> None:
        super().__init__(StrategyConfig(strategy_id="script"))
        self.actions = actions
        self.count = 0
        self.fills: list[Fill] = []

    def on_start(self) -> None:
        self.subscribe_bars(BARS)
        self.subscribe_quote_ticks(ID)

    def on_bar(self, bar: Bar) -> None:
        self._act()

    def on_quote_tick(self, tick: QuoteTick) -> None:
        self._act()

    def _act(self) -> None:
        self.count += 1
        self.actions.get(self.count, lambda _: None)(self)

    def on_order_filled(self, event: OrderFilled) -> None:
        liquidity = "MAKER" if event.liquidity_side.value == 1 else "TAKER"
        self.fills.append(Fill(event.ts_event, event.order_side.name, str(event.last_px), liquidity))

    def market(self, side: OrderSide, quantity: str = "1") -> None:
        self.submit_order(self.order_factory.market(ID, side, Quantity.from_str(f"{quantity}.000000")))

    def limit(self, side: OrderSide, price: float, tif: TimeInForce = TimeInForce.GTC) -> None:
        one = Quantity.from_str("1.000000")
        self.submit_order(self.order_factory.limit(ID, side, one, Price(price, 2), time_in_force=tif))

    def buy_stop(self, side: OrderSide, trigger: float) -> None:
        self.submit_order(self.order_factory.stop_market(ID, side, Quantity.from_str("1.000000"), Price(trigger, 2)))


def run(
    spec: VenueSpec,
    data: Sequence[Data],
    actions: dict[int, Callable[[Script], None]],
    half_spread: float = 10.0,
    seed: int = 1,
) -> list[Fill]:
    kind = "bars" if isinstance(data[0], Bar) else "quotes"
    half_spreads = {str(ID): half_spread if kind == "bars" else 0.0}
    provides = {"bar", "volume"} if kind == "bars" else {"quote", "spread", "size"}
    script = Script(actions)
    engine = market.stock_engine(data, script, venue_kwargs(spec, "USD", {kind}, provides, half_spreads, seed))
    engine.run()
    engine.dispose()
    return script.fills


FLAT = [bar(minute, (100.0, 100.0, 100.0, 100.0)) for minute in range(1, 6)]


def test_takers_pay_the_assumed_half_spread_rounded_up_to_ticks() -> None:
    fills = run(
        VenueSpec(**CALM),
        FLAT,
        {1: lambda s: s.market(OrderSide.BUY), 2: lambda s: s.market(OrderSide.SELL)},
        10.5,
    )
    assert [fill.price for fill in fills] == ["100.11", "99.89"]  # 10.5 bp of 100 is 0.105: up to 0.11


def test_the_stock_venue_charges_no_spread() -> None:
    stock = VenueSpec(**CALM, assumed_spread=False)
    fills = run(stock, FLAT, {1: lambda s: s.market(OrderSide.BUY)})
    assert [fill.price for fill in fills] == ["100.00"]


def test_doubled_costs_double_the_half_spread_and_fees_but_not_rebates() -> None:
    fills = run(VenueSpec(**CALM, cost_multiple=2.0), FLAT, {1: lambda s: s.market(OrderSide.BUY)})
    assert [fill.price for fill in fills] == ["100.20"]


def test_doubled_costs_widen_real_quotes() -> None:
    quotes = [quote(minute * MINUTE, 100.0, 100.1) for minute in range(1, 4)]
    fills = run(VenueSpec(**CALM, cost_multiple=2.0), quotes, {1: lambda s: s.market(OrderSide.BUY)})
    assert [fill.price for fill in fills] == ["100.15"]


def test_what_the_book_does_not_show_fills_one_tick_further() -> None:
    thin = [bar(minute, (100.0, 100.0, 100.0, 100.0), volume=4.0) for minute in range(1, 4)]
    fills = run(VenueSpec(**CALM), thin, {1: lambda s: s.market(OrderSide.BUY, "3")})
    assert [fill.price for fill in fills] == ["100.10", "100.11"]


def test_slippage_hits_takers_and_never_a_resting_limit() -> None:
    slippery = VenueSpec(latency_ms=0, prob_slippage=1.0, prob_fill_on_limit=1.0)
    falling = [FLAT[0], bar(2, (100.0, 100.0, 98.0, 98.0)), bar(3, (98.0, 98.0, 98.0, 98.0))]
    fills = run(slippery, falling, {1: lambda s: (s.limit(OrderSide.BUY, 99.0), s.market(OrderSide.BUY))})
    assert [(fill.price, fill.liquidity) for fill in fills] == [("100.11", "TAKER"), ("99.00", "MAKER")]


def test_a_limit_inside_the_assumed_spread_rests_and_fills_at_its_own_price() -> None:
    falling = [FLAT[0], bar(2, (99.99, 99.99, 99.97, 99.97)), bar(3, (99.97, 99.97, 99.0, 99.0))]
    fills = run(VenueSpec(**CALM), falling, {1: lambda s: s.limit(OrderSide.BUY, 100.05)})
    assert [(fill.ts, fill.price) for fill in fills] == [(3 * MINUTE, "100.05")]


def test_a_marketable_limit_pays_the_spread_up_to_its_price() -> None:
    fills = run(VenueSpec(**CALM), FLAT, {1: lambda s: s.limit(OrderSide.BUY, 101.0)})
    assert [(fill.price, fill.liquidity) for fill in fills] == [("100.10", "TAKER")]


def test_immediate_limits_inside_the_spread_are_filled_at_their_price_or_killed() -> None:
    def both(script: Script) -> None:
        script.limit(OrderSide.BUY, 100.05, TimeInForce.IOC)
        script.limit(OrderSide.BUY, 100.04, TimeInForce.FOK)

    assert [fill.price for fill in run(VenueSpec(**CALM), FLAT, {1: both})] == ["100.05"]


@pytest.mark.parametrize(
    ("second", "price"),
    [
        pytest.param((100.0, 103.0, 100.0, 103.0), "101.11", id="bar moved through the trigger"),
        pytest.param((102.0, 103.0, 102.0, 103.0), "102.11", id="bar opened beyond the trigger"),
    ],
)
def test_stops_fill_at_trigger_or_at_a_gapped_open_plus_half_spread(second: tuple[float, ...], price: str) -> None:
    fills = run(VenueSpec(**CALM), [FLAT[0], bar(2, second)], {1: lambda s: s.buy_stop(OrderSide.BUY, 101.0)})
    assert [fill.price for fill in fills] == [price]


@pytest.mark.parametrize(("chance", "count"), [(0.0, 0), (1.0, 1)])
def test_a_touched_limit_fills_by_chance(chance: float, count: int) -> None:
    touching = [FLAT[0], *(bar(m, (100.0, 100.0, 99.0, 100.0)) for m in range(2, 8))]
    fills = run(VenueSpec(**CALM, prob_fill_on_limit=chance), touching, {1: lambda s: s.limit(OrderSide.BUY, 99.0)})
    assert len(fills) == count


def test_orders_arrive_after_the_latency_and_not_a_bar_later() -> None:
    moving = [bar(1, (100.0,) * 4), bar(2, (100.0, 110.0, 100.0, 110.0)), bar(3, (110.0,) * 4)]
    late = {"prob_slippage": 0.0, "latency_ms": 50}
    exact = run(VenueSpec(**late), moving, {1: lambda s: s.market(OrderSide.BUY)})
    assert exact == [Fill(MINUTE + 50_000_000, "BUY", "100.10", "TAKER")]
    stock = run(VenueSpec(**late, exact_latency=False), moving, {1: lambda s: s.market(OrderSide.BUY)})
    assert stock == [Fill(2 * MINUTE, "BUY", "110.11", "TAKER")]


def test_the_seed_decides_and_the_global_generator_does_not() -> None:
    import random

    def noisy(script: Script) -> None:
        random.random()
        script.market(OrderSide.BUY)

    many = [bar(minute, (100.0,) * 4) for minute in range(1, 60)]
    spec = VenueSpec(latency_ms=0)
    quiet = run(spec, many, dict.fromkeys(range(1, 50), lambda s: s.market(OrderSide.BUY)))
    assert quiet == run(spec, many, dict.fromkeys(range(1, 50), noisy))
    assert quiet != run(spec, many, dict.fromkeys(range(1, 50), noisy), seed=2)


def test_quotes_go_the_standard_way() -> None:
    quotes = [quote(minute * MINUTE, 100.0, 100.1) for minute in range(1, 4)]
    fills = run(VenueSpec(**CALM), quotes, {1: lambda s: s.market(OrderSide.BUY)})
    assert [fill.price for fill in fills] == ["100.10"]


def test_shown_size_is_used_up_on_quotes_with_sizes() -> None:
    quotes = [quote(minute * MINUTE, 100.0, 100.1, size=1.0) for minute in range(1, 4)]
    actions = {1: lambda s: s.market(OrderSide.BUY), 2: lambda s: s.market(OrderSide.BUY)}
    assert [fill.price for fill in run(VenueSpec(**CALM), quotes, actions)] == ["100.10", "100.11"]
    endless = VenueSpec(**CALM, liquidity_consumption=False)
    assert [fill.price for fill in run(endless, quotes, actions)] == ["100.10", "100.10"]


@pytest.mark.parametrize(
    ("kinds", "provides", "queue", "consumption"),
    [
        ({"quotes"}, {"quote", "spread", "size"}, False, True),
        ({"quotes"}, {"quote", "spread"}, False, False),
        ({"trades"}, {"trade", "volume"}, True, False),
        ({"bars"}, {"bar", "volume"}, False, False),
        ({"bars", "quotes"}, set(), False, False),
    ],
)
def test_frictions_need_the_data_for_them(kinds: set[str], provides: set[str], queue: bool, consumption: bool) -> None:
    can = plan(VenueSpec(), kinds, provides, {"A.SIM": 1.0, "B.SIM": 0.0})
    assert (can.queue_position, can.liquidity_consumption) == (queue, consumption)
    assert can.half_spread_bps == {"A.SIM": Decimal("1.0")}


def test_a_node_gets_the_same_venue_from_importable_names() -> None:
    spec = VenueSpec(cost_multiple=2.0)
    facts = ({"bars"}, {"bar", "volume"}, {str(ID): 10.0})
    config = venue_config(spec, "SIM", "USD", *facts, 7)
    kwargs = venue_kwargs(spec, "USD", *facts, 7)
    model = FillModelFactory.create(config.fill_model)
    assert isinstance(model, HouseFillModel)
    assert model._half_spread == kwargs["fill_model"]._half_spread == {str(ID): 20 * 10**9}
    assert [model._random.random() for _ in range(3)] == [kwargs["fill_model"]._random.random() for _ in range(3)]
    assert ActorFactory.create(config.modules[0])._arrival_ns == 50_000_000
    for name in (
        "queue_position",
        "liquidity_consumption",
        "bar_adaptive_high_low_ordering",
        "use_random_ids",
    ):
        assert getattr(config, name) == kwargs[name]
    assert config.starting_balances == [str(kwargs["starting_balances"][0]).replace(".00 ", " ")]


def test_the_groups_hold_every_field() -> None:
    from pathlib import Path

    folder = Path(__file__).resolve().parents[2] / "conf" / "venue"
    default = yaml.safe_load((folder / "default.yaml").read_text())
    assert VenueSpec(**default) == VenueSpec()
    stock = yaml.safe_load((folder / "stock.yaml").read_text())
    stock.pop("defaults")
    spec = VenueSpec(**(default | stock))
    assert (spec.prob_fill_on_limit, spec.prob_slippage, spec.latency_ms) == (1.0, 0.0, 0)
    assert plan(spec, {"bars"}, {"bar", "volume"}, {str(ID): 10.0}).half_spread_bps == {}
    assert set(default) == set(VenueSpec.model_fields)


@pytest.mark.parametrize(
    "wrong",
    [{"account": "spot"}, {"prob_slippage": 1.5}, {"latency_ms": -1}, {"starting_balance": 0}, {"typo": 1}],
)
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VenueSpec(**wrong)


def test_without_the_house_model_limits_would_slip_past_their_price() -> None:
    """Mutation: Nautilus's own model really does what `HouseFillModel` is there to prevent."""
    spec = VenueSpec(latency_ms=0, prob_slippage=1.0, prob_fill_on_limit=1.0, assumed_spread=False)
    kwargs = venue_kwargs(spec, "USD", {"bars"}, {"bar"}, {}, 1) | {
        "fill_model": FillModel(1.0, 1.0, 1),
        "modules": [],
    }
    script = Script({1: lambda s: s.limit(OrderSide.BUY, 99.0)})
    engine = market.stock_engine([FLAT[0], bar(2, (100.0, 100.0, 98.0, 98.0)), bar(3, (98.0,) * 4)], script, kwargs)
    engine.run()
    engine.dispose()
    assert [fill.price for fill in script.fills] == ["99.01"]
