"""The page of the reflection job says what was proposed, how sure, what a replay measured, and why not by rule."""

import re
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from alphatrade.nodes.artifacts import Folder
from alphatrade.nodes.rim_page import PAGE, measured, write_page
from alphatrade.nodes.steps import Row
from alphatrade.reflection.feedback import Case
from alphatrade.reflection.rim.entries import Application, Ruling, Signoff
from alphatrade.reflection.rim.proposals import Proposal
from tests.conftest import ROOT
from tests.reflection.make_ledger import NOW
from tests.reflection.make_proposal import application, experiment, make_policy, proposal, ruling

SPEC = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "governance" / "default.yaml"))
ROUTE = {"kind": "route_weight", "regime": "flat-low", "tactic": "a_tactic_with_rather_a_long_name", "weight": 0.5}
REASONS = ["uplift: +0.010 bps a period, less than 0.05", "interval: its lower bound is <b>-0.1</b> bps"]
STEPS = [Row("change under way", "none", "", None), Row("proposals", "4 proposals, 4 of them new", "ridge", True)]


def case(outcome: str, rank: int = 1, **parts: Any) -> Case:
    """Return a made-up case; its replay of 60 hours gains a steady half of a basis point an hour."""
    of = experiment() if outcome == "refer" else proposal(rank, rank=rank, edit=ROUTE | {"weight": rank / 10})
    steps = {"base": [0.0] * 60, "changed": (5e-5 + 1e-5 * np.sin(np.arange(60))).tolist(), "spec": SPEC, "family": 5}
    body = ruling(of, outcome, **(steps | parts))
    return Case(Proposal.model_validate(of), 1, Ruling.model_validate(body), 2)


def make_slice() -> Any:
    rows = pd.DataFrame({
        "regime": ["flat-low"] * 3, "exec_topo": ["maker", "maker", "flat"], "fills": [2, 1, 0],
        "cost_bps": [1.0, 2.0, 0.0], **{f"markout_{h}": [4.0, np.nan, np.nan] for h in make_policy().expost.horizons},
    })  # fmt: skip
    return SimpleNamespace(run_id="ab" * 32, policy=make_policy(), span=(NOW, NOW + 10**12), rows=rows)


@pytest.fixture
def page(tmp_path: Path) -> Any:
    def made(*cases: Case, governed: bool = True) -> str:
        rows = [
            *STEPS,
            *[Row(f"{one.proposal.id[:12]} x", one.ruling.outcome, "", True) for one in cases if one.ruling],
        ]
        write_page(Folder(tmp_path), make_slice(), governed, rows, cases)
        return (tmp_path / PAGE).read_text(encoding="utf-8")

    return made


def rows_of(page: str, section: str) -> list[list[str]]:
    """Return the cells of the table of a section."""
    body = page.split(f'<section id="{section}">')[1].split("</section>")[0]
    lines = re.findall(r"<tr[^>]*>(.*?)</tr>", body.split("<tbody>")[1], re.S) if "<tbody>" in body else []
    return [[unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", line, re.S)] for line in lines]


def test_every_ruling_has_its_row(page: Any) -> None:
    cases = [case("apply"), case("signoff", 2), case("reject", 3, why=REASONS, hits=2), case("refer", 4)]
    found = rows_of(page(*cases), "rulings")
    words = ["by rule", "a person has to", "rejected", "referred to evolution"]
    assert [re.findall("<strong>(.*)</strong>", row[1]) for row in found] == [[word] for word in words]
    first, uplift = found[0], measured(cases[0].ruling)
    assert uplift is not None
    name = "1. a_tactic_with_rather_a_long_name leads in flat-low with weight 0.1"
    assert first[0] == f"{name}<br>{cases[0].proposal.id[:12]}"
    assert first[2:5] == ["75%", "+0.500", f"{uplift.mean:+.3f}"]
    assert first[5:] == [f"[{uplift.low:+.3f}, {uplift.high:+.3f}]", "60 of 60", "0"]
    assert found[2][1].split("<br>")[1:] == REASONS
    assert found[2][7] == "2"
    assert found[3][2:4] == ["–", "–"], "nobody expects anything of an experiment"


def test_what_others_wrote_is_text(page: Any) -> None:
    told = page(case("reject", 3, why=REASONS))
    assert "&lt;b&gt;-0.1" in told
    assert "<b>-0.1" not in told


def test_the_figures_show_interval_threshold_and_every_name_whole(page: Any) -> None:
    told = page(case("apply"), case("reject", 2, why=REASONS))
    assert "each bound at 99.00%" in told, "one of five together"
    assert re.search(r'"x0":\s*0.05', told), "the threshold is drawn"
    assert "1. a_tactic_with_rather_a_long_name leads in flat-low with weight 0.1" in told.replace(
        "\\u003cbr\\u003e", " "
    )
    assert told.count('id="figure-') == 2


def test_the_steps_do_not_say_the_rulings_again(page: Any) -> None:
    assert [row[0] for row in rows_of(page(case("apply")), "steps")] == [row.check for row in STEPS]


def test_a_change_that_is_applied_says_how_far(page: Any) -> None:
    one = case("apply")
    body = application(one.proposal.plain(), "shadow", share=0.0, run_id="ab" * 32, until=str(NOW))
    told = page(one._replace(applied=((3, NOW, Application.model_validate(body)),)))
    assert "<strong>by rule; now shadow</strong>" in rows_of(told, "rulings")[0][1]


@pytest.mark.parametrize(("approve", "words"), [(True, "signed off: I looked"), (False, "a person said no: I looked")])
def test_a_person_s_word_stands_beside_the_ruling(page: Any, approve: bool, words: str) -> None:
    one = case("signoff")
    word = Signoff(proposal=one.proposal.id, approve=approve, why="I looked")
    assert rows_of(page(one._replace(signoff=word)), "rulings")[0][1].split("<br>")[-1] == words


def test_nothing_proposed_and_nothing_replayed_are_said(page: Any) -> None:
    assert page().count("Nothing was proposed.") == 4
    told = page(case("reject", base=[], changed=[], window=None, why=["hashes: another code"]))
    assert told.count("Nothing was replayed: the reasons are above.") == 2
    assert rows_of(told, "rulings")[0][2:] == ["75%", "+0.500", "–", "–", "–", "–"]


@pytest.mark.parametrize("governed", [True, False])
def test_the_flag_is_on_the_page(page: Any, governed: bool) -> None:
    assert ("governed_feedback off: nothing is applied by rule" in page(governed=governed)) is not governed


def test_the_rule_shows_every_threshold_of_a_ruling(page: Any) -> None:
    told = " ".join(cell for row in rows_of(page(case("apply")), "rule") for cell in row)
    for word in (
        "0.05 bps",
        "99.00%",
        "95%",
        "40 whole hours",
        "12 of them",
        "3600 s",
        "1 a day",
        "20%",
        "10%",
        "paper",
    ):
        assert word in told, word
