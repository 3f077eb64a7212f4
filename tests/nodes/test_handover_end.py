"""The end of a node that hands over: it cancels, compares, and leaves what it holds; whatever is not clear, it sells instead."""

import asyncio
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nautilus_trader.model.objects import Quantity

from alphatrade.nodes.live import estate as module
from alphatrade.nodes.live import guardian
from alphatrade.nodes.live.alerts import Alerts
from alphatrade.nodes.live.estate import Estate
from alphatrade.nodes.live.full import Outcome
from alphatrade.nodes.live.guardian import Guardian
from alphatrade.nodes.live.handover import Left, read_left, write_left
from alphatrade.nodes.live.reconcile import Difference
from alphatrade.nodes.live.switch import Switch, pending, request_switch
from alphatrade.nodes.paper import flat, node
from alphatrade.risk.errors import JournalError, NotFlatError
from alphatrade.risk.handover import HandOver, Part
from tests.nodes.make_broker import NAME

OWN = Left("PILOT", "a" * 64, "ab12")
REQUEST = '{"code": "OPERATOR", "reason": "odd", "state": "REDUCING", "ts": 1, "who": "ada"}'
AGREE = Outcome(1, "stop", (), "", 1, 1, 1, 0.1)


class Position:
    """A position, by which strategies and instruments can be told."""

    strategy_id, instrument_id, side, id = "S", NAME, None, "P"


class Rig:
    """A guardian of a node that holds something, and is asked to start again."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.said, self.written = folder, list[str](), list[Any]()
        self.held = {Position(): Quantity.from_str("0.00250000")}
        monkeypatch.setattr(module, "held_up", lambda parts: self.held)
        monkeypatch.setattr(module, "members", lambda trader, kind: [SimpleNamespace(decisions=self.decisions)])
        self.decisions, self.working, self.outcome = 3, list[Any](), AGREE
        cache = SimpleNamespace(orders_open=lambda: self.working, orders_inflight=list)
        trader = SimpleNamespace(actors=list, strategies=list)
        self.node = SimpleNamespace(trader=trader, kernel=SimpleNamespace(cache=cache))
        self.gate = SimpleNamespace(switch=SimpleNamespace(state="ACTIVE"), recovering=False)
        self.handovers = SimpleNamespace(given=None, waits=False)
        intake = SimpleNamespace(handovers=self.handovers, flush=lambda: None)
        broker = SimpleNamespace(venue=SimpleNamespace(value="BINANCE"), witnesses=[], sure=True)
        self.stop = asyncio.Event()
        parts = SimpleNamespace(node=self.node, gate=self.gate, intake=intake, broker=broker, stop=self.stop)
        self.alerts = Alerts(folder, lambda: 7, self.said.append)
        report = SimpleNamespace(write=lambda *told: self.written.append(told))
        duty: Any = SimpleNamespace(
            alerts=self.alerts, asked=SimpleNamespace(markets=()), folder=folder, kept=None, report=report,
            estate=Estate(folder, OWN, self.alerts),
        )  # fmt: skip
        self.guardian = Guardian(parts, duty)
        self.guardian.reconciler.book.opened_ns = 5
        monkeypatch.setattr(self.guardian.reconciler, "run", self._reconciled)
        self.compared, self.stopped = 0, False

    async def _reconciled(self, when: str, kept: Any = None) -> Outcome:
        assert when == "stop"
        self.compared += 1
        self.guardian.reconciler.outcomes.append(self.outcome)
        return self.outcome

    def left(self) -> bool:
        self.guardian.switched, self.guardian.hands_over = "operator: why (by ada)", not self.stopped
        return asyncio.run(self.guardian.left())


@pytest.fixture
def rig(tmp_path, monkeypatch):
    return Rig(tmp_path, monkeypatch)


def test_what_is_held_is_left_when_the_books_agree_and_they_are_compared_once(rig):
    assert rig.left()
    left = read_left(rig.folder)
    assert left is not None
    assert left._replace(ts=0) == OWN._replace(since=5, positions={"BTCUSDT.BINANCE": "0.0025"})
    assert rig.gate.recovering, "a kill is the next node's"
    assert rig.alerts.counts["handover"] == 0
    asyncio.run(rig.guardian.ended(True))
    assert rig.written[-1][3:] == (False, {"BTCUSDT.BINANCE": "0.0025"})
    assert rig.compared == 1


def test_what_was_taken_over_itself_was_paid_for_since_then(rig, monkeypatch):
    rig.handovers.given = HandOver("9f", 3, ())
    monkeypatch.setattr(module.Estate, "look", lambda *_: None)
    assert rig.left()
    left = read_left(rig.folder)
    assert left is not None
    assert left.since == 3


def test_dust_is_left_to_nobody_and_the_node_is_flat(rig):
    rig.held = {}
    assert rig.left()
    assert read_left(rig.folder) is None
    asyncio.run(rig.guardian.ended(True))
    assert rig.written[-1][3:] == (True, None)


ODD: dict[str, Any] = {
    "a difference": lambda rig: setattr(rig, "outcome", Outcome(1, "stop", (Difference("fills", "x", "y"),), "", 1, 1, 1, 0.1)),
    "unread": lambda rig: setattr(rig, "outcome", Outcome(1, "stop", (), "away", 0, 0, 0, 0.1)),
    "an order that works": lambda rig: rig.working.append(object()),
    "tripped": lambda rig: setattr(rig.gate.switch, "state", "REDUCING"),
    "no decision": lambda rig: setattr(rig, "decisions", 0),
    "an account that was never seen": lambda rig: setattr(rig.guardian.reconciler.book, "opened_ns", 0),
    "a stop for good": lambda rig: setattr(rig, "stopped", True),
    "a request to kill": lambda rig: (rig.folder / "kill.request").write_text(REQUEST),
    "a folder that is gone": lambda rig: setattr(rig.guardian._duty.estate, "folder", rig.folder / "gone"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_what_is_not_clear_is_sold_and_told(rig, name):
    ODD[name](rig)
    assert not rig.left()
    assert read_left(rig.folder) is None
    assert rig.alerts.counts["handover"] == 1
    assert "sold, and not handed over" in rig.said[-1]
    asyncio.run(rig.guardian.ended(True))
    assert rig.compared == 2


@pytest.mark.parametrize("hand_over", [True, False])
def test_the_request_says_whether(rig, hand_over):
    request_switch(rig.folder, Switch(1, "ada", "why", hand_over))
    rig.handovers.waits = True
    asyncio.run(rig.guardian._switch())
    assert (rig.guardian.switched, pending(rig.folder)) == ("", True), "first all has to be taken over"
    rig.handovers.waits = False
    asyncio.run(rig.guardian._switch())
    assert (rig.guardian.switched, rig.guardian.hands_over) == ("operator: why (by ada)", hand_over)
    assert rig.stop.is_set()
    asyncio.run(rig.guardian._switch())
    assert rig.guardian.switched


def test_a_journal_that_cannot_be_read_is_no_reason_to_hold_on(rig, monkeypatch):
    async def damaged(*_: Any) -> None:
        raise JournalError("journal", "torn", "whole")

    monkeypatch.setattr(rig.guardian.reconciler, "run", damaged)
    assert not rig.left()
    assert "torn" in rig.said[-1]


def test_a_file_that_may_be_there_is_taken_away_where_what_is_held_is_sold(rig, monkeypatch):
    write = module.write_left

    def fails(folder: Path, left: Left) -> None:
        write(folder, left)
        raise OSError("the folder cannot be synced")

    monkeypatch.setattr(module, "write_left", fails)
    assert not rig.left()
    assert read_left(rig.folder) is None


def test_a_stop_overrules_who_asks_for_another_start(rig):
    rig.guardian.switched, rig.guardian.hands_over = "why", True
    rig.guardian.stopped()
    assert (rig.guardian.switched, rig.guardian.hands_over) == ("", False)
    assert rig.left()
    rig.guardian.stopped()
    assert (rig.guardian.switched, rig.guardian.hands_over) == ("", True), "it is left, and nobody will take it"


@pytest.mark.parametrize("heard", ["by the guardian", "by the node"])
def test_a_node_that_ends_already_takes_no_request(rig, heard):
    """The loop hears of a signal later than the guardian; of one before it listened, the node alone."""
    request_switch(rig.folder, Switch(1, "ada", "why", True))
    rig.guardian.stopped() if heard == "by the guardian" else rig.stop.set()
    asyncio.run(rig.guardian._switch())
    assert (rig.guardian.switched, rig.guardian.hands_over, pending(rig.folder)) == ("", False, True)


def test_a_stop_while_a_request_is_taken_overrules_it(rig, monkeypatch):
    take = guardian.take_switch

    def stopped(folder: Path) -> Switch | None:
        found = take(folder)
        rig.guardian.stopped()
        return found

    request_switch(rig.folder, Switch(1, "ada", "why", True))
    monkeypatch.setattr(guardian, "take_switch", stopped)
    asyncio.run(rig.guardian._switch())
    assert (rig.guardian.switched, rig.guardian.hands_over, rig.stop.is_set()) == ("", False, True)


def test_the_file_goes_also_where_all_was_taken_over_just_before_the_end(rig):
    part = Part("HANDOVER-1", "BTCUSDT.BINANCE", "0.0025", "30000")
    write_left(rig.folder, OWN._replace(ts=1, since=1, positions={"BTCUSDT.BINANCE": "0.0025"}))
    rig.handovers.given, rig.handovers.refused = HandOver("9f", 1, (part,)), ""
    rig.handovers.taken = {"BTCUSDT.BINANCE": Decimal("0.0025")}
    rig.guardian._parts.gate.memory = SimpleNamespace(keep=lambda: None)
    rig.guardian._parts.intake.sync = lambda: True
    asyncio.run(rig.guardian.ended(True))
    assert read_left(rig.folder) is None


# -- closed, or not


def closed(monkeypatch: pytest.MonkeyPatch, hands_over: bool, idle: bool = True, left: bool = True, waits: bool = False) -> Any:
    """Return what comes of the end of a node, and what was closed."""
    asked: list[bool] = []

    async def make_flat(parts: Any, tell: Any, keeps: bool = False) -> bool:
        asked.append(keeps)
        return idle if keeps else True

    async def leave() -> bool:
        return left

    monkeypatch.setattr(node, "make_flat", make_flat)
    guard = SimpleNamespace(hands_over=hands_over, left=leave)
    parts: Any = SimpleNamespace(guard=guard, intake=SimpleNamespace(handovers=SimpleNamespace(waits=waits)))
    return asyncio.run(node._closed(parts, None, print)), asked


def test_without_the_word_all_is_closed(monkeypatch):
    assert closed(monkeypatch, False) == (True, [False])
    assert closed(monkeypatch, True) == (True, [True])
    assert closed(monkeypatch, True, left=False) == (True, [True, False])
    assert closed(monkeypatch, True, idle=False) == (True, [True, False])
    assert closed(monkeypatch, False, waits=True) == (False, [False]), "what is not taken over yet is not flat"


@pytest.mark.parametrize("keeps", [True, False])
def test_a_node_that_keeps_what_it_holds_cancels_and_sends_nothing(monkeypatch, keeps):
    monkeypatch.setattr(flat, "ROUNDS", 3)
    monkeypatch.setattr(flat, "ROUND_S", 0.0)
    monkeypatch.setattr(flat, "held_up", lambda parts: {Position(): Quantity.from_str("1")})
    order, sent = SimpleNamespace(is_pending_cancel=False), list[str]()
    working = [order]

    def cancel(_: Any) -> None:
        sent.append("cancel")
        working.clear()

    strategy = SimpleNamespace(
        id="S", cancel_order=cancel, submit_order=lambda *_, **__: sent.append("order"),
        cache=SimpleNamespace(orders_open=lambda strategy_id: list(working)),
        order_factory=SimpleNamespace(market=lambda *_, **__: None),
    )  # fmt: skip
    monkeypatch.setattr(flat, "Order", SimpleNamespace(closing_side=lambda _: None))
    cache = SimpleNamespace(orders_open=lambda: list(working), orders_inflight=list, instruments=list)
    made = SimpleNamespace(kernel=SimpleNamespace(cache=cache), trader=SimpleNamespace(strategies=lambda: [strategy]))
    parts = SimpleNamespace(node=made, venue=None, broker=object(), intake=SimpleNamespace(tick=lambda _: None))
    done = asyncio.run(flat.make_flat(parts, lambda _: None, keeps))
    assert done == keeps
    assert sent == (["cancel"] if keeps else ["cancel", "order", "order"])


# -- the last words of a node


def ends(monkeypatch: pytest.MonkeyPatch, flat: bool, switched: str = "", tripped: object = None) -> list[str]:
    """Let a node end whose exchange is not asked; return what its service manager was told, and when it closed."""
    told = list[str]()

    async def closed(*_: Any) -> bool:
        told.append("closed")
        return flat

    async def nothing(*_: Any) -> None:
        pass

    async def run() -> None:
        for name, one in {"_closed": closed, "_end": nothing, "_hear": nothing, "_join": nothing}.items():
            monkeypatch.setattr(node, name, one)
        monkeypatch.setattr(node, "_listen", lambda parts: None)
        monkeypatch.setattr(node, "starts_again", lambda: told.append("starts again"))
        monkeypatch.setattr(node, "Pulse", lambda *_: SimpleNamespace(run=nothing, end=lambda: told.append("ends")))
        kernel = SimpleNamespace(loop=asyncio.get_running_loop(), trader=SimpleNamespace(is_running=True))
        stop = asyncio.Event()
        stop.set()
        switch, memory = SimpleNamespace(trip_cause=tripped), SimpleNamespace(keep=lambda: None)
        parts: Any = SimpleNamespace(
            node=SimpleNamespace(kernel=kernel, run_async=nothing), gate=SimpleNamespace(switch=switch, memory=memory),
            guard=SimpleNamespace(switched=switched, begun=nothing, joined=nothing, run=nothing), broker=object(),
            intake=SimpleNamespace(flush=lambda: None), stop=stop,
        )  # fmt: skip
        tape = SimpleNamespace(instrument=SimpleNamespace(symbol="BTCUSDT"))
        what: Any = SimpleNamespace(run=SimpleNamespace(env=SimpleNamespace(name="live")), tapes=[tape])
        broker = SimpleNamespace(keys="binance_live", http=None, secrets_dir=None)
        flight: Any = SimpleNamespace(
            journal=None, state=None, watched=None, speed=0.0, view=None, tell=print, account="PILOT", broker=broker
        )
        await node._run(parts, what, None, flight)

    asyncio.run(run())
    return told


def test_the_service_manager_gives_a_node_that_starts_again_its_time_before_it_closes(monkeypatch):
    assert ends(monkeypatch, True, switched="why") == ["starts again", "closed"]
    assert ends(monkeypatch, True) == ["ends", "closed"]


@pytest.mark.parametrize(
    ("tripped", "words"),
    [
        (None, "the run is not over, and the next start goes on with it"),
        (object(), "trading has stopped, and after a release no start goes on with it"),
    ],
)
def test_what_is_left_is_said_to_be_of_a_next_start_only_where_there_is_one(monkeypatch, tripped, words):
    sells = "to cancel and sell it: alphatrade kill --env live --account PILOT --direct BTCUSDT --venue binance_live"
    with pytest.raises(NotFlatError) as error:
        ends(monkeypatch, False, tripped=tripped)
    assert str(error.value) == f"something is left at the exchange: {words}; {sells}"
