"""The steps of a run of the drill: what is done to a node with real orders, and what the exchange's books say then."""

import json
import random
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from alphatrade.nodes.artifacts import recent_runs
from alphatrade.reflection.kpi import kpis
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.trials import read
from alphatrade.risk.audit import audit
from benchmarks.live.archive import verdict
from benchmarks.live.falling import fall
from benchmarks.live.going_back import rollback
from benchmarks.live.mix import mixed
from benchmarks.live.place import LOT, SYMBOL, Place
from benchmarks.live.waits import NOTICED_S, Row, caught, held_by, holding, not_in_charge, now_ms, stopped
from tests.nodes.make_paper import Node
from tests.venue.make_venue import until

EXPIRES_S = 30.0
RUNS = 6  # that end in a run of the drill, each with a folder
DUST = Decimal("0.00012")


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
    bad = not_in_charge(place, 1) + place.agree()
    return {"wrong": bad, "fills": len(place.books()["trades"]), "trading_s": round(took, 3)}


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
    return {"wrong": bad, "open": len(left["open"]), "held": f"{held_by(place):f}", "adopted_s": round(took, 3)}


def kill(place: Place, rng: random.Random) -> Row:
    """Kill by command: flat, and only the law's own orders after it; every second time somebody takes all but dust."""
    dust = rng.random() < 0.5
    if dust:
        _thinned(place)
    else:
        holding(place, 6)
    began, ms = time.monotonic(), now_ms()
    place.command("kill")
    row = stopped(place, began, ms + int(1000 * NOTICED_S))
    place.venue.tell("resume")
    said = place.refused()
    return {**row, "wrong": row["wrong"] + _latched(said), "thinned": dust}


def _thinned(place: Place) -> None:
    """Stop the market with a bid that takes so much of what is held that the rest is too little to be sold."""
    caught(place, 12)
    bid, size = place.bid(), max(held_by(place) - DUST, LOT).quantize(LOT, ROUND_DOWN)
    place.venue.quote(bid, bid + Decimal("0.02"), size, 1)


def _latched(said: str) -> list[str]:
    return [] if "release" in said else [f"a start with a latch said: {said or 'nothing'}"]


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
    row = stopped(place, began, ms + int(1000 * NOTICED_S))
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
    return stopped(place, time.monotonic() - (time.time() - ends), int(1000 * ends))


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
