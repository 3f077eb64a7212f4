"""Retention: what is old goes, what is named, recent or being written stays, and a crash in the middle leaves a whole."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphatrade.nodes.artifacts import LOCK, point
from alphatrade.nodes.retain import Retention, remove, retention, ruled, swept
from alphatrade.risk.errors import ConfigError, RunDirError
from tests.conftest import ROOT, Door

TODAY = date(2026, 9, 30)
SPEC = Retention(days=30, runs=2)
RUNS = [f"{number:016x}" for number in range(1, 9)]


def made(root: Path, days: int, name: str, run_id: str = "", today: date = TODAY) -> Path:
    """Return a folder of so many days ago with a file in a folder in it."""
    folder = root / (today - timedelta(days)).isoformat() / name
    (folder / "diary").mkdir(parents=True)
    (folder / "diary" / "decisions.parquet").write_bytes(b"x" * 1000)
    (folder / "run.yaml").write_text("seed: 1\n")
    (folder / "summary.json").write_text(json.dumps({"run_id": run_id or name}))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Runs of 60, 50, 40, 31, 30, 29 and 0 days ago."""
    for days, name in zip((60, 50, 40, 31, 30, 29, 0), RUNS, strict=False):
        made(tmp_path / "artifacts", days, name)
    return tmp_path / "artifacts"


def going(root: Path, spec: Retention = SPEC, ledger: Path | None = None) -> list[str]:
    return [one.folder.name for one in ruled(root, spec, TODAY, ledger or root.parent / "ledger") if not one.stays]


def reason(root: Path, folder: Path, ledger: Path | None = None) -> str:
    (found,) = [one.stays for one in ruled(root, SPEC, TODAY, ledger or root.parent / "ledger") if one.folder == folder]
    return found


def test_what_is_older_than_so_many_days_goes(root: Path) -> None:
    assert going(root) == RUNS[:5]
    assert going(root, Retention(days=51, runs=1)) == RUNS[:1]


def test_the_latest_runs_stay_however_old(root: Path) -> None:
    assert going(root, Retention(days=1, runs=4)) == RUNS[:3]
    assert going(root, Retention(days=1, runs=100)) == []


def test_sizes_and_ages_are_told(root: Path) -> None:
    first = ruled(root, SPEC, TODAY, root / "none")[0]
    assert first.age_days == 60
    assert first.size == 1000 + len("seed: 1\n") + len(json.dumps({"run_id": RUNS[0]}))


@pytest.mark.parametrize("job", ["nightly", "weekly", "rim", "red-team"])
def test_jobs_go_by_their_age_and_are_no_runs_that_count(root: Path, job: str) -> None:
    made(root, 45, job)
    made(root, 3, job)
    assert going(root) == [*RUNS[:2], job, *RUNS[2:5]]


def test_what_retention_does_not_know_stays(root: Path) -> None:
    for name in ("dossiers", "ledger", "evolve", "mine", "deadbeef", ".hidden", "bench"):
        made(root, 90, name)
    made(root.parent, 0, "x").rename(root / "bench")
    assert going(root) == RUNS[:5]


def test_what_a_killed_run_has_left_goes_unless_it_is_written(root: Path) -> None:
    left, replaced, written = (made(root, 45, f"{kind}{RUNS[7]}") for kind in (".partial-", ".replaced-", ".partial-0"))
    written = written.rename(written.with_name(f".partial-{RUNS[6]}"))
    for folder in (left, written):
        (folder / LOCK).touch()
    with (written / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert {left.name, replaced.name} <= set(going(root))
        assert reason(root, written) == "being written"
        assert not remove(written)
        assert written.is_dir()
    assert written.name in going(root)


def test_what_latest_leads_to_stays(root: Path) -> None:
    for link, name in (("latest", RUNS[0]), ("latest-search", RUNS[1])):
        point(root / link, next(root.glob(f"*/{name}")))
    assert going(root) == RUNS[2:5]


def test_a_run_that_the_ledger_or_a_dossier_names_stays(root: Path) -> None:
    ledger = root.parent / "ledger"
    (ledger / "batches").mkdir(parents=True)
    (ledger / "ledger.jsonl").write_text(json.dumps({"run_id": RUNS[0], "hash": RUNS[2] * 4}) + "\n")
    (ledger / "batches" / "a.jsonl").write_text(json.dumps({"evidence": [{"run_id": RUNS[1]}]}) + "\n")
    folder = root / "2026-08-05" / "dossiers"
    folder.mkdir(parents=True)
    (folder / "p.zip").write_bytes(b"PK\x00\xff" + f'"run_id":"{RUNS[3]}"'.encode() + b"\x00")
    assert going(root, ledger=ledger) == [RUNS[2], RUNS[4]]
    assert reason(root, next(root.glob(f"*/{RUNS[0]}")), ledger) == "named by the ledger or a dossier"


def live(folder: Path, *origins: str, under: str = "", env: str = "live") -> None:
    """Make a run a live one, to which others have left something, under a permit."""
    (folder / "run.yaml").write_text(f"env: {{name: {env}}}\n")
    rows = [{"kind": "handover", "detail": f"left by run {name}"} for name in origins]
    rows += [{"kind": "permit", "detail": json.dumps({"entry": under, "refused": ""})}]
    pq.write_table(pa.Table.from_pylist(rows), folder / "risk_events.parquet")


def test_a_live_run_stays_as_long_as_one_that_cannot_be_judged_without_it(root: Path) -> None:
    """The last takes over from the fourth, that was under the permit of the third, which took over from the first."""
    place = {path.name: path for path in root.glob("*/*")}
    live(place[RUNS[6]], RUNS[3], under="new")
    live(place[RUNS[3]], under="one")
    live(place[RUNS[2]], RUNS[0], under="one")
    live(place[RUNS[1]], RUNS[0], under="two")
    live(place[RUNS[0]], under="old")
    live(place[RUNS[4]], under="one", env="sim")
    assert going(root) == [RUNS[1], RUNS[4]]
    assert reason(root, place[RUNS[0]]) == "an audit of a live run that stays needs it"
    (place[RUNS[1]] / "risk_events.parquet").write_bytes(b"torn")
    assert going(root) == [RUNS[4]], "it may be needed"
    live(place[RUNS[1]], under="two")
    live(place[RUNS[6]], under="new")
    assert going(root) == RUNS[:5]


def test_a_night_whose_run_the_ledger_names_stays(root: Path) -> None:
    night = made(root, 45, "nightly")
    run = night / "run"
    run.mkdir()
    (run / "summary.json").write_text(json.dumps({"run_id": RUNS[7]}))
    ledger = root.parent / "ledger"
    ledger.mkdir()
    assert reason(root, night, ledger) == ""
    (ledger / "ledger.jsonl").write_text(f'{{"run_id":"{RUNS[7]}"}}\n')
    assert reason(root, night, ledger) != ""


def test_a_ledger_that_lies_in_a_run_stays_with_it(root: Path) -> None:
    folder = next(root.glob(f"*/{RUNS[0]}"))
    (folder / "ledger").mkdir()
    assert reason(root, folder, folder / "ledger") == "holds the ledger"


def test_a_ledger_that_cannot_be_read_refuses_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = root.parent / "ledger"
    ledger.mkdir()
    (ledger / "ledger.jsonl").write_text("{}\n")
    whole = Path.open

    def refused(self: Path, *words: object, **more: object) -> object:
        if self.name == "ledger.jsonl":
            raise PermissionError(13, "Permission denied")
        return whole(self, *words, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(RunDirError, match=r"ledger\.jsonl.*Permission denied"):
        ruled(root, SPEC, TODAY, ledger)


def test_links_are_not_followed(root: Path) -> None:
    """A run that is a link, a day that is one, and a link in a run: what they lead to is untouched."""
    mine = root.parent / "mine" / RUNS[7]
    mine.mkdir(parents=True)
    (mine / "precious").write_text("mine")
    day = next(root.glob(f"*/{RUNS[0]}")).parent
    (day / RUNS[7]).symlink_to(mine)
    (root / "2026-01-01").symlink_to(mine.parent)
    (day / RUNS[0] / "out").symlink_to(mine)
    assert reason(root, day / RUNS[7]) == "a link, which is not followed"
    for one in ruled(root, SPEC, TODAY, root / "none"):
        assert one.stays or remove(one.folder)
    assert (mine / "precious").read_text() == "mine"
    assert not (day / RUNS[0]).exists()
    assert (day / RUNS[7]).is_symlink()


def test_a_day_that_is_empty_goes_with_its_last_run(root: Path) -> None:
    folder = next(root.glob(f"*/{RUNS[0]}"))
    assert remove(folder)
    assert not folder.parent.exists()
    assert remove(folder), "gone is gone"


CRASH = """
import os, sys
from pathlib import Path
from alphatrade.nodes import retain
left = int(sys.argv[2])

def counted(name, whole):
    def step(*given, **more):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
        return whole(*given, **more)
    return step

Path.rename = counted("rename", Path.rename)
for name in ("unlink", "rmdir"):
    setattr(os, name, counted(name, getattr(os, name)))
retain.remove(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("steps", range(7))
def test_killed_at_any_step_it_is_whole_or_finished_by_the_next_call(root: Path, steps: int) -> None:
    """A rename, three files, two folders, and the day."""
    folder = next(root.glob(f"*/{RUNS[0]}"))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", CRASH, str(folder), str(steps)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    if steps == 0:
        assert (folder / "diary" / "decisions.parquet").exists()
        assert swept(root) == []
        return
    assert not folder.exists()
    assert going(root) == RUNS[1:5], "what is half removed is no run any more"
    assert swept(root) == ([folder.with_name(f".removed-{RUNS[0]}")] if steps < 6 else [])
    assert not list(root.glob("*/.removed-*"))
    assert swept(root) == []


# -- settings and the front door


def test_the_shipped_settings_are_valid_and_can_be_replaced(tmp_path: Path) -> None:
    shipped = retention()
    assert shipped.days >= 7
    assert shipped.runs >= 10
    (tmp_path / "own.yaml").write_text("days: 3\n")
    assert retention(tmp_path / "own.yaml") == shipped.model_copy(update={"days": 3})


@pytest.mark.parametrize("text", ["days: 0", "runs: 0", "days: soon", "day: 3", "- 3", "days: [", "runs: 1.5"])
def test_settings_that_are_wrong_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ConfigError):
        retention(tmp_path / "own.yaml")


def test_the_command_changes_nothing_until_it_is_told_to(tmp_path: Path, door: Door) -> None:
    now, root = datetime.now(UTC).date(), tmp_path / "artifacts"
    folders = [made(root, days, name, today=now) for days, name in ((90, RUNS[0]), (80, RUNS[1]), (0, RUNS[2]))]
    (tmp_path / "own.yaml").write_text("runs: 1\n")
    words = ("retain", "--artifacts", str(root), "--settings", str(tmp_path / "own.yaml"))
    before = sorted(root.rglob("*"))
    told = door(*words)
    assert told.code == 0, told.err
    assert [line.split()[0] for line in told.out.splitlines()[:3]] == ["would", "would", "stays"]
    assert sorted(root.rglob("*")) == before
    assert door(*words, "--apply").code == 0
    assert [folder.exists() for folder in folders] == [False, False, True]
    again = door(*words, "--apply")
    assert again.out.splitlines()[-1] == "0.0 MB removed"


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path, door: Door) -> None:
    done = door("retain", "--artifacts", str(tmp_path / "none"))
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "artifacts" in done.err


def test_mutation_without_the_lock_a_run_that_is_written_would_go(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(root, 45, f".partial-{RUNS[7]}")
    never: Callable[[Path], bool] = lambda _: False  # noqa: E731
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert folder.name not in going(root)
        monkeypatch.setattr("alphatrade.nodes.retain.in_use", never)
        assert folder.name in going(root)
