"""A whole live node at a venue leaves what it holds to the next one: nothing is sold, and it is taken over once, whoever dies."""

import json
import time
from decimal import ROUND_DOWN, Decimal
from typing import Any

import pandas as pd
import pytest

from alphatrade.nodes.live.handover import Left, read_left, write_left
from alphatrade.nodes.live.switch import Switch, request_switch
from alphatrade.risk.audit import audit
from alphatrade.risk.handover import FILE
from tests.venue.make_pilot import CAPITAL, Pilot, clean
from tests.venue.make_venue import until

pytestmark = pytest.mark.long
DEATHS = ("--dies-noted", "--dies-permitted", "--dies-sent", "--dies-filled", "--dies-kept")
NAME, LOT = "BTCUSDT.BINANCE", Decimal("0.00001")


def held(pilot: Pilot) -> Decimal:
    """Return what the account has bought and not sold, by the venue's books."""
    found = Decimal(0)
    for trade in pilot.venue.look("books")["trades"]:
        found += Decimal(trade["qty"]) * (1 if trade["isBuyer"] else -1)
        found -= Decimal(trade["commission"]) if trade["commissionAsset"] == "BTC" else 0
    return found


def handed_over(pilot: Pilot, *words: str, code: int = 0) -> tuple[Left, str]:
    """Let a node trade, and have it hand over; return what it has left, and what it said."""
    pilot.start(*words).trading(2)
    until(lambda: held(pilot) * 30_000 > 15, 60, 0.05)
    request_switch(pilot.folder, Switch(time.time_ns(), "ada", "a bad week", True))
    said = pilot.end(code, by=0)
    left = read_left(pilot.folder)
    assert left is not None, said
    assert pilot.venue.look("books")["open"] == []
    assert Decimal(left.positions[NAME]) == held(pilot).quantize(LOT, ROUND_DOWN) > 0
    assert not (pilot.folder / "latch.json").exists()
    return left, said


def taken_over(pilot: Pilot, left: Left, *words: str) -> None:
    """Start the next node, and see that it has what was left, once, before anything else was traded."""
    before = len(pilot.venue.look("books")["trades"])
    pilot.start("--other", *words)
    pilot.beat(lambda beat: not (pilot.folder / FILE).exists(), 60)
    until(lambda: len(pilot.venue.look("books")["trades"]) > before + 1, 60)
    time.sleep(2)
    pilot.end()
    clean(pilot)
    run = pilot.root / "artifacts" / "latest"
    fills = pd.read_parquet(run / "fills.parquet")
    mine = fills[fills["order_id"].str.startswith("HANDOVER-")]
    assert sum(mine["qty"], Decimal(0)) == Decimal(left.positions[NAME])
    assert set(fills["order_id"].iloc[: len(mine)]) == set(mine["order_id"]), "nothing was traded before it"
    assert set(mine["fee"]) == {0}
    assert audit(run).ok
    assert pilot.report["taken_over"] == {"BTCUSDT": left.positions[NAME]}
    assert pilot.report["flat"]
    assert not [row for row in pilot.orders() if row.startswith("HANDOVER-")], "no exchange was asked"
    assert abs(held(pilot)) < Decimal("0.0002"), "what is worth less than the exchange takes is left"
    out, most = Decimal(0), Decimal(0)
    for trade in pilot.venue.look("books")["trades"]:
        out += Decimal(trade["quoteQty"]) * (1 if trade["isBuyer"] else -1)
        most = max(most, out)
    assert 0 < most <= CAPITAL


def test_the_next_node_has_what_the_one_before_held_and_nothing_was_sold(pilot: Pilot) -> None:
    left, said = handed_over(pilot)
    assert "switched: operator: a bad week (by ada)" in said
    clean(pilot)
    assert (pilot.report["flat"], pilot.report["handed_over"]) == (False, dict(left.positions))
    run = pilot.root / "artifacts" / "latest"
    assert audit(run).ok
    summary = json.loads((run / "summary.json").read_text())
    assert summary["killed"] is None
    taken_over(pilot, left)


def test_a_node_that_dies_before_its_run_is_over_has_left_it_once(pilot: Pilot) -> None:
    left, _ = handed_over(pilot, "--dies-left", code=-9)
    assert (pilot.folder / "journal").exists()
    taken_over(pilot, left)
    assert [path.name for path in pilot.folder.glob("journal-*")] == [f"journal-handed-over-{left.ts}"]


def test_a_node_that_dies_so_and_goes_on_with_its_policy_has_it_in_its_journal(pilot: Pilot) -> None:
    handed_over(pilot, "--dies-left", code=-9)
    fills = pilot.start().beat(lambda beat: "BTCUSDT" in beat.facts.get("positions", ""), 60).fills
    assert not (pilot.folder / FILE).exists()
    pilot.trading(fills + 1)
    time.sleep(2)
    pilot.end()
    clean(pilot)
    assert pilot.report["taken_over"] == {}


@pytest.mark.parametrize("dies", DEATHS)
def test_a_node_that_dies_while_it_takes_over_takes_over_once(pilot: Pilot, dies: str) -> None:
    left, _ = handed_over(pilot)
    pilot.start("--other", dies).end(-9, by=0)
    assert (pilot.folder / FILE).exists()
    taken_over(pilot, left)


def alert(pilot: Pilot) -> str:
    rows: list[Any] = [json.loads(line) for line in (pilot.folder / "alerts.jsonl").read_text().splitlines()]
    (found,) = [row["words"] for row in rows if row["kind"] == "handover"]
    return str(found)


def test_what_the_law_of_the_next_node_denies_is_sold_and_the_node_halts_flat(pilot: Pilot) -> None:
    left, _ = handed_over(pilot)
    before = pilot.orders()
    pilot.permits(loss=5 * 10**17)  # a fall of 5 % would cost more
    pilot.start("--other")
    assert "HANDOVER" in pilot.halted()
    until(lambda: "handover" in pilot.alerts, 10)
    words = alert(pilot)
    assert f" of {NAME}" in words
    assert "LOSS_ROOM" in words
    assert "the law takes it over to sell it" in words
    assert "watched by nobody" not in words
    until(lambda: abs(held(pilot)) < Decimal("0.0002"), 20)
    until(lambda: not (pilot.folder / FILE).exists(), 10)
    sold = {*pilot.orders()} - {*before}
    assert sold
    assert all(name.startswith("LAW-") for name in sold)
    time.sleep(5)  # it decides on, and denies itself
    pilot.end()
    run = pilot.root / "artifacts" / "latest"
    fills = pd.read_parquet(run / "fills.parquet")
    mine = fills[fills["order_id"].str.fullmatch("HANDOVER-[0-9]+-LAW")]
    assert sum(mine["qty"], Decimal(0)) == Decimal(left.positions[NAME])
    assert {*fills["order_id"]} == {*mine["order_id"]} | sold
    assert audit(run).ok
    assert read_left(pilot.folder) is None


def test_what_was_sold_before_anything_was_decided_is_a_run_too(pilot: Pilot) -> None:
    left, _ = handed_over(pilot)
    pilot.permits(loss=5 * 10**17)
    pilot.start("--green", "output.report=true")
    pilot.halted()
    until(lambda: not (pilot.folder / FILE).exists(), 10)
    pilot.end()
    run = pilot.root / "artifacts" / "latest"
    assert json.loads((run / "summary.json").read_text())["decisions"] == 0
    fills = pd.read_parquet(run / "fills.parquet")
    assert sum(fills[fills["side"] == "BUY"]["qty"], Decimal(0)) == Decimal(left.positions[NAME])
    assert fills["position_after"].iloc[-1] == 0
    assert audit(run).ok
    assert (run / "journal").exists()


def test_a_start_that_fails_says_what_is_held_and_the_next_one_takes_it_over(pilot: Pilot) -> None:
    left, _ = handed_over(pilot)
    pilot.permits(refused="permit 123 was revoked")
    said = pilot.start("--other").end(2, by=0)
    (line,) = [one for one in said.splitlines() if one.startswith("alphatrade: ")]
    assert "permit 123 was revoked" in line
    assert f"watched by nobody: {left.positions[NAME]} of {NAME}" in line
    assert line.removeprefix("alphatrade: ") == alert(pilot)
    pilot.permits()
    taken_over(pilot, left)


def test_what_is_no_longer_there_is_not_taken_over(pilot: Pilot) -> None:
    left, _ = handed_over(pilot)
    write_left(pilot.folder, left._replace(positions={NAME: "11"}))  # of which the account has ten
    said = pilot.start("--other").end(2, by=0)
    assert "which is taken over; if it was sold, remove handover.json" in said
    assert not (pilot.folder / "journal").exists()


def sold_by_hand(pilot: Pilot, dies: str) -> Left:
    """Have a node die while it takes over, and somebody sell meanwhile what waits."""
    left, _ = handed_over(pilot)
    pilot.start("--other", dies).end(-9, by=0)
    pilot.venue.order("SELL", "MARKET", left.positions[NAME], newClientOrderId="web-9")
    return left


def test_what_is_sold_by_hand_while_nobody_runs_is_not_bought_by_the_run_that_goes_on(pilot: Pilot) -> None:
    left = sold_by_hand(pilot, "--dies-sent")
    before = pilot.orders()
    pilot.start("--other")
    assert "RECONCILE" in pilot.halted()
    until(lambda: "handover" in pilot.alerts, 10)
    words = alert(pilot)
    assert "the books differ from the exchange's, which may not have it any more" in words
    assert f"watched by nobody: {left.positions[NAME]} of {NAME}" in words
    time.sleep(3)
    said = pilot.end(2)
    assert "the run is over, and not all that was left to it could be taken over" in said
    run = pilot.root / "artifacts" / "latest"
    assert pd.read_parquet(run / "fills.parquet").empty
    assert audit(run).ok
    assert not pilot.report["flat"]
    assert pilot.orders() == before, "nothing was sent"
    assert read_left(pilot.folder) is not None, "whoever starts next is told, and refuses it too"


@pytest.mark.parametrize("dies", ["--dies-noted", "--dies-permitted"])
def test_what_is_sold_by_hand_before_the_account_was_seen_starts_nothing(pilot: Pilot, dies: str) -> None:
    sold_by_hand(pilot, dies)
    before = pilot.orders()
    said = pilot.start("--other").end(2, by=0)
    assert "which is taken over; if it was sold, remove handover.json" in said
    assert pilot.orders() == before
