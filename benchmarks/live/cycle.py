"""A run of the drill: a machine, an exchange, and one step after the other, each judged by the exchange's books."""

import random
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from benchmarks.live.falling import GAPS, fall
from benchmarks.live.going_back import rollback
from benchmarks.live.judge import lost, most_out, own, wrong
from benchmarks.live.place import LOSS, SYMBOL, Place, placed
from benchmarks.live.steps import STEPS
from benchmarks.live.waits import Row
from tests.nodes.make_live import CAPITAL


def cycle(root: Path, seed: int) -> Iterator[Row]:
    """
    Run one.

    Parameters
    ----------
    root : Path
        Folder of the machine.
    seed : int
        Of the market, of the faults, and of when they come.

    Yields
    ------
    dict
        What came of each step: its name, what was wrong, how long it took.
    """
    rng, special = random.Random(seed), {fall: seed % GAPS == 0, rollback: seed % 2 == 0}  # a gap, a hand-over
    with placed(root, seed) as place:
        for name, step in STEPS.items():
            began = time.monotonic()
            try:
                row = step(place, rng, special[step]) if step in special else step(place, rng)
            except Exception as error:  # a step that could not be made is a failure, and those after it build upon it
                odd = [f"{type(error).__name__}: {error}"]
                yield {"step": name, "s": round(time.monotonic() - began, 3), "wrong": odd}
                return
            row["wrong"] += kept(place)
            yield {"step": name, "s": round(time.monotonic() - began, 3), **row}
            if row["wrong"]:
                return
        left = place.held_up()
        yield {"step": "end", "wrong": [left] if left else [], "most_out": str(most_out(own(place.books())))}


def kept(place: Place) -> list[str]:
    """Return what has broken the caps, by the exchange's books."""
    books = own(place.books())
    found = wrong(books, Decimal(CAPITAL), frozenset({SYMBOL}), 0, 2**63)
    gone = lost(books, place.bid())
    return found + ([f"{gone} were lost, of {LOSS}"] if gone > LOSS else [])
