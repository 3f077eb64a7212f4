"""At an exchange on loopback: a paper node that is killed by its operator, loses its feed, its process, or its key.

The node is ``alphatrade paper feed=binance broker=binance``: the bundled clients, a real law, its own journal.
"""

import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from alphatrade.nodes.beats import Beat, last_beat
from alphatrade.nodes.frames import read_frame
from alphatrade.risk.kill import State
from benchmarks.drills import direct, kill
from benchmarks.drills.place import PATIENCE_S, REGIMES, at_present, operator_kills, started, stopped
from benchmarks.drills.record import Trial
from tests.nodes.make_paper import Node
from tests.venue.keys import ED25519_KEY, ApiKey, make_ed25519
from tests.venue.make_venue import Handle, spawned, until

MS = 1e6
INSTRUMENT, CAPITAL, STALL_S, STALE_S = "BTCUSDT.BINANCE", 100_000, 5.0, 2.0
RISK = {"orders_per_second": 200, "orders_per_minute": 10_000, "repeat_max": 1_000}
MAKER = (
    "feed=binance", "feed.symbols=[BTCUSDT]", "output.report=false", "policy/features=quotes",
    "policy.cadence.kind=events", "policy.cadence.n=8", "venue.account=cash", "venue.leverage=1",
    f"venue.starting_balance={CAPITAL}", "feed.pause_s=0.1",
    "policy.topologies.maker.params.half_spread=0.1", "policy.topologies.maker.params.skew=0.0",
    *(f"policy.router.table.{regime}=maker" for regime in REGIMES),
    *(f"policy.risk.{name}={value}" for name, value in RISK.items()),
)  # fmt: skip
Books = dict[str, Any]


class Trading:
    """A node that hears an exchange, and trades there unless it is told otherwise; and what is asked of both."""

    def __init__(self, place: Path, venue: Handle, *words: str) -> None:
        self.venue, self.keys = venue, place / "keys"
        self.keys.mkdir(mode=0o700)
        self.write(ED25519_KEY)
        broker = (
            "broker=binance", "broker.check_s=1", f"broker.http={venue.http}", f"broker.ws_api={venue.ws_api}",
            f"broker.secrets_dir={self.keys}",
        )  # fmt: skip
        self.node = Node(place, *MAKER, f"feed.http={venue.http}", f"feed.ws={venue.ws}", *(words or broker))

    def write(self, key: ApiKey) -> None:
        """Put a key into the folder, each half beside its place and renamed."""
        secret = "".join(line for line in key.secret.splitlines() if not line.startswith("-----"))
        for name, value in (("api_key", key.name), ("api_secret", secret)):
            new = self.keys / "new"
            new.touch(mode=0o600)
            new.write_text(value + "\n")
            new.rename(self.keys / f"binance_testnet_{name}")

    def beat(self, process: "subprocess.Popen[str]", what: Callable[[Beat], Any] = lambda beat: True) -> Beat:
        """Wait for a beat of a process of which something is true, and return it."""

        def right() -> Beat | None:
            assert process.poll() is None, f"the node has ended: {process.communicate()[1][-2000:]}"
            beat = last_beat(self.node.journal.parent)
            return beat if at_present(beat, process) and what(beat) else None

        found: Beat = until(right, PATIENCE_S)
        return found

    def drilled(self, process: "subprocess.Popen[str]") -> Books:
        """Wait until it holds something and rests something, and return the books of that moment."""
        self.beat(process, lambda beat: beat.fills >= 5)

        def right() -> Books | None:
            books = self.venue.look("books")
            return books if books["open"] and direct.held(books) >= direct.RULES.lot else None

        found: Books = until(right, PATIENCE_S, pause=0.01)
        return found

    def filled_since(self, gone: Books) -> int:
        """Wait until what was open is filled, and return how many fills there were."""
        price = Decimal(gone["trades"][-1]["price"])
        for side in (Decimal("0.999"), Decimal("1.001")):  # through every resting order, and the tape goes on
            self.venue.quote(price * side, price * side + 1)
            time.sleep(0.2)
        return len(self.venue.look("books")["trades"]) - len(gone["trades"])

    def at_rest(self, process: "subprocess.Popen[str]") -> tuple[Beat, Books]:
        """Hold the market still for a while, and return what the node believes then, and the books."""
        self.venue.tell("pause")
        time.sleep(2.5)  # what was on its way has arrived, and the books have been read
        now = self.beat(process).number
        found = self.beat(process, lambda beat: beat.number > now), self.venue.look("books")
        self.venue.tell("resume")
        time.sleep(0.5)  # for a fresh price
        return found


@contextmanager
def trading(place: Path, number: int, *words: str) -> Iterator[Trading]:
    """Give a node, not yet running, and an exchange whose prices move, two hundred quotes a second."""
    with spawned("--speed", "20", "--seed", str(number + 1), "--deposit", f"USDT={CAPITAL}") as venue:
        venue.tell("limits", orders=1_000_000, weight=1_000_000)
        yield Trading(place, venue, *words)


def differs(beat: Beat, books: Books) -> str:
    """Return where what a node believes differs from the exchange's books; empty: nowhere."""
    held = dict(part.rsplit(":", 1) for part in beat.facts["positions"].split())
    believed = Decimal(held.pop(INSTRUMENT, "0")), Decimal(beat.facts["cash"]), int(beat.facts["orders_open"])
    sums = [sum(map(Decimal, books["balances"][name].values()), Decimal(0)) for name in ("BTC", "USDT")]
    booked = sums[0], sums[1], len(books["open"])
    sent = Counter(row["clientOrderId"] for row in books["orders"])
    checks = (
        (f"the node is {beat.kill}", beat.kill == State.ACTIVE),
        (f"it holds {held}, which it does not trade", not held),
        *((f"{name} {here}, at the exchange {there}", here == there)
          for name, here, there in zip(("position", "cash", "open orders"), believed, booked, strict=True)),
        (f"orders came twice: {[name for name, count in sent.items() if count > 1]}", set(sent.values()) <= {1}),
        (f"the books do not add up: {books['audit']}", not books["audit"]),
    )  # fmt: skip
    return next((why for why, holds in checks if not holds), "")


# -- killed by its operator


def killed(place: Path, number: int) -> Trial:
    """Kill the node, and look into the exchange's books."""
    with trading(place, number) as at, started(at.node) as process:
        before = at.drilled(process)
        told = operator_kills(at.node)
        halted = at.beat(process, lambda beat: beat.kill == State.HALTED).facts
        time.sleep(1.0)  # for what should not come any more
        run = stopped(at.node, process)
        after = at.venue.look("books")
    flat = int(halted["halted_ns"])
    took = {
        "from the command to the last order canceled and flat": (flat - told["began"]) / MS,
        "from the trip": (flat - int(halted["reducing_ns"])) / MS,
    }
    wrong = kill.judged(run, direct.RULES.lot) or strangers(run, after)
    wrong = wrong or direct.judged(before, after, after_all(after))
    return Trial(wrong, took, {"open": len(before["open"]), "held": float(direct.held(before))})


def strangers(run: Path, books: Books) -> str:
    """Return which orders of the exchange's books the node knows nothing of."""
    known = set(read_frame(run / "orders.parquet")["order_id"])
    there = [row["clientOrderId"] for row in books["orders"] if row["clientOrderId"] not in known]
    return f"orders that the node knows nothing of: {there}" if there else ""


def after_all(books: Books) -> int:
    """Return a moment after all orders of the books, UTC ms: whose they are was looked at in the node's record."""
    return 1 + max((row["time"] for row in books["orders"]), default=0)


# -- the feed is lost


def lost(place: Path, number: int) -> Trial:
    """Silence the market while an order is tried each half second, and let it come back."""
    words = "broker=simulated", "feed.stall_s=1", f"feed.stale_after_s={STALE_S}", "policy.cadence.n=4"
    with trading(place, number, *words) as at:
        process = at.node.start("probe", module="tests.venue.make_hooked")
        try:
            at.beat(process, lambda beat: beat.fills >= 5)
            at.venue.fault("stall", where="market", seconds=STALL_S)
            silent = at.beat(process, lambda beat: beat.facts["feed_state"] == "lost")
            at.beat(process, lambda beat: beat.facts["feed_state"] == "up" and beat.fills >= silent.fills + 5)
            run = stopped(at.node, process)
        finally:
            process.kill()
    events = read_frame(run / "risk_events.parquet")
    gaps = [float(value) for value in events[events["kind"] == "feed_gap"]["value"]]
    refused = int((events["limit"] == "STALE_REFERENCE").sum())
    took = {"from the end of the silence to the next event": 1000 * (sum(gaps) - STALL_S)}
    return Trial(held_back(events, read_frame(run / "orders.parquet")), took, {"refused": refused})


def held_back(events: pd.DataFrame, orders: pd.DataFrame) -> str:
    """Return what is wrong with a run whose feed was lost once, by its files; empty: nothing."""
    gaps = events[events["kind"] == "feed_gap"]
    if len(gaps) != 1:
        return f"{len(gaps)} gaps are on record, not one"
    end, silence = int(gaps["ts"].iloc[0]), float(gaps["value"].iloc[0])
    start = end - round(silence * 1e9)
    sent = orders[orders["event"] == "submitted"]["ts"]
    denied = events[(events["limit"] == "STALE_REFERENCE") & events["ts"].between(start, end)]
    checks = (
        (f"the feed was silent for {silence} s, not for about {STALL_S:g}", STALL_S - 1 < silence < STALL_S + 10),
        ("nothing was tried on a stale price: nothing was drilled", len(denied)),
        ("an order left on a stale price", not sent.between(start + round(STALE_S * 1e9) + 1, end - 1).any()),
        ("it has not traded since", (sent > end).any()),
    )
    return next((why for why, holds in checks if not holds), "")


# -- the process is lost


def reconciled(place: Path, number: int) -> Trial:
    """Kill the node with -9; its orders are filled while it is gone; it starts again and has the exchange's books."""
    with trading(place, number) as at:
        with started(at.node) as process:
            gone = at.drilled(process)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        missed = at.filled_since(gone)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(place / "notify"))
            manager.settimeout(PATIENCE_S)
            at.node.env["NOTIFY_SOCKET"] = str(place / "notify")
            began = time.monotonic()
            with started(at.node) as process:
                while b"READY=1" not in manager.recv(65_536):
                    pass
                ready = time.monotonic()
                wrong = differs(*at.at_rest(process))
                stopped(at.node, process)
    took = {"from the start of the process to ready": 1000 * (ready - began)}
    wrong = wrong or ("" if missed else "nothing was filled while it was gone: nothing was drilled")
    return Trial(wrong, took, {"open": len(gone["open"]), "fills missed": missed})


# -- the key is lost


def rotated(place: Path, number: int) -> Trial:
    """Give the node another key, withdraw the old one at the exchange, and see that it trades on."""
    other = make_ed25519(f"venue-ed25519-key-of-the-drill-{number:016d}", 100 + number)
    with trading(place, number) as at, started(at.node) as process:
        at.drilled(process)
        at.venue.tell("keys", accept=other.public())
        at.write(other)
        at.venue.tell("keys", revoke=ED25519_KEY.name)
        began = time.time_ns() // 1_000_000
        until(lambda: _first(at.venue.look("books"), began), PATIENCE_S, pause=0.1)
        wrong = differs(*at.at_rest(process))
        first = _first(at.venue.look("books"), began)
        stopped(at.node, process)
    return Trial(wrong, {"from the old key's end to the next order at the exchange": first - began}, {})


def _first(books: Books, began: int) -> int:
    """Return when the first order came after a moment, UTC ms; 0: none has."""
    return min((row["time"] for row in books["orders"] if row["time"] > began), default=0)
