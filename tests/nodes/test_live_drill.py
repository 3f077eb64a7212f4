"""The attempts of the live drill: none gets through, and without a mechanism they do, and are counted."""

from typing import Any

import pytest

from alphatrade.nodes.live import exchange, seal
from alphatrade.nodes.live import permits as permits_module
from alphatrade.nodes.live.clocks import Clocks
from alphatrade.nodes.live.permits import Watch
from alphatrade.nodes.live.seal import Seal
from alphatrade.reflection import ledger_chain
from alphatrade.reflection.ledger_chain import MAY
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.permits import Granted, Permits, permit_id
from alphatrade.risk.approval import Approvals
from benchmarks.live import attempts as module
from benchmarks.live.__main__ import came
from benchmarks.live.attempts import Tally, attempts, figures, kinds
from benchmarks.live.cycle import STEPS
from benchmarks.live.forgeries import FORGERIES, Desk
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


# -- permits


def through(monkeypatch: pytest.MonkeyPatch, name: str, forgery: Any = None) -> bool:
    """Return whether an order by a forgery is in the exchange's books."""
    monkeypatch.setattr(module, "kinds", lambda: {"permits": {name: module._permit(forgery or FORGERIES[name])}})
    one, _ = attempts(1)
    assert one.arrived == one.booked
    return one.booked == 1


def test_by_a_rightful_permit_an_order_is_booked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert through(monkeypatch, "rightful", Desk.enter)


def granted(self: Any, body: Any, member: Any, roster: Any, stages: Any, fingerprint: str, seq: int, ts: int) -> Any:
    """Take any permit."""
    name = permit_id(body.terms)
    made = Granted(name, body.terms, member.name, body.cosign.key, seq, ts, body.why)
    return Permits(self._granted | {name: made})


FREE = (permits_module, "_unlike", lambda one, asked: "")
ANY = (Permits, "granted", granted)
MECHANISMS: dict[str, tuple[Any, str, Any]] = {
    "one signer twice": ANY, "cosigned by a service": ANY, "cosigned by the root": ANY, "cosigned by nobody known": ANY,
    "cosigned with another key": ANY, "cosignature of other terms": ANY, "revoked and entered again": ANY,
    "for another ledger": ANY,
    "entered by a service": (ledger_chain, "MAY", MAY | {"limited_live": frozenset({"service", "person"})}),
    "a signer revoked after": (Permits, "standing", lambda self, name, roster, stages: ""),
    "revoked": (Permits, "standing", lambda self, name, roster, stages: ""),
    "policy taken down": (Permits, "standing", lambda self, name, roster, stages: ""),
    "policy bred on margin": (permits_module, "margin_of", lambda ledger, policy: ""),
    "other code runs": FREE, "at another venue": FREE, "for another account": FREE,
    "end cut off": (Watch, "_seen", lambda self: None),
    "memory damaged": (Watch, "_seen", lambda self: None),
    "clock set back": (Clocks, "_others", lambda self: {"nothing": 0}),
    "another ledger in its place": (permits_module, "verify", lambda folder, fingerprint, head: verify(folder, None, head)),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("name", MECHANISMS)
def test_mutations_without_its_mechanism_a_forged_permit_gets_through(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(*MECHANISMS[name])
    if MECHANISMS[name] is ANY and name != "cosigned by nobody known":
        monkeypatch.setattr(Permits, "standing", lambda self, name, roster, stages: "")
    if name == "entered by a service":
        monkeypatch.setattr(*ANY)
    assert through(monkeypatch, name)


# -- runs


def rows(run: int, **parts: Any) -> list[dict[str, Any]]:
    times = {
        "kill": {"flat_s": 1.0},
        "revoked": {"flat_s": 2.0},
        "expired": {"flat_s": 3.0},
        "kill -9": {"adopted_s": 4.0},
    }
    made = [{"run": run, "step": step, "wrong": [], **times.get(step, {})} for step in STEPS]
    return [
        row | parts.get(row["step"], {}) for row in [*made, {"run": run, "step": "end", "wrong": [], "most_out": "60"}]
    ]


def held(found: list[dict[str, Any]], runs: int = 2) -> dict[str, bool | None]:
    return {row.id: row.holds for row in came(found, runs)}


def test_runs_are_green_only_if_every_step_of_each_is() -> None:
    good = held([*rows(1), *rows(2)])
    assert all(good[name] for name in ("live.cycles", "live.caps", "live.step.kill", "live.step.revoked"))
    assert not held(rows(1))["live.cycles"], "a run is missing"
    assert not held([*rows(1), *rows(2)[:-1]])["live.cycles"], "a run was cut short"
    odd = held([*rows(1), *rows(2, kill={"wrong": ["one order after it"]})])
    assert (odd["live.cycles"], odd["live.step.kill"], odd["live.step.revoked"]) == (False, False, True)
    assert not held([*rows(1), *rows(2, end={"most_out": "100.01"})])["live.caps"]
    assert not held([*rows(1, end={"most_out": "0"}), *rows(2, end={"most_out": "0"})])["live.caps"], "nothing traded"
    kept = {row.id: row.figure for row in came([*rows(1), *rows(2, kill={"flat_s": 9.0})], 2)}
    assert (kept["live.kill.p50"], kept["live.kill.max"]) == (1.0, 9.0)
