"""Figures of the report about learning; colours and style are those of the other figures.

Blue excites and is up, orange inhibits and is down, as elsewhere; an orange line is a limit and what goes beyond it.
"""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from alphatrade.reflection.graph import Floats
from alphatrade.reflection.probes import EVENTS
from alphatrade.reflection.report_data import ReportData
from alphatrade.reflection.report_frames import COLUMNS
from alphatrade.reflection.report_learning_data import NORMS, Chart
from alphatrade.reflection.report_plots import (
    BLUE,
    BLUES,
    DIVERGING,
    GREY,
    INK,
    MUTED,
    ORANGE,
    REGIME_TINTS,
    SKY,
    _bar,
    _edges,
    _html,
    _text,
)
from alphatrade.reflection.report_tables import number

TACTICS = (BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", SKY, INK)
MOST_UNITS = 256  # of a heat map; more are drawn in blocks, each as its strongest synapse
_OWN, _OTHER = "rgba(230,159,0,0.55)", "rgba(154,163,171,0.35)"


def routing(counts: pd.DataFrame, framed: dict[str, list[str]], name: str) -> str:
    """
    Draw who was in charge, one row per regime (or nature), one column per tactic.

    Parameters
    ----------
    counts : DataFrame (row, exec_topo, n, traded, total)
    framed : dict of str to list of str
        Tactics to frame in each row: the table's choice, or who pays.
    name : str
        Of the figure on its page.
    """
    n = counts.pivot(index="row", columns="exec_topo", values="n").fillna(0)
    order = [row for row in REGIME_TINTS if row in n.index]
    n = n.loc[order + [row for row in n.index if row not in order]].iloc[::-1]
    for tactic in {tactic for tactics in framed.values() for tactic in tactics} - set(n.columns):
        n[tactic] = 0  # it should have been in charge, and never was
    n = n[sorted(n.columns)]
    share = 100 * n.div(n.sum(axis=1), axis=0)
    cells = counts.set_index(["row", "exec_topo"])
    words = [[_cell(cells, share.at[row, tactic], row, tactic) for tactic in n.columns] for row in n.index]
    figure = go.Figure()
    figure.add_heatmap(z=share.to_numpy(), x=[_text(x) for x in n.columns], y=[_text(y) for y in n.index],
                       text=words, texttemplate="%{text}", textfont={"size": 12}, colorscale=BLUES, zmin=0,
                       zmax=160, xgap=3, ygap=3, showscale=False,
                       hovertemplate="%{y}, %{x}<br>%{text}<extra></extra>")  # fmt: skip
    figure.update_layout(shapes=[
        {"type": "rect", "x0": x - 0.48, "x1": x + 0.48, "y0": y - 0.45, "y1": y + 0.45,
         "line": {"color": ORANGE, "width": 2}}
        for y, row in enumerate(n.index) for x, tactic in enumerate(n.columns) if tactic in framed.get(row, ())
    ])  # fmt: skip
    figure.update_xaxes(side="top", type="category", showgrid=False)
    figure.update_yaxes(type="category")
    return _html(figure, name, 70 + 56 * len(n), None, grid=False)


def _cell(cells: pd.DataFrame, share: float, row: str, tactic: str) -> str:
    if (row, tactic) not in cells.index:
        return ""
    one = cells.loc[(row, tactic)]
    words = f"<b>{number(share, 1)} %</b> · {number(int(one['n']), 0)}"
    if not one["traded"]:
        return words
    mean = number(one["total"] / one["traded"], 1, True)
    return f"{words}<br>{mean} bps ({number(int(one['traded']), 0)} traded)"


def scores(data: ReportData, at: int, frame: pd.DataFrame) -> str:
    """Draw the score of every tactic over time: means of slices of time."""
    figure, edges = go.Figure(), _edges(data, COLUMNS)
    middle = (edges[:-1] + edges[1:]) / 2
    colours = iter(TACTICS * (1 + frame["tactic"].nunique() // len(TACTICS)))
    for tactic, part in frame.groupby("tactic"):
        values = np.full(COLUMNS, np.nan)
        inside = part[part["slice"].between(0, COLUMNS - 1)]
        values[inside["slice"]] = inside["score"]
        line = {"color": GREY if data.learning.kinds.get(tactic) == "flat" else next(colours), "width": 1.4}
        hover = _text(tactic) + ": %{y:.2f} bps<extra></extra>"
        figure.add_scatter(x=middle, y=values, name=_text(tactic), mode="lines", line=line, hovertemplate=hover)
    figure.add_hline(y=0, line={"color": MUTED, "width": 0.8, "dash": "dot"})
    figure.update_yaxes(title_text="expected outcome (bps)")
    return _html(figure, f"attention-{at}", 320, data, legend=True)


def probes(data: ReportData, at: int, instrument: str) -> str:
    """Draw each probe with its threshold, and planted events behind it: its own kind marked, the others grey."""
    found, facts = data.learning.probes[instrument], data.learning.thresholds
    figure = make_subplots(rows=len(found), cols=1, shared_xaxes=True, vertical_spacing=0.022)
    shapes: list[dict[str, Any]] = []  # set at once: one by one takes a tenth of a second each
    for row, (name, probe) in enumerate(found.items(), 1):
        shapes += _planted(data, instrument, name, row)
        curve, threshold = probe.curve, float(facts[name]["threshold"])
        line, hover = {"color": BLUE, "width": 1}, _text(name) + " %{y:.2f}<extra></extra>"
        figure.add_scatter(x=curve["t"], y=curve["y"], mode="lines", line=line, hovertemplate=hover, row=row, col=1)
        high = curve[curve["y"] >= threshold]
        marker = {"color": ORANGE, "size": 5}
        figure.add_scatter(x=high["t"], y=high["y"], mode="markers", marker=marker, hoverinfo="skip", row=row, col=1)
        limit = {"color": ORANGE, "width": 1, "dash": "dash"}
        figure.add_scatter(x=_span(data), y=[threshold] * 2, mode="lines", line=limit, hoverinfo="skip", row=row, col=1)
        figure.update_yaxes(title_text=_text(name).replace("_", "<br>"), nticks=5, row=row, col=1)
    figure.update_layout(shapes=shapes)
    return _html(figure, f"probes-{at}", 60 + 118 * len(found), data)


def _planted(data: ReportData, instrument: str, name: str, row: int) -> list[dict[str, Any]]:
    """Return the planted events behind the row of a probe, its own kind last and so on top."""
    planted = data.learning.planted
    events = planted[planted["instrument"] == instrument]
    own, axis = events["event"] == EVENTS.get(name), "" if row == 1 else str(row)
    place = {"type": "rect", "layer": "below", "xref": f"x{axis}", "yref": f"y{axis} domain", "y0": 0, "y1": 1}
    return [
        place | {"x0": event.first_ts / 1e6, "x1": event.last_ts / 1e6, "fillcolor": colour,
                 "line": {"color": colour, "width": 1}}
        for part, colour in ((events[~own], _OTHER), (events[own], _OWN)) for event in part.itertuples()
    ]  # fmt: skip


def synapses(data: ReportData, name: str, norms: pd.DataFrame | None, sigma: Floats | None) -> str:
    """Draw norm and rank of the fast weights over time, and the heat map of the last ones."""
    figure = make_subplots(
        rows=2, cols=2, column_widths=[0.52, 0.48], row_heights=[0.6, 0.4], horizontal_spacing=0.1,
        vertical_spacing=0.1, specs=[[{}, {"rowspan": 2}], [{}, None]],
    )  # fmt: skip
    if norms is not None:
        _norms(figure, data, norms)
    figure.update_xaxes(type="date", range=_span(data), showgrid=False, nticks=6, col=1)
    if sigma is not None:
        _heat(figure, sigma)
    return _html(figure, f"sigma-{name}", 470, None)


def _norms(figure: go.Figure, data: ReportData, norms: pd.DataFrame) -> None:
    edges = _edges(data, NORMS)
    t = ((edges[:-1] + edges[1:]) / 2)[norms["slice"].clip(0, NORMS - 1)]
    none, band = {"width": 0}, "rgba(0,114,178,0.16)"
    figure.add_scatter(x=t, y=norms["high"], mode="lines", line=none, hoverinfo="skip", row=1, col=1)
    figure.add_scatter(x=t, y=norms["low"], mode="lines", line=none, fill="tonexty", fillcolor=band,
                       hoverinfo="skip", row=1, col=1)  # fmt: skip
    for row, (title, column) in enumerate((("norm", "mean"), ("rank", "rank")), 1):
        line, hover = {"color": BLUE, "width": 1.3}, title + " %{y:.3f}<extra></extra>"
        figure.add_scatter(x=t, y=norms[column], mode="lines", line=line, hovertemplate=hover, row=row, col=1)
        figure.update_yaxes(title_text=title, rangemode="tozero", row=row, col=1)
    if norms["high"].max() > 0.5 * data.learning.bound:
        limit = {"color": ORANGE, "width": 1, "dash": "dash"}
        line = {"x": _span(data), "y": [data.learning.bound] * 2, "mode": "lines", "line": limit}
        figure.add_scatter(**line, hoverinfo="skip", row=1, col=1)


def _span(data: ReportData) -> list[float]:
    return [data.span[0] / 1e6, data.span[1] / 1e6]


def _heat(figure: go.Figure, sigma: Floats) -> None:
    step = -(-len(sigma) // MOST_UNITS)
    shown = _blocks(sigma, step)
    weights = np.abs(shown[shown != 0])
    limit = float(np.quantile(weights, 0.995)) if len(weights) else 1.0
    units = [step * at for at in range(len(shown))]
    z = [[float(f"{value:.3g}") if value else None for value in row] for row in shown.tolist()]
    figure.add_heatmap(z=z, x=units, y=units, colorscale=DIVERGING, zmin=-limit, zmax=limit, colorbar=_bar("weight"),
                       hovertemplate="%{x} to %{y}: %{z}<extra></extra>", row=1, col=2)  # fmt: skip
    figure.update_xaxes(title_text="from unit (pre)", showgrid=False, range=[-0.5 * step, len(sigma) - 0.5], col=2)
    figure.update_yaxes(title_text="to unit (post)", showgrid=False, range=[-0.5 * step, len(sigma) - 0.5], col=2)


def _blocks(sigma: Floats, step: int) -> Floats:
    """Return the synapse that is strongest in each block of step x step."""
    if step == 1:
        return sigma
    size = -(-len(sigma) // step)
    wide = np.zeros((size * step, size * step))
    wide[: len(sigma), : len(sigma)] = sigma
    blocks = wide.reshape(size, step, size, step).transpose(0, 2, 1, 3).reshape(size, size, step * step)
    place = np.abs(blocks).argmax(axis=2)[:, :, None]
    return np.take_along_axis(blocks, place, axis=2)[:, :, 0]


def drift(data: ReportData, charts: list[Chart]) -> str:
    """Draw CUSUM and Page-Hinkley of every stream against the threshold, alarms marked."""
    several = len({chart.instrument for chart in charts}) > 1
    figure = make_subplots(rows=len(charts), cols=1, shared_xaxes=True, vertical_spacing=0.15 / len(charts))
    for row, chart in enumerate(charts, 1):
        curves: list[tuple[str, pd.DataFrame, dict[str, Any]]] = [
            ("CUSUM, for the better", chart.up, {"color": SKY, "width": 1}),
            ("Page-Hinkley, for the worse", chart.page_hinkley, {"color": GREY, "width": 1}),
            ("CUSUM, for the worse", chart.down, {"color": BLUE, "width": 1.3}),
            ("threshold", chart.threshold, {"color": ORANGE, "width": 1, "dash": "dash"}),
        ]
        for title, curve, line in curves:
            figure.add_scatter(x=curve["t"], y=curve["y"], name=title, legendgroup=title, showlegend=row == 1,
                               mode="lines", line=line, hovertemplate=title + " %{y:.2f}<extra></extra>",
                               row=row, col=1)  # fmt: skip
        marker = {"color": ORANGE, "size": 8, "symbol": "triangle-down", "line": {"color": "white", "width": 0.6}}
        figure.add_scatter(x=chart.alarms["t"], y=chart.alarms["y"], name="beyond it", legendgroup="beyond it",
                           showlegend=row == 1, mode="markers", marker=marker,
                           hovertemplate="%{x}<br>%{y:.2f}<extra></extra>", row=row, col=1)  # fmt: skip
        words = f"{chart.instrument}<br>{chart.stream}" if several else chart.stream.replace(":", ":\n")
        figure.update_yaxes(title_text="<br>".join(map(_text, words.split("\n"))), rangemode="tozero", nticks=5,
                            row=row, col=1)  # fmt: skip
    return _html(figure, "drift", 80 + 125 * len(charts), data, legend=True)
