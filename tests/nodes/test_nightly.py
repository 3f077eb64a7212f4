"""The nightly and the weekly job: idempotent, each check isolated, a kill -9 in the middle does no harm."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from alphatrade.nodes import nightly as module
from alphatrade.nodes import run as simulate
from alphatrade.nodes import weekly as weekly_module
from alphatrade.nodes.app import app
from alphatrade.nodes.artifacts import recent_runs
from alphatrade.nodes.nightly import drift, graph, last_day, nightly
from alphatrade.nodes.red_team_tapes import BEGIN, SECOND, market
from alphatrade.nodes.settings import Settings, compose_settings
from alphatrade.nodes.steps import Row, isolated
from alphatrade.nodes.tape import Tape
from alphatrade.nodes.weekly import weekly
from alphatrade.reflection import coverage as coverage_module
from alphatrade.risk.errors import RunDirError
from alphatrade.risk.law import Law
from alphatrade.risk.limits import ALLOWED

DAY = 86_400 * SECOND
WORLD = ("tape=world", "tape.hours=4", "policy.cadence.n=10", "output.report=false")


def words(tmp: Path, state: Path) -> list[str]:
    return [f"paths.artifacts={tmp}", f"paths.state={state}"]


def settings(tmp: Path, state: Path, *overrides: str) -> Settings:
    return compose_settings([*words(tmp, state), *overrides])


def by_name(rows: list[Row]) -> dict[str, Row]:
    return {row.check: row for row in rows}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nights")


@pytest.fixture(scope="module")
def first(artifacts: Path, state_dir: Path) -> tuple[Path, list[Row]]:
    return nightly(settings(artifacts, state_dir))


def test_the_last_day_of_the_embedded_tape_is_replayed(first: tuple[Path, list[Row]]) -> None:
    path, _ = first
    found = json.loads((path / "nightly.json").read_text())
    assert (found["from"], found["to"]) == ("2026-08-30T00:01:00Z", "2026-08-31T00:00:00Z")
    assert {row["check"] for row in found["rows"]} == {
        "replay", "audit", "coverage", "same digests as before", "graph", "drift", "reflection",
    }  # fmt: skip
    rows = {row["check"]: row for row in found["rows"]}
    assert all(rows[name]["holds"] for name in ("replay", "audit", "drift", "reflection"))
    assert (path.parent / "rim" / "index.html").is_file()
    assert rows["same digests as before"]["holds"] is None, "there was no job before it"
    assert rows["graph"]["holds"] is None
    assert "1,440 events" in rows["replay"]["result"]
    assert "no σ: fast_weights off" in rows["graph"]["result"]


def test_the_page_is_self_contained_and_its_links_lead_somewhere(first: tuple[Path, list[Row]]) -> None:
    path, _ = first
    page = (path / "index.html").read_text()
    links = re.findall(r'href="([^"]+)"', page)
    assert "run/report.html" in links
    assert [link for link in links if not (path / link).exists()] == []
    assert "<script src" not in page
    assert len(page) < 100_000, "without figures there is no need for what draws them"


def test_twice_is_the_same_and_replaces_the_folder_whole(
    first: tuple[Path, list[Row]], artifacts: Path, state_dir: Path
) -> None:
    path, _ = first
    before = (path / "nightly.json").read_bytes()
    (path / "stray.txt").write_text("of the first time")
    again, rows = nightly(settings(artifacts, state_dir))
    assert again == path
    rows_before = {row["check"]: row for row in json.loads(before)["rows"]}
    assert by_name(rows)["same digests as before"].holds, "now there is one before it"
    compared = set(rows_before) - {"coverage", "same digests as before", "reflection"}
    assert ", 0 of them new" in by_name(rows)["reflection"].result
    assert {row.check: row._asdict() for row in rows if row.check in compared} == {
        name: rows_before[name] for name in compared
    }
    assert json.loads((path / "nightly.json").read_bytes())["digests"] == json.loads(before)["digests"]
    third, _ = nightly(settings(artifacts, state_dir))
    assert not (third / "stray.txt").exists()
    assert [item.name for item in path.parent.iterdir() if item.name != "rim"] == ["nightly"], (
        "no link, nothing half written"
    )
    assert not (artifacts / "latest").exists()


@pytest.mark.long
def test_other_digests_of_the_same_replay_are_noticed(
    first: tuple[Path, list[Row]], artifacts: Path, state_dir: Path
) -> None:
    path, _ = first
    told = json.loads((path / "nightly.json").read_text())
    told["digests"]["fills"] = "0" * 64
    (path / "nightly.json").write_text(json.dumps(told))
    row = by_name(nightly(settings(artifacts, state_dir))[1])["same digests as before"]
    assert row.holds is False
    assert row.detail == "DIFFERENT fills"
    other = by_name(nightly(settings(artifacts, state_dir, "seed=2", "output.report=false"))[1])
    assert other["same digests as before"].holds is None, "another run has nothing to be compared with"


# -- isolation


@pytest.mark.long
def test_a_step_that_cannot_be_made_is_a_failed_row_and_the_others_go_on(
    tmp_path: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Path) -> Any:
        raise RunDirError("orders.parquet", "half a file", "a whole one")

    monkeypatch.setattr(module, "audit", broken)
    path, rows = nightly(settings(tmp_path, state_dir, *WORLD))
    found = by_name(rows)
    assert found["audit"] == Row(
        "audit", "not possible", "orders.parquet: got 'half a file', expected a whole one", False
    )
    assert not any(row.holds is False for name, row in found.items() if name != "audit")
    assert "DOES NOT HOLD" in (path / "index.html").read_text()


def test_without_a_tape_everything_that_needs_it_fails_and_the_page_says_so(tmp_path: Path, state_dir: Path) -> None:
    done = CliRunner().invoke(
        app, ["nightly", *words(tmp_path, state_dir), "tape=file", f"tape.path={tmp_path}/none.csv"]
    )
    assert done.exit_code == 1
    (page,) = tmp_path.glob("*/nightly/index.html")
    found = json.loads(page.with_name("nightly.json").read_text())
    assert not found["holds"]
    rows = {row["check"]: row["holds"] for row in found["rows"]}
    assert not any(rows[name] for name in ("replay", "audit", "coverage", "same digests as before"))


def test_the_night_starts_with_what_is_in_force(
    tmp_path: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every node does; without a tape, as only the policy's hash is looked at."""
    own, other = (
        settings(tmp_path, state_dir, "tape=file", f"tape.path={tmp_path}/none.csv", *more)
        for more in ((), ("policy/risk=tight",))
    )
    monkeypatch.setattr(module, "taken_up", lambda asked: other if asked == own else asked)
    path, _ = nightly(own)
    assert (
        json.loads((path / "nightly.json").read_text())["policy_hash"]
        == other.policy.policy_hash
        != own.policy.policy_hash
    )


def test_an_error_of_ours_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        isolated("x", lambda: Row("x", str(1 // 0), "", True))


@pytest.mark.long
def test_a_violation_fails_the_job(tmp_path: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tight = [*words(tmp_path, state_dir), *WORLD, "policy.risk.instrument_max=0.001"]
    assert CliRunner().invoke(app, ["nightly", *tight]).exit_code == 0
    monkeypatch.setattr(Law, "_measure", lambda *_: ALLOWED)
    done = CliRunner().invoke(app, ["nightly", *tight])
    assert done.exit_code == 1
    assert "INSTRUMENT_EXPOSURE" in done.output


def test_missing_data_fails_the_job(tmp_path: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage_module, "DIARY_TARGET", 1.1)
    done = CliRunner().invoke(app, ["nightly", *words(tmp_path, state_dir), *WORLD])
    assert done.exit_code == 1
    assert "missing data: diary coverage" in " ".join(done.output.split())


def test_drift_and_graph_are_told_where_they_are(tmp_path: Path) -> None:
    assert drift(tmp_path, False).holds is None
    assert isolated("drift", lambda: drift(tmp_path, True)).holds is False, "a report that is asked for has to be there"
    (tmp_path / "drift.json").write_text(json.dumps({"signals": {"alert": 2, "flat": 0}}))
    (tmp_path / "packets").mkdir()
    (tmp_path / "packets" / "p-1.json").write_text("{}")
    assert drift(tmp_path, True) == Row("drift", "2 alert, 0 flat", "p-1.json", True)
    (tmp_path / "drift.json").write_text("{half")
    assert not isolated("drift", lambda: drift(tmp_path, True)).holds
    assert graph(tmp_path, False).holds is None
    assert not isolated("graph", lambda: graph(tmp_path, True)).holds, "a graph that is asked for has to be there"


# -- the day


def quotes(first_s: int, last_s: int, step: int = 60) -> Tape:
    tape = market(2, 1).tape("x")
    ts = BEGIN + np.arange(first_s, last_s + 1, step, dtype=np.int64) * SECOND
    columns = {name: np.full(len(ts), array[0], np.int64) for name, array in tape.columns.items()} | {"ts": ts}
    return replace(tape, columns=columns, stale_after_s=60.0)


def test_the_last_whole_day() -> None:
    hour, day = 3600, 86_400
    assert last_day(quotes(0, 3 * day - 60)) == (BEGIN + 2 * DAY, BEGIN + 3 * DAY), (
        "whole as far as a reference may be old"
    )
    assert last_day(quotes(0, 3 * day - 2 * hour)) == (BEGIN + DAY, BEGIN + 2 * DAY)
    assert last_day(quotes(hour, 2 * day + hour)) == (BEGIN + DAY, BEGIN + 2 * DAY)
    whole = quotes(hour, day - 2 * hour)
    assert last_day(whole) == (whole.span[0], whole.span[1] + 1), "no whole day: everything"
    both = [quotes(0, day - 60).columns["ts"], quotes(3 * day, 3 * day + 60).columns["ts"]]
    gap = quotes(0, 60)
    flat = {name: np.full(sum(map(len, both)), array[0], np.int64) for name, array in gap.columns.items()}
    weekend = replace(gap, columns=flat | {"ts": np.concatenate(both)})
    assert last_day(weekend) == (BEGIN, BEGIN + DAY), "days without a row are passed over"


@pytest.mark.long
def test_a_part_that_was_asked_for_is_replayed_as_it_is(tmp_path: Path, state_dir: Path) -> None:
    part = ("tape.start='2026-08-20'", "tape.end='2026-08-20T12:00'", "output.report=false")
    path, _ = nightly(settings(tmp_path, state_dir, *part))
    found = json.loads((path / "nightly.json").read_text())
    assert found["from"] == "2026-08-20T00:00:00Z"


# -- kill -9


@pytest.mark.long
def test_a_kill_in_the_middle_does_no_harm(tmp_path: Path, state_dir: Path, door_env: dict[str, str]) -> None:
    world = ["tape=world", "tape.hours=20", "policy.cadence.n=10", "output.report=false"]
    calm, _ = nightly(settings(tmp_path / "calm", state_dir, *world))
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "alphatrade", "nightly", *words(killed, state_dir), *world, "output.flush_rows=64"]
    for _ in range(2):
        job = subprocess.Popen(command, env=door_env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not list(killed.glob("*/.partial-nightly/run/diary/*")) and time.monotonic() < deadline:
            assert job.poll() is None, "it must not have finished"
            time.sleep(0.01)
        os.kill(job.pid, signal.SIGKILL)
        job.wait()
        assert not list(killed.glob("*/nightly")), "nothing half made under the final name"
    path, _ = nightly(settings(killed, state_dir, *world))
    assert [item.name for item in path.parent.iterdir() if item.name != "rim"] == ["nightly"]
    told = [json.loads((folder / "nightly.json").read_text()) for folder in (calm, path)]
    for one in told:  # the reflection job counts what is new in the ledger, and the calm night was there before
        (reflection,) = [row for row in one["rows"] if row["check"] == "reflection"]
        reflection["result"] = re.sub(r"\d+ of them new", "", reflection["result"])
    assert told[0] == told[1]


# -- weekly


@pytest.fixture
def short_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    real = weekly_module.red_team
    monkeypatch.setattr(weekly_module, "red_team", lambda settings: real(settings, only=["crossed_book"]))


@pytest.mark.long
@pytest.mark.usefixtures("short_attack")
def test_the_week_is_audited_run_by_run(tmp_path: Path, state_dir: Path) -> None:
    fixed = [*words(tmp_path, state_dir), *WORLD, "output.stress=false"]
    good, bad = simulate(fixed), simulate([*fixed, "seed=2"])
    old = tmp_path / "2020-01-01"
    old.mkdir()
    (good.path.parent / "2019").mkdir()
    nightly(settings(tmp_path, state_dir, *WORLD))
    assert len(recent_runs(tmp_path, 7)) == 3, "the runs and the nightly one, each once"
    (bad.path / "fills.parquet").write_bytes(b"PAR1")
    path, rows = weekly(settings(tmp_path, state_dir, *WORLD))
    found = by_name(rows)
    assert found["red team"].holds
    day = good.path.parent.name
    assert found[f"audit {day}/{good.path.name}"].holds
    assert found[f"audit {day}/nightly/run"].holds
    assert not found[f"audit {day}/{bad.path.name}"].holds
    assert json.loads((path / "weekly.json").read_text())["holds"] is False
    assert "../red-team/red-team.html" in (path / "index.html").read_text()


@pytest.mark.long
@pytest.mark.usefixtures("short_attack")
def test_a_week_without_runs_makes_one(tmp_path: Path, state_dir: Path) -> None:
    done = CliRunner().invoke(app, ["weekly", *words(tmp_path, state_dir), *WORLD])
    assert done.exit_code == 0, done.output
    assert "fresh run" in done.output
    assert len(recent_runs(tmp_path, 7)) == 1
