"""A disk that fills under a paper node: trading stops, only closing orders leave, and what was acknowledged stays."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes.make_full_disk import WORDS, Filled, mounted

pytestmark = pytest.mark.long


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 24 MB."""
    with mounted(tmp_path / "disk") as why:
        if why:
            pytest.skip(why)
        yield tmp_path / "disk"


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
