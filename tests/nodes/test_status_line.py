"""The status of a paper node: nothing is wider than the terminal, what is bad is seen, and showing it never stops a node."""

import io
import math
import os
import pty
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from alphatrade.nodes import status_line
from alphatrade.nodes.status_line import Status, StatusView, line, plain
from alphatrade.risk.kill import State
from tests.conftest import ROOT

STATUS = Status(
    ts=1_399_041_005 * 10**9,
    equity=1_000_123.45,
    currency="USD",
    day_change=-1_123.45,
    drawdown=0.0034,
    positions=(("EUR/USD.SIM", 20_000.0), ("GBP/USD.SIM", -15_000.0), ("BTCUSDT.BINANCE", 0.0123)),
    regime="up/volatile",
    tactic="momentum",
    feed_age_s=0.2,
    events_per_s=1234.4,
    orders=1120,
    fills=911,
    denials=3,
    kill=State.ACTIVE,
    phase="open",
    journal_records=12_345_678,
    journal_lag=17,
    p99_us=210.4,
)
AT_100 = """\
2014-05-02 14:30:05Z │  ACTIVE  │ open │ regime up/volatile │ tactic momentum
equity 1,000,123.45 USD │ day -1,123.45 (-0.11%) │ drawdown 0.34%
EUR/USD.SIM +20,000 │ GBP/USD.SIM -15,000 │ BTCUSDT.BINANCE +0.0123
feed 0.2 s │ events/s 1,234 │ orders 1,120 │ fills 911 │ denied 3
journal 12,345,678 (lag 17) │ p99 210 µs"""
PLAIN = (
    "2014-05-02 14:30:05Z ACTIVE open equity=1000123.45USD day=-1123.45 drawdown=0.34% regime=up/volatile tactic=momentum"
    " feed_age=0.2s events=1234/s orders=1120 fills=911 denied=3 journal=12345678 lag=17 p99=210us"
    " EUR/USD.SIM:+20,000 GBP/USD.SIM:-15,000 BTCUSDT.BINANCE:+0.0123"
)


def style_of(text: Text, word: str) -> str:
    at = text.plain.index(word)
    return " ".join(str(span.style) for span in text.spans if span.start <= at < span.end)


# -- the picture


def test_at_100_columns_it_is_five_lines_and_at_160_three() -> None:
    assert line(STATUS, 100).plain == AT_100
    assert line(STATUS, 80).plain == AT_100
    first, *rest = AT_100.splitlines()
    assert line(STATUS, 160).plain.splitlines() == [first, f"{rest[0]} │ {rest[1]}", f"{rest[2]} │ {rest[3]}"]


@settings(max_examples=150, deadline=None)
@given(
    width=st.integers(10, 200),
    ascii_only=st.booleans(),
    name=st.text(min_size=1, max_size=30),
    number=st.floats(-1e12, 1e12),
    count=st.integers(0, 10**9),
    held=st.integers(0, 12),
    kill=st.sampled_from(State),
    age=st.floats(0, 1e9) | st.just(math.inf) | st.just(math.nan),
)
@example(width=10, ascii_only=True, name="0000000\u0df2", number=0.0, count=0, held=1, kill=State.ACTIVE, age=0.0)
def test_no_line_is_wider_than_the_terminal_whatever_is_shown(
    width: int, ascii_only: bool, name: str, number: float, count: int, held: int, kill: State, age: float
) -> None:
    status = replace(
        STATUS, equity=number, day_change=-number, positions=((name, number),) * held, regime=name, tactic=name
    )
    status = replace(status, orders=count, journal_records=count, kill=kill, feed_age_s=age, p99_us=math.nan)
    shown = line(status, width, ascii_only)
    for row in shown.split():
        assert row.cell_len <= width
    told = plain(status)
    assert (told.isprintable(), shown.plain.replace("\n", "").isprintable()) == (True, True)
    assert shown.plain.isascii() or not ascii_only


def test_ascii_says_the_same() -> None:
    assert line(STATUS, 100, ascii_only=True).plain == AT_100.replace("│", "|").replace("µ", "u")
    assert line(replace(STATUS, regime="naïve"), 100, ascii_only=True).plain.count("regime na?ve") == 1


@pytest.mark.parametrize(
    ("change", "word", "style"),
    [
        ({}, "0.2 s", "green"),
        ({"feed_age_s": 2.0}, "2.0 s SLOW", "yellow"),
        ({"feed_age_s": 10.0}, "10.0 s STALE", "bold white on red"),
        ({"feed_age_s": math.nan}, "nan s STALE", "bold white on red"),
        ({"feed_age_s": 50_000.0, "phase": "closed"}, "50000.0 s", "dim"),
        ({}, "ACTIVE", "bold green"),
        ({"kill": State.REDUCING}, "REDUCING", "bold black on yellow"),
        ({"kill": State.HALTED}, "HALTED", "bold white on red"),
        ({"phase": "closing"}, "closing", "yellow"),
        ({}, "-1,123.45", "red"),
        ({"day_change": 5.0}, "+5.00", "green"),
        ({}, "-15,000", "red"),
        ({"denials": 0}, "denied 0", "dim"),
        ({}, "3\njournal", "yellow"),
    ],
)
def test_what_is_bad_has_another_colour_and_another_word(change: dict[str, Any], word: str, style: str) -> None:
    assert style_of(line(replace(STATUS, **change), 100), word) == style


def test_a_feed_that_is_silent_while_the_market_is_closed_is_not_stale() -> None:
    late = replace(STATUS, feed_age_s=3600.0)
    assert ("STALE" in plain(late), "STALE" in plain(replace(late, phase="closed"))) == (True, False)


def test_names_of_others_are_text() -> None:
    foreign = "[red]x[/red] :warning: \x1b[2J\n"
    status = replace(STATUS, regime=foreign, positions=((foreign, 1.0),))
    shown = "[red]x[/red] :warning: ?[2J?"
    assert line(status, 160).plain.count(shown) == 2
    assert plain(status).count(shown) == 2
    assert "\x1b" not in plain(status)


def test_a_log_has_all_of_it_on_one_line() -> None:
    assert plain(STATUS) == PLAIN
    empty = replace(STATUS, positions=(), p99_us=math.nan)
    assert plain(empty).endswith("p99=-us flat")
    assert "flat" in line(empty, 100).plain


def test_a_day_that_began_with_nothing_has_no_share() -> None:
    assert math.isnan(replace(STATUS, equity=5.0, day_change=5.0).day_share)
    assert replace(STATUS, equity=110.0, day_change=10.0).day_share == pytest.approx(0.1)


# -- the view


class Clock:
    """A monotonic clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(status_line.time, "monotonic", lambda: self.now)


def test_into_a_log_a_line_now_and_then_and_the_last_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with StatusView(every_s=10.0) as view:
        for second in range(25):
            view.show(replace(STATUS, orders=second))
            clock.now += 1.0
    out, told = capsys.readouterr()
    assert out == ""
    assert [word for word in told.split() if word.startswith("orders=")] == [
        "orders=0",
        "orders=10",
        "orders=20",
        "orders=24",
    ]


def test_what_was_told_is_not_told_again_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Clock(monkeypatch)
    with StatusView() as view:
        view.show(STATUS)
    with StatusView():
        pass
    assert capsys.readouterr().err.count("equity=") == 1


def test_of_a_node_that_hangs_the_age_of_the_feed_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, file = Clock(monkeypatch), io.StringIO()
    view = StatusView()
    view.show(STATUS)
    for silent, shown in ((0.5, "feed 0.2 s "), (30.0, "feed 30.7 s STALE")):
        clock.now += silent
        Console(file=file, width=100).print(view)
        assert shown in file.getvalue()


@pytest.mark.parametrize("error", [BrokenPipeError, OSError])
def test_a_log_that_is_gone_stops_nothing(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise error

    with StatusView(every_s=0.0) as view:
        monkeypatch.setattr(sys, "stderr", Gone())
        view.show(STATUS)


DEMO = """
import time
from tests.nodes.test_status_line import STATUS, StatusView
with StatusView(per_second=20) as view:
    print("a line of stdout")
    view.show(STATUS)
    time.sleep(0.4)
"""


def on_a_terminal(**env: str) -> str:
    """Run a view in a process whose stderr is a terminal, and return what it wrote there."""
    main, other = pty.openpty()
    command = [sys.executable, "-c", DEMO]
    whole = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100", "LINES": "20"} | env
    with subprocess.Popen(command, env=whole, stderr=other, stdout=other) as process:
        os.close(other)
        told = b""
        while True:
            try:
                block = os.read(main, 65_536)
            except OSError:  # the other end is closed
                break
            if not block:
                break
            told += block
    os.close(main)
    assert process.returncode == 0, told.decode()
    return told.decode()


def test_on_a_terminal_it_stays_in_place_and_other_lines_go_above_it() -> None:
    told = on_a_terminal()
    assert told.count("tactic") >= 3
    assert "\x1b[1A" in told, "it goes up again to draw over itself"
    assert "a line of stdout" in told
    assert "equity=" not in told
    assert told.rstrip().endswith("\x1b[?25h"), "and the cursor is back"


def test_on_a_terminal_without_pictures_it_writes_lines() -> None:
    told = on_a_terminal(TERM="dumb")
    assert (told.count("equity="), "\x1b" in told) == (1, False)


def test_on_a_terminal_of_ascii_there_is_nothing_else() -> None:
    told = on_a_terminal(PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert told.isascii()
    assert " | " in told


def test_to_show_is_cheap() -> None:
    """What a decision step pays for it: nothing is drawn there."""
    view = StatusView()
    view._live = object()  # type: ignore[assignment]  # as on a terminal
    started = time.perf_counter()
    for _ in range(1000):
        view.show(STATUS)
    assert time.perf_counter() - started < 0.5
