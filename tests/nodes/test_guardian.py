"""What a guardian does about refused orders and unread rights: it looks again, and stops for what stays unexplained."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nautilus_trader.common.component import LiveClock
from nautilus_trader.common.factories import OrderFactory
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.model.enums import MarketStatusAction, OrderSide
from nautilus_trader.model.events import OrderRejected
from nautilus_trader.model.objects import Quantity

from alphatrade.nodes.live import guardian as module
from alphatrade.nodes.live.alerts import Alerts
from alphatrade.nodes.live.checks import Check
from alphatrade.nodes.live.guardian import REFUSALS, UNCHECKED, UNREAD_S, Guardian
from alphatrade.nodes.live.preflight import AwayError
from alphatrade.nodes.live.settings import GuardSpec
from alphatrade.nodes.metrics import Reading
from alphatrade.nodes.venue_answers import TroubleError
from alphatrade.risk.permit import Permit
from tests.nodes.make_broker import ACCOUNT, NAME, STRATEGY, TRADER
from tests.nodes.make_checks import BTC
from tests.venue.rules import KNOWN

CLOSED = "BinanceClientError({'code': -1013, 'msg': 'Market is closed.'})"


def symbol(**changed: str) -> dict[str, Any]:
    """Return what the exchange says of its rules."""
    return KNOWN["BTCUSDT"].changed(changed).info()


class Rig:
    """A guardian, and what it watches over."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trips, self.statuses, self.asked = list[Any](), list[Any](), 0
        self.rules: Any = symbol()
        self.now = 1000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        reader = SimpleNamespace(ahead_ms=self._ahead, exchange_info=self._info)
        self.broker = SimpleNamespace(
            venue=SimpleNamespace(value="BINANCE"), witnesses=[], reader=reader, holds=False, refusal="", away_s=0.0,
            go_on=lambda: setattr(self.broker, "refusal", ""),
        )  # fmt: skip
        switch = SimpleNamespace(state="ACTIVE")
        gate = SimpleNamespace(trip=lambda *words: self.trips.append(words), switch=switch)
        node = SimpleNamespace(trader=SimpleNamespace(actors=list, strategies=list))
        intake = SimpleNamespace(receive=self.statuses.append)
        parts = SimpleNamespace(broker=self.broker, gate=gate, node=node, intake=intake)
        self.alerts = Alerts(folder, lambda: 7, lambda line: None)
        duty: Any = SimpleNamespace(
            alerts=self.alerts, asked=SimpleNamespace(markets=(BTC,), most=None), every=GuardSpec(), hear=lambda _: None
        )
        self.guardian = Guardian(parts, duty)
        self.guardian._refused.append((self.now, 0))
        self._factory = OrderFactory(TRADER, STRATEGY, LiveClock())

    async def _ahead(self) -> float:
        return 0.0

    async def _info(self, _: Any) -> Any:
        self.asked += 1
        if isinstance(self.rules, Exception):
            raise self.rules
        return {"BTCUSDT": self.rules}

    def refused(self, reason: str, sent: bool = True) -> None:
        """Have an order refused, by the exchange or by ourselves."""
        order = self._factory.market(NAME, OrderSide.BUY, Quantity.from_str("0.001"))
        ids = TRADER, STRATEGY, NAME, order.client_order_id, ACCOUNT
        self.guardian.reconciler.book.seen(OrderRejected(*ids, reason, UUID4(), 1, 1))
        self.broker.refusal = reason if sent else ""

    def look(self) -> None:
        self.now += 1
        asyncio.run(self.guardian._refusals())


@pytest.fixture
def rig(tmp_path, monkeypatch):
    return Rig(tmp_path, monkeypatch)


def test_a_market_that_is_closed_is_told_to_the_law_and_is_no_reason_to_stop(rig):
    assert rig.broker.holds
    rig.refused(CLOSED)
    rig.rules = symbol(status="BREAK")
    rig.look()
    assert [(one.action, one.is_trading) for one in rig.statuses] == [(MarketStatusAction.HALT, False)]
    assert (rig.broker.refusal, rig.trips, rig.alerts.counts["filters"]) == ("", [], 1)
    assert rig.guardian._due[rig.guardian._rules] == rig.now + module.HALT_S
    rig.rules = symbol()
    asyncio.run(rig.guardian._rules())
    assert rig.statuses[-1].is_trading
    assert rig.guardian._due[rig.guardian._rules] == rig.now + 15 * 60


def test_rules_that_are_others_stop_it_by_their_name(rig):
    rig.refused("BinanceClientError({'code': -1013, 'msg': 'Filter failure: PRICE_FILTER'})")
    rig.rules = symbol(tick="0.5")
    rig.look()
    assert rig.trips[0][0] == "FILTERS"
    assert "price step of BTCUSDT" in rig.trips[0][1]


def test_while_the_rules_cannot_be_read_orders_are_held_and_it_is_told_once(rig):
    rig.refused(CLOSED)
    rig.rules = TroubleError("status 503")
    for _ in range(3):
        rig.look()
    assert rig.asked == 3
    assert rig.broker.refusal
    assert rig.alerts.counts["unread"] == 1
    rig.broker.reader = None  # nor while it is away
    rig.look()
    assert rig.broker.refusal


def test_what_no_rule_explains_stops_it_after_some_and_what_we_refuse_ourselves_does_not_count(rig):
    for number in range(4 * REFUSALS):
        rig.refused("the exchange is not connected", sent=False)
        rig.refused(f"status 503 {number}", sent=False)
    rig.look()
    assert rig.trips == []
    for _ in range(REFUSALS - 1):
        rig.refused("BinanceClientError({'code': -2010, 'msg': 'Account has insufficient balance.'})")
    rig.look()
    assert (rig.trips, rig.broker.refusal) == ([], "")
    rig.refused("BinanceClientError({'code': -2010, 'msg': 'Account has insufficient balance.'})")
    rig.look()
    ((code, why, _),) = rig.trips
    assert code == "REJECTED"
    assert "10 orders refused within 60 s" in why
    assert "insufficient balance" in why


@pytest.mark.parametrize(
    ("ahead_ms", "took_s", "told"), [(1400.0, 2.8, 0.0), (1400.0, 0.01, 1395.0), (-3000.0, 2.0, -2000.0)]
)
def test_an_answer_that_takes_long_says_nothing_of_the_clock_that_the_way_may_not_have_done(
    rig, monkeypatch, ahead_ms, took_s, told
):
    """An exchange that stalled for 2.8 s once looked 1.4 s ahead, and its node stopped for a wrong clock."""
    heard = list[float]()

    async def ahead() -> float:
        rig.now += took_s
        return ahead_ms

    rig.broker.reader.ahead_ms = ahead
    rig.guardian._duty.hear = heard.append
    asyncio.run(rig.guardian._rules())
    assert heard == [pytest.approx(told, abs=0.01)]


# -- rights of the key that cannot be read


@pytest.fixture
def checked(rig, monkeypatch):
    """A guardian whose checks fail until a test says what they find."""
    rig.found = None

    async def again(*_: Any) -> tuple[Check, ...]:
        if rig.found is None:
            raise AwayError("403 not for this key (-2015)", "an exchange that lets this key read its account")
        return rig.found

    monkeypatch.setattr(module.preflight, "again", again)
    return rig


def check(rig: Any, times: int = 1) -> None:
    for _ in range(times):
        rig.now = rig.guardian._due[rig.guardian._again] = rig.now + 1
        asyncio.run(rig.guardian._again())


def test_rights_that_cannot_be_read_are_told_soon_asked_for_again_and_then_stop_it(checked):
    check(checked, UNCHECKED - 1)
    assert checked.trips == []
    assert checked.guardian._due[checked.guardian._again] == checked.now + UNREAD_S, "not in an hour"
    check(checked)
    ((code, why, _),) = checked.trips
    assert code == "PREFLIGHT"
    assert "3 times in a row" in why
    assert "-2015" in why
    assert checked.alerts.counts["preflight"] == UNCHECKED
    checked.guardian._parts.gate.switch.state = "HALTED"
    check(checked, UNCHECKED)
    assert len(checked.trips) == 1


def test_rights_that_can_be_read_again_are_counted_from_nothing(checked):
    check(checked, UNCHECKED - 1)
    checked.found = ()
    check(checked)
    assert checked.guardian._due[checked.guardian._again] == checked.now + 60 * 60
    checked.found = None
    check(checked, UNCHECKED - 1)
    assert checked.trips == []


def test_an_exchange_that_is_away_as_a_whole_stops_it_by_that_rule_alone(checked):
    checked.broker.away_s = 5.0
    check(checked, 4 * UNCHECKED)
    checked.broker.reader = None
    check(checked, 4 * UNCHECKED)
    assert checked.trips == []
    assert checked.guardian._due[checked.guardian._again] == checked.now + UNREAD_S
    checked.broker.away_s, checked.broker.reader = 0.0, object()
    checked.found = (Check("enableWithdrawals", "true", "false", False),)
    check(checked)
    assert checked.trips[0][:2] == ("PREFLIGHT", "enableWithdrawals: true, wanted: false")


def test_its_metrics_say_how_often_all_books_are_compared(rig):
    gate = rig.guardian._parts.gate
    gate.law, gate.live_gate = SimpleNamespace(headroom=lambda: (0, 0)), SimpleNamespace(permit=Permit())
    found = rig.guardian.figures()
    assert found["reconcile_every_s"] == 15 * 60
    assert set(found) <= set(Reading.__struct_fields__)
