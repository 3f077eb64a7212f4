"""``make evolve-bench``: does the gate promote what earns and nothing else, one search by any launcher, what it costs.

``python -m benchmarks.evolve [--only planted null …] [--seeds 20] [--searches 200] [--before COMMIT]``

Searches that are finished are kept in ``<out>/evolve/`` and not made again; rows of parts that are not measured stay.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import evolve_engine, evolve_gate, evolve_optuna, evolve_racing, evolve_worlds, exploration
from benchmarks.figures import OUT, Figure, measured

TARGET = "evolve"


def main() -> int:
    """Measure the chosen parts and publish after each; exit code 1 where a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=len(evolve_worlds.HELD_OUT), help="planted worlds")
    parser.add_argument("--searches", type=int, default=200, help="of null worlds")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--candidates", type=int, default=1000, help="of the memory part")
    parser.add_argument("--pairs", type=int, default=3, help="of interleaved comparisons")
    parser.add_argument("--worlds", type=int, default=12, help="of exploration")
    parser.add_argument("--races", type=int, default=8, help="pairs of searches with and without races")
    parser.add_argument("--before", default=exploration.BEFORE, help="commit to compare decisions with")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the figures")
    parts: dict[str, Callable[[], list[Figure]]] = {
        "power": evolve_gate.power,
        "cheats": evolve_gate.cheats,
        "label": lambda: evolve_worlds.label(args.out),
        "launchers": evolve_engine.launchers,
        "first": evolve_engine.first,
        "throughput": lambda: evolve_engine.throughput(args.pairs),
        "memory": lambda: evolve_engine.memory(args.candidates),
        "racing": lambda: evolve_racing.racing(args.races),
        "optuna": lambda: evolve_optuna.optuna(args.pairs),
        "exploration": lambda: exploration.runs(args.worlds),
        "cost": lambda: exploration.cost(args.before, args.pairs),
        "planted": lambda: evolve_worlds.planted(args.out, args.seeds, args.workers),
        "null": lambda: evolve_worlds.null(args.out, args.searches, args.workers),
    }
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    args = parser.parse_args()
    return measured(TARGET, {name: parts[name] for name in args.only}, args.out)


if __name__ == "__main__":
    sys.exit(main())
