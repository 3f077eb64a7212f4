"""``search.html``: fitness over generations, what was explored, who descends from whom, and the budget."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from alphatrade.reflection.report import render
from alphatrade.reflection.report_blocks import Block, Section, empty, figure, filled
from alphatrade.reflection.report_plots import BLUE, DIVERGING, GREY, INK, MUTED, ORANGE, SKY, framed, tint
from alphatrade.reflection.report_tables import Card, Table, number, percent
from alphatrade.risk.disk import write_whole

Trial = Mapping[str, Any]
SHOWN = 10
PAGE = "search.html"


def write_search(folder: Path, summary: Mapping[str, Any], trials: Sequence[Trial]) -> Path:
    """
    Write the page of a finished search into its folder, and return its path.

    Parameters
    ----------
    folder : Path
    summary : mapping
        Content of ``search.json``.
    trials : sequence of mapping
        The leaves of ``trials.jsonl``.
    """
    scored = sorted([one for one in trials if one["fitness"] is not None], key=lambda one: -one["fitness"])
    states = Counter(one["status"] for one in trials)
    whole, spent = len(trials) * summary["grid"], summary["replays"]
    spec = summary["body"]["spec"]
    best = scored[0] if scored else None
    others = ", ".join(f"{n} {name}" for name, n in sorted(states.items()) if name != "scored")
    page = render(
        eyebrow="evolution",
        title="A search, and what it found",
        facts=[
            f"search {summary['search'][:12]}", f"mode {spec['mode']}", f"seed {spec['seed']}",
            f"evaluator {summary['body']['evaluator_hash'][:12]}", ", ".join(sorted(summary["body"]["tapes"])),
        ],
        tags=["simulated venue", "cells that may be seen: nothing here is out of sample"],
        killed=None,
        cards=[
            Card("Best fitness", f"{number(best['fitness'], 2, True) if best else 'none'} bps",
                 "mean over regimes of the mean net return of their cells"),
            Card("Trials", f"{len(trials):,}", others or "all scored"),
            Card("Replays", f"{spent:,}", f"{percent(1 - spent / whole, 0)} of {whole:,} spared by the race"),
            Card("Behaviours kept", f"{len(summary['archive']):,}", "in the novelty archive"),
        ],
        sections=[
            _generations(trials, spec["generations"]), _best(scored), _archive(summary, trials),
            _lineage(trials, best), _budget(trials, summary),
        ],
        tearsheet=False,
    )  # fmt: skip
    write_whole(folder / PAGE, page)
    return folder / PAGE


def load_search(folder: Path, summary: str, trials: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the summary and the trials of a finished search from its files."""
    lines = (folder / trials).read_bytes().splitlines()
    return json.loads((folder / summary).read_bytes()), [json.loads(line) for line in lines]


def _generations(trials: Sequence[Trial], generations: int) -> Section:
    lead = "Each dot is a candidate; the line is the best so far. Candidates that were given up have no dot."
    scored = [one for one in trials if one["fitness"] is not None]
    title = "Fitness over generations"
    if not scored:
        return Section("generations", title, lead, empty("No candidate was scored."))
    best, line = float("-inf"), []
    for generation in range(generations + 1):
        best = max([best, *[one["fitness"] for one in scored if one["generation"] == generation]])
        line.append(best)
    drawn = go.Figure()
    for name, colour, structure in (
        ("parameters, features, risk", SKY, False), ("topologies swapped, crossed, mixed", BLUE, True),
    ):  # fmt: skip
        some = [one for one in scored if (one["lineage"]["operator"] in _STRUCTURE) == structure]
        drawn.add_scatter(
            x=[one["generation"] for one in some], y=[one["fitness"] for one in some], mode="markers", name=name,
            marker={"color": colour, "size": 8, "opacity": 0.75}, hoverinfo="text", text=[_words(one) for one in some],
        )  # fmt: skip
    drawn.add_scatter(
        x=list(range(generations + 1)), y=line, mode="lines", name="best so far",
        line={"color": INK, "width": 1.5, "shape": "hv"}, hoverinfo="y",
    )  # fmt: skip
    drawn.update_xaxes(title="generation", dtick=max(1, generations // 12))
    drawn.update_yaxes(title="fitness, bps of the capital")
    return Section("generations", title, lead, [figure(framed(drawn, "generations", 340))])


_STRUCTURE = ("op_swap_execution_topology", "op_crossover", "op_mix_strategies")


def _best(scored: Sequence[Trial]) -> Section:
    rows = [
        [
            one["genotype_hash"][:12], f"{one['generation']}.{one['index']}", one["lineage"]["operator"],
            one["lineage"]["words"] or "as it was given", number(one["fitness"], 2, True),
            number(sum(cell["fills"] for cell in one["cells"]), 0),
            percent(max([cell["drawdown"] for cell in one["cells"] if cell["drawdown"] is not None], default=None)),
        ]
        for one in scored[:SHOWN]
    ]  # fmt: skip
    head = ["genotype", "bred in", "by", "what was done", "fitness bps", "fills", "worst drawdown"]
    lead = "Selection makes the best of many look better than it is: what it is worth is told by the held-out cells."
    blocks = [filled(Table(head, rows, 4), "No candidate was scored.")]
    if scored:
        cells = sorted(scored[0]["cells"], key=lambda cell: (cell["instrument"], int(cell["start"])))
        told = [
            [
                cell["instrument"], cell["regime"], number(cell["decisions"], 0), number(cell["fills"], 0),
                number(1e4 * cell["net_return"], 2, True), number(cell["sharpe"]), percent(cell["drawdown"]),
                number(cell["turnover"]), str(cell["violations"]),
            ]
            for cell in cells
            if cell["net_return"] is not None
        ]  # fmt: skip
        names = [
            "instrument",
            "regime",
            "decisions",
            "fills",
            "net bps",
            "Sharpe",
            "drawdown",
            "turnover",
            "violations",
        ]
        blocks += [Block("heading", "The best one, cell by cell"), Block("table", Table(names, told, 2))]
    return Section("best", "Best candidates", lead, blocks)


def _archive(summary: Mapping[str, Any], trials: Sequence[Trial]) -> Section:
    lead = (
        "What candidates did, however they are called: how much they traded and how much of it passively, means over "
        "their cells. Large dots are kept for their novelty; colour is fitness."
    )
    novel = {number for number, _ in summary["archive"]}
    some = [(at, one) for at, one in enumerate(trials) if one["fitness"] is not None]
    if not some:
        return Section("archive", "Behaviours", lead, empty("No candidate was scored."))
    span = max(abs(one["fitness"]) for _, one in some) or 1.0
    drawn = go.Figure(go.Scatter(
        x=[_mean(one, "turnover") for _, one in some], y=[100 * _mean(one, "passive") for _, one in some],
        mode="markers", showlegend=False, hoverinfo="text", text=[_words(one) for _, one in some],
        marker={
            "size": [13 if at in novel else 6 for at, _ in some], "color": [one["fitness"] for _, one in some],
            "colorscale": DIVERGING, "cmin": -span, "cmax": span, "line": {"color": MUTED, "width": 0.5},
            "colorbar": {"title": {"text": "bps"}, "thickness": 10, "outlinewidth": 0},
        },
    ))  # fmt: skip
    drawn.update_xaxes(title="turnover of a cell, multiples of the capital")
    drawn.update_yaxes(title="filled as a maker, % of the notional", range=[-4, 104])
    return Section("archive", "Behaviours", lead, [figure(framed(drawn, "archive", 360))])


def _lineage(trials: Sequence[Trial], best: Trial | None) -> Section:
    lead = "Generations from left to right, parents joined with children; the line of descent of the best is dark."
    place = {one["genotype_hash"]: (one["generation"], one["index"]) for one in trials}
    by_hash = {one["genotype_hash"]: one for one in trials}
    ancestry, queue = set[str](), [best["genotype_hash"]] if best else []
    while queue:
        name = queue.pop()
        if name not in ancestry and name in by_hash:
            ancestry.add(name)
            queue += by_hash[name]["lineage"]["parents"]
    drawn = go.Figure()
    for dark, colour, width in ((False, "#d4d9de", 1), (True, INK, 2)):
        xs: list[float | None] = []
        ys: list[float | None] = []
        for one in trials:
            for parent in one["lineage"]["parents"]:
                own = one["genotype_hash"] in ancestry and parent in ancestry
                if parent in place and own == dark:
                    xs += [place[parent][0], one["generation"], None]
                    ys += [place[parent][1], one["index"], None]
        drawn.add_scatter(
            x=xs, y=ys, mode="lines", line={"color": colour, "width": width}, hoverinfo="skip", showlegend=False
        )
    colours = {"scored": BLUE, "stopped": GREY}
    for name in sorted({one["status"] for one in trials}):
        some = [one for one in trials if one["status"] == name]
        drawn.add_scatter(
            x=[one["generation"] for one in some], y=[one["index"] for one in some], mode="markers", name=name,
            marker={"color": colours.get(name, ORANGE), "size": 9},
            hoverinfo="text", text=[_words(one) for one in some],
        )  # fmt: skip
    drawn.update_xaxes(title="generation", showgrid=False, tick0=0, dtick=1)
    drawn.update_yaxes(title="place in it", autorange="reversed", showgrid=False, tick0=0, dtick=1)
    steps = [f"{one['generation']}.{one['index']}  {_made(one)}" for one in trials if one["genotype_hash"] in ancestry]
    blocks = [figure(framed(drawn, "lineage", 380)), Block("heading", "How the best came to be"), Block("list", steps)]
    return Section("lineage", "Lineage", lead, blocks if best else blocks[:1])


def _budget(trials: Sequence[Trial], summary: Mapping[str, Any]) -> Section:
    lead = "Replays by regime of the cell. What a race gives up early is not replayed."
    spent: dict[tuple[str, str], int] = defaultdict(int)
    by_generation: dict[str, Counter[int]] = defaultdict(Counter)
    for one in trials:
        for cell in one["cells"]:
            spent[cell["instrument"], cell["regime"]] += 1
            by_generation[cell["regime"]][one["generation"]] += 1
    drawn = go.Figure()
    for regime in sorted(by_generation):
        counts = by_generation[regime]
        drawn.add_bar(x=list(counts), y=list(counts.values()), name=regime, marker_color=tint(regime),
                      marker_line={"color": GREY, "width": 0.5})  # fmt: skip
    whole = Counter(one["generation"] for one in trials)
    drawn.add_scatter(
        x=list(whole), y=[n * summary["grid"] for n in whole.values()], mode="markers", name="without a race",
        marker={"symbol": "line-ew-open", "size": 26, "color": INK},
    )  # fmt: skip
    drawn.update_layout(barmode="stack")
    drawn.update_xaxes(title="generation")
    drawn.update_yaxes(title="replays of cells")
    rows = [[name, regime, f"{n:,}"] for (name, regime), n in sorted(spent.items())]
    budget = summary["body"]["spec"]["budget"]
    note = f"{summary['replays']:,} replays" + ("" if budget is None else f" of a budget of {budget:,}")
    blocks = [
        figure(framed(drawn, "budget", 320)),
        Block("note", note),
        Block("table", Table(["instrument", "regime", "replays"], rows, 2)),
    ]
    return Section("budget", "Budget", lead, blocks)


def _mean(one: Trial, name: str) -> float:
    found = [float(cell[name]) for cell in one["cells"] if cell["net_return"] is not None]
    return sum(found) / len(found) if found else 0.0


def _words(one: Trial) -> str:
    worth = "not scored" if one["fitness"] is None else f"{one['fitness']:+.2f} bps"
    return f"{one['genotype_hash'][:12]}: {worth}<br>{_made(one)}"


def _made(one: Trial) -> str:
    return f"{one['lineage']['operator']}: {one['lineage']['words'] or 'as it was given'}"
