"""Governance: each condition refuses what only it can see, what is unknown is refused, and nothing gets past two of them."""

import random
from math import inf, nan
from typing import Any

import pytest

from alphatrade.reflection import governance
from alphatrade.reflection.governance import AUTHORITY, BEFORE, EVIDENCE, Facts, again, measured, refused_before, rule
from alphatrade.reflection.rim.entries import Ruling, Window
from alphatrade.reflection.rim.proposals import read_proposal
from alphatrade.reflection.stages import STAGES
from alphatrade.reflection.thresholds import GovernanceSpec, as_spec, looser
from alphatrade.reflection.uplift import Uplift, uplift
from alphatrade.risk.errors import ConfigError
from tests.reflection.make_ledger import BTC, HOUR, NOW, digest
from tests.reflection.make_proposal import experiment, proposal

SPEC = GovernanceSpec(
    uplift_bps=0.5, level=0.95, periods=24, moved=12, embargo_s=3600.0, changes_per_day=2, flow=0.1, canary_share=0.2, stage="paper",
    shadow_periods=4, canary_periods=8, canary_loss_bps=20.0, drawdown=0.02, seed=1,
)  # fmt: skip
DRAW = random.Random(3)
BASE = tuple([DRAW.gauss(0.0, 1e-4) for _ in range(48)])
UP = tuple([one + DRAW.gauss(2e-4, 1e-4) for one in BASE])  # 2 bps an hour better, give or take 1


def window(late: float = 3600.0) -> Window:
    """Return a window that starts so many seconds after what the proposal rests on."""
    start = NOW + int(late * 1e9)
    return Window(instrument=BTC, tape_hash=digest(8), start=str(start), end=str(start + 48 * HOUR))


def facts(**parts: Any) -> Facts:
    """Return facts that hold in every respect."""
    whole: dict[str, Any] = {
        "proposal": read_proposal(proposal()), "governed": True, "known": False, "in_force": digest(1), "child": digest(2), "refused": "",
        "hashes": (), "evidence": (), "window": window(), "base": BASE, "changed": UP, "hits": 0, "family": 1, "changes": 0,
        "flow": 0.4, "stage": "experiment", "spent": 0,
    }  # fmt: skip
    return Facts(**(whole | parts))


def less(by: float) -> tuple[float, ...]:
    """Return what is better than the base by so much (bps) in every period."""
    return tuple([one + by * 1e-4 for one in BASE])


def wild(seed: int = 4) -> tuple[float, ...]:
    """Return what is better by much more than a bp on average, and nobody can tell."""
    draw = random.Random(seed)
    swings = [draw.gauss(0.0, 0.01) for _ in BASE]
    mean = sum(swings) / len(swings)
    return tuple([one + swing - mean + 3e-4 for one, swing in zip(BASE, swings, strict=True)])


FEW = tuple([one if at % 5 else one + 1e-3 for at, one in enumerate(BASE)])  # 10 of 48, as by chance of a fifth
ONLY: dict[str, dict[str, dict[str, Any]]] = {
    "new": {"a replay": {"known": True}},
    "target": {"stale": {"in_force": digest(9)}, "nothing in force": {"in_force": ""}},
    "edit": {"refused": {"child": "", "refused": "edit.value: out of bounds"}, "another": {"child": digest(3)}, "nothing": {"child": ""}},
    "hashes": {"code": {"hashes": ("code_hash is another",)}, "two": {"hashes": ("code_hash", "model_hash")}},
    "evidence": {"rows": {"evidence": ("the rows have another sha256",)}},
    "window": {"none": {"window": None}, "too soon": {"window": window(3599.0)}, "before": {"window": window(-7200.0)}},
    "fresh": {"seen": {"spent": 1}, "unknown": {"spent": nan}},
    "periods": {"short": {"base": BASE[:20], "changed": UP[:20]}, "hardly moved": {"base": BASE, "changed": FEW}},
    "uplift": {"too little": {"changed": less(0.49)}},
    "interval": {"who knows": {"changed": wild()}, "with so many": {"family": 250, "changed": wild(5)}},
    "risk": {"a hit": {"hits": 1}, "no number of hits": {"hits": nan}},
    "flag": {"off": {"governed": False}},
    "stage": {"pilot": {"stage": "pilot"}, "live": {"stage": "limited_live"}, "unknown": {"stage": "moon"}, "none": {"stage": ""}, "no word": {"stage": None}},
    "budget": {"used": {"changes": 2}, "overdrawn": {"changes": 99}, "unknown": {"changes": nan}, "owed": {"changes": -1}},
    "flow": {"much": {"flow": 0.51}, "unknown": {"flow": nan}, "endless": {"flow": inf}, "less than none": {"flow": -0.1}},
}  # fmt: skip
CASES = [(name, case) for name, cases in ONLY.items() for case in cases]


def test_what_holds_in_every_respect_is_applied() -> None:
    assert rule(facts(), SPEC) == ("apply", ())
    assert refused_before(facts(), SPEC) == ()


def test_every_condition_has_a_case_of_its_own() -> None:
    assert set(ONLY) == {*EVIDENCE, *AUTHORITY}
    assert set(BEFORE) <= set(EVIDENCE)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_what_only_one_condition_sees_is_told_by_it_alone(name: str, case: str) -> None:
    found = rule(facts(**ONLY[name][case]), SPEC)
    assert found.outcome == ("reject" if name in EVIDENCE else "signoff")
    assert [words.split(":")[0] for words in found.why] == [name]
    assert len(found.why[0]) > len(name) + 10, "it says why"
    assert "\n" not in found.why[0]
    before = refused_before(facts(**ONLY[name][case]), SPEC)
    assert before == (found.why if name in BEFORE else ())


@pytest.mark.parametrize(("name", "case"), CASES)
def test_without_the_condition_it_is_applied(name: str, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: nothing else stands in the way."""
    for kept in ("EVIDENCE", "AUTHORITY"):
        conditions = dict(getattr(governance, kept))
        if name in conditions:
            monkeypatch.setattr(governance, kept, conditions | {name: lambda facts, spec: ""})
    assert rule(facts(**ONLY[name][case]), SPEC) == ("apply", ())


@pytest.mark.parametrize("name", [name for name in EVIDENCE if name in BEFORE])
def test_a_bad_experiment_is_rejected_and_without_the_condition_referred(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = dict(next(iter(ONLY[name].values())))
    if "child" not in case:
        case["child"] = digest(1)
    asked = facts(proposal=read_proposal(experiment()), **case)
    assert rule(asked, SPEC).outcome == "reject"
    monkeypatch.setattr(governance, "EVIDENCE", dict(EVIDENCE) | {name: lambda facts, spec: ""})
    assert rule(asked, SPEC) == ("refer", ())


def test_an_experiment_is_referred_and_never_applied() -> None:
    asked = facts(proposal=read_proposal(experiment()), child=digest(1))
    for parts in ({}, {"window": None, "base": (), "changed": ()}, {"governed": False, "stage": "limited_live", "changes": 99}):
        assert rule(asked._replace(**parts), SPEC) == ("refer", ())


def test_authority_does_not_make_up_for_evidence() -> None:
    found = rule(facts(hits=3, governed=False), SPEC)
    assert (found.outcome, len(found.why)) == ("reject", 1)


def test_everything_that_is_missing_is_told() -> None:
    found = rule(facts(governed=False, stage="pilot", changes=2, flow=1.0), SPEC)
    assert (found.outcome, [words.split(":")[0] for words in found.why]) == ("signoff", list(AUTHORITY))


# -- borders


def test_borders_belong_to_what_holds() -> None:
    for parts in ({"window": window(3600.0)}, {"changes": 1}, {"flow": 0.5}, {"flow": 0.0}, {"stage": "paper"}, {"changed": less(0.51)}):
        assert rule(facts(**parts), SPEC).outcome == "apply", parts
    assert rule(facts(base=BASE[:24], changed=UP[:24]), SPEC).outcome == "apply"


def test_the_last_row_of_all_evidence_counts_for_the_embargo() -> None:
    rows = proposal()["evidence"][0]
    late = read_proposal(proposal(evidence=[rows | {"end": str(NOW - HOUR // 2)}, rows, rows | {"end": str(NOW - HOUR // 3)}]))
    assert rule(facts(proposal=late), SPEC).outcome == "apply"
    assert rule(facts(proposal=late, window=window(3599.0)), SPEC).outcome == "reject"


def test_the_more_are_ruled_on_together_the_surer_it_has_to_be() -> None:
    bounds = []
    for family in (1, 2, 5, 20, 100, 190):
        (why,) = rule(facts(changed=wild(), family=family), SPEC).why
        bounds.append(float(why.split("bound is ")[1].split(" bps")[0]))
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] > bounds[-1]
    draw = random.Random(11)
    thin = tuple([one + draw.gauss(1.3e-4, 4e-4) for one in BASE])
    assert [rule(facts(changed=thin, family=family), SPEC).outcome for family in (1, 150)] == ["apply", "reject"]


@pytest.mark.parametrize("family", [0, -1, 201, 10**9])
def test_a_family_that_no_interval_can_answer_for_is_refused(family: int) -> None:
    found = rule(facts(changed=less(5.0), family=family), SPEC)
    assert (found.outcome, [words.split(":")[0] for words in found.why]) == ("reject", ["interval"])


NO_RETURNS: tuple[tuple[Any, Any], ...] = (
    ((), ()), (BASE, UP[:-1]), (BASE, ()), (BASE[:7], UP[:7]), (BASE, (*UP[:-1], nan)), ((*BASE[:-1], nan), UP), (BASE, (*UP[:-1], inf)),
    ((*BASE[:-1], -inf), UP), (BASE, (*UP[:-1], 1e300)), ((nan,) * 48, (nan,) * 48), (BASE, (*UP[:-1], 10.1)),
)  # fmt: skip


@pytest.mark.parametrize("at", range(len(NO_RETURNS)))
def test_returns_that_are_none_are_refused_and_never_raise(at: int) -> None:
    base, changed = NO_RETURNS[at]
    found = rule(facts(base=base, changed=changed), SPEC)
    assert found.outcome == "reject"
    assert {"periods", "uplift", "interval"} == {words.split(":")[0] for words in found.why}


def test_a_difference_that_no_fill_can_make_is_none() -> None:
    """Noise of the last bit would else count as periods in which the change made a difference."""
    noise = tuple([one * (1 + 2**-52) + 1e-19 for one in BASE])
    assert sum(a != b for a, b in zip(BASE, noise, strict=True)) >= SPEC.moved
    assert "periods: 0 periods in which it made a difference" in rule(facts(changed=noise), SPEC).why[0]


# -- whatever the facts are


def holds(given: Facts) -> set[str]:
    """Return the conditions that do not hold, found anew and without any code of the rule; those of the returns by `moved` only."""
    against = set()
    if given.known:
        against.add("new")
    if given.in_force != given.proposal.target:
        against.add("target")
    if given.refused or given.child != given.proposal.child:
        against.add("edit")
    if len(given.hashes):
        against.add("hashes")
    if len(given.evidence):
        against.add("evidence")
    if given.window is None or int(given.window.start) - NOW < 3600 * 10**9:
        against.add("window")
    pairs = list(zip(given.base, given.changed, strict=False))
    proper = len(given.base) == len(given.changed) >= 24 and all(abs(x) < 10 for pair in pairs for x in pair)
    if not proper or sum(abs(a - b) > 1e-12 for a, b in pairs) < 12:
        against.add("periods")
    if not proper or sum(b - a for a, b in pairs) / len(pairs) < 0.499e-4:
        against.add("uplift")
    if given.hits != 0:
        against.add("risk")
    if given.governed is not True:
        against.add("flag")
    if given.stage not in STAGES[:2]:
        against.add("stage")
    if given.changes not in (0, 1):
        against.add("budget")
    if not (0 <= given.flow <= 0.5):
        against.add("flow")
    return against


PIECES: dict[str, tuple[Any, ...]] = {
    "governed": (False,), "known": (True,), "in_force": (digest(9), "", digest(2)), "child": ("", digest(1), "no hash"), "refused": ("no",),
    "hashes": (("a",), ("a", "b")), "evidence": (("x",),), "window": (None, window(0.0), window(3599.999999)), "hits": (1, 10**9, nan, -1),
    "family": (0, -5, 10**9, 201), "changes": (2, 10**9, nan, -1, inf), "flow": (nan, 1.0, inf, -inf, 0.5001, -1e-9),
    "stage": ("pilot", "limited_live", "", "Paper", None, "paper\n"),
}  # fmt: skip
SERIES = (*NO_RETURNS, (BASE, less(0.3)), (BASE, BASE), (BASE, tuple(reversed(BASE))), (UP, BASE), (BASE, FEW), (BASE, less(-5.0)), (BASE, less(9.0)))


def test_a_thousand_strange_facts_are_never_applied() -> None:
    """Where anything at all does not hold, nothing is applied, whatever else there is; and the rule says something."""
    draw, applied, told = random.Random(8), 0, 0
    for _ in range(1000):
        parts: dict[str, Any] = {name: draw.choice(PIECES[name]) for name in draw.sample(sorted(PIECES), draw.choice((0, 1, 1, 2, 5)))}
        if draw.random() < 0.3:
            parts["base"], parts["changed"] = draw.choice(SERIES)
        given = facts(**parts)
        against = holds(given) | ({"interval"} if parts.get("family", 1) not in range(1, 200) else set())
        found = rule(given, SPEC)
        names = {words.split(":")[0] for words in found.why}
        applied += found.outcome == "apply"
        if against:
            told += 1
            assert found.outcome != "apply", parts
            seen = against & set(EVIDENCE)
            assert found.outcome == ("reject" if seen else "signoff")
            assert names >= (seen or against)
        elif found.outcome != "apply":
            assert names == {"interval"}, "the only one that the oracle does not compute"
    assert applied > 100
    assert told > 500


# -- the rule itself


def test_a_ruling_in_the_ledger_has_the_rule_it_was_made_by() -> None:
    assert as_spec(SPEC.model_dump(mode="json")) == SPEC
    found = rule(facts(hits=1), SPEC)
    entered = Ruling(
        proposal=proposal()["id"], outcome=found.outcome, why=list(found.why), window=window(), base=list(BASE), changed=list(UP), hits=1,
        family=1, changes=0, flow=0.4, stage="paper", spec=SPEC.model_dump(mode="json"), code_hash=digest(4),
    )  # fmt: skip
    again = facts(window=entered.window, base=tuple(entered.base), changed=tuple(entered.changed), hits=entered.hits)
    assert rule(again, as_spec(entered.spec)) == found


@pytest.mark.parametrize(
    "nonsense",
    [{"level": 0.5}, {"level": 1.0}, {"level": nan}, {"uplift_bps": -1.0}, {"uplift_bps": nan}, {"periods": 7}, {"moved": 0}, {"embargo_s": -1.0},
     {"embargo_s": nan}, {"changes_per_day": -1}, {"flow": 0.0}, {"flow": 1.1}, {"canary_share": 0.6}, {"canary_share": 0.0}, {"stage": "pilot"},
     {"stage": "limited_live"}, {"drawdown": 0.0}, {"canary_loss_bps": -1.0}, {"seed": -1}, {"unknown": 1}],
)  # fmt: skip
def test_no_rule_can_be_set_to_nonsense(nonsense: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"ruling\.spec\.{next(iter(nonsense))}: got "):
        as_spec(SPEC.model_dump() | nonsense)


# -- borders, and what a reader redoes


@pytest.mark.parametrize(
    ("found", "against"),
    [
        ({}, []), ({"mean": 0.5}, []), ({"mean": 0.4999}, ["uplift"]), ({"low": 0.0}, ["interval"]), ({"low": 1e-12}, []),
        ({"n": 24}, []), ({"n": 23}, ["periods"]), ({"moved": 12}, []), ({"moved": 11}, ["periods"]),
    ],
)  # fmt: skip
def test_each_border_is_on_the_side_that_it_says(monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], against: list[str]) -> None:
    measured_so = Uplift(2.0, 1.0, 3.0, 48, 48)._replace(**found)
    monkeypatch.setattr(governance, "uplift", lambda *_: measured_so)
    assert [words.split(":")[0] for words in rule(facts(), SPEC).why] == against


@pytest.mark.parametrize("flag", [False, None, 0, ""])
def test_what_is_no_true_flag_is_off(flag: Any) -> None:
    assert rule(facts(governed=flag), SPEC).outcome == "signoff"


def entered(found: Facts, outcome: str = "apply", **parts: object) -> Ruling:
    body: dict[str, object] = {
        "proposal": found.proposal.id, "outcome": outcome, "why": [], "window": found.window, "base": list(found.base),
        "changed": list(found.changed), "hits": 0, "family": found.family, "changes": 0, "flow": found.flow,
        "stage": found.stage, "spec": SPEC.model_dump(mode="json"), "code_hash": digest(4),
    }  # fmt: skip
    return Ruling.model_validate(body | parts)


def test_a_reader_redoes_the_joint_level() -> None:
    """What passes alone and not among 100 is refused by whoever reads it, and is shown with the interval of 100."""
    draw = random.Random(6)
    many = facts(changed=tuple([one + draw.gauss(2.5e-4, 7e-4) for one in BASE]), family=100)
    assert (rule(many._replace(family=1), SPEC).outcome, rule(many, SPEC).outcome) == ("apply", "reject")
    assert again(entered(many), many.proposal) == "reject"
    assert again(entered(many, family=1), many.proposal) == "apply"
    joint = uplift(many.base, many.changed, 1.0 - 0.05 / 100, SPEC.seed)
    assert measured(entered(many)) == joint
    assert measured(entered(many, family=1)) != joint


def test_the_seed_of_the_rule_is_the_seed_of_the_interval() -> None:
    def verdicts(seed: int) -> list[str]:
        spec = SPEC.model_copy(update={"seed": seed})
        return [rule(facts(changed=wild(at)), spec).why[-1] for at in range(5)]

    assert verdicts(1) == verdicts(1) != verdicts(2)


# -- thresholds


def test_looser_thresholds_are_told_and_stricter_ones_are_not() -> None:
    assert looser(SPEC, SPEC) == ()
    for name in type(SPEC).model_fields:
        if name in ("seed", "stage"):
            continue
        value = getattr(SPEC, name)
        up, down = (SPEC.model_copy(update={name: value * factor}) for factor in (1.04, 0.96))
        told = [bool(looser(one, SPEC)) for one in (up, down)]
        assert sorted(told) == [False, True], name
        assert name in (looser(up, SPEC) + looser(down, SPEC))[0]
    assert looser(SPEC, SPEC.model_copy(update={"stage": "experiment"})) == ("stage paper (experiment)",)
