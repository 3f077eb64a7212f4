"""Theory packets: what drifted, since when, on what evidence, what moved with it, what was done, how to look again.

One JSON for machines and one page of Markdown for people, for each alarm that acts (alert, flat). The evidence is a
slice of the diary, named by its decisions and sealed by the sha256 of its rows as RFC 8785 JSON, one a line.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import rfc8785

from alphatrade.actors.messages import DriftSignal

RUNBOOK = "docs/learning.md#runbook-drift"
COLUMNS = ("decision", "ts", "instrument", "step", "exec_topo", "regime", "regime_confidence", "action", "features")
CONFIDENCE = "regime_confidence"
_DIGITS = 9
_ACTIONS = {
    "alert": "exploration is frozen, clips are halved from the next decision on",
    "flat": "exploration is frozen, nothing is opened and what is held is closed from the next decision on",
}


class Row(NamedTuple):
    """A decision as evidence: columns of the diary, and its raw features in the order of their names."""

    decision: int
    ts: int
    instrument: str
    step: int
    tactic: str
    regime: str
    confidence: float
    action: str
    features: Sequence[float]


def packet(
    number: int, signal: DriftSignal, rows: Iterable[Row], names: Sequence[str], policy_hash: str
) -> dict[str, Any]:
    """
    Return the packet of an alarm as plain values.

    Parameters
    ----------
    number : int
        Of the packet in its run, from 1.
    signal : DriftSignal
        ``alert`` or ``flat``.
    rows : iterable of Row
        Recent decisions in time order, of any instrument.
    names : sequence of str
        Feature names in vector order.
    policy_hash : str
    """
    own = [row for row in rows if row.instrument == signal.instrument and row.ts < signal.ts]
    before = [row for row in own if row.ts <= signal.change_point]
    after = [row for row in own if row.ts > signal.change_point]
    return {
        "number": number,
        "what": {
            "instrument": signal.instrument,
            "stream": signal.stream,
            "level": signal.level,
            "chart": signal.chart,
            "statistic": round(signal.statistic, _DIGITS),
            "threshold": round(signal.threshold, _DIGITS),
            "detail": signal.detail,
        },
        "at": _moment(signal.ts),
        "since": _moment(signal.change_point) | {"last_good": signal.last_good},
        "evidence": {
            "decisions": [after[0].decision, after[-1].decision] if after else None,
            "rows": len(after),
            "whole": bool(before),  # the memory reaches beyond the change point
            "columns": list(COLUMNS),
            "sha256": digest(after),
        },
        "shifts": shifts(before, after, names),
        "action": {"factor": signal.factor, "freeze": signal.freeze, "words": _ACTIONS[signal.level]},
        "reproduce": reproduce(signal),
        "policy_hash": policy_hash,
        "runbook": RUNBOOK,
    }


def digest(rows: Iterable[Row]) -> str:
    """Return the sha256 of rows as RFC 8785 JSON, one a line; times as strings, what is no number as null."""
    sha = hashlib.sha256()
    for row in rows:
        features = [_number(value) for value in row.features]
        plain = [*row[:1], str(row.ts), *row[2:6], _number(row.confidence), row.action, features]
        sha.update(rfc8785.dumps(plain) + b"\n")
    return sha.hexdigest()


def shifts(before: Sequence[Row], after: Sequence[Row], names: Sequence[str]) -> list[dict[str, Any]]:
    """
    Return what differs between the decisions before and after the change point, largest effect first.

    Effect size is Cohen's d (1988): difference of the means over the pooled standard deviation; None where a side has
    fewer than two finite values or nothing varies.
    """
    out = []
    for name, *sides in zip((*names, CONFIDENCE), _columns(before, names), _columns(after, names), strict=True):
        old, new = (_mean(side) for side in sides)
        out.append({"name": name, "before": old, "after": new, "d": cohens_d(*sides)})
    return sorted(out, key=lambda row: (-abs(row["d"] or 0.0), row["name"]))


def cohens_d(before: Sequence[float], after: Sequence[float]) -> float | None:
    """Return (mean after - mean before) / pooled standard deviation, rounded; None where it is not defined."""
    if len(before) < 2 or len(after) < 2:
        return None
    sides = [np.asarray(side) for side in (before, after)]  # sums stay exact: numpy's depend on the CPU
    means = [math.fsum(side.tolist()) / len(side) for side in sides]
    squares = [math.fsum(np.square(side - mean).tolist()) for side, mean in zip(sides, means, strict=True)]
    pooled = math.sqrt(math.fsum(squares) / (len(before) + len(after) - 2))
    return round((means[1] - means[0]) / pooled, _DIGITS) if pooled > 0.0 else None


def reproduce(signal: DriftSignal) -> str:
    """Return the command that shows the evidence again."""
    return (
        "alphatrade diary RUN_DIR \"select d.*, e.* exclude (decision, ts) from decisions d "
        "join expost e using (decision) "
        f"where d.instrument = '{signal.instrument}' and d.ts > {signal.change_point} and d.ts < {signal.ts}\""
    )


def page(packet: dict[str, Any]) -> str:
    """Return a packet as one page of Markdown."""
    what, since, evidence = packet["what"], packet["since"], packet["evidence"]
    shown = [row for row in packet["shifts"] if row["d"] is not None][:10]
    table = [f"| {row['name']} | {row['before']:.6g} | {row['after']:.6g} | {row['d']:+.2f} |" for row in shown]
    span = "none in memory" if evidence["decisions"] is None else "{} to {}".format(*evidence["decisions"])
    return "\n".join(
        [
            f"# Drift {packet['number']}: {what['stream']} of {what['instrument']} ({what['level']})",
            "",
            f"- **What:** {what['detail']}",
            f"- **Alarm:** {packet['at']['time']}, {what['chart']} {what['statistic']:.2f} > {what['threshold']:.2f}",
            f"- **Since:** about {since['time']} (last zero of the chart; last good: {since['last_good']})",
            f"- **Action:** {packet['action']['words']} (factor {packet['action']['factor']:g})",
            f"- **Evidence:** {evidence['rows']} decisions, {span}; sha256 `{evidence['sha256']}`",
            f"- **Policy:** `{packet['policy_hash']}`",
            f"- **What to do:** {packet['runbook']}",
            "",
            "What moved with it (Cohen's d; a co-movement, not a cause):",
            "",
            "| feature | mean before | mean after | d |",
            "|---|---|---|---|",
            *(table or ["| too little in memory | | | |"]),
            "",
            "Look again:",
            "",
            "```sh",
            packet["reproduce"],
            "```",
            "",
        ]
    )


def file_name(packet: dict[str, Any]) -> str:
    """Return the name of a packet's files, without suffix."""
    return f"{packet['number']:03d}-{packet['what']['stream'].replace(':', '-')}"


def _moment(ts: int) -> dict[str, str]:
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ts // 1000)
    return {"ts": str(ts), "time": time.isoformat(timespec="seconds")}


def _columns(rows: Sequence[Row], names: Sequence[str]) -> list[list[float]]:
    """Return the finite values of every feature, and of the confidence."""
    table = np.empty((len(rows), len(names) + 1))
    if rows:
        table[:, :-1] = [row.features for row in rows]
        table[:, -1] = [row.confidence for row in rows]
    return [column[np.isfinite(column)].tolist() for column in table.T]


def _mean(values: Sequence[float]) -> float | None:
    return round(math.fsum(values) / len(values), _DIGITS) if values else None


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
