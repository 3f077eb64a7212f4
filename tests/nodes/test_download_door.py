"""`alphatrade tape download` as users call it: exit codes and messages, and runs on what was downloaded."""

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from alphatrade.nodes import download_http
from alphatrade.nodes.app import main
from alphatrade.nodes.tape_spec import CatalogTape, FileTape
from alphatrade.nodes.tapes import load_tape
from tests.conftest import ROOT, FrontDoor
from tests.nodes.make_archive import EVERY_S, Exchange, asked, serving

Door = Callable[..., tuple[int, str, str]]


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with serving(Exchange()) as one:
        yield one


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], state_dir: Path) -> Door:
    """`door("BTCUSDT", …)` downloads in this process and returns exit code, stdout, stderr."""
    monkeypatch.setenv("ALPHATRADE_STATE", str(state_dir))
    monkeypatch.setattr(download_http, "TRIES", 2)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["alphatrade", "tape", "download", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capfd.readouterr())

    return call


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        (["--from", "2025-02-30"], "--from"),
        (["--from", "2025-06-01"], "--from"),
        (["--to", "2999-01-01"], "--to"),
        (["--interval", "1m"], "--interval"),
        (["--kind", "klines", "--interval", "2w"], "--interval"),
        (["--kind", "quotes"], "--kind"),
        (["--venue", "elsewhere"], "--venue"),
        (["--base-url", "data"], "--base-url"),
        (["--base-url", "http://127.0.0.1:9"], "an answer"),
        (["--base-url", "http://no.such.host.invalid"], "an answer"),
        (["--catalog", "."], "--catalog"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    changed: list[str], word: str, door: Door, exchange: Exchange, tmp_path: Path
) -> None:
    code, out, err = door(*asked(exchange, tmp_path / "out"), *changed)
    assert (code, out) == (2, "")
    assert err.startswith("alphatrade: ")
    assert err.count("\n") == 1
    assert word in err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_without_the_extra_its_name_is_said(
    door: Door, exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("alphatrade.nodes.download")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    code, out, err = door(*asked(exchange, tmp_path))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "alphatrade[paper]" in err


def test_a_place_that_cannot_be_written_is_one_line(door: Door, exchange: Exchange, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, out, err = door(*asked(exchange, tmp_path / "file"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--out" in err


def test_a_download_is_quiet_off_a_terminal_and_says_how_to_go_on(
    front_door: FrontDoor, exchange: Exchange, tmp_path: Path
) -> None:
    done = front_door("tape", "download", *asked(exchange, tmp_path, "klines", "2025-05-31", "2025-06-03"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "4320 rows, 3 parts fetched, 0 were there" in done.stdout
    assert f"tape=file tape.path={tmp_path}/BTCUSDT-1m-klines.parquet tape.instrument=BTC/USDT" in done.stdout


@pytest.mark.long
def test_a_tape_of_trades_and_a_catalog_are_read_as_they_are(door: Door, exchange: Exchange, tmp_path: Path) -> None:
    code, out, err = door(
        *asked(exchange, tmp_path, "trades", "2025-06-01", "2025-06-03"), "--catalog", str(tmp_path / "catalog")
    )
    assert (code, err) == (0, "")
    assert f"tape=catalog tape.path={tmp_path / 'catalog'}" in out
    tape = load_tape(FileTape(path=str(tmp_path / "BTCUSDT-trades.parquet")), tmp_path / "cache")
    assert (tape.kind, tape.instrument.symbol, len(tape)) == ("trades", "BTC/USDT", 2 * 86_400 // EVERY_S)
    assert (tape.columns["ts"] % (EVERY_S * 10**9) == 0).all()
    assert np.mean(tape.columns["aggressor"] == 2) == pytest.approx(
        1 / 3, abs=0.01
    )  # the buyer waited, the seller took
    stored = load_tape(CatalogTape(path=str(tmp_path / "catalog")), tmp_path / "cache")
    assert (stored.columns["price"] == tape.columns["price"]).all()
    assert (stored.columns["ts"] == tape.columns["ts"]).all()


@pytest.mark.long
def test_a_run_reads_what_was_downloaded(front_door: FrontDoor, exchange: Exchange, tmp_path: Path) -> None:
    done = front_door("tape", "download", *asked(exchange, tmp_path, "klines", "2025-06-09", "2025-06-11"))
    line = done.stdout.splitlines()[-1].split()
    assert line[:3] == ["alphatrade", "sim", "tape=file"]
    fixed = ("output.stress=false", "output.report=false", f"paths.artifacts={tmp_path / 'artifacts'}")
    ran = front_door(*line[1:], *fixed)
    assert (ran.returncode, ran.stderr) == (0, "")
    (summary,) = {path.resolve() for path in (tmp_path / "artifacts").glob("**/summary.json")}
    assert json.loads(summary.read_text())["run_id"]
    tape = load_tape(FileTape(path=str(tmp_path / "BTCUSDT-1m-klines.parquet")), tmp_path / "cache")
    assert (tape.kind, tape.bar_s, len(tape)) == ("bars", 60.0, 2880)
    assert tape.audit["gap"] == 0


@pytest.mark.long
def test_on_a_terminal_a_bar_shows_the_days_and_what_comes(
    exchange: Exchange, tmp_path: Path, door_env: dict[str, str]
) -> None:
    exchange.delay_s = 0.02
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    job = subprocess.Popen(
        [sys.executable, "-m", "alphatrade", "tape", "download", *asked(exchange, tmp_path)],
        env=door_env,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while block := os.read(ours, 65_536):
            shown += block
    os.close(ours)
    assert job.wait(20) == 0
    assert re.search(r"BTCUSDT-aggTrades: +\d+%.* 1?\d/22 .*2025-05-\d\d \d+,\d+ B", shown.decode())
