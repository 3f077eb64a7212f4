"""What another node has left is an input of a live node: judged by its law, in its journal, and the same run is made of it."""

from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pandas as pd
import pytest
from nautilus_trader.model.identifiers import InstrumentId

from alphatrade.nodes.artifacts import Folder
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.paper.assembly import Parts
from alphatrade.nodes.paper.inputs import Recorder
from alphatrade.nodes.paper.take_over import BETWEEN_NS, TakeOver
from alphatrade.nodes.paper.venue import PaperVenue
from alphatrade.nodes.sessions import Sessions
from alphatrade.nodes.sim import identity_of, load_tapes, write_inputs
from alphatrade.risk.approval import plain
from alphatrade.risk.audit import audit
from alphatrade.risk.errors import JournalError
from alphatrade.risk.exposure import Order
from alphatrade.risk.gate_commands import Commands
from alphatrade.risk.gate_live import LiveGate
from alphatrade.risk.gate_market import Market
from alphatrade.risk.handover import HandOver, Part
from alphatrade.risk.limits import ALLOWED, Code, Limits, deny
from alphatrade.risk.pace import Pace
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.units import ATTO, from_nano
from tests.nodes.make_paper import digests
from tests.nodes.make_permit import CAPITAL, flown_live, own, permit_for

MADE = own()
(TAPE,) = load_tapes(MADE.run)
NAME = TAPE.instrument.id
NAME_ID = InstrumentId.from_str(NAME)


@pytest.fixture(autouse=True)
def announced(monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """Let the paper venue be told what comes, and buy it, in the place of the broker of a live node."""
    found: list[Part] = []
    monkeypatch.setattr(PaperVenue, "announce", lambda self, parts: found.extend(parts), raising=False)
    return found


FIRST = from_nano(int(TAPE.columns["close"][0]))


def left(*shares: str, beyond: str = "1.005") -> HandOver:
    """Return orders that are worth so much of the capital, at a price a little beyond the first one of the tape."""
    at = (FIRST * Decimal(beyond)).quantize(Decimal(TAPE.instrument.tick), ROUND_DOWN)
    lot, parts = Decimal(TAPE.instrument.lot), list[Part]()
    for number, share in enumerate(shares, 1):
        qty = Decimal(share) * CAPITAL / at // lot * lot
        parts.append(Part(f"HANDOVER-{number}", NAME, plain(f"{qty:f}"), plain(f"{at:f}")))
    return HandOver("ab12", 1, tuple(parts))


def begun(what: HandOver, **permit: Any) -> Callable[[Parts], None]:
    def give(parts: Parts) -> None:
        parts.intake.handover(what)
        parts.intake.permit(permit_for(MADE, **permit))

    return give


def flown(folder: Path, give: Callable[[Parts], None] | None) -> Path:
    folder.parent.mkdir(exist_ok=True)
    with Journal.open(folder.parent / "journal", {"format": 1}) as journal:
        flown_live(MADE, folder, give, journal=journal)
    write_inputs(Folder(folder), MADE, [TAPE], identity_of(MADE, [TAPE]), [{}])
    return folder


def orders(folder: Path) -> pd.DataFrame:
    found = pd.read_parquet(folder / "orders.parquet")
    return found[found["order_id"].str.startswith("HANDOVER-")]


def test_the_journal_gives_it_back(tmp_path: Path) -> None:
    what = left("0.1", "0.05")
    with Journal.open(tmp_path / "journal", {"format": 1}) as journal:
        recorder = Recorder(journal, [NAME])
        recorder.handover(what)
        recorder.flush()
        found = [one for _, kind, payload in journal.records() for one in recorder.read(kind, payload)]
    assert found == [what]


def test_it_is_bought_part_by_part_after_the_first_price_and_told(tmp_path: Path, announced: list[Part]) -> None:
    what = left("0.1", "0.05")
    folder = flown(tmp_path / "run", begun(what))
    assert announced == list(what.parts)
    mine = orders(folder)
    assert list(dict.fromkeys(mine[mine["event"] == "filled"]["order_id"])) == ["HANDOVER-1", "HANDOVER-2"]
    stamps = mine[mine["event"] == "submitted"]["ts"].tolist()
    assert stamps[1] - stamps[0] >= 500_000_000
    events = pd.read_parquet(folder / "risk_events.parquet")
    told = events[events["kind"] == "handover"]
    assert list(told["order_id"]) == ["HANDOVER-1", "HANDOVER-2"]
    assert not events["kind"].isin(["kill", "tripwire"]).any()
    report = audit(folder)
    assert not report.integrity
    assert {one.detail for one in report.violations} == {"a fee for what no exchange has sold"}, "that of the paper venue"


def test_a_run_is_made_again_from_its_journal(tmp_path: Path) -> None:
    was, again = flown(tmp_path / "was", begun(left("0.1", "0.05"))), flown(tmp_path / "again", None)
    assert digests(again) == digests(was)
    assert len(orders(again)) > 0


def test_mutation_what_is_not_journalled_makes_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "handover", lambda *_: None)
    was, again = flown(tmp_path / "was", begun(left("0.1"))), flown(tmp_path / "again", None)
    assert digests(again) != digests(was)


DENIED: dict[str, tuple[HandOver, dict[str, Any], str]] = {
    "larger than an order may be": (left("0.5"), {}, "ORDER_NOTIONAL"),
    "more than the capital of the permit": (left("0.1"), {"capital": 50 * ATTO}, "CAPITAL_CAP"),
    "another instrument": (left("0.1"), {"instruments": ("OTHER.SIM",)}, "PERMIT_SCOPE"),
    "too far from the market": (
        left("0.1", beyond="1.2"), {}, "PRICE_COLLAR",
    ),
}  # fmt: skip


def events_of(folder: Path, *kinds: str) -> list[dict[str, Any]]:
    found = pd.read_parquet(folder / "risk_events.parquet")
    return [*found[found["kind"].isin(kinds)].to_dict("records")]


def watched(found: list[TakeOver], give: Callable[[Parts], None]) -> Callable[[Parts], None]:
    """Return `give`, and have it show who takes over."""

    def given(parts: Parts) -> None:
        found.append(parts.intake.handovers)
        give(parts)

    return given


@pytest.mark.parametrize("name", DENIED)
def test_what_the_law_denies_it_takes_over_itself_and_sells(tmp_path: Path, announced: list[Part], name: str) -> None:
    what, permit, code = DENIED[name]
    found: list[TakeOver] = []
    folder = flown(tmp_path / "run", watched(found, begun(what, **permit)))
    mine = orders(folder)
    assert set(mine[mine["order_id"] == "HANDOVER-1"]["event"]) == {"initialized", "denied"}
    rows = mine[mine["order_id"] == "HANDOVER-1-LAW"]["event"]
    assert [*dict.fromkeys(rows)] == ["initialized", "submitted", "accepted", "filled"]
    (kill,) = events_of(folder, "kill")
    assert (kill["limit"], code in kill["detail"]) == ("HANDOVER", True)
    assert kill["detail"] == f"{found[0].refused} (by law)"
    assert found[0].refused.endswith("; the law takes it over to sell it")
    assert (found[0].waits, sum(found[0].taken.values())) == (False, Decimal(what.parts[0].qty))
    assert announced == [*what.parts, what.parts[0]._replace(order_id="HANDOVER-1-LAW")]
    fills = pd.read_parquet(folder / "fills.parquet")
    assert fills["order_id"].iloc[-1].startswith("LAW-")
    assert fills["position_after"].iloc[-1] == 0
    assert [one["value"] for one in events_of(folder, "state")] == ["REDUCING", "HALTED"]
    report = audit(folder)
    assert not report.integrity
    assert {one.detail for one in report.violations} == {"a fee for what no exchange has sold"}, "that of the paper venue"


def test_all_that_follows_what_was_denied_is_sold_too_and_what_came_before(tmp_path: Path) -> None:
    what = left("0.1", "0.5", "0.05")
    folder = flown(tmp_path / "run", begun(what))
    fills = pd.read_parquet(folder / "fills.parquet")
    assert set(fills[fills["side"] == "BUY"]["order_id"]) == {"HANDOVER-1", "HANDOVER-2-LAW", "HANDOVER-3-LAW"}
    assert fills["position_after"].iloc[-1] == 0
    assert [one["value"] for one in events_of(folder, "state")] == ["REDUCING", "HALTED"]
    assert {one.detail for one in audit(folder).violations} == {"a fee for what no exchange has sold"}


def test_a_position_that_has_grown_a_little_beyond_a_limit_is_sold_as_a_whole(tmp_path: Path) -> None:
    small = own("policy.risk.instrument_max=0.2")

    def give(parts: Parts) -> None:
        parts.intake.handover(left("0.1", "0.09", "0.0145", beyond="1.02"))
        parts.intake.permit(permit_for(small))

    folder = tmp_path / "run"
    flown_live(small, folder, give)
    (kill,) = events_of(folder, "kill")
    assert "HANDOVER-3, " in kill["detail"]
    assert "INSTRUMENT_EXPOSURE" in kill["detail"]
    fills = pd.read_parquet(folder / "fills.parquet")
    assert set(fills[fills["side"] == "BUY"]["order_id"]) == {"HANDOVER-1", "HANDOVER-2", "HANDOVER-3-LAW"}
    assert fills["position_after"].iloc[-1] == 0


def test_a_price_that_stops_trading_before_it_is_sent_gives_it_to_the_law(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh, looked = Market.refresh, list[int]()

    def breached(self: Market, instrument: str) -> None:
        refresh(self, instrument)
        looked.append(1)
        if len(looked) == 1:
            self.gate.breach(deny(Code.LOSS_CAP, "a loss"), self.gate.clock.timestamp_ns())

    monkeypatch.setattr(Market, "refresh", breached)
    folder = flown(tmp_path / "run", begun(left("0.1")))
    fills = pd.read_parquet(folder / "fills.parquet")
    assert set(fills[fills["side"] == "BUY"]["order_id"]) == {"HANDOVER-1-LAW"}
    assert "HANDOVER-1" not in set(orders(folder)["order_id"])
    assert fills["position_after"].iloc[-1] == 0


def test_a_run_in_which_it_was_denied_is_made_again_from_its_journal(tmp_path: Path) -> None:
    was = flown(tmp_path / "was", begun(left("0.1", "0.5")))
    assert digests(flown(tmp_path / "again", None)) == digests(was)


def test_whoever_has_stopped_trading_what_was_left_is_sold(tmp_path: Path) -> None:
    def give(parts: Parts) -> None:
        begun(left("0.1", "0.05"))(parts)
        parts.gate.trip("OPERATOR", "looks wrong", "ada")

    found: list[TakeOver] = []
    folder = flown(tmp_path / "run", watched(found, give))
    fills = pd.read_parquet(folder / "fills.parquet")
    assert set(fills[fills["side"] == "BUY"]["order_id"]) == {"HANDOVER-1-LAW", "HANDOVER-2-LAW"}
    assert fills["position_after"].iloc[-1] == 0
    assert found[0].refused == "trading has stopped (OPERATOR): the law takes it over to sell it"


def test_mutation_without_the_law_it_is_bought_by_nobody_and_a_reduction_has_to_wait_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TakeOver, "_by_law", lambda *_: False)
    found: list[TakeOver] = []
    folder = flown(tmp_path / "run", watched(found, begun(left("0.5"))))
    assert pd.read_parquet(folder / "fills.parquet").empty
    assert found[0].waits
    assert [one["value"] for one in events_of(folder, "state")] == ["REDUCING", "HALTED"], "with something left"
    monkeypatch.setattr(TakeOver, "_by_law", lambda self, _: self.waits)
    folder = flown(tmp_path / "waits" / "run", begun(left("0.5")))
    assert [one["value"] for one in events_of(folder, "state")] == ["REDUCING"]


# -- what may be gone, and what does not get out


def taken_back(when: str) -> Callable[[Parts], None]:
    def give(parts: Parts) -> None:
        what = left("0.1", "0.05")
        begun(what)(parts)
        if when == "after a stop":
            parts.gate.trip("RECONCILE", "the books differ", "reconciliation")
        parts.intake.handover(what._replace(parts=()))

    return give


@pytest.mark.parametrize("when", ["at once", "after a stop"])
def test_what_may_be_gone_is_bought_by_nobody_and_stops_trading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    told, found = list[str](), list[TakeOver]()
    monkeypatch.setattr(PaperVenue, "withdraw", lambda self, why: told.append(why), raising=False)
    if when == "after a stop":  # then the law has sent them, and they are held where they would leave
        monkeypatch.setattr(TakeOver, "_by_law", lambda self, _: self.waits)
    folder = flown(tmp_path / "run", watched(found, taken_back(when)))
    assert told == ["the books differ from the exchange's, which may not have it any more"]
    assert pd.read_parquet(folder / "fills.parquet").empty
    assert (found[0].waits, found[0].taken) == (False, {})
    assert "not taken over is HANDOVER-1, " in found[0].refused
    assert ", HANDOVER-2, " in found[0].refused
    assert [one["value"] for one in events_of(folder, "state")] == ["REDUCING", "HALTED"]
    again = flown(tmp_path / "again", None) if when == "at once" else None
    assert again is None or digests(again) == digests(folder)


def rogue(name: str, give: Callable[[Parts], None]) -> Callable[[Parts], None]:
    """Have somebody else send an order of this id, then do what is given."""

    def given(parts: Parts) -> None:
        taking = parts.intake.handovers
        parts.intake.permit(permit_for(MADE))
        command = taking._command(left("0.01").parts[0]._replace(order_id=name), 0)
        parts.node.kernel.msgbus.send(endpoint="ExecEngine.execute", msg=command)
        give(parts)

    return given


@pytest.mark.parametrize("holds", [True, False])
def test_nobody_else_may_use_such_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds: bool) -> None:
    if not holds:
        monkeypatch.setattr(LiveGate, "held", lambda *_: None)  # mutation
    folder = flown(tmp_path / "run", rogue("HANDOVER-7", lambda _: None))
    codes = [one["limit"] for one in events_of(folder, "denied") if one["order_id"] == "HANDOVER-7"]
    assert (codes == ["HANDOVER"]) == holds


def test_one_whose_id_was_used_by_somebody_else_is_taken_over_by_the_law(tmp_path: Path) -> None:
    folder = flown(tmp_path / "run", rogue("HANDOVER-1", begun(left("0.1"))))
    (kill,) = events_of(folder, "kill")
    assert "its id is that of another order; the law takes it over" in kill["detail"]
    fills = pd.read_parquet(folder / "fills.parquet")
    assert set(fills[fills["side"] == "BUY"]["order_id"]) == {"HANDOVER-1-LAW"}
    assert fills["position_after"].iloc[-1] == 0


@pytest.mark.parametrize("why", ["its id is that of another order", "the law failed"])
def test_one_of_the_law_that_does_not_get_out_is_told_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    give, sealed = begun(left("0.1", "0.5", "0.05")), LiveGate.sealed
    if why == "the law failed":

        def fails(self: LiveGate, command: Any) -> Any:
            if command.order.client_order_id.value == "HANDOVER-2-LAW":
                raise ValueError("what cannot be approved")
            return sealed(self, command)

        monkeypatch.setattr(LiveGate, "sealed", fails)
    else:
        give = rogue("HANDOVER-2-LAW", give)
    found: list[TakeOver] = []
    folder = flown(tmp_path / "run", watched(found, give))
    assert "but not HANDOVER-2-LAW, " in found[0].refused
    assert why in found[0].refused
    assert not found[0].waits
    assert [one["value"] for one in events_of(folder, "state")] == ["REDUCING", "HALTED"], "it is not waited for"
    fills = pd.read_parquet(folder / "fills.parquet")
    assert set(fills[fills["side"] == "BUY"]["order_id"]) == {"HANDOVER-1", "HANDOVER-3-LAW"}
    assert fills["position_after"].iloc[-1] == 0


# -- what waits, and what has to wait for it


@pytest.mark.parametrize("holds", [True, False])
def test_meanwhile_the_gate_denies_what_the_organism_buys_and_counts_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds: bool
) -> None:
    if not holds:
        monkeypatch.setattr(LiveGate, "held", lambda *_: None)  # mutation
    monkeypatch.setattr(TakeOver, "_ready", lambda self, part, ts: self._gate.commands.tries >= 3)
    judge = Commands._judge

    def judged(self: Commands, intents: list[Order], now: int) -> Any:
        verdict = judge(self, intents, now)
        if not intents[0].order_id.startswith("HANDOVER-"):
            self.tries += 1
        elif holds:
            law = self.gate.law
            assert (law.exposure.working, law.approved, law.pace.in_minute(now)) == ({}, set(), 0)
        return verdict

    monkeypatch.setattr(Commands, "tries", 0, raising=False)
    monkeypatch.setattr(Commands, "_judge", judged)
    folder = flown(tmp_path / "run", begun(left("0.1", beyond="1.02")))
    denied = events_of(folder, "denied")
    rows = pd.read_parquet(folder / "orders.parquet")
    first = rows[rows["event"] == "submitted"]["order_id"].iloc[0]
    assert (first == "HANDOVER-1") == holds
    held = [one for one in denied if one["detail"] == "HANDOVER: held until what was handed over is taken over"]
    assert (len(held) >= 3) if holds else not held
    assert len(rows[(rows["event"] == "submitted") & ~rows["order_id"].str.startswith("HANDOVER-")]) > 0, "then it trades"


def test_mutation_past_the_law_a_position_that_is_too_large_gets_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = TakeOver._send

    def unjudged(self: TakeOver, part: Part, ts: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(type(self._gate.law), "check", lambda *_: ALLOWED)
            send(self, part, ts)

    monkeypatch.setattr(TakeOver, "_send", unjudged)
    folder = flown(tmp_path / "run", begun(left("0.5")))
    assert "filled" in set(orders(folder)["event"])
    assert "ORDER_NOTIONAL" in {one.code for one in audit(folder).violations}, "and the auditor finds it"


@pytest.mark.parametrize("waits", [True, False])
def test_outside_of_the_session_it_waits_and_is_not_denied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    if not waits:
        monkeypatch.setattr(TakeOver, "_ready", lambda *_: True)  # mutation
    opens = int(TAPE.columns["ts"][0]) + 20 * 60 * 10**9
    phases = {0: "closed", opens - 10 * 60 * 10**9: "closing", opens: "open"}
    phase = lambda _, ts: next(name for since, name in reversed(phases.items()) if ts >= since)  # noqa: E731
    monkeypatch.setattr(Sessions, "phase", phase)
    folder = flown(tmp_path / "run", begun(left("0.1", beyond="1.02")))
    assert [one["detail"].count("SESSION") for one in events_of(folder, "kill")] == [1] * (not waits)
    mine = orders(folder)
    assert ("HANDOVER-1" in set(mine[mine["event"] == "filled"]["order_id"])) == waits
    assert (mine["ts"].min() >= opens) == waits


CANNOT: dict[str, Callable[[Any], None]] = {
    "no price": lambda held: setattr(held, "mark_ts", -1),
    "a halt": lambda held: setattr(held, "halted", True),
    "a price that is doubted": lambda held: setattr(held, "doubt", ("crossed", "1", "0")),
    "an old price": lambda held: setattr(held, "mark_ts", 0),
}


@pytest.mark.parametrize("name", CANNOT)
def test_what_cannot_be_judged_waits_and_is_not_denied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    refresh, looked = Market.refresh, list[int]()

    def unlike(self: Market, instrument: str) -> None:
        refresh(self, instrument)
        held = self.gate.law.exposure.holding(instrument)
        looked.append(1)
        if len(looked) <= 3:
            CANNOT[name](held)
        else:
            held.halted, held.doubt = False, None

    monkeypatch.setattr(Market, "refresh", unlike)
    folder = flown(tmp_path / "run", begun(left("0.1", beyond="1.02")))
    assert not events_of(folder, "kill")
    assert "filled" in set(orders(folder)["event"])
    assert len(looked) > 4


@pytest.mark.parametrize(("second", "minute"), [(10, 120), (1, 120), (3, 7)])
@pytest.mark.parametrize("spaced", [True, False])
def test_parts_keep_to_the_rate_of_the_template(
    monkeypatch: pytest.MonkeyPatch, second: int, minute: int, spaced: bool
) -> None:
    if not spaced:
        monkeypatch.setattr("alphatrade.nodes.paper.take_over.between_ns", lambda _: BETWEEN_NS)  # mutation
    template = RiskTemplate(orders_per_second=second, orders_per_minute=minute)
    pace, gate, denied, sent = Pace(template, Limits.of(template, ATTO)), MagicMock(template=template), [], list[int]()

    def send(self: TakeOver, part: Part, ts: int) -> None:
        denied.append(pace.check_rate(ts, 0, []) is not None)
        pace.count(ts)
        sent.append(ts)
        self._sent.clear()
        self._open.remove(part)

    monkeypatch.setattr(TakeOver, "_send", send)
    monkeypatch.setattr(TakeOver, "_ready", lambda *_: True)
    gate.switch.trip_cause = None
    node = MagicMock()
    node.kernel.cache.order.return_value = None
    taking = TakeOver(node, gate, MagicMock())
    taking.begin(left(*["0.01"] * 20), 0)
    for ts in range(10**9, 10**9 + 200 * 10**9, 10**8):
        taking.heard(SimpleNamespace(instrument_id=NAME_ID), ts)  # type: ignore[arg-type]
    assert len(sent) == 20
    assert any(denied) == (not spaced and second < 10)


def test_what_the_disk_does_not_confirm_stops_trading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Any) -> None:
        raise JournalError("journal", "no space", "a disk")

    found: list[bool] = []

    def give(parts: Parts) -> None:
        found.append(parts.intake.sync())
        monkeypatch.setattr(Recorder, "sync", fails)
        found.append(parts.intake.sync())

    folder = flown(tmp_path / "run", give)
    assert found == [True, False]
    events = pd.read_parquet(folder / "risk_events.parquet")
    assert list(events[events["kind"] == "kill"]["limit"]) == ["STATE_UNWRITABLE"]
