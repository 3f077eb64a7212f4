"""What ends a search and is no result: full disks, workers that do not start, a second driver. Candidates are made up."""

import errno
import json
import os
import sys
from asyncio import CancelledError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig

from alphatrade.evolution import sweeper
from alphatrade.evolution.fitness import Measured, Row, table
from alphatrade.evolution.genotype import Genotype
from alphatrade.evolution.grid import Cell
from alphatrade.evolution.schedule import fair
from alphatrade.evolution.trial import Outcome, outcome_from
from alphatrade.nodes import evolve
from alphatrade.nodes.app import main
from alphatrade.nodes.evolve import CandidateJob, SearchSettings, grid_of, tapes_of, to_blame
from alphatrade.nodes.hydra_app import run_search
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.ledger_files import FILE
from alphatrade.risk.disk import FolderLock
from alphatrade.risk.errors import LawError, LedgerError, RunDirError, TapeError
from tests.nodes.test_evolve import GRID, WORLD

TINY = ("search.parents=1", "search.elite=1", "search.children=1", "search.generations=1", "search.race=null")
FULL = OSError(errno.ENOSPC, "No space left on device", "/the/disk")
CELL = Cell("X/USD.SIM", "up-low", 0, 1, False)


def played(own: SearchSettings) -> Outcome:
    """A world without replays: the genotype's own small number."""
    net = int(own.genotype.genotype_hash[:6], 16) / 16**9
    cells = [cell for cell in grid_of(tapes_of(own.settings), own.grid) if not cell.holdout]
    found = Measured(200, 5, 0, net, 1.0, 0.01, 2.0, "", (net,) * 5)
    return Outcome("scored", "", tuple([Row(cell, found, "") for cell in fair(cells, own.search.cells)]))


class Door:
    """The front door in this process, on a machine of its own."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self._patch, self._capsys = root, monkeypatch, capsys
        monkeypatch.chdir(root)
        monkeypatch.setenv("ALPHATRADE_STATE", str(root / "state"))
        monkeypatch.delenv("ALPHATRADE_LEDGER", raising=False)
        monkeypatch.setattr(evolve, "measured", played)

    def run(self, *words: str) -> tuple[int, list[str]]:
        """Return the exit code of a search, and its lines on stderr without those of a new ledger."""
        arguments = ["alphatrade", "evolve", "--multirun", *WORLD, *GRID, *TINY, "hydra/launcher=basic", *words]
        self._patch.setattr(sys, "argv", arguments)
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        lines = self._capsys.readouterr().err.splitlines()
        return int(left.value.code or 0), [line for line in lines if "ledger" not in line and "fingerprint" not in line]

    def outcomes(self) -> list[Path]:
        return sorted(self.root.glob("artifacts/*/evolve/*/outcomes/*.json"))

    def searches(self) -> int:
        """Return how many entries tell of one."""
        entries = Ledger(self.root / "state" / "ledger").entries()
        return sum(entry.kind == "search" for entry in entries)

    def trials(self) -> int:
        found = verify(self.root / "state" / "ledger")
        assert not found.problems
        return found.trials


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Door:
    return Door(tmp_path, monkeypatch, capsys)


def _raised(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize("digits", ["0123456789", "1e"])
def test_a_hash_that_reads_as_a_number_is_a_name(door: Door, monkeypatch: pytest.MonkeyPatch, digits: str) -> None:
    names: dict[str, str] = {}

    def number(genotype: Genotype) -> str:
        return names.setdefault(genotype.genotype_hash, f"{10**6 + len(names)}{digits}{len(names)}")

    monkeypatch.setattr(sweeper, "_name", number)
    assert door.run() == (0, [])
    assert door.trials() == len(names) == 2


def test_who_is_to_blame() -> None:
    buried = ZeroDivisionError()
    buried.__context__ = FULL
    for error in (FULL, buried, RunDirError("/the/disk", "gone", "x"), LedgerError("a", 1, "b"), LawError("assets")):
        assert not to_blame(error), error
    for error in (ZeroDivisionError(), FileNotFoundError(errno.ENOENT, "its own"), TapeError("a", 1, "b")):
        assert to_blame(error), error


def test_a_full_disk_in_a_replay_ends_the_search_and_is_no_outcome(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """As whoever writes into the folder of a run tells it: not as an `OSError`."""
    full = RunDirError("/the/disk", "No space left on device", "a writable folder with free space")
    monkeypatch.setattr(evolve, "measured", lambda own: table(own.settings.policy, [CELL], lambda *_: _raised(full), 1))
    code, told = door.run()
    assert (code, told) == (2, [f"alphatrade: {full}"])
    assert (len(door.outcomes()), door.trials(), door.searches()) == (0, 0, 1)


def test_a_full_disk_is_one_line_and_the_search_goes_on_later(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the sweeper's own files, at once; then of what jobs write, in the second generation; then there is room."""
    for place, after, kept in ((sweeper, 0, 0), (evolve, 2, 1)):
        with monkeypatch.context() as patched:
            patched.setattr(place, "write_whole", _until(after, place.write_whole))
            code, told = door.run()
        assert (code, len(told)) == (2, 1)
        assert told[0].startswith("alphatrade: /the/disk: got 'No space left on device', expected a writable folder")
        assert (door.trials(), door.searches()) == (kept, 1)
    assert door.run() == (0, [])
    assert (door.trials(), door.searches()) == (2, 1)


def _until(after: int, whole: Any) -> Any:
    written = list[Path]()

    def write(path: Path, text: str) -> None:
        if len(written) == after:
            raise FULL
        written.append(path)
        whole(path, text)

    return write


@pytest.mark.parametrize("error", [SystemExit(0), CancelledError("by itself"), GeneratorExit("x")], ids=repr)
def test_a_candidate_that_leaves_has_failed_and_the_search_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException
) -> None:
    own: Any = SimpleNamespace(search=SimpleNamespace(timeout_s=60.0), out=tmp_path / "out.json")
    monkeypatch.setattr(evolve, "search_settings", lambda _: own)
    monkeypatch.setattr(evolve, "measured", lambda _: _raised(error))
    CandidateJob()(DictConfig({}))
    found = outcome_from(json.loads(own.out.read_bytes()))
    assert found.status == "failed"
    assert found.why.startswith(f"{type(error).__name__}: ")
    monkeypatch.setattr(evolve, "measured", lambda _: _raised(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        CandidateJob()(DictConfig({}))


def test_a_way_out_of_a_search_is_no_success(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no candidate is to blame yet: a plug-in may leave when it is imported, too."""
    monkeypatch.setattr(evolve, "tapes_of", lambda _: sys.exit(0))
    expected = "code that returns: nothing that is run here may end it"
    assert door.run() == (2, [f"alphatrade: plug-in: got 'SystemExit(0)', expected {expected}"])
    monkeypatch.setattr("hydra.main", lambda **_: lambda _: lambda: sys.exit(0))
    with pytest.raises(SystemExit):  # after its help Hydra leaves, too
        run_search("evolve", ["--hydra-help"], CandidateJob())


def test_a_search_that_cannot_be_is_not_entered(door: Door) -> None:
    """It would count as one that was stopped."""
    code, told = door.run("search.budget=3")
    assert (code, len(told)) == (2, 1)
    assert told[0].startswith("alphatrade: search.budget: got 3, expected at least")
    assert door.searches() == 0


def test_a_search_that_is_run_in_another_place_is_not_counted_twice(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A candidate did not come to its end there: another outcome of the same trial."""
    once = "search.generations=0"
    assert door.run(once) == (0, [])
    file = door.root / "state" / "ledger" / FILE
    whole = file.read_bytes()
    (door.root / "clone").mkdir()
    monkeypatch.chdir(door.root / "clone")
    monkeypatch.setattr(evolve, "measured", lambda own: Outcome("timeout", "longer than 1 s", ()))
    code, told = door.run(once)
    assert (code, len(told)) == (2, 1)
    assert "generation 0: got 'root " in told[0]
    assert "take the outcomes that were entered, or another seed" in told[0]
    assert file.read_bytes() == whole
    assert (door.trials(), door.searches()) == (1, 1)


def test_a_second_driver_of_a_search_is_refused_in_one_line(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evolve, "measured", lambda own: _raised(FULL))
    door.run()
    (folder,) = door.root.glob("artifacts/*/evolve/*")
    monkeypatch.setattr(evolve, "measured", played)
    with FolderLock(folder):
        code, told = door.run()
        assert (code, len(told)) == (2, 1)
        assert told[0].endswith(f"is in use: process {os.getpid()} drives this search")
    assert (len(door.outcomes()), door.searches()) == (0, 1)
