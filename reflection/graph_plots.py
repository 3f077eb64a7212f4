"""Picture of the graph of fast weights: the net itself, its degrees, and a page of its own."""

import html
import random
from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from alphatrade.reflection.graph import Floats, Health
from alphatrade.reflection.report_plots import BLUE, FONT, GREY, INK, MUTED, ORANGE, SKY, _html

MOST_DRAWN = 600  # edges; the weaker ones are left out of the picture, not of the figures
GROUPS = ("#009e73", "#cc79a7", "#e69f00", SKY, "#f0e442", INK, GREY)  # not those of the synapses


def net(sigma: Floats, health: Health, name: str = "sigma") -> str:
    """
    Draw the graph and its degrees; the HTML of one figure, which needs Plotly on its page.

    Blue synapses excite, orange ones inhibit; a unit's size is its strength, its colour its community.

    Parameters
    ----------
    sigma : ndarray, shape (n, n)
        Post x pre.
    health : Health
        As :func:`alphatrade.reflection.graph.diagnose` found it.
    name : str
        Of the figure on its page.
    """
    figure = make_subplots(rows=1, cols=2, column_widths=[0.68, 0.32], horizontal_spacing=0.1)
    place = _places(sigma, health)
    for colour, path in zip((BLUE, ORANGE), _edges(sigma, health, place), strict=True):
        line = {"color": colour, "width": 0.7}
        figure.add_scatter(**path, mode="lines", line=line, opacity=0.45, hoverinfo="skip", row=1, col=1)
    units = [at for at, degree in enumerate(health.degrees) if degree]
    top = max(health.strengths, default=0.0) or 1.0
    marker = {
        "size": [5.0 + 17.0 * (health.strengths[at] / top) ** 0.5 for at in units],
        "color": [GROUPS[health.groups[at] % len(GROUPS)] for at in units],
        "line": {"width": 0.8, "color": "white"},
    }
    words = [f"unit {at}: {health.degrees[at]} edges, strength {health.strengths[at]:.3g}" for at in units]
    points = {"x": [place[at][0] for at in units], "y": [place[at][1] for at in units]}
    hover = "%{text}<extra></extra>"
    figure.add_scatter(**points, mode="markers", marker=marker, text=words, hovertemplate=hover, row=1, col=1)
    counts = np.bincount(np.array([degree for degree in health.degrees if degree], np.int64), minlength=2)
    hover = "%{y} units with %{x} edges<extra></extra>"
    bars = {"x": list(range(len(counts))), "y": counts.tolist(), "marker": {"color": GREY}}
    figure.add_bar(**bars, hovertemplate=hover, row=1, col=2)
    figure.update_xaxes(visible=False, row=1, col=1)
    figure.update_yaxes(visible=False, row=1, col=1)
    figure.update_xaxes(title_text="edges of a unit", showgrid=False, row=1, col=2)
    figure.update_yaxes(title_text="units", dtick=1 + int(counts.max()) // 8, row=1, col=2)  # whole units
    return _html(figure, f"graph-{name}", 440, None, grid=False) if units else _nothing(name)


def _nothing(name: str) -> str:
    figure = go.Figure()
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    text = {"text": "no synapses", "showarrow": False, "font": {"color": MUTED, "size": 14}}
    figure.add_annotation(**text, x=0.5, y=0.5, xref="paper", yref="paper")
    return _html(figure, f"graph-{name}", 200, None, grid=False)


def _places(sigma: Floats, health: Health) -> list[list[float]]:
    """Return where each unit is drawn: Fruchterman and Reingold (1991), from a seed."""
    import igraph

    pairs = _pairs(sigma, health)
    graph = igraph.Graph(n=health.n, edges=pairs.tolist())
    igraph.set_random_number_generator(random.Random(1))
    try:
        return [[round(float(x), 4) for x in point] for point in graph.layout_fruchterman_reingold(niter=300)]
    finally:
        igraph.set_random_number_generator(random)


def _pairs(sigma: Floats, health: Health) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Return the synapses that are kept, strongest first, as (post, pre)."""
    size = np.abs(sigma) * (1.0 - np.eye(len(sigma)))
    kept = np.flatnonzero((size.ravel() >= health.threshold) & (size.ravel() > 0.0))
    order = kept[np.argsort(-size.ravel()[kept], kind="stable")]
    return np.column_stack((order // len(sigma), order % len(sigma)))


def _edges(sigma: Floats, health: Health, place: list[list[float]]) -> list[dict[str, list[float | None]]]:
    """Return the lines of the exciting and of the inhibiting synapses, each as one path with gaps."""
    paths: list[dict[str, list[float | None]]] = [{"x": [], "y": []}, {"x": [], "y": []}]
    for post, pre in _pairs(sigma, health)[:MOST_DRAWN].tolist():
        path = paths[int(sigma[post, pre] < 0.0)]
        for at, axis in enumerate("xy"):
            path[axis] += [place[pre][at], place[post][at], None]
    return paths


def facts(health: Health) -> list[list[str]]:
    """Return the rows of a table: figure, value, mean of the null graphs, z-score, and what the null graphs share."""
    words = {
        "gini": "Gini of strengths",
        "max_over_mean": "max / mean degree",
        "modularity": "modularity (Leiden)",
        "core": "core-periphery fit",
    }
    rows = [
        ["norm, of its bound", f"{health.norm:.4g}, {health.norm / health.bound:.1%}", "", "", ""],
        ["synapses, on itself", f"{health.synapses:,}, {health.loops:,}", "", "", ""],
        ["units, edges", f"{health.units:,}, {health.edges:,}", "", "", ""],
        ["variation of weights", f"{health.variation:.3f}", "", "", ""],
        ["norm^2 in one direction", f"{health.concentration:.1%}", "", "", ""],
    ]
    for name, one in health.measures.items():
        chance = "" if one.null_mean is None else f"{one.null_mean:.3f}"
        rows.append([words[name], f"{one.value:.3f}", chance, "" if one.z is None else f"{one.z:+.1f}", one.null])
    return rows


HEAD = ["figure", "value", "by chance", "z", "null: the same"]


def page(found: Mapping[str, tuple[Floats, Health]]) -> str:
    """Return a self-contained page with every graph of a run."""
    parts = []
    for name, (sigma, health) in found.items():
        rows = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in facts(health))
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in HEAD)
        said = "".join(f"<p class='alert'>{html.escape(line)}</p>" for line in health.alerts) or "<p>No alert.</p>"
        parts.append(
            f"<h2>{html.escape(name)}</h2>{said}{net(sigma, health, name)}<table><tr>{head}</tr>{rows}</table>"
        )
    style = (
        f"body{{font:14px {FONT};color:{INK};max-width:1080px;margin:2em auto;padding:0 1em}}table{{border-collapse:"
        f"collapse}}td,th{{text-align:left;padding:.25em 1.2em .25em 0}}th{{color:{MUTED};font-weight:500}}"
        f".alert{{color:{ORANGE};font-weight:600}}"
    )
    note = (
        "The strongest synapses that carry most of the weight. Blue excites, orange inhibits; a unit's size is "
        "its strength, its colour its community. On so few units nothing can be said about a power law."
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Graph of fast weights</title>'
        f"<style>{style}</style><script>{get_plotlyjs()}</script></head>"
        f"<body><h1>Graph of fast weights</h1><p>{note}</p>{''.join(parts)}</body></html>\n"
    )
