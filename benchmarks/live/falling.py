"""A step of the drill: prices fall while a node holds something, down to the loss that its permit allows."""

import random
import time
from decimal import Decimal

from benchmarks.live.judge import lost_since
from benchmarks.live.place import Place
from benchmarks.live.waits import FLAT_S, NOTICED_S, Row, caught, now_ms, stopped, worth

CAP = 3  # on the loss
FALLS, LEAST = 5, 5  # tries of a fall; what is worth less cannot be sold
GAP, GAPS = 0.12, 5  # a jump that no cap can hold; in one run of so many


def fall(place: Place, rng: random.Random, gap: bool = False) -> Row:
    """
    Let prices fall while it holds something: it closes before more is lost than the permit allows.

    A policy that sells by itself at the first lower price leaves nothing to the cap: then all begins anew. A gap, a
    fall by more in one step than the law counts with, cannot be held: it is told what was lost.
    """
    place.command("release")
    for number in range(1, FALLS + 1):
        ms = now_ms()
        place.permit(loss=CAP)
        place.start()
        place.trading(1)
        caught(place, 15)
        began = time.monotonic()
        price = _falling(place, Decimal(str(GAP if gap else rng.uniform(0.005, 0.045))))
        if number == FALLS or _state(place) != "ACTIVE":
            break
        if bad := place.stop():
            return {"wrong": bad}
        place.left_over()
        place.venue.tell("resume")
    row = stopped(place, began, now_ms() + int(1000 * NOTICED_S))
    gone = lost_since(place.books(), ms, price)
    place.venue.tell("resume")
    why = (place.folder / "latch.json").read_text()
    bad = [] if "LOSS_CAP" in why else [f"it has stopped for {why[:200]}"]
    bad += [f"{gone} were lost, of {CAP}"] if gone > CAP and not gap else []
    return {**row, "wrong": row["wrong"] + bad, "lost": f"{gone:f}", "gap": gap, "tries": number}


def _state(place: Place) -> str:
    """Return what the node says of its kill switch from now on."""
    since = time.time_ns()
    return place.beat(lambda beat: beat.ts > since).kill


def _falling(place: Place, step: Decimal) -> Decimal:
    """Let the price fall until the node stops, or holds nothing that it can sell; return the last one."""
    began, price = time.monotonic(), place.bid()
    while time.monotonic() < began + FLAT_S and place.beat().kill == "ACTIVE" and worth(place) > LEAST:
        price = (price * (1 - step)).quantize(Decimal("0.01"))
        for _ in range(3):  # a price that is far off is not believed until another agrees
            place.venue.quote(price, price + Decimal("0.01"))
            time.sleep(0.1)
        step = min(step, Decimal("0.02"))
        time.sleep(0.5)
    return price
