"""The operator console: how often its page changes, how soon it is there after 24 hours, what it costs the node.

``python -m benchmarks.console [--pairs 7]``; needs Debian's package chromium.
"""

import argparse
import math
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from alphatrade.nodes.beats import Beat
from alphatrade.nodes.console.running import DRAW_S
from alphatrade.nodes.metrics_server import Watched, served
from alphatrade.nodes.paper.desk import RUN
from alphatrade.reflection.parquet import write_parquet
from alphatrade.reflection.segment_writer import JOINED
from alphatrade.reflection.segments import path_of
from alphatrade.reflection.trail import TRAIL
from alphatrade.risk.columns import table
from alphatrade.risk.record import TABLES
from benchmarks.figures import OUT, ROOT, Figure, figure, measured
from benchmarks.watch import cost

TARGET, COMMAND = "console", "python -m benchmarks.console"
SECONDS, FILLS, OPENED = 86_400, 5_000, 5  # of the history; and how often its page is opened
SEGMENT = 5  # rows: a decision a second, a segment each five
LOOK_S = 10.0
NANO = 10**9
CHANGES = """() => { window.changed = 0; let due = false; new MutationObserver(() => { if (!due) { due = true;
requestAnimationFrame(() => { due = false; window.changed += 1; }); } }).observe(document.body,
{subtree: true, childList: true, characterData: true}); }"""
DRAWN = "document.querySelectorAll('.js-plotly-plot .scatterlayer .trace').length >= 4"


def free_port() -> int:
    """Return a port of loopback that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def shown(
    state: Path, env: str, metrics: str = "http://127.0.0.1:1/metrics"
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run a console, and return its address and its process."""
    port = free_port()
    words = ["console", "--env", env, "--port", str(port), "--metrics", metrics]
    own = {**os.environ, "ALPHATRADE_STATE": str(state), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-m", "alphatrade", *words], env=own, stderr=subprocess.DEVNULL) as console:
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)):
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/", console
        finally:
            console.terminate()


@contextmanager
def browser(address: str, state: Path) -> Iterator[Any]:
    """Open a page of the console in Chromium, signed in."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        page.get_by_label("token").fill((state / "console.token").read_text().strip())
        page.click("button")
        yield page
        chromium.close()


@contextmanager
def beside(state: Path, opened: bool = False) -> Iterator[Watched]:
    """Serve a node's metrics, and run a console that reads them, and what the node leaves; and open its page."""
    told = list[str]()
    with ExitStack() as stack:
        watched = stack.enter_context(served("127.0.0.1", 0, told.append))
        address, _ = stack.enter_context(shown(state, "sim", told[0].partition(": ")[2]))
        if opened:
            stack.enter_context(left_open(address, state))
        yield watched


@contextmanager
def left_open(address: str, state: Path) -> Iterator[None]:
    """Leave a page open, by a thread: Playwright has an event loop of its own, and so does the node."""
    drawn, over = threading.Event(), threading.Event()

    def look() -> None:
        with browser(address, state) as page:
            page.wait_for_selector("text=exposure", timeout=60_000)
            drawn.set()
            over.wait()

    with ThreadPoolExecutor(1) as one:
        looking = one.submit(look)
        try:
            while not drawn.wait(0.1) and not looking.done():
                pass
            yield
        finally:
            over.set()
            looking.result()


def history(state: Path) -> None:
    """Write what a node leaves in 24 hours: a beat and a decision a second, and thousands of fills; its run is over."""
    run, day = _day(state)
    for name, own in day.rows.items():
        pq.write_table(table(TABLES[name], own), run / f"{name}.parquet")
    write_parquet(day.decisions, run / "diary" / "decisions.parquet")


@contextmanager
def running(state: Path) -> Iterator[None]:
    """Write the same of a node that goes on, as it does: a trail, and segments that were joined; and go on."""
    run, day = _day(state)
    lines = [day.between(n, n + 1) for n in range(SECONDS)]
    (run / TRAIL).write_bytes(b"".join([msgspec.json.encode(line) + b"\n" for line in lines if line]))
    folder, joined = run / "diary" / "decisions", SEGMENT * JOINED
    folder.mkdir()
    small = SECONDS - SECONDS % joined  # from here on they are still too few to be joined
    for first in [*range(0, small, joined), *range(small, SECONDS, SEGMENT)]:
        rows = day.decisions.slice(first, joined if first < small else SEGMENT)
        write_parquet(rows, path_of(folder, first, rows.num_rows))
    over = threading.Event()
    going = threading.Thread(target=_goes_on, args=(state, run, day, over))
    going.start()
    try:
        yield
    finally:
        over.set()
        going.join()


class Day(NamedTuple):
    """A day: its decisions, and the rows of the law's tables; `at` is the second of each."""

    start: int
    decisions: pa.Table
    rows: dict[str, list[Any]]

    def between(self, first: int, last: int) -> dict[str, list[Any]]:
        """Return the rows of some seconds, as a line of the trail has them."""
        low, high = (self.start + n * NANO for n in (first, last))
        found = {}
        for name, rows in self.rows.items():
            at = itemgetter(0 if name == "equity" else 1)
            if own := rows[bisect_left(rows, low, key=at) : bisect_left(rows, high, key=at)]:
                found[name] = own
        return found


def _goes_on(state: Path, run: Path, day: Day, over: threading.Event) -> None:
    """Beat once a second, with a line of the trail; and write a segment each five seconds, of rows of before."""
    n, tail, first = SECONDS, day.decisions.slice(SECONDS - SEGMENT), SECONDS
    money = list(day.rows["equity"][-1][1:])
    while not over.wait(1.0):
        now, n = time.time_ns(), n + 1
        with (state / "paper" / "SIM" / "beats.jsonl").open("ab") as beats:
            beats.write(msgspec.json.encode(_beat(now, n)) + b"\n")
        with (run / TRAIL).open("ab") as trail:
            trail.write(msgspec.json.encode({"equity": [[now, *money]]}) + b"\n")
        if n % SEGMENT == 0:
            own = {"row": range(first, first + SEGMENT), "decision": range(first, first + SEGMENT),
                   "ts": range(now - SEGMENT * NANO, now, NANO)}  # fmt: skip
            for name, values in own.items():
                tail = tail.set_column(tail.column_names.index(name), name, pa.array(values))
            write_parquet(tail, path_of(run / "diary" / "decisions", first, SEGMENT))
            first += SEGMENT


def _beat(ts: int, n: int) -> Beat:
    return Beat(
        ts=ts, number=n, pid=1, lag_s=0.0, feed_age_s=0.1, events=n, orders=n // 10, fills=n // 20, rss=10**9,
        kill="ACTIVE", journal=n, facts={"equity": f"{10**6 + n}", "regime": "up-low"},
    )  # fmt: skip


def _day(state: Path) -> tuple[Path, Day]:
    """Make folders, beats and rows of the last 24 hours."""
    start = time.time_ns() - SECONDS * NANO
    folder, run = state / "paper" / "SIM", state / "run"
    (run / "diary").mkdir(parents=True)
    folder.mkdir(parents=True)
    (folder / RUN).write_bytes(msgspec.json.encode({"folder": str(run), "pid": 1}))
    beats = [_beat(start + n * NANO, n) for n in range(SECONDS)]
    (folder / "beats.jsonl").write_bytes(b"".join([msgspec.json.encode(beat) + b"\n" for beat in beats]))
    times = [start + n * NANO for n in range(SECONDS)]
    level = [60_000 + 500 * math.sin(n / 5_000) + 20 * math.sin(n / 90) for n in range(SECONDS)]
    wealth = [int((1e6 + 10 * (price - 60_000)) * NANO) for price in level]
    most = 1_010_000 * NANO
    equity = [(ts, own, own, 0, most, (most - own) / most) for ts, own in zip(times, wealth, strict=True)]
    step, orders, fills = SECONDS // FILLS, list[Any](), list[Any]()
    for at in range(FILLS):
        n = at * step
        side, price, name = ("BUY", "SELL")[at % 2], int(level[n] * NANO), f"O-{at}"
        market = (3 * at, times[n], "BTC/USD.SIM", "Organism", name)
        orders.append((*market, "filled", side, "MARKET", NANO, 0, price, None, False, "", n))
        fills.append((*market, f"T-{at}", side, NANO, price, 10**7, "USD", "taker", NANO, 0, n))
    rows = {"orders": orders, "fills": fills, "risk_events": [], "equity": equity}
    return run, Day(start, _decisions(times, level), rows)


def _decisions(times: list[int], level: list[float]) -> pa.Table:
    """Return decisions with all the columns of a diary: those of a node's first hours, over and over."""
    with TemporaryDirectory(prefix="alphatrade-bench-") as folder:
        words = ["tape=world", "tape.hours=2", "output.stress=false", "output.report=false"]
        own = {**os.environ, "ALPHATRADE_STATE": folder, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-m", "alphatrade", "sim", *words], cwd=folder, env=own, check=True,
                       capture_output=True)  # fmt: skip
        own_rows = pq.ParquetFile(Path(folder) / "artifacts" / "latest" / "diary" / "decisions.parquet").read()
    found = own_rows.take(pa.array([n % own_rows.num_rows for n in range(SECONDS)]))
    numbers = pa.array(range(SECONDS), pa.int64())
    regimes = ("down-low", "down-high", "flat-low", "flat-high", "up-low", "up-high")
    told = {
        "row": numbers, "decision": numbers, "ts": pa.array(times), "mid": pa.array(level),
        "instrument": pa.array(["BTC/USD.SIM"] * SECONDS),
        "regime": pa.array([regimes[n // 1_800 % 6] for n in range(SECONDS)]),
    }  # fmt: skip
    for name, values in told.items():
        found = found.set_column(found.column_names.index(name), name, values)
    return found


def paint() -> list[Figure]:
    """Return how soon the page of a node is there that left 24 hours, and of one that goes on after them."""
    over = contextmanager(lambda state: iter([history(state)]))
    return [*_painted("", over, "its run is over"), *_painted("running.", running, "its run goes on")]


def _painted(name: str, left: Callable[[Path], AbstractContextManager[None]], which: str) -> list[Figure]:
    with TemporaryDirectory(prefix="alphatrade-bench-") as folder:
        state, begun = Path(folder), 0.0
        with left(state):
            begun = time.monotonic()
            with shown(state, "paper") as (address, console), browser(address, state) as page:
                page.wait_for_function(DRAWN, timeout=60_000)
                began = time.monotonic() - begun
                first, whole = list[float](), list[float]()
                for _ in range(OPENED):
                    begun = time.monotonic()
                    page.goto(address)
                    page.wait_for_function(DRAWN, timeout=60_000)
                    whole.append(time.monotonic() - begun)
                    paints = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
                    first.append(page.evaluate(paints) / 1e3)
                cpu = [_cpu_of(console, DRAW_S) for _ in range(OPENED)]
                rss = _rss_of(console)
    first_paint = f"first paint in headless Chromium: {SECONDS:,} beats and decisions, {FILLS:,} fills; {which}"
    draw = f"CPU of the console in {DRAW_S:g} s, a drawing of its page in it"
    return [
        figure(f"console.{name}paint", first_paint, first, "s", "<= 2", command=COMMAND),
        figure(f"console.{name}drawn", "until all of its figures are drawn", whole, "s", command=COMMAND),
        figure(f"console.{name}begun", "the same from the start of the console on", began, "s", command=COMMAND),
        figure(f"console.{name}cpu", draw, cpu, "s", "<= 0.3" if name else "", command=COMMAND),
        figure(f"console.{name}memory", "resident memory of the console", rss, "MB", command=COMMAND),
    ]


def _cpu_of(process: "subprocess.Popen[bytes]", seconds: float) -> float:
    """Return the CPU time that a process takes in some seconds, its threads included."""

    def taken() -> int:
        return sum(map(int, Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))

    before = taken()
    time.sleep(seconds)
    return (taken() - before) / os.sysconf("SC_CLK_TCK")


def _rss_of(process: "subprocess.Popen[bytes]") -> float:
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def updates() -> list[Figure]:
    """Return how often the page of a node changes at ten times the pace of its feed."""
    with TemporaryDirectory(prefix="alphatrade-bench-") as folder:
        state, port = Path(folder) / "state", free_port()
        own = {**os.environ, "ALPHATRADE_STATE": str(state), "PYTHONPATH": str(ROOT)}
        words = ["paper", "tape=world", "feed.speed=10", f"metrics.port={port}", "output.report=false"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([sys.executable, "-m", "alphatrade", *words], cwd=folder, env=own, **quiet) as node:
            try:
                while not (state / "paper" / "SIM" / "beats.jsonl").exists():
                    time.sleep(0.1)
                metrics = f"http://127.0.0.1:{port}/metrics"
                with shown(state, "paper", metrics) as (address, _), browser(address, state) as page:
                    page.wait_for_selector("text=exposure", timeout=60_000)
                    time.sleep(2.0)
                    page.evaluate(CHANGES)
                    begun = time.monotonic()
                    time.sleep(LOOK_S)
                    rate = page.evaluate("window.changed") / (time.monotonic() - begun)
            finally:
                node.terminate()
    what = "times a second at which the page changes, feed at 10x"
    return [figure("console.updates", what, rate, "1/s", ">= 2", command=COMMAND)]


def main() -> int:
    """Measure and publish; exit code 1 where a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7, help="of interleaved runs, 20 s each")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the figures")
    args = parser.parse_args()
    what = "beats, trail, metrics served, and a console that reads all of it"
    looked_at = partial(beside, opened=True)
    parts = {
        "paint": paint,
        "updates": updates,
        "cost": lambda: cost(args.pairs, beside, TARGET, what, COMMAND),
        "open": lambda: cost(args.pairs, looked_at, f"{TARGET}.open", f"{what}, its page open in Chromium", COMMAND),
    }
    return measured(TARGET, parts, args.out)


if __name__ == "__main__":
    sys.exit(main())
