"""``make rim-bench``: are proposals right, is their confidence honest, and does governance let nothing else through.

``python -m benchmarks.rim [--only learn planted null refused …] [--seeds 30]``

Labelled examples are kept in ``<out>/rim/`` and not made again while what makes them is the same.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import rim_learn, rim_rules
from benchmarks.figures import OUT, Figure, measured

TARGET = "rim"


def main() -> int:
    """Measure the chosen parts and publish after each; exit code 1 where a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30, help="worlds of each planted fault, and null worlds")
    parser.add_argument("--worlds", type=int, default=180, help="held-out worlds of labelled edits")
    parser.add_argument("--proposals", type=int, default=1000, help="that have to be rejected, of each kind together")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the figures")
    parts: dict[str, Callable[[], list[Figure]]] = {
        "learn": lambda: rim_learn.learn(args.out, args.worlds, args.workers),
        "same": rim_learn.same,
        "planted": lambda: rim_rules.planted(args.seeds, args.workers),
        "null": lambda: rim_rules.null(args.seeds, args.workers),
        "rollback": lambda: rim_rules.rollback(args.seeds, args.workers),
        "adversarial": lambda: rim_rules.adversarial(),
        "refused": lambda: rim_rules.refused(args.proposals, args.workers),
    }
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    args = parser.parse_args()
    return measured(TARGET, {name: parts[name] for name in args.only}, args.out)


if __name__ == "__main__":
    sys.exit(main())
