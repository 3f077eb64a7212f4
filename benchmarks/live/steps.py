"""The steps of a run of the drill: what is done to a node with real orders, and what the exchange's books say then."""

import json
import random
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Any

from alphatrade.nodes.artifacts import recent_runs
from alphatrade.reflection.kpi import kpis
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.trials import read
from alphatrade.risk.audit import audit
from alphatrade.risk.handover import FILE
from benchmarks.live.archive import verdict
from benchmarks.live.judge import LAW, Books, held, lost_since, own, sent_after
from benchmarks.live.mix import mixed
from benchmarks.live.place import LOT, SYMBOL, Place
from tests.nodes.make_paper import Node
from tests.venue.make_venue import until

Row = dict[str, Any]
FLAT_S, NOTICED_S = 20.0, 3.0  # a look at the ledger comes each half second here
EXPIRES_S, QUIET_S = 30.0, 1.5
RUNS = 6  # that end in a run of the drill, each with a folder
CAP = 3  # on the loss, where prices fall
CATCHES = 20  # tries to stop the market while the node holds enough: what it has sent by then is still filled
DUST = Decimal("0.00012")
FALLS, LEAST = 5, 5  # tries of a fall; what is worth less cannot be sold
GAP, GAPS = 0.12, 5  # a jump that no cap can hold; in one run of so many


def now_ms() -> int:
    """Return the time, UTC ms."""
    return time.time_ns() // 1_000_000


def no_entry(place: Place, _: random.Random) -> Row:
    """Start without a permit: one line, exit code 2, no order."""
    said = place.refused()
    wanted = "no policy in stage limited_live"
    bad = [] if wanted in said else [f"a start without a permit said: {said or 'nothing'}"]
    return {"wrong": bad + ([f"{place.posts()} orders were sent"] if place.posts() else [])}


def capital_on(place: Place, _: random.Random) -> Row:
    """Permit both policies, the second last: it is in charge; start, and trade."""
    for policy in (0, 1):
        place.permit(policy=policy)
    began = time.monotonic()
    place.start()
    place.trading(5)
    took = time.monotonic() - began
    bad = _runs(place, 1) + place.agree()
    return {"wrong": bad, "fills": len(place.books()["trades"]), "trading_s": round(took, 3)}


def _runs(place: Place, policy: int) -> list[str]:
    ledger, node = place.policies[place.in_charge], place.report()["about"]["policy"]
    wanted = place.policies[policy]
    return [] if ledger == node == wanted else [f"{wanted[:8]} is wanted: ledger {ledger[:8]}, node {node[:8]}"]


def faults(place: Place, rng: random.Random) -> Row:
    """
    Inject the run's faults while it trades; after each, node and books agree, and it has not stopped.

    A clock that is far off, and one rejected order after the other, stop a live node, as they should: they are not
    among the faults that it has to live through.
    """
    names = []
    before = place.venue.look("faults")["hits"]
    for fault in mixed(rng):
        time.sleep(rng.uniform(0.1, 0.6))
        names.append(fault.name)
        place.venue.fault(fault.name, **fault.options)
        time.sleep(min(float(fault.options.get("seconds", 1.0)), 5.0) + rng.uniform(0.0, 1.0))
        if odd := place.agree():
            return {"wrong": [f"after {names[-3:]}: {one}" for one in odd], "faults": names}
    hits = place.venue.look("faults")["hits"]
    return {"wrong": [], "faults": names, "hits": {name: hits[name] - before.get(name, 0) for name in hits}}


def kill_9(place: Place, rng: random.Random) -> Row:
    """Kill the node with orders open, let the exchange go on, start it again: all is adopted, and nothing differs."""
    until(lambda: place.books()["open"], 60)
    place.kill_9()
    left = place.books()
    time.sleep(rng.uniform(0.0, 1.0))
    began = time.monotonic()
    place.start()
    bad = place.agree()
    took = time.monotonic() - began
    return {"wrong": bad, "open": len(left["open"]), "held": f"{_held(place):f}", "adopted_s": round(took, 3)}


def rollback(place: Place, _: random.Random, hands_over: bool = False) -> Row:
    """
    Go back to the policy before by one command: flat, or handed over; then a node that trades under it.

    A hand-over sells nothing, and the next node has what the one before held.
    """
    if hands_over:
        return _handed_over(place)
    _holding(place)
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
    return {"wrong": bad + _runs(place, 0) + place.agree(), "flat_s": round(flat_s, 3), "running_s": round(took, 3)}


def _handed_over(place: Place) -> Row:
    _caught(place, 12)  # else a node that sells in that second leaves nothing
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
    return {"wrong": bad + _runs(place, 0) + place.agree(), "left": f"{left:f}", **times}


def between(books: Books, idle: int, started: int) -> list[str]:
    """Return what was traded or sent after the one node had nothing open and before the next one ran, UTC ms."""
    orders = {one["orderId"]: one for one in books["orders"]}
    sent = [one["clientOrderId"] for one in books["orders"] if idle < one["time"] < started]
    old = [one for one in books["trades"] if one["time"] > idle and orders[one["orderId"]]["time"] <= idle]
    return [f"{name} was sent in between" for name in sent] + [f"trade {one['id']} came in between" for one in old]


def kill(place: Place, rng: random.Random) -> Row:
    """Kill by command: flat, and only the law's own orders after it; every second time somebody takes all but dust."""
    dust = rng.random() < 0.5
    if dust:
        _thinned(place)
    else:
        _holding(place, 6)
    began, ms = time.monotonic(), now_ms()
    place.command("kill")
    row = _stopped(place, began, ms + int(1000 * NOTICED_S))
    place.venue.tell("resume")
    said = place.refused()
    return {**row, "wrong": row["wrong"] + _latched(said), "thinned": dust}


def _thinned(place: Place) -> None:
    """Stop the market with a bid that takes so much of what is held that the rest is too little to be sold."""
    _caught(place, 12)
    bid, size = place.bid(), max(_held(place) - DUST, LOT).quantize(LOT, ROUND_DOWN)
    place.venue.quote(bid, bid + Decimal("0.02"), size, 1)


def _holding(place: Place, value: int = 6) -> None:
    """Wait until the node holds so much, quote units."""
    until(lambda: _worth(place) > value, 60, 0.05)


def _caught(place: Place, value: int) -> None:
    """Stop the market while the node holds so much; one that has sold it by then is let go on."""
    for _ in range(CATCHES):
        _holding(place, value)
        place.venue.tell("pause")
        time.sleep(0.5)
        if _worth(place) > value:
            return
        place.venue.tell("resume")
    raise AssertionError(f"the market never stood still while {value} was held")


def _worth(place: Place) -> Decimal:
    return _held(place) * place.bid()


def _held(place: Place) -> Decimal:
    return held(place.books(), place.before)


def _latched(said: str) -> list[str]:
    return [] if "release" in said else [f"a start with a latch said: {said or 'nothing'}"]


def _stopped(place: Place, began: float, ms: int) -> Row:
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


def _again(place: Place, fills: int = 1) -> None:
    """Release, permit, start, and trade."""
    place.command("release")
    place.permit()
    place.start()
    place.trading(fills)


def revoked(place: Place, _: random.Random) -> Row:
    """Trade; then the permits are taken back in the ledger, and nothing else is told."""
    _again(place, 2)
    began, ms = time.monotonic(), now_ms()
    place.revoke()
    row = _stopped(place, began, ms + int(1000 * NOTICED_S))
    place.command("release")
    said = place.refused()
    bad = [] if "revoked" in said else [f"a start after it said: {said or 'nothing'}"]
    return {**row, "wrong": row["wrong"] + bad}


def expired(place: Place, _: random.Random) -> Row:
    """Permit for some seconds, trade, and see it end."""
    ends = time.time() + EXPIRES_S
    place.permit(EXPIRES_S)
    place.start()
    place.trading(1)
    place.beat(lambda beat: beat.kill != "ACTIVE", EXPIRES_S + 30)
    return _stopped(place, time.monotonic() - (time.time() - ends), int(1000 * ends))


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
        _caught(place, 15)
        began = time.monotonic()
        price = _falling(place, Decimal(str(GAP if gap else rng.uniform(0.005, 0.045))))
        if number == FALLS or _state(place) != "ACTIVE":
            break
        if bad := place.stop():
            return {"wrong": bad}
        place.left_over()
        place.venue.tell("resume")
    row = _stopped(place, began, now_ms() + int(1000 * NOTICED_S))
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
    while time.monotonic() < began + FLAT_S and place.beat().kill == "ACTIVE" and _worth(place) > LEAST:
        price = (price * (1 - step)).quantize(Decimal("0.01"))
        for _ in range(3):  # a price that is far off is not believed until another agrees
            place.venue.quote(price, price + Decimal("0.01"))
            time.sleep(0.1)
        step = min(step, Decimal("0.02"))
        time.sleep(0.5)
    return price


def stranger(place: Place, _: random.Random) -> Row:
    """Trade; an order of somebody else halts it, is told, and stays."""
    _again(place)
    place.venue.order("BUY", "LIMIT", "0.001", price=20_000, newClientOrderId="web-1")
    place.beat(lambda beat: beat.kill == "HALTED", 30)
    until(lambda: any("web-1" in words for words in place.alerts("stranger")), 30)
    bad = place.stop()
    there = [one["clientOrderId"] for one in place.books()["open"]]
    bad += [] if there == ["web-1"] else [f"open at the exchange: {there}"]
    bad += _gone(place)
    place.venue.signed("DELETE", "/api/v3/order", symbol=SYMBOL, origClientOrderId="web-1")
    return {"wrong": bad}


def _gone(place: Place) -> list[str]:
    """Return whether somebody has tried to cancel what is a stranger's."""
    asked = place.venue.look("requests?path=/api/v3/order&method=DELETE")
    return [f"{row['params']} was asked for" for row in asked if "web-1" in str(row["params"])]


def archived(place: Place, _: random.Random) -> Row:
    """Export the day for an auditor: it verifies, the rules were kept; and the ledger's figures of promotions hold."""
    shutil.copytree(place.machine.artifacts, place.root / "artifacts", dirs_exist_ok=True)
    shutil.copytree(place.root / "other" / "artifacts", place.root / "artifacts", dirs_exist_ok=True)
    day = datetime.now(UTC).date()
    words = ("--from", str(day - timedelta(1)), "--to", str(day), "--secrets-dir", str(place.root / "keys"))
    said = Node(place.root).run(*words, verb="audit-export")
    (path,) = place.root.glob("artifacts/*/audit/*.zip")
    bad = [] if "rules kept" in said.splitlines() and verdict(path) == 0 else [f"its verifier said: {said[-200:]}"]
    law = _law(place)
    return {**law, "wrong": bad + law["wrong"]}


def _law(place: Place) -> Row:
    """Return what the ledger says of promotions and the auditor of all runs: rows K2 and K3 of the roadmap."""
    found = kpis(read(Ledger(place.machine.ledger)))
    (k2,) = (one for one in found["figures"] if one["id"] == "K2")
    live = [one for one in found["promotions"] if one["to"] == "limited_live"]
    bad = [] if k2["holds"] and len(live) == len(place.policies) else [f"K2: {k2}, {len(live)} admissions"]
    bad += [f"signed by {one['by']} alone" for one in live if len(set(one["by"].split(", "))) != 2]
    runs = recent_runs(place.root / "artifacts", 2)
    reports = [audit(run) for run in runs]
    broken = [
        f"{one.code} {one.subject}: {one.detail}"
        for report in reports
        for one in (*report.violations, *report.integrity)
    ]
    near = [json.loads((run / "summary.json").read_text())["near_misses"] for run in runs]
    bad += [] if len(runs) >= RUNS else [f"{len(runs)} runs are finished, of {RUNS}"]
    told = {"promotions": k2["n"], "k2": k2["figure"], "runs": len(runs), "violations": len(broken)}
    return {"wrong": bad + broken[:3], **told, "near_misses": sum(near), "logged": len(near)}


STEPS: dict[str, Callable[[Place, random.Random], Row]] = {
    "no entry": no_entry, "capital on": capital_on, "faults": faults, "kill -9": kill_9, "rollback": rollback,
    "kill": kill, "revoked": revoked, "expired": expired, "fall": fall, "stranger": stranger, "archived": archived,
}  # fmt: skip
