"""Runaway: a strategy sends orders without end beside the policy; the law holds it back, or stops it, by itself.

One node denies what is beyond the pace of its law, until ``alphatrade kill`` ends it. Of another one the law halts at
orders that repeat themselves too often (``policy.risk.repeat_action=halt``), and nobody has to come.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from alphatrade.nodes.frames import read_frame
from alphatrade.risk.audit import audit
from alphatrade.risk.audit_judge import LAW_PREFIX
from alphatrade.risk.kill import State
from alphatrade.risk.limits import Code
from benchmarks.drills import kill
from benchmarks.drills.flooder import TAG
from benchmarks.drills.place import MAKER, beat_of, operator_kills, resumed, started, stopped
from benchmarks.drills.record import Trial
from benchmarks.drills.rogue import NOTED
from tests.nodes.make_paper import Node

MODULE = "benchmarks.drills.rogue"
HELD_S = 15.0
SECOND_NS = 10**9


class Seen(NamedTuple):
    """
    What came of the one that is held back.

    Attributes
    ----------
    reached : sequence of tuple
        When each order or modification was made that reached the venue (UTC ns of the node), and by whom.
    tried : int
        Orders of the runaway.
    denied : mapping of str to int
        Those of them that are on record as denied, by reason.
    policy : int
        Orders of the policy that are on record as denied.
    per_second, per_minute : int
        What the law allows.
    """

    reached: Sequence[tuple[int, str]]
    tried: int
    denied: Mapping[str, int]
    policy: int
    per_second: int
    per_minute: int

    @property
    def own(self) -> int:
        """How many orders of the policy reached the venue."""
        return sum(not who.endswith(TAG) for _, who in self.reached)


class Tripped(NamedTuple):
    """What came of the other: why it was stopped, what was let through then, what it held in the end, violations."""

    code: str
    halted: bool
    after: int
    left: float
    violations: int


def held(place: Path, number: int) -> Trial:
    """Let it run beside a policy that trades, then kill; and beside one whose law halts."""
    node = resumed(place, number)
    with started(node, "feed.speed=1", module=MODULE) as process:
        beat_of(node, process)
        time.sleep(HELD_S + random.Random(number).uniform(0.0, 1.0))
        told = operator_kills(node)
        halted = beat_of(node, process, kill=State.HALTED).facts
        run = stopped(node, process)
    seen = _seen(run, place / NOTED)
    flat_ms = (int(halted["halted_ns"]) - told["began"]) / 1e6
    wrong = judged(seen) or kill.judged(run)

    other = Node(place / "halts", *MAKER, "policy.risk.repeat_action=halt")
    other.root.mkdir()
    with started(other, "feed.speed=600", module=MODULE) as process:  # two seconds until the policy trades
        alone = beat_of(other, process, kill=State.HALTED).facts
        run = stopped(other, process)
    took = {
        "from the command to flat": flat_ms,
        "from the law's own trip to flat": (int(alone["halted_ns"]) - int(alone["reducing_ns"])) / 1e6,
    }
    counts = {"tried": seen.tried, "reached": len(seen.reached), "denied": seen.denied.total(), "policy": seen.own}
    return Trial(wrong or by_itself(_tripped(run)), took, dict(counts))


def most(moments: Sequence[int], window: int) -> int:
    """Return how many there were at most in any window (ns), whose far end does not count."""
    ranked, first, found = sorted(moments), 0, 0
    for last, moment in enumerate(ranked):
        while ranked[first] <= moment - window:
            first += 1
        found = max(found, last - first + 1)
    return found


def judged(seen: Seen) -> str:
    """Return what is wrong with how a runaway was held back; empty: nothing."""
    moments = [at for at, _ in seen.reached]
    second, minute = most(moments, SECOND_NS), most(moments, 60 * SECOND_NS)
    lost = seen.tried - (len(seen.reached) - seen.own) - sum(seen.denied.values())
    checks = (
        (f"{second} orders in a second reached the venue, {seen.per_second} may", second <= seen.per_second),
        (f"{minute} orders in a minute reached the venue, {seen.per_minute} may", minute <= seen.per_minute),
        ("none was denied for its pace: nothing was drilled", seen.denied.get(Code.ORDER_RATE, 0) > 0),
        (f"{lost} orders neither reached the venue nor are on record as denied", lost == 0),
        ("the policy tried nothing beside it", seen.own + seen.policy > 0),
    )
    return next((why for why, holds in checks if not holds), "")


def by_itself(tripped: Tripped) -> str:
    """Return what is wrong with a stop that the law has to make by itself; empty: nothing."""
    checks = (
        (f"it was not the law that stopped it: {tripped.code or 'nobody did'}", tripped.code == Code.REPEATED),
        ("the law never halted", tripped.halted),
        (f"{tripped.after} orders were let through after the trip", tripped.after == 0),
        (f"a position of {tripped.left:g} was left", tripped.left == 0),
        (f"{tripped.violations} violations", tripped.violations == 0),
    )
    return next((why for why, holds in checks if not holds), "")


def _seen(run: Path, noted: Path) -> Seen:
    events = read_frame(run / "risk_events.parquet")
    found, law = json.loads(noted.read_text()), json.loads((run / "policy.json").read_text())["risk"]
    denied = events[(events["kind"] == "denied") & (events["ts"] >= found["from"])]
    whose = denied["order_id"].str.contains(f"-{TAG}-", regex=False)
    reached = [(int(at), str(who)) for at, who in found["reached"]]
    limits = law["orders_per_second"], law["orders_per_minute"]
    return Seen(reached, found["tried"], Counter(denied[whose]["limit"]), int((~whose).sum()), *limits)


def _tripped(run: Path) -> Tripped:
    events, orders = read_frame(run / "risk_events.parquet"), read_frame(run / "orders.parquet")
    fills, report = read_frame(run / "fills.parquet"), audit(run)
    stops = events[events["kind"] == "kill"]
    after = orders[orders["seq"] > stops["seq"].iloc[0]] if len(stops) else orders[:0]
    let = after[after["event"] == "submitted"]
    return Tripped(
        code="" if stops.empty else str(stops["limit"].iloc[0]),
        halted=bool(((events["kind"] == "state") & (events["value"] == "HALTED")).any()),
        after=int((~let["order_id"].str.startswith(LAW_PREFIX)).sum()),
        left=float(fills["position_after"].iloc[-1]) if len(fills) else 0.0,
        violations=len(report.violations) + len(report.integrity),
    )
