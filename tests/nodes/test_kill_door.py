"""``alphatrade kill --direct`` from the command line: its own keys, its own process, whatever the node does."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.nodes.make_account import KEY, SECRET, Account
from tests.nodes.make_archive import serving


@pytest.fixture
def account() -> Iterator[Account]:
    with serving(Account()) as one:
        one.rest("a-1", "BTCUSDT", "SELL", "0.5")
        yield one


def keys(folder: Path, secret: str = SECRET) -> Path:
    folder.mkdir(mode=0o700)
    for name, value in (("binance_api_key", KEY), ("binance_api_secret", secret)):
        file = folder / name
        file.touch(mode=0o600)
        file.write_text(value + "\n")
    return folder


def kill(place: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "alphatrade", "kill", "--why", "drill", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "ALPHATRADE_STATE": str(place / "state")}
    return subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_it_latches_and_leaves_nothing_at_the_venue(account: Account, tmp_path: Path) -> None:
    done = kill(tmp_path, "--direct", "BTCUSDT,ETHUSDT", "--url", account.url, "--secrets-dir", str(keys(tmp_path / "keys")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill requested for paper/SIM" in done.stdout
    assert "flat after" in done.stdout
    assert not account.orders
    assert [symbol for symbol, _ in account.sold] == ["BTCUSDT", "ETHUSDT"]
    assert (tmp_path / "state" / "paper" / "SIM" / "kill.request").exists()
    for secret in (KEY, SECRET):
        assert secret not in done.stdout + done.stderr


def test_what_is_left_is_said_with_exit_code_1(account: Account, tmp_path: Path) -> None:
    account.closed.add("BTCUSDT")
    done = kill(tmp_path, "--direct", "BTCUSDT", "--url", account.url, "--secrets-dir", str(keys(tmp_path / "keys")), "--deadline", "2")
    assert done.returncode == 1
    assert "BTC" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("case", ["no keys", "open keys", "wrong secret", "no such venue", "nobody there"])
def test_what_cannot_work_is_one_line_and_2_and_the_latch_is_there_all_the_same(account: Account, tmp_path: Path, case: str) -> None:
    folder = tmp_path / "keys" if case == "no keys" else keys(tmp_path / "keys", "another" if case == "wrong secret" else SECRET)
    if case == "open keys":
        (folder / "binance_api_secret").chmod(0o644)
    url = "http://127.0.0.1:9" if case == "nobody there" else account.url
    more = ("--venue", "moon") if case == "no such venue" else ()
    done = kill(tmp_path, "--direct", "BTCUSDT", "--url", url, "--secrets-dir", str(folder), "--deadline", "2", *more)
    assert done.returncode == (1 if case == "nobody there" else 2), done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == (0 if case == "nobody there" else 1)
    assert SECRET not in done.stdout + done.stderr
    assert (tmp_path / "state" / "paper" / "SIM" / "kill.request").exists()
