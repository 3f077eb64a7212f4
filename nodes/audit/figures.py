"""Figures of the self-assessment, from what the archive has."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import plotly.graph_objects as go

from alphatrade.evolution.dossier import unpack
from alphatrade.nodes.dossier import EVIDENCE
from alphatrade.reflection.ledger_chain import Entry
from alphatrade.reflection.report_plots import BLUE, GREY, ORANGE, framed

POINTS = 500  # of a line


def entered(entries: Sequence[Entry]) -> str:
    """Return how many entries of each kind the ledger has got, day by day."""
    counts = Counter((_day(entry.ts), entry.kind) for entry in entries)
    days = sorted({day for day, _ in counts})
    plot = go.Figure()
    for kind in sorted({kind for _, kind in counts}):
        plot.add_bar(x=days, y=[counts[day, kind] for day in days], name=kind)
    plot.update_layout(barmode="stack")
    plot.update_xaxes(type="category")
    plot.update_yaxes(title_text="entries")
    return framed(plot, "entries", 300)


def returns(members: Mapping[str, bytes]) -> str:
    """Return how each run has gone: what it has made of its capital, per cent."""
    plot = go.Figure()
    for name in sorted({path.split("/")[1] for path in members if path.startswith("runs/")}):
        rows = _rows(members, f"runs/{name}/equity.jsonl")
        kept = rows[:: max(1, len(rows) // POINTS)]
        first = float(kept[0]["equity"]) if kept else 1.0  # a session that goes on has won or lost before
        share = [100 * (float(row["equity"]) / first - 1) for row in kept]
        times = [datetime.fromtimestamp(int(row["ts"]) / 1e9, UTC).isoformat() for row in kept]
        plot.add_scatter(x=times, y=share, name=name[:8], mode="lines")
    plot.update_yaxes(title_text="% of the capital")
    return framed(plot, "equity", 320)


def denials(members: Mapping[str, bytes]) -> str:
    """Return how often which limit has denied an order, or nearly."""
    plot = go.Figure()
    events = [row for path in members if path.endswith("/risk_events.jsonl") for row in _rows(members, path)]
    for kind, colour in (("denied", ORANGE), ("near_miss", GREY)):
        counts = Counter(str(row["limit"]) for row in events if row["kind"] == kind)
        names = sorted(counts)
        plot.add_bar(x=names, y=[counts[name] for name in names], name=kind.replace("_", " "), marker={"color": colour})
    plot.update_xaxes(type="category")
    plot.update_yaxes(title_text="times")
    return framed(plot, "denials", 280)


def validated(members: Mapping[str, bytes]) -> Iterator[str]:
    """Yield for each dossier what its policy has made in the cells that a search might see, and in those held out."""
    for path in sorted(name for name in members if name.startswith("dossiers/")):
        evidence = json.loads(unpack(members[path], path)[EVIDENCE])
        seen = evidence["again"][0]["cells"] if evidence["again"] else []
        plot = go.Figure()
        for cells, name, colour in ((seen, "seen", GREY), (evidence["holdout"], "held out", BLUE)):
            made = [(_cell(one), 100 * one["net_return"]) for one in cells if one["net_return"] is not None]
            plot.add_bar(x=[at for at, _ in made], y=[y for _, y in made], name=name, marker={"color": colour})
        plot.update_layout(title=f"policy {evidence['policy_hash'][:12]}")
        plot.update_xaxes(type="category")
        plot.update_yaxes(title_text="net return, %")
        yield framed(plot, f"validated-{path.rpartition('/')[2][:12]}", 300)


def _cell(one: Mapping[str, Any]) -> str:
    return f"{_day(int(one['start']))} {int(one['start']) // 10**9 % 86_400 // 3600:02d} h"


def _rows(members: Mapping[str, bytes], name: str) -> list[Any]:
    return [json.loads(line) for line in members.get(name, b"").splitlines()]


def _day(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).date().isoformat()
