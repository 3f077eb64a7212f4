"""``make live-drill``: days of a live node, what tries to get past its last door, an archive; 1 at a missed target.

``python -m benchmarks.live [--only cycles attempts archive] [--runs 20] [--lanes 2] [--attempts 10000]``

Everything is a sandbox: the exchange is one of ours, on loopback. Each step of a run is a line of a file at once; a run
that came to its end is not made again, whatever came of it, unless that file is taken away.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

from benchmarks.figures import OUT, Figure, measured
from benchmarks.live import archive
from benchmarks.live.attempts import attempts, figures
from benchmarks.live.cycle import cycle
from benchmarks.live.table import came

TARGET = "live-drill"
_LOCK = Lock()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong, and exit with 2."""
        self.exit(2, f"live-drill: {message}\n")


def main(words: list[str] | None = None) -> int:
    """Carry out the parts that were chosen."""
    parser = _Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["cycles", "attempts", "archive"]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--runs", type=_count, default=20)
    parser.add_argument("--lanes", type=_count, default=2, help="runs at a time")
    parser.add_argument("--attempts", type=_count, default=10_000, help="at least so many past the gate")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the figures")
    args = parser.parse_args(words)
    parts: dict[str, Callable[[], list[Figure]]] = {
        "cycles": lambda: came(cycles(args.out, args.runs, args.lanes), args.runs),
        "attempts": lambda: figures(attempts(args.attempts), args.attempts),
        "archive": archive.figures,
    }
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        _rows(args.out / f"{TARGET}.jsonl")
    except (OSError, ValueError) as error:
        parser.error(f"--out: got {str(args.out)!r}, expected a folder with whole figures, or none: {error}")
    return measured(TARGET, {name: parts[name] for name in names if name in args.only}, args.out)


def _count(word: str) -> int:
    if not word.isascii() or not word.isdigit() or not 0 < int(word) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"got {word!r}, expected a whole number from 1 to 1,000,000")
    return int(word)


# -- runs


def cycles(out: Path, runs: int, lanes: int) -> list[dict[str, Any]]:
    """Make the runs that are missing, and return the rows of all."""
    raw = out / f"{TARGET}.jsonl"
    done = {row["run"] for row in _rows(raw) if row["step"] == "end"}
    kept = [row for row in _rows(raw) if row["run"] in done]
    raw.write_text("".join(json.dumps(row) + "\n" for row in kept))  # one that was cut short begins anew
    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(lambda seed: _run(seed, raw, out), [seed for seed in range(1, runs + 1) if seed not in done]))
    return _rows(raw)


def _run(seed: int, raw: Path, out: Path) -> None:
    for row in _steps(out / TARGET / str(seed), seed):
        with _LOCK, raw.open("a") as file:
            file.write(json.dumps({"run": seed, **row}) + "\n")
        print(f"run {seed}: {row['step']}: {'; '.join(row['wrong']) or 'as it should be'}", flush=True)


def _steps(root: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of a run, of which the last is its end, also where it came to none."""
    name = ""
    try:
        for row in cycle(root, seed):
            name = row["step"]
            yield row
    except Exception as error:  # a run that could not be carried out is a failure, and the others still are
        yield {"step": "place", "wrong": [f"{type(error).__name__}: {error}"]}
    if name != "end":
        yield {"step": "end", "wrong": [f"not reached, after {name or 'nothing'}"]}


def _rows(raw: Path) -> list[dict[str, Any]]:
    """
    Return the lines of a file; one that was cut short is left out.

    Raises
    ------
    ValueError
        If another is none of ours.
    """
    whole = raw.read_text().rpartition("\n")[0].splitlines() if raw.is_file() else []
    found = [json.loads(line) for line in whole]
    if not all(isinstance(row, dict) and {"run", "step", "wrong"} <= set(row) for row in found):
        raise ValueError(f"{raw.name} has lines that are none of this drill")
    return found


if __name__ == "__main__":
    sys.exit(main())
