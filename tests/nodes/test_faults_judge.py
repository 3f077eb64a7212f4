"""The judge of faults and kills at an exchange finds what it is there for: each mutation of a right answer is told."""

from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest

from benchmarks.faults.__main__ import figures
from benchmarks.faults.judge import apart, books_of, counted, fills_apart

TOLD: dict[str, Any] = {
    "balances": {"BTC": {"free": "10.00999", "locked": "0"}, "USDT": {"free": "99000", "locked": "700"}},
    "orders": [{"clientOrderId": "a", "orderId": 1}, {"clientOrderId": "b", "orderId": 2}],
    "open": [{"clientOrderId": "b", "orderId": 2}],
    "trades": [
        {"id": 7, "orderId": 1, "qty": "0.01", "isBuyer": True, "commission": "0.00001", "commissionAsset": "BTC"}
    ],
}
FACTS = {
    "exchange": "up", "exchange_doubts": "0", "exchange_unknown": "0", "exchange_orders": "b",
    "exchange_balances": "BTC:10.00999 USDT:99700", "positions": "BTCUSDT.BINANCE:0.00999",
}  # fmt: skip
SENT = [{"status": 200, "params": {"newClientOrderId": name}} for name in "ab"]
FILLS = [("a", "7", Decimal("0.01"), Decimal("0.00001"))]


def test_what_is_right_is_right() -> None:
    assert apart(FACTS, books_of(TOLD, "BTC")) == []
    assert counted(SENT, TOLD, {"a", "b"})[2:] == (0, 0)
    assert fills_apart(FILLS, TOLD) == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("positions", "BTCUSDT.BINANCE:0.01", "position"),
        ("positions", "BTCUSDT.BINANCE:0.00998", "position"),
        ("positions", "", "position"),
        ("exchange_orders", "", "only there: ['b']"),
        ("exchange_orders", "b c", "only here: ['c']"),
        ("exchange_balances", "BTC:10.01999 USDT:99700", "BTC"),
        ("exchange_doubts", "1", "exchange_doubts"),
        ("exchange_unknown", "1", "exchange_unknown"),
        ("exchange", "away", "exchange"),
    ],
)
def test_a_node_that_believes_something_else_is_found(name: str, value: str, words: str) -> None:
    (line,) = apart(FACTS | {name: value}, books_of(TOLD, "BTC"))
    assert words in line


def test_a_lost_order_is_found() -> None:
    without = TOLD | {"orders": TOLD["orders"][:1]}
    assert counted(SENT, without).lost == 1
    assert counted(SENT, TOLD, {"a"}).lost == 1  # the node does not know it


def test_a_doubled_order_is_found() -> None:
    assert counted([*SENT, SENT[0]], TOLD).doubled == 1
    twice = counted(SENT, TOLD | {"orders": [*TOLD["orders"], {"clientOrderId": "b", "orderId": 3}]})
    assert (twice.doubled, twice.lost) == (1, 1)


def test_a_fill_that_is_missing_doubled_or_different_is_found() -> None:
    assert len(fills_apart([], TOLD)) == 1
    assert len(fills_apart([*FILLS, FILLS[0]], TOLD)) == 1
    assert len(fills_apart([("a", "7", Decimal("0.01001"), FILLS[0][3])], TOLD)) == 1
    assert len(fills_apart([*FILLS, ("b", "8", Decimal(1), Decimal(0))], TOLD)) == 1


def test_a_target_that_was_missed_is_no() -> None:
    fault = {"kind": "fault", "name": "drop", "agree_s": 0.5, "wrong": []}
    kill = {"kind": "kill", "open": 1, "agree_s": 5.0, "journal_s": 4.0, "books_s": 4.1, "wrong": []}
    end = {"kind": "end", "sent": 2, "accepted": 2, "lost": 0, "doubled": 0, "wrong": []}
    names = (
        "drop",
        "stall",
        "slow",
        "reorder",
        "duplicate",
        "gap",
        "reject",
        "rate_limit",
        "garbage",
        "skew",
        "restart",
    )
    good = [fault | {"name": name} for name in names] * 91 + [kill] * 50 + [end]
    assert not [row.id for row in figures(good) if row.holds is False]
    for bad, missed in (
        (good[1:2] + good[2:500], {"faults.injected", "faults.kills", "faults.orders"}),
        ([*good, end | {"lost": 1}], {"faults.lost"}),
        ([*good, end | {"doubled": 1}], {"faults.doubled"}),
        ([*good, fault | {"wrong": ["position"], "agree_s": None}], {"faults.apart"}),
        ([*good, {"kind": "end", "wrong": ["not carried out"]}], {"faults.lost", "faults.doubled", "faults.ends"}),
    ):
        assert {row.id for row in figures(deepcopy(bad)) if row.holds is False} == missed
