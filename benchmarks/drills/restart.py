"""Restart: a paper node is killed with -9, goes on from its journal, and stands where it stood."""

import json
import random
import shutil
import socket
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from alphatrade.nodes.frames import read_frame
from alphatrade.nodes.journal_file import Walk, parse_head
from alphatrade.nodes.paper.inputs import Recorder
from alphatrade.nodes.paper.intake import MARKET
from benchmarks.drills.place import LEAST, LONG, MAKER, PATIENCE_S, beat_of, started
from benchmarks.drills.record import Trial
from tests.nodes.make_paper import Node

CAPITAL, INSTRUMENT = Decimal(1_000_000), "WLD/USD.SIM"


class Standing(NamedTuple):
    """Where a node stands: position, cash, and how many events it has taken."""

    position: Decimal
    cash: Decimal
    events: int


def restarted(place: Path, number: int) -> Trial:
    """Kill, start, look where it stands, kill again, and let it run to its end."""
    calm = undisturbed(place.parent)
    node, rng = Node(place, *MAKER), random.Random(number)
    node.killed(node.start("feed.speed=3000"), rng.randrange(LEAST, LONG))
    kept = on_disk(node)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place / "notify"))
        manager.settimeout(PATIENCE_S)
        node.env["NOTIFY_SOCKET"] = str(place / "notify")
        began = time.monotonic()
        with started(node, "feed.speed=1") as process:
            while b"READY=1" not in manager.recv(65_536):
                pass
            ready = time.monotonic()
            beat = beat_of(node, process)
    stands = Standing(_units(beat.facts["positions"]), Decimal(beat.facts["cash"]), beat.events)
    booked = as_booked(calm, int(beat.facts["time_ns"]))
    wrong = judged(stands, booked, kept)
    del node.env["NOTIFY_SOCKET"]
    node.run("feed.speed=max")
    wrong = wrong or same(digests_of(node.root / "artifacts" / "latest"), digests_of(calm))
    seen = {"events on disk": kept, "position": float(stands.position)}
    return Trial(wrong, {"from the start of the process to ready": 1000 * (ready - began)}, seen)


def restored(place: Path, number: int) -> Trial:
    """Kill, copy the state elsewhere, lose the rest, start there, look where it stands, and let it run to its end."""
    calm = undisturbed(place.parent)
    lost, node = Node(place / "lost", *MAKER), Node(place / "elsewhere", *MAKER)
    lost.root.mkdir()
    lost.killed(lost.start("feed.speed=3000"), random.Random(number).randrange(LEAST, LONG))
    kept, began = on_disk(lost), time.monotonic()
    shutil.copytree(lost.root / "state", node.root / "state")
    shutil.rmtree(lost.root)
    with started(node, "feed.speed=1") as process:
        beat = beat_of(node, process)
        stood = time.monotonic()
    stands = Standing(_units(beat.facts["positions"]), Decimal(beat.facts["cash"]), beat.events)
    wrong = judged(stands, as_booked(calm, int(beat.facts["time_ns"])), kept)
    node.run("feed.speed=max")
    wrong = wrong or same(digests_of(node.root / "artifacts" / "latest"), digests_of(calm))
    took = {"from the copy to where it stood": 1000 * (stood - began)}
    return Trial(wrong, took, {"events on disk": kept, "position": float(stands.position)})


def judged(stands: Standing, booked: tuple[Decimal, Decimal], kept: int) -> str:
    """
    Return what is wrong with where a node stands after a restart; empty: nothing.

    Parameters
    ----------
    stands : Standing
        By its own beat.
    booked : tuple of Decimal
        Position and cash by the fills of a run that nobody killed, at that moment.
    kept : int
        Market events in the journal when it was killed.
    """
    checks = (
        (f"{kept - stands.events} events of the journal are lost", stands.events >= kept),
        (f"position {stands.position}, booked {booked[0]}", stands.position == booked[0]),
        (f"cash {stands.cash}, booked {booked[1]}", stands.cash == booked[1]),
    )
    return next((why for why, holds in checks if not holds), "")


def same(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Return which files of a run that was killed are not those of one that was not; empty: none."""
    differ = [name for name in wanted if found.get(name) != wanted[name]]
    return f"not what an undisturbed run writes: {', '.join(differ)}" if differ else ""


def undisturbed(root: Path) -> Path:
    """Return the run folder of a replay that nobody killed; made once below `root`."""
    made = root / "undisturbed"
    if not made.exists():
        node = Node(root / "calm", *MAKER)
        node.root.mkdir()
        node.run("output.stress=false", verb="sim")
        shutil.copytree((node.root / "artifacts" / "latest").resolve(), made)
    return made


def digests_of(run: Path) -> dict[str, str]:
    """Return the digests of a run folder."""
    return dict(json.loads((run / "summary.json").read_text())["digests"])


def as_booked(run: Path, ts: int) -> tuple[Decimal, Decimal]:
    """Return position and cash at a moment, UTC ns, added up from the fills of a run of one instrument."""
    fills = read_frame(run / "fills.parquet")
    fills = fills[fills["ts"] <= ts]
    position, cash = Decimal(0), CAPITAL
    for side, qty, price, fee in zip(fills["side"], fills["qty"], fills["price"], fills["fee"], strict=True):
        sign = 1 if side == "BUY" else -1
        position += sign * qty
        cash -= sign * qty * price + fee
    return position, cash


def on_disk(node: Node) -> int:
    """Return how many market events the journal of a node has that is not running."""
    files, recorder = sorted(node.journal.glob("*.journal")), Recorder(None, [INSTRUMENT])
    walks = (Walk(parse_head(path, path.read_bytes()), path.read_bytes()) for path in files)
    return sum(isinstance(event, MARKET) for walk in walks for _, *record in walk for event in recorder.read(*record))


def _units(told: str) -> Decimal:
    held = dict(part.rsplit(":", 1) for part in told.split())
    assert set(held) <= {INSTRUMENT}, f"one instrument is traded, not {told}"
    return Decimal(held.get(INSTRUMENT, "0"))
