"""``kpi.json`` and ``kpi.html``: the key figures of a ledger as files."""

import json
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from alphatrade.reflection.kpi import kpis
from alphatrade.reflection.report import render
from alphatrade.reflection.report_blocks import Block, Section, figure, filled
from alphatrade.reflection.report_plots import BLUE, GREY, ORANGE, SKY, framed
from alphatrade.reflection.report_tables import DASH, Card, Table, number
from alphatrade.reflection.trials import Book
from alphatrade.risk.disk import write_whole
from alphatrade.risk.errors import RunDirError

JSON, HTML = "kpi.json", "kpi.html"
NOBODY = "nobody that is known"
_VERDICTS = {True: "holds", False: "DOES NOT HOLD", None: "not told"}
_COLOURS = (BLUE, SKY, GREY, "#e69f00", "#009e73", "#cc79a7")


def write_kpis(book: Book, artifacts: Path, date: str = "") -> tuple[Path, dict[str, Any]]:
    """
    Write both files into ``artifacts/<date>/`` and return that folder and the figures.

    Parameters
    ----------
    book : Book
    artifacts : Path
    date : str
        Of the folder, ISO; empty: that of the last entry.

    Raises
    ------
    RunDirError
        If they cannot be written.
    """
    found = kpis(book)
    folder = artifacts.expanduser() / (date or found["as_of"][:10])
    page = _page(found)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / HTML, page)
        write_whole(folder / JSON, json.dumps(found, indent=2, sort_keys=True) + "\n")
    except OSError as error:
        raise RunDirError(str(folder), error.strerror or str(error), "a writable folder with free space") from error
    return folder, found


def rows(found: dict[str, Any]) -> list[list[str]]:
    """Return the figures as words: id, what, figure, target, whether it holds, of how many, and how many lack it."""
    return [
        [one["id"], one["what"], "missing" if one["figure"] is None else f"{number(one['figure'], 3)} {one['unit']}",
         one["target"] or DASH, _VERDICTS[one["holds"]] if one["target"] else DASH, str(one["n"]), str(one["missing"])]
        for one in found["figures"]
    ]  # fmt: skip


def _page(found: dict[str, Any]) -> str:
    held = [one for one in found["figures"] if one["holds"] is not None]
    good = sum(one["holds"] for one in held)
    targets = sum(bool(one["target"]) for one in found["figures"])
    tone = "bad" if good < len(held) else "good" if held else ""
    unknown = f"{targets - len(held)} of {targets} targets have nothing to hold against them"
    return render(
        figures=bool(found["people"] or found["searches"]),
        eyebrow="evolution",
        title="What evolution comes to",
        facts=[f"as of {found['as_of']}", f"ledger {found['fingerprint'][:12]}", f"head {found['head'][:16]}"],
        tags=["recomputed from the ledger alone"],
        killed=None,
        cards=[
            Card("Targets that hold", f"{good} of {len(held)}", unknown, tone),
            Card("Trials", number(found["trials"], 0), f"in {len(found['searches'])} searches and by hand"),
            Card("Looks at held-out cells", number(found["looks"], 0), "outside of the search"),
            Card("Promotions", number(len(found["promotions"]), 0), f"{len(found['retreats'])} times down or back"),
        ],
        sections=[_figures(found), _people(found), _searches(found), _moves(found)],
        tearsheet=False,
    )


def _figures(found: dict[str, Any]) -> Section:
    head = ["", "figure", "value", "target", "", "n", "not told"]
    lead = "What the ledger does not tell is missing: neither nought nor a pass."
    return Section("figures", "Key figures", lead, [Block("table", Table(head, rows(found), 5))])


def _people(found: dict[str, Any]) -> Section:
    table = [
        [one["week"], one["person"] or NOBODY, number(one["trials"], 0), number(one["faulty"], 0), str(one["searches"])]
        for one in found["people"]
    ]
    head = ["week", "person", "trials", "faulty", "searches"]
    blocks = [figure(_weekly(found["people"]))] if table else []
    blocks.append(filled(Table(head, table, 2), "No trials yet."))
    lead = "A service's trial belongs to the person who signed its search, else to the one that the service works for."
    return Section("people", "Experiments per person and week", lead, blocks)


def _weekly(people: list[dict[str, Any]]) -> str:
    plot = go.Figure()
    weeks = sorted({one["week"] for one in people})
    for at, person in enumerate(sorted({one["person"] for one in people})):
        own = {one["week"]: one["trials"] for one in people if one["person"] == person}
        colour = _COLOURS[at % len(_COLOURS)]
        plot.add_bar(x=weeks, y=[own.get(week, 0) for week in weeks], name=person or NOBODY, marker={"color": colour})
    total = [sum(one["trials"] for one in people if one["week"] == week) for week in weeks]
    faulty = [sum(one["faulty"] for one in people if one["week"] == week) for week in weeks]
    share = [100 * bad / n if n else None for bad, n in zip(faulty, total, strict=True)]
    line = {"color": ORANGE, "width": 1.5}
    plot.add_scatter(x=weeks, y=share, name="faulty (%)", yaxis="y2", mode="lines+markers", line=line)
    right = {"overlaying": "y", "side": "right", "range": [0, 100], "title": "faulty (%)"}
    plot.update_layout(barmode="stack", yaxis2=right)
    plot.update_yaxes(title_text="trials", selector={"overlaying": None})
    plot.update_xaxes(type="category")
    return framed(plot, "weeks", 340)


def _searches(found: dict[str, Any]) -> Section:
    table = [
        [one["search"][:12], one["started"], one["by"], number(one["trials"], 0), number(one["budget"], 0),
         number(one["faulty"], 0), number(one["hours_to_scored"], 2), number(one["hours_to_paper"], 2)]
        for one in found["searches"]
    ]  # fmt: skip
    head = ["search", "started", "by", "trials", "budget", "faulty", "h to scored", "h to paper"]
    blocks = [figure(_budgets(found["searches"]))] if table else []
    blocks.append(filled(Table(head, table, 3), "No search was entered."))
    return Section("searches", "Searches", "Hours count from the entry of the search, before its first trial.", blocks)


def _budgets(searches: list[dict[str, Any]]) -> str:
    plot = go.Figure()
    names = [f"{at + 1}: {one['search'][:8]}" for at, one in enumerate(searches)]
    plot.add_bar(x=names, y=[one["budget"] for one in searches], name="budget", marker={"color": "#dfe2e5"})
    plot.add_bar(x=names, y=[one["trials"] for one in searches], name="trials", marker={"color": BLUE}, width=0.4)
    plot.update_layout(barmode="overlay")
    plot.update_xaxes(type="category")
    return framed(plot, "budgets", 300)


def _moves(found: dict[str, Any]) -> Section:
    ups = [[one["ts"], one["policy_hash"][:12], one["to"], one["by"], "; ".join(one["lacks"]) or "nothing"]
           for one in found["promotions"]]  # fmt: skip
    downs = [
        [one["ts"], one["policy_hash"][:12], one["kind"], f"{one['from']} to {one['to']}", one["by"], one["why"],
         number(one["seconds"], 1)]
        for one in found["retreats"]
    ]  # fmt: skip
    blocks = [
        filled(Table(["when", "policy", "to", "by", "lacks"], ups, 5), "Nothing was promoted."),
        Block("heading", "Demotions and rollbacks"),
        filled(Table(["when", "policy", "kind", "stages", "by", "why", "seconds"], downs, 6), "There were none."),
    ]
    return Section("moves", "Promotions", "A promotion is sound if it lacks nothing.", blocks)
