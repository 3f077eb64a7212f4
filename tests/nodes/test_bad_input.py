"""Bad input through the front door: exit code 2, one clear line on stderr, no traceback, nothing half written.

Every case runs in this process; a few, and with `-m long` all of them, as processes of their own.
"""

import fcntl
import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer

from alphatrade.nodes import run
from alphatrade.nodes.app import app
from tests.conftest import Door, FrontDoor, Outcome

FIXED = ("output.stress=false", "output.report=false")
WORLD = ("tape=world", "tape.hours=8", "policy.cadence.n=10")


def check_refusal(outcome: Outcome, *words: str) -> None:
    """Exit code 2 and exactly one line that names what was wrong."""
    assert outcome.code == 2, outcome
    lines = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("alphatrade: ")
    assert "Traceback" not in outcome.out + outcome.err
    assert len(lines[0]) < 1000
    missing = [word for word in words if word not in lines[0]]
    assert missing == [], lines[0]


def check_nothing_written(artifacts: Path) -> None:
    assert not artifacts.exists(), sorted(artifacts.rglob("*"))


# -- configuration --------------------------------------------------------------------------------------------------

CONFIG: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "unknown policy key": (("policy.belief.kk=1",), ("policy.belief.kk",)),
    "unknown run key": (("venue.colour=red",), ("venue.colour",)),
    "unknown top key": (("colour=red",), ("colour",)),
    "added unknown key": (("+policy.risk.colour=red",), ("policy.risk.colour", "red")),
    "unknown tape key": (("tape=world", "tape.bid=x"), ("tape.bid",)),
    "unknown group choice": (("policy/risk=reckless",), ("reckless",)),
    "unknown tape": (("tape=moon",), ("moon",)),
    "wrong type": (("policy.belief.k=many",), ("policy.belief.k", "many", "integer")),
    "wrong type of the seed": (("seed=one",), ("seed", "one", "integer")),
    "a list for a number": (("policy.risk.daily_loss_max=[1]",), ("policy.risk.daily_loss_max",)),
    "a text for a truth": (("flat_at_end=perhaps",), ("flat_at_end", "perhaps")),
    "limit above its range": (("policy.risk.drawdown_max=1.5",), ("policy.risk.drawdown_max", "1.5")),
    "limit below its range": (("policy.risk.order_notional_max=-1",), ("policy.risk.order_notional_max", "-1")),
    "limit not a number": (("policy.risk.price_collar=nan",), ("policy.risk.price_collar", "nan")),
    "limit infinite": (("policy.risk.stale_after_s=inf",), ("policy.risk.stale_after_s", "inf")),
    "negative seed": (("seed=-1",), ("seed", "-1")),
    "k above n": (("policy.belief.k=500",), ("500",)),
    "no time at all": (("tape=world", "tape.hours=0"), ("tape.hours", "0")),
    "a probability above one": (("venue.prob_fill_on_limit=2",), ("venue.prob_fill_on_limit", "2")),
    "unknown cadence": (("policy.cadence.kind=moons",), ("policy.cadence.kind", "moons")),
    "flag without mechanism": (("policy.flags.fast_weights=true",), ("fast_weights",)),
    "run flag that is none": (("governed_feedback=2",), ("alphatrade: governed_feedback: got 2", "boolean")),
    "environment that cannot run": (("env=live",), ("live", "sim")),
    "no value": (("policy.belief.k=",), ("policy.belief.k",)),
    "not an override": (("nonsense",), ("nonsense",)),
    "no key": (("=5",), ("'=5'", "key")),
    "null for a group": (("tape=null",), ("tape", "null", "world")),
    "several values": (("seed=1,2",), ("seed", "1,2", "one value")),
    "unknown flag": (("--colour",), ("--colour", "option")),
    "flag without value": (("--cfg",), ("--cfg", "expected one argument")),
    "unknown configuration": (("--config-name", "nope"), ("nope",)),
    "broken syntax": (("tapes=[{source: world",), ("'tapes=[{source: world'", "brackets closed")),
    "unknown interpolation": (("seed='${nowhere}'",), ("nowhere",)),
    "unknown topology": (("policy.router.table.flat-low=oracle",), ("oracle",)),
    "unknown signal": (("policy.topologies.momentum.params.signal=ret_7",), ("ret_7",)),
    "topology that is not there": (("policy.topologies.flat.kind=nowhere.at:All",), ("nowhere.at",)),
    "feature the tape cannot feed": (("policy/features=depth",), ("imbalance", "size")),
    "flow without an aggressor": (("policy/features=flow",), ("flow", "aggressor")),
    "end before start": (("tape.start=2026-08-20", "tape.end=2026-08-19"), ("tape.end", "2026-08-19")),
    "a span without rows": (("tape.start=2030-01-01",), ("2030-01-01",)),
    "a moment that is none": (("tape.start=yesterday",), ("tape.start", "yesterday")),
    "file without path": (("tape=file",), ("tape", "path")),
    "catalog that is not there": (("tape=catalog", "tape.path=/nowhere/at/all"), ("/nowhere/at/all",)),
    "two currencies": (("tapes=[{source: world},{source: world, instrument: EUR/JPY}]",), ("tapes", "JPY")),
    "two names": (
        ("tapes=[{source: world},{source: world, instrument: TWO/USD}]",),
        ("['world_1', 'world_1']", "a different name"),
    ),
    "ack on a closed descriptor": (("output.ack_fd=997",), ("ack_fd",)),
    "tape shorter than the warm-up": (("tape=world", "tape.hours=0.9"), ("warm-up", "cadence")),
}


@pytest.mark.parametrize("case", CONFIG)
def test_configuration(case: str, door: Door, tmp_path: Path) -> None:
    overrides, words = CONFIG[case]
    check_refusal(door("sim", *FIXED, f"paths.artifacts={tmp_path / 'artifacts'}", *overrides), *words)
    check_nothing_written(tmp_path / "artifacts")


@pytest.mark.long
@pytest.mark.parametrize("case", CONFIG)
def test_configuration_in_a_process(case: str, front_door: FrontDoor, tmp_path: Path) -> None:
    overrides, words = CONFIG[case]
    done = front_door("sim", *FIXED, f"paths.artifacts={tmp_path / 'artifacts'}", *overrides, cwd=tmp_path)
    check_refusal(Outcome(done.returncode, done.stdout, done.stderr), *words)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [], "nor anything of Hydra's"


# -- tape files -----------------------------------------------------------------------------------------------------


def quotes(count: int = 6_000) -> pd.DataFrame:
    steps = np.arange(count)
    bid = np.round(1.1 + 0.001 * np.sin(steps / 50), 5)
    ts = pd.Timestamp("2024-03-04", tz="UTC") + pd.to_timedelta(10 * steps, "s")
    return pd.DataFrame({"ts": ts, "bid": bid, "ask": np.round(bid + 0.0001, 5)})


def parquet(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame) -> None:
    change(quotes()).to_parquet(path)


def truncated(path: Path) -> None:
    parquet(path)
    path.write_bytes(path.read_bytes()[:-2_000])


def truncated_gzip(path: Path) -> None:
    whole = gzip.compress(quotes().to_csv(index=False).encode(), mtime=0)
    path.write_bytes(whole[: len(whole) // 2])


def damaged(path: Path) -> None:
    parquet(path)
    content = bytearray(path.read_bytes())
    content[1_000:1_400] = bytes(400)
    path.write_bytes(content)


def no_number(path: Path) -> None:
    frame = quotes().astype({"bid": object})
    frame.loc[77, "bid"] = "n.a. today"
    frame.to_csv(path, index=False)


def put(column: str, value: object, rows: slice = slice(None)) -> Callable[[Path], None]:
    """Return a maker of a file in which some rows of a column have another value."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[rows, column] = value
        return frame

    return lambda path: parquet(path, change)


TAPES: dict[str, tuple[str, Callable[[Path], object], tuple[str, ...]]] = {
    "missing": ("absent.parquet", lambda path: None, ("absent.parquet", "existing")),
    "empty": ("a.parquet", lambda path: path.touch(), ("a.parquet", "empty")),
    "empty folder": ("folder", lambda path: path.mkdir(), ("folder",)),
    "truncated": ("a.parquet", truncated, ("a.parquet", "truncated or damaged")),
    "damaged": ("a.parquet", damaged, ("a.parquet", "truncated or damaged")),
    "truncated gzip": ("a.csv.gz", truncated_gzip, ("a.csv.gz", "truncated or damaged")),
    "a picture": ("a.csv", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\r" * 50), ("a.csv",)),
    "only a header": ("a.csv", lambda path: path.write_text("ts,bid,ask\n"), ("a.csv", "rows")),
    "no rows": ("a.parquet", lambda path: parquet(path, lambda f: f[:0]), ("a.parquet", "rows")),
    "a word for a number": ("a.csv", no_number, ("a.csv", "row 78", "bid", "n.a. today")),
    "wrong column": (
        "a.parquet",
        lambda p: parquet(p, lambda f: f.rename(columns={"ask": "colour"})),
        ("ask", "colour"),
    ),
    "unsorted": ("a.parquet", lambda path: parquet(path, lambda f: f[::-1]), ("sort",)),
    "one row out of order": (
        "a.parquet",
        lambda p: parquet(p, lambda f: f.iloc[[0, 2, 1, *range(3, 6_000)]]),
        ("row 3",),
    ),
    "all NaN": ("a.parquet", put("bid", np.nan), ("bid", "NaN")),
    "a tenth NaN": ("a.parquet", put("ask", np.nan, slice(0, 600)), ("max_bad",)),
    "no stamps": ("a.parquet", put("ts", pd.NaT), ("ts",)),
    "negative prices": ("a.parquet", put("bid", -1.1), ("bid", "-1.1")),
    "zero prices": ("a.parquet", put("bid", 0.0), ("bid",)),
    "endless prices": ("a.parquet", put("ask", np.inf), ("ask",)),
    "shorter than the warm-up": ("a.parquet", lambda p: parquet(p, lambda f: f[:200]), ("warm-up",)),
    "one row": ("a.parquet", lambda p: parquet(p, lambda f: f[:1]), ("a.parquet",)),
}


@pytest.mark.parametrize("case", TAPES)
def test_tape_files(case: str, door: Door, tmp_path: Path) -> None:
    name, make, words = TAPES[case]
    path = tmp_path / name
    make(path)
    tape = ("tape=file", f"tape.path={path}", "tape.kind=quotes", "tape.instrument=EUR/USD")
    state = tmp_path / "state"
    check_refusal(
        door("sim", *FIXED, f"paths.artifacts={tmp_path / 'artifacts'}", f"paths.state={state}", *tape), *words
    )
    check_nothing_written(tmp_path / "artifacts")
    entries = [path for path in state.rglob("*") if path.name.startswith(".") or path.suffix == ".tmp"]
    assert entries == [], "no half converted tape"


@pytest.mark.long
@pytest.mark.parametrize("case", TAPES)
def test_tape_files_in_a_process(case: str, front_door: FrontDoor, tmp_path: Path) -> None:
    name, make, words = TAPES[case]
    path = tmp_path / name
    make(path)
    tape = ("tape=file", f"tape.path={path}", "tape.kind=quotes", "tape.instrument=EUR/USD")
    done = front_door("sim", *FIXED, f"paths.artifacts={tmp_path / 'artifacts'}", *tape)
    check_refusal(Outcome(done.returncode, done.stdout, done.stderr), *words)
    check_nothing_written(tmp_path / "artifacts")


def test_the_file_behind_these_cases_is_accepted_as_it_is(door: Door, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet(path)
    tape = ("tape=file", f"tape.path={path}", "tape.kind=quotes", "tape.instrument=EUR/USD")
    done = door("sim", *FIXED, f"paths.artifacts={tmp_path / 'artifacts'}", *tape)
    assert (done.code, done.err) == (0, "")


def test_a_wrong_name_of_a_column_is_refused_with_those_that_are_there(door: Door, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet(path)
    done = door("sim", *FIXED, "tape=file", f"tape.path={path}", "tape.instrument=EUR/USD", "tape.columns.bid=bud")
    check_refusal(done, "tape.columns.bid", "bud", "ts, bid, ask")


# -- places ---------------------------------------------------------------------------------------------------------


def test_artifacts_below_a_regular_file(door: Door, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    check_refusal(door("sim", *FIXED, *WORLD, f"paths.artifacts={tmp_path / 'file' / 'below'}"), "file", "writable")
    assert (tmp_path / "file").read_text() == "mine"


def test_state_below_a_regular_file(door: Door, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    state = f"paths.state={tmp_path / 'file' / 'below'}"
    check_refusal(door("sim", *FIXED, f"paths.artifacts={tmp_path / 'artifacts'}", state), "file", "writable")
    check_nothing_written(tmp_path / "artifacts")


def test_a_folder_without_write_permission(door: Door, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    check_refusal(door("sim", *FIXED, *WORLD, f"paths.artifacts={closed}"), "closed", "writable")
    assert list(closed.iterdir()) == []


def test_a_refused_run_leaves_other_runs_and_folders_alone(door: Door, tmp_path: Path) -> None:
    warmup = ("tape=world", "tape.hours=0.9", f"paths.artifacts={tmp_path / 'mine' / 'artifacts'}")
    (tmp_path / "mine").mkdir()
    check_refusal(door("sim", *FIXED, *warmup), "warm-up")
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"], "what was made for the run is gone, what was there is not"
    other = tmp_path / "mine" / "artifacts" / datetime.now(UTC).date().isoformat() / "another-run"
    other.mkdir(parents=True)
    check_refusal(door("sim", *FIXED, *warmup), "warm-up")
    assert list(other.parent.iterdir()) == [other]


def test_a_run_that_another_process_is_writing(door: Door, whole_run: Path, tmp_path: Path) -> None:
    partial = tmp_path / datetime.now(UTC).date().isoformat() / f".partial-{whole_run.name}"
    partial.mkdir(parents=True)
    (partial / "orders.parquet").write_text("theirs")
    with (partial / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        check_refusal(door("sim", *FIXED, *WORLD, f"paths.artifacts={tmp_path}"), whole_run.name, "in use")
    assert (partial / "orders.parquet").read_text() == "theirs"


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of the size that the test is parametrised with."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a tmpfs needs root and mount(8)")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def check_full_disk(door: FrontDoor, disk: Path, *overrides: str) -> None:
    done = door("sim", "output.stress=false", *overrides, f"paths.artifacts={disk / 'artifacts'}")
    check_refusal(Outcome(done.returncode, done.stdout, done.stderr), str(disk), "No space left", "free space")
    check_nothing_written(disk / "artifacts")


@pytest.mark.parametrize("small_disk", ["256k"], indirect=True)
def test_a_full_disk(small_disk: Path, front_door: FrontDoor) -> None:
    check_full_disk(front_door, small_disk, *WORLD)


@pytest.mark.long
@pytest.mark.parametrize("small_disk", ["2m"], indirect=True)
def test_a_disk_that_is_full_in_mid_run(small_disk: Path, front_door: FrontDoor) -> None:
    check_full_disk(front_door, small_disk, "output.report=false")  # the embedded tape writes segments as it goes


@pytest.mark.long
@pytest.mark.parametrize(
    "small_disk", ["16k", "64k", "128k", "256k", "512k", "768k", "1m", "1536k", "2m", "3m"], indirect=True
)
def test_a_disk_that_is_full_at_any_stage(small_disk: Path, front_door: FrontDoor) -> None:
    check_full_disk(front_door, small_disk, *WORLD)  # from the first file to the report


@pytest.mark.parametrize("small_disk", ["64k"], indirect=True)
def test_a_full_disk_under_the_cache(small_disk: Path, door: Door, tmp_path: Path) -> None:
    done = door("sim", *FIXED, f"paths.artifacts={tmp_path / 'artifacts'}", f"paths.state={small_disk}")
    check_refusal(done, "cache", "space")
    check_nothing_written(tmp_path / "artifacts")
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []


# -- run folders ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory, state_dir: Path) -> Path:
    artifacts = tmp_path_factory.mktemp("artifacts")
    return run([*FIXED, *WORLD, f"paths.artifacts={artifacts}", f"paths.state={state_dir}"]).path


def cut(name: str) -> Callable[[Path], object]:
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:-40])


def gone(name: str) -> Callable[[Path], object]:
    return lambda path: (path / name).unlink()


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda path: (path / name).write_text(content)


def other_limit(path: Path) -> None:
    policy = json.loads((path / "policy.json").read_text())
    policy["risk"]["gross_max"] = "plenty"
    (path / "policy.json").write_text(json.dumps(policy))


AUDIT: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "no folder": (shutil.rmtree, ("run",)),
    "empty folder": (lambda path: (shutil.rmtree(path), path.mkdir()), ("policy.json",)),
    **{f"truncated {n}": (cut(f"{n}.parquet"), (f"{n}.parquet",)) for n in ("orders", "fills", "marks", "equity")},
    **{f"missing {n}": (gone(n), (n,)) for n in ("orders.parquet", "fills.parquet", "marks.parquet", "policy.json")},
    "missing run.yaml": (gone("run.yaml"), ("run.yaml",)),
    "policy that is no JSON": (text("policy.json", "{"), ("policy.json",)),
    "policy that is a list": (text("policy.json", "[]"), ("policy.json",)),
    "run.yaml that is no YAML": (text("run.yaml", "a: [b"), ("run.yaml",)),
    "a limit that is no number": (other_limit, ("gross_max", "plenty")),
    "orders that are fills": (
        lambda path: shutil.copy(path / "fills.parquet", path / "orders.parquet"),
        ("orders.parquet",),
    ),
}


@pytest.mark.parametrize("case", AUDIT)
def test_audit_of_a_damaged_run(case: str, door: Door, whole_run: Path, tmp_path: Path) -> None:
    damage, words = AUDIT[case]
    folder = tmp_path / "run"
    shutil.copytree(whole_run, folder)
    damage(folder)
    check_refusal(door("audit", str(folder)), *words)


DIARY: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "no folder": (shutil.rmtree, ("run folder",)),
    "empty folder": (lambda path: (shutil.rmtree(path), path.mkdir()), ("run.yaml",)),
    "truncated decisions": (cut("diary/decisions.parquet"), ("decisions.parquet",)),
    "decisions that are text": (text("diary/decisions.parquet", "hello"), ("decisions.parquet",)),
    "truncated orders": (cut("orders.parquet"), ("orders.parquet",)),
}


@pytest.mark.parametrize("case", DIARY)
def test_diary_of_a_damaged_run(case: str, door: Door, whole_run: Path, tmp_path: Path) -> None:
    damage, words = DIARY[case]
    folder = tmp_path / "run"
    shutil.copytree(whole_run, folder)
    damage(folder)
    check_refusal(door("diary", str(folder), "select * from decisions"), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("select colour from decisions",), ("colour",)),
        (("select * from dreams",), ("dreams",)),
        (("this is not sql",), ("sql",)),
        (("select 1/0 as x; drop table decisions",), ("sql",)),
        (("--order", "O-nobody"), ("O-nobody",)),
    ],
)
def test_questions_that_the_diary_cannot_answer(
    arguments: tuple[str, ...], words: tuple[str, ...], door: Door, whole_run: Path
) -> None:
    check_refusal(door("diary", str(whole_run), *arguments), *words)


@pytest.mark.parametrize("place", ["", "a", "a.txt"])
def test_runs_of_no_folder(place: str, door: Door, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    arguments = ("--artifacts", str(tmp_path / place)) if place else ("--compare", str(tmp_path), str(tmp_path))
    check_refusal(door("runs", *arguments), str(tmp_path))


def test_the_whole_run_behind_these_cases_is_accepted(door: Door, whole_run: Path) -> None:
    done = door("audit", str(whole_run))
    assert (done.code, done.err) == (0, "")
    assert "AUDIT PASSED" in done.out
    done = door("diary", str(whole_run), "select count(*) as n from decisions")
    assert (done.code, done.err) == (0, "")


def test_an_audit_that_finds_a_violation_exits_with_one(door: Door, whole_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole_run, folder)
    policy = json.loads((folder / "policy.json").read_text())
    policy["risk"]["order_notional_max"] = 0.001
    (folder / "policy.json").write_text(json.dumps(policy))
    done = door("audit", str(folder))
    assert (done.code, done.err) == (1, "")
    assert "AUDIT FAILED" in done.out


# -- a handful as processes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sim", *WORLD[:1], "tape.hours=1"), ("warm-up",)),
        (("audit", "nowhere"), ("nowhere",)),
        pytest.param(("sim", "policy.belief.kk=1"), ("policy.belief.kk",), marks=pytest.mark.long),
        pytest.param(("sim", "env=live"), ("live", "sim"), marks=pytest.mark.long),
        pytest.param(("sim", "tape=file", "tape.path=nowhere.parquet"), ("nowhere.parquet",), marks=pytest.mark.long),
        pytest.param(("diary", "RUN", "select colour from decisions"), ("colour",), marks=pytest.mark.long),
    ],
)
def test_as_processes(
    arguments: tuple[str, ...], words: tuple[str, ...], front_door: FrontDoor, whole_run: Path, tmp_path: Path
) -> None:
    done = front_door(*(str(whole_run) if a == "RUN" else a for a in arguments), cwd=tmp_path)
    check_refusal(Outcome(done.returncode, done.stdout, done.stderr), *words)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


KNOWN = typer.main.get_command(app).commands  # type: ignore[attr-defined]
VERBS: dict[tuple[str, ...], str] = {
    ("fly",): f"No such command 'fly'; the verbs are {', '.join(KNOWN)}; see",
    ("audit",): "Missing argument 'run_dir'; see",
    ("diary",): "Missing argument 'run_dir'; see",
    ("diary", "a", "b", "c"): "unexpected extra argument(s) (c); see",
    ("runs", "--colour", "red"): "No such option: --colour; see",
    ("release", "--who", "me"): "Missing option '--why'; see",
    ("status", "--env"): "Option '--env' requires an argument; see",
    ("--colour",): "No such option: --colour; the verbs are",
}


@pytest.mark.parametrize("arguments", VERBS)
def test_wrong_verbs_and_options(arguments: tuple[str, ...], door: Door) -> None:
    check_refusal(door(*arguments), VERBS[arguments], "--help")


@pytest.mark.parametrize(("arguments", "code"), [((), 2), (("--help",), 0), (("diary", "--help"), 0)])
def test_help_is_help(arguments: tuple[str, ...], code: int, door: Door) -> None:
    done = door(*arguments)
    assert (done.code, done.err) == (code, "")
    assert "Usage:" in done.out
