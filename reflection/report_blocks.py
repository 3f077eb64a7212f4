"""What sections of a page are made of."""

from typing import Any, NamedTuple

from markupsafe import Markup

from alphatrade.reflection.report_tables import Table


class Block(NamedTuple):
    """One piece of a section; `kind` is figure, key, table, list, heading, note, alarm or empty."""

    kind: str
    content: Any


class Section(NamedTuple):
    """A titled part of the page."""

    name: str
    title: str
    lead: str
    blocks: list[Block]


def figure(content: str) -> Block:
    """Return a figure; only what this package drew itself, since it is not escaped."""
    return Block("figure", Markup(content))


def filled(table: Table, reason: str) -> Block:
    """Return a table, or the reason why it has no rows."""
    return Block("table", table) if table.rows else Block("empty", reason)


def empty(reason: str) -> list[Block]:
    """Return a section's only block: why there is nothing to show."""
    return [Block("empty", reason)]
