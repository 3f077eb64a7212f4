"""``make run-paper``: the node gets every word and signal itself; beside it, and with it, goes a console at a terminal."""

import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

STUB = """#!/bin/sh
echo "$$ $*" >> "{told}/$1"
[ "$1" = paper ] && trap 'exit 7' TERM
while :; do sleep 0.05; done
"""


def begun(place: Path, *words: str, terminal: bool) -> "subprocess.Popen[bytes]":
    """Start the script with a stub in place of the command."""
    stub = place / "alphatrade"
    stub.write_text(STUB.format(told=place))
    stub.chmod(0o755)
    command = ["sh", str(ROOT / "scripts" / "run-paper"), str(place), *words]
    if not terminal:
        return subprocess.Popen(command, stdout=subprocess.PIPE)
    _, theirs = pty.openpty()
    try:
        return subprocess.Popen(command, stdout=theirs, start_new_session=True)
    finally:
        os.close(theirs)


def told(place: Path, verb: str, seconds: float = 10.0) -> tuple[int, str]:
    """Return the process and the words of a call of the stub; 0 and "" if there is none in this time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (place / verb).exists() and (text := (place / verb).read_text()).endswith("\n"):
            process, _, words = text.strip().partition(" ")
            return int(process), words
        time.sleep(0.02)
    return 0, ""


def gone(process: int, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        stat = Path(f"/proc/{process}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("terminal", "words"), [(False, ()), (True, ("console=false",)), (True, ("--help",))])
def test_without_a_terminal_or_if_not_wanted_there_is_a_node_only(tmp_path: Path, terminal: bool, words: tuple[str, ...]) -> None:
    script = begun(tmp_path, "feed.speed=60", "policy/risk=tight", *words, terminal=terminal)
    try:
        process, said = told(tmp_path, "paper")
        assert process == script.pid, "the script became the node"
        assert said.split() == ["paper", "feed.speed=60", "policy/risk=tight", *[word for word in words if word != "console=false"]]
        assert told(tmp_path, "console", 0.5) == (0, "")
    finally:
        script.send_signal(signal.SIGTERM)
    assert script.wait(10) == 7, "the node's own exit code"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_at_a_terminal_there_is_a_console_that_ends_with_the_node(tmp_path: Path, end: signal.Signals) -> None:
    script = begun(tmp_path, "account=own", "metrics.port=9999", "tape.symbols=[a, b]", terminal=True)
    try:
        node, said = told(tmp_path, "paper")
        console, asked = told(tmp_path, "console")
        assert node == script.pid
        assert said == "paper account=own metrics.port=9999 tape.symbols=[a, b]"
        assert asked == "console --env paper --account own --metrics http://127.0.0.1:9999/metrics"
    finally:
        script.send_signal(end)
        script.wait(10)
    assert gone(console)


def test_a_console_that_dies_leaves_the_node_alone(tmp_path: Path) -> None:
    script = begun(tmp_path, terminal=True)
    try:
        console, _ = told(tmp_path, "console")
        os.kill(console, signal.SIGKILL)
        assert gone(console)
        with pytest.raises(subprocess.TimeoutExpired):
            script.wait(1.5)
    finally:
        script.send_signal(signal.SIGTERM)
    assert script.wait(10) == 7
