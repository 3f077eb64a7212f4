"""``python -m benchmarks.drills.rogue WORDS…``: ``alphatrade paper``, with a strategy beside the policy that runs away.

It begins when the journal is read and the policy has traded. What reaches the venue is noted where it leaves the node,
and in the end written to ``venue.json``: of each order and modification when it was made (UTC ns of the node) and by
which strategy, how many orders the runaway has tried, and from when on.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from alphatrade.nodes.hydra_app import run_config
from alphatrade.nodes.paper import run
from alphatrade.nodes.paper.assembly import Flight, Parts
from alphatrade.nodes.paper.settings import paper_settings
from alphatrade.nodes.replay import Replay, ReplayOutput
from alphatrade.risk.audit_judge import LAW_PREFIX
from benchmarks.drills.flooder import Flood
from benchmarks.drills.restart import INSTRUMENT

NOTED = "venue.json"


class Rogue(Flood):
    """Floods from the present on."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(INSTRUMENT, parts.node.kernel.loop, seed=1, crowd=1)
        self._parts = parts
        self.begun, self.reached = 0, list[tuple[int, str]]()
        for name in ("submit_order", "modify_order"):
            self._note(name)
        parts.venue.submit_order_list = None  # nobody here sends one; it would not be noted

    def on_quote_tick(self, tick: Any) -> None:
        """Send without end, once what comes is new and the policy trades."""
        gate = self._parts.gate
        if not gate.recovering and gate.record.filled:
            self.begun = self.begun or tick.ts_init
            super().on_quote_tick(tick)

    def _note(self, name: str) -> None:
        venue, gate, stock = self._parts.venue, self._parts.gate, getattr(self._parts.venue, name)

        def sent(command: Any) -> None:
            order = getattr(command, "order", command).client_order_id.value
            if not gate.recovering and not order.startswith(LAW_PREFIX):
                self.reached.append((command.ts_init, command.strategy_id.value))
            stock(command)

        setattr(venue, name, sent)


def main(*words: str) -> None:
    """Run the node, and write down what has reached the venue."""
    stock, rogues = run.fly, list[Rogue]()

    def fly(what: Replay, run_dir: Path, flight: Flight) -> ReplayOutput:
        def ready(parts: Parts) -> None:
            if flight.ready is not None:
                flight.ready(parts)
            rogues.append(Rogue(parts))
            parts.node.trader.add_strategy(rogues[0])

        return stock(what, run_dir, dataclasses.replace(flight, ready=ready))

    run.fly = fly
    run.paper(run_config("paper", list(words), "paper", paper_settings))
    (rogue,) = rogues
    Path(NOTED).write_text(json.dumps({"tried": rogue.tried, "reached": rogue.reached, "from": rogue.begun}))


if __name__ == "__main__":
    main(*sys.argv[1:])
