"""Perception without an engine sees what perception in an engine sees, step by step and bit by bit."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.config import BacktestEngineConfig
from nautilus_trader.model.identifiers import Venue

from alphatrade.actors.messages import BeliefSnapshot
from alphatrade.nodes import feed, wiring
from alphatrade.nodes.perceive import walk
from alphatrade.nodes.settings import compose_settings
from alphatrade.nodes.tape import Tape
from alphatrade.nodes.tape_spec import WorldTape
from alphatrade.nodes.worlds import make_world
from alphatrade.strategies.policy import Policy
from tests.nodes.market import STOCK_VENUE


def quotes() -> Tape:
    return make_world(WorldTape(seed=5, hours=2, halts=1, gaps=1, bad_prints=2))


def trades() -> Tape:
    world = quotes()
    bid, ask, size = (world.columns[name] for name in ("bid", "ask", "bid_size"))
    side = 1 + np.arange(len(world)) % 3 % 2
    columns = {"ts": world.columns["ts"], "price": np.where(side == 1, ask, bid), "size": size, "aggressor": side}
    return replace(world, kind="trades", columns=columns, half_spread_bps=1.0, truth=None)


def bars() -> Tape:
    world = quotes()
    rows = len(world) // 60 * 60
    prices = world.columns["bid"][:rows].reshape(-1, 60)
    columns = {
        "ts": world.columns["ts"][:rows].reshape(-1, 60)[:, -1],
        "open": prices[:, 0].copy(),
        "high": prices.max(axis=1),
        "low": prices.min(axis=1),
        "close": prices[:, -1].copy(),
        "volume": world.columns["bid_size"][:rows:60].copy(),
    }
    return replace(world, kind="bars", columns=columns, bar_s=60.0, half_spread_bps=1.0, truth=None)


def in_an_engine(tape: Tape, policy: Policy) -> list[BeliefSnapshot]:
    """Return what perception publishes in a stock engine."""
    config = BacktestEngineConfig(
        trader_id="ALPHATRADE-001",
        logging=LoggingConfig(bypass_logging=True),
        actors=[wiring.perception(policy, tape)],
        run_analysis=False,
    )
    engine = BacktestEngine(config)
    engine.add_venue(Venue(tape.instrument.venue), **STOCK_VENUE)
    engine.add_instrument(feed.instrument(tape.instrument))
    engine.add_data(feed.events(tape))
    seen: list[BeliefSnapshot] = []
    engine.kernel.msgbus.subscribe("alphatrade.belief.*", seen.append)
    engine.run()
    engine.dispose()
    return seen


def plain(snapshot: BeliefSnapshot) -> dict[str, Any]:
    fields = {name: getattr(snapshot, name) for name in snapshot.__struct_fields__ if name != "received_ns"}
    arrays = {name: fields.pop(name).tobytes() for name in ("features", "z", "idx", "val")}
    facts = fields.pop("facts")
    return {k: repr(v) for k, v in fields.items()} | arrays | {"facts": repr(msgspec.structs.astuple(facts))}


@pytest.mark.parametrize("tape", [quotes, trades, bars])
@pytest.mark.parametrize("cadence", [("seconds", 15), ("events", 7), ("seconds", 600)])
def test_the_same_steps_as_in_an_engine(tape: Any, cadence: tuple[str, int]) -> None:
    made = tape()
    features = {"quotes": "quotes", "trades": "core", "bars": "core"}[made.kind]
    kind, n = cadence
    overrides = [f"policy/features={features}", f"policy.cadence.kind={kind}", f"policy.cadence.n={n}"]
    policy = compose_settings(overrides).policy
    here, there = list(walk(made, policy)), in_an_engine(made, policy)
    assert len(here) == len(there) > 5
    assert [plain(snapshot) for snapshot in here] == [plain(snapshot) for snapshot in there]


def test_bars_at_their_own_cadence() -> None:
    policy = compose_settings(["policy.cadence.kind=bars", "policy.cadence.n=2"]).policy
    here, there = list(walk(bars(), policy)), in_an_engine(bars(), policy)
    assert len(here) == len(bars()) // 2
    assert [plain(snapshot) for snapshot in here] == [plain(snapshot) for snapshot in there]
