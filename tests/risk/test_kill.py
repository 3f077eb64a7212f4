"""The kill switch: transitions, the latch on disk, requests of operators, and what a damaged latch means."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from alphatrade.risk.errors import InputError, LatchedError
from alphatrade.risk.kill import (
    LATCH,
    RELEASES,
    REQUEST,
    KillSwitch,
    State,
    latch_dir,
    release,
    request_kill,
    status,
)

NOW = 1_700_000_000_000_000_000


def folder(tmp_path: Path) -> Path:
    return latch_dir(tmp_path, "paper", "ACC-1")


def test_goes_from_active_to_reducing_to_halted_and_never_back() -> None:
    switch = KillSwitch()
    assert switch.state is State.ACTIVE
    assert not switch.halt()
    assert switch.trip("DRAWDOWN", "too deep", "law", NOW)
    assert switch.state is State.REDUCING
    assert not switch.trip("OPERATOR", "again", "me", NOW + 1)
    assert switch.halt()
    assert switch.state is State.HALTED
    assert not switch.halt()
    assert not switch.trip("OPERATOR", "again", "me", NOW + 2)
    assert switch.trip_cause is not None
    assert switch.trip_cause.code == "DRAWDOWN"


def test_the_latch_survives_a_restart_until_released(tmp_path: Path) -> None:
    first = KillSwitch(folder(tmp_path))
    first.require_active()
    first.trip("DAILY_LOSS", "three percent", "law", NOW)
    assert KillSwitch(folder(tmp_path)).state is State.REDUCING
    first.halt()
    second = KillSwitch(folder(tmp_path))
    assert second.state is State.HALTED
    with pytest.raises(LatchedError, match=r"DAILY_LOSS, three percent, by law"):
        second.require_active()
    cause = release(tmp_path, "paper", "ACC-1", "Ann", "reviewed the fills", NOW + 5)
    assert cause.code == "DAILY_LOSS"
    KillSwitch(folder(tmp_path)).require_active()
    line = json.loads((folder(tmp_path) / RELEASES).read_text())
    assert (line["who"], line["why"], line["released"]["code"]) == ("Ann", "reviewed the fills", "DAILY_LOSS")


def test_releases_are_only_ever_appended(tmp_path: Path) -> None:
    for turn in range(3):
        KillSwitch(folder(tmp_path)).trip("OPERATOR", f"turn {turn}", "Bob", NOW + turn)
        release(tmp_path, "paper", "ACC-1", "Ann", "drill", NOW + turn)
    lines = (folder(tmp_path) / RELEASES).read_text().splitlines()
    assert [json.loads(line)["released"]["reason"] for line in lines] == ["turn 0", "turn 1", "turn 2"]
    assert status(tmp_path, "paper", "ACC-1").releases == 3


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "null",
        "[]",
        '{"state": "ACTIVE"}',
        '{"state": "HALTED", "code": 1}',
        "\x00\xff",
        '{"state":"?"}',
    ],
)
def test_an_unreadable_latch_counts_as_halted(tmp_path: Path, content: str) -> None:
    folder(tmp_path).mkdir(parents=True)
    (folder(tmp_path) / LATCH).write_text(content, encoding="latin-1")
    switch = KillSwitch(folder(tmp_path))
    assert switch.state is State.HALTED
    with pytest.raises(LatchedError, match="STATE_UNREADABLE"):
        switch.require_active()
    assert status(tmp_path, "paper", "ACC-1").state is State.HALTED
    release(tmp_path, "paper", "ACC-1", "Ann", "disk was full", NOW)
    assert KillSwitch(folder(tmp_path)).state is State.ACTIVE


def test_a_latch_that_is_a_folder_counts_as_halted(tmp_path: Path) -> None:
    (folder(tmp_path) / LATCH).mkdir(parents=True)
    assert KillSwitch(folder(tmp_path)).state is State.HALTED


def test_a_request_trips_a_running_node_and_refuses_a_start(tmp_path: Path) -> None:
    running = KillSwitch(folder(tmp_path))
    assert running.take_request() is None
    request_kill(tmp_path, "paper", "ACC-1", "Bob", "odd prices", NOW)
    seen = status(tmp_path, "paper", "ACC-1")
    assert (seen.state, seen.request_pending) == (State.ACTIVE, True)
    with pytest.raises(LatchedError, match="odd prices"):
        KillSwitch(folder(tmp_path)).require_active()
    request = running.take_request()
    assert request is not None
    assert (request.code, request.who, request.reason) == ("OPERATOR", "Bob", "odd prices")
    running.trip(request.code, request.reason, request.who, NOW + 1)
    running.clear_request()
    assert not (folder(tmp_path) / REQUEST).exists()
    assert KillSwitch(folder(tmp_path)).state is State.REDUCING


def test_a_damaged_request_is_a_request(tmp_path: Path) -> None:
    folder(tmp_path).mkdir(parents=True)
    (folder(tmp_path) / REQUEST).write_text("kill!")
    request = KillSwitch(folder(tmp_path)).take_request()
    assert request is not None
    assert request.state is State.REDUCING


@pytest.mark.parametrize(("who", "why", "field"), [("", "x", "who"), ("Ann", "  ", "why")])
def test_operators_must_say_who_and_why(tmp_path: Path, who: str, why: str, field: str) -> None:
    KillSwitch(folder(tmp_path)).trip("OPERATOR", "x", "me", NOW)
    for command in (request_kill, release):
        with pytest.raises(InputError) as caught:
            command(tmp_path, "paper", "ACC-1", who, why, NOW)
        assert caught.value.field == field
    assert KillSwitch(folder(tmp_path)).state is State.REDUCING


def test_releasing_what_is_not_latched_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a latched kill switch"):
        release(tmp_path, "paper", "ACC-1", "Ann", "why not", NOW)


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", "-x", "x" * 65, "a b"])
def test_names_that_are_no_folder_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        latch_dir(tmp_path, "paper", name)


def test_a_folder_that_cannot_be_written_refuses_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="state_dir"):
        KillSwitch(latch_dir(tmp_path / "file", "paper", "ACC-1")).require_active()


def test_a_trip_holds_in_memory_when_the_disk_fails(tmp_path: Path) -> None:
    switch = KillSwitch(latch_dir(tmp_path / "state", "paper", "ACC-1"))
    (tmp_path / "state").write_text("no folder")
    assert switch.trip("DRAWDOWN", "x", "law", NOW)
    assert switch.state is State.REDUCING
    assert switch.write_error


def test_accounts_have_latches_of_their_own(tmp_path: Path) -> None:
    KillSwitch(latch_dir(tmp_path, "live", "A")).trip("OPERATOR", "x", "me", NOW)
    KillSwitch(latch_dir(tmp_path, "live", "B")).require_active()
    KillSwitch(latch_dir(tmp_path, "paper", "A")).require_active()


def test_a_trip_is_on_disk_when_the_process_dies_the_moment_after(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from alphatrade.risk.kill import KillSwitch\n"
        f"KillSwitch(Path({str(folder(tmp_path))!r})).trip('OPERATOR', 'x', 'me', 1)\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    assert KillSwitch(folder(tmp_path)).state is State.REDUCING
    assert not list(folder(tmp_path).glob("*.tmp"))


def test_a_latch_that_cannot_be_written_stops_the_next_start_and_is_written_when_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = latch_dir(tmp_path, "paper", "A")
    switch = KillSwitch(folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        assert switch.trip("STATE_UNWRITABLE", "the disk is full", "law", 1)
    assert "No space left" in switch.write_error
    with pytest.raises(LatchedError, match="release it first"):
        KillSwitch(folder).require_active()
    (folder / "latch.json").write_bytes(b"")  # not a byte of it found room
    with pytest.raises(LatchedError, match="STATE_UNREADABLE"):
        KillSwitch(folder).require_active()
    switch.take_request()
    assert switch.write_error == ""
    with pytest.raises(LatchedError, match="STATE_UNWRITABLE, the disk is full"):
        KillSwitch(folder).require_active()
    before = (folder / "latch.json").stat().st_ino
    switch.take_request()
    assert (folder / "latch.json").stat().st_ino == before, "nothing to do"


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
