"""Figures of the report. Each function takes report data and returns the HTML of one Plotly figure.

Colours: Okabe and Ito's palette, which colour-blind readers can tell apart; blue is up, buying and gain,
orange is down, selling and loss; a stronger tint is higher volatility.
"""

import html
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from plotly.subplots import make_subplots

from alphatrade.reflection.report_data import STRIPES, Belief, ReportData
from alphatrade.reflection.report_frames import COLUMNS, slice_width
from alphatrade.reflection.report_tables import number

INK, MUTED, GRID = "#1b1f24", "#5b6570", "#e8ebee"
BLUE, ORANGE, GREY, SKY = "#0072b2", "#d55e00", "#9aa3ab", "#56b4e9"
FONT = "-apple-system, BlinkMacSystemFont, 'Segoe UI', Inter, Roboto, 'Helvetica Neue', Arial, sans-serif"
REGIME_TINTS = {
    "down-low": "#fcebdf", "down-high": "#f7cdb0", "flat-low": "#f4f5f6", "flat-high": "#dfe2e5",
    "up-low": "#e3f0f8", "up-high": "#b9daee",
}  # fmt: skip
OTHER_TINTS = ("#efe3f0", "#e3efe0", "#f6f0d3", "#e0e4f4")
BLUES = [[0.0, "#ffffff"], [0.25, "#d6e8f3"], [0.6, "#5fa8d3"], [1.0, "#00436b"]]
DIVERGING = [[0.0, "#b34700"], [0.25, "#f0a874"], [0.5, "#f4f4f4"], [0.75, "#7fb8dc"], [1.0, "#005a8e"]]
MANY_FILLS = 1000


class Drawn(str):
    """The HTML of a figure, which is `plain` as well: what Plotly calls data and layout."""

    plain: dict[str, Any]


_BARE = pio.templates["none"].to_plotly_json()
_CONFIG = {"displayModeBar": False, "responsive": True}


def tint(regime: str) -> str:
    """Return the band colour of a regime, the same wherever it is shown."""
    known = REGIME_TINTS.get(regime)
    return known if known else OTHER_TINTS[sum(map(ord, regime)) % len(OTHER_TINTS)]


def equity(data: ReportData) -> Drawn:
    """Draw equity, its return beside that of buy-and-hold, and the drawdown."""
    figure = make_subplots(
        rows=3, cols=1, shared_xaxes=True, row_heights=[0.5, 0.27, 0.23], vertical_spacing=0.05
    )
    run, hold, capital = data.equity, data.hold, data.capital
    blue, grey = {"color": BLUE, "width": 1.5}, {"color": GREY, "width": 1.1}
    filled = {"line": {"color": ORANGE, "width": 1}, "fill": "tozeroy", "fillcolor": "rgba(213,94,0,0.15)"}
    figure.add_scatter(x=run["t"], y=run["y"], name="this run", line=blue, row=1, col=1)
    figure.add_scatter(
        x=hold["t"], y=100 * (hold["y"] / capital - 1), name="buy and hold", line=grey, row=2, col=1
    )
    figure.add_scatter(
        x=run["t"],
        y=100 * (run["y"] / capital - 1),
        name="this run",
        line=blue,
        showlegend=False,
        row=2,
        col=1,
    )
    drop = -100 * data.drawdown["y"]
    figure.add_scatter(
        x=data.drawdown["t"], y=drop, name="drawdown", showlegend=False, row=3, col=1, **filled
    )
    figure.update_traces(mode="lines")
    for row, level in ((1, capital), (2, 0)):
        figure.add_hline(y=level, line={"color": MUTED, "width": 0.8, "dash": "dot"}, row=row, col=1)
    figure.update_yaxes(title_text=f"equity ({_text(data.currency)})", row=1, col=1)
    figure.update_yaxes(title_text="return (%)", row=2, col=1)
    figure.update_yaxes(title_text="drawdown (%)", rangemode="tozero", row=3, col=1)
    return _html(figure, "equity", 540, data, legend=True)


def price(data: ReportData, at: int, instrument: str) -> Drawn:
    """Draw the price of one instrument over its regimes, with every fill."""
    figure = go.Figure()
    _bands(figure, data, data.regimes[instrument])
    fills, points = data.fills[data.fills["instrument"] == instrument], data.prices[instrument]
    many = len(fills) > MANY_FILLS
    line = {"color": INK, "width": 1}
    for side, colour, symbol in (("BUY", BLUE, "triangle-up"), ("SELL", ORANGE, "triangle-down")):
        _fills(figure, fills[fills["side"] == side], side, colour, symbol, many)
    figure.add_scatter(
        x=points["t"], y=points["y"], name="mid price", mode="lines", line=line, zorder=int(many)
    )
    figure.update_layout(
        yaxis={"title": "price", "overlaying": "y2"},
        yaxis2={"visible": False, "range": [0, 1], "fixedrange": True},
    )
    return _html(figure, f"price-{at}", 420, data, legend=True)


def regimes(stripes: pd.DataFrame) -> list[str]:
    """Return the regimes of an instrument: the six known ones in their order, then any other."""
    found = set(stripes["regime"])
    return [name for name in REGIME_TINTS if name in found] + sorted(found - set(REGIME_TINTS))


def _bands(figure: go.Figure, data: ReportData, stripes: pd.DataFrame) -> None:
    """Put the most frequent regime of each slice of time behind the price, as one row of coloured cells."""
    names = regimes(stripes)
    if not names:
        return
    row = np.full(STRIPES, np.nan)
    inside = stripes[stripes["slice"].between(0, STRIPES - 1)]
    row[inside["slice"]] = [names.index(name) for name in inside["regime"]]
    scale: list[list[Any]] = []
    for at, name in enumerate(names):
        scale += [[at / len(names), tint(name)], [(at + 1) / len(names), tint(name)]]
    cells = {"z": row[None, :], "x": _edges(data, STRIPES), "y": [0, 1], "yaxis": "y2"}
    colours = {"colorscale": scale, "zmin": -0.5, "zmax": len(names) - 0.5, "showscale": False}
    figure.add_heatmap(**cells, **colours, hoverinfo="skip")


def _fills(figure: go.Figure, fills: pd.DataFrame, side: str, colour: str, symbol: str, many: bool) -> None:
    name = f"{side.lower()} ({len(fills):,})"
    if not many:
        words = [
            f"{side} {f.qty:g} at {f.price:,.8g}<br>" + _text(f"{f.order_id}, {f.exec_topo}, {f.regime}")
            for f in fills.itertuples()
        ]
        hover = "%{x|%Y-%m-%d %H:%M:%S}<br>%{text}<extra></extra>"
        edge = {"width": 0.6, "color": "white"}
        marker = {
            "symbol": symbol,
            "size": 7 if len(fills) < 300 else 5,
            "color": colour,
            "opacity": 0.85,
            "line": edge,
        }
        points = {"x": fills["t"], "y": fills["price"], "mode": "markers", "marker": marker}
        figure.add_scatter(**points, name=name, text=words, hovertemplate=hover, zorder=1)
        return
    # So many fills are one path of short ticks, above the price for sells and below it for buys.
    reach = 0.012 * float(fills["price"].max() - fills["price"].min()) * (1 if side == "SELL" else -1)
    t, y = fills["t"].to_numpy(), fills["price"].to_numpy()
    gap = np.full(len(t), np.nan)
    path = {"x": np.column_stack((t, t, t)).ravel(), "y": np.column_stack((y, y + reach, gap)).ravel()}
    line = {"color": colour, "width": 0.8}
    figure.add_scatter(**path, name=name, mode="lines", line=line, hoverinfo="skip")


def topologies(data: ReportData) -> Drawn:
    """Draw which topology decided how much of the time."""
    names = sorted(set(data.shares["exec_topo"]), reverse=True)
    share = np.full((len(names), COLUMNS), np.nan)
    share[:, data.shares["slice"].clip(0, COLUMNS - 1)] = 0.0
    rows = [names.index(name) for name in data.shares["exec_topo"]]
    share[rows, data.shares["slice"].clip(0, COLUMNS - 1)] = 100 * data.shares["share"]
    figure = go.Figure()
    figure.add_heatmap(z=share, x=_edges(data, COLUMNS), y=[_text(name) for name in names], colorscale=BLUES,
                       zmin=0, zmax=100, ygap=3, colorbar=_bar("%"),
                       hovertemplate="%{y}: %{z:.0f} % of decisions<extra></extra>")  # fmt: skip
    return _html(figure, "topologies", 110 + 40 * len(names), data, grid=False)


def attribution(data: ReportData) -> str:
    """Draw net PnL by topology and regime."""
    net = data.cells.pivot(index="exec_topo", columns="regime", values="net")
    fills = data.cells.pivot(index="exec_topo", columns="regime", values="fills").fillna(0).astype(int)
    order = [name for name in REGIME_TINTS if name in net.columns]
    net = net[order + [name for name in net.columns if name not in order]].iloc[::-1]
    fills = fills.loc[net.index, net.columns]
    limit = float(np.nanmax(np.abs(net.to_numpy()))) or 1.0
    words = [
        [f"<b>{number(n, 2, True)}</b><br>{f:,} fills" if f else "" for n, f in zip(*rows, strict=True)]
        for rows in zip(net.to_numpy(), fills.to_numpy(), strict=True)
    ]
    figure = go.Figure()
    figure.add_heatmap(z=net.to_numpy(), x=[_text(x) for x in net.columns], y=[_text(y) for y in net.index],
                       text=words, texttemplate="%{text}", textfont={"size": 12}, colorscale=DIVERGING,
                       zmin=-limit, zmax=limit, xgap=3, ygap=3, colorbar=_bar(_text(data.currency)),
                       hovertemplate="%{y} in %{x}<br>%{text}<extra></extra>")  # fmt: skip
    figure.update_xaxes(side="top", type="category", showgrid=False)
    return _html(figure, "attribution", 90 + 58 * len(net), None, grid=False)


def belief(data: ReportData, belief: Belief) -> str:
    """Draw how active each belief unit was over time, and how many were active at once."""
    figure = make_subplots(rows=1, cols=2, column_widths=[0.74, 0.26], horizontal_spacing=0.14)
    top = float(np.nanquantile(belief.share, 0.995)) or 1.0
    colours = {"colorscale": BLUES, "zmin": 0, "zmax": 100 * top, "colorbar": _bar("%", x=0.67)}
    hover = "unit %{y}: active in %{z:.0f} % of steps<extra></extra>"
    cells = {"z": 100 * belief.share, "x": _edges(data, COLUMNS)}
    figure.add_heatmap(**cells, **colours, hovertemplate=hover, row=1, col=1)
    share = 100 * belief.counts["steps"] / belief.steps
    hover = "%{x} active: %{y:.1f} % of steps<extra></extra>"
    bars = {"x": belief.counts["active"], "y": share, "width": 0.8, "marker": {"color": BLUE}}
    figure.add_bar(**bars, hovertemplate=hover, row=1, col=2)
    figure.update_xaxes(type="date", showgrid=False, row=1, col=1)
    figure.update_yaxes(title_text="belief unit", showgrid=False, row=1, col=1)
    figure.update_xaxes(title_text="active units", rangemode="tozero", row=1, col=2)
    figure.update_yaxes(title_text="% of steps", row=1, col=2)
    return _html(figure, "belief", 340, None)


def denials(data: ReportData) -> Drawn:
    """Draw denials and near-misses by the limit that caused them."""
    codes = [_text(code) for code in data.denied["code"]]
    figure = go.Figure()
    for column, name, colour in (("near", "near-misses", SKY), ("denied", "denied orders", ORANGE)):
        counts = data.denied[column]
        bars = {"x": counts, "y": codes, "orientation": "h", "marker": {"color": colour}}
        labels = {"text": [f"{count:,}" if count else "" for count in counts], "textposition": "outside"}
        figure.add_bar(
            **bars, **labels, name=name, cliponaxis=False, hovertemplate="%{y}: %{x:,}<extra></extra>"
        )
    figure.update_layout(barmode="group", bargap=0.35, legend_traceorder="reversed")
    figure.update_xaxes(title_text="count", rangemode="tozero", showgrid=True, tickformat=",d", nticks=6)
    figure.update_yaxes(type="category")
    return _html(figure, "denials", 110 + 46 * len(codes), None, legend=True, grid=False)


def _edges(data: ReportData, columns: int) -> np.ndarray[Any, Any]:
    """Return the borders of the slices of time, epoch milliseconds, shape (columns + 1,)."""
    edges: np.ndarray[Any, Any] = (
        data.span[0] + slice_width(data.span, columns) * np.arange(columns + 1)
    ) / 1e6
    return edges


def _bar(title: str, x: float = 1.02) -> dict[str, Any]:
    small = {"size": 11, "color": MUTED}
    return {
        "title": {"text": title, "side": "top", "font": small}, "thickness": 10, "outlinewidth": 0, "x": x,
        "xanchor": "left", "tickfont": small, "exponentformat": "none", "separatethousands": True,
    }  # fmt: skip


def _text(value: object) -> str:
    """Return text from a file so that Plotly, which reads a little HTML but no ``&quot;``, shows it as it is."""
    return html.escape(str(value), quote=False)


def framed(figure: go.Figure, name: str, height: int) -> str:
    """Return a figure of a page that is not about one run, in the common style."""
    return _html(figure, name, height, None, legend=True)


def _html(
    figure: go.Figure,
    name: str,
    height: int,
    data: ReportData | None,
    legend: bool = False,
    grid: bool = True,
) -> Drawn:
    """Return a figure in the common style as HTML; `data` gives the time axis, if it has one."""
    font, clear, line = {"family": FONT, "size": 12, "color": INK}, "rgba(0,0,0,0)", "#c3c9cf"
    common = {
        "height": height, "font": font,
        "margin": {"l": 10, "r": 10, "t": 34 if legend else 14, "b": 10},
        "paper_bgcolor": clear, "plot_bgcolor": clear, "showlegend": legend, "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"}, "hoverlabel": {"font": font},
    }  # fmt: skip
    axis = {
        "gridcolor": GRID, "linecolor": line, "zeroline": False, "automargin": True,
        "ticks": "outside", "ticklen": 4, "tickcolor": line, "tickfont": {"color": MUTED, "size": 11},
        "title": {"font": {"color": MUTED, "size": 12}, "standoff": 10}, "exponentformat": "none",
        "separatethousands": True,
    }  # fmt: skip
    time: dict[str, Any] = {}
    if data is not None:
        span = [data.span[0] / 1e6, data.span[1] / 1e6]
        time = {"type": "date", "range": span, "showgrid": False, "hoverformat": "%Y-%m-%d %H:%M:%S"}
    # Plain dictionaries: Plotly checks every property of a figure anew at each of its own updates, which takes longer
    # than all the rest of a page.
    plain = figure.to_plotly_json()
    layout = plain["layout"] | {"template": _BARE}
    _merge(layout, common)
    for key in ("xaxis", "yaxis", *layout):
        if key.startswith("xaxis"):
            _merge(layout.setdefault(key, {}), axis | {"showline": True} | time)
        elif key.startswith("yaxis"):
            _merge(layout.setdefault(key, {}), axis | {"showgrid": grid})
    whole = plain | {"layout": layout}
    text = pio.to_html(
        whole, full_html=False, include_plotlyjs=False, div_id=f"figure-{name}", config=_CONFIG, validate=False
    )
    drawn = Drawn(text)
    drawn.plain = whole
    return drawn


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    """Put values of a nested dictionary into another."""
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = deepcopy(value)
