"""Rules of alerts that are not as they should be: one line that names file and reason, before a Prometheus is given them."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alphatrade.nodes import rules
from alphatrade.nodes.app import app
from alphatrade.nodes.rules import check
from alphatrade.risk.errors import ConfigError
from benchmarks.drills import __main__ as drills
from benchmarks.drills import alerts, watching
from tests.conftest import ROOT

with_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's package prometheus")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(watching.RULES, tmp_path / "rules"))


def refused(folder: Path) -> str:
    with pytest.raises(ConfigError) as told:
        check(folder)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_ours_are_sound_and_the_command_says_so() -> None:
    found, parsed = check(watching.RULES)
    assert {rule.name for rule in found if "alert" in rule.body} == set(watching.rules())
    assert parsed == (shutil.which("promtool") is not None)
    done = CliRunner().invoke(app, ["alarms", "check", str(watching.RULES)])
    assert (done.exit_code, done.stdout.startswith(f"{len(watching.rules())} alerts and ")) == (0, True)


def instead(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert text.count(old) == 1
        return text.replace(old, new)

    return change


LATE = "alphatrade_loop_lag_seconds > 2"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: text.index("summary: node {{")] + "summary: [", ["YAML"]),
        (lambda _: "\t", ["YAML"]),
        (lambda _: "", ["the file", "groups"]),
        (lambda _: "groups: 7", ["groups", "a list"]),
        (lambda _: "groups: [{name: a, rules: [7]}]", ["a rule"]),
        (instead("groups:", "grups:"), ["grups", "groups"]),
        (instead(f"expr: {LATE}", f"exprs: {LATE}"), ["LateLoop", "exprs", "a known key"]),
        (instead(f"        expr: {LATE}\n", ""), ["LateLoop", "expr"]),
        (instead("alert: LateLoop", "record: LateLoop"), []),
        (instead(LATE, "alphatrade_loop_lag > 2"), ["LateLoop", "alphatrade_loop_lag'", "a node has"]),
        (instead(LATE, "alphatrade:made_up:5m > 10"), ["LateLoop", "alphatrade:made_up:5m"]),
        (instead("        labels: {severity: page}\n        annotations:\n          summary: node", "        annotations:\n          summary: node"), ["DeadNode", "severity"]),
        (instead("        for: 30s\n        labels: {severity: page}\n        annotations:\n          summary: node", "        labels: {severity: urgent}\n        annotations:\n          summary: node"), ["DeadNode", "urgent", "page, ticket, watchdog"]),
        (instead("          runbook: docs/playbook.md#dead-node\n", ""), ["DeadNode", "runbook"]),
        (instead("runbook: docs/playbook.md#dead-node", "runbook: ''"), ["DeadNode", "runbook"]),
        (instead("docs/playbook.md#dead-node", "docs/playbook.md#dead-node\n        labels: 7"), ["DeadNode"]),
    ],
)  # fmt: skip
def test_each_fault_is_one_line_with_file_and_reason(folder: Path, change: Callable[[str], str], words: list[str]) -> None:
    file = folder / "node.yml"
    file.write_text(change(file.read_text()))
    told = refused(folder)
    assert told.startswith(str(file))
    assert [word for word in words if word not in told] == []


@with_promtool
@pytest.mark.parametrize("new", ["abs( - alphatrade_loop_lag_seconds > 2", "alphatrade_loop_lag_seconds > 2\n        keep_firing_for: soon"])
def test_what_only_promtool_knows_is_a_line_too(folder: Path, new: str) -> None:
    file = folder / "node.yml"
    file.write_text(instead(LATE, new)(file.read_text()))
    told = refused(folder)
    assert told.startswith(f"{file}, promtool: got ")
    assert ("soon" if "soon" in new else "parse error") in told


def test_without_promtool_all_else_is_looked_at_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules.shutil, "which", lambda _: None)
    done = CliRunner().invoke(app, ["alarms", "check", str(watching.RULES)])
    assert done.exit_code == 0
    assert "promtool is not installed" in done.stdout


@pytest.mark.parametrize("what", ["nothing", "file", "empty", "bytes", "folder"])
def test_a_folder_without_rules_that_can_be_read_is_refused(tmp_path: Path, what: str) -> None:
    place = tmp_path / "rules"
    if what == "file":
        place.write_text("groups: []")
    elif what != "nothing":
        place.mkdir()
    if what == "bytes":
        (place / "a.yml").write_bytes(b"\xff\xfe")
    elif what == "folder":
        (place / "a.yml").mkdir()
    assert str(place) in refused(place)


def test_the_command_is_one_line_and_exit_code_2(folder: Path) -> None:
    (folder / "slo.yml").write_text("groups: [")
    command = [sys.executable, "-m", "alphatrade", "alarms", "check", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"alphatrade: {folder / 'slo.yml'}, YAML, line 1: ")


@pytest.mark.parametrize(("only", "code"), [("alerts", 2), ("kill", 0)])
def test_drills_say_so_before_anything_is_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], only: str, code: int
) -> None:
    (folder / "node.yml").write_text("groups: 7")
    monkeypatch.setattr(drills, "RULES", folder)
    monkeypatch.setattr(sys, "argv", ["drills", "--only", only, "--out", str(folder / "out.json")])
    started: list[str] = []
    monkeypatch.setattr(drills, "carried_out", lambda drill, *_: started.append(drill.name))
    monkeypatch.setattr(drills, "shown", lambda *_: True)
    monkeypatch.setattr(alerts, "fired", lambda *_: pytest.fail("a drill began"))
    assert drills.main() == code
    assert (started, capsys.readouterr().err.count("\n")) == ([] if code else [only], 1 if code else 0)


@pytest.mark.skipif(bool(watching.missing()), reason="needs the Debian packages prometheus and prometheus-alertmanager")
@pytest.mark.parametrize("config", ["prometheus/prometheus.yml", "alertmanager.yml"])
def test_a_server_that_does_not_start_is_told_at_once_with_what_it_said(tmp_path: Path, config: str) -> None:
    ear = watching.Ear()
    watch = watching.Watch(tmp_path, ear, "127.0.0.1:1")
    with watch.running():
        pass
    file = tmp_path / config
    file.write_text("nonsense: 1")
    with pytest.raises(ConfigError, match=f"{file.name}: got .*nonsense"), watch.running():
        pytest.fail("it runs")
    ear.deaf()
