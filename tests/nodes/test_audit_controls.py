"""The control map names code that is there and tests that are there; what is amiss is told."""

import ast
import copy
import json
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from alphatrade.nodes.audit import controls as module
from alphatrade.nodes.audit.assessment import amiss
from alphatrade.nodes.audit.controls import Control, controls, drilled, mapped
from tests.conftest import ROOT

TODAY = date(2026, 11, 27)
LIVE = {f"live.{name}" for name in ("cycles", "attempts", "caps", "kill", "rollback", "archive")}


def test_every_symbol_is_there() -> None:
    for control in controls():
        for name in control.code:
            where, _, what = name.partition(":")
            assert hasattr(import_module(where), what), f"{control.article}: {name}"


def test_every_test_is_there() -> None:
    for test in {test for control in controls() for test in control.tests}:
        file, _, name = test.partition("::")
        body = ast.parse((ROOT / file).read_text("utf-8")).body
        assert not name or name in {one.name for one in body if isinstance(one, ast.FunctionDef)}, test


def test_the_articles_are_there_and_each_control_is_shown() -> None:
    articles = {(one.regulation, one.article) for one in controls()}
    for wanted in (
        "9(1)(a)",
        "9(1)(b)",
        "9(1)(c)",
        "12(1)",
        "12(3)",
        "15(1)(a)",
        "15(1)(b)-(c)",
        "15(1)(d)",
        "15(2)",
        "15(3)",
    ):
        assert ("RTS 6", wanted) in articles
    for wanted in ("(c)(1)(i)", "(c)(1)(ii)", "(c)(2)(i)", "(c)(2)(ii)", "(c)(2)(iii)", "(d)", "(e)"):
        assert ("SEC 15c3-5", wanted) in articles
    assert [one.article for one in controls() if not one.code or not one.tests] == []


def test_every_drill_is_one_that_can_be_carried_out() -> None:
    from benchmarks.drills.__main__ import DRILLS

    known = {f"drill.{one.name}" for one in DRILLS} | LIVE
    assert {one.drill for one in controls()} - {""} <= known


def test_a_drill_that_there_was_not_is_never_and_a_failed_one_is_said(tmp_path: Path) -> None:
    rows = [
        {
            "id": "drill.kill",
            "figure": 12.5,
            "unit": "ms",
            "holds": True,
            "measured_at": "2026-11-20T10:00:00Z",
            "trials": [1],
        },
        {"id": "drill.flood", "figure": 1, "unit": "ms", "holds": False, "measured_at": "2026-11-20T10:00:00Z"},
    ]
    (tmp_path / "drills").mkdir()
    (tmp_path / "drills" / "drills.json").write_text(json.dumps(rows))
    last = {one["drill"]: one["last"] for one in mapped(drilled(tmp_path))}
    assert last["drill.kill"] == {"when": "2026-11-20T10:00:00Z", "figure": "12.5 ms", "holds": True}
    assert last["drill.flood"]["holds"] is False
    assert last["live.attempts"] == {"when": module.NEVER, "figure": "", "holds": None}
    assert last[""] == {}
    (tmp_path / "drills" / "drills.json").write_text("half")
    assert drilled(tmp_path) == []


def test_a_row_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValueError, match="Extra inputs"):
        Control.model_validate({"regulation": "x", "article": "y", "asks": "", "control": "", "when": "now"})


LAST = {"when": "2026-11-20T10:00:00Z", "figure": "1 ms", "holds": True}
CONTROL = {"regulation": "RTS 6", "article": "12", "control": "kill", "lacks": "", "last": LAST}
DOSSIER = {"dossier": f"dossiers/{'d' * 64}.zip", "refused": [], "drill": ""}
GOOD: dict[str, Any] = {
    "people": [{"name": "ada", "role": "person"}, {"name": "ben", "role": "person"}, {"name": "machine", "role": "service"}],
    "in_charge": {"paper": "a" * 64}, "moves": [{"seq": 4, "to": "paper", "dossier": "d" * 64}], "validation": [DOSSIER],
    "runs": [{"run": "r", "audit": True, "killed": ""}], "controls": [CONTROL], "left_out": ["3 replays"],
    "permits": [{"id": "e" * 64, "wrong": []}], "unreadable": 0,
}  # fmt: skip
WRONG = {
    "no two can sign": lambda told: told["people"].pop(0),
    "nobody is in charge of paper": lambda told: told["in_charge"].update(paper=""),
    "is not at hand": lambda told: told["validation"].clear(),
    "check costs does not hold": lambda told: told["validation"][0].update(refused=["costs"]),
    "kill drill: not flat": lambda told: told["validation"][0].update(drill="not flat"),
    "the auditor finds": lambda told: told["runs"][0].update(audit=False),
    "run r: stopped, DRAWDOWN": lambda told: told["runs"][0].update(killed="DRAWDOWN"),
    "cannot be read": lambda told: told["left_out"].append("x: cannot be read: y"),
    "not finished": lambda told: told["left_out"].append("x: not finished"),
    "kill: nobody has looked": lambda told: told["controls"][0].update(lacks="nobody has looked"),
    "permit eeeeeeeeeeee: LOSS_CAP": lambda told: told["permits"][0].update(wrong=["LOSS_CAP used to 110%"]),
    "reconciliation cannot be read": lambda told: told.update(unreadable=1),
    "never drilled": lambda told: told["controls"][0].update(last=LAST | {"when": module.NEVER, "holds": None}),
    "has failed": lambda told: told["controls"][0].update(last=LAST | {"holds": False}),
    "is too long ago": lambda told: told["controls"][0].update(last=LAST | {"when": "2025-11-20T10:00:00Z"}),
}


def test_what_is_amiss_is_said() -> None:
    assert amiss(GOOD, TODAY) == []
    for words, change in WRONG.items():
        told = copy.deepcopy(GOOD)
        change(told)
        (line,) = amiss(told, TODAY)
        assert words in line
