"""Downloads that are killed, interrupted or out of space: what was whole stays, and the next call ends as if nothing had been."""

import json
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alphatrade.nodes.download_store import sha256_of
from tests.conftest import ROOT
from tests.nodes.make_archive import Exchange, asked, serving

pytestmark = pytest.mark.long

STEM = "BTCUSDT-aggTrades"


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with serving(Exchange()) as one:
        yield one


def started(arguments: list[str], env: dict[str, str], **how: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "alphatrade", "tape", "download", *arguments]
    return subprocess.Popen(
        command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how
    )


def whole_parts(out: Path) -> set[str]:
    """What the manifest names, each with the bytes that it names."""
    path = out / f"{STEM}.json"
    if not path.exists():
        return set()
    parts = json.loads(path.read_text())["parts"]
    for part in parts:
        assert sha256_of(out / f"{STEM}.parts" / f"{part['start']}.parquet") == part["sha256"]
    return {part["start"] for part in parts}


def killed_often(seed: int, most: int, exchange: Exchange, tmp_path: Path, env: dict[str, str]) -> int:
    """Kill a download at random moments, up to `most` times; it must end as one that nobody disturbed. Return how often."""
    exchange.delay_s = 0.02  # 44 requests: about a second of work
    assert started(asked(exchange, tmp_path / "calm"), env).wait(60) == 0
    kills, draw, out = 0, random.Random(seed), tmp_path / "rough"
    there: dict[str, int] = {}  # how often the exchange was asked for what was whole after a kill
    while kills < most:
        before, job = exchange.asked.total(), started(asked(exchange, out), env)
        while exchange.asked.total() == before and job.poll() is None:
            time.sleep(0.002)
        try:
            job.wait(draw.uniform(0.0, 0.4))
            break
        except subprocess.TimeoutExpired:
            job.kill()
            job.wait()
            kills += 1
        assert {path: exchange.asked[path] for path in there} == there, "what was whole is not asked for again"
        had = whole_parts(out)
        there = {path: count for path, count in exchange.asked.items() if any(f"{day}.zip" in path for day in had)}
    assert started(asked(exchange, out), env).wait(60) == 0
    assert {path: exchange.asked[path] for path in there} == there
    for suffix in ("json", "parquet"):
        assert (out / f"{STEM}.{suffix}").read_bytes() == (tmp_path / "calm" / f"{STEM}.{suffix}").read_bytes()
    assert not list(out.glob("**/*.tmp"))
    return kills


def test_a_killed_download_goes_on_to_the_identical_file(
    exchange: Exchange, tmp_path: Path, door_env: dict[str, str]
) -> None:
    assert killed_often(1, 5, exchange, tmp_path, door_env) >= 3


@pytest.mark.parametrize("seed", range(2, 12))
def test_however_it_is_killed(seed: int, exchange: Exchange, tmp_path: Path, door_env: dict[str, str]) -> None:
    assert killed_often(seed, 20, exchange, tmp_path, door_env) >= 3


def test_ctrl_c_stops_in_one_line(exchange: Exchange, tmp_path: Path, door_env: dict[str, str]) -> None:
    exchange.delay_s = 0.1
    job = started(asked(exchange, tmp_path), door_env)
    while not whole_parts(tmp_path):
        time.sleep(0.05)
    job.send_signal(signal.SIGINT)
    out, err = job.communicate(timeout=20)
    assert (job.returncode, err) == (130, "")
    assert out == "stopped; what was had is kept, the same command goes on\n"


def test_a_full_disk_is_one_line_and_the_next_call_goes_on(
    exchange: Exchange, tmp_path: Path, door_env: dict[str, str]
) -> None:
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))  # the days fit, the file of all of them does not

    job = started(asked(exchange, tmp_path), door_env, preexec_fn=small)
    out, err = job.communicate(timeout=60)
    assert (job.returncode, out, err.count("\n")) == (2, "", 1)
    assert "--out" in err
    assert "space on it" in err
    assert len(whole_parts(tmp_path)) == 22
    assert not (tmp_path / f"{STEM}.parquet").exists()
    before = exchange.asked.copy()
    assert started(asked(exchange, tmp_path), door_env).wait(60) == 0
    assert exchange.asked == before, "nothing is asked for again"
