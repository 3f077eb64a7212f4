"""The cap of a canary: the law at its edges and against a slow reading of it, the gate, and the auditor beside them."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import StrategyId

from alphatrade.risk.audit import audit
from alphatrade.risk.audit_caps import CappedJudge
from alphatrade.risk.caps import Cap, CappedLaw
from alphatrade.risk.errors import ConfigError, RunDirError
from alphatrade.risk.exposure import BUY, SELL, Order
from alphatrade.risk.limits import Code
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.units import ATTO, NANO, to_nano
from tests.risk.rig import BTCUSDT, Scripted, audited, engine, flat_quotes, gate_of
from tests.risk.test_audit import Run, codes
from tests.risk.test_law import NOW, WIDE, code, mark, order, send

BASE, CANARY, OTHER = "Organism-000", "Organism-001", "Theirs-000"
HIDDEN = "Organism-007"  # the canary by another tag
CAP = Cap(0.1, (CANARY,), (BASE,))


def made(cap: Cap = CAP, capital: int | None = 1000, **limits: Any) -> CappedLaw:
    law = CappedLaw(
        RiskTemplate(**{**WIDE, **limits}), None if capital is None else capital * ATTO, False, None, cap
    )
    mark(law, 10)
    mark(law, 20, "Y")
    return law


def own(side: int, qty: Any, price: Any = None, strategy: str = CANARY, **more: Any) -> Order:
    return order(side, qty, price, strategy=strategy, **more)


def fill(law: CappedLaw, one: Order, qty: Any, price: Any = 10) -> None:
    law.on_fill(
        one.order_id, one.instrument, one.side, to_nano(qty), to_nano(price), 0, f"{one.instrument}-{one.strategy}",
        one.strategy,
    )  # fmt: skip


# -- edges: 10 % of a gross limit of 1000 are 100, ten units of X


@pytest.mark.parametrize("strategy", [CANARY, HIDDEN])
def test_a_cap_may_be_used_up_and_not_exceeded(strategy: str) -> None:
    assert code(made(gross_max=1.0), own(BUY, 10, strategy=strategy)) is None
    verdict = made(gross_max=1.0).check([own(BUY, "10.000000001", strategy=strategy)], NOW)
    assert verdict.code is Code.CAP
    assert (verdict.value, verdict.bound) == ("100.00000001", "100")
    assert verdict.order_id


@pytest.mark.parametrize("strategy", [BASE, OTHER, ""])
def test_others_have_no_cap(strategy: str) -> None:
    assert code(made(gross_max=1.0), own(BUY, 100, strategy=strategy)) is None


def test_one_order_has_a_cap_of_its_own() -> None:
    law = made(order_notional_max=0.5)
    assert code(law, own(BUY, 5, 10)) is None
    assert code(law, own(BUY, "5.000000001", 10)) is Code.CAP
    assert code(law, own(SELL, 5, "10.1")) is Code.CAP
    assert code(law, own(BUY, 50, 10, BASE)) is None


def test_all_capped_strategies_share_it_over_all_instruments() -> None:
    law = made(Cap(0.1, (CANARY, "Organism-002"), (BASE,)), gross_max=1.0)
    send(law, own(BUY, 5))
    assert code(law, own(SELL, "2.500000001", None, "Organism-002", name="Y")) is Code.CAP
    assert code(law, own(SELL, "2.5", None, "Organism-002", name="Y")) is None


def test_what_others_hold_neither_uses_nor_covers_it() -> None:
    law = made(gross_max=1.0)
    fill(law, send(law, own(SELL, 50, None, BASE)), 50)
    assert code(law, own(BUY, 10)) is None
    assert code(law, own(BUY, 11)) is Code.CAP, "the account would be smaller with it, its own part larger"


def test_its_own_exits_pass_beyond_the_cap_and_across_the_net_position() -> None:
    law = made(gross_max=1.0)
    fill(law, send(law, own(BUY, 10)), 10)
    fill(law, send(law, own(SELL, 50, None, BASE)), 50)
    mark(law, 12)  # the market carries it beyond
    assert code(law, own(BUY, "0.001")) is Code.CAP
    assert code(law, own(SELL, 10)) is None
    assert code(law, own(SELL, 11)) is Code.CAP, "it flips"
    assert code(law, own(SELL, 10, reduce_only=True)) is None, "the account is short, its own part is long"
    assert code(law, own(SELL, 11, reduce_only=True)) is Code.REDUCE_ONLY
    assert code(law, own(BUY, 50, None, BASE, reduce_only=True)) is None, "40 of the account, 50 of its own"
    assert code(law, own(BUY, 40, None, CANARY, reduce_only=True)) is Code.CAP, "nothing of its own to reduce"


def test_an_exit_may_not_make_room_for_more_than_the_cap() -> None:
    law = made(gross_max=1.0)
    fill(law, send(law, own(BUY, 10)), 10)
    send(law, own(SELL, 19, "10.1"))  # from 10 to -9
    assert code(law, own(SELL, 1, reduce_only=True)) is None, "to -10"
    assert code(law, own(SELL, 2, reduce_only=True)) is Code.CAP


def test_a_list_is_judged_together_and_its_children_belong_to_their_entry() -> None:
    law = made(gross_max=1.0)
    assert code(law, own(BUY, 6), own(BUY, 5, 10)) is Code.CAP
    entry = own(BUY, 6)
    child = own(SELL, 6, "10.2", reduce_only=True, parent_id=entry.order_id)
    assert code(law, entry, child) is None
    assert code(law, own(BUY, 1), own(BUY, 50, None, BASE)) is None


def test_changes_fills_and_cancels_are_counted() -> None:
    law = made(gross_max=1.0)
    one = send(law, own(BUY, 4, 10))
    assert law.check_modify(one, to_nano("10.1"), None, None, NOW).code is Code.CAP
    assert law.check_modify(one, to_nano(10), None, None, NOW).code is None
    law.commit_modify(one, to_nano(10), NOW)
    assert code(law, own(BUY, "0.1", 10)) is Code.CAP, "granted, not yet answered"
    law.on_modify_rejected(one)
    assert code(law, own(BUY, 6, 10)) is None
    fill(law, one, 3)
    assert code(law, own(BUY, 6, 10)) is None
    assert code(law, own(BUY, "6.1", 10)) is Code.CAP
    law.on_closed(one.order_id)
    assert code(law, own(BUY, 7, 10)) is None, "one was cancelled unfilled"
    assert code(law, own(BUY, "7.1", 10)) is Code.CAP


def test_a_change_of_price_counts_at_the_new_price() -> None:
    law = made(order_notional_max=0.5)
    one = send(law, own(SELL, 5, 10))
    assert law.check_modify(one, None, to_nano("10.1"), None, NOW).code is Code.CAP
    other = send(law, own(SELL, 5, 10, BASE))
    assert law.check_modify(other, None, to_nano("10.1"), None, NOW).code is None


def test_a_reduce_only_order_that_has_turned_counts_as_one_that_opens() -> None:
    law = made(gross_max=1.0)
    fill(law, send(law, own(BUY, 5)), 5)
    exit_ = send(law, own(SELL, 5, "10.2", reduce_only=True))
    fill(law, send(law, own(SELL, 5)), 5)
    law.exposure.turn(exit_)
    assert code(law, own(SELL, 5)) is None
    assert code(law, own(SELL, "5.1")) is Code.CAP


def test_without_a_price_or_a_capital_nothing_is_let_through() -> None:
    law = made()
    assert code(law, own(BUY, 1, name="Z")) is Code.NO_REFERENCE
    assert code(made(capital=None), own(BUY, 1)) is Code.NO_ACCOUNT
    law.parts[CANARY, "Z"] = law._part(CANARY, "Z")
    law.parts[CANARY, "Z"].shift("Z", NANO)  # held, and the account does not know a price
    assert code(law, own(BUY, 1)) is Code.CAP
    assert code(law, own(BUY, 1, None, BASE)) is None


def test_what_was_held_before_counts() -> None:
    law = made(gross_max=1.0)
    law.adopt("X", 9 * NANO, 10 * NANO, False, "P-1", CANARY)
    mark(law, 10)
    assert code(law, own(BUY, "1.1")) is Code.CAP
    assert code(law, own(BUY, 1)) is None
    assert law.exposure.holding("X").position == 9 * NANO


@pytest.mark.parametrize(
    ("share", "capped", "free"),
    [(0.0, (CANARY,), ()), (1.1, (CANARY,), ()), (0.1, (), (BASE,)), (0.1, (CANARY,), (CANARY,)), (0.1, ("x",), ()),
     (float("nan"), (CANARY,), ())],
)  # fmt: skip
def test_a_cap_that_makes_no_sense_is_refused(share: float, capped: tuple[str, ...], free: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        Cap(share, capped, free)


# -- a slow reading


@dataclass
class Slow:
    """Keeps every fact and adds everything up for every question, in exact fractions."""

    gross: F
    order: F
    mids: dict[str, F]
    position: Counter[tuple[str, str]] = field(default_factory=Counter)
    working: dict[str, tuple[Order, F]] = field(default_factory=dict)  # and what it may still fill

    @staticmethod
    def capped(strategy: str) -> bool:
        return strategy.startswith("Organism-") and strategy != BASE

    def reach(self, key: tuple[str, str], extra: list[tuple[Order, F]], skip: str = "") -> tuple[F, F, F]:
        at, plain, exits = F(self.position[key]), Counter({BUY: F(0), SELL: F(0)}), Counter({BUY: F(0), SELL: F(0)})
        for one, left in [*(w for i, w in self.working.items() if i != skip), *extra]:
            if (one.strategy, one.instrument) == key:
                (exits if one.reduce_only else plain)[one.side] += left
        top = at + min(exits[BUY], max(-at, F(0)))
        bottom = at - min(exits[SELL], max(at, F(0)))
        return at, top + plain[BUY], bottom - plain[SELL]

    def total(self, extra: list[tuple[Order, F]], skip: str = "") -> F:
        keys = {(one.strategy, one.instrument) for one, _ in [*self.working.values(), *extra]} | set(self.position)
        reaches = {key: self.reach(key, extra, skip) for key in keys if self.capped(key[0])}
        return sum((max(abs(hi), abs(lo)) * self.mids[key[1]] for key, (_, hi, lo) in reaches.items()), F(0))

    def denies(self, one: Order, qty: F, left: F, price: F | None, skip: str = "") -> bool:
        """Whether the cap is against an order of `qty` units that may fill `left`, in the place of `skip`."""
        key = one.strategy, one.instrument
        if not self.capped(one.strategy):
            return False
        now = [(one, left)]
        at, hi, lo = self.reach(key, now, skip)
        if one.reduce_only:
            before, after = self.total([]), self.total(now, skip)
            return left > max(-one.side * at, F(0)) or (after > before and after > self.gross)
        if (at > 0 and lo >= 0) if one.side == SELL else (at < 0 and hi <= 0):
            return False
        return qty * (self.mids[one.instrument] if price is None else price) > self.order or (
            self.total(now, skip) > self.gross
        )


def unit(nanos: int) -> F:
    return F(nanos, NANO)


def walk(seed: int, steps: int = 250) -> Counter[str]:
    """Send, change, fill, cancel and mark at random, asking both; return what happened how often."""
    rng, seen = random.Random(seed), Counter()
    law = made(gross_max=1.0, order_notional_max=0.6)
    law.limits = made(gross_max=100).limits  # the account's own limits are out of the way, the cap's are not
    slow = Slow(F(100), F(60), {"X": F(10), "Y": F(20)})
    for _ in range(steps):
        act = rng.random()
        if act < 0.5:
            send_one(law, slow, rng, seen)
        elif act < 0.62 and slow.working:
            change_one(law, slow, rng, seen)
        elif act < 0.85 and slow.working:
            one, left = slow.working[rng.choice(list(slow.working))]
            key, part = (one.strategy, one.instrument), rng.choice([left, left, left / 2])
            own_room = max(-one.side * F(slow.position[key]), F(0))
            part = min(part, own_room) if one.reduce_only else part
            nanos = int(part * NANO)
            if nanos:
                fill(law, one, Decimal(nanos) / NANO)
                slow.position[key] += one.side * unit(nanos)
                slow.working[one.order_id] = one, left - unit(nanos)
            if left == unit(nanos):
                del slow.working[one.order_id]
                law.on_closed(one.order_id)
        elif act < 0.93 and slow.working:
            del slow.working[gone := rng.choice(list(slow.working))]
            law.on_closed(gone)
        else:
            name, mid = rng.choice([("X", rng.choice([8, 10, 13])), ("Y", rng.choice([15, 20, 28]))])
            mark(law, mid, name)
            slow.mids[name] = F(mid)
    return seen


def send_one(law: CappedLaw, slow: Slow, rng: random.Random, seen: Counter[str]) -> None:
    name, strategy = rng.choice(["X", "X", "Y"]), rng.choice([CANARY, CANARY, HIDDEN, BASE, OTHER])
    price = rng.choice([None, float(slow.mids[name]) * rng.choice([0.9, 1.0, 1.1])])
    one = order(
        rng.choice([BUY, SELL]), rng.choice([1, 2, "2.5", 4, 6]), price, name=name, strategy=strategy,
        reduce_only=rng.random() < 0.3,
    )  # fmt: skip
    found = code(law, one)
    qty = unit(one.qty)
    denied = slow.denies(one, qty, qty, None if one.price is None else unit(one.price))
    if found in (None, Code.CAP):
        assert (found is Code.CAP) == denied, (one, found, denied)
    seen[str(found)] += 1
    seen["passed reduce-only"] += found is None and one.reduce_only and slow.capped(strategy)
    if found is None:
        law.commit([one], NOW)
        slow.working[one.order_id] = one, qty


def change_one(law: CappedLaw, slow: Slow, rng: random.Random, seen: Counter[str]) -> None:
    one, left = slow.working[rng.choice(list(slow.working))]
    qty = one.qty + rng.choice([0, 1, 2, 4]) * NANO
    price = one.price if one.price is None or rng.random() < 0.5 else one.price + rng.choice([-NANO, NANO])
    found = law.check_modify(one, qty, price, None, NOW).code
    if qty == one.qty and price == one.price and not one.reduce_only:
        assert found is not Code.CAP
        return
    more = left + unit(qty - one.qty)
    denied = slow.denies(one, unit(qty), more, None if price is None else unit(price), one.order_id)
    if found in (None, Code.CAP):
        assert (found is Code.CAP) == denied, (one, qty, price, found, denied)
    seen[f"change {found}"] += 1
    if found is None:
        law.commit_modify(one, qty, NOW)
        one.price = price
        law.on_updated(one, qty)
        slow.working[one.order_id] = one, more


def test_the_law_and_a_slow_reading_of_it_agree() -> None:
    seen = sum((walk(seed) for seed in range(60)), Counter())
    for what in ("None", "CAP", "change None", "change CAP", "passed reduce-only"):
        assert seen[what] > 30, seen


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("_check_capped", lambda *_: None),
        ("_loaded", lambda law, _: {}),
        ("_total2", lambda law, parts: 0),
    ],
)
def test_a_law_that_forgets_a_part_of_it_disagrees(
    name: str, broken: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CappedLaw, name, broken)
    with pytest.raises(AssertionError):
        test_the_law_and_a_slow_reading_of_it_agree()


# -- the gate


ACCOUNT = {"order_notional_max": 0.5, "duplicate_window_s": 0, "near_miss": 1, "price_collar": 0.5}
TOLD = {
    "policy": {"risk": {"name": "fuzz", **ACCOUNT}}, "share": 0.1, "strategies": ["Scripted-001"],
    "beside": ["Scripted-000"],
}  # fmt: skip


def trade(side: OrderSide, qty: float, **more: Any) -> Callable[[Scripted], None]:
    def act(one: Scripted) -> None:
        one.submit_order(one.order_factory.market(BTCUSDT.id, side, BTCUSDT.make_qty(qty), **more))

    return act


def ran(tmp_path: Path, *scripts: dict[int, Callable[[Scripted], None]]) -> list[Scripted]:
    """Run strategies Scripted-000 (the base), -001 (the canary) and so on, and let the auditor judge them."""
    strategies = [Scripted(script) for script in scripts]
    gate = {
        "template": {"name": "fuzz", **ACCOUNT}, "cap_share": 0.1, "capped": ("Scripted-001",),
        "free": ("Scripted-000",),
    }  # fmt: skip
    built = engine(flat_quotes(BTCUSDT, 50_000, 30), strategies, gate)
    built.run()
    audited(gate_of(built), tmp_path, ACCOUNT, False, canary=TOLD)  # type: ignore[arg-type]
    return strategies


def test_the_gate_denies_what_is_beyond_the_cap(tmp_path: Path) -> None:
    big, small = trade(OrderSide.BUY, 1.5), trade(OrderSide.BUY, 0.9)  # of 1,000,000: 7.5 % and 4.5 %
    base, canary, hidden = ran(tmp_path, {3: big}, {3: big, 5: small, 7: small, 9: small}, {11: small})
    assert (len(base.fills), len(canary.fills)) == (1, 2)
    reasons = [reason.split(":")[0] for reason in canary.denied.values()]
    assert reasons == ["CAP", "CAP"], "one order too large, then too much together"
    assert [reason.split(":")[0] for reason in hidden.denied.values()] == ["CAP"], "the cap is used up by another tag"


def test_each_leaves_its_own_position_where_the_other_holds_the_opposite(tmp_path: Path) -> None:
    exits = trade(OrderSide.BUY, 1.5, reduce_only=True), trade(OrderSide.SELL, 0.9, reduce_only=True)
    base, canary = ran(
        tmp_path,
        {3: trade(OrderSide.SELL, 1.5), 9: exits[0]},
        {5: trade(OrderSide.BUY, 0.9), 7: exits[1], 12: trade(OrderSide.BUY, 0.1)},
    )
    assert (len(base.fills), len(canary.fills)) == (2, 3)
    assert not base.denied | canary.denied


def test_nobody_acts_under_anothers_name(tmp_path: Path) -> None:
    def borrow(one: Scripted) -> None:
        order_ = one.order_factory.market(BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(1.5))
        order_ = type(order_)(
            order_.trader_id, StrategyId("Scripted-000"), BTCUSDT.id, order_.client_order_id, order_.side,
            order_.quantity, order_.init_id, order_.ts_init,
        )  # fmt: skip
        one.submit_order(order_)

    strategies = [Scripted({}), Scripted({3: borrow})]
    gate = {"cap_share": 0.1, "capped": ("Scripted-001",), "free": ("Scripted-000",)}
    built = engine(flat_quotes(BTCUSDT, 50_000, 10), strategies, gate)
    built.run()
    (row,) = [row for row in gate_of(built).record.risk_events if row[2] == "denied"]
    assert row[5] == "CAP"
    assert not gate_of(built).record.fills


# -- the auditor


def canaried(**risk: Any) -> Run:
    run = Run(gross_max=1, order_notional_max=1)
    run.run["canary"] = {
        "policy": {"risk": {**run.risk, **risk}}, "share": 0.1, "strategies": [CANARY], "beside": [BASE],
    }  # fmt: skip
    return run.mark(100)


def bought(qty: str, strategy: str = CANARY, **risk: Any) -> Run:
    return canaried(**risk).new("a", "BUY", qty, strategy=strategy)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (lambda: bought("1"), []),
        (lambda: bought("1.000000001"), ["CAP", "CAP"]),
        (lambda: bought("1.000000001", HIDDEN), ["CAP", "CAP"]),
        (lambda: bought("9", BASE), []),
        (lambda: bought("9", OTHER), []),
        (lambda: bought("0.6").new("b", "SELL", "0.6", strategy=CANARY, instrument="X"), []),
        (lambda: bought("0.6").new("b", "BUY", "0.6", strategy=CANARY), ["CAP"]),
        (lambda: bought("0.6").mark(100, "Y").new("b", "SELL", "0.6", strategy=CANARY, instrument="Y"), ["CAP"]),
        (lambda: bought("0.6").event("a", "canceled").new("b", "BUY", "0.6", strategy=CANARY), []),
        (lambda: bought("0.6").fill("a", "0.6", 100).new("b", "BUY", "0.6", strategy=CANARY), ["CAP"]),
        (lambda: bought("0.6").fill("a", "0.6", 100).new("b", "SELL", "0.6", strategy=CANARY, reduce_only=True), []),
        (lambda: bought("0.6").fill("a", "0.6", 100).mark(200).new("b", "SELL", "0.6", strategy=CANARY), []),
        (lambda: bought("1", BASE).fill("a", "1", 100).new("b", "SELL", "1", strategy=CANARY, reduce_only=True),
         ["CAP"]),
        (lambda: bought("5", BASE, order_qty_max="2"), ["ORDER_QTY"]),
        (lambda: bought("0.3", gross_max=0.2), ["CAP"]),
    ],
)  # fmt: skip
def test_the_auditor_finds_what_is_beyond_the_cap(
    run: Callable[[], Run], expected: list[str], tmp_path: Path
) -> None:
    assert codes(run().audit(tmp_path)) == expected


def test_a_modification_beyond_the_cap_is_found(tmp_path: Path) -> None:
    run = bought("0.6", CANARY).event("a", "accepted").ask("a", qty=2).event("a", "updated", qty=2)
    assert set(codes(run.audit(tmp_path))) == {"CAP"}


def test_an_exit_across_the_net_position_is_lawful_beside_a_canary_only(tmp_path: Path) -> None:
    def run(start: Run) -> Run:
        start.trade("a", "BUY", 1, 100, strategy=CANARY).trade("b", "SELL", 3, 100, strategy=BASE)
        return start.new("c", "SELL", 1, strategy=CANARY, reduce_only=True)

    assert codes(run(canaried()).audit(tmp_path / "a")) == []
    assert codes(run(Run().mark(100)).audit(tmp_path / "b")) == ["REDUCE_ONLY"]


@pytest.mark.parametrize(
    "told",
    [None, {}, {"share": 0.1}, {"share": "x"}, {"share": 0}, {"share": 2}, {"strategies": []}, {"beside": [CANARY]},
     {"policy": {}}, {"policy": {"risk": {"gross_max": -1}}}],
)  # fmt: skip
def test_there_is_no_verdict_on_a_cap_that_is_not_told(told: Any, tmp_path: Path) -> None:
    run = bought("1")
    keep = {} if told is None or told == {} or told == {"share": 0.1} else run.run["canary"]
    run.run["canary"] = None if told is None else {**keep, **told}
    with pytest.raises(RunDirError, match=r"run\.yaml:canary"):
        run.audit(tmp_path)


def test_an_auditor_that_does_not_look_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bought("5").write(tmp_path)
    assert set(codes(audit(folder))) == {"CAP"}
    monkeypatch.setattr(CappedJudge, "_judge", lambda *_: None)
    assert codes(audit(folder)) == []
