"""The heartbeat by the wall clock: what is written each second, what is read of it, and what systemd is told."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from alphatrade.nodes.beats import (
    HISTORY,
    RESTART_CURES,
    Beat,
    BeatLimits,
    BeatWriter,
    Ill,
    health,
    history,
    last_beat,
    mark,
    restart_helps,
    rss_bytes,
)
from alphatrade.nodes.watchdog import AGAIN_S, Watchdog, sd_notify, starts_again
from tests.conftest import ROOT

NOW = 1_790_000_000 * 10**9
SECOND = 10**9
LIMITS = BeatLimits(beat_s=5, lag_s=2)
WELL = Beat(
    ts=NOW, number=1, pid=1, lag_s=0.01, feed_age_s=0.2, feed_limit_s=60.0, events=10, orders=2, fills=1, rss=10**8, kill="ACTIVE", journal=7,
    stages={"decide": {"count": 3, "p50_ns": 5}}, facts={"regime": "up"},
)  # fmt: skip


def nth(number: int, **changes: Any) -> Beat:
    return msgspec.structs.replace(WELL, number=number, ts=NOW + number * SECOND, **changes)


@dataclass
class Told:
    """What a writer told."""

    lines: list[str]

    def __call__(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def told() -> Told:
    return Told([])


def test_each_beat_is_a_line_and_the_last_one_is_the_latest(tmp_path: Path, told: Told) -> None:
    folder = tmp_path / "state" / "paper" / "SIM"
    assert last_beat(folder) is None
    assert mark(folder) is None
    assert list(history(folder)) == []
    writer = BeatWriter(folder, told)
    marks = set()
    for number in range(1, 6):
        writer.write(nth(number))
        assert last_beat(folder) == nth(number)
        marks.add(mark(folder))
    assert list(history(folder)) == [nth(number) for number in range(1, 6)]
    assert len(marks) == 5
    assert [json.loads(line)["number"] for line in (folder / HISTORY).read_text().splitlines()] == [1, 2, 3, 4, 5]
    assert (writer.lost, writer.error, told.lines) == (0, "", [])


def test_the_history_is_bounded_and_keeps_the_latest(tmp_path: Path, told: Told) -> None:
    size = len(msgspec.json.encode(nth(100))) + 1
    writer = BeatWriter(tmp_path, told, file_bytes=10 * size, files=3)
    for number in range(100, 200):
        writer.write(nth(number))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [HISTORY, f"{HISTORY}.1", f"{HISTORY}.2"]
    assert all((tmp_path / name).stat().st_size <= 10 * size for name in files)
    kept = [beat.number for beat in history(tmp_path)]
    assert kept == list(range(170, 200))


def test_a_line_that_was_cut_off_costs_itself_only(tmp_path: Path, told: Told) -> None:
    """As after kill -9: the next process begins a line of its own."""
    BeatWriter(tmp_path, told).write(nth(1))
    with (tmp_path / HISTORY).open("ab") as file:
        file.write(msgspec.json.encode(nth(2))[:50])
    writer = BeatWriter(tmp_path, told)
    writer.write(nth(3))
    writer.write(nth(4))
    assert list(history(tmp_path)) == [nth(1), nth(3), nth(4)]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"ts": 1}', b"[]", b"null", b"x" * 100_000])
def test_a_beat_that_cannot_be_read_is_none(content: bytes, tmp_path: Path, told: Told) -> None:
    for end in (b"", b"\n"):
        (tmp_path / HISTORY).write_bytes(content + end)
        assert last_beat(tmp_path) is None
        assert list(history(tmp_path)) == []
    BeatWriter(tmp_path, told).write(nth(1))
    assert last_beat(tmp_path) == nth(1)


def test_the_latest_beat_is_there_between_two_files_and_before_a_line_that_is_cut_off(
    tmp_path: Path, told: Told
) -> None:
    BeatWriter(tmp_path, told).write(nth(1))
    with (tmp_path / HISTORY).open("ab") as file:
        file.write(msgspec.json.encode(nth(2)))  # whole, but for its newline
    assert last_beat(tmp_path) == nth(1)
    (tmp_path / HISTORY).rename(tmp_path / f"{HISTORY}.1")
    assert last_beat(tmp_path) == nth(1)


def test_a_full_disk_is_counted_and_told_and_leaves_a_sign_of_life(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = BeatWriter(tmp_path, told)
    writer.write(nth(1))
    before = mark(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(Path, "open", full)
        for number in (2, 3, 4):
            time.sleep(0.01)
            writer.write(nth(number))
    assert writer.lost == 3
    assert "No space left" in writer.error
    assert mark(tmp_path) != before
    assert last_beat(tmp_path) == nth(1)
    writer.write(nth(5))
    assert last_beat(tmp_path) == nth(5, lost=3)
    assert writer.error == ""
    assert len(told.lines) == 2
    assert "No space left" in told.lines[0]
    assert told.lines[1] == "heartbeat is back, 3 lost"
    assert [beat.number for beat in history(tmp_path)] == [1, 5]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system that is soon full."""
    at = tmp_path / "disk"
    at.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(at)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    yield at
    subprocess.run(["umount", str(at)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path, told: Told) -> None:
    writer = BeatWriter(small_disk, told)
    writer.write(nth(1))
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "filler").write_bytes(b"x" * 100_000)
    with pytest.raises(OSError, match="no space for"):  # mutation: this is what the node would get without the guard
        writer._append(b"x" * 5000)
    before = mark(small_disk)
    for number in range(2, 40):
        writer.write(nth(number))
    assert writer.lost > 0
    assert mark(small_disk) != before
    (small_disk / "filler").unlink()
    writer.write(nth(40))
    assert writer.error == ""
    assert last_beat(small_disk) == nth(40, lost=writer.lost)
    numbers = [beat.number for beat in history(small_disk)]
    assert numbers[0] == 1
    assert numbers[-1] == 40
    assert numbers == sorted(set(numbers))


def test_a_beat_of_the_wrong_kind_and_a_folder_that_is_a_file_do_not_stop_the_node(tmp_path: Path, told: Told) -> None:
    wrong: Any = object()
    writer = BeatWriter(tmp_path, told)
    writer.write(nth(1))
    writer.write(nth(2, facts={"x": wrong}))
    assert writer.lost == 1
    (tmp_path / "file").touch()
    other = BeatWriter(tmp_path / "file", told)
    other.write(nth(1))
    assert other.lost == 1
    assert last_beat(tmp_path / "file") is None


def test_a_beat_costs_less_than_a_thousandth_of_its_second(tmp_path: Path, told: Told) -> None:
    writer = BeatWriter(tmp_path, told)
    taken = []
    for number in range(1, 301):
        begin = time.perf_counter()
        writer.write(nth(number))
        taken.append(time.perf_counter() - begin)
    assert sorted(taken)[150] < 1e-3


def test_a_node_that_is_well_has_no_reason() -> None:
    assert health(WELL, NOW, LIMITS) == []
    assert health(msgspec.structs.replace(WELL, feed_age_s=None), NOW, LIMITS) == []
    assert health(WELL, NOW - SECOND // 2, LIMITS) == []
    assert health(msgspec.structs.replace(WELL, feed_age_s=3600.0, feed_limit_s=3610.0), NOW, LIMITS) == [], "bars of an hour"
    assert health(msgspec.structs.replace(WELL, feed_age_s=9999.0, feed_limit_s=None), NOW, LIMITS) == [], "a tape"


CASES: dict[Ill, tuple[dict[str, Any], int]] = {
    Ill.BEAT_OLD: ({}, NOW + 5 * SECOND + 1),
    Ill.BEAT_EARLY: ({}, NOW - SECOND - 1),
    Ill.LOOP_LATE: ({"lag_s": 2.001}, NOW),
    Ill.FEED_OLD: ({"feed_age_s": 60.001}, NOW),
    Ill.KILLED: ({"kill": "REDUCING"}, NOW),
}


@pytest.mark.parametrize("ill", CASES)
def test_each_way_of_not_being_well_has_a_reason_of_its_own(ill: Ill, tmp_path: Path) -> None:
    changes, now = CASES[ill]
    (reason,) = health(msgspec.structs.replace(WELL, **changes), now, LIMITS)
    assert reason.code is ill
    assert restart_helps([reason]) == (ill in {Ill.BEAT_OLD, Ill.LOOP_LATE})


def test_limits_are_the_last_values_that_are_well() -> None:
    edge = msgspec.structs.replace(WELL, lag_s=2.0, feed_age_s=60.0)
    assert health(edge, NOW + 5 * SECOND, LIMITS) == []


def test_no_beat_and_figures_that_are_none_are_not_well() -> None:
    assert [reason.code for reason in health(None, NOW, LIMITS)] == [Ill.NO_BEAT]
    nan = msgspec.structs.replace(WELL, lag_s=float("nan"))
    assert [reason.code for reason in health(nan, NOW, LIMITS)] == [Ill.LOOP_LATE]


def test_reasons_add_up_and_every_kind_is_tried_above() -> None:
    bad = msgspec.structs.replace(WELL, lag_s=9.0, feed_age_s=99.0, kill="HALTED")
    assert {reason.code for reason in health(bad, NOW, LIMITS)} == {Ill.LOOP_LATE, Ill.FEED_OLD, Ill.KILLED}
    assert set(CASES) | {Ill.NO_BEAT} == set(Ill)
    assert {Ill.KILLED, Ill.FEED_OLD}.isdisjoint(RESTART_CURES)


@pytest.mark.parametrize("word", ["beat_s", "lag_s"])
def test_limits_are_positive_and_known(word: str) -> None:
    for bad in ({word: 0}, {word: -1}, {word: "x"}, {f"{word}_": 1}):
        with pytest.raises(ValidationError):
            BeatLimits.model_validate(bad)


def test_resident_memory_is_that_of_this_process() -> None:
    assert 10_000_000 < rss_bytes() < 10_000_000_000


@dataclass
class Manager:
    """Listens as a service manager does."""

    socket: socket.socket
    address: str

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found += self.socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return found


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@alphatrade-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind("\0" + address[1:] if address[0] == "@" else address)
        one.setblocking(False)
        yield Manager(one, address)


def test_systemd_hears_of_the_start_of_each_good_second_and_of_the_end(manager: Manager) -> None:
    dog = Watchdog(LIMITS, {"NOTIFY_SOCKET": manager.address})
    dog.ready()
    assert manager.heard() == ["READY=1", "STATUS=started"]
    assert dog.beat(WELL, NOW) == []
    assert manager.heard() == ["STATUS=well; 10 events, 2 orders, 1 fills", "WATCHDOG=1"]
    dog.stopping("asked\nby a person")
    assert manager.heard() == ["STOPPING=1", "STATUS=asked by a person"]


def test_who_starts_again_in_its_process_has_longer_until_it_is_ready(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000000"}
    starts_again(environ)
    assert manager.heard() == ["WATCHDOG_USEC=600000000", "STATUS=it ends, to start again"]
    assert AGAIN_S == 600
    Watchdog(LIMITS, environ).ready()
    assert manager.heard() == ["READY=1", "STATUS=started", "WATCHDOG_USEC=30000000", "WATCHDOG=1"]
    starts_again({"NOTIFY_SOCKET": manager.address})
    assert manager.heard() == [], "where no seconds are counted, none are asked for"


@pytest.mark.parametrize("ill", CASES)
def test_systemd_hears_no_life_where_a_restart_would_help_and_only_there(ill: Ill, manager: Manager) -> None:
    changes, now = CASES[ill]
    dog = Watchdog(LIMITS, {"NOTIFY_SOCKET": manager.address})
    (reason,) = dog.beat(msgspec.structs.replace(WELL, **changes), now)
    heard = manager.heard()
    assert heard[0].startswith(f"STATUS={reason.text}")
    assert ("WATCHDOG=1" in heard) == (ill not in RESTART_CURES)


def test_without_a_manager_nothing_is_sent_and_a_deaf_one_holds_nobody_up(tmp_path: Path) -> None:
    assert not sd_notify("READY=1", {})
    assert not sd_notify("READY=1", {"NOTIFY_SOCKET": "vsock:2:1"})
    assert not sd_notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        sent = [sd_notify("WATCHDOG=1", {"NOTIFY_SOCKET": str(tmp_path / "deaf")}) for _ in range(10_000)]
    assert sent[0]
    assert not sent[-1]


BEATS = """
import os, sys, time
from pathlib import Path
from alphatrade.nodes.beats import Beat, BeatWriter
writer = BeatWriter(Path(sys.argv[1]), print, file_bytes=40_000, files=3)
number = 0
while True:
    number += 1
    time.sleep(0.0002)
    writer.write(Beat(ts=time.time_ns(), number=number, pid=os.getpid(), lag_s=0.0, feed_age_s=None, events=0, orders=0, fills=0, rss=0, kill="ACTIVE", journal=0))
"""


def test_a_reader_sees_whole_beats_only_whenever_the_writer_is_killed(tmp_path: Path) -> None:
    for known in (False, True, True):
        child = subprocess.Popen([sys.executable, "-c", BEATS, str(tmp_path)], cwd=ROOT)
        try:
            end, seen = time.monotonic() + 10, set()
            while time.monotonic() < end and len(seen) < 50:
                beat = last_beat(tmp_path)
                if beat is not None and beat.pid == child.pid:
                    seen.add(beat.number)
                elif known:
                    assert beat is not None
            assert len(seen) == 50
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        assert last_beat(tmp_path) is not None
        assert sum(1 for _ in history(tmp_path)) > 10
