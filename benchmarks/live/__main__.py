"""``make live-drill``: what tries to get past the last door, and an auditor's archive; exit code 1 at a missed target.

``python -m benchmarks.live [--only attempts archive] [--attempts 10000]``

Everything is a sandbox: the exchange is one of ours, on loopback.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import OUT, Figure, measured
from benchmarks.live import archive
from benchmarks.live.attempts import attempts, figures, kinds

TARGET = "live-drill"


def main() -> int:
    """Carry out the parts that were chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=["attempts", "archive"], default=["attempts", "archive"])
    parser.add_argument("--attempts", type=int, default=10_000, help="at least so many past the gate")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the figures")
    args = parser.parse_args()
    parts: dict[str, Callable[[], list[Figure]]] = {
        "attempts": lambda: figures(attempts(_times(args.attempts)), args.attempts),
        "archive": archive.figures,
    }
    return measured(TARGET, {name: parts[name] for name in args.only}, args.out)


def _times(wanted: int) -> int:
    """Return how often each kind has to be tried."""
    count = sum(len(named) for named in kinds().values())
    return -(-wanted // count)


if __name__ == "__main__":
    sys.exit(main())
