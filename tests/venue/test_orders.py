"""A paper node whose orders go to an exchange, both processes: what an operator, a stranger and an outage do to it."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alphatrade.nodes.beats import last_beat
from benchmarks.faults.judge import books_of
from benchmarks.faults.place import Place, placed
from tests.nodes.make_paper import Node
from tests.venue.keys import make_ed25519
from tests.venue.make_venue import until

pytestmark = pytest.mark.long

DUST = 0.00001


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with placed(tmp_path / "node", seed=1) as found:
        yield found


@pytest.fixture
def trading(place: Place) -> Place:
    place.start()
    place.busy()
    return place


def agree(place: Place) -> None:
    place.venue.tell("pause")
    assert place.agree(time.time_ns())[1] == []


def halted(place: Place) -> dict[str, str]:
    """Wait until the node has halted by itself, and return the facts of its beat."""

    def found() -> dict[str, str] | None:
        beat = last_beat(place.state)
        return dict(beat.facts) if beat is not None and beat.kill == "HALTED" else None

    return dict(until(found, 30))


def one_open(place: Place) -> str:
    """Stop the market while an order of the node rests, and return its id."""

    def found() -> list[str]:
        place.venue.tell("resume")
        time.sleep(0.07)
        place.venue.tell("pause")
        time.sleep(0.4)
        return [order["clientOrderId"] for order in place.venue.look("books")["open"]]

    return str(until(found, 60)[0])


def trades_again(place: Place) -> None:
    orders = len(place.venue.look("books")["orders"])
    place.venue.tell("resume")
    until(lambda: len(place.venue.look("books")["orders"]) > orders, 60)


def test_an_order_that_is_cancelled_by_hand_is_over_in_the_node_too(trading: Place) -> None:
    name = one_open(trading)
    answer = trading.venue.signed("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId=name)
    assert answer.status == 200
    agree(trading)
    assert trading.stop() == []


def test_an_order_of_somebody_else_stops_trading_and_is_not_touched(trading: Place) -> None:
    trading.venue.order("BUY", "LIMIT", "0.001", price="25000", newClientOrderId="theirs")
    halted(trading)
    told = trading.venue.look("books")
    assert [order["clientOrderId"] for order in told["open"]] == ["theirs"]
    assert abs(books_of(told, "BTC").position) < DUST
    assert "RECONCILE" in (trading.state / "latch.json").read_text()


def test_a_trade_of_somebody_else_stops_trading(trading: Place) -> None:
    trading.venue.order("BUY", "MARKET", "0.001")
    halted(trading)
    assert "RECONCILE" in (trading.state / "latch.json").read_text()


def test_new_keys_are_taken_up_and_wrong_ones_are_not(trading: Place) -> None:
    name = one_open(trading)
    make_ed25519("unknown-key-00000000000000000000000000000000000", seed=8).put(trading.root / "keys")
    until(lambda: trading.heard("those in use stay in use"), 10)
    agree(trading)
    fresh = make_ed25519("venue-ed25519-key-0000000000000000000000000002", seed=2)
    trading.venue.tell("keys", accept=fresh.public())
    fresh.put(trading.root / "keys")
    until(lambda: trading.heard("there are new keys"), 10)
    trading.venue.tell("keys", revoke=trading.venue.key.name)
    agree(trading)
    assert name in {order["clientOrderId"] for order in trading.venue.look("books")["open"]}
    trades_again(trading)
    assert trading.stop() == []


def test_orders_are_held_while_the_clocks_differ(trading: Place) -> None:
    trading.venue.fault("skew", ms=8000)
    until(lambda: trading.heard("the exchange's clock is"), 10)
    before = trading.venue.look("state")["requests"]
    time.sleep(3)
    rows = trading.venue.look(f"requests?path=/api/v3/order&method=POST&since={before}")
    assert not rows
    trading.venue.tell("clear")
    trades_again(trading)
    agree(trading)


def test_an_exchange_that_is_away_for_half_a_minute_is_waited_for(trading: Place) -> None:
    trading.venue.fault("restart", seconds=32)
    time.sleep(33)
    agree(trading)
    trades_again(trading)
    assert trading.stop() == []


def test_a_node_with_orders_that_starts_again_waits_for_its_exchange(trading: Place) -> None:
    one_open(trading)
    trading.kill()
    trading.venue.fault("restart", seconds=15)
    trading.start()
    agree(trading)
    assert trading.heard("nothing is sent until it can")


def test_a_node_that_begins_without_its_exchange_is_refused(place: Place) -> None:
    node = Node(place.root, *(word for word in place.node.words if not word.startswith("broker.http")))
    said = node.run("broker.http=http://127.0.0.1:9", code=2)
    assert "an exchange that can be read" in said


def test_the_kill_switch_cancels_and_closes_at_the_exchange(trading: Place) -> None:
    Node(trading.root).run("--why", "a test", verb="kill")
    halted(trading)
    told = trading.venue.look("books")
    assert told["open"] == []
    assert abs(books_of(told, "BTC").position) < DUST
    assert trading.process is not None
    trading.process.send_signal(signal.SIGTERM)
    trading.process.wait(60)
