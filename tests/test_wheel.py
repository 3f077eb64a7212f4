"""A wheel from the clone works in an empty environment, beside a user's own `strategies/` folder."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.long

CODE_HASH = "from alphatrade.nodes.identity import code_hash; print(code_hash())"
SHORT = ("tape.end='2026-08-20'", "output.stress=false")
MINE = '''
"""A topology of the user's own."""

from alphatrade.strategies.topologies import Desire, Topology


class Mine(Topology):
    """Long on even steps, flat on odd ones, thirty at a time."""

    def desire(self, view):
        return Desire(1 if view.step // 30 % 2 == 0 else 0, (), None, "as I like it")
'''


@dataclass(frozen=True)
class Place:
    """Where a user works: the environment's programs, the user's folder, the clone that the wheel is from."""

    programs: Path
    user: Path
    clone: Path
    wheel: Path
    env: dict[str, str]

    def call(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.user,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr or done.stdout
        return done.stdout

    def sim(self, *overrides: str) -> tuple[Path, dict[str, Any]]:
        self.call("alphatrade", "sim", *SHORT, *overrides)
        path = (self.user / "artifacts" / "latest").resolve()
        return path, json.loads((path / "summary.json").read_text())


def must(*command: object, **named: Any) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **named)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def copy_clone(target: Path) -> None:
    """Copy what a clone would hold: the files that git knows or would add, links as links."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout: there is no telling what belongs to the clone")
    for name in filter(None, listed.stdout.split("\0")):
        source, copy = ROOT / name, target / name
        if source.exists() or source.is_symlink():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)


def install_dependencies(python: Path, site: Path) -> str:
    """Install the locked dependencies; without a package index, borrow those of the environment of the tests."""
    command = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
        "-r",
        ROOT / "requirements.lock",
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return "locked"
    if "hash" in done.stderr.lower():
        pytest.fail(f"requirements.lock cannot be installed: {done.stderr[-1500:]}")
    # A .pth line adds packages but follows no editable install: AlphaTrade itself can only come from the wheel.
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return "borrowed"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("wheel")
    clone, user, home = root / "clone", root / "user", root / "venv"
    copy_clone(clone)
    must(
        *(
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-build-isolation",
        ),
        *("--wheel-dir", root, clone),
    )
    (wheel,) = root.glob("*.whl")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    (site,) = home.glob("lib/python*/site-packages")
    print("dependencies:", install_dependencies(python, site), file=sys.stderr)
    must(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", wheel)
    (user / "strategies").mkdir(parents=True)
    (user / "strategies" / "__init__.py").write_text('"""The user\'s own."""\n')
    (user / "strategies" / "mine.py").write_text(MINE)
    keep = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return Place(home / "bin", user, clone, wheel, keep | {"HOME": str(root / "home")})


def test_the_wheel_holds_the_suite_and_nothing_else(place: Place) -> None:
    names = zipfile.ZipFile(place.wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"alphatrade"}
    rooms = {name.split("/")[1] for name in names if name.count("/") > 1 and name.startswith("alphatrade/")}
    assert rooms == {"actors", "conf", "evolution", "nodes", "reflection", "risk", "strategies"}
    for needed in (
        "alphatrade/requirements.lock",
        "alphatrade/conf/sim.yaml",
        "alphatrade/nodes/data/btcusd_1m.csv.gz",
        "alphatrade/nodes/data/NOTICE",
    ):
        assert needed in names
    packed = {name.removeprefix("alphatrade/") for name in names if name.endswith((".py", ".yaml", ".j2"))}
    wanted = {
        path.relative_to(place.clone).as_posix()
        for room in rooms
        for path in (place.clone / room).rglob("*")
        if path.suffix in {".py", ".yaml", ".j2"}
    }
    assert wanted - packed == set()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("licenses/NOTICE") for name in names)


def test_it_runs_beside_a_folder_of_the_same_name(place: Place) -> None:
    path, summary = place.sim()
    assert summary["fills"] > 0
    assert summary["diary_coverage"] == 1.0
    assert (path / "report.html").is_file()
    assert path.is_relative_to(place.user)
    assert "AUDIT PASSED" in place.call("alphatrade", "audit", str(path))
    assert {item.name for item in place.user.iterdir()} == {"strategies", "artifacts"}


def test_it_is_the_code_of_the_clone(place: Place) -> None:
    where = place.call("python", "-c", "import alphatrade; print(alphatrade.__file__)")
    assert str(place.programs.parent) in where
    done = subprocess.run(
        [sys.executable, "-c", CODE_HASH],
        cwd=place.user,
        env=place.env | {"PYTHONPATH": str(place.clone)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert place.call("python", "-c", CODE_HASH) == done.stdout
    _, summary = place.sim("output.report=false")
    assert summary["code_hash"] == done.stdout.strip()


def test_it_gives_the_bytes_of_the_clone(place: Place, tmp_path: Path) -> None:
    _, here = place.sim("output.report=false")
    must(
        *(sys.executable, "-m", "alphatrade", "sim", *SHORT, "output.report=false"),
        cwd=tmp_path,
        env=place.env | {"PYTHONPATH": str(place.clone)},
    )
    there = json.loads((tmp_path / "artifacts" / "latest" / "summary.json").read_text())
    assert there["run_id"] == here["run_id"]
    assert there["digests"] == here["digests"]


def test_a_topology_from_the_users_own_folder_trades(place: Place) -> None:
    mine = (
        "+policy.topologies.mine={kind: 'strategies.mine:Mine', params: {}}",
        "policy.router.table.flat-low=mine",
    )
    _, summary = place.sim("output.report=false", *mine)
    assert summary["topologies_used"]["mine"]["fills"] > 0
    source = place.user / "strategies" / "mine.py"
    source.write_text(source.read_text().replace("// 30", "// 40"))
    _, other = place.sim("output.report=false", *mine)
    assert other["run_id"] != summary["run_id"], "what a user adds is part of what a run is made of"
    assert other["digests"]["fills"] != summary["digests"]["fills"]
