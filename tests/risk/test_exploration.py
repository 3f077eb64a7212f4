"""The exploration budget as law: the share on every prefix, changes, the freeze; and the auditor, who finds each breach."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.model.enums import OrderSide, TimeInForce

from alphatrade.risk import gate_exploration
from alphatrade.risk.audit import audit
from alphatrade.risk.exploration import Exploration
from alphatrade.risk.exploring_law import ExploringLaw
from alphatrade.risk.exposure import BUY, SELL, Order
from alphatrade.risk.gate_exploration import FROZEN_TOPIC, Explorations
from alphatrade.risk.gate_orders import explores_tag
from alphatrade.risk.limits import Code
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.units import ATTO, to_nano
from tests.risk.rig import BTCUSDT, SECOND, START, Scripted, audited, engine, flat_quotes, gate_of
from tests.risk.test_audit import Run
from tests.risk.test_law import NOW, WIDE, code, fill, mark, order, send
from tests.risk.test_permit import PERMIT

Act = Callable[[Scripted], None]


def made(share: float = 0.1, every: int = 10, margin: float = 0.0, **limits: Any) -> ExploringLaw:
    law = ExploringLaw(RiskTemplate(**{**WIDE, **limits}), 1000 * ATTO, False, Exploration(share, every, margin))
    mark(law, 10)
    return law


def flow(law: ExploringLaw, qty: Any = 10) -> None:
    """Fill so many units at 10, half of it back: a flow of 20 * `qty`, and no position."""
    for side in (BUY, SELL):
        fill(law, send(law, order(side, qty)), qty, 10)


def explored(side: int, qty: Any, price: Any = None, tactic: str = "maker", **more: Any) -> Order:
    return order(side, qty, price, explores=tactic, **more)


# -- the share


def test_a_budget_may_be_used_up_and_not_exceeded() -> None:
    law = made(0.1)
    assert code(law, explored(BUY, "0.001")) is Code.EXPLORATION, "nothing has flowed yet"
    flow(law, 10)  # 200 of flow: 20 may be explored
    assert code(law, explored(BUY, "2.001")) is Code.EXPLORATION
    assert code(law, explored(BUY, 2)) is None
    verdict = law.check([explored(BUY, 3)], NOW)
    assert (verdict.value, verdict.bound) == ("30", "20")


def test_what_works_is_reserved_and_what_is_cancelled_is_given_back() -> None:
    law = made(0.1)
    flow(law, 10)
    first = send(law, explored(BUY, "1.5", 10))
    assert code(law, explored(BUY, "0.6", 10)) is Code.EXPLORATION
    law.on_closed(first.order_id)
    second = send(law, explored(BUY, 2, 10))
    fill(law, second, 1, 10)
    law.on_closed(second.order_id)
    assert law.exploration.explored2 == 2 * 10 * ATTO
    assert code(law, explored(BUY, "1.1", 10)) is None, "the fill of ten is flow, too"
    assert code(law, explored(BUY, "1.2", 10)) is Code.EXPLORATION


def test_the_margin_is_reserved_as_well() -> None:
    law = made(0.1, margin=0.03)
    flow(law, 10)
    assert code(law, explored(BUY, 2)) is Code.EXPLORATION
    assert code(law, explored(BUY, "1.9")) is None


def test_a_change_may_not_make_an_explored_order_larger_than_the_budget() -> None:
    law = made(0.1)
    flow(law, 10)
    one = send(law, explored(BUY, 1, 10))
    assert law.check_modify(one, to_nano("2.1"), None, None, NOW).code is Code.EXPLORATION
    assert law.check_modify(one, to_nano("1.5"), to_nano(14), None, NOW).code is Code.EXPLORATION
    assert law.check_modify(one, to_nano(2), None, None, NOW).code is None
    law.commit_modify(one, to_nano(2), NOW)
    assert law.exploration.claim2(one.order_id) == 2 * 20 * ATTO
    assert law.exploration.room2 == 0


@pytest.mark.parametrize("frozen", [False, True])
def test_what_only_reduces_is_never_denied_for_the_budget(frozen: bool) -> None:
    law = made(0.0)
    fill(law, send(law, order(BUY, 5)), 5, 10)
    if frozen:
        law.exploration.freeze("a test")
    assert code(law, explored(SELL, 5, reduce_only=True)) is None
    assert code(law, explored(SELL, 5)) is None, "certain to shrink the position"
    assert code(law, explored(SELL, 6)) is Code.EXPLORATION, "it flips"
    send(law, order(SELL, 5, 10))
    assert code(law, explored(SELL, 5, 11)) is Code.EXPLORATION, "the other may fill first"


def test_the_default_lets_nothing_be_explored() -> None:
    law = ExploringLaw(RiskTemplate(**WIDE), 1000 * ATTO)
    mark(law, 10)
    flow(law, 10)
    assert code(law, explored(BUY, "0.001")) is Code.EXPLORATION
    assert code(law, order(BUY, 1)) is None


def test_nothing_is_explored_near_a_limit_and_not_in_a_list() -> None:
    law = made(1.0, order_notional_max=0.1)
    flow(law, 10)
    assert code(law, explored(BUY, 8)) is Code.EXPLORATION, "80 % of the largest order"
    assert code(law, explored(BUY, 7)) is None
    assert code(law, explored(BUY, 1, 10), order(SELL, 1, 11)) is Code.EXPLORATION


def walk(law: ExploringLaw, seed: int) -> float:
    """Send and fill at random; return the largest explored share of any prefix with an explored fill."""
    rng, working, most = random.Random(seed), [], 0.0
    for _ in range(400):
        tactic = rng.choice(["", "", "", "maker"])
        one = order(rng.choice([BUY, SELL]), rng.randint(1, 30), rng.randint(9, 11), explores=tactic)
        if law.check([one], NOW).code is None:
            law.commit([one], NOW)
            working.append(one)
        if working and rng.random() < 0.8:
            hit = working.pop(rng.randrange(len(working)))
            counts = hit.order_id in law.exploration.opening
            fill(law, hit, rng.choice([hit.qty, max(hit.qty // 2, 1)]) / 1e9, (hit.price or 0) / 1e9)
            law.on_closed(hit.order_id)
            if counts:
                most = max(most, law.exploration.explored2 / law.exploration.flow2)
    return most


def test_the_share_holds_on_every_prefix_whatever_is_sent() -> None:
    shares = [walk(made(0.1), seed) for seed in range(30)]
    assert 0.05 < max(shares) <= 0.1


def test_without_the_budget_the_same_check_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exploration, "check", lambda self, *_: None)
    assert max(walk(made(0.1), seed) for seed in range(5)) > 0.1


def test_without_reservations_the_same_check_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Exploration, "room2", property(lambda self: self.share_n * self.flow2 // 10**9 - self.explored2)
    )
    assert max(walk(made(0.1), seed) for seed in range(30)) > 0.1


# -- changes


def test_what_is_explored_changes_only_every_so_many_decisions() -> None:
    law = made(1.0, every=3)
    flow(law, 10)
    send(law, explored(BUY, 1))
    for _ in range(3):
        assert code(law, explored(BUY, 1, tactic="breakout")) is Code.EXPLORATION
        assert code(law, explored(BUY, 1)) is None
        law.exploration.step("Y")  # another instrument's steps are its own
        law.exploration.step("X")
    assert code(law, explored(BUY, 1, tactic="breakout")) is None


# -- in the gate: freezing

QUOTES = flat_quotes(BTCUSDT, 50_000, 60)
BUDGET: dict[str, Any] = {"explored_share": 0.5, "explored_every": 5, "template": {"duplicate_window_s": 0}}


def market(qty: float, tactic: str = "", side: OrderSide = OrderSide.BUY, **more: Any) -> Act:
    def act(s: Scripted) -> None:
        tags = ["decision=1", *([explores_tag(tactic)] if tactic else [])]
        s.submit_order(s.order_factory.market(BTCUSDT.id, side, BTCUSDT.make_qty(qty), tags=tags, **more))

    return act


def taker(qty: float, tactic: str = "") -> Act:
    def act(s: Scripted) -> None:
        tags = ["decision=1", *([explores_tag(tactic)] if tactic else [])]
        terms = BTCUSDT.make_qty(qty), BTCUSDT.make_price(50_500), TimeInForce.IOC
        s.submit_order(s.order_factory.limit(BTCUSDT.id, OrderSide.BUY, *terms, tags=tags))

    return act


def resting(qty: float, price: float, tactic: str) -> Act:
    def act(s: Scripted) -> None:
        tags = ["decision=1", explores_tag(tactic)]
        s.kept = s.order_factory.limit(
            BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(qty), BTCUSDT.make_price(price), tags=tags
        )
        s.submit_order(s.kept)

    return act


def run(script: dict[int, Act], **gate: Any) -> tuple[Scripted, Any, list[Any]]:
    strategy = Scripted(script)
    built = engine(QUOTES, [strategy], {**BUDGET, **gate})
    heard: list[Any] = []
    built.kernel.msgbus.subscribe(FROZEN_TOPIC, heard.append)
    built.run()
    return strategy, gate_of(built), heard


def alarm(freeze: bool | None) -> Act:
    class Alarm:
        detail = "planted"

    if freeze is not None:
        Alarm.freeze = freeze  # type: ignore[attr-defined]
    return lambda s: s.msgbus.publish("alarms", Alarm())


def kinds(gate: Any) -> list[str]:
    return [row[2] for row in gate.record.risk_events]


SCRIPT: dict[int, Act] = {3: market(1), 5: market(0.2, "maker"), 7: resting(0.2, 49_900, "maker")}


def test_explored_orders_are_let_through_within_the_budget_and_noted(tmp_path: Path) -> None:
    strategy, gate, heard = run({**SCRIPT, 9: market(1, "maker")})
    assert kinds(gate) == ["explored", "explored", "denied"]
    assert heard == [], "a denial for the budget is no warning"
    (reason,) = strategy.denied.values()
    assert reason.startswith("EXPLORATION: exploration=")
    told = {"exploration": True, "explore": {"share": 0.5, "every": 5, "delta_bps": [-9, 9]}}
    audited(gate, tmp_path, {"duplicate_window_s": 0}, False, **told)
    assert audit(tmp_path).explored.orders == 2


@pytest.mark.parametrize(
    ("cause", "gate"),
    [
        (alarm(True), {"alarms_topic": "alarms"}),
        (alarm(None), {"alarms_topic": "alarms"}),  # one that does not say
        (market(2.5), {}),  # a near-miss of the largest order
        (market(50), {}),  # a denial
        (lambda s: s.msgbus.publish("kill", "now"), {}),
    ],
)
def test_any_warning_freezes_at_once_and_cancels_what_is_explored(cause: Act, gate: dict[str, Any]) -> None:
    script: dict[int, Act] = {
        **SCRIPT, 20: cause, 21: market(0.001, "maker"), 22: market(0.2, "maker", OrderSide.SELL, reduce_only=True),
    }  # fmt: skip
    strategy = Scripted(script)
    built = engine(QUOTES, [strategy], {**BUDGET, **gate})
    built.kernel.msgbus.subscribe("kill", lambda _: gate_of(built).kill("drill"))
    built.run()
    law, told = gate_of(built).law, kinds(gate_of(built))
    assert "frozen" in told
    assert told.count("explored") == 2
    after = [row for row in gate_of(built).record.risk_events if row[1] > START + 19 * SECOND and row[2] == "explored"]
    assert after == []
    assert law.exploration.working == [], "what rested has been cancelled"
    assert strategy.kept.is_closed
    assert any(word in reason for reason in strategy.denied.values() for word in ("frozen", "REDUCING", "HALTED"))
    exits = [order.status_string() for order in built.cache.orders() if order.is_reduce_only]
    assert "FILLED" in exits, "the strategy's own, or after a kill the law's"


def test_an_alarm_that_is_over_does_not_freeze() -> None:
    _, gate, _ = run({**SCRIPT, 20: alarm(False), 21: market(0.001, "maker")}, alarms_topic="alarms")
    assert kinds(gate) == ["explored"] * 3


def test_without_the_freeze_the_same_script_explores_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Explorations, "freeze", lambda self, ts, why: None)
    _, gate, _ = run({**SCRIPT, 20: alarm(True), 21: market(0.001, "maker")}, alarms_topic="alarms")
    assert kinds(gate) == ["explored"] * 3


def test_frozen_with_nothing_else_to_trade_leaves_exits_only() -> None:
    """A strategy that only explores: after the freeze nothing but the exit is filled."""
    script: dict[int, Act] = {3: market(1), 4: market(1, side=OrderSide.SELL), 6: market(0.2, "maker"), 10: alarm(True)}
    script |= {n: market(0.01, "maker") for n in range(11, 30)}
    script[40] = market(0.2, "maker", OrderSide.SELL, reduce_only=True)
    strategy, gate, heard = run(script, alarms_topic="alarms")
    late = [event for event in strategy.fills if event.ts_event > START + 9 * SECOND]
    assert [event.order_side for event in late] == [OrderSide.SELL]
    assert gate.law.exposure.holding(BTCUSDT.id.value).position == 0
    assert len(heard) == 1


@pytest.mark.parametrize("locked", [True, False])
def test_live_locks_it_whatever_the_configuration_says(monkeypatch: pytest.MonkeyPatch, locked: bool) -> None:
    if not locked:  # mutation
        monkeypatch.setattr(gate_exploration, "LOCKED", frozenset())
    strategy = Scripted({3: taker(1), 5: taker(0.001, "maker")})
    built = engine(QUOTES, [strategy], {**BUDGET, "env": "live"})
    gate_of(built).live_gate.permitted(PERMIT)
    built.run()
    assert [reason.partition(":")[0] for reason in strategy.denied.values()] == (["EXPLORATION"] if locked else [])
    assert len(strategy.fills) == (1 if locked else 2)


def test_a_reset_starts_with_a_fresh_budget() -> None:
    strategy = Scripted({**SCRIPT, 20: alarm(True)})
    built = engine(QUOTES, [strategy], {**BUDGET, "alarms_topic": "alarms"})
    for _ in range(2):
        built.run()
        assert gate_of(built).law.exploration.frozen == "drift: planted"
        assert kinds(gate_of(built)).count("explored") == 2
        built.reset()
        assert gate_of(built).law.exploration.frozen == ""
        strategy.n = 0


# -- the auditor


def audited_run(tmp_path: Path, steps: Callable[[Run], None], share: float = 0.5, told: bool = True) -> list[str]:
    run = Run()
    if told:
        run.run |= {"exploration": True, "explore": {"share": share, "every": 5, "delta_bps": [-9, 9]}}
    run.mark(10)
    steps(run.wait(1))
    report = audit(run.write(tmp_path) or tmp_path)
    assert not report.integrity
    return [finding.code for finding in report.violations]


def mark_explored(run: Run, name: str, tactic: str = "maker") -> None:
    run.add(
        "risk_events",
        kind="explored",
        instrument="X",
        order_id=name,
        limit="EXPLORATION",
        value="",
        bound="",
        detail=tactic,
    )


def trade(run: Run, name: str, qty: int, tactic: str = "", decision: int = 0) -> None:
    if tactic:
        mark_explored(run, name, tactic)
    run.trade(name, "BUY", qty, 10, decision=decision)
    run.wait(1)


def test_the_auditor_counts_every_prefix(tmp_path: Path) -> None:
    def fine(run: Run) -> None:
        trade(run, "A", 10)
        trade(run, "B", 10, "maker")

    def late(run: Run) -> None:  # the whole run is within the budget, its beginning is not
        trade(run, "A", 10)
        trade(run, "B", 11, "maker")
        trade(run, "C", 40)

    assert audited_run(tmp_path / "fine", fine) == []
    assert audited_run(tmp_path / "late", late) == ["EXPLORED_SHARE"]
    assert "EXPLORED_SHARE" in audited_run(tmp_path / "untold", fine, told=False), "a run that may not explore at all"


@pytest.mark.parametrize("kind", ["near_miss", "denied", "breach", "tripwire", "state", "kill", "frozen"])
def test_the_auditor_finds_what_is_explored_after_a_warning(tmp_path: Path, kind: str) -> None:
    def steps(run: Run) -> None:
        trade(run, "A", 10)
        trade(run, "B", 2, "maker")
        run.add("risk_events", kind=kind, limit="ORDER_RATE", value="", bound="", detail="")
        run.wait(10)
        trade(run, "C", 2, "maker")

    assert audited_run(tmp_path, steps) == ["EXPLORED_FROZEN"] * 2, "its approval, and its fill"


def test_the_auditor_does_not_take_the_budgets_own_denial_for_a_warning(tmp_path: Path) -> None:
    def steps(run: Run) -> None:
        trade(run, "A", 10)
        run.add("risk_events", kind="denied", limit="EXPLORATION", value="", bound="", detail="")
        trade(run, "B", 2, "maker")

    assert audited_run(tmp_path, steps) == []


def test_the_auditor_finds_changes_that_come_too_soon(tmp_path: Path) -> None:
    def change(after: int) -> Callable[[Run], None]:
        def steps(run: Run) -> None:
            trade(run, "A", 20)
            trade(run, "B", 1, "maker", 10)
            trade(run, "C", 1, "breakout", 10 + 2 * after)  # two instruments: two ids a step

        return steps

    assert audited_run(tmp_path / "soon", change(4)) == ["EXPLORED_CHANGE"]
    assert audited_run(tmp_path / "late", change(5)) == []


def test_the_auditor_reads_the_alarms_of_the_drift_sentry(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def steps(run: Run) -> None:
        trade(run, "A", 10)
        trade(run, "B", 2, "maker")

    for name, ahead in (("before", 2), ("after", -60)):
        folder = tmp_path / name
        folder.mkdir()
        ts = Run().ts + 3 * SECOND - ahead * SECOND
        pq.write_table(pa.table({"ts": [ts], "instrument": ["X"], "level": ["warn"]}), folder / "drift.parquet")
        found = audited_run(folder, steps)
        assert bool(found) == (name == "before"), name


def test_the_auditor_finds_exploring_decisions_whose_orders_are_not_counted(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def diary(folder: Path, **columns: list[Any]) -> None:
        (folder / "diary").mkdir(parents=True)
        n = len(columns["decision"])
        empty = {"compared_topo": [None] * n, "compared_own": [None] * n, "compared_base": [None] * n}
        ids = pa.array([["B"] if tactic else [] for tactic in columns["explored"]], pa.list_(pa.string()))
        table = {"ts": [0] * n, "instrument": ["X"] * n, "order_ids": ids, **empty, **columns}
        pq.write_table(pa.table(table), folder / "diary" / "decisions.parquet")

    def steps(run: Run) -> None:
        trade(run, "A", 10, decision=1)
        trade(run, "B", 2, decision=2)

    diary(tmp_path / "a", decision=[1, 2], explored=["", "maker"])
    assert audited_run(tmp_path / "a", steps) == ["EXPLORED_UNMARKED"]
    for own, codes in ((-10.0, ["EXPLORED_STOPPED"] * 2), (10.0, ["EXPLORED_STOPPED"] * 2), (8.0, [])):
        folder = tmp_path / f"guard{own:g}"
        diary(
            folder, decision=[3, 4, 5, 6], explored=["maker", "", "maker", "maker"], compared_own=[None, own, None, None],
            compared_topo=[None, "maker", None, None], compared_base=[None, 0.0, None, None],
        )  # fmt: skip
        assert [one for one in audited_run(folder, steps) if one != "EXPLORED_UNMARKED"] == codes
