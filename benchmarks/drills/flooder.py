"""A paper node at full speed with a strategy that floods it: ``python -m benchmarks.drills.flooder FOLDER SEED``.

Orders come at every quote, and a crowd of callers wait in the queue of the node's loop, each of which sends an order
and goes to its end. The client's commands are counted where they leave the node. A while after the halt it stops, and
prints one line of JSON.
"""

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from nautilus_trader.config import StrategyConfig
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.trading.strategy import Strategy

from alphatrade.nodes.artifacts import Folder
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.paper.assembly import Flight, Parts
from alphatrade.nodes.paper.node import fly
from alphatrade.nodes.replay import Replay
from alphatrade.nodes.settings import compose_settings
from alphatrade.nodes.sim import identity_of, load_tapes, write_inputs
from alphatrade.risk.audit_judge import LAW_PREFIX
from alphatrade.risk.gate import STATE_TOPIC
from alphatrade.risk.kill import State, StateChange

CROWD, BURST, LINGER_S = 100, 3, 1.0
TAG = "999"  # in the ids of its orders
RISK = {
    "orders_per_second": 1_000_000, "orders_per_minute": 1_000_000, "repeat_max": 1_000_000, "duplicate_window_s": 0,
    "open_orders_max": 100_000, "gross_max": 10, "net_max": 10, "instrument_max": 10,
}  # fmt: skip
QUIET = ("output.report=false", "output.stress=false")
WORDS = ("tape=world", "tape.hours=24", *QUIET, *(f"policy.risk.{name}={value}" for name, value in RISK.items()))


class Flood(Strategy):
    """Sends orders whenever it is called, and it is called without end."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, seed: int, crowd: int = CROWD) -> None:
        super().__init__(StrategyConfig(strategy_id="Flood", order_id_tag=TAG))
        self._instrument, self._loop, self._draws = name, loop, random.Random(seed)
        self._crowd, self.tried, self.waiting = crowd, 0, 0

    def on_start(self) -> None:
        """Subscribe."""
        self._known = next(one for one in self.cache.instruments() if one.id.value == self._instrument)
        self.subscribe_quote_ticks(self._known.id)

    def on_quote_tick(self, tick: Any) -> None:
        """Send some, and see that the crowd is there."""
        self._tick = tick
        for _ in range(BURST):
            self._send()
        while self.waiting < self._crowd:
            self.waiting += 1
            self._loop.call_soon(self._one)

    def _one(self) -> None:
        if self.is_running:
            self._send()
            self._loop.call_soon(self._one)
        else:
            self.waiting -= 1

    def _send(self) -> None:
        self.tried += 1
        side = self._draws.choice((OrderSide.BUY, OrderSide.SELL))
        quantity = self._known.make_qty(self._draws.randint(1, 5))
        if self._draws.random() < 0.5:
            self.submit_order(self.order_factory.market(self._known.id, side, quantity))
        else:
            price = self._tick.bid_price if side == OrderSide.BUY else self._tick.ask_price
            self.submit_order(self.order_factory.limit(self._known.id, side, quantity, price))
        if len(self.cache.orders_open(strategy_id=self.id)) > 50:
            self.cancel_all_orders(self._known.id)


class Witness:
    """Stands where commands leave the node, and counts them before and after the trip."""

    def __init__(self, parts: Parts, flood: Flood) -> None:
        self.told: dict[str, int] = {"before": 0, "after": 0, "waiting": 0, "tried_after": 0}
        self._parts, self._flood, self._tripped = parts, flood, False
        venue = parts.venue
        self._submit, venue.submit_order = venue.submit_order, self.submit
        parts.node.kernel.msgbus.subscribe(STATE_TOPIC, self.switched, priority=1_000)

    def submit(self, command: Any) -> None:
        """Count an order and let it go on its way."""
        if not command.order.client_order_id.value.startswith(LAW_PREFIX):
            self.told["after" if self._tripped else "before"] += 1
        self._submit(command)

    def switched(self, change: StateChange) -> None:
        """Note when, and how many were waiting; after the halt, wait a little and stop the node."""
        self.told[f"{change.after.lower()}_ns"] = time.time_ns()
        if not self._tripped:
            self._tripped = True
            self.told["waiting"], self._tried = self._flood.waiting, self._flood.tried
        if change.after is State.HALTED:
            self._parts.node.kernel.loop.call_later(LINGER_S, self._stop)

    def _stop(self) -> None:
        self.told["tried_after"] = self._flood.tried - self._tried
        self._parts.stop.set()


def flooded(place: Path, seed: int, patience_s: float = 120.0) -> dict[str, int]:
    """
    Run it until a while after the halt and return what was counted.

    Parameters
    ----------
    place : Path
        Where run, journal and state go.
    seed : int
        Of the orders, and of the run.
    patience_s : float
        A node that has not halted by then is stopped all the same.
    """
    own = compose_settings([*WORDS, f"seed={seed + 1}"])
    tapes, run, found = load_tapes(own.run), place / "run", list[Witness]()
    run.mkdir()
    write_inputs(Folder(run), own, tapes, identity_of(own, tapes), [{"source": "drill"}])

    def ready(parts: Parts) -> None:
        flood = Flood(tapes[0].instrument.id, parts.node.kernel.loop, seed)
        parts.node.trader.add_strategy(flood)
        found.append(Witness(parts, flood))
        parts.node.kernel.loop.call_later(patience_s, parts.stop.set)

    with Journal.open(place / "journal", {"format": 1}) as journal:
        fly(Replay(own.policy, tapes, own.run), run, Flight(0.0, place / "state", "SIM", journal, ready=ready))
    return found[0].told


if __name__ == "__main__":
    print(json.dumps(flooded(Path(sys.argv[1]), int(sys.argv[2]))))
