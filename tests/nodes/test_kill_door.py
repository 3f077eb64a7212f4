"""``alphatrade kill --direct`` from the command line: its own keys, its own process, whatever the node does."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from alphatrade.nodes.kill_app import _root
from alphatrade.nodes.kill_direct import kill_direct
from alphatrade.nodes.paper.link import KEYS, Exchange
from alphatrade.risk.errors import ConfigError
from tests.conftest import ROOT
from tests.nodes.make_account import KEY, SECRET, Account, credentials
from tests.nodes.make_archive import serving

TESTNET = ("--venue", "binance_testnet")


@pytest.fixture
def account() -> Iterator[Account]:
    with serving(Account()) as one:
        one.rest("a-1", "BTCUSDT", "SELL", "0.5")
        yield one


def keys(folder: Path, secret: str = SECRET) -> Path:
    folder.mkdir(mode=0o700)
    for name, value in (("binance_testnet_api_key", KEY), ("binance_testnet_api_secret", secret)):
        file = folder / name
        file.touch(mode=0o600)
        file.write_text(value + "\n")
    return folder


def kill(place: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "alphatrade", "kill", "--why", "drill", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "ALPHATRADE_STATE": str(place / "state")}
    return subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_it_latches_and_leaves_nothing_at_the_venue(account: Account, tmp_path: Path) -> None:
    done = kill(
        tmp_path,
        "--direct",
        "BTCUSDT,ETHUSDT",
        *TESTNET,
        "--url",
        account.url,
        "--secrets-dir",
        str(keys(tmp_path / "keys")),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[:5] == [
        "kill requested for paper/SIM; see: alphatrade status --env paper --account SIM",
        f"binance_testnet, {account.url}, by the keys binance_testnet_api_key and binance_testnet_api_secret:",
        "  cancels all orders of BTCUSDT, ETHUSDT, then sells all that the account has of their base assets",
        *(f"selling {quantity} {symbol.removesuffix('USDT')} by {symbol}" for symbol, quantity in account.sold),
    ]
    assert "flat after" in done.stdout
    assert not account.orders
    assert [symbol for symbol, _ in account.sold] == ["BTCUSDT", "ETHUSDT"]
    assert (tmp_path / "state" / "paper" / "SIM" / "kill.request").exists()
    for secret in (KEY, SECRET):
        assert secret not in done.stdout + done.stderr


def test_what_is_left_is_said_with_exit_code_1(account: Account, tmp_path: Path) -> None:
    account.closed.add("BTCUSDT")
    done = kill(
        tmp_path,
        "--direct",
        "BTCUSDT",
        *TESTNET,
        "--url",
        account.url,
        "--secrets-dir",
        str(keys(tmp_path / "keys")),
        "--deadline",
        "2",
    )
    assert done.returncode == 1
    assert "BTC" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "case",
    ["no keys", "open keys", "wrong secret", "no venue", "no such venue", "keys of another venue", "nobody there"],
)
def test_what_cannot_work_is_one_line_and_2_and_the_latch_is_there_all_the_same(
    account: Account, tmp_path: Path, case: str
) -> None:
    folder = (
        tmp_path / "keys"
        if case == "no keys"
        else keys(tmp_path / "keys", "another" if case == "wrong secret" else SECRET)
    )
    if case == "open keys":
        (folder / "binance_testnet_api_secret").chmod(0o644)
    url = "http://127.0.0.1:9" if case == "nobody there" else account.url
    venue = {"no venue": (), "no such venue": ("--venue", "moon"), "keys of another venue": ("--venue", "binance")}.get(
        case, TESTNET
    )
    done = kill(tmp_path, "--direct", "BTCUSDT", *venue, "--url", url, "--secrets-dir", str(folder), "--deadline", "2")
    assert done.returncode == (1 if case == "nobody there" else 2), done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == (0 if case == "nobody there" else 1)
    assert SECRET not in done.stdout + done.stderr
    if case in ("no venue", "no such venue"):
        assert all(f"{name} (" in done.stderr for name in ("binance", "binance_testnet"))
    assert account.sold == []
    assert (tmp_path / "state" / "paper" / "SIM" / "kill.request").exists()


def test_each_sale_is_said_before_it_is_sent(account: Account) -> None:
    told: list[tuple[str, int]] = []
    asyncio.run(
        kill_direct(
            account.url, credentials(), ["BTCUSDT", "ETHUSDT"], tell=lambda line: told.append((line, len(account.sold)))
        )
    )
    assert told == [("selling 1.5 BTC by BTCUSDT", 0), ("selling 20.25 ETH by ETHUSDT", 1)]


def test_what_a_paper_node_trades_is_sold_where_it_trades_and_by_keys_of_that_name() -> None:
    assert TESTNET[1] == KEYS
    assert _root(KEYS, "") == Exchange(None, None, ()).rest
    assert _root("binance", "") != _root(KEYS, "")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:9", "https://me:word@127.0.0.1"])
def test_another_address_has_to_be_one(url: str) -> None:
    with pytest.raises(ConfigError, match="--url"):
        _root(KEYS, url)


def test_a_venue_without_what_to_sell_there_is_said(tmp_path: Path) -> None:
    done = kill(tmp_path, *TESTNET)
    assert done.returncode == 2
    assert "--direct" in done.stderr
    assert (tmp_path / "state" / "paper" / "SIM" / "kill.request").exists()
