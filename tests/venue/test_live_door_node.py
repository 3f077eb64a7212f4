"""A whole node behind the last door, at an exchange that is a process of its own: what it sends, and how its orders end."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from alphatrade.nodes.beats import last_beat
from alphatrade.nodes.frames import read_frame
from alphatrade.risk.kill import request_kill
from benchmarks.faults.judge import books_of
from benchmarks.faults.place import REGIMES, Place, placed
from tests.venue.keys import HMAC_KEY, make_ed25519
from tests.venue.make_venue import until
from tests.venue.test_orders import one_open, trades_again

pytestmark = pytest.mark.long

WIDE = {"open_orders_max": 10}
FLAT = tuple(f"policy.router.table.{regime}=flat" for regime in REGIMES)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with placed(tmp_path / "node", seed=1) as found:
        yield found


def started(place: Place, hook: str, *words: str) -> Place:
    place.node.words += words
    place.node.start = partial(place.node.start, hook, module="tests.venue.make_door_node")  # type: ignore[method-assign]
    place.start()
    return place


def posts(place: Place) -> list[dict[str, Any]]:
    return list(place.venue.look("requests?path=/api/v3/order&method=POST"))


def halted(place: Place) -> dict[str, str]:
    def found() -> dict[str, str] | None:
        beat = last_beat(place.state)
        return dict(beat.facts) if beat is not None and beat.kill == "HALTED" else None

    return dict(until(found, 30))


def early(place: Place) -> list[str]:
    """Return the fills that came after the end of their order, by the node's record."""
    run = place.root / "artifacts" / "latest"
    orders, fills = read_frame(run / "orders.parquet"), read_frame(run / "fills.parquet")
    ends = orders[orders["event"].isin(["canceled", "expired", "rejected"])].groupby("order_id")["seq"].min()
    assert len(ends)
    return [row.trade_id for row in fills.itertuples() if row.seq > ends.get(row.order_id, row.seq)]


def lossy(place: Place) -> None:
    """Have the exchange lose and exchange what it says of orders for a while."""
    ends = time.monotonic() + 12
    while time.monotonic() < ends:
        place.venue.fault("reorder", where="user", count=4)
        place.venue.fault("gap", where="user", count=2)
        time.sleep(0.3)
    place.venue.tell("clear")


def test_a_node_trades_by_the_door_and_each_order_was_approved(place: Place) -> None:
    started(place, "trade").busy()
    lossy(place)
    place.venue.tell("pause")
    assert place.agree(time.time_ns())[1] == []
    assert place.stop() == []
    assert early(place) == []
    count, wrong = place.compared()
    assert (wrong, count.lost, count.doubled) == ([], 0, 0)
    sent = len(posts(place))
    until(lambda: place.heard("approvals: "), 5)
    (told,) = [line for _, line in place.said if "approvals: " in line]
    counts = eval(told.partition("approvals: ")[2])  # a dict of words and numbers
    assert counts.keys() == {"approved", "presented", "redeemed"}
    assert counts["redeemed"] == sent > 20


@pytest.mark.parametrize("hook", ["rest", "loose"])
def test_what_was_reserved_is_given_back_when_all_fills_are_known(place: Place, hook: str) -> None:
    """A fill is lost, and then the order is cancelled; believed as on paper, the fill comes after the end."""
    started(place, hook, *FLAT)
    (order,) = until(lambda: place.venue.look("books")["open"], 60)
    until(lambda: (beat := place.beat()) is not None and beat.events > 400, 30)  # else it is no run
    place.venue.tell("pause")
    place.venue.fault("gap", where="user", count=2)
    price = float(order["price"])
    place.venue.quote(price - 1, price, ask_size=0.004)
    place.venue.signed("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId=order["clientOrderId"])
    assert place.agree(time.time_ns())[1] == []
    (row,) = place.venue.look("books")["orders"]
    assert (row["status"], row["executedQty"]) == ("CANCELED", "0.00400000")
    assert place.stop() == []
    assert len(early(place)) == (hook == "loose")


def test_a_node_that_was_killed_goes_on_with_the_order_that_it_has_there(place: Place) -> None:
    started(place, "trade").busy()
    name = one_open(place)
    sent = len(posts(place))
    place.kill()
    place.start()
    assert place.agree(time.time_ns())[1] == []
    assert name in {order["clientOrderId"] for order in place.venue.look("books")["open"]}
    assert len(posts(place)) == sent  # what the journal has is approved once more, and not sent once more
    trades_again(place)
    assert place.stop() == []
    count, wrong = place.compared()
    assert (wrong, count.lost, count.doubled) == ([], 0, 0)


def test_new_keys_are_put_under_the_seal_while_it_trades_and_those_of_a_shared_secret_are_not(place: Place) -> None:
    place.venue.tell("keys", accept=HMAC_KEY.public())
    started(place, "trade").busy()
    HMAC_KEY.put(place.root / "keys")
    until(lambda: place.heard("those in use stay in use: credentials: got 'an HMAC secret'"), 10)
    fresh = make_ed25519("venue-ed25519-key-0000000000000000000000000002", seed=2)
    place.venue.tell("keys", accept=fresh.public())
    fresh.put(place.root / "keys")
    until(lambda: place.heard("there are new keys"), 10)
    place.venue.tell("keys", revoke=place.venue.key.name)
    trades_again(place)
    place.venue.tell("pause")
    assert place.agree(time.time_ns())[1] == []
    assert place.stop() == []


def test_a_kill_with_dust_ends_and_sends_nothing_that_is_refused(place: Place) -> None:
    started(place, "few", *FLAT)
    until(lambda: len(place.venue.look("books")["trades"]) == 2, 60)
    until(lambda: (beat := place.beat()) is not None and beat.facts.get("exchange_orders") == "", 10)
    assert request_kill(place.root / "state", "paper", "SIM", "tester", "a drill", time.time_ns())
    halted(place)
    assert [row["params"]["newClientOrderId"] for row in posts(place) if row["status"] != 200] == []
    assert len(posts(place)) == 2
    assert 0 < books_of(place.venue.look("books"), "BTC").position * 30_000 < 5


@pytest.mark.parametrize("hook", ["race", "raced"])
def test_orders_that_were_on_their_way_at_a_kill_do_not_leave(place: Place, hook: str) -> None:
    """The adapter sends an order a turn of the loop after it was given it: the door is what asks last."""
    started(place, hook, *FLAT, *(f"policy.risk.{name}={value}" for name, value in WIDE.items()))
    halted(place)
    until(lambda: not place.venue.look("books")["open"], 10)
    assert len(posts(place)) == (5 if hook == "raced" else 0)


def test_an_order_past_gate_and_broker_stops_the_node_and_is_not_in_the_books(place: Place) -> None:
    started(place, "bypass")
    halted(place)
    told = place.venue.look("books")
    assert "bypass" not in {order["clientOrderId"] for order in told["orders"]}
    assert "bypass" not in {row["params"]["newClientOrderId"] for row in posts(place)}
    assert place.heard("refused: {'code': -9001")
    assert "TRIPWIRE" in (place.state / "latch.json").read_text()
    assert books_of(told, "BTC").position * 30_000 < 5
