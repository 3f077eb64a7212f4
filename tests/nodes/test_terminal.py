"""What others have written reaches the terminal as it is written: brackets are no markup, colons no pictures."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.table import Table

from alphatrade.evolution.promotion import Checked, Verdict
from alphatrade.nodes import graph, show, show_search, terminal
from alphatrade.nodes.judge import Judged
from alphatrade.nodes.red_team import Check, Outcome
from alphatrade.nodes.steps import Row
from tests.conftest import ROOT

FOREIGN = "[/x] [bold]y[/bold] :warning:"


def test_a_table_shows_text_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(FOREIGN, "second", title=FOREIGN)
    table.add_row(FOREIGN, "1")
    terminal.console(wide=True).print(table)
    terminal.console().print(FOREIGN)
    assert capsys.readouterr().out.count(FOREIGN) == 4


def test_there_is_no_other_console() -> None:
    """Mutation: a module with a console of its own is found."""
    own = [
        path.name
        for path in sorted((ROOT / "nodes").glob("*.py"))
        if re.search(r"\bConsole\)?\(|\(Console\)", path.read_text())
    ]
    assert own == ["terminal.py"]


@pytest.mark.parametrize("words", [("status",), ("runs", "--artifacts", ".")])
def test_a_reader_that_goes_away_first_is_no_error(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Its end of the pipe is closed before anything is written."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", "from alphatrade.nodes.app import command; command()", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "ALPHATRADE_STATE": str(tmp_path)}
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, env=env, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_verdicts_and_searches_show_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    row = Checked(name="lineage", figure=FOREIGN, target="none", holds=False, why=FOREIGN, exact=True)
    verdict = Verdict(policy_hash="0" * 64, spec_hash="0" * 64, evidence_hash="0" * 64, checks=(row,))
    show_search.show_verdict(Judged(verdict, False, Path("dossier"), False, Path(FOREIGN)))
    assert capsys.readouterr().out.count(FOREIGN) == 3
    trial = {"genotype_hash": "a", "fitness": 1.0, "generation": 0, "lineage": {"operator": FOREIGN, "words": FOREIGN}}
    summary = {"best": ["a"], "trials": 1, "replays": 1, "grid": 1, "digest": "d"}
    monkeypatch.setattr(show_search, "load_search", lambda *_: (summary, [trial]))
    monkeypatch.setattr(show_search, "write_search", lambda *_: FOREIGN)
    show_search.show_search(Path("folder"))
    assert capsys.readouterr().out.count(FOREIGN) == 3


def test_jobs_and_the_red_team_show_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    show.show_rows(tmp_path, [Row(FOREIGN, FOREIGN, FOREIGN, False)])
    assert capsys.readouterr().out.count(FOREIGN) == 3
    show.show_red_team(tmp_path, [Outcome("one", FOREIGN, "", (Check("law", FOREIGN, FOREIGN, False),))])
    assert capsys.readouterr().out.count(FOREIGN) == 4


def test_a_run_and_its_graph_show_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    told: Any = {"run_id": "r", "topologies_used": {FOREIGN: {"decisions": 1, "fills": 1}}}
    monkeypatch.setattr(show, "_lines", lambda _: [("tape", FOREIGN)])
    show.show_result(SimpleNamespace(summary=told, path=Path(FOREIGN)))  # type: ignore[arg-type]
    assert capsys.readouterr().out.count(FOREIGN) == 3
    monkeypatch.setattr(graph, "facts", lambda _: [[FOREIGN, *[""] * (len(graph.HEAD) - 1)]])
    graph._show(terminal.console(wide=True), FOREIGN, SimpleNamespace(alerts=[FOREIGN]))  # type: ignore[arg-type]
    assert capsys.readouterr().out.count(FOREIGN) == 3
