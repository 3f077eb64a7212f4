"""What counts as a trial: leaves and entries, by search and tape; looks by time; bodies that are not well formed."""

import math
import time
from pathlib import Path
from typing import Any

import pytest

from alphatrade.reflection.ledger_bodies import BODIES, Body, checked
from alphatrade.reflection.ledger_chain import MAY, Chain, sealed
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.ledger_files import BATCHES, FILE
from alphatrade.reflection.trials import read, sharpes, unentered
from alphatrade.risk.errors import LedgerError
from tests.reflection.make_ledger import (
    BTC,
    HOUR,
    NOW,
    SEARCH,
    TAPE,
    Cast,
    digest,
    leaf,
    look,
    make_cast,
    outcome,
    replay,
    search,
    stage,
)  # fmt: skip

OTHER = "6" * 64


@pytest.fixture
def cast(tmp_path: Path) -> Cast:
    """A search with five trials, another on another tape with two, a manual replay of each and one look."""
    cast = make_cast(tmp_path)
    ledger = cast.ledger
    ledger.append("search", search(), cast.person, NOW)
    ledger.append_batch([leaf(n) for n in range(4)], cast.service, NOW)
    ledger.append("trial", leaf(4), cast.service, NOW)
    ledger.append("search", search(search=OTHER, tapes={BTC: digest(9)}), cast.service, NOW)
    ledger.append_batch([leaf(n, search=OTHER) for n in range(2)], cast.service, NOW)
    ledger.append("look", look(), cast.service, NOW)
    done = ledger.append("trial", replay(1), cast.service, NOW)
    ledger.append("outcome", outcome(done.hash), cast.service, NOW)
    ledger.append("trial", replay(2, concerns=[OTHER], tapes={BTC: digest(9)}), cast.person, NOW)
    return cast


def test_every_trial_is_counted_where_it_belongs(cast: Cast) -> None:
    book = read(cast.ledger)
    assert len(book.trials) == cast.ledger.chain.trials == verify(cast.folder).trials == 9
    assert len(book.of_search(SEARCH)) == 6, "five of its own, and the replay on its grid"
    assert len(book.of_search(OTHER)) == 3
    assert len(book.of_tapes([TAPE])) == 6
    assert len(book.of_tapes([digest(9)])) == 3
    assert len(book.of_tapes([TAPE, digest(9)])) == 9
    assert len(book.of_tapes([digest(8)])) == 1, "the manual replay of that very tape"
    assert book.of_tapes([digest(77)]) == ()
    assert set(book.searches) == {SEARCH, OTHER}


def test_sharpe_ratios_are_those_of_the_returns(cast: Cast) -> None:
    book = read(cast.ledger)
    assert [trial.sharpe for trial in book.trials[:2]] == pytest.approx([0.0015 / (0.0005 * math.sqrt(2)), 0.002 / (0.001 * math.sqrt(2))])
    manual = book.trials[-2]
    assert manual.returns == (0.001, 0.002, 0.0)
    assert manual.sharpe == pytest.approx(1.0)
    assert book.trials[-1].sharpe is None, "its outcome is not known"
    assert len(sharpes(book.trials)) == 8
    flat = leaf(5)
    flat["cells"][0]["returns"] = [0.0, 0.0]
    cast.ledger.append("trial", flat, cast.service, NOW)
    assert read(cast.ledger).trials[-1].sharpe is None


def test_looks_are_found_by_the_time_that_they_share(cast: Cast) -> None:
    book = read(cast.ledger)
    for span, there in (((4, 5), 1), ((0, 4), 0), ((5, 6), 0), ((0, 24), 1), ((4, 4), 0)):
        start, end = (NOW + hour * HOUR for hour in span)
        assert len(book.looks_at(TAPE, (start, end))) == there, span
    assert book.looks_at(digest(9), (NOW, NOW + 9 * HOUR)) == ()


def test_what_is_faulty_is_told(cast: Cast) -> None:
    ledger = cast.ledger
    broken = leaf(7)
    broken["cells"][0]["violations"] = 2
    ledger.append_batch([leaf(6, status="killed", why="timeout"), broken], cast.service, NOW)
    book = read(ledger)
    assert [trial.faulty for trial in book.trials] == [False] * 8 + [True] * 3
    assert book.trials[-1].violations == 2


def test_ten_thousand_trials_are_read_in_seconds(cast: Cast) -> None:
    ledger = cast.ledger
    for generation in range(10):
        ledger.append_batch([leaf(n, generation=generation, index=n) for n in range(1000)], cast.service, NOW)
    started = time.perf_counter()
    book = read(ledger)
    took = time.perf_counter() - started
    assert len(book.of_tapes([TAPE])) == 10_006
    assert len(sharpes(book.trials)) == 10_008
    assert took < 5, f"{took:.2f} s"


def test_a_batch_that_was_changed_counts_nothing(cast: Cast) -> None:
    path = cast.folder / BATCHES / f"{cast.ledger.entries()[4].body['root']}.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":2'))
    with pytest.raises(LedgerError, match="other trials"):
        read(cast.ledger)


def test_an_outcome_belongs_to_one_replay_once(cast: Cast) -> None:
    done = cast.ledger.append("trial", replay(3), cast.service, NOW)
    cast.ledger.append("outcome", outcome(done.hash), cast.service, NOW)
    for trial in (done.hash, digest(5), cast.ledger.entries()[5].hash):
        with pytest.raises(LedgerError, match="whose outcome is not known yet"):
            cast.ledger.append("outcome", outcome(trial), cast.service, NOW)


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown field": ("search", search(colour="red"), "search.colour"),
    "no cells": ("search", search(cells=[]), "search.cells"),
    "a cell without a tape": ("search", search(tapes={"ETH": TAPE}), f"a tape for {BTC}"),
    "a number as time": ("look", look(spans=[[1, 2]]), "look.spans"),
    "a span that ends before": ("look", look(spans=[["5", "5"]]), "a start before its end"),
    "no spans": ("look", look(spans=[]), "look.spans"),
    "no hash": ("look", look(policy_hash="abc"), "look.policy_hash"),
    "a hash in capitals": ("look", look(policy_hash="A" * 64), "look.policy_hash"),
    "a text as count": ("trial", leaf(generation="1"), "trial.generation"),
    "a truth as count": ("trial", leaf(generation=True), "trial.generation"),
    "unknown status": ("trial", leaf(status="fine"), "trial.status"),
    "killed without a reason": ("trial", leaf(status="killed"), "a reason"),
    "a cell that misses returns": ("trial", leaf(cells=[{}]), "trial.cells.0"),
    "a replay of nothing": ("trial", replay(concerns=[]), "trial.concerns"),
    "an empty trial": ("trial", {}, "trial.search"),
    "a batch of none": ("batch", {"n": 0, "root": "0" * 64}, "batch.n"),
    "a batch with a note": ("batch", {"n": 1, "root": "0" * 64, "note": ""}, "batch.note"),
    "half a stage": ("stage", {"policy_hash": digest(1)}, "stage.from"),
    "a roster of both": ("roster", {"add": {}, "revoke": "service"}, "either add or revoke"),
    "an outcome without returns": ("outcome", {"trial": digest(1)}, "outcome.decisions"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_body_that_is_not_well_formed_is_refused_by_writer_and_reader(
    cast: Cast, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, body, message = WRONG[name]
    before = (cast.folder / FILE).read_bytes()
    by = cast.root if kind == "roster" else cast.person
    with pytest.raises(LedgerError, match=message):
        cast.ledger.append(kind, body, by, NOW)
    assert (cast.folder / FILE).read_bytes() == before
    line = sealed(cast.ledger.chain.head, NOW, kind, body, "root" if kind == "roster" else "person", by)
    (cast.folder / FILE).write_bytes(before + line + b"\n")
    (problem,) = verify(cast.folder).problems
    assert message in problem
    assert "\n" not in problem
    with pytest.raises(LedgerError, match=message):
        _ = cast.ledger

    def careless(kind: str, body: Any, where: str) -> Body:
        try:
            return checked(kind, body, where)
        except LedgerError:
            return Body()

    monkeypatch.setattr("alphatrade.reflection.ledger_chain.checked", careless)  # the mutation: anything is well formed
    chain = Chain()
    for one in (cast.folder / FILE).read_bytes().split(b"\n")[:-1]:
        chain.take(one)
    assert chain.head.seq == 12


def test_the_leaves_of_a_batch_are_well_formed_or_nothing_is_written(cast: Cast) -> None:
    before, files = (cast.folder / FILE).read_bytes(), sorted((cast.folder / BATCHES).iterdir())
    with pytest.raises(LedgerError, match=r"trial 1 of 2, trial\.fitness"):
        cast.ledger.append_batch([leaf(0), leaf(1, fitness="high")], cast.service, NOW)
    assert ((cast.folder / FILE).read_bytes(), sorted((cast.folder / BATCHES).iterdir())) == (before, files)


def test_a_service_works_for_a_person_of_the_roster(cast: Cast) -> None:
    assert cast.ledger.chain.roster.of("service").of == "person"
    for number, (role, who) in enumerate((("service", "nobody"), ("service", "root"), ("person", "person"), ("service", 5))):
        member = {"name": f"n{number}", "role": role, "public": cast.root.public[::-1], "of": who}
        with pytest.raises(LedgerError, match=r"roster\.of"):
            cast.ledger.append("roster", {"add": member}, cast.root, NOW)


def test_each_kind_has_a_body_and_somebody_who_may_sign_it(cast: Cast) -> None:
    assert set(MAY) == set(BODIES)
    with pytest.raises(LedgerError, match="search signed by a person or service"):
        cast.ledger.append("search", search(), cast.root, NOW)
    with pytest.raises(LedgerError, match="a promotion signed by a person"):
        cast.ledger.append("stage", stage(1, "experiment", "paper"), cast.service, NOW)


def generation(number: int, n: int, cells: int = 2) -> list[dict[str, Any]]:
    return [{"search": SEARCH, "generation": number, "cells": [{}] * cells}] * n


def begun(**changed: Any) -> dict[str, Any]:
    """A search of 4 parents, 3 children, 2 generations, on two cells beside the held-out one."""
    body = search()
    cells = [{"holdout": False}, {"holdout": False}, {"holdout": True}]
    return body | {"cells": cells, "founders": [{}], "spec": body["spec"] | changed}


def test_of_a_search_that_was_stopped_the_next_generation_counts() -> None:
    manual = {"search": "", "policy_hash": digest(1)}
    assert unentered([], [manual]) == 0
    assert unentered([begun()], [manual]) == 4
    assert unentered([begun() | {"founders": [{}] * 6}], []) == 6
    assert unentered([begun(), begun() | {"search": OTHER}], generation(0, 4)) == 3 + 4
    assert unentered([begun()], generation(0, 4) + generation(1, 3)) == 3
    assert unentered([begun()], generation(0, 4) + generation(1, 3) + generation(2, 3)) == 0
    assert unentered([begun()], generation(0, 4) + generation(2, 3)) == 3, "a generation that is left out"
    assert unentered([begun(generations=0)], generation(0, 4)) == 0


def test_of_a_search_that_was_stopped_no_more_counts_than_its_budget_pays_for() -> None:
    assert unentered([begun(budget=12)], generation(0, 4)) == 2
    assert unentered([begun(budget=12, cells=1)], generation(0, 4, 1)) == 3
    assert unentered([begun(budget=9)], generation(0, 4)) == 0, "it has ended"
    assert unentered([begun(budget=5)], []) == 2
    assert unentered([begun(budget=5) | {"founders": [{}] * 6}], []) == 6


@pytest.mark.parametrize("nonsense", [{"generations": -1}, {"children": None}, {"parents": "4"}, {"generations": True}])
def test_a_search_that_does_not_say_how_large_it_is_is_refused(nonsense: dict[str, Any]) -> None:
    with pytest.raises(LedgerError, match="parents, children and generations"):
        unentered([begun(**nonsense)], [])
