"""When a difference is certain: what is on its way is none, what stays stops trading, and an exchange that is away is told."""

import asyncio
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alphatrade.nodes.live import full
from alphatrade.nodes.live.alerts import Alerts
from alphatrade.nodes.live.full import Outcome, Reconciler
from alphatrade.nodes.live.reconcile import Fill, Order, Side, balances, fees, positions
from alphatrade.nodes.live.sides import There
from alphatrade.nodes.venue_answers import TroubleError
from tests.nodes.make_checks import BTC

D = Decimal
FILL = Fill("O-1", "BUY", D("0.001"), D(30_000), D("0.000001"), "BTC")
LATER = Fill("O-2", "BUY", D("0.002"), D(30_000), D("0.000002"), "BTC")


def side(*fills: Fill) -> Side:
    rows = {("BTCUSDT", str(number)): fill for number, fill in enumerate(fills)}
    orders = {one.order: Order("BTCUSDT", one.side, one.qty, one.qty, "filled") for one in fills}
    held = balances({"USDT": D(100), "BTC": D(0)}, rows, [BTC])
    return Side(orders, rows, positions(rows, [BTC]), held, fees(fills))


class Rig:
    """A node of which a test says what it has, reading by reading; the last of a list stays."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, ours: list[Side], theirs: list[Any]) -> None:
        self.ours, self.theirs, self.trips, self.looks, self.slept = ours, theirs, list[Any](), 0, list[float]()
        self.told: list[str] = []
        broker = SimpleNamespace(venue=SimpleNamespace(value="BINANCE"), witnesses=[], reader=object(), look=self._look)
        gate = SimpleNamespace(trip=lambda *words: self.trips.append(words))
        self.parts = SimpleNamespace(broker=broker, gate=gate)
        self.alerts = Alerts(folder, lambda: 7, self.told.append)
        self.reconciler = Reconciler(self.parts, (BTC,), self.alerts)
        self.reconciler.book.opened_ns = 1
        monkeypatch.setattr(self.reconciler, "local", self._local)
        monkeypatch.setattr(full, "asked", self._asked)
        monkeypatch.setattr(asyncio, "sleep", self._sleep)

    def _look(self) -> None:
        self.looks += 1

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def _local(self, _book: Any) -> tuple[dict[str, Side], set[str]]:
        found = self.ours.pop(0) if len(self.ours) > 1 else self.ours[0]
        return {"journal": found, "cache": found, "law": Side(positions=found.positions)}, set()

    async def _asked(self, *_: Any) -> There:
        found = self.theirs.pop(0) if len(self.theirs) > 1 else self.theirs[0]
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, There) else There(found, ())

    def run(self, when: str = "running") -> Outcome:
        return asyncio.run(self.reconciler.run(when))


@pytest.fixture
def rig(tmp_path, monkeypatch):
    return lambda ours, theirs: Rig(tmp_path, monkeypatch, ours, theirs)


def test_sides_that_agree_are_read_once(rig):
    one = rig([side(FILL)], [side(FILL)])
    outcome = one.run()
    assert outcome.clean
    assert (outcome.readings, outcome.orders, outcome.fills) == (1, 1, 1)
    assert (one.trips, one.told, one.looks) == ([], [], 0)


def test_a_difference_that_stays_stops_trading_and_is_told(rig, tmp_path):
    one = rig([side(FILL)], [side(FILL, LATER)])
    outcome = one.run()
    assert {odd.row for odd in outcome.differences} == {"stranger", "fills", "positions", "balances", "fees"}
    ((code, why, who),) = one.trips
    assert (code, who) == ("RECONCILE", "reconciliation")
    assert why.startswith("order O-2 of BTCUSDT was made at the exchange and is not ours (and 5 more)")
    assert outcome.readings == 1 + len(full.PAUSES_S)
    assert one.looks == len(full.PAUSES_S)
    written = (tmp_path / "alerts.jsonl").read_text().splitlines()
    assert len(written) == len(outcome.differences)
    assert one.alerts.counts["stranger"] == 1
    assert one.alerts.counts["reconcile"] == len(outcome.differences) - 1


def test_what_was_only_on_its_way_is_no_difference(rig):
    one = rig([side(FILL)] * 4 + [side(FILL, LATER)], [side(FILL, LATER)])
    outcome = one.run()
    assert outcome.clean
    assert (outcome.readings, one.trips) == (3, [])


def test_what_happens_during_a_reading_is_no_difference(rig):
    one = rig([side(FILL), side(FILL, LATER)], [side(FILL, LATER)])
    assert one.run().readings == 1
    one = rig([side(FILL), side(FILL, LATER)], [side(FILL), side(FILL, LATER)])
    assert one.run().readings == 1


def test_a_difference_that_is_another_one_each_time_is_none(rig):
    def held(amount: str) -> Side:
        found = side(FILL)
        return found._replace(balances={**(found.balances or {}), "BTC": D(amount)})

    one = rig([side(FILL)], [held("1"), held("2"), held("3"), held("4")])
    assert one.run().clean
    assert one.trips == []


def test_a_list_of_fills_that_is_behind_is_waited_for_but_not_for_ever(rig):
    lagging = side(FILL)._replace(orders=side(FILL, LATER).orders)
    one = rig([side(FILL, LATER)], [lagging] * 9 + [side(FILL, LATER)])
    assert one.run().clean
    assert one.slept[-1] == full.LAG_S
    one = rig([side(FILL, LATER)], [lagging])
    assert not one.run().clean
    assert len(one.slept) == len(full.PAUSES_S) + full.LAGS
    assert one.trips


def test_an_open_order_of_a_stranger_in_any_symbol_stops_trading(rig):
    one = rig([side(FILL)], [There(side(FILL), (("web-1", "DOGEUSDT"),))])
    (odd,) = one.run().differences
    assert (odd.row, odd.what) == ("stranger", "web-1")
    assert one.alerts.counts["stranger"] == 1
    assert "web-1 of DOGEUSDT" in one.trips[0][1]


def test_a_stranger_that_comes_during_the_readings_is_seen(rig):
    late = There(side(FILL), (("web-1", "DOGEUSDT"),))
    other = side(FILL)._replace(fees={"BTC": D(1)})
    one = rig([side(FILL)], [There(other, ()), late])
    assert [odd.what for odd in one.run().differences] == ["web-1"]


@pytest.mark.parametrize("error", [TroubleError("status 503"), TimeoutError(), KeyError("orderId"), ValueError("odd")])
def test_an_exchange_that_cannot_be_read_is_tried_again_and_then_told(rig, error):
    one = rig([side(FILL)], [error, error, side(FILL)])
    assert one.run().clean
    one = rig([side(FILL)], [error])
    outcome = one.run("stop")
    assert not outcome.clean
    assert outcome.unread
    assert one.alerts.counts["unread"] == 1
    assert one.trips == []  # nothing is sent while it is away; that is seen to elsewhere


def test_an_alert_that_cannot_be_written_is_told_all_the_same(tmp_path):
    told: list[str] = []
    alerts = Alerts(tmp_path / "no" / "such", lambda: 1, told.append)
    alerts.give("reconcile", "two")
    assert alerts.unwritten == 1
    assert any("ALERT reconcile: two" in line for line in told)
