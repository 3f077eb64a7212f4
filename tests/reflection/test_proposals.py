"""Proposals: known by the hash of all they say, and whatever else comes along is refused in one line."""

import json
import random
from copy import deepcopy
from typing import Any

import pytest
import rfc8785

from alphatrade.reflection.ledger_bodies import checked
from alphatrade.reflection.rim.entries import Application, Ruling, Window
from alphatrade.reflection.rim.proposals import Pointer, Proposal, proposal_id, read_proposal, sealed_proposal
from alphatrade.risk.errors import LedgerError
from tests.reflection.make_ledger import HOUR, NOW, digest
from tests.reflection.make_proposal import application, experiment, proposal, ruling

EDITS: tuple[dict[str, Any], ...] = (
    {"kind": "route_weight", "regime": "up-low", "tactic": "flat", "weight": 0.5},
    {"kind": "tactic_parameter", "tactic": "momentum", "parameter": "enter", "value": 2.0},
    {"kind": "tighten_risk", "limit": "drawdown_max", "value": 0.05},
    {"kind": "tighten_risk", "limit": "repeat_action", "value": "halt"},
    {"kind": "disable_tactic", "tactic": "maker"},
)


def nested(depth: int) -> Any:
    deep: Any = []
    for _ in range(depth):
        deep = [deep]
    return deep


@pytest.mark.parametrize("plain", [*[proposal(edit=edit) for edit in EDITS], experiment()], ids=lambda p: p["edit"]["kind"])
def test_a_proposal_goes_to_json_and_back(plain: dict[str, Any]) -> None:
    found = read_proposal(plain)
    text = rfc8785.dumps(found.plain())
    again = read_proposal(json.loads(text))
    assert again == found
    assert rfc8785.dumps(again.plain()) == text
    assert found.id == proposal_id(json.loads(text)) == proposal_id({k: v for k, v in plain.items() if k != "id"})
    assert sealed_proposal({k: v for k, v in plain.items() if k != "id"}) == found


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every leaf."""
    if isinstance(tree, dict | list):
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return [place for name, item in pairs for place in places(item, (*path, name))]
    return [path]


def put(plain: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = deepcopy(plain)
    node: Any = changed
    for name in place[:-1]:
        node = node[name]
    node[place[-1]] = value
    return changed


def other(value: Any) -> Any:
    """Return another value that is as well formed."""
    if isinstance(value, str):
        return str(int(value) - 1) if value.isdigit() and len(value) < 20 else value[:-1] + ("0" if value[-1] != "0" else "1")
    return value + 1 if isinstance(value, int) else value / 2


@pytest.mark.parametrize("place", places(proposal()), ids=lambda place: ".".join(map(str, place)))
def test_no_field_can_be_changed_unseen(place: tuple[Any, ...]) -> None:
    plain = proposal()
    node: Any = plain
    for name in place:
        node = node[name]
    with pytest.raises(LedgerError) as caught:
        read_proposal(put(plain, place, other(node)))
    assert "\n" not in str(caught.value)


def test_without_the_check_of_the_id_a_changed_field_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = proposal() | {"rank": 2}
    with pytest.raises(LedgerError, match="the hash of the proposal as its id"):
        read_proposal(plain)
    monkeypatch.setattr("alphatrade.reflection.rim.proposals.proposal_id", lambda _: plain["id"])
    assert read_proposal(plain).rank == 2


def test_nothing_is_left_out_and_nothing_added() -> None:
    plain = proposal()
    for name in plain:
        with pytest.raises(LedgerError):
            read_proposal({key: value for key, value in plain.items() if key != name})
    with pytest.raises(LedgerError, match="also"):
        read_proposal(proposal(also=1))


def evidence(**parts: Any) -> dict[str, Any]:
    return proposal()["evidence"][0] | parts


def resealed(**parts: Any) -> dict[str, Any]:
    """Return a proposal whose id is right, whatever it says."""
    body = proposal() | parts
    return body | {"id": proposal_id(body)}


FALSE: dict[str, tuple[dict[str, Any], str]] = {
    "made before its evidence": ({"created": str(NOW - 1)}, "evidence from before the proposal was made"),
    "evidence of the future": ({"evidence": [evidence(), evidence(end=str(NOW + 1))]}, "evidence from before"),
    "evidence backwards": ({"evidence": [evidence(first=9, last=3)]}, "rows from a first one to a last one"),
    "evidence that ends first": ({"evidence": [evidence(start=str(NOW + 1), end=str(NOW))]}, "rows from a first one"),
    "no evidence": ({"evidence": []}, "at least 1 item"),
    "too much evidence": ({"evidence": [evidence()] * 65}, "at most 64"),
    "changes nothing": ({"child": digest(1)}, "another policy as child"),
    "experiment that changes": ({"edit": experiment()["edit"]}, "another policy as child"),
    "a loss": ({"uplift": -1.0}, "greater than or equal to 0"),
    "more than there is": ({"uplift": 2.0**70}, "less than or equal to 10000"),
    "sure beyond doubt": ({"confidence": 1.01}, "less than or equal to 1"),
    "no rank": ({"rank": 0}, "greater than or equal to 1"),
    "no reason": ({"rationale": ""}, "at least 1 character"),
    "another version": ({"schema_version": 2}, "schema_version"),
    "capitals in a hash": ({"target": "A" * 64}, "target"),
    "a line more": ({"target": digest(1) + "\n"}, "target"),
    "number as time": ({"created": 5}, "created"),
    "zeros before a time": ({"created": "0" + str(NOW)}, "created"),
}


@pytest.mark.parametrize("name", FALSE)
def test_what_cannot_be_is_refused_and_says_why(name: str) -> None:
    parts, message = FALSE[name]
    with pytest.raises(LedgerError, match=message) as caught:
        read_proposal(resealed(**parts))
    assert "\n" not in str(caught.value)


def test_evidence_up_to_the_very_moment_is_evidence() -> None:
    assert read_proposal(proposal(evidence=[evidence(first=3, last=3, start=str(NOW))])).created == str(NOW)


HOSTILE: tuple[Any, ...] = (
    nested(50_000),
    None, True, False, 0, -1, 2**53, 2**63, 10**400, 0.5, float("nan"), float("inf"), 1e-320, "", "x" * 100_000, "\ud800",
    "a\nb", "\x00", b"bytes", [], {}, [[]], {"a": {"b": {}}}, nested(200), {"\ud800": 1}, {1: 2}, {"x" * 10_000: 1},
    ("route_weight",), object(), Proposal, 1j,
)  # fmt: skip


def refusal(plain: Any) -> str:
    """Return why something is no proposal; as what it is known where it is one, and that must be what it says."""
    try:
        found = read_proposal(plain)
    except LedgerError as error:
        return str(error)
    assert found.id == plain["id"] == proposal_id(plain), "another one has this id"
    return "proposal"


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: f"{type(value).__name__}")
def test_whatever_comes_instead_of_a_value_is_refused_in_one_line(value: Any) -> None:
    whole = proposal()
    for place in [(name,) for name in whole] + places(whole) + [("edit", "also"), ("evidence", 0, "also")]:
        told = refusal(put(whole, place, value))
        assert told.startswith("proposal")
        assert "\n" not in told
        assert len(told) < 2000
    for strange in (value, [value], {"id": value}):
        with pytest.raises(LedgerError) as caught:
            read_proposal(strange)
        assert "\n" not in str(caught.value)


def test_a_thousand_damaged_proposals_are_refused() -> None:
    draw, whole = random.Random(5), proposal()
    ways = places(whole) + [(name,) for name in whole]
    shallow = HOSTILE[1:]
    for _ in range(1000):
        plain = whole
        for _ in range(draw.randrange(1, 4)):
            try:
                plain = put(plain, draw.choice(ways), draw.choice(shallow))
            except (TypeError, KeyError, IndexError, AttributeError):
                continue
        if plain == whole:
            continue
        told = refusal(plain)
        assert told.startswith("proposal")
        assert "\n" not in told


def test_a_resealed_proposal_still_has_to_make_sense() -> None:
    """Who can compute the hash can say anything that the schema lets him, and nothing else."""
    for name, value in (("confidence", 2.0), ("edit", {"kind": "loosen_risk"}), ("uplift", "much"), ("regimes", "up-low")):
        with pytest.raises(LedgerError, match=name):
            read_proposal(resealed(**{name: value}))


# -- the other entries


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        ("ruling", ruling(proposal(), "apply", why=["flag: off"]), "for apply none"),
        ("ruling", ruling(proposal(), "reject", why=[]), "reasons"),
        ("ruling", ruling(proposal(), "signoff", why=[]), "reasons"),
        ("ruling", ruling(proposal(), "apply", changed=[0.1]), "as many returns"),
        ("ruling", ruling(proposal(), "apply", family=0), "family"),
        ("ruling", ruling(proposal(), "apply", hits=-1), "hits"),
        ("ruling", ruling(proposal(), "apply", flow=1.5), "flow"),
        ("ruling", ruling(proposal(), "maybe"), "outcome"),
        ("ruling", ruling(proposal(), "apply", base=[float("nan")] * 8), "base"),
        ("application", application(proposal(), "canary", share=0.0), "a share of the capital for a canary"),
        ("application", application(proposal(), "full", share=0.1), "a share of the capital for a canary"),
        ("application", application(proposal(), "canary", share=0.6), "share"),
        ("application", application(proposal(), "rollout"), "phase"),
        ("signoff", {"proposal": digest(1), "approve": "yes", "why": "x"}, "approve"),
        ("signoff", {"proposal": digest(1), "approve": 1, "why": "x"}, "approve"),
        ("rollback", {"proposal": digest(1)}, "target"),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_is_refused(kind: str, body: dict[str, Any], message: str) -> None:
    with pytest.raises(LedgerError, match=message):
        checked(kind, body, "ledger entry 9")


def test_a_window_has_a_start_before_its_end() -> None:
    window = {"instrument": "BTC/USD.SIM", "tape_hash": digest(8), "start": str(NOW), "end": str(NOW + HOUR)}
    assert Window.model_validate(window).start == str(NOW)
    with pytest.raises(LedgerError, match="a start before its end"):
        checked("ruling", ruling(proposal(), "apply", window=window | {"end": str(NOW)}), "ledger entry 9")


def test_entries_are_frozen() -> None:
    for one in (read_proposal(proposal()), Ruling.model_validate(ruling(proposal(), "apply")), Application.model_validate(application(proposal(), "full"))):
        with pytest.raises(ValueError, match="frozen"):
            one.why = []  # type: ignore[misc]
    assert Pointer.model_validate(evidence()).sha256 == digest(7)
