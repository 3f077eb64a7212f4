"""``make faults``: a thousand faults and fifty kills of a paper node whose orders go to an exchange.

``python -m benchmarks.faults [--segments 10] [--faults 100] [--kills 5] [--lanes 2]``

Every result is a line of a file at once; segments that are in it already are not run again.
"""

import argparse
import json
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from benchmarks.faults.segment import Row, segment
from benchmarks.figures import OUT, Figure, publish

COMMAND = "python -m benchmarks.faults"
WANTED = {"drop", "stall", "slow", "reorder", "duplicate", "gap", "reject", "rate_limit", "garbage", "skew", "restart"}
_LOCK = Lock()


def rows_of(raw: Path) -> list[Row]:
    """Return the results so far."""
    return [json.loads(line) for line in raw.read_text().splitlines()] if raw.is_file() else []


def run(seed: int, raw: Path, place: Path, faults: int, kills: int) -> None:
    """Run a segment, and append what comes of it."""
    try:
        for row in segment(place / str(seed), seed, faults, kills):
            _append(raw, {"segment": seed, **row})
    except Exception as error:  # a segment that could not be carried out is a failure, and the others still are
        _append(raw, {"segment": seed, "kind": "end", "wrong": [f"{type(error).__name__}: {error}"]})


def _append(raw: Path, row: Row) -> None:
    with _LOCK, raw.open("a") as file:
        file.write(json.dumps(row) + "\n")
    if row["wrong"]:
        print(f"segment {row['segment']}: {row['kind']} {row.get('name', '')}: {row['wrong']}", flush=True)


def figures(rows: list[Row]) -> list[Figure]:
    """Return the figures of all results."""
    faults, kills, ends = ([row for row in rows if row["kind"] == kind] for kind in ("fault", "kill", "end"))
    orders, waiting = sum(row.get("accepted", 0) for row in ends), sum(row["open"] for row in kills)
    kinds, tries = {row["name"] for row in faults}, len(faults) + len(kills)
    lost, doubled = (sum(row.get(name, 1) for row in ends) for name in ("lost", "doubled"))
    books = [row["books_s"] for row in kills]
    connect = [row["books_s"] - row["journal_s"] for row in kills if row["books_s"] and row["journal_s"]]
    return [
        _one("injected", f"faults that hit something, of {len(kinds)} kinds", len(faults), "faults", ">= 1000"),
        _one("kinds", "kinds of the list that were injected", len(WANTED & kinds), "kinds", "== 11"),
        _one("kills", "kill -9 while it trades", len(kills), "kills", ">= 50"),
        _one("orders", f"orders in the books, {waiting} open at a kill", orders, "orders", "> 0"),
        _one("lost", "orders lost, of those", lost, "orders", "== 0", orders),
        _one("doubled", "orders doubled, of those", doubled, "orders", "== 0", orders),
        _one(
            "apart",
            "faults and kills after which node and books differ",
            _wrong(faults + kills),
            "times",
            "== 0",
            tries,
        ),
        _one("ends", "nodes that were not flat, or whose record differs", _wrong(ends), "nodes", "== 0", len(ends)),
        *_quantiles("settle", "from the end of a fault to a beat that agrees", [row["agree_s"] for row in faults]),
        *_quantiles("recovery", "kill: from the process's start to a beat that agrees", [r["agree_s"] for r in kills]),
        *_quantiles("books", "kill: from the process's start to the books read", books),
        *_quantiles("connect", "kill: from the journal read to the books read", connect),
    ]


def _wrong(rows: list[Row]) -> int:
    return sum(bool(row["wrong"]) for row in rows)


def _one(name: str, what: str, value: float, unit: str, target: str, n: int = 1) -> Figure:
    sign, bound = target.split()
    holds = {"==": value == float(bound), ">=": value >= float(bound), ">": value > float(bound)}[sign]
    return Figure(f"faults.{name}", what, value, unit, target, holds, n, None, COMMAND)


def _quantiles(name: str, what: str, values: list[Any]) -> list[Figure]:
    known = [value for value in values if value is not None] or [float("nan")]
    return [
        Figure(f"faults.{name}.p{at}", f"{what}, p{at}", round(float(np.percentile(known, at)), 3), "s", "", None,
               len(known), None, COMMAND)
        for at in (50, 99)
    ]  # fmt: skip


def main() -> int:
    """Run what is missing and publish; exit code 1 where a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=10)
    parser.add_argument("--faults", type=int, default=100, help="of each segment")
    parser.add_argument("--kills", type=int, default=5, help="of each segment")
    parser.add_argument("--lanes", type=int, default=2, help="segments at a time")
    parser.add_argument("--seed", type=int, default=1, help="of the first segment")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of results and figures")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    raw = args.out / "faults.jsonl"
    done = {row["segment"] for row in rows_of(raw) if row["kind"] == "end"}
    kept = [row for row in rows_of(raw) if row["segment"] in done]
    raw.write_text("".join(json.dumps(row) + "\n" for row in kept))  # one that was cut short begins anew
    seeds = [seed for seed in range(args.seed, args.seed + args.segments) if seed not in done]
    with ThreadPoolExecutor(args.lanes) as lanes:
        list(lanes.map(lambda seed: run(seed, raw, args.out / "faults", args.faults, args.kills), seeds))
    rows = rows_of(raw)
    print(
        ", ".join(f"{name} {times}" for name, times in Counter(r["name"] for r in rows if r["kind"] == "fault").items())
    )
    found = figures(rows)
    publish("faults", found, args.out)
    return int(any(row.holds is False for row in found))


if __name__ == "__main__":
    sys.exit(main())
