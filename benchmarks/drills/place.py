"""Paper nodes for drills: real processes that hold positions and rest orders, from a journal that brings them there."""

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alphatrade.nodes.beats import Beat, last_beat
from alphatrade.nodes.journal_file import HEAD_SIZE
from tests.nodes.make_paper import Node
from tests.venue.make_venue import until

# A maker in every regime: nearly always it holds something and rests something.
REGIMES = ("down-low", "down-high", "flat-low", "flat-high", "up-low", "up-high")
MAKER = (
    "tape=world", "tape.hours=4", "policy/features=quotes", "policy.cadence.n=5", "venue.prob_fill_on_limit=0.5",
    "policy.topologies.maker.params.half_spread=1.0", "policy.topologies.maker.params.skew=0.1",
    *(f"policy.router.table.{regime}=maker" for regime in REGIMES), "output.report=false",
)  # fmt: skip
LONG, LEAST = 600_000, 150_000  # bytes of a journal: two hours of quotes; half an hour, from when on it holds something
PATIENCE_S = 60.0


def journalled(root: Path) -> Path:
    """Return the state of a node that was killed after two hours of its tape; made once below `root`."""
    made = root / "journalled"
    if not made.exists():
        node = Node(root / "first", *MAKER)
        node.root.mkdir()
        node.killed(node.start("feed.speed=max"), LONG)
        shutil.copytree(node.root / "state", made)
    return made


def resumed(place: Path, number: int) -> Node:
    """Return a node that will go on at a moment of these two hours that its number decides."""
    node = Node(place, *MAKER)
    shutil.copytree(journalled(place.parent), place / "state")
    (segment,) = node.journal.glob("*.journal")
    with segment.open("r+b") as file:
        file.truncate(HEAD_SIZE + random.Random(number).randrange(LEAST, LONG))  # within a record, as a crash leaves it
    return node


@contextmanager
def started(node: Node, *words: str, module: str = "") -> Iterator["subprocess.Popen[str]"]:
    """Run a node, or what a module makes of it; what is still running afterwards is killed."""
    process = node.start(*words, module=module)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.communicate()


def beat_of(node: Node, process: "subprocess.Popen[str]", **facts: object) -> Beat:
    """
    Wait for a beat of a process that has read its journal and return it.

    Parameters
    ----------
    facts
        ``kill``: of that state; ``busy=True``: that holds a position and has orders open.
    """

    def right() -> Beat | None:
        assert process.poll() is None, f"the node has ended: {process.communicate()[1][-2000:]}"
        beat = last_beat(node.journal.parent)
        if not at_present(beat, process) or beat.kill != facts.get("kill", beat.kill):
            return None
        busy = bool(beat.facts.get("positions")) and beat.facts.get("orders_open", "0") != "0"
        return beat if busy or not facts.get("busy") else None

    found: Beat = until(right, PATIENCE_S)
    return found


def at_present(beat: Beat | None, process: "subprocess.Popen[str]") -> bool:
    """Return whether a beat is of a process, and of what happens now: the feed has no age while the journal is read."""
    return beat is not None and beat.pid == process.pid and beat.feed_age_s is not None


def stopped(node: Node, process: "subprocess.Popen[str]") -> Path:
    """Stop a node as a supervisor does and return the folder of its run."""
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, f"exit code {process.returncode}: {said[-2000:]}"
    return (node.root / "artifacts" / "latest").resolve()


class Told(dict[str, int]):
    """Moments of a command of the operator, wall clock, ns: ``began``, ``latched``, ``ended``."""


def operator_kills(node: Node, *words: str) -> Told:
    """
    Run ``alphatrade kill`` as a process.

    Returns
    -------
    Told
        ``began``: just before the process was made; ``latched``: when its line was read that says that the request is
        on the disk; ``ended``: when it had ended.
    """
    bare = Node(node.root)
    bare.env["PYTHONUNBUFFERED"] = "1"
    told = Told(began=time.time_ns())
    process = bare.start("--why", "drill", *words, verb="kill")
    assert process.stdout is not None
    line = process.stdout.readline()
    told["latched"] = time.time_ns()
    out, err = process.communicate(timeout=PATIENCE_S)
    told["ended"] = time.time_ns()
    assert "kill requested" in line, line + out + err
    assert process.returncode == 0, json.dumps([line, out, err])
    return told
