"""Stages: up one step with proof and a person, down at any time, back to who was there before, nobody into live yet."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from alphatrade.reflection import stages as module
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.ledger_files import VERDICTS
from alphatrade.reflection.stages import Stages
from alphatrade.risk.errors import LedgerError
from tests.reflection.make_ledger import NOW, Cast, digest, make_cast, stage, verdict

A, B, C = (digest(1000 + n) for n in (1, 2, 3))


@pytest.fixture
def cast(tmp_path: Path) -> Cast:
    return make_cast(tmp_path)


def move(cast: Cast, n: int, origin: str, to: str, by: str = "person", **parts: Any) -> Stages:
    ledger = cast.ledger
    ledger.append("stage", stage(n, origin, to, **parts), getattr(cast, by), NOW)
    return ledger.chain.stages


def test_a_policy_goes_up_step_by_step_and_who_arrives_is_in_charge(cast: Cast) -> None:
    assert cast.ledger.chain.stages.stage_of(A) == "experiment"
    found = move(cast, 1, "experiment", "paper")
    assert (found.stage_of(A), found.incumbent("paper"), found.previous("paper")) == ("paper", A, "")
    found = move(cast, 2, "experiment", "paper")
    assert (found.incumbent("paper"), found.previous("paper"), found.policies("paper")) == (B, A, (A, B))
    found = move(cast, 2, "paper", "pilot")
    assert (found.stage_of(B), found.incumbent("pilot")) == ("pilot", B)
    assert found.incumbent("paper") == "", "nobody comes back unasked"
    assert [one.kind for one in found.history] == ["promotion"] * 3
    assert [one.replaced for one in found.history] == ["", A, ""]
    assert cast.ledger.chain.stages.history == found.history, "another reader finds the same"


def test_a_rollback_puts_the_one_before_in_charge(cast: Cast) -> None:
    for n in (1, 2, 3):
        move(cast, n, "experiment", "paper")
    found = move(cast, 2, "paper", "paper", noticed=str(NOW - 5))
    assert (found.incumbent("paper"), found.previous("paper"), found.stage_of(C)) == (B, A, "experiment")
    assert found.policies("experiment") == (C,)
    assert (found.history[-1].kind, found.history[-1].replaced) == ("rollback", C)
    assert move(cast, 1, "paper", "paper").incumbent("paper") == A
    with pytest.raises(LedgerError, match="a stage with a predecessor"):
        move(cast, 1, "paper", "paper")


def test_a_demotion_puts_nobody_in_charge_and_a_service_may_sign_it(cast: Cast) -> None:
    move(cast, 1, "experiment", "paper")
    move(cast, 2, "experiment", "paper")
    move(cast, 2, "paper", "pilot")
    found = move(cast, 2, "pilot", "paper", by="service")
    assert (found.incumbent("pilot"), found.incumbent("paper"), found.stage_of(B)) == ("", "", "paper")
    assert found.previous("paper") == A, "who was in charge of paper before goes before who comes down to it"
    found = move(cast, 1, "paper", "paper")
    assert found.incumbent("paper") == A
    found = move(cast, 2, "paper", "experiment", by="service")
    assert found.stage_of(B) == "experiment"


def test_a_service_empties_no_chair_for_the_next_candidate(cast: Cast) -> None:
    """Whom it takes down has to be beaten as before; a person may say that nobody has."""
    move(cast, 1, "experiment", "paper")
    move(cast, 1, "paper", "pilot")
    found = move(cast, 1, "pilot", "paper", by="service")
    assert (found.incumbent("pilot"), found.to_beat(B), found.to_beat(A)) == ("", A, "")
    assert move(cast, 1, "paper", "experiment").to_beat(B) == ""


def test_a_rollback_of_pilot_takes_its_incumbent_to_paper(cast: Cast) -> None:
    for n in (1, 2):
        move(cast, n, "experiment", "paper")
        move(cast, n, "paper", "pilot")
    found = move(cast, 1, "pilot", "pilot")
    assert (found.incumbent("pilot"), found.stage_of(B), found.incumbent("paper")) == (A, "paper", "")


ILLEGAL: dict[str, tuple[dict[str, Any], str]] = {
    "two steps": ({"n": 2, "origin": "experiment", "to": "pilot", "dossier": "d" * 64, "verdict": "d" * 64}, "one step up from"),
    "without a dossier": ({"n": 2, "origin": "experiment", "to": "paper", "dossier": ""}, "stage.dossier"),
    "without a verdict": ({"n": 2, "origin": "experiment", "to": "paper", "verdict": ""}, "stage.verdict"),
    "a service upwards": ({"n": 2, "origin": "experiment", "to": "paper", "by": "service"}, "a promotion signed by a person"),
    "a service back": ({"n": 1, "origin": "paper", "to": "paper", "by": "service"}, "a rollback signed by a person"),
    "from where it is not": ({"n": 1, "origin": "pilot", "to": "experiment"}, "paper, where the policy is"),
    "down from nowhere": ({"n": 2, "origin": "paper", "to": "experiment"}, "experiment, where the policy is"),
    "into live": ({"n": 3, "origin": "pilot", "to": "limited_live"}, "needs two persons"),
    "back to a stranger": ({"n": 1, "origin": "paper", "to": "paper"}, "a stage with a predecessor"),
    "back to the experiment": ({"n": 2, "origin": "experiment", "to": "experiment"}, "a stage with a predecessor, not experiment"),
    "without a reason": ({"n": 1, "origin": "paper", "to": "experiment", "why": ""}, "stage.why"),
    "noticed later": ({"n": 1, "origin": "paper", "to": "experiment", "noticed": str(NOW + 1)}, "nothing later than the entry"),
    "to nowhere": ({"n": 1, "origin": "paper", "to": "moon"}, "stage.to"),
    "root": ({"n": 1, "origin": "paper", "to": "experiment", "by": "root"}, "stage signed by a person or service"),
}  # fmt: skip


def settled(cast: Cast) -> None:
    """Put C in charge of pilot and A in charge of paper, with nobody before either."""
    move(cast, 3, "experiment", "paper")
    move(cast, 3, "paper", "pilot")
    move(cast, 1, "experiment", "paper")


@pytest.mark.parametrize("name", ILLEGAL)
def test_an_unlawful_move_cannot_be_an_entry(cast: Cast, name: str) -> None:
    parts, message = ILLEGAL[name]
    settled(cast)
    before = (cast.folder / "ledger.jsonl").read_bytes()
    with pytest.raises(LedgerError, match=message):
        move(cast, **parts)
    assert (cast.folder / "ledger.jsonl").read_bytes() == before


@pytest.mark.parametrize("name", [name for name in ILLEGAL if name not in ("without a reason", "to nowhere", "root")])
def test_without_the_rules_an_unlawful_move_is_taken_and_every_reader_refuses_it(
    cast: Cast, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutation: a writer without the rules adds the move; a reader with them refuses the ledger."""
    parts, message = ILLEGAL[name]
    settled(cast)

    def lawless(self: Stages, body: Any, role: str, key: str, seq: int, ts: int) -> Stages:
        return self

    with monkeypatch.context() as patch:
        patch.setattr(module.Stages, "after", lawless)
        move(cast, **parts)
        assert not [one for one in verify(cast.folder).problems if "ledger entry" in one]
    (problem,) = [one for one in verify(cast.folder).problems if "ledger entry" in one]
    assert message in problem


def test_a_verdict_is_kept_beside_the_ledger_and_must_hold(cast: Cast) -> None:
    up = stage(1, "experiment", "paper")
    for wrong, message in (
        (verdict(2), "verdict.policy_hash"),
        (verdict(1, holds=False), "verdict.holds"),
        (verdict(1, holds=1), "verdict.holds"),
        ({}, "verdict.holds"),
    ):
        with pytest.raises(LedgerError, match=message):
            cast.ledger.append_stage(up, cast.person, NOW, wrong)
    assert not (cast.folder / VERDICTS).exists()
    cast.ledger.append_stage(up, cast.person, NOW, verdict(1, dsr=0.97))
    assert verify(cast.folder).problems == ()
    (file,) = (cast.folder / VERDICTS).iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"0.97", b"0.99"))
    assert "expected that of entry 3" in verify(cast.folder).problems[0].replace("'", "")
    file.unlink()
    assert "expected the verdict of entry 3" in verify(cast.folder).problems[0]
    with pytest.raises(LedgerError, match=r"stage\.verdict"):
        cast.ledger.append_stage(stage(2, "experiment", "paper"), cast.person, NOW)


@pytest.mark.parametrize("text", [b"[]", b"no json", b'{"holds":true}', b'{"holds":1,"policy_hash":"x"}'])
def test_a_verdict_by_hash_that_does_not_hold_is_found(cast: Cast, text: bytes) -> None:
    name = hashlib.sha256(text).hexdigest()
    (cast.folder / VERDICTS).mkdir()
    (cast.folder / VERDICTS / f"{name}.json").write_bytes(text)
    cast.ledger.append("stage", stage(1, "experiment", "paper", verdict=name), cast.person, NOW)
    assert "one that does not hold" in verify(cast.folder).problems[0]
