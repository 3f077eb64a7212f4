"""Permits in the ledger: two persons, one policy, once; what forges one is refused by every reader, and nothing written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alphatrade.reflection import permits as module
from alphatrade.reflection.keys import Roster, SigningKey
from alphatrade.reflection.kpi import kpis
from alphatrade.reflection.ledger_chain import MAY
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.permits import PURPOSE, permit_id
from alphatrade.reflection.trials import read
from alphatrade.risk.errors import LedgerError
from tests.reflection.make_ledger import HOUR, NOW, digest, leaf, make_cast, search, stage
from tests.reflection.make_permits import POLICY, Pair, make_pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path)


def standing(pair: Pair, name: str) -> str:
    chain = pair.ledger.chain
    return chain.permits.standing(name, chain.roster, chain.stages)


# -- one that is lawful


def test_two_persons_permit_a_policy_and_it_is_in_limited_live(pair: Pair) -> None:
    name = pair.enter()
    chain = pair.ledger.chain
    (found,) = chain.permits.of(POLICY)
    assert (found.id, found.first, found.second, found.seq) == (permit_id(found.terms), "person", "ben", 6)
    assert chain.permits.find(name) is chain.permits.all[0] is found
    assert (chain.stages.stage_of(POLICY), chain.stages.incumbent("limited_live")) == ("limited_live", POLICY)
    assert chain.stages.history[-1].kind == "admission"
    assert standing(pair, name) == ""
    assert verify(pair.cast.folder).problems == ()


def test_a_second_permit_of_a_policy_moves_nothing(pair: Pair) -> None:
    first, second = pair.enter(), pair.enter(pair.terms(nonce="1" * 32, capital="60"))
    chain = pair.ledger.chain
    assert [one.id for one in chain.permits.of(POLICY)] == [first, second]
    assert sum(move.kind == "admission" for move in chain.stages.history) == 1
    assert standing(pair, first) == standing(pair, second) == ""


def test_the_policy_that_was_in_charge_of_live_can_be_rolled_back_to(pair: Pair) -> None:
    first, ledger = pair.enter(), pair.ledger
    for origin, to in (("experiment", "paper"), ("paper", "pilot")):
        ledger.append("stage", stage(2, origin, to), pair.cast.person, NOW)
    second = pair.enter(pair.terms(policy_hash=digest(1002)))
    assert pair.ledger.chain.stages.incumbent("limited_live") == digest(1002)
    assert standing(pair, first) == standing(pair, second) == ""
    pair.ledger.append("stage", stage(1, "limited_live", "limited_live"), pair.cast.person, NOW)
    assert pair.ledger.chain.stages.incumbent("limited_live") == POLICY
    assert standing(pair, first) == ""
    assert standing(pair, second).endswith("left limited_live in entry 10: because")


@pytest.mark.parametrize("by", ["person", "service"])
def test_one_signature_takes_it_back_for_good(pair: Pair, by: str) -> None:
    name = pair.enter()
    pair.ledger.append("revocation", {"permit": name, "why": "enough"}, getattr(pair.cast, by), NOW)
    assert standing(pair, name) == f"permit {name[:12]} was revoked by {by} in entry 7: enough"
    with pytest.raises(LedgerError, match="that was not revoked"):
        pair.ledger.append("revocation", {"permit": name, "why": "again"}, pair.cast.person, NOW)
    with pytest.raises(LedgerError, match="terms that were not entered before"):
        pair.enter()


@pytest.mark.parametrize("signer", ["person", "ben"])
def test_it_stands_only_as_long_as_both_keys_do(pair: Pair, signer: str) -> None:
    name = pair.enter()
    pair.ledger.append("roster", {"revoke": signer}, pair.cast.root, NOW)
    assert standing(pair, name) == f"the key of {signer}, who signed permit {name[:12]}, was revoked"


def test_a_policy_that_was_taken_down_and_is_permitted_anew_has_the_new_permit_alone(pair: Pair) -> None:
    first = pair.enter(pair.terms(capital="1000"))
    pair.ledger.append("stage", stage(1, "limited_live", "pilot"), pair.cast.service, NOW)
    assert standing(pair, first).endswith("left limited_live in entry 7: because")
    second = pair.enter(pair.terms(nonce="1" * 32))
    assert standing(pair, first)
    assert standing(pair, second) == ""


def test_of_one_that_nobody_entered_it_is_said(pair: Pair) -> None:
    assert standing(pair, digest(5)) == f"there is no permit {digest(5)[:12]}"


# -- forged ones


def cosign(**parts: Any) -> Callable[[Pair], dict[str, Any]]:
    def made(pair: Pair) -> dict[str, Any]:
        body = pair.body()
        return body | {"cosign": body["cosign"] | parts}

    return made


def retold(**parts: Any) -> Callable[[Pair], dict[str, Any]]:
    """Return a body whose terms were changed after they were cosigned."""
    return lambda pair: (body := pair.body()) | {"terms": body["terms"] | parts}


def agreed(**parts: Any) -> Callable[[Pair], dict[str, Any]]:
    """Return a body with other terms that both have signed."""

    def made(pair: Pair) -> dict[str, Any]:
        terms = pair.terms().model_copy(update=parts)
        return pair.body(terms)

    return made


def of_own(pair: Pair) -> dict[str, Any]:
    return pair.body(by=pair.cast.person, name="person")


def of_unknown(pair: Pair) -> dict[str, Any]:
    return pair.body(by=SigningKey.generate(pair.cast.folder.parent / "eve.pem"), name="eve")


def in_bens_name(pair: Pair) -> dict[str, Any]:
    return pair.body(by=SigningKey.generate(pair.cast.folder.parent / "eve.pem"))


def of_revoked(pair: Pair) -> dict[str, Any]:
    pair.ledger.append("roster", {"revoke": "ben"}, pair.cast.root, NOW)
    return pair.body()


def for_another_purpose(pair: Pair) -> dict[str, Any]:
    body, terms = pair.body(), pair.terms()
    message = module._message(terms).removeprefix(PURPOSE)
    return body | {"cosign": {"key": "ben", "sig": pair.ben.sign(message)}}


def entered_before(pair: Pair) -> dict[str, Any]:
    pair.enter()
    return pair.body()


def revoked_before(pair: Pair) -> dict[str, Any]:
    name = pair.enter()
    pair.ledger.append("revocation", {"permit": name, "why": "enough"}, pair.cast.person, NOW)
    return pair.body()


def of_another_ledger(pair: Pair) -> dict[str, Any]:
    folder = pair.cast.folder.parent / "other"
    folder.mkdir()
    return pair.body(pair.terms(ledger=make_cast(folder).ledger.chain.fingerprint))


def of_a_policy_on_paper(pair: Pair) -> dict[str, Any]:
    pair.ledger.append("stage", stage(2, "experiment", "paper"), pair.cast.person, NOW)
    return pair.body(pair.terms(policy_hash=digest(1002)))


def without(part: str) -> Callable[[Pair], dict[str, Any]]:
    return lambda pair: {name: value for name, value in pair.body().items() if name != part}


FORGED: dict[str, tuple[Callable[[Pair], dict[str, Any]], str]] = {
    "without a second": (without("cosign"), "limited_live.cosign"),
    "one signer twice": (of_own, "another person than who signs the entry"),
    "own signature in Ben's name": (lambda pair: pair.body(by=pair.cast.person), "that of ben of these terms"),
    "a service as the second": (lambda pair: pair.body(by=pair.cast.service, name="service"), "a second person"),
    "the root as the second": (lambda pair: pair.body(by=pair.cast.root, name="root"), "a second person"),
    "an unknown second": (of_unknown, "one of the roster"),
    "a stranger in Ben's name": (in_bens_name, "that of ben of these terms"),
    "a second whose key was revoked": (of_revoked, "a key that was not revoked"),
    "no signature": (cosign(sig="0" * 128), "that of ben of these terms"),
    "half a signature": (cosign(sig="0" * 64), "cosign.sig"),
    "a signature for another purpose": (for_another_purpose, "that of ben of these terms"),
    "more capital than was cosigned": (retold(capital="500"), "that of ben of these terms"),
    "another account than was cosigned": (retold(account="OTHER"), "that of ben of these terms"),
    "another policy than was cosigned": (retold(policy_hash=digest(1002)), "that of ben of these terms"),
    "of another ledger": (of_another_ledger, "the fingerprint of this one"),
    "entered before": (entered_before, "terms that were not entered before"),
    "revoked before": (revoked_before, "terms that were not entered before"),
    "ended": (agreed(begins=str(NOW - 2 * HOUR), ends=str(NOW)), "a moment after the entry"),
    "a policy that never flew": (agreed(policy_hash=digest(1009)), "one in pilot or limited_live"),
    "a policy on paper": (of_a_policy_on_paper, "one in pilot or limited_live"),
    "above the ceiling": (agreed(capital="1000.01"), "loss <= capital <= 1000"),
    "a loss above the capital": (agreed(loss="50.01"), "loss <= capital <= 1000"),
    "nothing to lose": (agreed(loss="0"), "0 < loss"),
    "too long": (agreed(ends=str(NOW + 31 * 24 * HOUR + 1)), "31 days at most"),
    "an end before its begin": (agreed(begins=str(NOW + 25 * HOUR)), "an end after the begin"),
    "no symbol": (agreed(symbols=[]), "terms.symbols"),
    "a symbol twice": (agreed(symbols=["BTCUSDT.BINANCE"] * 2), "in order of the alphabet"),
    "all symbols": (agreed(symbols=["*"]), "terms.symbols"),
    "a number written in another way": (agreed(capital="50.0"), "terms.capital"),
    "a number as a number": (agreed(capital=50), "terms.capital"),
    "something more": (lambda pair: (body := pair.body()) | {"terms": body["terms"] | {"exploration": True}}, "exploration"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("name", FORGED)
def test_a_forged_permit_cannot_be_an_entry(pair: Pair, name: str) -> None:
    make, message = FORGED[name]
    body = make(pair)
    before = (pair.cast.folder / "ledger.jsonl").read_bytes()
    with pytest.raises(LedgerError, match=message):
        pair.ledger.append("limited_live", body, pair.cast.person, NOW)
    assert (pair.cast.folder / "ledger.jsonl").read_bytes() == before


@pytest.mark.parametrize("by", ["service", "root"])
def test_only_a_person_signs_the_entry(pair: Pair, by: str) -> None:
    with pytest.raises(LedgerError, match="limited_live signed by a person"):
        pair.ledger.append("limited_live", pair.body(), getattr(pair.cast, by), NOW)


def test_a_root_revokes_no_permit_and_nobody_one_that_is_not_there(pair: Pair) -> None:
    name = pair.enter()
    with pytest.raises(LedgerError, match="revocation signed by a person or service"):
        pair.ledger.append("revocation", {"permit": name, "why": "x"}, pair.cast.root, NOW)
    with pytest.raises(LedgerError, match="the id of a permit"):
        pair.ledger.append("revocation", {"permit": digest(4), "why": "x"}, pair.cast.person, NOW)


def test_no_move_between_stages_leads_into_live(pair: Pair) -> None:
    with pytest.raises(LedgerError, match="limited_live needs two persons and a permit"):
        pair.ledger.append("stage", stage(1, "pilot", "limited_live"), pair.cast.person, NOW)


# -- mutations: each mechanism off lets one of them through


def lenient(monkeypatch: pytest.MonkeyPatch, pair: Pair, name: str) -> None:
    body = FORGED[name][0](pair)
    pair.ledger.append("limited_live", body, pair.cast.person, NOW)


def test_without_the_look_at_signatures_a_stranger_cosigns(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "signed", lambda *_: True)
    lenient(monkeypatch, pair, "a stranger in Ben's name")


def test_without_a_purpose_another_signature_would_do(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PURPOSE", b"")
    lenient(monkeypatch, pair, "a signature for another purpose")


def test_without_the_memory_of_ids_a_permit_comes_back(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    body = FORGED["revoked before"][0](pair)
    ledger = pair.ledger
    monkeypatch.setattr(module, "permit_id", lambda terms: digest(7))
    ledger.append("limited_live", body, pair.cast.person, NOW)


def test_without_the_look_at_the_roster_a_revoked_second_cosigns(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    body = FORGED["a second whose key was revoked"][0](pair)
    monkeypatch.setattr(Roster, "of", lambda self, name: self._members[name])
    pair.ledger.append("limited_live", body, pair.cast.person, NOW)


def test_without_the_look_at_stages_any_policy_is_permitted(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEFORE", ("experiment", "paper", "pilot", "limited_live"))
    lenient(monkeypatch, pair, "a policy on paper")


def test_without_the_ceiling_any_capital_is_permitted(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    from decimal import Decimal

    from alphatrade.reflection import permit_entries

    monkeypatch.setattr(permit_entries, "CEILING", Decimal(10**9))
    lenient(monkeypatch, pair, "above the ceiling")


def test_without_its_line_in_who_may_a_service_enters_one(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MAY, "limited_live", frozenset({"person", "service"}))  # type: ignore[arg-type]
    with pytest.raises(LedgerError, match="a second person"):
        pair.ledger.append("limited_live", pair.body(), pair.cast.service, NOW)  # the second lock


# -- the key figure of promotions


def test_an_admission_counts_as_a_promotion_by_two_persons_with_the_proof_of_the_pilot(pair: Pair) -> None:
    ledger = pair.ledger
    ledger.append("search", search(), pair.cast.service, NOW)
    ledger.append_batch([leaf(0), leaf(1)], pair.cast.service, NOW)
    pair.enter()
    found = kpis(read(pair.ledger))
    last = found["promotions"][-1]
    assert (last["to"], last["by"]) == ("limited_live", "person, ben")
    assert found["retreats"] == []
    (entry,) = [one for one in pair.ledger.entries() if one.kind == "stage" and one.body["to"] == "pilot"]
    assert last["lacks"] == []
    (pair.cast.folder / "verdicts" / f"{entry.body['verdict']}.json").unlink()
    assert kpis(read(pair.ledger))["promotions"][-1]["lacks"], "the verdict is gone"
