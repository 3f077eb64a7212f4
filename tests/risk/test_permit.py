"""The permit: its edges in time and scope, a law that denies without one, and what is red without the mechanism."""

import json
from typing import Any

import pytest
from nautilus_trader.model.enums import OrderSide, TimeInForce

from alphatrade.risk.errors import ConfigError
from alphatrade.risk.exploring_law import ExploringLaw
from alphatrade.risk.exposure import BUY
from alphatrade.risk.gate_live import LiveGate
from alphatrade.risk.limits import Code
from alphatrade.risk.live_law import LiveLaw
from alphatrade.risk.permit import FRESH_NS, NONE, Permit, permit_of, unfit
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.units import ATTO
from tests.risk.rig import BTCUSDT, CAPITAL, SECOND, START, Scripted, engine, flat_quotes, gate_of, quote
from tests.risk.test_law import NOW, WIDE, code, mark, order, send

DAY = 86_400 * SECOND
PERMIT = Permit(
    "e" * 64, "p" * 64, "c" * 64, "binance", "PILOT", ("X", BTCUSDT.id.value), "USDT", CAPITAL * ATTO, CAPITAL * ATTO,
    START - DAY, NOW + DAY,
)  # fmt: skip
QUOTES = flat_quotes(BTCUSDT, 50_000, 30)


def made(permit: Permit | None = PERMIT, **limits: Any) -> LiveLaw:
    law = LiveLaw(RiskTemplate(**{**WIDE, **limits}), 1000 * ATTO)
    if permit is not None:
        law.permit = permit
    for name in ("X", "Y"):
        mark(law, 10, name)
    return law


# -- edges


@pytest.mark.parametrize(
    ("permit", "instrument", "now", "expected"),
    [
        (PERMIT, "X", NOW, None),
        (PERMIT, "X", PERMIT.begins, None),
        (PERMIT, "X", PERMIT.begins - 1, "NO_PERMIT"),
        (PERMIT, "X", PERMIT.ends - 1, None),
        (PERMIT, "X", PERMIT.ends, "PERMIT_ENDED"),
        (PERMIT._replace(at=NOW - FRESH_NS), "X", NOW, None),
        (PERMIT._replace(at=NOW - FRESH_NS), "X", NOW + 1, "PERMIT_ENDED"),
        (PERMIT, "Y", NOW, "PERMIT_SCOPE"),
        (PERMIT, "", NOW, "PERMIT_SCOPE"),
        (PERMIT._replace(refused="revoked by ada"), "X", NOW, "NO_PERMIT"),
        (NONE, "X", NOW, "NO_PERMIT"),
        (Permit(), "X", NOW, "PERMIT_ENDED"),
        (Permit(), "X", 0, "PERMIT_ENDED"),
    ],
)  # fmt: skip
def test_a_permit_is_for_its_time_and_its_instruments(
    permit: Permit, instrument: str, now: int, expected: str | None
) -> None:
    verdict = unfit(permit, instrument, now)
    assert (None if verdict is None else str(verdict.code)) == expected


def test_a_denial_says_why() -> None:
    found = [
        unfit(PERMIT._replace(refused="revoked by ada"), "X", NOW),
        unfit(PERMIT, "X", PERMIT.ends),
        unfit(PERMIT, "Y", NOW),
    ]
    assert [one.reason.replace("e" * 64, "E") for one in found if one is not None] == [
        "NO_PERMIT: revoked by ada", "PERMIT_ENDED: permit E ended at 2023-11-16T00:00:00+00:00", "PERMIT_SCOPE: permit E is not for Y",
    ]  # fmt: skip


# -- the law


def test_a_law_of_live_denies_everything_until_there_is_a_permit() -> None:
    assert code(made(None), order(BUY, 1, 10)) is Code.NO_PERMIT
    assert code(made(), order(BUY, 1, 10)) is None


def test_a_permit_lifts_no_other_limit() -> None:
    assert code(made(order_qty_max=1), order(BUY, 2, 10)) is Code.ORDER_QTY
    explored = order(BUY, 1, 10)
    explored.explores = "maker"
    assert code(made(), explored) is Code.EXPLORATION


def test_exits_of_a_strategy_need_it_too_and_one_of_a_list_denies_the_whole() -> None:
    law = made()
    send(law, order(BUY, 1, 10))
    assert code(law, order(-BUY, 1, reduce_only=True), at=PERMIT.ends) is Code.PERMIT_ENDED
    other = order(BUY, 1, 10, name="Y")
    verdict = law.check([order(BUY, 1, 10), other], NOW)
    assert (verdict.code, verdict.order_id) == (Code.PERMIT_SCOPE, other.order_id)


def test_only_market_and_limit_orders_are_sent_and_none_is_modified() -> None:
    law = made()
    assert code(law, order(BUY, 1, None, 11)) is Code.PERMIT_SCOPE
    resting = send(law, order(BUY, 1, 9))
    assert law.check_modify(resting, None, 8 * 10**9, None, NOW).code is Code.PERMIT_SCOPE
    assert law.check_modify(None, None, None, None, NOW).code is Code.PERMIT_SCOPE


@pytest.mark.parametrize("name", ["check", "check_modify"])
def test_without_the_law_of_live_it_is_let_through(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(LiveLaw, name, getattr(ExploringLaw, name))  # mutation
    law = made(None if name == "check" else PERMIT)
    one = order(BUY, 1, 9)
    assert law.check([one], NOW).code is None
    law.commit([one], NOW)
    if name == "check_modify":
        assert law.check_modify(one, None, 8 * 10**9, None, NOW).code is None


# -- in the gate


def buy(s: Scripted) -> None:
    quantity, price = BTCUSDT.make_qty(0.1), BTCUSDT.make_price(50_500)
    s.submit_order(s.order_factory.limit(BTCUSDT.id, OrderSide.BUY, quantity, price, TimeInForce.IOC))


def give(permit: Permit) -> Any:
    return lambda s: s.permits(permit)


def run(script: dict[int, Any], **gate: Any) -> tuple[Any, Scripted]:
    strategy = Scripted(script)
    built = engine(QUOTES, [strategy], {"env": "live", **gate})
    strategy.permits = gate_of(built).live_gate.permitted  # type: ignore[attr-defined]
    built.run()
    return built, strategy


def codes(strategy: Scripted) -> list[str]:
    return [reason.partition(":")[0] for reason in strategy.denied.values()]


def test_a_gate_in_live_lets_nothing_through_without_a_permit() -> None:
    _, strategy = run({5: buy, 6: buy})
    assert (codes(strategy), strategy.fills) == (["NO_PERMIT"] * 2, [])


@pytest.mark.parametrize("env", ["sim", "paper"])
def test_other_environments_ask_for_none(env: str) -> None:
    built, strategy = run({5: buy, 6: give(NONE), 7: buy}, env=env)
    assert (len(strategy.fills), type(gate_of(built).law)) == (2, ExploringLaw)


def test_a_permit_counts_from_when_it_is_given_until_it_ends_or_is_refused() -> None:
    script = {4: buy, 5: give(PERMIT), 6: buy, 9: buy, 14: give(PERMIT._replace(refused="revoked")), 15: buy}
    _, strategy = run(script)
    assert codes(strategy) == ["NO_PERMIT", "NO_PERMIT"]
    assert len(strategy.fills) == 2


@pytest.mark.parametrize(
    ("permit", "last"), [(PERMIT._replace(ends=START + 9 * SECOND), 10), (PERMIT._replace(at=START - 171 * SECOND), 11)]
)
def test_one_that_ends_or_is_not_looked_at_stops_trading_at_the_next_price(permit: Permit, last: int) -> None:
    built, strategy = run({3: give(permit), 5: buy, last - 1: buy})
    gate = gate_of(built)
    assert strategy.denied == {}, "no order is needed for it"
    assert gate.switch.trip_cause.ts == START + (last - 1) * SECOND
    assert (gate.switch.trip_cause.code, gate.switch.state) == ("PERMIT_ENDED", "HALTED")
    assert [one.order_side for one in strategy.fills] == [OrderSide.BUY, OrderSide.BUY, OrderSide.SELL]


def test_where_nothing_is_open_one_that_has_ended_stops_at_the_next_order() -> None:
    built, strategy = run({3: give(PERMIT._replace(ends=START + 9 * SECOND)), 10: buy})
    gate = gate_of(built)
    assert codes(strategy) == ["PERMIT_ENDED"]
    assert (gate.switch.trip_cause.code, gate.switch.state) == ("PERMIT_ENDED", "HALTED")


def test_a_permit_comes_back_whole_from_plain_values() -> None:
    permit = PERMIT._replace(capital=1000 * ATTO, spent=-5, at=7, refused="no")
    assert permit_of(json.loads(json.dumps(permit.plain()))) == permit


def test_a_permit_outlives_a_new_law_and_not_a_reset() -> None:
    built, strategy = run({3: give(PERMIT), 5: buy})
    gate = gate_of(built)
    gate.events.adopt()
    assert gate.law.permit is PERMIT
    built.reset()
    assert gate.law.permit is NONE is gate.live_gate.permit
    strategy.n, strategy.script = 0, {5: buy}
    built.run()
    assert codes(strategy) == ["NO_PERMIT"]


def test_no_strategy_has_a_cap_in_live() -> None:
    with pytest.raises(ConfigError, match="cap_share"):
        run({}, cap_share=0.1, capped=("Organism-001",), free=("Organism-000",))


def test_without_the_environment_a_gate_asks_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    real = LiveGate.__init__

    def blind(self: LiveGate, gate: Any) -> None:
        real(self, gate)
        self.asks = False  # mutation

    monkeypatch.setattr(LiveGate, "__init__", blind)
    assert len(run({5: buy})[1].fills) == 1


def test_a_loss_near_the_cap_trips_and_flattens_and_one_order_too_many_only_is_denied() -> None:
    quotes = [quote(BTCUSDT, 50_000 - (600 * max(i - 8, 0)), START + i * SECOND) for i in range(12)]
    strategy = Scripted({5: buy, 6: buy})
    built = engine(
        quotes, [strategy], {"env": "live", "template": {"jump_max": 0.05, "drawdown_max": 1, "daily_loss_max": 1}}
    )
    gate = gate_of(built)
    strategy.on_start = lambda: (
        Scripted.on_start(strategy),
        gate.live_gate.permitted(PERMIT._replace(loss=320 * ATTO)),
    )  # type: ignore[method-assign]
    built.run()
    assert codes(strategy) == ["LOSS_ROOM"]
    cause = gate.switch.trip_cause
    assert (cause.code, cause.who) == ("LOSS_CAP", "law")
    assert gate.law.exposure.holding(BTCUSDT.id.value).position == 0
    assert gate.law.money_out() < 320 * ATTO
