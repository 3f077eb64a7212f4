"""The auditor against a rival that recomputes the whole world, in fractions and from scratch, at every row."""

from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alphatrade.risk.audit import audit, format_report
from tests.risk.test_audit import DAY, SECOND, START, Run

Row = dict[str, Any]
TIGHT: dict[str, Any] = {
    "order_qty_max": "3", "order_notional_max": 0.3, "gross_max": 0.8, "net_max": 0.5, "instrument_max": 0.4,
    "inventory_max": "4", "price_collar": 0.1, "stale_after_s": 120, "daily_loss_max": 0.05, "drawdown_max": 0.06,
    "orders_per_second": 3, "orders_per_minute": 6, "repeat_max": 2, "repeat_window_s": 30,
    "duplicate_window_s": 2, "open_orders_max": 4,
}  # fmt: skip


def in_order(run: Run) -> list[Row]:
    """All rows by seq; a request to modify moves behind the marks of its own moment."""
    rows = [{"file": file, **row} for file in ("orders", "fills", "marks") for row in run.rows[file]]
    rows = [{k: Fraction(v) if isinstance(v, Decimal) else v for k, v in row.items()} for row in rows]
    rows.sort(key=lambda row: row["seq"])
    for i in range(len(rows) - 1, -1, -1):
        if rows[i].get("event") == "pending_update":
            j = i
            while j + 1 < len(rows) and rows[j + 1]["file"] == "marks" and rows[j + 1]["ts"] <= rows[j]["ts"]:
                rows[j], rows[j + 1] = rows[j + 1], rows[j]
                j += 1
    return rows


def targets(rows: list[Row]) -> dict[int, Row]:
    granted = {}
    for index, row in enumerate(rows):
        if row.get("event") == "pending_update":
            earlier = [r for r in rows[:index] if r.get("event") == "pending_update" and r["order_id"] == row["order_id"]]
            answers = [r for r in rows if r.get("event") in ("updated", "modify_rejected") and r["order_id"] == row["order_id"]]
            solicited = []
            for answer in answers:
                asked = [r for r in rows[: rows.index(answer)] if r.get("event") == "pending_update" and r["order_id"] == row["order_id"]]
                if len(asked) > len(solicited):
                    solicited.append(answer)
            if len(solicited) > len(earlier) and solicited[len(earlier)]["event"] == "updated":
                granted[row["seq"]] = solicited[len(earlier)]
    return granted


def world(rows: list[Row], granted: dict[int, Row], run: Run) -> SimpleNamespace:
    """Everything after `rows`, from nothing."""
    w = SimpleNamespace(pos=Counter(), cash=Fraction(1000), mid={}, marked={}, orders={}, killed=False, start=None, day=-1)
    w.peak = w.cash
    for row in rows:
        if row["file"] == "marks":
            w.mid[row["instrument"]] = (Fraction(row["bid"]) + Fraction(row["ask"])) / 2
            w.marked[row["instrument"]] = row["ts"]
            w.equity = equity(w)
            if row["ts"] // DAY > w.day:
                w.day, w.start = row["ts"] // DAY, w.equity
            w.peak = max(w.peak, w.equity)
            w.killed |= w.start - w.equity > Fraction(str(run.risk["daily_loss_max"])) * 1000
            w.killed |= w.peak - w.equity > Fraction(str(run.risk["drawdown_max"])) * w.peak
            continue
        order = w.orders.setdefault(row["order_id"], {"status": "new", "filled": Fraction(0), "ahead": [], **row})
        if row["file"] == "fills":
            signed = Fraction(row["qty"]) * (1 if row["side"] == "BUY" else -1)
            if row["instrument"] not in w.marked:
                w.mid[row["instrument"]] = Fraction(row["price"])
            w.pos[row["instrument"]] += signed
            w.cash -= signed * Fraction(row["price"]) + Fraction(row["fee"])
            order["filled"] += Fraction(row["qty"])
            if order["status"] == "working" and order["filled"] >= max([order["qty"], *order["ahead"]]):
                order["status"] = "closed"
        elif row["event"] == "submitted" and order["status"] != "working":
            order.update(row, status="working", since=row["ts"])
        elif row["event"] == "denied" and order["status"] == "new":
            order["status"] = "denied"
        elif row["event"] == "canceled":
            order.update(status="closed", ahead=[])
        elif row["event"] == "pending_update" and row["seq"] in granted and order["status"] == "working":
            order["ahead"] = [*order["ahead"], granted[row["seq"]]["qty"]]
        elif row["event"] == "updated":
            order.update(row, ahead=order["ahead"][1:])
    w.equity = equity(w)
    return w


def equity(w: SimpleNamespace) -> Fraction:
    return w.cash + sum(units * w.mid.get(name, 0) for name, units in w.pos.items())


def reach(w: SimpleNamespace, name: str) -> tuple[Fraction, Fraction]:
    """Lowest and highest position of an instrument if one side of the working orders fills."""
    lo = hi = Fraction(w.pos[name])
    for order in w.orders.values():
        if order["instrument"] == name and order["status"] == "working" and not order["reduce_only"]:
            leaves = max(Fraction(0), max(Fraction(qty) for qty in [order["qty"], *order["ahead"]]) - order["filled"])
            lo, hi = (lo, hi + leaves) if order["side"] == "BUY" else (lo - leaves, hi)
    return lo, hi


def exposures(w: SimpleNamespace, run: Run, names: list[str]) -> dict[tuple[str, str], tuple[Fraction, Fraction]]:
    every = {name: (*reach(w, name), Fraction(w.mid.get(name, 0))) for name in ("X", "Y")}
    limit = {key: Fraction(str(value)) for key, value in run.risk.items()}
    found = {
        ("GROSS_EXPOSURE", ""): (sum(max(abs(lo), abs(hi)) * mid for lo, hi, mid in every.values()), limit["gross_max"] * 1000),
        ("NET_EXPOSURE", ""): (
            max(abs(sum(hi * mid for lo, hi, mid in every.values())), abs(sum(lo * mid for lo, hi, mid in every.values()))),
            limit["net_max"] * 1000,
        ),
    }
    for name in names:
        lo, hi, mid = every[name]
        worst = max(abs(lo), abs(hi))
        found["INSTRUMENT_EXPOSURE", name] = worst * mid, limit["instrument_max"] * 1000
        found["INVENTORY", name] = worst, limit["inventory_max"]
        if run.run["long_only"]:
            found["LONG_ONLY", name] = -lo, Fraction(0)
    return found


def judged(w: SimpleNamespace, run: Run, row: Row, terms: Row) -> list[str]:
    """Codes of the limits that one order breaks, in the world with it."""
    name, sign = row["instrument"], 1 if row["side"] == "BUY" else -1
    order, pos, mid = w.orders[row["order_id"]], w.pos[row["instrument"]], w.mid.get(row["instrument"], 0)
    limit, broken = {key: Fraction(str(value)) for key, value in run.risk.items()}, []
    if name not in w.marked:
        broken.append("NO_REFERENCE")
    else:
        if row["ts"] - w.marked[name] > limit["stale_after_s"] * SECOND:
            broken.append("STALE_REFERENCE")
        if terms["price"] is not None and abs(Fraction(terms["price"]) - mid) > limit["price_collar"] * mid:
            broken.append("PRICE_COLLAR")
    if row["reduce_only"]:
        fits = pos * sign < 0 and Fraction(terms["qty"]) - order["filled"] <= abs(pos)
        parents = [
            other
            for other in w.orders.values()
            if other["status"] == "working" and not other["reduce_only"] and other["side"] != row["side"]
            and other["instrument"] == name and other["qty"] >= terms["qty"] and row["ts"] - other["since"] <= SECOND
        ]  # fmt: skip
        return broken if fits or parents else [*broken, "REDUCE_ONLY"]
    lo, hi = reach(w, name)
    if (sign < 0 and lo >= 0 and pos > 0) or (sign > 0 and hi <= 0 and pos < 0):
        return broken
    price = mid if terms["price"] is None else Fraction(terms["price"])
    checks = {
        **exposures(w, run, [name]),
        ("ORDER_QTY", ""): (Fraction(terms["qty"]), limit["order_qty_max"]),
        ("ORDER_NOTIONAL", ""): (terms["qty"] * price, limit["order_notional_max"] * 1000),
        ("OPEN_ORDERS", ""): (sum(o["status"] == "working" for o in w.orders.values()), limit["open_orders_max"]),
        ("DAILY_LOSS", ""): (0 if w.start is None else w.start - w.equity, limit["daily_loss_max"] * 1000),
        ("DRAWDOWN", ""): (w.peak - w.equity, limit["drawdown_max"] * w.peak),
    }
    broken += [code for (code, _), (value, bound) in checks.items() if value > bound]
    return [*broken, "HALTED"] if w.killed else broken


def brute(run: Run) -> tuple[Counter[tuple[int, str]], Counter[str], SimpleNamespace]:
    rows = in_order(run)
    granted = targets(rows)
    broken: Counter[tuple[int, str]] = Counter()
    passive: Counter[str] = Counter()
    outside: set[tuple[str, str]] = set()
    stamps: list[tuple[int, int, tuple[Any, ...] | None]] = []
    for i, row in enumerate(rows):
        before, now, seq = world(rows[:i], granted, run), world(rows[: i + 1], granted, run), row["seq"]
        active, event = False, row.get("event", row["file"])
        old = before.orders.get(row.get("order_id", ""), {"status": "new", "ahead": [], **row})
        if event == "fills":
            broken[seq, "UNAPPROVED"] += old["status"] in ("new", "denied")
            room = max(Fraction(q) for q in [old["qty"], *old["ahead"]]) - old["filled"]
            broken[seq, "OVERFILL"] += row["qty"] > room
            pos, signed = before.pos[row["instrument"]], row["qty"] * (1 if row["side"] == "BUY" else -1)
            broken[seq, "REDUCE_ONLY"] += old["reduce_only"] and not (pos * signed < 0 and abs(signed) <= abs(pos))
            passive["FILL_AFTER_CLOSE"] += old["status"] == "closed" and old["filled"] < old["qty"]
        elif event == "filled":
            broken[seq, "UNAPPROVED"] += old["status"] in ("new", "denied")
        terms = None
        if event == "submitted":
            if old["status"] == "working":
                broken[seq, "DUPLICATE"] += 1
                continue
            broken[seq, "DENIED"] += old["status"] == "denied"
            broken[seq, "DUPLICATE"] += old["status"] == "closed"
            stamps.append((row["ts"], seq, (row["instrument"], row["side"], row["qty"])))
            for name, twin in before.orders.items():
                keys = ("instrument", "side", "type", "qty", "price", "reduce_only")
                same = twin["status"] == "working" and name != row["order_id"] and all(twin[k] == row[k] for k in keys)
                broken[seq, "DUPLICATE"] += same and row["ts"] - twin["since"] < run.risk["duplicate_window_s"] * SECOND
            terms = row
        elif event == "pending_update" and seq in granted and old["status"] == "working":
            stamps.append((row["ts"], seq, None))
            terms, active = granted[seq], True
        elif event == "updated":
            terms, active = (row if old["status"] == "working" and not old["ahead"] else None), True
        if terms is not None and (event == "submitted" or terms["qty"] > old["qty"] or terms["price"] != old["price"]):
            for code in judged(now, run, row, terms):
                broken[seq, code] += 1
        found = {key for key, (value, bound) in exposures(now, run, ["X", "Y"]).items() if value > bound}
        if event == "marks":
            limit = {key: Fraction(str(value)) for key, value in run.risk.items()}
            found |= {("DAILY_LOSS", "")} if now.start - now.equity > limit["daily_loss_max"] * 1000 else set()
            found |= {("DRAWDOWN", "")} if now.peak - now.equity > limit["drawdown_max"] * now.peak else set()
        else:
            found |= {key for key in outside if key[0] in ("DAILY_LOSS", "DRAWDOWN")}
        if not (active or event == "submitted"):
            passive.update(code for code, _ in found - outside)
        outside = found
    for window, bound, code, alike in (
        (1, run.risk["orders_per_second"], "ORDER_RATE", False),
        (60, run.risk["orders_per_minute"], "ORDER_RATE", False),
        (run.risk["repeat_window_s"], run.risk["repeat_max"], "REPEATED", True),
    ):
        for ts, seq, key in stamps:
            near = [s for s in stamps if s[:2] <= (ts, seq) and s[0] > ts - window * SECOND and (not alike or s[2] == key)]
            broken[seq, code] += len(near) > bound and not (alike and key is None)
    return +broken, +passive, world(rows, granted, run)


QTY = st.sampled_from(["0.5", "1", "1.5", "2", "3", "3.5", "4"])
PRICE = st.sampled_from(["88", "90", "95", "99", "100", "101", "105", "110", "112", "130"])
WAIT = st.sampled_from([0, 0, 0.4, 1, 1.5, 20, 60, 120, 121, 40_000])
PICK = st.integers(0, 7)
ACTS = st.one_of(
    st.tuples(st.just("mark"), st.sampled_from("XXY"), PRICE, WAIT),
    st.tuples(st.just("submit"), st.sampled_from("XXY"), st.sampled_from(["BUY", "SELL"]), QTY, PRICE | st.none(), st.booleans(), WAIT),
    st.tuples(st.just("fill"), PICK, QTY | st.none(), PRICE),
    st.tuples(st.just("event"), PICK, st.sampled_from(["canceled", "denied", "submitted", "modify_rejected"])),
    st.tuples(st.just("ask"), PICK),
    st.tuples(st.just("update"), PICK, QTY, PRICE),
)


def play(acts: list[tuple[Any, ...]], long_only: bool) -> Run:
    run = Run(long_only=long_only, **TIGHT)
    run.ts = START + DAY - 100 * SECOND
    names: list[str] = []
    for act in acts:
        kind = act[0]
        if kind == "mark":
            run.wait(act[3]).mark(act[2], act[1], half="0.005")
        elif kind == "submit":
            names.append(f"o{len(names)}")
            price = None if act[4] is None else Decimal(act[4])
            terms = {"price": price, "type": "MARKET" if price is None else "LIMIT", "reduce_only": act[5]}
            run.wait(act[6]).new(names[-1], act[2], act[3], instrument=act[1], **terms)
        elif names:
            name = names[-1 - act[1] % len(names)]
            terms = run.terms[name]
            if kind == "fill":
                run.fill(name, act[2] or max(terms["qty"] - terms["filled"], Decimal("0.5")), act[3], fee="0.25")
            elif kind == "event":
                run.event(name, act[2])
            elif kind == "ask":
                run.event(name, "pending_update")
            else:
                run.event(name, "updated", qty=Decimal(act[2]), price=terms["price"] and Decimal(act[3]))
    return run


def compare(run: Run, folder: Path) -> int:
    report = audit(run.write(folder))
    broken, passive, end = brute(run)
    assert Counter((f.seq, f.code) for f in report.violations) == broken, format_report(report)
    assert Counter(report.passive) == passive
    assert Fraction(report.equity) == end.equity
    assert {name: Fraction(units) for name, units in report.position.items()} == {n: u for n, u in end.pos.items() if u}
    return sum(broken.values())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(acts=st.lists(ACTS, min_size=4, max_size=30), long_only=st.booleans())
def test_the_auditor_agrees_with_brute_force(acts: list[tuple[Any, ...]], long_only: bool, tmp_path: Path) -> None:
    compare(play([("mark", "X", "100", 0), *acts], long_only), tmp_path)
