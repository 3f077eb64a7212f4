"""``make live-drill``: days of a live node, what tries to get past its last door, an archive; 1 at a missed target.

``python -m benchmarks.live [--only cycles attempts archive] [--runs 20] [--lanes 2] [--attempts 10000]``

Everything is a sandbox: the exchange is one of ours, on loopback. Each step of a run is a line of a file at once; runs
that are in it already are not made again.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from threading import Lock
from typing import Any

from benchmarks.drills.record import spread
from benchmarks.figures import OUT, Figure, measured
from benchmarks.live import archive
from benchmarks.live.attempts import attempts, figures, kinds
from benchmarks.live.cycle import STEPS, cycle
from tests.nodes.make_live import CAPITAL

TARGET, COMMAND = "live-drill", "python -m benchmarks.live --only cycles"
TIMES = {"kill": "flat_s", "revoked": "flat_s", "expired": "flat_s", "kill -9": "adopted_s"}
_LOCK = Lock()


def main() -> int:
    """Carry out the parts that were chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["cycles", "attempts", "archive"]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--lanes", type=int, default=2, help="runs at a time")
    parser.add_argument("--attempts", type=int, default=10_000, help="at least so many past the gate")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the figures")
    args = parser.parse_args()
    parts: dict[str, Callable[[], list[Figure]]] = {
        "cycles": lambda: came(cycles(args.out, args.runs, args.lanes), args.runs),
        "attempts": lambda: figures(attempts(_times(args.attempts)), args.attempts),
        "archive": archive.figures,
    }
    return measured(TARGET, {name: parts[name] for name in args.only}, args.out)


def _times(wanted: int) -> int:
    """Return how often each kind has to be tried."""
    count = sum(len(named) for named in kinds().values())
    return -(-wanted // count)


# -- runs


def cycles(out: Path, runs: int, lanes: int) -> list[dict[str, Any]]:
    """Make the runs that are missing, and return the rows of all."""
    out.mkdir(parents=True, exist_ok=True)
    raw = out / f"{TARGET}.jsonl"
    done = {row["run"] for row in _rows(raw) if row["step"] == "end"}
    kept = [row for row in _rows(raw) if row["run"] in done]
    raw.write_text("".join(json.dumps(row) + "\n" for row in kept))  # one that was cut short begins anew
    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(lambda seed: _run(seed, raw, out), [seed for seed in range(1, runs + 1) if seed not in done]))
    return list(_rows(raw))


def _run(seed: int, raw: Path, out: Path) -> None:
    for row in _steps(out / TARGET / str(seed), seed):
        with _LOCK, raw.open("a") as file:
            file.write(json.dumps({"run": seed, **row}) + "\n")
        print(f"run {seed}: {row['step']}: {'; '.join(row['wrong']) or 'as it should be'}", flush=True)


def _steps(root: Path, seed: int) -> Iterator[dict[str, Any]]:
    try:
        yield from cycle(root, seed)
    except Exception as error:  # a run that could not be carried out is a failure, and the others still are
        yield {"step": "place", "wrong": [f"{type(error).__name__}: {error}"]}


def _rows(raw: Path) -> Iterator[dict[str, Any]]:
    yield from (json.loads(line) for line in raw.read_text().splitlines()) if raw.is_file() else ()


def came(rows: list[dict[str, Any]], runs: int) -> list[Figure]:
    """Return the figures of runs."""
    wanted = {*STEPS, "end"}
    by_run = {seed: [row for row in rows if row["run"] == seed] for seed in range(1, runs + 1)}
    green = sum({row["step"] for row in of} == wanted and not any(row["wrong"] for row in of) for of in by_run.values())
    most = max((Decimal(row["most_out"]) for row in rows if "most_out" in row), default=Decimal(0))
    found = [
        Figure("live.cycles", f"sandbox: runs of {len(STEPS)} steps in which nothing was wrong", green, "runs",
               f"== {runs}", green == runs, runs, None, COMMAND),
        Figure("live.caps", f"sandbox: most that was paid out or on offer, of {CAPITAL}", float(most), "USDT",
               f"<= {CAPITAL}", 0 < most <= CAPITAL, runs, None, COMMAND),
    ]  # fmt: skip
    for step in STEPS:
        of = [row for row in rows if row["step"] == step]
        good = sum(not row["wrong"] for row in of)
        name = step.replace(" ", "_")
        row = Figure(
            f"live.step.{name}", f"sandbox: {step}", good, "times", f"== {runs}", good == runs, len(of), None, COMMAND
        )
        found.append(row)
        if times := [row[TIMES[step]] for row in of if step in TIMES and TIMES[step] in row]:
            found += [
                Figure(f"live.{name}.{at}", f"sandbox: {step}, {at}", value, "s", "", None, len(times), None, COMMAND)
                for at, value in spread(times).items()
            ]
    return found


if __name__ == "__main__":
    sys.exit(main())
