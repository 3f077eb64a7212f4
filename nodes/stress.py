"""Stress: the same run again at one and two times the costs and at 0, 50 and 250 ms."""

from dataclasses import replace
from typing import Any

from alphatrade.nodes.replay import Replay, replay

COSTS = (1, 2)
LATENCIES_MS = (0, 50, 250)


def stress(what: Replay) -> list[dict[str, Any]]:
    """
    Return one row per combination: PnL, return and fills of a real replay that writes nothing.

    Parameters
    ----------
    what : Replay
        The run; its own costs and latency are the ones that are varied.
    """
    rows = []
    venue = what.run.venue
    for costs in COSTS:
        for latency in LATENCIES_MS:
            changed = venue.model_copy(
                update={"cost_multiple": venue.cost_multiple * costs, "latency_ms": float(latency)}
            )
            run = what.run.model_copy(update={"venue": changed})
            output = replay(replace(what, run=run), None, f"stress {costs}x costs, {latency} ms")
            pnl = output.equity - venue.starting_balance
            rows.append(
                {
                    "costs": costs,
                    "latency_ms": latency,
                    "pnl": f"{pnl:.9f}",
                    "return": float(pnl / venue.starting_balance),
                    "fills": output.fills,
                    "killed": output.killed,
                }
            )
    return rows
