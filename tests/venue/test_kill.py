"""The venue survives the node: kill -9 at any moment loses no order, doubles none, and the next node finds them all."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.venue.make_venue import Handle, spawned, until

pytestmark = pytest.mark.long


def start(venue: Handle, seed: int, said: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.venue.make_trader", str(venue.port), str(venue.control_port), str(seed)]
    with said.open("wb") as out:
        return subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)


def ready(process: "subprocess.Popen[bytes]", said: Path) -> dict[str, float]:
    """Wait for the line that says it has reconciled."""

    def line() -> str | None:
        found = [line for line in said.read_text().splitlines() if line.startswith('{"ready_s"')]
        assert found or process.poll() is None, said.read_text()[-3000:]
        return found[0] if found else None

    return json.loads(until(line, 30))


def kill_and_restart(venue: Handle, times: int, seed: int, said: Path) -> list[float]:
    """Kill a trading node that often; return how long each start took to know all open orders."""
    rng, took = random.Random(seed), []
    venue.tell("limits", orders=1_000_000, weight=1_000_000)  # the trader sends more than the real venue would take
    for round_ in range(times):
        process = start(venue, seed * 1000 + round_, said)
        try:
            took.append(ready(process, said)["ready_s"])
            before = len(venue.look("books")["orders"])
            until(lambda before=before: len(venue.look("books")["orders"]) > before + 5)
            time.sleep(rng.uniform(0, 0.5))
        finally:
            process.kill()  # also where it ended by itself: what it said is the failure to tell
            process.wait(10)
        assert venue.look("books")["audit"] == []
    return took


def check(venue: Handle) -> None:
    """Every order that was accepted is there once, and every request that was answered with yes has its order."""
    books = venue.look("books")
    assert books["audit"] == []
    sent = [
        row["params"]["newClientOrderId"]
        for row in venue.look("requests?path=/api/v3/order&method=POST")
        if row["status"] == 200
    ]
    assert Counter(row["clientOrderId"] for row in books["orders"]) == Counter(sent)
    assert max(Counter(sent).values()) == 1


def test_a_node_that_is_killed_leaves_its_orders_at_the_venue_and_the_next_one_finds_them(tmp_path: Path) -> None:
    with spawned("--speed", "5") as venue:
        kill_and_restart(venue, 2, seed=1, said=tmp_path / "said")
        check(venue)


@pytest.mark.long
def test_fifty_kills(tmp_path: Path) -> None:
    with spawned("--speed", "5") as venue:
        took = sorted(kill_and_restart(venue, 50, seed=2, said=tmp_path / "said"))
        check(venue)
        print(f"restart to reconciled: p50 {took[25]:.2f} s, p99 {took[-1]:.2f} s")


def test_the_venue_as_a_process_writes_down_where_it_is_and_what_it_was_asked(tmp_path: Path) -> None:
    with spawned("--speed", "0", "--state", str(tmp_path), "--tape", "ETHUSDT", "--deposit", "USDT=5") as venue:
        assert json.loads((tmp_path / "ports.json").read_text()) == {"port": venue.port, "control": venue.control_port}
        venue.get("/api/v3/ping")
        assert venue.balance("USDT") == (5, 0)
        row = json.loads((tmp_path / "requests.jsonl").read_text().splitlines()[0])
        assert (row["path"], row["status"]) == ("/api/v3/ping", 200)
