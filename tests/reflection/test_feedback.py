"""Feedback: what is not lawful cannot be an entry, and what is lawful says which policy is in force."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphatrade.reflection import feedback as module
from alphatrade.reflection.feedback import Case, Feedback
from alphatrade.reflection.ledger_bodies import checked
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.ledger_files import FILE
from alphatrade.risk.errors import LedgerError
from tests.reflection.make_ledger import BTC, HOUR, NOW, Cast, digest, make_cast
from tests.reflection.make_proposal import PHASES, SPEC, application, experiment, proposal, rollback, ruling, signoff

A, B, C, D = (digest(n) for n in (1, 2, 3, 4))
AB, AC, BC, BA, CA, CD = (proposal(0, *pair) for pair in ((1, 2), (1, 3), (2, 3), (2, 1), (3, 1), (3, 4)))
AB_AGAIN = proposal(1, 1, 2)
Step = tuple[str, dict[str, Any], str] | tuple[str, dict[str, Any]]


@pytest.fixture
def cast(tmp_path: Path) -> Cast:
    return make_cast(tmp_path)


def add(cast: Cast, *steps: Step) -> Feedback:
    """Add entries; a service signs what nobody else is named for."""
    ledger = cast.ledger
    for at, (kind, body, *by) in enumerate(steps):
        ledger.append(kind, body, getattr(cast, by[0] if by else "service"), NOW + at)
    return ledger.chain.feedback


def granted(of: dict[str, Any]) -> list[Step]:
    return [("proposal", of), ("ruling", ruling(of, "apply"))]


def figures(outcome: str = "apply", **parts: Any) -> tuple[list[Step], Step, str]:
    """Return a ruling that its own figures do not bear out."""
    follows = "signoff" if set(parts) & {"stage", "changes", "flow"} else "reject"
    return [("proposal", AB)], ("ruling", ruling(AB, outcome, **parts)), rf"expected {follows}, which follows from its figures"


def up_to(of: dict[str, Any], phase: str) -> list[Step]:
    return [*granted(of), *[("application", application(of, each)) for each in PHASES[: PHASES.index(phase) + 1]]]


# -- what is lawful


def test_a_change_goes_step_by_step_into_force(cast: Cast) -> None:
    found = add(cast, *granted(AB))
    assert (found.in_force(A), found.path(A), found.under_way(A)) == (A, (), None)
    assert found.cases[AB["id"]].granted
    for phase in ("shadow", "canary"):
        found = add(cast, ("application", application(AB, phase)))
        assert found.in_force(A) == A, "nothing is in force before it is full"
        under_way = found.under_way(A)
        assert under_way is not None
        assert (under_way.proposal.id, under_way.phase) == (AB["id"], phase)
    found = add(cast, ("application", application(AB, "full")))
    assert (found.in_force(A), found.in_force(B), found.in_force(D)) == (B, B, D)
    assert (found.root(B), found.ancestors(B), found.under_way(A)) == (A, {A}, None)
    found = add(cast, *up_to(BC, "full"))
    assert [case.proposal.id for case in found.path(A)] == [AB["id"], BC["id"]]
    assert (found.in_force(A), found.in_force(B), found.root(C), found.ancestors(C)) == (C, C, A, {A, B})


def test_what_is_taken_back_is_in_force_no_more(cast: Cast) -> None:
    found = add(cast, *up_to(AB, "full"), *up_to(BC, "full"), ("rollback", rollback(BC)))
    assert (found.in_force(A), found.cases[BC["id"]].phase, found.cases[BC["id"]].granted) == (B, "", False)
    assert found.root(C) == A, "it was in force once"
    found = add(cast, ("rollback", rollback(AB)))
    assert (found.in_force(A), found.path(A), found.root(B)) == (A, (), A)
    found = add(cast, *up_to(AB_AGAIN, "full"))
    assert found.in_force(A) == B, "another proposal may say the same"


@pytest.mark.parametrize("phase", PHASES)
def test_a_change_can_be_taken_back_in_every_phase(cast: Cast, phase: str) -> None:
    found = add(cast, *up_to(AB, phase), ("rollback", rollback(AB)))
    assert (found.in_force(A), found.under_way(A), found.cases[AB["id"]].phase) == (A, None, "")
    found = add(cast, *up_to(AC, "full"))
    assert found.in_force(A) == C, "the next one may begin"


def test_a_person_can_grant_what_the_rule_may_not(cast: Cast) -> None:
    found = add(cast, ("proposal", AB), ("ruling", ruling(AB, "signoff")))
    assert not found.cases[AB["id"]].granted
    found = add(cast, ("signoff", signoff(AB), "person"))
    assert found.cases[AB["id"]].granted
    assert add(cast, ("application", application(AB, "shadow"))).under_way(A) is not None


def test_changes_count_from_when_they_began(cast: Cast) -> None:
    ledger = cast.ledger
    for at, of in enumerate((AB, CD)):
        for kind, body, *_ in up_to(of, "canary"):
            ledger.append(kind, body, cast.service, NOW + 100 * at)
    ledger.append("application", application(AB, "full"), cast.service, NOW + 300)
    ledger.append("rollback", rollback(AB), cast.service, NOW + 400)
    found = ledger.chain.feedback
    assert [found.changes_since(NOW + at) for at in (0, 1, 100, 101, 400)] == [2, 1, 1, 0, 0]


def test_a_case_is_found_by_the_beginning_of_its_id(cast: Cast) -> None:
    found = add(cast, ("proposal", AB), ("proposal", AC))
    assert found.find(AB["id"][:12]).proposal.id == AB["id"]
    for start in ("", "g", AB["id"] + "0"):
        with pytest.raises(LedgerError, match="the id of one proposal"):
            found.find(start)
    both = Feedback({name: found.cases[AB["id"]] for name in ("aa1", "aa2")})
    with pytest.raises(LedgerError, match="the id of one proposal"):
        both.find("aa")


def test_a_copy_goes_its_own_way(cast: Cast) -> None:
    add(cast, *granted(AB))
    chain = cast.ledger.chain
    before = chain.feedback.cases
    other = chain.copy()
    assert other.feedback is chain.feedback
    other.feedback = other.feedback.after(checked("application", application(AB, "shadow"), "x"), 9, NOW)
    assert chain.feedback.cases == before
    assert (chain.feedback.under_way(A), other.feedback.cases[AB["id"]].phase) == (None, "shadow")


def test_a_stranger_reads_the_same(cast: Cast) -> None:
    found = add(cast, *up_to(AB, "full"), ("proposal", experiment()), ("ruling", ruling(experiment(), "refer")),
                *up_to(BC, "canary"), ("rollback", rollback(BC), "person"))  # fmt: skip
    assert cast.ledger.chain.feedback.cases == found.cases
    assert verify(cast.folder).problems == ()
    case = found.cases[AB["id"]]
    assert [entry.body for entry in cast.ledger.entries() if entry.seq == case.seq] == [AB]
    assert (case.ruled, [seq for seq, _, _ in case.applied]) == (case.seq + 1, [case.seq + n for n in (2, 3, 4)])


# -- what is not

EARLY = {"instrument": BTC, "tape_hash": digest(8), "start": str(NOW), "end": str(NOW + 9 * HOUR)}
UNLAWFUL: dict[str, tuple[list[Step], Step, str]] = {
    "replayed proposal": ([("proposal", AB)], ("proposal", AB), "this is a replay"),
    "replayed after its end": ([*up_to(AB, "full"), ("rollback", rollback(AB))], ("proposal", AB), "this is a replay"),
    "ruling of nothing": ([], ("ruling", ruling(AB, "apply")), "entered before"),
    "second ruling": (granted(AB), ("ruling", ruling(AB, "reject")), "has ruled on it"),
    "ruling made better": ([("proposal", AB), ("ruling", ruling(AB, "reject"))], ("ruling", ruling(AB, "apply")), "has ruled on it"),
    "refer of an edit": ([("proposal", AB)], ("ruling", ruling(AB, "refer")), "refer for experiments only"),
    "apply of an experiment": ([("proposal", experiment())], ("ruling", ruling(experiment(), "apply")), "refer or reject of an experiment"),
    "sign-off for an experiment": ([("proposal", experiment())], ("ruling", ruling(experiment(), "signoff")), "refer or reject of an experiment"),
    "application of nothing": ([], ("application", application(AB, "shadow")), "entered before"),
    "application without a ruling": ([("proposal", AB)], ("application", application(AB, "shadow")), "no ruling"),
    "application of the rejected": ([("proposal", AB), ("ruling", ruling(AB, "reject"))], ("application", application(AB, "shadow")), "reject"),
    "application before the sign-off": ([("proposal", AB), ("ruling", ruling(AB, "signoff"))], ("application", application(AB, "shadow"), "person"), "signoff"),
    "application against the sign-off": (
        [("proposal", AB), ("ruling", ruling(AB, "signoff")), ("signoff", signoff(AB, False), "person")],
        ("application", application(AB, "shadow")), "a sign-off where it asks for one",
    ),
    "application of an experiment": ([("proposal", experiment()), ("ruling", ruling(experiment(), "refer"))], ("application", application(experiment(), "shadow")), "refer"),
    "canary first": (granted(AB), ("application", application(AB, "canary")), "expected shadow"),
    "full first": (granted(AB), ("application", application(AB, "full")), "expected shadow"),
    "canary skipped": (up_to(AB, "shadow"), ("application", application(AB, "full")), "expected canary"),
    "shadow twice": (up_to(AB, "shadow"), ("application", application(AB, "shadow")), "expected canary"),
    "full twice": (up_to(AB, "full"), ("application", application(AB, "full")), "nothing more"),
    "another child": (granted(AB), ("application", application(AB, "shadow", child=C)), r"application\.child"),
    "another target": (granted(AB), ("application", application(AB, "shadow", target=D)), r"application\.child"),
    "stale target": ([*granted(AC), *up_to(AB, "full")], ("application", application(AC, "shadow")), "in force by now"),
    "the same again": ([*granted(AB_AGAIN), *up_to(AB, "full")], ("application", application(AB_AGAIN, "shadow")), "in force by now"),
    "second change under way": ([*granted(AC), *up_to(AB, "canary")], ("application", application(AC, "shadow")), "is under way"),
    "same change under way": ([*granted(AB_AGAIN), *up_to(AB, "shadow")], ("application", application(AB_AGAIN, "shadow")), "is under way"),
    "after a rollback": ([*up_to(AB, "shadow"), ("rollback", rollback(AB))], ("application", application(AB, "canary")), "taken back"),
    "circle of two": ([*granted(BA), *up_to(AB, "full")], ("application", application(BA, "shadow")), "a new policy"),
    "circle of two, taken back": ([*granted(BA), *up_to(AB, "full"), ("rollback", rollback(AB))], ("application", application(BA, "shadow")), "a new policy"),
    "circle of three": ([*granted(CA), *up_to(AB, "full"), *up_to(BC, "full")], ("application", application(CA, "shadow")), "a new policy"),
    "further than tried": ([*granted(AB), *up_to(BC, "full")], ("application", application(AB, "shadow")), "that nobody has changed"),
    "further than tried, later": ([*up_to(AB, "canary"), *up_to(BC, "full")], ("application", application(AB, "full")), "that nobody has changed"),
    "onto moving ground": ([*granted(AB), *up_to(BC, "canary")], ("application", application(AB, "shadow")), "that nobody has changed"),
    "no later data": (up_to(AB, "shadow"), ("application", application(AB, "canary", until=str(NOW + 9 * HOUR))), "data later than"),
    "earlier data": (up_to(AB, "canary"), ("application", application(AB, "full", until=str(NOW))), "data later than"),
    "apply at a loss": figures(changed=[-0.001] * 8),
    "apply of nothing": figures(changed=[0.0] * 8),
    "apply with a risk hit": figures(hits=1),
    "apply without a replay": figures(window=None),
    "apply on too little": figures(base=[0.0] * 7, changed=[0.001] * 7),
    "apply on what it rests on": figures(window=EARLY),
    "apply above its stage": figures(stage="pilot"),
    "apply beyond the day": figures(changes=1),
    "apply of all the flow": figures(flow=0.5),
    "sign-off at a loss": figures("signoff", changed=[-0.001] * 8),
    "sign-off with a risk hit": figures("signoff", hits=1),
    "apply by no rule": ([("proposal", AB)], ("ruling", ruling(AB, "apply", spec=SPEC | {"level": 0.0})), r"ruling\.spec\.level"),
    "apply by half a rule": ([("proposal", AB)], ("ruling", ruling(AB, "apply", spec={})), r"ruling\.spec"),
    "sign-off of nothing": ([], ("signoff", signoff(AB), "person"), "entered before"),
    "sign-off before the ruling": ([("proposal", AB)], ("signoff", signoff(AB), "person"), "no ruling"),
    "sign-off that nobody asks for": (granted(AB), ("signoff", signoff(AB), "person"), "whose ruling asks for a sign-off"),
    "sign-off of the rejected": ([("proposal", AB), ("ruling", ruling(AB, "reject"))], ("signoff", signoff(AB), "person"), "whose ruling asks for a sign-off"),
    "second sign-off": (
        [("proposal", AB), ("ruling", ruling(AB, "signoff")), ("signoff", signoff(AB, False), "person")],
        ("signoff", signoff(AB), "person"), "a second one",
    ),
    "rollback of nothing": ([], ("rollback", rollback(AB)), "entered before"),
    "rollback of what is not applied": (granted(AB), ("rollback", rollback(AB)), "not applied"),
    "rollback twice": ([*up_to(AB, "full"), ("rollback", rollback(AB))], ("rollback", rollback(AB)), "taken back"),
    "rollback of another": (up_to(AB, "full"), ("rollback", rollback(AB, child=C)), r"rollback\.child"),
    "rollback in the middle": ([*up_to(AB, "full"), *up_to(BC, "full")], ("rollback", rollback(AB)), "what came after goes first"),
    "rollback under a canary": ([*up_to(AB, "full"), *up_to(BC, "canary")], ("rollback", rollback(AB)), "what came after goes first"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNLAWFUL)
def test_what_is_not_lawful_cannot_be_an_entry(cast: Cast, name: str) -> None:
    before, last, message = UNLAWFUL[name]
    add(cast, *before)
    bytes_before = (cast.folder / FILE).read_bytes()
    with pytest.raises(LedgerError, match=message) as caught:
        add(cast, last)
    assert "\n" not in str(caught.value)
    assert (cast.folder / FILE).read_bytes() == bytes_before


def lawless(self: Feedback, body: Any, seq: int, ts: int) -> Feedback:
    return self


@pytest.mark.parametrize("name", UNLAWFUL)
def test_without_the_rules_it_is_taken_and_every_reader_refuses_it(cast: Cast, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: a writer without the rules adds the entry; a reader with them refuses the ledger."""
    before, last, message = UNLAWFUL[name]
    with monkeypatch.context() as patch:
        patch.setattr(module.Feedback, "after", lawless)
        add(cast, *before, last)
        assert verify(cast.folder).problems == ()
    (problem,) = verify(cast.folder).problems
    assert message.replace("\\", "") in problem


@pytest.mark.parametrize(
    ("step", "by"),
    [(("signoff", signoff(AB)), "service"), (("signoff", signoff(AB)), "root"), (("ruling", ruling(AB, "apply")), "root"),
     (("proposal", AC), "root"), (("application", application(AB, "shadow")), "root"), (("rollback", rollback(AB)), "root")],
)  # fmt: skip
def test_who_may_not_sign_adds_nothing(cast: Cast, step: Step, by: str) -> None:
    add(cast, ("proposal", AB), ("ruling", ruling(AB, "signoff")))
    before = (cast.folder / FILE).read_bytes()
    with pytest.raises(LedgerError, match="signed by a person"):
        add(cast, (step[0], step[1], by))
    assert (cast.folder / FILE).read_bytes() == before


@pytest.mark.parametrize("body", [AB | {"rank": 2}, AB | {"uplift": float("nan")}, AB | {"rationale": "\ud800"}, AB | {"edit": {"a": []}}])
def test_what_is_no_proposal_cannot_be_an_entry(cast: Cast, body: dict[str, Any]) -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    before = (cast.folder / FILE).read_bytes()
    for one in (body, AB | {"edit": deep}):
        with pytest.raises(LedgerError):
            add(cast, ("proposal", one))
    assert (cast.folder / FILE).read_bytes() == before


# -- against a model that knows less

POLICIES = tuple(digest(n) for n in range(1, 5))
CASES = tuple(proposal(n, one, other) for n in range(2) for one in range(1, 5) for other in range(1, 5) if one != other)


class Naive:
    """What is in force, kept by hand: for each base the changes that led from it."""

    def __init__(self) -> None:
        self.full: dict[str, dict[str, Any]] = {}  # by target
        self.open: dict[str, dict[str, Any]] = {}  # by target
        self.phase: dict[str, int] = {}  # by id: how many
        self.gone: set[str] = set()

    def apply(self, of: dict[str, Any], phase: str) -> None:
        self.phase[of["id"]] = self.phase.get(of["id"], 0) + 1
        if phase == "full":
            self.full[of["target"]] = self.open.pop(of["target"])
        else:
            self.open[of["target"]] = of

    def roll(self, of: dict[str, Any]) -> None:
        self.gone.add(of["id"])
        for where in (self.full, self.open):
            if where.get(of["target"], {}).get("id") == of["id"]:
                del where[of["target"]]

    def in_force(self, base: str) -> str:
        for _ in range(len(POLICIES) + 1):
            if base not in self.full:
                return base
            base = self.full[base]["child"]
        raise AssertionError("a circle has no policy in force")


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, len(CASES) - 1), st.sampled_from(("apply", "apply", "apply", "roll"))), max_size=60))
def test_whatever_is_tried_one_policy_is_in_force(tries: list[tuple[int, str]]) -> None:
    """Every order of entries, most of them unlawful: what was taken agrees with the model, and nothing goes in circles."""
    found, naive, seq = Feedback(), Naive(), 0
    for of in CASES:
        for kind, body, *_ in granted(of):
            found, seq = found.after(checked(kind, body, "x"), seq, NOW), seq + 1
    for at, what in tries:
        of = CASES[at]
        phase = PHASES[min(2, naive.phase.get(of["id"], 0))]
        kind, body = ("application", application(of, phase)) if what == "apply" else ("rollback", rollback(of))
        before = {base: found.in_force(base) for base in POLICIES}
        try:
            found = found.after(checked(kind, body, "x"), seq, NOW)
        except LedgerError:
            continue
        seq += 1
        naive.apply(of, phase) if what == "apply" else naive.roll(of)
        for base in POLICIES:
            now = found.in_force(base)
            assert now == naive.in_force(base)
            assert found.under_way(base) == (found.cases[naive.open[base]["id"]] if base in naive.open else None)
            assert now == before[base] or {now, before[base]} == {of["target"], of["child"]}, "one change moves it by one change"
            assert ([base] + [case.proposal.child for case in found.path(base)])[-1] == now
            assert not {base} & found.ancestors(base)


def test_an_empty_feedback_has_nothing_in_force_but_what_a_node_brings() -> None:
    assert (Feedback().in_force(A), Feedback().root(A), Feedback().path(A), Feedback().changes_since(0)) == (A, A, (), 0)
    assert Case(checked("proposal", AB, "x"), 3).phase == ""  # type: ignore[arg-type]


# -- one look at the same data


def lot(n: int, target: int = 1, child: int = 3) -> dict[str, Any]:
    """Return a proposal of a job with another configuration."""
    return proposal(n, target, child, config_hash=digest(50 + n))


def seen(of: dict[str, Any], outcome: str, first: int, last: int, **parts: Any) -> dict[str, Any]:
    """Return a ruling on data of so many hours, counted from that of the others."""
    window = ruling(of, outcome)["window"] | {"start": str(NOW + first * HOUR), "end": str(NOW + last * HOUR)}
    return ruling(of, outcome, window=window, **parts)


@pytest.mark.parametrize("outcome", ["apply", "signoff"])
@pytest.mark.parametrize(("first", "last", "fresh"), [(1, 9, True), (1, 20, True), (1, 21, False), (27, 40, False), (28, 40, True)])
def test_data_that_another_lot_was_ruled_on_grant_nothing(cast: Cast, outcome: str, first: int, last: int, fresh: bool) -> None:
    """The first was rejected on hours 20 to 28: asking again, a little otherwise, is asking until the answer is yes."""
    add(cast, ("proposal", AB), ("ruling", seen(AB, "reject", 20, 28)), ("proposal", lot(1)))
    step = ("ruling", seen(lot(1), outcome, first, last))
    if fresh:
        assert add(cast, step).cases[lot(1)["id"]].ruling is not None
        return
    with pytest.raises(LedgerError, match="data that none had seen"):
        add(cast, step)
    assert add(cast, ("ruling", seen(lot(1), "reject", first, last))).cases[lot(1)["id"]].ruling is not None


def test_without_the_count_it_is_granted(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation."""
    monkeypatch.setattr(module.Feedback, "spent", lambda *_: 0)
    found = add(cast, ("proposal", AB), ("ruling", ruling(AB, "reject")), ("proposal", lot(1)), ("ruling", ruling(lot(1), "apply")))
    assert found.cases[lot(1)["id"]].granted


def test_what_does_not_count_as_a_look(cast: Cast) -> None:
    """Another of the same lot; another instrument; another policy; too few periods to grant anything."""
    other = ruling(AB, "reject")["window"] | {"instrument": "ETH/USD.SIM"}
    short = {"base": [0.0] * 7, "changed": [0.0] * 7}
    add(cast, ("proposal", AB), ("ruling", ruling(AB, "reject", **short)), ("proposal", lot(2)), ("ruling", ruling(lot(2), "reject", window=other)),
        ("proposal", lot(3, 9, 8)), ("ruling", ruling(lot(3, 9, 8), "reject")))  # fmt: skip
    add(cast, ("proposal", AB_AGAIN), ("ruling", ruling(AB_AGAIN, "reject")))
    same = proposal(5, 1, 4)
    assert add(cast, ("proposal", same), ("ruling", ruling(same, "apply"))).cases[same["id"]].granted


def test_what_led_to_a_policy_has_spent_its_data_too(cast: Cast) -> None:
    found = add(cast, *up_to(AB, "full"), ("proposal", lot(6, 2, 3)))
    assert found.spent(found.cases[lot(6, 2, 3)["id"]].proposal, found.cases[AB["id"]].ruling.window) == 1  # type: ignore[union-attr, arg-type]
