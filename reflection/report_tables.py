"""Tables and words of the report: plain strings, escaped later by the template."""

from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import pandas as pd

from alphatrade.reflection.report_data import ReportData

MINUS, DASH, TIMES = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{MULTIPLICATION SIGN}"
STAGES = {
    "ingest_signal": "event in to belief out",
    "signal_order": "belief to order",
    "order_ack": "order to acknowledgement",
    "decision": "decision step: features to diary append",
    "step": "the same with the orders sent in it",
}


class Table(NamedTuple):
    """Head and rows of cells: `words` columns of text, then figures; the last row may be a `total`."""

    head: list[str]
    rows: list[list[str]]
    words: int = 1
    total: bool = False


class Card(NamedTuple):
    """One headline figure with its label, a line below, and a tone: good, bad or nothing."""

    label: str
    value: str
    note: str
    tone: str = ""


def number(value: Any, places: int = 2, sign: bool = False) -> str:
    """Return a figure with thousands separators and a true minus sign; a dash for none."""
    if value is None or value != value:
        return DASH
    try:
        text = f"{Decimal(str(value)):{'+' if sign else ''},.{places}f}"
    except (InvalidOperation, ValueError):
        return str(value)
    if not text.strip("+-0.,"):
        text = text.strip("+-")
    return text.replace("-", MINUS)


def percent(value: Any, places: int = 2, sign: bool = False) -> str:
    """Return a fraction as a percentage."""
    return DASH if value is None or value != value else f"{number(100 * float(value), places, sign)} %"


def moment(ns: Any) -> str:
    """Return an event time in nanoseconds, or a text, as a UTC minute."""
    if ns is None:
        return DASH
    try:
        return str(pd.Timestamp(int(ns) if str(ns).isdigit() else ns).strftime("%Y-%m-%d %H:%M"))
    except (ValueError, TypeError, OverflowError):
        return str(ns)


def cards(data: ReportData) -> list[Card]:
    """Return the headline figures."""
    s, unit, ratio = data.texts.summary, data.currency, data.sharpe
    pnl = float(s.get("pnl") or 0)
    turnover = float(data.topologies["turnover"].sum()) / data.capital
    capital = f"on {number(data.capital, 0)} {unit}"
    hold = percent(data.hold_return, 2, True)
    begin = int(data.hold["t"].iloc[0] * 1e6) if len(data.hold) else None
    beside = f"{number(s.get('denied_modifications'), 0)} modifications; {number(s.get('near_misses'), 0)} near-misses"
    sent = f"{number(s.get('fills'), 0)} fills; {number(s.get('law_orders'), 0)} sent by the law"
    interval = f"95 % interval {number(ratio.low)} to {number(ratio.high)}"
    diary = f"from {number(s.get('events'), 0)} events; {percent(s.get('diary_coverage'), 1)} in the diary"
    rows = [
        ("PnL after costs", f"{number(s.get('pnl'), 2, True)} {unit}", capital),
        ("Return", percent(s.get("return"), 2, True), f"buy and hold {hold}, no costs, from {moment(begin)}"),
        ("Largest drawdown", percent(s.get("max_drawdown")), "from peak equity"),
        ("Sharpe ratio", number(ratio.value), ratio.basis if ratio.value is None else interval),
        ("Decisions", number(s.get("decisions"), 0), diary),
        ("Orders", number(s.get("orders"), 0), sent),
        ("Denied by the law", number(s.get("denied"), 0), beside),
        ("Fees", f"{number(s.get('fees'))} {unit}", f"turnover {number(turnover, 1)}{TIMES} capital"),
    ]  # fmt: skip
    tone = "good" if pnl > 0 else "bad" if pnl < 0 else ""
    return [Card(*row, tone if row is rows[0] else "") for row in rows]


def topologies(data: ReportData) -> Table:
    """Return what each topology did, and what it cost."""
    frame, unit = data.topologies, data.currency
    primary = (data.texts.policy.get("expost") or {}).get("primary")
    decisions = int(frame["decisions"].sum()) or 1
    head = [
        "topology",
        "decisions",
        "share",
        "orders",
        "fills",
        f"realised ({unit})",
        f"fees ({unit})",
        f"net ({unit})",
    ]
    head.append(f"mark-out +{primary} steps (bps)" if primary is not None else "mark-out (bps)")
    rows = []
    for row in frame.itertuples():
        markout = number(row.markout, 1, True)
        if row.outcomes > 1:
            markout += f" ± {number(1.96 * row.error, 1)}"
        rows.append([
            row.exec_topo, number(row.decisions, 0), percent(row.decisions / decisions, 1),
            number(row.orders, 0), number(row.fills, 0), number(row.realized, 2, True), number(row.fees),
            number(row.realized - row.fees, 2, True), markout,
        ])  # fmt: skip
    sums = frame[["decisions", "orders", "fills", "realized", "fees"]].sum()
    rows.append([
        "all", number(sums.decisions, 0), percent(1 if len(frame) else None, 1), number(sums.orders, 0),
        number(sums.fills, 0), number(sums.realized, 2, True), number(sums.fees),
        number(sums.realized - sums.fees, 2, True), "",
    ])  # fmt: skip
    return Table(head, rows, 1, True)


def costs(data: ReportData) -> Table:
    """Return turnover and what trading cost."""
    fills, unit = data.fills, data.currency
    turnover = float((fills["qty"] * fills["price"]).sum())
    fees = float(fills["fee"].sum())
    days = (data.span[1] - data.span[0]) / 86_400e9
    maker = float((fills["liquidity"] == "MAKER").mean()) if len(fills) else None
    daily = number(turnover / data.capital / days, 2) if days > 0 else DASH
    return Table(["what", "figure"], [
        ["turnover", f"{number(turnover, 0)} {unit}"],
        ["turnover per day", f"{daily}{TIMES} capital"],
        ["fees", f"{number(fees)} {unit}"],
        ["fees as part of turnover", f"{number(1e4 * fees / turnover if turnover else None)} bps"],
        ["fills that added liquidity (maker)", percent(maker, 1)],
        ["mean cost of a decision that traded: spread, slippage and fees", f"{number(data.cost_bps)} bps"],
    ])  # fmt: skip


def stress(rows: list[dict[str, Any]], unit: str) -> Table:
    """Return PnL under dearer costs and slower orders, one row per cost factor."""
    latencies = sorted({int(row["latency_ms"]) for row in rows})
    found = {(int(row["costs"]), int(row["latency_ms"])): row for row in rows}
    lines = [
        [f"{factor}{TIMES} costs", *(_stressed(found.get((factor, latency))) for latency in latencies)]
        for factor in sorted({factor for factor, _ in found})
    ]
    return Table([f"PnL ({unit})", *(f"{latency} ms" for latency in latencies)], lines)


def _stressed(row: dict[str, Any] | None) -> str:
    if row is None:
        return DASH
    killed = "; killed" if row.get("killed") else ""
    details = f"{percent(row.get('return'), 2, True)}; {number(row.get('fills'), 0)} fills{killed}"
    return f"{number(row['pnl'], 2, True)} ({details})"


def notable(data: ReportData) -> Table:
    """Return breaches, state changes and the like."""
    rows = [
        [row.kind, row.code, number(row.events, 0), moment(row.first_ts), str(row.detail or "")]
        for row in data.notable.itertuples()
    ]
    return Table(["event", "limit", "times", "first (UTC)", "detail of the first"], rows, 5)


def latency(data: ReportData) -> Table:
    """Return latencies in microseconds by stage."""
    rows = []
    stages = data.texts.latency
    for stage in [
        *(name for name in STAGES if name in stages),
        *(name for name in stages if name not in STAGES),
    ]:
        figures = stages[stage]
        if not isinstance(figures, dict):
            continue
        quantiles = (figures.get(name) for name in ("p50_ns", "p99_ns", "p999_ns", "max_ns"))
        count = figures.get("count")
        cells = [number(q / 1e3 if count and isinstance(q, int | float) else None, 1) for q in quantiles]
        rows.append([STAGES.get(stage, stage), number(count, 0), *cells])
    return Table(["stage", "count", "p50 (µs)", "p99 (µs)", "p99.9 (µs)", "max (µs)"], rows)


def tapes(data: ReportData) -> Table:
    """Return which tapes were replayed, and their reference price."""
    rows = []
    for tape in data.texts.summary.get("tapes") or []:
        if isinstance(tape, dict):
            words = [str(tape.get(name, DASH)) for name in ("name", "kind", "instrument")]
            reference = str(tape.get("reference", DASH))
            if tape.get("kind") != "quotes" and tape.get("half_spread_bps"):
                reference += f" ± {number(tape['half_spread_bps'], 2)} bps, assumed"
            rows.append([*words, moment(tape.get("from")), moment(tape.get("to")), reference])
    return Table(["tape", "kind", "instrument", "from (UTC)", "to (UTC)", "reference price"], rows, 6)


def audit(data: ReportData) -> Table:
    """Return the counts of the tape audit, one row per check and one column per tape."""
    found = data.texts.summary.get("tape_audit") or {}
    if isinstance(found, list):
        nested: dict[str, dict[str, Any]] = {}
        for row in found:
            tape = nested.setdefault(str(row.get("tape", "tape")), {})
            tape[str(row.get("rule", "check"))] = row.get("count")
        found = nested
    if found and not any(isinstance(value, dict) for value in found.values()):
        found = {"tape": found}
    names = list(found)
    checks = list(dict.fromkeys(check for name in names for check in found[name]))
    rows = [[check.replace("_", " "), *(_count(found[name].get(check)) for name in names)] for check in checks]
    return Table(["check", *names], rows)


def _count(value: Any) -> str:
    return number(value, 0) if isinstance(value, int) and not isinstance(value, bool) else str(value)


def identity(data: ReportData) -> Table:
    """Return the hashes that name this run, and the digests of its files."""
    s = data.texts.summary
    rows = [[name.replace("_", " "), str(s.get(name, DASH))] for name in
            ("run_id", "policy_hash", "tape_hash", "code_hash", "seed")]  # fmt: skip
    rows += [[f"digest of {name}", str(value)] for name, value in sorted((s.get("digests") or {}).items())]
    wall = f"{number(s.get('wall_s'))} s, {number(s.get('events_per_s'), 0)} events a second"
    return Table(["what", "value"], [*rows, ["replayed in (wall clock)", wall]], 2)


def assumptions(data: ReportData) -> list[str]:
    """Return what in this report is mock or assumed, one sentence each."""
    words = []
    if environment(data) == "sim":
        words.append("The venue is simulated: orders met a matching model on a replayed tape; no exchange, no money.")
    else:
        words.append(f"This run was made in the environment {environment(data)!r}.")
    if synthetic(data):
        words.append("The tape is a synthetic world, not market data.")
    venue = data.texts.run.get("venue")
    if isinstance(venue, dict):
        plain = {name: value for name, value in venue.items() if isinstance(value, int | float | str)}
        settings = ", ".join(f"{name.replace('_', ' ')} {_word(value)}" for name, value in plain.items())
        words.append(f"Venue model: {settings}.")
    if data.assumed:
        part = f"{number(data.assumed, 0)} of {number(data.marks, 0)} reference prices"
        words.append(f"{part} have an assumed half spread, because the tape carries no quotes there.")
    words.append(
        "Buy and hold invests all capital in equal parts and pays nothing, each part at the price of the first "
        "decision in its instrument, after the warm-up, or of its first mark if nothing was decided."
    )
    words.append("Latencies are wall-clock figures of the machine that made this run; all else is event time.")
    return words


def environment(data: ReportData) -> str:
    """Return the environment of the run: sim, paper, ..."""
    return str(data.texts.summary.get("env") or "sim")


def synthetic(data: ReportData) -> bool:
    """Return whether a tape is a made-up world, which leaves its ground truth beside the run."""
    return any(data.run_dir.glob("truth*.parquet"))


def _word(value: float | str) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
