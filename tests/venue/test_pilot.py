"""A whole live node at a venue: it starts if all is in order, trades, is compared, and stops for each thing that is not."""

import signal
import time
from typing import Any

import pandas as pd
import pytest

from alphatrade.nodes.live.switch import Switch, pending, request_switch
from alphatrade.risk.kill import request_kill
from tests.venue.make_pilot import CAPITAL, Pilot, clean
from tests.venue.make_venue import until

pytestmark = pytest.mark.long


def refused(pilot: Pilot, words: str) -> None:
    """See that a start ends with one line that says something, and that nothing was sent or written."""
    said = pilot.start().end(2, by=0)
    lines = [line for line in said.splitlines() if line.startswith("alphatrade: ")]
    assert len(lines) == 1, said
    assert words in lines[0]
    assert pilot.venue.look("requests?method=POST") == []
    assert not (pilot.folder / "journal").exists()
    assert not list(pilot.root.glob("artifacts/*/*"))


def held(pilot: Pilot) -> float:
    return sum(float(t["qty"]) * (1 if t["isBuyer"] else -1) for t in pilot.venue.look("books")["trades"])


def test_without_a_permit_nothing_starts(pilot):
    pilot.permits(refused="permit 123 was revoked")
    refused(pilot, "permit 123 was revoked")


@pytest.mark.parametrize("right", ["enableWithdrawals", "spotBNBBurn"])
def test_a_key_with_a_right_too_many_starts_nothing(pilot, right):
    pilot.venue.tell("permissions", **{right: True})
    refused(pilot, right)


def test_an_open_order_of_a_stranger_starts_nothing_and_stays(pilot):
    pilot.venue.tell("permissions", enableWithdrawals=False)
    pilot.venue.order("BUY", "LIMIT", "0.001", price=20_000, newClientOrderId="web-1")
    said = pilot.start().end(2, by=0)
    assert "web-1 of BTCUSDT" in said
    assert [row["clientOrderId"] for row in pilot.venue.look("books")["open"]] == ["web-1"]


def test_an_exchange_that_is_away_starts_nothing(pilot):
    pilot.venue.fault("restart", seconds=30)
    assert "alphatrade: " in pilot.start().end(2, by=0)


def test_it_trades_within_its_capital_is_compared_and_ends_flat(pilot):
    pilot.start().trading(6)
    time.sleep(2)
    pilot.end()
    clean(pilot)
    report = pilot.report
    assert "running" in [one["when"] for one in report["reconciliations"]]
    assert report["flat"]
    assert report["fills"] == len(pilot.venue.look("books")["trades"]) >= 6
    assert abs(held(pilot)) < 1e-4
    assert "<table>" in next(pilot.root.glob("artifacts/*/live/PILOT/reconcile.html")).read_text()
    out, most = 0.0, 0.0
    for trade in pilot.venue.look("books")["trades"]:
        out += float(trade["quoteQty"]) * (1 if trade["isBuyer"] else -1)
        most = max(most, out)
    assert 0 < most <= CAPITAL
    events = pd.read_parquet(pilot.root / "artifacts" / "latest" / "risk_events.parquet")
    assert not {"PERMIT_SCOPE", "UNBOUNDED"} & set(events["limit"]), (
        "what moves is cancelled and sent anew, not modified"
    )
    orders = pd.read_parquet(pilot.root / "artifacts" / "latest" / "orders.parquet")
    assert (orders["event"] == "canceled").sum() > 1


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_permit_that_ends_closes_what_is_held_and_lets_nothing_else_out(pilot, how):
    pilot.start().trading(3)
    if how == "revoked":
        pilot.permits(refused="permit 123 was revoked")
    else:
        pilot.permits(ends=time.time_ns() + 10**9)
        time.sleep(2)
    assert "PERMIT" in pilot.halted()
    before = set(pilot.orders())
    time.sleep(2)
    assert set(pilot.orders()) == before
    assert abs(held(pilot)) < 1e-4
    assert pilot.venue.look("books")["open"] == []
    if how == "revoked":
        assert "permit" in pilot.alerts
    pilot.end()


def test_an_order_of_a_stranger_halts_it_and_is_not_touched(pilot):
    pilot.start().trading(2)
    pilot.venue.order("BUY", "LIMIT", "0.001", price=20_000, newClientOrderId="web-2")
    assert "web-2" in pilot.halted()
    assert [row["clientOrderId"] for row in pilot.venue.look("books")["open"]] == ["web-2"]
    until(lambda: "stranger" in pilot.alerts, 10)
    pilot.end()
    assert pilot.report["differences"] > 0


def test_a_fill_of_a_stranger_is_a_difference(pilot):
    pilot.start().trading(2)
    pilot.venue.order("BUY", "MARKET", "0.001", newClientOrderId="web-3")
    assert "RECONCILE" in pilot.halted()
    until(lambda: "stranger" in pilot.alerts and "reconcile" in pilot.alerts, 20)
    pilot.end()
    rows = {odd["row"] for one in pilot.report["reconciliations"] for odd in one["differences"]}
    assert {"stranger", "fills", "positions", "balances", "fees"} <= rows


def test_a_right_that_the_key_is_given_while_it_trades_stops_it(pilot):
    pilot.start().trading(2)
    pilot.venue.tell("permissions", enableWithdrawals=True)
    assert "enableWithdrawals" in pilot.halted()
    assert "preflight" in pilot.alerts
    pilot.end()


def test_a_symbol_that_does_not_trade_is_waited_for_and_other_filters_stop_it(pilot):
    pilot.start("guard.reconcile_min=60").trading(2)  # so that nobody looks at the rules for another reason
    pilot.venue.tell("rules", symbol="BTCUSDT", status="BREAK")
    until(lambda: "filters" in pilot.alerts, 20)
    time.sleep(0.5)
    before = len(refusals(pilot))
    assert 0 < before < 6  # it was told by the exchange that its market is closed, and has not hammered on it
    time.sleep(3)
    assert len(refusals(pilot)) == before
    assert pilot.beat().kill == "ACTIVE"
    pilot.venue.tell("rules", symbol="BTCUSDT", status="TRADING")
    seen = len(pilot.orders())
    until(lambda: len(pilot.orders()) > seen, 20)
    pilot.venue.tell("rules", symbol="BTCUSDT", tick="0.5")
    said = pilot.halted()
    assert "FILTERS" in said
    assert "price step" in said
    assert pilot.alerts.count("filters") >= 3  # closed, open, another step
    assert "rejected" not in pilot.alerts
    pilot.end()
    assert pilot.report["differences"] == 0


def refusals(pilot: Pilot) -> list[dict[str, Any]]:
    """Return the orders that were sent and that the exchange has refused."""
    rows = pilot.venue.look("requests?path=/api/v3/order&method=POST")
    return [row for row in rows if row["status"] != 200]


def test_one_refused_order_after_the_other_stops_it(pilot):
    pilot.start().trading(2)
    pilot.venue.fault("reject", count=200)
    pilot.beat(lambda beat: beat.kill != "ACTIVE", 40)
    assert "REJECTED" in (pilot.folder / "latch.json").read_text()
    pilot.venue.tell("clear")
    pilot.halted()
    pilot.end()
    assert 10 <= len(refusals(pilot)) < 20  # one a second, not one a decision


def test_a_node_that_was_killed_goes_on_with_no_difference(pilot):
    pilot.start().trading(3)
    pilot.end(-9, by=9)
    pilot.start().trading(5)
    time.sleep(2)
    pilot.end()
    clean(pilot)


def test_an_order_of_a_stranger_that_came_while_the_node_was_dead_halts_it_and_stays(pilot):
    pilot.start().trading(2)
    pilot.end(-9, by=9)
    pilot.venue.order("BUY", "LIMIT", "0.001", price=20_000, newClientOrderId="web-4")
    pilot.start()
    assert "web-4" in pilot.halted()
    assert [row["clientOrderId"] for row in pilot.venue.look("books")["open"]] == ["web-4"]
    pilot.end()


def test_a_node_that_was_killed_waits_for_an_exchange_that_is_away(pilot):
    pilot.start().trading(2)
    pilot.end(-9, by=9)
    pilot.venue.fault("error", count=3, path="/api/v3/openOrders", status=503)
    pilot.start().trading(3)
    pilot.end()
    clean(pilot)


def test_a_node_that_was_killed_asks_nothing_while_its_address_is_banned_and_then_goes_on(pilot):
    pilot.start().trading(2)
    pilot.end(-9, by=9)
    pilot.venue.fault("rate_limit", where="rest", status=418, retry_after=6)
    pilot.start().trading(3)
    rows = pilot.venue.look("requests")
    (banned,) = [number for number, row in enumerate(rows) if row["status"] == 418]
    assert rows[banned + 1]["ts"] - rows[banned]["ts"] >= 6
    assert "nothing is asked for 6 s" in pilot.end()
    clean(pilot)


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT, 0], ids=["SIGTERM", "SIGINT", "kill"])
def test_a_start_that_waits_for_the_end_of_a_long_ban_ends_when_it_is_asked_to(pilot, by):
    pilot.start().trading(2)
    pilot.end(-9, by=9)
    before = len(pilot.venue.look("requests"))
    pilot.venue.fault("rate_limit", where="rest", status=418, retry_after=36_000)
    pilot.start()
    process = pilot.process
    assert process.stderr is not None
    until(lambda: "nothing is asked for 36000 s" in process.stderr.readline(), 60)
    if not by:
        request_kill(pilot.root / "state", "live", "PILOT", "ada", "seen enough", time.time_ns())
    lines = [line for line in pilot.end(2, by=by).splitlines() if line.startswith("alphatrade: ")]
    assert len(lines) == 1
    assert ("stopped by" if by else "a kill was asked for while it waited: seen enough (by ada)") in lines[0]
    rows = pilot.venue.look("requests")[before:]
    assert [row["status"] for row in rows].count(418) == 1, "who asks while it is banned makes that longer"
    assert rows[-1]["status"] == 418


def test_a_node_that_was_killed_and_has_lost_its_permit_closes_what_it_holds(pilot):
    pilot.start()
    pilot.beat(lambda beat: "BTCUSDT" in beat.facts.get("positions", ""), 60)
    pilot.end(-9, by=9)
    pilot.permits(refused="permit 123 was revoked")
    before = set(pilot.orders())
    pilot.start()
    assert "PERMIT" in pilot.halted()
    assert abs(held(pilot)) < 1e-4
    assert all(order.startswith("LAW-") for order in set(pilot.orders()) - before)
    pilot.end()


@pytest.mark.parametrize("where", ["user", "rest"])
def test_fills_that_are_told_late_are_no_difference(pilot, where):
    pilot.start().trading(2)
    pilot.venue.tell("late", seconds=2, count=6, where=where)
    pilot.trading(10)
    time.sleep(3)
    pilot.venue.tell("clear")
    pilot.end()
    clean(pilot)


@pytest.mark.parametrize("hook", ["--forgetful", "--amnesiac"])
def test_what_has_left_the_cache_is_no_difference_because_it_is_known_what_it_was(pilot, hook):
    pilot.start(hook)
    if hook == "--amnesiac":  # the mutation
        assert "RECONCILE" in pilot.halted()
        pilot.end()
        return
    pilot.trading(12)
    time.sleep(3)
    pilot.end()
    clean(pilot)


def test_an_exchange_that_is_away_for_a_while_is_waited_for_and_then_compared(pilot):
    pilot.start().trading(3)
    for seconds in (2, 3):  # three readings in five seconds are all that a comparison waits for
        pilot.venue.fault("restart", seconds=seconds)
        time.sleep(seconds + 1)
        fills = pilot.beat().fills
        pilot.trading(fills + 3)
    time.sleep(2)
    pilot.end()
    clean(pilot)


def test_an_exchange_that_is_away_for_too_long_stops_it(pilot):
    pilot.start("--impatient").trading(2)
    pilot.venue.fault("restart", seconds=8)
    pilot.beat(lambda beat: beat.kill != "ACTIVE", 20)
    assert "UNREACHABLE" in (pilot.folder / "latch.json").read_text()
    assert "unreachable" in pilot.alerts
    pilot.halted()
    assert abs(held(pilot)) < 1e-4
    pilot.end()
    assert pilot.report["differences"] == 0


def test_an_exchange_that_is_away_at_the_end_is_told(pilot):
    pilot.start().trading(2)
    time.sleep(1)
    pilot.venue.fault("error", count=100_000, path="/api/v3/allOrders")
    pilot.end()
    assert "unread" in pilot.alerts
    assert pilot.report["reconciliations"][-1]["unread"]


def test_a_node_that_is_asked_to_start_again_ends_flat_and_says_so(pilot):
    pilot.folder.mkdir(parents=True)
    request_switch(pilot.folder, Switch(1, "ada", "left over"))
    pilot.start().trading(2)
    assert not pending(pilot.folder)
    request_switch(pilot.folder, Switch(2, "ada", "a bad week"))
    said = pilot.end(0, by=0)
    assert "switched: operator: a bad week (by ada)" in said
    assert abs(held(pilot)) < 1e-4
    assert pilot.venue.look("books")["open"] == []
    clean(pilot)
