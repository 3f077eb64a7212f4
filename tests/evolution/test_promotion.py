"""The promotion gate: the honest pass, every cheat is refused by its check, and by nothing else once that is off."""

import json
import re
from copy import deepcopy
from functools import cache, reduce
from math import nan
from typing import Any

import numpy as np
import pytest
import rfc8785
import yaml
from pydantic import ValidationError

from alphatrade.evolution import promotion
from alphatrade.evolution.evidence import Evidence, PromotionSpec, digest, pooled, series
from alphatrade.evolution.promotion import CHECKS, INEXACT, Verdict, judge
from alphatrade.evolution.statistics import moments
from alphatrade.reflection.ledger_bodies import Stage, checked
from alphatrade.reflection.stages import Stages
from alphatrade.strategies.policy import canonical
from benchmarks import honest_twin
from benchmarks.cheats import CHEATS, Cheat, cheated, leaf
from benchmarks.honest_twin import entered, honest, look, promoted, spec
from tests.conftest import ROOT

ALONE = {
    cheat.check: cheat
    for cheat in reversed(CHEATS)
    if cheat.name not in {"stopped_candidate", "unledgered_search", "other_search", "dropped_cell"}
}


@cache
def verdict(name: str) -> Verdict:
    return judge(cheated(named(name)), spec())


def named(name: str) -> Cheat:
    return next(cheat for cheat in CHEATS if cheat.name == name)


def changed(**parts: Any) -> Evidence:
    return Evidence.model_validate(canonical(honest()) | parts)


def row(found: Verdict, name: str) -> Any:
    return next(check for check in found.checks if check.name == name)


def test_the_honest_twin_is_promoted() -> None:
    found = judge(honest(), spec())
    assert found.refused == ()
    assert found.promoted
    assert [check.name for check in found.checks] == list(CHECKS)
    assert all(check.target and check.figure != "none" for check in found.checks)


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.name)
def test_a_cheat_is_refused_by_the_check_meant_for_it(cheat: Cheat) -> None:
    found = verdict(cheat.name)
    assert not found.promoted
    assert cheat.check in found.refused
    assert row(found, cheat.check).why


def test_every_check_has_a_cheat_of_its_own() -> None:
    assert set(ALONE) == set(CHECKS)
    assert len(CHEATS) >= 10


@pytest.mark.parametrize("name", CHECKS)
def test_without_the_check_its_cheat_is_promoted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: nothing else refuses it."""
    assert set(verdict(ALONE[name].name).refused) <= {name, "transcript"}, "what was not bred is told by both"
    left = {each: check for each, check in CHECKS.items() if each not in (name, "transcript")}
    monkeypatch.setattr(promotion, "CHECKS", left)
    assert judge(cheated(ALONE[name]), spec()).promoted


def test_a_verdict_of_nothing_promotes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "CHECKS", {})
    assert not judge(honest(), spec()).promoted


# -- the same anywhere


def test_evidence_and_verdict_go_to_json_and_back() -> None:
    evidence = honest()
    text = rfc8785.dumps(canonical(evidence))
    again = Evidence.model_validate(json.loads(text))
    assert rfc8785.dumps(canonical(again)) == text
    found = judge(evidence, spec())
    assert judge(again, spec()) == found
    assert Verdict.model_validate(json.loads(rfc8785.dumps(canonical(found)))) == found


def test_the_wall_clock_is_no_part_of_what_has_to_be_the_same() -> None:
    one, other = (
        judge(honest(), spec()),
        judge(changed(latency={"n": 900, "p99": 500_000, "base_p99": 490_000}), spec()),
    )
    assert one != other
    assert one.exact == other.exact
    assert {check.name for check in one.checks} - {check.name for check in one.exact.checks} == INEXACT
    assert one.evidence_hash == other.evidence_hash != digest(honest())


def test_decisions_may_be_slower_than_the_default_but_not_than_the_incumbent() -> None:
    twice = {"n": 900, "p99": 400_000, "base_p99": 200_000}
    assert honest().incumbent is not None
    assert row(judge(changed(latency=twice), spec()), "latency").why
    assert not row(judge(changed(latency=twice, incumbent=None), spec()), "latency").why
    assert row(judge(changed(latency=twice | {"p99": 4_000_000}, incumbent=None), spec()), "latency").why


def test_thresholds_are_part_of_the_verdict() -> None:
    stricter = spec().model_copy(update={"dsr": 0.99})
    assert judge(honest(), stricter).spec_hash != judge(honest(), spec()).spec_hash


@pytest.mark.parametrize(
    "nonsense",
    [{"dsr": 0.5}, {"dsr": nan}, {"pbo": 1.0}, {"cost_multiple": 1.0}, {"cells": 0}, {"lead": 0.9}, {"looks": 1000},
     {"spot": 0}, {"scenarios": 0}, {"families": 1}, {"latency_ratio": 1e9}, {"unknown": 1}],
)  # fmt: skip
def test_no_threshold_can_be_set_to_nonsense(nonsense: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PromotionSpec.model_validate(spec().model_dump() | nonsense)


def test_no_venue_can_be_set_to_nonsense() -> None:
    for light in ({"cost_multiple": 0.5}, {"latency_ms": 0.0}, {"prob_slippage": 0.0}, {"prob_fill_on_limit": 1.0}):
        with pytest.raises(ValidationError):
            PromotionSpec.model_validate(spec().model_dump() | {"venue": spec().venue.model_dump() | light})


# -- nothing passes on what is missing


MISSING: dict[str, tuple[dict[str, Any], set[str]]] = {
    "genotype": ({"genotype": None}, {"policy"}),
    "ledger": (
        {"ledger": []},
        {"trial", "policy", "lineage", "template", "transcript", "recomputed", "dsr", "looks", "pbo"},
    ),
    "ledger check": ({"ledger_problems": None}, {"ledger"}),
    "replays": (
        {"holdout": [], "costly": [], "again": []},
        {"holdout", "sample", "net", "dsr", "incumbent", "law", "recomputed"},
    ),
    "evaluator": ({"evaluator": {}}, {"evaluator", "costs", "holdout", "net", "dsr"}),
    "grid": ({"grid": []}, {"cells", "holdout", "sample", "dsr", "looks"}),
    "leakage": ({"leakage": []}, {"leakage"}),
    "red team": ({"red_team": []}, {"red_team"}),
    "latency": ({"latency": None}, {"latency"}),
}


@pytest.mark.parametrize("name", MISSING)
def test_missing_evidence_does_not_hold_and_says_so(name: str) -> None:
    parts, checks = MISSING[name]
    found = judge(changed(**parts), spec())
    assert checks <= set(found.refused)
    assert all(check.why for check in found.checks if not check.holds)


def test_returns_that_never_move_are_refused() -> None:
    plain = canonical(honest())["holdout"]
    for each in plain:
        each["returns"] = [0.0] * 23
    assert {"dsr"} <= set(judge(changed(holdout=plain, incumbent=None), spec()).refused)


def test_what_is_no_number_is_no_evidence() -> None:
    plain = canonical(honest())["holdout"]
    plain[0]["returns"][3] = nan
    with pytest.raises(ValidationError, match="finite"):
        changed(holdout=plain)


def test_periods_of_another_length_are_refused() -> None:
    """Shorter periods would make many of few."""
    plain = canonical(honest())["evaluator"]
    assert "sample" in judge(changed(evaluator=plain | {"grid": {"period_s": 60.0}}), spec()).refused
    short = spec().model_copy(update={"period_s": 60.0})
    assert judge(honest(), short).refused == ("sample",)


# -- looks, deflation


def looked(*others: str) -> Evidence:
    plain = canonical(honest())
    extra = [
        {"seq": 50, "hash": "0" * 64, "kind": "look", "body": look(other, plain["grid"]), "trials": []}
        for other in others
    ]
    return changed(ledger=plain["ledger"] + extra)


def test_each_look_at_the_holdout_raises_the_bar() -> None:
    targets = [row(judge(looked(*"abcd"[:n]), spec()), "dsr").target for n in (0, 1, 4)]
    assert [target.split()[2] for target in targets] == ["0.95", "0.975", "0.99"]


def test_the_same_policy_again_is_no_other_look_and_elsewhere_is_none() -> None:
    own = honest().policy_hash
    assert row(judge(looked(own, "a", "a"), spec()), "looks").figure == 2
    plain = canonical(honest())
    seen = look("f" * 64, [cell | {"holdout": not cell["holdout"]} for cell in plain["grid"]])
    other = look("f" * 64, plain["grid"]) | {"tapes": {"ETH/USD.SIM": "1" * 64}}
    extra = [{"seq": 60, "hash": "", "kind": "look", "body": each, "trials": []} for each in (seen, other)]
    assert row(judge(changed(ledger=plain["ledger"] + extra), spec()), "looks").figure == 1


def test_a_manual_replay_counts_as_trial_and_as_look() -> None:
    plain = canonical(honest())
    body = look("f" * 64, plain["grid"]) | {"search": "", "run_id": "0" * 16, "concerns": [], "genotype": None}
    found = judge(
        changed(ledger=[*plain["ledger"], {"seq": 60, "hash": "", "kind": "trial", "body": body, "trials": []}]), spec()
    )
    assert row(found, "looks").figure == 2
    assert "17 trials" in row(found, "dsr").target


@pytest.mark.parametrize("alone", [False, True])
def test_a_trial_of_another_search_counts_as_a_look_however_it_was_entered(alone: bool) -> None:
    plain = deepcopy(canonical(honest()))
    body = leaf(plain) | {"search": "f" * 64, "policy_hash": "f" * 64, "cells": plain["holdout"]}
    record = {"seq": 60, "hash": "", "kind": "trial", "body": body, "trials": []}
    if not alone:
        record |= {"kind": "batch", "body": {}, "trials": [body]}
    assert row(judge(changed(ledger=[*plain["ledger"], record]), spec()), "looks").figure == 2


def barely(**search: Any) -> Evidence:
    """Evidence that is good enough after 16 trials, with another search that was begun."""
    plain = deepcopy(canonical(honest()))
    for each in plain["holdout"]:
        each["returns"] = [x - 2.82e-4 for x in each["returns"]]
    (own,) = [record for record in plain["ledger"] if record["kind"] == "search"]
    other = own | {"body": own["body"] | {"search": "f" * 64} | search}
    return changed(holdout=plain["holdout"], ledger=[*plain["ledger"], *[other] * bool(search)])


def test_a_long_part_to_search_lowers_no_bar_for_a_short_one_to_judge() -> None:
    evidence = honest()
    whole, n = promotion._spread(evidence, 10**9)
    short, same = promotion._spread(evidence, 30)
    assert whole < short == pytest.approx(1 / 29)
    assert n == same == 16


def test_a_house_that_forbids_nothing_lets_a_maker_pass() -> None:
    """Mutation: it is the thresholds that forbid, not the domain of the search."""
    evidence = cheated(named("forbidden"))
    assert row(judge(evidence, spec()), "rules").why
    assert row(judge(evidence, spec().model_copy(update={"never": {}})), "rules").holds


def test_what_the_house_forbids_is_what_the_shipped_domain_does() -> None:
    domain = yaml.safe_load((ROOT / "conf" / "domain" / "default.yaml").read_text("utf-8"))
    shipped = {kind: own["never"] for kind, own in domain["topologies"].items() if own.get("never")}
    assert {kind: list(never) for kind, never in spec().never.items()} == shipped


@pytest.mark.parametrize(
    "change",
    [{"maker_fee": "-0.0001"}, {"taker_fee": "0"}, {"taker_fee": "nan"}, {"reference": "bar"}, {"id": "OTHER/USD.SIM"}],
    ids=str,
)
def test_no_instrument_is_charged_less_than_the_house_charges(change: dict[str, str]) -> None:
    evaluator = deepcopy(canonical(honest())["evaluator"])
    evaluator["instruments"][0] |= change
    found = row(judge(changed(evaluator=evaluator), spec()), "costs")
    assert "too light" in found.why or "other tapes" in found.why


def test_a_generation_that_may_have_been_seen_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody stops searches before their first generation is whole, and keeps what he has seen."""
    assert row(judge(barely(), spec()), "dsr").holds
    found = row(judge(barely(search="f" * 64), spec()), "dsr")
    assert not found.holds
    assert "after 20 trials" in found.target
    assert "4 of them may have been seen" in found.target
    monkeypatch.setattr("alphatrade.evolution.counts.unentered", lambda searches, trials: 0)
    assert row(judge(barely(search="f" * 64), spec()), "dsr").holds


def test_a_search_of_unknown_size_passes_nobody() -> None:
    found = row(judge(barely(spec={"generations": 3}), spec()), "dsr")
    assert not found.holds
    assert "search ffffffffffff, spec" in found.why


def test_trials_that_do_nothing_lower_no_hurdle() -> None:
    """Copies of a quiet trial, in the search or elsewhere: what chance gives to one stays what it is, and N grows."""
    plain = deepcopy(canonical(honest()))
    quiet = deepcopy(leaf(plain, (0, 0)))
    spread, n = promotion._spread(honest(), 10**9)
    assert (n, spread) == (16, pytest.approx(1 / 183, rel=0.05))
    for search in (quiet["search"], "f" * 64):
        copies = [quiet | {"search": search, "generation": 9, "index": at} for at in range(300)]
        padded = {"seq": 70, "hash": "", "kind": "batch", "body": {}, "trials": copies}
        evidence = changed(ledger=[*plain["ledger"], padded])
        assert promotion._spread(evidence, 10**9)[0] == pytest.approx(spread, rel=0.05)
        assert "316 trials" in row(judge(evidence, spec()), "dsr").target


def test_a_search_that_finds_its_edge_again_and_again_is_not_punished() -> None:
    """Twelve of 16 trials with the same edge vary around each other by far more than by chance."""
    plain = deepcopy(canonical(honest()))
    best, trials = leaf(plain), [trial for record in plain["ledger"] for trial in record["trials"]]
    for at, each in enumerate(trials):
        if at < 12:
            moved = [cell["returns"][at + 1 :] + cell["returns"][: at + 1] for cell in best["cells"]]
            each["cells"] = [cell | {"returns": own} for cell, own in zip(best["cells"], moved, strict=True)]
    evidence = changed(ledger=plain["ledger"])
    ratios = [moments(one).sharpe for one in promotion._seen_series(evidence)]
    assert promotion._spread(evidence, 10**9)[0] < 0.15 * np.var(ratios)
    assert row(judge(evidence, spec()), "dsr").holds


# -- who is in charge


UP, DOWN = {"from": "experiment", "to": "paper"}, {"from": "paper", "to": "experiment", "dossier": "", "verdict": ""}
BACK = {"from": "paper", "to": "paper", "dossier": "", "verdict": ""}
BEHIND = {"from": "pilot", "to": "paper", "dossier": "", "verdict": ""}
PILOT, OFF = {"from": "paper", "to": "pilot"}, {"from": "pilot", "to": "experiment", "dossier": "", "verdict": ""}
SERVED = {"role": "service"}
MOVES: dict[str, tuple[list[tuple[str, dict[str, str]]], str]] = {
    "a person demoted the last one: nobody": ([("a", UP), ("b", UP), ("b", DOWN)], ""),
    "a service demoted the last one: it still is": ([("a", UP), ("b", UP), ("b", DOWN | SERVED)], "b"),
    "a service demoted it from pilot": ([("a", UP), ("a", PILOT), ("b", UP), ("a", OFF | SERVED)], "a"),
    "a service began and a person ended it": ([("b", UP), ("b", PILOT), ("b", BEHIND | SERVED), ("b", DOWN)], ""),
    "somebody else took the place": ([("b", UP), ("b", DOWN | SERVED), ("a", UP)], "a"),
    "it was rolled back": ([("a", UP), ("b", UP), ("a", BACK)], "a"),
    "the one before was demoted": ([("a", UP), ("b", UP), ("a", DOWN)], "b"),
    "the higher stage counts": ([("a", UP), ("a", PILOT), ("b", UP)], "a"),
    "nobody ever": ([], ""),
}


@pytest.mark.parametrize("name", MOVES)
def test_who_is_in_charge_for_the_gate_is_who_is_for_the_ledger(name: str) -> None:
    moves, expected = MOVES[name]
    plain, stages = canonical(honest()), Stages()
    plain["ledger"] = [record for record in plain["ledger"] if record["kind"] != "stage"]
    for one, parts in moves:
        role, body = parts.get("role", "person"), {key: value for key, value in parts.items() if key != "role"}
        plain["ledger"].append(entered(promoted(one * 64, **body))[0] | {"role": role})
        move = checked("stage", promoted(one * 64, **body)[1], "here")
        assert isinstance(move, Stage)
        stages = stages.after(move, role, "ada", 1, 1)
    assert stages.to_beat("") == expected * 64
    rivals = {one: None if not one else plain["incumbent"] | {"policy_hash": one * 64} for one in ("", "a", "b")}
    rows = {one: row(judge(changed(ledger=plain["ledger"], incumbent=rivals[one]), spec()), "incumbent") for one in rivals}
    assert {one for one, found in rows.items() if found.holds} == {expected}
    assert all("it was compared with" in found.why for one, found in rows.items() if one != expected)
    absent = expected != "" and expected * 64 not in (stages.incumbent("paper"), stages.incumbent("pilot"))
    assert absent == ("service demoted" in name)
    assert all(("demoted, but by no person" in found.target) == absent for found in rows.values())


def test_who_signed_a_move_is_not_assumed() -> None:
    """Evidence without a role is that of nobody who may promote, and a service's demotion never that of a person."""
    plain = canonical(honest())
    for record in plain["ledger"]:
        record["role"] = ""
    found = row(judge(changed(ledger=plain["ledger"]), spec()), "incumbent")
    assert not found.holds
    assert "a promotion signed by a person" in found.why


def test_a_move_that_cannot_be_is_no_evidence() -> None:
    plain = canonical(honest())
    for body in (promoted("a" * 64), promoted("c" * 64, dossier=""), promoted("c" * 64, to="moon")):
        assert not row(judge(changed(ledger=plain["ledger"] + entered(body)), spec()), "incumbent").holds


# -- series


def test_cells_of_the_same_time_are_one_sample() -> None:
    assert pooled([(0, [1.0, 3.0]), (10, [5.0])], 10) == (1.0, 4.0)
    assert pooled([(20, [1.0]), (0, [2.0])], 10) == (2.0, 1.0)


def test_a_series_has_every_cell_once_and_no_other() -> None:
    evidence = honest()
    assert len(series(evidence.holdout, evidence.held_out, evidence.period)) == 6 * 23
    for wrong in (
        evidence.holdout[1:],
        (*evidence.holdout, evidence.holdout[0]),
        (*evidence.holdout, evidence.again[0].cells[0]),
    ):
        with pytest.raises(Exception, match="expected"):
            series(wrong, evidence.held_out, evidence.period)


# -- a search on some of the cells


def sparing(monkeypatch: pytest.MonkeyPatch) -> Evidence:
    """The honest twin, of a search that replays candidates in six of the eight cells; the gate replays in all."""
    monkeypatch.setattr(honest_twin, "PLAN", honest_twin.PLAN | {"cells": 6})
    found = honest.__wrapped__()
    plain = canonical(found)
    for each in plain["again"]:
        there = {(cell["instrument"], int(cell["start"])) for cell in each["cells"]}
        others = [cell for cell in honest_twin.grid() if not cell["holdout"] and (cell["instrument"], cell["start"]) not in there]
        assert len(others) == 2
        each["cells"] += [honest_twin.result(cell, [0.0] * 23) for cell in others]
    return Evidence.model_validate(plain)


def test_a_search_may_spare_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    found = sparing(monkeypatch)
    assert len(found.seen) == 6
    assert judge(found, spec()).refused == ()
    monkeypatch.setattr(Evidence, "seen", property(lambda self: [cell for cell in self.grid if not cell.holdout]))
    assert {"recomputed", "pbo", "dsr"} <= set(judge(found, spec()).refused)


def test_which_cells_a_search_spares_is_not_its_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = canonical(sparing(monkeypatch))
    own = leaf(plain)
    again = next(each for each in plain["again"] if (each["generation"], each["index"]) == honest_twin.OWN)
    own["cells"] = own["cells"][:5] + again["cells"][-1:]
    own["fitness"] = honest_twin.worth(own["cells"])
    found = row(judge(Evidence.model_validate(plain), spec()), "recomputed")
    assert "is not of the cells that its search has seen" in found.why
    short = deepcopy(plain["again"])
    next(each for each in short if (each["generation"], each["index"]) == honest_twin.OWN)["cells"].pop(0)
    assert "recomputed" in judge(Evidence.model_validate(canonical(sparing(monkeypatch)) | {"again": short}), spec()).refused


# -- foreign evidence, and the page


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where the values of nested dicts and lists are; of long lists, the first few."""
    inside = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    return [path, *(place for key, item in inside for place in places(item, (*path, key)))]


@pytest.mark.long
def test_whatever_stands_in_the_ledger_is_judged_and_not_raised() -> None:
    """Each value in turn is gone, another type, or absurd: a verdict comes all the same."""
    plain, rng = canonical(honest()), np.random.default_rng(4)
    everywhere = [path for path in places(plain["ledger"]) if len(path) > 2]
    for at in rng.choice(len(everywhere), 12, replace=False):
        *path, last = everywhere[at]
        ledger = deepcopy(plain["ledger"])
        holder = reduce(lambda value, key: value[key], path, ledger)
        holder[last] = [None, "x", -1, [], {}, "9" * 30][int(rng.integers(6))]
        try:
            evidence = changed(ledger=ledger)
        except ValidationError:  # not even evidence
            continue
        assert judge(evidence, spec()).checks


def test_the_page_has_every_check_and_the_default_thresholds() -> None:
    page = (ROOT / "docs" / "promotion.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \| ", page, re.M) == list(CHECKS)
    assert f"{len(CHEATS)} ways to cheat" in page
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", page, re.M))
    s = spec()
    for name, words in (
        ("dsr", f"at least {s.dsr:g}"),
        ("pbo", f"at most {s.pbo:g}"),
        ("looks", f"at most {s.looks} policies"),
        ("incumbent", f"p at most {s.lead:g}"),
        ("sample", f"{s.periods} hours"),
        ("holdout", f"{s.cells} of them, in {s.regimes} regimes, have {s.least} decisions"),
        ("red_team", f"{s.scenarios} at least"),
        ("latency", f"{s.latency_p99_us / 1e3:g} ms and {s.latency_ratio:g} times"),
    ):
        assert words in rows[name]
    assert (s.period_s, s.cost_multiple, s.spot, s.leakage.cuts) == (3600, 2, 2, 3)
