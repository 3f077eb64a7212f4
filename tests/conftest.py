"""What all tests share: long tests only on demand, the real tapes, and the front door as a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
# What a run must not depend on, and must not inherit from whoever runs the tests.
FOREIGN = ("ALPHATRADE_STATE", "ALPHATRADE_LEDGER", "PYTHONHASHSEED", "OMP_NUM_THREADS", "PYTHONPATH", "HYDRA_FULL_ERROR")

FrontDoor = Callable[..., "subprocess.CompletedProcess[str]"]


class Outcome(NamedTuple):
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


Door = Callable[..., Outcome]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests out unless `-m` speaks of them or ALPHATRADE_LONG=1."""
    if "long" in config.option.markexpr or os.environ.get("ALPHATRADE_LONG") == "1":
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


def pytest_collection_finish() -> None:
    """Keep what was imported out of every later pass of the collector, as a warm worker does: replays start faster."""
    from alphatrade.nodes.collector import settle

    settle()


@pytest.fixture(scope="session")
def tapes_dir() -> Path:
    """Folder of the real tapes: $ALPHATRADE_TAPES, else beside the repository."""
    folder = Path(os.environ.get("ALPHATRADE_TAPES", ROOT.parent / "shared" / "tapes"))
    if not folder.is_dir():
        pytest.skip(f"no real tapes at {folder}; name their folder in ALPHATRADE_TAPES")
    return folder.resolve()


@pytest.fixture(scope="session")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State and converted tapes of this test session, never the user's own."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def door_env(state_dir: Path) -> dict[str, str]:
    """Environment of a subprocess that finds this repository and nothing of the user's."""
    plain = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return plain | {"PYTHONPATH": str(ROOT), "ALPHATRADE_STATE": str(state_dir)}


@pytest.fixture(scope="session")
def front_door(door_env: dict[str, str]) -> FrontDoor:
    """`front_door("sim", "seed=2", env={...}, cwd=...)` runs the command line in a fresh process."""

    def run(
        *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None, timeout: float = 900
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "alphatrade", *arguments],
            env=door_env | (env or {}),
            cwd=cwd or ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], state_dir: Path) -> Door:
    """`door("sim", "seed=2")` runs the command line in this process: a start and its imports less than the front door."""

    def call(*arguments: str) -> Outcome:
        from alphatrade.nodes.app import main

        with monkeypatch.context() as patch:
            patch.setenv("ALPHATRADE_STATE", str(state_dir))
            patch.setenv("HYDRA_FULL_ERROR", "0")
            patch.setattr(sys, "argv", ["alphatrade", *arguments])
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = capfd.readouterr()
        return Outcome(int(ended.value.code or 0), out, err)

    return call
