"""Stress: the same run again at one and two times the costs and at 0, 50 and 250 ms."""

from dataclasses import replace
from typing import Any

from alphatrade.nodes.replay import Replay, ReplayOutput, replay

COSTS = (1, 2)
LATENCIES_MS = (0, 50, 250)


def stress(what: Replay, own: ReplayOutput) -> list[dict[str, Any]]:
    """
    Return one row per combination: PnL, return and fills of a real replay that writes nothing.

    Parameters
    ----------
    what : Replay
        The run; its own costs and latency are the ones that are varied.
    own : ReplayOutput
        What the run itself came to: its own combination is not replayed again.
    """
    rows = []
    venue = what.run.venue
    for costs in COSTS:
        for latency in LATENCIES_MS:
            changed = venue.model_copy(
                update={"cost_multiple": venue.cost_multiple * costs, "latency_ms": float(latency)}
            )
            run = what.run.model_copy(update={"venue": changed})
            label = f"stress {costs}x costs, {latency} ms"
            output = own if changed == venue else replay(replace(what, run=run), None, label)
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
