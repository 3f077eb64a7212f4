"""The node's time: what limits the rate of orders does so by the inputs, so that a journal is read as it was lived."""

from datetime import timedelta

import pytest
from nautilus_trader.common.component import Throttler

from alphatrade.nodes.paper.clock import TIME, NodeClock

SECOND = 10**9


@pytest.fixture(autouse=True)
def _walls_time_afterwards() -> object:
    yield
    TIME.end()


def test_a_throttle_lets_through_again_when_the_nodes_time_has_come() -> None:
    TIME.advance(SECOND)
    sent: list[int] = []
    dropped: list[int] = []
    throttle = Throttler("T", 2, timedelta(seconds=1), NodeClock(), sent.append, dropped.append)
    for message in range(4):
        throttle.send(message)
    TIME.advance(2 * SECOND - 1)
    throttle.send(4)
    assert (sent, dropped) == ([0, 1], [2, 3, 4])
    TIME.advance(2 * SECOND)
    throttle.send(5)
    assert sent == [0, 1, 5]


def test_alerts_come_in_order_and_once() -> None:
    TIME.advance(SECOND)
    seen: list[str] = []
    clock = NodeClock()
    clock.set_time_alert_ns("b", 3 * SECOND, lambda _: seen.append("b"))
    clock.set_time_alert_ns("a", 2 * SECOND, lambda _: seen.append("a"))
    TIME.advance(2 * SECOND)
    assert seen == ["a"]
    TIME.advance(9 * SECOND)
    TIME.advance(10 * SECOND)
    assert seen == ["a", "b"]


def test_nothing_is_left_of_a_node_that_has_ended() -> None:
    TIME.advance(SECOND)
    NodeClock().set_time_alert_ns("a", 2 * SECOND, lambda _: pytest.fail("called"))
    TIME.end()
    TIME.advance(5 * SECOND)
