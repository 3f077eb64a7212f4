"""What the steps of the drill wait for: that a node holds something, that the market stands still, that it is flat."""

import time
from decimal import Decimal
from typing import Any

from benchmarks.live.judge import LAW, Books, held, own, sent_after
from benchmarks.live.place import Place
from tests.venue.make_venue import until

Row = dict[str, Any]
FLAT_S, NOTICED_S = 20.0, 3.0  # a look at the ledger comes each half second here
QUIET_S = 1.5
CATCHES = 20  # tries to stop the market while the node holds enough: what it has sent by then is still filled


def now_ms() -> int:
    """Return the time, UTC ms."""
    return time.time_ns() // 1_000_000


def not_in_charge(place: Place, policy: int) -> list[str]:
    """Return in a line that another policy than the wanted one is in charge, by the ledger or by the node."""
    ledger, node = place.policies[place.in_charge], place.report()["about"]["policy"]
    wanted = place.policies[policy]
    return [] if ledger == node == wanted else [f"{wanted[:8]} is wanted: ledger {ledger[:8]}, node {node[:8]}"]


def holding(place: Place, value: int = 6) -> None:
    """Wait until the node holds so much, quote units."""
    until(lambda: worth(place) > value, 60, 0.05)


def caught(place: Place, value: int) -> None:
    """Stop the market while the node holds so much; one that has sold it by then is let go on."""
    for _ in range(CATCHES):
        holding(place, value)
        place.venue.tell("pause")
        time.sleep(0.5)
        if worth(place) > value:
            return
        place.venue.tell("resume")
    raise AssertionError(f"the market never stood still while {value} was held")


def worth(place: Place) -> Decimal:
    """Return for how much the node could sell what it holds, quote units."""
    return held_by(place) * place.bid()


def held_by(place: Place) -> Decimal:
    """Return what the node holds, base units."""
    return held(place.books(), place.before)


def stopped(place: Place, began: float, ms: int) -> Row:
    """Wait until the exchange has nothing of the node's any more, and see that nothing comes after it."""
    until(lambda: not place.held_up(), FLAT_S)
    took = time.monotonic() - began
    place.beat(lambda beat: beat.kill == "HALTED", 30)
    halted = now_ms()
    time.sleep(QUIET_S)
    books = place.books()
    late = sent_after(own(books), ms) + _after(books, halted)
    bad = [f"{len(late)} orders after it: {late[:3]}"] if late else []
    dust = place.left_over()
    return {"wrong": bad + place.stop(), "flat_s": round(took, 3), "dust": f"{dust:f}"}


def _after(books: Books, ms: int) -> list[str]:
    """Return what came after the halt, the law's own orders included."""
    return [
        one["clientOrderId"] for one in books["orders"] if one["time"] > ms and one["clientOrderId"].startswith(LAW)
    ]
