"""Full disk: a small disk under the state of a paper node is filled; trading stops, and what was kept stays."""

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.drills.record import Trial
from tests.nodes.make_full_disk import WORDS, Filled, mounted


class Seen(NamedTuple):
    """
    What came of it.

    Attributes
    ----------
    killed : str
        Why the run says that it stopped.
    before, after : sequence
        Records of the journal when the disk was filled, and in the end.
    refused : bool
        Whether a start was refused while the switch was latched, with room again.
    """

    killed: str
    before: Sequence[Any]
    after: Sequence[Any]
    refused: bool


def full(place: Path, number: int) -> Trial:
    """Fill the disk under a node, stop it, make room, be refused, release, and go on."""
    disk = place / "disk"
    with mounted(disk) as why:
        assert not why, why
        node = Filled(place, disk, state=True)
        process = node.start("feed.speed=6000")
        try:
            node.until(60_000, process)
            copy = shutil.copytree(node.journal, place / "acknowledged")
            node.fill()
            filled = time.monotonic()
            node.tripped()
            tripped = time.monotonic()
            node.stopped(process, 0)
        finally:
            process.kill()
        run = next(place.glob("artifacts/*/*/summary.json")).parent
        (disk / "filler").unlink()
        refused = "release it first" in node.run(code=2)
        killed = str(json.loads((run / "summary.json").read_text())["killed"])
        seen = Seen(killed, node.records(copy), node.records(run / "journal"), refused)
        wrong = judged(seen)
        node.words = ()
        node.run("--who", "drill", "--why", "there is room", verb="release")
        node.words = WORDS
        node.run("feed.speed=max")
    took = {"from the full disk to the trip, at most": 1000 * (tripped - filled)}
    return Trial(wrong, took, {"records kept": len(seen.after)})


def judged(seen: Seen) -> str:
    """Return what is wrong; empty: nothing."""
    checks = (
        (f"it was not the disk that stopped it: {seen.killed or 'nothing did'}", "No space left" in seen.killed),
        ("nothing was kept before: nothing was drilled", len(seen.before) > 0),
        ("records that were acknowledged are lost", list(seen.after[: len(seen.before)]) == list(seen.before)),
        ("it could be started while it was latched", seen.refused),
    )
    return next((why for why, holds in checks if not holds), "")
