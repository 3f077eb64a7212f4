"""A small disk that can be filled, and a paper node whose state or runs lie on it."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alphatrade.nodes.journal import Journal
from tests.nodes.make_paper import SHORT, Node

WORDS = (*SHORT, "output.report=false", "output.flush_ms=100")


@contextmanager
def mounted(place: Path) -> Iterator[str]:
    """Give a file system of its own, of 24 MB, at a place; or why there is none."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        yield "mounting a tmpfs needs root and mount(8)"
        return
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        yield f"cannot mount a tmpfs here: {done.stderr.strip()}"
        return
    try:
        yield ""
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
