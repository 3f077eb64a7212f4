"""The auditor on a run of real money: each thing that a permit does not cover is found, and each can be let pass."""

import contextlib
import json
import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.backtest.models import LatencyModel
from nautilus_trader.model.enums import OrderSide, TimeInForce

from alphatrade.risk import audit as module
from alphatrade.risk.audit import audit
from alphatrade.risk.audit_permit import Permitted
from alphatrade.risk.errors import RunDirError
from alphatrade.risk.live_law import LiveLaw
from alphatrade.risk.permit import Permit
from alphatrade.risk.units import ATTO
from tests.risk.rig import BTCUSDT, START, Scripted, audited, engine, flat_quotes, gate_of, quote
from tests.risk.test_audit import START as BEGIN
from tests.risk.test_audit import Run
from tests.risk.test_live_law import MUTATIONS
from tests.risk.test_permit import PERMIT, buy

DAY = 86_400 * 10**9
GIVEN = Permit(
    "e" * 64,
    instruments=("X",),
    currency="USD",
    capital=100 * ATTO,
    loss=20 * ATTO,
    begins=BEGIN - DAY,
    ends=BEGIN + DAY,
)


def give(run: Run, permit: Permit = GIVEN) -> Run:
    words = json.dumps(permit.plain())
    run.add(
        "risk_events", kind="permit", instrument=None, order_id=None, limit="PERMIT", value="", bound="", detail=words
    )
    return run


def limit(run: Run, name: str, qty: Any, price: Any = 10, **more: Any) -> Run:
    return run.new(name, "BUY", qty, type="LIMIT", price=Decimal(str(price)), **more)


def found(folder: Path, steps: Callable[[Run], Any], first: Permit | None = GIVEN) -> list[tuple[str, str]]:
    run = Run(order_notional_max=100, gross_max=100, instrument_max=100, net_max=100)
    run.run |= {"env": {"name": "live"}}
    run.mark(10).mark(10, "Y")
    if first is not None:
        give(run, first)
    steps(run)
    report = audit(run.write(folder))
    assert not report.integrity, report.integrity
    return [(one.code, one.subject) for one in report.violations]


def lawful(run: Run) -> None:
    limit(run, "A", 4).fill("A", 4, 10)
    limit(run, "B", 6).fill("B", 2, 9)
    run.event("B", "canceled")
    limit(run, "C", 4)
    run.trade("S", "SELL", 6, 10, reduce_only=True)


def refused(run: Run) -> None:
    limit(run, "A", 4).fill("A", 4, 10)
    give(run, GIVEN._replace(refused="revoked"))
    run.trade("LAW-1", "SELL", 2, 10, reduce_only=True)
    run.trade("S", "SELL", 2, 10, reduce_only=True)


def late(run: Run) -> None:
    limit(run.wait(86_400 - 2).mark(10), "A", 1)
    limit(run.wait(2).mark(10), "B", 1)


def too_much(run: Run) -> None:
    limit(run, "A", 6).fill("A", 6, 10)
    limit(run, "B", 4)
    limit(run, "C", "0.001")


def after_profit(run: Run) -> None:
    limit(run, "A", 10).fill("A", 10, 10)
    run.mark("10.2").trade("S", "SELL", 5, "10.2", reduce_only=True)
    limit(run, "B", "4.9", "10.2")  # 51 came back, of what cost 50
    limit(run, "C", "0.01", "10.2")


def dearer(run: Run) -> None:
    limit(run, "A", 10).fill("A", 10, 10)
    run.trade("S", "SELL", 1, 10, reduce_only=True)
    limit(run, "B", 1, 10).fill("B", 1, "10.001")


def lost(run: Run) -> None:
    limit(run, "A", 9).fill("A", 9, 10)
    limit(run.mark(8), "B", "0.5", 8)
    limit(run.mark("7.7"), "C", "0.5", "7.7")


def left(run: Run, name: str, qty: str, price: str = "10") -> Run:
    run.add(
        "risk_events", kind="handover", instrument="X", order_id=name, limit="HANDOVER", value=qty, bound=price,
        detail="left by run ab12",
    )  # fmt: skip
    return run


def taken_over(run: Run) -> None:
    left(run, "HANDOVER-1", "4.5")
    limit(run, "HANDOVER-1", "4.5").fill("HANDOVER-1", "4.5", 10)
    run.trade("S", "SELL", "4.5", 10, reduce_only=True)


def stop(run: Run) -> Run:
    return run.add(
        "risk_events", kind="kill", instrument=None, order_id=None, limit="HANDOVER", value="", bound="", detail="x"
    )


def sold_by_the_law(run: Run) -> None:
    """Let the law take over what no limit and no cap would let through: of one order, of the rate, of the capital."""
    run.risk |= {"order_notional_max": 0.05, "orders_per_second": 2}
    left(left(left(run, "HANDOVER-1", "2"), "HANDOVER-2", "11"), "HANDOVER-3", "2.5")
    limit(run, "HANDOVER-1", 2).fill("HANDOVER-1", 2, 10)
    limit(run, "HANDOVER-2", 11, event="denied")
    stop(run)
    limit(run, "HANDOVER-2-LAW", 11).fill("HANDOVER-2-LAW", 11, 10)
    limit(run, "HANDOVER-3-LAW", "2.5").fill("HANDOVER-3-LAW", "2.5", 10)
    run.trade("LAW-1", "SELL", "15.5", 10, reduce_only=True, type="MARKET")


def by_law(run: Run, *, told: bool = True, stopped: bool = True, taken: bool = False, qty: str = "1", more: bool = False) -> None:
    """Let the law take over what it has no right to."""
    if told:
        left(run, "HANDOVER-1", "1")
    if taken:
        limit(run, "HANDOVER-1", 1).fill("HANDOVER-1", 1, 10)
    if stopped:
        stop(run)
    limit(run, "HANDOVER-1-LAW", qty).fill("HANDOVER-1-LAW", qty, 10)
    if more:
        limit(run, "A", 1)


def too_soon(run: Run) -> None:
    left(limit(run, "B", "0.1"), "HANDOVER-1", "1")  # what was bought before it was left is no matter
    limit(run, "A", "0.1")
    limit(run, "HANDOVER-1", 1).fill("HANDOVER-1", 1, 10)
    limit(run, "C", "0.1")


def made_up(run: Run) -> None:
    limit(run, "HANDOVER-1", 1).fill("HANDOVER-1", 1, 10)
    left(run, "HANDOVER-1", "1")  # afterwards


def at_other_terms(run: Run) -> None:
    left(left(left(left(run, "HANDOVER-1", "1"), "HANDOVER-2", "1", "9"), "HANDOVER-3", "1"), "HANDOVER-4", "1")
    limit(run, "HANDOVER-1", "1.001")
    limit(run, "HANDOVER-2", 1)
    limit(run, "HANDOVER-3", 1, instrument="Y")
    limit(run, "HANDOVER-4", 1).fill("HANDOVER-4", 1, 10, fee="0.01")


def beyond_the_cap(run: Run) -> None:
    left(run, "HANDOVER-1", "10.5")
    limit(run, "HANDOVER-1", "10.5")


CASES: dict[str, tuple[Callable[[Run], Any], list[tuple[str, str]]]] = {
    "nothing": (lawful, []),
    "after it was taken back": (refused, [("NO_PERMIT", "S")]),
    "after its end": (late, [("PERMIT_WINDOW", "B")]),
    "in another instrument": (lambda run: limit(run, "A", 1, instrument="Y"), [("PERMIT_SCOPE", "A")]),
    "without a price": (lambda run: run.new("A", "BUY", 1), [("UNBOUNDED", "A")]),
    "more than the capital": (too_much, [("CAPITAL_CAP", "C")]),
    "more than the capital, with a profit": (after_profit, [("CAPITAL_CAP", "C")]),
    "a fill above its price": (dearer, [("CAPITAL_CAP", "B")]),
    "more than may be lost": (lost, [("LOSS_CAP", "C")]),
    "taken over as it was handed over": (taken_over, []),
    "taken over and not handed over before": (made_up, [("HANDOVER", "HANDOVER-1")]),
    "taken over at other terms": (
        at_other_terms,
        [("HANDOVER", "HANDOVER-1"), ("HANDOVER", "HANDOVER-2"), ("HANDOVER", "HANDOVER-3"), ("PERMIT_SCOPE", "HANDOVER-3"),
         ("HANDOVER", "HANDOVER-4")],
    ),
    "denied, and sold by the law": (sold_by_the_law, []),
    "by the law, never handed over": (partial(by_law, told=False), [("HANDOVER", "HANDOVER-1-LAW")]),
    "by the law, which had not stopped": (partial(by_law, stopped=False), [("HANDOVER", "HANDOVER-1-LAW")]),
    "by the law, once more": (partial(by_law, taken=True), [("HANDOVER", "HANDOVER-1-LAW")]),
    "by the law, more of it": (partial(by_law, qty="1.5"), [("HANDOVER", "HANDOVER-1-LAW")]),
    "bought before it was taken over": (too_soon, [("HANDOVER", "A")]),
    "bought after the law took over": (partial(by_law, more=True), [("HANDOVER", "A")]),
    "more taken over than there is capital": (beyond_the_cap, [("CAPITAL_CAP", "HANDOVER-1")]),
    "explored": (
        lambda run: run.add("risk_events", kind="explored", instrument="X", order_id="A", limit="EXPLORATION", value="", bound="", detail="maker"),
        [("EXPLORATION", "A")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_a_permit_does_not_cover_is_found(tmp_path: Path, name: str) -> None:
    steps, expected = CASES[name]
    assert found(tmp_path, steps) == expected


def test_with_no_permit_every_order_of_a_live_run_is(tmp_path: Path) -> None:
    assert found(tmp_path, lambda run: limit(run, "A", 1), None) == [("NO_PERMIT", "A")]


def test_an_order_is_judged_by_the_permit_of_its_judgement(tmp_path: Path) -> None:
    def steps(run: Run) -> None:
        limit(run, "A", 1, event="initialized")
        give(run, GIVEN._replace(refused="revoked"))
        run.event("A", "submitted")

    assert found(tmp_path, steps) == []


def test_what_was_spent_before_counts(tmp_path: Path) -> None:
    assert found(tmp_path, lambda run: limit(run, "A", "7.01"), GIVEN._replace(spent=30 * ATTO)) == [
        ("CAPITAL_CAP", "A"), ("LOSS_CAP", "A"),
    ]  # fmt: skip


@pytest.mark.parametrize("detail", ["", "{}", "[]", '{"entry": 1}', "[" * 10**5])
def test_a_permit_that_is_none_is_no_verdict(tmp_path: Path, detail: str) -> None:
    run = Run().mark(10)
    run.add(
        "risk_events", kind="permit", instrument=None, order_id=None, limit="PERMIT", value="", bound="", detail=detail
    )
    with pytest.raises(RunDirError, match="a permit, as the law took it"):
        audit(run.write(tmp_path))


def test_of_another_environment_none_is_asked_for(tmp_path: Path) -> None:
    run = Run().mark(10).trade("A", "BUY", 1, 10)
    assert audit(run.write(tmp_path)).violations == ()


def test_the_use_of_both_caps_is_told(tmp_path: Path) -> None:
    run = Run()
    give(run.mark(10))
    limit(run, "A", 4).fill("A", 4, 10)
    limit(run.mark("9.5"), "B", 1)
    use = audit(run.write(tmp_path)).utilisation
    assert (use["CAPITAL_CAP"], use["LOSS_CAP"]) == (0.5, 0.1)


def test_it_agrees_with_the_law_on_a_run_of_the_gate(tmp_path: Path) -> None:
    strategy = Scripted(dict.fromkeys((5, 8, 11), buy))
    built = engine(flat_quotes(BTCUSDT, 50_000, 20), [strategy], {"env": "live", "template": {"duplicate_window_s": 0}})
    gate, permit = gate_of(built), PERMIT._replace(capital=11_000 * ATTO)

    def begin(s: Scripted) -> None:
        gate.record.event(START, "permit", None, None, "PERMIT", "", "", json.dumps(permit.plain()))
        gate.live_gate.permitted(permit)

    strategy.script[3] = begin
    built.run()
    assert [reason.partition(":")[0] for reason in strategy.denied.values()] == ["CAPITAL_CAP"]
    audited(gate, tmp_path, {"duplicate_window_s": 0}, True, env={"name": "live"})  # type: ignore[arg-type]
    assert 0.9 < audit(tmp_path).utilisation["CAPITAL_CAP"] <= 1


def test_without_the_look_nothing_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "permitted", lambda *_: Permitted())  # mutation
    assert found(tmp_path, CASES["more than the capital"][0]) == []


# -- a rogue with a permit: law, auditor and Nautilus's own matching, each with arithmetic of its own

LOOSE = {
    "order_notional_max": 1, "instrument_max": 1, "gross_max": 1, "net_max": 1, "orders_per_second": 1000,
    "orders_per_minute": 10_000, "repeat_max": 1000, "duplicate_window_s": 0, "open_orders_max": 1000, "daily_loss_max": 1,
    "drawdown_max": 1,
}  # fmt: skip


class Rogue(Scripted):
    """Sends what chance tells it, at prices far and near, and cancels some of what rests."""

    def __init__(self, seed: int) -> None:
        super().__init__({})
        self.draw = random.Random(seed)

    def on_quote_tick(self, tick: Any) -> None:
        self.n += 1
        if self.n < 4:
            return
        draw, mid = self.draw, float(tick.bid_price)
        for _ in range(draw.randrange(3)):
            side = OrderSide.BUY if draw.random() < 0.7 else OrderSide.SELL
            terms = BTCUSDT.make_qty(draw.choice([0.02, 0.05, 0.1])), BTCUSDT.make_price(mid * draw.uniform(0.99, 1.01))
            kind = draw.choice([TimeInForce.GTC, TimeInForce.IOC])
            self.submit_order(self.order_factory.limit(BTCUSDT.id, side, *terms, kind))
        for order in self.cache.orders_open():
            if draw.random() < 0.2:
                self.cancel_order(order)


def rogue_run(seed: int, folder: Path, loss: int = 2_000) -> tuple[Any, Counter[str]]:
    draw = random.Random(seed + 1000)
    mids = [50_000.0]
    for _ in range(300):
        mids.append(mids[-1] * draw.uniform(0.996, 1.004))
    quotes = [quote(BTCUSDT, mid, START + i * 10**9, size=0.03) for i, mid in enumerate(mids)]
    strategy = Rogue(seed)
    latency = LatencyModel(base_latency_nanos=1_500_000_000)
    built = engine(quotes, [strategy], {"env": "live", "template": LOOSE}, latency=latency)
    gate = gate_of(built)
    fee = int(BTCUSDT.taker_fee * 10**9)
    permit = PERMIT._replace(capital=20_000 * ATTO, loss=loss * ATTO, fee=fee)

    def begin(s: Scripted) -> None:
        Scripted.on_start(strategy)
        gate.record.event(START, "permit", None, None, "PERMIT", "", "", json.dumps(permit.plain()))
        gate.live_gate.permitted(permit)

    strategy.on_start = lambda: begin(strategy)  # type: ignore[method-assign]
    built.run()
    gate.save(str(folder))
    with contextlib.suppress(AssertionError):  # it writes the files; the verdict is asked for below
        audited(gate, folder, LOOSE, True, env={"name": "live"})  # type: ignore[arg-type]
    return audit(folder), Counter(reason.partition(":")[0] for reason in strategy.denied.values())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_rogue_with_a_permit_stays_within_it_by_the_auditor_too(tmp_path: Path, seed: int) -> None:
    report, denied = rogue_run(seed, tmp_path)
    assert (report.violations, report.integrity) == ((), ())
    assert denied["CAPITAL_CAP"] > 10
    assert report.fills > 30
    assert 0.95 < report.utilisation["CAPITAL_CAP"] <= 1


def test_one_that_may_lose_little_is_stopped_by_the_law(tmp_path: Path) -> None:
    report, denied = rogue_run(4, tmp_path, loss=800)
    assert report.violations == ()
    assert denied["LOSS_ROOM"] > 3
    assert report.utilisation["LOSS_CAP"] < 1


@pytest.mark.parametrize("name", ["_buys", "_capped"])
def test_without_a_mechanism_of_the_law_the_auditor_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(LiveLaw, name, MUTATIONS[name])
    report, _ = rogue_run(1, tmp_path)
    assert "CAPITAL_CAP" in {one.code for one in report.violations}
