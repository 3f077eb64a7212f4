"""House rules that a reader would have to check by hand: sources of nondeterminism, sizes, names."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.acceptance import CHECKS

ROOT = Path(__file__).parents[1]
ROOMS = ("actors", "evolution", "nodes", "reflection", "risk", "strategies")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
TESTS = sorted(path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__))

# Wall clock is allowed where it cannot reach a digest; each entry says why.
ALLOWED = {
    "nodes/alarms.py": {"datetime.now"},  # a silence begins at a moment of the wall
    "nodes/audit/app.py": {"datetime.now"},  # which days are over
    "nodes/artifacts.py": {"datetime.now"},  # the date of the artifacts folder
    "nodes/ledger_home.py": {"time.time_ns"},  # an entry says when it was made
    "nodes/ledger_app.py": {"time.time_ns"},  # an entry says when it was made
    "nodes/dossier_app.py": {"secrets.token_hex"},  # which trials a verifier replays: nobody may know beforehand
    "nodes/retain_app.py": {"datetime.now"},  # how old a run is
    "nodes/tape_app.py": {"datetime.now"},  # which days of an exchange are over
    "nodes/paper/adapters.py": {"time.time_ns"},  # an exchange's clock is compared with ours
    "nodes/paper/broker.py": {"time.time_ns"},  # an order and a cancel are sent at a moment of the wall
    "nodes/paper/exchange_facts.py": {"time.time_ns"},  # a live run begins at a moment of the wall
    "nodes/paper/flat.py": {"time.time_ns"},  # at an exchange time goes on when a node no longer hears it
    "nodes/paper/intake.py": {"time.time_ns"},  # an event that was held up finds the node at the present
    "nodes/paper/live_feed.py": {"time.time_ns"},  # that a feed is lost is an input, with the wall's time on it
    "nodes/venue_rest.py": {"time.time"},  # how far an exchange's clock is ahead of this machine's
    "nodes/paper/outstanding.py": {"time.time_ns"},  # how long ago an order was sent to an exchange
    "nodes/paper/mirror.py": {"pd.Timestamp.now"},  # a sign of life in Redis is of the wall
    "nodes/paper/pulse.py": {"time.time_ns"},  # the heartbeat is of the wall
    "nodes/live/app.py": {"time.time_ns"},  # an operator's command carries the time it was given
    "nodes/live/clocks.py": {"time.time_ns"},  # a clock that was set back is seen by looking at it
    "nodes/live/estate.py": {"time.time_ns"},  # what is left is of a moment of the wall
    "nodes/live/full.py": {"time.time_ns"},  # when books were compared
    "nodes/live/handover.py": {"time.time_ns"},  # an alert is of a moment of the wall
    "nodes/live/guardian.py": {"time.time_ns"},  # a permit ends at a moment of the wall
    "nodes/live/preflight.py": {"time.time_ns"},  # until when an account has a history
    "nodes/live/permit_app.py": {"secrets.token_hex", "time.time_ns"},  # none is entered twice; when one begins
    "nodes/live/sides.py": {"time.time_ns"},  # until when an account has a history
    "nodes/live/rollback.py": {"time.time_ns"},  # an operator's command carries the time it was given
    "nodes/live/run.py": {"time.time_ns"},  # an alert is of a moment of the wall
    "nodes/secrets.py": {"secrets.token_bytes"},  # the salt of hashes that stay in memory
    "nodes/operator.py": {"time.time_ns"},  # an operator's action carries the time it was asked for
    "nodes/console/page.py": {"time.time_ns"},  # how old a beat is
    "nodes/console/watch.py": {"time.time"},  # how old metrics are
    "nodes/kill_app.py": {"time.time_ns"},  # an operator's command carries the time it was given
    "risk/approval.py": {"secrets.token_bytes"},  # the key of approvals, which stays in memory
    "risk/kill.py": {"time.time_ns", "datetime.now"},  # an operator's command carries the time it was given
    "risk/gate.py": {"time.time_ns"},  # likewise, in a live node
    "risk/gate_events.py": set(),
}
BANNED = {
    "time.time": "wall clock",
    "time.time_ns": "wall clock",
    "datetime.now": "wall clock",
    "datetime.utcnow": "wall clock",
    "datetime.today": "wall clock",
    "date.today": "wall clock",
    "pd.Timestamp.now": "wall clock",
    "uuid.uuid4": "random id",
    "uuid4": "random id",
    "os.urandom": "entropy",
    "secrets.token_bytes": "entropy",
    "secrets.token_hex": "entropy",
    "secrets.randbelow": "entropy",
    "secrets.choice": "entropy",
    "random.random": "unseeded randomness",
    "random.shuffle": "unseeded randomness",
    "random.choice": "unseeded randomness",
    "random.randint": "unseeded randomness",
    "np.random.rand": "unseeded randomness",
    "np.random.randn": "unseeded randomness",
    "np.random.normal": "unseeded randomness",
    "np.random.seed": "global randomness",
    "pd.read_parquet": "aborts an exit: nodes/frames.py",
    "np.dot": "BLAS",
    "np.matmul": "BLAS",
    "np.einsum": "BLAS",
    "np.inner": "BLAS",
}
UNSEEDED = {"default_rng", "PCG64", "Random"}  # called without an argument


def offences(source: str) -> list[str]:
    """Return what a file does that a digested path must not do."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in BANNED:
                found.append(name)
            if name.rpartition(".")[2] in UNSEEDED and not node.args and not node.keywords:
                found.append(f"{name}() without a seed")
        elif isinstance(node, ast.ImportFrom):
            found += [name for one in node.names if (name := f"{node.module}.{one.name}") in BANNED]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            found.append("np.matmul")
        elif isinstance(node, ast.For | ast.comprehension) and isinstance(node.iter, ast.Set):
            found.append("iteration over a set")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_source_of_nondeterminism(path: Path) -> None:
    allowed = ALLOWED.get(path.relative_to(ROOT).as_posix(), set())
    assert [what for what in offences(path.read_text()) if what not in allowed] == []


@pytest.mark.parametrize(
    "line",
    ["t = time.time()", "from time import time_ns", "x = uuid4()", "x = secrets.token_hex(8)", "y = a @ b", "r = np.random.default_rng()", "n = datetime.now(UTC)", "for i in {1, 2}: pass"],
)
def test_the_check_sees_each_offence(line: str) -> None:
    assert offences(line)


def test_modules_stay_readable() -> None:
    long = {p.relative_to(ROOT).as_posix(): n for p in SOURCES if (n := len(p.read_text().splitlines())) > 320}
    assert set(long) == {"nodes/data/verify.py"}  # a stranger reads it, and runs it, alone: it has to be one file


def test_every_module_says_what_it_is_for() -> None:
    silent = [p.relative_to(ROOT).as_posix() for p in SOURCES if not ast.get_docstring(ast.parse(p.read_text()))]
    assert silent == []


def test_every_long_test_is_in_the_acceptance() -> None:
    """Nobody else runs it."""
    rows = [check.command for check in CHECKS if "long or not long" in check.command]
    shown = {word for row in rows for word in row if word.startswith("tests/")}
    long = [path.relative_to(ROOT) for path in TESTS if re.search(r"pytest\.mark\.long\b", path.read_text())]
    assert len(long) > 30
    assert [path.as_posix() for path in long if shown.isdisjoint(map(str, (path, *path.parents)))] == []


def test_nothing_of_a_machine_or_an_index_is_tracked() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not listed:
        pytest.skip("not a git checkout")
    pattern = re.compile("|".join(["index" + "-url", "/sim" + "ple/", "pypi" + r"\.org", "/ro" + "ot/", "/wo" + "rk/"]))
    hits = []
    for name in listed:
        path = ROOT / name
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".yaml", ".lock", ".txt", ""}:
            hits += [name for line in path.read_text(errors="ignore").splitlines() if pattern.search(line)]
    assert [h for h in hits if h not in {"Makefile"}] == []
