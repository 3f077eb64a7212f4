"""A job made of isolated checks: each is a row, one that cannot be made is a failed row, and all become one page."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from alphatrade.reflection.report import render
from alphatrade.reflection.report_blocks import Block, Section
from alphatrade.reflection.report_tables import Card, Table
from alphatrade.risk.errors import AlphaTradeError


class Row(NamedTuple):
    """What was checked, what came of it in a few words, more about it, and whether it holds."""

    check: str
    result: str
    detail: str
    holds: bool


def isolated(check: str, step: Callable[[], Row]) -> Row:
    """Return the row of a step; an error that AlphaTrade raises on purpose becomes a failed row."""
    try:
        return step()
    except AlphaTradeError as error:
        return Row(check, "not possible", str(error), False)


def as_json(rows: Sequence[Row], **facts: Any) -> dict[str, Any]:
    """Return facts and rows as plain values, with whether all of them hold."""
    return {**facts, "holds": all(row.holds for row in rows), "rows": [row._asdict() for row in rows]}


def page(title: str, eyebrow: str, facts: list[str], rows: Sequence[Row], root: Path, links: dict[str, str]) -> str:
    """
    Return one page: the rows, then links to what was made.

    Parameters
    ----------
    links : dict of str to str
        Words to a path below `root`; what is not there is left out.
    """
    good = sum(row.holds for row in rows)
    table = [[row.check, row.result, row.detail, "holds" if row.holds else "DOES NOT HOLD"] for row in rows]
    made = [(words, path) for words, path in links.items() if (root / path).exists()]
    shown = [Markup(f'<a href="{escape(path)}">{escape(words)}</a>') for words, path in made]
    sections = [
        Section("checks", "Checks", "", [Block("table", Table(["check", "result", "detail", ""], table, 4))]),
        Section("files", "What was made", "", [Block("list", shown) if shown else Block("empty", "Nothing.")]),
    ]
    tone = "good" if good == len(rows) else "bad"
    cards = [Card("Checks that hold", f"{good} of {len(rows)}", "one that cannot be made does not hold", tone)]
    return render(figures=False, eyebrow=eyebrow, title=title, facts=facts, tags=[], killed=None, cards=cards,
                  sections=sections, tearsheet=False)  # fmt: skip
