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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from alphatrade.nodes.beats import Beat
from alphatrade.nodes.metrics_server import Watched, served
from alphatrade.nodes.paper.desk import RUN
from alphatrade.risk.columns import table
from alphatrade.risk.record import TABLES
from benchmarks.figures import OUT, ROOT, Figure, figure, measured
from benchmarks.watch import cost

TARGET, COMMAND = "console", "python -m benchmarks.console"
SECONDS, FILLS, OPENED = 86_400, 5_000, 5  # of the history; and how often its page is opened
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
def shown(state: Path, env: str, metrics: str = "http://127.0.0.1:1/metrics") -> Iterator[str]:
    """Run a console, and return its address."""
    port = free_port()
    words = ["console", "--env", env, "--port", str(port), "--metrics", metrics]
    own = {**os.environ, "ALPHATRADE_STATE": str(state), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-m", "alphatrade", *words], env=own, stderr=subprocess.DEVNULL) as console:
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)):
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/"
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
        address = stack.enter_context(shown(state, "sim", told[0].partition(": ")[2]))
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
    """Write what a node leaves in 24 hours: a beat and a decision a second, and thousands of fills."""
    start = time.time_ns() - SECONDS * NANO
    folder, run = state / "paper" / "SIM", state / "run"
    (run / "diary").mkdir(parents=True)
    folder.mkdir(parents=True)
    (folder / RUN).write_bytes(msgspec.json.encode({"folder": str(run), "pid": 1}))
    beats = [
        Beat(ts=start + n * NANO, number=n, pid=1, lag_s=0.0, feed_age_s=0.1, events=n, orders=n // 10, fills=n // 20,
             rss=10**9, kill="ACTIVE", journal=n, facts={"equity": f"{10**6 + n}", "regime": "up-low"})
        for n in range(SECONDS)
    ]  # fmt: skip
    (folder / "beats.jsonl").write_bytes(b"".join([msgspec.json.encode(beat) + b"\n" for beat in beats]))
    times = [start + n * NANO for n in range(SECONDS)]
    level = [60_000 + 500 * math.sin(n / 5_000) + 20 * math.sin(n / 90) for n in range(SECONDS)]
    wealth = [int((1e6 + 10 * (price - 60_000)) * NANO) for price in level]
    most = 1_010_000 * NANO
    equity = [(ts, own, own, 0, most, (most - own) / most) for ts, own in zip(times, wealth, strict=True)]
    step, orders, fills = SECONDS // FILLS, [], []
    for at in range(FILLS):
        n = at * step
        side, price, name = ("BUY", "SELL")[at % 2], int(level[n] * NANO), f"O-{at}"
        market = (3 * at, times[n], "BTC/USD.SIM", "Organism", name)
        orders.append((*market, "filled", side, "MARKET", NANO, 0, price, None, False, "", n))
        fills.append((*market, f"T-{at}", side, NANO, price, 10**7, "USD", "taker", NANO, 0, n))
    rows = {"orders": orders, "fills": fills, "risk_events": [], "equity": equity}
    for name, own in rows.items():
        pq.write_table(table(TABLES[name], own), run / f"{name}.parquet")
    regimes = ("down-low", "down-high", "flat-low", "flat-high", "up-low", "up-high")
    pq.write_table(pa.table({
        "decision": list(range(SECONDS)), "ts": times, "instrument": ["BTC/USD.SIM"] * SECONDS, "mid": level,
        "regime": [regimes[n // 1_800 % 6] for n in range(SECONDS)], "exec_topo": ["maker"] * SECONDS,
        "candidates": [["maker", "momentum"]] * SECONDS, "scores": [[0.5, 0.1]] * SECONDS,
        "explanation": [""] * SECONDS,
    }), run / "diary" / "decisions.parquet")  # fmt: skip


def paint() -> list[Figure]:
    """Return how long the page takes until its figures are drawn, where a node left 24 hours."""
    with TemporaryDirectory(prefix="alphatrade-bench-") as folder:
        state = Path(folder)
        history(state)
        with shown(state, "paper") as address, browser(address, state) as page:
            page.wait_for_function(DRAWN, timeout=60_000)
            first, whole = list[float](), list[float]()
            for _ in range(OPENED):
                begun = time.monotonic()
                page.goto(address)
                page.wait_for_function(DRAWN, timeout=60_000)
                whole.append(time.monotonic() - begun)
                first.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1e3)
    what = f"{SECONDS:,} beats and decisions, {FILLS:,} fills"
    return [
        figure("console.paint", f"first paint in headless Chromium: {what}", first, "s", "<= 2", command=COMMAND),
        figure("console.drawn", "until all of its figures are drawn", whole, "s", command=COMMAND),
    ]


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
                with shown(state, "paper", metrics) as address, browser(address, state) as page:
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
    what = "metrics served and a console that reads them and the run"
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
