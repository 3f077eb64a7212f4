"""``red-team.html``: every scenario with its expectations and a picture of the fault, the orders and the equity."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.subplots import make_subplots

from alphatrade.nodes.frames import read_frame
from alphatrade.nodes.red_team_scenarios import Scenario
from alphatrade.reflection.report import render
from alphatrade.reflection.report_blocks import Block, Section
from alphatrade.reflection.report_plots import BLUE, GREY, INK, MUTED, ORANGE, framed
from alphatrade.reflection.report_tables import Card, Table
from alphatrade.strategies.policy import Policy

if TYPE_CHECKING:
    from alphatrade.nodes.red_team import Check, Outcome

BEFORE, BEYOND = 420, 780  # quotes shown before and after the fault
_FAULT = "rgba(213,94,0,0.22)"


def write_page(folder: Path, outcomes: "list[Outcome]", policy: Policy) -> Path:
    """Write the page into the folder that holds the runs of the scenarios, and return its path."""
    good = sum(one.passed for one in outcomes)
    checks = [check for one in outcomes for check in one.checks]
    page = render(
        figures=any(one.scenario for one in outcomes),
        eyebrow="red team",
        title="What goes wrong, and what the law does about it",
        facts=[f"policy {policy.policy_hash[:12]}", f"risk template {policy.risk.name}", f"{len(outcomes)} scenarios"],
        tags=["simulated venue", "synthetic tapes"],
        killed=None,
        cards=[
            Card("Scenarios passed", f"{good} of {len(outcomes)}", "with all they have to hold", _tone(good, outcomes)),
            Card("Expectations met", f"{sum(c.holds for c in checks)} of {len(checks)}", "decided before the run"),
            Card("Let through on bad data", str(_sum(checks, "orders let through on bad data")), "orders and changes"),
            Card("Violations", str(_sum(checks, "violations found by the auditor")), "found by the auditor"),
        ],
        sections=[_summary(outcomes), *(_section(folder, one) for one in outcomes)],
        tearsheet=False,
    )
    out = folder / "red-team.html"
    out.write_text(page, encoding="utf-8")
    return out


def _sum(checks: "list[Check]", what: str) -> int:
    return sum(int(check.measured.split()[0].rstrip(":")) for check in checks if check.what == what)


def _tone(good: int, outcomes: "list[Outcome]") -> str:
    return "good" if good == len(outcomes) else "bad"


def _summary(outcomes: "list[Outcome]") -> Section:
    rows = [[one.title, one.plants, "passed" if one.passed else "FAILED"] for one in outcomes]
    lead = "An intruder, a strategy that nobody approved, trades on every fault beside the policy's own Organism."
    return Section("summary", "Summary", lead, [Block("table", Table(["scenario", "planted", "result"], rows, 3))])


def _section(folder: Path, one: "Outcome") -> Section:
    rows = [[c.what, c.expected, c.measured, "holds" if c.holds else "DOES NOT HOLD"] for c in one.checks]
    blocks = [Block("table", Table(["expectation", "expected", "measured", ""], rows, 4))]
    if one.scenario is not None:
        figure = _figure(folder / one.name, one.scenario)
        key = [("planted fault", "#fae3d6"), ("buy let through", BLUE), ("sell let through", ORANGE), ("denied", GREY)]
        blocks = [Block("figure", Markup(figure)), Block("key", key), *blocks]
    title = one.title[:1].upper() + one.title[1:] + ("" if one.passed else ": FAILED")
    return Section(one.name, title, f"Planted: {one.plants}.", blocks)


def _figure(path: Path, scenario: Scenario) -> str:
    market = scenario.market
    first, last = max(market.at - BEFORE, 0), min(market.at + BEYOND, len(market)) - 1
    span = int(market.ts[first]), int(market.ts[last])
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.68, 0.32], vertical_spacing=0.06)
    shown = slice(first, last + 1)
    low, high = _prices(figure, scenario, shown)
    _orders(figure, path, scenario, span, (low, high))
    equity = read_frame(path / "equity.parquet", columns=["ts", "equity"])
    equity = equity[equity["ts"].between(*span)]
    line = {"color": BLUE, "width": 1.4, "shape": "hv"}
    figure.add_scatter(
        x=_ms(equity["ts"]), y=equity["equity"].astype(float), mode="lines", line=line, name="equity", row=2, col=1
    )
    _states(figure, path, span)
    edges = [span[0] / 1e6, span[1] / 1e6]
    figure.update_xaxes(type="date", range=edges, showgrid=False, hoverformat="%H:%M:%S")
    figure.update_yaxes(title_text="price", range=[low, high], row=1, col=1)
    figure.update_yaxes(title_text="equity", tickformat=",.0f", row=2, col=1)
    return framed(figure, scenario.name, 440)


def _prices(figure: go.Figure, scenario: Scenario, shown: slice) -> tuple[float, float]:
    """Draw bid and ask over the faults, and return the range of prices: bad prints are marked at its edge."""
    market = scenario.market
    near = np.abs(0.5 * (market.bid + market.ask) / market.mid - 1.0)[shown] < 0.5
    level = market.mid[shown]
    reach = max(0.08 * float(level.max() - level.min()), 0.25)
    low, high = float(level.min()) - reach, float(level.max()) + reach
    t = _ms(market.ts[shown])
    for name, side, colour in (("bid", market.bid, INK), ("ask", market.ask, MUTED)):
        y = np.where(near, side[shown], np.nan)
        figure.add_scatter(x=t, y=y, mode="lines", name=name, line={"color": colour, "width": 1}, row=1, col=1)
    for first, last in _stretches(scenario):  # after the lines: Plotly leaves out what would be in an empty frame
        figure.add_vrect(x0=first / 1e6, x1=last / 1e6, fillcolor=_FAULT, line_width=0, layer="below", row=1, col=1)
    far = np.flatnonzero(~near)
    if len(far):
        mid = 0.5 * (market.bid + market.ask)[shown][far]
        edge = np.where(mid > level[far], high - 0.3 * reach, low + 0.3 * reach)
        marker = {"symbol": np.where(mid > level[far], "triangle-up-open", "triangle-down-open"), "size": 11,
                  "color": ORANGE}  # fmt: skip
        text = [f"bad print at {value:,.2f}" for value in mid]
        figure.add_scatter(x=t[far], y=edge, mode="markers", marker=marker, text=text, name="bad print",
                           hovertemplate="%{x|%H:%M:%S} %{text}<extra></extra>", row=1, col=1)  # fmt: skip
    return low, high


def _stretches(scenario: Scenario) -> list[tuple[int, int]]:
    """Return from when to when a fault lasts, UTC ns."""
    market = scenario.market
    if market.halts:
        return list(zip(market.halts[::2], market.halts[1::2], strict=True))
    edges = np.flatnonzero(np.diff(np.concatenate(([0], market.bad.astype(np.int8), [0]))))
    ends = np.minimum(edges[1::2], len(market) - 1)
    found = [(int(market.ts[a]), int(market.ts[b])) for a, b in zip(edges[::2], ends, strict=True)]
    gaps = np.flatnonzero(np.diff(market.ts) > 30 * 10**9)
    found += [(int(market.ts[at]), int(market.ts[at + 1])) for at in gaps]
    at = int(market.ts[market.at])
    shortest = 6 * 10**9  # to be seen at all
    return [(first, max(last, first + shortest)) for first, last in found or [(at, at)]]


def _orders(
    figure: go.Figure, path: Path, scenario: Scenario, span: tuple[int, int], edges: tuple[float, float]
) -> None:
    """Mark what was sent, and what was denied, at the price of its moment."""
    market = scenario.market
    orders = read_frame(path / "orders.parquet", columns=["ts", "order_id", "event", "side", "reason", "strategy"])
    orders = orders[orders["ts"].between(*span)]
    kinds = (
        ("buy", (orders["event"] == "submitted") & (orders["side"] == "BUY"), BLUE, "triangle-up", 9),
        ("sell", (orders["event"] == "submitted") & (orders["side"] == "SELL"), ORANGE, "triangle-down", 9),
        ("denied", orders["event"].isin(["denied", "modify_rejected"]), GREY, "x-thin", 7),
    )
    for name, chosen, colour, symbol, size in kinds:
        rows = orders[chosen]
        at = np.maximum(np.searchsorted(market.ts, rows["ts"].to_numpy(), "right") - 1, 0)
        y = np.clip(market.mid[at], *edges)
        words = (rows["order_id"] + " " + rows["strategy"] + " " + rows["reason"].fillna("").str.slice(0, 90)).tolist()
        marker = {"color": colour, "symbol": symbol, "size": size, "line": {"width": 1.4, "color": colour}}
        hover = "%{x|%H:%M:%S}<br>%{text}<extra></extra>"
        figure.add_scatter(x=_ms(rows["ts"]), y=y, mode="markers", marker=marker, name=f"{name} ({len(rows):,})",
                           text=words, hovertemplate=hover, row=1, col=1)  # fmt: skip


def _states(figure: go.Figure, path: Path, span: tuple[int, int]) -> None:
    """Draw a line where the kill switch changed its state."""
    events = read_frame(path / "risk_events.parquet", columns=["ts", "kind", "limit", "value"])
    for row in events[(events["kind"] == "state") & events["ts"].between(*span)].itertuples():
        line = {"color": ORANGE, "width": 1.2, "dash": "dot"}
        figure.add_vline(x=row.ts / 1e6, line=line, row="all", col=1)
        figure.add_annotation(x=row.ts / 1e6, y=1, yref="y domain", text=f"{row.value} {row.limit}", showarrow=False,
                              xanchor="left", yanchor="top", font={"size": 11, "color": ORANGE}, textangle=0,
                              yshift=-14 if row.value == "HALTED" else 0)  # fmt: skip


def _ms(ts: Any) -> "np.ndarray[Any, Any]":
    return np.asarray(ts, np.int64) / 1e6
