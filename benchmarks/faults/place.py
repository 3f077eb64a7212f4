"""An exchange and a node at it, each a process of its own, and the moments in which they are looked at."""

import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from alphatrade.nodes.beats import Beat, last_beat
from alphatrade.nodes.frames import read_frame
from alphatrade.risk.audit import audit
from benchmarks.faults.judge import Count, apart, books_of, counted, fills_apart
from tests.nodes.make_paper import Node
from tests.venue.keys import ED25519_KEY
from tests.venue.make_venue import Handle, spawned, until

REGIMES = ("down-low", "down-high", "flat-low", "flat-high", "up-low", "up-high")
RISK = {"orders_per_second": 10, "orders_per_minute": 100_000, "repeat_max": 100_000, "duplicate_window_s": 0}
LIVELY = (
    "policy/features=quotes", "policy.cadence.kind=events", "policy.cadence.n=2", "policy.regime.vol_long=40",
    "policy.topologies.maker.params.half_spread=1.0", "policy.topologies.maker.params.skew=0.1",
    *(f"policy.router.table.{regime}=maker" for regime in REGIMES),
    *(f"policy.risk.{name}={value}" for name, value in RISK.items()),
    "venue.account=cash", "venue.starting_balance=100000", "output.report=false",
)  # fmt: skip
PATIENCE_S = 90.0


class Place:
    """
    An exchange and its one node.

    Parameters
    ----------
    venue : Handle
    root : Path
        Folder of the node, its keys included.
    """

    def __init__(self, venue: Handle, root: Path) -> None:
        self.venue, self.root = venue, root
        keys = root / "keys"
        keys.mkdir(parents=True, mode=0o700)
        ED25519_KEY.put(keys)
        self.node = Node(
            root, "feed=binance", "broker=binance", "feed.symbols=[BTCUSDT]", f"feed.http={venue.http}",
            f"feed.ws={venue.ws}", "feed.stall_s=2", "feed.pause_s=0.1", "feed.pause_most_s=1",
            f"broker.http={venue.http}", f"broker.ws_api={venue.ws_api}", f"broker.secrets_dir={keys}",
            "broker.check_s=0.5", *LIVELY,
        )  # fmt: skip
        self.process: subprocess.Popen[str] | None = None
        self.said: list[tuple[float, str]] = []

    @property
    def state(self) -> Path:
        """Folder of the node's beats."""
        return self.root / "state" / "paper" / "SIM"

    def start(self) -> float:
        """Start the node, and return when."""
        began, self.said = time.monotonic(), []
        self.process = self.node.start()
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()
        threading.Thread(target=self.process.stdout.read, daemon=True).start()  # type: ignore[union-attr]
        return began

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        with (self.root / "said").open("a") as file:
            for line in process.stderr or ():
                self.said.append((time.monotonic(), line))
                file.write(line)
                file.flush()

    def heard(self, words: str) -> float | None:
        """Return when the node first said something, None if it has not."""
        return next((ts for ts, line in list(self.said) if words in line), None)

    def kill(self) -> None:
        """Kill the node without warning."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def beat(self) -> Beat | None:
        """Return the latest beat of this process."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the node has ended: {''.join(line for _, line in self.said[-8:])}")
        beat = last_beat(self.state)
        return None if beat is None or beat.pid != self.process.pid else beat

    def agree(self, since: int) -> tuple[float | None, list[str]]:
        """Wait until a beat of later than `since` (UTC ns) says what the books say; return when, and what differs."""
        ends, seen, found = time.monotonic() + PATIENCE_S, 0, ["no beat"]
        while time.monotonic() < ends:
            beat = self.beat()
            if beat is not None and beat.ts > max(since, seen):
                seen = beat.ts
                found = apart(beat.facts, books_of(self.venue.look("books"), "BTC"))
                if not found:
                    return time.monotonic(), []
                if beat.kill != "ACTIVE":
                    return None, [f"kill switch {beat.kill}", *found]
            time.sleep(0.03)
        return None, found

    def busy(self) -> None:
        """Wait until the node trades."""
        until(lambda: len(self.venue.look("books")["orders"]) > 3, PATIENCE_S)

    def stop(self) -> list[str]:
        """Stop the node; return what is wrong with what it leaves."""
        self.venue.tell("resume")
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        told = self.venue.look("books")
        wrong = [f"exit code {code}"] if code else []
        wrong += [f"left open: {len(told['open'])}"] if told["open"] else []
        left = books_of(told, "BTC").position
        wrong += [f"left in position: {left}"] if not 0 <= left < Decimal("0.00001") else []
        return wrong + told["audit"]

    def compared(self) -> tuple[Count, list[str]]:
        """Compare the record of the run with the books, and have it audited."""
        run = self.root / "artifacts" / "latest"
        told = self.venue.look("books")
        sent = self.venue.look("requests?path=/api/v3/order&method=POST")
        known = set(read_frame(run / "orders.parquet", ["order_id"])["order_id"])
        columns = ["order_id", "trade_id", "qty", "fee"]
        fills = [tuple(row) for row in read_frame(run / "fills.parquet", columns)[columns].itertuples(index=False)]
        report = audit(run)
        broken = [f"auditor: {finding.code}" for finding in (*report.violations, *report.integrity)]
        return counted(sent, told, known), fills_apart(fills, told) + broken


@contextmanager
def placed(root: Path, seed: int) -> Iterator[Place]:
    """Run an exchange for a node; what still runs afterwards is killed."""
    shutil.rmtree(root, ignore_errors=True)
    with spawned("--speed", "5", "--seed", str(seed)) as venue:
        venue.tell("limits", orders=1_000_000, weight=100_000_000)
        place = Place(venue, root)
        try:
            yield place
        finally:
            if place.process is not None and place.process.poll() is None:
                place.kill()
            (root / "books.json").write_text(json.dumps(venue.look("books")))
