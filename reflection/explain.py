"""One order explained: what was believed, who decided, what the law said, what became of it."""

from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pandas as pd

from alphatrade.reflection.query import open_views, read_mapping
from alphatrade.risk.errors import RunDirError

Row = dict[str, Any]

SHOWN_UNITS = 8
KNOWN_IDS = 3


class _Trail(NamedTuple):
    """All rows of a run that concern one order, oldest first."""

    events: list[Row]
    fills: list[Row]
    risk: list[Row]
    decision: Row | None
    outcome: Row | None
    later: Row | None  # where outcomes of other tactics at the decision became known


def explain_order(run_dir: Path, order_id: str) -> str:
    """
    Return the story of one order as plain text of a few dozen lines.

    Parameters
    ----------
    run_dir : Path
        Folder of a run, finished or not.
    order_id : str
        Client order id, as in ``orders.parquet``.

    Raises
    ------
    RunDirError
        If the run has no such order, or the folder is not that of a run.
    """
    with open_views(run_dir) as base:
        trail = _trail(base, Path(run_dir), order_id)
    policy, probes = read_mapping(run_dir, "policy.json"), read_mapping(run_dir, "run.yaml").get("probes") or {}
    sections = [
        _order(order_id, trail),
        _decision(trail.decision, policy, probes),
        _alternative(trail, order_id),
        _law(trail),
        _events(trail.events),
        _fills(trail),
        _outcome(trail.outcome, policy),
    ]
    return "\n\n".join("\n".join(section) for section in sections)


def decision_of(run_dir: Path, order_id: str) -> Row:
    """
    Return the diary row of the decision behind an order.

    Raises
    ------
    RunDirError
        As :func:`explain_order`, or if nobody's decision is behind it.
    """
    with open_views(run_dir) as base:
        row = _trail(base, Path(run_dir), order_id).decision
    if row is None or row["decision"] < 0:
        raise RunDirError("order", order_id, "an order that an Organism decided: this one has no alternative")
    return row


def _trail(base: duckdb.DuckDBPyConnection, run_dir: Path, order_id: str) -> _Trail:
    def rows(sql: str, *values: object) -> list[Row]:
        answer = base.execute(sql, values)
        names = [column[0] for column in answer.description or ()]
        return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

    events = rows("SELECT * FROM orders WHERE order_id = ? ORDER BY seq", order_id)
    decisions = rows("SELECT * FROM decisions WHERE list_contains(order_ids, ?) ORDER BY ts", order_id)
    tags = {event["decision"] for event in events if event["decision"] is not None}
    if tags and not any(row["decision"] in tags for row in decisions):
        decisions = rows("SELECT * FROM decisions WHERE decision = ?", min(tags)) + decisions
    # The deciding step comes first; a later one may have modified the order.
    decision = next(
        (row for row in decisions if row["decision"] in tags), decisions[0] if decisions else None
    )
    if not events and decision is None:
        some = rows("SELECT DISTINCT order_id FROM orders ORDER BY 1 LIMIT ?", KNOWN_IDS)
        known = ", ".join(row["order_id"] for row in some) or "this run has no orders"
        raise RunDirError("order", order_id, f"a client order id of {run_dir} (for instance {known})")
    outcome = rows("SELECT * FROM expost WHERE decision = ?", decision["decision"]) if decision else []
    later = rows(*_later(decision)) if decision else []
    return _Trail(
        events,
        rows("SELECT * FROM fills WHERE order_id = ? ORDER BY seq", order_id),
        rows("SELECT * FROM risk_events WHERE order_id = ? ORDER BY seq", order_id),
        decision,
        outcome[0] if outcome else None,
        later[0] if later else None,
    )


def _later(decision: Row) -> tuple[str, str, int, str]:
    """Return the query, with its values, for the row that tells what other tactics came to at a decision."""
    column = "compared_step" if decision.get("explored") else "learnt_step"
    wanted = f"{column} = ?" if column in decision else "step < 0 AND step = ?"
    query = f"SELECT * FROM decisions WHERE instrument = ? AND {wanted} AND policy_hash = ? LIMIT 1"
    return query, decision["instrument"], decision["step"], decision["policy_hash"]


def _order(order_id: str, trail: _Trail) -> list[str]:
    if not trail.events:
        return [f"Order {order_id}", "  no event is on disk: the run was cut before its orders were written"]
    first, last = trail.events[0], trail.events[-1]
    asked = f"{first['side']} {_number(first['qty'])} {first['instrument']} {first['type']}"
    extras = [f"{name} {_number(first[name])}" for name in ("price", "trigger") if first[name] is not None]
    extras += ["reduce-only"] if first["reduce_only"] else []
    return [
        f"Order {order_id}",
        f"  {' · '.join([asked, *extras])}",
        f"  by {first['strategy']}, {_time(first['ts'])} UTC; ended {last['event']}",
    ]


def _decision(row: Row | None, policy: Row, probes: Row) -> list[str]:
    if row is None:
        return ["Decision", "  none: the law itself or a strategy without diary sent this order"]
    idx, val = row["belief_idx"] or [], row["belief_val"] or []
    n = (policy.get("belief") or {}).get("n")
    belief = f"{len(idx)} of {n} units active" if n else f"{len(idx)} units active"
    strongest = sorted(zip(val, idx, strict=True), key=lambda pair: (-pair[0], pair[1]))[:SHOWN_UNITS]
    if strongest:
        belief += "; strongest " + ", ".join(f"{unit}: {value:.3f}" for value, unit in strongest)
    scores = zip(row["candidates"] or [], row["scores"] or [], strict=False)
    features = [(name[2:], value) for name, value in row.items() if name.startswith("f_")]
    return [
        f"Decision {row['decision']}   (step {row['step']} of {row['instrument']}, {_time(row['ts'])} UTC)",
        f"  mid         {_number(row['mid'])}",
        f"  belief      {belief}",
        f"  regime      {row['regime']}, confidence {_number(row['regime_confidence'])}",
        f"  topology    {row['exec_topo']}",
        f"  candidates  {', '.join(f'{name} {_number(score)}' for name, score in scores) or 'none'}",
        f"  features    {', '.join(f'{name} {_number(value)}' for name, value in features) or 'none'}",
        f"  probes      {', '.join(_probe(name, row[f'p_{name}'], probes[name]) for name in probes) or 'none'}",
        f"  synapses    {_synapses(row)}",
        f"  action      {row['action']}; policy {str(row['policy_hash'])[:12]}",
        f"  because     {row['explanation']}",
    ]


def _probe(name: str, value: float | None, probe: Row) -> str:
    fired = value is not None and value >= probe["threshold"]
    return f"{name} {_number(value)}{f' (fired at {_number(probe["threshold"])})' if fired else ''}"


def _synapses(row: Row) -> str:
    if row.get("sigma_norm") is None:  # off, or a run from before there were any
        return "none: fast_weights off"
    strongest = "none strong enough to have a part in this step"
    if row["sigma_post"] >= 0:
        strongest = f"strongest in this step {row['sigma_pre']} to {row['sigma_post']}"
    return f"norm {_number(row['sigma_norm'])}, rank {_number(row['sigma_rank'])}; {strongest}"


def _alternative(trail: _Trail, order_id: str) -> list[str]:
    """Return why not another topology: what it would have come to, as far as the run has simulated it."""
    row, later, lines = trail.decision, trail.later, ["Why not another topology"]
    if row is None:
        return [*lines, "  nobody chose one"]
    if row.get("explored"):
        chance = _number(row["propensity"])
        lines.append(f"  explores    {row['explored']} for {row['base_topo']}, with propensity {chance}")
        if later is not None:
            delta = later["compared_own"] - later["compared_base"]
            lines.append(
                f"  instead     {row['base_topo']} {later['compared_base']:+.2f} bps of a clip on paper; this came to "
                f"{later['compared_own']:+.2f}: {delta:+.2f}"
            )
        return lines
    if later is not None and later["learnt"]:
        pairs = [f"{name} {value:+.2f}" for name, value in zip(later["candidates"], later["learnt"], strict=True)]
        return [*lines, f"  came to     {', '.join(pairs)} bps of a clip (in charge: by its fills; others on paper)"]
    return [*lines, f"  not simulated in this run; alphatrade explore whynot RUN --order {order_id} does"]


def _law(trail: _Trail) -> list[str]:
    lines = ["Law"]
    if trail.decision is not None:
        template = trail.decision["risk_template"]
        lines.append(f"  verdict     {trail.decision['verdict']} (template {template})")
    reasons = [event["reason"] for event in trail.events if event["event"] in ("denied", "modify_rejected")]
    lines += [f"  denied      {reason or 'no reason given'}" for reason in reasons]
    for row in trail.risk:
        what = f"{row['limit']} {row['value']} against {row['bound']}"
        lines.append(f"  {row['kind']:<11} {what} {row['detail'] or ''}".rstrip())
    if len(lines) == 1:
        lines.append("  nothing noted against it")
    return lines


def _events(events: list[Row]) -> list[str]:
    rows = [
        {
            "time (UTC)": _time(event["ts"]), "seq": event["seq"], "event": event["event"],
            **{name: _number(event[name]) for name in ("qty", "leaves", "price", "trigger")},
            "reason": event["reason"] or "",
        }
        for event in events
    ]  # fmt: skip
    return ["Events", _indented(rows) if rows else "  none on disk"]


def _fills(trail: _Trail) -> list[str]:
    fills = trail.fills
    if not fills:
        return ["Fills", "  none"]
    rows = [
        {
            "time (UTC)": _time(fill["ts"]), "qty": _number(fill["qty"]), "price": _number(fill["price"]),
            "fee": _number(fill["fee"]), "liquidity": fill["liquidity"],
            "position after": _number(fill["position_after"]), "realized": _number(fill["realized"]),
        }
        for fill in fills
    ]  # fmt: skip
    currency, sign = fills[0]["currency"], 1 if fills[0]["side"] == "BUY" else -1
    qty = sum(fill["qty"] for fill in fills)
    average = sum(fill["qty"] * fill["price"] for fill in fills) / qty
    fees, realized = sum(fill["fee"] for fill in fills), sum(fill["realized"] for fill in fills)
    total = f"  together    {_number(qty)} at {_number(average)}; fees {_number(fees)} {currency}; "
    lines = ["Fills", _indented(rows), total + f"realized {_number(realized)} {currency} before fees"]
    mid = trail.decision["mid"] if trail.decision else None
    if mid and mid == mid:
        slip = sign * (float(average) / mid - 1) * 1e4
        lines.append(f"  slippage    {slip:+.2f} bps from the mid of the decision (positive costs)")
    return lines


def _outcome(row: Row | None, policy: Row) -> list[str]:
    if row is None:
        return ["Ex-post", "  not known: no outcome was written for this decision"]
    primary = (policy.get("expost") or {}).get("primary")
    side = {1: "long", -1: "short", 0: "no position taken"}.get(row["side"], "?")
    lines = ["Ex-post", f"  side        {side}; costs {_number(row['cost_bps'])} bps"]
    horizons = sorted(int(name.removeprefix("markout_")) for name in row if name.startswith("markout_"))
    for h in horizons:
        value, known = row[f"markout_{h}"], row.get(f"known_{h}")
        label = "  (the drift sentry watches this one)" if h == primary else ""
        if value is None:
            lines.append(f"  +{h:<4} steps  not known before the run ended{label}")
        else:
            when = f", known {_time(known)} UTC" if known is not None else ""
            lines.append(f"  +{h:<4} steps  {value:+.2f} bps net of costs{when}{label}")
    if row.get("realized") is not None:
        lines.append(f"  realized    {_number(row['realized'])} (gross, all orders of the decision)")
    return lines


def _indented(rows: list[Row]) -> str:
    text = pd.DataFrame(rows).to_string(index=False)
    return "\n".join(f"  {line}" for line in text.splitlines())


def _time(ts: int) -> str:
    return str(pd.Timestamp(ts).strftime("%Y-%m-%d %H:%M:%S.%f"))[:-3]


def _number(value: Any) -> str:
    """Return a number without trailing zeros; a dash for none."""
    if value is None or value != value:
        return "-"
    if isinstance(value, float):
        return f"{value:.8g}"
    return f"{value:.9f}".rstrip("0").rstrip(".")
