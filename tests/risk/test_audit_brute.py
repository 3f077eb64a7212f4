"""The auditor against a rival that recomputes the whole world, from scratch, in fractions, at every row."""

import random
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alphatrade.risk import audit_book, audit_judge, audit_orders
from alphatrade.risk.audit import audit, format_report
from tests.risk.test_audit import DAY, SECOND, START, Run

Row = dict[str, Any]
TIGHT: dict[str, Any] = {
    "order_qty_max": "3", "order_notional_max": 0.3, "gross_max": 0.8, "net_max": 0.5, "instrument_max": 0.4,
    "inventory_max": "4", "price_collar": 0.1, "stale_after_s": 120, "daily_loss_max": 0.03,
    "drawdown_max": 0.035, "orders_per_second": 3, "orders_per_minute": 6, "repeat_max": 2,
    "repeat_window_s": 30, "duplicate_window_s": 2, "open_orders_max": 4,
}  # fmt: skip


def in_order(run: Run) -> list[Row]:
    """All rows by seq."""
    rows = [{"file": file, **row} for file in ("orders", "fills", "marks") for row in run.rows[file]]
    rows = [{k: Fraction(v) if isinstance(v, Decimal) else v for k, v in row.items()} for row in rows]
    return sorted(rows, key=lambda row: row["seq"])


def targets(rows: list[Row]) -> dict[int, Row]:
    """seq of an approval → the row that carries it out: `submitted` at once, or the `updated` with its quantity."""
    found = {}
    for name in {row["order_id"] for row in rows if "event" in row}:
        mine = [row for row in rows if row.get("order_id") == name and row["file"] == "orders"]
        for row, after in pairwise(mine):
            soon = after["ts"] - row["ts"] <= 10 * SECOND
            if (row["event"], after["event"]) == ("initialized", "submitted") and soon:
                found[row["seq"]] = after
        open_, unseen = [], 0
        for row in mine:
            event = row["event"]
            if event == "pending_update":
                unseen += 1
            elif event == "modify_approved":
                open_, unseen = [*open_, row], max(unseen - 1, 0)
            elif event == "modify_rejected":
                open_, unseen = (open_, unseen - 1) if unseen else (open_[1:], 0)
            elif event == "updated":
                same = [one for one in open_ if one["qty"] == row["qty"]][:1]
                found.update((one["seq"], row) for one in same)
                open_ = [one for one in open_ if one not in same]
    return found


def world(rows: list[Row], granted: dict[int, Row], run: Run) -> SimpleNamespace:
    """Everything after `rows`, from nothing."""
    w = SimpleNamespace(pos=Counter(), cash=Fraction(1000), mid={}, marked={}, orders={}, killed=False)
    w.peak, w.start, w.day = w.cash, None, -1
    for row in rows:
        if row["file"] == "marks":
            take_mark(w, row, run)
            continue
        order = w.orders.setdefault(row["order_id"], {"status": "new", "filled": Fraction(0), "ahead": [], **row})
        if row["file"] == "fills":
            take_fill(w, row, order)
        else:
            take_event(w, row, order, granted)
    w.equity = equity(w)
    return w


def take_mark(w: SimpleNamespace, row: Row, run: Run) -> None:
    w.mid[row["instrument"]] = (row["bid"] + row["ask"]) / 2
    w.marked[row["instrument"]] = row["ts"]
    w.equity = equity(w)
    if row["ts"] // DAY > w.day:
        w.day, w.start = row["ts"] // DAY, w.equity
    w.peak = max(w.peak, w.equity)
    w.killed |= w.start - w.equity > Fraction(str(run.risk["daily_loss_max"])) * 1000
    w.killed |= w.peak - w.equity > Fraction(str(run.risk["drawdown_max"])) * w.peak


def take_fill(w: SimpleNamespace, row: Row, order: Row) -> None:
    signed = row["qty"] * (1 if row["side"] == "BUY" else -1)
    if row["instrument"] not in w.marked:
        w.mid[row["instrument"]] = row["price"]
    w.pos[row["instrument"]] += signed
    w.cash -= signed * row["price"] + row["fee"]
    order["filled"] += row["qty"]
    if order["status"] == "working" and order["filled"] >= max([order["qty"], *order["ahead"]]):
        order["status"] = "closed"


def take_event(w: SimpleNamespace, row: Row, order: Row, granted: dict[int, Row]) -> None:
    event, now = row["event"], approved(row, order, granted)
    if now:
        order.update(now, status="working", since=row["ts"], parent="", number=row["seq"], sent=event == "submitted")
        entries = [
            (entry["number"], name)
            for name, entry in w.orders.items()
            if entry["status"] == "working" and not entry["reduce_only"] and entry["side"] != row["side"]
            and entry["instrument"] == row["instrument"] and entry["qty"] >= now["qty"]
            and row["ts"] - entry["since"] <= SECOND
        ]  # fmt: skip
        order["parent"] = max(entries, default=(0, ""))[1]
    elif event == "submitted":
        order["sent"] = True
    elif event == "denied" and order["status"] == "new":
        order["status"] = "denied"
    elif event == "canceled":
        order.update(status="closed", ahead=[])
    elif event == "modify_approved" and row["seq"] in granted and order["status"] == "working":
        order["ahead"] = [*order["ahead"], granted[row["seq"]]["qty"]]
    elif event == "updated":
        ahead = list(order["ahead"])
        if row["qty"] in ahead:
            ahead.remove(row["qty"])
        order.update(row, ahead=ahead)


def approved(row: Row, order: Row, granted: dict[int, Row]) -> Row | None:
    """The terms with which an order is approved at this row, if it is."""
    if row.get("event") == "initialized" and order["status"] == "new":
        return granted.get(row["seq"])
    return row if row.get("event") == "submitted" and order["status"] != "working" else None


def equity(w: SimpleNamespace) -> Fraction:
    return w.cash + sum(units * w.mid.get(name, 0) for name, units in w.pos.items())


def reach(w: SimpleNamespace, name: str) -> tuple[Fraction, Fraction]:
    """Lowest and highest position of an instrument if one side of the working orders fills."""
    position = Fraction(w.pos[name])
    leaves = {(side, only): Fraction(0) for side in ("BUY", "SELL") for only in (False, True)}
    for order in w.orders.values():
        if order["instrument"] == name and order["status"] == "working":
            most = max(Fraction(qty) for qty in [order["qty"], *order["ahead"]]) - order["filled"]
            leaves[order["side"], bool(order["reduce_only"])] += max(Fraction(0), most)
    hi = min(position + leaves["BUY", True], Fraction(0)) if position < 0 else position
    lo = max(position - leaves["SELL", True], Fraction(0)) if position > 0 else position
    return lo - leaves["SELL", False], hi + leaves["BUY", False]


def exposures(w: SimpleNamespace, run: Run, names: list[str]) -> dict[tuple[str, str], tuple[Fraction, Fraction]]:
    every = {name: (*reach(w, name), Fraction(w.mid.get(name, 0))) for name in ("X", "Y")}
    limit = {key: Fraction(str(value)) for key, value in run.risk.items()}
    found = {
        ("GROSS_EXPOSURE", ""): (
            sum(max(abs(lo), abs(hi)) * mid for lo, hi, mid in every.values()),
            limit["gross_max"] * 1000,
        ),
        ("NET_EXPOSURE", ""): (
            max(
                abs(sum(hi * mid for lo, hi, mid in every.values())),
                abs(sum(lo * mid for lo, hi, mid in every.values())),
            ),
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


def judged(before: SimpleNamespace, w: SimpleNamespace, run: Run, row: Row, terms: Row, old: Row) -> list[str]:
    """Codes of the limits that one order breaks, in the world with it."""
    name, sign = row["instrument"], 1 if row["side"] == "BUY" else -1
    order, pos, mid = w.orders[row["order_id"]], w.pos[row["instrument"]], w.mid.get(row["instrument"], 0)
    limit, broken = {key: Fraction(str(value)) for key, value in run.risk.items()}, []
    if name not in w.marked:
        broken.append("NO_REFERENCE")
    else:
        if row["ts"] - w.marked[name] > limit["stale_after_s"] * SECOND:
            broken.append("STALE_REFERENCE")
        moved = row["event"] in ("initialized", "submitted") or terms["price"] != old["price"]
        if moved and terms["price"] is not None and abs(Fraction(terms["price"]) - mid) > limit["price_collar"] * mid:
            broken.append("PRICE_COLLAR")
    if row["reduce_only"]:
        fits = pos * sign < 0 and Fraction(terms["qty"]) - order["filled"] <= abs(pos)
        entry = w.orders.get(order["parent"], {"status": "none"})
        parents = entry["status"] == "working" and terms["qty"] <= max([entry["qty"], *entry["ahead"]])
        return broken + ([] if fits or parents else ["REDUCE_ONLY"]) + opened(before, w, run, name)
    lo, hi = reach(w, name)
    if (sign < 0 and lo >= 0 and pos > 0) or (sign > 0 and hi <= 0 and pos < 0):
        return broken
    price = mid if terms["price"] is None else Fraction(terms["price"])
    checks = {
        **exposures(w, run, [name]),
        ("ORDER_QTY", ""): (Fraction(terms["qty"]), limit["order_qty_max"]),
        ("ORDER_NOTIONAL", ""): (terms["qty"] * price, limit["order_notional_max"] * 1000),
        ("DAILY_LOSS", ""): (0 if w.start is None else w.start - w.equity, limit["daily_loss_max"] * 1000),
        ("DRAWDOWN", ""): (w.peak - w.equity, limit["drawdown_max"] * w.peak),
    }
    broken += [code for (code, _), (value, bound) in checks.items() if value > bound]
    if row["event"] in ("initialized", "submitted"):
        many = sum(o["status"] == "working" for o in w.orders.values()) > run.risk["open_orders_max"]
        broken += ["OPEN_ORDERS"] * many
    return [*broken, "HALTED"] if w.killed else broken


def opened(before: SimpleNamespace, w: SimpleNamespace, run: Run, name: str) -> list[str]:
    """Codes of what a reduce-only order makes worse by letting plain ones open the other side."""
    (lo, hi), (old_lo, old_hi) = reach(w, name), reach(before, name)
    if lo >= min(old_lo, 0) and hi <= max(old_hi, 0):
        return []
    was, now = exposures(before, run, [name]), exposures(w, run, [name])
    return [code for (code, _), (value, bound) in now.items() if value > bound and value > was[code, _][0]]


def at_once(before: SimpleNamespace, row: Row, old: Row, granted: dict[int, Row], run: Run) -> list[str]:
    """Codes that a row earns whatever the exposure: approval, leaves, reduce-only fills, same id, twins."""
    found = []
    event = row.get("event", row["file"])
    if event in ("fills", "filled") and old["status"] in ("new", "denied"):
        found.append("UNAPPROVED")
    if event == "fills":
        if row["qty"] > max([old["qty"], *old["ahead"]]) - old["filled"]:
            found.append("OVERFILL")
        pos, signed = before.pos[row["instrument"]], row["qty"] * (1 if row["side"] == "BUY" else -1)
        if old["reduce_only"] and not (pos * signed < 0 and abs(signed) <= abs(pos)):
            found.append("REDUCE_ONLY")
    if event == "submitted" and not (old["status"] == "working" and not old["sent"]) and old["status"] != "new":
        found.append("DENIED" if old["status"] == "denied" else "DUPLICATE")
    terms = approved(row, old, granted)
    if terms is not None:
        keys = ("instrument", "side", "type", "qty", "price", "reduce_only")
        twins = [o for name, o in before.orders.items() if o["status"] == "working" and name != row["order_id"]]
        young = [o for o in twins if row["ts"] - o["since"] < run.risk["duplicate_window_s"] * SECOND]
        found += ["DUPLICATE" for o in young if all(o[key] == terms[key] for key in keys)]
    return found


def judged_terms(row: Row, old: Row, granted: dict[int, Row]) -> Row | None:
    """The terms with which an order must be judged at this row, if at all."""
    event, terms = row.get("event"), approved(row, old, granted)
    if terms is not None:
        return terms
    if event == "modify_approved" and old["status"] == "working":
        terms = granted.get(row["seq"])
    elif event == "updated" and old["status"] == "working" and row["qty"] not in old["ahead"]:
        terms = row
    if terms is None:
        return None
    raised = terms["qty"] > old["qty"] and not (event == "updated" and old["reduce_only"])
    return terms if raised or terms["price"] != old["price"] else None


def crossings(now: SimpleNamespace, row: Row, outside: set[tuple[str, str]], run: Run) -> set[tuple[str, str]]:
    """What lies outside its limit after a row; losses are looked at when there is a mark."""
    found = {key for key, (value, bound) in exposures(now, run, ["X", "Y"]).items() if value > bound}
    if row["file"] != "marks":
        return found | {key for key in outside if key[0] in ("DAILY_LOSS", "DRAWDOWN")}
    if now.start - now.equity > Fraction(str(run.risk["daily_loss_max"])) * 1000:
        found.add(("DAILY_LOSS", ""))
    if now.peak - now.equity > Fraction(str(run.risk["drawdown_max"])) * now.peak:
        found.add(("DRAWDOWN", ""))
    return found


def suspect(rows: list[Row], i: int, run: Run) -> bool:
    """Whether the last mark before row `i` is crossed, stamped backwards or a lone spike."""
    marks = [(at, row) for at, row in enumerate(rows) if row["file"] == "marks" and row["instrument"] == rows[i]["instrument"]]
    past, future = [m for at, m in marks if at < i], [m for at, m in marks if at > i]
    if not past:
        return False
    here = past[-1]
    if here["bid"] > here["ask"] or here["ts"] < max(m["ts"] for m in past):
        return True
    if len(past) < 2 or not future or future[0]["ts"] - here["ts"] > run.risk["stale_after_s"] * SECOND:
        return False
    low, mid, high = (m["bid"] + m["ask"] for m in (past[-2], here, future[0]))
    far = [abs(a - b) > Fraction("0.05") * min(a, b) for a, b in ((low, mid), (mid, high), (low, high))]
    return far == [True, True, False]


def crowded(stamps: list[tuple[int, int, Any]], run: Run) -> list[tuple[int, str]]:
    found = []
    for window, bound, code in (
        (1, run.risk["orders_per_second"], "ORDER_RATE"),
        (60, run.risk["orders_per_minute"], "ORDER_RATE"),
        (run.risk["repeat_window_s"], run.risk["repeat_max"], "REPEATED"),
    ):
        for ts, seq, key in stamps:
            near = [s for s in stamps if s[:2] <= (ts, seq) and s[0] > ts - window * SECOND]
            if code == "REPEATED":
                near = [s for s in near if s[2] == key and key is not None]
            if len(near) > bound:
                found.append((seq, code))
    return found


def brute(run: Run) -> tuple[Counter[tuple[int, str]], Counter[str], SimpleNamespace]:
    rows = in_order(run)
    granted = targets(rows)
    broken: Counter[tuple[int, str]] = Counter()
    passive: Counter[str] = Counter()
    outside: set[tuple[str, str]] = set()
    stamps: list[tuple[int, int, Any]] = []
    for i, row in enumerate(rows):
        before, now, event = (
            world(rows[:i], granted, run),
            world(rows[: i + 1], granted, run),
            row.get("event"),
        )
        old = before.orders.get(row.get("order_id", ""), {"status": "new", "ahead": [], "filled": 0, **row})
        broken.update((row["seq"], code) for code in at_once(before, row, old, granted, run))
        if row["file"] == "fills":
            passive["FILL_AFTER_CLOSE"] += old["status"] == "closed" and old["filled"] < old["qty"]
        sent = approved(row, old, granted)
        if sent is not None:
            stamps.append((row["ts"], row["seq"], (row["instrument"], row["side"], sent["qty"])))
        elif event == "modify_approved" and old["status"] == "working":
            stamps.append((row["ts"], row["seq"], None))
        terms = judged_terms(row, old, granted)
        if terms is not None:
            broken.update((row["seq"], code) for code in judged(before, now, run, row, terms, old))
            broken.update([(row["seq"], "SUSPECT_REFERENCE")] * suspect(rows, i, run))
        found = crossings(now, row, outside, run)
        if event not in ("initialized", "submitted", "modify_approved", "updated"):
            passive.update(code for code, _ in found - outside)
        outside = found
    broken.update(crowded(stamps, run))
    return broken, +passive, world(rows, granted, run)


QTY = st.sampled_from(["0.5", "1", "1.5", "2", "3", "3.5", "4"])
PRICE = st.sampled_from(["88", "90", "95", "99", "100", "101", "105", "110", "112", "130"])
WAIT = st.sampled_from([0, 0, 0.4, 1, 1.5, 20, 60, 120, 121, 40_000])
PICK = st.integers(0, 7)
ACTS = st.one_of(
    st.tuples(st.just("mark"), st.sampled_from("XXY"), PRICE, WAIT),
    st.tuples(
        st.just("submit"),
        st.sampled_from("XXY"),
        st.sampled_from(["BUY", "SELL"]),
        QTY,
        PRICE | st.none(),
        st.booleans(),
        WAIT,
        st.sampled_from([None, 0, 0.4, 11]),
    ),
    st.tuples(st.just("fill"), PICK, QTY | st.none(), PRICE),
    st.tuples(st.just("event"), PICK, st.sampled_from(["canceled", "denied", "submitted", "modify_rejected"])),
    st.tuples(st.just("ask"), PICK, QTY, st.booleans()),
    st.tuples(st.just("update"), PICK, QTY, PRICE),
)


def play(acts: list[tuple[Any, ...]], long_only: bool) -> Run:
    run = Run(long_only=long_only, **TIGHT)
    run.ts = START + DAY - 100 * SECOND
    names: list[str] = []
    for act in acts:
        kind = act[0]
        if kind == "mark":
            run.wait(act[3]).mark(act[2], act[1], half="-0.005" if act[2] == "112" else "0.005")
        elif kind == "submit":
            names.append(f"o{len(names)}")
            price = None if act[4] is None else Decimal(act[4])
            terms = {"price": price, "type": "MARKET" if price is None else "LIMIT", "reduce_only": act[5]}
            run.wait(act[6])
            if act[7] is not None:
                run.new(names[-1], act[2], act[3], "initialized", instrument=act[1], **terms).wait(act[7])
                run.mark("101", act[1])
            run.new(names[-1], act[2], act[3], instrument=act[1], **terms)
        elif names:
            name = names[-1 - act[1] % len(names)]
            terms = run.terms[name]
            if kind == "fill":
                run.fill(name, act[2] or max(terms["qty"] - terms["filled"], Decimal("0.5")), act[3], fee="0.25")
            elif kind == "event":
                run.event(name, act[2])
            elif kind == "ask":
                run.ask(name, announced=act[3], qty=Decimal(act[2]))
            else:
                run.event(name, "updated", qty=Decimal(act[2]), price=terms["price"] and Decimal(act[3]))
    return run


def compare(run: Run, folder: Path) -> int:
    """Audit a run both ways; return the number of violations on which both agree."""
    broken, passive, end = brute(run)
    rows = in_order(run)
    for i, row in enumerate(rows):
        if row["file"] != "orders" and i % 2:
            worth = world(rows[: i + 1], {}, run).equity
            run.rows["equity"].append({"ts": row["ts"], "equity": Decimal(worth.numerator) / worth.denominator})
    report = audit(run.write(folder))
    assert Counter((f.seq, f.code) for f in report.violations) == broken, format_report(report)
    assert Counter(report.passive) == passive
    assert Fraction(report.equity) == end.equity
    assert {name: Fraction(units) for name, units in report.position.items()} == {n: u for n, u in end.pos.items() if u}
    assert not {"EQUITY", "POSITION", "REALIZED", "SEQ_GAP"} & {finding.code for finding in report.integrity}
    return sum(broken.values())


@settings(max_examples=80, deadline=None, suppress_health_check=[*HealthCheck])
@given(acts=st.lists(ACTS, min_size=4, max_size=25), long_only=st.booleans())
def test_the_auditor_agrees_with_brute_force(acts: list[tuple[Any, ...]], long_only: bool, tmp_path: Path) -> None:
    compare(play([("mark", "X", "100", 0), *acts], long_only), tmp_path)


def wander(seed: int) -> Run:
    """A run of plausible trading: small steps of the price, most orders filled or cancelled."""
    pick = random.Random(seed)
    prices, acts = (
        ["95", "97", "99", "100", "101", "103", "105"],
        [("mark", "X", "100", 0), ("mark", "Y", "100", 0)],
    )
    for _ in range(pick.randint(10, 40)):
        dice, which = pick.random(), min(int(pick.expovariate(1)), 7)
        price, qty, wait = (
            pick.choice(prices),
            pick.choice(["0.5", "1", "2", "3"]),
            pick.choice([0, 0, 0.4, 1, 20, 60]),
        )
        if dice < 0.4:
            acts.append(("mark", pick.choice("XXY"), price, wait))
        elif dice < 0.65:
            side, limit = pick.choice(["BUY", "SELL"]), pick.choice([None, price])
            early = pick.choice([None, 0, 0.4, 11])
            acts.append(("submit", pick.choice("XXY"), side, qty, limit, pick.random() < 0.2, wait, early))
        elif dice < 0.82:
            acts.append(("fill", which, pick.choice([None, None, "0.5"]), price))
        elif dice < 0.9:
            acts.append(
                ("event", which, pick.choice(["canceled", "canceled", "denied", "submitted", "modify_rejected"]))
            )
        else:
            acts.append(("ask", which, qty, pick.random() < 0.7) if dice < 0.95 else ("update", which, qty, price))
    return play(acts, long_only=pick.random() < 0.3)


@pytest.mark.parametrize("short", [1, 32])
def test_they_agree_on_random_walks_with_and_without_shortcut(
    short: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_book, "_SHORT", short)
    assert sum(compare(wander(seed), tmp_path) for seed in range(40)) > 100


def one_sided(book: audit_book.Book, lot: audit_book.Lot) -> None:
    lot.buys = 0
    REWEIGH(book, lot)


REWEIGH = audit_book.Book.reweigh
MAIMED: dict[str, tuple[Any, str, Any]] = {
    "bids are not counted": (audit_book.Book, "reweigh", one_sided),
    "the peak is never raised": (
        audit_book.Book, "drawdown", lambda book: ((LIMIT - book.equity) * 1000, LIMIT * 35),
    ),
    "everything reduces": (audit_judge.Judge, "_judge_risk", lambda *_: None),
    "modifications are free": (audit_judge.Judge, "_modify", lambda *_: None),
    "approvals are not found": (audit_judge, "approvals", lambda _: {}),
    "old approvals count": (audit_orders, "PATIENCE_NS", 10**18),
    "exits lead nowhere": (audit_judge.Judge, "_judge_behind", lambda *_: None),
    "a fill needs no order": (audit_judge.Judge, "_fill_order", lambda *_: None),
    "no twins": (audit_orders.Kin, "add", lambda *_: []),
}  # fmt: skip
LIMIT = 1000 * 2 * 10**18


@pytest.mark.parametrize("what", MAIMED)
def test_the_rival_notices_a_maimed_auditor(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*MAIMED[what])
    with pytest.raises(AssertionError):
        sum(compare(wander(seed), tmp_path) for seed in range(60))
