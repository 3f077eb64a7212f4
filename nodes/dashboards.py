"""Dashboard of Grafana, from a table: ``python -m alphatrade.nodes.dashboards deploy/grafana/dashboards`` writes it."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from alphatrade.risk.disk import write_whole

SOURCE = {"type": "prometheus", "uid": "prometheus"}
_OF = 'job="alphatrade",instance=~"$instance"'
_WIDE, _HIGH = 8, 8  # of a panel, in Grafana's 24 columns


class Panel(NamedTuple):
    """
    One graph.

    Attributes
    ----------
    title : str
    lines : tuple of (str, str)
        Expression, in which ``%s`` stands for the labels of the chosen node, and legend.
    unit : str
        As Grafana names it.
    """

    title: str
    lines: tuple[tuple[str, str], ...]
    unit: str = "short"


def _one(title: str, name: str, legend: str, unit: str = "short") -> Panel:
    return Panel(title, ((f"alphatrade_{name}{{%s}}", legend),), unit)


def _quantile(share: float) -> tuple[str, str]:
    rate = "rate(alphatrade_stage_duration_seconds_bucket{%s}[$__rate_interval])"
    return f"histogram_quantile({share}, {rate})", f"{{{{stage}}}} p{share * 100:g}"


def _rate(title: str, name: str, legend: str) -> Panel:
    return Panel(title, ((f"rate(alphatrade_{name}{{%s}}[$__rate_interval])", legend),), "cps")


ROWS: dict[str, tuple[Panel, ...]] = {
    "Latency": (
        Panel("Stages, median", (_quantile(0.5),), "s"),
        Panel("Stages, slowest of a hundred", (_quantile(0.99),), "s"),
        Panel(
            "Budget burnt by slow decisions, times",
            tuple((f"alphatrade:decision_latency_errors:{w}{{%s}} / 0.01", w) for w in ("5m", "1h", "6h", "3d")),
        ),
        _one("Lag of the loop", "loop_lag_seconds", "lag", "s"),
        Panel("Age of the beat", (("time() - alphatrade_beat_timestamp_seconds{%s}", "age"),), "s"),
        Panel(
            "Age of the feed",
            (("alphatrade_feed_age_seconds{%s}", "age"), ("alphatrade_feed_age_limit_seconds{%s}", "limit")),
            "s",
        ),
    ),
    "Throughput": (
        _rate("Events", "events_total", "events"),
        Panel(
            "Orders and fills",
            tuple((f"rate(alphatrade_{n}_total{{%s}}[$__rate_interval])", n) for n in ("orders", "fills")),
            "cps",
        ),
        _one("Queues", "queue_length", "{{queue}}"),
        _rate("Records of the journal", "journal_records_total", "records"),
        _one("Feed lost and back", "feed_gaps_total", "gaps"),
    ),
    "Profit and its swings": (
        _one("Equity", "equity", "{{currency}}"),
        _one("Change today", "day_change", "{{currency}}"),
        Panel(
            "Largest swing in an hour",
            (("max_over_time(alphatrade_equity{%s}[1h]) - min_over_time(alphatrade_equity{%s}[1h])", "{{currency}}"),),
        ),
        _one("Drawdown", "drawdown_ratio", "drawdown", "percentunit"),
        _one("Cash", "cash", "{{currency}}"),
        _one("Positions", "position", "{{instrument}}"),
    ),
    "Memory": (
        _one("Resident memory", "resident_memory_bytes", "memory", "bytes"),
        Panel("Growth in an hour", (("deriv(alphatrade_resident_memory_bytes{%s}[2h]) * 3600", "growth"),), "bytes"),
        _one("Beats of this process", "beats_total", "beats"),
    ),
    "Risk": (
        Panel(
            "Use of limits", (("alphatrade_exposure{%s} / alphatrade_exposure_limit{%s}", "{{limit}}"),), "percentunit"
        ),
        _rate("Denials", "denials_total", "{{reason}}"),
        _rate("Near-misses", "near_misses_total", "{{reason}}"),
        _one("Kill switch", "kill_state", "{{state}}"),
        _one("Session", "session_open", "open"),
        Panel(
            "Mechanisms that are off or refuse",
            (
                ("alphatrade_faults{%s}", "{{mechanism}} off"),
                ("increase(alphatrade_refusals_total{%s}[10m])", "{{mechanism}} refused"),
            ),
        ),
    ),
    "Learning": (
        Panel(
            "Drift, share of the threshold",
            (("alphatrade_drift_statistic{%s} / alphatrade_drift_threshold{%s}", "{{stream}} {{detector}}"),),
            "percentunit",
        ),
        _one("Drift alarms", "drift_alarms_total", "alarms"),
        Panel(
            "Fast weights, share of their bound",
            (("alphatrade_sigma_norm{%s} / alphatrade_sigma_bound{%s}", "{{instrument}}"),),
            "percentunit",
        ),
        Panel(
            "Coverage of the diary, 1 h", (("1 - alphatrade:diary_coverage_errors:1h{%s}", "coverage"),), "percentunit"
        ),
        _one("Lag of the diary", "diary_lag_seconds", "lag", "s"),
        _one("What runs", "info", "{{policy}} {{code}}"),
    ),
}


def expressions() -> list[str]:
    """Return every expression of the dashboards, with values for Grafana's variables."""
    found = [expr for panels in ROWS.values() for panel in panels for expr, _ in panel.lines]
    return [_of(expr).replace("$instance", ".*").replace("$__rate_interval", "1m") for expr in found]


def _of(expression: str) -> str:
    return expression.replace("%s", _OF)


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana reads it."""
    node = {
        "name": "instance", "label": "node", "type": "query", "datasource": SOURCE, "refresh": 2, "includeAll": True,
        "multi": True, "query": {"query": "label_values(up{job=\"alphatrade\"}, instance)", "refId": "node"},
    }  # fmt: skip
    return {
        "uid": "alphatrade", "title": "AlphaTrade", "tags": ["alphatrade"], "schemaVersion": 39, "version": 1,
        "refresh": "5s", "time": {"from": "now-6h", "to": "now"}, "timezone": "utc", "editable": False,
        "templating": {"list": [node]}, "annotations": {"list": [_firing()]}, "panels": list(_panels()),
    }  # fmt: skip


def _firing() -> dict[str, Any]:
    firing = 'ALERTS{alertstate="firing",severity=~"page|ticket",instance=~"$instance"}'
    return {"name": "alerts", "datasource": SOURCE, "enable": True, "expr": firing, "titleFormat": "{{alertname}}"}


def _panels() -> Iterable[dict[str, Any]]:
    number, y = 1, 0
    for title, panels in ROWS.items():
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
               "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}  # fmt: skip
        number, y = number + 1, y + 1
        for place, panel in enumerate(panels):
            at = {"x": place * _WIDE % 24, "y": y + place * _WIDE // 24 * _HIGH, "w": _WIDE, "h": _HIGH}
            yield {"id": number, "type": "timeseries", "title": panel.title, "datasource": SOURCE, "gridPos": at,
                   "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
                   "targets": [{"refId": chr(65 + n), "datasource": SOURCE, "expr": _of(expr), "legendFormat": legend}
                               for n, (expr, legend) in enumerate(panel.lines)]}  # fmt: skip
            number += 1
        y += -(-len(panels) * _WIDE // 24) * _HIGH


def text() -> str:
    """Return the file of the dashboard."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    (_folder := Path(sys.argv[1])).mkdir(parents=True, exist_ok=True)
    write_whole(_folder / "alphatrade.json", text())
