"""The report of a day with real orders: what was reconciled, traded, paid and refused. Written anew after each look."""

import html
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphatrade.risk.disk import write_whole

if TYPE_CHECKING:
    from alphatrade.nodes.live.full import Outcome
    from alphatrade.nodes.live.sides import Book

FILE, PAGE = "reconcile.json", "reconcile.html"
SUMS = "traded", "fees", "positions", "taken_over", "handed_over"
_STYLE = "body{font:14px sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ccc}"


class DayReport:
    """
    Writes ``<artifacts>/<date>/live/<account>/reconcile.json`` and a page of the same.

    Parameters
    ----------
    artifacts : Path
    account : str
    about : mapping of str to str
        Policy, code, run and venue.
    tell : callable
        Takes a line where it cannot be written; that never stops the node.
    """

    def __init__(self, artifacts: Path, account: str, about: Mapping[str, str], tell: Callable[[str], object]) -> None:
        self._artifacts, self._account, self._about, self._tell = artifacts, account, about, tell
        self._day = ""
        self._known = dict[str, list[Any]]()  # by day: what runs of before have reconciled

    def write(
        self, outcomes: Sequence["Outcome"], book: "Book", kill: str, flat: bool | None = None,
        left: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """
        Write the report of the day of the last reconciliation, and once more that of the day before.

        Parameters
        ----------
        outcomes : sequence of Outcome
        book : Book
        kill : str
            State of the switch.
        flat : bool, optional
            Of a node that has ended.
        left : mapping of str to str, optional
            What it has left to the next one, by instrument.
        """
        day = _day(outcomes[-1].ts)
        for one in sorted({self._day or day, day}):
            try:
                self._write(one, outcomes, book, {"kill": kill, "flat": flat, "handed_over": dict(left or {})})
            except (OSError, ValueError) as error:
                self._tell(f"the report of {one} could not be written: {error}")
        self._day = day

    def folder(self, day: str) -> Path:
        """Return where the report of a day is."""
        return self._artifacts / day / "live" / self._account

    def _write(self, day: str, outcomes: Sequence["Outcome"], book: "Book", node: Mapping[str, Any]) -> None:
        folder = self.folder(day)
        if day not in self._known:
            self._known[day] = _before(folder / FILE)
        plain = self._plain(day, outcomes, book) | dict(node)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / FILE, json.dumps(plain, indent=1, sort_keys=True) + "\n")
        write_whole(folder / PAGE, page(plain))

    def _plain(self, day: str, outcomes: Sequence["Outcome"], book: "Book") -> dict[str, Any]:
        fills = [one for one in book.fills.values() if _day(one.ms * 1_000_000) == day]
        paid, traded = Counter[str](), Counter[str]()
        for one in fills:
            paid[one.asset] += one.fee  # type: ignore[assignment]
            traded[one.side] += one.qty * one.price  # type: ignore[assignment]
        rows = [*self._known[day], *(_told(one) for one in outcomes if _day(one.ts) == day)]
        return {
            "day": day, "account": self._account, "about": dict(self._about),
            "reconciliations": rows, "differences": sum(len(one["differences"]) for one in rows),
            "unread": sum(bool(one["unread"]) for one in rows),
            "fills": len(fills), "orders": len({one.order for one in fills}),
            "traded": _text(traded), "fees": _text(paid), "positions": _text(book.side().positions or {}),
            "taken_over": _text(book.taken),
            "refused": dict(Counter(" ".join(why.split())[:120] for why in book.refused.values())),
        }  # fmt: skip


def _day(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).date().isoformat()


def _text(amounts: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"{Decimal(value):f}" for name, value in sorted(amounts.items())}


def _told(one: "Outcome") -> dict[str, Any]:
    return {
        "ts": one.ts, "when": one.when, "unread": one.unread, "readings": one.readings, "orders": one.orders,
        "fills": one.fills, "took_s": round(one.took_s, 3),
        "differences": [odd._asdict() | {"by": f"{odd.by:f}"} for odd in one.differences],
    }  # fmt: skip


def _before(file: Path) -> list[Any]:
    """Return what a run of before has reconciled that day; a report that cannot be read is kept beside the new one."""
    try:
        return list(json.loads(file.read_text(encoding="utf-8"))["reconciliations"])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, LookupError, TypeError):
        file.replace(file.with_name(f"{FILE}.unreadable"))
        return []


def page(plain: Mapping[str, Any]) -> str:
    """Return a report as a page."""
    head = [(name, plain[name]) for name in ("day", "account", "kill", "fills", "orders", "differences", "unread")]
    head += [(name, ", ".join(f"{k} {v}" for k, v in plain[name].items())) for name in SUMS]
    head += [("refused", ", ".join(f"{why} ({count})" for why, count in plain["refused"].items()))]
    rows = [
        (datetime.fromtimestamp(one["ts"] // 10**9, UTC).isoformat(), one["when"], one["orders"], one["fills"],
         one["unread"] or "; ".join(odd["line"] for odd in one["differences"]) or "agree")
        for one in plain["reconciliations"]
    ]  # fmt: skip
    title = html.escape(f"Reconciliation of {plain['account']}, {plain['day']}")
    return (
        f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
        f"{_table((), head)}{_table(('when', 'at', 'orders', 'fills', 'outcome'), rows)}\n"
    )


def _table(names: tuple[str, ...], rows: list[Any]) -> str:
    head = "".join(f"<th>{name}" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}" for cell in row) for row in rows)
    return f"<table><tr>{head}{body}</table>"
