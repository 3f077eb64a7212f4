"""Approvals: one token for one order's terms, once and at once; in a live node; and each mechanism turned off."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nautilus_trader.adapters.sandbox.execution import SandboxExecutionClient
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import SubmitOrder, SubmitOrderList
from nautilus_trader.model.enums import OrderSide, TimeInForce, TriggerType
from nautilus_trader.model.identifiers import ClientId, OrderListId, PositionId
from nautilus_trader.model.orders import OrderList
from nautilus_trader.trading.strategy import Strategy

from alphatrade.risk import approval
from alphatrade.risk.approval import (
    AGAIN,
    APPROVAL_NS,
    CHANGED,
    FORGED,
    LATE,
    OLD,
    UNKNOWN,
    UNLISTED,
    UNPRESENTED,
    UNREADABLE,
    USED,
    WITHDRAWN,
    Approvals,
    Terms,
    fresh_key,
    plain,
)
from alphatrade.risk.errors import LawError
from alphatrade.risk.gate_commands import Commands
from alphatrade.risk.gate_live import LiveGate, terms_of, token_of
from tests.risk.rig import BTCUSDT
from tests.risk.test_live_gate import Flood, end, make, until
from tests.risk.test_permit import PERMIT

KEY = bytes(range(32))
TERMS = Terms("O-1", "BTCUSDT.BINANCE", "BUY", "LIMIT", "0.1", "50000", "GTC", False)
OTHER = {
    "order_id": "O-2", "instrument": "ETHUSDT.BINANCE", "side": "SELL", "kind": "MARKET", "qty": "0.10000001", "price": "50000.01",
    "tif": "IOC", "post_only": True,
}  # fmt: skip


class Watch:
    """A clock that is moved by hand, ns."""

    def __init__(self) -> None:
        self.now = 10**12

    def __call__(self) -> int:
        return self.now


def made(key: bytes = KEY) -> tuple[Approvals, Watch]:
    watch = Watch()
    return Approvals(key, watch), watch


def armed(by_law: bool = False) -> tuple[Approvals, Watch, str]:
    """Return approvals in which an order has been presented, their clock, and its token."""
    approvals, watch = made()
    token = approvals.approve(TERMS, by_law)
    assert approvals.present("O-1", token) == ""
    return approvals, watch, token


# -- one order, once


def test_an_approved_order_is_presented_and_redeemed_and_counted() -> None:
    approvals, _, _ = armed()
    assert approvals.redeem(TERMS) == ""
    assert approvals.counts == {"approved": 1, "presented": 1, "redeemed": 1}


def test_nothing_goes_without_an_approval_or_without_its_token() -> None:
    approvals, _ = made()
    assert approvals.present("O-1", "00" * 32) == UNKNOWN
    assert approvals.redeem(TERMS) == UNKNOWN
    approvals.approve(TERMS)
    assert approvals.redeem(TERMS) == UNPRESENTED


@pytest.mark.parametrize("field", Terms._fields)
def test_what_is_sent_is_what_was_approved(field: str) -> None:
    approvals, _, _ = armed()
    if field == "order_id":  # it is another order then
        assert approvals.redeem(TERMS._replace(order_id="O-2")) == UNKNOWN
        return
    assert approvals.redeem(TERMS._replace(**{field: OTHER[field]})) == f"{CHANGED}: {field}"
    assert approvals.redeem(TERMS) == CHANGED  # there is one try
    assert approvals.counts[CHANGED] == 2


def test_an_order_is_redeemed_once_and_its_id_never_approved_again() -> None:
    approvals, _, token = armed()
    assert approvals.present("O-1", token) == AGAIN
    assert approvals.redeem(TERMS) == ""
    assert approvals.redeem(TERMS) == USED == approvals.present("O-1", token)
    with pytest.raises(LawError):
        approvals.approve(TERMS)
    approvals.approve(TERMS._replace(order_id="O-2"))
    with pytest.raises(LawError):
        approvals.approve(TERMS._replace(order_id="O-2"))


def test_a_token_of_another_order_or_process_or_of_no_order_ends_the_approval() -> None:
    for wrong in ("of another", "of another process", "", "é", None, 7, b"token"):
        approvals, _ = made()
        token = approvals.approve(TERMS)
        if wrong == "of another":
            wrong = approvals.approve(TERMS._replace(order_id="O-2"))
        elif wrong == "of another process":
            wrong = made(bytes(32))[0].approve(TERMS)
        assert approvals.present("O-1", wrong) == FORGED, wrong
        assert approvals.present("O-1", token) == FORGED == approvals.redeem(TERMS)


def test_each_byte_of_a_token_counts() -> None:
    token = made()[0].approve(TERMS)
    for at in range(len(token)):
        approvals, _ = made()
        approvals.approve(TERMS)
        assert approvals.present("O-1", token[:at] + ("0" if token[at] != "0" else "1") + token[at + 1 :]) == FORGED
    approvals, _ = made()
    approvals.approve(TERMS)
    assert approvals.present("O-1", token[:-1]) == FORGED


def test_an_order_of_the_law_has_another_token_than_the_same_of_a_strategy() -> None:
    assert made()[0].approve(TERMS) != made()[0].approve(TERMS, by_law=True)


def test_five_seconds_later_it_is_too_late_and_a_clock_that_goes_back_is_not_believed() -> None:
    for passed, why in ((APPROVAL_NS, ""), (APPROVAL_NS + 1, OLD), (-1, OLD)):
        approvals, watch = made()
        token = approvals.approve(TERMS)
        watch.now += passed
        assert approvals.present("O-1", token) == why
        approvals, watch, _ = armed()
        watch.now += passed
        assert approvals.redeem(TERMS) == why


def test_what_was_approved_can_be_withdrawn_but_for_the_laws_own() -> None:
    approvals, _, token = armed()
    approvals.void("a drill")
    assert approvals.redeem(TERMS) == f"{WITHDRAWN}: a drill" == approvals.present("O-1", token)
    assert approvals.counts[WITHDRAWN] == 2
    approvals.approve(TERMS._replace(order_id="O-2"))  # it is no end of all
    approvals, _, _ = armed(by_law=True)
    approvals.void("a drill")
    assert approvals.redeem(TERMS) == ""


def test_a_withdrawal_does_not_bring_back_what_was_used() -> None:
    approvals, _, _ = armed()
    assert approvals.redeem(TERMS) == ""
    approvals.void("a drill")
    assert approvals.redeem(TERMS) == USED


def test_a_key_is_long_and_fresh() -> None:
    assert len({fresh_key() for _ in range(100)}) == 100
    assert len(fresh_key()) == 32
    with pytest.raises(ValueError, match="32 bytes"):
        Approvals(b"short", Watch())


words = st.text(alphabet="ab\x00:", max_size=4)


@given(st.lists(words, min_size=7, max_size=7), st.lists(words, min_size=7, max_size=7))
@example(["ab", "c", "", "", "", "", ""], ["a", "bc", "", "", "", "", ""])
@example(["a", "", "", "", "", "", ""], ["", "a", "", "", "", "", ""])
def test_no_two_terms_have_one_token(one: list[str], two: list[str]) -> None:
    first, second = Terms(*one, post_only=False), Terms(*two, post_only=False)
    assert (made()[0].approve(first) == made()[0].approve(second)) == (first == second)


def test_a_number_is_written_in_one_way() -> None:
    assert [plain(text) for text in ("0.10000000", "00.1", "0", "0.0", "10", "10.", "1.50")[:5]] == [
        "0.1",
        "0.1",
        "0",
        "0",
        "10",
    ]
    for text in ("10.", ".1", "", "+1", "-1", "1e3", "1_0", " 1", "1\n", "NaN", "١", "0x1", "1.2.3", "1,5"):
        with pytest.raises(ValueError, match="plain digits"):
            plain(text)


# -- each mechanism turned off: the attack goes through


def test_without_the_key_in_it_a_token_of_another_process_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval.hmac, "digest", lambda key, message, how: message[-32:])  # mutation
    approvals, _ = made()
    approvals.approve(TERMS)
    assert approvals.present("O-1", made(bytes(32))[0].approve(TERMS)) == ""


def test_without_the_terms_in_it_another_price_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Approvals, "_token", lambda self, terms, made: "token")  # mutation
    approvals, _, _ = armed()
    assert approvals.redeem(TERMS._replace(price="1")) == ""


def test_without_comparing_any_token_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Approvals, "_same", staticmethod(lambda token, shown: True))  # mutation
    approvals, _ = made()
    approvals.approve(TERMS)
    assert approvals.present("O-1", "anything") == ""


def test_without_an_end_it_would_be_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Approvals, "_close", lambda self, order_id, why: None)  # mutation
    approvals, _, _ = armed()
    assert [approvals.redeem(TERMS), approvals.redeem(TERMS)] == ["", ""]
    approvals.void("a drill")
    assert approvals.redeem(TERMS) == ""


def test_without_a_look_at_its_age_it_would_leave_an_hour_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Approvals, "_old", lambda self, made: False)  # mutation
    approvals, watch, _ = armed()
    watch.now += 3_600 * 10**9
    assert approvals.redeem(TERMS) == ""


# -- in a live node


class Once(Flood):
    """Sends what it is told to at a quote, once."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        self.act, self.sent = act, False

    def on_quote_tick(self, tick: Any) -> None:
        self.quotes += 1
        if self.flooding and not self.sent:
            self.sent = True
            self.act(self)


def one_limit(s: Strategy) -> None:
    s.submit_order(s.order_factory.limit(BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(0.01), BTCUSDT.make_price(49_000)))


def two_limits(s: Strategy) -> None:
    orders = [
        s.order_factory.limit(BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(0.01), BTCUSDT.make_price(price))
        for price in (49_000, 48_900)
    ]
    s.submit_order_list(s.order_factory.create_list(orders))


def one_taker(s: Strategy) -> None:
    quantity, price = BTCUSDT.make_qty(0.01), BTCUSDT.make_price(50_500)
    s.submit_order(s.order_factory.limit(BTCUSDT.id, OrderSide.BUY, quantity, price, TimeInForce.IOC))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield made
    if not made.is_closed():
        made.close()


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Commands that reached the client."""
    found: list[Any] = []
    for name in ("submit_order", "submit_order_list"):
        real = getattr(SandboxExecutionClient, name)
        monkeypatch.setattr(
            SandboxExecutionClient,
            name,
            lambda self, command, real=real: (found.append(command), real(self, command))[1],
        )
    return found


def flown(
    loop: asyncio.AbstractEventLoop,
    act: Any,
    approvals: Approvals | None,
    env: str = "live",
    then: Any = None,
    prepare: Any = None,
) -> tuple[Any, Once]:
    """Return the gate and the strategy after one thing was sent in a node with a permit."""
    strategy = Once(act)
    node = make(strategy, env=env)
    gate = node.kernel._controller
    gate.live_gate.permitted(PERMIT._replace(ends=2**62))
    gate.live_gate.approvals = approvals
    if prepare is not None:
        prepare(gate)

    async def go() -> None:
        task = asyncio.ensure_future(node.run_async())
        await until(lambda: strategy.quotes > 5)
        strategy.flooding = True
        await until(lambda: strategy.sent)
        await asyncio.sleep(0.1)
        if then is not None:
            await then(gate)
        await node.stop_async()
        task.cancel()

    loop.run_until_complete(go())
    end(node, loop)
    return gate, strategy


def test_without_approvals_nothing_leaves_a_live_node(loop: asyncio.AbstractEventLoop, reached: list[Any]) -> None:
    gate, strategy = flown(loop, one_limit, None)
    assert reached == []
    assert [reason.partition(":")[0] for reason in strategy.denied] == ["NO_PERMIT"]
    assert gate.switch.trip_cause is None


def test_without_that_look_it_would(
    loop: asyncio.AbstractEventLoop, reached: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LiveGate, "unsealed", lambda self: None)  # mutation
    flown(loop, one_limit, None)
    assert len(reached) == 1


def test_elsewhere_commands_leave_as_they_came(loop: asyncio.AbstractEventLoop, reached: list[Any]) -> None:
    flown(loop, one_limit, None, env="paper")
    assert [command.params for command in reached] in ([None], [{}])


@pytest.mark.parametrize(("act", "orders"), [(one_limit, 1), (two_limits, 2), (one_taker, 1)])
def test_each_order_comes_to_the_client_with_a_token_of_its_own(
    loop: asyncio.AbstractEventLoop, reached: list[Any], act: Any, orders: int
) -> None:
    approvals, _ = made()
    gate, strategy = flown(loop, act, approvals, prepare=lambda gate: leave(gate, approvals))
    assert len(reached) == 1
    assert approvals.counts == {"approved": orders, "presented": orders, "redeemed": orders}
    assert (strategy.denied, gate.switch.trip_cause) == ([], None)


def leave(gate: Any, approvals: Approvals) -> None:
    """Have a gate's orders presented and redeemed where they leave, as broker and door do."""
    real = gate.run_command

    def run_command(command: Any) -> None:
        if isinstance(command, SubmitOrder | SubmitOrderList):
            for order in command.order_list.orders if isinstance(command, SubmitOrderList) else [command.order]:
                order_id = order.client_order_id.value
                assert approvals.present(order_id, token_of(command, order_id)) == ""
                assert approvals.redeem(terms_of(order)) == ""
        real(command)

    gate.run_command = run_command


@pytest.mark.parametrize("when", ["present", "redeem", "elsewhere"])
def test_what_tries_to_leave_without_the_gate_stops_trading(
    loop: asyncio.AbstractEventLoop, reached: list[Any], when: str
) -> None:
    approvals, _ = made()

    async def then(gate: Any) -> None:
        order = reached[0].order
        order_id = order.client_order_id.value
        if when == "elsewhere":
            approvals.refuse(UNLISTED, "POST /withdraw")
        elif when == "present":
            assert approvals.present(order_id, "00") == FORGED
        else:
            approvals.present(order_id, token_of(reached[0], order_id))
            assert approvals.redeem(terms_of(order)._replace(price="50000")) == f"{CHANGED}: price"
        await until(lambda: gate.switch.state == "HALTED")

    gate, _ = flown(loop, one_limit, approvals, then=then)
    assert gate.switch.trip_cause.code == "TRIPWIRE"
    rows = [row for row in gate.record.risk_events if row[2] == "tripwire"]
    assert len(rows) == 1


def test_at_the_last_moment_the_gate_is_asked_once_more(loop: asyncio.AbstractEventLoop, reached: list[Any]) -> None:
    approvals, _ = made()
    told: list[tuple[str, object]] = []

    async def then(gate: Any) -> None:
        order = reached[0].order
        order_id = order.client_order_id.value
        approvals.present(order_id, token_of(reached[0], order_id))
        gate.live_gate.permitted(PERMIT._replace(ends=1))  # it is not withdrawn by that
        told.append((approvals.redeem(terms_of(order)), gate.switch.trip_cause))  # the next second trips it

    flown(loop, one_limit, approvals, then=then)
    assert [(why.partition(" permit")[0], cause) for why, cause in told] == [(f"{LATE}: PERMIT_ENDED:", None)]


def test_what_is_late_or_old_or_withdrawn_is_no_alarm() -> None:
    alarms: list[str] = []
    for undo, why in (
        (lambda one, watch: setattr(watch, "now", watch.now + APPROVAL_NS + 1), OLD),
        (lambda one, watch: one.void("a drill"), f"{WITHDRAWN}: a drill"),
        (lambda one, watch: setattr(one, "late", lambda order_id: f"{order_id} halted"), f"{LATE}: O-1 halted"),
    ):
        approvals, watch, _ = armed()
        approvals.alarm = lambda *told: alarms.append(told)
        undo(approvals, watch)
        assert approvals.redeem(TERMS) == why
        approvals.late = lambda _: ""
        assert approvals.redeem(TERMS) == why.partition(":")[0] or "drill" in why  # there is one try
    assert alarms == []


@pytest.mark.parametrize("reason", [UNKNOWN, FORGED, AGAIN, UNPRESENTED, CHANGED, USED, UNREADABLE, UNLISTED])
def test_all_else_is_one(reason: str) -> None:
    alarms: list[Any] = []
    approvals, _ = made()
    approvals.alarm = lambda *told: alarms.append(told)
    assert approvals.refuse(reason, "words", "O-1") == f"{reason}: words"
    assert alarms == [("O-1", f"{reason}: words")]
    assert approvals.counts == {reason: 1}


def test_a_trip_and_a_refused_permit_take_back_what_has_not_left(
    loop: asyncio.AbstractEventLoop, reached: list[Any]
) -> None:
    for number, undo in enumerate(
        (
            lambda gate: gate.kill("drill", "tester"),
            lambda gate: gate.live_gate.permitted(PERMIT._replace(refused="revoked")),
        )
    ):
        approvals, _ = made()

        async def then(gate: Any, undo: Any = undo) -> None:
            undo(gate)

        if number:
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
        flown(loop, one_limit, approvals, then=then)
        command = reached.pop(0)
        order_id = command.order.client_order_id.value
        assert approvals.present(order_id, token_of(command, order_id)).startswith(WITHDRAWN)
        reached.clear()


def test_a_permit_that_ends_while_an_order_waits_holds_it_back(
    loop: asyncio.AbstractEventLoop, reached: list[Any]
) -> None:
    def prepare(gate: Any) -> None:
        real = gate.forward

        def forward(command: Any) -> None:
            gate.live_gate.permitted(PERMIT._replace(ends=1))  # judged, and in the queue
            real(command)

        gate.forward = forward

    approvals, _ = made()
    _, strategy = flown(loop, one_limit, approvals, prepare=prepare)
    assert (reached, dict(approvals.counts)) == ([], {})
    assert [reason.partition(":")[0] for reason in strategy.denied] == ["PERMIT_ENDED"]


def test_the_laws_own_closing_orders_have_tokens_that_outlive_the_trip(
    loop: asyncio.AbstractEventLoop, reached: list[Any]
) -> None:
    approvals, _ = made()
    late: list[str] = []

    def prepare(gate: Any) -> None:
        leave(gate, approvals)
        real = gate.run_command

        def run_command(command: Any) -> None:
            if gate.switch.trip_cause is not None:
                approvals.void("once more")
            late.append(gate.live_gate.late(command.order.client_order_id.value))
            real(command)

        gate.run_command = run_command

    async def then(gate: Any) -> None:
        gate.live_gate.permitted(PERMIT._replace(refused="revoked"))
        gate.kill("drill", "tester")
        await until(lambda: gate.switch.state == "HALTED")

    flown(loop, one_taker, approvals, then=then, prepare=prepare)
    assert reached[-1].order.client_order_id.value.startswith("LAW-")
    assert late == ["", ""]
    assert approvals.counts == {"approved": 2, "presented": 2, "redeemed": 2}


def test_at_the_door_an_order_is_late_after_a_trip_or_without_a_permit(
    loop: asyncio.AbstractEventLoop, reached: list[Any]
) -> None:
    told: list[str] = []

    async def then(gate: Any) -> None:
        order_id = reached[0].order.client_order_id.value
        for step in (
            lambda: None,
            lambda: gate.live_gate.permitted(PERMIT._replace(ends=1)),
            lambda: gate.kill("drill", "tester"),
        ):
            step()
            told.append(gate.live_gate.late(order_id).partition(":")[0])
        told.append(gate.live_gate.late("somebody's"))

    flown(loop, one_limit, made()[0], then=then)
    assert told == ["", "PERMIT_ENDED", "REDUCING", "no order of this law"]


def test_an_order_of_no_known_kind_is_not_approved(loop: asyncio.AbstractEventLoop) -> None:
    def stop(s: Strategy) -> None:
        order = s.order_factory.stop_market(
            BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(0.01), BTCUSDT.make_price(51_000), TriggerType.LAST_PRICE
        )
        with pytest.raises(ValueError, match="STOP_MARKET"):
            terms_of(order)
        s.submit_order(order)

    _, strategy = flown(loop, stop, made()[0])
    assert [reason.partition(":")[0] for reason in strategy.denied] == ["PERMIT_SCOPE"]


def test_a_copy_differs_from_its_command_in_the_token_alone(loop: asyncio.AbstractEventLoop) -> None:
    copies: list[tuple[Any, Any]] = []

    def both(s: Strategy) -> None:
        gate = s.gate  # type: ignore[attr-defined]
        order = s.order_factory.limit(
            BTCUSDT.id,
            OrderSide.SELL,
            BTCUSDT.make_qty(0.02),
            BTCUSDT.make_price(51_000),
            TimeInForce.IOC,
            post_only=False,
        )
        assert terms_of(order) == (
            order.client_order_id.value,
            "BTCUSDT.BINANCE",
            "SELL",
            "LIMIT",
            "0.02",
            "51000",
            "IOC",
            False,
        )
        parts = (UUID4(), 7, PositionId("P-1"), ClientId("BINANCE"), {"mine": 1, "approval": "forged"}, UUID4())
        for what in (
            SubmitOrder(s.trader_id, s.id, order, *parts),
            SubmitOrderList(s.trader_id, s.id, OrderList(OrderListId("L-1"), [order]), *parts),
        ):
            gate.orders[order.client_order_id.value] = type("Known", (), {"by_law": False})
            gate.live_gate.approvals = made()[0]
            copies.append((what, gate.live_gate.sealed(what)))
        del gate.orders[order.client_order_id.value]

    flown(loop, both, None, prepare=lambda gate: setattr(next(iter(gate._trader.strategies())), "gate", gate))
    assert len(copies) == 2
    for was, copy in copies:
        for name in (
            "trader_id",
            "strategy_id",
            "id",
            "ts_init",
            "position_id",
            "client_id",
            "correlation_id",
            "instrument_id",
        ):
            assert getattr(was, name) == getattr(copy, name), name
        assert (was.params, copy.params["mine"], list(copy.params)) == (
            {"mine": 1, "approval": "forged"},
            1,
            ["mine", "approval"],
        )
        assert isinstance(token_of(copy, next(iter(copy.params["approval"]))), str)
        assert token_of(was, "O-1") is None


def test_without_the_seal_an_order_has_no_token(
    loop: asyncio.AbstractEventLoop, reached: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LiveGate, "sealed", lambda self, command: command)  # mutation
    flown(loop, one_limit, made()[0])
    assert token_of(reached[0], reached[0].order.client_order_id.value) is None


def test_a_failing_seal_lets_nothing_leave_and_stops_trading(
    loop: asyncio.AbstractEventLoop, reached: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Approvals, *_: Any) -> str:
        raise LawError("planted")

    monkeypatch.setattr(Approvals, "approve", fails)
    gate, _ = flown(loop, one_limit, made()[0])
    assert reached == []
    assert gate.switch.trip_cause.code == "EXCEPTION"


def test_an_order_put_into_the_engine_directly_gets_no_token(
    loop: asyncio.AbstractEventLoop, reached: list[Any]
) -> None:
    def direct(s: Strategy) -> None:
        order = s.order_factory.limit(BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(0.01), BTCUSDT.make_price(49_000))
        s.gate._exec.execute(SubmitOrder(s.trader_id, s.id, order, UUID4(), 0))  # type: ignore[attr-defined]

    approvals, _ = made()
    gate, _ = flown(
        loop, direct, approvals, prepare=lambda gate: setattr(next(iter(gate._trader.strategies())), "gate", gate)
    )
    assert (reached, dict(approvals.counts), gate.switch.trip_cause.code) == ([], {}, "TRIPWIRE")


def test_a_queued_approval_is_not_used_without_the_guard(
    loop: asyncio.AbstractEventLoop, reached: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Commands, "guard", lambda self, command: self.gate.run_command(command))  # mutation
    flown(loop, one_limit, made()[0])
    assert token_of(reached[0], reached[0].order.client_order_id.value) is None
