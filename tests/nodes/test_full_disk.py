"""A disk that fills under a paper node: trading stops, only closing orders leave, and what was acknowledged stays."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alphatrade.nodes.journal import Journal
from tests.nodes.make_paper import SHORT, Node

pytestmark = pytest.mark.long

WORDS = (*SHORT, "output.report=false", "output.flush_ms=100")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 24 MB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a tmpfs needs root and mount(8)")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


class Filled(Node):
    """A node whose state, or whose runs, lie on the small disk."""

    def __init__(self, root: Path, disk: Path, state: bool) -> None:
        super().__init__(root, *WORDS, *(() if state else (f"paths.artifacts={disk}",)))
        self.disk, self.state = disk, disk if state else root / "state"
        self.env["ALPHATRADE_STATE"] = str(self.state)

    @property
    def journal(self) -> Path:
        return self.state / "paper" / "SIM" / "journal"

    def records(self, folder: Path) -> list[tuple[int, int, bytes]]:
        with Journal.open(folder, json.loads((folder / "head.json").read_text())) as journal:
            return list(journal.records())

    def until(self, kept: int, process: "subprocess.Popen[str]") -> None:
        deadline = time.monotonic() + 60
        while self.kept() < kept and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() is None

    def fill(self) -> None:
        size = 2**20
        with (self.disk / "filler").open("wb", buffering=0) as file:
            while size:
                try:
                    size = size if file.write(bytes(size)) == size else size // 2
                except OSError:
                    size //= 2

    def stopped(self, process: "subprocess.Popen[str]", code: int) -> str:
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, out + err
        assert "Traceback" not in err
        return err

    def tripped(self) -> None:
        """Wait until a beat, or the latch, says that the switch has tripped."""
        folder, deadline = self.journal.parent, time.monotonic() + 20
        while not (folder / "latch.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.5)


def test_a_full_disk_under_the_state_and_the_journal(tmp_path: Path, disk: Path) -> None:
    node = Filled(tmp_path, disk, state=True)
    process = node.start("feed.speed=6000")
    node.until(60_000, process)
    copy = shutil.copytree(node.journal, tmp_path / "acknowledged")
    node.fill()
    node.tripped()
    err = node.stopped(process, 0)
    assert "STATE_UNWRITABLE" in err
    assert "No space left on device" in err
    run = next(tmp_path.glob("artifacts/*/*/summary.json")).parent
    assert "No space left" in json.loads((run / "summary.json").read_text())["killed"]
    assert "release it first" in node.run(code=2) or "free space" in node.run(code=2), "also while the disk is full"
    (disk / "filler").unlink()
    assert "release it first" in node.run(code=2)
    before, after = node.records(copy), node.records(run / "journal")
    assert len(after) >= len(before) > 400
    assert after[: len(before)] == before
    node.words = ()
    node.run("--who", "ada", "--why", "there is space", verb="release")
    node.words = WORDS
    node.run("feed.speed=max")


def test_a_full_disk_under_the_run_folder(tmp_path: Path, disk: Path) -> None:
    node = Filled(tmp_path, disk, state=False)
    process = node.start("feed.speed=6000")
    node.until(60_000, process)
    copy = shutil.copytree(node.journal, tmp_path / "acknowledged")
    node.fill()
    node.tripped()
    err = node.stopped(process, 2)
    last = err.splitlines()[-1]
    assert last.startswith(f"alphatrade: {disk}")
    assert "No space left" in last
    assert "kill switch tripped: STATE_UNWRITABLE" in err
    (disk / "filler").unlink()
    assert not list(disk.glob("*/*")), "nothing half-written"
    assert "release it first" in node.run(code=2)
    before, after = node.records(copy), node.records(node.journal)
    assert after[: len(before)] == before
    beats = [json.loads(line) for line in (node.journal.parent / "beats.jsonl").read_text().splitlines()]
    assert beats[-1]["kill"] == "HALTED"
    assert beats[-1]["facts"].get("positions", "") == "", "flat"
    assert len(after) > len(before), "what came was kept to the end"


def test_a_disk_that_is_full_at_the_start(tmp_path: Path, disk: Path) -> None:
    for state in (True, False):
        node = Filled(tmp_path / str(state), disk, state)
        node.root.mkdir()
        node.fill()
        lines = node.run("feed.speed=max", code=2).splitlines()
        assert len(lines) == 1, lines
        assert str(disk) in lines[0]
        (disk / "filler").unlink()
        assert [path for path in disk.rglob("*") if path.is_file() and path.name != "node.lock"] == []
        node.run("feed.speed=max")
        shutil.rmtree(disk / "paper", ignore_errors=True)
        for path in disk.iterdir():
            shutil.rmtree(path, ignore_errors=True)
