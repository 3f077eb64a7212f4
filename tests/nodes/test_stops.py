"""A stop that comes while no loop hears it: an error, now or in the process that this one becomes."""

import asyncio
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from nautilus_trader.system.kernel import NautilusKernel

from alphatrade.nodes import stops
from alphatrade.nodes.paper import assembly
from alphatrade.nodes.paper.assembly import signals_left
from alphatrade.nodes.paper.node import _listen
from alphatrade.risk.errors import ConfigError, StoppedError
from alphatrade.risk.kill import request_kill
from tests.conftest import ROOT

BECOMES = """
import os, signal, sys, threading, time
from alphatrade.nodes import stops
from alphatrade.risk.errors import StoppedError
if len(sys.argv) == 1:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()  # the kernel may show it to this one
    stops.held_back()
    os.kill(os.getpid(), signal.SIGTERM)
    stops.become([sys.executable, *sys.orig_argv[1:], "again"])
try:
    with stops.heard():
        print("nobody has asked")
except StoppedError as error:
    print(error)
"""


def test_no_loop_and_nobody_who_asks_takes_it_for_an_answer():
    async def asks() -> str:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
        try:
            await asyncio.sleep(5)
        except Exception as error:
            return str(error)
        return ""

    with pytest.raises(StoppedError), stops.heard():
        try:
            asyncio.run(asks())
        except Exception:
            pytest.fail("it was taken for an answer")


@pytest.mark.parametrize("number", stops.STOPS)
def test_a_stop_is_an_error_and_afterwards_what_it_was(number):
    if (before := signal.getsignal(number)) is signal.SIG_IGN:
        pytest.skip("whoever runs this has it ignored")
    with pytest.raises(StoppedError, match=signal.Signals(number).name), stops.heard():
        os.kill(os.getpid(), number)
        signal.pause()
    assert signal.getsignal(number) is before


WAITS = """
import sys
from pathlib import Path
from alphatrade.nodes import stops
from alphatrade.risk.errors import StoppedError
try:
    with stops.heard():
        print("waits", flush=True)
        stops.waited(36_000.0, Path(sys.argv[1]))
except StoppedError as error:
    print(error)
"""


@pytest.mark.parametrize("number", [*stops.STOPS, None])
def test_who_waits_for_hours_hears_a_stop_and_a_kill_at_once(tmp_path, number):
    words = [sys.executable, "-c", WAITS, str(tmp_path / "live" / "PILOT")]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        if number is None:
            request_kill(tmp_path, "live", "PILOT", "ada", "seen enough", 1)
            wanted = "a kill was asked for while it waited: seen enough (by ada)"
        else:
            process.send_signal(number)
            wanted = f"stopped by {signal.Signals(number).name} while no node ran"
        began = time.monotonic()
        said, wrong = process.communicate(timeout=60)
    assert said.startswith(wanted)
    assert (said.count("\n"), wrong, process.returncode) == (1, "", 0)
    assert time.monotonic() - began < 3 + stops.LOOK_S


def test_a_watchdog_that_runs_is_told_that_it_waits_as_it_should(tmp_path, monkeypatch):
    told = list[str]()
    monkeypatch.setattr(stops, "sd_notify", told.append)
    monkeypatch.setattr(stops, "LOOK_S", 0.01)
    stops.waited(0.03, tmp_path)
    assert set(told) == {"WATCHDOG=1"}
    assert len(told) >= 3


def test_one_that_was_held_back_is_heard_by_the_process_that_this_one_becomes():
    words = [sys.executable, "-c", BECOMES]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "stopped by SIGTERM while no node ran\n"


class Kernel:
    """Takes the signals of a loop as Nautilus's own does."""

    def __init__(self, loop: asyncio.AbstractEventLoop, told: list[int]) -> None:
        self._loop, self._loop_sig_handler, self._log = loop, told.append, SimpleNamespace(debug=lambda _: None)

    take = NautilusKernel._setup_loop


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("late", [False, True])
def test_a_stop_while_a_node_is_made_and_while_it_runs_is_not_lost(
    number: signal.Signals, new_loop: Callable[[], asyncio.AbstractEventLoop], late: bool
) -> None:
    before = {one: signal.getsignal(one) for one in (signal.SIGABRT, *stops.STOPS)}
    loop, told, nautilus = new_loop(), list[str](), list[int]()
    guard = SimpleNamespace(stopped=lambda: told.append("stopped"))
    parts: Any = SimpleNamespace(
        node=SimpleNamespace(kernel=SimpleNamespace(loop=loop)), stop=asyncio.Event(), guard=guard
    )

    async def run() -> bool:
        _listen(parts)
        if late:
            os.kill(os.getpid(), number)
        await asyncio.wait_for(parts.stop.wait(), 10)
        return True

    try:
        with stops.heard():
            mine = {one: signal.getsignal(one) for one in before}
            with signals_left(loop):
                Kernel(loop, nautilus).take()
            assert {one: signal.getsignal(one) for one in before} == mine
            if not late:
                with suppress(BaseException):  # as code that is no Python's does
                    os.kill(os.getpid(), number)
                    signal.pause()
            assert loop.run_until_complete(run())
            assert bool(told) == late
            assert not nautilus, "its strategies would be stopped at once"
    finally:
        loop.close()
        for one, handler in before.items():
            signal.signal(one, handler)


def test_one_that_was_taken_for_nothing_ends_the_node_that_begins() -> None:
    before = {one: signal.getsignal(one) for one in stops.STOPS}
    loop = asyncio.new_event_loop()
    node, guard = SimpleNamespace(kernel=SimpleNamespace(loop=loop)), SimpleNamespace(stopped=lambda: None)
    parts: Any = SimpleNamespace(node=node, stop=asyncio.Event(), guard=guard)
    try:
        with stops.heard():
            with suppress(BaseException):  # as code that is no Python's does
                os.kill(os.getpid(), signal.SIGTERM)
                signal.pause()
            _listen(parts)
            assert parts.stop.is_set()
        assert not stops.missed()
    finally:
        loop.close()
        for one, handler in before.items():
            signal.signal(one, handler)


def test_the_next_one_does_not_end_who_tells_of_the_first() -> None:
    ended, before = list[int](), signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    try:
        with stops.noted(), pytest.raises(StoppedError):
            try:
                with stops.heard():
                    os.kill(os.getpid(), signal.SIGTERM)
                    signal.pause()
            finally:
                os.kill(os.getpid(), signal.SIGTERM)  # while what was left is told
        assert (ended, stops.missed()) == ([], False)
        with stops.noted():
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(StoppedError), stops.heard():
                pytest.fail("it came before")
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_kernel_leaves_a_handler_that_is_none_of_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of SIGABRT, as faulthandler has it."""
    loop, was = asyncio.new_event_loop(), signal.getsignal
    monkeypatch.setattr(assembly, "getsignal", lambda number: None if number == signal.SIGABRT else was(number))
    before = {one: was(one) for one in (signal.SIGABRT, signal.SIGINT, signal.SIGTERM)}
    try:
        with signals_left(loop):
            Kernel(loop, []).take()
        assert {one: was(one) for one in before} == before
    finally:
        loop.close()
        signal.signal(signal.SIGINT, before[signal.SIGINT])


def test_one_that_was_taken_for_something_else_is_a_stop_and_what_else_is_wrong_is_told() -> None:
    with pytest.raises(StoppedError, match="SIGTERM"), stops.heard():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        except BaseException:
            raise KeyError("__reduce_cython__") from None  # as an import of pandas has it
    with pytest.raises(KeyError), stops.heard():
        raise KeyError("mine")
    with pytest.raises(ConfigError), stops.heard():
        with suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        raise ConfigError("a", 1, "b")


def test_what_is_imported_first_is_whole_before_a_stop_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "half_made.py").write_text("import os\nos.kill(os.getpid(), 15)\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StoppedError, match="SIGTERM"), stops.heard("half_made"):
        pytest.fail("it was taken for nothing")
    assert importlib.import_module("half_made").whole
