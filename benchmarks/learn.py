"""``make learn-bench``: does it adapt, does it notice, and what does that cost; one table, under an hour on two cores.

``python -m benchmarks.learn [--only worlds tapes flips sigma drift probes regime cost] [--seeds 30]``
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import drift, learn_cost, learn_flips, learn_sigma, learn_worlds, probes, regime
from benchmarks.figures import Figure, publish

HOURS = 24.0


def worlds(seeds: int, workers: int) -> list[Figure]:
    """Return the figures of planted worlds, and of worlds with nothing to learn."""
    jobs = learn_worlds.world_jobs(list(learn_worlds.SEEDS)[:seeds], HOURS)
    return learn_worlds.world_rows(learn_worlds.replay_all(jobs, "worlds", workers))


def tapes(workers: int) -> list[Figure]:
    """Return what every arm came to on every real tape."""
    return learn_worlds.tape_rows(learn_worlds.replay_all(learn_worlds.tape_jobs(), "tapes", workers))


def main() -> None:
    """Measure the chosen parts and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=len(learn_worlds.SEEDS), help="planted worlds")
    parser.add_argument("--out", type=Path, help="folder of the figures instead of artifacts/bench")
    workers = min(2, os.cpu_count() or 1)
    parts: dict[str, Callable[[], list[Figure]]] = {
        "cost": learn_cost.rows,
        "flips": learn_flips.rows,
        "sigma": learn_sigma.rows,
        "drift": drift.rows,
        "probes": probes.rows,
        "regime": regime.rows,
        "worlds": lambda: worlds(args.seeds, workers),
        "tapes": lambda: tapes(workers),
    }
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    args = parser.parse_args()
    found: list[Figure] = []
    for name in args.only:
        started = time.monotonic()
        print(f"-- {name}", flush=True)
        found += parts[name]()
        print(f"   {time.monotonic() - started:.0f} s", flush=True)
    publish("learn-bench", found, args.out)


if __name__ == "__main__":
    main()
