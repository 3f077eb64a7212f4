"""The judges of the drills: what they let pass, and that each fault which they are there for fails."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphatrade.nodes.artifacts import Folder
from alphatrade.nodes.beats import Beat, last_beat
from alphatrade.nodes.kill_direct import kill_direct
from alphatrade.nodes.paper.assembly import Flight, Parts
from alphatrade.nodes.paper.node import fly
from alphatrade.nodes.replay import Replay
from alphatrade.nodes.settings import compose_settings
from alphatrade.nodes.sim import identity_of, load_tapes, write_inputs
from alphatrade.nodes.venue_rest import Credentials
from alphatrade.reflection.packets import RUNBOOK
from alphatrade.risk.gate import RiskGate
from alphatrade.risk.gate_kill import Reduction
from alphatrade.risk.kill import request_kill
from alphatrade.risk.limits import ALLOWED
from benchmarks.drills import direct, disk, drift, exchange, flooder, kill, place, restart, rollback, runaway
from benchmarks.drills.__main__ import DRILLS
from benchmarks.drills.place import MAKER
from benchmarks.drills.record import Came, Drill, Trial, carried_out, shown, spread
from tests.nodes.make_paper import Node
from tests.venue.keys import HMAC_KEY
from tests.venue.make_venue import Handle, running

# -- the shape


def drill(*trials: Trial | Exception) -> Drill:
    left = iter(trials)

    def run(_: Path, number: int) -> Trial:
        found = next(left)
        if isinstance(found, Exception):
            raise found
        return found

    return Drill("some", "something", run, len(trials))


def good(ms: float) -> Trial:
    return Trial("", {"all of it": ms}, {})


def came(path: Path, *trials: Trial | Exception) -> tuple[bool, dict[str, Any]]:
    holds = shown([carried_out(drill(*trials), len(trials), path)], path / "out" / "drills.json")
    return holds, json.loads((path / "out" / "drills.json").read_text())[-1]


def test_a_drill_passes_only_if_every_trial_does(tmp_path: Path) -> None:
    holds, row = came(tmp_path, good(1.0), good(3.0), good(2.0))
    assert holds
    assert (row["holds"], row["n"], row["figure"]) == (True, 3, 2.0)
    assert row["took_ms"] == {"all of it": {"p50": 2.0, "p99": 3.0, "max": 3.0}}


@pytest.mark.parametrize(
    "bad", [Trial("two left", {"all of it": 9.0}, {}), OSError("no exchange")], ids=["wrong", "not carried out"]
)
def test_one_bad_trial_fails_it_and_is_in_no_duration(
    tmp_path: Path, bad: Trial | Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    holds, row = came(tmp_path, good(1.0), bad, good(1.0))
    assert not holds
    assert not row["holds"]
    assert row["took_ms"]["all of it"]["max"] == 1.0
    assert len(row["failed"]) == 1
    told = capsys.readouterr().out
    assert "1 FAILED" in told
    assert row["failed"][0] in told


def test_a_drill_without_a_trial_has_shown_nothing() -> None:
    assert not Came(drill(), ()).row()["holds"]


def test_quantiles_are_those_of_the_nearest_rank() -> None:
    assert spread([float(n) for n in range(1, 101)]) == {"p50": 50.0, "p99": 99.0, "max": 100.0}
    assert spread([7.0]) == {"p50": 7.0, "p99": 7.0, "max": 7.0}


def test_rows_of_other_drills_stay_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "drills.json"
    for one in (
        Drill("a", "", lambda *_: good(1.0), 1),
        Drill("b", "", lambda *_: good(2.0), 1),
        Drill("a", "", lambda *_: good(3.0), 1),
    ):
        assert shown([Came(one, (one.run(tmp_path, 0),))], path)
    assert {row["id"]: row["figure"] for row in json.loads(path.read_text())} == {"drill.a": 3.0, "drill.b": 2.0}


def test_every_drill_has_a_name_of_its_own() -> None:
    assert len({one.name for one in DRILLS}) == len(DRILLS)


# -- kill


def run_with_a_kill(folder: Path) -> Path:
    """Fly a maker at full speed, stop trading as soon as it holds something and rests something, and look on for a while."""
    own, run = compose_settings([*MAKER, "tape.hours=1", "output.stress=false"]), folder / "run"
    tapes = load_tapes(own.run)
    write_inputs(Folder(run), own, tapes, identity_of(own, tapes), [{"source": "drill"}])

    def ready(parts: Parts) -> None:
        def look(_: object) -> None:
            cache = parts.node.kernel.cache
            if cache.positions_open() and cache.orders_open():
                parts.gate.kill("drill", "me")

        parts.node.kernel.msgbus.subscribe("data.quotes.*", look)

    fly(Replay(own.policy, tapes, own.run), run, Flight(ready=ready))
    return run


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_with_a_kill(tmp_path_factory.mktemp("killed"))


def changed(killed: Path, tmp_path: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> str:
    """Return what the judge says of a copy of a run with one file changed."""
    for file in killed.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / name).unlink()
    rows = change(pd.read_parquet(killed / name))
    schema = pq.read_schema(killed / name)
    pq.write_table(pa.Table.from_pandas(rows, schema=schema, preserve_index=False), tmp_path / name)
    return kill.judged(tmp_path)


def trip(killed: Path) -> int:
    events = pd.read_parquet(killed / "risk_events.parquet")
    return int(events[events["kind"] == "kill"]["seq"].iloc[0])


def test_a_run_that_was_stopped_is_right(killed: Path) -> None:
    assert kill.judged(killed) == ""
    seen = kill.counted(killed)
    assert seen["position"] != 0
    assert seen["working"] >= 1


def test_an_order_after_the_trip_is_found(killed: Path, tmp_path: Path) -> None:
    def later(orders: pd.DataFrame) -> pd.DataFrame:
        row = orders[orders["event"] == "submitted"].iloc[:1].assign(seq=10**9, order_id="O-late")
        return pd.concat([orders, row])

    assert changed(killed, tmp_path, "orders.parquet", later) == "1 orders were let through after the trip"


def test_a_position_that_is_left_is_found(killed: Path, tmp_path: Path) -> None:
    assert "never closed" in changed(
        killed, tmp_path, "fills.parquet", lambda fills: fills[fills["seq"] < trip(killed)]
    )


def test_a_node_that_does_not_halt_is_found(killed: Path, tmp_path: Path) -> None:
    assert "never halted" in changed(
        killed, tmp_path, "risk_events.parquet", lambda events: events[events["value"] != "HALTED"]
    )


def test_an_order_that_is_still_open_at_the_halt_is_found(killed: Path, tmp_path: Path) -> None:
    def uncanceled(orders: pd.DataFrame) -> pd.DataFrame:
        return orders[~((orders["event"] == "canceled") & (orders["seq"] > trip(killed)))]

    assert "were open when the law halted" in changed(killed, tmp_path, "orders.parquet", uncanceled)


def test_a_run_that_nobody_stopped_is_no_drill(killed: Path, tmp_path: Path) -> None:
    assert "nothing was drilled" in changed(
        killed, tmp_path, "risk_events.parquet", lambda events: events[events["kind"] != "kill"]
    )


def test_a_law_that_does_not_flatten_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reduction, "_flatten", lambda self, now: len(self.gate.cache.positions_open()))
    assert kill.judged(run_with_a_kill(tmp_path)) == "the position was never closed"


WITNESS = {"before": 2_000, "after": 0, "waiting": 100, "tried_after": 500}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({}, ""),
        ({"after": 1}, "1 orders reached the client"),
        ({"waiting": 0}, "nothing was saturated"),
        ({"tried_after": 0}, "nothing was saturated"),
    ],
)
def test_the_clients_own_count_decides(fault: dict[str, int], words: str) -> None:
    told = kill.swamped(WITNESS | fault)
    assert words in told
    assert bool(words) == bool(told)


def flooded_here(folder: Path) -> dict[str, int]:
    """Flood a node in this process, kill it from a thread as an operator does, and return what left it."""

    def operator() -> None:
        ends = time.monotonic() + 60
        while time.monotonic() < ends:
            beat = last_beat(folder / "state" / "sim" / "SIM")
            if beat is not None and beat.fills > 200:
                break
            time.sleep(0.05)
        request_kill(folder / "state", "sim", "SIM", "me", "drill", time.time_ns())

    thread = threading.Thread(target=operator)
    thread.start()
    told = flooder.flooded(folder, 1, patience_s=20.0)
    thread.join()
    return told


@pytest.mark.long
def test_a_law_that_lets_orders_through_under_a_flood_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch trips, flattens and halts, and what waits at that moment is let through all the same."""
    (tmp_path / "right").mkdir()
    (tmp_path / "wrong").mkdir()
    assert kill.swamped(flooded_here(tmp_path / "right")) == ""
    monkeypatch.setattr(RiskGate, "state_denial", lambda self: None if self.switch.trip_cause is None else ALLOWED)
    monkeypatch.setattr(RiskGate, "_native", lambda self, state: None)
    assert "reached the client" in kill.swamped(flooded_here(tmp_path / "wrong"))


@pytest.mark.long
def test_a_node_that_is_not_reached_fails_the_drill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command names another account: nothing stops, and the drill says so when its patience is over."""
    monkeypatch.setattr(kill, "operator_kills", lambda node: Node(node.root).run("--account", "OTHER", verb="kill"))
    monkeypatch.setattr(place, "PATIENCE_S", 20.0)
    found = carried_out(next(one for one in DRILLS if one.name == "kill"), 1, tmp_path)
    assert found.wrong == ["trial 0: not carried out: AssertionError: it did not become true in time"]


@pytest.mark.long
@pytest.mark.parametrize("one", DRILLS, ids=lambda one: one.name)
def test_each_drill_passes(one: Drill, tmp_path: Path) -> None:
    found = carried_out(one, 1, tmp_path)
    assert found.wrong == []
    assert all(took["max"] > 0 for took in found.quantiles().values())
    assert found.quantiles()


# -- the direct kill


@pytest.fixture
def venue() -> Iterator[Handle]:
    with running(deposits={"USDT": "1000000", "BTC": "1"}) as handle:
        for price in ("29000", "29100"):
            assert handle.order("BUY", "LIMIT", "0.01", price=price).status == 200
        assert handle.order("BUY", "MARKET", "0.01").status == 200
        yield handle


def now_ms() -> int:
    time.sleep(0.005)
    return time.time_ns() // 1_000_000


def test_what_the_direct_kill_leaves_is_right(venue: Handle) -> None:
    before, began = venue.look("books"), now_ms()
    asyncio.run(kill_direct(venue.http, Credentials(HMAC_KEY.name, HMAC_KEY.secret), ["BTCUSDT"]))
    after = venue.look("books")
    assert direct.judged(before, after, began) == ""
    assert began <= direct.settled_at(after, began) <= now_ms()


def test_an_exchange_with_something_left_is_found(venue: Handle) -> None:
    before, began = venue.look("books"), now_ms()
    assert direct.judged(before, before, began) == "2 orders are open"
    venue.signed("DELETE", "/api/v3/openOrders", symbol="BTCUSDT")
    assert "BTC are held" in direct.judged(before, venue.look("books"), began)
    asyncio.run(kill_direct(venue.http, Credentials(HMAC_KEY.name, HMAC_KEY.secret), ["BTCUSDT"]))
    assert direct.judged(before, venue.look("books"), began) == ""
    venue.order("BUY", "LIMIT", "0.01", price="100000", timeInForce="FOK")
    venue.order("SELL", "MARKET", "0.00998")
    assert "not of the kill" in direct.judged(before, venue.look("books"), began)


def test_where_nothing_was_open_nothing_was_drilled(venue: Handle) -> None:
    venue.signed("DELETE", "/api/v3/openOrders", symbol="BTCUSDT")
    before = venue.look("books")
    assert "nothing was drilled" in direct.judged(before, before, now_ms())


def test_books_that_do_not_add_up_are_found(venue: Handle) -> None:
    before, began = venue.look("books"), now_ms()
    asyncio.run(kill_direct(venue.http, Credentials(HMAC_KEY.name, HMAC_KEY.secret), ["BTCUSDT"]))
    after = venue.look("books") | {"audit": ["BTC: negative"]}
    assert "do not add up" in direct.judged(before, after, began)


# -- the restart

STANDS = restart.Standing(Decimal("40.09"), Decimal("999000.5"), 500)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({}, ""), ({"events": 499}, "1 events of the journal are lost"), ({"position": Decimal("40.08")}, "position 40.08, booked 40.09"),
        ({"cash": Decimal("999000.4")}, "cash 999000.4, booked 999000.5"),
    ],
)  # fmt: skip
def test_where_it_stands_has_to_be_what_is_booked(fault: dict[str, Any], words: str) -> None:
    assert restart.judged(STANDS._replace(**fault), (Decimal("40.09"), Decimal("999000.5")), 500) == words


def test_another_file_in_the_end_is_found() -> None:
    calm = {"fills": "a", "equity": "b"}
    assert restart.same(calm, calm) == ""
    assert restart.same(calm | {"fills": "c"}, calm) == "not what an undisturbed run writes: fills"
    assert restart.same({}, calm) != ""


def test_what_is_booked_is_what_the_law_has_counted(killed: Path) -> None:
    equity = pd.read_parquet(killed / "equity.parquet")
    for at in (len(equity) // 2, len(equity) - 1):
        position, cash = restart.as_booked(killed, int(equity["ts"].iloc[at]))
        last = equity[equity["ts"] <= equity["ts"].iloc[at]].iloc[-1]
        assert cash == last["cash"]
    assert position == 0


# -- a full disk

SEEN = disk.Seen("STATE_UNWRITABLE: No space left on device", [1, 2], [1, 2, 3], True)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({}, ""), ({"killed": ""}, "nothing did"), ({"killed": "OPERATOR"}, "not the disk"), ({"before": []}, "nothing was drilled"),
        ({"after": [1]}, "are lost"), ({"after": [2, 1, 3]}, "are lost"), ({"refused": False}, "while it was latched"),
    ],
)  # fmt: skip
def test_a_full_disk_is_judged_by_what_was_kept(fault: dict[str, Any], words: str) -> None:
    told = disk.judged(SEEN._replace(**fault))
    assert words in told
    assert bool(words) == bool(told)


# -- a rollback

TAKEN = rollback.Seen("one", "two", "two", "one", "taken back (drill)", "one")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({}, ""), ({"before": "one"}, "nothing was drilled"), ({"after": "two"}, "two is in charge"), ({"after": ""}, "nobody is in charge"),
        ({"refusal": ""}, "not refused"), ({"flew": "two"}, "two has flown"),
    ],
)  # fmt: skip
def test_a_rollback_is_judged_by_who_is_in_charge_and_who_flies(fault: dict[str, str], words: str) -> None:
    told = rollback.judged(TAKEN._replace(**fault))
    assert words in told
    assert bool(words) == bool(told)


# -- drift

PACKET: dict[str, Any] = {
    "at": {"ts": "200"}, "what": {"detail": "why"}, "action": {"factor": 0.5, "freeze": True}, "runbook": RUNBOOK,
}  # fmt: skip
TURNED = drift.Seen(
    100, [PACKET], 1, [(200, "held; drift x0.5 (why)"), (210, "held; drift x0.5 (why)")], 200, 0.0, 1.0, 300.0
)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({}, ""), ({"packets": []}, "did not alarm"), ({"flip": 201}, "nothing was drilled"),
        ({"packets": [PACKET | {"action": {"factor": 1.0, "freeze": True}}]}, "is no action"),
        ({"packets": [PACKET | {"action": {"factor": 0.5, "freeze": False}}]}, "is no action"),
        ({"next": 210}, "does not heed it"), ({"acted": [(210, "held; drift x0.5 (why)")]}, "does not heed it"),
        ({"acted": [(200, "held; drift x0.5 (another)")]}, "does not heed it"),
        ({"acted": [(190, "; drift x0.5 (why)"), *TURNED.acted]}, "still to come"),
        ({"packets": [PACKET | {"runbook": "docs/learning.md#runbook-rift"}]}, "no runbook"),
        ({"packets": [PACKET | {"runbook": "docs/gone.md#runbook-drift"}]}, "no runbook"),
        ({"pages": 0}, "nobody can read"), ({"before": 1.0}, "from the beginning"), ({"after": 0.0}, "do not tell"),
        ({"took_ms": 3_001.0}, "sees it after 3001 ms"),
    ],
)  # fmt: skip
def test_drift_is_judged_by_what_was_done_at_the_alarm_and_seen_soon_after(fault: dict[str, Any], words: str) -> None:
    told = drift.judged(TURNED._replace(**fault))
    assert words in told
    assert bool(words) == bool(told)


@pytest.mark.long
def test_the_market_of_the_drill_brings_no_alarm_if_it_does_not_turn(tmp_path: Path) -> None:
    node = Node(tmp_path, *drift.WORLD)
    node.run("tape.schedule=[up]", "output.stress=false", verb="sim")
    signals = json.loads((tmp_path / "artifacts" / "latest" / "drift.json").read_text())["signals"]
    assert signals["alert"] == signals["flat"] == 0


# -- a runaway

S = runaway.SECOND_NS
HELD = runaway.Seen(
    [(n * S // 2, "Flood-999") for n in range(9)] + [(9 * S, "Organism-000")],
    30,
    {"ORDER_RATE": 20, "NATIVE": 1},
    0,
    2,
    10,
)
ALONE = runaway.Tripped("REPEATED", True, 0, 0.0, 0)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({}, ""), ({"per_second": 1}, "2 orders in a second reached the venue, 1 may"),
        ({"per_minute": 9}, "10 orders in a minute reached the venue, 9 may"),
        ({"denied": {"NATIVE": 21}}, "nothing was drilled"), ({"tried": 31}, "1 orders neither"),
        ({"denied": {"ORDER_RATE": 22}}, "-1 orders neither"), ({"reached": HELD.reached[:-1]}, "the policy tried nothing"),
    ],
)  # fmt: skip
def test_a_runaway_is_judged_by_what_reached_the_venue(fault: dict[str, Any], words: str) -> None:
    told = runaway.judged(HELD._replace(**fault))
    assert words in told
    assert bool(words) == bool(told)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({}, ""), ({"code": ""}, "nobody did"), ({"code": "OPERATOR"}, "not the law"), ({"halted": False}, "never halted"),
        ({"after": 1}, "1 orders were let through"), ({"left": -2.0}, "a position of -2 was left"), ({"violations": 3}, "3 violations"),
    ],
)  # fmt: skip
def test_a_law_that_halts_is_judged_by_what_stopped_it_and_what_is_left(fault: dict[str, Any], words: str) -> None:
    told = runaway.by_itself(ALONE._replace(**fault))
    assert words in told
    assert bool(words) == bool(told)


def test_a_window_ends_before_its_far_end() -> None:
    assert runaway.most([], 10) == 0
    assert runaway.most([0, 10, 20, 5, 9], 10) == 3
    assert runaway.most([0, 1, 9, 10], 10) == 3
    assert runaway.most([7, 7, 7], 10) == 3


# -- at an exchange

BOOKS: dict[str, Any] = {
    "balances": {"BTC": {"free": "0.05", "locked": "0.01"}, "USDT": {"free": "98200", "locked": "0.5"}},
    "open": [{"clientOrderId": "O-2"}], "orders": [{"clientOrderId": "O-1"}, {"clientOrderId": "O-2"}], "audit": [],
}  # fmt: skip
BEAT = Beat(
    ts=0, number=9, pid=1, lag_s=0.0, feed_age_s=0.1, events=1, orders=2, fills=1, rss=1, kill="ACTIVE", journal=1,
    facts={"positions": "BTCUSDT.BINANCE:0.06", "cash": "98200.5", "orders_open": "1"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, ""), ({"positions": ""}, "position 0, at the exchange 0.06"), ({"cash": "98200.4"}, "cash 98200.4, at the exchange 98200.5"),
        ({"orders_open": "0"}, "open orders 0, at the exchange 1"), ({"positions": "BTCUSDT.BINANCE:0.06 X.Y:1"}, "it holds {'X.Y': '1'}, which it does not trade"),
    ],
)  # fmt: skip
def test_what_a_node_believes_has_to_be_in_the_books(facts: dict[str, str], words: str) -> None:
    assert exchange.differs(msgspec.structs.replace(BEAT, facts=BEAT.facts | facts), BOOKS) == words


def test_a_node_that_was_stopped_and_an_order_that_came_twice_are_found() -> None:
    assert exchange.differs(msgspec.structs.replace(BEAT, kill="HALTED"), BOOKS) == "the node is HALTED"
    twice = BOOKS | {"orders": [*BOOKS["orders"], {"clientOrderId": "O-1"}]}
    assert exchange.differs(BEAT, twice) == "orders came twice: ['O-1']"
    assert "do not add up" in exchange.differs(BEAT, BOOKS | {"audit": ["BTC: negative"]})


def test_an_order_at_the_exchange_that_the_node_knows_nothing_of_is_found(killed: Path) -> None:
    own = pd.read_parquet(killed / "orders.parquet")["order_id"].iloc[0]
    assert exchange.strangers(killed, {"orders": [{"clientOrderId": own}]}) == ""
    assert "['O-other']" in exchange.strangers(
        killed, {"orders": [{"clientOrderId": own}, {"clientOrderId": "O-other"}]}
    )


S = 10**9
EVENTS = pd.DataFrame(
    [(14 * S, "denied", "STALE_REFERENCE", ""), (16 * S, "feed_gap", "FEED", "6.0")],
    columns=["ts", "kind", "limit", "value"],
)  # the last price at 10 s, too old from 12 s on
ORDERS = pd.DataFrame([(11 * S, "submitted"), (17 * S, "submitted")], columns=["ts", "event"])


def test_a_lost_feed_that_held_orders_back_is_right() -> None:
    assert exchange.held_back(EVENTS, ORDERS) == ""


@pytest.mark.parametrize(
    ("events", "orders", "words"),
    [
        (EVENTS, pd.concat([ORDERS, ORDERS[:1].assign(ts=13 * S)]), "an order left on a stale price"),
        (EVENTS, ORDERS[:1], "it has not traded since"),
        (EVENTS[1:], ORDERS, "nothing was tried on a stale price"),
        (EVENTS[:1], ORDERS, "0 gaps are on record"),
        (EVENTS.assign(value=["", "1.0"]), ORDERS, "the feed was silent for 1.0 s"),
    ],
)
def test_a_lost_feed_that_did_not_is_found(events: pd.DataFrame, orders: pd.DataFrame, words: str) -> None:
    assert words in exchange.held_back(events, orders)


def test_dust_is_no_position_but_a_step_of_the_venue_is(killed: Path, tmp_path: Path) -> None:
    def left(units: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
        return lambda fills: fills.assign(position_after=[*fills["position_after"][:-1], Decimal(units)])

    (tmp_path / "dust").mkdir()
    (tmp_path / "step").mkdir()
    changed(killed, tmp_path / "dust", "fills.parquet", left("0.000009"))
    changed(killed, tmp_path / "step", "fills.parquet", left("0.000010"))
    step = Decimal("0.00001")
    assert "never closed" not in kill.judged(tmp_path / "dust", step)
    assert kill.judged(tmp_path / "step", step) == "the position was never closed"
