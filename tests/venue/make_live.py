"""Paper nodes on a running venue, each a process of its own: a sandbox on this venue changes Nautilus for good."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from alphatrade.nodes.beats import Beat, last_beat
from tests.nodes.make_paper import Node
from tests.venue.make_venue import Handle, running, until
from tests.venue.market import Feed, walk
from tests.venue.rules import KNOWN

FAST = ("policy.cadence.kind=events", "policy.cadence.n=4", "output.report=false", "feed=binance", "feed.stall_s=1",
        "feed.pause_s=0.1", "feed.pause_most_s=0.5")  # fmt: skip
START = {"BTCUSDT": 30_000.0, "ETHUSDT": 2_000.0}


def feeds(*symbols: str) -> list[Feed]:
    """Return walks of ten quotes a second."""
    return [walk(KNOWN[name], START[name], 20_000, seed) for seed, name in enumerate(symbols, 1)]


@contextmanager
def moving(*symbols: str, speed: float = 20.0) -> Iterator[Handle]:
    """Run a venue whose prices move, two hundred quotes a second."""
    with running(feeds(*(symbols or ("BTCUSDT",))), speed) as venue:
        yield venue


class Live(Node):
    """A paper node that hears a venue."""

    begun: ClassVar[list["subprocess.Popen[str]"]] = []  # a test that fails leaves none of them

    def __init__(self, root: Path, venue: Handle, *words: str) -> None:
        super().__init__(root, *FAST, f"feed.http={venue.http}", f"feed.ws={venue.ws}", *words)
        self.process: subprocess.Popen[str] | None = None
        self.mode = "paper"

    @property
    def folder(self) -> Path:
        return self.root / "state" / self.mode / "SIM"

    def begin(self, *words: str, module: str = "") -> None:
        self.process = self.start(*words, module=module)
        self.begun.append(self.process)

    def beat(self, what: Callable[[Beat], Any] = lambda beat: True, timeout: float = 40.0) -> Beat:
        """Wait for a beat of the process of which something is true, and return it."""
        assert self.process is not None
        process = self.process

        def found() -> Beat | None:
            assert process.poll() is None, process.communicate()
            beat = last_beat(self.folder)
            return beat if beat is not None and beat.pid == process.pid and what(beat) else None

        return until(found, timeout, 0.05)

    def crash(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def end(self, code: int = 0) -> str:
        """Stop it as Ctrl-C does, and return what it said."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == code, out + err
        return out + err

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.root / "artifacts" / "latest" / f"{name}.parquet")

    def reread(self) -> dict[str, pd.DataFrame]:
        """Process the journal once more, that of the last run where it is over, and return what is recorded of it."""
        if not self.journal.exists():
            shutil.move(self.root / "artifacts" / "latest" / "journal", self.journal)
        process = self.start("reread", module="tests.venue.make_hooked")
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
        return {name: self.table(name) for name in ("orders", "fills", "marks", "risk_events")}

    def happened(self) -> list[tuple[str, str]]:
        """Return what happened to the feed: what, and the way that was heard from then on."""
        rows = self.table("risk_events")
        rows = rows[rows["kind"].str.startswith("feed_")]
        return [(row.kind.removeprefix("feed_"), row.detail.partition(",")[0]) for row in rows.itertuples()]
