"""The auditor against run folders built by hand: every limit at its edge, every tampering, every mutation."""

import json
import re
import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from alphatrade.risk import audit as audit_module
from alphatrade.risk import audit_book, audit_files, audit_judge, audit_orders
from alphatrade.risk.audit import AuditReport, audit, format_report
from alphatrade.risk.errors import RunDirError

SECOND = 10**9
DAY = 86_400 * SECOND
DEC = pa.decimal128(38, 9)
START = 1_700_006_400 * SECOND  # midnight, UTC
SCHEMAS = {
    "orders": "seq:i ts:i instrument:s strategy:s order_id:s event:s side:s type:s qty:d leaves:d price:d "
    "trigger:d reduce_only:b reason:s decision:i",
    "fills": "seq:i ts:i instrument:s strategy:s order_id:s trade_id:s side:s qty:d price:d fee:d currency:s "
    "liquidity:s position_after:d realized:d decision:i",
    "marks": "seq:i ts:i instrument:s bid:d ask:d source:s assumed:b",
    "risk_events": "seq:i ts:i kind:s instrument:s order_id:s limit:s value:s bound:s detail:s",
    "equity": "ts:i equity:d cash:d exposure:d peak:d drawdown:f",
}
TYPES = {"i": pa.int64(), "s": pa.string(), "d": DEC, "b": pa.bool_(), "f": pa.float64()}
WIDE: dict[str, Any] = {  # a template in which nothing binds but what a test sets
    "order_notional_max": 100, "gross_max": 100, "net_max": 100, "instrument_max": 100, "price_collar": 1,
    "stale_after_s": 600, "daily_loss_max": 1, "drawdown_max": 1, "orders_per_second": 1000,
    "orders_per_minute": 1000, "repeat_max": 1000, "repeat_window_s": 60, "duplicate_window_s": 0,
    "open_orders_max": 1000,
}  # fmt: skip


class Run:
    """Writes the files of a run row by row; capital 1000 USD, instruments X and Y."""

    def __init__(self, long_only: bool = False, stale: float = 3600.0, **risk: Any) -> None:
        self.risk = {**WIDE, **risk}
        facts = {"quote": "USD", "base": "X", "stale_after_s": stale, "tick": "0.01", "lot": "0.001"}
        self.run = {
            "capital": "1000",
            "currency": "USD",
            "long_only": long_only,
            "instruments": {"X": facts, "Y": facts},
        }
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SCHEMAS}
        self.seq, self.ts = 0, START
        self.terms: dict[str, dict[str, Any]] = {}
        self.position: Counter[str] = Counter()
        self.cost: dict[str, Decimal] = {"X": Decimal(0), "Y": Decimal(0)}

    def add(self, file: str, **row: Any) -> dict[str, Any]:
        self.seq += 1
        self.rows[file].append({"seq": self.seq, "ts": self.ts, **row})
        return self.rows[file][-1]

    def wait(self, seconds: float) -> "Run":
        self.ts += int(seconds * SECOND)
        return self

    def mark(self, mid: Any, instrument: str = "X", half: str = "0.01") -> "Run":
        mid, half_spread = Decimal(str(mid)), Decimal(half)
        self.add(
            "marks",
            instrument=instrument,
            bid=mid - half_spread,
            ask=mid + half_spread,
            source="quote",
            assumed=False,
        )
        return self

    def event(self, order: str, event: str, **changes: Any) -> "Run":
        terms = self.terms[order]
        terms.update(changes)
        row = {key: value for key, value in terms.items() if key != "filled"}
        self.add("orders", order_id=order, event=event, leaves=max(0, terms["qty"] - terms["filled"]), **row)
        return self

    def ask(self, order: str, announced: bool = True, **wanted: Any) -> "Run":
        """Have a modification approved; the terms stay until an `updated` changes them."""
        if announced:
            self.event(order, "pending_update")
        kept = dict(self.terms[order])
        self.event(order, "modify_approved", **wanted)
        self.terms[order] = kept
        return self

    def new(self, order: str, side: str, qty: Any, event: str = "submitted", **terms: Any) -> "Run":
        self.terms[order] = {
            "instrument": "X", "strategy": "S-1", "side": side, "qty": Decimal(str(qty)), "price": None,
            "trigger": None, "type": "MARKET", "reduce_only": False, "filled": Decimal(0), **terms,
        }  # fmt: skip
        return self.event(order, event)

    def fill(self, order: str, qty: Any, price: Any, fee: Any = 0) -> "Run":
        terms, qty, price = self.terms[order], Decimal(str(qty)), Decimal(str(price))
        name, signed = terms["instrument"], qty if terms["side"] == "BUY" else -qty
        before, realized = self.position[name], Decimal(0)
        if before * signed < 0:
            closed = min(abs(before), qty).copy_sign(signed)
            realized = -closed * (price - self.cost[name])
        after = before + signed
        if after and before * signed >= 0:
            self.cost[name] = (self.cost[name] * before + price * signed) / after
        elif after * before < 0:
            self.cost[name] = price
        self.position[name] = after
        terms["filled"] += qty
        self.event(order, "filled")
        self.add(
            "fills", instrument=name, strategy=terms["strategy"], order_id=order, trade_id=f"T{self.seq}",
            side=terms["side"], qty=qty, price=price, fee=Decimal(str(fee)), currency="USD",
            liquidity="TAKER",
            position_after=after, realized=realized.quantize(Decimal("1e-9")),
        )  # fmt: skip
        return self

    def trade(self, order: str, side: str, qty: Any, price: Any, **terms: Any) -> "Run":
        return self.new(order, side, qty, **terms).fill(order, qty, price)

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, spec in SCHEMAS.items():
            columns = {}
            for item in spec.split():
                key, kind = item.split(":")
                columns[key] = pa.array([row.get(key) for row in self.rows[name]], TYPES[kind])
            pq.write_table(pa.table(columns), folder / f"{name}.parquet")
        (folder / "policy.json").write_text(json.dumps({"risk": self.risk, "schema_version": 1}))
        (folder / "run.yaml").write_text(yaml.safe_dump(self.run))
        return folder

    def audit(self, folder: Path) -> AuditReport:
        return audit(self.write(folder))


def codes(report: AuditReport) -> list[str]:
    return [finding.code for finding in report.violations]


def doubts(report: AuditReport) -> set[str]:
    return {finding.code for finding in report.integrity}


def honest() -> Run:
    """A small lawful run with every kind of row: entry, bracket, modification, denial, cancel, flattening."""
    run = Run(drawdown_max=0.5, order_qty_max="5")
    run.mark(100).new("a", "BUY", 2, "initialized").event("a", "submitted").event("a", "accepted").fill(
        "a", 2, "100.01", "0.1"
    )
    run.wait(1).mark(101).new("b", "SELL", 2, price=Decimal(110), type="LIMIT", reduce_only=True).event("b", "accepted")
    run.new("c", "BUY", 1, "initialized").event("c", "denied")
    run.new("d", "BUY", 1, price=Decimal(99), type="LIMIT").event("d", "accepted")
    run.ask("d", qty=Decimal(2), price=Decimal(98)).event("d", "updated", qty=Decimal(2), price=Decimal(98)).wait(
        1
    ).mark(102).event("d", "canceled")
    run.wait(60).mark(103).event("b", "canceled")
    run.trade("e", "SELL", 1, "102.99", reduce_only=True).wait(1).mark(104).trade("f", "SELL", 1, 104)
    run.mark("104.5")
    equity = Decimal(1000) - Decimal("200.02") - Decimal("0.1")
    run.rows["equity"] = [
        {"ts": START, "equity": Decimal(1000), "cash": Decimal(1000)},
        {"ts": START + SECOND, "equity": equity + 2 * 101, "cash": equity},
        {"ts": run.ts, "equity": equity + Decimal("102.99") + 104, "cash": equity},
    ]
    return run


def test_an_honest_run_passes_with_its_figures(tmp_path: Path) -> None:
    report = honest().audit(tmp_path)
    assert report.ok, format_report(report)
    assert not report.position
    assert "AUDIT PASSED" in format_report(report)
    assert report.utilisation["ORDER_QTY"] == 2 / 5
    assert (report.orders, report.submitted, report.fills, report.marks) == (6, 5, 3, 6)
    assert report.equity == Decimal("1006.87")


# -- every limit: exactly at it passes, one unit above is a violation

EDGES: dict[str, tuple[dict[str, Any], Any, Any]] = {
    # code: (template, a run at the edge, the same one unit above); mid is 100, capital 1000
    "ORDER_QTY": ({"order_qty_max": "2"}, ("BUY", "2"), ("BUY", "2.000000001")),
    "ORDER_NOTIONAL": ({"order_notional_max": 0.2}, ("BUY", "2"), ("SELL", "2.000000001")),
    "INSTRUMENT_EXPOSURE": ({"instrument_max": 0.2}, ("SELL", "2"), ("BUY", "2.000000001")),
    "INVENTORY": ({"inventory_max": "2"}, ("BUY", "2"), ("SELL", "2.000000001")),
    "GROSS_EXPOSURE": ({"gross_max": 0.2}, ("BUY", "2"), ("BUY", "2.000000001")),
    "NET_EXPOSURE": ({"net_max": 0.2}, ("SELL", "2"), ("SELL", "2.000000001")),
}


@pytest.mark.parametrize("code", EDGES)
def test_size_limits_at_the_edge(code: str, tmp_path: Path) -> None:
    template, at, above = EDGES[code]
    fine = Run(**template).mark(100).new("a", *at).audit(tmp_path / "at")
    assert fine.ok
    assert fine.utilisation[code] == 1.0
    assert codes(Run(**template).mark(100).new("a", *above).audit(tmp_path / "above")) == [code]


@pytest.mark.parametrize("code", ["INSTRUMENT_EXPOSURE", "INVENTORY", "GROSS_EXPOSURE", "NET_EXPOSURE"])
def test_orders_in_flight_and_resting_count(code: str, tmp_path: Path) -> None:
    template = EDGES[code][0]
    run = Run(**template).mark(100).new("a", "BUY", 1, price=Decimal(90), type="LIMIT").new("b", "BUY", 1)
    assert run.audit(tmp_path / "at").ok
    assert codes(run.new("c", "BUY", "0.000000001").audit(tmp_path / "above")) == [code]
    run = Run(**template).mark(100).new("a", "BUY", 2).event("a", "canceled").new("b", "BUY", 1).event("b", "rejected")
    assert run.new("c", "SELL", 2).audit(tmp_path / "closed").ok  # what is closed no longer counts
    run = Run(**template).mark(100).new("a", "BUY", 2).fill("a", 1, 100).event("a", "expired").new("c", "BUY", "1.5")
    assert codes(run.audit(tmp_path / "part")) == [code]


def test_gross_and_net_differ_over_instruments(tmp_path: Path) -> None:
    def run(**template: Any) -> Run:
        both = Run(**template).mark(100).mark(50, "Y").trade("a", "BUY", 1, 100)
        return both.new("b", "SELL", 2, instrument="Y")

    assert run(net_max=0.1, gross_max=0.2).audit(tmp_path / "at").ok
    assert codes(run(gross_max=0.1999).audit(tmp_path / "gross")) == ["GROSS_EXPOSURE"]
    assert codes(run(net_max=0.0999).audit(tmp_path / "net")) == ["NET_EXPOSURE", "NET_EXPOSURE"]


def test_notional_uses_limit_price_then_trigger_then_mid(tmp_path: Path) -> None:
    for name, terms in (("price", {"price": Decimal(101)}), ("trigger", {"trigger": Decimal(101)})):
        run = Run(order_notional_max=0.2).mark(100).new("a", "BUY", 2, **terms)
        assert codes(run.audit(tmp_path / name)) == ["ORDER_NOTIONAL"]
    run = Run(order_notional_max=0.2).mark(100).new("a", "BUY", 2, price=Decimal(100), trigger=Decimal(101))
    assert run.audit(tmp_path / "both").ok


def test_open_orders(tmp_path: Path) -> None:
    run = Run(open_orders_max=2).mark(100).new("a", "BUY", 1).new("b", "SELL", 1)
    assert run.audit(tmp_path / "at").ok
    assert codes(run.new("c", "BUY", 1).audit(tmp_path / "above")) == ["OPEN_ORDERS"]


def test_price_collar_on_price_and_trigger(tmp_path: Path) -> None:
    for index, terms in enumerate(
        ({"price": "103"}, {"price": "97"}, {"trigger": "103"}, {"price": "100", "trigger": "97"})
    ):
        exact = {key: Decimal(value) for key, value in terms.items()}
        assert Run(price_collar=0.03).mark(100).new("a", "BUY", 1, **exact).audit(tmp_path / f"{index}").ok
        key, value = list(exact.items())[-1]
        exact[key] += Decimal("1e-9") if value > 100 else -Decimal("1e-9")
        run = Run(price_collar=0.03).mark(100).new("a", "SELL", 1, **exact)
        assert codes(run.audit(tmp_path / f"{index}x")) == ["PRICE_COLLAR"]


def test_reference_stale_missing_or_unknown(tmp_path: Path) -> None:
    def run(age: int, **limits: Any) -> Run:
        made = Run(**limits).mark(100)
        made.ts += age
        return made.new("a", "BUY", 1)

    assert run(600 * SECOND).audit(tmp_path / "at").ok
    assert codes(run(600 * SECOND + 1).audit(tmp_path / "above")) == ["STALE_REFERENCE"]
    assert codes(run(60 * SECOND + 1, stale=60.0).audit(tmp_path / "tape")) == ["STALE_REFERENCE"]
    assert codes(Run().mark(100, "Y").new("a", "BUY", 1).audit(tmp_path / "none")) == ["NO_REFERENCE"]
    assert "NO_REFERENCE" in codes(Run().new("a", "BUY", 1).mark(100).audit(tmp_path / "late"))
    assert codes(Run().mark(9, "Z").new("a", "BUY", 1, instrument="Z").audit(tmp_path / "z")) == ["UNKNOWN_INSTRUMENT"]


def test_order_rate_per_second_and_minute(tmp_path: Path) -> None:
    def run(count: int, step: int, **limits: Any) -> Run:
        made = Run(**limits).mark(100)
        for number in range(count):
            made.new(f"o{number}", "BUY", 1, reduce_only=False)
            made.ts += step
        return made

    assert run(3, SECOND // 3 + 1, orders_per_second=3).audit(tmp_path / "a").ok
    assert codes(run(4, SECOND // 3, orders_per_second=3).audit(tmp_path / "b")) == ["ORDER_RATE"]
    assert run(4, SECOND // 3 + 1, orders_per_second=3).audit(tmp_path / "c").ok  # the first is out of the window
    assert run(4, 20 * SECOND, orders_per_minute=3).audit(tmp_path / "d").ok
    assert codes(run(4, 20 * SECOND - 1, orders_per_minute=3).audit(tmp_path / "e")) == ["ORDER_RATE"]
    made = run(2, 1, orders_per_second=3).ask("o0", qty=Decimal("0.5")).event("o0", "updated", qty=Decimal("0.5"))
    assert made.audit(tmp_path / "f").ok
    made.ask("o0", announced=False, qty=Decimal("0.4"))
    assert codes(made.audit(tmp_path / "g")) == ["ORDER_RATE"]  # modifications count


def test_repeated_execution(tmp_path: Path) -> None:
    run = Run(repeat_max=2, repeat_window_s=60).mark(100)
    run.new("a", "BUY", 1).wait(30).new("b", "BUY", 1).new("c", "BUY", 2).new("d", "SELL", 1)
    assert run.wait(30).new("e", "BUY", 1).audit(tmp_path / "at").ok  # "a" is exactly sixty seconds old
    assert codes(run.new("f", "BUY", 1).audit(tmp_path / "above")) == ["REPEATED"]


def test_duplicates(tmp_path: Path) -> None:
    def run(wait: float, **terms: Any) -> Run:
        limit = {"price": Decimal(99), "type": "LIMIT"}
        return (
            Run(duplicate_window_s=1)
            .mark(100)
            .new("a", "BUY", 1, **limit)
            .wait(wait)
            .new("b", "BUY", 1, **{**limit, **terms})
        )

    assert run(1).audit(tmp_path / "at").ok
    assert codes(run(0.999999999).audit(tmp_path / "young")) == ["DUPLICATE"]
    assert run(0.1, price=Decimal(98)).audit(tmp_path / "price").ok
    closed = Run(duplicate_window_s=1).mark(100).new("a", "BUY", 1).event("a", "canceled").new("b", "BUY", 1)
    assert closed.audit(tmp_path / "closed").ok
    assert codes(run(1).event("a", "submitted").audit(tmp_path / "id")) == ["DUPLICATE"]
    again = Run().mark(100).trade("a", "BUY", 1, 100).event("a", "submitted")
    assert "DUPLICATE" in codes(again.audit(tmp_path / "again"))
    moved = (
        run(0.1, price=Decimal(98))
        .event("a", "updated", price=Decimal(97))
        .new("c", "BUY", 1, price=Decimal(97), type="LIMIT")
    )
    assert codes(moved.audit(tmp_path / "moved")) == ["DUPLICATE"]  # identical to what "a" has become


def test_long_only(tmp_path: Path) -> None:
    run = Run(long_only=True).mark(100).trade("a", "BUY", 2, 100).new("b", "SELL", 2)
    assert run.audit(tmp_path / "at").ok
    assert codes(run.new("c", "SELL", "0.000000001").audit(tmp_path / "above")) == ["LONG_ONLY"]


def test_reduce_only_really_reduces(tmp_path: Path) -> None:
    run = Run().mark(100).trade("a", "BUY", 2, 100).new("b", "SELL", 2, reduce_only=True)
    assert run.wait(2).audit(tmp_path / "at").ok
    for name, side, qty in (("more", "SELL", "2.000000001"), ("same", "BUY", 1)):
        made = Run().mark(100).trade("a", "BUY", 2, 100).wait(2).new("b", side, qty, reduce_only=True)
        assert codes(made.audit(tmp_path / name)) == ["REDUCE_ONLY"]
    flat = Run().mark(100).new("b", "SELL", 1, reduce_only=True)
    assert codes(flat.audit(tmp_path / "flat")) == ["REDUCE_ONLY"]
    filled = Run().mark(100).trade("a", "BUY", 2, 100).new("b", "SELL", 2, reduce_only=True).trade("c", "SELL", 1, 100)
    assert codes(filled.fill("b", 2, 100).audit(tmp_path / "filled")) == ["REDUCE_ONLY"]  # the fill increases


def test_children_of_an_entry_in_the_same_list(tmp_path: Path) -> None:
    def run(wait: float = 0, **child: Any) -> Run:
        terms = {
            "qty": 2,
            "side": "SELL",
            "reduce_only": True,
            "price": Decimal(110),
            "type": "LIMIT",
            **child,
        }
        return Run().mark(100).new("a", "BUY", 2).wait(wait).new("b", **terms)

    assert run().audit(tmp_path / "child").ok
    assert codes(run(qty="2.1").audit(tmp_path / "more")) == ["REDUCE_ONLY"]
    assert codes(run(side="BUY").audit(tmp_path / "side")) == ["REDUCE_ONLY"]
    assert codes(run(strategy="S-2").audit(tmp_path / "other")) == ["REDUCE_ONLY"]
    assert codes(run(wait=1.1).audit(tmp_path / "late")) == ["REDUCE_ONLY"]


# -- reducing orders, daily loss, drawdown, kill


def test_reducing_orders_pass_while_a_limit_is_exceeded(tmp_path: Path) -> None:
    run = Run(instrument_max=0.2, gross_max=0.2, net_max=0.2).mark(100).trade("a", "BUY", 2, 100)
    run.mark(120)  # the market moved: 240 > 200
    assert run.new("b", "SELL", 1).audit(tmp_path / "plain").ok
    assert codes(run.new("c", "BUY", "0.1").audit(tmp_path / "more"))[:1] == ["GROSS_EXPOSURE"]
    report = run.audit(tmp_path / "passive")
    assert report.passive == {"GROSS_EXPOSURE": 1, "INSTRUMENT_EXPOSURE": 1, "NET_EXPOSURE": 1}
    flip = Run(instrument_max=0.2).mark(100).trade("a", "BUY", 2, 100).mark(120).new("b", "SELL", "2.1")
    assert codes(flip.audit(tmp_path / "flip")) == ["INSTRUMENT_EXPOSURE"]  # it would leave a short: not reducing


def test_passive_breaches_are_counted_at_each_crossing(tmp_path: Path) -> None:
    run = Run(instrument_max=0.2).mark(100).trade("a", "BUY", 2, 100)
    for price in (101, 102, 99, 101, 100):
        run.wait(1).mark(price)
    report = run.audit(tmp_path)
    assert report.ok
    assert report.passive == {"INSTRUMENT_EXPOSURE": 2}
    assert report.utilisation["INSTRUMENT_EXPOSURE"] == pytest.approx(1.02)


def test_drawdown_at_the_edge_then_no_way_back(tmp_path: Path) -> None:
    def run(low: str) -> Run:
        made = Run(drawdown_max=0.1).mark(100).trade("a", "BUY", 2, 100).wait(1).mark(150)  # peak 1100
        return made.wait(1).mark(low).wait(1)

    at = run("95").new("b", "BUY", 1).audit(tmp_path / "at")
    assert at.ok
    assert at.utilisation["DRAWDOWN"] == 1.0
    assert not at.passive
    below = run("94.999999999").new("b", "BUY", 1).audit(tmp_path / "below")
    assert codes(below) == ["DRAWDOWN", "HALTED"]
    assert below.passive == {"DRAWDOWN": 1}
    later = run("94").mark(140).new("b", "BUY", 1).audit(tmp_path / "later")
    assert codes(later) == ["HALTED"]  # recovered, but the law has been tripped
    assert run("94").new("b", "SELL", 2, reduce_only=True).audit(tmp_path / "flatten").ok


def test_daily_loss_counts_from_the_first_mark_of_the_utc_day(tmp_path: Path) -> None:
    def run(low: str, jump: int) -> Run:
        made = Run(daily_loss_max=0.05, stale=1e6).mark(100).trade("a", "BUY", 2, 100)
        made.ts = START + jump
        return made.mark(low).new("b", "BUY", 1)

    assert run("75", DAY - 1).audit(tmp_path / "at").ok
    assert codes(run("74.999999999", DAY - 1).audit(tmp_path / "below")) == ["DAILY_LOSS", "HALTED"]
    assert run("74", DAY).audit(tmp_path / "next").ok  # the gap belongs to no day


def test_loss_by_fills_alone_stops_the_next_order(tmp_path: Path) -> None:
    run = Run(daily_loss_max=0.05).mark(100).new("a", "BUY", 2).fill("a", 2, 100, fee="50.000000001")
    assert codes(run.new("b", "BUY", 1).audit(tmp_path)) == ["DAILY_LOSS"]


# -- modifications


def test_modifications_are_judged_at_their_approval_and_count_in_flight(tmp_path: Path) -> None:
    def run(qty: str) -> Run:
        made = Run(inventory_max="2").mark(100).new("a", "BUY", 1, price=Decimal(99), type="LIMIT")
        made.ask("a", qty=Decimal(qty)).new("x", "SELL", 1)
        return made.event("a", "updated", qty=Decimal(qty))

    assert run("2").audit(tmp_path / "at").ok
    above = run("2.1").audit(tmp_path / "above")
    assert codes(above)[0] == "INVENTORY"
    assert above.violations[0].seq == 4
    assert codes(in_flight().audit(tmp_path / "between")) == ["INVENTORY"]
    refused = Run(inventory_max="2").mark(100).new("a", "BUY", 1).ask("a", qty=Decimal(2))
    assert refused.event("a", "modify_rejected").new("b", "BUY", 1).audit(tmp_path / "refused").ok
    for name, made in (
        ("unasked", Run(inventory_max="2").mark(100).new("a", "BUY", 1)),
        ("unapproved", Run(inventory_max="2").mark(100).new("a", "BUY", 1).event("a", "pending_update")),
        ("another", Run(inventory_max="2").mark(100).new("a", "BUY", 1).ask("a", qty=Decimal(2))),
    ):
        found = made.event("a", "updated", qty=Decimal(3)).audit(tmp_path / name)
        assert [(one.code, one.seq) for one in found.violations] == [("INVENTORY", made.seq)], name


def test_a_moved_price_is_judged_with_the_reference_of_its_moment(tmp_path: Path) -> None:
    def run(price: str) -> Run:
        made = Run(price_collar=0.03).mark(100).new("a", "BUY", 1, price=Decimal(98), type="LIMIT").wait(700)
        made.event("a", "pending_update").mark(110).ask("a", announced=False, price=Decimal(price))
        return made.wait(1).mark(120).event("a", "updated", price=Decimal(price))

    assert run("107").audit(tmp_path / "at").ok  # by the mark before the approval, not by the one after it
    assert codes(run("106").audit(tmp_path / "far")) == ["PRICE_COLLAR"]
    trailing = Run(price_collar=0.03).mark(100).new("a", "SELL", 1, trigger=Decimal(98), type="TRAILING_STOP_MARKET")
    assert trailing.event("a", "updated", trigger=Decimal(80)).audit(tmp_path / "trail").ok
    lower = Run(inventory_max="2").mark(100).new("a", "BUY", 2).wait(700).ask("a", qty=Decimal(1))
    assert lower.event("a", "updated", qty=Decimal(1)).audit(tmp_path / "lower").ok  # less risk needs no reference


# -- approvals


def test_what_was_never_approved(tmp_path: Path) -> None:
    denied = Run().mark(100).new("a", "BUY", 1, "denied").event("a", "submitted")
    assert codes(denied.audit(tmp_path / "denied")) == ["DENIED"]
    filled = Run().mark(100).new("a", "BUY", 1, "initialized").fill("a", 1, 100)
    assert codes(filled.audit(tmp_path / "filled")) == ["UNAPPROVED", "UNAPPROVED"]
    unknown = Run().mark(100).trade("a", "BUY", 1, 100)
    unknown.rows["orders"].clear()
    unknown.rows["risk_events"] = [{"seq": 2}, {"seq": 3}]
    report = unknown.audit(tmp_path / "unknown")
    assert codes(report) == ["UNAPPROVED"]
    assert report.position == {"X": Decimal(1)}
    accepted = Run().mark(100).new("a", "BUY", 1, "accepted")
    assert codes(accepted.audit(tmp_path / "accepted")) == ["UNAPPROVED"]
    emulated = Run().mark(100).new("a", "BUY", 1, "emulated", price=Decimal(99), type="LIMIT")
    emulated.event("a", "updated", price=Decimal(98)).event("a", "released").event("a", "submitted")
    assert emulated.audit(tmp_path / "emulated").ok
    over = Run().mark(100).new("a", "BUY", 1).fill("a", "1.000000001", 100)
    assert codes(over.audit(tmp_path / "over")) == ["OVERFILL"]


def test_the_law_flattens_beyond_rate_repeat_duplicate_and_collar_only(tmp_path: Path) -> None:
    def run(first: str, second: str, **terms: Any) -> Run:
        made = Run(orders_per_second=1, repeat_max=1, duplicate_window_s=1).mark(100).trade("a", "BUY", 4, 100)
        kind = {"reduce_only": True, **terms}
        return made.new(first, "SELL", 2, **kind).new(second, "SELL", 2, **kind)

    assert run("LAW-1-1", "LAW-1-2").audit(tmp_path / "law").ok
    own = codes(run("x", "y").audit(tmp_path / "own"))
    assert sorted(set(own)) == ["DUPLICATE", "ORDER_RATE", "REPEATED"]
    for index, terms in enumerate(({"reduce_only": False}, {"type": "LIMIT", "price": Decimal(100)})):
        assert "ORDER_RATE" in codes(run("LAW-1-1", "LAW-1-2", **terms).audit(tmp_path / f"{index}"))
    stale = Run().mark(100).trade("a", "BUY", 4, 100).wait(601).new("LAW-1-1", "SELL", 4, reduce_only=True)
    assert codes(stale.audit(tmp_path / "stale")) == ["STALE_REFERENCE"]


# -- tampering


def edit(run: Run, file: str, index: int, **changes: Any) -> Run:
    run.rows[file][index].update(changes)
    return run


def drop(run: Run, file: str, index: int) -> Run:
    del run.rows[file][index]
    return run


def hidden(run: Run, file: str, index: int) -> Run:
    """Remove a row and close the gap in the counter, as a careful forger would."""
    gone = run.rows[file].pop(index)["seq"]
    for rows in run.rows.values():
        for row in rows:
            if row.get("seq", 0) > gone:
                row["seq"] -= 1
    return run


def trade_of(run: Run) -> str:
    return str(run.rows["fills"][0]["trade_id"])


TAMPERINGS: dict[str, tuple[Any, str]] = {
    "a deleted fill": (lambda run: drop(run, "fills", 0), "SEQ_GAP"),
    "a fill deleted without a trace in seq": (lambda run: hidden(run, "fills", 1), "FILLS"),
    "the same, its order row too": (lambda run: hidden(hidden(run, "fills", 1), "orders", 17), "POSITION"),
    "a flipped side of a fill": (lambda run: edit(run, "fills", 0, side="SELL"), "FILL_TERMS"),
    "a flipped side of an order": (lambda run: edit(run, "orders", 1, side="SELL"), "CHANGED_TERMS"),
    "a removed denial": (lambda run: drop(run, "orders", 7), "SEQ_GAP"),
    "a changed quantity of a fill": (lambda run: edit(run, "fills", 0, qty=Decimal(1)), "FILLS"),
    "a changed quantity of an order": (lambda run: edit(run, "orders", 1, qty=Decimal(1)), "CHANGED_TERMS"),
    "changed leaves": (lambda run: edit(run, "orders", 2, leaves=Decimal(1)), "LEAVES"),
    "a changed price of an order": (lambda run: edit(run, "orders", 9, price=Decimal(98)), "CHANGED_TERMS"),
    "a changed price of a fill": (lambda run: edit(run, "fills", 0, price=Decimal(101)), "REALIZED"),
    "a changed position": (lambda run: edit(run, "fills", 1, position_after=Decimal(0)), "POSITION"),
    "a changed profit": (lambda run: edit(run, "fills", 1, realized=Decimal(9)), "REALIZED"),
    "a changed mark": (lambda run: edit(run, "marks", 1, bid=Decimal(99), ask=Decimal(101)), "EQUITY"),
    "a removed mark": (lambda run: drop(run, "marks", 1), "SEQ_GAP"),
    "a changed equity": (lambda run: edit(run, "equity", 1, equity=Decimal(1000)), "EQUITY"),
    "a fee in another currency": (lambda run: edit(run, "fills", 0, currency="EUR"), "FEE_CURRENCY"),
    "a doubled trade": (lambda run: edit(run, "fills", 1, trade_id=trade_of(run), order_id="a"),
                        "DUPLICATE_FILL"),
    "a mark from the future": (lambda run: edit(run, "marks", 1, ts=START + 9 * SECOND), "FUTURE_MARK"),
    "an initialisation after the submission": (lambda run: run.event("a", "initialized"), "EVENT_ORDER"),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERINGS)
def test_tampering_is_found(what: str, tmp_path: Path) -> None:
    change, code = TAMPERINGS[what]
    report = change(honest()).audit(tmp_path)
    assert code in doubts(report)
    assert not report.ok, format_report(report)
    assert f"{code} " in format_report(report)
    assert "AUDIT FAILED" in format_report(report)


def test_a_mark_changed_under_an_order_shows_as_a_breach(tmp_path: Path) -> None:
    run = Run(price_collar=0.03).mark(100).new("a", "BUY", 1, price=Decimal(103), type="LIMIT")
    edit(run, "marks", 0, bid=Decimal("99.8"))
    assert codes(run.audit(tmp_path)) == ["PRICE_COLLAR"]


# -- prices that nobody may trade on


def around(*mids: Any, half: str = "0.01", seconds: float = 1, **risk: Any) -> Run:
    """An order at the second of three marks."""
    run = Run(jump_max=0.05, **risk)
    for at, mid in enumerate(mids):
        run.mark(mid, half=half if at == 1 else "0.01")
        if at == 1:
            run.new("a", "BUY", 1)
        run.wait(seconds)
    return run


def test_an_order_at_a_crossed_mark_is_a_violation_and_the_mark_itself_is_none(tmp_path: Path) -> None:
    assert codes(around(100, 100, 100, half="-0.01").audit(tmp_path / "a")) == ["SUSPECT_REFERENCE"]
    assert around(100, 100, 100, half="0").audit(tmp_path / "b").ok, "locked is not crossed"
    assert Run().mark(100).mark(100, half="-1").wait(1).mark(100).new("a", "BUY", 1).audit(tmp_path / "c").ok


def test_an_order_at_a_lone_spike_is_a_violation(tmp_path: Path) -> None:
    for number, spike in enumerate((10_000, 1, "105.01", "95.23")):
        report = around(100, spike, 100).audit(tmp_path / f"spike-{number}")
        assert codes(report) == ["SUSPECT_REFERENCE"], spike
        assert "stands alone" in report.violations[0].detail


@pytest.mark.parametrize(
    "lawful",
    [
        around(100, 105, 100),  # as far as allowed
        around(100, 110, 110),  # a jump that stays
        around(100, 110, 120),
        around(100, 110, 90),  # the one after agrees with neither
        around(100, 110, 100, seconds=700),  # too late to say
        around(100, 110),
        Run(jump_max=0.05).mark(110).new("a", "BUY", 1).wait(1).mark(100),
    ],
)
def test_other_jumps_are_the_market(lawful: Run, tmp_path: Path) -> None:
    assert lawful.audit(tmp_path).ok


def test_an_order_at_a_mark_from_before_the_one_before_is_a_violation(tmp_path: Path) -> None:
    back = Run().mark(100).wait(-1).mark(100).wait(2).new("a", "BUY", 1)
    assert codes(back.audit(tmp_path / "back")) == ["SUSPECT_REFERENCE"]
    caught_up = Run().mark(100).wait(-1).mark(100).wait(1).mark(100).new("a", "BUY", 1)
    assert caught_up.audit(tmp_path / "good").ok


def test_marks_of_another_instrument_say_nothing(tmp_path: Path) -> None:
    run = Run(jump_max=0.05).mark(100).mark(9, "Y", half="-1").new("a", "BUY", 1).wait(1).mark(100)
    assert run.audit(tmp_path).ok


# -- files

FILES = [
    "orders.parquet",
    "fills.parquet",
    "marks.parquet",
    "risk_events.parquet",
    "equity.parquet",
    "policy.json",
    "run.yaml",
]


@pytest.mark.parametrize("name", FILES)
def test_missing_empty_truncated_or_foreign_files_are_refused(name: str, tmp_path: Path) -> None:
    source = honest().write(tmp_path / "good")
    content = (source / name).read_bytes()
    for index, broken in enumerate(
        (None, b"", content[: len(content) // 2] if name.endswith("parquet") else b"[", b"\xff\x00junk")
    ):
        folder = tmp_path / f"{index}"
        shutil.copytree(source, folder)
        if broken is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(broken)
        with pytest.raises(RunDirError) as caught:
            audit(folder)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(RunDirError):
        audit(tmp_path / "nowhere")


def rewrite(folder: Path, file: str, **columns: Any) -> Path:
    table = pq.read_table(folder / f"{file}.parquet")
    for name, make in columns.items():
        index = table.column_names.index(name)
        made = make(table.column(name))
        table = table.remove_column(index) if made is None else table.set_column(index, name, made)
    pq.write_table(table, folder / f"{file}.parquet")
    return folder


@pytest.mark.parametrize(
    ("file", "column", "change"),
    [
        ("orders", "event", lambda column: None),
        ("orders", "qty", lambda column: pa.array([1.0] * len(column))),
        ("marks", "bid", lambda column: pa.array([float("nan")] * len(column))),
        ("marks", "bid", lambda column: pa.array([None] * len(column), DEC)),
        ("marks", "bid", lambda column: pa.array([Decimal(0)] * len(column), DEC)),
        ("fills", "qty", lambda column: pa.array([Decimal(-1)] * len(column), DEC)),
        ("marks", "bid", lambda column: pa.array([Decimal(1)] * len(column), pa.decimal128(38, 2))),
        ("orders", "seq", lambda column: pa.array(column.to_pylist()[::-1], pa.int64())),
        ("marks", "seq", lambda column: pa.array([1] * len(column), pa.int64())),
        ("fills", "seq", lambda column: pa.array([1, 2, 3], pa.int64())),
        ("fills", "ts", lambda column: pa.array([0.5] * len(column))),
    ],
)
def test_wrong_columns_are_refused(file: str, column: str, change: Any, tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match=re.escape(column)):
        audit(rewrite(honest().write(tmp_path), file, **{column: change}))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda run: run.risk.update(gross_max=-1), "gross_max"),
        (lambda run: run.risk.update(surprise=1), "surprise"),
        (lambda run: run.run.update(capital="-5"), "capital"),
        (lambda run: run.run.update(capital="nan"), "capital"),
        (lambda run: run.run.pop("long_only"), "long_only"),
        (lambda run: run.run.update(instruments={}), "instruments"),
        (lambda run: run.run.update(instruments={"X": {"quote": "USD"}}), "stale_after_s"),
        (lambda run: run.run.update(currency="EUR"), "quote"),
    ],
)
def test_unusable_facts_are_refused(change: Any, word: str, tmp_path: Path) -> None:
    run = honest()
    change(run)
    with pytest.raises(RunDirError, match=word):
        run.audit(tmp_path)


def test_an_empty_run_is_fine_but_fills_without_orders_are_not(tmp_path: Path) -> None:
    empty = Run().audit(tmp_path / "empty")
    assert empty.ok
    assert empty.orders == empty.marks == 0
    assert empty.equity == 1000
    assert Run().mark(100).audit(tmp_path / "marks").ok
    run = Run().mark(100).trade("a", "BUY", 1, 100)
    run.rows["orders"].clear()
    assert not run.audit(tmp_path / "fills").ok


def test_numbers_too_big_for_64_bits_stay_exact(tmp_path: Path) -> None:
    run = Run(instrument_max=0.5, gross_max=0.5).mark("0.000001", half="0")
    run.run["capital"] = "9000000000000"
    run.new("a", "BUY", 4_500_000_000_000_000_000)
    assert run.audit(tmp_path / "at").ok
    run.new("b", "BUY", "0.000000001", instrument="X")
    assert codes(run.audit(tmp_path / "above")) == ["GROSS_EXPOSURE", "INSTRUMENT_EXPOSURE"]


def test_a_fee_in_the_base_currency_is_valued_at_its_fill(tmp_path: Path) -> None:
    run = Run().mark(100).new("a", "BUY", 2).fill("a", 2, 100, fee="0.01")
    edit(run, "fills", 0, currency="X", position_after=Decimal("1.99"))
    report = run.audit(tmp_path)
    assert report.ok
    assert report.equity == 999


def test_the_law_closes_each_strategys_own_position(tmp_path: Path) -> None:
    def run(first: str, qty: int = 1) -> Run:
        made = Run().mark(100).trade("a", "BUY", 4, 100).trade("b", "SELL", 1, 100, strategy="S-2").wait(2)
        made.new(first, "BUY", qty, strategy="S-2", reduce_only=True).new("LAW-2", "SELL", 4, reduce_only=True)
        return made.fill(first, 1, 100).fill("LAW-2", 4, 100)

    report = run("LAW-1").audit(tmp_path / "law")
    assert report.ok
    assert report.passive == {"REDUCE_ONLY": 1}  # buying back one raised the net position for a moment
    assert codes(run("x").audit(tmp_path / "claim")) == ["REDUCE_ONLY"]
    assert codes(run("LAW-1", 2).audit(tmp_path / "more")) == ["REDUCE_ONLY"]


def test_a_reduce_only_fill_after_the_position_turned_is_a_violation(tmp_path: Path) -> None:
    run = Run().mark(100).trade("a", "BUY", 2, 100).new("b", "SELL", 2, reduce_only=True).trade("c", "SELL", 3, 100)
    report = run.fill("b", 2, 100).audit(tmp_path)
    assert codes(report) == ["REDUCE_ONLY"]
    assert report.position == {"X": -3}


def test_a_refusal_answers_what_was_not_approved_first(tmp_path: Path) -> None:
    def run(reason: str, announced: int) -> Run:
        made = Run(inventory_max="2").mark(100).new("a", "BUY", 1).ask("a", qty=Decimal(3)).wait(1)
        for _ in range(announced):
            made.event("a", "pending_update")
        made.event("a", "modify_rejected")
        made.rows["orders"][-1]["reason"] = reason
        return made.event("a", "updated", qty=Decimal(3))

    law = "ORDER_QTY: 9 > limit=2 (units)"
    assert run(law, 1).audit(tmp_path / "law").violations[0].seq == 4
    assert run(law, 0).audit(tmp_path / "past the strategy").violations[0].seq == 4
    assert run("Exceeded MAX_ORDER_MODIFY_RATE", 1).audit(tmp_path / "native").violations[0].seq == 4
    assert run("Order not found", 0).audit(tmp_path / "venue").violations[0].seq == 6


# -- the moment of approval


def approved(gap: float, approve: str = "100", submit: str = "110", **changes: Any) -> Run:
    """An order approved at one mark and submitted at another."""
    limit = {"price": Decimal(102), "type": "LIMIT"}
    made = Run(price_collar=0.03, inventory_max="2").mark(approve).new("a", "BUY", 1, "initialized", **limit)
    return made.wait(gap).mark(submit).event("a", "submitted", **changes)


def test_an_order_is_judged_where_it_was_approved(tmp_path: Path) -> None:
    assert approved(0.4).audit(tmp_path / "at").ok  # the market moved on its way to the venue
    late = approved(0.4, "110", "100").audit(tmp_path / "far")
    assert [(one.code, one.seq) for one in late.violations] == [("PRICE_COLLAR", 2)]
    assert codes(approved(10.1).audit(tmp_path / "old")) == ["PRICE_COLLAR"]
    assert approved(10).audit(tmp_path / "young").ok


def test_an_approval_counts_from_its_moment(tmp_path: Path) -> None:
    run = Run(inventory_max="2").mark(100).new("a", "BUY", 2, "initialized").new("b", "BUY", 1, "initialized")
    assert codes(run.event("b", "submitted").event("a", "submitted").audit(tmp_path)) == ["INVENTORY"]


def test_only_the_row_before_the_submission_is_an_approval(tmp_path: Path) -> None:
    for event in ("emulated", "released", "updated"):
        limit = {"price": Decimal(102), "type": "LIMIT"}
        run = Run(price_collar=0.03).mark(100).new("a", "BUY", 1, "initialized", **limit).event("a", event)
        assert codes(run.mark(110).event("a", "submitted").audit(tmp_path / event)) == ["PRICE_COLLAR"]
    denied = Run().mark(100).new("a", "BUY", 1, "initialized").event("a", "denied").event("a", "submitted")
    assert codes(denied.audit(tmp_path / "denied")) == ["DENIED"]
    accepted = Run().mark(100).new("a", "BUY", 1, "initialized").event("a", "accepted")
    assert codes(accepted.audit(tmp_path / "accepted")) == ["UNAPPROVED"]
    twice = approved(0, submit="100").event("a", "submitted")
    assert codes(twice.audit(tmp_path / "twice")) == ["DUPLICATE"]


def test_an_order_is_judged_by_what_was_sent(tmp_path: Path) -> None:
    grown = approved(0, submit="100", qty=Decimal(3)).audit(tmp_path / "qty")
    assert (codes(grown), "CHANGED_TERMS" in doubts(grown)) == (["INVENTORY"], True)
    moved = approved(0, submit="100", price=Decimal(104)).audit(tmp_path / "price")
    assert (codes(moved), "CHANGED_TERMS" in doubts(moved)) == (["PRICE_COLLAR"], True)


# -- exits with plain orders behind them


def behind(event: str = "submitted", side: str = "SELL", **risk: Any) -> Run:
    """Five long or short, a plain order resting that closes it, then a reduce-only one that does so too."""
    first = "BUY" if side == "SELL" else "SELL"
    made = Run(**risk).mark(100).trade("a", first, 5, 100).wait(2).new("b", side, 5, price=Decimal(101), type="LIMIT")
    return made.new("c", side, 5, event, reduce_only=True)


def test_an_exit_is_judged_by_what_plain_orders_can_open_behind_it(tmp_path: Path) -> None:
    assert behind().audit(tmp_path / "free").ok
    assert codes(behind(long_only=True).audit(tmp_path / "long")) == ["LONG_ONLY"]
    for name, side in (("sell", "SELL"), ("buy", "BUY")):
        more = behind("initialized", side, inventory_max="6").event("c", "canceled")
        more.new("d", side, 6, price=Decimal(102), type="LIMIT").new("e", side, 5, reduce_only=True)
        assert codes(more.audit(tmp_path / name)) == ["INVENTORY"]
    carried = Run(instrument_max=0.6).mark(100).trade("a", "BUY", 5, 100).wait(2).new("b", "SELL", 5).mark(130)
    assert carried.new("c", "SELL", 5, reduce_only=True).audit(tmp_path / "carried").ok  # it makes nothing worse
    larger = Run(True).mark(100).trade("a", "BUY", 5, 100).wait(2).new("b", "SELL", 3)
    larger.new("c", "SELL", 2, reduce_only=True, price=Decimal(101), type="LIMIT").ask("c", qty=Decimal(3))
    assert codes(larger.event("c", "updated", qty=Decimal(3)).audit(tmp_path / "larger")) == ["LONG_ONLY"]


def test_exits_count_against_the_position_of_their_strategy(tmp_path: Path) -> None:
    run = Run(inventory_max="5").mark(100).trade("a", "BUY", 5, 100).new("x", "SELL", 5, reduce_only=True)
    run.trade("b", "SELL", 5, 100, strategy="S-2").new("c", "SELL", 1, strategy="S-2")
    assert codes(run.audit(tmp_path)) == ["INVENTORY"]


def test_venues_keep_children_in_step_but_not_their_prices(tmp_path: Path) -> None:
    limit = {"price": Decimal(101), "type": "LIMIT", "reduce_only": True}
    run = Run(price_collar=0.03).mark(100).new("a", "BUY", 2).new("b", "SELL", 2, **limit).wait(700)
    assert run.event("b", "updated", qty=Decimal(3)).audit(tmp_path / "qty").ok
    moved = run.event("b", "updated", price=Decimal(104)).audit(tmp_path / "price")
    assert set(codes(moved)) == {"PRICE_COLLAR", "REDUCE_ONLY", "STALE_REFERENCE"}


def test_the_denial_of_a_second_order_with_the_same_id_leaves_the_first_alone(tmp_path: Path) -> None:
    run = Run(open_orders_max=1).mark(100).new("a", "BUY", 1).event("a", "denied").event("a", "accepted")
    assert run.audit(tmp_path / "one").ok
    assert codes(run.new("b", "BUY", 1).audit(tmp_path / "two")) == ["OPEN_ORDERS"]


# -- mutations: with the mechanism taken out, the same check must go red


def in_flight() -> Run:
    run = Run(inventory_max="2").mark(100).new("a", "BUY", 1).ask("a", qty=Decimal("1.5")).new("b", "BUY", 1)
    return run.event("b", "rejected").event("a", "updated", qty=Decimal("1.5"))


def sunk() -> Run:
    run = Run(drawdown_max=0.1).mark(100).trade("a", "BUY", 4, 100).mark(70).mark(100)
    return run.new("b", "BUY", 1)


def twice(wait: float = 0, side: str = "BUY") -> Run:
    risk = {"duplicate_window_s": 1, "orders_per_second": 1, "repeat_max": 1}
    return Run(**risk).mark(100).new("a", "BUY", 1).wait(wait).new("b", side, 1)


MUTANTS: dict[str, tuple[Any, str, Any, Any, str]] = {
    "approvals are not found": (
        audit_judge, "approvals", lambda _: {}, lambda: approved(0.4, "110", "100"), "PRICE_COLLAR",
    ),
    "an approval is good for ever": (
        audit_orders, "PATIENCE_NS", 10**18, lambda: approved(10.1), "PRICE_COLLAR",
    ),
    "exits lead nowhere": (
        audit_judge.Judge, "_judge_behind", lambda *_: None, lambda: behind(long_only=True), "LONG_ONLY",
    ),
    "working orders are forgotten": (
        audit_orders.Order, "ceiling", property(lambda order: order.filled),
        lambda: Run(gross_max=0.2).mark(100).new("a", "BUY", 1).new("b", "BUY", "1.1"), "GROSS_EXPOSURE",
    ),
    "modifications in flight are forgotten": (
        audit_judge, "granted_modifications", lambda rows: {}, in_flight, "INVENTORY",
    ),
    "risk is not judged": (
        audit_judge.Judge, "_judge_risk", lambda *_: None,
        lambda: above_edge("ORDER_NOTIONAL"), "ORDER_NOTIONAL",
    ),
    "prices are not judged": (
        audit_judge.Judge, "_judge_prices", lambda *_: None,
        lambda: Run(price_collar=0.01).mark(100).new("a", "BUY", 1, price=Decimal(90)), "PRICE_COLLAR",
    ),
    "marks are not looked at": (audit_book.Book, "_look", lambda *_: None, sunk, "HALTED"),
    "twins are not found": (audit_orders.Kin, "add", lambda *_: [], twice, "DUPLICATE"),
    "every order has a parent": (
        audit_orders.Kin, "entry_of", lambda kin, child: child,
        lambda: Run().mark(100).new("a", "SELL", 1, reduce_only=True), "REDUCE_ONLY",
    ),
    "rates are not counted": (
        audit_module, "_crowded", lambda *_: [], lambda: twice(side="SELL"), "ORDER_RATE",
    ),
    "everybody is the law": (
        audit_judge.Judge, "_flattens", lambda *_: True, lambda: twice(0.5), "REPEATED",
    ),
    "gaps are not looked for": (
        audit_files, "_gaps", lambda _: [], lambda: drop(honest(), "marks", 1), "SEQ_GAP",
    ),
    "rows are not compared": (
        audit_orders.Order, "contradictions", lambda *_: [],
        lambda: edit(honest(), "orders", 1, qty=Decimal(1)), "CHANGED_TERMS",
    ),
    "files are not compared": (
        audit_module, "_contradictions", lambda *_: [], lambda: hidden(honest(), "fills", 1), "FILLS",
    ),
}  # fmt: skip


def above_edge(code: str) -> Run:
    template, _, above = EDGES[code]
    return Run(**template).mark(100).new("a", *above)


@pytest.mark.parametrize("what", MUTANTS)
def test_each_check_rests_on_its_mechanism(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, broken, make, code = MUTANTS[what]
    whole = make().audit(tmp_path / "whole")
    assert code in {*codes(whole), *doubts(whole)}
    monkeypatch.setattr(owner, name, broken)
    maimed = make().audit(tmp_path / "maimed")
    assert code not in {*codes(maimed), *doubts(maimed)}


def test_a_bound_that_is_off_by_one_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_book.Book, "use", lambda book, code, value, bound: value >= bound)
    for code, (template, at, _) in EDGES.items():
        assert code in codes(Run(**template).mark(100).new("a", *at).audit(tmp_path / code))
