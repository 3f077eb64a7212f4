"""Shim: an operator who trips the kill switch in the middle of a replay, as soon as a position is open."""

import time
from typing import Any

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig

from alphatrade.risk.gate import STATE_TOPIC
from alphatrade.risk.kill import State, StateChange

WHO = "drill"


class DrillOperator(Actor):
    """
    Waits for a position from a moment on, and stops trading then.

    Parameters
    ----------
    after : int
        From when on, UTC ns.

    Attributes
    ----------
    gate : RiskGate
        Whose switch it trips; given before the run.
    wall_ns : int or None
        Wall-clock time from the trip until the law was done, ns.
    """

    def __init__(self, after: int) -> None:
        super().__init__(ActorConfig(component_id="DrillOperator"))
        self.gate: Any = None
        self.wall_ns: int | None = None
        self._after, self._began = after, 0

    def on_start(self) -> None:
        """Look whenever the market has moved: everybody has dealt with what came before."""
        for topic in ("data.quotes.*", "data.trades.*", "data.bars.*"):
            self.msgbus.subscribe(topic, self._look)
        self.msgbus.subscribe(STATE_TOPIC, self._on_state)

    def _look(self, _event: Any) -> None:
        if not self._began and self.clock.timestamp_ns() >= self._after and self.cache.positions_open():
            self._began = time.perf_counter_ns()
            self.gate.kill("drill: a position is open", WHO)

    def _on_state(self, change: StateChange) -> None:
        if self._began and self.wall_ns is None and change.after is State.HALTED:
            self.wall_ns = time.perf_counter_ns() - self._began
