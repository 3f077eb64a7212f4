"""A machine of its own for a search that is measured: state, ledger and artifacts in one folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT

TINY = (
    "tape=world", "tape.hours=8", "cadence.n=3", "grid.block_s=3600", "grid.embargo_s=600", "grid.period_s=600",
    "grid.least=20", "grid.holdout=0.25", "search.race=null",
)  # fmt: skip


class Place:
    """
    A folder with everything that ``alphatrade evolve`` leaves behind.

    Parameters
    ----------
    root : Path
        Made if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        own = {"ALPHATRADE_STATE": str(root / "state"), "PYTHONPATH": str(ROOT)}
        self.env = {name: value for name, value in os.environ.items() if name != "ALPHATRADE_LEDGER"} | own

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a search in a process group of its own."""
        command = [sys.executable, "-W", "ignore", "-m", "alphatrade", "evolve", "--multirun", *words]
        log = (self.root / "log").open("w", encoding="utf-8")
        return subprocess.Popen(
            command, cwd=self.root, env=self.env, stdout=log, stderr=log, text=True, start_new_session=True
        )

    def done(self, process: "subprocess.Popen[str]") -> None:
        """
        Wait for a search.

        Raises
        ------
        RuntimeError
            If it failed; its last lines are in the message.
        """
        if process.wait() != 0:
            tail = " | ".join((self.root / "log").read_text("utf-8").strip().splitlines()[-3:])
            raise RuntimeError(f"alphatrade evolve in {self.root}: exit {process.returncode}: {tail}")

    def run(self, *words: str) -> dict[str, Any]:
        """Search, and return the summary."""
        self.done(self.start(*words))
        return self.summary()

    @property
    def folder(self) -> Path:
        """Of the search."""
        (found,) = self.root.glob("artifacts/*/evolve/*")
        return found

    def summary(self) -> dict[str, Any]:
        """Return what the finished search says of itself."""
        found: dict[str, Any] = json.loads((self.folder / "search.json").read_bytes())
        return found

    def leaves(self) -> list[dict[str, Any]]:
        """Return the trials of the finished search, as the ledger has them."""
        return [json.loads(line) for line in (self.folder / "trials.jsonl").read_bytes().splitlines()]

    def outcomes(self) -> list[Path]:
        """Return the files of the outcomes so far."""
        return sorted(self.root.glob("artifacts/*/evolve/*/outcomes/*.json"))
