"""Key figures: recomputed from the ledger alone, missing where it does not tell, the same bytes twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from alphatrade.reflection import kpi as module
from alphatrade.reflection.kpi import kpis, week_of
from alphatrade.reflection.kpi_page import HTML, JSON, write_kpis
from alphatrade.reflection.ledger_files import VERDICTS
from alphatrade.reflection.lineage import gap
from alphatrade.reflection.trials import read
from alphatrade.risk.errors import RunDirError
from tests.reflection.make_ledger import (
    HOUR,
    NOW,
    SEARCH,
    Cast,
    digest,
    gene,
    leaf,
    make_cast,
    outcome,
    replay,
    search,
    stage,
    verdict,
)

SECOND, WEEK = 10**9, 7 * 24 * HOUR


@pytest.fixture
def cast(tmp_path: Path) -> Cast:
    """A search of the person's, run by the service: scored after an hour, in paper after five, rolled back once."""
    cast = make_cast(tmp_path)
    ledger = cast.ledger
    ledger.append("search", search(), cast.person, NOW)
    ledger.append_batch([leaf(n) for n in range(3)], cast.service, NOW + HOUR)
    ledger.append_batch([leaf(3), leaf(4, status="killed", why="too slow")], cast.service, NOW + WEEK)
    for n, hours in ((1, 5), (2, 6)):
        ledger.append_stage(stage(n, "experiment", "paper"), cast.person, NOW + hours * HOUR, verdict(n))
    back = stage(1, "paper", "paper", noticed=str(NOW + 7 * HOUR - 90 * SECOND))
    ledger.append("stage", back, cast.person, NOW + 7 * HOUR)
    ledger.append("stage", stage(1, "paper", "experiment"), cast.service, NOW + 8 * HOUR)
    return cast


def figure(cast: Cast, words: str) -> dict[str, Any]:
    (one,) = [one for one in kpis(read(cast.ledger))["figures"] if words in one["what"]]
    return dict(one)


def told(cast: Cast, words: str) -> tuple[Any, ...]:
    one = figure(cast, words)
    return one["figure"], one["holds"], one["n"], one["missing"]


def test_the_figures_are_those_of_the_ledger(cast: Cast) -> None:
    assert told(cast, "first scored candidate") == (1.0, True, 1, 0)
    assert told(cast, "first policy in paper") == (5.0, True, 1, 0)
    assert told(cast, "came to paper") == (1.0, None, 1, 0)
    assert told(cast, "search's budget") == (0.5, True, 1, 0)
    assert told(cast, "demotion or rollback") == (90.0, None, 1, 1)
    assert told(cast, "complete lineage") == (1.0, True, 2, 0)
    assert told(cast, "experiments per person") == (2.0, False, 2, 0)
    assert told(cast, "of these failed") == (0.5, False, 2, 0)


def test_what_is_late_or_over_budget_does_not_hold(cast: Cast) -> None:
    ledger = cast.ledger
    ledger.append("search", search(search="6" * 64, spec={"parents": 1, "children": 3, "generations": 0}), cast.person, NOW)
    ledger.append_batch([leaf(n, search="6" * 64) for n in range(2)], cast.service, NOW + 25 * HOUR)
    assert told(cast, "first scored candidate") == (13.0, False, 2, 0)
    assert told(cast, "search's budget") == (1.25, False, 2, 0)
    assert told(cast, "came to paper") == (0.5, None, 2, 0)


def test_what_is_not_told_is_missing_and_no_pass(tmp_path: Path) -> None:
    cast = make_cast(tmp_path)
    for one in kpis(read(cast.ledger))["figures"]:
        assert (one["figure"], one["holds"], one["n"]) == (None, None, 0), one["what"]
    cast.ledger.append("search", search(spec={}), cast.person, NOW)
    assert told(cast, "first scored candidate") == (None, None, 0, 1)
    assert told(cast, "search's budget") == (None, None, 0, 1)
    assert told(cast, "came to paper") == (0.0, None, 1, 0)
    assert told(cast, "complete lineage") == (None, None, 0, 0)


def test_a_clock_that_goes_backwards_tells_nothing(cast: Cast) -> None:
    cast.ledger.append("search", search(search="6" * 64), cast.person, NOW + WEEK)
    cast.ledger.append_batch([leaf(n, search="6" * 64) for n in range(3)], cast.service, NOW)
    assert told(cast, "first scored candidate") == (1.0, True, 1, 1)
    assert told(cast, "first policy in paper") == (5.0, True, 1, 1), "what was promoted before it was tried here"


BREAKS: dict[str, str] = {
    "verdict gone": "expected the verdict",
    "verdict changed": "another verdict",
    "no search": "no search was entered before",
    "no trial": "no trial of it was entered before",
    "no parent": "no trial of the ancestor",
    "no founder": "has no parents and is no founder",
    "another genotype": "has another hash",
    "not scored": "was failed",
    "trial later": "no trial of it was entered before",
    "search later": "no search was entered before",
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_promotion_that_lacks_something_is_found(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cast = make_cast(tmp_path)
    ledger = cast.ledger
    founders = [digest(5)] if name == "no founder" else [gene(0)]
    leaves = [leaf(n) for n in range(3)]
    if name == "no parent":
        del leaves[0:2]
    if name == "another genotype":
        leaves[1]["genotype"] = {"n": 7}
    if name == "not scored":
        leaves[2] |= {"status": "failed", "why": "x"}
    if name not in ("no search", "search later"):
        ledger.append("search", search(founders=founders), cast.person, NOW)
    if name not in ("no trial", "trial later"):
        ledger.append_batch(leaves, cast.service, NOW)
    if name == "search later":
        ledger.append("search", search(), cast.person, NOW)
    ledger.append_stage(stage(2, "experiment", "paper"), cast.person, NOW, verdict(2))
    if name == "trial later":
        ledger.append_batch(leaves, cast.service, NOW)
    (file,) = (cast.folder / VERDICTS).iterdir()
    if name == "verdict gone":
        file.unlink()
    if name == "verdict changed":
        file.write_text(file.read_text().replace("true", "1"))
    assert told(cast, "complete lineage") == (0.0, False, 1, 0)
    (row,) = kpis(read(cast.ledger))["promotions"]
    assert any(BREAKS[name] in lack for lack in row["lacks"]), row["lacks"]
    monkeypatch.setattr(module, "gap", lambda *_: "")  # the mutations
    monkeypatch.setattr(module, "read_verdict", lambda *_: {})
    assert told(cast, "complete lineage") == (1.0, True, 1, 0)


def test_founders_may_be_named_by_genotype_or_by_hash(cast: Cast) -> None:
    other = "6" * 64
    cast.ledger.append("search", search(search=other, founders=[{"n": 0}]), cast.person, NOW)
    cast.ledger.append_batch([leaf(n, search=other, policy_hash=digest(n)) for n in range(2)], cast.service, NOW)
    book = read(cast.ledger)
    assert gap(book, digest(1), len(book.entries)) == ""
    assert gap(book, digest(7), len(book.entries)) == "no trial of it was entered before"


def test_a_service_s_trials_belong_to_who_started_the_search_else_to_whom_it_works_for(cast: Cast) -> None:
    ledger = cast.ledger
    lonely = {"name": "cron", "role": "service", "public": make_key(cast)}
    ledger.append("roster", {"add": lonely}, cast.root, NOW)
    ledger.append("trial", replay(1), cast.service, NOW)
    rows = {(one.week, one.person): one for one in module.people(read(ledger))}
    assert {person for _, person in rows} == {"person"}, "by the search, and the replay by the roster"
    week = week_of(NOW)
    assert (rows[week, "person"].trials, rows[week, "person"].faulty, rows[week, "person"].searches) == (4, 1, 1)
    done = ledger.append("trial", replay(2), KEYS["cron"], NOW)
    ledger.append("outcome", outcome(done.hash), KEYS["cron"], NOW)
    rows = {(one.week, one.person): one for one in module.people(read(ledger))}
    assert (rows[week, ""].trials, rows[week, ""].faulty) == (1, 0)
    assert figure(cast, "experiments per person")["missing"] == 1, "nobody's trial is no person's"


KEYS: dict[str, Any] = {}


def make_key(cast: Cast) -> str:
    from alphatrade.reflection.keys import SigningKey

    KEYS["cron"] = SigningKey.generate(cast.folder.parent / "cron.pem")
    return str(KEYS["cron"].public)


def test_experiments_rise_when_there_are_more_and_they_are_no_worse(cast: Cast) -> None:
    more = [leaf(n, index=n) for n in range(5, 11)]
    cast.ledger.append_batch(more, cast.service, NOW + 2 * WEEK)
    assert told(cast, "experiments per person")[:2] == (6.0, True)
    assert told(cast, "of these failed")[:2] == (0.0, True)


def test_two_runs_give_the_same_bytes_and_the_day_is_that_of_the_last_entry(cast: Cast, tmp_path: Path) -> None:
    texts = []
    for name in ("one", "two"):
        folder, _ = write_kpis(read(cast.ledger), tmp_path / name)
        assert folder.name == module.when(NOW + 8 * HOUR)[:10]
        texts.append([(folder / file).read_bytes() for file in (JSON, HTML)])
    assert texts[0] == texts[1]
    assert json.loads(texts[0][0])["trials"] == 5
    page = texts[0][1].decode()
    assert "DOES NOT HOLD" in page
    assert "figure-weeks" in page
    assert SEARCH[:12] in page
    assert write_kpis(read(cast.ledger), tmp_path / "one", "2026-03-01")[0].name == "2026-03-01"


def test_an_empty_ledger_has_a_page_and_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    book = read(make_cast(tmp_path).ledger)
    folder, _ = write_kpis(book, tmp_path / "a")
    assert "No trials yet." in (folder / HTML).read_text()
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirError, match="a writable folder"):
        write_kpis(book, tmp_path / "file")
