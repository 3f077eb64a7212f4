"""The attempts of the live drill: none gets through, and without a mechanism they do, and are counted."""

from typing import Any

import pytest

from alphatrade.nodes.live import exchange, seal
from alphatrade.nodes.live.seal import Seal
from alphatrade.risk.approval import Approvals
from benchmarks.live import attempts as module
from benchmarks.live.attempts import Tally, attempts, figures, kinds
from tests.venue.keys import ED25519_KEY as KEY


def wrong(tallies: list[Tally]) -> set[str]:
    return {one.kind for one in tallies if one.wrong}


def only(monkeypatch: pytest.MonkeyPatch, layer: str, *names: str) -> None:
    named = kinds()[layer]
    monkeypatch.setattr(module, "kinds", lambda: {layer: {name: named[name] for name in names}})


def test_no_attempt_of_any_kind_gets_through_and_each_is_counted() -> None:
    found = attempts(2)
    assert wrong(found) == set()
    assert sum(one.tried for one in found) == 2 * sum(len(named) for named in kinds().values()) > 120
    rows = {row.id: row for row in figures(found, 100)}
    assert [rows[name].figure for name in ("live.attempts", "live.arrived", "live.unnoticed")] == [0, 0, 0]
    assert all(row.holds for row in rows.values())
    assert figures(found, 10_000)[0].holds is False


def test_mutations_without_the_doors_requests_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("new_order", "submit_order", "sign_request, order", "ws order.place")
    only(monkeypatch, "doors", *names)
    monkeypatch.setattr(exchange, "install", lambda client, seal: None)
    monkeypatch.setattr(Seal, "secret", property(lambda self: KEY.secret), raising=False)
    monkeypatch.setattr(Seal, "__init__", lambda self, credentials, approvals, venue: None)
    monkeypatch.setattr(Seal, "key", property(lambda self: KEY.name), raising=False)
    found = attempts(1)
    assert wrong(found) == set(names)
    assert sum(one.arrived for one in found) >= 4
    assert sum(one.booked for one in found) >= 3
    assert not all(row.holds for row in figures(found, 4))


def taken(self: Approvals, order_id: str, token: object) -> str:
    """Take any token."""
    self._open[order_id].presented = self._token(self._open[order_id].terms, self._open[order_id])
    return ""


CASES: dict[str, tuple[str, Any]] = {
    "token of another order": ("present", taken),
    "a digit changed": ("present", taken),
    "token of another process": ("present", taken),
    "withdrawn": ("void", lambda self, why: None),
    "five seconds later": ("_old", lambda self, made: False),
    "clock set back": ("_old", lambda self, made: False),
}


@pytest.mark.parametrize("kind", CASES)
def test_mutations_without_its_mechanism_a_token_gets_through(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    only(monkeypatch, "tokens", kind)
    monkeypatch.setattr(Approvals, *CASES[kind])
    one, _ = attempts(1)
    assert one.arrived == one.booked == 1


def test_mutations_without_a_look_at_the_wire_another_price_gets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "tokens", "another price")
    stock, approved = seal.terms_of_query, dict[str, Any]()
    real = Approvals.approve

    def approve(self: Approvals, terms: Any, by_law: bool = False) -> str:
        approved[terms.order_id] = terms
        return real(self, terms, by_law)

    monkeypatch.setattr(Approvals, "approve", approve)
    monkeypatch.setattr(seal, "terms_of_query", lambda query, venue: approved[stock(query, venue).order_id])
    one, _ = attempts(1)
    assert one.arrived == one.booked == 1
