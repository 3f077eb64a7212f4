"""A command is kept running: restarted when it dies or hangs, not when it is done or a person has to look."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from alphatrade.nodes import supervise
from alphatrade.nodes.beats import Beat, BeatWriter
from alphatrade.nodes.supervise import GAVE_UP, Patience, Supervisor, Watch
from alphatrade.risk.errors import ConfigError
from tests.conftest import ROOT
from tests.nodes.make_canaries import KEY

QUICK = Patience(stale_s=0.5, start_s=5, stop_s=0.5, first_s=0.01, longest_s=0.05, most=5, window_s=60)
WELL = Beat(
    ts=10**18, number=1, pid=1, lag_s=0.0, feed_age_s=None, events=0, orders=0, fills=0, rss=0, kill="ACTIVE", journal=0
)

CHILD = """
import os, signal, subprocess, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
with (folder / "lives").open("a") as file:
    file.write(f"{os.getpid()}\\n")
life = len((folder / "lives").read_text().splitlines())

def beat(times, pause=0.05, **changes):
    from alphatrade.nodes.beats import Beat, BeatWriter
    writer = BeatWriter(folder, print)
    told = dict(pid=os.getpid(), lag_s=0.0, feed_age_s=None, events=0, orders=0, fills=0, rss=0, kill="ACTIVE", journal=0)
    for number in range(times):
        writer.write(Beat(ts=time.time_ns(), number=number, **(told | changes)))
        time.sleep(pause)

def note(number, frame):
    with (folder / "signals").open("a") as file:
        file.write(signal.Signals(number).name + "\\n")
"""


class Place:
    """A folder with a command, its heartbeat, and what was told of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[str] = []

    def command(self, body: str) -> list[str]:
        """Return a child that does as `body` says; `life` counts its starts."""
        return [sys.executable, "-c", CHILD + body, str(self.folder)]

    def run(self, body: str, patience: Patience = QUICK, watch: bool = True) -> int:
        """Supervise in this process."""
        return Supervisor(self.command(body), self.folder if watch else None, patience, self.told.append).run()

    def lives(self) -> list[int]:
        """Return the process of each start so far."""
        file = self.folder / "lives"
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    def signals(self) -> list[str]:
        file = self.folder / "signals"
        return file.read_text().splitlines() if file.exists() else []

    def heard(self, text: str) -> bool:
        return any(text in line for line in self.told)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "_TICK_S", 0.02)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for pid in made.lives():
        assert not Path(f"/proc/{pid}").exists()  # nothing is left behind


def until(what: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_command_that_dies_is_started_again_until_it_is_done(place: Place) -> None:
    assert place.run("sys.exit(0 if life == 4 else 7)") == 0
    assert len(place.lives()) == 4
    assert [line for line in place.told if line.startswith("restart")] == [
        line for line in place.told if "of at most 5, in 0.0 s" in line
    ]
    assert sum("exit code 7" in line for line in place.told) == 3


@pytest.mark.parametrize("code", [0, 2])
def test_done_and_bad_input_are_not_started_again(code: int, place: Place) -> None:
    assert place.run(f"sys.exit({code})") == code
    assert len(place.lives()) == 1
    assert place.heard("a person has to look") == (code == 2)


def test_mutation_if_only_zero_were_final_bad_input_would_be_tried_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "FINAL", (0,))
    assert place.run("sys.exit(2)") == GAVE_UP
    assert len(place.lives()) == 6


def test_one_that_is_killed_from_outside_is_started_again(place: Place) -> None:
    assert place.run("os.kill(os.getpid(), signal.SIGKILL) if life == 1 else sys.exit(0)") == 0
    assert place.heard("ended: SIGKILL")


def test_a_hung_command_is_killed_and_started_again(place: Place) -> None:
    body = "beat(4)\nif life == 1: os.kill(os.getpid(), signal.SIGSTOP)"
    begin = time.monotonic()
    assert place.run(body) == 0
    assert len(place.lives()) == 2
    assert place.heard("is killed: no good beat for")
    assert time.monotonic() - begin < 8


@pytest.mark.long
def test_one_that_spins_in_its_loop_is_killed_too(place: Place) -> None:
    assert place.run("beat(4)\nwhile life == 1: pass") == 0
    assert len(place.lives()) == 2


@pytest.mark.long
def test_a_slow_loop_is_no_life_and_a_latched_switch_is_no_hang(place: Place) -> None:
    assert place.run("beat(4)\nif life == 1: beat(100, lag_s=9.0)") == 0
    assert len(place.lives()) == 2
    assert place.heard("loop late by 9.0 s")
    (place.folder / "lives").unlink()
    assert place.run("beat(14, kill='REDUCING')") == 0
    assert len(place.lives()) == 1


@pytest.mark.long
def test_one_that_never_beats_has_the_time_of_a_start(place: Place) -> None:
    BeatWriter(place.folder, print).write(WELL)  # a beat of an earlier node is none
    patience = Patience(stale_s=0.2, start_s=0.6, stop_s=0.5, first_s=0, longest_s=0, most=5, window_s=60)
    begin = time.monotonic()
    assert place.run("time.sleep(60 if life == 1 else 0)", patience) == 0
    assert 0.6 <= time.monotonic() - begin < 4
    assert place.heard("none at all")


@pytest.mark.long
def test_it_gives_up_after_so_many_restarts(place: Place) -> None:
    assert place.run("sys.exit(9)") == GAVE_UP
    assert len(place.lives()) == QUICK.most + 1
    assert place.told[-1] == "gives up: more than 5 restarts in 60 s"


@pytest.mark.long
def test_a_new_window_counts_anew(place: Place) -> None:
    patience = Patience(first_s=0.2, longest_s=0.2, most=1, window_s=0.05)
    assert place.run("sys.exit(0 if life == 3 else 9)", patience, watch=False) == 0
    assert len(place.lives()) == 3


def test_delays_double_up_to_the_longest_and_differ_between_supervisors() -> None:
    patience = Patience(first_s=1, longest_s=8, most=100, window_s=1000)
    drawn = []
    for _ in range(20):
        one = Supervisor(["x"], None, patience, print)
        drawn.append([one._delay(float(n)) for n in range(6)])
    for delays in drawn:
        for delay, most in zip(delays, (1, 2, 4, 8, 8, 8), strict=True):
            assert delay is not None
            assert most / 2 <= delay <= most
    assert len({tuple(delays) for delays in drawn}) == 20
    one = Supervisor(["x"], None, Patience(most=10**6), print)
    one._ends = [0.0] * 2000
    assert one._delay(1.0) is not None  # no overflow


@pytest.mark.long
def test_what_a_command_leaves_behind_is_killed_before_the_next_start(place: Place) -> None:
    body = """
if life == 1:
    left = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"])
    (folder / "left").write_text(str(left.pid))
    sys.exit(5)
at = Path("/proc") / (folder / "left").read_text() / "stat"
sys.exit(0 if not at.exists() or at.read_text().rpartition(")")[2].split()[0] == "Z" else 2)
"""
    assert place.run(body) == 0


def test_a_program_that_is_not_there_and_a_secret_in_the_command_are_refused(place: Place) -> None:
    with pytest.raises(ConfigError, match="a program that can be run"):
        Supervisor([str(place.folder / "none")], None, QUICK, place.told.append).run()
    with pytest.raises(ConfigError) as caught:
        Supervisor(["alphatrade", "paper", f"feed.api_key={KEY}"], None, QUICK, place.told.append)
    assert KEY not in str(caught.value)
    assert place.told == []


@pytest.mark.long
def test_a_supervisor_that_stood_still_itself_does_not_take_the_command_for_hung(tmp_path: Path) -> None:
    """Mutation: with a look in time, the same silence is a hang."""
    writer = BeatWriter(tmp_path, print)

    def watch() -> Watch:
        made = Watch(tmp_path, Patience(stale_s=10, start_s=10), 0.0)
        writer.write(msgspec.structs.replace(WELL, number=WELL.number + 1))
        assert made.hung(0.1) == ""
        return made

    assert watch().hung(100.0) == ""
    steady = watch()
    assert [steady.hung(float(at)) for at in range(1, 11)] == [""] * 10
    assert steady.hung(10.2).startswith("no good beat for 10 s")
    stood = watch()
    assert stood.hung(100.0) == ""
    assert [stood.hung(100.0 + at) for at in range(1, 10)] == [""] * 9
    assert stood.hung(110.0) == ""  # a tenth of a second was seen before
    assert stood.hung(110.2) != ""


def test_a_beat_that_could_not_be_written_is_a_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = BeatWriter(tmp_path, print)
    writer.write(WELL)
    watch = Watch(tmp_path, Patience(stale_s=2, start_s=2), 0.0)
    with monkeypatch.context() as full:
        full.setattr(BeatWriter, "_append", lambda self, line: (_ for _ in ()).throw(OSError("full")))
        for at in range(1, 20):
            time.sleep(0.005)
            writer.write(WELL)
            assert watch.hung(at / 2) == ""
    assert [bool(watch.hung(9.5 + at)) for at in (0.9, 1.8, 2.1)] == [False, False, True]


def heeding() -> None:
    """Heed what a test runner in the background was told to ignore."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Door:
    """The verb as a process."""

    def __init__(self, place: Place, body: str, *options: str) -> None:
        self.place = place
        command = [
            sys.executable,
            "-m",
            "alphatrade",
            "supervise",
            "--folder",
            str(place.folder),
            *options,
            "--",
            *place.command(body),
        ]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
            preexec_fn=heeding,
        )  # fmt: skip

    def end(self, *numbers: signal.Signals) -> tuple[int, str]:
        """Send signals, and return the exit code and what was told."""
        for number in numbers:
            self.process.send_signal(number)
        told = self.process.communicate(timeout=20)[1]
        return self.process.returncode, told


STOPS = """
def end(number, frame):
    note(number, frame)
    time.sleep(0.3)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
(folder / "ready").touch()
while True:
    time.sleep(0.02)
"""


@pytest.mark.parametrize(("sent", "got"), [(signal.SIGINT, "SIGINT"), (signal.SIGHUP, "SIGTERM")], ids=str)
def test_a_signal_is_passed_on_and_the_command_has_time_to_stop(sent: signal.Signals, got: str, place: Place) -> None:
    door = Door(place, STOPS)
    until(lambda: (place.folder / "ready").exists())
    assert os.getsid(place.lives()[0]) != os.getsid(door.process.pid)  # a Ctrl-C at the terminal reaches it once
    code, told = door.end(sent)
    assert code == 0
    assert place.signals() == [got]
    assert len(place.lives()) == 1
    assert f"{got} passed on" in told
    assert "Z supervise: ends with exit code 0" in told


@pytest.mark.long
def test_one_that_does_not_stop_in_time_is_killed(place: Place) -> None:
    body = "signal.signal(signal.SIGTERM, note)\n(folder / 'ready').touch()\nwhile True: time.sleep(0.05)"
    door = Door(place, body, "--stop-s", "0.5")
    until(lambda: (place.folder / "ready").exists())
    code, told = door.end(signal.SIGTERM)
    assert code == 128 + 9
    assert place.signals() == ["SIGTERM"]
    assert "did not stop in 0.5 s" in told
    assert len(place.lives()) == 1


@pytest.mark.long
def test_a_hung_one_is_stopped_as_well(place: Place) -> None:
    door = Door(place, "(folder / 'ready').touch()\nos.kill(os.getpid(), signal.SIGSTOP)", "--stop-s", "0.3")
    until(lambda: (place.folder / "ready").exists())
    assert door.end(signal.SIGTERM)[0] == 128 + 9


def test_a_signal_while_it_waits_ends_the_supervisor(place: Place) -> None:
    door = Door(place, "sys.exit(7)", "--first-s", "50")
    until(lambda: len(place.lives()) == 1)
    time.sleep(0.3)
    begin = time.monotonic()
    code, told = door.end(signal.SIGTERM)
    assert code == 7
    assert "SIGTERM: not restarted" in told
    assert time.monotonic() - begin < 5
    assert len(place.lives()) == 1


def test_mutation_without_the_watch_a_hung_command_hangs_on(place: Place) -> None:
    body = "(folder / 'ready').touch()\nos.kill(os.getpid(), signal.SIGSTOP)"
    door = Door(place, body, "--no-watch", "--stale-s", "1", "--start-s", "1", "--stop-s", "0.1")
    until(lambda: (place.folder / "ready").exists())
    time.sleep(1.6)
    assert len(place.lives()) == 1
    assert Path(f"/proc/{place.lives()[0]}").exists()
    door.end(signal.SIGTERM)


def test_bad_input_of_the_verb_is_one_line_and_exit_code_2(place: Place) -> None:
    for arguments in (
        ["--"],
        ["--stale-s", "0", "--", "true"],
        ["--env", "x", "--", "true"],
        ["--", "/no/such/program"],
        ["--", "x", f"token={KEY}"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "alphatrade", "supervise", *arguments],
            cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("alphatrade: ")
        assert KEY not in done.stderr
