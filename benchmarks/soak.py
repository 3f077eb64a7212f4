"""``make soak HOURS=2 SPEED=1``: does a paper node stay as it is; hours on end, beside a node that does nothing.

``python -m benchmarks.soak [--hours 2] [--speed 1] [--out FOLDER]``

HOURS are hours of the feed in which it has anything: at SPEED 1 hours of the wall, and 168 of them are seven days of a
market, whatever the speed. The feed is the busiest such stretch of a tape: quotes of EUR/USD from ``ALPHATRADE_TAPES``,
or the embedded bars where there are none. The day before it is in the node's journal, which is read as after a restart.

In the folder: ``checkpoints.jsonl`` (signed, see :mod:`benchmarks.soak_chain`), ``ours.jsonl`` and ``bare.jsonl`` (what
the nodes say of themselves), the journal, the run, and what came out as ``soak.json`` and ``soak.html``.
"""

import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np
from tqdm import tqdm

from alphatrade.nodes.ledger_home import NAMES, SERVICE, home, key_file
from alphatrade.nodes.sim import load_tapes
from alphatrade.reflection.keys import SigningKey
from alphatrade.risk.audit import audit
from alphatrade.risk.errors import ConfigError, InputError
from benchmarks.figures import ROOT, machine
from benchmarks.soak_chain import JOURNAL, Checkpoints, digest
from benchmarks.soak_node import HOUR_NS, SIDES, Plan, settings
from benchmarks.soak_report import report

LEAD_NS = 24 * HOUR_NS
QUOTES = "eurusd_ticks_201405/data.parquet"
BINS = 60  # of a period, for the memory in its checkpoint


def feed_words() -> list[str]:
    """Return the overrides that choose the feed: real quotes, or the embedded bars where there are none."""
    file = Path(os.environ.get("ALPHATRADE_TAPES", ROOT.parent / "shared" / "tapes")) / QUOTES
    if not file.is_file():
        print("soak: no tape of real quotes (ALPHATRADE_TAPES): the feed is the embedded minute bars", file=sys.stderr)
        return ["tape=btcusd_1m"]
    return [
        "tape=file", f"tape.path={file}", "tape.kind=quotes", "tape.instrument=EUR/USD", "policy/features=quotes",
    ]  # fmt: skip


def planned(hours: float, speed: float, out: Path) -> Plan:
    """
    Return what the nodes are to do.

    Raises
    ------
    ConfigError
        If the feed has not that many hours, or no time passes.
    """
    if not (0.01 <= hours < math.inf and 0.0 < speed < math.inf):
        raise ConfigError("HOURS, SPEED", f"{hours:g}, {speed:g}", "at least 0.01 hours, and a speed above 0")
    words = feed_words()
    (tape,) = load_tapes(settings(words).settings.run)
    beginnings, counts = np.unique(tape.columns["ts"] // HOUR_NS, return_counts=True)
    whole = math.ceil(hours)
    if whole > len(beginnings):
        raise ConfigError("HOURS", f"{hours:g}", f"at most {len(beginnings)}, the hours that {tape.name} has")
    totals = np.convolve(counts, np.ones(whole, np.int64), "valid")
    early = int(np.searchsorted(beginnings, beginnings[0] + LEAD_NS // HOUR_NS))  # with less than a day before it
    first = early + int(np.argmax(totals[early:])) if early < len(totals) else len(totals) - 1
    chosen = [int(hour) * HOUR_NS for hour in beginnings[first : first + whole]]
    end = chosen[-1] + math.ceil((hours - whole + 1) * HOUR_NS / 1e9) * 10**9
    span = [np.datetime_as_string(np.datetime64(ns, "ns"), unit="s") + "Z" for ns in (chosen[0] - LEAD_NS, end)]
    words += [f"tape.start={span[0]}", f"tape.end={span[1]}", f"feed.speed={speed:g}"]
    words += [f"paths.artifacts={out / 'runs'}", f"paths.state={out / 'state'}"]
    return Plan(words, chosen, hours, min(1.0, hours / 2), speed, str(out))


class Reader:
    """What a node has said so far."""

    def __init__(self, path: Path) -> None:
        self._path, self.size = path, 0
        self.samples: list[dict[str, Any]] = []  # since the last period
        self.periods: list[dict[str, Any]] = []  # each with the samples in it
        self.last: dict[str, Any] = {}

    def read(self) -> None:
        """Take the lines that are new."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self.size)
            text = file.read()
        text = text[: text.rfind(b"\n") + 1]
        self.size += len(text)
        for line in text.splitlines():
            self.last = told = json.loads(line)
            if told["kind"] == "sample":
                self.samples.append(told)
            elif told["kind"] == "period":
                self.periods.append(told | {"samples": self.samples, "size": self.size})
                self.samples = []


def memory(samples: Sequence[dict[str, Any]]) -> list[float]:
    """Return the resident memory in a period, MB: medians of at most `BINS` parts of it."""
    size = max(1, math.ceil(len(samples) / BINS))
    parts = (samples[at : at + size] for at in range(0, len(samples), size))
    return [round(statistics.median([one["rss"] for one in part]) / 2**20, 3) for part in parts]


class Soak:
    """
    Two nodes, and the checkpoints of what they do.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.folder = plan, Path(plan.out)
        home()  # makes the keys of this machine where there are none
        key = SigningKey.load(key_file(SERVICE))
        self.public = key.public
        self._chain = Checkpoints(self.folder, key, NAMES[SERVICE])
        self.readers = {side: Reader(self.folder / f"{side}.jsonl") for side in SIDES}
        self._done = 0
        file = self.folder / "plan.json"
        file.write_bytes(msgspec.json.encode(plan))
        here = machine()
        self._chain.add("begin", {"plan": msgspec.to_builtins(plan) | {"hours": len(plan.hours)}, "machine": here})
        self._nodes = {side: self._start(side, file) for side in SIDES}

    def _start(self, side: str, plan: Path) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.soak_node", side, str(plan)]
        with (self.folder / f"{side}.log").open("wb") as log:
            return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def run(self) -> int:
        """Follow both nodes to their end; return how many of them failed."""
        total = self.plan.lasts
        try:
            with tqdm(total=total, desc="soak", unit="h", disable=not sys.stderr.isatty()) as bar:
                while any(node.poll() is None for node in self._nodes.values()):
                    time.sleep(1.0)
                    self.look()
                    bar.update(max(0.0, min(total, self.readers["ours"].last.get("at", 0.0)) - bar.n))
                    if self._nodes["ours"].poll():
                        break
        except KeyboardInterrupt:
            print("soak: stopped; what there is will be judged", file=sys.stderr)
        finally:
            for node in self._nodes.values():
                if node.poll() is None:
                    node.send_signal(signal.SIGTERM)
            codes = [node.wait() for node in self._nodes.values()]
        self.look()
        for side, code in zip(self._nodes, codes, strict=True):
            if code:
                said = (self.folder / f"{side}.log").read_text("utf-8", "replace").strip().splitlines()[-1:]
                print(f"soak: the node {side!r} ended with {code}: {' '.join(said)}", file=sys.stderr)
        return sum(code != 0 for code in codes)

    def look(self) -> None:
        """Add the checkpoints of the periods that both nodes have behind them."""
        for reader in self.readers.values():
            reader.read()
        ours, bare = (self.readers[side] for side in ("ours", "bare"))
        while self._done < min(len(ours.periods), len(bare.periods)):
            mine, other = ours.periods[self._done], bare.periods[self._done]
            told = {name: value for name, value in mine.items() if name not in ("kind", "samples", "size", "journal")}
            files = {"ours.jsonl": mine["size"], "bare.jsonl": other["size"], JOURNAL: mine["journal"]["bytes"]}
            self._chain.add("period", {
                **told,
                "memory": {"ours": memory(mine["samples"]), "bare": memory(other["samples"])},
                "records": mine["journal"]["records"],
                "files": {name: digest(self.folder, name, size) for name, size in files.items()},
            })  # fmt: skip
            self._done += 1

    def end(self, failed: int) -> None:
        """Have the auditor judge the run, and add the last checkpoint."""
        told: dict[str, Any] = {"failed": failed, "violations": None, "integrity": None}
        last, names = self.readers["ours"].last, ["ours.jsonl", "bare.jsonl", JOURNAL]
        if "run" in last:
            run = Path(last["run"])
            found = audit(run)
            told |= {"violations": len(found.violations), "integrity": len(found.integrity), "orders": found.orders}
            names += [str(path.relative_to(self.folder)) for path in sorted(run.rglob("*.parquet"))]
        self._chain.add("end", told | {"files": {name: digest(self.folder, name) for name in names}})


class Parser(argparse.ArgumentParser):
    """One that says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        self.exit(2, f"soak: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak, and say what came out; exit code 1 where a figure was missed."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0, help="of the feed, in which it has anything")
    parser.add_argument("--speed", type=float, default=1.0, help="seconds of the feed in one of the wall")
    parser.add_argument("--out", type=Path, help="folder of all files, which must not hold a soak yet")
    args = parser.parse_args(arguments)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    out = (args.out or ROOT / "artifacts" / "soak" / f"{stamp}-{args.hours:g}h-{args.speed:g}x").absolute()
    try:
        if (out / "plan.json").exists():
            raise ConfigError("--out", str(out), "a folder without a soak")
        plan = planned(args.hours, args.speed, out)
        out.mkdir(parents=True, exist_ok=True)
        soak = Soak(plan)
    except (InputError, OSError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    soak.end(soak.run())
    return report(out, soak.public)


if __name__ == "__main__":
    sys.exit(main())
