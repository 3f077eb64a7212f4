"""``make run-paper``: the node gets every word and signal itself; beside it, and with it, goes a console at a terminal."""

import fcntl
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

import pandas as pd
import pytest

from tests.conftest import ROOT
from tests.nodes.make_paper import Node

# A node that is flat after a while; a console that, as ours, ends at a SIGINT unless that was ignored from the start.
STUB = """#!/bin/sh
flat() {{ : > "{told}/closing"; sleep 1; : > "{told}/flat"; exit 7; }}
[ "$1" = paper ] && trap flat INT HUP && trap 'exit 7' TERM
echo "$$ $*" >> "{told}/$1"
while :; do sleep 0.05; done
"""


class Terminal:
    """A terminal of its own for one command, with a keyboard and a plug."""

    def __init__(self) -> None:
        self._keyboard, self._theirs = pty.openpty()
        self.shown, self._unplugged = b"", threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)

    def begin(self, *command: str, **more: object) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            command, stdin=self._theirs, stdout=self._theirs, stderr=self._theirs, start_new_session=True,
            preexec_fn=_of_a_terminal, **more,
        )  # type: ignore[call-overload]  # fmt: skip
        os.close(self._theirs)
        self._reader.start()
        return process  # type: ignore[no-any-return]

    def _read(self) -> None:
        with suppress(OSError):
            while not self._unplugged.is_set():
                if select.select([self._keyboard], [], [], 0.1)[0]:
                    self.shown += os.read(self._keyboard, 65536)

    def types(self, keys: bytes) -> None:
        os.write(self._keyboard, keys)

    def hangs_up(self) -> None:
        self._unplugged.set()
        self._reader.join()  # while somebody reads, it is not closed
        os.close(self._keyboard)


def _of_a_terminal() -> None:
    """Begin as a terminal's shell does, also where the tests run under nohup: what is ignored could not be trapped."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def stubs(place: Path) -> list[str]:
    """Return the call of the script with a stub in place of the command."""
    stub = place / "alphatrade"
    stub.write_text(STUB.format(told=place))
    stub.chmod(0o755)
    return ["sh", str(ROOT / "scripts" / "run-paper"), str(place)]


def begun(place: Path, *words: str, terminal: bool = True) -> "subprocess.Popen[bytes]":
    command = [*stubs(place), *words]
    return Terminal().begin(*command) if terminal else subprocess.Popen(command, stdout=subprocess.PIPE)


def until(true: Callable[[], object], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def told(place: Path, verb: str, seconds: float = 10.0) -> tuple[int, str]:
    """Return the process and the words of a call of the stub; 0 and "" if there is none in this time."""
    file = place / verb
    if not until(lambda: file.exists() and file.read_text().endswith("\n"), seconds):
        return 0, ""
    process, _, words = file.read_text().strip().partition(" ")
    return int(process), words


def runs(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    with suppress(FileNotFoundError, ProcessLookupError):
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize(("terminal", "words"), [(False, ()), (True, ("console=false",)), (True, ("--help",))])
def test_without_a_terminal_or_if_not_wanted_there_is_a_node_only(
    tmp_path: Path, terminal: bool, words: tuple[str, ...]
) -> None:
    script = begun(tmp_path, "feed.speed=60", "policy/risk=tight", *words, terminal=terminal)
    try:
        process, said = told(tmp_path, "paper")
        assert process == script.pid, "the script became the node"
        assert said.split() == [
            "paper",
            "feed.speed=60",
            "policy/risk=tight",
            *[word for word in words if word != "console=false"],
        ]
        assert told(tmp_path, "console", 0.5) == (0, "")
    finally:
        script.send_signal(signal.SIGTERM)
    assert script.wait(10) == 7, "the node's own exit code"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_at_a_terminal_there_is_a_console_that_ends_with_the_node(tmp_path: Path, end: signal.Signals) -> None:
    script = begun(tmp_path, "account=own", "metrics.port=9999", "tape.symbols=[a, b]")
    try:
        node, said = told(tmp_path, "paper")
        console, asked = told(tmp_path, "console")
        assert node == script.pid
        assert said == "paper account=own metrics.port=9999 tape.symbols=[a, b]"
        assert asked == "console --env paper --account own"
    finally:
        script.send_signal(end)
        script.wait(10)
    assert until(lambda: not runs(console))


def send(how: str, terminal: Terminal, job: "subprocess.Popen[bytes]") -> None:
    if how == "Ctrl-C":
        terminal.types(b"\x03")
    else:
        terminal.hangs_up()
        os.killpg(job.pid, signal.SIGHUP)  # as a shell passes it on to all of a job


@pytest.mark.parametrize("how", ["Ctrl-C", "hang-up"])
def test_what_a_terminal_sends_is_for_the_node_and_the_console_stays_until_that_has_ended(
    tmp_path: Path, how: str
) -> None:
    terminal = Terminal()
    script = terminal.begin(*stubs(tmp_path))
    try:
        node, console = told(tmp_path, "paper")[0], told(tmp_path, "console")[0]
        assert node == script.pid
        send(how, terminal, script)
        assert until((tmp_path / "closing").exists)
        while not (tmp_path / "flat").exists():
            assert runs(console), "it went before the node was flat"
            time.sleep(0.05)
        assert script.wait(10) == 7
        assert until(lambda: not runs(console))
    finally:
        script.kill()


def test_a_console_that_dies_leaves_the_node_alone(tmp_path: Path) -> None:
    script = begun(tmp_path)
    try:
        console, _ = told(tmp_path, "console")
        os.kill(console, signal.SIGKILL)
        assert until(lambda: not runs(console))
        with pytest.raises(subprocess.TimeoutExpired):
            script.wait(1.5)
    finally:
        script.send_signal(signal.SIGTERM)
    assert script.wait(10) == 7


# -- a real console, and a real node


def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def answers(at: int) -> bool:
    """Return whether a console does; its port is open before it hears signals."""
    with suppress(OSError, HTTPException), urlopen(f"http://127.0.0.1:{at}/login", timeout=5):
        return True
    return False


@pytest.mark.parametrize("ignored", [True, False])
def test_a_console_minds_a_sigint_unless_that_was_ignored_from_the_start(tmp_path: Path, ignored: bool) -> None:
    node, at = Node(tmp_path), port()
    command = [
        sys.executable,
        "-m",
        "alphatrade",
        "console",
        "--port",
        str(at),
        "--metrics",
        "http://127.0.0.1:9/metrics",
    ]
    keep = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL)  # noqa: E731
    console = subprocess.Popen(command, env=node.env, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=keep)
    try:
        assert until(lambda: answers(at), 60)
        console.send_signal(signal.SIGINT)
        if ignored:
            time.sleep(0.8)
            assert answers(at), "it is still there"
            console.send_signal(signal.SIGTERM)
        _, err = console.communicate(timeout=20)
        assert "Traceback" not in err
        assert not answers(at)
    finally:
        console.kill()


@contextmanager
def trading(place: Path, nohup: bool = False) -> "Iterator[tuple[Terminal, subprocess.Popen[bytes], int]]":
    """Run node and console as ``make run-paper`` does, until the node holds something; give the console's port, too."""
    (bin_ := place / "bin").mkdir()
    at = port()
    own = f'verb=$1; shift; [ "$verb" = console ] && set -- "$@" --port {at}; exec "{sys.executable}" -m alphatrade "$verb" "$@"'
    (bin_ / "alphatrade").write_text(f"#!/bin/sh\n{own}\n")
    (bin_ / "alphatrade").chmod(0o755)
    node, terminal = Node(place), Terminal()
    words = ("feed.speed=1200", "output.report=false", "output.flush_ms=500", f"metrics.port={port()}")
    command = [
        *(["sh", "-c", 'trap "" HUP; exec "$@"', "sh"] if nohup else []),
        "sh",
        str(ROOT / "scripts" / "run-paper"),
        str(bin_),
        *words,
    ]
    process = terminal.begin(*command, cwd=place, env=node.env)
    try:
        assert until(lambda: answers(at) and held(place), 90), terminal.shown.decode(errors="replace")[-2000:]
        yield terminal, process, at
    finally:
        process.kill()
        process.wait(10)
        assert until(lambda: not answers(at)), "nothing is left of the console"


def beat(place: Path) -> dict[str, object]:
    path = place / "state" / "paper" / "SIM" / "beats.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return json.loads(lines[-1]) if lines else {}


def held(place: Path) -> bool:
    facts = beat(place).get("facts", {})
    return bool(isinstance(facts, dict) and facts.get("positions"))


@pytest.mark.long
@pytest.mark.parametrize("how", ["Ctrl-C", "hang-up"])
def test_a_real_node_ends_flat_by_what_its_terminal_sends(tmp_path: Path, how: str) -> None:
    with trading(tmp_path) as (terminal, process, at):
        send(how, terminal, process)
        while process.poll() is None:
            assert answers(at) or process.poll() is not None, "the console went first"
            time.sleep(0.05)
        assert process.returncode == 0, terminal.shown.decode(errors="replace")[-2000:]
        assert until(lambda: not answers(at))
        summary = json.loads((tmp_path / "artifacts" / "latest" / "summary.json").read_text())
        fills = pd.read_parquet(tmp_path / "artifacts" / "latest" / "fills.parquet")
        assert summary["fills"] == len(fills) > 0
        assert set(fills.groupby("instrument")["position_after"].last()) == {0.0}, "flat"
        assert not (tmp_path / "state" / "paper" / "SIM" / "journal").exists(), (
            "the run is over, and not left to the next start"
        )
        assert b"Traceback" not in terminal.shown


@pytest.mark.long
def test_a_real_node_goes_on_without_its_terminal_where_hang_ups_are_ignored(tmp_path: Path) -> None:
    with trading(tmp_path, nohup=True) as (terminal, process, at):
        terminal.hangs_up()
        before = beat(tmp_path)
        assert until(lambda: beat(tmp_path)["number"] > before["number"] + 3), "it beats"  # type: ignore[operator]
        assert process.poll() is None
        assert answers(at)
        assert beat(tmp_path)["faults"] == before["faults"]
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert (tmp_path / "artifacts" / "latest" / "summary.json").exists()
