"""A bare loop of replays: candidates of a finished search, one after another, without Hydra and files.

``python -m benchmarks.evolve_bare FOLDER FIRST STEP`` prints ``{"ended": [...]}``, seconds since it began.
"""

import json
import sys
import time
from pathlib import Path

from alphatrade.evolution.fitness import table
from alphatrade.evolution.genotype import Genotype, develop
from alphatrade.evolution.schedule import fair
from alphatrade.nodes.evaluate import replays
from alphatrade.nodes.evolve import SETTINGS, grid_of, settings_again, tapes_of


def main() -> None:
    """Replay every STEP-th candidate from FIRST on, in the cells that the search replayed."""
    folder, first, step = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    leaves = [json.loads(line) for line in (folder / "trials.jsonl").read_bytes().splitlines()]
    genotypes = [Genotype.model_validate(leaf["genotype"]) for leaf in leaves[first::step]]
    own = settings_again(json.loads((folder / SETTINGS).read_bytes()), genotypes[0])
    tapes = tapes_of(own.settings)
    order = fair([cell for cell in grid_of(tapes, own.grid) if not cell.holdout], own.search.cells)
    replay = replays(own.settings, tapes, own.grid.period_s)
    began, ended = time.perf_counter(), []
    for genotype in genotypes:
        rows = table(develop(genotype), order, replay, own.grid.least)
        assert len(rows) == len(order)
        ended.append(time.perf_counter() - began)
    print(json.dumps({"ended": ended}))


if __name__ == "__main__":
    main()
