"""A step of the drill: back to the policy before by one command, flat or with a hand-over."""

import random
import time
from decimal import Decimal

from alphatrade.risk.handover import FILE
from benchmarks.live.judge import Books, held
from benchmarks.live.place import SYMBOL, Place
from benchmarks.live.waits import FLAT_S, Row, caught, holding, not_in_charge, now_ms
from tests.venue.make_venue import until


def rollback(place: Place, _: random.Random, hands_over: bool = False) -> Row:
    """
    Go back to the policy before by one command: flat, or handed over; then a node that trades under it.

    A hand-over sells nothing, and the next node has what the one before held.
    """
    if hands_over:
        return _handed_over(place)
    holding(place)
    began, run = time.monotonic(), place.run
    process = place.roll_back()
    assert process.stdout is not None
    said = process.stdout.readline()  # that the node has taken it
    until(lambda: not place.held_up(), FLAT_S, 0.05)
    flat_s = time.monotonic() - began
    time.sleep(0.5)
    place.left_over()
    said += process.communicate(timeout=300)[0]
    took = time.monotonic() - began
    if process.returncode:
        return {"wrong": [f"exit code {process.returncode}: {said[-300:]}"], "flat_s": flat_s}
    bad = [] if place.run != run else ["the run is the one from before"]
    place.trading(1)
    times = {"flat_s": round(flat_s, 3), "running_s": round(took, 3)}
    return {"wrong": bad + not_in_charge(place, 0) + place.agree(), **times}


def _handed_over(place: Place) -> Row:
    caught(place, 12)  # else a node that sells in that second leaves nothing
    began, run = time.monotonic(), place.run
    process = place.roll_back("--hand-over")
    assert process.stdout is not None
    said = process.stdout.readline()  # that the node has taken it
    until(lambda: not place.books()["open"], FLAT_S, 0.05)
    idle_s = time.monotonic() - began
    file = place.folder / FILE
    until(lambda: file.exists() or process.poll() is not None, FLAT_S, 0.02)
    idle, books, bad = now_ms(), place.books(), [] if file.exists() else ["nothing was handed over"]
    bad += [f"{len(books['open'])} orders are open"] if books["open"] else []
    left = place.hand_over(held(books, place.before))
    place.venue.tell("resume")
    said += process.communicate(timeout=300)[0]
    over_s = time.monotonic() - began
    if process.returncode:
        return {"wrong": [*bad, f"exit code {process.returncode}: {said[-300:]}"], "idle_s": idle_s}
    started = (place.folder / "run.json").stat().st_mtime_ns // 1_000_000
    bad += [] if place.run != run else ["the run is the one from before"]
    bad += between(place.books(), idle, started)
    until(lambda: len(place.books()["trades"]) > len(books["trades"]), 120)
    until(lambda: place.report()["taken_over"], 30)
    told = Decimal(place.report()["taken_over"][SYMBOL])
    bad += [] if told == left else [f"{left} was held, and {told} is taken over"]
    times = {"idle_s": round(idle_s, 3), "over_s": round(over_s, 3)}
    return {"wrong": bad + not_in_charge(place, 0) + place.agree(), "left": f"{left:f}", **times}


def between(books: Books, idle: int, started: int) -> list[str]:
    """Return what was traded or sent after the one node had nothing open and before the next one ran, UTC ms."""
    orders = {one["orderId"]: one for one in books["orders"]}
    sent = [one["clientOrderId"] for one in books["orders"] if idle < one["time"] < started]
    old = [one for one in books["trades"] if one["time"] > idle and orders[one["orderId"]]["time"] <= idle]
    return [f"{name} was sent in between" for name in sent] + [f"trade {one['id']} came in between" for one in old]
