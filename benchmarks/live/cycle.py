"""A run of the drill: no entry, capital on, faults, kill -9, kill, revocation, expiry, an order of a stranger.

After each step the exchange's own books are asked; nothing of what the node says of itself is taken for it.
"""

import random
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.faults.injections import drawn
from benchmarks.live.archive import verdict
from benchmarks.live.judge import LAW, flat, lost, most_out, sent_after, wrong
from benchmarks.live.place import LOSS, SYMBOL, Place, placed
from tests.nodes.make_live import CAPITAL
from tests.nodes.make_paper import Node
from tests.venue.make_venue import until

Row = dict[str, Any]
STEP = Decimal("0.0002")  # what is worth less than the exchange takes cannot be sold
FLAT_S, NOTICED_S = 20.0, 3.0  # a look at the ledger comes each half second here
FAULTS_S, EXPIRES_S = 75.0, 20.0
STOPPING = ("skew", "reject")


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
    rng = random.Random(seed)
    with placed(root, seed) as place:
        deposits = place.books()["deposits"]
        for name, step in STEPS.items():
            began = time.monotonic()
            try:
                row = step(place, rng)
            except Exception as error:  # a step that could not be made is a failure; what follows builds upon it
                yield {"step": name, "wrong": [f"{type(error).__name__}: {error}"], "s": time.monotonic() - began}
                return
            row["wrong"] += _kept(place)
            yield {"step": name, "s": round(time.monotonic() - began, 3), **row}
        left = flat(place.books(), deposits, STEP)
        yield {"step": "end", "wrong": [left] if left else [], "most_out": str(most_out(_own(place.books())))}


def _own(books: Row) -> Row:
    """Return books without the stranger's orders."""
    strange = {order["orderId"] for order in books["orders"] if order["clientOrderId"].startswith("web-")}
    orders = [order for order in books["orders"] if order["orderId"] not in strange]
    return books | {"orders": orders, "trades": [one for one in books["trades"] if one["orderId"] not in strange]}


def _kept(place: Place) -> list[str]:
    """Return what has broken the caps, by the exchange's books."""
    books = _own(place.books())
    found = wrong(books, Decimal(CAPITAL), frozenset({SYMBOL}), 0, 2**63)
    bid = Decimal(place.venue.look("state")["best"][SYMBOL]["bid"])
    gone = lost(books, bid)
    return found + ([f"{gone} were lost, of {LOSS}"] if gone > LOSS else [])


def no_entry(place: Place, _: random.Random) -> Row:
    """Start without a permit: one line, exit code 2, no order."""
    said = place.refused()
    bad = [] if "permit" in said or "limited_live" in said else [f"a start without a permit said: {said or 'nothing'}"]
    return {"wrong": bad + ([f"{place.posts()} orders were sent"] if place.posts() else [])}


def capital_on(place: Place, _: random.Random) -> Row:
    """Permit, start, and trade."""
    place.permit()
    place.start()
    place.trading(5)
    return {"wrong": place.agree()}


def faults(place: Place, rng: random.Random) -> Row:
    """
    Inject faults while it trades, for longer than anything closed is remembered; then it trades, and the books agree.

    A clock that is wrong, and one rejected order after the other, stop a live node, as they should: they are not among
    the faults that it has to live through.
    """
    names, ends = [], time.monotonic() + FAULTS_S
    while time.monotonic() < ends:
        time.sleep(rng.uniform(0.1, 0.6))
        fault = drawn(rng)
        if fault.name in STOPPING:
            continue
        names.append(fault.name)
        place.venue.fault(fault.name, **fault.options)
        time.sleep(min(float(fault.options.get("seconds", 0.2)), 5.0))
        if odd := place.agree():
            return {"wrong": [f"after {names[-3:]}: {one}" for one in odd], "faults": names}
    return {"wrong": [], "faults": names}


def kill_9(place: Place, rng: random.Random) -> Row:
    """Kill the node with orders open, let the exchange go on, and start it again."""
    until(lambda: place.books()["open"], 60)
    place.kill_9()
    left = len(place.books()["open"])
    time.sleep(rng.uniform(0.0, 1.0))
    place.start()
    began = time.monotonic()
    return {"wrong": place.agree(), "open": left, "adopted_s": round(time.monotonic() - began, 3)}


def kill(place: Place, _: random.Random) -> Row:
    """Kill by command: flat, and only the law's own orders after it."""
    place.trading(1)
    began, ms = time.monotonic(), time.time_ns() // 1_000_000
    place.command("kill")
    return _stopped(place, began, ms + int(1000 * NOTICED_S))


def _stopped(place: Place, began: float, ms: int) -> Row:
    """Wait until the exchange has nothing of the node's any more, and see that nothing comes after it."""
    base = place.books()["deposits"]
    until(lambda: not flat(place.books(), base, STEP), FLAT_S)
    took = time.monotonic() - began
    place.beat(lambda beat: beat.kill == "HALTED", 30)
    halted = time.time_ns() // 1_000_000
    time.sleep(1.5)
    books = place.books()
    late = sent_after(_own(books), ms) + _after(books, halted)
    bad = [f"{len(late)} orders after it: {late[:3]}"] if late else []
    return {"wrong": bad + place.stop(), "flat_s": round(took, 3)}


def _after(books: Row, ms: int) -> list[str]:
    """Return what came after the halt, the law's own orders included."""
    return [
        one["clientOrderId"] for one in books["orders"] if one["time"] > ms and one["clientOrderId"].startswith(LAW)
    ]


def revoked(place: Place, _: random.Random) -> Row:
    """Release, permit and trade; then the permit is taken back in the ledger, and nothing else is told."""
    place.command("release")
    permit = place.permit()
    place.start()
    place.trading(3)
    began, ms = time.monotonic(), time.time_ns() // 1_000_000
    place.revoke(permit)
    for other in _standing(place):
        place.revoke(other)
    return _stopped(place, began, ms + int(1000 * NOTICED_S))


def _standing(place: Place) -> list[str]:
    from alphatrade.reflection.ledger import Ledger

    return [one.id for one in Ledger(place.machine.ledger).chain.permits.all if not one.revoked]


def expired(place: Place, _: random.Random) -> Row:
    """Release, permit for some seconds, and see it end."""
    place.command("release")
    place.permit(EXPIRES_S + 15)
    ends = time.time_ns() // 1_000_000 + int(1000 * (EXPIRES_S + 15))
    place.start()
    place.trading(2)
    place.beat(lambda beat: beat.kill != "ACTIVE", EXPIRES_S + 30)
    return _stopped(place, time.monotonic() - (time.time() - ends / 1000), ends)


def stranger(place: Place, _: random.Random) -> Row:
    """Release, permit and trade; an order of somebody else halts it, and stays."""
    place.command("release")
    place.permit()
    place.start()
    place.trading(2)
    place.venue.order("BUY", "LIMIT", "0.001", price=20_000, newClientOrderId="web-1")
    place.beat(lambda beat: beat.kill == "HALTED", 30)
    there = [one["clientOrderId"] for one in place.books()["open"]]
    bad = [] if there == ["web-1"] else [f"open at the exchange: {there}"]
    alerts = place.folder / "alerts.jsonl"
    until(lambda: alerts.is_file() and "web-1" in alerts.read_text(), 30)
    found = bad + place.stop()
    place.venue.signed("DELETE", "/api/v3/order", symbol=SYMBOL, origClientOrderId="web-1")
    return {"wrong": found}


def archived(place: Place, _: random.Random) -> Row:
    """Export the day for an auditor; the archive verifies, and says that the rules were kept."""
    shutil.copytree(place.machine.artifacts, place.root / "artifacts", dirs_exist_ok=True)
    day = datetime.now(UTC).date()
    words = ("--from", str(day - timedelta(1)), "--to", str(day), "--secrets-dir", str(place.root / "keys"))
    said = Node(place.root).run(*words, verb="audit-export")
    (path,) = place.root.glob("artifacts/*/audit/*.zip")
    bad = [] if "rules kept" in said.splitlines() and verdict(path) == 0 else [f"its verifier said: {said[-200:]}"]
    report = place.report()
    whens = [one for one in report["reconciliations"] if one["differences"]]
    return {"wrong": bad, "reconciliations": len(report["reconciliations"]), "differing": len(whens)}


STEPS: dict[str, Callable[[Place, random.Random], Row]] = {
    "no entry": no_entry, "capital on": capital_on, "faults": faults, "kill -9": kill_9, "kill": kill,
    "revoked": revoked, "expired": expired, "stranger": stranger,
    "archived": archived,
}  # fmt: skip
