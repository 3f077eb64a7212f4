"""When a difference is certain: what is on its way is none, what stays stops trading, and an exchange that is away is told."""

import asyncio
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nautilus_trader.cache.cache import Cache

from alphatrade.nodes.engine import Housekeeper
from alphatrade.nodes.live import full
from alphatrade.nodes.live.alerts import Alerts
from alphatrade.nodes.live.full import Outcome, Reconciler
from alphatrade.nodes.live.guardian import Guardian
from alphatrade.nodes.live.reconcile import Fill, Order, Side, balances, compare, fees, positions
from alphatrade.nodes.live.sides import There
from alphatrade.nodes.venue_answers import TroubleError
from alphatrade.risk.permit import Permit
from tests.nodes import make_broker
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
        self.back_after = 0
        self.broker = broker = SimpleNamespace(
            venue=SimpleNamespace(value="BINANCE"), witnesses=[], reader=object(), look=self._look, readings=0,
            away_s=0.0,
        )  # fmt: skip
        gate = SimpleNamespace(trip=lambda *words: self.trips.append(words))
        self.keeper = Housekeeper()
        trader = SimpleNamespace(actors=lambda: [self.keeper], strategies=list)
        self.cache = Cache()
        node = SimpleNamespace(trader=trader, kernel=SimpleNamespace(cache=self.cache))
        self.stop = asyncio.Event()
        self.parts = SimpleNamespace(broker=broker, gate=gate, node=node, stop=self.stop)
        self.alerts = Alerts(folder, lambda: 7, self.told.append)
        self.reconciler = Reconciler(self.parts, (BTC,), self.alerts)
        self.reconciler.book.opened_ns = 1
        monkeypatch.setattr(self.reconciler, "local", self._local)
        monkeypatch.setattr(full, "asked", self._asked)
        monkeypatch.setattr(asyncio, "sleep", self._sleep)

    def _look(self) -> None:
        self.looks += 1
        self.broker.readings += 1

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.broker.away_s:
            self.broker.away_s += seconds
            if len(self.slept) == self.back_after:
                self.broker.away_s, self.ours = 0.0, self.theirs

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


def away(one: Rig) -> None:
    """Have the exchange be away, and the node be told what it has missed when it is back."""
    one.broker.away_s, one.back_after = 0.1, len(one.slept) + 300


async def at_once(*_: Any) -> None:
    """Wait for nothing."""


@pytest.mark.parametrize("waits", [True, False], ids=["waits", "mutation: judges at once"])
def test_while_the_exchange_is_away_nothing_is_judged_and_it_is_judged_afterwards(rig, monkeypatch, waits):
    one = rig([side(FILL)], [side(FILL, LATER)])
    if not waits:
        monkeypatch.setattr(Reconciler, "_there", at_once)
    away(one)
    outcome = one.run()
    assert (outcome.clean, not one.trips) == (waits, waits)
    if waits:
        assert outcome.readings == 1
        assert sum("the exchange is away" in line for line in one.told) == 1


@pytest.mark.parametrize("waits", [True, False], ids=["waits", "mutation: judges at once"])
def test_an_exchange_that_goes_away_between_two_readings_is_waited_for(rig, monkeypatch, waits):
    one = rig([side(FILL)], [side(FILL, LATER)])
    if not waits:
        monkeypatch.setattr(Reconciler, "_caught_up", at_once)
    one.broker.look = lambda: away(one)
    read = one._sleep

    async def sleep(seconds: float) -> None:
        await read(seconds)
        one.broker.readings += not one.broker.away_s

    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert one.run().clean == waits
    assert (not one.trips) == waits


def test_a_node_that_does_not_read_the_exchange_any_more_is_told(rig, monkeypatch):
    one = rig([side(FILL)], [side(FILL, LATER)])
    one.broker.look = lambda: None
    ticks = iter(range(10**6))
    monkeypatch.setattr(full.time, "monotonic", lambda: float(next(ticks)))
    outcome = one.run()
    assert "the node has not read the exchange" in outcome.unread
    assert one.trips == []


@pytest.mark.parametrize(("when", "most"), [("start", full.AWAY_S), ("stop", full.END_S)])
def test_a_start_and_a_stop_wait_for_a_while(rig, when, most):
    one = rig([side(FILL)], [side(FILL)])
    one.broker.away_s = 0.1
    outcome = one.run(when)
    assert "has been away for" in outcome.unread
    assert sum(one.slept) == pytest.approx(most, rel=0.1)
    assert (one.trips, one.alerts.counts["unread"]) == ([], 1)


def test_a_start_that_is_to_end_waits_no_longer_than_a_stop(rig):
    one = rig([side(FILL)], [side(FILL)])
    one.broker.away_s = 0.1
    one.stop.set()
    assert one.run("start").unread
    assert sum(one.slept) == pytest.approx(full.END_S, rel=0.1)


@pytest.mark.parametrize("how", ["away", "unread"])
def test_an_exchange_that_cannot_be_read_for_too_long_stops_trading(rig, monkeypatch, how):
    one = rig([side(FILL)], [TroubleError("status 503")])
    one.parts.gate.switch = SimpleNamespace(state="ACTIVE")
    duty: Any = SimpleNamespace(alerts=one.alerts, asked=SimpleNamespace(markets=(BTC,)))
    guardian = Guardian(one.parts, duty)
    guardian.reconciler = one.reconciler
    now = [1000.0]
    monkeypatch.setattr(full.time, "monotonic", lambda: now[0])

    def after(seconds: float) -> list[Any]:
        now[0] += seconds
        one.broker.away_s += seconds if how == "away" else 0
        if how == "unread":
            one.run()
        asyncio.run(guardian._reach())
        return one.trips

    assert after(1.0) == []
    assert after(full.AWAY_S - 2) == []
    ((code, why, who),) = after(4.0)
    assert (code, who) == ("UNREACHABLE", "guardian")
    assert "could not be read for 12" in why
    assert one.alerts.counts["unreachable"] == 1


def test_an_exchange_that_was_read_again_in_time_stops_nothing(rig, monkeypatch):
    one = rig([side(FILL)], [TroubleError("status 503")] * 3 + [side(FILL)])
    now = [1000.0]
    monkeypatch.setattr(full.time, "monotonic", lambda: now[0])
    assert one.run().unread
    now[0] += 100
    assert one.reconciler.blind_s == 100
    assert one.run().clean
    assert one.reconciler.blind_s == 0


@pytest.mark.parametrize("ends", [False, True])
def test_a_node_that_ends_is_not_latched_by_its_policy_being_taken_down(rig, ends):
    one, given = rig([], []), list[Permit]()
    one.parts.intake = SimpleNamespace(permit=given.append)
    one.parts.gate.live_gate = SimpleNamespace(permit=Permit())
    every = SimpleNamespace(look_s=1.0)
    duty: Any = SimpleNamespace(
        alerts=one.alerts, asked=SimpleNamespace(markets=()), look=lambda: Permit(refused="taken down"), every=every
    )
    guardian = Guardian(one.parts, duty)
    if ends:
        one.parts.stop.set()
    asyncio.run(guardian._look())
    assert len(given) == one.alerts.counts["permit"] == (0 if ends else 1)


# -- what Nautilus's cache lets go of


class Kept:
    """A node whose cache lets go of orders that are over."""

    def __init__(self, tmp_path: Path) -> None:
        self.rig = rig = make_broker.Rig()
        self.keeper = Housekeeper()
        trader = SimpleNamespace(actors=lambda: [self.keeper], strategies=list)
        node = SimpleNamespace(trader=trader, kernel=SimpleNamespace(cache=rig.cache))
        gate = SimpleNamespace(law=SimpleNamespace(exposure=SimpleNamespace(holdings={})))
        self.parts = SimpleNamespace(broker=rig.broker, gate=gate, node=node)
        self.reconciler = Reconciler(self.parts, (BTC,), Alerts(tmp_path, lambda: 7, print))

    def purge(self, order: Any) -> None:
        """Do as the housekeeper does."""
        self.keeper.forgets(order)
        self.rig.cache.purge_order(order.client_order_id)

    async def found(self) -> list[tuple[str, str]]:
        """Return the differences of journal and cache; the rig keeps no positions."""
        sides, _ = await self.reconciler.local(self.reconciler.book)
        del sides["law"]
        return [(odd.row, odd.what) for odd in compare(sides, (BTC,)) if odd.row != "positions"]


@pytest.fixture
def kept(tmp_path):
    def run(scenario: Any) -> None:
        async def inside() -> None:
            await scenario(Kept(tmp_path))

        asyncio.run(inside())

    return run


@pytest.mark.parametrize("told", [True, False], ids=["told", "mutation: not told"])
def test_an_order_that_has_left_the_cache_is_compared_as_it_was_then(kept, told):
    async def scenario(one: Kept) -> None:
        order = one.rig.rests()
        one.rig.filled(order, "7", "0.01000000")
        assert await one.found() == []
        if not told:
            one.keeper.forgets = lambda order: None
        one.purge(order)
        rows = {row for row, _ in await one.found()}
        assert rows == (set() if told else {"orders", "fills", "fees"})

    kept(scenario)


def test_a_fill_that_the_cache_never_had_is_found_after_the_order_has_left_it(kept):
    async def scenario(one: Kept) -> None:
        order = one.rig.rests()
        one.rig.filled(order, "7", "0.00400000")
        one.rig.canceled(order)
        one.purge(order)
        assert await one.found() == []
        lost = one.rig.events[-2]
        one.reconciler.book.seen(type(lost).from_dict(type(lost).to_dict(lost) | {"trade_id": "8"}))
        assert {row for row, _ in await one.found()} == {"orders", "fills", "fees"}

    kept(scenario)


def test_an_order_without_an_answer_is_not_compared_also_while_it_is_cancelled(kept):
    async def scenario(one: Kept) -> None:
        order = one.rig.sent()
        one.rig.submitted(order)
        one.rig.cancels(order)
        sides, sent = await one.reconciler.local(one.reconciler.book)
        assert sent == {order.client_order_id.value}
        assert sides["cache"].orders == {}

    kept(scenario)


def test_an_alert_that_cannot_be_written_is_told_all_the_same(tmp_path):
    told: list[str] = []
    alerts = Alerts(tmp_path / "no" / "such", lambda: 1, told.append)
    alerts.give("reconcile", "two")
    assert alerts.unwritten == 1
    assert any("ALERT reconcile: two" in line for line in told)
