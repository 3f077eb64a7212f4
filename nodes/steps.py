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

VERDICTS = {True: "holds", False: "DOES NOT HOLD", None: "nothing to check"}


class Row(NamedTuple):
    """What was checked, what came of it in a few words, more about it, and whether it holds; None: nothing to check."""

    check: str
    result: str
    detail: str
    holds: bool | None


def isolated(check: str, step: Callable[[], Row]) -> Row:
    """Return the row of a step; an error that AlphaTrade raises on purpose becomes a failed row."""
    try:
        return step()
    except AlphaTradeError as error:
        return Row(check, "not possible", str(error), False)


def as_json(rows: Sequence[Row], **facts: Any) -> dict[str, Any]:
    """Return facts and rows as plain values, with whether none of them fails."""
    return {**facts, "holds": not failed(rows), "rows": [row._asdict() for row in rows]}


def failed(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that do not hold."""
    return [row for row in rows if row.holds is False]


def tally(rows: Sequence[Row]) -> str:
    """Return how many of the rows that had something to check hold."""
    return f"{sum(row.holds is True for row in rows)} of {sum(row.holds is not None for row in rows)}"


def page(title: str, eyebrow: str, facts: list[str], rows: Sequence[Row], root: Path, links: dict[str, str]) -> str:
    """
    Return one page: the rows, then links to what was made.

    Parameters
    ----------
    links : dict of str to str
        Words to a path below `root`; what is not there is left out.
    """
    table = [[row.check, row.result, row.detail, VERDICTS[row.holds]] for row in rows]
    made = [(words, path) for words, path in links.items() if (root / path).exists()]
    shown = [Markup(f'<a href="{escape(path)}">{escape(words)}</a>') for words, path in made]
    sections = [
        Section("checks", "Checks", "", [Block("table", Table(["check", "result", "detail", ""], table, 4))]),
        Section("files", "What was made", "", [Block("list", shown) if shown else Block("empty", "Nothing.")]),
    ]
    tone = "bad" if failed(rows) else "good"
    cards = [Card("Checks that hold", tally(rows), "one that cannot be made does not hold", tone)]
    return render(figures=False, eyebrow=eyebrow, title=title, facts=facts, tags=[], killed=None, cards=cards,
                  sections=sections, tearsheet=False)  # fmt: skip
