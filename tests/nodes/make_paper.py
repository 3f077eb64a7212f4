"""Runs of one policy side by side: replayed, and on paper."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from alphatrade.nodes.app import main
from alphatrade.nodes.paper.assembly import Flight
from alphatrade.nodes.paper.node import fly
from alphatrade.nodes.replay import Replay, ReplayOutput, replay
from alphatrade.nodes.settings import Settings, compose_settings
from alphatrade.nodes.sim import load_tapes
from tests.conftest import ROOT

QUIET = ("output.stress=false", "output.report=false")
SHORT = ("tape.end=2026-08-18T06:00:00Z",)


def settings(*words: str) -> Settings:
    return compose_settings([*words, *QUIET])


def replayed(own: Settings, folder: Path) -> ReplayOutput:
    folder.mkdir()
    return replay(Replay(own.policy, load_tapes(own.run), own.run), folder)


def flown(own: Settings, folder: Path, **flight: Any) -> ReplayOutput:
    folder.mkdir()
    return fly(Replay(own.policy, load_tapes(own.run), own.run), folder, Flight(**flight))


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of every table of a run."""
    found = sorted(folder.rglob("*.parquet"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def _without_port(command: list[str]) -> list[str]:
    """Return a command of a node that takes no port unless it says which."""
    return command if any("metrics." in word for word in command) else [*command, "metrics.enabled=false"]


class Node:
    """A paper node as a process, in a place of its own."""

    def __init__(self, root: Path, *words: str) -> None:
        self.root, self.words = root, words
        self.env = {name: value for name, value in os.environ.items() if name != "ALPHATRADE_LEDGER"}
        self.env |= {"ALPHATRADE_STATE": str(root / "state"), "PYTHONPATH": str(ROOT)}

    def start(self, *words: str, verb: str = "paper", module: str = "") -> "subprocess.Popen[str]":
        """Start it; another module is started in place of the verb, with its own words first. No port is taken."""
        own = self._command(verb, *words) if not module else _without_port([module, *words, *self.words])
        command = [sys.executable, "-m", *own]
        return subprocess.Popen(
            command, cwd=self.root, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def _command(self, verb: str, *words: str) -> list[str]:
        command = ["alphatrade", verb, *self.words, *words]
        return _without_port(command) if verb == "paper" else command

    def here(self, *words: str, code: int = 0, verb: str = "paper") -> str:
        """Run it to its end as :meth:`run` does, but in this process: nothing has to start."""
        said = StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
            patch.chdir(self.root)
            patch.setenv("ALPHATRADE_STATE", self.env["ALPHATRADE_STATE"])
            patch.delenv("ALPHATRADE_LEDGER", raising=False)
            patch.setenv("HYDRA_FULL_ERROR", "0")
            patch.setattr(sys, "argv", self._command(verb, *words))
            with pytest.raises(SystemExit) as ended:
                main()
        assert ended.value.code == code, said.getvalue()
        return said.getvalue()

    def run(self, *words: str, code: int = 0, verb: str = "paper") -> str:
        process = self.start(*words, verb=verb)
        out, err = process.communicate(timeout=240)
        assert process.returncode == code, out + err
        return out + err

    @property
    def journal(self) -> Path:
        return self.root / "state" / "paper" / "SIM" / "journal"

    def kept(self) -> int:
        """Return the bytes of the journal so far."""
        return sum(path.stat().st_size for path in self.journal.glob("*.journal")) if self.journal.is_dir() else 0

    def killed(self, process: "subprocess.Popen[str]", more: int) -> None:
        """Kill the node without warning as soon as it has kept so many bytes more."""
        before, deadline = self.kept(), time.monotonic() + 120
        while self.kept() < before + more and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / "artifacts" / "latest" / "summary.json").read_text())
        return found
