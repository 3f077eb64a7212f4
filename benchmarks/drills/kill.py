"""Kill: ``alphatrade kill`` against a paper node at the pace of its market, and against one that drowns in orders."""

import json
import random
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

from alphatrade.nodes.beats import last_beat
from alphatrade.nodes.frames import read_frame
from alphatrade.nodes.kill_drill import Drill, facts, still_open
from alphatrade.risk.kill import State
from benchmarks.drills.place import PATIENCE_S, beat_of, operator_kills, resumed, started, stopped
from benchmarks.drills.record import Trial
from benchmarks.figures import ROOT
from tests.nodes.make_paper import Node
from tests.venue.make_venue import until

MS = 1e6


def killed(place: Path, number: int) -> Trial:
    """Kill a node that holds a position and has orders open, in a market at its own pace."""
    node = resumed(place, number)
    with started(node, "feed.speed=1") as process:
        beat_of(node, process, busy=True)
        time.sleep(random.Random(number).uniform(0.0, 0.25))  # any moment between two looks of the node
        told = operator_kills(node)
        halted = beat_of(node, process, kill=State.HALTED).facts
        time.sleep(1.0)  # for what should not come any more
        run = stopped(node, process)
    tripped, flat = int(halted["reducing_ns"]), int(halted["halted_ns"])
    took = {
        "from the command to the last order canceled and flat": flat - told["began"],
        "from the request on disk": flat - told["latched"],
        "from the trip": flat - tripped,
    }
    return Trial(judged(run), {name: ns / MS for name, ns in took.items()}, counted(run))


def judged(run: Path, dust: Decimal = Decimal(0)) -> str:
    """
    Return what is wrong with a run in which an operator stopped the trading, by its files; empty: nothing.

    Parameters
    ----------
    run : Path
        Its folder.
    dust : Decimal
        Less than this may be left of the position: an exchange keeps its fees of what is bought, and sells by steps.
    """
    found = Drill(**facts(run))
    if abs(Decimal(found.left)) < dust:
        found = found.model_copy(update={"flat_ns": found.halted_ns, "left": "0"})
    return ("" if found.halted_ns is None else _open_at_halt(run)) or found.wrong


def _open_at_halt(run: Path) -> str:
    """Return what was still open when the law said that nothing is."""
    events, orders = read_frame(run / "risk_events.parquet"), read_frame(run / "orders.parquet")
    halt = int(events[(events["kind"] == "state") & (events["value"] == "HALTED")]["seq"].iloc[0])
    left = still_open(orders[orders["seq"] < halt])
    return f"{len(left)} orders were open when the law halted" if left else ""


def counted(run: Path) -> dict[str, float]:
    """Return what there was to do: the position and the orders at the trip, and what was refused after it."""
    found = Drill(**facts(run))
    return {"position": float(found.position), "working": found.working, "refused": found.refused}


# -- flooded


def flooded(place: Path, number: int) -> Trial:
    """Kill a node that is fed as fast as it goes, while orders arrive faster than they can be dealt with."""
    node = Node(place)
    command = [sys.executable, "-m", "benchmarks.drills.flooder", str(place), str(number)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, env=node.env, stdout=pipe, stderr=pipe, text=True)
    try:
        until(lambda: _fills(process, place) > 200, PATIENCE_S)
        time.sleep(random.Random(number).uniform(0.0, 1.0))
        told = operator_kills(node, "--env", "sim")
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 0, err[-2000:]
    witness = json.loads(out.splitlines()[-1])
    run = place / "run"
    took = {
        "from the command to the last order canceled and flat": witness["halted_ns"] - told["began"],
        "from the request on disk": witness["halted_ns"] - told["latched"],
        "from the trip": witness["halted_ns"] - witness["reducing_ns"],
    }
    seen = counted(run) | {name: float(witness[name]) for name in ("before", "waiting", "tried_after")}
    return Trial(swamped(witness) or judged(run), {name: ns / MS for name, ns in took.items()}, seen)


def swamped(witness: dict[str, int]) -> str:
    """Return what is wrong by the client's own count of what it was given."""
    if witness["after"]:
        return f"{witness['after']} orders reached the client after the trip"
    if not witness["waiting"] or not witness["tried_after"]:
        return "no order was waiting at the trip: nothing was saturated"
    return ""


def _fills(process: "subprocess.Popen[str]", place: Path) -> int:
    assert process.poll() is None, process.communicate()[1][-2000:]
    beat = last_beat(place / "state" / "sim" / "SIM")
    return 0 if beat is None else beat.fills
