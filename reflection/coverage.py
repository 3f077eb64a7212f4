"""Coverage: which orders of a run the diary explains, and which decision steps it has; plain SQL over the run's files.

An order is *attributed* when the diary row of its decision has a non-empty belief, at least one probe that is known
(columns ``p_<name>``, neither null nor NaN) and an explanation. The denominator is every order that the engine saw:
denied ones and those with which the law itself flattened are in it. A *decision step* is a belief snapshot from the end
of the warm-up on, instrument by instrument; where a canary flies it is written when both policies have a row.
"""

from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from alphatrade.reflection.query import open_views, read_mapping
from alphatrade.risk.errors import RunDirError

ATTRIBUTION_TARGET = 0.95
DIARY_TARGET = 0.99
NAMED = 5  # ids that an alert names

# A foreign order carries no tag: its diary row names it. A tagged one is named by later rows too, which modified it.
_ORDERS = """
    WITH sent AS (SELECT order_id, min(decision) AS tag, min(seq) AS seq FROM orders GROUP BY order_id),
         named AS (SELECT order_id, arg_min(decision, ts) AS decision
                   FROM (SELECT unnest(order_ids) AS order_id, decision, ts FROM decisions) GROUP BY order_id)
    SELECT sent.order_id,
           CASE WHEN d.decision IS NULL THEN 'no diary row'
                WHEN coalesce(len(d.belief_idx), 0) = 0 THEN 'empty belief'
                WHEN {probes} = 0 THEN 'no probe'
                WHEN coalesce(trim(d.explanation), '') = '' THEN 'no explanation' END AS lack
    FROM sent LEFT JOIN named ON sent.tag IS NULL AND sent.order_id = named.order_id
    LEFT JOIN decisions d ON d.decision = coalesce(sent.tag, named.decision)
    ORDER BY sent.seq
"""

_STEPS = """
    SELECT b.instrument, b.step, coalesce(d.policies, 0) >= {policies} AS written
    FROM beliefs b LEFT JOIN (SELECT instrument, step, count(DISTINCT coalesce(policy_hash, '')) AS policies
                              FROM decisions WHERE decision >= 0 GROUP BY instrument, step) d
    ON b.instrument = d.instrument AND b.step = d.step
    WHERE b.step >= {first} ORDER BY b.instrument, b.step
"""


class Coverage(NamedTuple):
    """
    What the diary covers.

    Attributes
    ----------
    orders, attributed : int
        All orders of the engine, and those that the diary explains.
    steps, written : int
        Decision steps, and those with a diary row.
    lacks : dict of str to list of str
        What is missing -> the ids of the orders that lack it, oldest first.
    gaps : list of str
        Decision steps without a row, ``<instrument> step <n>``.
    """

    orders: int
    attributed: int
    steps: int
    written: int
    lacks: dict[str, list[str]]
    gaps: list[str]

    @property
    def attribution(self) -> float:
        """Share of all orders that are attributed; 1 where there is no order to explain."""
        return self.attributed / self.orders if self.orders else 1.0

    @property
    def diary_coverage(self) -> float:
        """Diary rows per decision step; 0 where nothing was decided."""
        return self.written / self.steps if self.steps else 0.0

    @property
    def alerts(self) -> tuple[str, ...]:
        """One line for each figure below its target: what is missing and the first few ids."""
        lines = []
        if self.attribution < ATTRIBUTION_TARGET:
            what = "; ".join(f"{len(ids)} with {lack}: {_some(ids)}" for lack, ids in self.lacks.items())
            lines.append(
                f"missing data: attribution {self.attribution:.2%} < {ATTRIBUTION_TARGET:.0%} of {self.orders} orders "
                f"({what})"
            )
        if self.diary_coverage < DIARY_TARGET:
            what = f"no diary row at {_some(self.gaps)}" if self.gaps else "no decision step at all"
            lines.append(
                f"missing data: diary coverage {self.diary_coverage:.2%} < {DIARY_TARGET:.0%} of {self.steps} steps "
                f"({what})"
            )
        return tuple(lines)


def coverage(run_dir: Path, warmup: int | None = None) -> Coverage:
    """
    Measure what the diary of a run covers.

    Parameters
    ----------
    run_dir : Path
        Folder of a run.
    warmup : int, optional
        Steps before the first decision; none: as ``summary.json`` tells it.

    Raises
    ------
    RunDirError
        If the folder is not that of a run, does not tell its warm-up, or a file in it is damaged.
    """
    run_dir = Path(run_dir)
    with open_views(run_dir) as base:
        first = _warmup(run_dir) if warmup is None else warmup
        policies = 2 if "canary" in read_mapping(run_dir, "run.yaml") else 1
        try:
            lacks, attributed = _orders(base)
            steps = base.execute(_STEPS.format(first=max(first - 1, 0), policies=policies)).fetchall()
        except duckdb.Error as error:
            what = str(error).strip().splitlines()[0]
            raise RunDirError(str(run_dir), what, "files as `alphatrade sim` writes them") from error
    gaps = [f"{instrument} step {step}" for instrument, step, written in steps if not written]
    orders = attributed + sum(map(len, lacks.values()))
    return Coverage(orders, attributed, len(steps), len(steps) - len(gaps), lacks, gaps)


def _orders(base: duckdb.DuckDBPyConnection) -> tuple[dict[str, list[str]], int]:
    """Return what orders lack, most frequent first, and how many lack nothing."""
    kinds = base.execute("SELECT column_name, column_type FROM (DESCRIBE decisions)").fetchall()
    known = [
        f"coalesce(NOT isnan(\"{name.replace('\"', '\"\"')}\"), false)::INT" if kind in ("DOUBLE", "FLOAT")
        else f"(\"{name.replace('\"', '\"\"')}\" IS NOT NULL)::INT"
        for name, kind in kinds
        if name.startswith("p_")
    ]  # fmt: skip
    rows: list[tuple[str, Any]] = base.execute(_ORDERS.format(probes=" + ".join(known) or "0")).fetchall()
    lacks: dict[str, list[str]] = {}
    for order_id, lack in rows:
        if lack is not None:
            lacks.setdefault(lack, []).append(order_id)
    ordered = sorted(lacks.items(), key=lambda item: (-len(item[1]), item[0]))
    return dict(ordered), sum(lack is None for _, lack in rows)


def _warmup(run_dir: Path) -> int:
    warmup = read_mapping(run_dir, "summary.json").get("warmup")
    if not isinstance(warmup, int):
        raise RunDirError(f"{run_dir}/summary.json:warmup", warmup, "the steps before the first decision of the run")
    return warmup


def format_coverage(found: Coverage) -> str:
    """Return the figures beside their targets, and the alerts."""
    rows = (
        ("attribution", found.attributed, found.orders, "orders", found.attribution, ATTRIBUTION_TARGET),
        ("diary coverage", found.written, found.steps, "steps", found.diary_coverage, DIARY_TARGET),
    )
    lines = [
        f"{name:<15} {share:>8.2%}  target {target:.0%}  {have:,} of {whole:,} {what}"
        for name, have, whole, what, share, target in rows
    ]
    lines += [f"  {len(ids):,} orders with {lack}: {_some(ids)}" for lack, ids in found.lacks.items()]
    return "\n".join([*lines, "", *(found.alerts or ("COVERED",))])


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
    return ", ".join(ids[:NAMED]) + more
