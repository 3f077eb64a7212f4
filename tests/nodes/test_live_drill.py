"""The attempts of the live drill: none gets through, and without a mechanism they do, and are counted."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alphatrade.nodes.live import exchange, run, seal, settings
from alphatrade.nodes.live import permits as permits_module
from alphatrade.nodes.live.clocks import Clocks
from alphatrade.nodes.live.permits import Watch
from alphatrade.nodes.live.seal import Seal
from alphatrade.reflection import ledger_chain
from alphatrade.reflection.ledger_chain import MAY
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.permits import Granted, Permits, permit_id
from alphatrade.risk import live_law
from alphatrade.risk.approval import Approvals
from alphatrade.risk.live_law import LiveLaw
from benchmarks.live import __main__ as drill
from benchmarks.live import attempts as module
from benchmarks.live import words
from benchmarks.live.attempts import SLOW, Tally, attempts, figures, kinds, shares
from benchmarks.live.caps import CAPS
from benchmarks.live.forgeries import FORGERIES, Desk
from benchmarks.live.mix import FAULTS, KINDS, mixed, thin
from benchmarks.live.steps import STEPS
from benchmarks.live.table import came
from benchmarks.live.words import COMMANDS, WORDS, Given
from tests.venue.keys import ED25519_KEY as KEY


def wrong(tallies: list[Tally]) -> set[str]:
    return {one.kind for one in tallies if one.wrong}


def only(monkeypatch: pytest.MonkeyPatch, layer: str, *names: str) -> None:
    """Try these kinds only; what gets through has come before its sender has its answer, and nothing is waited for."""
    monkeypatch.setattr(module, "LATER_S", 0.05)
    named = kinds()[layer]
    monkeypatch.setattr(module, "kinds", lambda: {layer: {name: named[name] for name in names}})


def test_no_attempt_of_any_quick_kind_gets_through_and_each_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {layer: named for layer, named in kinds().items() if layer not in SLOW}
    monkeypatch.setattr(module, "kinds", lambda: quick)
    count = sum(len(named) for named in quick.values())
    found = attempts(2 * count)
    assert wrong(found) == set()
    assert sum(one.tried for one in found) == 2 * count > 150
    rows = {row.id: row for row in figures(found, 100)}
    assert [rows[name].figure for name in ("live.attempts", "live.arrived", "live.unnoticed")] == [0, 0, 0]
    assert all(row.holds for row in rows.values())
    assert figures(found, 10_000)[0].holds is False


def test_so_many_are_tried_as_are_wanted_and_fewer_of_those_that_take_long() -> None:
    sizes = {layer: len(named) for layer, named in kinds().items()}
    times = shares(10_000, sizes)
    assert sum(times[layer] * size for layer, size in sizes.items()) >= 10_000
    assert {layer: times[layer] for layer in SLOW} == SLOW
    assert min(times[layer] for layer in sizes if layer not in SLOW) > 80
    assert set(shares(1, sizes).values()) == {1}


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


BEYOND = [name for name in CAPS if name not in ("at any price", "more than is held", "after the end", "not looked at")]
CAP_CASES: dict[str, tuple[Any, str, Any]] = {
    **dict.fromkeys(BEYOND, (LiveLaw, "_capped", lambda self, buys: None)),
    "at any price": (live_law, "_unbounded", lambda order: None),
    "after the end": (live_law, "unfit", lambda permit, instrument, now: None),
    "not looked at": (live_law, "unfit", lambda permit, instrument, now: None),
}  # fmt: skip


@pytest.mark.parametrize("name", CAP_CASES)
def test_mutations_without_its_cap_an_order_beyond_it_gets_through(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    only(monkeypatch, "caps", name)
    monkeypatch.setattr(*CAP_CASES[name])
    if name == "at any price":
        monkeypatch.setattr(LiveLaw, "_capped", lambda self, buys: None)
    one, _ = attempts(1)
    assert one.arrived == one.booked == 1


# -- words


@pytest.mark.long
def test_no_word_lets_an_order_through_and_without_any_one_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    named = kinds()["words"]
    monkeypatch.setitem(WORDS, "rightful", Given())
    monkeypatch.setattr(module, "kinds", lambda: {"words": {**named, "rightful": words.worded("rightful")}})
    assert wrong(attempts(len(named) + 1)) == {"rightful"}


@pytest.mark.long
def test_a_real_process_ends_with_two_and_one_line_whatever_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("no permit", "both by word and environment", "exploration", *COMMANDS)
    only(monkeypatch, "processes", *names)
    assert wrong(attempts(len(names))) == set()


STATE = (run, "agree", lambda anchor, state, ledger: None)
SET = (settings, "_fits", lambda live: live)
WORD_CASES: dict[str, tuple[Any, str, Any]] = {
    "another account": (permits_module, "_unlike", lambda one, asked: ""),
    "another instrument": (permits_module, "_short", lambda one, asked: ""),
    "at the testnet": (permits_module, "_unlike", lambda one, asked: ""),
    "another state": STATE, "state by environment": STATE, "exploration": SET, "without a bound": SET,
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("name", WORD_CASES)
def test_mutations_without_its_mechanism_a_word_gets_through(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    only(monkeypatch, "words", name)
    monkeypatch.setattr(*WORD_CASES[name])
    if name in ("another account", "another instrument", "at the testnet"):
        monkeypatch.setattr(live_law, "unfit", lambda permit, instrument, now: None)
    assert attempts(1)[0].booked == 1


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
    told: dict[str, dict[str, Any]] = {
        "faults": {"faults": [one.name for one in mixed(random.Random(run))], "hits": {"stall": 3}},
        "kill -9": {"adopted_s": 4.0, "open": 1}, "rollback": {"flat_s": 2.0, "running_s": 9.0},
        "kill": {"flat_s": 1.0, "dust": "0.0001"}, "revoked": {"flat_s": 2.0}, "expired": {"flat_s": 3.0},
        "fall": {"flat_s": 1.0, "lost": "2.5", "gap": False},
        "archived": {"k2": 1.0, "promotions": 6, "runs": 6, "violations": 0, "near_misses": 9, "logged": 6},
        "end": {"most_out": "60"},
    }  # fmt: skip
    made = [{"run": run, "step": step, "wrong": [], **told.get(step, {})} for step in (*STEPS, "end")]
    return [row | parts.get(row["step"].replace(" ", "_"), {}) for row in made]


def held(found: list[dict[str, Any]], runs: int = 2) -> dict[str, bool | None]:
    return {row.id: row.holds for row in came(found, runs)}


def test_runs_are_green_only_if_every_step_of_each_is() -> None:
    found = came([*rows(1), *rows(2)], 2)
    assert [row.id for row in found if row.holds is False] == []
    assert all(row.what.startswith("sandbox: ") for row in found)
    assert not held(rows(1))["live.cycles"], "a run is missing"
    assert not held([*rows(1), *rows(2)[:-1]])["live.cycles"], "a run was cut short"
    odd = held([*rows(1), *rows(2, kill={"wrong": ["one order after it"]})])
    assert (odd["live.cycles"], odd["live.step.kill"], odd["live.step.revoked"]) == (False, False, True)
    kept = {row.id: row.figure for row in came([*rows(1), *rows(2, kill={"flat_s": 9.0})], 2)}
    assert (kept["live.kill.p50"], kept["live.kill.max"]) == (1.0, 9.0)
    assert (kept["live.rollback.max"], kept["live.rolled_back.max"]) == (2.0, 9.0)


ODD: dict[str, dict[str, dict[str, Any]]] = {
    "live.caps": {"end": {"most_out": "100.01"}},
    "live.loss": {"fall": {"lost": "3.01"}},
    "live.k2": {"archived": {"k2": 0.9}},
    "live.k3": {"archived": {"violations": 1}},
    "live.k3.runs": {"archived": {"runs": 5, "logged": 5}},
    "live.k3.logged": {"archived": {"logged": 5}},
    "live.faults": {"faults": {"faults": ["stall"]}},
}


@pytest.mark.parametrize("name", ODD)
def test_mutations_a_figure_beyond_what_is_wanted_does_not_hold(name: str) -> None:
    good, odd = held([*rows(1), *rows(2)]), held([*rows(1), *rows(2, **ODD[name])])
    assert {key for key in good if good[key] != odd[key]} == {name}


def test_where_nothing_was_traded_or_adopted_no_cap_has_held() -> None:
    found = held([*rows(1, end={"most_out": "0"}), *rows(2, end={"most_out": "0"})])
    assert not found["live.caps"]
    assert not held([*rows(1, **{"kill_-9": {"open": 0}}), *rows(2, **{"kill_-9": {"open": 0}})])["live.adopted"]


def test_a_gap_is_told_and_not_judged() -> None:
    found = {row.id: row for row in came([*rows(1), *rows(2, fall={"lost": "7", "gap": True})], 2)}
    assert (found["live.gap"].figure, found["live.gap"].holds) == (7.0, None)
    assert (found["live.loss"].figure, found["live.loss"].holds) == (2.5, True)


def test_each_run_has_another_mix_of_faults_and_twenty_have_all_kinds() -> None:
    runs = [mixed(random.Random(seed)) for seed in range(1, 21)]
    assert all(len({(one.name, str(one.options)) for one in faults}) == FAULTS for faults in runs)
    assert len({tuple(one.name for one in faults) for faults in runs}) == 20
    assert {one.name for faults in runs for one in faults} == KINDS
    assert mixed(random.Random(7)) == mixed(random.Random(7))
    assert thin(1)[:, 3:].max() < 0.002


# -- the command


def test_a_run_that_came_to_its_end_is_not_made_again_and_one_that_was_cut_short_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def cycle(root: Path, seed: int) -> Iterator[dict[str, Any]]:
        made.append(seed)
        if seed == 2:
            raise OSError("no port")
        yield from rows(seed)

    monkeypatch.setattr(drill, "cycle", cycle)
    raw = tmp_path / "live-drill.jsonl"
    raw.write_text("".join(json.dumps(row) + "\n" for row in [*rows(1), *rows(3)[:2]]) + '{"run": 4, "st')
    assert drill.main(["--only", "cycles", "--runs", "3", "--lanes", "1", "--out", str(tmp_path)]) == 1
    assert made == [2, 3]
    assert [row["wrong"] for row in drill.cycles(tmp_path, 3, 1) if row["run"] == 2] == [
        ["OSError: no port"], ["not reached, after nothing"],
    ]  # fmt: skip
    assert made == [2, 3], "one that has failed stays failed"
    told = {row["id"]: row["figure"] for row in json.loads((tmp_path / "live-drill.json").read_text())}
    assert told["live.cycles"] == 2


@pytest.mark.parametrize(
    "words", [["--runs", "0"], ["--runs", "x"], ["--only", "all"], ["--lanes", "-1"], ["--attempts", "1.5"], ["--no"]]
)
def test_bad_words_are_one_line_and_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        drill.main(words)
    assert (end.value.code, len(capsys.readouterr().err.splitlines())) == (2, 1)


@pytest.mark.parametrize("text", ["{not json\n", '{"run": 1}\n', "[]\n", None])
def test_figures_that_are_none_of_the_drill_are_one_line_and_2(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    if text is None:
        folder.write_text("a file")
    else:
        folder.mkdir()
        (folder / "live-drill.jsonl").write_text(text)
    with pytest.raises(SystemExit) as end:
        drill.main(["--only", "cycles", "--out", str(folder)])
    assert (end.value.code, len(capsys.readouterr().err.splitlines())) == (2, 1)
