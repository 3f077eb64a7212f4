"""``alphatrade evolve``: any launcher gives one search, one that was killed goes on, and candidates fail alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from alphatrade.evolution.trial import outcome_from
from alphatrade.nodes.app import app
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.ledger_files import FILE
from alphatrade.risk.errors import InputError
from tests.conftest import ROOT

GRID = ("grid.block_s=3600", "grid.embargo_s=600", "grid.period_s=600", "grid.least=20", "grid.holdout=0.34")
SMALL = ("search.parents=3", "search.children=3", "search.generations=1", "search.race=null")
WORLD = ("tape=world", "tape.hours=6", "tape.step_s=4", "cadence.n=8")


class Place:
    """A machine of its own: state, ledger, artifacts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.env = {name: value for name, value in os.environ.items() if name != "ALPHATRADE_LEDGER"}
        self.env |= {"ALPHATRADE_STATE": str(root / "state"), "PYTHONPATH": str(ROOT)}

    def start(self, *words: str, verb: str = "evolve") -> "subprocess.Popen[str]":
        many = ["--multirun"] if verb == "evolve" else []
        command = [sys.executable, "-m", "alphatrade", verb, *many, *WORLD, *GRID, *SMALL, *words]
        return subprocess.Popen(
            command, cwd=self.root, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def run(self, *words: str, code: int = 0) -> str:
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, out + err
        return out + err

    def summary(self) -> dict[str, Any]:
        (found,) = self.root.glob("artifacts/*/evolve/*/search.json")
        return json.loads(found.read_bytes())  # type: ignore[no-any-return]

    def outcomes(self) -> list[Path]:
        return sorted(self.root.glob("artifacts/*/evolve/*/outcomes/*.json"))

    def trials(self) -> int:
        found = verify(self.root / "state" / "ledger")
        assert not found.problems
        return found.trials


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("evolve") / "basic")
    assert "6 trials" in place.run("hydra/launcher=basic")
    return place


def test_a_search_is_whole_and_in_the_ledger(reference: Place) -> None:
    summary = reference.summary()
    assert summary["trials"] == reference.trials() == len(reference.outcomes()) == 6
    for path in reference.outcomes():
        found = outcome_from(json.loads(path.read_bytes()))
        assert found.status == "scored", found.why
        assert len(found.rows) == summary["grid"]
        assert not any(row.cell.holdout for row in found.rows)
        measured = [row.measured for row in found.rows if row.measured is not None]
        assert len(measured) >= 4
        assert all(len(one.returns) == 5 for one in measured)
    held = [cell for cell in summary["body"]["cells"] if cell["holdout"]]
    assert len(held) == 2


def test_a_search_that_is_run_again_is_the_same_and_counts_once(reference: Place) -> None:
    """Also where a crash has cut short the last entry of the ledger: it was never acknowledged, and is put aside."""
    before, file, half = reference.summary(), reference.root / "state" / "ledger" / FILE, b'{"body":{"n":3,'
    whole = file.read_bytes()
    file.write_bytes(whole + half)
    reference.run("hydra/launcher=basic")
    assert reference.summary() == before
    assert reference.trials() == 6
    assert file.read_bytes() == whole
    assert [one.read_bytes() for one in file.parent.glob("torn-*")] == [half]


@pytest.mark.long
def test_two_warm_workers_give_the_same_search(reference: Place, tmp_path: Path) -> None:
    place = Place(tmp_path / "joblib")
    place.run("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert place.summary()["digest"] == reference.summary()["digest"]


@pytest.mark.long
@pytest.mark.parametrize("launcher", [("joblib", 1), ("ray", 2)], ids=str)
def test_every_launcher_gives_the_same_search(reference: Place, tmp_path: Path, launcher: tuple[str, int]) -> None:
    place = Place(tmp_path / launcher[0])
    place.run(f"hydra/launcher={launcher[0]}", f"hydra.launcher.n_jobs={launcher[1]}", "hydra.launcher.recycle=2")
    assert place.summary()["digest"] == reference.summary()["digest"]


@pytest.mark.long
def test_a_killed_driver_goes_on_to_the_same_result(reference: Place, tmp_path: Path) -> None:
    place = Place(tmp_path / "killed")
    process = place.start("hydra/launcher=basic")
    deadline = time.monotonic() + 120
    while len(place.outcomes()) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = place.outcomes()
    assert 2 <= len(done) < 6
    stamps = {path: path.stat().st_mtime_ns for path in done}
    place.run("hydra/launcher=basic")
    assert place.summary()["digest"] == reference.summary()["digest"]
    assert place.trials() == 6
    assert {path: path.stat().st_mtime_ns for path in done} == stamps, "what was known is not replayed again"


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["joblib", "ray"])
def test_a_killed_worker_changes_nothing(reference: Place, tmp_path: Path, launcher: str) -> None:
    import psutil

    place = Place(tmp_path / launcher)
    process = place.start(f"hydra/launcher={launcher}", "hydra.launcher.n_jobs=2")
    deadline = time.monotonic() + 120
    while not place.outcomes() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    below = psutil.Process(process.pid).children(recursive=True)
    name = "_RayWorker" if launcher == "ray" else "loky"
    workers = [child for child in below if any(name in word for word in child.cmdline())]
    assert workers, [child.cmdline() for child in below]
    workers[0].kill()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert place.summary()["digest"] == reference.summary()["digest"]


BAD = '''
"""Topologies that are no good: one raises, one never ends, one takes its process along."""

import os
import time

from alphatrade.strategies.topologies import Desire, Topology


class Raises(Topology):
    def desire(self, view):
        raise ZeroDivisionError("no good")


class Hangs(Topology):
    def desire(self, view):
        while True:
            time.sleep(0.01)


class Dies(Topology):
    def desire(self, view):
        os._exit(9)
'''


@pytest.mark.long
def test_a_candidate_that_fails_fails_alone(tmp_path: Path) -> None:
    place = Place(tmp_path / "bad")
    (place.root / "bad.py").write_text(BAD)
    kinds = ("flat", "bad:Raises", "bad:Hangs", "bad:Dies")

    (place.root / "mine").mkdir()
    shipped = (ROOT / "conf" / "domain" / "default.yaml").read_text()
    (place.root / "mine" / "domain").mkdir()
    bad = "".join(f"  'bad:{name}': {{}}\n" for name in ("Raises", "Hangs", "Dies"))
    (place.root / "mine" / "domain" / "bad.yaml").write_text(shipped.replace("  flat: {}\n", "  flat: {}\n" + bad))
    regimes = ("down-high", "down-low", "flat-high", "flat-low", "up-high", "up-low")
    (place.root / "mine" / "genotype").mkdir()
    whole = (ROOT / "conf" / "genotype" / "default.yaml").read_text()
    for kind in kinds:
        name = kind.rpartition(":")[2].lower()
        text = whole[: whole.index("topologies:")] + "topologies:\n"
        text += "".join(f"  {regime}: [{{kind: '{kind}'}}]\n" for regime in regimes)
        rest = whole[whole.index("topologies:") :].splitlines(keepends=True)[1:]
        text += "".join(rest[next(at for at, line in enumerate(rest) if not line.startswith((" ", "#"))) :])
        (place.root / "mine" / "genotype" / f"{name}.yaml").write_text(text)
    out = place.run(
        f"hydra.searchpath=[file://{place.root / 'mine'}]", "domain=bad", "genotype=flat,raises,hangs,dies",
        "search.generations=0", "search.timeout_s=12", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
    )  # fmt: skip
    assert "4 trials" in out
    found = {}
    for path in place.outcomes():
        one = outcome_from(json.loads(path.read_bytes()))
        found[one.status] = one.why
    assert set(found) == {"scored", "failed", "timeout", "killed"}, found
    assert "ZeroDivisionError: no good" in found["failed"]
    assert place.trials() == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("+search.operators.op_magic=1",), "search.operators: got 'op_magic'"),
        (("genotype.sizing.fraction=0.9",), "genotype.sizing.fraction: got 0.9, expected a number from 0.01 to 0.1"),
        (("seed=1,2",), "seed: got '1,2', expected one value: only genotypes may be several"),
        (("grid.block_s=86400",), "grid.block_s: got 86400.0, expected blocks to search and to hold out"),
        (("tape.hours=1",), "grid.block_s: got 3600.0, expected blocks to search and to hold out"),
        (("trial.out=/tmp/x.json",), "trial: got 'trial.out=/tmp/x.json', expected nothing"),
        (("hydra.launcher.n_jobs=0",), "hydra.launcher.n_jobs: got 0"),
        (("policy.cadence.n=5",), "none beside a genotype"),
    ],
)
def test_what_cannot_be_searched_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("ALPHATRADE_LEDGER", raising=False)
    done = CliRunner().invoke(app, ["evolve", "--multirun", *WORLD, *GRID, *SMALL, *words])
    assert isinstance(done.exception, InputError), done.output
    assert told in str(done.exception)
    assert not list(tmp_path.glob("artifacts/*/evolve/*/outcomes/*"))


def test_the_command_line_says_it_and_exits_with_2(tmp_path: Path) -> None:
    out = Place(tmp_path / "refused").run("genotype.sizing.fraction=0.9", code=2)
    assert out.strip().splitlines()[-1].startswith("alphatrade: genotype.sizing.fraction: got 0.9")
    assert "Traceback" not in out
