"""A segment: an exchange and a node, faults and kills one after the other, and what came of each."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.faults.injections import Fault, drawn
from benchmarks.faults.place import Place, placed

HIT_S = 1.5  # within which a fault has to hit something, or it was none

Row = dict[str, Any]


def segment(root: Path, seed: int, faults: int, kills: int) -> Iterator[Row]:
    """
    Run one.

    Parameters
    ----------
    root : Path
        Folder of the node.
    seed : int
        Of the market, of the faults, and of when they come.
    faults, kills : int
        How many.

    Yields
    ------
    dict
        What came of a fault, a kill, or of the whole.
    """
    rng = random.Random(seed)
    at = {round((number + 1) * faults / (kills + 1)) for number in range(kills)}
    with placed(root, seed) as place:
        place.start()
        place.busy()
        done = 0
        while done < faults:
            if at and done >= min(at):
                at.discard(min(at))
                yield killed(place, rng)
                continue
            for row in disturbed(place, rng, min(rng.choice([1, 1, 2]), faults - done)):
                done += 1
                yield row
        for _ in at:
            yield killed(place, rng)
        wrong = place.stop()
        count, differ = place.compared()
        yield {"kind": "end", **count._asdict(), "wrong": wrong + differ}


def disturbed(place: Place, rng: random.Random, number: int) -> list[Row]:
    """Let the market move, inject faults at random moments, stop the market, and wait until node and books agree."""
    place.venue.tell("resume")
    rows = []
    while len(rows) < number:
        time.sleep(rng.uniform(0.05, 0.4))
        fault = drawn(rng)
        if hit(place, fault):
            rows.append({"kind": "fault", "name": fault.name, "options": fault.options})
    time.sleep(rng.uniform(0.0, 0.2))
    took, wrong = settled(place)
    return [row | {"agree_s": took, "wrong": wrong} for row in rows]


def settled(place: Place) -> tuple[float | None, list[str]]:
    """Stop the market, end what is wrong, and wait; return how long it took."""
    place.venue.tell("pause")
    place.venue.tell("clear")
    began, since = time.monotonic(), time.time_ns()
    at, wrong = place.agree(since)
    return None if at is None else at - began, wrong


def hit(place: Place, fault: Fault) -> bool:
    """Inject a fault; return whether it hit anything."""
    before = place.venue.look("faults")["hits"].get(fault.name, 0)
    place.venue.fault(fault.name, **fault.options)
    ends = time.monotonic() + HIT_S
    while fault.name not in ("drop", "terminate", "skew", "restart"):
        if place.venue.look("faults")["hits"].get(fault.name, 0) > before:
            break
        if time.monotonic() > ends:
            return False
        time.sleep(0.02)
    if fault.name in ("stall", "slow", "restart"):
        time.sleep(fault.options["seconds"])
    return True


def killed(place: Place, rng: random.Random) -> Row:
    """Kill the node while it trades, start it again, and wait until it agrees with the books."""
    place.venue.tell("resume")
    time.sleep(rng.uniform(0.3, 1.2))
    pending = rng.random() < 0.5
    if pending:  # an answer that nobody will hear
        name = rng.choice(["stall", "lost"])
        place.venue.fault(name, **({"where": "all", "seconds": 0.3} if name == "stall" else {"path": "/api/v3/order"}))
        time.sleep(rng.uniform(0.0, 0.2))
    place.kill()
    time.sleep(rng.uniform(0.0, 0.5))  # the exchange goes on without it
    place.venue.tell("pause")
    place.venue.tell("clear")
    open_orders = len(place.venue.look("books")["open"])
    since, began = time.time_ns(), place.start()
    at, wrong = place.agree(since)
    moments = {"journal_s": place.heard("the journal was read"), "books_s": place.heard("books were read")}
    took: Row = {name: None if ts is None else ts - began for name, ts in moments.items()}
    return {"kind": "kill", "open": open_orders, "agree_s": None if at is None else at - began, **took, "wrong": wrong}
