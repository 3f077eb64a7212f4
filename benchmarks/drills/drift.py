"""Drift: the market's relation flips in the middle of a tape; the sentry alarms, acts at once, and an operator sees it.

A long trend, which the beliefs of the policy are right about, turns into a market that always comes back. The tape is a
seeded world, so that the alarm comes for sure; in the same world without the turn there is none.
"""

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen
from typing import Any, NamedTuple

import pandas as pd
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.drills.place import PATIENCE_S, started, stopped
from benchmarks.drills.record import Trial
from benchmarks.drills.watching import OPENER, free_port
from benchmarks.figures import ROOT
from tests.nodes.make_paper import Node
from tests.venue.make_venue import until

WORLD = (
    "tape=world", "tape.seed=4", "tape.hours=12", "tape.step_s=2", "tape.schedule=[up,revert]", "tape.halts=0",
    "tape.gaps=0", "tape.bad_prints=0", "policy.cadence.n=5", "policy.drift.run_length=2000",
    "policy.drift.baseline=200", "output.report=false",
)  # fmt: skip
PACE = "feed.speed=2000"  # the turn comes after ten seconds
SHOWN = "alphatrade_drift_alarms_total"
SEEN_MS = 3_000.0  # three beats, by which what the metrics say is a beat late at most


class Seen(NamedTuple):
    """
    What came of it.

    Attributes
    ----------
    flip : int
        When the market turned, UTC ns of the tape.
    packets : sequence of dict
        Theory packets of the run, the first one first.
    pages : int
        How many of them have a page for people, with the link to the runbook.
    acted : sequence of tuple
        Moments (UTC ns of the tape) and words of the decisions that say that they heed the sentry.
    next : int
        Moment of the first decision at or after the first alarm; 0: there is none.
    before, after : float
        What the metrics said of alarms when the node had begun, and when they first said something else.
    took_ms : float
        From the first packet on the disk to that.
    """

    flip: int
    packets: Sequence[dict[str, Any]]
    pages: int
    acted: Sequence[tuple[int, str]]
    next: int
    before: float
    after: float
    took_ms: float


def alarmed(place: Path, number: int) -> Trial:
    """Let the market turn under a node, look at its metrics as an operator does, and stop it."""
    node, port = Node(place, *WORLD), free_port()
    with started(node, PACE, f"metrics.port={port}") as process:
        before, _ = until(lambda: _shown(process, port), PATIENCE_S)
        after, at = until(lambda: found if (found := _shown(process, port)) and found[0] > before else None, PATIENCE_S)
        run = stopped(node, process)
    seen = _seen(run, before, after, at)
    first = seen.packets[0]
    counts = {
        "factor": first["action"]["factor"],
        "seconds of the tape after the turn": (int(first["at"]["ts"]) - seen.flip) / 1e9,
        "packets": float(len(seen.packets)),
    }
    return Trial(judged(seen), {"from the alarm to the metrics": seen.took_ms}, counts)


def judged(seen: Seen) -> str:
    """Return what is wrong; empty: nothing."""
    if not seen.packets:
        return "no packet: the sentry did not alarm"
    first, *_ = seen.packets
    at, action = int(first["at"]["ts"]), first["action"]
    heeded = dict(seen.acted)
    words = f"; drift x{action['factor']:g} ({first['what']['detail']})"
    checks = (
        ("the alarm came before the market turned: nothing was drilled", at > seen.flip),
        (f"a factor of {action['factor']:g} is no action", action["factor"] < 1.0 and action["freeze"]),
        ("the decision at the alarm does not heed it", seen.next == at and words in heeded.get(seen.next, "")),
        ("a decision heeds an alarm that is still to come", min(heeded, default=at) >= at),
        ("a packet leads to no runbook", all(_leads(one["runbook"]) for one in seen.packets)),
        ("packets are there that nobody can read", seen.pages == len(seen.packets)),
        ("the metrics had told of alarms from the beginning", seen.before == 0),
        ("the metrics do not tell of the alarm", seen.after >= 1),
        (f"an operator sees it after {seen.took_ms:.0f} ms", seen.took_ms <= SEEN_MS),
    )
    return next((why for why, holds in checks if not holds), "")


def _seen(run: Path, before: float, after: float, at: int) -> Seen:
    """Return what a run folder says, of which the metrics told at a moment, UTC ns."""
    truth = pd.read_parquet(run / "truth.parquet", columns=["ts", "regime"])
    files = sorted((run / "packets").glob("*.json"))
    assert files, "the metrics tell of an alarm that has no packet"
    packets = [json.loads(file.read_text()) for file in files]
    pages = [page.read_text() if (page := file.with_suffix(".md")).is_file() else "" for file in files]
    made = pd.read_parquet(run / "diary" / "decisions.parquet", columns=["ts", "explanation"])
    said = made[made["explanation"].str.contains("; drift x", regex=False)]
    then = made[made["ts"] >= int(packets[0]["at"]["ts"])]["ts"]
    return Seen(
        flip=int(truth[truth["regime"] == "revert"]["ts"].iloc[0]),
        packets=packets,
        pages=sum(one["runbook"] in page for page, one in zip(pages, packets, strict=True)),
        acted=list(said.itertuples(index=False, name=None)),
        next=int(then.iloc[0]) if len(then) else 0,
        before=before,
        after=after,
        took_ms=(at - min(file.stat().st_mtime_ns for file in files)) / 1e6,
    )


def _leads(link: str) -> bool:
    """Return whether a link of a packet leads to a heading of a document that is there."""
    path, _, anchor = link.partition("#")
    if not (ROOT / path).is_file():
        return False
    heads = re.findall(r"^#+ (.+)$", (ROOT / path).read_text("utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def _shown(process: "Popen[str]", port: int) -> tuple[float, int] | None:
    """Return how many alarms the metrics tell of, and when that was read, UTC ns; None: they do not answer yet."""
    assert process.poll() is None, f"the node has ended: {process.communicate()[1][-2000:]}"
    try:
        with OPENER.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except OSError:
        return None
    found = {one.name: one.value for family in text_string_to_metric_families(text) for one in family.samples}
    return (found[SHOWN], time.time_ns()) if SHOWN in found else None
